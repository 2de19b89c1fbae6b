"""The knapsack against a linear program, and its outward rounding against exact arithmetic."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from scipy.optimize import linprog

from wdaverify.transport.knapsack import knapsack_lower, knapsack_upper, knapsack_value


def random_instance(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 9))
    distances = rng.integers(0, 6, n) / 5.0
    distances[rng.random(n) < 0.2] = np.inf
    weights = rng.random(n) * (rng.random(n) > 0.15)
    return distances, weights


def by_linprog(distances: np.ndarray, weights: np.ndarray, budget: float) -> float:
    finite = np.isfinite(distances)
    cost = np.where(finite, distances, 0.0) * weights
    bounds = [(0.0, 1.0 if f else 0.0) for f in finite]
    out = linprog(-weights, A_ub=cost[None, :], b_ub=[budget], bounds=bounds, method="highs")
    assert out.status == 0
    return float(-out.fun)


def exact_value(distances: np.ndarray, weights: np.ndarray, budget: float) -> Fraction:
    """By the dual: the minimum over its breakpoints of ``lam B + sum w max(0, 1 - lam d)``, exactly."""
    pairs = [
        (Fraction(float(d)), Fraction(float(w))) for d, w in zip(distances, weights, strict=True) if np.isfinite(d)
    ]
    lams = [Fraction(0)] + [1 / d for d, w in pairs if d > 0]
    return min(lam * Fraction(budget) + sum(w * max(Fraction(0), 1 - lam * d) for d, w in pairs) for lam in lams)


@pytest.mark.parametrize("seed", range(60))
@pytest.mark.parametrize("budget", [0.0, 0.01, 0.3, 5.0])
def test_agrees_with_a_linear_program_and_rounds_outward(seed: int, budget: float) -> None:
    distances, weights = random_instance(seed)
    solution = knapsack_value(distances, weights, budget)
    assert solution.value == pytest.approx(by_linprog(distances, weights, budget), abs=1e-9)
    truth = exact_value(distances, weights, budget)
    low, high = knapsack_lower(distances, weights, budget).value, knapsack_upper(distances, weights, budget).value
    assert Fraction(low) <= truth <= Fraction(high)
    assert high <= np.nextafter(low, np.inf)


@pytest.mark.parametrize("seed", range(60))
def test_multiplier_and_fractions_are_optimal(seed: int) -> None:
    distances, weights = random_instance(seed)
    for budget in (0.0, 0.02, 0.3, 5.0):
        solution = knapsack_value(distances, weights, budget)
        finite = np.isfinite(distances)
        d = np.where(finite, distances, 0.0)
        gain = np.where(finite, np.maximum(0.0, 1 - solution.multiplier * d), 0.0)
        assert solution.multiplier * budget + weights @ gain == pytest.approx(solution.value, abs=1e-12)
        assert weights @ solution.fraction == pytest.approx(solution.value, abs=1e-12)
        assert (weights * solution.fraction) @ d <= budget + 1e-12
        assert not solution.fraction[~finite].any()
        if np.isfinite(solution.threshold):
            assert solution.multiplier == 1 / solution.threshold
            assert (solution.fraction[(distances < solution.threshold) & (weights > 0)] == 1).all()
        else:
            assert solution.multiplier == 0


@pytest.mark.parametrize(
    ("budget", "value", "threshold"),
    [
        (0.0, 0.25, 1.0),
        (0.125, 0.375, 1.0),
        (0.25, 0.5, 2.0),
        (0.5, 0.625, 2.0),
        (0.75, 0.75, np.inf),
        (9.0, 0.75, np.inf),
    ],
)
def test_threshold_is_the_nearest_sample_not_wholly_moved(budget: float, value: float, threshold: float) -> None:
    solution = knapsack_value(np.array([2.0, 0.0, np.inf, 1.0]), np.full(4, 0.25), budget)
    assert (solution.value, solution.threshold) == (value, threshold)


def test_rounding_directions_differ_where_the_sum_is_no_double() -> None:
    distances, weights = np.zeros(3), np.array([1.0, 2.0**-60, 0.0])
    assert knapsack_lower(distances, weights, 0.0).value == 1.0
    assert knapsack_upper(distances, weights, 0.0).value == np.nextafter(1.0, 2.0)


def test_zero_weights_set_no_threshold() -> None:
    solution = knapsack_value(np.array([0.5, 2.0]), np.array([0.0, 1.0]), 1.0)
    assert (solution.value, solution.threshold) == (0.5, 2.0)
    assert solution.fraction.tolist() == [0.0, 0.5]


def test_empty_and_unreachable() -> None:
    assert knapsack_value(np.zeros(0), np.zeros(0), 1.0).value == 0.0
    solution = knapsack_value(np.array([np.inf]), np.array([1.0]), 1.0)
    assert (solution.value, solution.multiplier) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("distances", "weights", "budget"),
    [
        ([-1.0], [1.0], 1.0),
        ([np.nan], [1.0], 1.0),
        ([1.0], [-1.0], 1.0),
        ([1.0], [np.inf], 1.0),
        ([1.0], [1.0], -1.0),
        ([1.0], [1.0], np.nan),
        ([1.0], [1.0], np.inf),
        ([1.0, 2.0], [1.0], 1.0),
    ],
)
def test_refuses_bad_numbers(distances: list[float], weights: list[float], budget: float) -> None:
    with pytest.raises(ValueError, match=r"distances|budget"):
        knapsack_value(np.array(distances), np.array(weights), budget)
