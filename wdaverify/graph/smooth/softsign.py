"""``z / (1 + |z|)``: ``phi' = 1 / (1 + |z|)^2``, convex left of 0 and concave right of it."""

from __future__ import annotations

import numpy as np

from wdaverify.graph.smooth.curve import Array, Smooth, bounded


class _Softsign(Smooth):
    """Softsign."""

    def values_at(self, z: Array) -> Array:
        return z / (1.0 + np.abs(z))

    def slopes_on(self, piece: int, z: Array) -> Array:
        return np.asarray(1.0 / (1.0 + np.abs(z)) ** 2)

    def second(self, z: Array) -> Array:
        return -2.0 * np.sign(z) / (1.0 + np.abs(z)) ** 3

    def scale(self, size: Array) -> Array:
        return bounded(size)

    def steep(self, size: Array) -> Array:
        return np.ones_like(size)


def softsign() -> Smooth:
    """``z / (1 + |z|)``."""
    return _Softsign("Softsign", (0.0,), (1, -1))
