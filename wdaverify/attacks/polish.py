"""Refinement of the pool where the master will look: near its multiplier, in the ball (order inf), or at the nearest crossings.

All losses but zero-one: with the pool's own multiplier lam, the rivals whose envelopes score best at ``m_j - lam d^p`` are
attacked again from their best vertex, in balls around its distance; lam, the vertices and the spread of the balls then
follow. Orders 2 and inf (there lam is 0 and one ball counts) look farther out, where there are more local maxima: their
vertices are also shaken first, and then attacked in turn along the cost's steepest steps and l2's.
Zero-one: a sample for which no crossing was found borrows other samples' points; the ball shrinks below the nearest crossing known,
the margin is ascended there, and what crosses is pulled towards the sample (docs/theory.md, sections 2, 4 and 10).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from wdaverify.attacks.ascent import Arena, Schedule
from wdaverify.attacks.pool import multiplier
from wdaverify.attacks.wda_pp import bisect

RIVALS = 3
ROUNDS = 6
TRIES = 5
SPREAD = 0.25
CLIMB = Schedule(steps=20, first=0.2, last=0.01)

SHRINKS = (0.3, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002)
SLACK = 5.0
"""After the first approach of a crossing those in balls smaller by ``s`` are taken to bring it ``1 + SLACK s`` times nearer at most."""
SETTLED = 0.9
"""A crossing that its last approach brought to less than this share of its distance is approached again, however far."""
LENDERS = 256
APPROACHES = 8
"""How often a borrowed crossing is looked for in a ball that is smaller by the first of ``SHRINKS``."""
CONTENDERS = 1.5
"""Rivals whose crossing is at most this much farther than the sample's nearest are refined."""


def refine_envelopes(arena: Arena, seed: int) -> None:
    """Sharpen the envelopes around the multiplier of the restricted master."""
    generator = torch.Generator(device=arena.centre.device).manual_seed(seed)
    for k in range(ROUNDS):
        if arena.clock.over():
            return
        score, vertex, lam = _scored(arena)
        arena.pool.multiplier = lam
        group = _leading(arena, score)
        spread = SPREAD / 2**k
        factor = torch.linspace(-1.0, 1.0, TRIES, dtype=torch.float64, device=arena.centre.device)
        for part in arena.batches(group.shape[0], TRIES):
            if arena.problem.cost.order != 1:
                _climb_shaken(arena, group[part], vertex[group[part]], generator, smooth=k % 2 == 0)
                vertex = arena.pool.best(lam)[1]
            if not arena.capped:
                _climb_around(
                    arena,
                    group[part],
                    vertex[group[part]],
                    (1 + spread) ** factor,
                    smooth=k % 2 == 1 and arena.problem.cost.order != 1,
                )


def leading(arena: Arena) -> Tensor:
    """The groups ``[P]`` that matter as far as is known: of nearest crossings for zero-one, else of best scores."""
    if arena.problem.loss.rule.by_distances:
        return _leading(arena, -arena.pool.near)
    return _leading(arena, _scored(arena)[0])


def _scored(arena: Arena) -> tuple[Tensor, Tensor, float]:
    """Each envelope's best score at the pool's own multiplier ``[G]``, the vertex that attains it ``[G]``, the multiplier."""
    lam = master_multiplier(arena)
    return *arena.pool.best(lam), lam


def master_multiplier(arena: Arena) -> float:
    """The multiplier of the restricted master on the pool; 0 at order inf, and inf for zero-one, where the nearest crossing counts."""
    if arena.problem.loss.rule.by_distances:
        return math.inf
    if arena.capped:
        return 0.0
    weight = torch.tensor(arena.problem.samples.w, dtype=torch.float64, device=arena.centre.device)
    return multiplier(arena.pool, weight, arena.rivals, arena.budget, arena.worth)


def _leading(arena: Arena, score: Tensor) -> Tensor:
    """The groups ``[P]`` of each sample's rivals of best ``score [G]``."""
    best = score.reshape(-1, arena.rivals).topk(min(RIVALS, arena.rivals), dim=1).indices
    first = torch.arange(best.shape[0], device=best.device).unsqueeze(1) * arena.rivals
    return (first + best).reshape(-1)


