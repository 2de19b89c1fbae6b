"""Outward rounding: the few facts about IEEE double arithmetic that every bound rests on.

With unit roundoff ``u = 2^-53`` and ``gamma_n = n u / (1 - n u)`` (Higham 2002, section 3.1), a sum of n products
evaluated in *any* order, fused or not, differs from the exact one by at most ``gamma_n * sum |a_k b_k|`` plus the
underflow of its terms. ``dot_error`` doubles gamma, which pays for evaluating the bound itself in floating point.
Underflow is gradual, as IEEE has it and numpy and torch leave it: where somebody flushes it to zero nothing here holds.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

UNIT_ROUNDOFF = 2.0**-53
SMALLEST_SUBNORMAL = 2.0**-1074


def dot_error(terms: int) -> float:
    """A factor f with ``|fl(a.b) - a.b| <= f * fl(|a|.|b|) + underflow(terms)`` for dot products of ``terms`` terms."""
    if terms < 0 or terms * UNIT_ROUNDOFF > 2.0**-20:
        raise ValueError(f"dot products of {terms} terms are outside the range of the error bound (at most 2^33)")
    return 2.0 * (terms + 2) * UNIT_ROUNDOFF


def underflow(terms: int) -> float:
    """What ``terms`` products may lose to underflow, doubled."""
    return 2.0 * (terms + 2) * SMALLEST_SUBNORMAL


def squares_up(value: NDArray[np.float64]) -> NDArray[np.float64]:
    """``value^2`` of numbers >= 0 (inf allowed), rounded up: 0 for 0 alone, inf beyond the largest double."""
    with np.errstate(over="ignore", under="ignore"):
        return np.asarray(np.where(value > 0, np.nextafter(value * value, math.inf), 0.0))


def squares_down(value: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same rounded down: the largest double where it overflows, and inf for inf alone."""
    with np.errstate(over="ignore", under="ignore"):
        return np.where(np.isinf(value), math.inf, np.nextafter(value * value, 0.0))


def float_up(value: Fraction) -> float:
    """The least double that is at least ``value`` (inf beyond the largest double)."""
    try:
        nearest = float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.nextafter(math.inf, 0.0)
    if math.isinf(nearest):
        return nearest if nearest > 0 else -math.nextafter(math.inf, 0.0)
    return nearest if Fraction(nearest) >= value else math.nextafter(nearest, math.inf)


def float_down(value: Fraction) -> float:
    """The greatest double that is at most ``value`` (-inf beyond the largest double)."""
    return -float_up(-value) + 0.0  # 0, not -0
