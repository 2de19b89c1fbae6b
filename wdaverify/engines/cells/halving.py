"""Leaves of a growth that are halved at an input, where networks have few: on each half the bounds of neurons are made anew.

An input is chosen by what it has to do with the chords (``Ascent.reaching``), and its room is cut in the middle. The bounds are made by
rule, outward, within the part of the shell that cuts leave, on the sides of the leaf's phases, and are no worse than the leaf's own.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from wdaverify.certify.backward import Shells
from wdaverify.encoding.milp import Ints
from wdaverify.engines.cells.ascent import Ascent, Multipliers
from wdaverify.engines.cells.narrowing import Narrowing
from wdaverify.engines.cells.tree import Fork, Node
from wdaverify.network.model import Array

MOST_INPUTS = 20
"""Leaves with more inputs that move are not halved."""
_OPEN = 8.0
"""More open neurons than so many for each input that moves make a leaf one to be halved."""
_FLAT = 1e-30
_NARROWEST = 2.0**-30
"""Rooms narrower than this share of the widest one, or of the input, are not cut."""


class Halver:
    """Halves leaves of the trees of one growth."""

    def __init__(self, ascent: Ascent, narrowing: Narrowing) -> None:
        self._ascent, self._narrowing = ascent, narrowing
        moving = _Rooms.of(narrowing.shells).moving.sum(axis=1)
        self._few: NDArray[np.bool_] = (moving > 0) & (moving <= MOST_INPUTS)

    def wanted(self, trees: Ints, nodes: Sequence[Node]) -> NDArray[np.bool_]:
        """Which leaves are to be halved rather than branched at a neuron, ``[B]``."""
        few: NDArray[np.bool_] = self._few[trees]
        if not few.any():
            return few
        moving = _Rooms.of(self._narrowing.places(trees, nodes)).moving.sum(axis=1)
        both, phases = self._narrowing.at(trees, nodes), np.stack([node.phases for node in nodes])
        opened = ((both[:, 0] < 0) & (both[:, 1] > 0) & (phases == 0)).sum(axis=1)
        return np.asarray(few & (moving > 0) & (opened > _OPEN * moving))

    def halve(self, trees: Ints, nodes: Sequence[Node], numbers: Ints, free: Multipliers) -> list[Node]:
        """Both halves of each leaf that is wanted, the lower one first; ``numbers`` are the ascent's. One without a point is closed."""
        rooms, phases = _Rooms.of(self._narrowing.places(trees, nodes)), np.stack([node.phases for node in nodes])
        found = self._ascent.reaching(numbers, phases, free, rooms.middle, rooms.half).astype(np.float64)
        worth = (
            np.where(np.isfinite(found), found, 0.0) + _FLAT * rooms.half
        )  # where no chord costs anything, the widest
        at = np.where(rooms.moving, worth, -1.0).argmax(axis=1)
        value, halves = rooms.middle[np.arange(at.size), at], list[Node]()
        for k, node in enumerate(nodes):
            node.cut = Fork("half", int(at[k]), float(value[k]), float(value[k]))
            sides = []
            for upper in (1, 0):
                half = Node.unknown(phases.shape[1])
                part = _everywhere(rooms.middle.shape[1]) if node.part is None else node.part.copy()
                part[upper, at[k]] = value[k]
                half.phases, half.part, half.stale = node.phases.copy(), part, True
                sides.append(half)
            node.sides = sides[0], sides[1]
            halves += sides
        self._narrowing.renew(np.repeat(trees, 2), [node for node in nodes for _ in range(2)], halves)
        return halves


class _Rooms:
    """How far the inputs of parts of shells move: ``middle, half [B, n]``, and which of them enough to be cut."""

    def __init__(self, middle: Array, half: Array, moving: NDArray[np.bool_]) -> None:
        self.middle, self.half, self.moving = middle, half, moving

    @classmethod
    def of(cls, shells: Shells) -> _Rooms:
        middle, half = shells.centre + 0.5 * (shells.up - shells.down), 0.5 * np.maximum(shells.up + shells.down, 0.0)
        least = _NARROWEST * np.maximum(half.max(axis=1, keepdims=True, initial=0.0), np.abs(middle))
        inside = (shells.centre - shells.down < middle) & (middle < shells.centre + shells.up)
        return cls(middle, half, (half > least) & inside)


def _everywhere(inputs: int) -> Array:
    """All of a space of so many inputs, ``[2, n]``."""
    return np.stack([np.full(inputs, -np.inf), np.full(inputs, np.inf)])
