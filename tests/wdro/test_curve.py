"""The curve over all radii: a bracket that holds at every radius, against verify and against hand-solved values."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from family_oracle import exact, random_question
from test_family_against_oracle import put

from wdaverify import cli
from wdaverify.errors import ProblemError
from wdaverify.problem import WdroProblem
from wdaverify.wdro.curve import CurveResult, curve

ROOT = Path(__file__).parents[2]
SEEDS = [pytest.param(s, marks=[] if s < 2 else [pytest.mark.full], id=f"seed{s}") for s in range(10)]


def read(result: CurveResult, radius: float) -> tuple[float, float]:
    """The curve between its breakpoints: linear in ``radius^p``."""
    power = result.problem.cost.power
    at = result.radius**power
    return float(np.interp(radius**power, at, result.lower)), float(np.interp(radius**power, at, result.upper))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("loss", ["margin", "hinge", "cw", "linear", "zero-one"])
@pytest.mark.parametrize("order", [1, 2])
def test_the_curve_holds_at_every_radius(order: int, loss: str, seed: int, tmp_path: Path) -> None:
    question = random_question(seed, norm=("inf", "1")[seed % 2], order=order, loss=loss)
    problem = put(question, tmp_path)
    largest = 2 * question.radius

    gap = 1e-5 if order == 1 or loss == "zero-one" else 1e-2
    result = curve(replace(problem, radius=largest), gap=gap)
    assert result.exact
    assert (result.lower <= result.upper).all()
    assert (np.diff(result.radius) > 0).all()
    assert result.radius[[0, -1]].tolist() == [0.0, largest]
    for share in (0.07, 0.3, 0.5, 0.81):
        low, high = exact(replace(question, radius=share * largest))
        ours = read(result, share * largest)
        assert ours[0] <= high + 1e-5
        assert ours[1] >= low - 1e-5
        assert ours[1] - ours[0] <= 1.1 * gap


def test_order_inf_is_a_step_for_zero_one_and_refused_else(tmp_path: Path) -> None:
    for seed in range(3):
        question = random_question(seed, norm="inf", order=math.inf, loss="zero-one")
        result = curve(put(question, tmp_path), gap=1e-5)
        assert result.exact
        low, high = exact(question)
        assert result.lower[-1] <= high + 1e-9
        assert result.upper[-1] >= low - 1e-9
    with pytest.raises(ProblemError, match="not concave"):
        curve(put(random_question(0, norm="inf", order=math.inf, loss="margin"), tmp_path))


def test_a_time_limit_leaves_a_valid_curve(tmp_path: Path) -> None:
    question = random_question(1, norm="inf", order=1, loss="margin")
    low, high = exact(question)
    for limit in (0.0, 0.05, 0.3):
        result = curve(put(question, tmp_path), gap=1e-9, time_limit=limit)
        assert result.lower[-1] <= high + 1e-6
        assert result.upper[-1] >= low - 1e-6


def test_the_command_line_writes_json_and_csv(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net, data = ROOT / "models" / "iris_8x8.onnx", ROOT / "models" / "iris_8x8.npz"
    output, table = tmp_path / "c.json", tmp_path / "c.csv"
    ask = [
        "curve",
        net,
        data,
        "--max-radius",
        0.4,
        "--support",
        0,
        10,
        "--gap",
        1e-3,
        "--jobs",
        1,
        "--output",
        output,
        "--csv",
        table,
    ]
    assert cli._run([str(a) for a in ask]) == 0
    assert "exact" in capsys.readouterr().out
    document = json.loads(output.read_text())
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert [float(row["upper"]) for row in rows] == [point["upper"] for point in document["points"]]
    assert document["max_radius"] == 0.4
    assert document["points"][-1]["radius"] == 0.4
    assert max(point["upper"] - point["lower"] for point in document["points"]) <= 1e-3
    assert cli._run([str(a) for a in [*ask[:-1], net]]) == 2


def test_a_curve_without_a_radius_is_the_nominal_loss(tmp_path: Path) -> None:

    problem: WdroProblem = put(random_question(0, norm="inf", order=1, loss="margin"), tmp_path)
    result = curve(replace(problem, radius=0.0))
    assert result.radius.tolist() == [0.0]
    assert result.exact
