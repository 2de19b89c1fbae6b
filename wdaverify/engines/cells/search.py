"""Branch and bound over phases: best bound first with dives, strong branching on few neurons, then pseudo-costs.

Every quantity is that of a minimisation. The LP's values only steer: what a tree proves is evaluated afterwards from the
rows of its leaves, so that a wrong incumbent or a loose LP costs time or width and never validity.
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
_DEEP = 3.0
"""A shell is worth cutting where a path of so many branchings like the first would not close it."""

Evaluate = Callable[[Array], float]
"""The true value at a displacement (inf if it does not count)."""


Halve = tuple[Callable[[int], "tuple[Relaxation, Relaxation] | None"], Callable[[], None]]
"""How to make the near and the far half of a tree's shell (None where it is narrow enough), and how to keep them."""


class PseudoCosts:
    """What fixing a neuron's phase gained per unit of violation, averaged; side 0 active, 1 dead; neurons by their number."""

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

    def scores(self, names: Ints, below: Array, above: Array) -> Array:
        """The product of the estimated gains of both children, ``[m]``; the average rate stands in for unseen sides."""
        total = self._count.sum(axis=1)
        mean = np.where(total > 0, self._sum.sum(axis=1) / np.maximum(total, 1), 1.0)[:, None]
        count = self._count[:, names]
        rate = np.where(count > 0, self._sum[:, names] / np.maximum(count, 1), mean)
        gains = rate * np.stack([below, above])
        return np.asarray(np.maximum(gains[0], 1e-9) * np.maximum(gains[1], 1e-9))


