"""What the attacks share: the question on a device, a clock, and projected ascent on a margin that pools every iterate.

From ``x`` in the ball of radius r around ``x_i`` and the box, with ``u_k`` the momentum of the normalised gradients,

    u_(k+1) = mu u_k + g / ||g||_1,    x <- project(x + steepest(u, a_k r)),    a_k falling geometrically

(docs/theory.md, section 10; the momentum is that of Dong et al., arXiv 1710.06081).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from wdaverify.attacks.geometry import Geometry
from wdaverify.attacks.pool import Pool
from wdaverify.attacks.torch_network import TorchNetwork
from wdaverify.network.model import Array
from wdaverify.problem import Loss, WdroProblem

POOL_NUMBERS = 2**26
"""Numbers that the pool's points may take in all (512 MiB); the envelopes' capacity follows from it."""

BATCH_NUMBERS = {"cpu": 2**18, "cuda": 2**24}
"""Numbers in one batch of points: small enough for a processor's cache, large enough for a GPU."""

OFFERED = 4
"""Steps whose iterates are handed to the pool together."""

Visit = Callable[[Tensor, Tensor], None]


class Clock:
    """A deadline in ``time.monotonic()`` seconds that remembers whether it has cut anything short."""

    def __init__(self, deadline: float | None) -> None:
        """No deadline is ``None``."""
        self.deadline = deadline
        self.cut = False

    def over(self) -> bool:
        """Whether to stop here; only asked where something is left to do."""
        if self.deadline is not None and time.monotonic() >= self.deadline:
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

    ``rival [N, J]`` are the other classes, ascending; ``clean [N, J]`` their margins at the sample; ``reach [N]`` the
    largest distance from it in the support. A group ``g = i J + slot`` is a sample with one of its rivals; ``pool`` has
    one envelope per group.
    """

    problem: WdroProblem
    network: TorchNetwork
    geometry: Geometry
    centre: Tensor
    label: Tensor
    rival: Tensor
    clean: Tensor
    reach: Tensor
    pool: Pool
    clock: Clock

    @classmethod
    def build(cls, problem: WdroProblem, device: torch.device, clock: Clock) -> Arena:
        """Copy the problem to ``device`` and evaluate the clean points."""
        network = TorchNetwork(problem.network, device)
        support, samples = problem.support, problem.samples
        geometry = Geometry(problem.cost.norm, _tensor(support.lower, device), _tensor(support.upper, device))
        centre = _tensor(samples.x, device)
        label = torch.tensor(np.array(samples.y), dtype=torch.int64, device=device)
        slots = torch.arange(network.n_outputs - 1, device=device)
        rival = slots + (slots >= label.unsqueeze(1))
        clean = network.margins(centre, label).gather(1, rival)
        capacity = min(24, max(4, POOL_NUMBERS // max(1, clean.numel() * network.n_inputs)))
        pool = Pool(clean.reshape(-1), network.n_inputs, capacity)
        reach = geometry.reach(centre)
        return cls(problem, network, geometry, centre, label, rival, clean, reach, pool, clock)

    @property
    def rivals(self) -> int:
        """J, the number of rivals of each sample."""
        return int(self.rival.shape[1])

    def loss(self, margin: Tensor) -> Tensor:
        """The problem's loss of largest margins."""
        return margin if self.problem.loss is Loss.MARGIN else (margin >= 0).to(margin.dtype)

    def largest_margin(self, x: Tensor, sample: Tensor) -> tuple[Tensor, Tensor]:
        """``max_j m_j`` ``[B]`` at points ``[B, n]`` of samples ``[B]``, and the slot of the rival that attains it."""
        margin = self.network.margins(x, self.label[sample]).gather(1, self.rival[sample])
        best, slot = margin.max(dim=1)
        return best, slot

    def batches(self, count: int, rows: int) -> list[slice]:
        """Slices of ``range(count)`` such that ``rows`` points each stay within the batch size."""
        numbers = BATCH_NUMBERS[self.centre.device.type]
        size = max(1, numbers // max(1, rows * self.network.n_inputs))
        return [slice(a, min(count, a + size)) for a in range(0, count, size)]

    def ascend(
        self, group: Tensor, radius: Tensor, start: Tensor | None, schedule: Schedule, visit: Visit | None = None
    ) -> None:
        """Ascend the margins of distinct groups ``[P]`` in balls ``radius [P, R]``.

        They start at ``start [P, R, n]``, or at the samples (None). Every iterate goes to the pool, and to
        ``visit(points [P R, n], margins [P R])``.
        """
        tries = radius.shape[1]
        row = group.repeat_interleave(tries)
        sample = row // self.rivals
        centre, label, rival = self.centre[sample], self.label[sample], self.rival.reshape(-1)[row]
        r = torch.minimum(radius.reshape(-1), self.reach[sample])
        x = centre.clone() if start is None else start.reshape(centre.shape)
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
            gradient /= gradient.abs().sum(dim=1, keepdim=True).clamp_(min=1e-300)
            heading = gradient if heading is None else heading.mul_(schedule.momentum).add_(gradient)
            if k < schedule.steps:
                moved = self.geometry.steepest(x, heading, schedule.length(k) * r)
                x = self.geometry.project(moved, centre, r)
        if seen:
            self._offer(group, tries, centre, seen)

    def _offer(self, group: Tensor, tries: int, centre: Tensor, seen: list[tuple[Tensor, Tensor]]) -> None:
        """Hand the iterates ``(points [P R, n], margins [P R])`` of some steps to the pool."""
        shape = (group.shape[0], tries)
        distance = torch.stack([self.geometry.distance(x, centre).reshape(shape) for x, _ in seen], dim=1)
        value = torch.stack([v.reshape(shape) for _, v in seen], dim=1)
        point = torch.stack([x.reshape(*shape, -1) for x, _ in seen], dim=1)
        self.pool.offer(group, distance.flatten(1), value.flatten(1), point.flatten(1, 2))


def _tensor(array: Array, device: torch.device) -> Tensor:
    return torch.tensor(array, dtype=torch.float64, device=device)
