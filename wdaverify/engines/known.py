"""Pre-activation bounds of shells, each computed once: neither the rival nor the multiplier matters to them."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from wdaverify.certify.backward import HiddenBounds
from wdaverify.graph.nodes import Graph
from wdaverify.network.model import Array

Ints = NDArray[np.int64]
Key = tuple[int, float, float]

_NUMBERS = 2**23
"""Numbers that are kept (64 MiB); beyond that all of them are forgotten."""


class KnownBounds:
    """What ``bound`` says of a graph's neurons on shells ``(sample, near, far)``, each ``[B]``."""

    def __init__(self, graph: Graph, bound: Callable[[Ints, Array, Array], HiddenBounds]) -> None:
        self._bound, self._edges = bound, graph.edges.tolist()
        self._row: dict[Key, int] = {}
        self._table = np.empty((0, 2, graph.neurons))

    def of(self, sample: Ints, near: Array, far: Array) -> HiddenBounds:
        """Bounds over the shells ``[B]``."""
        keys: list[Key] = list(zip(sample.tolist(), near.tolist(), far.tolist(), strict=True))
        fresh = self._fresh(keys)
        if 2 * (len(self._row) + len(fresh)) * self._edges[-1] > _NUMBERS:
            self._row.clear()
            fresh = self._fresh(keys)
        if fresh:
            first = len(self._row)
            self._grow(first + len(fresh))
            at = np.fromiter(fresh.values(), np.int64, len(fresh))
            bounds = self._bound(sample[at], near[at], far[at])
            for (begin, end), sides in zip(pairwise(self._edges), bounds, strict=True):
                self._table[first : first + at.size, :, begin:end] = np.stack(sides, axis=1)
            self._row.update(zip(fresh, range(first, first + at.size), strict=True))
        table = self._table[[self._row[key] for key in keys]]
        return [(table[:, 0, begin:end], table[:, 1, begin:end]) for begin, end in pairwise(self._edges)]

    def _fresh(self, keys: list[Key]) -> dict[Key, int]:
        """The keys that are not known, each with one of its positions."""
        return {key: at for at, key in enumerate(keys) if key not in self._row}

    def _grow(self, rows: int) -> None:
        if rows > self._table.shape[0]:
            wider = np.empty((max(rows, 2 * self._table.shape[0]), *self._table.shape[1:]))
            wider[: self._table.shape[0]] = self._table
            self._table = wider
