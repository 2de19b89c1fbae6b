"""Two whole values that were computed elsewhere (``instances.json``), by both back-ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from wdaverify import WdroProblem, load_network, load_samples, verify
from wdaverify.problem import GroundCost, Loss, Norm, Support

TOLERANCE = 1e-5
SMALL, LARGE = "digits_16-16.onnx", "digits_32-32_robust.onnx"


def question(folder: Path, name: str) -> tuple[WdroProblem, float]:
    row = next(r for r in json.loads((folder / "instances.json").read_text())["values"] if r["network"] == name)
    net = load_network(folder / name)
    samples = load_samples(folder / "digits_100.npz", limit=row["samples"])
    box = Support.box(0.0, 1.0, net.n_inputs)
    return WdroProblem(net, samples, GroundCost(Norm.INF, 1), box, Loss.MARGIN, row["radius"]), row["value"]


@pytest.mark.parametrize(
    ("solver", "name"),
    [
        pytest.param("gurobi", SMALL),
        pytest.param("highs", SMALL, marks=pytest.mark.full),
        pytest.param("gurobi", LARGE, marks=pytest.mark.full),
        pytest.param("highs", LARGE, marks=pytest.mark.full),
    ],
)
def test_value(solver: str, name: str, instances: Path) -> None:
    problem, value = question(instances, name)
    result = verify(problem, solver=solver, jobs=2)
    assert result.status == "exact"
    assert result.value == pytest.approx(value, abs=TOLERANCE)
    assert set(result.solver.solves) == {solver}
    row = next(r for r in json.loads((instances / "instances.json").read_text())["values"] if r["network"] == name)
    assert result.nominal == pytest.approx(row["nominal"], abs=TOLERANCE)
    assert result.multiplier == pytest.approx(row["multiplier"], rel=0.02)


@pytest.mark.parametrize("limit", [0.0, 0.1, 1.0])
def test_a_time_limit_leaves_a_valid_bracket(limit: float, instances: Path) -> None:
    problem, value = question(instances, SMALL)
    result = verify(problem, solver="gurobi", time_limit=limit)
    assert result.lower <= value + TOLERANCE
    assert value - TOLERANCE <= result.upper
    assert result.nominal <= result.lower
    assert (result.reason, result.status) in (("time-limit", "bracket"), ("gap-closed", "exact"))
    if limit < 1:
        assert result.reason == "time-limit"


@pytest.mark.full
def test_mip_starts_leave_the_value(instances: Path) -> None:
    problem, value = question(instances, SMALL)
    result = verify(problem, solver="gurobi", mip_start=True)
    assert result.status == "exact"
    assert result.value == pytest.approx(value, abs=TOLERANCE)
