"""Affine maps with relu between them as float64 torch tensors: batched margins and gradients, by a backward pass of our own.

With maps ``(W_k, b_k)``, ``a_k = W_k h_(k-1) + b_k``, ``h_k = relu(a_k)``, ``c = e_j - e_y`` (docs/theory.md, section 10)

    m_j(x) = c . a_L(x),    grad m_j = W_1^T D_1 W_2^T D_2 ... W_L^T c,    D_k = diag[a_k > 0]
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wdaverify.attacks.recast import Maps
from wdaverify.errors import ProblemError


def pick_device(name: str) -> torch.device:
    """The device asked for by ``auto``, ``cpu`` or ``cuda``; ``auto`` is cuda where there is one."""
    if name not in ("auto", "cpu", "cuda"):
        raise ProblemError(f"device {name!r}: accepted are auto, cpu and cuda; use --device auto")
    if name == "cuda" and not torch.cuda.is_available():
        raise ProblemError(
            "device cuda: no CUDA device is usable here; use --device cpu or auto, or install a CUDA torch"
        )
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda")


class TorchNetwork:
    """A network on a device, for the attacks only: what they find is evaluated again before it counts."""

    def __init__(self, maps: Maps, device: torch.device, fixed: NDArray[np.bool_] | None = None) -> None:
        """Copy the maps to ``device``, weights ``[m, n]`` in both orientations; gradients are 0 where ``fixed [n]``."""
        self.device = device
        self.n_inputs = maps[0][0].shape[1]
        self.evaluations = 0
        self._weight = [torch.tensor(weight, dtype=torch.float64, device=device) for weight, _ in maps]
        self._transposed = [w.t().contiguous() for w in self._weight]
        self._bias = [torch.tensor(bias, dtype=torch.float64, device=device) for _, bias in maps]
        self._fixed = None if fixed is None else torch.tensor(fixed, device=device)

    def logits(self, x: Tensor) -> Tensor:
        """Logits ``[B, K]`` of points ``[B, n]``."""
        return self._forward(x)[0]

    def margins(self, x: Tensor, label: Tensor) -> Tensor:
        """All margins ``z_j - z_y`` ``[B, K]`` of points ``[B, n]`` with labels ``[B]``; ``-inf`` at ``j = y``."""
        z = self.logits(x)
        index = label.unsqueeze(1)
        return (z - z.gather(1, index)).scatter_(1, index, -torch.inf)

    def margin_gradient(self, x: Tensor, label: Tensor, rival: Tensor) -> tuple[Tensor, Tensor]:
        """``m_j`` ``[B]`` and its gradient ``[B, n]`` at points ``[B, n]``, labels and rivals ``[B]``; relu'(0) = 0."""
        z, active = self._forward(x)
        value = z.gather(1, rival.unsqueeze(1)).squeeze(1) - z.gather(1, label.unsqueeze(1)).squeeze(1)
        last = self._weight[-1]
        g = last.index_select(0, rival) - last.index_select(0, label)
        for weight, h in zip(reversed(self._weight[:-1]), reversed(active), strict=True):
            g = g.mul_(h > 0) @ weight
        return value, g if self._fixed is None else g.masked_fill_(self._fixed, 0.0)

    def _forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Logits ``[B, K]`` and the post-activations of every hidden block."""
        self.evaluations += x.shape[0]
        active: list[Tensor] = []
        h = x
        for weight, bias in zip(self._transposed[:-1], self._bias[:-1], strict=True):
            h = torch.addmm(bias, h, weight).relu_()
            active.append(h)
        return torch.addmm(self._bias[-1], h, self._transposed[-1]), active
