"""What an ascent climbs: numbers that grow as a rival comes ahead, each with local maxima of its own.

Of logits ``z [K]``, a label y and a rival j, with ``m = z_j - z_y``:

    margin    m                               derivative by z    e_j - e_y
    scaled    m / s                                              (e_j - e_y) / s - m (z - mean z) / ((K - 1) s^3)
    entropy   z_j - log sum_k exp z_k                            e_j - softmax(z)

where ``s^2 = sum_k (z_k - mean z)^2 / (K - 1)``. The scaled margin does not change when all logits are multiplied, as the ratio
of Croce and Hein (arXiv 2003.01690) does not, and like the cross-entropy of the rival it also weighs the other classes.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Objective = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""From logits ``[B, K]``, labels and rivals ``[B]`` to values ``[B]`` and their derivatives by the logits ``[B, K]``."""


def margin(z: Tensor, label: Tensor, rival: Tensor) -> tuple[Tensor, Tensor]:
    """``m``."""
    return _margin(z, label, rival), _pair(z, label, rival)


def scaled(z: Tensor, label: Tensor, rival: Tensor) -> tuple[Tensor, Tensor]:
    """``m / s``; of two classes, where that is a sign, ``m``."""
    if z.shape[1] == 2:
        return margin(z, label, rival)
    m, centred = _margin(z, label, rival), z - z.mean(dim=1, keepdim=True)
    size = z.std(dim=1).clamp(min=1e-100)
    pull = (m / (size * size) / (z.shape[1] - 1)).unsqueeze(1) * centred
    return m / size, (_pair(z, label, rival) - pull) / size.unsqueeze(1)


def entropy(z: Tensor, label: Tensor, rival: Tensor) -> tuple[Tensor, Tensor]:
    """``z_j - log sum_k exp z_k``; the label has a part in the sum."""
    at = rival.unsqueeze(1)
    return z.gather(1, at).squeeze(1) - z.logsumexp(dim=1), (-z.softmax(dim=1)).scatter_add(
        1, at, torch.ones_like(at, dtype=z.dtype)
    )


def _margin(z: Tensor, label: Tensor, rival: Tensor) -> Tensor:
    return (z.gather(1, rival.unsqueeze(1)) - z.gather(1, label.unsqueeze(1))).squeeze(1)


def _pair(z: Tensor, label: Tensor, rival: Tensor) -> Tensor:
    one = torch.ones_like(z[:, :1])
    return torch.zeros_like(z).scatter_(1, rival.unsqueeze(1), one).scatter_(1, label.unsqueeze(1), -one)
