"""What a Lipschitz constant is asked of, as its checker reads it: rows of the outputs, in a norm, on a convex region or on balls.

Rows that are asked together have one constant, that of the operator; the norm l-inf of outputs is the largest of single rows'.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from wdaverify.ground import GroundCost, LinearRows, Norm, Support
from wdaverify.network.model import Array, ReluNetwork
from wdaverify.rounding import UNIT_ROUNDOFF, underflow


@dataclass(frozen=True, eq=False)
class SlopeRegion:
    """``||a (x - centre)|| <= far`` in the box ``lower, upper [n]`` (rounded outward), cut by rows."""

    cost: GroundCost
    centre: Array
    lower: Array
    upper: Array
    far: float
    rows: LinearRows | None


@dataclass(frozen=True, eq=False)
class SlopeQuestion:
    """``max ||rows J u||`` over ``||a u|| <= 1``, rows ``[R, K]``, and the full-dimensional cells that meet a region.

    The region is the support (its integers relaxed), or balls of radius ``within`` around points ``[N, n]``, cut by the support.
    ``together``: the operator norm of all rows; else the largest of the rows.
    """

    network: ReluNetwork
    cost: GroundCost
    support: Support
    rows: Array
    together: bool
    points: Array | None
    within: float

    @cached_property
    def regions(self) -> list[SlopeRegion]:
        """One, or one a point."""
        n, support = self.network.n_inputs, self.support
        if self.points is None:
            bounded = support.bounded
            middle = 0.5 * support.lower + 0.5 * support.upper if bounded else np.zeros(n)
            rows = support.rows if bounded else None
            return [SlopeRegion(self.cost, middle, support.lower, support.upper, math.inf, rows)]
        out = []
        room = np.where(self.cost.fixed(n), 0.0, self.within / self.cost.scale(n))
        for x in self.points:
            off = np.where(room > 0, 4 * UNIT_ROUNDOFF * (np.abs(x) + room) + underflow(1), 0.0)  # outward
            lower, upper = np.maximum(support.lower, x - room - off), np.minimum(support.upper, x + room + off)
            far = math.inf if self.cost.norm is Norm.INF else self.within
            out.append(SlopeRegion(self.cost, x, lower, upper, far, support.rows))
        return out

    @cached_property
    def parts(self) -> list[Array]:
        """Rows that are one question each: single ones, equal up to sign once, or all together where the norm mixes them."""
        if self.together and self.cost.norm is not Norm.INF and len(self.rows) > 1:
            return [self.rows]
        return [self.rows[k : k + 1] for k in unlike(self.rows)]


def unlike(rows: Array) -> Sequence[int]:
    """The first of rows that are equal up to sign, each."""
    out: dict[bytes, int] = {}
    for k, row in enumerate(rows):
        lead = row[np.flatnonzero(row)[:1]]
        out.setdefault((np.sign(lead[0]) * row + 0.0 if lead.size else row + 0.0).tobytes(), k)
    return list(out.values())
