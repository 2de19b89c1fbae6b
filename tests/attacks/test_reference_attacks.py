"""WDA and WDA++ beside an independent writing of the paper's text: both are below the exact value, and ours lose to neither."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from reference_attacks import Move, Reference
from torch import Tensor, nn

import wdaverify as wd

MODELS = Path(__file__).parents[2] / "models"


def line(x: Tensor) -> Tensor:
    """Logits ``(1, 4 x)`` of points ``[B, 1]``: label 0 up to 1/4."""
    return torch.cat([torch.ones_like(x), 4 * x], dim=1)


def on_a_line(loss: str, radius: float) -> Reference:
    points = torch.tensor([[0.0], [0.1]], dtype=torch.float64)
    return Reference(line, points, torch.tensor([0, 0]), radius, 1, "inf", loss)


def test_by_hand() -> None:
    """Margins -1 and -0.6, slope 4: WDA(2) at 0.05 gains 4 * 0.1 on half the mass; the nearest flips lie 0.25 and 0.15 away."""
    margin = on_a_line("margin", 0.05)
    assert margin.value(margin.wda(2.0)) == pytest.approx(-0.8 + 4 * 0.05)
    flips = on_a_line("zero-one", 0.1)
    assert flips.value(flips.wda_pp()) == pytest.approx(0.5 + 0.5 * (0.1 - 0.075) / 0.125)
    with pytest.raises(AssertionError):
        margin.value([Move(0, 0.5, 1.0, 3.0)])  # twice the budget and more


def module_of(path: Path) -> nn.Sequential:
    """The chain of Gemm and Relu nodes of a bundled network."""
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer}
    layers: list[nn.Module] = []
    for k in range(1, len(held) // 2 + 1):
        weight, bias = (torch.tensor(held[f"{letter}{k}"]).double() for letter in "Wb")
        part = nn.Linear(*reversed(weight.shape), dtype=torch.float64)
        part.weight.data, part.bias.data = weight, bias
        layers += [part, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


@pytest.mark.parametrize(
    ("loss", "order", "norm", "radius"),
    [("zero-one", 1, "inf", 0.02), ("margin", 1, "inf", 0.02), ("margin", 1, "2", 0.05), ("zero-one", 2, "2", 0.05)],
)
def test_ours_lose_to_neither_and_none_exceeds_the_exact_value(loss: str, order: int, norm: str, radius: float) -> None:
    path, data = MODELS / "iris_8x8.onnx", np.load(MODELS / "iris_8x8.npz")
    x, y = data["x"][:12], data["y"][:12]
    how = {"radius": radius, "order": order, "norm": norm, "loss": loss, "support": (0, 1)}
    exact = wd.worst_case(path, x, y, **how, jobs=None)
    ours = wd.attack(path, x, y, **how)
    reference = Reference(module_of(path), torch.tensor(x).double(), torch.tensor(y), radius, order, norm, loss)
    theirs = {f"WDA({k})": reference.value(reference.wda(k)) for k in (1, 4)}
    theirs["WDA++"] = reference.value(reference.wda_pp())
    rise = exact.upper - exact.nominal
    assert rise > 1e-3
    for name, value in theirs.items():
        assert exact.nominal - 1e-9 <= value <= exact.upper + 1e-9, name
        assert ours.lower >= value - 1e-3 * rise, name
    found = max(theirs.values()) - exact.nominal
    assert found >= 0.3 * rise  # the reference is an attack
