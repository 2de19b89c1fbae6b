"""Whether an activation cell has an interior within a region: how deep its deepest point is, or that it misses an l2 ball.

    max tau <= 1   s.t.   s_k (G_k x + g_k) >= tau ||G_k||  for every neuron with G_k != 0,  x within the region by tau as well

A cell that the forward rows admit may be flat (relu(u) and relu(-u) both active: u = 0); its gradient counts for nothing, and
``flatness`` proves it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wdaverify.encoding.cost import Region
from wdaverify.encoding.rows import TINY, LinearProgram, Rows
from wdaverify.encoding.weak_duality import proven
from wdaverify.graph.maps import known
from wdaverify.graph.nodes import INPUT, Affine, Graph
from wdaverify.ground import Norm, euclidean
from wdaverify.network.model import Array
from wdaverify.rounding import dot_error, underflow
from wdaverify.solvers.lp import LpSession, LpStatus
from wdaverify.solvers.qp import nearest

FLAT = 1e-9
"""A slack below this may be none at all."""
_DEPTHS = (1e-2, 1e-4, 1e-6, 1e-8)
"""How deep, in units of its rows, a point of a cell within an l2 ball is looked for."""


@dataclass(frozen=True, eq=False)
class CellRows:
    """The strict rows ``G x + g > 0`` of a cell: ``matrix [r, n]``, ``constant [r]``, and each row's layer, neuron and sign.

    A layer is an elementwise node by its number. ``active`` are the active neurons of each, those that are constant on the cell among
    them; ``idle`` are the constant ones' layer, neuron and sign.
    """

    matrix: Array
    constant: Array
    layer: list[int]
    neuron: list[int]
    sign: Array
    active: tuple[list[int], ...]
    idle: list[tuple[int, int, float]]


def cell_rows(graph: Graph, phases: Sequence[Array], still: Array) -> CellRows:
    """The rows of a cell given by the phases (1 active, else dead) of every elementwise node, each a ReLU.

    Neurons that are constant on the cell, however the features move that are not ``still [n]``, are left out.
    """
    n, moves = graph.inputs, ~(still > 0)
    matrix, constant, layer, neuron, signs = [], [], list[int](), list[int](), list[Array]()
    idle: list[tuple[int, int, float]] = []
    last = np.zeros(n + 1)
    last[n] = 1.0
    values = {INPUT: np.eye(n + 1, n)}  # of every node on the cell G^T [n, m] and, as a last row, g
    for at, node in enumerate(graph.nodes):
        if isinstance(node, Affine):
            terms = [map_.apply(values[s]) for s, map_ in zip(node.sources, node.maps, strict=True)]
            values[at] = sum(terms[1:], start=terms[0]) + np.outer(last, node.bias)
            continue
        k, phase = len(signs), phases[len(signs)]
        G, g = values[node.source][:n].T, values[node.source][n]
        sign = np.where(phase > 0, 1.0, -1.0)
        moved = (G[:, moves] != 0).any(axis=1)
        kept = np.flatnonzero(moved)
        idle += [(k, j, float(sign[j])) for j in np.flatnonzero(~moved).tolist()]
        matrix.append(sign[kept, None] * G[kept])
        constant.append(sign[kept] * g[kept])
        layer += [k] * kept.size
        neuron += kept.tolist()
        signs.append(sign[kept])
        values[at] = values[node.source] * (phase > 0)
    return CellRows(
        np.concatenate(matrix) if matrix else np.zeros((0, n)),
        np.concatenate(constant) if constant else np.zeros(0),
        layer,
        neuron,
        np.concatenate(signs) if signs else np.zeros(0),
        tuple(np.flatnonzero(phase > 0).tolist() for phase in phases),
        idle,
    )


@dataclass(frozen=True, eq=False)
class Depth:
    """How deep a cell is: the deepest ``point [n]`` (None: the LP was not solved), its ``slack`` (below 0: no point at all).

    ``multipliers`` are those of the cell's rows; they prove that the slack is at most ``most`` (rows as computed, not as they are).
    """

    point: Array | None
    slack: float
    multipliers: Array
    most: float


def deepest(rows: CellRows, region: Region, still: Array) -> Depth:
    """The deepest point of a cell within a region.

    Raises:
        SolverError: HiGHS refused the LP.
    """
    n = region.lower.size
    scale = np.abs(rows.matrix[:, ~(still > 0)]).sum(axis=1)
    matrix, constant = rows.matrix / scale[:, None], rows.constant / scale
    ball = region.norm is Norm.ONE and bool(np.isfinite(region.far))
    least = -(np.abs(matrix) @ region.magnitude() + np.abs(constant)).max(initial=1.0)
    tail = (np.zeros(n), np.full(n, region.far)) if ball else (np.zeros(0), np.zeros(0))
    lower = np.concatenate([region.lower, [least - rows_size(region)], tail[0]])
    upper = np.concatenate([region.upper, [1.0], tail[1] / region.cost.scale(n) if ball else tail[1]])
    parts: list[tuple[Array, float]] = []

    def put(row: Array, slack: float, side: float, sizes: Array | None = None) -> None:
        line = np.zeros(lower.size)
        line[: row.size], line[n] = row, -slack
        if sizes is not None:
            line[n + 1 :] = sizes
        parts.append((line, side))

    for row, value in zip(matrix, constant, strict=True):
        put(row, 1.0, -float(value))
    eye = np.eye(n)
    for k in np.flatnonzero(region.lower < region.upper).tolist():
        room = min(1.0, 0.5 * float(region.upper[k] - region.lower[k]))
        put(eye[k], room, float(region.lower[k]))
        put(-eye[k], room, -float(region.upper[k]))
    if region.rows is not None:
        for row, low, high in zip(region.rows.matrix, region.rows.lower, region.rows.upper, strict=True):
            size = float(np.abs(row).sum())
            for sign, side in ((1.0, float(low)), (-1.0, -float(high))):
                put(sign * row / size, float(np.isfinite(side) and low < high), side / size)
    if ball:
        for k in range(n):
            put(-eye[k], 0.0, -float(region.centre[k]), eye[k])
            put(eye[k], 0.0, float(region.centre[k]), eye[k])
        put(np.zeros(n), region.far, -region.far, -region.cost.scale(n))
    found = _solved(parts, lower, upper, n, rows.constant.size)
    point = None if found.point is None else np.clip(found.point, region.lower, region.upper)
    return Depth(point, found.slack, found.multipliers / scale, found.most)


def rows_size(region: Region) -> float:
    """How far any point of the box may be from satisfying the region's rows, in units of these."""
    if region.rows is None:
        return 0.0
    sides = np.concatenate([region.rows.lower, region.rows.upper])
    size = np.tile(np.abs(region.rows.matrix).sum(axis=1), 2)
    return float(region.magnitude().max(initial=0.0) + np.abs(np.where(np.isfinite(sides), sides / size, 0.0)).max())


