"""The question as the attacks see it: inputs in cost units, and outputs whose margins are the pieces of the loss.

    x~ = s x,    W x = (W / s) x~,    m_j = z~_j - z~_label

z~ are the logits; for a linear loss they are 0 and then ``F_r z + b_r(y)`` for every label y present and every r, the
"label" of every sample being the 0 and its rivals the functionals with its own offsets. Both are part of the matrices that read x or
give z where these are all there is, else nodes of their own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from wdaverify.attacks.repair import into_support
from wdaverify.graph.maps import Dense, Diagonal, unchecked
from wdaverify.graph.nodes import INPUT, Affine, Graph, Node
from wdaverify.network.model import Array
from wdaverify.problem import Functionals, WdroProblem


@dataclass(frozen=True, eq=False)
class Recast:
    """centre ``[N, n]``, lower and upper ``[n]`` in cost units; label ``[N]``, rival ``[N, J]``; fixed ``[n]`` or None."""

    problem: WdroProblem
    graph: Graph
    label: NDArray[np.int64]
    rival: NDArray[np.int64]
    centre: Array
    lower: Array
    upper: Array
    fixed: NDArray[np.bool_] | None

    @classmethod
    def of(cls, problem: WdroProblem) -> Recast:
        """The problem in these terms; without weights and functionals nothing changes."""
        cost, support, x, y = problem.cost, problem.support, problem.samples.x, problem.samples.y
        graph = problem.network.form
        slots = np.arange(problem.network.n_outputs - 1)
        label, rival = y, slots + (slots >= y[:, None])
        if problem.functionals is not None:
            graph, label, rival = _followed(graph, problem.functionals, y)
        if cost.weights is None:
            return cls(problem, graph, label, rival, x, support.lower, support.upper, None)
        s, fixed = cost.scale(x.shape[1]), cost.fixed(x.shape[1])
        held = fixed if fixed.any() else None
        return cls(problem, _scaled(graph, s), label, rival, x * s, support.lower * s, support.upper * s, held)

    def back(self, sample: NDArray[np.int64], point: Array) -> tuple[Array, NDArray[np.bool_]]:
        """Points ``[M, n]`` of samples ``[M]`` out of cost units and moved into the support, and which of them are in it."""
        problem = self.problem
        centre = problem.samples.x[sample]
        if problem.cost.weights is not None:
            point = centre + (point - self.centre[sample]) / problem.cost.scale(centre.shape[1])
        return into_support(problem, centre, point, self.fixed)


def _followed(
    graph: Graph, functionals: Functionals, y: NDArray[np.int64]
) -> tuple[Graph, NDArray[np.int64], NDArray[np.int64]]:
    """The graph followed by the functionals under each label present, the samples' label 0 and their rivals."""
    present, at = np.unique(y, return_inverse=True)
    offset = functionals.offsets(present)
    if functionals.offset.ndim == 1:
        offset, at = offset[:1], np.zeros_like(at)

    def tall(rows: Array) -> Array:
        return np.vstack([np.zeros((1, rows.shape[1])), np.tile(rows, (len(offset), 1))])

    last, matrix = graph.nodes[-1], functionals.matrix
    assert isinstance(last, Affine)
    dense = [m for m in last.maps if isinstance(m, Dense)]
    if len(dense) == len(last.maps):
        before, sources, bias = graph.nodes[:-1], last.sources, matrix @ last.bias
        maps = [matrix @ m.weight for m in dense]
    else:
        before, sources, bias = graph.nodes, (len(graph.nodes) - 1,), np.zeros(len(matrix))
        maps = [matrix]
    long = np.concatenate([[0.0], (bias + offset).reshape(-1)])
    node = unchecked(Affine, sources=sources, maps=tuple(_dense(tall(m)) for m in maps), bias=long, bias_error=None)
    rival = 1 + at.reshape(-1)[:, None] * len(bias) + np.arange(len(bias))
    return Graph((*before, node), graph.inputs), np.zeros(len(y), np.int64), rival.astype(np.int64)


def _dense(weight: Array) -> Dense:
    """A matrix whose numbers may overflow: points there are none, and are left out."""
    return unchecked(Dense, weight=weight, error=None)


def _scaled(graph: Graph, s: Array) -> Graph:
    """The graph of ``x~ = s x``."""
    affine = [node for node in graph.nodes if isinstance(node, Affine)]
    readers = [m for node in affine for t, m in zip(node.sources, node.maps, strict=True) if t == INPUT]
    if not all(isinstance(m, Dense) for m in readers):
        front = Affine((INPUT,), (Diagonal(np.ones_like(s), s),), np.zeros_like(s))
        return Graph((front, *(_later(node) for node in graph.nodes)), graph.inputs)
    return Graph(tuple(_divided(node, s) for node in graph.nodes), graph.inputs)


def _later(node: Node) -> Node:
    """A node with one more in front."""
    if isinstance(node, Affine):
        return replace(node, sources=tuple(s + 1 for s in node.sources))
    return replace(node, source=node.source + 1)


def _divided(node: Node, s: Array) -> Node:
    """A node whose matrices of the input are divided by s."""
    if not isinstance(node, Affine):
        return node
    maps = [
        _dense(m.weight / s) if isinstance(m, Dense) and t == INPUT else m
        for t, m in zip(node.sources, node.maps, strict=True)
    ]
    return replace(node, maps=tuple(maps))
