"""What brackets of distances are worth: the knapsacks, the distribution that errors found can buy, and where the width lies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from wdaverify.network.model import Array
from wdaverify.problem import WdroProblem
from wdaverify.rounding import squares_down, squares_up
from wdaverify.transport.distribution import Distribution
from wdaverify.transport.knapsack import KnapsackSolution, knapsack_lower, knapsack_upper


def bought(problem: WdroProblem, distances: Array, *, upper: bool) -> KnapsackSolution:
    """The knapsack on distances or the label cost, whichever is less; for order inf what lies within the radius."""
    cost, weights = problem.cost, problem.samples.w
    distances = np.minimum(distances, cost.label_cost)
    solve = knapsack_upper if upper else knapsack_lower
    if not math.isfinite(cost.order):
        free = np.where(distances <= problem.radius, 0.0, math.inf)
        return solve(free, weights, Fraction(0))
    prices = distances
    if cost.power != 1:
        prices = squares_down(distances) if upper else squares_up(distances)
    return solve(prices, weights, Fraction(problem.radius) ** cost.power)


def distribution(
    problem: WdroProblem, plan: KnapsackSolution, high: Array, nearest: Sequence[Array | None]
) -> Distribution:
    """What the knapsack buys: the nearest error of each sample, or its label moved where that costs less."""
    own = problem.samples.y
    cheapest = np.minimum(high, problem.cost.label_cost)
    moved = np.flatnonzero((plan.fraction > 0) & (cheapest > 0) & np.isfinite(cheapest))
    points, labels = [], own[moved].copy()
    for k, i in enumerate(moved.tolist()):
        there = nearest[i]
        if there is None or high[i] > problem.cost.label_cost:
            there, labels[k] = problem.samples.x[i], (own[i] + 1) % problem.network.n_outputs
        points.append(there)
    stacked = np.stack(points) if points else np.zeros((0, problem.network.n_inputs))
    mass = plan.fraction[moved] * problem.samples.w[moved]
    return Distribution(moved.astype(np.int64), stacked, mass, labels)


def widths(problem: WdroProblem, low: Array, high: Array) -> tuple[Array, float]:
    """What each sample adds to the width of the bracket, ``[N]``, and the multiplier used."""
    cost, weights = problem.cost, problem.samples.w
    low, high = np.minimum(low, cost.label_cost), np.minimum(high, cost.label_cost)
    if not math.isfinite(cost.order):
        radius = problem.radius
        return weights * ((low <= radius) & (high > radius)), 0.0
    lam = bought(problem, high, upper=False).multiplier

    def phi(distance: Array) -> Array:
        with np.errstate(invalid="ignore", over="ignore"):
            paid = np.where(np.isfinite(distance), lam * distance**cost.power, math.inf)
        return np.clip(1.0 - paid, 0.0, None)

    return weights * (phi(low) - phi(high)), lam


def enough(problem: WdroProblem, gap: float) -> float:
    """On the whole space, a distance so large that all errors beyond it add less than half the gap to V."""
    cost = problem.cost
    if not math.isfinite(cost.order):
        return float(math.nextafter(problem.radius, math.inf))
    return float(max(problem.radius * (4.0 / gap) ** (1.0 / cost.power), 1e-9))
