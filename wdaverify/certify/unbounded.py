"""That half-spaces of decided neurons have no common point anywhere in R^n, in floating point.

Multipliers y >= 0 of rows ``s z >= 0`` prove it if ``sum y s z`` is a constant below 0. Rounding never makes its slope exactly 0, so those
y are enclosed that do: of n + 1 rows in general position one is held and the others solve ``y A = 0`` for every A within what is known of
it. Fewer rows, of different layers, cancel by what they are made of: backwards over the layers, with what later layers make of a neuron's
output p (0 where it is off), the coefficient of its ``z`` is

    q = p + s y,      so that any q with  s (q - p) >= 0  will do,      and  sum y s z  =  sum q . b  +  (q_1 W_1) x

with q_1 of the first layer; those of them are enclosed for which ``q_1 W_1 = 0``. Solutions of n equations are enclosed by a residual
(Rump 2010, Acta Numerica 19, section 10):

    B u = r,  R near the inverse of B:    |u - v| <= ||R (r - B v)|| / (1 - ||I - R B||)
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wdaverify.certify.jacobian import add, through
from wdaverify.graph.maps import Dense
from wdaverify.graph.nodes import INPUT, Affine, Elementwise, Graph
from wdaverify.network.model import Array
from wdaverify.rounding import dot_error, underflow

_NONE = 1e-9
"""Coefficients below this share of what they are made of may be none."""


def crossing(table: Array, side: Array, loose: Array, given: Array) -> bool:
    """Whether n + 1 of the rows ``table x + side >= 0`` ``[r, n]``, off by ``loose [r, n + 1]``, are proved to share no point.

    Those with the largest multipliers ``given [r]``.
    """
    n = table.shape[1]
    if len(table) <= n or not np.isfinite(given).all():
        return False
    order = np.argsort(-given, kind="stable")[: n + 1]
    if not given[order[-1]] > _NONE * given[order[0]]:
        return False
    held, others = order[0], order[1:]
    found = _solved(table[others].T, loose[others, :n].T, -table[held], loose[held, :n])
    if found is None:
        return False
    y, error = found
    if not (y > error).all():
        return False
    size = float(np.abs(side[others]) @ np.abs(y)) + abs(float(side[held]))
    lost = float(
        (np.abs(side[others]) + loose[others, n]).sum() * error + loose[others, n] @ np.abs(y) + loose[held, n]
    )
    total = float(side[held] + side[others] @ y)
    return total + 1.001 * lost + dot_error(n + 4) * size + underflow(n) < 0


def _solved(square: Array, off: Array, right: Array, loose: Array) -> tuple[Array, float] | None:
    """The solutions of every ``B u = r`` within ``off`` of a matrix and ``loose`` of a right side: v, and the largest error of an entry."""
    n = len(right)
    if not np.isfinite(square).all():
        return None
    try:
        inverse = np.linalg.inv(square)
    except np.linalg.LinAlgError:
        return None
    v = inverse @ right
    factor = dot_error(n + 4)
    apart = np.abs(np.eye(n) - inverse @ square) + np.abs(inverse) @ off
    apart = apart + factor * (np.abs(inverse) @ (np.abs(square) + off) + 1)
    share = float(apart.sum(axis=1).max()) * (1 + factor)
    if not share < 0.5:
        return None
    left = np.abs(right - square @ v) + loose + off @ np.abs(v)
    left = left + factor * ((np.abs(square) + off) @ np.abs(v) + np.abs(right) + loose) + underflow(n)
    error = float((np.abs(inverse) @ left).max()) * (1 + 2 * factor) / (1 - share) * (1 + factor)
    return (v, error) if np.isfinite(error) else None


def constant_sum(graph: Graph, phases: NDArray[np.int8], at: NDArray[np.int64], sign: Array, given: Array) -> bool:
    """Whether multipliers near ``given [r]`` of decided neurons ``at [r]`` on their sides prove that no point is on all of them.

    Of chains whose first layer is a matrix known exactly; of others False. Phases ``[M]`` of the layers that the rows are of.
    """
    matrix = _first(graph)
    if matrix is None or not np.isfinite(given).all():
        return False
    y = np.zeros(graph.neurons)
    y[at] = np.abs(sign) * given
    size = float(np.abs(y).max(initial=0.0))
    if not size > 0:
        return False
    side = phases.astype(np.float64)
    waiting: dict[int, tuple[Array, Array]] = {}
    total, sized, lost, number = 0.0, 0.0, 0.0, len(graph.elementwise)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        for k in range(len(graph.nodes) - 1, INPUT, -1):
            node, came = graph.nodes[k], waiting.pop(k, None)
            if isinstance(node, Elementwise):
                number -= 1
                own = slice(int(graph.edges[number]), int(graph.edges[number + 1]))
                centre, radius = (np.zeros(side[own].size),) * 2 if came is None else (came[0][0, 0], came[1][0, 0])
                on = side[own] > 0
                p, slip = np.where(on, centre, 0.0), np.where(on, radius, 0.0)
                q = p + side[own] * y[own]
                slip = slip + 2 * dot_error(2) * (np.abs(p) + y[own])
                none = (np.abs(q) <= _NONE * (np.abs(p) + y[own])) & (side[own] * -p >= np.where(on, radius, 0.0))
                q, slip = np.where(none, 0.0, q), np.where(none, 0.0, slip)
                if number == 0:
                    solved = _cancelled(matrix, p, np.where(on, radius, 0.0), q, slip, side[own], y[own])
                    if solved is None:
                        return False
                    q, slip = solved
                if q.any() or slip.any():
                    add(waiting, node.source, q[None, None], slip[None, None])
            elif came is not None:
                assert isinstance(node, Affine)
                c, r = came[0][0, 0], came[1][0, 0]
                bias = np.abs(node.bias)
                total += float(c @ node.bias)
                sized += float(np.abs(c) @ bias)
                lost += float(r @ bias) + dot_error(c.size + 4) * float(np.abs(c) @ bias) + underflow(c.size)
                if node.bias_error is not None:
                    lost += 2 * float((np.abs(c) + r) @ node.bias_error)
                for source, map_ in zip(node.sources, node.maps, strict=True):
                    if source != INPUT:
                        add(waiting, source, *through(map_, *came))
        return total + 1.001 * lost + dot_error(len(graph.nodes) + 4) * sized < 0


def _first(graph: Graph) -> Array | None:
    """The first layer's matrix ``[m, n]``, if it alone reads the input, exactly, and its function alone reads it."""
    readers = [k for k, node in enumerate(graph.nodes) if isinstance(node, Affine) and INPUT in node.sources]
    if len(readers) != 1 or not graph.elementwise:
        return None
    node, source = graph.nodes[readers[0]], graph.source(graph.elementwise[0])
    assert isinstance(node, Affine)
    read = sum(source in n.sources if isinstance(n, Affine) else n.source == source for n in graph.nodes)
    if readers[0] != source or node.sources != (INPUT,) or read != 1:
        return None
    map_ = node.maps[0]
    return map_.weight if isinstance(map_, Dense) and map_.error is None else None


