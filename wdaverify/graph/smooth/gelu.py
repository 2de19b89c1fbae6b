"""``z (1 + erf(r z)) / 2``, r = 1 / sqrt(2) or what a file has for it: ``phi'' = r / sqrt(pi) exp(-(r z)^2) (2 - 2 (r z)^2)``.

Convex between ``-1 / r`` and ``1 / r``, concave beyond. r is ``factor / divisor``, two doubles, never their quotient rounded; of
the operator Gelu, whose r is no double, the two are 1 and the double next to sqrt(2): r z is off by two units in the last place
then, and so is what an argument of erf is always charged for.
"""

from __future__ import annotations

import math

import numpy as np

from wdaverify.graph.smooth.curve import Array, Smooth, times
from wdaverify.graph.smooth.erf import error_function

_SPREAD = 1.0 / math.sqrt(math.pi)


class _Gelu(Smooth):
    """Parameters factor and divisor, of one sign."""

    def _argument(self, z: Array) -> Array:
        factor, divisor = self.parameters
        return times(z, factor, divisor)

    def values_at(self, z: Array) -> Array:
        return 0.5 * z * (1.0 + error_function(self._argument(z)))

    def slopes_on(self, piece: int, z: Array) -> Array:
        t = self._argument(z)
        bell = np.exp(-t * t)
        return np.asarray(0.5 * (1.0 + error_function(t)) + _SPREAD * np.where(bell > 0, t, 0.0) * bell)

    def second(self, z: Array) -> Array:
        t = self._argument(z)
        return np.asarray(2.0 * _SPREAD * self.parameters[0] / self.parameters[1] * np.exp(-t * t) * (1.0 - t * t))

    def scale(self, size: Array) -> Array:
        return 2.0 * size

    def steep(self, size: Array) -> Array:
        return np.full_like(size, 2.0)


def gelu(factor: float = 1.0, divisor: float = math.sqrt(2.0)) -> Smooth:
    """``z (1 + erf(factor z / divisor)) / 2``; both > 0."""
    return _Gelu("Gelu", (-divisor / factor, divisor / factor), (-1, 1, -1), (factor, divisor))