def _climb_shaken(arena: Arena, group: Tensor, vertex: Tensor, generator: torch.Generator, *, smooth: bool) -> None:
    """Ascend from the envelopes' vertices ``[P]``, each coordinate moved at random by up to the radius of the ball.

    The ball is the radius' for order inf, else it reaches from 1.25 to 12.5 times as far as the vertex (as the radius if
    there is none but the clean one).
    """
    centre = arena.centre[group // arena.rivals]
    point = torch.where((vertex > 0).unsqueeze(1), arena.pool.point[group, (vertex - 1).clamp(min=0)], centre)
    radius = torch.full_like(centre[:, 0], arena.radius)
    if not arena.capped:
        distance = arena.pool.price.distance(arena.pool.cost[group, vertex])
        radius = torch.where(vertex > 0, (1 + SPREAD) * distance, radius)
    wider = torch.logspace(0.0, 0.0 if arena.capped else 1.0, TRIES, dtype=centre.dtype, device=centre.device)
    ball = torch.minimum(radius.unsqueeze(1) * wider, arena.reach[group // arena.rivals].unsqueeze(1))
    shape = (*ball.shape, centre.shape[1])
    factor = torch.linspace(0.0, 1.0, TRIES, dtype=centre.dtype, device=centre.device)
    draw = 2 * torch.rand(shape, generator=generator, dtype=centre.dtype, device=centre.device) - 1
    start = point.unsqueeze(1) + arena.geometry.free((ball * factor).unsqueeze(2) * draw)
    wide = centre.unsqueeze(1).expand(shape).flatten(0, 1)
    start = arena.geometry.project(arena.geometry.clip(start).flatten(0, 1), wide, ball.reshape(-1))
    arena.ascend(group, ball, start.reshape(shape), CLIMB, smooth=smooth)


def _climb_around(arena: Arena, group: Tensor, vertex: Tensor, factor: Tensor, *, smooth: bool) -> None:
    """Ascend from the envelopes' vertices ``[P]`` (not the clean ones), scaled towards and away by ``factor [R]``."""
    vertex = vertex.clamp(min=1)
    distance = arena.pool.price.distance(arena.pool.cost[group, vertex])
    there = torch.isfinite(distance).nonzero().squeeze(1)
    group, vertex, distance = group[there], vertex[there], distance[there]
    if group.numel() == 0:
        return
    point = arena.pool.point[group, vertex - 1]
    centre = arena.centre[group // arena.rivals]
    start = centre.unsqueeze(1) + factor[:, None] * (point - centre).unsqueeze(1)
    arena.ascend(group, distance.unsqueeze(1) * factor, arena.geometry.clip(start), CLIMB, smooth=smooth)


def borrow_crossings(arena: Arena) -> None:
    """Give samples without a crossing the other samples' points, and pull those in.

    Where the margin is flat around a sample no gradient leads to an error, but an input that the network takes for another
    class is one, however far. At most ``LENDERS`` samples are tried, spread over all of them.
    """
    missing = torch.isinf(arena.pool.near.reshape(-1, arena.rivals)).all(dim=1)
    sample, count = missing.nonzero().squeeze(1), missing.shape[0]
    spread = torch.linspace(0, count - 1, min(count, LENDERS), dtype=torch.float64, device=missing.device)
    lender = spread.round().to(torch.int64)
    for part in arena.batches(sample.shape[0], lender.shape[0]):
        if arena.clock.over():
            return
        _borrow(arena, sample[part], lender)
    mine = missing.repeat_interleave(arena.rivals)
    group = (mine & torch.isfinite(arena.pool.near)).nonzero().squeeze(1)
    for part in arena.batches(group.shape[0], 2):
        pull_in(arena, group[part])
    before = torch.full_like(arena.pool.near, torch.inf)
    for _ in range(APPROACHES):
        group = (mine & (arena.pool.near < before)).nonzero().squeeze(1)  # the others would be asked the same again
        before = arena.pool.near.clone()
        for part in arena.batches(group.shape[0], 2):
            if arena.clock.over():
                return
            _shrink(arena, group[part], SHRINKS[0])
    _refine(arena, mine)


def _borrow(arena: Arena, sample: Tensor, lender: Tensor) -> None:
    """Offer samples ``[M]`` the points of ``lender [K]``, their fixed features kept: for each rival the nearest in l2.

    In l-inf unlike inputs are nearly equally far. On the whole space a sample is searched as far as its lenders from now on.
    """
    centre = arena.centre[sample].unsqueeze(1)
    point = centre + arena.geometry.free(arena.centre[lender] - centre)
    margin = arena.margins(point.flatten(0, 1), sample.repeat_interleave(lender.shape[0]))
    margin = margin.reshape(sample.shape[0], lender.shape[0], arena.rivals)
    distance = arena.geometry.distance(point, centre)
    size = torch.linalg.vector_norm(point - centre, dim=2).unsqueeze(2)
    nearest, slot = torch.where(margin >= 0, size, torch.inf).min(dim=1)
    row, rival = torch.isfinite(nearest).nonzero(as_tuple=True)
    chosen = slot[row, rival]
    far = distance[row, chosen]
    arena.reach[sample] = arena.reach[sample].scatter_reduce(0, row, far, "amax")
    arena.pool.offer(
        sample[row] * arena.rivals + rival,
        far.unsqueeze(1),
        margin[row, chosen, rival].unsqueeze(1),
        point[row, chosen].unsqueeze(1),
    )


def refine_crossings(arena: Arena) -> None:
    """Pull the nearest crossings of every sample nearer, after the first approach of those alone that the budget may buy."""
    _refine(arena, torch.ones_like(arena.pool.near, dtype=torch.bool))


def _refine(arena: Arena, mine: Tensor) -> None:
    """The same for the groups of a mask ``[G]`` alone; samples that need no more are left alone."""
    before = torch.full_like(arena.reach, torch.inf)
    for shrink in SHRINKS:
        if arena.clock.over():
            return
        near = arena.pool.near.reshape(-1, arena.rivals)
        nearest = arena.nearest()
        asked = (nearest > arena.enough) & ((nearest < SETTLED * before) | arena.affordable(1 + SLACK * shrink))
        before = nearest
        wanted = torch.isfinite(near) & (near <= CONTENDERS * nearest.unsqueeze(1)) & asked.unsqueeze(1)
        group = (wanted.reshape(-1) & mine).nonzero().squeeze(1)
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
    pull_in(arena, group)


def pull_in(arena: Arena, group: Tensor) -> None:
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
