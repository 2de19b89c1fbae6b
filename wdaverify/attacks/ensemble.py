"""The ensemble: samples are attacked in balls of their own again and again, each time by another objective from another start.

At order inf a round takes the samples that stand, with all their rivals, in the ball of the radius; else (zero-one) those whose
crossing the budget may buy, with their nearest rivals, in balls of a share f of the nearest crossing's distance, where f is kept
while it succeeds and goes half-way to 1 where it fails. From a point of the ball ``||x - x_i|| <= r``
(the sample itself in the first round, then random ones, or the crossing drawn in) with the gradient g of the round's objective
(see ``objectives``)

    y = project(x_k + a r direction(g)),    x_(k+1) = project(x_k + 3/4 (y - x_k) + 1/4 (x_k - x_(k-1)))

where ``direction`` is the steepest step of the cost's norm. The relative length a begins at 2 and is halved for rows that have stopped
to rise, which go on from their best point (auto-PGD: Croce and Hein, arXiv 2003.01690). A sample leaves at its first crossing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from wdaverify.attacks import objectives, polish, wda
from wdaverify.attacks.ascent import Arena
from wdaverify.ground import Norm

ROUNDS = 10
STEPS = 20
NEAR_ROUNDS = 10
NEAR_STEPS = 15
NEAR_RIVALS = 5
SHARE = 0.9
CLOSEST = 0.99
BEYOND_FIRST, BEYOND = 9.0, 1.5
"""How many times as far as the budget reaches the crossings of samples may be that are attacked: at first, later."""
TURNS = (
    objectives.scaled,
    objectives.margin,
    objectives.margin,
    objectives.scaled,
    objectives.margin,
    objectives.margin,
    objectives.entropy,
)
FIRST = 2.0
RISING = 0.75
"""The share of steps that must rise for a row to keep its step length."""
ONWARD = 0.75


def break_down(arena: Arena, generator: torch.Generator) -> None:
    """Attack the samples without a crossing within the radius (order inf); what crosses goes to the pool."""
    steps = arena.effort.steps_of(STEPS)
    for k in range(arena.effort.restarts or ROUNDS):
        standing = (arena.nearest() > arena.enough).nonzero().squeeze(1)
        if standing.numel() == 0:
            return
        for part in arena.batches(standing.numel(), arena.rivals):
            if arena.clock.over():
                return
            row = standing[part].repeat_interleave(arena.rivals)
            slot = torch.arange(arena.rivals, device=row.device).repeat(part.stop - part.start)
            radius = torch.full_like(arena.reach[row], arena.radius)
            start = arena.random_points(arena.centre[row], radius, generator) if k else None
            _climb(arena, _opened(arena, row, slot, radius, start), TURNS[k % len(TURNS)], steps)


def climb(arena: Arena, generator: torch.Generator) -> None:
    """Losses that rise with the margin: WDA's balls ``restarts`` times more (none by itself), leading rivals from random points."""
    powers = (1,) if arena.capped else arena.effort.powers
    for k in range(arena.effort.restarts or 0):
        group = polish.leading(arena)
        for part in arena.batches(group.numel(), len(powers)):
            if arena.clock.over():
                return
            some = group[part]
            centre = arena.centre[some // arena.rivals].repeat_interleave(len(powers), dim=0)
            radius = arena.radius * arena.reach.new_tensor(powers).expand(some.numel(), -1)
            start = arena.random_points(centre, radius.reshape(-1), generator)
            arena.ascend(some, radius, start, wda.CLIMB, smooth=k % 2 == 1 and arena.problem.cost.order != 1)


def draw_near(arena: Arena, generator: torch.Generator) -> None:
    """Look for crossings nearer than those known (finite orders); the nearest go to the pool."""
    steps = arena.effort.steps_of(NEAR_STEPS)
    share = torch.full_like(arena.reach, SHARE)
    for k in range(arena.effort.restarts or NEAR_ROUNDS):
        if arena.clock.over():
            return
        nearest, before = arena.nearest(), arena.pool.near.clone()
        asked = torch.isfinite(nearest) & (nearest > 0) & arena.affordable(BEYOND if k else BEYOND_FIRST)
        sample = asked.nonzero().squeeze(1)
        contending = _contending(arena, NEAR_RIVALS if k else arena.rivals)
        for part in arena.batches(sample.numel(), contending.shape[1]):
            if arena.clock.over():
                break
            some = sample[part]
            row, slot = some.repeat_interleave(contending.shape[1]), contending[some].reshape(-1)
            radius = (share * nearest)[row]
            start = None
            if k % 2:
                start = arena.random_points(arena.centre[row], radius, generator)
            elif k:
                start = _drawn_in(arena, row, slot, radius, share[row])
            _climb(arena, _opened(arena, row, slot, radius, start), TURNS[k % len(TURNS)], steps)
        closer = (arena.pool.near < before).nonzero().squeeze(1)
        for part in arena.batches(closer.numel(), 2):
            polish.pull_in(arena, closer[part])
        share = torch.where(arena.nearest() < nearest, share, 0.5 * (1 + share)).clamp(max=CLOSEST)


def _contending(arena: Arena, count: int) -> Tensor:
    """The slots ``[N, count]`` of each sample's rivals of nearest crossings, then of largest margins at the sample."""
    near = arena.pool.near.reshape(arena.clean.shape)
    known = torch.isfinite(near)
    worst = near.masked_fill(~known, 0.0).amax() + 1
    rank = torch.where(known, -near, arena.clean - arena.clean.amax() - worst)
    return rank.topk(min(count, arena.rivals), dim=1).indices


def _drawn_in(arena: Arena, row: Tensor, slot: Tensor, radius: Tensor, share: Tensor) -> Tensor:
    """The crossings to rivals, drawn in towards their samples into the balls; the samples where there is none."""
    group, centre = row * arena.rivals + slot, arena.centre[row]
    known = torch.isfinite(arena.pool.near[group]).unsqueeze(1)
    delta = torch.where(known, arena.pool.near_point[group] - centre, 0.0)
    moved = arena.geometry.clip(centre + share.unsqueeze(1) * delta)
    return arena.geometry.project(moved, centre, radius)


@dataclass
class _Rows:
    """Rows of an ascent: ``[B]`` each, or ``[B, n]``; ``heading`` is the gradient at the best point."""

    sample: Tensor
    slot: Tensor
    centre: Tensor
    radius: Tensor
    x: Tensor
    before: Tensor
    best: Tensor
    point: Tensor
    heading: Tensor
    length: Tensor
    last: Tensor
    rises: Tensor
    settled: Tensor
    halved: Tensor

    def keep(self, kept: Tensor) -> None:
        """Drop the other rows."""
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name)[kept])


