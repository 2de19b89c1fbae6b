"""A question is put to the neurons that its region leaves open: the others are 0 or the identity there (``graph.settled``).

Trees speak of all the network's neurons wherever they are kept, so they are widened on the way out and narrowed on the way in. A widened
tree says nothing of settled neurons: it is of use to the same question. For a checker its rows are filled: of a neuron that is off nu is 0,
of one that is on it is its q, and then nothing is lost there.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wdaverify.certify.backward import Backward, HiddenBounds, Shells
from wdaverify.certify.certificate import rounded
from wdaverify.certify.leaf_row import Layout, LeafRow, moved
from wdaverify.certify.loops import Loops
from wdaverify.certify.proof import Phases, Tightening, Tree
from wdaverify.encoding.cost import Region
from wdaverify.encoding.milp import Ints
from wdaverify.engines.base import Answer
from wdaverify.graph.nodes import INPUT, Elementwise, Graph
from wdaverify.graph.settled import settled_where_it_pays
from wdaverify.network.model import Array

_ROWS = 256
"""Rows that are looked at together."""


@dataclass(frozen=True, eq=False)
class Presolved:
    """``graph`` on the region, with the neurons ``open [m]`` of the network's ``neurons``."""

    graph: Graph
    open: Ints
    neurons: int
    whole: Graph
    active: NDArray[np.bool_]

    def widened(self, answer: Answer) -> Answer:
        """The answer, with trees over all neurons."""
        if answer.proof is None:
            return answer
        trees = tuple(self._of(tree, self.open, self._spread) for tree in answer.proof.trees)
        return replace(answer, proof=replace(answer.proof, trees=trees))

    def proved(self, answer: Answer, functional: Array) -> Answer:
        """The answer to a question about a functional ``[K]``, with trees for a checker: their rows are filled."""
        found = self.widened(answer)
        if found.proof is None:
            return found
        trees = tuple(replace(tree, vectors=self._filled(tree.vectors, functional)) for tree in found.proof.trees)
        return replace(found, proof=replace(found.proof, trees=trees))

    def left(self, bounds: HiddenBounds) -> HiddenBounds:
        """Bounds of the network's neurons as those of what is left."""
        edges = self.whole.edges
        some = [self.open[(self.open >= a) & (self.open < b)] - a for a, b in pairwise(edges.tolist())]
        return [(low[:, at], high[:, at]) for (low, high), at in zip(bounds, some, strict=True) if at.size]

    def _filled(self, rows: Array, functional: Array) -> Array:
        """Rows ``[V, 2 + M]`` with nu of settled neurons, by one backward pass."""
        if len(rows) > _ROWS:
            parts = [self._filled(rows[k : k + _ROWS], functional) for k in range(0, len(rows), _ROWS)]
            return np.concatenate(parts)
        out, graph, first = np.array(rows), self.whole, 2 + self.neurons
        if not len(rows):
            return out
        open_ = np.zeros(self.neurons, np.bool_)
        open_[self.open] = True
        waiting = {len(graph.nodes) - 1: rows[:, :1] * functional}
        for k in range(len(graph.nodes) - 1, INPUT, -1):
            node = graph.nodes[k]
            p = waiting.pop(k, np.zeros((len(rows), graph.width(k))))
            if isinstance(node, Elementwise):
                first -= graph.width(k)
                span, at = slice(first, first + graph.width(k)), slice(first - 2, first - 2 + graph.width(k))
                settled = np.where(self.active[at], p, 0.0)
                out[:, span] = rounded(np.where(open_[at], rows[:, span], settled))
                waiting[node.source] = waiting.get(node.source, 0.0) + out[:, span]
                continue
            for source, map_ in zip(node.sources, node.maps, strict=True):
                waiting[source] = waiting.get(source, 0.0) + map_.back(p)
        return out

    def narrowed(self, tree: Tree) -> Tree | None:
        """A tree over the open neurons; None if it splits others, or another network's."""
        place = np.full(self.neurons, -1)
        place[self.open] = np.arange(self.open.size)
        splits = tree.nodes[tree.nodes >= 0]
        at = [tight.at // 2 for tight in tree.tights]
        asked = np.concatenate([splits, *at]).astype(np.int64)
        if not Layout(self.neurons).fits(tree.vectors) or (asked >= self.neurons).any() or (place[asked] < 0).any():
            return None
        return self._of(tree, place, lambda rows: rows[..., self.open])

    def _spread(self, rows: Array) -> Array:
        out = np.zeros((*rows.shape[:-1], self.neurons), rows.dtype)
        out[..., self.open] = rows
        return out

    @staticmethod
    def _of(tree: Tree, place: Ints, move: Callable[[Any], Any]) -> Tree:
        """The tree with every neuron at its other place, and rows moved."""
        nodes = np.where(tree.nodes >= 0, place[np.maximum(tree.nodes, 0)] if place.size else 0, tree.nodes)
        nu = LeafRow(Layout(place.size), tree.vectors).nu
        vectors = tree.vectors if nu is None else moved(tree.vectors, move(nu))
        tights = tuple(_moved(tight, place, move) for tight in tree.tights)
        return Tree(tree.near, tree.far, nodes.astype(np.int32), vectors, tights, tree.forks)


class AsChecked(Backward):
    """Passes over what a region leaves, whose bounds on shells are those that a checker has of the network: no better ones."""

    def __init__(self, presolved: Presolved, whole: Backward, loops: Loops | None) -> None:
        super().__init__(presolved.graph, None, loops)
        self._presolved, self._whole = presolved, whole

    def pre_activations(
        self,
        shells: Shells,
        phases: Phases | None = None,
        deadline: float = math.inf,
        known: HiddenBounds | None = None,
    ) -> HiddenBounds:
        """Those of the network on each shell, with the sides of phases ``[S, M]``."""
        bounds = self._presolved.left(self._whole.pre_activations(shells, None, deadline))
        if known is not None:
            bounds = [(np.maximum(a, c), np.minimum(b, d)) for (a, b), (c, d) in zip(bounds, known, strict=True)]
        return bounds if phases is None else super().pre_activations(shells, phases, deadline, bounds)


def presolve(graph: Graph, backward: Backward, region: Region) -> tuple[Presolved | None, HiddenBounds]:
    """What a region leaves of the graph, None where that is not worth its while; and the neurons' bounds on the region, ``[1, m]``."""
    near, far = np.array([region.near]), np.array([region.far])
    shells = Shells.around(region.cost, region.centre[None], region.lower, region.upper, near, far)
    bounds = backward.pre_activations(shells)
    found = settled_where_it_pays(graph, [(low[0], high[0]) for low, high in bounds])
    if found is None:
        return None, bounds
    active = np.concatenate([low[0] >= 0 for low, _ in bounds])
    return Presolved(found.graph, found.open, graph.neurons, graph, active), bounds


def _moved(tight: Tightening, place: Ints, move: Callable[[Any], Any]) -> Tightening:
    at = (2 * place[tight.at // 2] + tight.at % 2).astype(np.int32)
    return replace(tight, at=at, slopes=move(tight.slopes), beta=move(tight.beta))
