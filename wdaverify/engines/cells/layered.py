"""The largest slope of a network on a region, by branch and bound over cells in the order of layers (docs/theory.md, section 14).

A node has decided the neurons of the layers before one and some of that, so that on its polyhedron this layer is affine in the input:
deciding one more neuron is a half-space, and one small linear program tells whether it leaves room (``polyhedra``). The node's bound is
the slope of the forward interval Jacobian (``certify.forward``) with open neurons anywhere in [0, 1]; decided to the end it is exact.
Where the region is bounded, bounds of pre-activations decide further neurons. Best first; of a layer the neuron that lowers both
bounds most. Every interior point found is a cell, whose slope may be the largest.

A leaf is its decisions in order, and multipliers for each side that was cut.
"""

from __future__ import annotations

import heapq
import itertools
import math
import time
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from wdaverify.certify.backward import Backward, Shells
from wdaverify.certify.forward import Forward, Ints, States
from wdaverify.certify.halfspaces import HalfSpaces
from wdaverify.certify.proof import Phases
from wdaverify.certify.slopes import CONSTANT, EMPTY, FORWARD, SECTORS, SETTLED
from wdaverify.engines.base import Answer, Effort, Slope
from wdaverify.engines.cells.climbing import climbed
from wdaverify.engines.cells.points_within import PointsWithin
from wdaverify.engines.cells.polyhedra import Polyhedra, deep
from wdaverify.engines.cells.recorded import Spot, tree_of
from wdaverify.engines.cells.sectored import Held, Sectored
from wdaverify.engines.cells.settling import NEITHER, ROUNDED, Settled, Settling
from wdaverify.engines.loops import compiled
from wdaverify.graph.nodes import Graph
from wdaverify.network.model import Array

_BATCH = 16
_CHUNK = 2**22
"""The most doubles that one array of a pass over candidates has."""
_BETWEEN = 256
"""Nodes between two dives for points."""
_BYTES = 400.0
_NUDGE = 0.5
"""Where, between a half-space and the end of the deepest ball, a point across is put."""
_LEAST = 1e-7
"""How deep a point across has to be, in units of the region, to stand for a side without a program."""


@dataclass(eq=False)
class _Node:
    """Phases so far, those of them that are ``split`` into half-spaces, what is proven, and a point with its depth (None: none known)."""

    phases: Phases
    split: NDArray[np.bool_]
    bound: float
    point: Array | None
    depth: float
    held: Held | None = None
    spot: Spot = field(default_factory=Spot)


