"""What the attacks share: the question on a device, a clock, and projected ascent on a margin that pools every iterate.

From ``x`` in the ball of radius r around ``x_i`` and the box, with ``u_k`` the momentum of the normalised gradients,

    u_(k+1) = mu u_k + g / ||g||_1,    x <- project(x + steepest(u, a_k r)),    a_k falling geometrically

in cost units (see ``recast``; docs/theory.md, section 10; the momentum is that of Dong et al., arXiv 1710.06081).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from wdaverify.attacks.effort import Effort
from wdaverify.attacks.geometry import Geometry
from wdaverify.attacks.objectives import Objective
from wdaverify.attacks.pool import Pool, Price
from wdaverify.attacks.recast import Recast
from wdaverify.attacks.torch_network import TorchNetwork
from wdaverify.certify.enclosure import rival_margin
from wdaverify.network.model import Array
from wdaverify.problem import GroundCost, Loss, Norm, Samples, Support, WdroProblem

POOL_NUMBERS = 2**26
"""Numbers that the pool's points may take in all (512 MiB); the envelopes' capacity follows from it."""

BATCH_NUMBERS = {"cpu": 2**18, "cuda": 2**24}
"""Numbers in one batch of points: small enough for a processor's cache, large enough for a GPU."""

OFFERED = 8
"""Steps whose iterates are handed to the pool together."""

NEAREST = 9
"""Rivals whose boundaries are looked at for how far the whole space is searched."""

FARTHEST = 1e6

CLEAR = 1e-12
WIDER = 1.5
"""How much wider than around its sample the enclosure of a margin at a crossing may be that still decides without exact arithmetic."""

Visit = Callable[[Tensor, Tensor], None]


class Evaluated(Protocol):
    """What the attacks ask of a network: numbers at points ``[B, n]`` in the order of ``TorchNetwork``'s, counted."""

    n_inputs: int
    evaluations: int

    def margins(self, x: Tensor, label: Tensor) -> Tensor:
        """All margins ``[B, K]``; ``-inf`` at the label."""

    def margin_gradient(self, x: Tensor, label: Tensor, rival: Tensor) -> tuple[Tensor, Tensor]:
        """A margin ``[B]`` and its gradient ``[B, n]``."""

    def climbed(self, x: Tensor, label: Tensor, rival: Tensor, objective: Objective) -> tuple[Tensor, Tensor, Tensor]:
        """Logits ``[B, K]``, an objective ``[B]`` and its gradient ``[B, n]``."""


class Asked(Protocol):
    """What the attacks ask of a question: a ``WdroProblem``, or one about a module."""

    @property
    def cost(self) -> GroundCost:
        """Norm and order."""

    @property
    def samples(self) -> Samples:
        """Points, labels, weights."""

    @property
    def support(self) -> Support:
        """The box."""

    @property
    def loss(self) -> Loss:
        """The loss."""

    @property
    def radius(self) -> float:
        """The radius."""


class Clock:
    """A deadline in ``time.monotonic()`` seconds and a budget of evaluations; it remembers whether either has cut anything short."""

    def __init__(self, deadline: float | None, budget: int | None = None) -> None:
        """No deadline and no budget are ``None``."""
        self.deadline = deadline
        self.budget = budget
        self.network: Evaluated | None = None
        self.cut = False
        self.tell: Callable[[int], None] | None = None
        self._told = -math.inf

    def over(self) -> bool:
        """Whether to stop here; only asked where something is left to do. Twice a second ``tell`` hears of the evaluations."""
        if self.tell is not None and self.network is not None and time.monotonic() >= self._told + 0.5:
            self._told = time.monotonic()
            self.tell(self.network.evaluations)
        if self.deadline is not None and time.monotonic() >= self.deadline:
            self.cut = True
        if self.budget is not None and self.network is not None and self.network.evaluations >= self.budget:
            self.cut = True
        return self.cut


@dataclass(frozen=True)
class Schedule:
    """``steps`` steps of ``first * r`` falling geometrically to ``last * r``, with ``momentum``."""

    steps: int
    first: float
    last: float
    momentum: float = 0.75

    def length(self, k: int) -> float:
        """The relative length of step k."""
        ratio: float = (self.last / self.first) ** (k / max(self.steps - 1, 1))
        return self.first * ratio


