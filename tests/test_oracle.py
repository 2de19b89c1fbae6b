"""The oracle itself: hand-solved answers, a brute-force grid, and two routes to every zero-one value."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from oracles import (
    Cell,
    enumerate_cells,
    exact_bracket,
    exact_distance,
    exact_margin,
    exact_value,
    forward,
    grid_dual_value,
    knapsack_value,
    nominal_loss,
)
from problems import (
    DEFAULT_SEEDS,
    LOSSES,
    NORMS,
    RADII,
    SEEDS,
    SPECIALS,
    HandSolved,
    OracleProblem,
    hand_solved,
    random_problem,
)

HAND_SOLVED = hand_solved()
ALL_SEEDS = range(SEEDS)
PROBLEMS = {seed: random_problem(seed) for seed in ALL_SEEDS}
GRID_POINTS = {1: 20_001, 2: 301}


@cache
def cells_of(seed: int) -> list[Cell]:
    problem = PROBLEMS[seed]
    return enumerate_cells(problem.weights, problem.lower, problem.upper)


def value_of(problem: OracleProblem, cells: list[Cell] | None = None) -> float:
    p = problem
    return exact_value(p.weights, p.x, p.y, p.w, p.radius, p.norm, p.loss, p.lower, p.upper, cells)


def distances_of(problem: OracleProblem, cells: list[Cell] | None = None) -> list[float]:
    p = problem
    return [
        exact_distance(p.weights, x, int(y), p.norm, p.lower, p.upper, cells) for x, y in zip(p.x, p.y, strict=True)
    ]


def nominal_of(problem: OracleProblem) -> float:
    return nominal_loss(problem.weights, problem.x, problem.y, problem.w, problem.loss)


# Hand-solved answers


@pytest.mark.parametrize("case", HAND_SOLVED, ids=lambda case: case.name)
def test_value_is_the_hand_solved_one(case: HandSolved) -> None:
    assert value_of(case.problem) == pytest.approx(case.value, abs=1e-9)


@pytest.mark.parametrize(
    "case", [case for case in HAND_SOLVED if case.problem.loss == "zero-one"], ids=lambda case: case.name
)
def test_distances_and_knapsack_give_the_hand_solved_value(case: HandSolved) -> None:
    value = knapsack_value(distances_of(case.problem), case.problem.w, case.problem.radius)
    assert value == pytest.approx(case.value, abs=1e-9)


def test_knapsack_by_hand() -> None:
    # Nearest first: 0 (free), 1/8 (costs 1/16), then 3/16 is left for a sample that costs 1/4 * 1 in full.
    assert knapsack_value([1.0, 0.125, 0.0, np.inf], [0.25, 0.5, 0.125, 0.125], 0.25) == 0.125 + 0.5 + 0.1875
    assert knapsack_value([1.0, 0.125, 0.0, np.inf], [0.25, 0.5, 0.125, 0.125], 9.0) == 0.875
    assert knapsack_value([0.5, 0.25], [0.5, 0.5], 0.0) == 0.0


# Cells


@pytest.mark.parametrize("seed", ALL_SEEDS)
def test_cells_cover_the_box_with_the_network_on_each(seed: int) -> None:
    problem = PROBLEMS[seed]
    points = np.random.default_rng(seed).uniform(problem.lower, problem.upper, (300, problem.lower.size))
    points = np.vstack([points, problem.x])
    logits = forward(problem.weights, points)
    covered = np.zeros(len(points), dtype=bool)
    for cell in cells_of(seed):
        inside = (points @ cell.A.T <= cell.b + 1e-12).all(axis=1)
        np.testing.assert_allclose(points[inside] @ cell.G.T + cell.h, logits[inside], atol=1e-9)
        covered |= inside
    assert covered.all()


def test_constant_dead_active_and_duplicate_neurons_make_no_cells() -> None:
    weight = np.array([[1.0], [1.0], [0.0], [0.0], [0.0], [-1.0], [1.0]])
    bias = np.array([-0.5, -0.5, 0.5, -0.5, 0.0, -0.25, 0.25])  # kinks at 1/2 (twice); the rest keep one sign on [0, 1]
    last = np.arange(14.0).reshape(2, 7)
    cells = enumerate_cells([(weight, bias), (last, np.zeros(2))], np.zeros(1), np.ones(1))
    # Besides (0, 1/2) and (1/2, 1), the phases in which the duplicates differ hold at the one point 1/2.
    wide = [cell for cell in cells if np.ptp(_interval(cell)) > 1e-6]
    assert len(wide) == 2
    assert 2 <= len(cells) <= 4


def _interval(cell: Cell) -> np.ndarray:
    inside = np.linspace(0, 1, 1001)[:, None]
    inside = inside[(inside @ cell.A.T <= cell.b + 1e-12).all(axis=1)]
    return inside if len(inside) else np.zeros((1, 1))


def test_a_linear_network_is_one_cell() -> None:
    cells = enumerate_cells([(np.eye(2), np.ones(2))], np.zeros(2), np.ones(2))
    assert len(cells) == 1
    assert cells[0].A.shape == (0, 2)


# Random problems


@pytest.mark.parametrize("seed", [seed for seed in ALL_SEEDS if PROBLEMS[seed].lower.size <= 2])
def test_value_lies_in_the_grid_bracket(seed: int) -> None:
    p = PROBLEMS[seed]
    points = GRID_POINTS[p.lower.size]
    low, high = grid_dual_value(p.weights, p.x, p.y, p.w, p.radius, p.norm, p.loss, p.lower, p.upper, points)
    assert low - 1e-9 <= value_of(p, cells_of(seed)) <= high + 1e-9
    if p.lower.size == 1 and p.loss == "margin":
        assert high - low <= 1e-2  # the check has teeth


@pytest.mark.parametrize("seed", [seed for seed in ALL_SEEDS if PROBLEMS[seed].loss == "zero-one"])
def test_zero_one_program_agrees_with_distances_and_knapsack(seed: int) -> None:
    problem, cells = PROBLEMS[seed], cells_of(seed)
    distances = distances_of(problem, cells)
    for radius in (problem.radius, 0.01, 0.1):
        value = value_of(replace(problem, radius=radius), cells)
        assert value == pytest.approx(knapsack_value(distances, problem.w, radius), abs=1e-8)


@pytest.mark.parametrize("seed", ALL_SEEDS)
def test_radius_zero_is_the_nominal_loss(seed: int) -> None:
    problem = replace(PROBLEMS[seed], radius=0.0)
    assert value_of(problem, cells_of(seed)) == pytest.approx(nominal_of(problem), abs=1e-9)


@pytest.mark.parametrize("seed", range(0, SEEDS, 3))
def test_monotone_and_concave_in_the_radius(seed: int) -> None:
    problem, cells = PROBLEMS[seed], cells_of(seed)
    diameter = float((problem.upper - problem.lower).sum())
    radii = np.linspace(0.0, 0.4 * diameter, 5)
    values = np.array([value_of(replace(problem, radius=float(radius)), cells) for radius in radii])
    assert (np.diff(values) >= -1e-9).all()
    assert (np.diff(values, 2) <= 1e-9).all()


@pytest.mark.parametrize("seed", ALL_SEEDS)
def test_the_oracle_vouches_for_itself_far_below_the_tolerance_of_the_tests(seed: int) -> None:
    p = PROBLEMS[seed]
    low, high = exact_bracket(p.weights, p.x, p.y, p.w, p.radius, p.norm, p.loss, p.lower, p.upper, cells_of(seed))
    assert abs(high - low) <= 1e-9 * (1 + abs(high))


# What the problems are


def _holds_in_float32(array: np.ndarray) -> bool:
    return bool((array.astype(np.float32).astype(np.float64) == array).all())


@pytest.mark.parametrize(
    "problem", [*PROBLEMS.values(), *(case.problem for case in HAND_SOLVED)], ids=lambda problem: problem.loss
)
def test_problems_are_well_formed(problem: OracleProblem) -> None:
    arrays = [problem.x, problem.lower, problem.upper, *(a for layer in problem.weights for a in layer)]
    assert all(_holds_in_float32(array) for array in arrays)
    assert problem.n_relus <= 8
    assert ((problem.lower <= problem.x) & (problem.x <= problem.upper)).all()
    assert problem.w.sum() == 1
    assert (problem.w >= 0).all()
    classes = problem.weights[-1][0].shape[0]
    assert ((problem.y >= 0) & (problem.y < classes)).all()
    if "tie" in problem.tags:
        assert 0 in [exact_margin(problem.weights, x, int(y)) for x, y in zip(problem.x, problem.y, strict=True)]


@pytest.mark.parametrize("count", [DEFAULT_SEEDS, SEEDS])
def test_random_problems_cover_the_cases(count: int) -> None:
    problems = [random_problem(seed) for seed in range(count)]
    seen = {(p.norm, p.loss, tag) for p in problems for tag in p.tags & set(RADII)}
    assert seen == {(norm, loss, radius) for norm in NORMS for loss in LOSSES for radius in RADII}
    tags = set().union(*(p.tags for p in problems))
    assert tags >= {*SPECIALS, "d1", "d2", "d3", "K2", "K3", "hidden1", "hidden2"}
    if count == SEEDS:
        pairs = {(loss, tag) for loss in LOSSES for tag in SPECIALS}
        assert {(p.loss, tag) for p in problems for tag in p.tags} >= pairs
