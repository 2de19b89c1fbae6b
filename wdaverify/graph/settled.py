"""A graph of ReLUs on a region where most of them are settled: each of those is 0 or the identity there, and falls away.

What is left computes the same output on the region from the input and the neurons that are still open,

    z_k = W_k x + sum over earlier open nodes j of  U_kj relu(z_j) + b_k,

with matrices that are products over what fell away: each entry is known up to an error (``Dense.error``), of which every pass is told.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wdaverify.graph.functions import relu
from wdaverify.graph.maps import Array, Dense, Ints, LinearMap
from wdaverify.graph.nodes import INPUT, Affine, Elementwise, Graph, Node
from wdaverify.rounding import UNIT_ROUNDOFF, dot_error, underflow

_MOST = 2**23
"""Beyond so many numbers a matrix is not made."""
_NEURONS = 256
"""Graphs with fewer neurons are questioned as they are: little is gained, and trees are shared between samples, whose regions leave
other neurons open."""
_SHARE = 4
"""At most one neuron in so many may be left open."""


@dataclass(frozen=True, eq=False)
class Settled:
    """``graph`` has the neurons ``open [m]`` alone, by their places among all, ascending."""

    graph: Graph
    open: Ints


def settled(graph: Graph, bounds: Sequence[tuple[Array, Array]]) -> Settled | None:
    """The graph where ``l <= z <= u`` holds, for ``(l, u)``, each ``[m]``, of every elementwise node.

    None where a function is no ReLU, too much would be left, or a number overflows.
    """
    if not all(node.function.is_relu for node in graph.nodes if isinstance(node, Elementwise)):
        return None
    active = {k: low >= 0 for k, (low, _) in zip(graph.elementwise, bounds, strict=True)}
    left = {k: np.flatnonzero((low < 0) & (high > 0)) for k, (low, high) in zip(graph.elementwise, bounds, strict=True)}
    if max(graph.outputs, *(some.size for some in left.values()), 0) * graph.widest > _MOST:
        return None
    place, made = dict[int, int](), list[Node]()
    for k in graph.elementwise:
        if left[k].size:
            rows = np.zeros((left[k].size, graph.width(k)))
            rows[np.arange(left[k].size), left[k]] = 1.0
            affine = _Rows(graph, active, left, place).affine(graph.source(k), rows)
            if affine is None:
                return None
            made += [affine, Elementwise(len(made), relu())]
            place[k] = len(made) - 1
    last = _Rows(graph, active, left, place).affine(len(graph.nodes) - 1, np.eye(graph.outputs))
    if last is None:
        return None
    edges = graph.edges[:-1]
    found = [np.zeros(0, np.int64), *(edge + left[k] for edge, k in zip(edges, graph.elementwise, strict=True))]
    return Settled(Graph((*made, last), graph.inputs), np.concatenate(found))


def large(graph: Graph) -> bool:
    """Whether it may pay to settle what can be."""
    return graph.neurons >= _NEURONS


def settled_where_it_pays(graph: Graph, bounds: Sequence[tuple[Array, Array]]) -> Settled | None:
    """The same of a large graph with few neurons open, else None."""
    left = sum(int(((low < 0) & (high > 0)).sum()) for low, high in bounds)
    return settled(graph, bounds) if large(graph) and left * _SHARE <= graph.neurons else None


class _Rows:
    """Rows of a node on their way back to the input and to open neurons, each with what it may be off."""

    def __init__(
        self, graph: Graph, active: dict[int, NDArray[np.bool_]], left: dict[int, Ints], place: dict[int, int]
    ) -> None:
        self._graph, self._active, self._left, self._place = graph, active, left, place
        self._waiting: dict[int, tuple[Array, Array]] = {}

    def affine(self, target: int, rows: Array) -> Affine | None:
        """The node ``rows . v_target``, ``rows [R, m]``, of the new graph; None where a number overflows."""
        graph, found = self._graph, dict[int, tuple[Array, Array]]()
        bias, size, lost = (np.zeros(rows.shape[0]) for _ in range(3))
        self._waiting[target] = rows, np.zeros_like(rows)
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            for k in range(target, INPUT, -1):
                node = graph.nodes[k]
                if k not in self._waiting:
                    continue
                p, off = self._waiting.pop(k)
                if isinstance(node, Elementwise):
                    if self._left[k].size:
                        found[self._place[k]] = p[:, self._left[k]], off[:, self._left[k]]
                    self._give(node.source, p * self._active[k], off * self._active[k])
                    continue
                bias, size = bias + p @ node.bias, size + np.abs(p) @ np.abs(node.bias)
                lost = lost + off @ np.abs(node.bias) + underflow(node.width)
                if node.bias_error is not None:
                    lost = lost + (np.abs(p) + off) @ node.bias_error
                for source, map_ in zip(node.sources, node.maps, strict=True):
                    self._give(source, map_.back(p), _lost(map_, p, off))
            lost = lost + dot_error(graph.widest + len(graph.nodes)) * size
            zero = np.zeros((rows.shape[0], graph.inputs))
            found[INPUT] = self._waiting.pop(INPUT, (zero, zero))
        if not all(np.isfinite(part).all() for pair in (*found.values(), (bias, lost)) for part in pair):
            return None
        maps = tuple(Dense(p, _error(off)) for p, off in found.values())
        return Affine(tuple(found), maps, bias, _error(lost))

    def _give(self, node: int, value: Array, off: Array) -> None:
        if node in self._waiting:
            before, lost = self._waiting[node]
            value = before + value
            off = off + lost + 2 * UNIT_ROUNDOFF * np.abs(value)
        self._waiting[node] = value, off


def _lost(map_: LinearMap, p: Array, off: Array) -> Array:
    """By how much ``map_.back(p)`` may be off, where p is by ``off`` and the map by its errors."""
    absolute = map_.size()
    out = absolute.back(off)
    if map_.terms_in:
        out = out + dot_error(map_.terms_in + 2) * absolute.back(np.abs(p) + off) + map_.lost_in
    return out


def _error(off: Array) -> Array | None:
    """What was computed in floating point itself, enlarged."""
    return 1.001 * off + underflow(64) if off.any() else None
