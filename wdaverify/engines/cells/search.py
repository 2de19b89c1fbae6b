"""Branch and bound over phases: best bound first with dives, strong branching on few neurons, then pseudo-costs.

Every quantity is that of a minimisation. The bound that comes out is the least of all leaves' recomputed bounds, so that
a wrong incumbent or a loose LP costs time or width and never validity.
"""

from __future__ import annotations

import heapq
import itertools
import math
import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from wdaverify.encoding.milp import Ints
from wdaverify.engines.cells.tree import Node, Relaxation
from wdaverify.network.model import Array

_TRIES = 6
"""Neurons that strong branching compares where pseudo-costs are not known yet."""
_VIOLATION = 1e-9

Evaluate = Callable[[Array], float]
"""The true value of a network input (inf if it does not count)."""


class PseudoCosts:
    """What fixing a neuron's phase gained per unit of violation, averaged; side 0 active, 1 dead.

    Neurons go by their name, so that the regions of one question learn from each other.
    """

    def __init__(self, neurons: int) -> None:
        self._sum = np.zeros((2, neurons))
        self._count = np.zeros((2, neurons))

    def learn(self, side: int, neuron: int, gain: float, violation: float) -> None:
        """Take note of one child's gain."""
        if math.isfinite(gain) and violation > _VIOLATION:
            self._sum[side, neuron] += max(gain, 0.0) / violation
            self._count[side, neuron] += 1

    def known(self, names: Ints) -> NDArray[np.bool_]:
        """Whether both sides of each neuron have been seen."""
        return np.asarray((self._count[:, names] > 0).all(axis=0))

    def scores(self, node: Node, names: Ints) -> Array:
        """The product of the estimated gains of both children, ``[m]``; the average rate stands in for unseen sides."""
        total = self._count.sum(axis=1)
        mean = np.where(total > 0, self._sum.sum(axis=1) / np.maximum(total, 1), 1.0)[:, None]
        count = self._count[:, names]
        rate = np.where(count > 0, self._sum[:, names] / np.maximum(count, 1), mean)
        gains = rate * np.stack([node.below, node.above])
        return np.asarray(np.maximum(gains[0], 1e-9) * np.maximum(gains[1], 1e-9))


class Search:
    """One question's search over the trees of its regions."""

    def __init__(
        self, trees: Sequence[Relaxation], evaluate: Evaluate, incumbent: float, tolerance: float, deadline: float
    ) -> None:
        self._trees, self._evaluate = trees, evaluate
        self.incumbent, self._tolerance, self._deadline = incumbent, tolerance, deadline
        self.best: Array | None = None
        self.leaves = math.inf
        self.nodes = 0
        self.finished = False
        self._costs = PseudoCosts(1 + max(int(tree.names.max(initial=0)) for tree in trees))
        self._heap: list[tuple[float, int, int, Node]] = []
        self._ticket = itertools.count()

    def run(self) -> float:
        """Search until closed or out of time; the proven bound of the whole question."""
        for k, tree in enumerate(self._trees):
            if self._late():
                return -math.inf
            self._keep(k, self._visit(tree.root(self._ceiling(), self._seconds())))
        while self._heap:
            bound, _, k, node = heapq.heappop(self._heap)
            if self._prunes(bound):
                self.leaves = min(self.leaves, bound)
                continue
            left = self._dive(k, node)
            if left is not None:
                return min(self.leaves, left, *(entry[0] for entry in self._heap))
        self.finished = True
        return self.leaves

    def _dive(self, k: int, node: Node) -> float | None:
        """Branch downwards until a leaf; the bound of the node at which time ran out, else None."""
        current: Node | None = node
        while current is not None:
            if self._late():
                return current.bound
            self.nodes += 1
            children = self._branch(k, current)
            if children is None:
                self.leaves = min(self.leaves, current.bound)
                return None
            open_ones = sorted((c for c in children if self._survives(c)), key=lambda child: child.bound)
            current = open_ones[0] if open_ones else None
            for child in open_ones[1:]:
                self._keep(k, child)
        return None

    def _survives(self, child: Node) -> bool:
        """Whether a child must be searched; else it is a leaf."""
        if not self._prunes(child.bound):
            return True
        self.leaves = min(self.leaves, child.bound)
        return False

    def _branch(self, k: int, node: Node) -> tuple[Node, Node] | None:
        """The children of a node at the neuron that promises most; None if every phase is fixed or settled."""
        open_neurons = np.flatnonzero(node.phases == 0)
        if not open_neurons.size:
            return None
        names = self._trees[k].names
        violated = open_neurons[np.minimum(node.above, node.below)[open_neurons] > _VIOLATION]
        pool = violated if violated.size else open_neurons
        order = pool[np.argsort(-self._costs.scores(node, names)[pool], kind="stable")]
        known = self._costs.known(names[order])
        if known[0]:
            return self._children(k, node, int(order[0]))
        best: tuple[float, tuple[Node, Node]] | None = None
        for neuron in order[:_TRIES]:
            pair = self._children(k, node, int(neuron))
            ceiling = self.incumbent
            gains = [max(min(child.bound, ceiling) - node.bound, 1e-9) for child in pair]
            score = gains[0] * gains[1]
            if best is None or score > best[0]:
                best = (score, pair)
            if all(self._prunes(child.bound) for child in pair) or self._late():
                break
        assert best is not None
        return best[1]

    def _children(self, k: int, node: Node, neuron: int) -> tuple[Node, Node]:
        """Both children at a neuron, bounded and evaluated."""
        made = []
        for side, phase in ((0, 1), (1, -1)):
            phases = node.phases.copy()
            phases[neuron] = phase
            child = self._visit(self._trees[k].bound(phases, node.bound, self._ceiling(), self._seconds()))
            violation = float((node.below if side == 0 else node.above)[neuron])
            self._costs.learn(
                side, int(self._trees[k].names[neuron]), min(child.bound, self.incumbent) - node.bound, violation
            )
            made.append(child)
        return made[0], made[1]

    def _visit(self, node: Node) -> Node:
        """Evaluate the network at a node's LP point."""
        if node.point is not None:
            value = self._evaluate(node.point)
            if value < self.incumbent:
                self.incumbent, self.best = value, node.point
        return node

    def _keep(self, k: int, node: Node) -> None:
        if self._survives(node):
            heapq.heappush(self._heap, (node.bound, next(self._ticket), k, node))

    def _prunes(self, bound: float) -> bool:
        return bound >= self.incumbent - self._tolerance

    def _ceiling(self) -> float:
        return self.incumbent - self._tolerance

    def _late(self) -> bool:
        return time.perf_counter() > self._deadline

    def _seconds(self) -> float:
        """What an LP may take: the rest of the time, and a little so that it is not cut off for nothing."""
        return max(self._deadline - time.perf_counter(), 0.0) + 0.1
