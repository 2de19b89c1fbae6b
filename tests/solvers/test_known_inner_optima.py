"""Inner optima of digits networks that were computed elsewhere (``instances.json``), by the cell engine and both back-ends."""

from __future__ import annotations

import json
import math
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from wdaverify import WdroProblem, load_network, load_samples
from wdaverify.engines.base import Effort, Inner
from wdaverify.engines.registry import make_engine
from wdaverify.engines.screening import Screen
from wdaverify.problem import GroundCost, Loss, Norm, Support

TOLERANCE = 1e-5
SMALL, LARGE = "digits_16-16.onnx", "digits_32-32_robust.onnx"
CASES = [
    (name, sample, multiplier)
    for name, lams in ((SMALL, (5, 60)), (LARGE, (10, 40)))
    for sample in range(4)
    for multiplier in lams
]
DEFAULT = {(solver, *case) for case in CASES[1:8:2] for solver in ("cells", "gurobi")} | {("highs", *CASES[5])}
PARAMETERS = [
    pytest.param(solver, *case, marks=[pytest.mark.full] * ((solver, *case) not in DEFAULT))
    for solver in ("cells", "highs", "gurobi")
    for case in CASES
]


@cache
def setting(folder: Path, name: str) -> tuple[WdroProblem, Screen]:
    samples = load_samples(folder / "digits_100.npz", limit=4)
    net = load_network(folder / name)
    box = Support.box(0.0, 1.0, net.n_inputs)
    problem = WdroProblem(net, samples, GroundCost(Norm.INF, 1), box, Loss.MARGIN, 0.05)
    return problem, Screen(problem)


@pytest.mark.parametrize(("solver", "name", "sample", "multiplier"), PARAMETERS)
def test_inner_optimum(solver: str, name: str, sample: int, multiplier: int, instances: Path) -> None:
    wanted = (name, sample, multiplier)
    table = json.loads((instances / "instances.json").read_text())["instances"]
    row = next(r for r in table if (r["network"], r["sample"], r["multiplier"]) == wanted)
    problem, screen = setting(instances, name)
    label, rival, optimum = int(problem.samples.y[sample]), row["rival"], row["optimum"]
    assert label == row["label"]
    screened = screen.inner(np.array([sample]), float(multiplier), np.array([optimum - 1e-4]), 1e-6)
    at = int(np.flatnonzero(screen.pieces.code[screened.items] == rival)[0])
    assert screened.upper[at] >= optimum - TOLERANCE
    region, bounds, _ = screen.region(sample, float(screened.near[at]), float(screened.far[at]))
    question = Inner(sample, label, rival, region, bounds, float(multiplier))
    answer = make_engine(problem.network, solver).answer(question, Effort(1e-6, math.inf, 0, None, None))
    assert (answer.vouched_by, answer.closed) == (solver, True)
    assert max(answer.bound, float(screened.outside[at])) == pytest.approx(optimum, abs=TOLERANCE)
    [point] = answer.points
    logits = problem.network.forward(point[None])[0]
    attained = logits[rival] - logits[label] - multiplier * np.abs(point - problem.samples.x[sample]).max()
    assert optimum - TOLERANCE <= attained <= optimum + TOLERANCE
    assert attained <= answer.bound + 1e-9


def test_the_table_has_the_cases(instances: Path) -> None:
    table = json.loads((instances / "instances.json").read_text())["instances"]
    known = [(r["network"], r["sample"], r["multiplier"]) for r in table if r["optimum"] is not None]
    assert sorted(known) == sorted(CASES)


UNSOLVED = [
    pytest.param(solver, sample, lam, marks=[pytest.mark.full] * ((solver, sample, lam) != ("gurobi", 0, 90)))
    for solver in ("cells", "gurobi", "highs")
    for sample in range(2)
    for lam in (20, 40, 60, 90)
]


@pytest.mark.parametrize(("solver", "sample", "multiplier"), UNSOLVED)
def test_no_bound_lies_below_a_known_point(solver: str, sample: int, multiplier: int, instances: Path) -> None:
    """Optima that nobody knows: the sample itself is a point; Gurobi once called half of its value optimal after 3 s."""
    name = "digits_64-64-64_robust.onnx"
    wanted = (name, sample, multiplier)
    table = json.loads((instances / "instances.json").read_text())["instances"]
    row = next(r for r in table if (r["network"], r["sample"], r["multiplier"]) == wanted)
    problem, screen = setting(instances, name)
    label, rival, x = int(problem.samples.y[sample]), row["rival"], problem.samples.x[sample]
    logits = problem.network.forward(x[None])[0]
    region, bounds, _ = screen.region(sample, 0.0, float(screen.reach[sample]))
    question = Inner(sample, label, rival, region, bounds, float(multiplier))
    answer = make_engine(problem.network, solver).answer(question, Effort(1e-6, 6.0, 0, None, None))
    assert answer.bound >= logits[rival] - logits[label] - 1e-9
    for point in answer.points:
        z = problem.network.forward(point[None])[0]
        assert answer.bound >= z[rival] - z[label] - multiplier * np.abs(point - x).max() - 1e-6
