"""The restricted master against a linear program over every atom offered."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import linprog

from wdaverify.transport.master import MasterSolution, solve_master
from wdaverify.transport.pool import AtomPool


def random_pool(rng: np.random.Generator) -> tuple[AtomPool, list[tuple[int, float, float]], np.ndarray]:
    n = int(rng.integers(1, 6))
    clean = rng.normal(size=n).round(1)
    pool = AtomPool(clean, 2)
    atoms = [(i, 0.0, float(clean[i])) for i in range(n)]
    for _ in range(int(rng.integers(0, 30))):
        i, cost, value = int(rng.integers(n)), float(rng.integers(0, 9)) / 4, round(float(rng.normal()), 1)
        pool.add(i, cost, value, np.array([cost, value]))
        atoms.append((i, cost, value))
    weights = rng.random(n) * (rng.random(n) > 0.2)
    return pool, atoms, weights


def by_linprog(atoms: list[tuple[int, float, float]], weights: np.ndarray, budget: float) -> float:
    sample = np.array([a[0] for a in atoms])
    cost, value = np.array([a[1] for a in atoms]), np.array([a[2] for a in atoms])
    rows = (sample[None, :] == np.arange(len(weights))[:, None]).astype(float)
    out = linprog(-value, A_ub=cost[None, :], b_ub=[budget], A_eq=rows, b_eq=weights, method="highs")
    assert out.status == 0
    return float(-out.fun)


def check(pool: AtomPool, weights: np.ndarray, budget: float, solution: MasterSolution) -> None:
    """The plan is feasible, worth its value, and the dual at its multiplier is the same."""
    plan = solution.plan
    value, cost, moved = 0.0, 0.0, np.zeros(len(weights))
    for i, k, point, mass in zip(plan.sample, plan.atom, plan.point, plan.mass, strict=True):
        atom = pool.atom(int(i), int(k))
        assert atom.point is not None
        assert (atom.point == point).all()
        assert mass > 0
        value, cost = value + mass * atom.value, cost + mass * atom.cost
        moved[i] += mass
    assert (moved <= weights + 1e-15).all()
    assert cost <= budget + 1e-12
    flat = pool.flat()
    value += float((weights - moved) @ flat.value[flat.start[:-1]])
    assert value == pytest.approx(solution.value, abs=1e-12)
    counts = np.bincount(plan.sample, minlength=len(weights))
    assert (counts > 1).sum() <= 1
    assert counts.max(initial=0) <= 2
    dual = solution.multiplier * budget + float(weights @ pool.lower_model(solution.multiplier))
    assert dual == pytest.approx(solution.value, abs=1e-10)


@pytest.mark.parametrize("seed", range(60))
def test_agrees_with_a_linear_program(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pool, atoms, weights = random_pool(rng)
    for budget in (0.0, 1e-3, 0.05, 0.4, 1.5, 100.0):
        solution = solve_master(pool, weights, budget)
        assert solution.value == pytest.approx(by_linprog(atoms, weights, budget), abs=1e-8)
        check(pool, weights, budget, solution)


def two_steps() -> AtomPool:
    pool = AtomPool(np.array([0.0, 0.0]), 1)
    pool.add(0, 1.0, 4.0, np.array([1.0]))
    pool.add(0, 2.0, 5.0, np.array([2.0]))
    pool.add(1, 1.0, 2.0, np.array([3.0]))
    return pool


@pytest.mark.parametrize(
    ("budget", "multiplier", "value"),
    [
        (0.0, 4.0, 0.0),
        (0.25, 4.0, 1.0),
        (0.5, 3.0, 2.0),
        (0.75, 2.0, 2.5),
        (1.0, 1.5, 3.0),
        (1.25, 1.0, 3.25),
        (1.5, 0.5, 3.5),
        (2.0, 0.0, 3.5),
        (np.inf, 0.0, 3.5),
    ],
)
def test_multiplier_is_the_slope_or_the_midpoint_at_a_breakpoint(
    budget: float, multiplier: float, value: float
) -> None:
    solution = solve_master(two_steps(), np.array([0.5, 0.5]), budget)
    assert solution.multiplier == multiplier
    assert solution.value == value


def test_one_sample_is_split_between_two_neighbouring_atoms() -> None:
    plan = solve_master(two_steps(), np.array([0.5, 0.5]), 1.25).plan
    assert plan.sample.tolist() == [0, 0, 1]
    assert plan.atom.tolist() == [1, 2, 1]
    assert plan.mass.tolist() == [0.25, 0.25, 0.5]
    assert plan.distribution(np.zeros(2, np.int64)).point[:, 0].tolist() == [1.0, 2.0, 3.0]


def test_zero_weights_are_not_moved_and_set_no_multiplier() -> None:
    solution = solve_master(two_steps(), np.array([0.0, 1.0]), 0.5)
    assert (solution.multiplier, solution.value) == (2.0, 1.0)
    assert solution.plan.sample.tolist() == [1]
    assert solve_master(two_steps(), np.zeros(2), 0.5).multiplier == 0.0


def test_nothing_to_move() -> None:
    solution = solve_master(AtomPool(np.array([1.0, 3.0]), 4), np.array([0.5, 0.5]), 1.0)
    assert (solution.multiplier, solution.value) == (0.0, 2.0)
    assert solution.plan.point.shape == (0, 4)


def test_a_free_move_is_in_the_plan_even_without_a_budget() -> None:
    pool = AtomPool(np.array([0.0]), 1)
    pool.add(0, 0.0, 1.0, np.array([5.0]))
    solution = solve_master(pool, np.array([1.0]), 0.0)
    assert solution.value == 1.0
    assert solution.plan.point.tolist() == [[5.0]]


def test_refuses_bad_weights_and_budgets() -> None:
    pool = two_steps()
    for weights in (np.ones(3), np.array([-0.5, 1.0]), np.array([np.nan, 1.0])):
        with pytest.raises(ValueError, match="weights"):
            solve_master(pool, weights, 1.0)
    for budget in (-1.0, np.nan):
        with pytest.raises(ValueError, match="budget"):
            solve_master(pool, np.ones(2), budget)
