"""WDA(m): every sample is attacked in the ball of radius ``m eps``, and ``m^-p`` of its mass is moved there.

Per sample a rival j* is picked by a short probe of the strongest rivals; then ``z_j* - z_y`` is ascended. The rest of
the mass stays, so that the cost is at most ``sum_i w_i m^-p (m eps)^p = eps^p``; order inf takes m = 1 alone
(docs/theory.md, section 10; Le, Dao, Nguyen, Chu, arXiv 2510.10000, there with kappa for m).
"""

from __future__ import annotations

import torch
from torch import Tensor

from wdaverify.attacks.ascent import Arena, Schedule
from wdaverify.transport.distribution import Distribution

PROBED = 5
PROBE = Schedule(steps=3, first=0.5, last=0.3)
CLIMB = Schedule(steps=30, first=0.5, last=0.02)


class _Best:
    """The best iterate of each row, by its margin."""

    def __init__(self, start: Tensor) -> None:
        self.point = start.clone()
        self.value = start.new_full((start.shape[0],), -torch.inf)

    def __call__(self, x: Tensor, value: Tensor) -> None:
        better = value > self.value
        self.value = torch.where(better, value, self.value)
        self.point = torch.where(better.unsqueeze(1), x, self.point)


def attack(arena: Arena, m: float) -> Distribution:
    """The distribution of WDA(m); a sample whose loss does not rise is left where it is."""
    count = arena.centre.shape[0]
    probed = min(PROBED, arena.rivals)
    points = arena.centre.clone()
    for part in arena.batches(count, probed):
        points[part] = _attacked(arena, torch.arange(part.start, part.stop, device=points.device), m, probed)
    sample = torch.arange(count, device=points.device)
    before = arena.loss(arena.clean)
    after = arena.loss(arena.margins(points, sample))
    weight = torch.tensor(arena.problem.samples.w, dtype=torch.float64, device=points.device)
    moved = ((after > before) & (weight > 0)).nonzero().squeeze(1)
    mass = weight[moved] if arena.capped else weight[moved] / m**arena.problem.cost.power
    return Distribution(moved.cpu().numpy(), points[moved].cpu().numpy(), mass.cpu().numpy())


def _attacked(arena: Arena, sample: Tensor, m: float, probed: int) -> Tensor:
    """Attacked points ``[P, n]`` of ``sample [P]``."""
    slots = arena.clean[sample].topk(probed, dim=1).indices
    group = (sample.unsqueeze(1) * arena.rivals + slots).reshape(-1)
    radius = m * arena.radius
    probe = _Best(arena.centre[group // arena.rivals])
    arena.ascend(group, probe.value.new_full((group.shape[0], 1), radius), None, PROBE, probe)
    picked = probe.value.reshape(-1, probed).argmax(dim=1, keepdim=True)
    star = group.reshape(-1, probed).gather(1, picked).squeeze(1)
    climb = _Best(arena.centre[sample])
    arena.ascend(star, climb.value.new_full((star.shape[0], 1), radius), None, CLIMB, climb)
    return climb.point
