"""The adversary of a training loop: its atoms are a distribution in the ball, and training against them pays by the exact worst case."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import wdaverify as wd
from wdaverify.errors import InputError
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


@pytest.mark.parametrize(
    "words",
    [
        {"radius": -1},
        {"support": (1, 0)},
        {"support": "box"},
        {"loss": "dlr"},
        {"steps": 0},
        {"batch": 0},
        {"seed": -1},
    ],
)
def test_what_the_constructor_refuses(words: dict[str, object]) -> None:
    with pytest.raises(InputError):
        WassersteinAdversary(**{"radius": 0.1, "support": (0, 1), **words})  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="step"):
        WassersteinAdversary(radius=0.1, support=(0, 1), step=3)  # type: ignore[call-arg]


def test_batches_that_are_refused_leave_the_module_in_training() -> None:
    x, y, net = torch.rand(3, 2), torch.tensor([0, 1, 1]), nn.Sequential(nn.Linear(2, 2))
    adversary = WassersteinAdversary(radius=0.1, support=(0, 1))
    for points, labels, said in (
        (x.numpy(), y, r"torch\.as_tensor\(x\)"),
        (x, y.tolist(), r"torch\.as_tensor\(y\)"),
        (x, y - 1, "label -1 of sample 0"),
    ):
        with pytest.raises(InputError, match=said):
            adversary(net, points, labels)  # type: ignore[arg-type]
    assert net.training