def _solved(parts: list[tuple[Array, float]], lower: Array, upper: Array, n: int, own: int) -> Depth:
    """Maximise the slack (column n)."""
    table = np.array([part[0] for part in parts]) if parts else np.zeros((0, lower.size))
    index = np.broadcast_to(np.arange(lower.size), table.shape)
    side = np.array([part[1] for part in parts])
    cost = np.zeros(lower.size)
    cost[n] = -1.0
    rows = Rows.of(index, table, side, np.full(side.size, np.inf))
    solution = LpSession(LinearProgram(cost, lower, upper, rows), curved=True).solve()
    if solution.status is not LpStatus.OPTIMAL or solution.rows is None:
        return Depth(None, np.inf, np.zeros(own), np.inf)
    most = -proven(cost, rows, lower, upper, solution.rows)
    return Depth(solution.columns[:n], float(solution.columns[n]), np.asarray(solution.rows[:own]), most)


def within_ball(rows: CellRows, region: Region, still: Array) -> Array | None:
    """A point of a cell's interior within the region's l2 ball, as deep as one of a few depths; None if none was found."""
    scale = np.abs(rows.matrix[:, ~(still > 0)]).sum(axis=1)
    table, constant = rows.matrix / scale[:, None], rows.constant / scale
    index = np.broadcast_to(np.arange(region.lower.size), table.shape)
    weight = region.cost.scale(region.lower.size)
    for depth in _DEPTHS:
        high = np.full(constant.size, np.inf)
        program = LinearProgram(
            np.zeros(region.lower.size), region.lower, region.upper, Rows.of(index, table, depth - constant, high)
        )
        point = nearest(program, region.centre, weight)
        if point is None:
            continue
        point = np.clip(point, region.lower, region.upper)
        if surely_within(region, point):
            return np.asarray(point)
    return None


