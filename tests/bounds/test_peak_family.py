"""The largest value of a linear functional minus the cost, over orders, norms and weights: never below a point, and tight."""

from __future__ import annotations

from dataclasses import dataclass

import cvxpy as cp
import numpy as np
import pytest
from bounds.tiny import highest

from wdaverify.network.model import Array
from wdaverify.problem import GroundCost, Norm

NORMS = list(Norm)


@dataclass(frozen=True, eq=False)
class Case:
    cost: GroundCost
    a: Array
    x: Array
    lower: Array
    upper: Array
    near: float
    far: float
    lam: float | None

    def bound(self) -> float:
        return highest(self.cost, self.a, self.x, self.lower, self.upper, self.near, self.far, self.lam)

    def distance(self, d: Array) -> Array:
        n = self.x.size
        assert (d[:, self.cost.fixed(n)] == 0).all()
        order = {Norm.INF: np.inf, Norm.ONE: 1, Norm.TWO: 2}[self.cost.norm]
        return np.asarray(np.linalg.norm(d * self.cost.scale(n), order, axis=1))

    def values(self, d: Array) -> Array:
        paid = 0.0 if self.lam is None else self.lam * self.distance(d) ** self.cost.power
        return (self.x + d) @ self.a - paid

    def optimum(self) -> float:
        """By a cone solver, for near = 0."""
        n = self.x.size
        d = cp.Variable(n)
        scaled = cp.multiply(self.cost.scale(n), d)
        length = cp.norm(scaled, {Norm.INF: "inf", Norm.ONE: 1, Norm.TWO: 2}[self.cost.norm])
        fixed = np.flatnonzero(self.cost.fixed(n))
        limits = [length <= self.far, self.x + d >= self.lower, self.x + d <= self.upper, *(d[k] == 0 for k in fixed)]
        limits = [c for c in limits if not (isinstance(c, bool) and c)]
        price = 0.0 if self.lam is None else self.lam * (length if self.cost.power == 1 else cp.square(length))
        program = cp.Problem(cp.Maximize(self.a @ (self.x + d) - price), limits)
        program.solve(solver=cp.CLARABEL)
        return float(program.value)


def case(rng: np.random.Generator, norm: Norm, order: float, *, near: bool) -> Case:
    n = int(rng.integers(1, 8))
    weights = None
    if rng.random() < 0.7:
        weights = np.exp(rng.normal(size=n))
        weights[rng.random(n) < 0.15] = np.inf
    cost = GroundCost(norm, order, weights)
    lower, upper = -rng.uniform(0, 2, n), rng.uniform(0, 2, n)
    x = rng.uniform(lower, upper)
    x[0] = lower[0] if rng.random() < 0.3 else x[0]
    a = rng.normal(size=n) * (rng.random(n) < 0.85)
    room = np.maximum(upper - x, x - lower) * cost.scale(n) * ~cost.fixed(n)
    reach = {Norm.INF: room.max(), Norm.ONE: room.sum(), Norm.TWO: np.linalg.norm(room)}[norm]
    far = float(rng.uniform(0.05, 1.2) * reach) + 1e-3
    lam = float(np.abs(a).sum() * rng.choice([0.0, 0.05, 0.2, 0.6, 2.0])) if rng.random() < 0.85 else None
    if order == np.inf:
        lam = None
    return Case(cost, a, x, lower, upper, float(far * rng.choice([0.2, 0.7])) if near else 0.0, far, lam)


def some_moves(rng: np.random.Generator, c: Case) -> Array:
    """Displacements ``[M, n]`` within the shell: random ones scaled to random lengths, many coordinates on their walls."""
    n = c.x.size
    d = rng.uniform(c.lower - c.x, c.upper - c.x, (4000, n)) * (rng.random((4000, n)) < rng.random((4000, 1)))
    greedy = np.where(c.a > 0, c.upper - c.x, c.lower - c.x)
    d = np.where(rng.random((4000, n)) < 0.6, greedy * (rng.random((4000, n)) < 0.7), d)
    d[:, c.cost.fixed(n)] = 0.0
    length = c.distance(d)
    target = rng.uniform(c.near, c.far, 4000)
    d = d * np.minimum(1.0, target / np.maximum(length, 1e-300))[:, None]
    length = c.distance(d)
    return np.asarray(d[(length >= c.near) & (length <= c.far)])


@pytest.mark.parametrize("order", [1, 2, np.inf])
@pytest.mark.parametrize("norm", NORMS)
def test_peak_is_never_below_a_point_of_the_shell(norm: Norm, order: float) -> None:
    rng = np.random.default_rng(21)
    seen = 0
    for _ in range(120):
        c = case(rng, norm, order, near=bool(rng.random() < 0.6))
        values = c.values(some_moves(rng, c)) if order != np.inf else (c.x + some_moves(rng, c)) @ c.a
        seen += values.size
        assert values.max(initial=-np.inf) <= c.bound() + 1e-12
    assert seen > 50_000


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("norm", NORMS)
def test_peak_is_the_optimum_of_the_ball(norm: Norm, order: float) -> None:
    rng = np.random.default_rng(22)
    for _ in range(25):
        c = case(rng, norm, order, near=False)
        assert c.bound() == pytest.approx(c.optimum(), abs=1e-6)


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("norm", NORMS)
def test_the_whole_space_is_bounded_within_a_shell(norm: Norm, order: float) -> None:
    """Without walls ``max a.d - lam ||d||^p`` is a matter of the dual norm alone, also from half of far on."""
    rng = np.random.default_rng(23)
    for near in (0.0, 1.5):
        a, s, x = rng.normal(size=6), np.exp(rng.normal(size=6)), rng.normal(size=6)
        dual = float(np.linalg.norm(a / s, {Norm.INF: 1, Norm.ONE: np.inf, Norm.TWO: 2}[norm]))
        for lam in (None, 0.1, dual / 2, 2 * dual):
            wall = np.full(6, np.inf)
            found = Case(GroundCost(norm, order, s), a, x, -wall, wall, near, 3.0, lam).bound()
            t = np.linspace(near, 3.0, 100_001)
            assert found == pytest.approx(a @ x + (dual * t - (lam or 0.0) * t**order).max(), abs=1e-8)


@pytest.mark.parametrize("norm", NORMS)
def test_nothing_moves_where_every_feature_is_fixed(norm: Norm) -> None:
    wall = np.full(3, np.inf)
    a, x = np.array([1.0, -2.0, 3.0]), np.array([0.3, 0.4, 0.5])
    found = Case(GroundCost(norm, 2, np.full(3, np.inf)), a, x, -wall, wall, 0.0, 5.0, 0.1).bound()
    assert found == pytest.approx(a @ x, abs=1e-12)
