"""The slope of a network at a point, re-evaluated: what float64 proves of it in real arithmetic.

A point whose pre-activations are all surely not 0 lies in the interior of its activation cell, and every cell around it in a
convex region is full-dimensional there; so the slope at the point counts (docs/theory.md, section 7). A neuron that no change
of the input reaches through active neurons is constant on the cell and has no say.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from wdaverify.certify.jacobian import jacobian, slope_down, slope_up
from wdaverify.ground import GroundCost
from wdaverify.network.model import Array, Block
from wdaverify.rounding import dot_error, underflow


def slopes_at(
    blocks: Sequence[Block], points: Array, rows: Array, cost: GroundCost, still: Array
) -> tuple[Array, Array]:
    """Bounds ``(lower [B], upper [B])`` of the slope of ``rows [R, K]`` at points ``[B, n]``; -inf and inf where a neuron may be at 0."""
    bounds, sure = phases_at(blocks, points, still)
    wide = np.broadcast_to(rows, (len(points), *rows.shape))
    centre, radius = jacobian(blocks, bounds, wide)
    low, high = slope_down(centre, radius, cost, still), slope_up(centre, radius, cost, still)
    return np.where(sure, low, -np.inf), np.where(sure, high, np.inf)


def phases_at(
    blocks: Sequence[Block], points: Array, still: Array
) -> tuple[list[tuple[Array, Array]], NDArray[np.bool_]]:
    """Per hidden block bounds ``(l, u)`` ``[B, m]`` whose signs are those at the points, and whether all are sure, ``[B]``."""
    h, off = points, np.zeros_like(points)
    moves = np.broadcast_to(~(still > 0), points.shape)
    sure: NDArray[np.bool_] = np.asarray(np.isfinite(points).all(axis=1))
    bounds = []
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        for block in blocks[:-1]:
            size, terms = np.abs(h) + off, block.weight.shape[1]
            weight = np.abs(block.weight)
            slip = off @ weight.T + 2 * (size @ block.weight_error.T + block.bias_error)
            slip = slip + dot_error(terms + 4) * (size @ weight.T + np.abs(block.bias)) + underflow(terms + 4)
            z = h @ block.weight.T + block.bias
            slip = slip * (1 + dot_error(8))
            reached = (moves.astype(np.float64) @ ((block.weight != 0) | (block.weight_error != 0)).T) > 0
            active = z > slip
            sure = np.asarray(sure & (active | (z < -slip) | ~reached).all(axis=1))
            bounds.append((np.where(active, 1.0, -1.0), np.where(active, 1.0, -1.0)))
            on = active | (~reached & (z > 0))
            h, off = np.where(on, z, 0.0), np.where(on | (np.abs(z) <= slip), slip, 0.0)
            moves = active & reached
    return bounds, sure
