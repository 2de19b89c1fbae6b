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

_Array = NDArray[np.float64]


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


def widths_up(lower: _Array, upper: _Array) -> _Array:
    """``upper - lower`` elementwise, rounded up, so that it is at most a double where the exact width is; 0 where both are one infinity."""
    with np.errstate(invalid="ignore", over="ignore"):
        apart, rest = _sum_and_rest(upper, -lower)
    return np.where(lower == upper, 0.0, np.where(rest > 0, np.nextafter(apart, np.inf), apart))


def running_sums(terms: _Array) -> tuple[_Array, _Array]:
    """Bounds ``(lower [n], upper [n])`` of every ``terms_1 + ... + terms_k``, for finite doubles >= 0; both are non-decreasing.

    What ``s_k = fl(s_(k-1) + t_k)`` leaves is itself a double ``e_k`` (Knuth's TwoSum), so the exact sum is
    ``s_k + e_1 + ... + e_k``, and adding up the e in floating point errs by ``dot_error(n) sum |e|`` at most: far less
    than a rounding of ``s_k``. Sums beyond the largest double are inf above.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        total = np.cumsum(terms)
        rest = _sum_and_rest(np.concatenate([[0.0], total])[:-1], terms)[1]
        high, low = _sum_and_rest(total, np.cumsum(rest))
        slack = dot_error(terms.size) * np.cumsum(np.abs(rest))
        under, over = low - slack, low + slack
        # rounded once more, |low| <= sum |e| is within a quarter of the slack, which dot_error doubles
        lower = np.where(under >= 0, high, np.nextafter(high + under, -np.inf))
        upper = np.where(over <= 0, high, np.nextafter(high + over, np.inf))
    known = np.isfinite(total)
    lower, upper = np.where(known, np.maximum(lower, 0.0), 0.0), np.where(known, upper, math.inf)
    return np.maximum.accumulate(lower), np.maximum.accumulate(upper)


def _sum_and_rest(a: _Array, b: _Array) -> tuple[_Array, _Array]:
    """``fl(a + b)`` and what it leaves, exactly: ``a + b = sum + rest`` (Knuth's TwoSum; no addition of doubles underflows)."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)
