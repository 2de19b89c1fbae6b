"""What a proof of an upper bound is: shells of the distance, in each a tree over phases, at its leaves linear bounds.

A proof speaks of one sample i and one rival j. Its shells ``near <= ||x - x_i|| <= far`` lie end to end from 0. A tree is
written in preorder, so that its leaves cover every phase combination by construction:

    k >= 0   neuron k (counted through all hidden layers) is split: next its active side (z >= 0), then its dead side (z <= 0)
    BARE     a leaf that bounds alone close: coefficients are chosen by rule
    WRITTEN  a leaf with the next row of ``vectors``: margin, cost, nu_1 ... nu_M

A written leaf claims nothing; what it proves is computed from its row (``certify.backward``): an upper bound B of

    margin * (z_j - z_y) - cost * lam * ||x - x_i||       on the leaf, whatever the numbers nu are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wdaverify.network.model import Array

BARE, WRITTEN = -1, -2
_PIECE = 2**14
"""Nodes that are taken up at a time."""
Phases = NDArray[np.int8]
"""Per neuron 0 (open), 1 (active, z >= 0) or -1 (dead, z <= 0)."""


class MalformedProofError(ValueError):
    """A proof that is no proof: a tree cut short, a neuron split twice, a row too few."""


@dataclass(frozen=True, eq=False)
class Tree:
    """One shell's tree: ``nodes [P]`` in preorder, ``vectors [V, 2 + M]`` for its written leaves in order."""

    near: float
    far: float
    nodes: NDArray[np.int32]
    vectors: Array

    @classmethod
    def bare(cls, near: float, far: float, neurons: int) -> Tree:
        """A shell that bounds alone close."""
        return cls(near, far, np.array([BARE], np.int32), np.zeros((0, 2 + neurons)))

    def walk(self, neurons: int) -> Iterator[tuple[Phases, int]]:
        """Phases ``[M]`` and row of ``vectors`` (-1: none) of every leaf, in order, one at a time; a stack of the sides to come.

        Raises:
            MalformedProofError: the nodes are not one whole tree, or do not go with the vectors.
        """
        waiting, row = [np.zeros(neurons, np.int8)], 0
        for node in self._nodes():
            if not waiting:
                raise MalformedProofError("nodes follow the end of a tree")
            phases = waiting.pop()
            if node >= 0:
                if node >= neurons or phases[node]:
                    raise MalformedProofError(f"neuron {node} cannot be split there")
                for side in (-1, 1):
                    child = phases.copy()
                    child[node] = side
                    waiting.append(child)
            elif node == BARE:
                yield phases, -1
            elif node == WRITTEN:
                if row == self.vectors.shape[0]:
                    raise MalformedProofError(f"{row} rows for more written leaves")
                yield phases, row
                row += 1
            else:
                raise MalformedProofError(f"{node} is no node")
        if waiting:
            raise MalformedProofError("a tree is cut short")
        if row != self.vectors.shape[0]:
            raise MalformedProofError(f"{self.vectors.shape[0]} rows for {row} written leaves")

    def _nodes(self) -> Iterator[int]:
        for first in range(0, self.nodes.size, _PIECE):
            yield from self.nodes[first : first + _PIECE].tolist()


@dataclass(frozen=True, eq=False)
class Proof:
    """Trees, nearest first, about one sample and rival; ``multiplier`` is that of a margin proof (0 for a distance).

    A margin proof bounds ``phi_ij(lam)`` for every lam; it was made for ``multiplier`` and is tightest there.
    """

    sample: int
    rival: int
    multiplier: float
    trees: tuple[Tree, ...]
