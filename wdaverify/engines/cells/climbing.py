"""From cell to neighbouring cell, always to a steeper one: points for the lower end of a slope question."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from wdaverify.certify.forward import Forward
from wdaverify.certify.proof import Phases
from wdaverify.engines.base import Slope
from wdaverify.engines.cells.polyhedra import Polyhedra, deep
from wdaverify.graph.nodes import Elementwise, Graph
from wdaverify.network.model import Array

_STEEPER = 1e-9
_TRIES = 48
"""How many steeper neighbours of a cell are asked for room."""


def climbed(
    graph: Graph, question: Slope, forward: Forward, polyhedra: Polyhedra, point: Array, late: Callable[[], bool]
) -> Iterator[Array]:
    """Points ``[e]`` in units of ever steeper cells, from that of a point ``[n]`` on: each shares a facet with the one before it."""
    phases, at = _phases(graph, point), np.arange(graph.neurons)
    cost, still = question.region.cost, question.still

    def slopes(tried: Phases) -> Array:
        states = forward.run(np.zeros((1, graph.neurons), np.int8))
        return forward.slopes(*forward.onward(states, 0, np.zeros(len(tried), np.int64), tried), cost, still)

    here = float(slopes(phases[None])[0])
    while not late():
        tried = np.repeat(phases[None], len(at), axis=0)
        tried[at, at] = -phases
        steep = slopes(tried)
        for j in np.argsort(-steep, kind="stable")[:_TRIES].tolist():
            if not steep[j] > here * (1 + _STEEPER) or late():
                return
            some = tried[j : j + 1]
            rows = np.flatnonzero(forward.reached(some)[0])
            spaces = polyhedra.half_spaces(forward.run(some), 0, rows, some[0, rows].astype(np.float64))
            room = polyhedra.deepest(spaces)
            if deep(room) and room.point is not None:
                phases, here = tried[j], float(steep[j])
                yield room.point
                break
        else:
            return


def _phases(graph: Graph, point: Array) -> Phases:
    values = graph.values(point)
    parts = [values[node.source] for node in graph.nodes if isinstance(node, Elementwise)]
    return np.where(np.concatenate(parts) > 0, 1, -1).astype(np.int8)
