"""WDA and WDA++ once more, by the text of arXiv 2510.10000 (docs/theory.md, section 10): they share no line with ``wdaverify.attacks``.

One sample at a time, in torch and float64, on any module. What is given is a list of moves; what they are worth is counted by ``value``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True)
class Move:
    """``mass`` of a sample goes ``distance`` far, where the loss is ``loss``."""

    sample: int
    mass: float
    distance: float
    loss: float


@dataclass
class Reference:
    """The attacks on ``module`` in ``{Q : W_order(Q, P) <= radius}``; ``evaluations`` counts rows that the module was given."""

    module: Callable[[Tensor], Tensor]
    x: Tensor
    y: Tensor
    radius: float
    order: int
    norm: str
    loss: str
    low: float = 0.0
    high: float = 1.0
    evaluations: int = field(default=0, init=False)

    def margins(self, x: Tensor, label: int) -> Tensor:
        """``z_j - z_y`` of a point, -inf at the label itself."""
        self.evaluations += 1
        z = self.module(x.unsqueeze(0))[0]
        gaps = z - z[label]
        return torch.where(torch.arange(len(z)) == label, torch.tensor(-torch.inf, dtype=z.dtype), gaps)

    def lost(self, x: Tensor, label: int) -> float:
        """The loss at a point: the margin, or whether it is an error."""
        worst = float(self.margins(x, label).max().detach())
        return worst if self.loss == "margin" else float(worst >= 0)

    def far(self, x: Tensor, centre: Tensor) -> float:
        """The distance in the norm of the cost."""
        away = x - centre
        return float(away.abs().max()) if self.norm == "inf" else float(away.norm())

    def steepest(self, gradient: Tensor) -> Tensor:
        """The unit move that gains most to first order."""
        if self.norm == "inf":
            return gradient.sign()
        return gradient / gradient.norm().clamp_min(1e-300)

    def size(self, gradient: Tensor) -> float:
        """What a unit of that move gains."""
        return float(gradient.abs().sum()) if self.norm == "inf" else float(gradient.norm())

    def back(self, x: Tensor, centre: Tensor, radius: float) -> Tensor:
        """Onto the ball, then onto the box, which leads no farther from its centre."""
        away = x - centre
        if self.norm == "inf":
            away = away.clamp(-radius, radius)
        elif float(away.norm()) > radius:
            away = away * (radius / away.norm())
        return (centre + away).clamp(self.low, self.high)

    def slope(self, x: Tensor, label: int, rival: int) -> tuple[float, Tensor]:
        """The margin to a rival and its gradient."""
        x = x.clone().requires_grad_(True)
        gap = self.margins(x, label)[rival]
        (gradient,) = torch.autograd.grad(gap, x)
        return float(gap.detach()), gradient

    def ascend(self, centre: Tensor, label: int, rival: int, radius: float, steps: int) -> tuple[float, Tensor]:
        """Projected steepest ascent of ``z_rival - z_y``: the best value, and where."""
        x, best, where = centre, -math.inf, centre
        for k in range(steps + 1):
            gap, gradient = self.slope(x, label, rival)
            if gap > best:
                best, where = gap, x
            length = radius * (0.5 * (1 - k / (steps + 1)) + 0.02)
            x = self.back(x + length * self.steepest(gradient), centre, radius)
        return best, where

    def wda(self, kappa: float, steps: int = 30, rivals: int = 5, probe: int = 3) -> list[Move]:
        """WDA(kappa): a rival by a short probe, then the ascent in the ball of radius ``kappa eps``; ``kappa^-p`` of the mass moves."""
        moves, radius = [], kappa * self.radius
        for i, (centre, label) in enumerate(zip(self.x, self.y.tolist(), strict=True)):
            clean = self.lost(centre, label)
            gaps = self.margins(centre, label).detach()
            leading = gaps.topk(min(rivals, len(gaps) - 1)).indices.tolist()
            rival = max(leading, key=lambda j: self.ascend(centre, label, j, radius, probe)[0])
            where = self.ascend(centre, label, rival, radius, steps)[1].detach()
            lost = self.lost(where, label)
            if lost > clean:
                moves.append(Move(i, kappa**-self.order / len(self.x), self.far(where, centre), lost))
        return moves

    def nearest_error(self, centre: Tensor, label: int, pace: float, steps: int = 40, rivals: int = 9) -> Tensor | None:
        """Walk until the label first flips, by the best-scoring rival's step at a time, and bisect the last step."""
        x = centre
        for _ in range(steps):
            gaps = self.margins(x, label).detach()
            if float(gaps.max()) >= 0:
                return x
            tried = []
            for rival in gaps.topk(min(rivals, len(gaps) - 1)).indices.tolist():
                gap, gradient = self.slope(x, label, rival)
                if self.size(gradient) == 0:
                    continue
                length = pace * -gap / self.size(gradient)
                trial = (x + length * self.steepest(gradient)).clamp(self.low, self.high).detach()
                tried.append((float(self.margins(trial, label).max().detach()), trial))
            if not tried:
                return None
            score, trial = max(tried, key=lambda t: t[0])
            if score >= 0:
                return self.bisected(x, trial, label)
            x = trial
        return None

    def bisected(self, right: Tensor, wrong: Tensor, label: int, halvings: int = 40) -> Tensor:
        """The misclassified end of a segment, drawn in."""
        for _ in range(halvings):
            middle = 0.5 * (right + wrong)
            if float(self.margins(middle, label).max().detach()) >= 0:
                wrong = middle
            else:
                right = middle
        return wrong

    def wda_pp(self, paces: tuple[float, ...] = (1.05, 0.5, 0.2)) -> list[Move]:
        """WDA++: the nearest flips found, bought in ascending order of their distance until the budget is spent."""
        flips = []
        for i, (centre, label) in enumerate(zip(self.x, self.y.tolist(), strict=True)):
            found = [p for pace in paces if (p := self.nearest_error(centre, label, pace)) is not None]
            found = [self.bisected(centre, p, label) for p in found if self.far(p, centre) > 0]
            if found:
                point = min(found, key=lambda p: self.far(p, centre))
                flips.append((self.far(point, centre), i, self.lost(point, label)))
        return self.bought(flips)

    def bought(self, flips: list[tuple[float, int, float]]) -> list[Move]:
        """The knapsack on (distance, sample, loss), in ascending order."""
        moves, left, each = [], self.radius**self.order, 1 / len(self.x)
        for distance, i, lost in sorted(flips):
            mass = min(each, left / distance**self.order)
            if mass <= 0:
                break
            moves.append(Move(i, mass, distance, lost))
            left -= mass * distance**self.order
        return moves

    def value(self, moves: list[Move]) -> float:
        """The expected loss of the distribution that makes these moves and leaves the rest where it is."""
        spent = sum(move.mass * move.distance**self.order for move in moves)
        assert spent <= self.radius**self.order * (1 + 1e-9)
        clean = [self.lost(x, label) for x, label in zip(self.x, self.y.tolist(), strict=True)]
        return sum(clean) / len(clean) + sum(move.mass * (move.loss - clean[move.sample]) for move in moves)
