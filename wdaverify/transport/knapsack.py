"""The zero-one loss: V is a fractional knapsack over the distances to the nearest error (docs/theory.md, section 4).

    V = max { sum_i w_i a_i : sum_i w_i a_i d_i^p <= budget = radius^p, 0 <= a_i <= 1, a_i = 0 where d_i = inf }

Samples are moved by increasing distance until the budget is spent, the last one in part. Doubles are exact rationals,
so the knapsack is solved exactly and rounded once. The optimal value falls when a distance grows: proven lower ends of
the distances give an upper bound of V (``knapsack_upper``), reachable ones a lower bound (``knapsack_lower``).
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from wdaverify.network.model import Array, readonly
from wdaverify.rounding import float_down, float_up


@dataclass(frozen=True, eq=False)
class KnapsackSolution:
    """The value, and who is moved.

    ``threshold`` is ``d*^p``, the distance (to the p) of the nearest sample that is not wholly moved, and inf when the
    budget covers every finite distance; ``multiplier = 1 / d*^p`` is an optimal dual multiplier (0 for inf).
    ``fraction [N]`` in [0, 1] is what is moved of each sample, the partial one rounded down; 0 where the weight is 0.
    """

    value: float
    threshold: float
    multiplier: float
    fraction: Array


def knapsack_value(distances_p: Array, weights: Array, budget: Fraction | float) -> KnapsackSolution:
    """The knapsack of ``distances_p [N]`` (``d_i^p``, inf allowed), ``weights [N]`` and ``budget``, rounded to nearest.

    Raises:
        ValueError: a distance is negative or NaN, or a weight or the budget is negative or not finite.
    """
    return _solve(distances_p, weights, budget, float)


def knapsack_upper(lower_distances_p: Array, weights: Array, budget: Fraction | float) -> KnapsackSolution:
    """As ``knapsack_value`` with the value rounded up: an upper bound of V if no distance is overstated.

    Raises:
        ValueError: as ``knapsack_value``.
    """
    return _solve(lower_distances_p, weights, budget, float_up)


def knapsack_lower(upper_distances_p: Array, weights: Array, budget: Fraction | float) -> KnapsackSolution:
    """As ``knapsack_value`` with the value rounded down: a lower bound of V if no distance is understated.

    Raises:
        ValueError: as ``knapsack_value``.
    """
    return _solve(upper_distances_p, weights, budget, float_down)


def _solve(
    distances_p: Array, weights: Array, budget: Fraction | float, rounded: Callable[[Fraction], float]
) -> KnapsackSolution:
    """Fill exactly, round the value with ``rounded``."""
    d = np.asarray(distances_p, dtype=np.float64)
    w = np.asarray(weights, dtype=np.float64)
    if d.ndim != 1 or d.shape != w.shape:
        raise ValueError(f"distances of shape {d.shape} and weights of shape {w.shape}: both must be [N]")
    if not ((d >= 0).all() and (w >= 0).all() and np.isfinite(w).all()):
        raise ValueError("distances must be >= 0 and weights finite and >= 0")
    if not (budget >= 0 and budget < math.inf):
        raise ValueError(f"budget {budget}: a finite number >= 0 is needed")
    usable = np.flatnonzero((w > 0) & (d < math.inf))
    left, value, threshold = Fraction(budget), Fraction(0), math.inf
    fraction = np.zeros(d.shape)
    for i in usable[np.argsort(d[usable], kind="stable")]:
        weight = Fraction(float(w[i]))
        price = weight * Fraction(float(d[i]))
        if price > left:
            threshold = float(d[i])
            part = left / price
            value += weight * part
            fraction[i] = float_down(part)
            break
        left -= price
        value += weight
        fraction[i] = 1.0
    multiplier = min(1.0 / threshold, sys.float_info.max) if threshold >= sys.float_info.min else sys.float_info.max
    return KnapsackSolution(rounded(value), threshold, multiplier, readonly(fraction))