class LayeredHunt:
    """One slope question on its way to an answer."""

    def __init__(self, graph: Graph, question: Slope, effort: Effort) -> None:
        self._begun = time.perf_counter()
        self._graph, self._question, self._effort = graph, question, effort
        self._region, self._still = question.region, question.still
        self._points = PointsWithin(graph, question)
        self._forward = Forward(graph, question.rows, self._points.base, self._points.step)
        self._polyhedra = Polyhedra(graph, self._region, self._still, self._points.units)
        self._backward = Backward(graph, loops=compiled()) if self._polyhedra.bounded and graph.neurons else None
        self._settling = Settling(graph, question, self._points.bounded)
        self.incumbent = -math.inf if effort.cutoff is None else effort.cutoff
        self.point: Array | None = None
        self._around: Array | None = None
        self._residual = -math.inf
        self._heap: list[tuple[float, int, _Node]] = []
        self._ticket = itertools.count()
        self._why = ""
        self._edges = graph.edges
        self._sectored = Sectored.of(graph, question)
        self._top = Spot()
        self._cuts = 0 if self._region.rows is None else 2 * self._region.rows.lower.size
        self.nodes = self._dive_at = 0

    def answer(self) -> Answer:
        """Search within the effort; what is left open widens the bound. Bounds are inf where they overflow."""
        with np.errstate(over="ignore", invalid="ignore"):
            late = self._search()
        top = max([-entry[0] for entry in self._heap] + [self._residual, self.incumbent, 0.0])
        points = np.zeros((0, self._region.lower.size)) if self.point is None else self.point[None, :]
        detail = f"{self._polyhedra.solves} LPs" + (f"; {self._why}" if self._why else "")
        seconds, tree = time.perf_counter() - self._begun, tree_of(self._top, top) if self._effort.proof else None
        return Answer(top, points, "cells", not late, self.nodes, seconds, detail, True, slopes=tree)

    def _search(self) -> bool:
        """Branch until nothing open is of interest; whether time or memory ran out before."""
        for points in self._points.drawn(self._effort.seed, lambda: self.point):
            if self._late():
                break
            self._try(points)
        self._climb()
        count = self._graph.neurons
        point = np.clip(np.zeros(self._forward.moving.size), self._polyhedra.lower, self._polyhedra.upper)
        room = min(
            float((point - self._polyhedra.lower).min(initial=1.0)),
            float((self._polyhedra.upper - point).min(initial=1.0)),
        )
        start = point if self._region.rows is None and room > 0 else None
        root = _Node(np.zeros(count, np.int8), np.zeros(count, np.bool_), math.inf, start, room, spot=self._top)
        self._stabilise([root])
        if self._sectored is not None:
            root.held = self._sectored.first(root.phases)
        states = self._forward.run(root.phases[None])
        self._bound([root], len(self._graph.elementwise), states, np.zeros(1, np.int64), root.phases[None])
        self._push(root)
        while self._heap and -self._heap[0][0] > self._level:
            if self._late() or self._full():
                return True
            if self.nodes >= self._dive_at:
                self._dive()
                continue
            batch: list[_Node] = []
            while self._heap and len(batch) < _BATCH and -self._heap[0][0] > self._level:
                batch.append(heapq.heappop(self._heap)[2])
            for node in self._expand(batch):
                self._push(node)
        return False

    def _dive(self) -> None:
        """From the node with the largest bound to a cell, always on to the better side: points for the lower end."""
        node: _Node | None = heapq.heappop(self._heap)[2]
        while node is not None:
            made = self._expand([node])
            made.sort(key=lambda one: one.bound)
            node = made.pop() if made and made[-1].bound > self._level and not self._late() else None
            for other in made:
                self._push(other)
        self._climb()
        self._dive_at = self.nodes + _BETWEEN

    def _climb(self) -> None:
        """Steeper cells next to the steepest one known, if that has not been looked around yet."""
        if self.point is None or self.point is self._around or not self._graph.neurons:
            return
        for point in climbed(self._graph, self._question, self._forward, self._polyhedra, self.point, self._late):
            self._try(self._points.placed(point[None]))
        self._around = self.point

    @property
    def _level(self) -> float:
        return self.incumbent + self._effort.gap

    def _try(self, points: Array, *, exactly: bool = False) -> None:
        """Keep the point with the largest sure slope, if it beats the incumbent."""
        low, point = self._points.best(points, exactly=exactly)
        if low > self.incumbent and point is not None:
            self.incumbent, self.point = low, point

    def _push(self, node: _Node) -> None:
        if node.bound > self._level:
            heapq.heappush(self._heap, (-node.bound, next(self._ticket), node))
        else:
            self._residual = max(self._residual, node.bound)

    def _expand(self, batch: list[_Node]) -> list[_Node]:
        """What nodes leave once one more neuron is decided."""
        phases = np.stack([node.phases for node in batch])
        states, reached = self._forward.run(phases), self._forward.reached(phases)
        if self._backward is not None or self._sectored is not None:  # more may be decided than the bound knew
            everything = np.arange(len(batch))
            self._bound(batch, len(self._graph.elementwise), states, everything, phases)
        made: list[_Node] = []
        stages: dict[int, list[tuple[int, Ints]]] = {}
        for k, node in enumerate(batch):
            if node.bound <= self._level:
                self._residual = max(self._residual, node.bound)
                continue
            number, open_ = self._stage(node)
            if number < 0:
                self._settle(node)
                continue
            idle = open_[~reached[k, open_] | self._cancelled(node, k, states, number, open_)]
            if idle.size:
                made += self._constants(node, k, states, number, idle)
            else:
                stages.setdefault(number, []).append((k, open_))
        for number, members in stages.items():
            if self._sectored is not None:
                made += [side for k, open_ in members for side in self._sides(batch[k], k, states, open_)]
            else:
                made += self._branch(batch, states, number, members)
        self._stabilise(made)
        self._points_of(made)
        self._tighten(made)
        return made

    def _stage(self, node: _Node) -> tuple[int, Ints]:
        """The first elementwise node with an open neuron, by number, and its open neurons; -1 where all are decided."""
        open_ = np.flatnonzero(node.phases == 0)
        if not open_.size:
            return -1, open_
        number = int(np.searchsorted(self._edges, open_[0], side="right")) - 1
        return number, open_[open_ < self._edges[number + 1]]

    def _cancelled(self, node: _Node, k: int, states: States, number: int, open_: Ints) -> NDArray[np.bool_]:
        """Which neurons are constant on the polyhedron because what they read cancels, in rationals."""
        centre, radius = states[self._graph.source(self._graph.elementwise[number])]
        local = open_ - self._edges[number]
        size, loose = (np.abs(part[k][:-1, local]).sum(axis=0) for part in (centre, radius))
        out: NDArray[np.bool_] = np.asarray(size <= 4 * loose)
        for at in np.flatnonzero(out).tolist():
            out[at] = self._settling.sign(node.phases, number, int(open_[at])) != 0
        return out

    def _constants(self, node: _Node, k: int, states: States, number: int, idle: Ints) -> list[_Node]:
        """Neurons that no feature reaches are decided by their sign, without a row; both ways where that is not known."""
        centre, radius = states[self._graph.source(self._graph.elementwise[number])]
        local = idle - self._edges[number]
        value, off = centre[k][-1, local], radius[k][-1, local]
        out = [node]
        for at, sure, sign in zip(idle.tolist(), (np.abs(value) > off).tolist(), value.tolist(), strict=True):
            side = (1 if sign > 0 else -1) if sure else self._settling.sign(node.phases, number, at)
            if side:
                for made in out:
                    made.phases[at] = side
                    both = self._branched(made.spot, at)
                    both[side > 0].shows(CONSTANT, -math.inf)
                    made.spot = both[side < 0]
                continue
            twins = [_Node(n.phases.copy(), n.split.copy(), n.bound, None, 0.0, n.held) for n in out]
            for made, twin in zip(out, twins, strict=True):
                made.phases[at], twin.phases[at], made.point = 1, -1, None
                made.spot, twin.spot = self._branched(made.spot, at)
            out += twins
            if len(out) > 2:
                break
        return out

    def _branch(self, batch: list[_Node], states: States, number: int, members: list[tuple[int, Ints]]) -> list[_Node]:
        """Nodes of one stage: all their open neurons tried, the best decided."""
        parents = np.concatenate([np.full(2 * open_.size, k) for k, open_ in members])
        at = np.concatenate([np.repeat(open_, 2) for _, open_ in members])
        side = np.tile(np.array([1, -1], np.int8), at.size // 2)
        tried = np.stack([batch[k].phases for k in parents.tolist()])
        tried[np.arange(at.size), at] = side
        alone = self._bounds(number, states, parents, tried)
        bounds = np.minimum(alone, np.array([batch[k].bound for k in parents.tolist()]))
        self.nodes += at.size
        out, first = list[_Node](), 0
        for k, open_ in members:
            node, last = batch[k], first + 2 * open_.size
            both, shown = bounds[first:last].reshape(-1, 2), alone[first:last].reshape(-1, 2)
            gains = node.bound - np.maximum(both, self._level)
            score = gains.sum(axis=1) + 1e-3 * gains.min(axis=1)
            best = int(np.argmax(np.where(np.isfinite(score), score, -1.0)))
            spots = self._branched(node.spot, int(open_[best]))
            for s, spot in enumerate(spots):
                spot.shows(FORWARD, float(shown[best, s]))
                made = self._side(node, k, states, int(open_[best]), 1 - 2 * s, float(both[best, s]), spot)
                if made is not None:
                    out.append(made)
            first = last
        return out

    def _sides(self, node: _Node, k: int, states: States, open_: Ints) -> list[_Node]:
        """Both sides of the neuron that its parent's multipliers say is worth most."""
        assert node.held is not None
        self.nodes += 2
        at = int(open_[np.argmax(node.held.worth[open_])])
        spots = self._branched(node.spot, at)
        both = [self._side(node, k, states, at, *side) for side in zip((1, -1), (node.bound,) * 2, spots, strict=True)]
        return [side for side in both if side is not None]

    def _tighten(self, nodes: list[_Node]) -> None:
        """Bound nodes by multipliers, begun at their parents'."""
        for node in nodes if self._sectored is not None else ():
            assert node.held is not None
            assert self._sectored is not None
            if node.bound > self._level and not self._late():
                node.held, bound = self._sectored.bound(node.phases, node.held, self._level)
                node.bound = min(node.bound, bound)
                node.spot.shows(SECTORS, bound, node.held.multipliers)

    def _bounds(self, number: int, states: States, parents: Ints, phases: Phases) -> Array:
        """Bounds of nodes with other phases from elementwise node ``number`` on."""
        widest = self._forward.moving.size * max(self._graph.width(k) for k in range(len(self._graph.nodes)))
        step = max(1, _CHUNK // max(widest, 1))
        out = []
        for first in range(0, len(parents), step):
            some = slice(first, first + step)
            gradients = self._forward.onward(states, number, parents[some], phases[some])
            out.append(self._forward.slopes(*gradients, self._region.cost, self._still))
        return np.concatenate(out)

    def _bound(self, nodes: list[_Node], number: int, states: States, parents: Ints, phases: Phases) -> None:
        for node, bound in zip(nodes, self._bounds(number, states, parents, phases).tolist(), strict=True):
            node.bound = min(node.bound, bound)
            node.spot.shows(FORWARD, bound)

    def _side(self, node: _Node, k: int, states: States, at: int, side: int, bound: float, spot: Spot) -> _Node | None:
        """One side of a neuron, with a point of it if there is one; None where it is proved to leave no room."""
        if bound <= self._level:
            self._residual = max(self._residual, bound)
            return None
        phases, split = node.phases.copy(), node.split.copy()
        phases[at], split[at] = side, True
        made = _Node(phases, split, bound, None, 0.0, node.held, spot)
        one = self._polyhedra.half_spaces(states, k, np.array([at]), np.array([float(side)]))
        if node.point is not None and node.depth > 0:
            away = float(one.table[0] @ node.point + one.side[0])
            if away > _LEAST:
                made.point, made.depth = node.point, min(node.depth, away)
                return made
            if node.depth + away > 2 * _LEAST:
                over = _NUDGE * (node.depth + away)
                made.point, made.depth = node.point + (over - away) * one.table[0], over
                return made
        spaces = self._spaces(node, k, states).joined(one)
        room = self._polyhedra.deepest(spaces)
        if deep(room):
            assert room.point is not None
            made.point, made.depth = room.point, max(self._polyhedra.depth(spaces, room.point), 0.0)
            return made
        return None if self._emptied(spot, phases, spaces, room.multipliers) else made

    def _emptied(self, spot: Spot, phases: Phases, spaces: HalfSpaces, multipliers: Array | None) -> bool:
        """Whether multipliers of rows are proved to leave them no interior."""
        if multipliers is None or not self._polyhedra.empty(phases, spaces, multipliers):
            return False
        row, own = np.zeros(self._graph.neurons + self._cuts), spaces.at.size
        row[spaces.at], row[self._graph.neurons :][: multipliers.size - own] = multipliers[:own], multipliers[own:]
        spot.shows(EMPTY, -math.inf, row)
        return True

    def _branched(self, spot: Spot, at: int, count: int = 2) -> tuple[Spot, ...]:
        """Spots below one, which only a proof holds on to."""
        return spot.branched(at, count) if self._effort.proof else tuple(Spot() for _ in range(count))

    def _spaces(self, node: _Node, k: int, states: States) -> HalfSpaces:
        at = np.flatnonzero(node.split)
        return self._polyhedra.half_spaces(states, k, at, node.phases[at].astype(np.float64))

    def _stabilise(self, nodes: list[_Node]) -> None:
        """Decide what bounds of pre-activations decide; nodes whose bounds contradict each other have nothing below."""
        if self._backward is None or not nodes:
            return
        shell, count = self._points.shell, len(nodes)
        n = shell.centre.shape[1]
        many = Shells(
            shell.cost,
            *(np.broadcast_to(part, (count, n)) for part in (shell.centre, shell.up, shell.down)),
            *(np.broadcast_to(part, count) for part in (shell.near, shell.far)),
        )
        bounds = self._backward.pre_activations(many, np.stack([node.phases for node in nodes]))
        low, high = (np.concatenate([sides[k] for sides in bounds], axis=1) for k in range(2))
        for node, least, most in zip(nodes, low, high, strict=True):
            gone = bool((least > most).any())
            phases = np.where(node.phases != 0, node.phases, np.where(least >= 0, 1, np.where(most <= 0, -1, 0)))
            if gone or (phases != node.phases).any():
                node.spot = self._branched(node.spot, SETTLED, 1)[0]
            if gone:
                node.bound = -math.inf
                node.spot.shows(FORWARD, -math.inf)  # whatever stands below such a node
            else:
                node.phases = phases.astype(np.int8)

    def _points_of(self, nodes: list[_Node]) -> None:
        points = [node.point for node in nodes if node.point is not None and node.bound > self._level]
        if points:
            self._try(self._points.placed(np.stack(points)))

    def _settle(self, node: _Node) -> None:
        """A cell: a point of its interior, or a proof that it has none, or its bound is kept."""
        found = self._settling.settle(node.phases)
        points = [
            p
            for p in (found.point, None if node.point is None else self._points.placed(node.point[None])[0])
            if p is not None
        ]
        if points:
            self._try(np.stack(points), exactly=True)
        if found.gone and (not self._effort.proof or self._shown_gone(node, found)):
            return
        if node.bound > self._level:
            self._why = ROUNDED if node.bound <= self.incumbent * (1 + 1e-9) else NEITHER
        self._residual = max(self._residual, node.bound)

    def _shown_gone(self, node: _Node, found: Settled) -> bool:
        """Whether a cell without interior is shown to be one by multipliers of its half-spaces."""
        some = node.phases[None]
        at = np.flatnonzero(self._forward.reached(some)[0])
        spaces = self._polyhedra.half_spaces(self._forward.run(some), 0, at, some[0, at].astype(np.float64))
        rest = np.zeros(self._polyhedra.cuts)
        for neuron, multipliers in found.shown:
            held = np.zeros(self._graph.neurons)
            held[neuron] = np.maximum(multipliers, 0.0)
            if self._emptied(node.spot, node.phases, spaces, np.concatenate([held[at] * spaces.size, rest])):
                return True
        return self._emptied(node.spot, node.phases, spaces, self._polyhedra.deepest(spaces).multipliers)

    def _late(self) -> bool:
        return time.perf_counter() - self._begun > self._effort.seconds

    def _full(self) -> bool:
        return len(self._heap) * (_BYTES + 20 * self._graph.neurons) > self._effort.memory
