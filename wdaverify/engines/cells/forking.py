"""Trees of a cross-entropy while they grow: beside neurons, margins' intervals are cut, whichever costs a leaf's bound more."""

from __future__ import annotations

import numpy as np

from wdaverify.certify.entropy import on_grid
from wdaverify.encoding.milp import Ints
from wdaverify.engines.cells.ascent import Climbed
from wdaverify.engines.cells.entropies import EntropyAscent
from wdaverify.engines.cells.growth import Growth, Open, free_of
from wdaverify.engines.cells.tree import Fork, Node
from wdaverify.network.model import Array


_SLIGHT = 0.1
"""A secant that costs no more than this share of the gap is no reason for a cut."""


class Forking(Growth):
    """Growth with cuts of margins; its nodes have intervals of their margins."""

    tightens = False
    _ascent: EntropyAscent

    def _lay(self, trees: Ints, nodes: list[Node]) -> Ints:
        self._laid = super()._lay(trees, nodes)
        self._ascent.lay_spans(np.stack([node.span for node in nodes if node.span is not None]))
        return self._laid

    def _branch(self, batch: list[Open]) -> None:
        forked, plain = [e for e in batch if e.fork is not None], [e for e in batch if e.fork is None]
        if plain:
            super()._branch(plain)
        if forked:
            self._fork(forked)

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

    def _numbers(self, climbed: Climbed) -> Array:
        assert climbed.free.bend is not None
        gamma, level = self._ascent.gammas(self._laid, climbed.free.bend)
        return np.concatenate([super()._numbers(climbed), on_grid(gamma.astype(np.float64)), level[:, None]], axis=1)

    def _forks(self, trees: Ints, climbed: Climbed) -> list[Fork | None]:
        """The margin whose secant costs most, where it costs more than the neuron whose chord does."""
        short = np.asarray(self._ceiling(trees) - climbed.bound, np.float32)
        at, place, worth = self._ascent.forked(self._laid, climbed, short)
        slight = _SLIGHT * self._tolerance[self._owner[trees]]
        chosen = (at >= 0) & (worth >= climbed.worth) & (worth > slight)
        return [
            Fork("margin", k, p, p) if some else None
            for k, p, some in zip(at.tolist(), place.tolist(), chosen.tolist(), strict=True)
        ]
