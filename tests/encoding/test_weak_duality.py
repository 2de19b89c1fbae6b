"""What multipliers prove of a linear program: never more than scipy's optimum, and with the right ones all of it."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from scipy.optimize import linprog

from wdaverify.encoding.rows import Rows
from wdaverify.encoding.weak_duality import proven
from wdaverify.network.model import Array


def program(seed: int) -> tuple[Array, Array, Array, Array, Array, Array]:
    """A feasible one: cost, matrix, sides (some infinite, some equal), bounds."""
    rng = np.random.default_rng(seed)
    n, m = int(rng.integers(1, 7)), int(rng.integers(1, 7))
    matrix = rng.normal(size=(m, n)) * (rng.random((m, n)) < 0.7)
    lower = rng.uniform(-3, 0, n)
    upper = lower + rng.uniform(0, 4, n)
    at = matrix @ rng.uniform(lower, upper)
    low = np.where(rng.random(m) < 0.4, -math.inf, at - rng.uniform(0, 0.5, m))
    high = np.where(rng.random(m) < 0.4, math.inf, at + rng.uniform(0, 0.5, m))
    equal = rng.random(m) < 0.2
    low, high = np.where(equal, at, low), np.where(equal, at, high)
    return rng.normal(size=n), matrix, low, high, lower, upper


def as_rows(matrix: Array, low: Array, high: Array) -> Rows:
    return Rows.of(np.broadcast_to(np.arange(matrix.shape[1]), matrix.shape), matrix, low, high)


def optimum(cost: Array, matrix: Array, low: Array, high: Array, lower: Array, upper: Array) -> tuple[float, Array]:
    """The least ``cost . v`` and one multiplier a row."""
    above, below = np.isfinite(high), np.isfinite(low)
    result = linprog(
        cost,
        A_ub=np.vstack([matrix[above], -matrix[below]]),
        b_ub=np.concatenate([high[above], -low[below]]),
        bounds=list(zip(lower, upper, strict=True)),
        method="highs",
    )
    assert result.status == 0
    y = np.zeros(len(matrix))
    y[above] += result.ineqlin.marginals[: above.sum()]
    y[below] -= result.ineqlin.marginals[above.sum() :]
    return float(result.fun), y


@pytest.mark.parametrize("seed", range(60))
def test_the_right_multipliers_prove_the_optimum(seed: int) -> None:
    cost, matrix, low, high, lower, upper = program(seed)
    best, y = optimum(cost, matrix, low, high, lower, upper)
    bound = proven(cost, as_rows(matrix, low, high), lower, upper, y)
    assert best - 1e-9 <= bound <= best + 1e-12


@pytest.mark.parametrize("seed", range(60))
def test_any_multipliers_prove_something_true(seed: int) -> None:
    """Random ones, of both signs and every size, some not numbers at all."""
    rng = np.random.default_rng(1000 + seed)
    cost, matrix, low, high, lower, upper = program(seed)
    best, y = optimum(cost, matrix, low, high, lower, upper)
    rows = as_rows(matrix, low, high)
    for k in range(50):
        wild = rng.normal(size=y.size) * 10.0 ** rng.integers(-8, 9, y.size) if k % 2 else y + rng.normal(size=y.size)
        wild[rng.random(y.size) < 0.1] = rng.choice([math.nan, math.inf, -math.inf])
        assert proven(cost, rows, lower, upper, wild) <= best + 1e-9


@pytest.mark.parametrize("seed", range(40))
def test_is_below_the_dual_in_rationals(seed: int) -> None:
    """Not a rounding too high, also with numbers of very different sizes."""
    rng = np.random.default_rng(seed)
    cost, matrix, low, high, lower, upper = program(seed)
    matrix = matrix * 10.0 ** rng.integers(-5, 6, matrix.shape)
    low, high = np.where(np.isfinite(low), -1.0 / 3, low), np.where(np.isfinite(high), 1e5 / 7, high)
    y = rng.normal(size=len(matrix)) * 10.0 ** rng.integers(-3, 4, len(matrix))
    y[np.isinf(np.where(y > 0, low, high))] = 0.0
    rest = [Fraction(c) for c in cost.tolist()]
    value = Fraction(0)
    for r, v in enumerate(y.tolist()):
        if v:
            value += Fraction(v) * Fraction(float(low[r] if v > 0 else high[r]))
            rest = [a - Fraction(v) * Fraction(b) for a, b in zip(rest, matrix[r].tolist(), strict=True)]
    value += sum(
        (d * Fraction(a if d > 0 else b) for d, a, b in zip(rest, lower.tolist(), upper.tolist(), strict=True)),
        Fraction(0),
    )
    bound = proven(cost, as_rows(matrix, low, high), lower, upper, y)
    assert Fraction(bound) <= value
    assert float(value) - bound <= 1e-9 * (
        1 + float(np.abs(y) @ np.abs(matrix).sum(axis=1) * 4 + 1e5 * np.abs(y).sum())
    )


def test_a_side_that_is_infinite_is_not_counted() -> None:
    rows = as_rows(np.array([[1.0]]), np.array([-math.inf]), np.array([2.0]))
    cost, lower, upper = np.array([-1.0]), np.array([0.0]), np.array([9.0])
    assert proven(cost, rows, lower, upper, np.array([-1.0])) == pytest.approx(-2.0)
    assert proven(cost, rows, lower, upper, np.array([1.0])) == pytest.approx(-9.0)  # no lower side to stand on


def test_what_overflows_proves_nothing() -> None:
    rows = as_rows(np.array([[1e300]]), np.array([1.0]), np.array([2.0]))
    with np.errstate(over="ignore", invalid="ignore"):
        assert proven(np.array([1.0]), rows, np.zeros(1), np.ones(1), np.array([1e300])) == -math.inf


def test_an_empty_program_is_shown_to_be_empty() -> None:
    """``v >= 2`` within [0, 1]: a ray proves more than 0 of the cost 0."""
    rows = as_rows(np.array([[1.0]]), np.array([2.0]), np.array([math.inf]))
    assert proven(np.zeros(1), rows, np.zeros(1), np.ones(1), np.array([1.0])) == pytest.approx(1.0)
    assert proven(np.zeros(1), rows, np.zeros(1), np.ones(1), np.array([-1.0])) <= 0