def surely_within(region: Region, points: Array) -> NDArray[np.bool_]:
    """Whether points ``[..., n]`` lie within the region's ball, whatever the distance rounded; ``[...]``."""
    edge = region.far * (1 - 1e-12) - underflow(2 * region.lower.size)
    return np.asarray(region.cost.distance(points - region.centre) <= edge)


def misses_ball(graph: Graph, rows: CellRows, region: Region) -> Array | None:
    """Multipliers of a cell's rows where it is proved to lie beyond the region's l2 ball, by a tangent at its nearest point."""
    n = region.lower.size
    scale = np.abs(rows.matrix).sum(axis=1)
    table, side = rows.matrix / scale[:, None], -rows.constant / scale
    error = cell_error(graph, rows, region) / scale + TINY * region.magnitude().sum()  # rows leave tiny entries out
    index = np.broadcast_to(np.arange(n), table.shape)
    loose = Rows.of(index, table, side - error, np.full(side.size, np.inf))
    point = nearest(LinearProgram(np.zeros(n), region.lower, region.upper, loose), region.centre, region.cost.scale(n))
    if point is None:
        return None
    moved = (point - region.centre) * region.cost.scale(n)
    length = float(euclidean(np.abs(moved)))
    if length <= region.far:
        return None
    line = moved / length * region.cost.scale(n) * (1 - 1e-12)
    program = LinearProgram(line, region.lower, region.upper, loose)
    solution = LpSession(program, curved=True).solve()
    if solution.rows is None:
        return None
    reach = (
        float(line @ region.centre)
        + 1e-12 * float(np.abs(line) @ np.abs(region.centre))
        + region.far
        + underflow(2 * n)
    )
    beyond = proven(line, loose, region.lower, region.upper, solution.rows) > reach
    return np.asarray(solution.rows / scale) if beyond else None


def cell_error(graph: Graph, rows: CellRows, region: Region) -> Array:
    """What forming the rows of a cell, from maps that may be off themselves, may have lost at most anywhere in the box, ``[r]``."""
    size = region.magnitude()
    states = {
        INPUT: (size, np.zeros(size.size), 4)
    }  # per node the largest values, what they may be off, and the terms of their sums
    totals = list[Array]()
    for k, node in enumerate(graph.nodes):
        if isinstance(node, Affine):
            states[k] = _carried(node, [states[s] for s in node.sources], 1 + float(size.sum()))
            continue
        bound, off, terms = states[node.source]
        on = np.zeros(bound.size)
        on[rows.active[len(totals)]] = 1.0
        totals.append(dot_error(2 * terms) * bound + 1.001 * off)
        states[k] = on * bound, on * off, terms
    return np.array([totals[k][j] for k, j in zip(rows.layer, rows.neuron, strict=True)])


def _carried(node: Affine, sources: list[tuple[Array, Array, int]], size: float) -> tuple[Array, Array, int]:
    """An affine node's state in ``cell_error`` from its sources'; the input is no larger than ``size``."""
    terms = max(t + map_.terms_out for map_, (_, _, t) in zip(node.maps, sources, strict=True)) + len(sources) - 1
    bound = np.abs(node.bias)
    off = np.zeros(node.width) if node.bias_error is None else 2 * node.bias_error
    for map_, (before, loose, _) in zip(node.maps, sources, strict=True):
        stored, unknown = known(map_)
        bound = bound + stored.apply(before)
        off = off + stored.apply(loose) + map_.lost_out * size
        if unknown is not None:
            off = off + 2 * unknown.apply(before + loose)
    return bound, off + underflow(2 * terms) * size, terms  # products of tiny weights, times the input