class Search:
    """One question's search over the trees of its ``count`` shells, whose programs are made when they are first needed."""

    def __init__(
        self,
        count: int,
        make: Callable[[int], Relaxation],
        halve: Halve,
        evaluate: Evaluate,
        incumbent: float,
        tolerance: float,
        deadline: float,
        costs: PseudoCosts,
        nodes_kept: float = math.inf,
    ) -> None:
        self._trees: list[Relaxation | None] = [None] * count
        self._make, self._evaluate, self._halve = make, evaluate, halve
        self.order = list(range(count))
        self._whole: set[int] = set(self.order)
        self.incumbent, self._tolerance, self._deadline = incumbent, tolerance, deadline
        self.best: Array | None = None
        self.nodes = 0
        self._made = 0
        self.finished = False
        self.roots: dict[int, Node] = {}
        self._costs, self._room = costs, nodes_kept
        self.full = False
        self._heap: list[tuple[float, int, int, Node]] = []
        self._ticket = itertools.count()

    def run(self) -> None:
        """Search until closed or out of time."""
        self.finished = False
        for k in self.order:
            if k not in self.roots:
                if self._late():
                    return
                self.roots[k] = self._visit(self._tree(k).root(self._ceiling(), self._seconds()))
                self.keep(k, self.roots[k])
        while self._heap:
            bound, _, k, node = heapq.heappop(self._heap) if self._made < self._room / 2 else self._deepest()
            if not self._prunes(bound) and not self._dive(k, node):
                return
        self.finished = True

    def _tree(self, k: int) -> Relaxation:
        """The programs of tree k, made when they are first needed."""
        tree = self._trees[k]
        if tree is None:
            tree = self._trees[k] = self._make(k)
        return tree

    @property
    def solves(self) -> int:
        """The LPs solved in all trees that were kept."""
        return sum(tree.solves for tree in self._trees if tree is not None)

    def unknown(self, k: int) -> Node:
        """The root of tree k before anything is known of it."""
        return self._tree(k).unknown()

    def take_over(self, k: int, root: Node) -> None:
        """Begin tree k where an earlier search ended; ``keep`` its open leaves afterwards."""
        self.roots[k] = root
        if root.sides is not None:
            self._whole.discard(k)

    def charge(self, nodes: int) -> None:
        """Count nodes that were kept elsewhere."""
        self._made += nodes

    def names(self, k: int) -> Ints:
        """The neurons that tree k leaves open at its root."""
        return self._tree(k).names

    def settle(self, k: int, node: Node, enough: float) -> None:
        """Solve a leaf of tree k without a cut-off, until it proves ``enough`` or no row of it can."""
        self._tree(k).settle(node, enough, self._seconds())
        self._visit(node)

    def keep(self, k: int, node: Node) -> None:
        """Search a node of tree k, if its bound does not close it."""
        if not self._prunes(node.bound):
            heapq.heappush(self._heap, (node.bound, next(self._ticket), k, node))

    def _dive(self, k: int, node: Node) -> bool:
        """Branch downwards until a leaf; False if time ran out."""
        if node.stale and not self._late():
            self._tree(k).freshen(node, self._ceiling(), self._seconds())
            if self._prunes(self._visit(node).bound):
                return True
        current: Node | None = node
        while current is not None:
            if self._late() or self._full():
                return False
            self.nodes += 1
            current.cut = current.forked
            sides = self._forked(k, current) if current.forked is not None else self._branch(k, current)
            if k in self._whole and self._split(k, current, sides):
                return True
            if sides is None:
                return True
            current.sides = sides
            current.row = None
            current.above = current.below = np.zeros(0)
            current.point, current.forked = None, None
            open_ones = sorted((s for s in sides if not self._prunes(s.bound)), key=lambda side: side.bound)
            current = open_ones[0] if open_ones else None
            for side in open_ones[1:]:
                self.keep(k, side)
        return True

    def _split(self, k: int, root: Node, sides: tuple[Node, Node] | None) -> bool:
        """Cut the shell of an unbranched tree in two, if that gains more than its best neuron does."""
        self._whole.discard(k)
        if sides is not None and self.incumbent - root.bound < _DEEP * math.sqrt(self._score(root, sides)):
            return False
        halves = self._halve[0](k)
        if halves is None:
            return False
        roots = [self._visit(tree.root(self._ceiling(), self._seconds())) for tree in halves]
        if sides is not None and self._score(root, roots) <= self._score(root, sides):
            return False
        new = [len(self._trees), len(self._trees) + 1]
        self._halve[1]()
        self._trees += halves
        self._whole |= set(new)
        at = self.order.index(k)
        self.order[at : at + 1] = new
        del self.roots[k]
        for tree, node in zip(new, roots, strict=True):
            self.roots[tree] = node
            self.keep(tree, node)
        return True

    def _score(self, node: Node, sides: Sequence[Node]) -> float:
        """The product of what two children gain over their parent."""
        gains = [max(min(side.bound, self.incumbent) - node.bound, 1e-9) for side in sides]
        return gains[0] * gains[1]

    def _branch(self, k: int, node: Node) -> tuple[Node, Node] | None:
        """The children of a node at the neuron that promises most; None if every phase is fixed."""
        names = self._tree(k).names
        opened = np.flatnonzero(node.phases[names] == 0)
        if not opened.size:
            return None
        above, below = node.above, node.below
        if not above.size:  # a leaf that was promised more than its row proves
            above = below = np.ones(names.size)
        violated = opened[np.minimum(above, below)[opened] > _VIOLATION]
        pool = violated if violated.size else opened
        order = pool[np.argsort(-self._costs.scores(names, below, above)[pool], kind="stable")]
        known = self._costs.known(names[order])
        tries = order[:1] if known[0] else order[:_TRIES]
        best: tuple[float, int, tuple[Node, Node]] | None = None
        for at in tries:
            pair = self._sides(k, node, int(names[at]), (float(below[at]), float(above[at])))
            score = self._score(node, pair)
            if best is None or score > best[0]:
                best = (score, int(names[at]), pair)
            if all(self._prunes(side.bound) for side in pair) or self._late():
                break
        assert best is not None
        node.split = best[1]
        return best[2]

    def _forked(self, k: int, node: Node) -> tuple[Node, Node]:
        """The children of a node at a cut of a feature or a margin."""
        first, second = self._tree(k).forks(node, self._ceiling(), self._seconds())
        return self._visit(first), self._visit(second)

    def _sides(self, k: int, node: Node, neuron: int, violation: tuple[float, float]) -> tuple[Node, Node]:
        """Both children at a neuron, bounded and evaluated."""
        made = []
        for side, phase in ((0, 1), (1, -1)):
            phases = node.phases.copy()
            phases[neuron] = phase
            child = self._visit(self._tree(k).bound(phases, node, self._ceiling(), self._seconds()))
            self._costs.learn(side, neuron, min(child.bound, self.incumbent) - node.bound, violation[side])
            made.append(child)
        return made[0], made[1]

    def _full(self) -> bool:
        """Whether no further nodes may be kept."""
        self.full = self.full or self._made >= self._room
        return self.full

    def _deepest(self) -> tuple[float, int, int, Node]:
        """The open node that came last: with half of the room taken the search dives, and keeps few nodes open."""
        at = max(range(len(self._heap)), key=lambda k: self._heap[k][1])
        entry = self._heap[at]
        self._heap[at] = self._heap[-1]
        self._heap.pop()
        heapq.heapify(self._heap)
        return entry

    def _visit(self, node: Node) -> Node:
        """Evaluate the network at a node's LP point."""
        self._made += 1
        if node.point is not None:
            value = self._evaluate(node.point)
            if value < self.incumbent:
                self.incumbent, self.best = value, node.point
            node.point = None
        return node

    def _prunes(self, bound: float) -> bool:
        return bound >= self.incumbent - self._tolerance

    def _ceiling(self) -> float:
        return self.incumbent - self._tolerance

    def _late(self) -> bool:
        return time.perf_counter() > self._deadline

    def _seconds(self) -> float:
        """What an LP may take: the rest of the time, and a little so that it is not cut off for nothing."""
        return max(self._deadline - time.perf_counter(), 0.0) + 0.1
