"""The pool: what is kept of every point visited, reduced on the fly on the device.

A group g is a pair (sample, rival). Kept per group: the vertices of the increasing part of the upper concave envelope
of

    {(||x - x_i||^p, m_j(x)) : x visited},    starting from the clean point (0, m_j(x_i)),

since only they can carry mass in the restricted master (docs/theory.md, sections 2 and 10), and the nearest point with
``m_j >= 0``, which is what the zero-one loss needs; for order inf the largest m_j within the radius. A loss that is convex
and rises with m_j needs no other vertices.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

INDISTINCT = 1e-12
"""Two distances closer than this (relatively) are one vertex; a gain below this (relatively) is none."""
WANTED = 1.1
PREFERRED = 1000.0
"""Vertices that are best at a multiplier within a factor ``WANTED`` of the master's weigh so much more where there is no room for all."""


@dataclass(frozen=True)
class Price:
    """What a unit of mass pays for a distance: ``d^order``; for order inf 1 within ``limit`` and inf beyond it."""

    order: float = 1
    limit: float = math.inf

    def of(self, distance: Tensor) -> Tensor:
        """The price of distances, elementwise."""
        if math.isinf(self.order):
            return torch.where(distance <= self.limit, (distance > 0).to(distance.dtype), torch.inf)
        return distance if self.order == 1 else distance**self.order

    def distance(self, price: Tensor) -> Tensor:
        """The distances of prices of a finite order, elementwise."""
        return price if self.order == 1 else price ** (1 / self.order)


def envelope(distance: Tensor, value: Tensor, capacity: int) -> Tensor:
    """Indices ``[G, capacity]`` of the envelope's vertices in order of distance, -1 where there are fewer.

    ``distance, value [G, M]``, column 0 being the start; a march that takes the steepest chord at each vertex.
    """
    index = torch.full((distance.shape[0], capacity), -1, dtype=torch.int64, device=distance.device)
    index[:, 0] = 0
    at, height = distance[:, :1], value[:, :1]
    for k in range(1, capacity):
        run, rise = distance - at, value - height
        ahead = (run > INDISTINCT * (1 + at)) & (rise > INDISTINCT * (1 + height.abs()))
        slope, best = torch.where(ahead, rise / run, -torch.inf).max(dim=1, keepdim=True)
        found = slope > -torch.inf
        if not bool(found.any()):
            break
        index[:, k : k + 1] = torch.where(found, best, -1)
        at = torch.where(found, distance.gather(1, best), torch.inf)
        height = torch.where(found, value.gather(1, best), torch.inf)
    return index


def thinned(distance: Tensor, value: Tensor, index: Tensor, capacity: int, multiplier: float | None = None) -> Tensor:
    """At most ``capacity`` of an envelope's vertices ``index [G, C]``: those that the chord of their neighbours passes least below stay.

    The first and the last stay. Cut off at ``capacity``, an envelope with many vertices near its start would lose its far end. Those that
    are best near ``multiplier`` go last: of order 2 a ray of a linear piece is all vertices, and it is one of them that the master wants.
    """
    count = (index >= 0).sum(dim=1)
    index = index[:, : max(int(count.max()), capacity)]
    while index.shape[1] > capacity:
        at = index.clamp(min=0)
        d, v = distance.gather(1, at), value.gather(1, at)
        share = (d[:, 1:-1] - d[:, :-2]) / (d[:, 2:] - d[:, :-2])
        height = v[:, 1:-1] - (v[:, :-2] + share * (v[:, 2:] - v[:, :-2]))
        inner = torch.where(index[:, 2:] >= 0, height, torch.inf)
        if multiplier is not None:
            slope = (v[:, 1:] - v[:, :-1]) / (d[:, 1:] - d[:, :-1])
            wanted = (slope[:, 1:] <= WANTED * multiplier) & (slope[:, :-1] >= multiplier / WANTED)
            inner = torch.where(wanted, PREFERRED * inner, inner)
        least = inner.argmin(dim=1, keepdim=True) + 1
        full = (count == index.shape[1]).unsqueeze(1)
        place = torch.arange(index.shape[1] - 1, device=index.device).expand(index.shape[0], -1)
        index = index.gather(1, torch.where(full & (place >= least), place + 1, place))
        count = count.clamp(max=index.shape[1])
    return index


