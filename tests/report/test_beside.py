"""Beside a bracket stand the share of errors and what the radius limits, and neither is taken for another supremum."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import documents
import numpy as np
import onnxruntime
import pytest
import synthetic
from layers import Affine, network_of

from wdaverify import cli
from wdaverify.network.model import readonly
from wdaverify.problem import Functionals, GroundCost, Loss, Norm
from wdaverify.report import error_rates as beside
from wdaverify.report.page.document import as_document
from wdaverify.report.page.view import build
from wdaverify.report.summary import attack_summary, verification_summary

MODELS = Path(__file__).parents[2] / "models"
NET, DATA = MODELS / "iris_8x8.onnx", MODELS / "iris_8x8.npz"


def wrong(points: Any, labels: Any) -> Any:
    """Which points another runtime gets wrong."""
    session = onnxruntime.InferenceSession(str(NET), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    scores = session.run(None, {name: np.asarray(points, dtype=np.float32)})[0]
    return scores.argmax(axis=1) != np.asarray(labels)


def ran(command: str, tmp_path: Path, *options: str) -> dict[str, Any]:
    target = tmp_path / f"{command}.json"
    jobs = [] if command == "attack" else ["--jobs", "1"]
    line = [command, str(NET), str(DATA), *jobs, "--device", "cpu", "--quiet", "--output", str(target), *options]
    assert cli._run(line) == 0
    return json.loads(target.read_text())  # type: ignore[no-any-return]


@pytest.mark.parametrize("loss", ["margin", "hinge", "zero-one"])
def test_the_shares_are_those_of_another_runtime(loss: str, tmp_path: Path) -> None:
    made = ran("verify", tmp_path, "--radius", "0.05", "--loss", loss)
    rates, data = made["error_rate"], np.load(DATA)
    errors = wrong(data["x"], data["y"])
    assert rates["nominal"] == {
        "lower": pytest.approx(errors.mean(), abs=1e-12),
        "upper": pytest.approx(errors.mean(), abs=1e-12),
        "errors": errors.sum(),
        "count": len(errors),
    }
    assert 0 < errors.sum() < len(errors)
    atoms = made["atoms"]
    if loss == "zero-one":  # errors at a tie may be none in single precision; there the bracket is the error rate
        assert rates["atoms"]["lower"] == pytest.approx(made["lower"], abs=1e-9)
        return
    there = wrong([atom["point"] for atom in atoms], [atom["label"] for atom in atoms])
    share = math.fsum(np.array([atom["weight"] for atom in atoms])[there])
    assert rates["atoms"]["lower"] == pytest.approx(share, abs=1e-9)
    assert rates["atoms"]["lower"] > rates["nominal"]["upper"]


def test_two_suprema_are_two(tmp_path: Path) -> None:
    """The distribution that is worst for the margin is not the worst for errors, and the text says which it is."""
    margin = ran("verify", tmp_path, "--radius", "0.05")
    errors = ran("verify", tmp_path, "--radius", "0.05", "--loss", "zero-one")
    assert margin["error_rate"]["atoms"]["upper"] < errors["lower"]
    rates = beside.ErrorRates.read(margin["error_rate"])
    text = beside.rates_text(rates, "margin")
    assert f"{rates.atoms.lower:.4g} under the distribution found for the margin loss" in text  # type: ignore[union-attr]
    assert "not the worst error rate: ask for that with --loss zero-one" in text
    text = beside.rates_text(beside.ErrorRates.read(errors["error_rate"]), "zero-one")
    assert text == "0.03333 of the samples as they are (1 of 30); the worst within the radius is V"


def test_other_commands_say_the_nominal_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = {
        "curve": ["--max-radius", "0.01", "--gap", "0.1"],
        "distance": ["--samples", "25", "--gap", "0.01"],
        "compare": ["--radius", "0.05", "--rungs", "crown"],
        "attack": ["--radius", "0.05"],
    }
    for command, options in lines.items():
        made = ran(command, tmp_path, *options)
        count = 25 if command == "distance" else 30
        assert (made["error_rate"]["nominal"]["errors"], made["error_rate"]["nominal"]["count"]) == (1, count)
        assert (made["error_rate"]["atoms"] is None) == (command != "attack")
        assert cli._run([command, str(NET), str(DATA), "--device", "cpu", *options]) == 0
        out = " ".join(capsys.readouterr().out.split())
        assert f"error rate {1 / count:.4g} of the samples as they are (1 of {count})" in out
        page = build([as_document(made)])
        [answer] = [part.answer for part in page.questions[0].parts]
        assert answer is not None
        assert dict(answer.beside)["Error rate"].startswith(f"{1 / count:.4g} of the samples")


@pytest.mark.parametrize(
    ("order", "words"),
    [
        (1, "0.05 on average over all mass, not for every single input"),
        (2, "0.05 in the root mean square over all mass, not for every single input"),
        (math.inf, "0.05 for every single input"),
    ],
)
def test_what_the_radius_limits(order: float, words: str) -> None:
    problem = synthetic.problem(cost=GroundCost(Norm.INF, order))
    said = f"{words}; the farthest atom moved 0.05"
    for text in (
        verification_summary(synthetic.verification(problem=problem)),
        attack_summary(synthetic.attack(problem=problem)),
    ):
        assert f"radius {said}" in " ".join(text.split())
    page = build([as_document(documents.verification(problem=problem))])
    [answer] = [part.answer for part in page.questions[0].parts]
    assert answer is not None
    assert dict(answer.beside)["Radius"] == f"{said}."


def test_the_farthest_is_rounded_up_and_the_farthest() -> None:
    assert beside.radius_text(0.05, 1, 0.1234567891).endswith("moved 0.123457")
    assert beside.radius_text(0.05, 1, None).endswith("input")
    assert beside.radius_text(0.0, 1, 0.0) == "0: nothing may move"
    near, far = synthetic.atoms()
    text = verification_summary(synthetic.verification(atoms=(near, replace(far, distance=0.75))))
    assert "the farthest atom moved 0.75" in " ".join(text.split())


def test_nothing_moved_has_no_rate_of_atoms() -> None:
    atoms = tuple(replace(atom, distance=0.0) for atom in synthetic.atoms())
    rates = beside.error_rates(synthetic.problem(), atoms)
    assert rates is not None
    assert rates.atoms is None
    relabelled = (replace(atoms[0], label=1), atoms[1])
    rates = beside.error_rates(synthetic.problem(cost=GroundCost(Norm.INF, 1, None, 0.5)), relabelled)
    assert rates is not None
    assert rates.atoms is not None


def test_a_tie_that_is_not_decided_is_a_range() -> None:
    """Both logits are x1 + x2, everywhere: an error at every point, which takes exact arithmetic to see, and none is spent on it."""
    last = Affine(readonly(np.ones((2, 2))), readonly(np.zeros(2)))
    rates = beside.error_rates(synthetic.problem(network=network_of((last,), (2,), (2,), "c" * 64, "tied", ())))
    assert rates is not None
    assert rates.nominal == beside.Rate(0.0, 1.0, 0, 2)
    assert beside.rates_text(rates, "margin") == "0 to 1 of the samples as they are"


def test_without_classes_there_is_no_rate() -> None:
    functionals = Functionals(readonly(np.array([[1.0, -1.0]])), readonly(np.array([0.0])))
    network = replace(synthetic.network(), notices=())
    problem = synthetic.problem(network=network, loss=Loss.LINEAR, functionals=functionals)
    assert beside.error_rates(problem, synthetic.atoms()) is None
    made = documents.verification(problem=problem)
    assert made["error_rate"] is None
    [answer] = [part.answer for part in build([as_document(made)]).questions[0].parts]
    assert answer is not None
    assert [label for label, _ in answer.beside] == ["Radius"]


@pytest.mark.parametrize("kind", ["verification", "attack", "curve", "distances", "compare", "batch"])
def test_documents_from_before_are_read(kind: str) -> None:
    made = documents.ALL[kind]()
    older = json.loads(json.dumps(made))
    for part in (older, *older.get("verifications", ()), *(row["result"] or {} for row in older.get("rows", ()))):
        part.pop("error_rate", None)
    page = build([as_document(older)])
    for question in page.questions:
        for part in question.parts:
            assert part.answer is None or all(label != "Error rate" for label, _ in part.answer.beside)
