"""The trees of a search of curved functions as they grow, for a certificate (``certify.proof``).

A node is a leaf until it is cut: bare, or with the row that proves most of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wdaverify.certify.certificate import rounded
from wdaverify.certify.leaf_row import Layout
from wdaverify.certify.proof import BARE, WRITTEN, Tree
from wdaverify.graph.nodes import INPUT, Affine, Graph
from wdaverify.network.model import Array

_MOST_BITS, _SPARE_BITS = 40, 16
"""Multipliers have so many bits at most, and so many more than the gap asks for."""


def bits_for(gap: float) -> int:
    """Bits of mantissa of multipliers: what they are rounded by is far less than the gap."""
    return int(np.clip(_SPARE_BITS - np.log2(max(gap, 2.0**-60)), 24, _MOST_BITS))


@dataclass(eq=False, slots=True)
class _Spot:
    """A node: what it is, its row or rows, its fork, and what stands below it."""

    code: int = BARE
    rows: Array | None = None
    fork: tuple[float, float, float] | None = None
    below: tuple[int, ...] = ()


class Grown:
    """Nodes by number."""

    def __init__(self) -> None:
        self._spots: list[_Spot] = []

    def __len__(self) -> int:
        return len(self._spots)

    def add(self) -> int:
        """A bare leaf."""
        self._spots.append(_Spot())
        return len(self._spots) - 1

    def write(self, spot: int, row: Array | None) -> None:
        """A leaf's row ``[w]``; None: bounds alone close it."""
        held = self._spots[spot]
        held.code, held.rows = (BARE, None) if row is None else (WRITTEN, row[None])

    def cut(self, spot: int, code: int, fork: tuple[float, float, float], rows: Array | None = None) -> tuple[int, int]:
        """The two sides of a leaf that is cut, the lower one first, both bare."""
        held, below = self._spots[spot], (self.add(), self.add())
        held.code, held.rows, held.fork, held.below = code, rows, fork, below
        return below

    def tree(self, root: int, near: float, far: float, layout: Layout) -> Tree:
        """A shell's tree."""
        nodes, rows, forks, waiting = list[int](), list[Array](), list[tuple[float, float, float]](), [root]
        while waiting:
            spot = self._spots[waiting.pop()]
            nodes.append(spot.code)
            rows += [] if spot.rows is None else [spot.rows]
            forks += [] if spot.fork is None else [spot.fork]
            waiting += reversed(spot.below)
        vectors = np.concatenate([layout.zeros(0).numbers, *rows])
        return Tree(near, far, np.array(nodes, np.int32), vectors, forks=np.array(forks, np.float64).reshape(-1, 3))


def ruled(graph: Graph, spans: Sequence[slice], functional: Array, ends: Array) -> Array:
    """The multipliers ``[B, M]`` that the rule chooses for functionals ``[B, K]`` with bounds ``[B, 2, M]``."""
    nu, number = np.zeros((len(ends), ends.shape[2])), len(spans)
    waiting = {len(graph.nodes) - 1: functional}
    for k in range(len(graph.nodes) - 1, INPUT, -1):
        node, q = graph.nodes[k], waiting.pop(k, None)
        if isinstance(node, Affine):
            parts = [] if q is None else [(s, m.back(q)) for s, m in zip(node.sources, node.maps, strict=True)]
        else:
            number -= 1
            span = spans[number]
            q = np.zeros((len(ends), span.stop - span.start)) if q is None else q
            nu[:, span] = node.function.by_rule(q, ends[:, 0, span], ends[:, 1, span])
            parts = [(node.source, nu[:, span])]
        for source, part in parts:
            waiting[source] = waiting[source] + part if source in waiting else part
    return rounded(nu)
