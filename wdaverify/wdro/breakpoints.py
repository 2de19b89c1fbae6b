"""A curve's breakpoints: where its bounds bend, and what they are there, rounded outward (docs/theory.md, section 2).

A breakpoint is stated at a double r, next to where two lines cross or a sample is wholly moved, and both bounds hold
at ``b = r^p`` exactly. Between two breakpoints the straight line in b is a bound too: the lower one because V is concave,
the upper one because a single dual line lies on or under both of its ends (or, of a knapsack, see ``knapsack_steps``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise

import numpy as np

from wdaverify.network.model import Array
from wdaverify.problem import WdroProblem
from wdaverify.rounding import SMALLEST_SUBNORMAL, UNIT_ROUNDOFF, float_down, float_up, running_sums

_CHORD = 32 * UNIT_ROUNDOFF
"""By what share of its larger end a chord that is evaluated in floating point (``read_steps``) is moved outward."""


def table(lines: dict[float, float], points: dict[float, float], problem: WdroProblem) -> tuple[Array, Array, Array]:
    """Radii, lower and upper values at every breakpoint of the chords and of the lines' least.

    Which line bounds V between two neighbouring radii is chosen in floating point; any line does. Every value is then that of
    a line or a chord in rational arithmetic, rounded outward once. The upper value at a radius is the larger one of the lines
    on its two sides: each line lies on or under both ends of its stretch, and so does all of it, as the stretch is straight.
    """
    power, known = problem.cost.power, sorted(points)
    proven = np.maximum.accumulate([points[r] for r in known]).tolist()
    slopes, height = np.array(sorted(lines)), np.array([lines[lam] for lam in sorted(lines)])
    with np.errstate(over="ignore", invalid="ignore"):
        corners = _corners(slopes, height, float(np.float64(problem.radius) ** power)) ** (1.0 / power)
        inside = corners[(corners > 0) & (corners < problem.radius)]
        radius = np.unique(np.concatenate([known, inside]))
        lower, at = np.zeros(radius.size), np.searchsorted(known, radius)
        for k, r in enumerate(radius.tolist()):
            i = int(at[k])
            lower[k] = proven[i] if known[i] == r else _on_chord(r, known[i - 1 : i + 1], proven[i - 1 : i + 1], power)
        if not slopes.size:
            return radius, lower, np.full(radius.size, math.inf)
        between = 0.5 * radius[1:] ** power + 0.5 * radius[:-1] ** power
        best = (slopes[:, None] * between + height[:, None]).argmin(axis=0)
    upper = np.full(radius.size, -math.inf)
    for k, line in enumerate(best.tolist()):
        for end in (k, k + 1):
            value = on_line(float(slopes[line]), float(height[line]), float(radius[end]), power)
            upper[end] = max(upper[end], value)
    return radius, lower, np.maximum.accumulate(upper)


def least_lines(lines: dict[float, float], radius: Array, power: int) -> list[float]:
    """The slopes of the lines that are least somewhere between neighbouring radii, or at the only one."""
    slopes = np.array(sorted(lines))
    height, budget = np.array([lines[lam] for lam in slopes.tolist()]), radius**power
    between = 0.5 * budget[1:] + 0.5 * budget[:-1] if radius.size > 1 else budget
    with np.errstate(over="ignore", invalid="ignore"):
        return [float(slopes[k]) for k in np.unique((slopes[:, None] * between + height[:, None]).argmin(axis=0))]


@lru_cache(maxsize=2**14)
def on_line(slope: float, height: float, radius: float, power: int) -> float:
    """``slope radius^p + height``, rounded up; remembered, as a table is made anew for every radius that is searched."""
    return float_up(Fraction(slope) * Fraction(radius) ** power + Fraction(height))


def _on_chord(radius: float, ends: Sequence[float], values: Sequence[float], power: int) -> float:
    """The straight line in ``radius^p`` through two proven values, rounded down."""
    b, (a, c) = Fraction(radius) ** power, (Fraction(end) ** power for end in ends)
    low, high = map(Fraction, values)
    return float_down(low + (high - low) * (b - a) / (c - a))


def _corners(slopes: Array, height: Array, largest: float) -> Array:
    """Budgets in (0, largest) where the least of the lines ``slope b + height`` changes."""
    order = np.argsort(-slopes)
    hull: list[int] = []
    for k in order.tolist():
        while hull and height[k] <= height[hull[-1]]:
            hull.pop()
        while len(hull) > 1 and _cross(slopes, height, hull[-2], k) <= _cross(slopes, height, hull[-2], hull[-1]):
            hull.pop()
        hull.append(k)
    out = np.array([_cross(slopes, height, a, b) for a, b in pairwise(hull)])
    return out[(out > 0) & (out < largest)] if out.size else out


def _cross(slopes: Array, height: Array, a: int, b: int) -> float:
    """Where two lines meet."""
    return float((height[b] - height[a]) / (slopes[a] - slopes[b]))


def knapsack_steps(problem: WdroProblem, distance: Array, w: Array, *, upper: bool) -> tuple[Array, Array]:
    """Breakpoints ``(radius, value)`` of the knapsack on distances ``[N]``, nearest samples first, from radius 0; for order inf its steps.

    The first k samples move wholly where ``radius^p`` reaches ``B_k = sum w d^p``, and are worth ``W_k = sum w``. A lower curve
    states ``W_k``, rounded down, at a radius no less than that: the ball there moves at least as much. An upper curve states it,
    rounded up, at a radius no greater. Its straight lines stay above the knapsack's K: with ``b_k <= B_k`` a point between
    two, ``b = (1 - t) b_k + t b_(k+1)``, is at most ``b' = (1 - t) B_k + t B_(k+1)``, so that ``K(b) <= K(b') = (1 - t) W_k + t W_(k+1)``.
    """
    order = np.argsort(distance, kind="stable")
    order = order[np.isfinite(distance[order]) & (w[order] > 0)]
    d, power = distance[order], problem.cost.order
    at, value = d, running_sums(w[order])[int(upper)]
    if math.isfinite(power):
        toward = 0.0 if upper else math.inf
        unit = np.ldexp(
            0.5, np.frexp(d.max(initial=0.0))[1]
        )  # a power of two, for squares that neither vanish nor overflow
        with np.errstate(over="ignore", under="ignore"):
            price = d if power == 1 else np.nextafter((d / unit) ** 2, toward)
            spent = running_sums(np.where(d > 0, np.nextafter(w[order] * price, toward), 0.0))[int(not upper)]
            at = spent if power == 1 else np.where(spent > 0, np.nextafter(np.sqrt(spent) * unit, toward), 0.0)
    at, value = np.append(0.0, at), np.append(0.0, value)
    last = np.append(at[1:] > at[:-1], True)  # what several samples share a radius for is worth their sum there
    return at[last], value[last]


def read_steps(problem: WdroProblem, steps: tuple[Array, Array], radius: Array, *, upper: bool) -> Array:
    """A knapsack's values at radii, between its breakpoints on the chord in ``radius^p``, rounded outward.

    The share of a chord is a product of ratios of differences and sums of doubles >= 0, each exact to few roundings however close
    the radii are; ``(r - a)(r + a')`` for order 2.
    """
    at, value = steps
    here = np.searchsorted(at, radius, side="right") - 1
    after = np.minimum(here + 1, at.size - 1)
    a, c, low, high = at[here], at[after], value[here], value[after]
    if not math.isfinite(problem.cost.order):
        return low
    with np.errstate(under="ignore", invalid="ignore", divide="ignore"):
        share = (radius - a) / (c - a)
        if problem.cost.power == 2:
            share = share * ((radius / c + a / c) / (1.0 + a / c))
        chord, slack = low + share * (high - low), _CHORD * high + 8 * SMALLEST_SUBNORMAL
    outward = np.minimum(chord + slack, high) if upper else np.maximum(chord - slack, low)
    return np.maximum.accumulate(np.where((radius == a) | (here == after), low, outward))
