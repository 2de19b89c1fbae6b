"""What a run keeps of its proofs: per (sample, rival) the shells that screening closed and the trees of what was solved."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from wdaverify.certify.certificate import rounded
from wdaverify.certify.proof import OWN, Proof, Tree


@dataclass(eq=False)
class _Cover:
    """One item at one multiplier: edges of closed shells below and beyond what is left, and the best trees there.

    ``middle``: edges of the shells in what is left, as screening bounded them.
    """

    inner: list[float]
    middle: list[float]
    outer: list[float]
    trees: tuple[Tree, ...] = ()
    bound: float = math.inf


def _bare(edges: Sequence[float], neurons: int) -> list[Tree]:
    return [Tree.bare(near, far, neurons) for near, far in pairwise(edges)]


@dataclass(eq=False)
class MarginProofs:
    """The proofs of a margin run; ``item`` is the caller's index of a (sample, rival)."""

    neurons: int
    _covers: dict[int, dict[float, _Cover]] = field(default_factory=dict)
    _again: dict[tuple[int, float], _Cover] = field(default_factory=dict)
    """Screenings at a multiplier that has trees already: they take their place where their own trees prove more."""

    def screened(
        self, item: int, multiplier: float, inner: list[float], middle: list[float], outer: list[float]
    ) -> None:
        """Shells that bounds alone close, and those they leave."""
        known = self._covers.setdefault(item, {})
        if multiplier in known and known[multiplier].trees and outer:
            self._again[item, multiplier] = _Cover(inner, middle, outer)
        else:
            known[multiplier] = _Cover(inner, middle, outer)

    def answered(self, item: int, multiplier: float, bound: float, proof: Proof) -> None:
        """The trees of the shell that was left; of several answers the best is kept."""
        cover = self._covers[item][multiplier]
        if bound < cover.bound:
            cover = self._again.pop((item, multiplier), cover)
            trees = tuple(replace(t, vectors=rounded(t.vectors)) for t in proof.trees)
            cover.trees, cover.bound = trees, bound
            self._covers[item][multiplier] = cover

    def recalled(self, item: int, multiplier: float, bound: float, trees: tuple[Tree, ...]) -> None:
        """Trees of an earlier run that cover the whole reach; of several the best are kept."""
        known = self._covers.setdefault(item, {})
        if multiplier not in known or bound < known[multiplier].bound:
            known[multiplier] = _Cover([0.0], [], [], trees, bound)

    def whole(self, item: int, multiplier: float) -> tuple[Tree, ...]:
        """The trees from the sample to the whole reach; none where no question was answered."""
        cover = self._covers[item][multiplier]
        return self._trees(cover) if cover.trees else ()

    def of(
        self, item: int, sample: int, rival: int, multipliers: Sequence[float], reach: float, label: int = OWN
    ) -> list[Proof]:
        """The proofs made for any of the multipliers; what no proof was made for is bounded from 0 on, as without a cost."""
        known = self._covers.get(item, {})
        made = sorted({lam for lam in multipliers if lam in known})
        out = [Proof(sample, rival, lam, self._trees(known[lam]), label) for lam in made]
        if len(made) < len(set(multipliers)):
            out.append(Proof(sample, rival, 0.0, tuple(_bare((0.0, reach), self.neurons)), label))
        return out

    def _trees(self, cover: _Cover) -> tuple[Tree, ...]:
        between = cover.trees or _bare(cover.middle, self.neurons)
        return (*_bare(cover.inner, self.neurons), *between, *_bare(cover.outer, self.neurons))


@dataclass(eq=False)
class DistanceProofs:
    """The proofs of a zero-one run: a ball that bounds alone clear of errors, and the trees beyond it."""

    neurons: int
    ball: dict[int, float] = field(default_factory=dict)
    _trees: dict[int, tuple[float, tuple[Tree, ...]]] = field(default_factory=dict)

    def answered(self, item: int, bound: float, proof: Proof) -> None:
        """The trees of the shell beyond the ball; of several answers the best is kept."""
        if item not in self._trees or bound > self._trees[item][0]:
            trees = tuple(replace(t, vectors=rounded(t.vectors)) for t in proof.trees)
            self._trees[item] = bound, trees

    def screened(self, items: Sequence[int], low: Sequence[float]) -> None:
        """Balls that bounds alone clear; trees that are there already say where theirs ends."""
        for item, near in zip(items, low, strict=True):
            self.ball[item] = self._trees[item][1][0].near if item in self._trees else near

    def recalled(self, item: int, bound: float, trees: tuple[Tree, ...]) -> None:
        """Trees of an earlier run; of several the best are kept."""
        if item not in self._trees or bound > self._trees[item][0]:
            self._trees[item], self.ball[item] = (bound, trees), trees[0].near

    def whole(self, item: int) -> tuple[Tree, ...]:
        """The trees beyond the ball; none where no question was answered."""
        return self._trees[item][1] if item in self._trees else ()

    def of(self, item: int, sample: int, rival: int, reach: float) -> list[Proof]:
        """The proof of the item's distance, if anything is known of it."""
        if item not in self.ball:
            return []
        ball = min(self.ball[item], reach)
        beyond = self._trees[item][1] if item in self._trees else ()
        return [Proof(sample, rival, 0.0, (*_bare((0.0, ball), self.neurons), *beyond))]
