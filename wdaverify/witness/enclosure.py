"""Interval enclosures of logit differences at points: what float64 proves about the network in real arithmetic.

Centre and radius go through the layers as the file has them (nothing fused): with ``|h - c| <= r``

    Affine      c' = fl(W c + b),  r' = |W| r + f (|W| |c| + |b|)        f = rounding.dot_error(n + 1)
    Diagonal    c' = fl(c f / d + s),  r' = |f / d| r + a few units roundoff of |c f / d| and |c'|
    Relu        c' = max(c, 0),  r' = r  (0 where c + r <= 0)

each radius enlarged by more than its own rounding and underflow (docs/theory.md, section 9).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from wdaverify.network.model import Affine, Array, Diagonal, Relu, ReluNetwork
from wdaverify.rounding import UNIT_ROUNDOFF, dot_error

IntArray = NDArray[np.int64]
_TINY = float(np.finfo(np.float64).tiny)


def margins_enclosure(network: ReluNetwork, x: Array, y: IntArray) -> tuple[Array, Array]:
    """Bounds ``(lower [B, K], upper [B, K])`` of ``z_j - z_y`` at points ``x [B, n]`` with labels ``y [B]``.

    Both are 0 at ``j = y``. Where the network overflows the bounds are -inf and +inf.
    """
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        centre, radius = _propagate(network, np.asarray(x, dtype=np.float64))
        rows = np.arange(centre.shape[0])
        margin = centre - centre[rows, y][:, None]
        slack = radius + radius[rows, y][:, None]
        slack = slack * (1 + 8 * UNIT_ROUNDOFF) + 4 * UNIT_ROUNDOFF * np.abs(margin) + _TINY
        lower, upper = margin - slack, margin + slack
    unknown = ~(np.isfinite(lower) & np.isfinite(upper))
    lower[unknown], upper[unknown] = -math.inf, math.inf
    lower[rows, y] = upper[rows, y] = 0.0
    return lower, upper


def functionals_enclosure(network: ReluNetwork, x: Array, matrix: Array, offset: Array) -> tuple[Array, Array]:
    """Bounds ``[B, R]`` of ``matrix . z + offset`` at points ``x [B, n]``; matrix ``[R, K]``, offset ``[B, R]``."""
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        centre, radius = _propagate(network, np.asarray(x, dtype=np.float64))
        value = centre @ matrix.T + offset
        factor = dot_error(matrix.shape[1] + 1)
        size = np.abs(centre) @ np.abs(matrix).T + np.abs(offset)
        slack = (radius @ np.abs(matrix).T + factor * size) * (1 + 4 * factor) + matrix.shape[1] * _TINY
        lower, upper = value - slack, value + slack
    unknown = ~(np.isfinite(lower) & np.isfinite(upper))
    lower[unknown], upper[unknown] = -math.inf, math.inf
    return np.nextafter(lower, -np.inf), np.nextafter(upper, np.inf)


def rival_margin(network: ReluNetwork, x: Array, y: IntArray) -> tuple[Array, Array]:
    """Bounds ``(lower [B], upper [B])`` of the margin loss ``max_{j != y} z_j - z_y``."""
    lower, upper = margins_enclosure(network, x, y)
    rows = np.arange(lower.shape[0])
    lower[rows, y] = upper[rows, y] = -math.inf
    return lower.max(axis=1), upper.max(axis=1)


def _propagate(network: ReluNetwork, x: Array) -> tuple[Array, Array]:
    """Centre and radius ``[B, K]`` of the logits."""
    centre, radius = x, np.zeros_like(x)
    for layer in network.layers:
        match layer:
            case Affine():
                centre, radius = _affine(layer, centre, radius)
            case Diagonal():
                centre, radius = _diagonal(layer, centre, radius)
            case Relu():
                centre = np.where(np.isfinite(centre), centre, np.nan)  # an overflow is no sign
                radius = np.where(centre <= -radius, 0.0, radius)
                centre = np.maximum(centre, 0.0)
    return centre, radius


def _affine(layer: Affine, centre: Array, radius: Array) -> tuple[Array, Array]:
    """One affine map; the factors on ``radius`` and on the sum pay for evaluating the new radius in floating point."""
    terms = layer.weight.shape[1] + 1
    factor = dot_error(terms)
    spread = radius * (1 + 2 * factor) + factor * np.abs(centre) + _TINY
    out = spread @ np.abs(layer.weight).T + factor * np.abs(layer.bias)
    return centre @ layer.weight.T + layer.bias, out * (1 + 2 * factor) + terms * _TINY


def _diagonal(layer: Diagonal, centre: Array, radius: Array) -> tuple[Array, Array]:
    """One diagonal map; an operation by 1 or 0 rounds nothing."""
    scaled = centre * layer.factor / layer.divisor
    shifted = scaled + layer.shift
    inexact = (layer.factor != 1) | (layer.divisor != 1)
    error = np.where(inexact, 4 * UNIT_ROUNDOFF * np.abs(scaled), 0.0)
    error = error + np.where(layer.shift != 0, 2 * UNIT_ROUNDOFF * np.abs(shifted), 0.0)
    carried = np.where(inexact, radius * np.abs(layer.factor) / np.abs(layer.divisor), radius)  # f / d alone may vanish
    lost = np.where(inexact, _TINY + _TINY / np.abs(layer.divisor), 0.0)
    return shifted, (carried + error) * (1 + 16 * UNIT_ROUNDOFF) + lost
