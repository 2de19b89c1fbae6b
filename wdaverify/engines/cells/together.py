"""Questions of the cell engine answered together: their shells are bounded, known trees taken over and new ones grown in common batches.

One alone is the special case. Each keeps its own incumbent, room, linear programs and answer; what is shared is the time.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from wdaverify.certify.backward import HiddenBounds, Shells
from wdaverify.certify.proof import Place, Tree
from wdaverify.certify.tightened import Asked
from wdaverify.encoding.milp import Ints
from wdaverify.engines.base import Answer
from wdaverify.engines.cells.ascent import Ascent
from wdaverify.engines.cells.entropies import EntropyAscent
from wdaverify.engines.cells.forking import Forking
from wdaverify.engines.cells.growth import Goals, Growth, Look
from wdaverify.engines.cells.hunt import Hunt, margins_within, spans_of
from wdaverify.engines.cells.ledger import leaves, prove, root_of, spelled_out
from wdaverify.engines.cells.narrowing import Narrowing
from wdaverify.engines.cells.peaks import Floats, peaks_of
from wdaverify.engines.cells.search import Search
from wdaverify.engines.cells.shells import Shell
from wdaverify.engines.cells.tightening import Tightener
from wdaverify.engines.cells.tree import Node
from wdaverify.errors import SolverError
from wdaverify.network.model import Array

_Edges = tuple[Array, Array, dict[int, Tree]]
"""Near and far of the shells of a question, and the trees that are known of some, by number."""


class Together:
    """Questions ``[Q]`` about one graph, all distances or none, of one cost and power; several only where each is growable."""

    def __init__(self, hunts: Sequence[Hunt]) -> None:
        self._begun, self._hunts, first = time.perf_counter(), tuple(hunts), hunts[0]
        self._backward, self._single, self._grown = first.backward, first.single, first.growable
        self._deadline = max(hunt.deadline for hunt in hunts)
        self._centre = np.stack([hunt.question.region.centre for hunt in hunts])
        multiplier = None if first.multiplier is None else np.array([hunt.multiplier for hunt in hunts], np.float64)
        lead = [hunt.asked.lead for hunt in hunts if hunt.asked.lead is not None]
        functional = np.stack(lead or [hunt.functional for hunt in hunts])
        self._asked = Asked(functional, multiplier, first.power)
        margins = [hunt.asked.margins for hunt in hunts if hunt.asked.margins is not None]
        self._entropy = (np.stack(lead), np.stack(margins)) if lead else None

    def answers(self) -> list[Answer]:
        """Search; where large trees are known and that does not end soon, go on from them.

        Raises:
            SolverError: one of the questions cannot be put to an LP.
        """
        with np.errstate(all="ignore"):  # what overflows steers nowhere; what is proven looks after itself
            searches = self._searches()
            seconds = (time.perf_counter() - self._begun) / len(self._hunts)
            return [hunt.answer(search, seconds) for hunt, search in zip(self._hunts, searches, strict=True)]

    def _searches(self) -> list[Search]:
        alone = [hunt.few >= 1 for hunt in self._hunts]
        known = [() if own else hunt.effort.known for hunt, own in zip(self._hunts, alone, strict=True)]
        rooms = [min(hunt.few, hunt.room) if own else hunt.room for hunt, own in zip(self._hunts, alone, strict=True)]
        out = self.search(known, rooms, [None] * len(self._hunts))
        again = [q for q, own in enumerate(alone) if own and not (out[q].finished or self._late)]
        if again:
            rest = [self._hunts[q] for q in again]
            taken = [hunt.effort.known for hunt in rest]
            found = Together(rest).search(taken, [hunt.room for hunt in rest], [out[q] for q in again])
            for q, search in zip(again, found, strict=True):
                out[q] = search
        return out

    @property
    def _late(self) -> bool:
        """Whether the time is over."""
        return time.perf_counter() > self._deadline

    def search(
        self, known: Sequence[Sequence[Tree]], rooms: Sequence[float], before: Sequence[Search | None]
    ) -> list[Search]:
        """Search until closed, out of time or room; every leaf is held to its row, and what falls short is searched on.

        Raises:
            SolverError: one of the questions cannot be put to an LP.
        """
        pairs = list(zip(self._hunts, known, strict=True))
        edges = [hunt.cutter.edges(trees, hunt.shells_wanted) for hunt, trees in pairs]
        self.lay_out(edges)
        rows = zip(self._hunts, rooms, before, strict=True)
        searches = [hunt.search(room, earlier, self._deadline) for hunt, room, earlier in rows]
        self._take_over([trees for _, _, trees in edges], searches)
        if self._grown:
            self._grow(searches, np.asarray(rooms, np.float64))
        else:
            for search in searches:
                for k, root in search.roots.items():
                    for node in leaves(root):
                        search.keep(k, node)
                search.run()
        for q, (hunt, search) in enumerate(zip(self._hunts, searches, strict=True)):
            hunt.level = float(self.narrowing.level[q])
            hunt.conclude(search, self._deadline)
        return searches

    def lay_out(self, edges: Sequence[_Edges]) -> None:
        """Make the shells, bounded in one batch."""
        counts = np.array([near.size for near, _, _ in edges])
        self.owner = owner = np.repeat(np.arange(counts.size), counts)
        self._first = np.cumsum(counts) - counts
        regions = [hunt.question.region for hunt in self._hunts]
        near, far = (np.concatenate([some[side] for some in edges]) for side in (0, 1))
        lower, upper = (np.stack([getattr(r, side) for r in regions])[owner] for side in ("lower", "upper"))
        self._shells = Shells.around(regions[0].cost, self._centre[owner], lower, upper, near, far)
        bounds = self._hunts[0].cutter.known(near, far) if len(self._hunts) == 1 else None
        if bounds is None:
            bounds = self._backward.pre_activations(self._shells)
        self._spans: Array | None = None
        if self._entropy is not None:
            self._spans = spans_of(self._backward, self._entropy[1][owner], self._shells, bounds)
        shells = [self._shell(k, bounds) for k in range(owner.size)]
        for hunt, begin, count in zip(self._hunts, self._first.tolist(), counts.tolist(), strict=True):
            hunt.shells = shells[begin : begin + count]
        self._bounds = bounds
        self.narrowing = Narrowing(self._backward, shells, owner, self._asked)

    def _shell(self, k: int, bounds: HiddenBounds) -> Shell:
        at = slice(k, k + 1)
        span = None if self._spans is None else self._spans[k]
        return Shell(self._shells.take(at), [(low[at], high[at]) for low, high in bounds], span)

    def _span(self, number: int) -> Array | None:
        """Bounds of the margins of a cross-entropy on a shell."""
        return None if self._spans is None else self._spans[number].copy()

    def _spans_at(self, trees: Ints, nodes: list[Node]) -> Array:
        """The same at nodes of trees ``[B]``, ``[B, 2, J]``, from the bounds of neurons there."""
        assert self._entropy is not None
        margins, places = self._entropy[1][self.owner[trees]], self.narrowing.places(trees)
        top = margins_within(self._backward, margins, places, self.narrowing.split(trees, nodes))
        count = margins.shape[1]
        return np.stack([-top[:, count:], top[:, :count]], axis=1)

    def _take_over(self, known: Sequence[dict[int, Tree]], searches: Sequence[Search]) -> None:
        """Hold the leaves of known trees to these questions."""
        roots, found = list[tuple[int, Node]](), list[tuple[int, Node, list[tuple[Node, Place]]]]()
        for q, trees in enumerate(known):
            for k, tree in trees.items():
                root, tightened = root_of(tree, self._backward.neurons)
                searches[q].take_over(k, root)
                number = int(self._first[q]) + k
                roots.append((number, root))
                if tightened:
                    found.append((number, root, tightened))
        incumbent = np.array([search.incumbent for search in searches])
        self.narrowing.take_over(found, incumbent, self._deadline)
        nodes = [(number, node) for number, root in roots for node in leaves(root)]
        if nodes:
            trees_of = np.array([number for number, _ in nodes], np.int64)
            some = [node for _, node in nodes]
            for node, value in zip(some, self.prove(trees_of, some), strict=True):
                node.bound, node.held = float(value), True

    def prove(self, trees: Ints, nodes: list[Node]) -> Array:
        """What nodes of trees ``[L]`` prove, ``[L]``."""
        owner, claim = self.owner[trees], self._hunts[0].claim
        if len(self._hunts) > 1:
            multiplier = self._asked.multiplier
            each = np.ones(owner.size) if multiplier is None else multiplier[owner]
            claim = replace(claim, functional=self._asked.functional[owner], multiplier=each)
            if self._entropy is not None:
                claim = replace(claim, lead=self._entropy[0][owner], margins=self._entropy[1][owner])
        shells, bounds = self.narrowing.places(trees, nodes), self.narrowing.split(trees, nodes)
        return prove(self._backward, claim, shells, bounds, nodes)

    def _grow(self, searches: Sequence[Search], rooms: Array) -> None:
        """Grow the trees of all shells; what gets stuck is left to the linear programs."""
        roots = dict[int, Node]()
        for q, search in enumerate(searches):
            for k in search.order:
                if k not in search.roots:
                    root = Node.unknown(self._backward.neurons, None, self._span(int(self._first[q]) + k))
                    root.stale = True
                    root.ends = None if root.span is None else root.span[1].copy()
                    if (
                        root.span is not None and (root.span[0] > root.span[1]).any()
                    ):  # its class is nowhere the largest
                        root.bound, root.held = math.inf, True
                    search.take_over(k, root)
                roots[int(self._first[q]) + k] = search.roots[k]
        tolerance = np.array([hunt.effort.gap for hunt in self._hunts])
        goals = Goals(np.array([search.incumbent for search in searches]), tolerance, rooms, self._deadline)
        ascent, tightener = self.steering()
        narrowing = self.narrowing, tightener
        growth = (Growth if self._spans is None else Forking)(
            ascent, narrowing, roots, self.owner, self.prove, self._look(searches), goals
        )
        if isinstance(growth, Forking):
            growth.spans = self._spans_at
        charged, finished = np.zeros_like(growth.nodes), np.zeros(len(searches), np.bool_)
        while True:
            growth.run()
            if growth.late and (growth.open or growth.stuck):
                break
            stuck = [list[tuple[int, Node]]() for _ in searches]
            for number, node in growth.left():
                stuck[int(self.owner[number])].append((number - int(self._first[self.owner[number]]), node))
            for q, (hunt, search, some) in enumerate(zip(self._hunts, searches, stuck, strict=True)):
                for k, root in search.roots.items():
                    search.take_over(k, root)  # what has grown is no whole shell any more, to be cut in two
                for k, node in some:
                    search.keep(k, spelled_out(node, hunt.shells[k].flat))
                search.charge(int(growth.nodes[q] - charged[q]))
                if some or not finished[q]:
                    search.run()
                    finished[q] = search.finished
                goals.incumbent[q] = search.incumbent
            charged = growth.nodes.copy()
            if not growth.more:
                break
        growth.settle()
        left, full = {int(self.owner[number]) for number, _ in growth.open + growth.stuck}, growth.full
        for q, search in enumerate(searches):
            search.nodes += int(growth.nodes[q])
            search.finished = bool(finished[q]) and q not in left
            search.full = search.full or bool(full[q])

    def _look(self, searches: Sequence[Search]) -> Look:
        """Values displacements near solutions of relaxations; the incumbents afterwards."""

        def look(trees: Ints, displacements: Floats) -> Array:
            owner = self.owner[trees]
            moved = displacements.astype(np.float64)
            for q in np.unique(owner).tolist():
                asked, search = self._hunts[q].asked, searches[q]
                likeliest = asked.likeliest(moved[owner == q])
                value = asked.value(likeliest)
                if value < search.incumbent:
                    search.incumbent, search.best = value, likeliest
            return np.array([search.incumbent for search in searches])

        return look

    def steering(self) -> tuple[Ascent, Tightener]:
        """The shells' duals, of the questions and of neurons."""
        peaks, asked, owner = peaks_of(self._shells, self._asked.power), self._asked, self.owner
        functional, centre = asked.functional[owner], self._centre[owner]
        multiplier = None if asked.multiplier is None else asked.multiplier[owner]
        tightener = Tightener(self._single, functional, centre, multiplier, asked.power)
        none = np.zeros((owner.size, 0))
        low, high = (np.concatenate([none, *(pair[side] for pair in self._bounds)], axis=1) for side in (0, 1))
        if self._spans is not None and self._entropy is not None:
            assert multiplier is not None
            lead, margins = self._entropy[0][owner], self._entropy[1][owner]
            made = EntropyAscent(self._single, (lead, margins), centre, (low, high), peaks, multiplier, self._spans)
            return made, tightener
        return Ascent(self._single, functional, centre, (low, high), peaks, multiplier), tightener


def answered(hunts: Sequence[Hunt]) -> list[Answer]:
    """Answers to questions, together where that can be done."""
    try:
        return Together(hunts).answers()
    except SolverError as error:
        if len(hunts) == 1:
            return [hunts[0].nothing(str(error))]
        return [answered([hunt])[0] for hunt in hunts]
