"""Trees that were grown, kept for whoever is asked next: the same item with more time or at another multiplier, or another sample.

The leaves of a tree are bounds of one label and rival over the whole network, whatever the sample and the multiplier; far from
the samples most of them still close. What a taken-over leaf proves is computed anew, so a tree from elsewhere may cost time and
is never wrong.
"""

from __future__ import annotations

from collections.abc import Hashable

from wdaverify.certify.proof import Proof, Tree

_ROOM = 2.0**28
"""Bytes that all of them may take."""
_SHARE = 0.5
"""Trees that would take more than this share of it are not kept."""
_LARGER = 1.5
"""A group's trees give way to those that have so many times their rows: trees grown from them are a little larger each time."""


class Trees:
    """The last trees of each item, and those of each group (label and rival); beyond the room the oldest are let go."""

    def __init__(self, room: float = _ROOM) -> None:
        self._room, self._taken = room, 0
        self._kept: dict[Hashable, tuple[Tree, ...]] = {}

    def keep(self, item: int, group: tuple[int, int] | None, proof: Proof | None) -> None:
        """Take up the trees of an answer; without a group for the item alone."""
        if proof is None:
            return
        self._put(item, proof.trees)
        if group is not None and _rows(proof.trees) >= _LARGER * _rows(self._kept.get(group, ())):
            self._put(group, proof.trees)

    def of(self, item: int, group: tuple[int, int] | None) -> tuple[Tree, ...]:
        """The trees of an item, else of its group, else none."""
        return self._kept.get(item) or (() if group is None else self._kept.get(group, ()))

    def _put(self, key: Hashable, trees: tuple[Tree, ...]) -> None:
        self._taken -= _bytes(self._kept.pop(key, ()))
        if _bytes(trees) > _SHARE * self._room:
            return
        self._kept[key] = trees
        self._taken += _bytes(trees)
        while self._taken > self._room:
            self._taken -= _bytes(self._kept.pop(next(iter(self._kept))))


def _rows(trees: tuple[Tree, ...]) -> int:
    return sum(tree.vectors.shape[0] for tree in trees)


def _bytes(trees: tuple[Tree, ...]) -> int:
    return sum(tree.nbytes for tree in trees)
