"""The point-wise attack beside AutoAttack of torchattacks, paired in one run: errors found and processor seconds.

    python benchmarks/pointwise.py [SEEDS]          # pip install --no-deps torchattacks (it pins releases of requests and tqdm of 2021)

Rows are the first 50 digits of the bundled networks, where the exact number is known by the cell engine. AutoAttack computes in float32 and
takes its own random seed; its points count where they are errors in float32 and within the radius up to 1e-5 of it.
"""

from __future__ import annotations

import sys
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import wdaverify as wd
from wdaverify.graph.maps import Dense
from wdaverify.graph.nodes import Affine
from wdaverify.network.model import ReluNetwork

MODELS = Path(__file__).parents[1] / "models"
ROWS = (
    ("digits_16x16", "inf", 0.06589, "14"),
    ("digits_32x32_robust", "inf", 0.1557, "25"),
    ("digits_32x32_robust", "inf", 0.184, "38"),
    ("digits_16x16", "2", 0.33757, "15 to 18"),
)
COUNT = 50


def module_of(network: ReluNetwork) -> nn.Sequential:
    """A chain of dense layers and ReLUs as a float32 module."""
    parts: list[nn.Module] = [nn.Flatten()]
    for node in network.canonical.nodes:
        if isinstance(node, Affine):
            (map_,) = node.maps
            assert isinstance(map_, Dense)
            layer = nn.Linear(map_.weight.shape[1], map_.weight.shape[0])
            layer.weight.data, layer.bias.data = torch.tensor(map_.weight).float(), torch.tensor(node.bias).float()
            parts.append(layer)
        else:
            parts.append(nn.ReLU())
    return nn.Sequential(*parts).eval()


def autoattack(module: nn.Module, x: Tensor, y: Tensor, norm: str, radius: float, seed: int) -> int:
    """How many samples the standard AutoAttack breaks."""
    import torchattacks

    name = "Linf" if norm == "inf" else "L2"
    attack = torchattacks.AutoAttack(module, norm=name, eps=radius, version="standard", n_classes=10, seed=seed)
    moved = attack(x, y)
    away = (moved.double() - x.double()).flatten(1)
    distance = away.abs().amax(dim=1) if norm == "inf" else away.norm(dim=1)
    wrong = module(moved).argmax(dim=1) != y
    return int((wrong & (distance <= radius * (1 + 1e-5))).sum())


def main(seeds: int) -> None:
    """Run every row with every seed and print it."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    print(f"{'network':<22}{'norm':>5}{'radius':>9}{'exact':>10}{'ours':>6}{'s':>7}{'AutoAttack':>12}{'s':>7}")
    for name, norm, radius, exact in ROWS:
        network, data = wd.load_network(MODELS / f"{name}.onnx"), np.load(MODELS / f"{name}.npz")
        x, y, module = data["x"][:COUNT], data["y"][:COUNT], module_of(network)
        for seed in range(seeds):
            begun = time.process_time()
            ours = wd.attack(
                network, x, y, radius=radius, order="inf", norm=norm, loss="zero-one", support=(0, 1), seed=seed
            )
            middle = time.process_time()
            images = torch.tensor(x).float().reshape(-1, 1, 8, 8)
            theirs = autoattack(module, images, torch.tensor(y), norm, radius, seed)
            end = time.process_time()
            found = round(COUNT * max(ours.attacks.values()))
            print(
                f"{name:<22}{norm:>5}{radius:>9}{exact:>10}{found:>6}{middle - begun:>7.2f}{theirs:>12}{end - middle:>7.2f}"
            )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
