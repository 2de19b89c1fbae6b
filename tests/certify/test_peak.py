"""The closed form of the last backward step where boxes leave the centre out, and the bounds of cross-entropy."""

from __future__ import annotations

import math

import cvxpy as cp
import numpy as np
import pytest

from wdaverify.certify.entropy import best_level, by_rule, entropy_constant, on_grid, span_constant
from wdaverify.certify.peak import Price, Shells, peak, unreachable
from wdaverify.ground import GroundCost, Norm

NORMS = {Norm.INF: "inf", Norm.ONE: 1, Norm.TWO: 2}


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("norm", list(NORMS))
def test_a_box_that_leaves_the_centre_out(norm: Norm, power: int) -> None:
    """As integers branch: one feature is away from the sample's value; the bound is the optimum of the convex program."""
    rng = np.random.default_rng(5)
    for case in range(30):
        n = int(rng.integers(1, 5))
        cost = GroundCost(norm, power, None if case % 2 else np.exp(rng.normal(size=n)))
        scale, far = cost.scale(n), float(rng.uniform(1.0, 3.0)) * 10
        room = rng.uniform(0.1, 1.0, size=(2, n))
        low, high = -room[0], room[1]
        at = int(rng.integers(n))
        low[at] = rng.uniform(0.1, 0.5)
        high[at] = low[at] + (0.0 if case % 3 == 0 else 0.3)
        if case % 5 == 0:
            low[at], high[at] = -high[at], -low[at]
        q, tau = rng.normal(size=n), float(rng.choice([0.0, 1.0, 4.0]) * rng.uniform(0.1, 1.0))
        whole = np.full(n, 2.0)
        shell = Shells.around(cost, np.zeros((1, n)), -whole, whole, np.zeros(1), np.array([far])).within(
            low[None], high[None]
        )
        found = float(peak(q[None, None], np.zeros(n), shell, Price(np.array([tau]), power, None))[0][0, 0])
        d, t = cp.Variable(n), cp.Variable()
        price = t if power == 1 else cp.square(t)
        rows = [d >= low, d <= high, cp.norm(cp.multiply(scale, d), NORMS[norm]) <= t, t <= far]
        task = cp.Problem(cp.Maximize(q @ d - tau * price), rows)
        best = float(task.solve(solver=cp.CLARABEL))
        assert task.status == "optimal"
        assert found == pytest.approx(best, abs=2e-6)
        points = rng.uniform(low, high, size=(200, n))
        values = points @ q - tau * cost.distance(points) ** power
        assert (values <= found + 1e-12).all()


def test_a_shell_that_the_box_does_not_reach() -> None:
    for norm, reach in ((Norm.INF, 0.5), (Norm.ONE, 0.75), (Norm.TWO, math.hypot(0.5, 0.25))):
        cost = GroundCost(norm, 1)
        for near, empty in ((reach * 0.999, False), (reach * 1.001, True)):
            shell = Shells.around(
                cost, np.zeros((1, 2)), -np.array([0.5, 0.25]), np.array([0.1, 0.1]), np.array([near]), np.ones(1)
            )
            assert unreachable(shell).tolist() == [empty]


@pytest.mark.parametrize("weights", [None, np.array([2.0, 0.5])])
def test_a_shell_that_the_box_lies_beyond(weights: np.ndarray | None) -> None:
    """As where every integer is fixed: the box is a point, or a side of it is, nearest at ``(0.5, 0)`` or ``(0.5, -0.25)``."""
    for norm, power in ((Norm.INF, math.inf), (Norm.ONE, 1), (Norm.TWO, 2)):
        cost = GroundCost(norm, 1, weights)
        for lower, upper, nearest in (
            ([0.5, -0.25], [0.5, -0.25], [0.5, -0.25]),
            ([0.5, -1.0], [2.0, 1.0], [0.5, 0.0]),
        ):
            reach = float(np.linalg.norm(cost.scale(2) * nearest, power))
            for far, empty in ((reach * 1.001, False), (reach, False), (reach * 0.999, True)):
                side = np.full(2, 3.0)
                shell = Shells.around(cost, np.zeros((1, 2)), -side, side, np.zeros(1), np.array([far]))
                assert unreachable(shell.within(np.array([lower]), np.array([upper]))).tolist() == [empty]


def test_sizes_whose_squares_overflow_say_nothing() -> None:
    cost, side = GroundCost(Norm.TWO, 1), np.full(2, 3e160)
    shell = Shells.around(cost, np.zeros((1, 2)), -side, side, np.zeros(1), np.array([2e160]))
    assert unreachable(shell.within(np.full((1, 2), 1e160), side[None])).tolist() == [False]


def test_cross_entropy_lies_below_its_bounds() -> None:
    rng = np.random.default_rng(1)
    for _ in range(200):
        count = int(rng.integers(1, 6))
        low = rng.normal(size=count) * 10 ** rng.uniform(-2, 1.5)
        high = low + rng.exponential(size=count) * 10 ** rng.uniform(-3, 1)
        m = rng.uniform(low, high, size=(100, count))
        truth = np.logaddexp.reduce(np.hstack([m, np.zeros((100, 1))]), axis=1)
        for gamma in (by_rule(low, high)[1], on_grid(rng.normal(size=count))):
            level = best_level(gamma, low, high)
            constant = entropy_constant(np.array([level]), gamma[None], low[None], high[None])[0]
            assert (truth <= m @ gamma + constant + 1e-12).all()
            assert (span_constant(gamma[None], low[None], high[None])[0] + m @ gamma >= -1e-12).all()


def test_cross_entropy_is_tight_on_narrow_intervals() -> None:
    m = np.array([0.3, -1.2, 2.0])
    gamma = on_grid(np.exp(m) / (1 + np.exp(m).sum()))
    low, high = m - 1e-4, m + 1e-4
    constant = entropy_constant(np.array([best_level(gamma, low, high)]), gamma[None], low[None], high[None])[0]
    assert float(gamma @ m) + constant == pytest.approx(math.log1p(np.exp(m).sum()), abs=1e-7)
