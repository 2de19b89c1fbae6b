"""The exact value against an oracle that shares no code with the engine (tests/oracles.py), by both back-ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from builders import write_mlp
from oracles import exact_bracket, nominal_loss
from problems import SEEDS, HandSolved, OracleProblem, hand_solved, random_problem

from wdaverify import WdroProblem, load_network, verify
from wdaverify.problem import GroundCost, Loss, Norm, Support
from wdaverify.samples import make_samples

TOLERANCE = 1e-6
SOLVERS = ("cells", "highs", "gurobi")
HAND_SOLVED = hand_solved()
USUAL = 10
"""Seeds that are not marked full."""
EVERY_SEED = [
    pytest.param(seed, marks=[] if seed < USUAL else [pytest.mark.full], id=f"seed{seed}") for seed in range(SEEDS)
]
Ask = Callable[[OracleProblem], WdroProblem]


@pytest.fixture
def ask(tmp_path: Path) -> Ask:
    """Puts a problem to the package as a user does, through an ONNX file, in float32 or float64."""
    count = 0

    def put(problem: OracleProblem) -> WdroProblem:
        nonlocal count
        path = tmp_path / f"network{count}.onnx"
        write_mlp(path, list(problem.weights), dtype=np.float64 if problem.n_relus % 2 else np.float32)
        count += 1
        return WdroProblem(
            network=load_network(path),
            samples=make_samples(problem.x, problem.y, problem.w),
            cost=GroundCost(norm=Norm(problem.norm), order=1),
            support=Support(problem.lower, problem.upper),
            loss=Loss(problem.loss),
            radius=problem.radius,
        )

    return put


def oracle(problem: OracleProblem) -> tuple[float, float]:
    """The oracle's own bracket, closed to about 1e-14."""
    p = problem
    low, high = exact_bracket(p.weights, p.x, p.y, p.w, p.radius, p.norm, p.loss, p.lower, p.upper)
    return min(low, high), max(low, high)


@cache
def oracle_of_seed(seed: int) -> tuple[float, float]:
    return oracle(random_problem(seed))


def moderate(seed: int) -> OracleProblem:
    """The problem of a seed at a radius where the value is neither the nominal nor saturated by design."""
    problem = random_problem(seed)
    return replace(problem, radius=0.05 * float((problem.upper - problem.lower).max()))


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("seed", EVERY_SEED)
def test_value_agrees_with_the_oracle(seed: int, solver: str, ask: Ask) -> None:
    low, high = oracle_of_seed(seed)
    result = verify(ask(random_problem(seed)), solver=solver, gap=1e-7, jobs=1)
    assert result.status == "exact"
    assert result.lower <= result.upper
    assert result.upper - result.lower <= TOLERANCE
    assert result.lower - TOLERANCE <= low
    assert high <= result.upper + TOLERANCE


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("case", HAND_SOLVED, ids=lambda case: case.name)
def test_value_is_the_hand_solved_one(case: HandSolved, solver: str, ask: Ask) -> None:
    result = verify(ask(case.problem), solver=solver, gap=1e-7, jobs=1)
    assert result.lower - TOLERANCE <= case.value <= result.upper + TOLERANCE
    if "thin" not in case.problem.tags:  # an error set without interior: no atom need be found on it
        assert result.status == "exact"
        assert result.upper - result.lower <= TOLERANCE


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("seed", EVERY_SEED)
def test_tiny_time_limit_is_a_valid_bracket(seed: int, solver: str, ask: Ask) -> None:
    low, high = oracle_of_seed(seed)
    result = verify(ask(random_problem(seed)), solver=solver, gap=1e-7, jobs=1, time_limit=1e-3)
    assert result.lower - 1e-9 <= low
    assert high <= result.upper + 1e-9


@pytest.mark.parametrize("seed", EVERY_SEED[::5])
def test_monotone_in_the_radius(seed: int, ask: Ask) -> None:
    problem = random_problem(seed)
    diameter = float((problem.upper - problem.lower).sum())
    radii = (0.0, 1e-4, 0.03 * diameter, 0.1 * diameter, 0.5 * diameter, 2.0 * diameter)
    results = [verify(ask(replace(problem, radius=radius)), solver="highs", gap=1e-7, jobs=1) for radius in radii]
    for smaller, larger in pairwise(results):
        assert smaller.lower <= larger.upper  # rigorous, whatever the gaps
        assert smaller.upper <= larger.upper + TOLERANCE
        assert smaller.lower <= larger.lower + TOLERANCE


@pytest.mark.parametrize("seed", EVERY_SEED[1::5])
def test_permuting_samples_and_classes_leaves_the_value(seed: int, ask: Ask) -> None:
    problem = moderate(seed)
    rng = np.random.default_rng(seed)
    samples = rng.permutation(len(problem.y))
    classes = np.roll(np.arange(problem.weights[-1][0].shape[0]), 1)  # new class k is the old class classes[k]
    weight, bias = problem.weights[-1]
    shuffled = replace(
        problem,
        weights=(*problem.weights[:-1], (weight[classes], bias[classes])),
        x=problem.x[samples],
        y=np.argsort(classes)[problem.y[samples]],
        w=problem.w[samples],
    )
    before, after = (verify(ask(p), solver="highs", gap=1e-7, jobs=1) for p in (problem, shuffled))
    assert after.lower == pytest.approx(before.lower, abs=TOLERANCE)
    assert after.upper == pytest.approx(before.upper, abs=TOLERANCE)
    assert after.nominal == pytest.approx(before.nominal, abs=1e-12)


@pytest.mark.parametrize("seed", EVERY_SEED)
def test_radius_zero_is_the_nominal_loss(seed: int, ask: Ask) -> None:
    """For zero-one the oracle's nominal loss counts ties as errors, in rational arithmetic."""
    problem = replace(random_problem(seed), radius=0.0)
    nominal = nominal_loss(problem.weights, problem.x, problem.y, problem.w, problem.loss)
    result = verify(ask(problem), solver="highs", gap=1e-7, jobs=1)
    assert result.status == "exact"
    assert result.nominal == pytest.approx(nominal, abs=1e-12)
    assert result.lower - 1e-9 <= nominal <= result.upper + 1e-9
    assert result.upper - result.lower <= TOLERANCE


@pytest.mark.parametrize("norm", [Norm.INF, Norm.ONE])
def test_a_tie_at_a_sample_is_an_error_at_radius_zero(norm: Norm, ask: Ask) -> None:
    tied = next(case.problem for case in HAND_SOLVED if case.name == "knapsack-radius-zero")
    result = verify(ask(replace(tied, norm=norm.value)), solver="highs", gap=1e-7, jobs=1)
    assert result.lower == pytest.approx(0.25, abs=TOLERANCE)
    assert result.upper == pytest.approx(0.25, abs=TOLERANCE)


@pytest.mark.parametrize("seed", EVERY_SEED[2::5])
def test_all_solvers_agree(seed: int, ask: Ask) -> None:
    first, *others = (verify(ask(moderate(seed)), solver=solver, gap=1e-7, jobs=1) for solver in SOLVERS)
    for other in others:
        assert first.lower == pytest.approx(other.lower, abs=TOLERANCE)
        assert first.upper == pytest.approx(other.upper, abs=TOLERANCE)
