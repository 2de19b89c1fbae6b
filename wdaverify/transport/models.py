"""Upper models of phi over the multiplier: what proven values say elsewhere (docs/theory.md, section 2).

For one item (a sample, or a sample and a rival) ``phi(lam) = sup_x l(x) - lam c(x)`` with ``0 <= c <= D`` is convex and
non-increasing with slopes in ``[-D, 0]``. Proven values ``U_k >= phi(lam_k)`` therefore bound phi everywhere, by

    chord      between lam_a <= lam <= lam_b:   U_a + (lam - lam_a) / (lam_b - lam_a) * (U_b - U_a)
    monotone   for lam >= lam_a:                U_a
    slope      for lam <= lam_b:                U_b + (lam_b - lam) D

The best of all of these is the lower convex envelope of the points with a ray of slope 0 to the right and of slope -D
to the left. Only its vertices are kept, so the neighbours of lam give the best bound. Results are inflated by more than
their rounding; a pruned vertex loosens the model by rounding at most and never makes it wrong.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from wdaverify.network.model import Array, readonly
from wdaverify.rounding import UNIT_ROUNDOFF

IntArray = NDArray[np.int64]
_INFLATION = 8.0 * UNIT_ROUNDOFF
_TINY = float(np.finfo(np.float64).tiny)


class UpperModel:
    """Upper bounds of ``phi_item(lam)`` for all items at once; +inf where nothing is known."""

    def __init__(self, n_items: int, largest_cost: Array) -> None:
        """Start with nothing known; ``largest_cost [n_items]`` is D, an upper bound of the cost within the support.

        Raises:
            ValueError: the largest costs are not [n_items], or one of them is negative or NaN.
        """
        cost = np.asarray(largest_cost, dtype=np.float64)
        if cost.shape != (n_items,) or not (cost >= 0).all():
            raise ValueError(f"largest costs of shape {cost.shape}: {n_items} numbers >= 0 are needed")
        self._largest = readonly(cost)
        self._item = np.zeros(0, np.int64)
        self._lam = np.zeros(0)
        self._upper = np.zeros(0)
        self._pending: list[tuple[IntArray, Array, Array]] = []

    def __len__(self) -> int:
        """The number of items."""
        return int(self._largest.size)

    def add(self, item: int, lam: float, upper: float) -> None:
        """Record ``phi_item(lam) <= upper``; +inf says nothing and is ignored.

        Raises:
            ValueError: an unknown item, a multiplier that is negative or not finite, or an upper value of NaN or -inf.
        """
        self.add_many(np.array([item]), np.array([lam]), np.array([upper]))

    def add_many(self, items: IntArray, lam: Array | float, upper: Array) -> None:
        """Record ``phi_items[k](lam[k]) <= upper[k]``; ``items, upper [M]``, ``lam [M]`` or one number for all.

        Raises:
            ValueError: as ``add``.
        """
        item = np.asarray(items, dtype=np.int64)
        value = np.asarray(upper, dtype=np.float64)
        at = np.broadcast_to(np.asarray(lam, dtype=np.float64), item.shape)
        if item.shape != value.shape or item.ndim != 1:
            raise ValueError(f"items of shape {item.shape} and values of shape {value.shape}: both must be [M]")
        if ((item < 0) | (item >= len(self))).any():
            raise ValueError(f"an item is not one of 0 to {len(self) - 1}")
        if not ((at >= 0).all() and np.isfinite(at).all()):
            raise ValueError("a multiplier is negative or not finite")
        if not (value > -math.inf).all():
            raise ValueError("an upper value is NaN or -inf")
        known = value < math.inf
        if known.any():
            self._pending.append((item[known], at[known], value[known]))

    def points(self, item: int) -> tuple[Array, Array]:
        """The multipliers and proven values that matter for an item, by increasing multiplier."""
        self._merge()
        span = slice(int(np.searchsorted(self._item, item)), int(np.searchsorted(self._item, item, side="right")))
        return self._lam[span].copy(), self._upper[span].copy()

    def evaluate(self, lam: float) -> Array:
        """The best upper bound of ``phi_item(lam)`` for every item, ``[n_items]``, rounded up.

        Raises:
            ValueError: the multiplier is negative or not finite.
        """
        if not (math.isfinite(lam) and lam >= 0):
            raise ValueError(f"multiplier {lam}: a finite number >= 0 is needed")
        self._merge()
        n = len(self)
        size = np.bincount(self._item, minlength=n)
        right = np.cumsum(size) - size + np.bincount(self._item[self._lam <= lam], minlength=n)
        first = np.cumsum(size) - size
        has_left, has_right = right > first, right < first + size
        out = np.full(n, math.inf)
        out[has_left] = self._upper[right[has_left] - 1]
        at = right[has_right]
        out[has_right] = np.minimum(out[has_right], _ray(self._lam[at], self._upper[at], self._largest[has_right], lam))
        both = has_left & has_right
        a, b = right[both] - 1, right[both]
        chord = _chord(self._lam[a], self._upper[a], self._lam[b], self._upper[b], np.full(a.size, lam))
        out[both] = np.minimum(out[both], chord)
        return out

    def _merge(self) -> None:
        """Bring the recorded points in; only the items they touch are pruned again."""
        if not self._pending:
            return
        item, lam, upper = (np.concatenate(parts) for parts in zip(*self._pending, strict=True))
        self._pending = []
        touched = np.zeros(len(self), dtype=np.bool_)
        touched[item] = True
        again = touched[self._item]
        item, lam, upper = _prune(
            np.concatenate([self._item[again], item]),
            np.concatenate([self._lam[again], lam]),
            np.concatenate([self._upper[again], upper]),
            self._largest,
        )
        item = np.concatenate([self._item[~again], item])
        order = np.argsort(item, kind="stable")
        self._item = item[order]
        self._lam = np.concatenate([self._lam[~again], lam])[order]
        self._upper = np.concatenate([self._upper[~again], upper])[order]


def _ray(lam_b: Array, upper_b: Array, largest: Array, lam: Array | float) -> Array:
    """``U_b + (lam_b - lam) D`` for ``lam <= lam_b``, inflated."""
    with np.errstate(over="ignore", invalid="ignore"):
        rise = (lam_b - lam) * largest
        out: Array = upper_b + rise + (_INFLATION * (np.abs(upper_b) + rise) + _TINY)
    return np.where(np.isnan(out), math.inf, out)


def _chord(lam_a: Array, upper_a: Array, lam_b: Array, upper_b: Array, lam: Array) -> Array:
    """The chord at ``lam_a <= lam < lam_b``, inflated."""
    with np.errstate(over="ignore", invalid="ignore"):
        part = (lam - lam_a) / (lam_b - lam_a)
        out: Array = upper_a + part * (upper_b - upper_a)
        out = out + (_INFLATION * (np.abs(upper_a) + np.abs(upper_b)) + _TINY)
    return np.where(np.isnan(out), math.inf, out)


def _prune(item: IntArray, lam: Array, upper: Array, largest: Array) -> tuple[IntArray, Array, Array]:
    """Sort by (item, lam) and keep the vertices of each item's envelope.

    The inflated comparisons never outdo a vertex, so points may go together: two nearly equal ones do not remove each
    other.
    """
    order = np.lexsort((upper, lam, item))
    item, lam, upper = item[order], lam[order], upper[order]
    fresh = np.ones(item.size, dtype=np.bool_)
    fresh[1:] = (item[1:] != item[:-1]) | (lam[1:] != lam[:-1])
    item, lam, upper = item[fresh], lam[fresh], upper[fresh]
    while True:
        outdone = _outdone(item, lam, upper, largest)
        if not outdone.any():
            return item, lam, upper
        item, lam, upper = item[~outdone], lam[~outdone], upper[~outdone]


def _outdone(item: IntArray, lam: Array, upper: Array, largest: Array) -> NDArray[np.bool_]:
    """Which points their neighbours make superfluous."""
    out = np.zeros(item.size, dtype=np.bool_)
    pair = item[1:] == item[:-1]
    out[1:] |= pair & (upper[1:] >= upper[:-1])
    out[:-1] |= pair & (upper[:-1] > _ray(lam[1:], upper[1:], largest[item[1:]], lam[:-1]))
    middle = np.flatnonzero(pair[1:] & pair[:-1]) + 1
    low, high = middle - 1, middle + 1
    out[middle] |= upper[middle] >= _chord(lam[low], upper[low], lam[high], upper[high], lam[middle])
    return out
