"""``z^2``, convex, and ``z^3``, concave left of 0 and convex right of it."""

from __future__ import annotations

import numpy as np

from wdaverify.graph.smooth.curve import Array, Smooth


class _Power(Smooth):
    """The one parameter is 2 or 3."""

    def values_at(self, z: Array) -> Array:
        return z * z if self.parameters[0] == 2 else z * z * z

    def slopes_on(self, piece: int, z: Array) -> Array:
        return np.asarray(2.0 * z if self.parameters[0] == 2 else 3.0 * (z * z))

    def second(self, z: Array) -> Array:
        return np.asarray(np.full_like(z, 2.0) if self.parameters[0] == 2 else 6.0 * z)

    def _touch(self, k: int, slope: Array, steps: int = 0) -> Array:
        root = np.sqrt(np.maximum(slope, 0.0) / 3.0)
        return np.asarray(0.5 * slope if self.parameters[0] == 2 else root if k else -root)

    def scale(self, size: Array) -> Array:
        return self.values_at(size)

    def steep(self, size: Array) -> Array:
        return np.asarray(1.001 * self.slopes_on(0, size))


def square() -> Smooth:
    """``z^2``."""
    return _Power("Square", (), (1,), (2.0,))


def cube() -> Smooth:
    """``z^3``."""
    return _Power("Cube", (0.0,), (-1, 1), (3.0,))
