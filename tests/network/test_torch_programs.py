"""Random modules that torch itself exports: read, and equal to what torch computes."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from wdaverify.network.onnx_reader import load_network

OPSETS = (9, 11, 12, 13, 15, 17, 18)
MOST = 300
"""Numbers of a tensor."""


class Step(nn.Module):
    """A function of tensors with modules of its own."""

    def __init__(self, function: Callable[..., Tensor], *parts: nn.Module) -> None:
        super().__init__()
        self.function, self.parts = function, nn.ModuleList(parts)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, *self.parts)


def activation(rng: np.random.Generator) -> nn.Module:
    kinds: list[Callable[[], nn.Module]] = [
        nn.ReLU,
        lambda: nn.LeakyReLU(0.25),
        nn.ReLU6,
        lambda: nn.Hardtanh(-0.5, 0.75),
        nn.Hardsigmoid,
        nn.PReLU,
        lambda: Step(torch.abs),
        lambda: Step(lambda x: torch.clamp(x, min=-0.25)),
        lambda: Step(lambda x: torch.maximum(x, -0.5 * x)),
    ]
    return kinds[int(rng.integers(len(kinds)))]()


def of_image(rng: np.random.Generator, shape: torch.Size) -> nn.Module:
    """One step from a tensor [1, C, H, W]."""
    _, c, h, w = shape

    def draw(low: int, high: int) -> int:
        return int(rng.integers(low, high))

    groups = int(rng.choice([g for g in range(1, c + 1) if c % g == 0]))
    pad, stride, kernel = draw(0, 2), draw(1, 3), draw(1, min(h, w, 3) + 1)
    kinds: list[Callable[[], nn.Module]] = [
        lambda: nn.Conv2d(
            c, groups * draw(1, 3), kernel, stride, pad, dilation=1, groups=groups, bias=bool(draw(0, 2))
        ),
        lambda: nn.ConvTranspose2d(c, groups * draw(1, 3), kernel, stride, 0, groups=groups),
        lambda: nn.MaxPool2d(kernel, stride, min(pad, kernel // 2), ceil_mode=stride <= kernel),
        lambda: nn.AvgPool2d(
            kernel, stride, min(pad, kernel // 2), ceil_mode=False, count_include_pad=bool(draw(0, 2))
        ),
        lambda: nn.BatchNorm2d(c),
        lambda: nn.Upsample(scale_factor=2, mode="nearest"),
        lambda: nn.ZeroPad2d((1, 0, 0, 1)),
        lambda: nn.ReflectionPad2d(1) if min(h, w) > 1 else nn.ReplicationPad2d(1),
        lambda: nn.PixelShuffle(2) if c % 4 == 0 else nn.Identity(),
        lambda: Step(lambda x, f: x + f(x), nn.Conv2d(c, c, 1)),
        lambda: Step(lambda x, f: torch.cat([f(x), x], dim=1), activation(rng)),
        lambda: Step(lambda x: x.permute(0, 1, 3, 2)),
        lambda: Step(lambda x: x[:, :, 1:, ::1] if x.shape[2] > 1 else x),
        lambda: Step(lambda x: x.mean(dim=(2,), keepdim=True)),
        lambda: Step(lambda x: x.amax(dim=3, keepdim=True)),
        lambda: Step(lambda x: torch.cat(torch.chunk(x, 2, dim=1)[::-1] if c % 2 == 0 else [x, x], dim=1)),
        lambda: nn.AdaptiveAvgPool2d(1),
        lambda: activation(rng),
    ]
    return kinds[draw(0, len(kinds))]()


def of_row(rng: np.random.Generator, width: int) -> nn.Module:
    """One step from a tensor [1, n]."""
    kinds: list[Callable[[], nn.Module]] = [
        lambda: nn.Linear(width, int(rng.integers(1, 7))),
        lambda: nn.BatchNorm1d(width),
        lambda: Step(lambda x, f: f(x) - 0.5 * x, nn.Linear(width, width)),
        lambda: Step(lambda x, f: torch.cat([x, f(x)], dim=-1), nn.Linear(width, 2)),
        lambda: Step(lambda x: x.sum(dim=-1, keepdim=True) + x),
        lambda: Step(lambda x: x[..., : max(1, x.shape[-1] // 2)]),
        lambda: activation(rng),
    ]
    return kinds[int(rng.integers(len(kinds)))]()


def module(seed: int) -> tuple[nn.Module, Tensor]:
    """A module in evaluation mode, normalisations with statistics of their own, and an input."""
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    x = torch.rand(1, *(int(v) for v in rng.integers(1, 5, size=1)), *(int(v) for v in rng.integers(2, 7, size=2)))
    steps, at = list[nn.Module](), x
    while len(steps) < 8:
        if at.ndim == 4 and len(steps) >= 5:
            steps.append(nn.Flatten())
        else:
            steps.append(of_image(rng, at.shape) if at.ndim == 4 else of_row(rng, at.shape[-1]))
        for part in steps[-1].modules():
            if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
                nn.init.uniform_(part.running_mean, -1, 1)
                nn.init.uniform_(part.running_var, 0.5, 2)
                nn.init.uniform_(part.weight, -1, 2)
        with torch.no_grad():
            after = steps[-1].eval()(at)
        if after.numel() > MOST:
            steps.pop()
            continue
        at = after
    return nn.Sequential(*steps).eval(), x


def compare(seeds: range, folder: Path) -> None:
    """Of the seeds that torch can export in their operator set: four in five at least."""
    exported = 0
    for seed in seeds:
        net, x = module(seed)
        opset, file = OPSETS[seed % len(OPSETS)], io.BytesIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                torch.onnx.export(net, (x,), file, opset_version=opset, dynamo=False, input_names=["x"])
            except torch.onnx.errors.OnnxExporterError:
                continue
        exported += 1
        path = folder / "net.onnx"
        path.write_bytes(file.getvalue())
        read = load_network(path)
        points = torch.rand(5, *x.shape[1:], generator=torch.Generator().manual_seed(seed)) * 4 - 2
        with torch.no_grad():
            want = np.array([net(point[None]).numpy().ravel() for point in points], np.float64)
        flat = points.reshape(5, -1).numpy().astype(np.float64)
        size = max(1.0, float(np.abs(want).max()))
        for got in (read.forward(flat), read.canonical.forward(flat)):
            np.testing.assert_allclose(got, want, rtol=0, atol=2e-5 * size, err_msg=f"seed {seed}, opset {opset}")
    assert exported >= 0.8 * len(seeds)


def test_twelve_modules(tmp_path: Path) -> None:
    compare(range(12), tmp_path)


@pytest.mark.full
def test_two_hundred_modules(tmp_path: Path) -> None:
    compare(range(12, 200), tmp_path)
