"""Pre-activation bounds of shells, each computed once: neither the rival nor the multiplier matters to them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wdaverify.bounds.crown import Bounds, Crown
from wdaverify.bounds.region import Regions
from wdaverify.network.model import Array, ReluNetwork

Ints = NDArray[np.int64]
Key = tuple[int, float, float]

_NUMBERS = 2**23
"""Numbers that are kept (64 MiB); beyond that all of them are forgotten."""


class KnownBounds:
    """What ``Crown.pre_activations`` says of shells ``(sample, near, far)``; ``regions`` makes them."""

    def __init__(self, network: ReluNetwork, crown: Crown, regions: Callable[[Ints, Array, Array], Regions]) -> None:
        self._crown, self._regions = crown, regions
        self._widths = np.diff(network.canonical.edges).tolist()
        self._row: dict[Key, int] = {}
        self._table = torch.empty((0, 2 * sum(self._widths)), dtype=torch.float64)

    def of(self, sample: Ints, near: Array, far: Array) -> Bounds:
        """Bounds over the shells ``[B]``."""
        keys: list[Key] = list(zip(sample.tolist(), near.tolist(), far.tolist(), strict=True))
        fresh = self._fresh(keys)
        if (len(self._row) + len(fresh)) * self._table.shape[1] > _NUMBERS:
            self._row.clear()
            fresh = self._fresh(keys)
        if fresh:
            first = len(self._row)
            self._grow(first + len(fresh))
            at = np.fromiter(fresh.values(), np.int64, len(fresh))
            bounds = self._crown.pre_activations(self._regions(sample[at], near[at], far[at]))
            if bounds:
                self._table[first : first + at.size] = torch.cat([side for pair in bounds for side in pair], dim=1)
            self._row.update(zip(fresh, range(first, first + at.size), strict=True))
        return self._split(self._table[torch.tensor([self._row[key] for key in keys], dtype=torch.int64)])

    def _fresh(self, keys: list[Key]) -> dict[Key, int]:
        """The keys that are not known, each with one of its positions."""
        return {key: at for at, key in enumerate(keys) if key not in self._row}

    def _grow(self, rows: int) -> None:
        if rows > self._table.shape[0]:
            wider = torch.empty((max(rows, 2 * self._table.shape[0]), self._table.shape[1]), dtype=torch.float64)
            wider[: self._table.shape[0]] = self._table
            self._table = wider

    def _split(self, table: Tensor) -> Bounds:
        sides = torch.split(table, [width for width in self._widths for _ in range(2)], dim=1)
        return tuple(zip(sides[::2], sides[1::2], strict=True))
