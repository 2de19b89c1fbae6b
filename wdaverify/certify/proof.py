"""What a proof of an upper bound is: shells of the distance, in each a tree over phases, at its leaves linear bounds.

A proof speaks of one sample i and one piece of its loss (``wdaverify.pieces``). Its shells ``near <= ||x - x_i|| <= far`` lie end to
end from 0. A tree is written in preorder, so that its leaves cover every phase combination by construction:

    k >= 0   neuron k (counted through all hidden layers) is split: next its active side (z >= 0), then its dead side (z <= 0)
    BARE     a leaf that bounds alone close: coefficients are chosen by rule
    WRITTEN  a leaf with the next row of ``vectors``: margin, cost, nu_1 ... nu_M, and what else the question has (``leaf_row``)
    TIGHTENED  the next of ``tights`` tightens the bounds of neurons in what follows, which is one node with all below it
    FORKED   the next of ``forks`` cuts an integer feature or a margin of a cross-entropy: next its lower side, then its upper one
    HALVED   the next of ``forks`` cuts any feature, neuron or the distance, both sides closed, and the bounds of neurons are made anew
    NARROWED  likewise, but each side is narrowed by the next two rows of ``vectors`` instead (``certify.cutoff``)

Places of forks of the last two are counted through the features, then the neurons, then the distance. The first of two rows that narrow
has the level that it rests on in the place of the margin: of distances a distance, beyond which nothing is looked at. In the second
the numbers of neurons say which of them are narrowed by the level.

A written leaf claims nothing; what it proves is computed from its row (``certify.backward``): an upper bound B of

    margin * c . z - cost * lam * ||x - x_i||^p       on the leaf, whatever the numbers nu are; c . z is z_j - z_y for a rival j.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from wdaverify.certify.leaf_row import Layout
from wdaverify.network.model import Array

BARE, WRITTEN, TIGHTENED, FORKED, HALVED, NARROWED = -1, -2, -3, -4, -5, -6
OWN = -1
"""Stands for a sample's own label."""
_PIECE = 2**14
"""Nodes that are taken up at a time."""
_WHOLE = 2.0**52
"""Doubles beyond skip whole numbers, or are about to."""
Phases = NDArray[np.int8]
"""Per neuron 0 (open), 1 (active, z >= 0) or -1 (dead, z <= 0)."""


Cut = tuple[int, bool, float]
"""What a side of a fork adds: feature k (or margin j as -1 - j, or more), whether the value bounds it from above, and the value."""


class MalformedProofError(ValueError):
    """A proof that is no proof: a tree cut short, a neuron split twice, a row too few."""


@dataclass(frozen=True, eq=False)
class Tightening:
    """Rows that bound hidden neurons better than the rule does, below one node of a tree (``certify.tightened``).

    ``at [K]`` is twice the neuron, plus 1 where it is ``-z`` that is bounded from above; ``weight [K] > 0`` is that of the
    neuron beside the question, ``slopes [K, M]`` the lines below open neurons in 255ths, ``beta [M]`` what is added to nu, of all
    rows. Rows of one layer may use what those of earlier layers, which come first, have shown. With a finite ``level`` the rows
    speak of the points alone at which the question's value is at least that, with -inf of all.
    """

    level: float
    at: NDArray[np.int32]
    weight: NDArray[np.float32]
    slopes: NDArray[np.uint8]
    beta: NDArray[np.float32]

    @property
    def nbytes(self) -> int:
        """What its arrays take."""
        return self.at.nbytes + self.weight.nbytes + self.slopes.nbytes + self.beta.nbytes


@dataclass(eq=False)
class Place:
    """Where bounds are better than above: at a node with these phases ``[M]`` and cuts of margins, below another such place or none.

    Either rows tighten them, or a cut does, on whose side they are made anew or narrowed by ``rows [2, w]``. ``bounds [2, M]`` are those of
    its neurons, ``box [2, n]`` and ``edges`` what cuts leave of the space and of distances, as soon as somebody has evaluated it
    (``certify.tightened.settle``).
    """

    above: Place | None
    phases: Phases
    tight: Tightening | None
    cut: Cut | None = None
    bounds: Array | None = None
    cuts: tuple[Cut, ...] = ()
    box: Array | None = None
    rows: Array | None = None
    edges: tuple[float, float] = (0.0, math.inf)


