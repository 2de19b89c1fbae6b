"""The slope of a network at a point, re-evaluated: what float64 proves of it in real arithmetic.

A point whose pre-activations are all surely not at a break lies in the interior of its activation cell, and every cell around it in a
convex region is full-dimensional there; so the slope at the point counts (docs/theory.md, section 7). A neuron that no change
of the input reaches through active neurons is constant on the cell and has no say.
"""

from __future__ import annotations

from fractions import Fraction
from functools import reduce

import numpy as np
from numpy.typing import NDArray

from wdaverify.certify.faraway import affine_enclosure
from wdaverify.certify.jacobian import jacobian, slope_down, slope_up
from wdaverify.graph.functions import PiecewiseLinear
from wdaverify.graph.maps import rationals
from wdaverify.graph.nodes import INPUT, Affine, Graph
from wdaverify.ground import GroundCost
from wdaverify.network.model import Array
from wdaverify.rounding import underflow

_PRODUCTS = 10**6
"""Up to so many products a slope is told in rationals."""
_FAR = float(np.finfo(np.float64).max)
"""How far a feature is moved to see what it reaches: no product of it with anything but 0 vanishes."""


def slopes_at(graph: Graph, points: Array, rows: Array, cost: GroundCost, still: Array) -> tuple[Array, Array]:
    """Bounds ``(lower [B], upper [B])`` of the slope of ``rows [R, K]`` at points ``[B, n]``; -inf and inf where one may be at a break."""
    bounds, sure = phases_at(graph, points, still)
    wide = np.broadcast_to(rows, (len(points), *rows.shape))
    centre, radius = jacobian(graph, bounds, wide)
    low, high = slope_down(centre, radius, cost, still), slope_up(centre, radius, cost, still)
    return np.where(sure, low, -np.inf), np.where(sure, high, np.inf)


def slope_exactly(graph: Graph, point: Array, rows: Array, cost: GroundCost, still: Array) -> float:
    """A lower bound of the slope at one point ``[n]``, phases told in rationals; -inf at a break, or where the graph is not known exactly.

    A neuron that is at its break all over the cell, because what it reads cancels, is constant there: floats never tell.
    """
    if graph.curved or not graph.exact or graph.products * graph.inputs > _PRODUCTS or not np.isfinite(point).all():
        return -np.inf
    moving = np.flatnonzero(~(still > 0)).tolist()
    start = [{INPUT: Fraction(v)} | ({i: Fraction(1)} if i in moving else {}) for i, v in enumerate(point.tolist())]
    values: dict[int, list[dict[int, Fraction]]] = {INPUT: start}  # per number its gradient and, at INPUT, its value
    bounds = []
    for k, node in enumerate(graph.nodes[: max(graph.elementwise, default=INPUT) + 1]):
        if isinstance(node, Affine):
            out: list[dict[int, Fraction]] = [{INPUT: Fraction(b)} for b in node.bias.tolist()]
            for source, map_ in zip(node.sources, node.maps, strict=True):
                given = values[source]
                for total, row in zip(out, rationals(map_, np.arange(node.width), np.arange(map_.inputs)), strict=True):
                    for j, weight in row.items():
                        for i, v in given[j].items():
                            total[i] = total.get(i, Fraction(0)) + weight * v
            values[k] = out
            continue
        z = values[node.source]
        if any(not v[INPUT] and any(w for i, w in v.items() if i != INPUT) for v in z):
            return -np.inf
        on = np.array([[1.0 if v[INPUT] > 0 else -1.0 for v in z]])
        bounds.append((on, on))
        values[k] = [v if v[INPUT] > 0 else {INPUT: Fraction(0)} for v in z]
    return float(slope_down(*jacobian(graph, bounds, rows[None]), cost, still)[0])


def phases_at(graph: Graph, points: Array, still: Array) -> tuple[list[tuple[Array, Array]], NDArray[np.bool_]]:
    """Per elementwise node bounds ``(l, u)`` ``[B, m]`` between the same breaks as at the points, and whether all are sure, ``[B]``.

    Where a function is curved they enclose what it is applied to at the points.
    """
    values = {INPUT: (points, np.zeros_like(points))}
    moves = {INPUT: np.broadcast_to(np.where(still > 0, 0.0, _FAR), points.shape)}  # _FAR where a number moves, else 0
    sure: NDArray[np.bool_] = np.asarray(np.isfinite(points).all(axis=1))
    bounds = []
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        for k, node in enumerate(graph.nodes[: max(graph.elementwise, default=INPUT) + 1]):
            if isinstance(node, Affine):
                both = list(zip(node.sources, node.maps, strict=True))
                values[k] = affine_enclosure(node, [values[s] for s in node.sources])
                moves[k] = reduce(np.maximum, (np.where(m.size().apply(moves[s]) == 0, 0.0, _FAR) for s, m in both))
                continue
            z, slip = values[node.source]
            near = np.nextafter(z - slip, -np.inf), np.nextafter(z + slip, np.inf)
            if isinstance(node.function, PiecewiseLinear):
                clear = reduce(np.logical_and, (np.abs(z - at) > slip for at in node.function.breaks.tolist()))
                sure = np.asarray(sure & (clear | (moves[node.source] == 0)).all(axis=1))
                bounds.append((z, z))
            else:  # its slopes are enclosed: at a kink those of both sides
                bounds.append(near)
            least, greatest = node.function.slope_range(*near)
            steep = np.maximum(np.abs(least), np.abs(greatest))
            off = np.where(steep > 0, slip * steep, 0.0) + node.function.rounded(np.abs(z) + slip) + underflow(1)
            values[k] = node.function.value(z), off
            moves[k] = np.where(steep > 0, moves[node.source], 0.0)
    return bounds, sure
