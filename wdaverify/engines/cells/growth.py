"""Trees over phases grown many nodes at a time, each bounded by ascent: fast and a little loose where linear programs are slow and tight.

The trees are those of several questions; the leaf that is farthest below its question's incumbent (the one it began with) comes
first. A leaf that closes is held to its row at once; what is left over, leaves with every phase fixed and those that time did not
reach, is for the linear programs.
"""

from __future__ import annotations

import heapq
import itertools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from wdaverify.certify.entropy import slack_of
from wdaverify.certify.leaf_row import Layout, LeafRow
from wdaverify.encoding.milp import Ints
from wdaverify.engines.cells.ascent import Ascent, Climbed, Multipliers
from wdaverify.engines.cells.halving import Halver
from wdaverify.engines.cells.ledger import leaves
from wdaverify.engines.cells.narrowing import Narrowing
from wdaverify.engines.cells.peaks import Floats, peaks_of
from wdaverify.engines.cells.tightening import Leaves, Tightener
from wdaverify.engines.cells.tree import Fork, Node
from wdaverify.network.model import Array

Prove = Callable[[Ints, list[Node]], Array]
"""What the rows of nodes of trees ``[L]`` prove of the minimisation, ``[L]``."""
Look = Callable[[Ints, Floats], Array]
"""Values displacements ``[B, n]`` on the shells of trees ``[B]``, and returns the incumbents ``[Q]``."""

_NONE = np.full(1, -1, np.int64)
_BATCH = 256
"""Children that are bounded together."""
_ROOT_STEPS, _STEPS, _RESUMED = 12, 6, 3
"""Steps of the ascent at a root, at a child, which begins where its parent ended, and at a leaf that is taken up again."""
_AGE = 1
"""Branchings after which bounds are tightened again."""
_STUCK = 32
"""A question's leaves with every phase fixed after which growing pauses, so that their programs may find better points."""
_CAUTION = 1.6
"""How much longer than the last ones proving the leaves that are left may take."""
_TOGETHER = 1024
"""Leaves that are proven together."""
_TELLING = 512
"""So many leaves proven together tell how long one takes."""


@dataclass(eq=False)
class Open:
    """A leaf to be branched at one of the neurons ``splits [k]``, and where its ascent goes on; half precision is enough to begin from.

    ``age`` is how many branchings ago its bounds were tightened. Where ``fork`` is given, a margin of a cross-entropy is cut instead.
    """

    tree: int
    node: Node
    splits: Ints
    alpha: Array
    beta: Array
    price: np.float32
    age: int
    bend: Array | None = None
    fork: Fork | None = None
    margins: Array | None = None


@dataclass(eq=False)
class Goals:
    """Where questions ``[Q]`` stand: incumbent and tolerance of each, how many nodes it may keep; the deadline of all."""

    incumbent: Array
    tolerance: Array
    room: Array
    deadline: float


