"""Batched regions around samples, and the largest value of a linear functional minus the cost on them.

A region is ``{x in the support : near <= ||x - x_i||_norm <= far}``, relaxed where that is convenient to its box and,
for the l1 norm, its ball: any superset gives valid bounds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from wdaverify.certify.peak import Price, Shells
from wdaverify.certify.peak import peak as best
from wdaverify.ground import GroundCost
from wdaverify.rounding import UNIT_ROUNDOFF, dot_error, underflow


@dataclass(frozen=True, eq=False)
class Regions:
    """B regions: centre, lower, upper, up, down ``[B, n]``; near, far ``[B]``; float64 on the CPU.

    ``up`` and ``down`` are the room of each coordinate above and below the centre, rounded up.
    """

    cost: GroundCost
    centre: Tensor
    lower: Tensor
    upper: Tensor
    up: Tensor
    down: Tensor
    near: Tensor
    far: Tensor

    @classmethod
    def around(
        cls, cost: GroundCost, centre: Tensor, support: tuple[Tensor, Tensor], near: Tensor, far: Tensor
    ) -> Regions:
        """Regions between the distances near and far of the centres ``[B, n]``, within the support box, rounded outward."""
        inf = torch.tensor(torch.inf, dtype=torch.float64)
        reach = far[:, None]
        if cost.weights is not None:
            n = centre.shape[1]
            reach = torch.nextafter(reach / torch.tensor(cost.scale(n)), inf)
            reach = reach.masked_fill(torch.tensor(cost.fixed(n)), 0.0)
        lower = torch.maximum(support[0], torch.nextafter(centre - reach, -inf))
        upper = torch.minimum(support[1], torch.nextafter(centre + reach, inf))
        up = torch.minimum(torch.nextafter(upper - centre, inf), reach.expand_as(centre)).clamp(min=0)
        down = torch.minimum(torch.nextafter(centre - lower, inf), reach.expand_as(centre)).clamp(min=0)
        return cls(cost, centre, lower, upper, up, down, near, far)

    def __len__(self) -> int:
        return self.centre.shape[0]

    def take(self, index: Tensor | slice) -> Regions:
        """The regions at the given positions."""
        fields = (self.centre, self.lower, self.upper, self.up, self.down, self.near, self.far)
        return Regions(self.cost, *(field[index] for field in fields))

    def magnitude(self) -> Tensor:
        """``max |x_k|`` over each region, ``[B, n]``."""
        return torch.maximum(self.lower.abs(), self.upper.abs())


def peak(rows: Tensor, regions: Regions, multiplier: Tensor | None) -> Tensor:
    """Upper bounds ``[B, R]`` of ``max a.x - lam ||x - x_i||^p`` over each region, rounded outward.

    rows ``a`` is ``[B, R, n]``; multiplier ``lam [B]`` (None: no cost). See ``certify.peak``, whose weak duality this is.
    """
    cost, terms = regions.cost, rows.shape[-1]
    parts = (regions.centre, regions.up, regions.down, regions.near, regions.far)
    shells = Shells(cost, *(part.numpy() for part in parts))
    price = None if multiplier is None else Price(multiplier.numpy(), cost.power, None)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        top, spread = best(rows.numpy(), np.zeros(terms), shells, price)
        bound = top + 4 * dot_error(terms + 4) * spread + underflow(4 * terms)
    return torch.from_numpy(np.where(np.isnan(bound), np.inf, bound))


def inflate(value: Tensor) -> Tensor:
    """A non-negative quantity made larger by a few units in the last place."""
    return value * (1 + 8 * UNIT_ROUNDOFF) + underflow(1)
