"""The bounds of neurons at the nodes of questions' trees: their shells', tightened by rows that are evaluated here, outward."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from contextlib import suppress
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
    """What is known of the neurons at nodes of trees, one a shell ``[S]``, each of one, ``owner [S]``, of the questions ``asked [Q]``.

    ``level [Q]`` is the value, of the maximisation, that bounds rest on; -inf: on none. The rows of a distance rest on errors
    alone and so on no level.
    """

    def __init__(self, backward: Backward, shells: Sequence[Shell], owner: Ints, asked: Asked) -> None:
        self._backward, self._shells, self._owner, self._asked = backward, shells, owner, asked
        self._flat, self._all = [shell.flat for shell in shells], Shells.stacked([shell.shells for shell in shells])
        self.level = np.full(asked.functional.shape[0], -math.inf)

    @property
    def shells(self) -> Shells:
        """The shells of all trees."""
        return self._all

    @property
    def power(self) -> int:
        """The power of the cost."""
        return self._asked.power

    def level_of(self, incumbent: Array) -> Array:
        """What values of the maximisation have to reach to count beside incumbents of the minimisation."""
        return np.zeros_like(incumbent) if self._asked.multiplier is None else -incumbent

    @staticmethod
    def ends(nodes: Sequence[Node]) -> Array | None:
        """The upper ends of a cross-entropy's margins at nodes, ``[B, J]``."""
        some = [node.ends for node in nodes if node.ends is not None]
        return np.stack(some) if some else None

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

    def places(self, trees: Sequence[int] | Ints, nodes: Sequence[Node] = ()) -> Shells:
        """The shells of trees, one a node, within its part (without nodes: whole)."""
        return within(self._all.take(np.asarray(trees, np.int64)), nodes)

    def tighten(self, trees: Ints, nodes: Sequence[Node], tights: Sequence[Tightening]) -> None:
        """Tighten the bounds at leaves; those that are left without a point are closed."""
        owner = self._owner[trees]
        each = self._asked.take(owner)
        ends = self.ends(nodes)
        if ends is not None:
            each = replace(each, ends=ends)
        where = Nodes(self.places(trees, nodes), self.split(trees, nodes), np.stack([node.phases for node in nodes]))
        found = tightened(self._backward, where, each, tights)
        low, high = (np.concatenate([pair[side] for pair in found], axis=1) for side in (0, 1))
        for k, (node, tight) in enumerate(zip(nodes, tights, strict=True)):
            self._rest_on(int(owner[k]), tight.level)
            node.tights += (tight,)
            node.bounds = np.stack([low[k], high[k]])
            if (low[k] > high[k]).any():
                node.bound, node.row, node.held = math.inf, None, True

    def renew(self, trees: Ints, above: Sequence[Node], nodes: Sequence[Node]) -> None:
        """Make the bounds at parts of other nodes' parts, by rule; those that are left without a point are closed."""
        phases, known = np.stack([node.phases for node in nodes]), self.split(trees, above)
        places = self.places(trees, nodes)
        found = self._backward.pre_activations(places, phases, known=known)
        low, high = (np.concatenate([pair[side] for pair in found], axis=1) for side in (0, 1))
        for k, node in enumerate(nodes):
            node.bounds = np.stack([low[k], high[k]])
            if (low[k] > high[k]).any():
                node.bound, node.row, node.held = math.inf, None, True
            elif self._asked.multiplier is None:
                node.bound = float(places.near[k])

    def take_over(
        self, found: Sequence[tuple[int, Node, Sequence[tuple[Node, Place]]]], incumbent: Array, deadline: float
    ) -> None:
        """The bounds at leaves of trees (number, root, leaves) whose rows come from elsewhere, as they hold beside incumbents ``[Q]``.

        What the deadline leaves no time for has its shell's bounds.
        """
        places = list[tuple[int, int, Place]]()
        for k, root, leaves in found:
            question = int(self._owner[k])
            level = float(self.level_of(incumbent)[question])
            self._rest_on(question, level)
            _rest(root, [place for _, place in leaves], level)
            places += [(k, question, place) for _, place in leaves]

        def waited() -> None:
            if time.perf_counter() > deadline:
                raise _LateError

        with suppress(_LateError):
            settle(self._backward, self._everything(), places, waited)
        for _, _, leaves in found:
            for node, place in leaves:
                node.bounds, node.part = place.bounds, place.box

    def _everything(self) -> Whole:
        """All shells."""
        sides = zip(*(shell.bounds for shell in self._shells), strict=True)
        bounds = [tuple(np.concatenate(side) for side in zip(*pairs, strict=True)) for pairs in sides]
        return Whole(self._all, [(low, high) for low, high in bounds], self._asked)

    def _rest_on(self, question: int, level: float) -> None:
        if self._asked.multiplier is not None:
            self.level[question] = max(self.level[question], level)


def within(shells: Shells, nodes: Sequence[Node]) -> Shells:
    """Shells, one a node, within its part."""
    some = [(k, node.part) for k, node in enumerate(nodes) if node.part is not None]
    if not some:
        return shells
    at, parts = [k for k, _ in some], np.stack([part for _, part in some])
    lower, upper = np.full(shells.up.shape, -np.inf), np.full(shells.up.shape, np.inf)
    lower[at], upper[at] = parts[:, 0], parts[:, 1]
    return shells.within(lower, upper)


def _rest(root: Node, places: Sequence[Place], level: float) -> None:
    """Put a level under the rows of a tree."""
    waiting = [root]
    while waiting:
        node = waiting.pop()
        node.tights = tuple(replace(tight, level=level) for tight in node.tights)
        waiting += node.sides or ()
    seen = set[int]()
    for place in places:
        at: Place | None = place
        while at is not None and id(at) not in seen:
            seen.add(id(at))
            at.tight = None if at.tight is None else replace(at.tight, level=level)
            at = at.above


def _blocks(both: Array, shell: Shell) -> HiddenBounds:
    """Bounds ``[B, 2, M]`` block by block."""
    edges = np.cumsum([0, *(low.shape[1] for low, _ in shell.bounds)])
    return [(both[:, 0, a:b], both[:, 1, a:b]) for a, b in pairwise(edges)]
