"""Multipliers of a support's rows for boxes that are halved: whatever they are, what is proven with them holds.

A box has those of the one it is a half of and betters them by a step, half as far as the last one where that did not help: their error
falls with the box, and that of a bound, which is their error times the reach of a row across the box, with its square.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from wdaverify.ground import LinearRows
from wdaverify.network.model import Array
from wdaverify.rounding import dot_error, underflow

_PROJECTIONS = 3
"""How often points are moved onto rows."""


class RowMultipliers:
    """Of the support's rows, two sets a leaf (of a distance: of the test for errors, and of the priced one), ``[L, 2, r]``."""

    def __init__(self, rows: LinearRows) -> None:
        """None are known yet."""
        self.rows = rows

    def first(self, count: int) -> tuple[Array, Array]:
        """None yet, and a step (0: not known)."""
        return np.zeros((count, 2, self.rows.lower.size)), np.zeros((count, 2))

    def reaches(self, lower: Array, upper: Array) -> NDArray[np.bool_]:
        """Whether some point of boxes ``[B, n]`` may satisfy every row, ``[B]``."""
        high = np.maximum(lower[:, None] * self.rows.matrix, upper[:, None] * self.rows.matrix)
        low = np.minimum(lower[:, None] * self.rows.matrix, upper[:, None] * self.rows.matrix)
        size = np.maximum(np.abs(low), np.abs(high)).sum(axis=2)
        slack = 2 * dot_error(lower.shape[1]) * size + underflow(lower.shape[1])
        far = (low.sum(axis=2) - slack > self.rows.upper) | (high.sum(axis=2) + slack < self.rows.lower)
        return ~np.asarray(far.any(axis=1))

    def better(
        self, top: Callable[[Array | None], Array], rho: Array, step: Array, size: Array, rounds: int
    ) -> tuple[Array, Array, Array]:
        """The least of what multipliers ``[B, r]`` prove and their neighbours do, these, and the next step ``[B]``."""
        best, scale = top(rho), np.linalg.norm(self.rows.matrix, axis=1)
        step = np.where(step > 0, step, size)
        for _ in range(rounds):
            before = best
            for k in range(rho.shape[1]):
                for keep, sign in ((1.0, -1.0), (1.0, 1.0), (0.0, 0.0)):
                    tried = rho.copy()
                    tried[:, k] = keep * tried[:, k] + sign * step / scale[k]
                    found = top(tried)
                    less = found < best
                    best, rho = np.where(less, found, best), np.where(less[:, None], tried, rho)
            step = np.where(best < before, 2.0 * step, 0.5 * step)
        return best, rho, step

    def towards(self, points: Array) -> Array:
        """Points ``[B, n]`` moved onto the rows that they violate, one after the other."""
        for _ in range(_PROJECTIONS):
            for a, low, high in zip(self.rows.matrix, self.rows.lower, self.rows.upper, strict=True):
                value = points @ a
                points = points + ((np.clip(value, low, high) - value) / (a @ a))[:, None] * a
        return points