class Pool:
    """Envelopes and nearest crossings of G (sample, rival) pairs; points ``[G, C, n]``, absent ones at cost inf."""

    def __init__(self, clean: Tensor, width: int, capacity: int, price: Price | None = None) -> None:
        """Start from the clean margins ``[G]``; ``width`` is n, and C = ``capacity`` vertices go beside the clean one."""
        groups = clean.shape[0]
        self.capacity = capacity
        self.price = Price() if price is None else price
        self.cost = torch.full((groups, capacity + 1), torch.inf, dtype=torch.float64, device=clean.device)
        self.value = torch.full((groups, capacity + 1), -torch.inf, dtype=torch.float64, device=clean.device)
        self.cost[:, 0], self.value[:, 0] = 0.0, clean
        self.point = torch.zeros((groups, capacity, width), dtype=torch.float64, device=clean.device)
        self.multiplier: float | None = None  # the master's, once it is known
        self.near = torch.full_like(clean, torch.inf).masked_fill_(clean >= 0, 0.0)
        self.near_point = torch.zeros((groups, width), dtype=torch.float64, device=clean.device)

    def offer(self, group: Tensor, distance: Tensor, value: Tensor, point: Tensor) -> None:
        """Take points ``[P, R, n]`` of distinct groups ``[P]``, at ``distance [P, R]`` with margins ``value [P, R]``."""
        self._offer_near(group, distance, value, point)
        cost = self.price.of(distance)
        value = value.masked_fill(torch.isinf(cost), -torch.inf)
        above = (value > self._height(group, cost)).any(dim=1).nonzero().squeeze(1)
        if above.numel() == 0:
            return
        group, cost, value, point = group[above], cost[above], value[above], point[above]
        every_d = torch.cat([self.cost[group], cost], dim=1)
        every_v = torch.cat([self.value[group], value], dim=1)
        index = envelope(every_d, every_v, max(every_d.shape[1], self.capacity + 1))
        if index.shape[1] > self.capacity + 1:
            index = thinned(every_d, every_v, index, self.capacity + 1, self.multiplier)
        absent = index < 0
        index = index.clamp_(min=0)
        self.cost[group] = every_d.gather(1, index).masked_fill_(absent, torch.inf)
        self.value[group] = every_v.gather(1, index).masked_fill_(absent, -torch.inf)
        self._gather_points(group, index[:, 1:] - 1, point)

    def _gather_points(self, group: Tensor, index: Tensor, point: Tensor) -> None:
        """Keep, of the old points and the new, those at ``index [P, C]`` (old first)."""
        new_row, new_slot = (index >= self.capacity).nonzero(as_tuple=True)
        old = index.clamp(min=0, max=self.capacity - 1)
        kept = self.point[group.unsqueeze(1), old]
        kept[new_row, new_slot] = point[new_row, index[new_row, new_slot] - self.capacity]
        self.point[group] = kept

    def _offer_near(self, group: Tensor, distance: Tensor, value: Tensor, point: Tensor) -> None:
        nearest, slot = torch.where(value >= 0, distance, torch.inf).min(dim=1)
        closer = (nearest < self.near[group]).nonzero().squeeze(1)
        if closer.numel():
            self.near[group[closer]] = nearest[closer]
            self.near_point[group[closer]] = point[closer, slot[closer]]

    def _height(self, group: Tensor, cost: Tensor) -> Tensor:
        """The envelope's height ``[P, R]`` at ``cost [P, R]``, with a relative tolerance on top."""
        d, v = self.cost[group], self.value[group]
        right = torch.searchsorted(d, cost.contiguous(), right=True).clamp_(min=1)
        last = torch.isfinite(d).sum(dim=1, keepdim=True) - 1
        right = torch.minimum(right, last.clamp(min=1))
        left = right - 1
        d0, v0 = d.gather(1, left), v.gather(1, left)
        d1, v1 = d.gather(1, right), v.gather(1, right)
        share = ((cost - d0) / (d1 - d0)).clamp_(0.0, 1.0)
        height = torch.where(torch.isfinite(d1), v0 + share * (v1 - v0), v0)
        return height + INDISTINCT * (1 + height.abs())

    def best(self, multiplier: float) -> tuple[Tensor, Tensor]:
        """``max_k v_k - multiplier d_k`` ``[G]`` and the vertex that attains it ``[G]`` (0 is the clean point)."""
        present = torch.isfinite(self.cost)
        score, vertex = torch.where(present, self.value - multiplier * self.cost, -torch.inf).max(dim=1)
        return score, vertex

    def vertices(self, multiplier: float) -> tuple[Tensor, Tensor, Tensor]:
        """Groups ``[M]`` and points ``[M, n]`` of every vertex but the clean ones, then of the nearest crossings.

        With each its loss at a multiplier, ``multiplier c - v``, or for inf its distance; a crossing's margin is taken for 0.
        """
        kept = torch.isfinite(self.cost[:, 1:])
        group = kept.nonzero()[:, 0]
        crossed = (torch.isfinite(self.near) & (self.near > 0)).nonzero().squeeze(1)
        cost, near = self.cost[:, 1:][kept], self.near[crossed]
        if math.isinf(multiplier):
            loss, near_loss = cost, near
        else:
            loss, near_loss = multiplier * cost - self.value[:, 1:][kept], multiplier * self.price.of(near)
        points = torch.cat([self.point[kept], self.near_point[crossed]])
        return torch.cat([group, crossed]), points, torch.cat([loss, near_loss])


def multiplier(
    pool: Pool, weight: Tensor, rivals: int, budget: float, worth: Callable[[Tensor], Tensor] = torch.clone
) -> float:
    """A minimiser of ``lam budget + sum_i w_i max_k (v_ik - lam c_ik)`` over the pool, costs ``c = d^p``, by bisection.

    ``weight [N]``; groups are sample-major with ``rivals`` each. The atoms' values are the ``worth`` (rising, its slope at
    most 1) of their margins to their own rival.
    """
    samples = weight.shape[0]
    d = pool.cost.reshape(samples, -1)
    v = worth(pool.value).reshape(samples, -1)
    v = torch.where(torch.isfinite(d), v, -torch.inf)
    rise = (pool.value[:, 1:] - pool.value[:, :1]) / pool.cost[:, 1:].clamp(min=1e-300)
    low, high = 0.0, max(0.0, float(rise.nan_to_num(nan=0.0, neginf=0.0, posinf=0.0).max()) * 1.01)
    d_finite = torch.where(torch.isfinite(d), d, 0.0)
    for _ in range(60):
        lam = 0.5 * (low + high)
        spent = float((weight * d_finite.gather(1, (v - lam * d_finite).argmax(dim=1, keepdim=True)).squeeze(1)).sum())
        low, high = (lam, high) if spent > budget else (low, lam)
        if high - low <= 1e-9 * (1 + high):
            break
    return high
