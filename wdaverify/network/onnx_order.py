"""Which nodes of a graph are needed, in which order, and whether all of them are of known operators."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence

from onnx import GraphProto, NodeProto

from wdaverify.errors import NetworkError
from wdaverify.network.onnx_nodes import describe, operator_name
from wdaverify.network.onnx_ops import OPERATORS
from wdaverify.network.onnx_tensors import quoted


def needed_for(graph: GraphProto, sink: str) -> set[str]:
    """The tensors that the output is computed from, itself among them."""
    makers: dict[str, list[NodeProto]] = {}
    for proto in graph.node:
        for name in proto.output:
            makers.setdefault(name, []).append(proto)
    needed, waiting = {sink}, [sink]
    while waiting:
        for proto in makers.pop(waiting.pop(), []):
            waiting += {*proto.input} - needed - {""}
            needed |= {*proto.input}
    return needed - {""}


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


def check_all(nodes: Sequence[tuple[NodeProto, str]]) -> None:
    """Refuse all nodes of other operators at once, with what is accepted."""
    unknown = [
        label if proto.domain in ("", "ai.onnx") else f"{label} of domain {quoted(proto.domain)}"
        for proto, label in nodes
        if operator_name(proto) not in OPERATORS
    ]
    accepted = f"accepted are {', '.join(OPERATORS)}; rewrite or re-export the network with these"
    if len(unknown) == 1:
        raise NetworkError(f"{unknown[0]}: this operator is not accepted; {accepted}")
    if unknown:
        shown = ", ".join(unknown[:4]) + (f" and {len(unknown) - 4} more" if len(unknown) > 4 else "")
        raise NetworkError(f"{len(unknown)} nodes have operators that are not accepted: {shown}; {accepted}")
