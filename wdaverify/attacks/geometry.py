"""Balls of the ground cost, cut by the support box, on torch tensors: steepest steps, projections, distances.

For a gradient g at x and a length a the steepest step solves ``max g.s`` over ``||s|| <= a`` with ``x + s`` in the box:
for l-inf it is ``a sign(g)``, clipped; for l1 the coordinates are filled in descending order of ``|g_k|``, each up to its
bound. With ``x = x_i`` the same step is the linear maximiser over the whole ball (docs/theory.md, section 10).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from wdaverify.problem import Norm


@dataclass(frozen=True)
class Geometry:
    """The norm and the support box ``lower, upper`` ``[n]``."""

    norm: Norm
    lower: Tensor
    upper: Tensor

    def distance(self, x: Tensor, centre: Tensor) -> Tensor:
        """``||x - centre||`` ``[...]`` of points ``[..., n]``."""
        size = (x - centre).abs_()
        return size.amax(dim=-1) if self.norm is Norm.INF else size.sum(dim=-1)

    def dual_norm(self, g: Tensor) -> Tensor:
        """The dual norm ``[...]`` of gradients ``[..., n]``."""
        size = g.abs()
        return size.sum(dim=-1) if self.norm is Norm.INF else size.amax(dim=-1)

    def reach(self, centre: Tensor) -> Tensor:
        """The largest distance ``[...]`` from points ``[..., n]`` within the box."""
        size = torch.maximum(self.upper - centre, centre - self.lower)
        return size.amax(dim=-1) if self.norm is Norm.INF else size.sum(dim=-1)

    def steepest(self, x: Tensor, g: Tensor, length: Tensor) -> Tensor:
        """``x + s`` ``[B, n]`` for the steepest step s of length at most ``length [B]`` that stays in the box."""
        if self.norm is Norm.INF:
            moved = torch.addcmul(x, g.sign(), length.unsqueeze(1))
            return self.clip(moved)
        room = torch.where(g > 0, self.upper - x, x - self.lower).mul_(g != 0)
        order = _ranking(g.abs())
        sorted_room = room.gather(1, order)
        before = sorted_room.cumsum(dim=1) - sorted_room
        taken = torch.minimum((length.unsqueeze(1) - before).clamp_(min=0.0), sorted_room)
        return self.clip(x + torch.zeros_like(x).scatter_(1, order, taken).mul_(g.sign()))

    def project(self, x: Tensor, centre: Tensor, radius: Tensor) -> Tensor:
        """The nearest point ``[B, n]`` (l2) of the ball ``radius [B]`` around ``centre`` for ``x`` in the box.

        l1: soft thresholding of the displacement (Duchi et al. 2008); it moves towards the centre, so stays in the box.
        """
        r = radius.unsqueeze(1)
        if self.norm is Norm.INF:
            return self.clip(torch.maximum(torch.minimum(x, centre + r), centre - r))
        delta = x - centre
        size = delta.abs()
        ranked = _ranked(size)
        excess = ranked.cumsum(dim=1) - r
        count = torch.arange(1, x.shape[1] + 1, dtype=x.dtype, device=x.device)
        last = (ranked * count > excess).sum(dim=1, keepdim=True).clamp_(min=1)
        threshold = (excess.gather(1, last - 1) / last).clamp_(min=0.0)
        return self.clip(centre + (size - threshold).clamp_(min=0.0).mul_(delta.sign()))

    def clip(self, x: Tensor) -> Tensor:
        """``x`` moved into the box, in place."""
        torch.maximum(x, self.lower, out=x)
        return torch.minimum(x, self.upper, out=x)


def _ranking(size: Tensor) -> Tensor:
    """The order ``[B, n]`` that sorts rows ``[B, n]`` descending; numpy sorts short rows several times faster than torch."""
    if size.is_cuda:
        return size.argsort(dim=1, descending=True)
    return torch.from_numpy(np.argsort(-size.numpy(), axis=1))


def _ranked(size: Tensor) -> Tensor:
    """Rows ``[B, n]`` sorted descending."""
    if size.is_cuda:
        return size.sort(dim=1, descending=True).values
    return torch.from_numpy(np.sort(-size.numpy(), axis=1)).neg_()
