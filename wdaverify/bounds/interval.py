"""Interval bounds of one affine block, rounded outward."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from wdaverify.network.model import Block, ReluNetwork
from wdaverify.rounding import dot_error, underflow


@dataclass(frozen=True, eq=False)
class TorchBlock:
    """A block's numbers as float64 tensors: weight, weight_error ``[m, n]``; bias, bias_error ``[m]``."""

    weight: Tensor
    bias: Tensor
    weight_error: Tensor
    bias_error: Tensor

    @classmethod
    def of(cls, block: Block, device: torch.device) -> TorchBlock:
        """Copies of the block's arrays."""
        arrays = (block.weight, block.bias, block.weight_error, block.bias_error)
        return cls(*(torch.tensor(a, dtype=torch.float64, device=device) for a in arrays))


def torch_blocks(network: ReluNetwork, device: torch.device) -> tuple[TorchBlock, ...]:
    """The network's canonical form on a device."""
    return tuple(TorchBlock.of(block, device) for block in network.blocks)


def block_error(block: TorchBlock, magnitude: Tensor) -> Tensor:
    """What float64 and the fusing may be off by, ``[B, m]``: in ``W h + b``, and per unit of c in ``c W`` and ``c b``.

    ``|h| <= magnitude [B, n]``. What ``c W`` and ``c b`` may lose to underflow does not
    shrink with c and is charged by whoever multiplies (``Crown``).
    """
    factor = dot_error(max(block.weight.shape) + 2)  # sums run over columns here, over rows in a backward pass
    rounding = factor * (magnitude @ block.weight.abs().T + block.bias.abs())
    fused = 2 * (magnitude @ block.weight_error.T + block.bias_error)
    return rounding + fused + underflow(max(block.weight.shape))


def interval(block: TorchBlock, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
    """Bounds ``[B, m]`` of ``W h + b`` for ``lower <= h <= upper`` (``[B, n]``)."""
    positive, negative = block.weight.clamp(min=0).T, block.weight.clamp(max=0).T
    error = 2 * block_error(block, torch.maximum(lower.abs(), upper.abs()))
    low = lower @ positive + upper @ negative + block.bias - error
    high = upper @ positive + lower @ negative + block.bias + error
    return low, high
