"""The shells of one question: where its region is cut, and what bounds the neurons there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wdaverify.certify.backward import Backward, HiddenBounds, Shells
from wdaverify.certify.proof import Tree
from wdaverify.encoding.cost import Region
from wdaverify.network.model import Array


@dataclass(frozen=True, eq=False)
class Shell:
    """One shell (a batch of one) with its neurons' bounds, and those of a cross-entropy's margins ``[2, J]`` if they are known."""

    shells: Shells
    bounds: HiddenBounds
    span: Array | None = None

    @property
    def near(self) -> float:
        """Its inner radius."""
        return float(self.shells.near[0])

    @property
    def far(self) -> float:
        """Its outer radius."""
        return float(self.shells.far[0])

    @property
    def flat(self) -> Array:
        """Its bounds ``[2, M]``."""
        return np.stack([np.concatenate([np.zeros(0), *(pair[side][0] for pair in self.bounds)]) for side in (0, 1)])


class Cutter:
    """Makes the shells of one question; ``bounds`` are those of the neurons on the whole region, if somebody has them."""

    def __init__(self, backward: Backward, region: Region, bounds: HiddenBounds | None = None) -> None:
        self._backward, self._region, self._bounds = backward, region, bounds

    def edges(self, trees: Sequence[Tree], count: int) -> tuple[Array, Array, dict[int, Tree]]:
        """Near and far of the shells that make up the region: those of trees that are known (by number), and what they leave."""
        region, known = self._region, dict[int, Tree]()
        if not region.far > region.near:
            return np.array([region.near]), np.array([region.far]), known
        near, far, end = list[float](), list[float](), region.near

        def fill(until: float) -> None:
            some = max(1, round(count * (until - end) / (region.far - region.near)))
            edges = np.linspace(end, until, some + 1)
            edges[0], edges[-1] = end, until
            edges = np.unique(edges)
            near.extend(edges[:-1].tolist())
            far.extend(edges[1:].tolist())

        for tree in trees:
            low, high = max(tree.near, end), min(tree.far, region.far)
            if not low < high:
                continue
            if low > end:
                fill(low)
            known[len(near)] = tree
            near.append(low)
            far.append(high)
            end = high
        if end < region.far:
            fill(region.far)
        return np.array(near), np.array(far), known

    def known(self, near: Array, far: Array) -> HiddenBounds | None:
        """The bounds on the shells between the edges, where these are the whole region and somebody has them."""
        region = self._region
        return self._bounds if near.tolist() == [region.near] and far.tolist() == [region.far] else None

    def between(self, near: Array, far: Array) -> list[Shell]:
        """Shells, bounded in one batch."""
        region = self._region
        centre = np.broadcast_to(region.centre, (near.size, region.centre.size))
        shells = Shells.around(region.cost, centre, region.lower, region.upper, near, far)
        bounds = self._backward.pre_activations(shells)
        out = []
        for k in range(near.size):
            at = slice(k, k + 1)
            out.append(Shell(shells.take(at), [(low[at], high[at]) for low, high in bounds]))
        return out
