"""Interval Jacobians: what the gradient may be on a region whose pre-activations are bounded, batched, rounded outward.

Backward over the nodes of a graph, as centre and radius (docs/theory.md, section 7):

    affine         g_s += g M_s         for each of its sources s
    elementwise    g_source += g D      D = diag(slopes), each within what its function has on [l, u]

For a ReLU that is its phase: 1 where ``l >= 0``, 0 where ``u <= 0``, either in between. A gradient's *slope* is its
largest gain, the induced norm ``max { ||rows J u|| : ||a u|| <= 1 }`` in the norm of the ground cost, both sides the same.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from wdaverify.graph.maps import LinearMap, known
from wdaverify.graph.nodes import INPUT, Elementwise, Graph
from wdaverify.ground import GroundCost, Norm
from wdaverify.network.model import Array
from wdaverify.rounding import UNIT_ROUNDOFF, dot_error, underflow

_CHUNK = 2**22
"""The most doubles that one pass holds per array."""


def jacobian(
    graph: Graph,
    bounds: Sequence[tuple[Array, Array]],
    rows: Array,
    target: int | None = None,
    pull: list[Array] | None = None,
) -> tuple[Array, Array]:
    """Centre and radius ``[B, R, n]`` of ``rows . J`` for rows ``[B, R, m]`` of the target, an affine node (None: the output).

    bounds: per elementwise node before the target ``(l, u)``, each ``[B, m_k]``. A list ``pull`` is given, per node of these, the
    largest size ``[B, m_k]`` of the derivative by each neuron's output.
    """
    last = len(graph.nodes) - 1 if target is None else target
    exact = np.asarray(rows, np.float64)
    waiting = {last: (exact, np.zeros(exact.shape))}
    number = bisect_left(graph.elementwise, last)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        for k in range(last, INPUT, -1):
            node, given = graph.nodes[k], waiting.pop(k, None)
            if isinstance(node, Elementwise):
                number -= 1
                low, high = bounds[number]
                if pull is not None:
                    none = np.zeros(low.shape)
                    pull.insert(0, none if given is None else (np.abs(given[0]) + given[1]).max(axis=1))
                if given is not None:
                    add(waiting, node.source, *gated(*given, *node.function.slope_range(low, high)))
            elif given is not None:
                for source, map_ in zip(node.sources, node.maps, strict=True):
                    add(waiting, source, *through(map_, *given))
    none = np.zeros((*exact.shape[:2], graph.inputs))
    return waiting.get(INPUT, (none, none))


def add(waiting: dict[int, tuple[Array, Array]], node: int, centre: Array, radius: Array) -> None:
    """What one of a node's consumers makes of it, added to what others did."""
    if node in waiting:
        before, loose = waiting[node]
        centre = before + centre
        radius = (loose + radius + 2 * UNIT_ROUNDOFF * np.abs(centre)) * (1 + 8 * UNIT_ROUNDOFF)
    waiting[node] = centre, radius


def through(map_: LinearMap, centre: Array, radius: Array) -> tuple[Array, Array]:
    """``c W`` of an interval ``[B, R, m]``."""
    stored, off = known(map_)
    slip = _back(stored, radius)
    if map_.terms_in:
        size, factor = np.abs(centre) + radius, dot_error(map_.terms_in + 4)
        slip = slip + factor * _back(stored, size)
        if off is not None:
            slip = slip + 2 * _back(off, size)
        slip = slip * (1 + factor) + map_.lost_in
    return _back(map_, centre), slip


def _back(map_: LinearMap, c: Array) -> Array:
    """``map_.back`` of all rows at once: one product of matrices is many times faster than B of them."""
    return map_.back(c.reshape(-1, map_.outputs)).reshape(*c.shape[:2], map_.inputs)


def gated(centre: Array, radius: Array, least: Array, greatest: Array) -> tuple[Array, Array]:
    """Times slopes within ``[least, greatest]``, each ``[B, m]``: as it is where they are 1, 0 where they are 0."""
    one, none = least == 1, greatest == 0
    bottom, top = np.minimum(centre - radius, 0.0), np.maximum(centre + radius, 0.0)
    loose: Array | float = underflow(0)
    if not ((one | (least == 0)) & (none | (greatest == 1))).all():
        ends = [end * slope[:, None, :] for end in (centre - radius, centre + radius) for slope in (least, greatest)]
        bottom, top = reduce(np.minimum, ends), reduce(np.maximum, ends)
        loose = 8 * UNIT_ROUNDOFF * (np.abs(bottom) + np.abs(top)) + underflow(2)
        one, none = one & (greatest == 1), none & (least == 0)
    one, none = one[:, None, :], none[:, None, :]
    spread = 0.5 * (top - bottom) * (1 + 8 * UNIT_ROUNDOFF) + loose
    middle = np.where(one, centre, np.where(none, 0.0, 0.5 * (top + bottom)))
    return middle, np.where(one, radius, np.where(none, 0.0, spread))


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
    graph: Graph, bounds: Sequence[tuple[Array, Array]], cost: GroundCost, still: Array | None
) -> list[Array]:
    """Per elementwise node how fast what its function is applied to may change, ``[B, m]``: the slope of its own gradient."""
    out = []
    batch = bounds[0][0].shape[0] if bounds else 0
    widest = max(graph.width(k) for k in range(INPUT, len(graph.nodes)))
    for k in graph.elementwise:
        node, width = graph.nodes[k], graph.width(k)
        assert isinstance(node, Elementwise)
        eye = np.broadcast_to(np.eye(width), (batch, width, width))
        step = max(1, _CHUNK // (width * widest))
        parts = []
        for first in range(0, batch, step):
            at = slice(first, first + step)
            local = [(low[at], high[at]) for low, high in bounds]
            centre, radius = jacobian(graph, local, eye[at], node.source)
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

    The root of the largest eigenvalue of A A^T (or A^T A, the smaller one).
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
    square = np.where(usable, eigen_up(np.where(usable[:, None, None], g, 0.0), slack), np.inf)
    return np.asarray(np.sqrt(square) * scale[:, 0, 0] * (1 + 1e-14 + dot_error(small)) + underflow(8))


def eigen_up(g: Array, slack: Array) -> Array:
    """The largest size of an eigenvalue of symmetric matrices within ``slack`` of g, both ``[B, m, m]`` and finite, rounded up, ``[B]``.

    With any matrix V of nearly orthonormal columns ``V^T G V`` is nearly diagonal; its largest absolute row sum bounds its largest
    eigenvalue, and ``||G|| <= ||V^T G V|| / s_min(V)^2``, where ``s_min(V)^2 >= 1 - ||I - V^T V||``. Both sides' rounding is charged.
    """
    small = g.shape[1]
    v = np.linalg.eigh(g)[1]
    vt, va = np.swapaxes(v, 1, 2), np.abs(v)
    turned = vt @ g @ v
    lost = np.swapaxes(va, 1, 2) @ (slack + 2 * dot_error(small + 4) * np.abs(g)) @ va
    top = (np.abs(turned) + 1.001 * lost).sum(axis=2).max(axis=1)
    skew = np.abs(np.eye(small) - vt @ v) + dot_error(small + 4) * (np.swapaxes(va, 1, 2) @ va + 1)
    room = 1 - 1.001 * skew.sum(axis=2).max(axis=1)
    return np.asarray(np.where(room > 0.5, top / np.maximum(room, 0.5), np.inf))


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
