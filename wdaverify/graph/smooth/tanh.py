"""``tanh(z)``: ``phi'' = -2 phi (1 - phi^2)``, convex left of 0 and concave right of it."""

from __future__ import annotations

import numpy as np

from wdaverify.graph.smooth.curve import Array, Smooth, bounded


class _Tanh(Smooth):
    """The hyperbolic tangent."""

    def values_at(self, z: Array) -> Array:
        return np.tanh(z)

    def slopes_on(self, piece: int, z: Array) -> Array:
        small = np.exp(-2.0 * np.abs(z))
        return np.asarray(4.0 * small / (1.0 + small) ** 2)

    def second(self, z: Array) -> Array:
        return -2.0 * np.tanh(z) * self.slopes_on(0, z)

    def scale(self, size: Array) -> Array:
        return bounded(size)

    def steep(self, size: Array) -> Array:
        return np.ones_like(size)


def tanh() -> Smooth:
    """``tanh(z)``."""
    return _Tanh("Tanh", (0.0,), (1, -1))
