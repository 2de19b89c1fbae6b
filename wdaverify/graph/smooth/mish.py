"""``z tanh(log(1 + exp(z)))``: ``phi''`` has the sign of ``2 + z (1 - s - 2 s tanh(log(1 + exp(z))))`` with the logistic s.

Concave left of a first turn and right of a second one, convex between; that there are no others is shown in the tests by
intervals.
"""

from __future__ import annotations

import numpy as np

from wdaverify.graph.smooth.curve import Array, Smooth, logistic

TURNS = -2.2563763963607931, 1.4905711794854285


class _Mish(Smooth):
    """Mish."""

    def _gate(self, z: Array) -> Array:
        """``tanh(log(1 + w)) = w (w + 2) / (w (w + 2) + 2)`` with ``w = exp(z)``, and with ``w = exp(-z)`` for z > 0."""
        w = np.exp(-np.abs(z))
        return np.asarray(np.where(z >= 0, (1 + 2 * w) / (1 + 2 * w + 2 * w * w), w * (w + 2) / (w * (w + 2) + 2)))

    def values_at(self, z: Array) -> Array:
        return z * self._gate(z)

    def slopes_on(self, piece: int, z: Array) -> Array:
        gate, bump = self._gate(z), self._bump(z)
        return np.asarray(gate + np.where(bump > 0, z, 0.0) * bump)

    def _bump(self, z: Array) -> Array:
        """The slope of the gate: ``4 w (1 + w) / (w (w + 2) + 2)^2``, in ``exp(-|z|)``."""
        w = np.exp(-np.abs(z))
        left, right = w * (w + 2) + 2, 1 + 2 * w + 2 * w * w
        return np.asarray(np.where(z >= 0, 4 * w * w * (1 + w) / right**2, 4 * w * (1 + w) / left**2))

    def second(self, z: Array) -> Array:
        bump, s = self._bump(z), logistic(z)
        return np.where(bump > 0, bump * (2.0 + z * (1.0 - s - 2.0 * s * self._gate(z))), 0.0)

    def scale(self, size: Array) -> Array:
        return 4.0 * size

    def steep(self, size: Array) -> Array:
        return np.full_like(size, 4.0)


def mish() -> Smooth:
    """``z tanh(log(1 + exp(z)))``."""
    return _Mish("Mish", TURNS, (-1, 1, -1))
