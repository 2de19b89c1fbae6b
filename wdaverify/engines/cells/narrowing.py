"""The bounds of neurons at the nodes of one question's trees: their shells', tightened by rows that are evaluated here, outward."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from wdaverify.certify.backward import Backward, HiddenBounds, Shells
from wdaverify.certify.proof import Place, Tightening
from wdaverify.certify.tightened import Asked, Nodes, Whole, settle, tightened
from wdaverify.encoding.milp import Ints
from wdaverify.engines.cells.shells import Shell
from wdaverify.engines.cells.tree import Node
from wdaverify.network.model import Array


class _LateError(Exception):
    """No time is left."""


class Narrowing:
    """What is known of the neurons at nodes. ``level`` is the value, of the maximisation, that bounds rest on; -inf: on none.

    ``multiplier`` is None for a distance, whose rows rest on errors alone and so on no level.
    """

    def __init__(
        self, backward: Backward, shells: Sequence[Shell], functional: Array, multiplier: float | None, power: int
    ) -> None:
        self._backward, self._shells = backward, shells
        self._asked = Asked(functional[None], None if multiplier is None else np.array([multiplier]), power)
        self._flat = [shell.flat for shell in shells]
        self.level = -math.inf

    def level_of(self, incumbent: float) -> float:
        """What a value of the maximisation has to reach to count beside an incumbent of the minimisation."""
        return 0.0 if self._asked.multiplier is None else -incumbent

    def at(self, trees: Sequence[int] | Ints, nodes: Sequence[Node]) -> Array:
        """The bounds at nodes of the shells' trees, ``[B, 2, M]``."""
        pairs = zip(trees, nodes, strict=True)
        return np.stack([self._flat[k] if node.bounds is None else node.bounds for k, node in pairs])

    def split(self, trees: Sequence[int] | Ints, nodes: Sequence[Node]) -> HiddenBounds:
        """The same, block by block."""
        return _blocks(self.at(trees, nodes), self._shells[0])

    @staticmethod
    def on(shell: Shell, nodes: Sequence[Node]) -> HiddenBounds:
        """The bounds at nodes of one shell's tree, block by block."""
        flat = shell.flat
        return _blocks(np.stack([flat if node.bounds is None else node.bounds for node in nodes]), shell)

    def places(self, trees: Sequence[int] | Ints) -> Shells:
        """The shells of trees, one a node."""
        known, at = np.unique(np.asarray(trees), return_inverse=True)
        return Shells.stacked([self._shells[k].shells for k in known.tolist()]).take(at)

    def tighten(self, trees: Ints, nodes: Sequence[Node], tights: Sequence[Tightening]) -> None:
        """Tighten the bounds at leaves; those that are left without a point are closed."""
        asked = self._asked
        whole = np.zeros(len(nodes), np.int64)
        each = Asked(
            asked.functional[whole], None if asked.multiplier is None else asked.multiplier[whole], asked.power
        )
        where = Nodes(self.places(trees), self.split(trees, nodes), np.stack([node.phases for node in nodes]))
        found = tightened(self._backward, where, each, tights)
        low, high = (np.concatenate([pair[side] for pair in found], axis=1) for side in (0, 1))
        for k, (node, tight) in enumerate(zip(nodes, tights, strict=True)):
            self._rest_on(tight.level)
            node.tights += (tight,)
            node.bounds = np.stack([low[k], high[k]])
            if (low[k] > high[k]).any():
                node.bound, node.row, node.held = math.inf, None, True

    def take_over(
        self, k: int, root: Node, leaves: Sequence[tuple[Node, Place]], incumbent: float, deadline: float
    ) -> None:
        """The bounds at leaves of tree k whose rows come from elsewhere, as they hold beside an incumbent.

        What the deadline leaves no time for has its shell's bounds.
        """
        level = self.level_of(incumbent)
        self._rest_on(level)
        waiting = [root]
        while waiting:
            node = waiting.pop()
            node.tights = tuple(replace(tight, level=level) for tight in node.tights)
            waiting += node.sides or ()
        seen = set[int]()
        for _, place in leaves:
            at: Place | None = place
            while at is not None and id(at) not in seen:
                seen.add(id(at))
                at.tight = replace(at.tight, level=level)
                at = at.above

        def waited() -> None:
            if time.perf_counter() > deadline:
                raise _LateError

        shell = self._shells[k]
        try:
            some = [(0, 0, place) for _, place in leaves]
            settle(self._backward, Whole(shell.shells, shell.bounds, self._asked), some, waited)
        except _LateError:
            pass
        for node, place in leaves:
            node.bounds = place.bounds

    def _rest_on(self, level: float) -> None:
        if self._asked.multiplier is not None:
            self.level = max(self.level, level)


def _blocks(both: Array, shell: Shell) -> HiddenBounds:
    """Bounds ``[B, 2, M]`` block by block."""
    edges = np.cumsum([0, *(low.shape[1] for low, _ in shell.bounds)])
    return [(both[:, 0, a:b], both[:, 1, a:b]) for a, b in pairwise(edges)]
