"""The matrices between a network's functions in the units of its ground cost, enclosed: ``|exact - mid| <= rad`` entry by entry.

With ``u = a * x`` a matrix on the input is ``W / a``: a functional's constant against ``||a * (x - x')||`` is that of the
network in u against ``||u - u'||``. A fixed feature cannot differ, so its column is left out. Biases play no part.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wdaverify.graph.maps import rows, rows_error
from wdaverify.graph.nodes import INPUT, Affine, Graph
from wdaverify.ground import GroundCost
from wdaverify.network.model import Array
from wdaverify.rounding import UNIT_ROUNDOFF, dot_error

TINY = float(np.finfo(np.float64).tiny)
"""More than an operation can lose to underflow."""


@dataclass(frozen=True, eq=False)
class Enclosed:
    """Every array within ``rad`` of ``mid``, both of one shape; rad is inf where the midpoint overflowed."""

    mid: Array
    rad: Array

    @property
    def size(self) -> Array:
        """The largest modulus of each entry, rounded up."""
        return np.asarray((np.abs(self.mid) + self.rad) * (1 + 4 * UNIT_ROUNDOFF))

    @property
    def zero(self) -> bool:
        """Whether every entry is 0, exactly."""
        return not (self.mid.any() or self.rad.any())

    def of_finite(self) -> Enclosed:
        """The same, with overflow turned into an infinite radius."""
        good = np.isfinite(self.mid) & np.isfinite(self.rad)
        return Enclosed(np.where(good, self.mid, 0.0), np.where(good, self.rad, np.inf))


def cost_layers(graph: Graph, cost: GroundCost) -> tuple[dict[int, Enclosed], ...]:
    """What enters each elementwise node, and the output, as sums of matrices ``[m, m_k]`` times what the elementwise nodes k give.

    They are counted by number; ``INPUT`` is that of the free features times their weights. Affine nodes in a row are composed.
    """
    number = {k: at for at, k in enumerate(graph.elementwise)}
    sums: dict[int, dict[int, Enclosed]] = {}
    for k, node in enumerate(graph.nodes):
        if not isinstance(node, Affine):
            continue
        total = sums[k] = {}
        for source, map_ in zip(node.sources, node.maps, strict=True):
            off = rows_error(map_)
            own = Enclosed(rows(map_), np.zeros((map_.outputs, map_.inputs)) if off is None else off)
            if source in sums:
                parts = {at: times(own, before) for at, before in sums[source].items()}
            else:
                parts = {number[source]: own} if source in number else {INPUT: _per_cost(own, cost)}
            for at, part in parts.items():
                total[at] = _plus(total[at], part) if at in total else part
    return (*(sums[graph.source(k)] for k in graph.elementwise), sums[len(graph.nodes) - 1])


def _per_cost(matrix: Enclosed, cost: GroundCost) -> Enclosed:
    """A matrix on the input over the free features, divided by their weights."""
    n = matrix.mid.shape[1]
    free = ~cost.fixed(n)
    scale = cost.scale(n)[free]
    weight, error = matrix.mid[:, free], matrix.rad[:, free]
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        mid = weight / scale
        lost = np.where((scale != 1) & (weight != 0), 2 * UNIT_ROUNDOFF * np.abs(mid) + TINY, 0.0)
        rad = np.where(error > 0, error / scale * (1 + 4 * UNIT_ROUNDOFF) + TINY, 0.0) + lost
    return Enclosed(mid, np.where(lost > 0, rad * (1 + 4 * UNIT_ROUNDOFF), rad)).of_finite()


def _plus(first: Enclosed, second: Enclosed) -> Enclosed:
    """The sum of two matrices."""
    with np.errstate(over="ignore", invalid="ignore"):
        mid = first.mid + second.mid
        rad = (first.rad + second.rad + 2 * UNIT_ROUNDOFF * np.abs(mid)) * (1 + 8 * UNIT_ROUNDOFF)
        return Enclosed(mid, rad).of_finite()


def times(left: Enclosed, right: Enclosed) -> Enclosed:
    """``[R, K]`` times ``[K, m]``: ``[R, m]``."""
    terms = left.mid.shape[1]
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        size, most, factor = left.size, np.abs(right.mid) + right.rad, dot_error(terms)
        rad = size @ right.rad + left.rad @ most + factor * (size @ most)
        touched = (size @ ((right.mid != 0) | (right.rad > 0))) > 0
        rad = np.where(touched, rad * (1 + 4 * factor) + 2 * terms * TINY, 0.0)
        return Enclosed(left.mid @ right.mid, rad).of_finite()


def functionals(rows: Array, last: Enclosed) -> Enclosed:
    """``rows @ W_L`` for rows ``[R, K]`` and a last matrix ``[K, m]``: ``[R, m]``."""
    return times(Enclosed(rows, np.zeros_like(rows)), last)


def gram(matrix: Enclosed) -> Enclosed:
    """``W W^T`` for a matrix ``[m, n]``: ``[m, m]``."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        size, n = matrix.size, matrix.mid.shape[1]
        factor = dot_error(n + 2)
        cross = size @ matrix.rad.T
        rad = (cross + cross.T + factor * (size @ size.T)) * (1 + 4 * factor) + (n + 2) * TINY
        return Enclosed(matrix.mid @ matrix.mid.T, rad).of_finite()
