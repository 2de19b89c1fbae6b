"""Neurons that no node reads are left out; what is read of their pre-activations becomes a node of its own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from wdaverify.graph.maps import Dense, Ints, LinearMap, Same, Select, rows
from wdaverify.graph.nodes import INPUT, Affine, Elementwise, Graph, Node
from wdaverify.graph.part import part

MOST = 2**22
"""Maps of more entries are not written as matrices."""


def is_matrix(map_: LinearMap) -> bool:
    """Whether a map is a matrix, or small enough to be written as one without rounding."""
    return isinstance(map_, Dense) or (isinstance(map_, Same | Select) and map_.inputs * map_.outputs <= MOST)


def matrix(map_: LinearMap) -> Dense:
    """Such a map as a matrix."""
    return map_ if isinstance(map_, Dense) else Dense(rows(map_))


def rows_of(node: Affine, at: Ints) -> Affine:
    """Some rows of a node all of whose maps are matrices, from the sources that they read."""
    found = {s: _cut(m, at, np.arange(m.inputs)) for s, m in zip(node.sources, node.maps, strict=True)}
    read = {s: d for s, d in found.items() if d.weight.any() or d.error is not None}
    read = read or dict([next(iter(found.items()))])
    error = None if node.bias_error is None else node.bias_error[at]
    return Affine(tuple(read), tuple(read.values()), node.bias[at], error)


def reached(nodes: list[Node], inputs: int) -> Graph:
    """The nodes that the last one needs, as a graph."""
    needed = {len(nodes) - 1}
    for k in range(len(nodes) - 1, -1, -1):
        if k in needed:
            node = nodes[k]
            needed |= set(node.sources if isinstance(node, Affine) else (node.source,))
    place = {INPUT: INPUT} | {k: at for at, k in enumerate(k for k in range(len(nodes)) if k in needed)}
    out: list[Node] = []
    for k, node in enumerate(nodes):
        if k not in needed:
            continue
        if isinstance(node, Affine):
            out.append(replace(node, sources=tuple(place[s] for s in node.sources)))
        else:
            out.append(replace(node, source=place[node.source]))
    return Graph(tuple(out), inputs)


def pruned(graph: Graph) -> Graph:
    """The graph without the neurons that no node reads, and without what only they read."""
    while plan := _plan(graph):
        graph = _without(graph, plan)
    return graph


def _plan(graph: Graph) -> dict[int, Ints]:
    """The neurons that fall away, by node."""
    return {k: gone for k in graph.elementwise if _matrices(graph, k) and (gone := _unread(graph, k)).size}


def _without(graph: Graph, plan: dict[int, Ints]) -> Graph:
    nodes, place = list[Node](), {INPUT: INPUT}
    halves: dict[int, list[tuple[int, Ints]]] = {}
    for k, node in enumerate(graph.nodes):
        if k in halves:
            continue
        if isinstance(node, Elementwise):
            place[k] = _add(nodes, Elementwise(place[node.source], node.function))
            continue
        parts = dict[int, LinearMap]()
        for source, map_ in zip(node.sources, node.maps, strict=True):
            for at, columns in halves.get(source, []):
                some = _cut(map_, np.arange(map_.outputs), columns)
                if some.weight.any() or some.error is not None:
                    parts[at] = some
            if source not in halves:
                parts[place[source]] = map_
        if not parts:
            parts[INPUT] = Dense(np.zeros((node.width, graph.inputs)))
        here = Affine(tuple(parts), tuple(parts.values()), node.bias, node.bias_error)
        readers = [e for e in plan if graph.source(e) == k]
        if len(readers) != 1:
            place[k] = _add(nodes, here)
            continue
        e, gone = readers[0], plan[readers[0]]
        kept = np.setdiff1d(np.arange(here.width), gone)
        halves[k] = [(_add(nodes, rows_of(here, some)), some) for some in (kept, gone) if some.size]
        function = graph.nodes[e]
        assert isinstance(function, Elementwise)
        halves[e] = []
        if kept.size:
            halves[e] = [(_add(nodes, Elementwise(halves[k][0][0], function.function.take(kept))), kept)]
    whole = Graph(tuple(nodes), graph.inputs)
    return part(whole, len(whole.nodes) - 1, np.arange(whole.outputs)).graph


def _add(nodes: list[Node], node: Node) -> int:
    nodes.append(node)
    return len(nodes) - 1


def _cut(map_: LinearMap, at: Ints, columns: Ints) -> Dense:
    """A part of a matrix; an error of 0 is none."""
    whole, chosen = matrix(map_), np.ix_(at, columns)
    error = None if whole.error is None else whole.error[chosen]
    return Dense(whole.weight[chosen], error if error is not None and error.any() else None)


def _unread(graph: Graph, k: int) -> Ints:
    """The neurons of an elementwise node that no node reads."""
    read = np.zeros(graph.width(k), np.bool_)
    for map_ in _maps_from(graph, k):
        read[map_.reads(np.arange(map_.outputs))] = True
    return np.flatnonzero(~read)


def _matrices(graph: Graph, k: int) -> bool:
    """Whether what reads an elementwise node or its source, and what the source reads, are matrices."""
    before = graph.nodes[graph.source(k)]
    assert isinstance(before, Affine)
    alone = sum(graph.source(e) == graph.source(k) for e in graph.elementwise) == 1
    return alone and all(map(is_matrix, (*before.maps, *_maps_from(graph, k), *_maps_from(graph, graph.source(k)))))


def _maps_from(graph: Graph, k: int) -> list[LinearMap]:
    affine = [node for node in graph.nodes if isinstance(node, Affine)]
    return [m for node in affine for s, m in zip(node.sources, node.maps, strict=True) if s == k]
