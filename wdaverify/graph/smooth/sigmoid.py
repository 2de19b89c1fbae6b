"""``1 / (1 + exp(-z))``: ``phi'' = phi (1 - phi) (1 - 2 phi)``, convex left of 0 and concave right of it."""

from __future__ import annotations

import numpy as np

from wdaverify.graph.smooth.curve import Array, Smooth, logistic


class _Sigmoid(Smooth):
    """The logistic function."""

    def values_at(self, z: Array) -> Array:
        return logistic(z)

    def slopes_on(self, piece: int, z: Array) -> Array:
        return logistic(z) * logistic(-z)

    def second(self, z: Array) -> Array:
        return logistic(z) * logistic(-z) * (logistic(-z) - logistic(z))

    def scale(self, size: Array) -> Array:
        return np.ones_like(size)

    def steep(self, size: Array) -> Array:
        return np.full_like(size, 0.25)


def sigmoid() -> Smooth:
    """``1 / (1 + exp(-z))``."""
    return _Sigmoid("Sigmoid", (0.0,), (1, -1))
