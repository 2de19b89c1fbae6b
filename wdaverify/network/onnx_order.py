"""Which nodes of a graph are needed, and in which order."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence

from onnx import GraphProto, NodeProto

from wdaverify.network.onnx_nodes import describe


def makers_of(graph: GraphProto) -> dict[str, tuple[NodeProto, str]]:
    """The node that gives a tensor, the first if several do, with the name that messages give it."""
    makers: dict[str, tuple[NodeProto, str]] = {}
    for proto, label in labelled(graph):
        for name in proto.output:
            makers.setdefault(name, (proto, label))
    makers.pop("", None)
    return makers


def computed_from(graph: GraphProto, source: str) -> set[str]:
    """The tensors that are computed from the input, itself among them."""
    return _reached(source, ((proto.input, proto.output) for proto in graph.node))


def needed_for(graph: GraphProto, sink: str) -> set[str]:
    """The tensors that the output is computed from, itself among them."""
    return _reached(sink, ((proto.output, proto.input) for proto in graph.node))


def _reached(start: str, steps: Iterable[tuple[Iterable[str], Iterable[str]]]) -> set[str]:
    """What follows from a tensor, itself among it, where any of the first tensors of a step leads to all of the second."""
    leads: dict[str, list[set[str]]] = {}
    for before, after in steps:
        for name in {*before}:
            leads.setdefault(name, []).append({*after} - {""})
    reached, waiting = {start}, [start]
    while waiting:
        for after in leads.pop(waiting.pop(), []):
            waiting += after - reached
            reached |= after
    return reached


def labelled(graph: GraphProto) -> Iterator[tuple[NodeProto, str]]:
    """The nodes, each with the name that messages give it."""
    for position, proto in enumerate(graph.node):
        yield proto, describe(proto, position)


def in_order(nodes: Sequence[tuple[NodeProto, str]], known: set[str]) -> list[tuple[NodeProto, str]]:
    """The nodes, each behind those that it reads; what reads itself comes last."""
    made = {name for proto, _ in nodes for name in proto.output} - known
    readers: dict[str, list[int]] = {}
    waits = [0] * len(nodes)
    for k, (proto, _) in enumerate(nodes):
        for name in {*proto.input} & made:
            readers.setdefault(name, []).append(k)
            waits[k] += 1
    ready = [k for k, count in enumerate(waits) if not count]
    heapq.heapify(ready)
    order = list[int]()
    given = set[str]()
    while ready:
        k = heapq.heappop(ready)
        order.append(k)
        for name in {*nodes[k][0].output} - given:
            given.add(name)
            for reader in readers.get(name, []):
                waits[reader] -= 1
                if not waits[reader]:
                    heapq.heappush(ready, reader)
    placed = {*order}
    return [nodes[k] for k in (*order, *(k for k in range(len(nodes)) if k not in placed))]
