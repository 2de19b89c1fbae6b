"""``exp(z)``, convex; beyond 709 it overflows, and nothing is known of it there."""

from __future__ import annotations

import numpy as np

from wdaverify.graph.smooth.curve import Array, Smooth


class _Exponential(Smooth):
    """The exponential."""

    def values_at(self, z: Array) -> Array:
        return np.exp(z)

    def slopes_on(self, piece: int, z: Array) -> Array:
        return np.exp(z)

    def second(self, z: Array) -> Array:
        return np.exp(z)

    def _touch(self, k: int, slope: Array, steps: int = 0) -> Array:
        return np.asarray(np.log(np.maximum(slope, 1e-300)))

    def scale(self, size: Array) -> Array:
        return np.exp(size)

    def steep(self, size: Array) -> Array:
        return np.exp(size)


def exponential() -> Smooth:
    """``exp(z)``."""
    return _Exponential("Exp", (), (1,))
