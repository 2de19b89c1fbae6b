"""Trees over phases grown many nodes at a time, each bounded by ascent: fast and a little loose where linear programs are slow and tight.

Best bound first within the shell that is worst. A leaf that closes is held to its row at once; what is left over, leaves with
every phase fixed and those that time did not reach, is for the linear programs.
"""

from __future__ import annotations

import heapq
import itertools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from wdaverify.engines.cells.ascent import Ascent, Climbed, Multipliers
from wdaverify.engines.cells.ledger import leaves
from wdaverify.engines.cells.tree import Node
from wdaverify.network.model import Array

Prove = Callable[[int, list[Node]], Array]
"""What the rows of nodes of a tree prove of the minimisation, ``[L]``."""

_BATCH = 256
"""Children that are bounded together."""
_ROOT_STEPS, _STEPS = 40, 12
"""Steps of the ascent at a root, and at a child, which begins where its parent ended."""
_STUCK = 32
"""Leaves with every phase fixed after which growing pauses, so that their programs may find better points."""
_CAUTION = 1.5
"""How much longer than those before proving the leaves that are left may take."""


@dataclass(frozen=True, eq=False)
class _Open:
    """A leaf to be branched at neuron ``split``, and where its ascent goes on; half precision is enough to begin from."""

    tree: int
    node: Node
    split: int
    alpha: Array
    beta: Array
    price: np.float32


