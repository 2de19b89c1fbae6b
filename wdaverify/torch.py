"""For training loops in torch: the worst distribution that the attacks find around a batch, as atoms and weights.

adversary = WassersteinAdversary(radius=0.05, support=(0, 1))
worst = adversary(model, x, y)
loss = (worst.weight * cross_entropy(model(worst.x), worst.y, reduction="none")).sum()
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from wdaverify.attacks.effort import effort_of
from wdaverify.doors.module_question import attack_module, ball_of, box_form
from wdaverify.errors import NetworkError, SamplesError
from wdaverify.given import instance, whole

__all__ = ["Atoms", "WassersteinAdversary"]


@dataclass(frozen=True, eq=False)
class Atoms:
    """A distribution in the ball: ``weight [M]`` (summing to 1) at ``x [M, ...]`` with labels ``y [M]``, moved from ``sample [M]``.

    ``value`` is its expected loss, as the module computed it when it was attacked.
    """

    x: Tensor
    y: Tensor
    weight: Tensor
    sample: Tensor
    value: float


class WassersteinAdversary:
    """Attack the module in ``sup { E_Q[loss] : W_order(Q, batch) <= radius }`` and give what was found.

    Args:
        radius, support, norm, order, loss: as ``wdaverify.question``; losses as ``wdaverify.attack`` takes them of a module.
        attacks, powers, steps, restarts, rivals, budget: as those of ``wdaverify.attack``; by default WDA(1),
            WDA(2) and WDA(4) with the 3 leading rivals and 5 steps, and the mixture of all their points.
        seed: of the attacks; the same one at every call.

    The module is attacked in evaluation mode, each part of it is put back as it was, and no gradient of a parameter is touched.
    """

    def __init__(
        self,
        *,
        radius: float,
        support: Any,
        norm: Any = "inf",
        order: Any = 1,
        loss: Any = "cross-entropy",
        seed: int = 0,
        batch: int = 256,
        attacks: Any = ("wda",),
        powers: Any = (1, 2, 4),
        steps: Any = 5,
        restarts: Any = None,
        rivals: Any = 3,
        budget: Any = None,
    ) -> None:
        """Keep what is asked; a support of a number a feature is compared with the points at the first batch.

        Raises:
            InputError: something that cannot be used.
        """
        ball_of(radius, norm, order, loss)
        box_form(support)
        effort_of(attacks, powers, steps, restarts, rivals, budget)
        whole("seed", seed, "a whole number >= 0 (and below 2^63)", lambda s: 0 <= s < 2**63)
        whole("batch", batch, "a whole number >= 1", lambda b: b >= 1)
        self._asked = {"radius": radius, "support": support, "norm": norm, "order": order, "loss": loss}
        self._how = {"attacks": attacks, "powers": powers, "steps": steps, "restarts": restarts, "rivals": rivals}
        self._how |= {"budget": budget, "seed": seed, "batch": batch}

    def __call__(self, module: nn.Module, x: Tensor, y: Tensor, weights: Tensor | None = None) -> Atoms:
        """The worst atoms found around the rows ``x [B, ...]`` with labels ``y [B]`` (and weights ``[B]``, all equal by default).

        Raises:
            InputError: anything that cannot be used, in one line.
        """
        instance("module", module, nn.Module, "torch.nn.Sequential(...) is one", NetworkError)
        for name, value in (("x", x), ("y", y), ("weights", weights)):
            if value is not None or name != "weights":
                instance(name, value, Tensor, f"torch.as_tensor({name}) makes one", SamplesError)
        training = [part for part in module.modules() if part.training]
        module.eval()
        try:
            given = None if weights is None else weights.detach().cpu().numpy()
            found = attack_module(module, x, y, weights=given, **self._asked, **self._how)
        finally:
            for part in training:
                part.training = True
        sample = torch.from_numpy(found.sample).to(y.device)
        return Atoms(
            torch.from_numpy(found.point).to(x),
            y[sample],
            torch.from_numpy(found.weight).to(x),
            sample,
            found.lower,
        )
