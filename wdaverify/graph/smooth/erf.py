"""``erf(z)``: ``phi' = 2 / sqrt(pi) exp(-z^2)``, convex left of 0 and concave right of it.

numpy has no erf, and certificates are checked without libraries beyond it: values are Taylor's around the nearest of points ``k / 256``,
where they are those of Python's ``math.erf``. With ``|h| <= 2^-9`` and ``|H_k(x)| exp(-x^2) <= 1.09 sqrt(2^k k!)`` what six terms leave out
is below 2^-57.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from wdaverify.graph.smooth.curve import Array, Smooth, bounded

_TOP = 2.0 / math.sqrt(math.pi)
_STEPS, _TERMS, _END = 256, 6, 6.0
"""Points of the table per unit, its terms, and where erf is 1 in double precision."""


def error_function(z: Array) -> Array:
    """``erf(z)``."""
    table = _table()
    near = np.minimum(np.abs(z), _END) * _STEPS
    with np.errstate(invalid="ignore"):  # NaN is next to any point, and stays one
        row = (near + 0.5).astype(np.int64)
    h = (near - row) * (1.0 / _STEPS)
    out = np.take(table[_TERMS - 1], row, mode="clip")
    for k in range(_TERMS - 2, -1, -1):
        out *= h
        out += np.take(table[k], row, mode="clip")
    return np.asarray(np.copysign(out, z), np.float64)


@cache
def _table() -> Array:
    """Coefficients ``[terms, points]``: ``erf^(k) / k!``, with ``erf^(k + 1)(x) = (-1)^k 2 / sqrt(pi) H_k(x) exp(-x^2)``."""
    x = np.arange(int(_END * _STEPS) + 1) / _STEPS
    out, bell = np.empty((_TERMS, x.size)), _TOP * np.exp(-x * x)
    out[0] = [math.erf(v) for v in x.tolist()]
    before, hermite = np.zeros_like(x), np.ones_like(x)
    for k in range(_TERMS - 1):
        out[k + 1] = (-1.0) ** k * hermite * bell / math.factorial(k + 1)
        before, hermite = hermite, 2 * x * hermite - 2 * k * before
    return out


class _Erf(Smooth):
    """The error function."""

    def values_at(self, z: Array) -> Array:
        return error_function(z)

    def slopes_on(self, piece: int, z: Array) -> Array:
        return np.asarray(_TOP * np.exp(-z * z))

    def second(self, z: Array) -> Array:
        return -2.0 * z * self.slopes_on(0, z)

    def scale(self, size: Array) -> Array:
        return bounded(1.2 * size)

    def steep(self, size: Array) -> Array:
        return np.full_like(size, 1.2)


def erf() -> Smooth:
    """``2 / sqrt(pi)`` times the integral of ``exp(-t^2)`` from 0 to z."""
    return _Erf("Erf", (0.0,), (1, -1))