def _opened(arena: Arena, row: Tensor, slot: Tensor, radius: Tensor, start: Tensor | None) -> _Rows:
    """Rows of samples ``row [B]`` with rivals ``slot [B]`` in balls ``radius [B]``, at the samples where there is no ``start``."""
    centre = arena.centre[row]
    x = centre if start is None else start
    low, zero = torch.full_like(radius, -torch.inf), torch.zeros_like(radius)
    return _Rows(
        row, slot, centre, radius, x, x, low, x, torch.zeros_like(x), zero + FIRST, low, zero, low, zero.bool()
    )


def _checkpoints(steps: int) -> Iterator[int]:
    """The steps after which lengths are looked at: at 0.22, then at intervals that shrink by 0.03 down to 0.06 of them."""
    before, at = 0.0, 0.22
    while at <= 1:
        yield math.ceil(at * steps)
        before, at = at, at + max(at - before - 0.03, 0.06)


def _climb(arena: Arena, rows: _Rows, objective: objectives.Objective, steps: int) -> None:
    """Ascend rows until their samples cross or the steps are made."""
    looks, looked = set(_checkpoints(steps)), 0
    for k in range(steps + 1):
        if arena.clock.over():
            return
        rival = arena.rival[rows.sample, rows.slot]
        z, value, gradient = arena.network.climbed(rows.x, arena.label[rows.sample], rival, objective)
        rows.rises += value > rows.last
        rows.last = value
        better = value > rows.best
        rows.best = torch.where(better, value, rows.best)
        rows.point = torch.where(better.unsqueeze(1), rows.x, rows.point)
        rows.heading = torch.where(better.unsqueeze(1), gradient, rows.heading)
        stays = _told(arena, rows, z)
        if stays is not None:
            rows.keep(stays)
            gradient = gradient[stays]
            if rows.sample.numel() == 0:
                return
        if k in looks:
            gradient = _shorten(rows, gradient, RISING * (k - looked))
            looked = k
        if k < steps:
            _step(arena, rows, gradient, first=k == 0)


def _told(arena: Arena, rows: _Rows, z: Tensor) -> Tensor | None:
    """Hand the crossings among rows to the pool, the clearest of every sample; which rows stay, or None for all."""
    score = z.gather(1, arena.rival[rows.sample]) - z.gather(1, arena.label[rows.sample].unsqueeze(1))
    margin, slot = score.max(dim=1)
    if not bool((margin >= 0).any()):
        return None
    clearest = torch.full_like(arena.reach, -torch.inf).scatter_reduce(0, rows.sample, margin, "amax")
    crossed = clearest >= 0
    row = torch.zeros_like(arena.label)
    mine = ((margin == clearest[rows.sample]) & crossed[rows.sample]).nonzero().squeeze(1)
    row[rows.sample[mine]] = mine
    row = row[crossed]
    point = rows.x[row]
    distance = arena.geometry.distance(point, rows.centre[row])
    group = rows.sample[row] * arena.rivals + slot[row]
    arena.pool.offer(group, distance.unsqueeze(1), margin[row].unsqueeze(1), point.unsqueeze(1))
    return ~crossed[rows.sample]


def _shorten(rows: _Rows, gradient: Tensor, enough: float) -> Tensor:
    """Halve the steps of rows that rose too seldom, or are no better than at the last look at the same length."""
    tired = (rows.rises < enough) | (~rows.halved & (rows.best <= rows.settled))
    rows.length = torch.where(tired, 0.5 * rows.length, rows.length)
    back = tired.unsqueeze(1)
    rows.x = torch.where(back, rows.point, rows.x)
    rows.before = torch.where(back, rows.point, rows.before)
    rows.last = torch.where(tired, rows.best, rows.last)
    rows.halved, rows.settled = tired, rows.best
    rows.rises = torch.zeros_like(rows.rises)
    return torch.where(back, rows.heading, gradient)


def _step(arena: Arena, rows: _Rows, gradient: Tensor, *, first: bool) -> None:
    """One step of every row."""
    geometry = arena.geometry
    if geometry.norm is Norm.INF:
        cube = geometry.within(rows.centre, rows.radius)
        moved = cube.clip(torch.addcmul(rows.x, gradient.sign(), (rows.length * rows.radius).unsqueeze(1)))
        fit = cube.clip
    else:
        step = geometry.steepest(rows.x, gradient, rows.length * rows.radius)
        moved = geometry.project(step, rows.centre, rows.radius)

        def fit(x: Tensor) -> Tensor:
            return geometry.project(geometry.clip(x), rows.centre, rows.radius)

    share = 1.0 if first else ONWARD
    x = rows.x
    rows.x = fit(x + share * (moved - x) + (1 - share) * (x - rows.before))
    rows.before = x
