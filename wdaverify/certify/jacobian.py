"""Interval Jacobians: what the gradient may be on a region whose pre-activations are bounded, batched, rounded outward.

With ``D_k = diag(phase)``, the phase 1 where ``l >= 0``, 0 where ``u <= 0``, either in between,

    rows . J = rows . W_L D_(L-1) W_(L-1) ... D_1 W_1

is enclosed from the last layer to the first as centre and radius (docs/theory.md, section 7). A gradient's *slope* is its
largest gain, the induced norm ``max { ||rows J u|| : ||a u|| <= 1 }`` in the norm of the ground cost, both sides the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from wdaverify.ground import GroundCost, Norm
from wdaverify.network.model import Array, Block
from wdaverify.rounding import UNIT_ROUNDOFF, dot_error, underflow

_CHUNK = 2**22
"""The most doubles that one pass holds per array."""


def jacobian(
    blocks: Sequence[Block], bounds: Sequence[tuple[Array, Array]], rows: Array, pull: list[Array] | None = None
) -> tuple[Array, Array]:
    """Centre and radius ``[B, R, n]`` of ``rows . J`` for rows ``[B, R, m]`` of the pre-activations after ``len(bounds)`` ReLUs.

    bounds: per hidden block before that ``(l, u)``, each ``[B, m_k]``. A list ``pull`` is given, per hidden block, the largest size
    ``[B, m_k]`` of the derivative by each neuron's output.
    """
    centre, radius = np.asarray(rows, np.float64), np.zeros(rows.shape)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        for k in range(len(bounds), -1, -1):
            block, terms = blocks[k], blocks[k].weight.shape[0]
            weight, size = np.abs(block.weight), np.abs(centre) + radius
            slip = _times(radius, weight) + dot_error(terms + 4) * _times(size, weight)
            if not block.exact:
                slip = slip + 2 * _times(size, block.weight_error)
            centre, radius = _times(centre, block.weight), slip * (1 + dot_error(terms + 4)) + underflow(terms)
            if k > 0:
                if pull is not None:
                    pull.insert(0, (np.abs(centre) + radius).max(axis=1))
                centre, radius = _gated(centre, radius, *bounds[k - 1])
    return centre, radius


def _times(left: Array, right: Array) -> Array:
    """``[B, R, m]`` times ``[m, n]`` as one product of matrices, which is many times faster than B of them."""
    return np.asarray((left.reshape(-1, right.shape[0]) @ right).reshape(*left.shape[:2], right.shape[1]))


def _gated(centre: Array, radius: Array, low: Array, high: Array) -> tuple[Array, Array]:
    """Times a phase: as it is, 0, or anything between the two."""
    active, dead = (low >= 0)[:, None, :], (high <= 0)[:, None, :]
    bottom, top = np.minimum(centre - radius, 0.0), np.maximum(centre + radius, 0.0)
    spread = 0.5 * (top - bottom) * (1 + 8 * UNIT_ROUNDOFF) + underflow(0)
    out = np.where(active, centre, np.where(dead, 0.0, 0.5 * (top + bottom)))
    return out, np.where(active, radius, np.where(dead, 0.0, spread))


def slope_up(centre: Array, radius: Array, cost: GroundCost, still: Array | None = None) -> Array:
    """The largest slope ``[B]`` of any matrix within ``radius`` of ``centre``, both ``[B, R, n]``, rounded up.

    Features that the cost fixes, and those that are ``still [n]``, do not move.
    """
    rows, width = centre.shape[1:]
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        size = _columns(np.abs(centre) + radius, cost, still, 1.0)
        if cost.norm is Norm.INF:
            out = size.sum(axis=2).max(axis=1, initial=0.0)
        elif cost.norm is Norm.ONE:
            out = size.sum(axis=1).max(axis=1, initial=0.0)
        else:
            out = _spectral_up(_columns(centre, cost, still, 0.0), _columns(radius, cost, still, 1.0), size)
        out = out * (1 + dot_error(rows * width + 16)) + underflow(rows * width + 16)
    return np.where(np.isnan(out), np.inf, out)


def slope_down(centre: Array, radius: Array, cost: GroundCost, still: Array | None = None) -> Array:
    """No matrix within ``radius`` of ``centre`` has a smaller slope, ``[B]``, rounded down, at least 0."""
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        size = np.maximum(_columns(np.abs(centre) - radius, cost, still, -1.0), 0.0)
        if cost.norm is Norm.INF:
            out = size.sum(axis=2).max(axis=1, initial=0.0)
        elif cost.norm is Norm.ONE:
            out = size.sum(axis=1).max(axis=1, initial=0.0)
        else:
            scaled, loose = _columns(centre, cost, still, 0.0), _columns(radius, cost, still, 1.0)
            loose = loose + 4 * UNIT_ROUNDOFF * np.abs(scaled)
            out = _gain_down(scaled) - _frobenius_up(loose)
        out = out * (1 - dot_error(centre.shape[1] * centre.shape[2] + 16)) - underflow(4)
    known = np.isfinite(centre).all(axis=(1, 2)) & np.isfinite(radius).all(axis=(1, 2)) & ~np.isnan(out)
    return np.where(known, np.clip(out, 0.0, np.finfo(np.float64).max), 0.0)


def neuron_slopes(
    blocks: Sequence[Block], bounds: Sequence[tuple[Array, Array]], cost: GroundCost, still: Array | None
) -> list[Array]:
    """Per hidden block how fast each pre-activation may change, ``[B, m]``: the slope of its own gradient."""
    out = []
    batch = bounds[0][0].shape[0] if bounds else 0
    for k in range(len(bounds)):
        width = blocks[k].weight.shape[0]
        eye = np.broadcast_to(np.eye(width), (batch, width, width))
        step = max(1, _CHUNK // (width * max(block.weight.shape[1] for block in blocks)))
        parts = []
        for first in range(0, batch, step):
            at = slice(first, first + step)
            local = [(low[at], high[at]) for low, high in bounds[:k]]
            centre, radius = jacobian(blocks, local, eye[at])
            alone = (centre.shape[0] * width, 1, centre.shape[2])
            parts.append(slope_up(centre.reshape(alone), radius.reshape(alone), cost, still).reshape(-1, width))
        out.append(np.concatenate(parts))
    return out


def _columns(matrix: Array, cost: GroundCost, still: Array | None, outward: float) -> Array:
    """In cost units, columns that do not move 0; rounded up where ``outward > 0``, down where it is < 0."""
    n = matrix.shape[-1]
    out = matrix
    if cost.weights is not None:
        out = matrix / cost.scale(n)
        out = out + outward * (2 * UNIT_ROUNDOFF * np.abs(out) + underflow(1))
    held = cost.fixed(n) if still is None else cost.fixed(n) | (still > 0)
    return np.where(held, 0.0, out)


def _spectral_up(centre: Array, radius: Array, size: Array) -> Array:
    """``min(||size||, ||centre|| + ||radius||)`` in the spectral norm, each bounded from above, ``[B]``."""
    loose = radius + 4 * UNIT_ROUNDOFF * np.abs(centre)  # what scaling the centre rounded
    return np.minimum(spectral_up(size), spectral_up(centre) + spectral_up(loose) * (1 + 2 * UNIT_ROUNDOFF))


def spectral_up(matrix: Array) -> Array:
    """``||A||_2`` of matrices ``[B, R, n]``, rounded up, ``[B]``.

    With G = A A^T (or A^T A, the smaller one) and any matrix V of nearly orthonormal columns, ``V^T G V`` is nearly diagonal;
    its largest absolute row sum bounds its largest eigenvalue, and ``||G|| <= ||V^T G V|| / s_min(V)^2``, where
    ``s_min(V)^2 >= 1 - ||I - V^T V||``. Both sides' rounding is charged.
    """
    r, n = matrix.shape[1:]
    if r <= 1 or n <= 1:
        return _frobenius_up(matrix)
    scale = _largest(matrix)
    a = matrix / scale if r <= n else np.swapaxes(matrix / scale, 1, 2)
    small, wide = a.shape[1:]
    g = a @ np.swapaxes(a, 1, 2)
    slack = dot_error(wide + 4) * (np.abs(a) @ np.swapaxes(np.abs(a), 1, 2))
    usable: NDArray[np.bool_] = np.asarray(np.isfinite(g).all(axis=(1, 2)))
    v = np.linalg.eigh(np.where(usable[:, None, None], g, 0.0))[1]
    vt, va = np.swapaxes(v, 1, 2), np.abs(v)
    turned = vt @ g @ v
    lost = np.swapaxes(va, 1, 2) @ (slack + 2 * dot_error(small + 4) * np.abs(g)) @ va
    top = (np.abs(turned) + 1.001 * lost).sum(axis=2).max(axis=1)
    skew = np.abs(np.eye(small) - vt @ v) + dot_error(small + 4) * (np.swapaxes(va, 1, 2) @ va + 1)
    room = 1 - 1.001 * skew.sum(axis=2).max(axis=1)
    square = np.asarray(np.where(usable & (room > 0.5), top / np.maximum(room, 0.5), np.inf))
    return np.asarray(np.sqrt(square) * scale[:, 0, 0] * (1 + 1e-14 + dot_error(small)) + underflow(8))


def _largest(matrix: Array) -> Array:
    """The largest entry's size, to divide by before squares overflow or vanish, ``[B, 1, 1]``; 1 where there is none."""
    scale = np.abs(matrix).max(axis=(1, 2), keepdims=True, initial=0.0)
    return np.where((scale > 0) & np.isfinite(scale), scale, 1.0)


