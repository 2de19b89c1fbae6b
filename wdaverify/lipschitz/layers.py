"""The matrices of a network in the units of its ground cost, enclosed: ``|exact - mid| <= rad`` entry by entry.

With ``u = a * x`` the first layer is ``W_1 / a``: a functional's constant against ``||a * (x - x')||`` is that of the
network in u against ``||u - u'||``. A fixed feature cannot differ, so its column is left out. Biases play no part.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wdaverify.ground import GroundCost
from wdaverify.network.model import Array, ReluNetwork
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


def cost_layers(network: ReluNetwork, cost: GroundCost) -> tuple[Enclosed, ...]:
    """The blocks' matrices ``[m_k, m_(k-1)]``, the first one over the free features and divided by their weights."""
    n = network.n_inputs
    free, first = ~cost.fixed(n), network.blocks[0]
    scale = cost.scale(n)[free]
    weight, error = first.weight[:, free], first.weight_error[:, free]
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        mid = weight / scale
        lost = np.where((scale != 1) & (weight != 0), 2 * UNIT_ROUNDOFF * np.abs(mid) + TINY, 0.0)
        rad = np.where(error > 0, error / scale * (1 + 4 * UNIT_ROUNDOFF) + TINY, 0.0) + lost
    head = Enclosed(mid, np.where(lost > 0, rad * (1 + 4 * UNIT_ROUNDOFF), rad)).of_finite()
    return (head, *(Enclosed(block.weight, block.weight_error) for block in network.blocks[1:]))


def functionals(rows: Array, last: Enclosed) -> Enclosed:
    """``rows @ W_L`` for rows ``[R, K]`` and a last matrix ``[K, m]``: ``[R, m]``."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        size = np.abs(rows)
        factor = dot_error(rows.shape[1])
        rad = size @ last.rad + factor * (size @ (np.abs(last.mid) + last.rad))
        touched = (size @ ((last.mid != 0) | (last.rad > 0))) > 0
        rad = np.where(touched, rad * (1 + 4 * factor) + rows.shape[1] * TINY, 0.0)
        return Enclosed(rows @ last.mid, rad).of_finite()


def gram(matrix: Enclosed) -> Enclosed:
    """``W W^T`` for a matrix ``[m, n]``: ``[m, m]``."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        size, n = matrix.size, matrix.mid.shape[1]
        factor = dot_error(n + 2)
        cross = size @ matrix.rad.T
        rad = (cross + cross.T + factor * (size @ size.T)) * (1 + 4 * factor) + (n + 2) * TINY
        return Enclosed(matrix.mid @ matrix.mid.T, rad).of_finite()
