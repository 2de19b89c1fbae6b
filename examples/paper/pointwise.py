"""Attacks that move every point within the radius: PGD, and AutoAttack where torchattacks is.

Its releases pin others' of 2021: ``pip install --no-deps torchattacks``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib.util import find_spec

import torch
from networks import SEED
from torch import Tensor, nn

STEPS = 40
Finder = Callable[[nn.Module, Tensor, Tensor, str, float], Tensor]
MISSING = "torchattacks is not installed: pip install --no-deps torchattacks"


def pgd(module: nn.Module, x: Tensor, y: Tensor, norm: str, radius: float) -> Tensor:
    """Projected gradient ascent on the cross-entropy in the ball of the radius around each point, in double precision."""
    module = module.double()
    generator = torch.Generator().manual_seed(SEED)
    start = 2 * torch.rand(x.shape, generator=generator, dtype=torch.float64) - 1
    sides = [-1] + [1] * (x.ndim - 1)
    width = 1.0 if norm == "inf" else 1 / math.sqrt(x[0].numel())
    points = (x + radius * width * start).clamp(0, 1)
    for _ in range(STEPS):
        points.requires_grad_(True)
        (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(module(points), y, reduction="sum"), points)
        length = gradient.flatten(1).norm(dim=1).clamp_min(1e-300).reshape(sides)
        step = gradient.sign() if norm == "inf" else gradient / length
        away = points.detach() + radius / 8 * step - x
        if norm == "inf":
            away = away.clamp(-radius, radius)
        else:
            away = away * (radius / away.flatten(1).norm(dim=1).clamp_min(radius)).reshape(sides)
        points = (x + away).clamp(0, 1)
    return points.detach()


def auto_attack(module: nn.Module, x: Tensor, y: Tensor, norm: str, radius: float) -> Tensor:
    """AutoAttack as it comes (APGD on two losses, FAB, Square), in float32; what its rounding takes outside is drawn back."""
    import torchattacks

    torch.manual_seed(SEED)
    how = {"norm": "Linf" if norm == "inf" else "L2", "eps": radius * (1 - 1e-5), "seed": SEED}
    with torch.no_grad():
        classes = module.float()(x.float()).shape[1]
    found: Tensor = torchattacks.AutoAttack(module, version="standard", n_classes=classes, **how)(x.float(), y).double()
    away = found - x
    if norm == "inf":
        return x + away.clamp(-radius, radius)
    sides = [-1] + [1] * (x.ndim - 1)
    return x + away * (radius / away.flatten(1).norm(dim=1).clamp_min(radius)).reshape(sides)


ATTACKS: dict[str, Finder] = {"PGD": pgd, **({"AutoAttack": auto_attack} if find_spec("torchattacks") else {})}
