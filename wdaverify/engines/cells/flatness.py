"""That an activation cell has no interior within a region: it is empty, or flat (``certify.flatness``), or a constant neuron is misplaced.

No float proves that the deepest point of a flat cell is 0 deep; a cell of which no point at all is left is proved by floats.
"""

from __future__ import annotations

import math

import numpy as np

from wdaverify.certify.flatness import Strict, exact_row, farthest, flat
from wdaverify.encoding.cost import Region
from wdaverify.encoding.rows import TINY
from wdaverify.engines.cells.interior import FLAT, CellRows, Depth, cell_error, rows_size
from wdaverify.graph.nodes import Graph
from wdaverify.network.model import Array
from wdaverify.rounding import UNIT_ROUNDOFF


def no_interior(graph: Graph, rows: CellRows, depth: Depth, region: Region, still: Array) -> bool:
    """Whether a cell is proved to have no interior in the region: it is empty, or flat, or a constant neuron is on its other side."""
    if depth.slack < 0 and depth.most < -_row_error(graph, rows, region, still):
        return True
    if depth.slack <= FLAT and flat(graph, strict(rows), depth.multipliers, region, still):
        return True
    return graph.exact and _misplaced(graph, rows, region, still)


def _row_error(graph: Graph, rows: CellRows, region: Region, still: Array) -> float:
    """By how much any row of the LP of ``deepest`` may be off, in its units, anywhere in the box."""
    size = region.magnitude()
    scale = np.abs(rows.matrix[:, ~(still > 0)]).sum(axis=1)
    off = float((cell_error(graph, rows, region) / scale).max(initial=0.0)) + TINY * float(size.sum())
    largest = float((np.abs(rows.constant) / scale).max(initial=0.0)) + float(size.sum()) + rows_size(region)
    if region.rows is not None and (region.rows.lower == region.rows.upper).any():
        return math.inf  # rows without slack
    return 1.001 * off + 16 * UNIT_ROUNDOFF * largest


def _misplaced(graph: Graph, rows: CellRows, region: Region, still: Array) -> bool:
    """Whether a neuron that no moving feature reaches has, in rationals, the other sign wherever the scale (if there is one) is > 0."""
    moves = np.flatnonzero(~(still > 0)).tolist()
    scale = np.flatnonzero((still > 0) & (region.lower < region.upper)).tolist()
    for layer, neuron, sign in rows.idle:
        slopes, constant = exact_row(graph, rows.active, layer, neuron, sign)
        if any(slopes[k] for k in moves):
            continue
        top = farthest(dict(enumerate(slopes)), constant, region)
        if top < 0 or (top == 0 and any(slopes[k] for k in scale)):
            return True
    return False


def strict(rows: CellRows) -> Strict:
    """The rows of a cell as strict ones."""
    return Strict(rows.layer, rows.neuron, rows.sign, rows.active)
