"""A graph in single precision, its numbers cast once: what steers a search goes through it both ways. It proves nothing.

    back       an affine node passes coefficients p on to its sources, M_s^T p, and adds p . b; what several consumers give is added up
    forward    an affine node adds up what its sources give, sum_s M_s v_s + b

Which line stands for an elementwise node's function, the caller says.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from wdaverify.graph.maps import Dense, LinearMap
from wdaverify.graph.nodes import INPUT, Affine, Elementwise, Graph

Floats = NDArray[np.float32]
Line = Callable[[int, Floats], Floats]
"""From the number of an elementwise node, and coefficients of its value or what its function is applied to ``[B, m]``, to the other."""


class _Map(Protocol):
    """``graph.maps.LinearMap`` in single precision."""

    def apply(self, h: Floats) -> Floats: ...
    def back(self, c: Floats) -> Floats: ...


class Single:
    """What is infinite in single precision bounds nothing. ``spans``: where the neurons of each elementwise node stand among all."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.spans = tuple(slice(a, b) for a, b in pairwise(graph.edges.tolist()))
        sources = [node.sources if isinstance(node, Affine) else (node.source,) for node in graph.nodes]
        last = {source: k for k, some in enumerate(sources) for source in some}
        self._spent = [[source for source in some if last[source] == k] for k, some in enumerate(sources)]
        with np.errstate(over="ignore"):
            self._affine = {
                k: (tuple(zip(node.sources, map(_cast, node.maps), strict=True)), node.bias.astype(np.float32))
                for k, node in enumerate(graph.nodes)
                if isinstance(node, Affine)
            }

    def back(self, rows: Floats, constant: Floats, line: Line) -> Floats:
        """The pull ``[B, n]`` on the input of rows ``[B, K]`` of the output; biases are added to ``constant [B]``, in place.

        Neurons on which nothing depends have coefficients 0.
        """
        nodes, number = self.graph.nodes, len(self.spans)
        waiting = {len(nodes) - 1: rows}

        def give(node: int, value: Floats) -> None:
            waiting[node] = waiting[node] + value if node in waiting else value

        for k in range(len(nodes) - 1, INPUT, -1):
            node, given = nodes[k], waiting.pop(k, None)
            if isinstance(node, Elementwise):
                number -= 1
                none = np.zeros((constant.size, self.graph.width(k)), np.float32) if given is None else given
                give(node.source, line(number, none))
            elif given is not None:
                parts, bias = self._affine[k]
                constant += given @ bias
                for source, map_ in parts:
                    give(source, map_.back(given))
        return waiting[INPUT]

    def forward(self, x: Floats, line: Line) -> Floats:
        """The output ``[B, K]`` at inputs ``[B, n]``."""
        values, value, number = {INPUT: x}, x, 0
        for k, node in enumerate(self.graph.nodes):
            if isinstance(node, Elementwise):
                value = line(number, values[node.source])
                number += 1
            else:
                parts, value = self._affine[k]
                for source, map_ in parts:
                    value = map_.apply(values[source]) + value
            values[k] = value
            for source in self._spent[k]:
                del values[source]
        return value


@dataclass(frozen=True, eq=False)
class _Dense:
    """A matrix ``[m, n]`` and its transpose, each contiguous."""

    weight: Floats
    turned: Floats

    def apply(self, h: Floats) -> Floats:
        return h @ self.turned

    def back(self, c: Floats) -> Floats:
        return c @ self.weight


def _cast(map_: LinearMap) -> _Map:
    """The map by its numbers in single precision."""
    if isinstance(map_, Dense):
        weight = map_.weight.astype(np.float32)
        return _Dense(weight, np.ascontiguousarray(weight.T))
    return cast(_Map, map_.like(lambda numbers: numbers.astype(np.float32)))
