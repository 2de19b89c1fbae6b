"""What becomes of an activation cell that is decided to the end: a point of its interior, a proof that it has none, or neither."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise

import numpy as np

from wdaverify.certify.flatness import exact_row
from wdaverify.certify.proof import Phases
from wdaverify.engines.base import Slope
from wdaverify.engines.cells.flatness import no_interior
from wdaverify.engines.cells.interior import FLAT, cell_rows, deepest, misses_ball, within_ball
from wdaverify.errors import SolverError
from wdaverify.graph.nodes import Graph
from wdaverify.ground import Norm
from wdaverify.network.model import Array

ROUNDED = "in double precision slopes of this size are not known to the gap asked for"
NEITHER = "cells were met that have neither a sure interior nor a proof that they are flat"


class Settling:
    """Cells of one slope question."""

    def __init__(self, graph: Graph, question: Slope, bounded: bool) -> None:
        self._graph, self._region, self._still = graph, question.region, question.still
        self._bounded = bounded

    def settle(self, phases: Phases) -> tuple[Array | None, bool]:
        """A point ``[n]`` deep in the cell, and whether it is proved to have no interior in the region (or to miss its ball)."""
        if not self._bounded:
            return None, False
        region, edges = self._region, self._graph.edges
        rows = cell_rows(
            self._graph, [phases[a:b].astype(np.float64) for a, b in pairwise(edges.tolist())], self._still
        )
        try:
            depth = deepest(rows, region, self._still)
        except SolverError:
            return None, False
        ball = region.norm is Norm.TWO and math.isfinite(region.far)
        point = depth.point
        if ball and depth.slack > FLAT:
            point = within_ball(rows, region, self._still)
        gone = no_interior(self._graph, rows, depth, region, self._still)
        return point, gone or (ball and misses_ball(self._graph, rows, region))

    def sign(self, phases: Phases, number: int, at: int) -> int:
        """On which side of 0 a neuron is, in rationals, that no moving feature reaches: 1 where above, else -1; 0 where that is unknown."""
        if not self._graph.exact:
            return 0
        edges, region = self._graph.edges, self._region
        active = [np.flatnonzero(phases[a:b] > 0).tolist() for a, b in pairwise(edges.tolist())]
        slopes, constant = exact_row(self._graph, active, number, at - int(edges[number]), 1.0)
        for slope, low, high in zip(slopes, region.lower.tolist(), region.upper.tolist(), strict=True):
            if slope and low != high:
                return 0
            constant += slope * Fraction(low) if slope else 0
        return 1 if constant > 0 else -1
