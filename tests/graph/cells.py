"""The linear regions of a graph, by recursion over the pieces of its neurons' functions; it shares no code with the package's own."""

from __future__ import annotations

import math

import numpy as np
from oracles import Array, Cell, _Region, _split

from wdaverify.graph.nodes import INPUT, Affine, Elementwise, Graph


def enumerate_graph(graph: Graph, lower: Array, upper: Array) -> list[Cell]:
    """Every linear region that meets the box, node by node, each map as its matrix in double precision."""
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

    def neuron(k: int, pieces: list[tuple[float, float]], forms: Forms, region: _Region) -> None:
        """Branch on the next neuron of node k; pieces are slope and intercept of those before it."""
        here = graph.nodes[k]
        assert isinstance(here, Elementwise)
        G, h = forms[here.source]
        i = len(pieces)
        if i == h.size:
            slope, shift = (np.array([piece[side] for piece in pieces]) for side in (0, 1))
            node(k + 1, {**forms, k: (slope[:, None] * G, slope * h + shift)}, region)
            return
        breaks, values = here.function.breaks.tolist(), here.function.values.tolist()
        slopes = (here.function.slopes if here.function.slopes.ndim == 1 else here.function.slopes[:, i]).tolist()

        def piece(number: int, left: _Region) -> None:
            """On what is right of the breaks before ``number``."""
            anchor = max(number - 1, 0)
            line = slopes[number], values[anchor] - slopes[number] * breaks[anchor]
            if number == len(breaks):
                neuron(k, [*pieces, line], forms, left)
                return
            for beyond, cut in _split(left, G[i], float(h[i] - breaks[number]), lower, upper):
                if beyond:
                    piece(number + 1, cut)
                else:
                    neuron(k, [*pieces, line], forms, cut)

        piece(0, region)

    whole = _Region(np.zeros((0, n)), np.zeros(0), 0.5 * (lower + upper), math.inf)
    node(0, {INPUT: (np.eye(n), np.zeros(n))}, whole)
    return cells


def forward_graph(graph: Graph, x: Array) -> Array:
    """Outputs ``[B, K]`` of points ``[B, n]``, each map as its matrix in double precision."""
    out: dict[int, Array] = {INPUT: x}
    for k, node in enumerate(graph.nodes):
        if isinstance(node, Affine):
            parts = zip(node.sources, node.maps, strict=True)
            out[k] = sum((out[s] @ m.apply(np.eye(m.inputs)) for s, m in parts), start=node.bias)
            continue
        z, function = out[node.source], node.function
        slopes = np.broadcast_to(function.slopes.T, (z.shape[1], function.breaks.size + 1)).T
        out[k] = function.values[0] + slopes[0] * np.minimum(z - function.breaks[0], 0)
        ends = np.append(function.breaks[1:], np.inf)
        for slope, low, high in zip(slopes[1:], function.breaks, ends, strict=True):
            out[k] = out[k] + slope * (np.clip(z, low, high) - low)
    return out[len(graph.nodes) - 1]
