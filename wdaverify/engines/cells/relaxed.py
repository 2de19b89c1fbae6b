"""The largest slope of a network on a region of many features, by branch and bound over activation cells (docs/theory.md, section 7).

A node fixes phases. Its bound is the least of two: the interval Jacobian under pre-activation bounds made anew for the node, and
the linear relaxation of the slope program (``encoding.slope``) on the node's own column bounds, recomputed from its multipliers.
A node without open neurons is a cell: it counts if a point of its interior is found, is dropped if it is proved to have none, and
else keeps its bound. After Bhowmick, D'Souza, Raghavan 2021 (LipBaB) and Jordan, Dimakis (arXiv 2003.01219); the joint program of
point and direction, and the proofs, are this project's own.
"""

from __future__ import annotations

import heapq
import itertools
import math
import time
from dataclasses import dataclass

import numpy as np

from wdaverify.certify.backward import Backward, HiddenBounds, Shells
from wdaverify.certify.jacobian import jacobian, neuron_slopes, slope_up
from wdaverify.certify.proof import Phases
from wdaverify.encoding.milp import Ints
from wdaverify.engines.base import Answer, Effort, Slope
from wdaverify.engines.cells.points_within import PointsWithin
from wdaverify.engines.cells.search import PseudoCosts
from wdaverify.engines.cells.settling import NEITHER, ROUNDED, Settling
from wdaverify.engines.cells.slope_program import SlopeProgram
from wdaverify.engines.loops import compiled
from wdaverify.errors import SolverError
from wdaverify.graph.nodes import Graph
from wdaverify.ground import Norm
from wdaverify.network.model import Array

_BATCH = 16
_NUDGES = (0.0, 1e-7, 1e-4)
"""By how much of the way to the region's centre a point of the relaxation, which lies on cells' boundaries, is also tried."""
_BYTES = 400.0
_TRIES = 6
_CLOSE = 1e-9
_NO, _NONE = np.zeros(0), np.zeros(0, np.int64)


@dataclass(eq=False)
class _Node:
    """Phases and signs fixed so far, what is proven below, the neurons still open, and how each is ``share`` on in the relaxation.

    ``weight`` is how much an open neuron may matter. A node that was never looked at has no share.
    """

    phases: Phases
    signs: Phases
    bound: float
    opened: Ints
    share: Array
    weight: Array


@dataclass(eq=False)
class _Fork:
    """A parent, the neuron (or -1 - k for sign k) it is branched at, and the children on both sides, active first."""

    parent: _Node
    at: int
    sides: tuple[_Node, _Node]


