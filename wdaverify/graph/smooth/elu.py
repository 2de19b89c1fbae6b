"""``gain z`` right of 0, ``gain alpha (exp(z) - 1)`` left of it: straight, and convex for ``gain alpha > 0``; a kink unless alpha is 1."""

from __future__ import annotations

import numpy as np

from wdaverify.graph.smooth.curve import Array, Smooth


class _Elu(Smooth):
    """Parameters alpha and gain."""

    def values_at(self, z: Array) -> Array:
        alpha, gain = self.parameters
        return np.where(z > 0, gain * z, gain * (alpha * np.expm1(np.minimum(z, 0.0))))

    def slopes_on(self, piece: int, z: Array) -> Array:
        alpha, gain = self.parameters
        return np.full_like(z, gain) if piece else gain * (alpha * np.exp(np.minimum(z, 0.0)))

    def second(self, z: Array) -> Array:
        alpha, gain = self.parameters
        return np.where(z > 0, 0.0, gain * alpha * np.exp(np.minimum(z, 0.0)))

    def scale(self, size: Array) -> Array:
        return self._most * size

    def steep(self, size: Array) -> Array:
        return np.full_like(size, self._most)

    @property
    def _most(self) -> float:
        alpha, gain = self.parameters
        return 1.001 * abs(gain) * max(abs(alpha), 1.0)


def elu(alpha: float = 1.0) -> Smooth:
    """``z`` for z > 0, else ``alpha (exp(z) - 1)``."""
    return _Elu("Elu", (0.0,), (int(np.sign(alpha)), 0), (alpha, 1.0))


def selu(alpha: float, gain: float) -> Smooth:
    """``gain z`` for z > 0, else ``gain alpha (exp(z) - 1)``."""
    return _Elu("Selu", (0.0,), (int(np.sign(alpha) * np.sign(gain)), 0), (alpha, gain))