class Growth:
    """Trees while they grow. ``owner [S]`` is the question of each."""

    steps = _STEPS
    """Steps of the ascent at a child."""

    def __init__(
        self,
        ascent: Ascent,
        narrowing: tuple[Narrowing, Tightener],
        roots: dict[int, Node],
        owner: Ints,
        prove: Prove,
        look: Look,
        goals: Goals,
    ) -> None:
        """``roots`` of every shell; ``goals`` are followed."""
        self._ascent, self._prove, self._look, self._owner = ascent, prove, look, owner
        self._narrowing, self._tightener = narrowing
        self._halver = Halver(ascent, self._narrowing)
        self._goals, self._tolerance = goals, goals.tolerance
        self.nodes = np.zeros(goals.room.size, np.int64)
        self.stuck: list[tuple[int, Node]] = []
        self._waiting = np.zeros(goals.room.size, np.int64)
        self._start = np.where(np.isfinite(goals.incumbent), goals.incumbent, 0.0)
        self._heap: list[tuple[float, int, Open]] = []
        self._ticket = itertools.count()
        self._told = 0.0, 0
        self._left: list[tuple[int, Node]] = []
        some = [(k, leaf) for k, root in sorted(roots.items()) for leaf in leaves(root)]
        self._begin([(k, leaf) for k, leaf in some if not self._prunes(k, leaf.bound)])

    @property
    def open(self) -> list[tuple[int, Node]]:
        """The leaves that are still to be branched."""
        return [(entry.tree, entry.node) for _, _, entry in self._heap] + self._left

    @property
    def more(self) -> bool:
        """Whether there are leaves that can be branched."""
        return bool(self._heap) and not bool(self.full.all())

    @property
    def full(self) -> NDArray[np.bool_]:
        """Whether no further nodes of a question may be kept, ``[Q]``."""
        return np.asarray(self.nodes >= self._goals.room)

    def run(self) -> None:
        """Grow until nothing is left to branch, too much is stuck, or time or room is out."""
        while not self.full.all() and not self.late and self._waiting.max() < _STUCK:
            batch = self._halved(self._draw())
            levels = self._narrowing.level_of(self._goals.incumbent)
            wide = [e for e in batch if e.age >= _AGE and math.isfinite(levels[self._owner[e.tree]])]
            if wide:
                most = self._tightener.most
                self._tighten(wide[:most])
                for entry in wide[most:]:
                    self._line_up(entry)
                drawn = {id(entry) for entry in wide}
                batch = [entry for entry in batch if id(entry) not in drawn]
            if batch:
                self._branch(batch)
            elif not self._heap:
                return

    def settle(self) -> None:
        """Hold the leaves that are left to their rows."""
        self._hold(self.open)

    def _begin(self, found: list[tuple[int, Node]]) -> None:
        """Take up leaves that fall short, in the order of their shells: from their rows where they have any, else from nothing."""
        for first in range(0, len(found), _BATCH):
            if self.late:
                self._left = found[first:]
                return
            some = [node for _, node in found[first : first + _BATCH]]
            trees = np.array([k for k, _ in found[first : first + _BATCH]], np.int64)
            shell = self._lay(trees, some)
            phases = np.stack([node.phases for node in some])
            free, steps = self._ascent.fresh(shell), _ROOT_STEPS
            layout = Layout(phases.shape[1])
            known = [None if node.row is None else LeafRow(layout, node.row) for node in some]
            at = np.flatnonzero([row is not None and bool(row.margin > 0) and bool(row.cost > 0) for row in known])
            if at.size:
                rows = LeafRow(layout, np.array([some[k].row for k in at]))
                assert rows.nu is not None
                steps = _RESUMED if at.size == len(some) else _ROOT_STEPS
                scaled, margin = rows.nu / rows.cost[:, None], rows.margin / rows.cost
                free.put(at, self._ascent.recovered(shell[at], phases[at], scaled, margin))
            climbed = self._ascent.climb(shell, phases, free, steps, self._ceiling(trees))
            self._keep(trees, some, climbed, None, [_AGE] * len(some))

    def _lay(self, trees: Ints, nodes: list[Node]) -> Ints:
        """Numbers of nodes, whose shells ascend, for the ascent."""
        both, parts = self._narrowing.at(trees, nodes), None
        if any(node.part is not None for node in nodes):
            parts = peaks_of(self._narrowing.places(trees, nodes), self._narrowing.power)
        return self._ascent.lay(trees, both[:, 0], both[:, 1], parts)

    def _draw(self) -> list[Open]:
        """The leaves whose children make up a batch, in the order of their shells."""
        batch, closed, full = list[Open](), list[Open](), self.full
        while self._heap and len(batch) < _BATCH // 2:
            entry = heapq.heappop(self._heap)[2]
            if full[self._owner[entry.tree]]:
                self._left.append((entry.tree, entry.node))
            else:
                (closed if self._prunes(entry.tree, entry.node.bound) else batch).append(entry)
        self._close(closed)  # since the incumbent is better
        return sorted(batch, key=lambda entry: entry.tree)

    def _tighten(self, batch: list[Open]) -> None:
        """Tighten the bounds at leaves, and climb on from there."""
        nodes, trees = [entry.node for entry in batch], np.array([entry.tree for entry in batch], np.int64)
        phases, shell, free = np.stack([node.phases for node in nodes]), self._lay(trees, nodes), free_of(batch)
        low, high, made = self._ascent.bounds(shell, phases)
        incumbent = self._goals.incumbent[self._owner[trees]]
        excess = (incumbent - np.array([node.bound for node in nodes])).astype(np.float32)
        if self._ascent.priced:
            excess = excess * free.price
        level = self._narrowing.level_of(incumbent)
        costs = self._ascent.costs(shell, phases, free)
        ends = self._narrowing.ends(nodes)
        slack = np.zeros_like(excess) if ends is None else slack_of(ends).astype(np.float32)
        leaves_ = Leaves(trees, level, low, high, made, free, excess, costs, slack, *self._ascent.peaks(shell))
        tights = self._tightener.rows(leaves_)
        some = [k for k, tight in enumerate(tights) if tight is not None]
        if some:
            narrowed = [nodes[k] for k in some]
            self._narrowing.tighten(trees[some], narrowed, [t for t in tights if t is not None])
            self._respan(trees[some], narrowed)
        left = np.array([k for k, node in enumerate(nodes) if not self._prunes(trees[k], node.bound)], np.int64)
        if left.size:
            nodes = [nodes[k] for k in left]
            climbed = self._ascent.climb(
                self._lay(trees[left], nodes), phases[left], free.take(left), _STEPS, self._ceiling(trees[left])
            )
            self._found(trees[left], climbed)
            self._keep(trees[left], nodes, climbed, None, [0] * left.size)

    def _respan(self, trees: Ints, nodes: list[Node]) -> None:
        """What better bounds of neurons say of other things, at leaves."""

    def _halved(self, batch: list[Open]) -> list[Open]:
        """Halve the leaves that want it; the others."""
        if not batch:
            return batch
        trees, nodes = np.array([entry.tree for entry in batch], np.int64), [entry.node for entry in batch]
        wanted = self._halver.wanted(trees, nodes)
        if not wanted.any():
            return batch
        some = [entry for entry, wants in zip(batch, wanted, strict=True) if wants]
        trees, nodes, free = trees[wanted], [entry.node for entry in some], free_of(some)
        rows = [node.row for node in nodes]
        children = self._halver.halve(trees, nodes, self._lay(trees, nodes), free)
        for node in nodes:
            node.row = node.bounds = None
        np.add.at(self.nodes, self._owner[trees], 2)
        left = np.array([k for k, child in enumerate(children) if not child.held], np.int64)
        if left.size:
            parents, both = [nodes[k // 2] for k in left], np.repeat(trees, 2)[left]
            made = [children[k] for k in left]
            phases, shell = np.stack([child.phases for child in made]), self._lay(both, made)
            climbed = self._ascent.climb(shell, phases, free.take(left // 2), _STEPS, self._ceiling(both))
            self._found(both, climbed)
            self._keep(both, made, climbed, parents, [_AGE] * left.size)
            for j, k in enumerate(left.tolist()):
                if climbed.bound[j] < parents[j].bound and not children[k].held:
                    children[k].row = rows[k // 2]
        return [entry for entry, wants in zip(batch, wanted, strict=True) if not wants]

    def _branch(self, batch: list[Open]) -> None:
        """Bound both sides of every leaf."""
        phases = np.repeat(np.stack([entry.node.phases for entry in batch]), 2, axis=0)
        trees = np.repeat(np.array([entry.tree for entry in batch], np.int64), 2)
        shell = self._lay(trees, [entry.node for entry in batch for _ in range(2)])
        at, free = np.arange(len(batch)), free_of(batch)
        bound, splits = np.array([e.node.bound for e in batch], np.float32), np.stack([e.splits for e in batch])
        ceiling = self._ceiling(trees)
        split = self._ascent.chosen(shell[2 * at], phases[2 * at], free, splits, bound, ceiling[2 * at])
        phases[2 * at, split], phases[2 * at + 1, split] = 1, -1
        free = free.take(np.repeat(at, 2))
        climbed = self._ascent.climb(shell, phases, free, _STEPS, ceiling)
        np.add.at(self.nodes, self._owner[trees], 1)
        children, parents, rows = list[Node](), list[Node](), [entry.node.row for entry in batch]
        for j, entry in enumerate(batch):
            sides = []
            for side in (2 * j, 2 * j + 1):
                child = Node.unknown(phases.shape[1])
                child.phases, child.stale, child.bounds = phases[side].copy(), True, entry.node.bounds
                child.span, child.ends, child.part = entry.node.span, entry.node.ends, entry.node.part
                sides.append(child)
            entry.node.split, entry.node.sides = int(split[j]), (sides[0], sides[1])
            entry.node.row = entry.node.bounds = None
            children += sides
            parents += [entry.node, entry.node]
        self._bear(batch, trees, children, parents, climbed, rows)

    def _bear(
        self,
        batch: list[Open],
        trees: Ints,
        children: list[Node],
        parents: list[Node],
        climbed: Climbed,
        rows: list[Array | None],
    ) -> None:
        """Keep both sides ``[2 B]`` of leaves ``[B]`` that had ``rows``."""
        self._found(trees, climbed)
        self._keep(trees, children, climbed, parents, [entry.age + 1 for entry in batch for _ in range(2)])
        for k, child in enumerate(children):  # where a side came out below its parent, the parent's row holds of it too
            if climbed.bound[k] < parents[k].bound and not child.held:
                child.row = rows[k // 2]

    def _numbers(self, climbed: Climbed) -> Array:
        """The rows that nodes are proved by."""
        return np.concatenate(
            [climbed.margin[:, None], np.ones((len(climbed.margin), 1), np.float32), climbed.nu], axis=1
        )

    def _forks(self, trees: Ints, climbed: Climbed) -> list[Fork | None]:
        """Where leaves are to be cut, if not at a neuron."""
        return [None] * len(climbed.bound)

    def _keep(
        self, trees: Ints, nodes: list[Node], climbed: Climbed, parents: list[Node] | None, ages: list[int]
    ) -> None:
        """Write the rows of fresh leaves, close those that can be, and line up the rest; what overflowed counts as stuck."""
        rows, forks = self._numbers(climbed), self._forks(trees, climbed)
        held, entries = np.isfinite(rows).all(axis=1) & np.isfinite(climbed.bound), []  # by single precision
        for j, node in enumerate(nodes):
            bound = float(climbed.bound[j]) if held[j] else -math.inf
            if parents is None and node.row is not None and bound <= node.bound:
                bound = node.bound  # what its own row proves is better
            else:
                node.row, node.held = rows[j].astype(np.float64) if held[j] else None, False
                node.bound = bound if parents is None else max(bound, parents[j].bound, node.bound)
            free, splits = climbed.free, climbed.splits[j].copy() if held[j] else _NONE
            alpha, beta = free.alpha[j].astype(np.float16), free.beta[j].copy()
            entry = Open(int(trees[j]), node, splits, alpha, beta, free.price[j], ages[j])
            if free.bend is not None:
                entry = replace(entry, bend=free.bend[j], fork=forks[j] if held[j] else None)
                entry = entry if climbed.margins is None else replace(entry, margins=climbed.margins[j])
            entries.append(entry)
        closing = [self._prunes(entry.tree, entry.node.bound) for entry in entries]
        self._close([entry for entry, closes in zip(entries, closing, strict=True) if closes])
        for entry, closes in zip(entries, closing, strict=True):
            if not closes:
                self._line_up(entry)

    def _close(self, entries: list[Open]) -> None:
        """Hold leaves to their rows; those that fall short are lined up again."""
        self._hold([(entry.tree, entry.node) for entry in entries])
        for entry in entries:
            if not self._prunes(entry.tree, entry.node.bound):
                self._line_up(entry)

    def _line_up(self, entry: Open) -> None:
        if entry.splits[0] < 0 and entry.fork is None:
            self.stuck.append((entry.tree, entry.node))
            self._waiting[self._owner[entry.tree]] += 1
        else:
            short = entry.node.bound - self._start[self._owner[entry.tree]]
            heapq.heappush(self._heap, (float(short), next(self._ticket), entry))

    def left(self) -> list[tuple[int, Node]]:
        """What got stuck, handed over: where single precision sees no gain, the rows may still prove enough in double."""
        stuck, self.stuck = self.stuck, []
        self._waiting[:] = 0
        self._hold(stuck)
        return [(k, node) for k, node in stuck if not self._prunes(k, node.bound)]

    def _hold(self, found: list[tuple[int, Node]]) -> None:
        """Replace promises by what the rows prove."""
        fresh = [(k, node) for k, node in found if not node.held]
        if not fresh:
            return
        for first in range(0, len(fresh), _TOGETHER):
            begun, some = time.perf_counter(), fresh[first : first + _TOGETHER]
            nodes = [node for _, node in some]
            trees = np.array([k for k, _ in some], np.int64)
            for node, value in zip(nodes, self._prove(trees, nodes), strict=True):
                node.bound, node.held = float(value), True
            if len(some) >= _TELLING:
                self._told = self._told[0] + time.perf_counter() - begun, self._told[1] + len(some)

    def _found(self, trees: Ints, climbed: Climbed) -> None:
        """Look at the points of a climb."""
        np.minimum(self._goals.incumbent, self._look(trees, climbed.points), out=self._goals.incumbent)

    def _prunes(self, tree: int, bound: float) -> bool:
        return bound >= self._limit(tree)

    def _limit(self, tree: int) -> float:
        """The bound at which a leaf of a tree is closed."""
        question = self._owner[tree]
        return float(self._goals.incumbent[question] - self._tolerance[question])

    def _ceiling(self, trees: Ints) -> Array:
        """The same of trees ``[B]``."""
        question = self._owner[trees]
        return np.asarray(self._goals.incumbent[question] - self._tolerance[question])

    @property
    def late(self) -> bool:
        """Whether what is left of the time is needed to prove what is left of the leaves."""
        if not self._told[1] and len(self._heap) > 2 * _TELLING:
            self._hold([(entry.tree, entry.node) for _, _, entry in self._heap[:_TELLING]])
        each = self._told[0] / max(self._told[1], 1)
        waiting = len(self._heap) + len(self.stuck) + _BATCH
        return time.perf_counter() + _CAUTION * each * waiting > self._goals.deadline


def free_of(batch: list[Open]) -> Multipliers:
    """Where the ascents of leaves go on."""
    return Multipliers(
        np.stack([entry.alpha for entry in batch]).astype(np.float32),
        np.stack([entry.beta for entry in batch]),
        np.array([entry.price for entry in batch], np.float32),
        None if batch[0].bend is None else np.stack([entry.bend for entry in batch if entry.bend is not None]),
    )