class RelaxedHunt:
    """One slope question on its way to an answer."""

    def __init__(self, graph: Graph, question: Slope, effort: Effort) -> None:
        self._begun = time.perf_counter()
        self._graph, self._question, self._effort = graph, question, effort
        self._region, self._rows, self._still = question.region, question.rows, question.still
        self._backward = Backward(graph, loops=compiled())
        self._points = PointsWithin(graph, question)
        self._settling = Settling(graph, question, self._points.bounded)
        self._shell = self._points.shell
        self._cost = self._region.cost
        self.incumbent = -math.inf if effort.cutoff is None else effort.cutoff
        self.point: Array | None = None
        self._residual = -math.inf
        self._heap: list[tuple[float, int, _Node]] = []
        self._ticket = itertools.count()
        self._program: SlopeProgram | None = None
        self._why = ""
        self._costs = PseudoCosts(max(self._backward.neurons, 1))
        self.nodes = 0

    def answer(self) -> Answer:
        """Search within the effort; what is left open widens the bound. Bounds are inf where they overflow."""
        with np.errstate(over="ignore", invalid="ignore"):
            late = self._search()
        top = max([-entry[0] for entry in self._heap] + [self._residual, self.incumbent, 0.0])
        points = np.zeros((0, self._region.lower.size)) if self.point is None else self.point[None, :]
        solves = 0 if self._program is None else self._program.solves
        seconds = time.perf_counter() - self._begun
        detail = f"{solves} LPs" + (f"; {self._why}" if self._why else "")
        return Answer(top, points, "cells", not late, self.nodes, seconds, detail, True)

    def _search(self) -> bool:
        """Branch until nothing open is of interest; whether time or memory ran out before."""
        for points in self._points.drawn(self._effort.seed, lambda: self.point):
            if self._late():
                break
            self._try(points)
        signs = self._rows.shape[0] if self._rows.shape[0] > 1 and self._cost.norm is Norm.ONE else 0
        root = _Node(np.zeros(self._backward.neurons, np.int8), np.zeros(signs, np.int8), math.inf, _NONE, _NO, _NO)
        self._evaluate([root], at_root=True)
        self._push(root)
        late = self._late()
        while not late and self._heap and -self._heap[0][0] > self.incumbent + self._effort.gap:
            batch: list[_Node] = []
            while self._heap and len(batch) < _BATCH and -self._heap[0][0] > self.incumbent + self._effort.gap:
                batch.append(heapq.heappop(self._heap)[2])
            self._branch(batch)
            late = self._late() or self._full()
        return late

    def _try(self, points: Array) -> None:
        """Keep the point with the largest sure slope, if it beats the incumbent."""
        low, point = self._points.best(points)
        if low > self.incumbent and point is not None:
            self.incumbent, self.point = low, point

    def _branch(self, batch: list[_Node]) -> None:
        """Replace nodes by their children where that promises most; nodes that time did not reach stay as they are."""
        forks = [[_forked(node, at) for at in self._candidates(node)] for node in batch]
        self._evaluate([side for options in forks for fork in options for side in fork.sides])
        for node, options in zip(batch, forks, strict=True):
            if not options or self._late():
                self._push(node)
                continue
            best = max(options, key=self._gain)
            for fork in options:
                self._learn(fork)
            for side in best.sides:
                self._push(side)

    def _candidates(self, node: _Node) -> list[int]:
        """Where to branch: one neuron whose gains are known, or some of those that promise most."""
        if not node.share.size and node.opened.size:
            node.share, node.weight = np.full(node.opened.size, 0.5), np.ones(node.opened.size)
        if not node.opened.size:
            return [-1 - int(np.flatnonzero(node.signs == 0)[0])]
        below, above = node.share * node.weight, (1 - node.share) * node.weight
        unlike = np.maximum(np.minimum(below, above), 0.02 * node.weight)
        score = self._costs.scores(node.opened, np.maximum(below, unlike), np.maximum(above, unlike))
        order = np.argsort(-score, kind="stable")[:_TRIES]
        first = node.opened[order]
        known = self._costs.known(first)
        return [int(first[0])] if known[0] else first[~known | (np.arange(first.size) == 0)].tolist()

    def _gain(self, fork: _Fork) -> float:
        """The product of what both children gain."""
        low = self.incumbent + self._effort.gap
        gains = [max(fork.parent.bound - max(side.bound, low), 1e-9) for side in fork.sides]
        return gains[0] * gains[1]

    def _learn(self, fork: _Fork) -> None:
        if fork.at < 0:
            return
        where = int(np.flatnonzero(fork.parent.opened == fork.at)[0])
        share, weight = float(fork.parent.share[where]), float(fork.parent.weight[where])
        for side, part in ((0, 1 - share), (1, share)):
            gain = fork.parent.bound - max(fork.sides[side].bound, self.incumbent)
            self._costs.learn(side, fork.at, gain, max(part, 0.02) * weight)

    def _evaluate(self, made: list[_Node], *, at_root: bool = False) -> None:
        """Bound nodes: all together by their interval Jacobians, then one by one by their relaxations."""
        if not made:
            return
        self.nodes += len(made)
        phases = np.array([node.phases for node in made]).reshape(len(made), -1)
        bounds = self._bounds(phases)
        there = np.ones(len(made), np.bool_)
        for low, high in bounds:
            there &= (low <= high).all(axis=1)
        local = [(np.minimum(low, high), np.maximum(low, high)) for low, high in bounds]
        pull: list[Array] = []
        rows = np.broadcast_to(self._rows, (len(made), *self._rows.shape))
        centre, radius = jacobian(self._graph, local, rows, pull=pull)
        cheap = slope_up(centre, radius, self._cost, self._still)
        slopes = neuron_slopes(self._graph, local, self._cost, self._still)
        if at_root and self._graph.neurons:
            self._program = self._make_program(local, slopes)
        for k, node in enumerate(made):
            node.bound = min(node.bound, float(cheap[k])) if there[k] else -math.inf
            at = slice(k, k + 1)
            here = [(low[at], high[at]) for low, high in local]
            opened = np.concatenate([(low[0] < 0) & (high[0] > 0) for low, high in here] or [np.zeros(0, np.bool_)])
            node.opened = np.flatnonzero(opened)
            if node.bound > self.incumbent + self._effort.gap and not self._late():
                weight = np.concatenate([s[k] * p[k] for s, p in zip(slopes, pull, strict=True)] or [_NO]) + 1e-12
                self._look(node, here, [s[k] for s in slopes], weight[node.opened])

    def _look(self, node: _Node, bounds: HiddenBounds, slopes: list[Array], weight: Array) -> None:
        """Solve a node's relaxation, try its point, and settle it if it is a cell."""
        node.share, node.weight = np.full(node.opened.size, 0.5), weight
        if self._program is not None:
            single = [(low[0], high[0]) for low, high in bounds]
            found = self._program.bound(node.signs, single, slopes, self.incumbent + self._effort.gap, self._seconds())
            node.bound = min(node.bound, found.bound)
            if node.bound <= self.incumbent + self._effort.gap:
                return
            if found.point is not None:
                middle = self._region.centre
                self._try(np.array([found.point + s * (middle - found.point) for s in _NUDGES]))
                node.share = found.share[node.opened]
        if not node.opened.size and not (node.signs == 0).any():
            self._settle(node, bounds)

    def _push(self, node: _Node) -> None:
        if node.bound > self.incumbent + self._effort.gap:
            heapq.heappush(self._heap, (-node.bound, next(self._ticket), node))
        else:
            self._residual = max(self._residual, node.bound)

    def _settle(self, node: _Node, bounds: HiddenBounds) -> None:
        """A cell: a point of its interior, or a proof that it has none, or its bound is kept."""
        phases = np.concatenate([np.where(low[0] >= 0, 1, -1) for low, _ in bounds] or [_NO]).astype(np.int8)
        found = self._settling.settle(phases)
        if found.point is not None:
            self._try(found.point[None, :])
        if node.bound <= self.incumbent + self._effort.gap:
            return
        if not found.gone:
            self._why = ROUNDED if node.bound <= self.incumbent * (1 + _CLOSE) else NEITHER
            self._residual = max(self._residual, node.bound)
        node.bound = -math.inf  # no longer open

    def _bounds(self, phases: Phases) -> HiddenBounds:
        count = len(phases)
        shell = self._shell
        n = shell.centre.shape[1]
        many = Shells(
            shell.cost,
            *(np.broadcast_to(part, (count, n)) for part in (shell.centre, shell.up, shell.down)),
            *(np.broadcast_to(part, count) for part in (shell.near, shell.far)),
        )
        return self._backward.pre_activations(many, phases)

    def _make_program(self, bounds: HiddenBounds, slopes: list[Array]) -> SlopeProgram | None:
        if self._rows.shape[0] > 1 and self._cost.norm is not Norm.ONE:
            return None
        single = [(low[0], high[0]) for low, high in bounds]
        try:
            return SlopeProgram(self._graph, single, [s[0] for s in slopes], self._question)
        except SolverError as error:
            self._why = str(error)
            return None

    def _late(self) -> bool:
        return time.perf_counter() - self._begun > self._effort.seconds

    def _seconds(self) -> float:
        return max(self._effort.seconds - (time.perf_counter() - self._begun), 0.0) + 0.1

    def _full(self) -> bool:
        return len(self._heap) * (_BYTES + self._backward.neurons) > self._effort.memory


def _forked(node: _Node, at: int) -> _Fork:
    """Both children at a neuron or a sign, not yet bounded."""
    sides = []
    for side in (1, -1):
        phases, signs = node.phases.copy(), node.signs.copy()
        if at >= 0:
            phases[at] = side
        else:
            signs[-1 - at] = side
        sides.append(_Node(phases, signs, node.bound, _NONE, _NO, _NO))
    return _Fork(node, at, (sides[0], sides[1]))
