"""The adversary of a training loop: its atoms are a distribution in the ball, and training against them pays by the exact worst case."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import wdaverify as wd
from wdaverify.torch import WassersteinAdversary


def trained(adversary: WassersteinAdversary | None, x: torch.Tensor, y: torch.Tensor) -> nn.Sequential:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2))
    optimiser = torch.optim.Adam(net.parameters(), 0.02)
    for _ in range(60):
        at, label, weight = x, y, torch.full((len(y),), 1 / len(y))
        if adversary is not None:
            worst = adversary(net, x, y)
            at, label, weight = worst.x, worst.y, worst.weight
        optimiser.zero_grad()
        (weight * functional.cross_entropy(net(at), label, reduction="none")).sum().backward()
        optimiser.step()
    return net.eval()


def test_atoms_are_a_distribution_and_training_against_them_lowers_the_exact_worst_case() -> None:
    rng = np.random.default_rng(0)
    points = rng.uniform(size=(24, 2)).astype(np.float32)
    x, y = torch.tensor(points), torch.tensor((points[:, 0] > 0.5).astype(np.int64))
    adversary = WassersteinAdversary(radius=0.1, support=(0, 1))
    net = nn.Sequential(nn.Linear(2, 8), nn.Dropout(0.5), nn.Linear(8, 2))
    net[1].eval()
    worst = adversary(net, x, y)
    assert [part.training for part in net] == [True, False, True]
    assert all(parameter.grad is None for parameter in net.parameters())
    assert float(worst.weight.sum()) == pytest.approx(1.0, abs=1e-6)
    moved = (worst.x - x[worst.sample]).abs().amax(dim=1)
    assert float(worst.weight @ moved) <= 0.1 + 1e-6
    assert (worst.y == y[worst.sample]).all()
    values = [
        wd.worst_case(trained(against, x, y), points, y, radius=0.1, support=(0, 1), loss="zero-one", jobs=None).value
        for against in (None, adversary)
    ]
    assert values[1] <= values[0] + 1e-6
