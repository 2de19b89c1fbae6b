"""``sin(z)``, which turns at every multiple of pi: bounded by its values on a grid, between which it rises by ``|q| h^2 / 8`` at most.

On a piece of length h a line through its ends and ``|phi''| <= 1`` say so; what is longer than a turn is bounded by 1.
"""

from __future__ import annotations

import numpy as np

from wdaverify.graph.smooth.curve import Array, Smooth, bounded
from wdaverify.rounding import UNIT_ROUNDOFF

_GRID = 65
_LONGEST = 6.0
_OFF = 2.0**-44
_LARGEST = 2.0**20
"""Beyond this libraries may reduce the angle worse than is charged for, and nothing but ``|phi| <= 1`` is used."""


class _Sine(Smooth):
    """The sine."""

    def values_at(self, z: Array) -> Array:
        return np.sin(z)

    def slopes_on(self, piece: int, z: Array) -> Array:
        return np.cos(z)

    def second(self, z: Array) -> Array:
        return -np.sin(z)

    def scale(self, size: Array) -> Array:
        return np.where(size < _LARGEST, bounded(size), 2.0**45)

    def steep(self, size: Array) -> Array:
        return np.ones_like(size)

    def slope_range(self, low: Array, high: Array) -> tuple[Array, Array]:
        """Of the cosine, whose own slope is at most 1."""
        with np.errstate(invalid="ignore", over="ignore"):
            middle, half = np.cos(0.5 * (low + high)), 0.5 * (high - low)
            size = np.maximum(np.abs(low), np.abs(high))
            half = half * (1 + 4 * UNIT_ROUNDOFF) + _OFF * (1 + size)
            wild = ~(size < _LARGEST)
            least, greatest = np.maximum(middle - half, -1.0), np.minimum(middle + half, 1.0)
        return np.where(wild, -1.0, least), np.where(wild, 1.0, greatest)

    def line(self, at: Array, low: Array, high: Array, sign: float) -> Array:
        at, low, high = np.broadcast_arrays(np.clip(at, low, high), low, high)
        found = self._across(at.ravel(), low.ravel(), high.ravel(), sign) if at.size else np.zeros(0)
        return np.where(high > low, found.reshape(at.shape), self.derivative(at))

    def gain(self, q: Array, nu: Array, low: Array, high: Array) -> tuple[Array, Array]:
        with np.errstate(over="ignore", invalid="ignore"):
            weight, wide = np.abs(q), high - low
            size = np.maximum(np.abs(low), np.abs(high))
            best = np.full(np.broadcast_shapes(q.shape, nu.shape, low.shape), -np.inf)
            for share in np.linspace(0.0, 1.0, _GRID).tolist():
                at = np.minimum(low + share * wide, high)
                best = np.maximum(best, q * np.sin(at) - nu * at)
            step = wide / (_GRID - 1) * (1 + 8 * UNIT_ROUNDOFF) + 4 * UNIT_ROUNDOFF * size
            best = best + weight * step * step / 8
            lost = weight * (_OFF * (1 + size)) + 32 * UNIT_ROUNDOFF * ((weight + np.abs(nu)) * size + weight)
            far = weight + np.maximum(-nu * low, -nu * high)
            long = ~((wide < _LONGEST) & (size < _LARGEST))
            return np.where(long, np.where(np.isnan(far), np.inf, far), best), np.where(np.isnan(lost), 0.0, lost)


def sine() -> Smooth:
    """``sin(z)``."""
    return _Sine("Sin", (), (1,))
