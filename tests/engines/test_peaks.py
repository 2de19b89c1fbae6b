"""Peaks in single precision: the value of a linear or cone program, attained at a displacement of the shell."""

from __future__ import annotations

import numpy as np
import pytest
from engines.cellwise import cone_program, moves
from scipy.optimize import linprog

from wdaverify.certify.backward import Shells
from wdaverify.encoding.cost import Region
from wdaverify.engines.cells.peaks import Floats, Peaks, peaks_of
from wdaverify.network.model import Array
from wdaverify.problem import GroundCost, Norm

NORMS = [Norm.INF, Norm.ONE, Norm.TWO]
SINGLE = 3e-6
"""Rounding of single precision, relative to what is summed."""
SEEDS = [pytest.param(s, marks=[] if s < 12 else [pytest.mark.full]) for s in range(120)]
BENDS = 64
OTHERS = [0, 20]
"""Other shells beside one: few have tables, many are sorted."""


def drawn(rng: np.random.Generator, norm: Norm, n: int, *, outside: bool = False) -> Region:
    """A shell: boxes with faces at the sample, weights, fixed features, near = far among them; or one of a part of the box."""
    lower, upper = -rng.uniform(0, 1, n), rng.uniform(0, 1, n)
    centre = rng.uniform(lower, upper)
    for k in range(n):
        if rng.random() < 0.25:
            centre[k] = rng.choice([lower[k], upper[k]])
    weights = None
    if rng.random() < 0.6:
        weights = np.exp(rng.normal(size=n))
        weights[rng.random(n) < 0.2] = np.inf
    cost = GroundCost(norm, 1, weights)
    span = np.where(cost.fixed(n), 0.0, cost.scale(n) * np.maximum(upper - centre, centre - lower))
    whole = {Norm.INF: span.max(), Norm.ONE: span.sum(), Norm.TWO: np.sqrt((span**2).sum())}[norm]
    far = float(rng.uniform(0.2, 1.2) * whole) + 0.01
    near = far * float(rng.choice([0.0, 0.0, 0.4, 1.0]))
    if outside:
        part = np.sort(rng.uniform(lower, upper, (2, n)), axis=0)
        lower, upper = (
            np.where((rng.random(n) < 0.6) & ~cost.fixed(n), some, side)
            for some, side in zip(part, (lower, upper), strict=True)
        )
        lower, upper = np.minimum(lower, upper), np.maximum(lower, upper)
        away = np.where(cost.fixed(n), 0.0, cost.scale(n) * np.maximum(np.maximum(lower - centre, centre - upper), 0.0))
        least = {Norm.INF: away.max(), Norm.ONE: away.sum(), Norm.TWO: np.sqrt((away**2).sum())}[norm]
        far = max(far, 1.05 * float(least))
    return Region(cost, centre, lower, upper, near, far)


def shells_of(region: Region) -> Shells:
    near, far = np.array([region.near]), np.array([region.far])
    return Shells.around(region.cost, region.centre[None], region.lower, region.upper, near, far)


