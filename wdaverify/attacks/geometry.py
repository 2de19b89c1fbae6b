"""Balls of the ground cost, cut by the support box, on torch tensors: steepest steps, projections, distances.

For a gradient g at x and a length a the steepest step solves ``max g.s`` over ``||s|| <= a`` with ``x + s`` in the box:
for l-inf it is ``a sign(g)``, clipped; for l1 the coordinates are filled in descending order of ``|g_k|``, each up to its
bound; for l2 it is ``t g``, clipped, with the t at which that has length a.
With ``x = x_i`` the same step is the linear maximiser over the whole ball (docs/theory.md, section 10).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from wdaverify.problem import Norm


@dataclass(frozen=True)
class Geometry:
    """The norm and the box ``lower, upper``, which may be infinite; ``fixed [n]`` features never move.

    The box is the support's ``[n]``, or has a row for every point, ``[B, n]``.
    """

    norm: Norm
    lower: Tensor
    upper: Tensor
    fixed: Tensor | None = None

    def length(self, delta: Tensor) -> Tensor:
        """``||delta||`` ``[...]`` of displacements ``[..., n]``."""
        match self.norm:
            case Norm.INF:
                return delta.abs().amax(dim=-1)
            case Norm.ONE:
                return delta.abs().sum(dim=-1)
            case Norm.TWO:
                return _euclidean(delta)

    def distance(self, x: Tensor, centre: Tensor) -> Tensor:
        """``||x - centre||`` ``[...]`` of points ``[..., n]``."""
        return self.length(x - centre)

    def dual_norm(self, g: Tensor) -> Tensor:
        """The dual norm ``[...]`` of gradients ``[..., n]``."""
        if self.norm is Norm.TWO:
            return _euclidean(g)
        size = g.abs()
        return size.sum(dim=-1) if self.norm is Norm.INF else size.amax(dim=-1)

    def reach(self, centre: Tensor) -> Tensor:
        """The largest distance ``[...]`` from points ``[..., n]`` within the box; inf on the whole space."""
        return self.length(self.free(torch.maximum(self.upper - centre, centre - self.lower)))

    def free(self, delta: Tensor) -> Tensor:
        """Displacements ``[..., n]`` with 0 at the features that never move."""
        return delta if self.fixed is None else delta.masked_fill(self.fixed, 0.0)

    def steepest(self, x: Tensor, g: Tensor, length: Tensor) -> Tensor:
        """``x + s`` ``[B, n]`` for the steepest step s of length at most ``length [B]`` that stays in the box."""
        if self.norm is Norm.INF:
            moved = torch.addcmul(x, g.sign(), length.unsqueeze(1))
            return self.clip(moved)
        room = torch.where(g > 0, self.upper, self.lower).sub_(x).abs_()
        torch.minimum(room, length.unsqueeze(1), out=room)
        if self.norm is Norm.TWO:
            room.masked_fill_(g == 0, 0.0)
            return self.clip(torch.addcmul(x, _scaled(g.abs(), room, length.unsqueeze(1)), g.sign()))
        order = _ranking(g.abs())  # g_k = 0 come last, and whatever they are given does not move them
        taken = room.gather(1, order)
        over = taken.cumsum(dim=1).sub_(length.unsqueeze(1)).clamp_(min=0.0)
        taken.sub_(over).clamp_(min=0.0)
        return self.clip(room.scatter_(1, order, taken).mul_(g.sign()).add_(x))

    def project(self, x: Tensor, centre: Tensor, radius: Tensor) -> Tensor:
        """The nearest point ``[B, n]`` (l2) of the ball ``radius [B]`` around ``centre`` for ``x`` in the box.

        l1: soft thresholding of the displacement (Duchi et al. 2008), l2: scaling it; both move towards the centre, so
        stay in the box.
        """
        r = radius.unsqueeze(1)
        if self.norm is Norm.INF:
            return self.within(centre, radius).clip(x.clone())
        delta = x - centre
        if self.norm is Norm.TWO:
            factor = (r / _euclidean(delta).unsqueeze(1).clamp_(min=1e-300)).clamp_(max=1.0)
            return self.clip(torch.addcmul(centre, factor, delta))
        size = delta.abs()
        ranked = _ranked(size)
        excess = ranked.cumsum(dim=1) - r
        count = torch.arange(1, x.shape[1] + 1, dtype=x.dtype, device=x.device)
        last = (ranked * count > excess).sum(dim=1, keepdim=True).clamp_(min=1)
        threshold = (excess.gather(1, last - 1) / last).clamp_(min=0.0)
        return self.clip(size.sub_(threshold).clamp_(min=0.0).mul_(delta.sign()).add_(centre))

    def within(self, centre: Tensor, radius: Tensor) -> Geometry:
        """The same with the box cut to that of the balls ``radius [B]`` around ``centre [B, n]``: ``lower, upper [B, n]``."""
        r = radius.unsqueeze(1)
        return replace(self, lower=torch.maximum(self.lower, centre - r), upper=torch.minimum(self.upper, centre + r))

    def clip(self, x: Tensor) -> Tensor:
        """``x`` moved into the box, in place."""
        return torch.clamp(x, self.lower, self.upper, out=x)


def _euclidean(delta: Tensor) -> Tensor:
    """``||delta||_2`` ``[...]`` of ``[..., n]``."""
    out: Tensor = torch.linalg.vector_norm(delta, dim=-1)
    return out


def _scaled(size: Tensor, room: Tensor, length: Tensor) -> Tensor:
    """``min(room, t size)`` ``[B, n]`` with the t at which it has l2 norm ``length [B, 1]``; all the room where that is too little.

    With coordinates in the order in which they reach their rooms, ``edge_k = room_k / size_k``, the squared norm at
    ``t = edge_k`` is ``sum_(before k) room^2 + edge_k^2 sum_(from k) size^2``.
    """
    size = size / size.amax(dim=1, keepdim=True).clamp(min=1e-300)
    size = torch.where(size < 1e-100, 0.0, size)
    room = torch.where(size > 0, room, 0.0)
    edge = torch.where(size > 0, room / size, 0.0)
    order = _ranking(edge, descending=False)
    edges, rooms, sizes = (v.gather(1, order) for v in (edge, room, size))
    squares = rooms * rooms
    taken = squares.cumsum(dim=1) - squares
    left = (sizes * sizes).flip(1).cumsum(dim=1).flip(1)
    at = (taken + edges * edges * left < length * length).sum(dim=1, keepdim=True)
    last = at.clamp(max=size.shape[1] - 1)
    rest = (length * length - taken.gather(1, last)).clamp_(min=0.0) / left.gather(1, last).clamp(min=1e-300)
    t = torch.where(at > last, 1e150, rest.sqrt())
    return torch.minimum(room, t * size)


def _ranking(size: Tensor, *, descending: bool = True) -> Tensor:
    """The order ``[B, n]`` that sorts rows ``[B, n]`` of numbers >= 0, on a CPU up to a relative ``n 2^-51``.

    There numpy sorts several times faster than torch, and values three times as fast as their indices: so each value, as the
    integer that orders like it, carries its index in its last bits.
    """
    if size.is_cuda:
        return size.argsort(dim=1, descending=descending)
    last = (1 << (size.shape[1] - 1).bit_length()) - 1
    number = size.contiguous().numpy().view(np.int64)
    key = (~number if descending else number) & ~last
    key |= np.arange(size.shape[1])
    key.sort(axis=1)
    key &= last
    return torch.from_numpy(key)


def _ranked(size: Tensor) -> Tensor:
    """Rows ``[B, n]`` sorted descending."""
    if size.is_cuda:
        return size.sort(dim=1, descending=True).values
    return torch.from_numpy(np.sort(-size.numpy(), axis=1)).neg_()
