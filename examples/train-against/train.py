"""Train digits_32x32 against the worst distributions that the attacks find, and ask for its exact worst case before and after.

    python examples/train-against/train.py [--epochs E] [--samples N]

The network (64-32-32-10) is trained as ``models/train.py`` trains it, without attacks. A copy is then trained on: at every batch
``wd.torch.WassersteinAdversary`` gives atoms and weights of the worst distribution found within W_2 radius 0.1 (l-inf) of the batch,
and the step descends its expected cross-entropy. Beside them stands the point-wise way: PGD at l-inf 0.1 from the first epoch on, which is
how the bundled digits_32x32_robust was made. Printed are the exact worst-case error rates over W_1 (l-inf) at several radii, on
samples that took no part.
"""

from __future__ import annotations

import argparse
import copy
import importlib.util
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn

import wdaverify as wd
from wdaverify.torch import WassersteinAdversary

RADII = (0.01, 0.02, 0.05)
SEED = 2


def bundled() -> ModuleType:
    """``models/train.py``: the digits, their split and the plain training."""
    spec = importlib.util.spec_from_file_location("models_train", Path(__file__).parents[2] / "models" / "train.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def train_on(model: nn.Module, x: Tensor, y: Tensor, epochs: int) -> None:
    """Adam on the expected loss of the worst distribution found around each batch."""
    torch.manual_seed(SEED)
    adversary = WassersteinAdversary(radius=0.1, order=2, support=(0, 1))
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(1, epochs))
    for _ in range(epochs):
        for batch in torch.randperm(len(y)).split(64):
            worst = adversary(model, x[batch], y[batch])
            losses = nn.functional.cross_entropy(model(worst.x), worst.y, reduction="none")
            optimiser.zero_grad()
            (worst.weight * losses).sum().backward()
            optimiser.step()
        schedule.step()


def told(name: str, model: nn.Module, x: Tensor, y: Tensor, samples: int, spent: float) -> list[float]:
    """Print and give the error rate of a model on all points, then the ends of its exact worst case at every radius.

    ``spent`` are processor seconds of its training.
    """
    model.eval()
    with torch.no_grad():
        clean = float((model(x).argmax(dim=1) != y).double().mean())
    found = [
        wd.worst_case(
            model, x[:samples], y[:samples], radius=radius, support=(0, 1), loss="zero-one", gap=1e-4, jobs=None
        )
        for radius in RADII
    ]
    cells = [f"{r.lower:.4f}" if r.status.value == "exact" else f"{r.lower:.4f}..{r.upper:.4f}" for r in found]
    print(f"{name:<12}{clean:>12.4f}" + "".join(f"{cell:>10}" for cell in cells) + f"{spent:>6.0f}", flush=True)
    return [clean, *(end for r in found for end in (r.lower, r.upper))]


def main(epochs: int, samples: int, plain_epochs: int = 60) -> list[list[float]]:
    """Train, train on, and print what all are worth."""
    torch.set_num_threads(1)
    source = bundled()
    recipe = source.Recipe(source.digits, (32, 32), 36, 10, plain_epochs, 5e-3, 5e-4, 0.0, SEED)
    points, labels, split = recipe.split()
    x, y = torch.from_numpy(points), torch.from_numpy(labels)
    train_x, train_y, test = x[split.training], y[split.training], (x[split.test], y[split.test], samples)
    print(
        f"{'training':<12}{'clean error':>12}" + "".join(f"{f'V({r:g})':>10}" for r in RADII) + f"{'s':>6}", flush=True
    )
    found, models = list[list[float]](), list[nn.Module]()
    for name, radius in (("plain", 0.0), ("PGD", 0.1), ("against it", 0.0)):
        begun = time.process_time()
        if name == "against it":
            model = copy.deepcopy(models[0])
            train_on(model, train_x, train_y, epochs)
        else:
            model = source.train(replace(recipe, attack_radius=radius), train_x, train_y)
        models.append(model)
        found.append(told(name, model, *test, time.process_time() - begun))
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=60, help="against the adversary (60)")
    parser.add_argument("--samples", type=int, default=50, help="whose exact worst case is asked for (50)")
    arguments = parser.parse_args()
    main(arguments.epochs, arguments.samples)
