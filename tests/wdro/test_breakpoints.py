"""Curves hold in rational arithmetic: at every breakpoint as the double that it is, and between them on the straight line."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from layers import Affine, network_of

from wdaverify.network.model import Array, readonly
from wdaverify.problem import GroundCost, Loss, Norm, Support, WdroProblem
from wdaverify.rounding import running_sums, widths_up
from wdaverify.samples import make_samples
from wdaverify.wdro.breakpoints import table
from wdaverify.wdro.curve import CurveResult, _of_distances, curve
from wdaverify.wdro.distances import DistancesResult
from wdaverify.wdro.result import Reason, SampleBracket, Voucher

SEEDS = [pytest.param(s, marks=[] if s < 12 else [pytest.mark.full]) for s in range(100)]


def question(slope: float, offset: float, count: int = 1, order: float = 1, loss: Loss = Loss.ZERO_ONE) -> WdroProblem:
    """The margin ``slope x + offset`` of class 1 on [0, 1], and samples of class 0."""
    weight, bias = readonly(np.array([[0.0], [slope]])), readonly(np.array([0.0, offset]))
    network = network_of((Affine(weight, bias),), (1,), (2,), hashlib.sha256(b"line").hexdigest(), "line", ())
    x = np.linspace(0, 1, count)[:, None] if count > 1 else np.zeros((1, 1))
    samples = make_samples(x, np.zeros(count, np.int64))
    return WdroProblem(network, samples, GroundCost(Norm.INF, order), Support.box(0, 1, 1), loss, 0.3)


def of_brackets(problem: WdroProblem, low: Array, high: Array) -> CurveResult:
    """The zero-one curve that brackets of distances give."""
    w = problem.samples.w.tolist()
    rows = zip(w, low.tolist(), high.tolist(), strict=True)
    brackets = tuple(SampleBracket(i, weight, a, b, Voucher.CHECKED) for i, (weight, a, b) in enumerate(rows))
    nothing = (None,) * len(w)
    found = DistancesResult(problem, Reason.GAP_CLOSED, brackets, nothing, nothing, 1e-8, 0.0, 0, ())
    return _of_distances(problem, found, 1e-6)


def knapsack(weights: Sequence[float], distances: Sequence[float], budget: Fraction, power: int) -> Fraction:
    """The most mass that a budget moves, nearest first, the last sample in part."""
    value = Fraction(0)
    for d, w in sorted(zip(distances, weights, strict=True)):
        if math.isinf(d):
            break
        price = Fraction(w) * Fraction(d) ** power
        if price > budget:
            return value + Fraction(w) * budget / price
        budget, value = budget - price, value + Fraction(w)
    return value


def between(result: CurveResult, side: Array, k: int, b: Fraction, power: int) -> Fraction:
    """The straight line in ``radius^p`` from breakpoint k to the next."""
    a, c = (Fraction(result.radius[j]) ** power for j in (k, k + 1))
    return Fraction(side[k]) + (b - a) / (c - a) * (Fraction(side[k + 1]) - Fraction(side[k]))


def test_weights_that_sum_to_a_little_more_than_one() -> None:
    problem = question(1.0, 1.0, count=5)
    exact = sum(map(Fraction, problem.samples.w.tolist()))
    assert exact == 1 + Fraction(1, 2**54)
    result = curve(replace(problem, radius=0.1))
    assert result.reason is Reason.GAP_CLOSED
    assert all(Fraction(low) <= exact <= Fraction(up) for low, up in zip(result.lower, result.upper, strict=True))
    assert set(result.lower) == {1.0}
    assert set(result.upper) == {math.nextafter(1, 2)}


def test_so_many_weights_that_their_running_sum_rounds_by_more_than_any_slack() -> None:
    count, first = 200_000, 0.6
    w = np.concatenate([[first], np.full(count, (1 - first) / count * 1.288135593220339)])
    problem = question(1.0, 1.0, count=count + 1)
    problem = replace(problem, samples=make_samples(problem.samples.x, problem.samples.y, w))
    weights = problem.samples.w.tolist()
    exact = sum(map(Fraction, weights))
    assert abs(Fraction(float(np.cumsum(weights)[-1])) - exact) > Fraction(1, 10**11)
    result = of_brackets(problem, np.zeros(count + 1), np.zeros(count + 1))
    assert result.radius.tolist() == [0.0, 0.3]
    for low, up in zip(result.lower, result.upper, strict=True):
        assert Fraction(low) <= exact <= Fraction(up)
        assert up == math.nextafter(low, 2)
    distances = np.linspace(0, 1, count + 1)
    spread = of_brackets(replace(problem, radius=1.0), distances, distances)
    assert Fraction(spread.lower[-1]) <= exact <= Fraction(spread.upper[-1])
    assert spread.widths.max() < 1e-14


@pytest.mark.parametrize("steps", [0, 3, 8, 11])
def test_a_steep_line_at_every_double_around_its_zero(steps: int) -> None:
    radius = 0.3
    for _ in range(steps):
        radius = math.nextafter(radius, 1)
    result = curve(replace(question(1e10, -3e9, loss=Loss.MARGIN), radius=radius))
    exact = Fraction(1e10) * Fraction(radius) - Fraction(3e9)
    assert Fraction(result.lower[-1]) <= exact <= Fraction(result.upper[-1])
    assert result.widths.max() < 1e-3  # of 3e9, as far as the bounds of single points are rounded


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("order", [1, 2, math.inf])
def test_random_brackets_of_distances(order: float, seed: int) -> None:
    rng = np.random.default_rng([seed, int(min(order, 3))])
    count, scale = int(rng.integers(1, 9)), 10.0 ** rng.choice([0, 0, 0, -8, -170, 6, 120])
    true = scale * np.where(rng.random(count) < 0.2, 0, rng.random(count))
    true[rng.random(count) < 0.15] = math.inf
    true[rng.random(count) < 0.3] = true[0]  # distances that are alike
    off = rng.choice([0.0, 1e-16, 1e-9, 1e-2], count)
    low, high = true * (1 - off), true * (1 + off)
    problem = question(1.0, 1.0, count=count, order=order)
    weights = rng.random(count) * 10.0 ** rng.integers(-9, 1, count)
    radius = float(scale * rng.random()) if seed % 4 else float(rng.choice([low[0], high[0]]))
    radius = radius if math.isfinite(radius) else scale
    problem = replace(problem, samples=make_samples(problem.samples.x, problem.samples.y, weights), radius=radius)
    w = problem.samples.w.tolist()
    result = of_brackets(problem, low, high)
    assert result.radius[0] == 0
    assert result.radius[-1] == radius
    assert (np.diff(result.radius) > 0).all()
    assert (result.lower <= result.upper).all()
    assert (np.diff(result.lower) >= 0).all()
    assert (np.diff(result.upper) >= 0).all()
    if order == math.inf:
        for k, r in enumerate(result.radius.tolist()):
            after = result.radius[k + 1] if k + 1 < result.radius.size else math.inf
            for at in {r, *(d for d in (*low, *true, *high) if r <= d < after)} - {math.inf}:
                value = sum((Fraction(v) for v, d in zip(w, true, strict=True) if d <= at), Fraction(0))
                assert at > radius or Fraction(result.lower[k]) <= value <= Fraction(result.upper[k])
        return
    power = int(order)
    for k, r in enumerate(result.radius.tolist()):
        budget = Fraction(r) ** power
        value = knapsack(w, true.tolist(), budget, power)
        assert Fraction(result.lower[k]) <= value <= Fraction(result.upper[k])
        outer = [knapsack(w, side.tolist(), budget, power) for side in (low, high)]
        assert float(result.upper[k] - outer[0]) < 1e-14 * sum(w)
        assert float(outer[1] - result.lower[k]) < 1e-14 * sum(w)
        if k + 1 < result.radius.size:
            for share in (Fraction(1, 1000), Fraction(1, 3), Fraction(999, 1000)):
                b = budget + share * (Fraction(result.radius[k + 1]) ** power - budget)
                value = knapsack(w, true.tolist(), b, power)
                sides = [between(result, side, k, b, power) for side in (result.lower, result.upper)]
                assert sides[0] <= value <= sides[1]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("power", [1, 2])
def test_random_lines(power: int, seed: int) -> None:
    """V is the least of some lines itself: every breakpoint and every straight line between two is on the right side of it."""
    rng = np.random.default_rng([seed, power])
    size, radius = 10.0 ** int(rng.integers(-3, 11)), float(10.0 ** rng.integers(-3, 3) * rng.random())
    slopes = np.sort(rng.random(int(rng.integers(1, 8))) * size).tolist()
    heights = np.sort(size * radius**power * (rng.random(len(slopes)) - 0.7))[::-1].tolist()
    lines = dict(zip(slopes, heights, strict=True))

    def exact(b: Fraction) -> Fraction:
        return min(Fraction(lam) * b + Fraction(d) for lam, d in lines.items())

    known = {0.0, radius, *(float(radius * v) for v in rng.random(4))}
    points = {r: float(exact(Fraction(r) ** power)) for r in known}
    points = {
        r: v if Fraction(v) <= exact(Fraction(r) ** power) else math.nextafter(v, -math.inf) for r, v in points.items()
    }
    problem = replace(question(1.0, 1.0, order=power, loss=Loss.MARGIN), radius=radius)
    at, lower, upper = table(lines, points, problem)
    assert at[0] == 0
    assert at[-1] == radius
    assert (np.diff(at) > 0).all()
    assert (np.diff(lower) >= 0).all()
    assert (np.diff(upper) >= 0).all()
    for k in range(at.size):
        b = Fraction(at[k]) ** power
        assert Fraction(lower[k]) <= exact(b) <= Fraction(upper[k])
        assert float(Fraction(upper[k]) - exact(b)) <= 1e-14 * size * radius**power
        if k + 1 < at.size:
            c = Fraction(at[k + 1]) ** power
            for share in (Fraction(1, 10**6), Fraction(1, 3), 1 - Fraction(1, 10**6)):
                value = exact(b + share * (c - b))
                low, high = ((1 - share) * Fraction(s[k]) + share * Fraction(s[k + 1]) for s in (lower, upper))
                assert low <= value <= high


@pytest.mark.parametrize("seed", range(40))
def test_running_sums(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 400))
    terms = rng.random(count) * 10.0 ** rng.integers(*((-3, 1), (-320, 300), (-18, 1))[seed % 3], count)
    terms[rng.random(count) < 0.1] = 0
    lower, upper = running_sums(terms)
    exact = Fraction(0)
    for term, low, up in zip(terms.tolist(), lower.tolist(), upper.tolist(), strict=True):
        exact += Fraction(term)
        assert Fraction(low) <= exact <= Fraction(up)
        assert up <= math.nextafter(math.nextafter(low, math.inf), math.inf)
    assert (np.diff(lower) >= 0).all()
    assert (np.diff(upper) >= 0).all()


def test_running_sums_beyond_the_largest_double() -> None:
    lower, upper = running_sums(np.array([1e308, 1e308, 1.0]))
    assert lower.tolist() == [1e308, 1e308, 1e308]
    assert upper.tolist() == [1e308, math.inf, math.inf]


def test_widths_are_rounded_up() -> None:
    lower = np.array([0.0, -1e-17, 1e-17, -math.inf, math.inf, 0.1])
    upper = np.array([1.0, 1.0, 1.0, 0.0, math.inf, math.inf])
    assert widths_up(lower, upper).tolist() == [1.0, math.nextafter(1, 2), 1.0, math.inf, 0.0, math.inf]
