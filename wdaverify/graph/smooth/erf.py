"""``erf(z)``: ``phi' = 2 / sqrt(pi) exp(-z^2)``, convex left of 0 and concave right of it."""

from __future__ import annotations

import math

import numpy as np

from wdaverify.graph.smooth.curve import Array, Smooth, bounded

_TOP = 2.0 / math.sqrt(math.pi)


class _Erf(Smooth):
    """The error function."""

    def values_at(self, z: Array) -> Array:
        from scipy.special import erf as library  # few networks need it

        return np.asarray(library(z))

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
