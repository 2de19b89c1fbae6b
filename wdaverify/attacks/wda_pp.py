"""WDA++: every sample walks until its label first flips; the budget then buys the nearest flips.

At each step the steepest steps of the strongest rivals are tried and the one that scores best is taken; the last step,
and the ray from the sample, are bisected to the boundary, keeping the misclassified end. With the distances ``d_i`` found,
mass is moved in ascending order of ``d_i`` until ``sum w_i d_i^p = eps^p``, the last sample fractionally; for order inf all
of it where ``d_i <= eps`` (docs/theory.md, sections 4 and 10; Le, Dao, Nguyen, Chu, arXiv 2510.10000).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from wdaverify.attacks.ascent import Arena
from wdaverify.transport.distribution import Distribution

PACES = (1.05, 0.5, 0.2)
"""Step lengths, relative to the linearised distance to the nearest boundary: one walk each."""
STEPS = 40
TRIED = 9
TRIALS = 60
FINE = 2.0**-44
"""Of a segment: so short a piece of it is not divided."""


@dataclass
class Flips:
    """The nearest misclassified ``point [N, n]`` of every sample that was walked to so far, and its ``distance [N]``, inf where none is."""

    point: Tensor
    distance: Tensor

    @classmethod
    def none(cls, arena: Arena) -> Flips:
        """Nothing was walked to."""
        return cls(arena.centre.clone(), torch.full_like(arena.reach, torch.inf))

    def walk(self, arena: Arena, pace: float) -> None:
        """Walk from every sample at a pace."""
        tried = min(TRIED, arena.rivals)
        for part in arena.batches(self.distance.numel(), tried):
            if arena.clock.over():
                return
            point, far = _flipped(arena, torch.arange(part.start, part.stop, device=self.point.device), pace, tried)
            nearer = far < self.distance[part]
            self.distance[part] = torch.where(nearer, far, self.distance[part])
            self.point[part] = torch.where(nearer.unsqueeze(1), point, self.point[part])

    def bought(self, arena: Arena) -> Distribution:
        """The distribution of WDA++; samples that are misclassified already, or never flip, stay where they are."""
        distance = self.distance
        if arena.problem.loss.rule.entropy:  # a flip need not raise the sum over all rivals
            after = arena.loss(arena.margins(self.point, torch.arange(distance.numel(), device=distance.device)))
            distance = distance.masked_fill(after <= arena.loss(arena.clean), torch.inf)
        return _buy(arena, self.point, distance)


def _buy(arena: Arena, points: Tensor, distance: Tensor) -> Distribution:
    """The knapsack on the distances found."""
    d, w = distance.cpu().numpy(), arena.problem.samples.w
    if arena.capped:
        near = np.flatnonzero((d > 0) & (d <= arena.pool.price.limit) & (w > 0))
        return Distribution(near, points.cpu().numpy()[near], w[near])
    d = d**arena.problem.cost.power
    chosen, mass, left = [], [], arena.budget
    for i in np.argsort(d, kind="stable"):
        if left <= 0 or not np.isfinite(d[i]):
            break
        part = float(min(w[i], left / d[i])) if d[i] > 0 else 0.0
        if part > 0:
            chosen.append(int(i))
            mass.append(part)
            left -= part * float(d[i])
    sample = np.array(chosen, dtype=np.int64)
    return Distribution(sample, points.cpu().numpy()[sample], np.array(mass, dtype=np.float64))


def _flipped(arena: Arena, row: Tensor, pace: float, tried: int) -> tuple[Tensor, Tensor]:
    """Misclassified points ``[P, n]`` near samples ``row [P]`` by walks of a pace, and their distances ``[P]`` (inf: there is none)."""
    inside, outside, found = _walk(arena, row, torch.full_like(arena.reach[row], pace), tried)
    last = bisect(arena, row, inside, outside)
    ray = bisect(arena, row, arena.centre[row], last)
    distance = arena.geometry.distance(torch.stack([last, ray]), arena.centre[row])
    point = torch.where((distance[1] < distance[0]).unsqueeze(1), ray, last)
    shortest = distance.amin(dim=0).masked_fill(~found, torch.inf)
    margin, slot = arena.largest_margin(point, row)
    good = (torch.isfinite(shortest) & (margin >= 0)).nonzero().squeeze(1)
    group = row[good] * arena.rivals + slot[good]
    arena.pool.offer(group, shortest[good].unsqueeze(1), margin[good].unsqueeze(1), point[good].unsqueeze(1))
    return point, torch.full_like(shortest, torch.inf).index_copy_(0, good, shortest[good])


def _walk(arena: Arena, row: Tensor, pace: Tensor, tried: int) -> tuple[Tensor, Tensor, Tensor]:
    """The two ends ``[B, n]`` of the last step of each walk from samples ``row [B]``, and whether the label flipped ``[B]``.

    Samples that are misclassified already are no walk: their ends are the sample, at distance 0.
    """
    inside = arena.centre[row]
    outside = inside.clone()
    found = arena.clean[row].amax(dim=1) >= 0
    floor = torch.zeros_like(pace)
    slots = arena.clean[row].topk(tried, dim=1).indices
    walking = (~found).nonzero().squeeze(1)
    for k in range(arena.effort.steps_of(STEPS)):
        if walking.numel() == 0 or arena.clock.over():
            break
        at = inside[walking]
        trial, linear, value = _try_step(arena, row[walking], slots[walking], at, pace[walking], floor[walking])
        if k == 0:
            floor[walking] = 0.2 * linear
        outside[walking] = trial
        crossed = value >= 0
        found[walking[crossed]] = True
        walking = walking[~crossed]
        inside[walking] = trial[~crossed]
    return inside, outside, found


def _try_step(
    arena: Arena, row: Tensor, slots: Tensor, at: Tensor, pace: Tensor, floor: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """One step of walks at ``at [B, n]``.

    Returned are the best trial ``[B, n]``, the linearised distance from ``at`` to the nearest boundary ``[B]`` and the
    trial's largest margin ``[B]``.
    """
    tried, width = slots.shape[1], at.shape[1]
    many = row.repeat_interleave(tried)
    start = at.repeat_interleave(tried, dim=0)
    rival = arena.rival[row].gather(1, slots).reshape(-1)
    margin, gradient = arena.network.margin_gradient(start, arena.label[many], rival)
    steepness = arena.geometry.dual_norm(gradient)
    linear = torch.where(steepness > 0, -margin / steepness, torch.inf).reshape(-1, tried).amin(dim=1)
    reach = arena.reach[row]
    linear = torch.minimum(linear, reach / 4)
    length = pace * torch.maximum(linear, torch.maximum(floor, 1e-4 * reach))
    trial = arena.geometry.steepest(start, gradient, length.repeat_interleave(tried))
    score, _ = arena.largest_margin(trial, many)
    value, best = score.reshape(-1, tried).max(dim=1)
    picked = trial.reshape(-1, tried, width)[torch.arange(row.shape[0], device=row.device), best]
    return picked, linear, value


def bisect(arena: Arena, row: Tensor, inside: Tensor, outside: Tensor) -> Tensor:
    """Misclassified points ``[B, n]`` on segments from correct points ``inside`` to misclassified ones ``outside``.

    The margin ``clear`` of the arena is kept where there is one. Along a segment the margin is piecewise linear: so every
    third trial halves what is left of it, and the others stand where the chord meets that margin, a little to the side that did not
    move last.
    """
    above = arena.largest_margin(outside, row)[0]
    enough = torch.minimum(above, arena.clear[row])
    low, high = torch.zeros_like(inside[:, :1]), torch.ones_like(inside[:, :1])
    above, below = above - enough, arena.largest_margin(inside, row)[0] - enough
    beyond, point = torch.ones_like(above, dtype=torch.bool), outside.clone()
    for k in range(TRIALS):
        if arena.clock.over() or not bool((high - low > FINE).any()):
            break
        middle = 0.5 * (low + high)
        if k % 3 < 2:
            chord = (below / (below - above)).nan_to_num(nan=0.5).clamp(0.0, 1.0).unsqueeze(1)
            aside = torch.where(beyond, 0.5 * FINE, -0.5 * FINE).unsqueeze(1)
            trial = low + chord * (high - low) + aside
            middle = torch.where((trial > low) & (trial < high), trial, middle)
        moved = arena.geometry.clip(inside + middle * (outside - inside))
        value = arena.largest_margin(moved, row)[0] - enough
        wrong = value >= 0
        wide = wrong.unsqueeze(1)
        point = torch.where(wide, moved, point)
        low, high = torch.where(wide, low, middle), torch.where(wide, middle, high)
        above, below = torch.where(wrong, value, above), torch.where(wrong, below, value)
        beyond = ~wrong
    return point