class One:
    """The peaks of one region's shell, alone or in the midst of those of other shells, whose rows stand before and behind."""

    def __init__(self, region: Region, power: int, others: int) -> None:
        rng, n = np.random.default_rng(others), region.centre.size
        centre = rng.uniform(region.lower, region.upper, (others + 1, n))
        centre[others // 2] = region.centre
        far = rng.uniform(0.1, 2.0, others + 1) * region.far
        near = far * rng.choice([0.0, 0.5], others + 1)
        near[others // 2], far[others // 2] = region.near, region.far
        shells = Shells.around(region.cost, centre, region.lower, region.upper, near, far)
        self._peaks: Peaks = peaks_of(
            shells.within(*(np.tile(side, (others + 1, 1)) for side in (region.lower, region.upper))), power
        )
        self._before, self._at, self._others = others // 2, others // 2, others

    def _among(self, q: Floats, each: Floats) -> tuple[Array, Floats, Floats, slice]:
        count = q.shape[0]
        if not self._others:
            return np.zeros(count, np.int64), q, each, slice(None)
        shell = np.sort(np.concatenate([np.full(count, self._at), np.repeat(np.arange(self._others + 1), 2)]))
        mine = slice(int(np.argmax(shell == self._at)), int(np.argmax(shell == self._at)) + count)
        rows, values = q[np.arange(shell.size) % count] * np.float32(1.5), each[np.arange(shell.size) % count]
        rows[mine], values[mine] = q, each
        return shell, rows, values, mine

    def __call__(self, q: Floats, price: Floats) -> tuple[Floats, Floats, Floats]:
        shell, rows, prices, mine = self._among(q, price)
        value, moved, t = self._peaks(shell, rows, prices)
        return value[mine], moved[mine], t[mine]

    def crossing(self, q: Floats, level: Floats) -> tuple[Floats, Floats, Floats]:
        shell, rows, levels, mine = self._among(q, level)
        price, moved, t = self._peaks.crossing(shell, rows, levels)
        return price[mine], moved[mine], t[mine]


def optimum(region: Region, q: Array, price: float, power: int) -> float:
    rows, sides, ball = moves(region)
    n = q.size
    square = np.zeros(2 * n + 1)
    square[-1] = price if power == 2 else 0.0
    cost = np.concatenate([-q, np.zeros(n), [price if power == 1 else 0.0]])
    return -cone_program(cost, square, (rows, sides), ball)[0]


@pytest.mark.parametrize("outside", [False, True])
@pytest.mark.parametrize("others", OTHERS)
@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", SEEDS)
def test_the_value_is_the_optimum_and_attained(seed: int, norm: Norm, power: int, others: int, outside: bool) -> None:
    """For l-inf squared, the optimum up to the distance between the values of t that are tried."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 10))
    region = drawn(rng, norm, n, outside=outside)
    peak = One(region, power, others)
    q = rng.normal(size=(6, n))
    q[rng.random(q.shape) < 0.15] = 0.0
    size = np.abs(q / region.cost.scale(n)).sum(axis=1)
    price = size * rng.choice([0.0, 0.05, 0.3, 0.6, 1.5], 6) / (1.0 if norm is Norm.INF else n)
    q, price = q.astype(np.float32).astype(float), price.astype(np.float32).astype(float)
    value, moved, t = (part.astype(float) for part in peak(q.astype(np.float32), price.astype(np.float32)))
    noise = SINGLE * (size * region.far + price * region.far**power)
    truth = np.array([optimum(region, row, float(each), power) for row, each in zip(q, price, strict=True)])
    assert (value <= truth + noise + 1e-7).all()
    step = (region.far - region.near) / (BENDS // 2 - 1)
    missed = price * (0.5 * step) ** 2 if power == 2 and norm is Norm.INF and not others else 0.0
    assert (value >= truth - missed - noise - 1e-7).all()
    held = SINGLE * (1 + region.far)
    assert ((moved <= region.upper - region.centre + held) & (moved >= region.lower - region.centre - held)).all()
    assert not moved[:, region.cost.fixed(n)].any()
    assert ((t >= region.near - held) & (t <= region.far + held)).all()
    scaled = np.abs(moved * region.cost.scale(n))
    length = {Norm.INF: scaled.max(axis=1), Norm.ONE: scaled.sum(axis=1), Norm.TWO: np.sqrt((scaled**2).sum(axis=1))}[
        norm
    ]
    assert (length <= t + held * n).all()
    np.testing.assert_allclose((q * moved).sum(axis=1) - price * t**power, value, atol=float(noise.max()) + 1e-12)


@pytest.mark.parametrize("others", OTHERS)
@pytest.mark.parametrize("power", [1, 2])
def test_more_bends_than_are_tried_cost_a_little_and_stay_attained(power: int, others: int) -> None:
    rng = np.random.default_rng(7)
    n = 150
    upper = rng.uniform(0.05, 1, n)
    region = Region(GroundCost(Norm.INF, 1), np.zeros(n), -upper[::-1].copy(), upper, 0.0, 1.0)
    peak = One(region, power, others)
    q = rng.normal(size=(8, n)).astype(np.float32)
    price = (np.abs(q).sum(axis=1) * np.linspace(0.0, 0.6, 8)).astype(np.float32)
    value, moved, t = (part.astype(float) for part in peak(q, price))
    np.testing.assert_allclose((q * moved).sum(axis=1) - price * t**power, value, rtol=1e-4, atol=1e-4)
    for found, row, each in zip(value, q.astype(float), price.astype(float), strict=True):
        truth = optimum(region, row, float(each), power)
        assert truth - 0.01 * np.abs(row).sum() <= found <= truth + 1e-5 * np.abs(row).sum()


@pytest.mark.parametrize("outside", [False, True])
@pytest.mark.parametrize("others", OTHERS)
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", SEEDS)
def test_the_crossing_is_the_least_distance_at_which_a_level_is_made_up_for(
    seed: int, norm: Norm, others: int, outside: bool
) -> None:
    """Against a linear program; and no price of the peak's gives more than the one that is told."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 10))
    region = drawn(rng, norm, n, outside=outside)
    peak = One(region, 1, others)
    q = rng.normal(size=(8, n)).astype(np.float32)
    q[rng.random(q.shape) < 0.15] = 0.0
    best = np.array([optimum(region, row, 0.0, 1) for row in q.astype(float)])
    level = (-best * rng.choice([0.0, 0.3, 0.7, 0.95, 1.3], 8)).astype(np.float32)
    price, moved, t = (part.astype(float) for part in peak.crossing(q, level))
    value, _, _ = (part.astype(float) for part in peak(q, price.astype(np.float32)))
    size = np.abs(q / region.cost.scale(n)).sum(axis=1) + np.abs(level)
    noise = SINGLE * (size * (1 + region.far) / price + region.far) + 1e-7
    bound = -(value + level) / price
    attained = t - ((q * moved).sum(axis=1) + level) / price
    near = np.isclose(bound, attained, rtol=1e-4, atol=float(noise.max()))
    assert (near | (np.minimum(bound, attained) >= region.far)).all()
    held = SINGLE * (1 + region.far)
    assert ((t >= region.near - held) & (t <= region.far + held)).all()
    least = shells_of(region).within(region.lower[None], region.upper[None]).near
    for k in range(8):
        truth = nearest(region, q[k].astype(float), float(level[k]))
        told = max(bound[k], float(least[0]))
        if truth is None:
            assert told >= region.far - noise[k]
            assert t[k] == pytest.approx(region.far, rel=1e-6)
        else:
            assert abs(told - truth) <= noise[k] + 1e-4 * truth
            assert abs(t[k] - truth) <= noise[k] + 1e-4 * (truth + region.far)
    for factor in (0.5, 0.9, 1.1, 2.0):
        other = (price * factor).astype(np.float32)
        found = -(peak(q, other)[0].astype(float) + level) / other
        same = (np.minimum(found, bound) >= region.far) | (np.maximum(found, bound) <= least)  # nothing more is said
        assert ((found <= bound + noise / factor) | same).all()


@pytest.mark.parametrize("others", OTHERS)
@pytest.mark.parametrize("norm", [Norm.ONE, Norm.TWO])
def test_what_misses_the_end_by_rounding_has_a_price_of_its_slopes_order(norm: Norm, others: int) -> None:
    """A price made of that rounding alone would make it large, where bounds are divided by it."""
    rng = np.random.default_rng(0)
    q = rng.normal(size=(50, 4)).astype(np.float32)
    slope = np.abs(q).max(axis=1) if norm is Norm.ONE else np.sqrt((q.astype(float) ** 2).sum(axis=1))
    # in l1 the dearest feature's room ends with the shell, and what comes next is worth the second pull
    least = np.sort(np.abs(q), axis=1)[:, -2] if norm is Norm.ONE else slope
    region = Region(GroundCost(norm, 1), np.zeros(4), np.full(4, -9.0), np.full(4, 9.0), 0.9, 1.0)
    peak = One(region, 1, others)
    for miss in (1e-7, 3e-7, 1e-6):
        price, _, t = peak.crossing(q, (-slope * (1 + miss)).astype(np.float32))
        assert (price >= 0.06 * least).all()
        assert (price <= 1.001 * slope).all()
        assert (t >= 1 - 1e-6).all()


def nearest(region: Region, q: Array, level: float) -> float | None:
    """The least t with ``q . d + level >= 0``; None where there is none."""
    rows, sides, ball = moves(region)
    n = q.size
    crossing = np.concatenate([-q, np.zeros(n + 1)])[None]
    cost = np.concatenate([np.zeros(2 * n), [1.0]])
    if ball is not None:
        value, _ = cone_program(cost, np.zeros(2 * n + 1), (np.vstack([rows, crossing]), np.append(sides, level)), ball)
        return value if np.isfinite(value) else None
    found = linprog(cost, np.vstack([rows, crossing]), np.append(sides, level), bounds=(None, None), method="highs")
    return float(found.fun) if found.status == 0 else None
