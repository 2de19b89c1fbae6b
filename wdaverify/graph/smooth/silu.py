"""``z / (1 + exp(-z))``: ``phi'' = s'(z) (2 - z tanh(z / 2))`` with the logistic s, and ``z tanh(z / 2)`` grows with ``|z|``.

Convex between ``-t`` and ``t`` with ``t tanh(t / 2) = 2``, concave beyond.
"""

from __future__ import annotations

import numpy as np

from wdaverify.graph.smooth.curve import Array, Smooth, logistic

_TURN = 2.3993572805154677


class _Silu(Smooth):
    """Swish."""

    def values_at(self, z: Array) -> Array:
        return z * logistic(z)

    def slopes_on(self, piece: int, z: Array) -> Array:
        s, rest = logistic(z), logistic(-z)
        return np.asarray(s + np.where(s * rest > 0, z, 0.0) * (s * rest))

    def second(self, z: Array) -> Array:
        bump = logistic(z) * logistic(-z)
        return np.where(bump > 0, bump * (2.0 - z * np.tanh(0.5 * z)), 0.0)

    def scale(self, size: Array) -> Array:
        return 2.0 * size

    def steep(self, size: Array) -> Array:
        return np.full_like(size, 2.0)


def silu() -> Smooth:
    """``z / (1 + exp(-z))``."""
    return _Silu("Silu", (-_TURN, _TURN), (-1, 1, -1))
