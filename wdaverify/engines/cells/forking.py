"""Trees of a cross-entropy while they grow: beside neurons, margins' intervals are cut, whichever costs a leaf's bound more."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from wdaverify.certify.entropy import on_grid
from wdaverify.encoding.milp import Ints
from wdaverify.engines.cells.ascent import Climbed
from wdaverify.engines.cells.entropies import HALF, SHARE, EntropyAscent
from wdaverify.engines.cells.growth import Growth, Open, free_of
from wdaverify.engines.cells.tree import Fork, Node
from wdaverify.network.model import Array

_SLIGHT = 0.1
"""A secant that costs no more than this share of the gap is no reason for a cut."""


_MOSTLY = 0.25
"""What secants cost of what a leaf with every phase fixed is short of, at least, for it to be cut and not solved."""
_LAST = 40
"""Steps of the ascent at leaves with every phase fixed."""
_ABOVE = 1.0
"""How far above the point's own margin what is cut off begins at least."""
_PRICE, _PEELING = 0.2, 6
"""Where the price of a margin that is to be cut off begins, and steps of the ascent there."""


class Forking(Growth):
    """Growth with cuts of margins; its nodes have intervals of their margins."""

    _tried: set[int]

    _ascent: EntropyAscent

    def __init__(self, *given: Any) -> None:
        self._tried = set()
        super().__init__(*given)

    spans: Callable[[Ints, list[Node]], Array]
    """Bounds of margins ``[B, 2, J]`` at nodes of trees ``[B]``."""

    def _respan(self, trees: Ints, nodes: list[Node]) -> None:
        left = np.flatnonzero([node.bound < math.inf for node in nodes])
        if not left.size:
            return
        for k, span in zip(left.tolist(), self.spans(trees[left], [nodes[k] for k in left]), strict=True):
            node = nodes[k]
            assert node.span is not None
            node.span = np.stack([np.fmax(node.span[0], span[0]), np.fmin(node.span[1], span[1])])
            if (node.span[0] > node.span[1]).any():
                node.bound, node.row, node.held = math.inf, None, True

    def _lay(self, trees: Ints, nodes: list[Node]) -> Ints:
        self._laid = super()._lay(trees, nodes)
        self._ascent.lay_spans(np.stack([node.span for node in nodes if node.span is not None]))
        return self._laid

    def _halved(self, batch: list[Open]) -> list[Open]:
        """No input is halved: intervals of margins do the same for less."""
        return batch

    def _branch(self, batch: list[Open]) -> None:
        batch = self._peel(batch)
        forked, plain = [e for e in batch if e.fork is not None], [e for e in batch if e.fork is None]
        if plain:
            super()._branch(plain)
        if forked:
            self._fork(forked)

    def _peel(self, batch: list[Open]) -> list[Open]:
        """Cut off where margins are too large for what a leaf has to beat; leaves that none can be cut off are handed back.

        The other side of such a cut closes at once, so that it costs no branching, and whatever grows below the leaf is spared it.
        """
        fresh = [entry for entry in batch if id(entry.node) not in self._tried]
        self._tried.update(id(entry.node) for entry in fresh)
        sides = [side for entry in fresh for side in self._sides_of(entry)]
        if not sides:
            return batch
        trees, nodes = np.array([entry.tree for entry, _, _ in sides], np.int64), [node for _, _, node in sides]
        free, ceiling = free_of([entry for entry, _, _ in sides]), self._ceiling(trees)
        assert free.bend is not None
        at = np.array([fork.at for _, fork, _ in sides])
        free.bend[np.arange(at.size), at] = np.maximum(free.bend[np.arange(at.size), at], _PRICE)
        laid = self._lay(trees, nodes)
        climbed = self._ascent.climb(laid, np.stack([node.phases for node in nodes]), free, _PEELING, ceiling)
        closes = np.flatnonzero((climbed.bound >= ceiling) & np.isfinite(climbed.nu).all(axis=1))
        rows = self._numbers(climbed)
        for k in closes.tolist():
            nodes[k].row, nodes[k].bound = rows[k].astype(np.float64), float(climbed.bound[k])
        self._hold([(int(trees[k]), nodes[k]) for k in closes.tolist()])
        cut = dict[int, Open]()
        for k in closes.tolist():
            entry, fork, node = sides[k]
            if self._prunes(entry.tree, node.bound):
                cut[id(entry)] = entry
                self._cut_off(entry, fork, node)
        if cut:
            self._again(list(cut.values()))
        return [entry for entry in batch if id(entry) not in cut]

    def _sides_of(self, entry: Open) -> list[tuple[Open, Fork, Node]]:
        """The sides of a leaf that may be cut off: margins above the point's own, and above where their secants would cost little."""
        node, out = entry.node, list[tuple[Open, Fork, Node]]()
        if node.span is None or entry.margins is None:
            return out
        short = max(self._limit(entry.tree) - node.bound, 1e-30)
        slight = math.log(SHARE * short / entry.margins.size)
        place = np.maximum(entry.margins + _ABOVE, slight)
        for j in np.flatnonzero(place < node.span[1] - HALF).tolist():
            side = Node.unknown(node.phases.size, None, node.span.copy())
            assert side.span is not None
            side.phases, side.stale, side.bounds = node.phases, True, node.bounds
            side.span[0, j] = max(place[j], node.span[0, j])
            if place[j] > node.span[0, j]:
                out.append((entry, Fork("margin", j, float(place[j]), float(place[j])), side))
        return out

    def _cut_off(self, entry: Open, fork: Fork, closed: Node) -> None:
        """Put what is left of a leaf in its place."""
        node = entry.node
        assert node.span is not None
        assert closed.span is not None
        closed.span = np.stack([np.maximum(node.span[0], closed.span[0]), node.span[1]])
        rest = Node.unknown(node.phases.size, None, node.span.copy())
        assert rest.span is not None
        rest.span[1, fork.at] = fork.low
        rest.phases, rest.stale, rest.bounds = node.phases.copy(), True, node.bounds
        rest.ends, closed.ends = _below(node.ends, fork), node.ends
        rest.bound, rest.row, rest.held = node.bound, node.row, node.held
        node.cut, node.sides, node.row, node.bounds = fork, (rest, closed), None, None
        entry.node = rest
        self._tried.add(id(rest))
        self.nodes[self._owner[entry.tree]] += 1

    def _again(self, batch: list[Open]) -> None:
        """Climb on at leaves of which something was cut off."""
        trees, nodes = np.array([entry.tree for entry in batch], np.int64), [entry.node for entry in batch]
        laid = self._lay(trees, nodes)
        phases = np.stack([node.phases for node in nodes])
        climbed = self._ascent.climb(laid, phases, free_of(batch), self.steps, self._ceiling(trees))
        self._found(trees, climbed)
        self._keep(trees, nodes, climbed, None, [entry.age for entry in batch])

    def _fork(self, batch: list[Open]) -> None:
        """Bound both sides of a cut of a margin, its lower side first."""
        trees = np.repeat(np.array([entry.tree for entry in batch], np.int64), 2)
        children, parents, rows = list[Node](), list[Node](), [entry.node.row for entry in batch]
        for entry in batch:
            node, fork, sides = entry.node, entry.fork, list[Node]()
            assert fork is not None
            assert node.span is not None
            for end in (1, 0):
                child = Node.unknown(node.phases.size, None, node.span.copy())
                assert child.span is not None
                child.phases, child.stale, child.bounds = node.phases.copy(), True, node.bounds
                child.span[end, fork.at] = fork.low
                child.ends = _below(node.ends, fork) if end else node.ends
                sides.append(child)
            node.cut, node.sides = fork, (sides[0], sides[1])
            node.row = node.bounds = None
            children += sides
            parents += [node, node]
        shell, free = self._lay(trees, children), free_of(batch).take(np.repeat(np.arange(len(batch)), 2))
        climbed = self._ascent.climb(
            shell, np.stack([c.phases for c in children]), free, self.steps, self._ceiling(trees)
        )
        np.add.at(self.nodes, self._owner[trees], 1)
        self._bear(batch, trees, children, parents, climbed, rows)

    def _keep(
        self, trees: Ints, nodes: list[Node], climbed: Climbed, parents: list[Node] | None, ages: list[int]
    ) -> None:
        """Leaves with every phase fixed climb on first: what is left there is theirs alone to find, and programs take longer."""
        ceiling = self._ceiling(trees)
        some = np.flatnonzero((climbed.splits[:, 0] < 0) & (climbed.bound < ceiling) & (climbed.bound > -np.inf))
        if some.size:
            phases = np.stack([nodes[k].phases for k in some.tolist()])
            free = climbed.free.take(some)
            again = self._ascent.climb(self._laid[some], phases, free, _LAST, ceiling[some])
            better = again.bound > climbed.bound[some]
            climbed.put(some[better], again.take(better))
        super()._keep(trees, nodes, climbed, parents, ages)

    def _numbers(self, climbed: Climbed) -> Array:
        assert climbed.free.bend is not None
        gamma, level = self._ascent.gammas(self._laid, climbed.free.bend)
        return np.concatenate([super()._numbers(climbed), on_grid(gamma.astype(np.float64)), level[:, None]], axis=1)

    def _forks(self, trees: Ints, climbed: Climbed) -> list[Fork | None]:
        """The margin whose secant costs most, where it costs more than the neuron whose chord does."""
        short = np.asarray(self._ceiling(trees) - climbed.bound, np.float32)
        at, place, worth, total = self._ascent.forked(self._laid, climbed, short)
        slight = _SLIGHT * self._tolerance[self._owner[trees]]
        assert climbed.worth is not None
        chosen = (at >= 0) & (worth >= climbed.worth) & (worth > slight)
        chosen &= (climbed.splits[:, 0] >= 0) | (total > _MOSTLY * short)  # else the ascent is what falls short
        return [
            Fork("margin", k, p, p) if some else None
            for k, p, some in zip(at.tolist(), place.tolist(), chosen.tolist(), strict=True)
        ]


def _below(ends: Array | None, fork: Fork) -> Array:
    """The upper ends on the lower side of a cut."""
    assert ends is not None
    out = ends.copy()
    out[fork.at] = min(out[fork.at], fork.low)
    return out
