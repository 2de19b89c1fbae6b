"""Distances within a radius: what lies beyond is only said to be beyond."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bounds.tiny import network, problem, random_layers

from wdaverify import Journal, ProblemError, distances
from wdaverify.problem import Loss, Norm, WdroProblem
from wdaverify.report.page.content import Report
from wdaverify.report.page.document import as_document
from wdaverify.report.page.output import text_of
from wdaverify.report.page.view import build

NORMS = [Norm.INF, Norm.ONE, Norm.TWO]


@pytest.mark.parametrize("norm", NORMS)
def test_what_is_nearer_is_exact_and_what_is_farther_is_said_to_be(norm: Norm) -> None:
    """Against the distances without a radius; a radius at a distance itself, between two, before all and beyond all."""
    rng = np.random.default_rng(5)
    net = network(*random_layers(rng, 2, 6, 5, 3))
    x = rng.uniform(size=(8, 2))
    asked = problem(net, x, net.forward(x).argmax(axis=1), 0.1, loss=Loss.ZERO_ONE, norm=norm)
    whole = distances(asked, solver="cells", reproduced=False)
    assert whole.exact
    found = sorted(b.upper for b in whole.brackets if math.isfinite(b.upper))
    assert len(found) >= 3
    for within in (0.5 * found[0], found[1], 0.5 * (found[1] + found[2]), 2 * found[-1] + 1):
        result = distances(asked, solver="cells", within=within, reproduced=False)
        assert result.exact
        assert result.within == within
        for bracket, truth in zip(result.brackets, whole.brackets, strict=True):
            assert bracket.lower <= truth.upper
            assert truth.lower <= bracket.upper
            near = truth.upper < within - 1e-5
            assert not near or bracket.upper - bracket.lower <= 1e-6
            assert near or bracket.lower >= within or bracket.upper - bracket.lower <= 1e-6


def test_it_is_told_in_text_and_document_and_asked_again() -> None:
    rng = np.random.default_rng(5)
    net = network(*random_layers(rng, 2, 6, 5, 3))
    x = rng.uniform(size=(4, 2))
    asked = problem(net, x, net.forward(x).argmax(axis=1), 0.1, loss=Loss.ZERO_ONE)
    result = distances(asked, within=1e-4)
    document = json.loads(result.to_json())
    assert (document["within"], document["exact"]) == (1e-4, True)
    assert json.loads(distances(asked).to_json())["within"] == "inf"
    assert "beyond what was asked about" in str(result)
    assert "error nearer than 0.0001" in str(result)
    assert "exact within 0.0001: 4 distances" in str(result)
    assert "exact within 0.0001" in repr(result)
    assert all(
        words in str(result) for words in ("asked for: auto", "lower ends re-evaluated here", "exact arithmetic")
    )
    page, csv = (text_of(built(document), kind) for kind in ("html", "csv"))
    assert "exact within 0.0001" in page
    assert "for every distance below 0.0001" in page
    assert "0.0001: distances of that or more were not asked about" in page
    assert csv.count("beyond what was asked about") == 4


def test_only_what_is_proven_is_the_nearest_of_all() -> None:
    """An open bracket may hide a nearer error: of another sample, or of the same."""
    document = json.loads(distances(problem_of_two()).to_json())
    first, second = document["distances"]
    for row, (low, high) in ((first, (0.1, 0.1)), (second, (0.3, 0.4))):
        row["lower"], row["upper"] = low, high
    assert "The nearest error of all lies 0.1" in text_of(built(document), "html")
    for row, low in ((second, 0.05), (first, 0.05)):
        changed = json.loads(json.dumps(document))
        changed["distances"][row["sample"]]["lower"] = low
        page = text_of(built(changed), "html")
        assert "The nearest error found lies 0.1" in page
        assert "of all lies" not in page


def built(document: dict[str, Any]) -> Report:
    """Of a question from memory, which has no hashes."""
    return build([as_document({**document, "network_sha256": "0" * 64, "samples_sha256": "0" * 64})])


def problem_of_two() -> WdroProblem:
    rng = np.random.default_rng(5)
    net = network(*random_layers(rng, 2, 6, 5, 3))
    x = rng.uniform(size=(2, 2))
    return problem(net, x, net.forward(x).argmax(axis=1), 0.1, loss=Loss.ZERO_ONE)


@pytest.mark.parametrize("within", [0, -1, math.nan, "0.1", None, True, [0.1]])
def test_other_radii_are_refused(within: object) -> None:
    net = network(*random_layers(np.random.default_rng(0), 2, 3, 2))
    with pytest.raises(ProblemError, match="within"):
        distances(problem(net, np.full((1, 2), 0.5), [0], 0.1, loss=Loss.ZERO_ONE), within=within)  # type: ignore[arg-type]


def test_a_journal_of_a_radius_leaves_what_lies_beyond_to_others(tmp_path: Path) -> None:
    """A question that was closed within a radius is asked again beyond it."""
    rng = np.random.default_rng(5)
    net = network(*random_layers(rng, 2, 6, 5, 3))
    x = rng.uniform(size=(6, 2))
    asked = problem(net, x, net.forward(x).argmax(axis=1), 0.1, loss=Loss.ZERO_ONE)
    whole = distances(asked, reproduced=False)
    middle = float(np.median([b.upper for b in whole.brackets if math.isfinite(b.upper)]))
    with Journal(tmp_path) as journal:
        for within in (0.5 * middle, middle, math.inf):
            found = distances(asked, within=within, journal=journal, reproduced=False)
            assert found.exact
    for bracket, truth in zip(found.brackets, whole.brackets, strict=True):
        assert bracket.lower == pytest.approx(truth.lower, abs=1e-6)
        assert bracket.upper == pytest.approx(truth.upper, abs=1e-6)