def _independent(rows: Array, count: int) -> NDArray[np.int64]:
    """So many rows of ``[r, n]``, each the farthest from the span of those before it."""
    left, order = np.array(rows), list[int]()
    for _ in range(count):
        length = np.sqrt((left * left).sum(axis=1))
        length[order] = -1.0
        at = int(length.argmax())
        order.append(at)
        unit = left[at] / max(float(length[at]), 1e-300)
        left = left - np.outer(left @ unit, unit)
    return np.array(order)


def _cancelled(
    matrix: Array, p: Array, slip: Array, q: Array, loose: Array, side: Array, y: Array
) -> tuple[Array, Array] | None:
    """Coefficients near q ``[m]`` with ``q W = 0`` that are ``p + side y`` for some y >= 0, enclosed; None where none are found."""
    some = np.flatnonzero((q != 0) | (loose != 0))
    if not some.size:
        return q, loose
    n = matrix.shape[1]
    free = some[y[some] > 0]
    if free.size < n:
        return None
    order = free[_independent(matrix[free], n)]
    held = np.setdiff1d(some, order)
    chosen = np.isin(held, free)
    radius = np.where(chosen, 0.0, loose[held])  # a free one is held at its double
    if (side[held] * (q[held] - p[held]) * (1 - dot_error(4)) < slip[held])[chosen].any():
        return None
    rest = np.abs(matrix[held].T)
    off = rest @ radius + dot_error(held.size + 4) * (rest @ (np.abs(q[held]) + radius)) + underflow(held.size)
    found = _solved(matrix[order].T, np.zeros((n, n)), -(matrix[held].T @ q[held]), off)
    if found is None:
        return None
    v, error = found
    if not (side[order] * (v - p[order]) * (1 - dot_error(4)) > slip[order] + error).all():
        return None
    out, width = np.zeros(q.size), np.zeros(q.size)
    out[held], width[held] = q[held], radius
    out[order], width[order] = v, error
    return out, width