def _frobenius_up(matrix: Array) -> Array:
    """The Frobenius norm, rounded up, ``[B]``."""
    scale = _largest(matrix)
    count = matrix.shape[1] * matrix.shape[2]
    unit = np.sqrt(((matrix / scale) ** 2).sum(axis=(1, 2))) * (1 + dot_error(count + 16))
    return np.asarray(unit * scale[:, 0, 0] * (1 + 4 * UNIT_ROUNDOFF) + underflow(count))


def _gain_down(matrix: Array) -> Array:
    """``||A v||`` for one good unit vector v, ``[B]``: at most ``||A||_2``, nearly it."""
    if not matrix.shape[2]:
        return np.zeros(len(matrix))
    scale = _largest(matrix)
    matrix = matrix / scale
    matrix = np.where(np.isfinite(matrix).all(axis=(1, 2), keepdims=True), matrix, 0.0)
    _, _, turns = np.linalg.svd(matrix, full_matrices=False)
    v = turns[:, 0, :]
    moved = np.einsum("brn,bn->br", matrix, v)
    lost = dot_error(v.shape[1] + 8) * np.einsum("brn,bn->br", np.abs(matrix), np.abs(v))
    length = np.sqrt((v * v).sum(axis=1)) * (1 + dot_error(v.shape[1] + 8))
    kept = np.maximum(np.abs(moved) - lost, 0.0)
    lost_by_scaling = 1 - 8 * UNIT_ROUNDOFF * np.sqrt(matrix.shape[1] * matrix.shape[2])
    return np.asarray(np.sqrt((kept * kept).sum(axis=1)) / length * lost_by_scaling * scale[:, 0, 0])
