"""``log(1 + exp(z))``: ``phi'`` is the logistic function, which grows, so that phi is convex."""

from __future__ import annotations

import numpy as np

from wdaverify.graph.smooth.curve import Array, Smooth, logistic


class _Softplus(Smooth):
    """A smooth ReLU."""

    def values_at(self, z: Array) -> Array:
        return np.maximum(z, 0.0) + np.log1p(np.exp(-np.abs(z)))

    def slopes_on(self, piece: int, z: Array) -> Array:
        return logistic(z)

    def second(self, z: Array) -> Array:
        return logistic(z) * logistic(-z)

    def scale(self, size: Array) -> Array:
        return 1.0 + size

    def steep(self, size: Array) -> Array:
        return np.ones_like(size)


def softplus() -> Smooth:
    """``log(1 + exp(z))``."""
    return _Softplus("Softplus", (), (1,))
