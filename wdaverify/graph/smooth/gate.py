"""``z clip(a z + b, low, high)`` with a > 0: straight, a parabola that is convex, straight; HardSwish is one, kinks are others."""

from __future__ import annotations

import numpy as np

from wdaverify.graph.smooth.curve import Array, Smooth, times


class _Gate(Smooth):
    """Parameters a, its divisor, b, low and high: the gate is ``clip(a z / divisor + b, low, high)``."""

    def values_at(self, z: Array) -> Array:
        a, divisor, b, low, high = self.parameters
        return z * np.clip(times(z, a, divisor) + b, low, high)

    def slopes_on(self, piece: int, z: Array) -> Array:
        a, divisor, b, low, high = self.parameters
        if piece != 1:
            return np.full_like(z, low if piece == 0 else high)
        return np.asarray(2.0 * times(z, a, divisor) + b)

    def second(self, z: Array) -> Array:
        return np.full_like(z, 2.0 * self.parameters[0] / self.parameters[1])

    def scale(self, size: Array) -> Array:
        return size * self._most

    def steep(self, size: Array) -> Array:
        return np.full_like(size, self._most)

    @property
    def _most(self) -> float:
        """No smaller than the gate, its slope times z between the turns, and what these are sums of."""
        _, _, b, low, high = self.parameters
        return 4.0 * (abs(b) + max(abs(low), abs(high)))


def gate(a: float, divisor: float, b: float, low: float, high: float) -> Smooth:
    """``z clip(a z / divisor + b, low, high)``; ``a / divisor > 0`` and ``low < high``."""
    turns = (low - b) / a * divisor, (high - b) / a * divisor
    return _Gate("Gate", turns, (0, 1, 0), (a, divisor, b, low, high))


def hard_swish() -> Smooth:
    """``z min(max(z / 6 + 1 / 2, 0), 1)``."""
    return _Gate("HardSwish", (-3.0, 3.0), (0, 1, 0), (1.0, 6.0, 0.5, 0.0, 1.0))