@dataclass(frozen=True)
class Arena:
    """A problem on a device: samples ``centre [N, n]`` with ``label [N]``, their rivals and what was found so far.

    Everything is in the terms of ``recast``. ``rival [N, J]`` are the other classes, ascending, or the functionals;
    ``clean [N, J]`` their margins at the sample; ``reach [N]`` the largest distance from it in the support, or on the whole
    space the largest that is searched. A group ``g = i J + slot`` is a sample with one of its rivals; ``pool`` has one
    envelope per group. A margin of ``clear [N]`` is an error in every order of summation.
    ``radius`` is the problem's, for order inf less what rounding may add to a distance.
    """

    problem: Asked
    radius: float
    network: Evaluated
    geometry: Geometry
    centre: Tensor
    label: Tensor
    rival: Tensor
    clean: Tensor
    reach: Tensor
    clear: Tensor
    pool: Pool
    clock: Clock
    effort: Effort
    everyone: bool

    @classmethod
    def build(
        cls,
        problem: WdroProblem,
        device: torch.device,
        clock: Clock,
        effort: Effort | None = None,
        *,
        everyone: bool = False,
    ) -> Arena:
        """Copy the problem to ``device`` and evaluate the clean points."""
        recast = Recast.of(problem)
        fixed = None if recast.fixed is None else torch.tensor(recast.fixed, device=device)
        lower, upper, centre = (_tensor(v, device) for v in (recast.lower, recast.upper, recast.centre))
        label, rival = (
            torch.tensor(np.array(v), dtype=torch.int64, device=device) for v in (recast.label, recast.rival)
        )
        width = None
        if problem.loss.rule.by_distances:
            low, high = rival_margin(problem.network, problem.samples.x, problem.samples.y)
            width = _tensor(high - low, device)
        return cls.opened(
            problem,
            TorchNetwork(recast.graph, device, recast.fixed),
            Geometry(problem.cost.norm, lower, upper, fixed),
            (centre, label, rival),
            clock,
            effort,
            radius=_safe_radius(recast),
            width=width,
            everyone=everyone,
        )

    @classmethod
    def opened(
        cls,
        problem: Asked,
        network: Evaluated,
        geometry: Geometry,
        samples: tuple[Tensor, Tensor, Tensor],
        clock: Clock,
        effort: Effort | None = None,
        *,
        radius: float,
        width: Tensor | None = None,
        everyone: bool = False,
    ) -> Arena:
        """The arena of any network: ``samples`` are its centres, labels and rivals, ``width [N]`` that of margins' enclosures."""
        effort = Effort() if effort is None else effort
        centre, label, rival = samples
        clock.network = network
        clean = network.margins(centre, label).gather(1, rival)
        if effort.rivals is not None and effort.rivals < clean.shape[1]:
            slots = clean.topk(effort.rivals, dim=1).indices.sort(dim=1).values
            clean, rival = clean.gather(1, slots), rival.gather(1, slots)
        capacity = min(24, max(4, POOL_NUMBERS // max(1, clean.numel() * network.n_inputs)))
        price = Price(problem.cost.order, 0.5 * (radius + problem.radius))
        pool = Pool(clean.reshape(-1), network.n_inputs, capacity, price)
        reach = geometry.reach(centre)
        if not problem.support.bounded:
            farthest = _search_radius(problem, geometry, network, centre, label, rival, clean)
            reach = torch.where(torch.isinf(reach), farthest, reach)
        clear = CLEAR * (1 + clean.amax(dim=1).abs())
        clear = clear if width is None else torch.maximum(clear, WIDER * width)
        return cls(
            problem, radius, network, geometry, centre, label, rival, clean, reach, clear, pool, clock, effort, everyone
        )

    @property
    def rivals(self) -> int:
        """J, the number of rivals of each sample."""
        return int(self.rival.shape[1])

    @property
    def budget(self) -> float:
        """``radius^p`` of a finite order."""
        return self.radius**self.problem.cost.power

    @property
    def capped(self) -> bool:
        """Order inf: distances within the radius are free, and others are out of reach."""
        return math.isinf(self.problem.cost.order)

    @property
    def enough(self) -> float:
        """The distance within which a crossing need be no nearer (zero-one)."""
        return self.radius if self.capped else 0.0

    def nearest(self) -> Tensor:
        """The distance ``[N]`` of each sample's nearest crossing so far; inf where there is none."""
        return self.pool.near.reshape(-1, self.rivals).amin(dim=1)

    def affordable(self, factor: float, nearest: Tensor | None = None) -> Tensor:
        """The samples ``[N]`` whose crossing is at most ``factor`` times as far as the budget reaches; all for ``everyone``.

        Crossings are those known, or ``nearest [N]`` far.

        It reaches the radius at order inf, else the crossing at which the knapsack of section 4 (docs/theory.md) on the
        distances so far ends.
        """
        nearest = self.nearest() if nearest is None else nearest
        if self.everyone:
            return torch.ones_like(nearest, dtype=torch.bool)
        if self.capped:
            return nearest <= factor * self.radius
        price, order = self.pool.price.of(nearest).sort()
        spent = (_tensor(self.problem.samples.w, nearest.device)[order] * price).cumsum(dim=0)
        last = int((spent <= self.budget).sum())
        if last == nearest.shape[0]:
            return torch.ones_like(nearest, dtype=torch.bool)
        return nearest <= factor * nearest[order[last]]

    def loss(self, margin: Tensor) -> Tensor:
        """The problem's loss ``[B]`` of the margins ``[B, J]``."""
        best = margin.amax(dim=1)
        if self.problem.loss.rule.entropy:
            return torch.logaddexp(margin.logsumexp(dim=1), torch.zeros_like(best))
        return (best >= 0).to(best.dtype) if self.problem.loss.rule.by_distances else self.worth(best)

    def worth(self, margin: Tensor) -> Tensor:
        """The loss of single margins, elementwise, as if there were no other rival (not for zero-one)."""
        rule = self.problem.loss.rule
        if rule.entropy:
            return torch.nn.functional.softplus(margin)
        if rule.offset:
            margin = rule.offset + margin
        return margin if rule.floor == -math.inf else margin.clamp(min=rule.floor)

    def margins(self, x: Tensor, sample: Tensor) -> Tensor:
        """Margins ``[B, J]`` at points ``[B, n]`` of samples ``[B]``."""
        return self.network.margins(x, self.label[sample]).gather(1, self.rival[sample])

    def largest_margin(self, x: Tensor, sample: Tensor) -> tuple[Tensor, Tensor]:
        """``max_j m_j`` ``[B]`` at points ``[B, n]`` of samples ``[B]``, and the slot of the rival that attains it."""
        best, slot = self.margins(x, sample).max(dim=1)
        return best, slot

    def random_points(self, centre: Tensor, radius: Tensor, generator: torch.Generator) -> Tensor:
        """Random points ``[B, n]`` of balls ``radius [B]`` around ``centre [B, n]``, cut by the box."""
        draw = torch.rand(centre.shape, generator=generator, dtype=centre.dtype, device=centre.device)
        moved = self.geometry.clip(centre + self.geometry.free(radius.unsqueeze(1) * (2 * draw - 1)))
        return self.geometry.project(moved, centre, radius)

    def batches(self, count: int, rows: int) -> list[slice]:
        """Slices of ``range(count)`` such that ``rows`` points each stay within the batch size."""
        numbers = BATCH_NUMBERS[self.centre.device.type]
        size = max(1, numbers // max(1, rows * self.network.n_inputs))
        return [slice(a, min(count, a + size)) for a in range(0, count, size)]

    def ascend(
        self,
        group: Tensor,
        radius: Tensor,
        start: Tensor | None,
        schedule: Schedule,
        visit: Visit | None = None,
        *,
        smooth: bool = False,
    ) -> None:
        """Ascend the margins of distinct groups ``[P]`` in balls ``radius [P, R]``.

        They start at ``start [P, R, n]``, or at the samples (None). Every iterate goes to the pool, and to
        ``visit(points [P R, n], margins [P R])``. Steps are the steepest of the cost's norm or, if ``smooth``, of l2, whose
        average over the two sides of a ridge runs along it.
        """
        tries = radius.shape[1]
        schedule = replace(schedule, steps=self.effort.steps_of(schedule.steps))
        row = group.repeat_interleave(tries)
        sample = row // self.rivals
        centre, label, rival = self.centre[sample], self.label[sample], self.rival.reshape(-1)[row]
        r = torch.minimum(radius.reshape(-1), self.reach[sample])
        x = centre.clone() if start is None else start.reshape(centre.shape)
        cube = self.geometry.within(centre, r) if self.geometry.norm is Norm.INF else None
        walk = self.geometry if smooth or cube is None else cube
        if smooth:
            walk = replace(walk, norm=Norm.TWO)
        heading: Tensor | None = None
        seen: list[tuple[Tensor, Tensor]] = []
        for k in range(schedule.steps + 1):
            if self.clock.over():
                break
            value, gradient = self.network.margin_gradient(x, label, rival)
            seen.append((x, value))
            if visit is not None:
                visit(x, value)
            if len(seen) == OFFERED:
                self._offer(group, tries, centre, seen)
                seen = []
            if k == schedule.steps:
                break
            size = gradient.abs().sum(dim=1, keepdim=True).clamp_(min=1e-300)
            heading = (
                gradient.div_(size) if heading is None else heading.mul_(schedule.momentum).addcdiv_(gradient, size)
            )
            x = walk.steepest(x, heading, schedule.length(k) * r)
            if cube is None:
                x = self.geometry.project(x, centre, r)
            elif smooth:
                x = cube.clip(x)
        if seen:
            self._offer(group, tries, centre, seen)

    def _offer(self, group: Tensor, tries: int, centre: Tensor, seen: list[tuple[Tensor, Tensor]]) -> None:
        """Hand the iterates ``(points [P R, n], margins [P R])`` of some steps to the pool."""
        shape = (group.shape[0], tries)
        distance = torch.stack([self.geometry.distance(x, centre).reshape(shape) for x, _ in seen], dim=1)
        value = torch.stack([v.reshape(shape) for _, v in seen], dim=1)
        point = torch.stack([x.reshape(*shape, -1) for x, _ in seen], dim=1)
        self.pool.offer(group, distance.flatten(1), value.flatten(1), point.flatten(1, 2))


def _safe_radius(recast: Recast) -> float:
    """The radius; for order inf less what the rounding of a point may add to its distance (every coordinate's, summed)."""
    problem = recast.problem
    if math.isfinite(problem.cost.order):
        return problem.radius
    moving = recast.centre if recast.fixed is None else recast.centre[:, ~recast.fixed]
    slack = np.abs(moving).sum(axis=1).max(initial=0.0) + (moving.shape[1] + 8) * problem.radius
    return max(0.0, problem.radius - 2.0**-50 * float(slack))


def _search_radius(
    problem: Asked,
    geometry: Geometry,
    network: Evaluated,
    centre: Tensor,
    label: Tensor,
    rival: Tensor,
    clean: Tensor,
) -> Tensor:
    """How far from each sample ``[N]`` the whole space is searched.

    That is the largest of 16 radii, ``w_i^(-1/p)`` radii (the sample with all the budget to itself), 4 times the linearised
    distance to the nearest decision boundary and 1e-3 times the sample's size; at most ``FARTHEST`` times their scale.
    """
    nearest = torch.full_like(clean[:, 0], torch.inf)
    for slot in clean.topk(min(NEAREST, clean.shape[1]), dim=1).indices.unbind(1):
        margin, gradient = network.margin_gradient(centre, label, rival.gather(1, slot.unsqueeze(1)).squeeze(1))
        nearest = torch.minimum(nearest, (margin.abs() / geometry.dual_norm(gradient)).nan_to_num(nan=torch.inf))
    size = 1 + geometry.free(centre).abs().amax(dim=1)
    nearest = torch.where(nearest <= FARTHEST * (size + problem.radius), nearest, 0.0)
    weight = _tensor(problem.samples.w, centre.device)
    power = problem.cost.order
    alone = weight.clamp(min=1 / FARTHEST) ** (-1 / power) if math.isfinite(power) else torch.ones_like(weight)
    return torch.maximum(torch.maximum(problem.radius * alone.clamp(min=16.0), 4 * nearest), 1e-3 * size)


def _tensor(array: Array, device: torch.device) -> Tensor:
    return torch.tensor(array, dtype=torch.float64, device=device)
