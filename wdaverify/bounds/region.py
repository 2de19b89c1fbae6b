"""Batched regions around samples, and the largest value of a linear functional minus the cost on them.

A region is ``{x in the support : near <= ||x - x_i||_norm <= far}``, relaxed where that is convenient to its box and,
for the l1 norm, its ball: any superset gives valid bounds.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from wdaverify.problem import Norm
from wdaverify.rounding import UNIT_ROUNDOFF, dot_error, underflow


@dataclass(frozen=True, eq=False)
class Regions:
    """B regions: centre, lower, upper, up, down ``[B, n]``; near, far ``[B]``; float64 on the CPU.

    ``up`` and ``down`` are the room of each coordinate above and below the centre, rounded up.
    """

    norm: Norm
    centre: Tensor
    lower: Tensor
    upper: Tensor
    up: Tensor
    down: Tensor
    near: Tensor
    far: Tensor

    @classmethod
    def around(cls, norm: Norm, centre: Tensor, support: tuple[Tensor, Tensor], near: Tensor, far: Tensor) -> Regions:
        """Regions between the distances near and far of the centres ``[B, n]``, within the support box, rounded outward."""
        inf = torch.tensor(torch.inf, dtype=torch.float64)
        reach = far[:, None]
        lower = torch.maximum(support[0], torch.nextafter(centre - reach, -inf))
        upper = torch.minimum(support[1], torch.nextafter(centre + reach, inf))
        up = torch.minimum(torch.nextafter(upper - centre, inf), reach).clamp(min=0)
        down = torch.minimum(torch.nextafter(centre - lower, inf), reach).clamp(min=0)
        return cls(norm, centre, lower, upper, up, down, near, far)

    def __len__(self) -> int:
        return self.centre.shape[0]

    def take(self, index: Tensor | slice) -> Regions:
        """The regions at the given positions."""
        fields = (self.centre, self.lower, self.upper, self.up, self.down, self.near, self.far)
        return Regions(self.norm, *(field[index] for field in fields))

    def magnitude(self) -> Tensor:
        """``max |x_k|`` over each region, ``[B, n]``."""
        return torch.maximum(self.lower.abs(), self.upper.abs())


def peak(rows: Tensor, regions: Regions, multiplier: Tensor | None) -> Tensor:
    """Upper bounds ``[B, R]`` of ``max a.x - lam ||x - x_i||`` over each region, rounded outward.

    rows ``a`` is ``[B, R, n]``; multiplier ``lam [B]`` (None: no cost). docs/theory.md, section 3: with ``r_k`` the room of
    coordinate k in the direction of ``a_k``, weak duality gives, for any ``0 <= m_k <= |a_k|`` (l-inf) or any mu (l1),

        l-inf:  a.x_i + sum_k (|a_k| - m_k) r_k + max_{near <= t <= far} (sum_k m_k - lam) t
        l1:     a.x_i + sum_k max(0, |a_k| - mu) r_k + max_{near <= s <= far} (mu - lam) s

    so the choice of m or mu decides how tight the bound is, never whether it holds.
    """
    size = rows.abs()
    room = torch.where(rows > 0, regions.up[:, None, :], regions.down[:, None, :])
    lam = torch.zeros_like(regions.near) if multiplier is None else multiplier
    near, far, lam = regions.near[:, None], regions.far[:, None], lam[:, None]
    if regions.norm is Norm.INF:
        if multiplier is None:
            spread, rate, weight = (size * room).sum(-1), torch.zeros_like(lam), torch.zeros_like(lam)
        else:
            share = _shares(size, room, lam, near)
            spread, weight = ((size - share) * room).sum(-1), share.sum(-1)
            rate = weight - lam
    else:
        weight = _threshold(size, room, lam, near, far)
        spread = ((size - weight[..., None]).clamp(min=0) * room).sum(-1)
        rate = weight - lam
    travel = torch.where(rate > 0, rate * far, rate * near)
    base = (rows * regions.centre[:, None, :]).sum(-1)
    terms = rows.shape[-1]
    scale = (size * regions.centre.abs()[:, None, :]).sum(-1) + (size * room).sum(-1) + (weight.abs() + lam) * far
    return base + spread + travel + 4 * dot_error(terms + 4) * scale + underflow(4 * terms)


def _shares(size: Tensor, room: Tensor, lam: Tensor, near: Tensor) -> Tensor:
    """The l-inf split ``m``: coordinates in order of falling room are charged to the cost until lam is used up."""
    order = torch.argsort(room, dim=-1, descending=True)
    sorted_size = torch.gather(size, -1, order)
    before = torch.cumsum(sorted_size, dim=-1) - sorted_size
    filled = torch.minimum(sorted_size, (lam[..., None] - before).clamp(min=0))
    share = torch.zeros_like(size).scatter(-1, order, filled)
    return torch.minimum(torch.where(room > near[..., None], share, torch.zeros_like(share)), size)


def _threshold(size: Tensor, room: Tensor, lam: Tensor, near: Tensor, far: Tensor) -> Tensor:
    """The l1 price ``mu [B, R]``: lam, raised where the rooms of larger coefficients exceed far, lowered where they fall short of near."""
    ordered, order = torch.sort(size, dim=-1, descending=True)
    reached = torch.cumsum(torch.gather(room, -1, order), dim=-1)
    last = ordered.shape[-1] - 1

    def price_at(distance: Tensor) -> Tensor:
        position = (reached < distance[..., None]).sum(-1, keepdim=True)
        price = torch.gather(ordered, -1, position.clamp(max=last)).squeeze(-1)
        return torch.where(position.squeeze(-1) > last, torch.zeros_like(price), price)

    return torch.maximum(
        price_at(far.expand(size.shape[:2])), torch.minimum(lam, price_at(near.expand(size.shape[:2])))
    )


def inflate(value: Tensor) -> Tensor:
    """A non-negative quantity made larger by a few units in the last place."""
    return value * (1 + 8 * UNIT_ROUNDOFF) + underflow(1)
