"""All checks of an accelerator in one script, within five minutes: values beside the CPU's, points per second, and memory.

    python benchmarks/device.py

Without CUDA it says SKIPPED and ends with 0: nothing of it can be measured there. With it, each check prints one line, and the
script ends with 1 if a value is wrong.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from resnet import resnet18
from torch import nn

import wdaverify as wd

MODELS = Path(__file__).parents[1] / "models"
NEAR = 0.01
"""Values on two devices may differ by so much of the way from nominal to the exact value: rounding leads ascents apart."""
SECONDS = 60.0
Said = tuple[bool, str]


def pace(device: str, widths: tuple[int, ...], rows: int) -> float:
    """Points with their gradients a second, in float64."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    module = nn.Sequential(*layers[:-1]).double().to(device)
    x = torch.rand(rows, widths[0], dtype=torch.float64, device=device, requires_grad=True)

    def once() -> None:
        torch.autograd.grad(module(x)[:, 0].sum(), x)
        if device == "cuda":
            torch.cuda.synchronize()

    once()
    begun, done = time.monotonic(), 0
    while time.monotonic() - begun < 3.0:
        once()
        done += rows
    return done / (time.monotonic() - begun)


def paces(device: str) -> Said:
    """The device beside the CPU, on the shapes of digits and of MNIST."""
    shapes = {"64-16-16-10": (64, 16, 16, 10), "784-100-100-10": (784, 100, 100, 10)}
    told = [
        f"{name} {pace(device, widths, 65_536):.3g} (cpu {pace('cpu', widths, 4096):.3g})"
        for name, widths in shapes.items()
    ]
    return True, "points with gradients a second: " + ", ".join(told)


def same_values(device: str) -> Said:
    """The mixture on the device beside that on the CPU, and never above the exact value."""
    told, good = [], True
    for name, loss, order, norm, radius in (
        ("digits_16x16", "zero-one", 1, "inf", 0.02),
        ("digits_16x16", "margin", 1, "inf", 0.02),
        ("iris_8x8", "margin", 2, "2", 0.08),
    ):
        data = np.load(MODELS / f"{name}.npz")
        words = {"radius": radius, "order": order, "norm": norm, "loss": loss, "support": (0, 1)}
        given = (wd.load_network(MODELS / f"{name}.onnx"), data["x"][:20], data["y"][:20])
        exact = wd.worst_case(*given, **words, device="cpu", time_limit=30, jobs=None)
        there, here = (wd.attack(*given, **words, device=where) for where in (device, "cpu"))
        rise = exact.upper - exact.nominal
        good &= there.lower <= exact.upper and abs(there.lower - here.lower) <= NEAR * rise
        told.append(f"{name} {loss}: {there.lower:.5f} (cpu {here.lower:.5f}, exact {exact.upper:.5f})")
    return good, "; ".join(told)


def large_module(device: str) -> Said:
    """A ResNet-18-sized module that evaluates itself: evaluations a second and memory."""
    torch.manual_seed(0)
    module = resnet18().eval().to(device)
    x, y = torch.rand(500, 3, 32, 32), torch.randint(0, 10, (500,))
    words = {"radius": 8 / 255, "order": "inf", "support": (0, 1), "vouched": "module", "attacks": ("wda",), "steps": 3}
    found = wd.attack(module, x, y, **words, batch=256, time_limit=SECONDS)
    memory = f", {torch.cuda.max_memory_allocated() / 2**30:.2f} GiB" if device == "cuda" else ""
    good = found.device == device and found.lower >= found.nominal and found.transport_cost <= 8 / 255
    return (
        good,
        f"{found.evaluations / found.seconds:,.0f} evaluations a second, rise {found.lower - found.nominal:.4f}{memory}",
    )


CHECKS: dict[str, Callable[[str], Said]] = {"pace": paces, "values": same_values, "module": large_module}


def main(device: str) -> int:
    """Run every check on a device and say how each ended."""
    begun, failed = time.monotonic(), 0
    for name, check in CHECKS.items():
        good, text = check(device)
        failed += not good
        print(f"{'ok  ' if good else 'FAIL'} {name}: {text}", flush=True)
    print(f"{len(CHECKS) - failed} of {len(CHECKS)} checks on {device} in {time.monotonic() - begun:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    if not torch.cuda.is_available():
        print("SKIPPED: torch sees no CUDA device here; nothing was measured")
        sys.exit(0)
    sys.exit(main("cuda"))
