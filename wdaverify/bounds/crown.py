"""CROWN: linear bounds by one backward pass, batched over regions, every rounding paid for.

Zhang et al., arXiv 1811.00866. Upper bounds of ``A z`` are carried backward: through a ReLU with ``l <= z <= u`` a positive
coefficient takes the chord ``s z + t``, a negative one a line ``alpha z`` with alpha in [0, 1]. Any float slope is valid
as long as the intercept covers both ends of ``[l, u]``, so slopes need no rounding; every product and sum that is
rounded is charged at the largest magnitude of the quantity it multiplies (docs/theory.md, section 9).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from wdaverify.bounds.interval import TorchBlock, block_error, interval, torch_blocks
from wdaverify.bounds.region import Regions, inflate, peak
from wdaverify.graph.functions import lower_slope
from wdaverify.ground import GroundCost, Norm
from wdaverify.network.model import ReluNetwork
from wdaverify.rounding import UNIT_ROUNDOFF, dot_error, underflow

_CHUNK_NUMBERS = {"cpu": 2**19, "cuda": 2**23}
"""The most doubles that one backward pass may hold per tensor: small enough for a processor's cache, large enough for a GPU."""

Bounds = tuple[tuple[Tensor, Tensor], ...]
"""Per hidden block the pre-activation bounds ``(lower, upper)``, each ``[B, m]``."""


@dataclass(frozen=True, eq=False)
class _Relaxation:
    """One ReLU layer: ``relu(z) <= slope z + intercept``, ``relu(z) >= alpha z``, ``|z| <= size``; each ``[B, m]``."""

    slope: Tensor
    intercept: Tensor
    alpha: Tensor
    size: Tensor

    @classmethod
    def of(cls, lower: Tensor, upper: Tensor) -> _Relaxation:
        """The triangle's chord, and the lower line by the checker's rule: what is dropped here must be dropped there."""
        active, dead = lower >= 0, upper <= 0
        chord = (upper / (upper - lower)).clamp(0, 1)
        slope = torch.where(active, 1.0, torch.where(dead, 0.0, chord))
        cover = torch.maximum(-slope * lower, (upper - slope * upper) + 4 * UNIT_ROUNDOFF * upper.abs())
        intercept = torch.where(active | dead, 0.0, inflate(cover.clamp(min=0)))
        alpha = torch.where(active, 1.0, torch.where(dead, 0.0, lower_slope(lower, upper)))
        return cls(slope, intercept, alpha, torch.maximum(lower.abs(), upper.abs()))


