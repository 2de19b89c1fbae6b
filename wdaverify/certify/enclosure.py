"""Interval enclosures of logit differences at points: what float64 proves about the network in real arithmetic.

Centre and radius go through the graph as the file has it (nothing fused): with ``|h_s - c_s| <= r_s``

    affine       c = fl(sum_s M_s c_s + b),  r = sum_s |M_s| r_s + f_s |M_s| |c_s| + f |b|      f = rounding.dot_error(terms and additions)
    a function   c = fl(phi(c_s)),  r = the largest slope near c_s times r_s, + what phi rounds  (a ReLU: r_s, 0 where c_s + r_s <= 0)

each radius enlarged by more than its own rounding and underflow (docs/theory.md, section 9).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from wdaverify.graph.nodes import INPUT, Affine
from wdaverify.network.model import Array, ReluNetwork
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
    known, end = {INPUT: (x, np.zeros_like(x))}, INPUT
    for end, node in enumerate(network.graph.nodes):
        if isinstance(node, Affine):
            known[end] = _affine(node, [known[s] for s in node.sources])
        else:
            centre, radius = known[node.source]
            centre = np.where(np.isfinite(centre), centre, np.nan)  # an overflow is no sign
            spread = node.function.spread(centre, radius) + node.function.rounded(np.abs(centre))
            known[end] = node.function.value(centre), spread
    return known[end]


def _affine(node: Affine, given: list[tuple[Array, Array]]) -> tuple[Array, Array]:
    """One affine node; the factors on ``radius`` and on the sums pay for evaluating the new radius in floating point."""
    added = len(given) - 1 + bool(node.bias.any())
    total, out, most, lost = node.bias, np.zeros(node.bias.shape), 0.0, np.zeros(())
    for map_, (centre, radius) in zip(node.maps, given, strict=True):
        terms = map_.terms_out + added
        factor = dot_error(terms) if terms else 0.0
        spread = radius * (1 + 2 * factor) + (factor * np.abs(centre) + _TINY if terms else 0.0)
        out = out + map_.size().apply(spread)
        total, most = total + map_.apply(centre), max(most, factor)
        lost = lost + (map_.lost_out + terms * _TINY if map_.terms_out else 0.0)
    out = (out + most * np.abs(node.bias)) * (1 + 4 * most)
    return total, out + lost
