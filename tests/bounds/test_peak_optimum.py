"""The largest value of a linear functional minus the cost: never below the linear program, and equal to it."""

from __future__ import annotations

import numpy as np
import pytest
from bounds.tiny import highest
from scipy.optimize import linprog

from wdaverify.network.model import Array
from wdaverify.problem import GroundCost, Norm

NORMS = [Norm.INF, Norm.ONE]
CASES = 120


def by_linprog(a: Array, x: Array, box: tuple[Array, Array], norm: Norm, near: float, far: float, lam: float) -> float:
    """``max a.x - lam t`` over ``x = centre + p - q``, ``0 <= p <= up, 0 <= q <= down``, t in [near, far]; l1: ``sum (p + q) = t``."""
    n = x.size
    eye, ones = np.eye(n), np.ones((n, 1))
    if norm is Norm.INF:
        rows, sides = np.hstack([eye, eye, -ones]), np.zeros(n)
    else:
        rows, sides = np.hstack([np.ones((1, 2 * n)), -np.ones((1, 1))]), np.zeros(1)
    bounds = [*[(0.0, v) for v in np.concatenate([box[1] - x, x - box[0]])], (near, far)]
    gain = np.concatenate([a, -a, [-lam]])
    kind = {"A_ub": rows, "b_ub": sides} if norm is Norm.INF else {"A_eq": rows, "b_eq": sides}
    result = linprog(-gain, **kind, bounds=bounds, method="highs-ds", options={"presolve": False})
    assert result.status == 0
    return float(a @ x - result.fun)


@pytest.mark.parametrize("priced", [True, False])
@pytest.mark.parametrize("norm", NORMS)
def test_peak_is_the_optimum(norm: Norm, priced: bool) -> None:
    rng = np.random.default_rng(11)
    looser = []
    for case in range(CASES):
        n = int(rng.integers(1, 7))
        lower, upper = -rng.uniform(0, 2, n), rng.uniform(0, 2, n)
        x = rng.uniform(lower, upper)
        x[0] = lower[0] if case % 3 == 0 else x[0]  # on a face: no room downwards
        if case % 4 == 0:
            lower[-1] = upper[-1] = x[-1]  # a constant feature
        reach = np.maximum(upper - x, x - lower)
        far = float(rng.uniform(0.05, 1.0) * (reach.max() if norm is Norm.INF else reach.sum()))
        near = float(far * rng.choice([0.0, 0.3, 0.9, 1.0]))
        a = rng.normal(size=n) * 10.0 ** rng.integers(-2, 3)
        a[rng.integers(n)] = 0.0 if case % 5 == 0 else a[0]
        lam = float(np.abs(a).sum() * rng.choice([0.0, 0.1, 0.4, 1.0, 3.0])) if priced else 0.0
        found = highest(GroundCost(norm, 1), a, x, lower, upper, near, far, lam if priced else None)
        best = by_linprog(a, x, (lower, upper), norm, near, far, lam)
        scale = 1 + float(np.abs(a).max())
        assert found >= best - 1e-10 * scale
        if found > best + 1e-9 * scale:
            looser.append((case, found - best))
    assert looser == []


@pytest.mark.parametrize("norm", NORMS)
def test_a_slope_below_the_multiplier_stays_at_the_sample(norm: Norm) -> None:
    """Dual norm at most lam and near 0: the best point is the sample itself."""
    a, x = np.array([1.0, -2.0]), np.array([0.5, 0.25])
    lam = 3.0 if norm is Norm.INF else 2.0
    assert highest(GroundCost(norm, 1), a, x, np.zeros(2), np.ones(2), 0.0, 1.0, lam) == pytest.approx(0.0, abs=1e-12)