class Crown:
    """Bounds for one network and one ground cost; regions and results are on the CPU, products of matrices on ``device``.

    They are of float64 on every device, and what they may round is charged for any order of their sums; in functionals
    ``doubt`` times, so that whoever rounds otherwise finds no more.
    """

    def __init__(
        self, network: ReluNetwork, cost: GroundCost, device: torch.device | None = None, doubt: float = 1.0
    ) -> None:
        self._doubt = doubt
        self._device = torch.device("cpu") if device is None else device
        self._blocks = torch_blocks(network, self._device)
        self._norm = cost.norm
        self._widest = max(max(block.weight.shape) for block in self._blocks)
        self._vanishing = underflow(4 * sum(block.weight.shape[0] for block in self._blocks))

    def pre_activations(self, regions: Regions) -> Bounds:
        """Bounds of every hidden pre-activation over each region: interval and CROWN, whichever is tighter."""
        hidden = self._blocks[:-1]
        rows = 2 * max((block.weight.shape[0] for block in hidden), default=1)
        parts = [self._pre_activations(regions.take(piece)) for piece in self._pieces(len(regions), rows)]
        return tuple(
            (torch.cat([part[k][0] for part in parts]).cpu(), torch.cat([part[k][1] for part in parts]).cpu())
            for k in range(len(hidden))
        )

    def functional(self, regions: Regions, bounds: Bounds, rows: Tensor, multiplier: Tensor | None) -> Tensor:
        """Upper bounds ``[B, R]`` of ``rows . f(x) - lam ||x - x_i||`` over each region.

        rows ``[B, R, K]`` act on the logits; multiplier ``[B]`` or None for no cost; bounds from ``pre_activations``.
        """
        parts = []
        for piece in self._pieces(len(regions), rows.shape[1]):
            local = tuple((low[piece].to(self._device), high[piece].to(self._device)) for low, high in bounds)
            lam = None if multiplier is None else multiplier[piece]
            top, slip = self._backward(regions.take(piece), local, len(self._blocks) - 1, rows[piece], lam)
            parts.append(top + self._doubt * slip)
        return torch.cat(parts)

    def batch(self, rows: int) -> int:
        """How many regions fit in one backward pass of ``rows`` functionals or of every hidden layer's neurons."""
        hidden = 2 * max((block.weight.shape[0] for block in self._blocks[:-1]), default=1)
        return max(1, _CHUNK_NUMBERS[self._device.type] // (max(rows, hidden) * self._widest))

    def _pieces(self, count: int, rows: int) -> list[slice]:
        step = max(1, _CHUNK_NUMBERS[self._device.type] // (rows * self._widest))
        return [slice(k, min(k + step, count)) for k in range(0, max(count, 1), step)]

    def _pre_activations(self, regions: Regions) -> Bounds:
        bounds: list[tuple[Tensor, Tensor]] = []
        lower, upper = regions.lower.to(self._device), regions.upper.to(self._device)
        for k, block in enumerate(self._blocks[:-1]):
            low, high = interval(block, lower, upper)
            if k > 0 or self._norm is not Norm.INF:
                eye = torch.eye(block.weight.shape[0], dtype=torch.float64)
                rows = torch.cat([eye, -eye]).expand(len(regions), -1, -1)
                top, slip = self._backward(regions, tuple(bounds), k, rows, None)
                both = (top + slip).to(self._device)
                width = block.weight.shape[0]
                top, bottom = both[:, :width], both[:, width:]
                low, high = torch.maximum(low, -bottom), torch.minimum(high, top)
            low, high = (
                low.nan_to_num(-torch.inf, torch.inf, -torch.inf),
                high.nan_to_num(torch.inf, torch.inf, -torch.inf),
            )
            bounds.append((low, torch.maximum(low, high)))
            lower, upper = low.clamp(min=0), bounds[-1][1].clamp(min=0)
        return tuple(bounds)

    def _backward(
        self, regions: Regions, bounds: Bounds, last: int, rows: Tensor, multiplier: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Upper bounds of ``rows . z_last - lam cost`` where ``z_last`` is the output of block ``last``, and what they may round.

        The bounds of neurons are on the device. What products of coefficients lose to underflow does not shrink with the coefficients:
        it is charged at what they multiply.
        """
        coefficients = rows.to(self._device)
        constant = torch.zeros(rows.shape[:2], dtype=torch.float64, device=self._device)
        size, error = torch.zeros_like(constant), torch.full_like(constant, self._vanishing)
        for k in range(last, -1, -1):
            block = self._blocks[k]
            magnitude = regions.magnitude().to(self._device) if k == 0 else bounds[k - 1][1].clamp(min=0)
            weights = coefficients.abs()
            error = error + (weights @ (2 * block_error(block, magnitude))[..., None]).squeeze(-1)
            added = coefficients @ block.bias
            constant, size = constant + added, size + added.abs()
            coefficients = coefficients @ block.weight
            if k > 0:
                relaxed = _Relaxation.of(*bounds[k - 1])
                positive, negative = coefficients.clamp(min=0), coefficients.clamp(max=0)
                added = (positive @ relaxed.intercept[..., None]).squeeze(-1)
                constant, size = constant + added, size + added.abs() * self._terms()
                coefficients = positive * relaxed.slope[:, None, :] + negative * relaxed.alpha[:, None, :]
                slip = (coefficients.abs() @ relaxed.size[..., None]).squeeze(-1)
                error = error + 8 * UNIT_ROUNDOFF * slip
            reach = magnitude if k == 0 else relaxed.size
            error = torch.add(error, reach.sum(1, keepdim=True), alpha=underflow(block.weight.shape[0] + 4))
        top = peak(coefficients.cpu(), regions, multiplier)
        constant, size, error = constant.cpu(), size.cpu(), error.cpu()
        return top + constant, inflate(1.0001 * error) + dot_error(8 + 4 * len(self._blocks)) * (size + top.abs())

    def _terms(self) -> float:
        """By how much more a sum over a layer may round than a single addition."""
        return float(self._widest + 2)


def unstable(bounds: Bounds) -> Tensor:
    """The number of neurons ``[B]`` that bounds leave open, ``l < 0 < u``."""
    first = bounds[0][0]
    counts = torch.zeros(first.shape[0], dtype=torch.int64)
    for low, high in bounds:
        counts = counts + ((low < 0) & (high > 0)).sum(1)
    return counts


__all__ = ["Bounds", "Crown", "TorchBlock", "unstable"]
