"""``z (1 + tanh(a z + b z^3)) / 2``, the approximation of GELU: convex between two turns ``-t`` and ``t``, concave beyond.

With ``u = a z + b z^3``, ``phi'' = (1 - tanh(u)^2) h(z)`` and ``h = u' + z u'' / 2 - z u'^2 tanh(u)``, even in z, > 0 at 0 and < 0 far
away. That it has one sign change there is shown in the tests by intervals for all a and b within 1e-4 of those that people use, and
others are refused.
"""

from __future__ import annotations

import math

import numpy as np

from wdaverify.errors import NetworkError
from wdaverify.graph.smooth.curve import Array, Smooth

LINEAR, CUBIC = math.sqrt(2.0 / math.pi), math.sqrt(2.0 / math.pi) * 0.044715
_NEAR = 1e-4
"""How far, relatively, the coefficients may be from those of the approximation."""


class _GeluTanh(Smooth):
    """Parameters a and b."""

    def _argument(self, z: Array) -> tuple[Array, Array]:
        """u and u'."""
        a, b = self.parameters
        return z * (a + b * (z * z)), a + 3.0 * b * (z * z)

    def values_at(self, z: Array) -> Array:
        u, _ = self._argument(z)
        small = np.exp(-2.0 * np.abs(u))
        return z * np.where(u >= 0, 1.0, small) / (1.0 + small)

    def slopes_on(self, piece: int, z: Array) -> Array:
        u, inner = self._argument(z)
        small = np.exp(-2.0 * np.abs(u))
        whole = np.where(u >= 0, 1.0, small) / (1.0 + small)
        bump = 2.0 * small / (1.0 + small) ** 2
        return np.where(small > 0, whole + z * inner * bump, whole)

    def second(self, z: Array) -> Array:
        u, _ = self._argument(z)
        small = np.exp(-2.0 * np.abs(u))
        return np.where(small > 0, 4.0 * small / (1.0 + small) ** 2 * _sign_of(self.parameters, z), 0.0)

    def scale(self, size: Array) -> Array:
        return 4.0 * size

    def steep(self, size: Array) -> Array:
        return np.full_like(size, 8.0)


def _sign_of(parameters: tuple[float, ...], z: Array) -> Array:
    """h, of the sign of phi''."""
    a, b = parameters
    inner = a + 3.0 * b * (z * z)
    return np.asarray(inner + 3.0 * b * (z * z) - z * inner * inner * np.tanh(z * (a + b * (z * z))))


def gelu_tanh(linear: float = LINEAR, cubic: float = CUBIC) -> Smooth:
    """``z (1 + tanh(linear z + cubic z^3)) / 2``.

    Raises:
        NetworkError: other coefficients than those of the approximation of GELU.
    """
    if abs(linear - LINEAR) > _NEAR * LINEAR or abs(cubic - CUBIC) > _NEAR * CUBIC:
        raise NetworkError(
            f"z (1 + tanh({linear:g} z + {cubic:g} z^3)) / 2: of these GELU's coefficients {LINEAR:g} and {CUBIC:g} are accepted"
        )
    low, high = 1.0, 2.0
    while math.nextafter(low, high) < high:
        middle = 0.5 * (low + high)
        positive = float(_sign_of((linear, cubic), np.array(middle))) > 0
        low, high = (middle, high) if positive else (low, middle)
    return _GeluTanh("GeluTanh", (-low, low), (-1, 1, -1), (linear, cubic))