class Growth:
    """The trees of one question's shells while they grow."""

    def __init__(
        self,
        ascents: Sequence[Ascent],
        roots: dict[int, Node],
        prove: Prove,
        look: Callable[[Array], float],
        limits: tuple[float, float, float],
        room: float,
    ) -> None:
        """``roots`` of every shell; ``look`` values displacements and returns the incumbent; ``limits``: incumbent, tolerance, deadline."""
        self._ascents, self._roots, self._prove, self._look = list(ascents), roots, prove, look
        self.incumbent, self._tolerance, self._deadline = limits
        self._room, self.nodes = room, 0
        self.stuck: list[tuple[int, Node]] = []
        self._heaps: list[list[tuple[float, int, _Open]]] = [[] for _ in ascents]
        self._ticket = itertools.count()
        self._proving, self._proven = 0.0, 0
        for k, root in roots.items():
            self._begin(k, [leaf for leaf in leaves(root) if not self._prunes(leaf.bound)])

    @property
    def open(self) -> list[tuple[int, Node]]:
        """The leaves that are still to be branched."""
        return [(k, entry[2].node) for k, heap in enumerate(self._heaps) for entry in heap]

    @property
    def full(self) -> bool:
        """Whether no further nodes may be kept."""
        return self.nodes >= self._room

    def run(self) -> None:
        """Grow until nothing is left to branch, too much is stuck, or time or room is out."""
        while not self.full and not self._late() and len(self.stuck) < _STUCK:
            k = min(range(len(self._heaps)), key=lambda k: self._heaps[k][0][0] if self._heaps[k] else math.inf)
            batch = self._draw(k)
            if batch:
                self._branch(k, batch)
            elif not any(self._heaps):
                return

    def settle(self) -> None:
        """Hold the leaves that are left to their rows."""
        for k, heap in enumerate(self._heaps):
            self._hold(k, [entry[2].node for entry in heap])

    def _begin(self, k: int, nodes: list[Node]) -> None:
        """Take up leaves of a tree that fall short: from their rows where they have any, else from nothing."""
        for first in range(0, len(nodes), _BATCH):
            some = nodes[first : first + _BATCH]
            ascent, phases = self._ascents[k], np.stack([node.phases for node in some])
            free, steps = ascent.fresh(len(some)), _ROOT_STEPS
            written = np.array([node.row is not None and node.row[0] > 0 and node.row[1] > 0 for node in some])
            if written.any():
                rows = np.array([node.row for node, has in zip(some, written, strict=True) if has])
                at, steps = np.flatnonzero(written), _STEPS if written.all() else _ROOT_STEPS
                margin = rows[:, 0] / rows[:, 1]
                free.put(at, ascent.recovered(phases[at], rows[:, 2 : 2 + phases.shape[1]] / rows[:, 1:2], margin))
            self._keep(k, some, ascent.climb(phases, free, steps, self._ceiling()), parents=None)

    def _draw(self, k: int) -> list[_Open]:
        """The leaves of a shell whose children make up a batch."""
        heap, batch = self._heaps[k], list[_Open]()
        while heap and len(batch) < _BATCH // 2:
            bound, _, entry = heapq.heappop(heap)
            if not self._prunes(bound):
                batch.append(entry)
            else:  # it closes since the incumbent is better
                self._close(k, [entry])
        return batch

    def _branch(self, k: int, batch: list[_Open]) -> None:
        """Bound both sides of every leaf."""
        phases = np.repeat(np.stack([entry.node.phases for entry in batch]), 2, axis=0)
        at, split = np.arange(len(batch)), np.array([entry.split for entry in batch])
        phases[2 * at, split], phases[2 * at + 1, split] = 1, -1
        free = Multipliers(
            np.repeat(np.stack([entry.alpha for entry in batch]), 2, axis=0).astype(np.float32),
            np.repeat(np.stack([entry.beta for entry in batch]), 2, axis=0).astype(np.float32),
            np.repeat(np.array([entry.price for entry in batch], np.float32), 2),
        )
        climbed = self._ascents[k].climb(phases, free, _STEPS, self._ceiling())
        self.nodes += phases.shape[0]
        children, parents = list[Node](), list[Node]()
        for j, entry in enumerate(batch):
            sides = []
            for side in (2 * j, 2 * j + 1):
                child = Node.unknown(phases.shape[1])
                child.phases, child.stale = phases[side].copy(), True
                sides.append(child)
            entry.node.split, entry.node.sides, entry.node.row = entry.split, (sides[0], sides[1]), None
            children += sides
            parents += [entry.node, entry.node]
        self.incumbent = min(self.incumbent, self._look(climbed.points))
        self._keep(k, children, climbed, parents)

    def _keep(self, k: int, nodes: list[Node], climbed: Climbed, parents: list[Node] | None) -> None:
        """Write the rows of fresh leaves, close those that can be, and line up the rest."""
        rows = np.concatenate([climbed.margin[:, None], np.ones((len(nodes), 1), np.float32), climbed.nu], axis=1)
        entries = []
        for j, node in enumerate(nodes):
            bound = float(climbed.bound[j])
            if parents is None and node.row is not None and bound <= node.bound:
                bound = node.bound  # what its own row proves is better
            else:
                node.row, node.held = rows[j].astype(np.float64), False
                node.bound = bound if parents is None else max(bound, parents[j].bound)
            free = climbed.free
            alpha, beta = free.alpha[j].astype(np.float16), free.beta[j].copy()
            entries.append(_Open(k, node, int(climbed.split[j]), alpha, beta, free.price[j]))
        self._close(k, [entry for entry in entries if self._prunes(entry.node.bound)])
        for entry in entries:
            if not self._prunes(entry.node.bound):
                self._line_up(entry)

    def _close(self, k: int, entries: list[_Open]) -> None:
        """Hold leaves to their rows; those that fall short are lined up again."""
        self._hold(k, [entry.node for entry in entries])
        for entry in entries:
            if not self._prunes(entry.node.bound):
                self._line_up(entry)

    def _line_up(self, entry: _Open) -> None:
        if entry.split < 0:
            self.stuck.append((entry.tree, entry.node))
        else:
            heapq.heappush(self._heaps[entry.tree], (entry.node.bound, next(self._ticket), entry))

    def _hold(self, k: int, nodes: list[Node]) -> None:
        """Replace promises by what the rows prove."""
        fresh = [node for node in nodes if not node.held]
        if not fresh:
            return
        begun = time.perf_counter()
        for node, value in zip(fresh, self._prove(k, fresh), strict=True):
            node.bound, node.held = float(value), True
        self._proving += time.perf_counter() - begun
        self._proven += len(fresh)

    def _prunes(self, bound: float) -> bool:
        return bound >= self.incumbent - self._tolerance

    def _ceiling(self) -> float:
        return self.incumbent - self._tolerance

    def _late(self) -> bool:
        """Whether what is left of the time is needed to prove what is left of the leaves."""
        each = self._proving / self._proven if self._proven else 0.0
        waiting = sum(len(heap) for heap in self._heaps) + len(self.stuck) + _BATCH
        return time.perf_counter() + _CAUTION * each * waiting > self._deadline
