"""The first approach of the nearest crossings (zero-one): few evaluations, and those where the budget may buy.

The linearised distances of all rivals, ``-m_j / ||grad m_j||_*`` at each sample, say which samples the budget may reach and by which
rivals. Two walks go from each of these samples: against the rival that is nearest as linearised, and against the foremost of the others
at every step. With the nearest crossing ``d`` of the sample known so far, ``g_k`` and ``a_k`` falling and ``s = -m / ||grad m||_*`` at x,

    r = |x - x_i| + 1.01 s                  before any crossing: to the boundary as linearised here, and a little beyond
    r = min(d, |x - x_i| + 0.98 s)          at a crossing well beyond it: nearly back (s < 0), half-way to x_i at most
    r = min((1 - g_k) d, r / (1 - g_k))     elsewhere: a little less than what is known

    x <- project(x + steepest(u, a_k r))    in the ball of radius r, with the momentum u of ``ascent``

The radius follows the fast minimum-norm attack (Pintor et al., arXiv 2102.12827), here for every norm of the cost.
"""

from __future__ import annotations

import torch
from torch import Tensor

from wdaverify.attacks import objectives, polish
from wdaverify.attacks.ascent import NEAREST, Arena

RIVALS = 2
"""Walks of a sample: against the nearest rivals as linearised, the last one against whoever is foremost."""
STEPS = 30
REACHED = 1.5
"""How many times as far as the budget reaches, by linearised distances, samples may be that are approached."""
BEYOND, SHORT = 1.01, 0.98
EXCESS = 0.01
"""The share of a crossing's distance by which it has to be beyond the boundary, as linearised, to be drawn back there."""
SHRINK_FIRST, SHRINK_LAST = 0.05, 0.001
STEP_FIRST, STEP_LAST = 1.0, 0.02
MOMENTUM = 0.75


def approach(arena: Arena) -> None:
    """Look for the crossings that the budget may buy; they go to the pool."""
    linear = _linearised(arena)
    sample = (arena.affordable(REACHED, linear.amin(dim=1)) & (arena.nearest() > arena.enough)).nonzero().squeeze(1)
    rivals = min(RIVALS, linear.shape[1])
    slots = linear.topk(rivals, dim=1, largest=False).indices
    for part in arena.batches(sample.numel(), rivals):
        if arena.clock.over():
            return
        some = sample[part]
        last = torch.arange(rivals, device=some.device) == RIVALS - 1
        _walk(arena, some.repeat_interleave(rivals), slots[some].reshape(-1), last.repeat(some.numel()))
    closer = torch.isfinite(arena.pool.near) & (arena.pool.near > arena.enough)
    group = (closer & arena.affordable(1.0).repeat_interleave(arena.rivals)).nonzero().squeeze(1)
    for part in arena.batches(group.numel(), 2):
        if arena.clock.over():
            return
        polish.pull_in(arena, group[part])


def _linearised(arena: Arena) -> Tensor:
    """The linearised distance ``[N, J]`` of each sample to the boundary with each rival; inf for all but the leading ``NEAREST``."""
    out = torch.full_like(arena.clean, torch.inf)
    tried = min(NEAREST, arena.rivals)
    for part in arena.batches(arena.label.numel(), tried):
        if arena.clock.over():
            break
        slots = arena.clean[part].topk(tried, dim=1).indices
        row = torch.arange(part.start, part.stop, device=slots.device).repeat_interleave(tried)
        slot = slots.reshape(-1)
        margin, gradient = arena.network.margin_gradient(arena.centre[row], arena.label[row], arena.rival[row, slot])
        out[row, slot] = _to_boundary(arena, margin, gradient)
    return out


def _to_boundary(arena: Arena, margin: Tensor, gradient: Tensor) -> Tensor:
    """``-m / ||grad m||_*`` ``[B]``; inf where the margin is flat."""
    steepness = arena.geometry.dual_norm(gradient)
    return torch.where(steepness > 0, -margin / steepness, torch.inf)


def _walk(arena: Arena, row: Tensor, slot: Tensor, follows: Tensor) -> None:
    """Approach the boundaries of samples ``row [B]`` with rivals ``slot [B]``, or with the foremost at each step (``follows [B]``)."""
    centre, label, rival, reach = arena.centre[row], arena.label[row], arena.rival[row, slot], arena.reach[row]
    x, heading, radius = centre, torch.zeros_like(centre), torch.zeros_like(reach)
    steps = arena.effort.steps_of(STEPS)
    for k in range(steps + 1):
        if arena.clock.over():
            return
        z, margin, gradient = arena.network.climbed(x, label, rival, objectives.margin)
        far = arena.geometry.distance(x, centre)
        crossed, foremost = _told(arena, row, x, far, z)
        nearest = arena.nearest()[row]
        share = k / max(steps - 1, 1)
        shrink = 1 - SHRINK_FIRST * (SHRINK_LAST / SHRINK_FIRST) ** share
        ahead = _to_boundary(arena, margin, gradient)
        known, back = torch.isfinite(nearest), crossed & (-ahead > EXCESS * far)
        radius = torch.where(known, torch.minimum(radius / shrink, shrink * nearest), far + BEYOND * ahead)
        radius = torch.where(back, torch.minimum(far + torch.maximum(SHORT * ahead, -0.5 * far), nearest), radius)
        radius = torch.minimum(radius, reach)
        heading = MOMENTUM * heading + gradient / gradient.abs().sum(dim=1, keepdim=True).clamp(min=1e-300)
        length = STEP_FIRST * (STEP_LAST / STEP_FIRST) ** share
        x = arena.geometry.project(arena.geometry.steepest(x, heading, length * radius), centre, radius)
        rival = torch.where(follows, foremost, rival)
        left = nearest > arena.enough
        if not bool(left.any()):
            return
        if not bool(left.all()):
            kept = (row, centre, label, rival, reach, follows, x, heading, radius)
            row, centre, label, rival, reach, follows, x, heading, radius = (v[left] for v in kept)


def _told(arena: Arena, row: Tensor, x: Tensor, far: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """Hand the nearest crossing of every sample among rows to the pool; which rows cross ``[B]``, and the foremost rivals ``[B]``."""
    score = z.gather(1, arena.rival[row]) - z.gather(1, arena.label[row].unsqueeze(1))
    margin, slot = score.max(dim=1)
    crossed = margin >= 0
    distance = far.masked_fill(~crossed, torch.inf)
    least = torch.full_like(arena.reach, torch.inf).scatter_reduce(0, row, distance, "amin")
    mine = ((distance == least[row]) & crossed).nonzero().squeeze(1)
    one = torch.full_like(arena.label, -1)
    one[row[mine]] = mine
    at = one[one >= 0]
    if at.numel():
        group = row[at] * arena.rivals + slot[at]
        arena.pool.offer(group, far[at].unsqueeze(1), margin[at].unsqueeze(1), x[at].unsqueeze(1))
    return crossed, arena.rival[row, slot]
