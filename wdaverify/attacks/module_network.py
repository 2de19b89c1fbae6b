"""Any torch module or callable as what the attacks ask of a network: margins and gradients by autograd, in its own precision.

Points are doubles ``[B, n]`` here; the module gets them as ``[b, ...]`` in its own type on its device, at most ``batch`` at a time, so
that memory does not grow with the attacks'. Of one output z the scores are 0 and z. What is not finite is no point.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from wdaverify.attacks.objectives import Objective
from wdaverify.errors import NetworkError


class ModuleNetwork:
    """``module`` at points of ``shape`` in ``dtype`` on ``device``; ``outputs`` is its number of scores, 2 where it gives one."""

    def __init__(
        self,
        module: Callable[[Tensor], Tensor],
        shape: tuple[int, ...],
        dtype: torch.dtype,
        device: torch.device,
        batch: int,
    ) -> None:
        """Ask nothing of the module yet."""
        self.n_inputs = math.prod(shape)
        self.evaluations = 0
        self.outputs = 0
        self._module, self._shape, self._dtype, self._device, self._batch = module, shape, dtype, device, batch

    def scores(self, x: Tensor) -> Tensor:
        """Scores ``[B, K]`` of points ``[B, n]``, as doubles.

        Raises:
            NetworkError: the module gives something else.
        """
        if x.shape[0] == 0:
            return x.new_zeros((0, self.outputs))
        with torch.no_grad():
            return torch.cat([self._asked(part) for part in torch.split(x, self._batch)])

    def margins(self, x: Tensor, label: Tensor) -> Tensor:
        """All margins ``z_j - z_y`` ``[B, K]``; ``-inf`` at ``j = y`` and where they are not finite."""
        z, at = self.scores(x), label.unsqueeze(1)
        return _finite(z - z.gather(1, at)).scatter_(1, at, -torch.inf)

    def margin_gradient(self, x: Tensor, label: Tensor, rival: Tensor) -> tuple[Tensor, Tensor]:
        """``m_j`` ``[B]`` and its gradient ``[B, n]``."""

        def margin(z: Tensor, label: Tensor, rival: Tensor) -> tuple[Tensor, Tensor]:
            at, one = torch.arange(z.shape[0], device=z.device), torch.zeros_like(z)
            one[at, rival], one[at, label] = 1.0, -1.0
            return z[at, rival] - z[at, label], one

        _, value, gradient = self.climbed(x, label, rival, margin)
        return value, gradient

    def climbed(self, x: Tensor, label: Tensor, rival: Tensor, objective: Objective) -> tuple[Tensor, Tensor, Tensor]:
        """Scores ``[B, K]``, an objective's values ``[B]`` and its gradient ``[B, n]``."""
        if x.shape[0] == 0:
            return x.new_zeros((0, self.outputs)), x.new_zeros(0), torch.zeros_like(x)
        out: list[tuple[Tensor, Tensor, Tensor]] = []
        for part, y, j in zip(*(torch.split(v, self._batch) for v in (x, label, rival)), strict=True):
            with torch.enable_grad():
                leaf = part.detach().clone().requires_grad_(True)
                z = self._asked(leaf)
                if not z.requires_grad:
                    raise NetworkError(
                        "the module gives scores without gradients; one of differentiable torch operations is accepted"
                    )
                value, slope = objective(z.detach(), y, j)
                (gradient,) = torch.autograd.grad(z, leaf, grad_outputs=slope)
            out.append((z.detach(), _finite(value), gradient.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)))
        scores, values, gradients = zip(*out, strict=True)
        return torch.cat(scores), torch.cat(values), torch.cat(gradients)

    def _asked(self, x: Tensor) -> Tensor:
        self.evaluations += x.shape[0]
        try:
            z = self._module(x.to(self._dtype).reshape(-1, *self._shape))
        except Exception as error:
            text = str(error).strip().splitlines()
            raise NetworkError(
                f"the module fails at {x.shape[0]} points of shape {list(self._shape)}: {type(error).__name__}: "
                f"{text[0][:300] if text else ''} (batch=... gives it fewer at a time)"
            ) from error
        if not isinstance(z, Tensor) or z.ndim not in (1, 2) or z.shape[0] != x.shape[0]:
            got = f"a tensor of shape {list(z.shape)}" if isinstance(z, Tensor) else type(z).__name__
            raise NetworkError(
                f"the module gives {got} for {x.shape[0]} points of shape {list(self._shape)}: one tensor of scores [B, K] is accepted"
            )
        z = z.double() if z.ndim == 2 else z.double().unsqueeze(1)
        z = torch.cat([torch.zeros_like(z), z], dim=1) if z.shape[1] == 1 else z
        if self.outputs and z.shape[1] != self.outputs:
            raise NetworkError(f"the module gives {z.shape[1]} scores here and {self.outputs} before")
        self.outputs = z.shape[1]
        return z


def _finite(value: Tensor) -> Tensor:
    return value.nan_to_num(nan=-torch.inf, posinf=-torch.inf)
