"""A module of the size of a ResNet-18 on images of CIFAR's shape: memory and pace of the attacks that let it evaluate itself.

    python benchmarks/resnet.py [SAMPLES] [SECONDS]

Weights and images are random: only memory (the peak of this process), evaluations a second and progress are measured.
"""

from __future__ import annotations

import resource
import sys

import torch
from torch import Tensor, nn

import wdaverify as wd


class Block(nn.Module):
    """Two convolutions with normalisation, and what goes past them."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        """A residual block."""
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        same = inputs == outputs and stride == 1
        self.past = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """``relu(body(x) + past(x))``."""
        return torch.relu(self.body(x) + self.past(x))


def resnet18(classes: int = 10) -> nn.Sequential:
    """About 11 million weights, for images [3, 32, 32]."""
    widths, parts, before = (64, 128, 256, 512), [], 64
    for k, width in enumerate(widths):
        parts += [Block(before, width, 1 if k == 0 else 2), Block(width, width, 1)]
        before = width
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, classes))
    return nn.Sequential(nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU(), *parts, head)


def main(samples: int, seconds: float) -> None:
    """Attack and print."""
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    module = resnet18().eval().to(device)
    x, y = torch.rand(samples, 3, 32, 32), torch.randint(0, 10, (samples,))
    result = wd.attack(
        module,
        x,
        y,
        radius=8 / 255,
        order="inf",
        support=(0, 1),
        vouched="module",
        attacks=("wda",),
        steps=1,
        time_limit=seconds,
        progress=True,
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"\n{result}\n{'peak memory':<16}{peak:.2f} GB, {sum(p.numel() for p in module.parameters()):,} weights")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000, float(sys.argv[2]) if len(sys.argv) > 2 else 300.0)
