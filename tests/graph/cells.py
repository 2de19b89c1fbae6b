"""The activation cells of a graph of ReLUs, by recursion over the phases of its neurons; it shares no code with the package's own."""

from __future__ import annotations

import math

import numpy as np
from oracles import Array, Cell, _Region, _split

from wdaverify.graph.nodes import INPUT, Affine, Graph


def enumerate_graph(graph: Graph, lower: Array, upper: Array) -> list[Cell]:
    """Every activation cell that meets the box, node by node, each map as its matrix in double precision."""
    n, cells = lower.size, list[Cell]()
    Forms = dict[int, tuple[Array, Array]]

    def node(k: int, forms: Forms, region: _Region) -> None:
        """Nodes before k are ``G x + h`` on the region."""
        if k == len(graph.nodes):
            cells.append(Cell(region.A, region.b, *forms[k - 1]))
            return
        here = graph.nodes[k]
        if not isinstance(here, Affine):
            neuron(k, [], forms, region)
            return
        G, h = np.zeros((here.width, n)), here.bias
        for source, map_ in zip(here.sources, here.maps, strict=True):
            matrix = map_.apply(np.eye(map_.inputs)).T
            G, h = G + matrix @ forms[source][0], h + matrix @ forms[source][1]
        node(k + 1, {**forms, k: (G, h)}, region)

    def neuron(k: int, phases: list[bool], forms: Forms, region: _Region) -> None:
        G, h = forms[graph.nodes[k].source]  # type: ignore[union-attr]
        if len(phases) == h.size:
            on = np.array(phases, dtype=np.float64)
            node(k + 1, {**forms, k: (on[:, None] * G, on * h)}, region)
            return
        i = len(phases)
        for active, cut in _split(region, G[i], float(h[i]), lower, upper):
            neuron(k, [*phases, active], forms, cut)

    whole = _Region(np.zeros((0, n)), np.zeros(0), 0.5 * (lower + upper), math.inf)
    node(0, {INPUT: (np.eye(n), np.zeros(n))}, whole)
    return cells
