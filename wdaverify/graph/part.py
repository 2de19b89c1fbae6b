"""What some entries of a node depend on, as a graph of its own: a window of a convolution reads few of the entries before it.

A part computes entries of the graph, each by the very numbers that the graph has for it, so that every bound of a part is one of the graph.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from wdaverify.graph.maps import Array, Ints, Select
from wdaverify.graph.nodes import INPUT, Affine, Elementwise, Graph, Node

_TILE = 64
"""How many neighbours one part computes."""
_SHARE = 4
"""Parts are worth their number where a part has at most one in so many of the entries before the node."""
_NUMBERS = 2**25
"""The most numbers that all parts of a graph may have, nearly."""


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
            sources, pairs = list[int](), _reads(read, have[k])
            for source, entries in pairs:
                sources.append(place[source])
                if entries.size < have[source].size:  # others read more of it
                    chosen = Select(np.searchsorted(have[source], entries), have[source].size)
                    made.append(Affine((place[source],), (chosen,), np.zeros(entries.size)))
                    sources[-1] = len(made) - 1
            maps = tuple(m.part(have[k], e) for m, (_, e) in zip(read.maps, pairs, strict=True))
            error = None if read.bias_error is None else read.bias_error[have[k]]
            made.append(Affine(tuple(sources), maps, read.bias[have[k]], error))
        place[k] = len(made) - 1
    kept = {k: entries for k, entries in have.items() if k in graph.elementwise}
    return Part(at, Graph(tuple(made), graph.inputs), kept, sum(have[k].size for k in place.keys() - {INPUT}))


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


class Tiling:
    """Where the nodes of one graph are cut into parts."""

    def __init__(self, graph: Graph) -> None:
        self._graph, self._room = graph, _NUMBERS
        self._tiles: dict[int, list[Ints]] = {}

    def of(self, node: int) -> list[Ints]:
        """Entries of an affine node, all of them between them, each list for a part; none where parts are hardly smaller than the whole.

        Nor where they would take too much memory: windows overlap, and each part has its own numbers.
        """
        if node not in self._tiles:
            self._tiles[node] = self._cut(node)
        return self._tiles[node]

    def _cut(self, node: int) -> list[Ints]:
        graph = self._graph
        if graph.width(node) < 2 * _TILE:
            return []
        order = np.argsort(self._middles[node], kind="stable")
        tiles = [np.sort(tile) for tile in np.split(order, range(_TILE, order.size, _TILE))]
        central = part(graph, node, tiles[len(tiles) // 2])
        affine = [read for read in central.graph.nodes if isinstance(read, Affine)]
        numbers = len(tiles) * sum(n.size for read in affine for m in read.maps for n in m.numbers)
        before = sum(graph.width(k) for k in _before(graph, node))
        if central.entries * _SHARE > before or numbers > self._room:
            return []
        self._room -= numbers
        return tiles

    @cached_property
    def _middles(self) -> dict[int, Array]:
        """Per node the mean position ``[m]`` of the input entries that each entry reads, by how many ways: neighbours have near ones."""
        count = {INPUT: np.ones(self._graph.inputs)}
        middle = {INPUT: np.arange(self._graph.inputs, dtype=np.float64)}
        for k, read in enumerate(self._graph.nodes):
            if isinstance(read, Elementwise):
                count[k], middle[k] = count[read.source], middle[read.source]
                continue
            ways, moment = np.zeros(read.width), np.zeros(read.width)
            for source, map_ in zip(read.sources, read.maps, strict=True):
                read_by = map_.like(lambda numbers: (numbers != 0).astype(np.float64))
                ways = ways + read_by.apply(count[source])
                moment = moment + read_by.apply(count[source] * middle[source])
            middle[k] = moment / np.maximum(ways, 1e-300)
            count[k] = ways / max(float(ways.max()), 1e-300)
        return middle
