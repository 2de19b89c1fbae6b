"""What becomes of an activation cell that is decided to the end: a point of its interior, a proof that it has none, or neither."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from wdaverify.certify.flatness import constant_sign
from wdaverify.certify.proof import Phases
from wdaverify.encoding.milp import Ints
from wdaverify.engines.base import Slope
from wdaverify.engines.cells.flatness import no_interior
from wdaverify.engines.cells.interior import FLAT, cell_rows, deepest, misses_ball, within_ball
from wdaverify.errors import SolverError
from wdaverify.graph.nodes import Graph
from wdaverify.ground import Norm
from wdaverify.network.model import Array

ROUNDED = "in double precision slopes of this size are not known to the gap asked for"
NEITHER = "cells were met that have neither a sure interior nor a proof that they are flat"


@dataclass(frozen=True, eq=False)
class Settled:
    """A point ``[n]`` deep in a cell, and whether it is proved to have no interior in the region (or to miss its ball).

    ``shown``: neurons ``[r]`` and multipliers ``[r]`` of their rows that may prove it.
    """

    point: Array | None
    gone: bool
    shown: list[tuple[Ints, Array]]


class Settling:
    """Cells of one slope question."""

    def __init__(self, graph: Graph, question: Slope, bounded: bool) -> None:
        self._graph, self._region, self._still = graph, question.region, question.still
        self._bounded = bounded

    def settle(self, phases: Phases) -> Settled:
        """What becomes of a cell with phases ``[M]``, all decided."""
        if not self._bounded:
            return Settled(None, False, [])
        region, edges = self._region, self._graph.edges
        rows = cell_rows(
            self._graph, [phases[a:b].astype(np.float64) for a, b in pairwise(edges.tolist())], self._still
        )
        try:
            depth = deepest(rows, region, self._still)
        except SolverError:
            return Settled(None, False, [])
        ball = region.norm is Norm.TWO and math.isfinite(region.far)
        point = depth.point
        if ball and depth.slack > FLAT:
            point = within_ball(rows, region, self._still)
        at = edges[np.array(rows.layer, np.int64)] + np.array(rows.neuron, np.int64)
        shown = [(at, depth.multipliers)]
        if no_interior(self._graph, rows, depth, region, self._still):
            return Settled(point, True, shown)
        away = misses_ball(self._graph, rows, region) if ball else None
        return Settled(point, away is not None, shown if away is None else [(at, away)])

    def sign(self, phases: Phases, number: int, at: int) -> int:
        """On which side of 0 a neuron is, in rationals, that no moving feature reaches: 1 where above, else -1; 0 where that is unknown."""
        edges, region = self._graph.edges, self._region
        active = [np.flatnonzero(phases[a:b] > 0).tolist() for a, b in pairwise(edges.tolist())]
        return constant_sign(self._graph, active, number, at - int(edges[number]), region.lower, region.upper)
