"""What a slope search leaves behind as proof: the nodes it made, each with the best that was shown of it alone."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from wdaverify.certify.slopes import EMPTY, FORWARD, SECTORS, SlopeTree
from wdaverify.network.model import Array


@dataclass(eq=False)
class Spot:
    """A node: at most ``bound`` by a leaf of kind ``leaf`` with multipliers ``row``; or what stands below it once branched ``at``."""

    leaf: int = FORWARD
    bound: float = math.inf
    row: Array | None = None
    at: int = 0
    below: tuple[Spot, ...] = field(default_factory=tuple)

    def shows(self, leaf: int, bound: float, row: Array | None = None) -> None:
        """Take a leaf that shows more."""
        if bound < self.bound:
            self.leaf, self.bound, self.row = leaf, bound, row

    def branched(self, at: int, count: int = 2) -> tuple[Spot, ...]:
        """Nodes below this one."""
        self.at, self.below = at, tuple(Spot() for _ in range(count))
        return self.below


def tree_of(top: Spot, upper: float) -> SlopeTree:
    """The smallest tree of what shows at most ``upper``: whatever a node shows itself has nothing below."""
    nodes, sectors, empties, waiting = list[int](), list[Array](), list[Array](), [top]
    while waiting:
        spot = waiting.pop()
        if spot.bound > upper and spot.below:
            nodes.append(spot.at)
            waiting += spot.below[::-1]
            continue
        nodes.append(spot.leaf)
        if spot.row is not None:
            (sectors if spot.leaf == SECTORS else empties).append(spot.row)
    none = np.zeros((0, 0))
    assert all(len(rows) == nodes.count(kind) for kind, rows in ((SECTORS, sectors), (EMPTY, empties)))
    return SlopeTree(
        np.array(nodes, np.int32),
        np.stack(sectors) if sectors else none,
        np.stack(empties) if empties else none,
    )
