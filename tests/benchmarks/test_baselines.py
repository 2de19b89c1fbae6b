"""Baselines and the limit against our own answers: whoever is compared must answer the same question."""

from __future__ import annotations

import itertools
import time
from dataclasses import replace

import numpy as np
import pytest
from limit import limit
from naive import _Bisection, naive_loop, steepest, stopped
from ours import run
from plain_distance import plain_distances
from questions_gurobi import GurobiInner
from questions_highs import HighsInner, interval_bounds
from sources import model, random_network
from whole import one_milp
from workloads import WORKLOADS, Workload

from wdaverify import GroundCost, Loss, Norm, WdroProblem, distances, verify

GAP = 1e-6
SOLVERS = ("gurobi", "highs")


@pytest.fixture(scope="module")
def margin() -> WdroProblem:
    return WORKLOADS["iris-30"].problem(3)


@pytest.fixture(scope="module")
def zero_one() -> WdroProblem:
    return WORKLOADS["iris-30-zero-one"].problem(3)


@pytest.mark.parametrize("solver", SOLVERS)
def test_the_naive_loop_brackets_v(margin: WdroProblem, solver: str) -> None:
    ours = verify(margin, gap=GAP)
    found = naive_loop(margin, solver, gap=1e-4, jobs=2, limit=60)
    assert (found.state, found.samples) == ("done", 3)
    assert found.upper - found.lower <= 1e-4
    assert found.lower - 1e-9 <= ours.upper
    assert ours.lower <= found.upper + 1e-9
    assert 0 < found.startup < found.seconds
    assert found.facts["solves"] == found.facts["steps"] * 6


@pytest.mark.parametrize("solver", SOLVERS)
def test_plain_distances_are_the_distances(zero_one: WdroProblem, solver: str) -> None:
    ours = distances(zero_one, gap=1e-8)
    assert ours.exact
    exact = np.array([b.upper for b in ours.brackets])
    for selector in (True, False):
        asked = {"gap": 1e-8, "jobs": 1, "limit": 60, "value": False, "selector": selector}
        found = plain_distances(zero_one, solver, **asked)
        assert found.state == "done"
        assert np.array(found.facts["distances"]) == pytest.approx(exact, abs=1e-6)
        assert found.lower == pytest.approx(exact.mean(), abs=1e-6)


def test_plain_distances_give_v(zero_one: WdroProblem) -> None:
    ours = verify(zero_one, gap=GAP)
    found = plain_distances(zero_one, "gurobi", gap=GAP, jobs=1, limit=60, value=True)
    assert found.lower == pytest.approx(ours.value, abs=3e-6)
    assert found.upper == pytest.approx(ours.value, abs=3e-6)


@pytest.mark.parametrize("name", ["iris-30", "iris-30-zero-one"])
def test_the_limit_certifies_v(name: str) -> None:
    workload = WORKLOADS[name]
    problem = workload.problem(3)
    _, result = run(workload, problem, {}, jobs=1, limit=60)
    found = limit(workload, problem, result, jobs=1, cap=60)
    assert found.state == "done"
    assert found.upper - found.lower <= workload.gap
    assert found.lower <= result.upper
    assert result.lower <= found.upper
    assert found.facts["solves"] <= result.statistics.solves + 2


def test_the_limit_of_distances() -> None:
    workload = replace(WORKLOADS["iris-30-zero-one"], distances=True)
    problem = workload.problem(3)
    ours, result = run(workload, problem, {}, jobs=1, limit=60)
    found = limit(workload, problem, result, jobs=1, cap=60)
    assert found.state == "done"
    assert found.lower == pytest.approx(ours.upper, abs=1e-6)


@pytest.mark.parametrize("loss", [Loss.MARGIN, Loss.ZERO_ONE])
def test_one_milp_is_a_lower_bound(margin: WdroProblem, loss: Loss) -> None:
    problem = replace(margin, loss=loss)
    value = verify(problem, gap=GAP).value
    found = one_milp(problem, gap=GAP, jobs=1, limit=60)
    assert found.state == "done"
    assert found.lower <= value + GAP
    if loss is Loss.ZERO_ONE:  # it counts whole samples: as many of the nearest as the budget allows
        nearest = np.sort([b.upper for b in distances(problem).brackets])
        assert found.lower == pytest.approx((np.cumsum(nearest) / 3 <= problem.radius).sum() / 3, abs=1e-6)
    else:
        assert found.lower == pytest.approx(found.facts["bound"], abs=1e-5)
    assert "splits no sample" in found.note


def test_a_cap_is_never_an_answer(margin: WdroProblem) -> None:
    assert naive_loop(margin, "gurobi", gap=GAP, jobs=1, limit=0.0).state == "limit"


def test_unsolved_before_the_cap_is_a_failure_and_no_lower_bound_of_its_time() -> None:
    assert stopped(time.monotonic() + 60) == "failed"
    assert stopped(time.monotonic()) == "limit"


@pytest.mark.parametrize("norm", [Norm.INF, Norm.ONE])
def test_the_first_multiplier_is_the_steepest_slope_at_a_sample(norm: Norm) -> None:
    """By differences: the steepest direction changes a margin by step times slope."""
    network, samples, support = random_network([3, 5, 4, 3])(4)
    problem = WdroProblem(network, samples, GroundCost(norm, 1), support, Loss.MARGIN, 0.1)
    most, step = 0.0, 1e-6
    moves = list(itertools.product((-1, 1), repeat=3)) if norm is Norm.INF else [*np.eye(3), *-np.eye(3)]
    for x, y in zip(samples.x, samples.y, strict=True):
        before, after = network.forward(x[None])[0], network.forward(x + step * np.array(moves))
        change = (after - after[:, [y]]) - (before - before[y])
        most = max(most, float(change.max()) / step)
    assert steepest(problem) == pytest.approx(most, rel=1e-5)


def test_what_the_licence_refuses_is_said() -> None:
    source = random_network([1100, 4, 3])
    problem = Workload("wide", source, 1, 0.1, "margin", "inf").problem()
    found = naive_loop(problem, "gurobi", gap=GAP, jobs=1, limit=60)
    assert found.state == "refused"
    assert "too large" in found.note


def test_bounds_that_contradict_points_are_wrong(margin: WdroProblem) -> None:
    loop = _Bisection(margin)
    loop.lower, loop.upper = 0.0, -1.0
    assert loop.verdict(GAP) == "wrong"
    loop.upper = 1.0
    assert loop.verdict(GAP) == "limit"
    loop.upper = 1e-7
    assert loop.verdict(GAP) == "done"


def test_neurons_that_hardly_pass_zero_are_fixed() -> None:
    """digits_16x16 has such: with them as they are HiGHS lost 44 of 49 and called the rest optimal."""
    problem = Workload("digits", model("digits_16x16"), 1, 0.05, "margin", "inf").problem()
    assert all(((high - low > 1e-8) | (high <= 0) | (low >= 0)).all() for low, high in interval_bounds(problem))
    ask = {"gap": 1e-6, "sample": 0, "rival": 3}
    highs, gurobi = (kind(problem, **ask).at(1.0, 60) for kind in (HighsInner, GurobiInner))
    assert highs.bound == pytest.approx(gurobi.bound, abs=1e-5)
