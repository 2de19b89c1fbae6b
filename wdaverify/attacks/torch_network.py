"""A graph of affine nodes and functions as float64 torch tensors: batched margins and gradients, by a backward pass of our own.

With ``z_k = sum_s M_s v_s + b``, ``v = relu(z)`` and the output ``z_L`` (docs/theory.md, section 10)

    m_j(x) = c . z_L(x),    c = e_j - e_y;    from c on, in reverse,   g_s += M_s^T g   and   g_z = [v > 0] g_v

A curved function (``graph.smooth``) is evaluated by its own values and slopes, ``g_z = phi'(z) g_v``.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wdaverify.attacks.objectives import Objective
from wdaverify.attacks.torch_maps import TorchMap, on_device, tensor
from wdaverify.errors import ProblemError
from wdaverify.graph.nodes import INPUT, Affine, Graph
from wdaverify.graph.smooth.curve import Array, Smooth


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
    """A network of ReLUs and curved functions on a device, for the attacks only: what they find is evaluated again before it counts."""

    def __init__(self, graph: Graph, device: torch.device, fixed: NDArray[np.bool_] | None = None) -> None:
        """Copy the graph to ``device``; gradients are 0 where ``fixed [n]``."""
        self.device = device
        self.n_inputs = graph.inputs
        self.evaluations = 0
        self._nodes = graph.nodes
        affine = {k: node for k, node in enumerate(graph.nodes) if isinstance(node, Affine)}
        self._maps = {k: [on_device(m, device) for m in node.maps] for k, node in affine.items()}
        self._bias = {k: tensor(node.bias, device) for k, node in affine.items()}
        read = [s for node in graph.nodes for s in (node.sources if isinstance(node, Affine) else (node.source,))]
        self._shared = {s for s in read if read.count(s) > 1}
        self._fixed = None if fixed is None else torch.tensor(fixed, device=device)

    def logits(self, x: Tensor) -> Tensor:
        """Logits ``[B, K]`` of points ``[B, n]``."""
        return self._forward(x)[-1]

    def margins(self, x: Tensor, label: Tensor) -> Tensor:
        """All margins ``z_j - z_y`` ``[B, K]`` of points ``[B, n]`` with labels ``[B]``; ``-inf`` at ``j = y``."""
        z = self.logits(x)
        index = label.unsqueeze(1)
        return (z - z.gather(1, index)).scatter_(1, index, -torch.inf)

    def margin_gradient(self, x: Tensor, label: Tensor, rival: Tensor) -> tuple[Tensor, Tensor]:
        """``m_j`` ``[B]`` and its gradient ``[B, n]`` at points ``[B, n]``, labels and rivals ``[B]``; relu'(0) = 0."""
        values = self._forward(x)
        z = values[-1]
        value = z.gather(1, rival.unsqueeze(1)).squeeze(1) - z.gather(1, label.unsqueeze(1)).squeeze(1)
        return value, self._backward(x, values, lambda m: m.rows(rival) - m.rows(label))

    def climbed(self, x: Tensor, label: Tensor, rival: Tensor, objective: Objective) -> tuple[Tensor, Tensor, Tensor]:
        """Logits ``[B, K]``, an objective's values ``[B]`` and its gradient ``[B, n]``."""
        values = self._forward(x)
        value, slope = objective(values[-1], label, rival)
        return values[-1], value, self._backward(x, values, lambda m: m.back(slope))

    def _backward(self, x: Tensor, values: list[Tensor], head: Callable[[TorchMap], Tensor]) -> Tensor:
        """The gradient ``[B, n]`` of a function of the outputs; ``head`` takes its derivative through a map of the last node."""
        last = len(self._nodes) - 1
        waiting: dict[int, Tensor] = {}
        for k in range(last, INPUT, -1):
            node = self._nodes[k]
            if not isinstance(node, Affine):
                if k in waiting and isinstance(node.function, Smooth):
                    _give(
                        waiting, node.source, waiting.pop(k) * _through(node.function.derivative, values[node.source])
                    )
                elif k in waiting:
                    _give(waiting, node.source, waiting.pop(k).mul_(values[k] > 0))
            elif k == last or k in waiting:
                g = waiting.pop(k, None)
                for s, m in zip(node.sources, self._maps[k], strict=True):
                    _give(waiting, s, head(m) if g is None else m.back(g))
        g = waiting.get(INPUT)
        g = torch.zeros_like(x) if g is None else g
        return g if self._fixed is None else g.masked_fill_(self._fixed, 0.0)

    def _forward(self, x: Tensor) -> list[Tensor]:
        """The values of every node; those of an affine node that one relu alone reads are the relu's."""
        self.evaluations += x.shape[0]
        values: list[Tensor] = []
        for k, node in enumerate(self._nodes):
            if isinstance(node, Affine):
                z = self._bias[k]
                for s, m in zip(node.sources, self._maps[k], strict=True):
                    z = m.apply(x if s == INPUT else values[s], z)
                values.append(z)
            else:
                z = values[node.source]
                if isinstance(node.function, Smooth):
                    values.append(_through(node.function.value, z))
                    continue
                values.append(z.relu() if node.source in self._shared else z.relu_())
        return values


def _through(function: Callable[[Array], Array], z: Tensor) -> Tensor:
    """What numpy has of a tensor."""
    return torch.as_tensor(function(z.detach().cpu().numpy()), device=z.device)


def _give(waiting: dict[int, Tensor], node: int, g: Tensor) -> None:
    """The derivative by a node's values from one of its consumers."""
    waiting[node] = waiting[node] + g if node in waiting else g
