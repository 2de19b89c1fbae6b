"""Refinement of the pool where the master will look: near its multiplier (margin loss), or at the nearest crossings.

Margin loss: with the pool's own multiplier lam, the rivals whose envelopes score best at ``m_j - lam d`` are attacked
again from their best vertex, in balls around its distance; lam, the vertices and the spread of the balls then follow.
Zero-one: the ball shrinks below the nearest crossing known, the margin is ascended there, and what crosses is pulled
towards the sample (docs/theory.md, sections 2, 4 and 10).
"""

from __future__ import annotations

import torch
from torch import Tensor

from wdaverify.attacks.ascent import Arena, Schedule
from wdaverify.attacks.pool import multiplier
from wdaverify.attacks.wda_pp import bisect

RIVALS = 4
ROUNDS = 4
TRIES = 9
SPREAD = 0.25
CLIMB = Schedule(steps=20, first=0.2, last=0.01)

SHRINKS = (0.3, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002)
CONTENDERS = 1.5
"""Rivals whose crossing is at most this much farther than the sample's nearest are refined."""


def refine_envelopes(arena: Arena) -> None:
    """Sharpen the envelopes around the multiplier of the restricted master."""
    weight = torch.tensor(arena.problem.samples.w, dtype=torch.float64, device=arena.centre.device)
    for k in range(ROUNDS):
        if arena.clock.over():
            return
        lam = multiplier(arena.pool, weight, arena.rivals, arena.problem.radius)
        score, vertex = arena.pool.best(lam)
        best = score.reshape(-1, arena.rivals).topk(min(RIVALS, arena.rivals), dim=1).indices
        first = torch.arange(weight.shape[0], device=weight.device).unsqueeze(1) * arena.rivals
        group = (first + best).reshape(-1)
        spread = SPREAD / 2**k
        factor = torch.linspace(-1.0, 1.0, TRIES, dtype=torch.float64, device=weight.device)
        for part in arena.batches(group.shape[0], TRIES):
            _climb_around(arena, group[part], vertex[group[part]], (1 + spread) ** factor)


def _climb_around(arena: Arena, group: Tensor, vertex: Tensor, factor: Tensor) -> None:
    """Ascend from the envelopes' vertices ``[P]`` (not the clean ones), scaled towards and away by ``factor [R]``."""
    vertex = vertex.clamp(min=1)
    distance = arena.pool.distance[group, vertex]
    there = torch.isfinite(distance).nonzero().squeeze(1)
    group, vertex, distance = group[there], vertex[there], distance[there]
    if group.numel() == 0:
        return
    point = arena.pool.point[group, vertex - 1]
    centre = arena.centre[group // arena.rivals]
    start = centre.unsqueeze(1) + factor[:, None] * (point - centre).unsqueeze(1)
    arena.ascend(group, distance.unsqueeze(1) * factor, arena.geometry.clip(start), CLIMB)


def refine_crossings(arena: Arena) -> None:
    """Pull the nearest crossings of every sample nearer; samples that are misclassified already are left alone."""
    for shrink in SHRINKS:
        if arena.clock.over():
            return
        near = arena.pool.near.reshape(-1, arena.rivals)
        nearest = near.amin(dim=1, keepdim=True)
        wanted = torch.isfinite(near) & (near <= CONTENDERS * nearest) & (nearest > 0)
        group = wanted.reshape(-1).nonzero().squeeze(1)
        for part in arena.batches(group.shape[0], 2):
            _shrink(arena, group[part], shrink)


def _shrink(arena: Arena, group: Tensor, shrink: float) -> None:
    """Look for crossings of groups ``[P]`` in balls smaller by ``shrink`` and by half of it."""
    sample = group // arena.rivals
    near, point = arena.pool.near[group], arena.pool.near_point[group]
    factor = 1 - near.new_tensor([shrink, 0.5 * shrink])
    centre = arena.centre[sample]
    start = centre.unsqueeze(1) + factor[:, None] * (point - centre).unsqueeze(1)
    arena.ascend(group, near.unsqueeze(1) * factor, arena.geometry.clip(start), CLIMB)
    _pull_in(arena, group)


def _pull_in(arena: Arena, group: Tensor) -> None:
    """Bisect the rays from the samples to the crossings of groups ``[P]``; each sample's nearest goes to the rival it crosses to."""
    sample = group // arena.rivals
    centre = arena.centre[sample]
    point = bisect(arena, sample, centre, arena.pool.near_point[group])
    table = torch.full_like(arena.clean, torch.inf)
    table.view(-1)[group] = arena.geometry.distance(point, centre)
    nearest, slot = table.min(dim=1)
    row = torch.zeros_like(table, dtype=torch.int64)
    row.view(-1)[group] = torch.arange(group.shape[0], device=group.device)
    sample = torch.isfinite(nearest).nonzero().squeeze(1)
    point, distance = point[row[sample, slot[sample]]], nearest[sample]
    margin, attained = arena.largest_margin(point, sample)
    crossed = sample * arena.rivals + attained
    arena.pool.offer(crossed, distance.unsqueeze(1), margin.unsqueeze(1), point.unsqueeze(1))
