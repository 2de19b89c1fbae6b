"""A question is put to the neurons that its region leaves open: the others are 0 or the identity there (``graph.settled``).

Trees speak of all the network's neurons wherever they are kept, so they are widened on the way out and narrowed on the way in. A widened
tree says nothing of settled neurons: it is of use to the same question, and no proof for a checker.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from wdaverify.certify.backward import Backward, HiddenBounds, Shells
from wdaverify.certify.leaf_row import Layout, LeafRow, moved
from wdaverify.certify.proof import Tightening, Tree
from wdaverify.encoding.cost import Region
from wdaverify.encoding.milp import Ints
from wdaverify.engines.base import Answer
from wdaverify.graph.nodes import Graph
from wdaverify.graph.settled import settled_where_it_pays
from wdaverify.network.model import Array


@dataclass(frozen=True, eq=False)
class Presolved:
    """``graph`` on the region, with the neurons ``open [m]`` of the network's ``neurons``."""

    graph: Graph
    open: Ints
    neurons: int

    def widened(self, answer: Answer) -> Answer:
        """The answer, with trees over all neurons."""
        if answer.proof is None:
            return answer
        trees = tuple(self._of(tree, self.open, self._spread) for tree in answer.proof.trees)
        return replace(answer, proof=replace(answer.proof, trees=trees))

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


def presolve(graph: Graph, backward: Backward, region: Region) -> tuple[Presolved | None, HiddenBounds]:
    """What a region leaves of the graph, None where that is not worth its while; and the neurons' bounds on the region, ``[1, m]``."""
    near, far = np.array([region.near]), np.array([region.far])
    shells = Shells.around(region.cost, region.centre[None], region.lower, region.upper, near, far)
    bounds = backward.pre_activations(shells)
    found = settled_where_it_pays(graph, [(low[0], high[0]) for low, high in bounds])
    return None if found is None else Presolved(found.graph, found.open, graph.neurons), bounds


def _moved(tight: Tightening, place: Ints, move: Callable[[Any], Any]) -> Tightening:
    at = (2 * place[tight.at // 2] + tight.at % 2).astype(np.int32)
    return replace(tight, at=at, slopes=move(tight.slopes), beta=move(tight.beta))
