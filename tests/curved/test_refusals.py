"""What rests on piecewise-linear networks is refused for curved ones, with what was found and the way out; the rest answers."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from wdaverify.certify.exact import exact_error
from wdaverify.engines.registry import make_engine
from wdaverify.errors import InputError, NetworkError, ProblemError
from wdaverify.graph.smooth.silu import silu
from wdaverify.ladder.compare import Settings, compare
from wdaverify.network.onnx_reader import load_network
from wdaverify.problem import GroundCost, Loss, Norm, Support, WdroProblem
from wdaverify.report.as_json import verification_json
from wdaverify.report.batch import RowResult, batch_json, batch_summary
from wdaverify.report.compare import compare_json, compare_summary
from wdaverify.report.curve import curve_json, curve_summary
from wdaverify.report.distances import distances_json, distances_summary
from wdaverify.report.page.document import as_document
from wdaverify.report.page.output import text_of
from wdaverify.report.page.view import build
from wdaverify.report.summary import network_summary, verification_summary
from wdaverify.samples import load_samples
from wdaverify.wdro.curve import curve
from wdaverify.wdro.distances import distances
from wdaverify.wdro.programs import programs
from wdaverify.wdro.result import Status
from wdaverify.wdro.verify import verify
from wdaverify.witness.decide import error_bounds

MODELS = Path(__file__).parents[2] / "models"


@pytest.fixture(scope="module")
def problem() -> WdroProblem:
    net = load_network(MODELS / "iris_8x8_silu.onnx")
    samples = load_samples(MODELS / "iris_8x8.npz", limit=4)
    return WdroProblem(
        net, samples, GroundCost(Norm.INF, math.inf), Support(np.zeros(4), np.ones(4)), Loss.MARGIN, 0.02
    )


def test_solvers_and_other_losses_are_refused(problem: WdroProblem) -> None:
    with pytest.raises(ProblemError, match=r"has Silu, which are not piecewise linear.*solver cells"):
        verify(problem, solver="highs")
    with pytest.raises(ProblemError, match="another loss"):
        verify(replace(problem, loss=Loss.DLR))
    whole = replace(problem, cost=GroundCost(Norm.INF, 1), support=Support.whole(4))
    with pytest.raises(ProblemError, match="give a box"):
        verify(whole)


def test_what_else_rests_on_relus_is_refused(problem: WdroProblem) -> None:
    net = problem.network
    with pytest.raises(NetworkError, match="Silu"):
        make_engine(net, "highs")
    with pytest.raises(NetworkError, match="verify"):
        programs(problem)
    with pytest.raises(NetworkError, match="exact arithmetic"):
        exact_error(net, problem.samples.x[0], 0)
    for form in ("canonical", "layers"):
        with pytest.raises(InputError, match="not piecewise linear"):
            getattr(net, form)


def test_reports_never_say_exact(problem: WdroProblem) -> None:
    result = verify(problem, gap=1e-3, device="cpu")
    text = verification_summary(result)
    assert "to the gap: the bracket is closed" in text
    assert "answer          exact" not in text
    assert "16 neurons" in text
    assert any("never exact" in notice for notice in result.notices)
    assert "neurons         16" in network_summary(problem.network)


def test_no_document_says_exact(problem: WdroProblem) -> None:
    """Status, text, repr and page of every kind of answer: closed, and exact nowhere but in a denial and what words mean."""
    errors, gap = replace(problem, loss=Loss.ZERO_ONE), 1e-3
    found = verify(problem, gap=gap, device="cpu")
    along, apart = curve(errors, gap=gap, device="cpu"), distances(errors, gap=gap, device="cpu")
    ladders = compare(problem, [0.02], Settings(rungs=("norms", "exact"), gap=gap, device="cpu"))
    for result in (along, apart, ladders):
        assert not result.exact
        assert Status.TO_THE_GAP.words in repr(result)
    assert repr(found).startswith("<to the gap [")
    documents = [verification_json(found), curve_json(along), distances_json(apart), compare_json(ladders)]
    rows = [RowResult("one", found)]
    texts = [verification_summary(found), curve_summary(along), distances_summary(apart), compare_summary(ladders)]
    texts.append(batch_summary(rows))
    for document in (*documents, batch_json(rows)):
        assert '"to-the-gap"' in json.dumps(document)
        texts.append(" ".join(str(value) for value in _values(document)))
        page = text_of(build([as_document(document)]), "html")
        texts.append(re.sub(r"<(style|script).*?</\1>|<[^>]*>", " ", page, flags=re.DOTALL))
        assert "to the gap" in texts[-1].split("What the words mean")[0]
    for text in texts:
        left = re.sub(
            r"(never|not|in its bracket is) exact|exact when the bracket|An answer is exact", "", " ".join(text.split())
        )
        assert "exact" not in left.lower(), left
    assert "1 of 1 rows are closed or decided" in batch_summary(rows)


def _values(document: object) -> Iterator[object]:
    """Every value of a document, names of fields left out."""
    if isinstance(document, dict | list):
        for value in document.values() if isinstance(document, dict) else document:
            yield from _values(value)
    else:
        yield document


def test_the_ladder_has_its_bounds_beside_the_bracket(problem: WdroProblem) -> None:
    found = compare(
        problem, [0.02], Settings(rungs=("norms", "lipsdp", "jacobian", "crown", "exact"), gap=1e-3, device="cpu")
    )
    rungs = {rung.name: rung for rung in found.ladders[0].rungs}
    bracket = found.ladders[0].result
    assert bracket is not None
    values = {name: rung.value for name, rung in rungs.items() if rung.value is not None}
    bounds = [value for name, value in values.items() if rungs[name].side.value == "above"]
    assert len(bounds) == 3
    assert min(bounds) >= bracket.lower
    assert any("for piecewise-linear networks; this one has Silu" in (rung.why or "") for rung in rungs.values())


def test_curves_hold_the_brackets_of_their_radii(problem: WdroProblem) -> None:
    errors = replace(problem, loss=Loss.ZERO_ONE, radius=0.1)
    found = curve(errors, gap=1e-3, device="cpu")
    alone = verify(errors, gap=1e-3, device="cpu")
    assert found.lower[-1] <= alone.upper
    assert found.upper[-1] >= alone.lower


def test_ties_are_open(problem: WdroProblem) -> None:
    """What no enclosure decides is no error for lower bounds, and one for upper bounds."""
    net = load_network(MODELS / "iris_8x8_silu.onnx")
    twice = replace(net, graph=net.graph)
    x = problem.samples.x[:1]
    label = net.forward(x).argmax(axis=1)
    surely, possibly = error_bounds(twice, x, label)
    assert not surely.any()
    assert not possibly.any()
    assert silu().value(np.zeros(1))[0] == 0
