"""The networks of the table, trained in three ways: on digits, on MNIST where its files are, and a small one on irises, for all of R^n."""

from __future__ import annotations

import gzip
import importlib.util
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import wdaverify as wd

MODELS = Path(__file__).parents[2] / "models"
SEED = 5
WAYS = ("standard", "adversarial", "regularised")
"""Cross-entropy; at l-inf PGD points; with the first-order term of W_2 and l-inf (Gao, Chen, Kleywegt, arXiv 1712.06050)."""


def _bundled() -> ModuleType:
    """``models/train.py``: the digits, their split and the PGD points of its adversarial training."""
    spec = importlib.util.spec_from_file_location("models_train", MODELS / "train.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


bundled = _bundled()


@dataclass(frozen=True)
class Data:
    """Points ``[N, ...]`` in [0, 1] with labels: those to train on, and those to test."""

    name: str
    x: NDArray[np.float32]
    y: NDArray[np.int64]
    test_x: NDArray[np.float32]
    test_y: NDArray[np.int64]
    epochs: int


def digits() -> Data:
    """scikit-learn's digits, split as the bundled networks' are: 1,437 to train, 360 to test."""
    x, y = bundled.digits()
    split = bundled.split_indices(x, y, 36, 10)
    x = x.reshape(-1, 1, 8, 8)
    return Data("digits", x[split.training], y[split.training], x[split.test], y[split.test], 60)


def mnist() -> Data:
    """The 10,000 *test* images of MNIST, which are what there is: the first 9,000 to train, the last 1,000 to test."""
    folder = Path(os.environ["WDAVERIFY_REALWORLD"]) / "data"
    pixels = np.frombuffer(gzip.decompress((folder / "t10k-images-idx3-ubyte.gz").read_bytes()), np.uint8, offset=16)
    labels = np.frombuffer(gzip.decompress((folder / "t10k-labels-idx1-ubyte.gz").read_bytes()), np.uint8, offset=8)
    x, y = (pixels.reshape(-1, 1, 28, 28) / np.float32(255)).astype(np.float32), labels.astype(np.int64)
    return Data("mnist", x[:9000], y[:9000], x[9000:], y[9000:], 12)


def irises() -> Data:
    """scikit-learn's irises: 119 to train, 30 to test."""
    x, y = bundled.iris()
    split = bundled.split_indices(x, y, 10, 10)
    return Data("iris", x[split.training], y[split.training], x[split.test], y[split.test], 100)


DATA: dict[str, Callable[[], Data]] = {"digits": digits, "mnist": mnist, "iris": irises}
WIDTHS = {"digits": (64, 16, 16, 10), "mnist": (784, 24, 24, 10), "iris": (4, 8, 8, 3)}


def shape_of(data: str, kind: str) -> nn.Sequential:
    """The layers of a network, untrained: ``mlp`` with two hidden layers, or ``conv`` with one convolution and one hidden layer."""
    if kind == "mlp":
        return nn.Sequential(nn.Flatten(), *bundled.build(list(WIDTHS[data])))
    stride, maps = (2, 4 * 16) if data == "digits" else (4, 4 * 49)
    layers = [nn.Conv2d(1, 4, stride + 1, stride, 1), nn.ReLU(), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(maps, 12), nn.ReLU(), nn.Linear(12, 10))


ADVERSARIAL = 0.1
REGULARISED = 0.05
"""The radius of the PGD points, and of the W_2 ball whose first-order term is added."""


def first_order(module: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """``E[CE] + radius sqrt(E ||grad_x CE||_1^2)``: V of order 2 and l-inf to first order in the radius."""
    x = x.clone().requires_grad_(True)
    losses = nn.functional.cross_entropy(module(x), y, reduction="none")
    (gradient,) = torch.autograd.grad(losses.sum(), x, create_graph=True)
    return losses.mean() + REGULARISED * gradient.flatten(1).abs().sum(dim=1).square().mean().add(1e-12).sqrt()


def trained(data: Data, kind: str, way: str, epochs: int) -> nn.Sequential:
    """A network in evaluation mode; seeded, on one thread."""
    torch.manual_seed(SEED)
    module = shape_of(data.name, kind)
    x, y = torch.from_numpy(data.x), torch.from_numpy(data.y)
    optimiser = torch.optim.Adam(module.parameters(), lr=5e-3, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs)
    for _ in range(epochs):
        for batch in torch.randperm(len(y)).split(64 if data.name == "mnist" else 32):
            some, labels = x[batch], y[batch]
            if way == "adversarial":
                some = bundled.attacked(module, some, labels, ADVERSARIAL)
            optimiser.zero_grad()
            plain = way != "regularised"
            (
                nn.functional.cross_entropy(module(some), labels) if plain else first_order(module, some, labels)
            ).backward()
            optimiser.step()
        schedule.step()
    return module.eval()


def made(folder: Path, data: Data, kind: str, way: str, epochs: int | None) -> tuple[wd.ReluNetwork, nn.Sequential]:
    """The network as the tool reads it and as torch runs it; trained and written to ``folder`` where it is not there yet."""
    epochs = epochs or data.epochs
    path, weights = (folder / f"{data.name}-{kind}-{way}-{epochs}{suffix}" for suffix in (".onnx", ".pt"))
    module = shape_of(data.name, kind).eval()
    if not (path.exists() and weights.exists()):
        folder.mkdir(parents=True, exist_ok=True)
        module = trained(data, kind, way, epochs)
        torch.save(module.state_dict(), weights)
        wd.from_torch(module, data.test_x[:4], name=path.stem).save(path)
    module.load_state_dict(torch.load(weights, weights_only=True))
    return wd.load_network(path), module