@dataclass(frozen=True, eq=False)
class Tree:
    """One shell's tree: ``nodes [P]`` in preorder, rows ``vectors [V, w]`` (``leaf_row``) of its written leaves, ``tights`` in order.

    ``forks [F, 3]``, in order, hold feature k (margin j as -1 - j) and two values: it is at most the first or at least the second.
    """

    near: float
    far: float
    nodes: NDArray[np.int32]
    vectors: Array
    tights: tuple[Tightening, ...] = ()
    forks: Array = field(default_factory=lambda: np.zeros((0, 3)))

    @property
    def level(self) -> float:
        """What values may exceed wherever its rows say nothing: -inf if that is nowhere.

        Rows whose level is NaN or inf say nothing at all; a NaN must not hide the other levels.
        """
        levels = [*(tight.level for tight in self.tights), *self._narrowing]
        return max((level for level in levels if level < np.inf), default=-np.inf)

    @property
    def ceiling(self) -> float:
        """The distance beyond which its rows look at nothing: inf if they look everywhere."""
        return min((level for level in self._narrowing if abs(level) < np.inf), default=np.inf)

    @property
    def _narrowing(self) -> list[float]:
        """The levels of the nodes that narrow, as far as there are rows for them."""
        narrows = self.nodes[(self.nodes == WRITTEN) | (self.nodes == NARROWED)] == NARROWED
        first = np.cumsum(1 + narrows) - 1 - narrows
        at = first[narrows & (first < len(self.vectors))]
        levels: list[float] = self.vectors[at, :1].ravel().tolist()
        return levels

    @property
    def nbytes(self) -> int:
        """What its arrays take."""
        return self.vectors.nbytes + self.nodes.nbytes + self.forks.nbytes + sum(tight.nbytes for tight in self.tights)

    @classmethod
    def bare(cls, near: float, far: float, neurons: int) -> Tree:
        """A shell that bounds alone close."""
        return cls(near, far, np.array([BARE], np.int32), Layout(neurons).zeros(0).numbers)

    def walk(self, neurons: int) -> Iterator[tuple[Phases, int, Place | None]]:
        """Phases ``[M]``, row of ``vectors`` (-1: none) and place of every leaf, in order, one at a time.

        Raises:
            MalformedProofError: the nodes are not one whole tree, or do not go with the vectors.
        """
        for phases, row, place, _ in self.leaves(neurons):
            yield phases, row, place

    def leaves(self, neurons: int) -> Iterator[tuple[Phases, int, Place | None, tuple[Cut, ...]]]:
        """The same and the cuts above every leaf; a stack of the sides to come.

        Raises:
            MalformedProofError: the nodes are not one whole tree, or do not go with the vectors.
        """
        waiting: list[tuple[Phases, Place | None, tuple[Cut, ...]]] = [(np.zeros(neurons, np.int8), None, ())]
        row = tights = forks = 0
        for node in self._nodes():
            if not waiting:
                raise MalformedProofError("nodes follow the end of a tree")
            phases, place, cuts = waiting.pop()
            if node >= 0:
                if node >= neurons or phases[node]:
                    raise MalformedProofError(f"neuron {node} cannot be split there")
                for side in (-1, 1):
                    child = phases.copy()
                    child[node] = side
                    waiting.append((child, place, cuts))
            elif node == TIGHTENED:
                if tights == len(self.tights):
                    raise MalformedProofError(f"{tights} tightenings for more nodes")
                waiting.append((phases, Place(place, phases, self.tights[tights], cuts=cuts), cuts))
                tights += 1
            elif node in (FORKED, HALVED, NARROWED):
                if forks == len(self.forks):
                    raise MalformedProofError(f"{forks} cuts for more nodes")
                fork, by = self.forks[forks], None
                if node == NARROWED:
                    by, row = self.vectors[row : row + 2], row + 2
                    if len(by) < 2:
                        raise MalformedProofError(f"{len(self.vectors)} rows for more nodes")
                if node == FORKED:
                    waiting += [(phases, place, (*cuts, cut)) for cut in reversed(sides_of(fork))]
                else:
                    below = [Place(place, phases, None, cut, rows=by) for cut in halves_of(fork)]
                    waiting += [(phases, side, cuts) for side in reversed(below)]
                forks += 1
            elif node == BARE:
                yield phases, -1, place, cuts
            elif node == WRITTEN:
                if row == self.vectors.shape[0]:
                    raise MalformedProofError(f"{row} rows for more written leaves")
                yield phases, row, place, cuts
                row += 1
            else:
                raise MalformedProofError(f"{node} is no node")
        if waiting:
            raise MalformedProofError("a tree is cut short")
        if tights != len(self.tights):
            raise MalformedProofError(f"{len(self.tights)} tightenings for {tights} nodes")
        if forks != len(self.forks):
            raise MalformedProofError(f"{len(self.forks)} cuts for {forks} nodes")
        if row != self.vectors.shape[0]:
            raise MalformedProofError(f"{self.vectors.shape[0]} rows for {row} written leaves")

    def _nodes(self) -> Iterator[int]:
        for first in range(0, self.nodes.size, _PIECE):
            yield from self.nodes[first : first + _PIECE].tolist()


def sides_of(fork: Array) -> tuple[Cut, Cut]:
    """The two sides of a cut, which leave nothing out.

    Raises:
        MalformedProofError: they may: values lie between them, or an integer does.
    """
    at, low, high = fork.tolist()
    whole = at >= 0 and abs(low) < _WHOLE and low == np.floor(low) and high == low + 1.0
    if not (np.isfinite(fork).all() and at == np.floor(at) and (high <= low or whole)):
        raise MalformedProofError(f"{at}, {low}, {high} is no cut")
    return (int(at), True, low), (int(at), False, high)


def halves_of(fork: Array) -> tuple[Cut, Cut]:
    """The two sides of a cut of what takes any value: both closed, and they leave nothing out.

    Raises:
        MalformedProofError: values lie between them, or nothing is cut.
    """
    at, low, high = fork.tolist()
    if not (np.isfinite(fork).all() and at == np.floor(at) and at >= 0 and high <= low):
        raise MalformedProofError(f"{at}, {low}, {high} halves nothing")
    return (int(at), True, low), (int(at), False, high)


@dataclass(frozen=True, eq=False)
class Proof:
    """Trees, nearest first, about one sample and a piece of its loss; ``multiplier`` is that of a margin proof (0 for a distance).

    The piece is that of ``rival`` (a class, the number of a functional, or 0 for a cross-entropy) under ``label``. A margin proof
    bounds ``phi_ij(lam)`` for every lam; it was made for ``multiplier`` and is tightest there.
    """

    sample: int
    rival: int
    multiplier: float
    trees: tuple[Tree, ...]
    label: int = OWN
