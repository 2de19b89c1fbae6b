"""What some entries of a node depend on, as a graph of its own: a window of a convolution reads few of the entries before it.

A part computes entries of the graph, each by the very numbers that the graph has for it, so that every bound of a part is one of the graph.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wdaverify.graph.maps import Array, Ints, Select
from wdaverify.graph.nodes import INPUT, Affine, Elementwise, Graph, Node

_TILE = 64
"""How many neighbours one part computes."""
_SHARE = 4
"""Parts are worth their number where a part has at most one in so many of the entries before the node."""


@dataclass(frozen=True, eq=False)
class Part:
    """``at [t]`` entries of an affine node: the last node of ``graph``, which reads the same input.

    kept: which neurons of each elementwise node, by its place, the graph has, in order; entries: how many it has of all nodes.
    """

    at: Ints
    graph: Graph
    kept: dict[int, Ints]
    entries: int


def part(graph: Graph, node: int, at: Ints) -> Part:
    """The entries ``at [t]``, ascending, of an affine node."""
    need = {node: at}
    for k in range(node, INPUT, -1):
        if k in need:
            read = graph.nodes[k]
            pairs = [(read.source, need[k])] if isinstance(read, Elementwise) else _reads(read, need[k])
            for source, entries in pairs:
                need[source] = np.union1d(need[source], entries) if source in need else entries
    have, place, made = {INPUT: np.arange(graph.inputs)}, {INPUT: INPUT}, list[Node]()
    for k in sorted(need.keys() - {INPUT}):
        read = graph.nodes[k]
        have[k] = have[read.source] if isinstance(read, Elementwise) else need[k]
        if isinstance(read, Elementwise):
            made.append(Elementwise(place[read.source], read.function.take(have[k])))
        else:
            sources = []
            for source, entries in _reads(read, have[k]):
                sources.append(place[source])
                if entries.size < have[source].size:  # others read more of it
                    chosen = Select(np.searchsorted(have[source], entries), have[source].size)
                    made.append(Affine((place[source],), (chosen,), np.zeros(entries.size)))
                    sources[-1] = len(made) - 1
            maps = tuple(m.part(have[k], e) for m, (_, e) in zip(read.maps, _reads(read, have[k]), strict=True))
            error = None if read.bias_error is None else read.bias_error[have[k]]
            made.append(Affine(tuple(sources), maps, read.bias[have[k]], error))
        place[k] = len(made) - 1
    kept = {k: entries for k, entries in have.items() if k in graph.elementwise}
    return Part(at, Graph(tuple(made), graph.inputs), kept, sum(have[k].size for k in place.keys() - {INPUT}))


def parts(graph: Graph, node: int) -> list[Part]:
    """Parts that compute all of an affine node between them; none where the parts are hardly smaller than the whole."""
    if graph.width(node) < 2 * _TILE:
        return []
    order = np.argsort(_middles(graph, node), kind="stable")
    tiles = [np.sort(tile) for tile in np.split(order, range(_TILE, order.size, _TILE))]
    central = part(graph, node, tiles[len(tiles) // 2])
    if central.entries * _SHARE > sum(graph.width(k) for k in _before(graph, node)):
        return []
    return [part(graph, node, tile) for tile in tiles]


def _reads(node: Affine, at: Ints) -> list[tuple[int, Ints]]:
    """What the entries of an affine node read of each source, at least one entry."""
    return [
        (s, np.zeros(1, np.int64) if not (e := m.reads(at)).size else e)
        for s, m in zip(node.sources, node.maps, strict=True)
    ]


def _before(graph: Graph, node: int) -> set[int]:
    """The places of a node and of all that it depends on."""
    found = {node}
    for k in range(node, INPUT, -1):
        if k in found:
            read = graph.nodes[k]
            found.update((read.source,) if isinstance(read, Elementwise) else read.sources)
    return found - {INPUT}


def _middles(graph: Graph, node: int) -> Array:
    """The mean position ``[m]`` of the input entries that each entry of a node reads, by how many ways: neighbours have near ones."""
    count, moment = {INPUT: np.ones(graph.inputs)}, {INPUT: np.arange(graph.inputs, dtype=np.float64)}
    for k in range(node + 1):
        read = graph.nodes[k]
        if isinstance(read, Elementwise):
            count[k], moment[k] = count[read.source], moment[read.source]
        else:
            ways = [m.like(lambda numbers: (numbers != 0).astype(np.float64)) for m in read.maps]
            count[k], moment[k] = (
                sum((w.apply(of[s]) for s, w in zip(read.sources, ways, strict=True)), np.zeros(read.width))
                for of in (count, moment)
            )
    with np.errstate(invalid="ignore", over="ignore"):
        return np.nan_to_num(moment[node] / np.maximum(count[node], 1.0))
