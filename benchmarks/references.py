"""Our attacks beside references, paired in one run: values at equal gradient evaluations and at equal seconds.

    python benchmarks/references.py [SEEDS]         # pip install -e '.[references]' for foolbox and ART; 5 seeds by default

A row is a question whose exact value is found first. Each reference runs, its evaluations (rows given to the module) and seconds
are counted, and its best distribution is valued: WDA, WDA++ by the independent writing in tests/; of foolbox, ART and torchattacks the
points, which count where they are errors in float64 inside the box: point-wise attacks within the radius, those that look for the nearest
error by the knapsack on their distances. Then ours runs twice, once with that many evaluations and once with that many seconds of
wall clock. Ours works on all samples at once and the independent WDA on one, so that equal evaluations are the fair column there. Printed
are shares of the way from nominal to exact, the median over seeds of each row, and processor seconds. Rows of order inf are asked of
point-wise attacks alone. torchattacks pins requests of 2021: ``pip install --no-deps torchattacks``; see also ``pointwise.py``.
"""

from __future__ import annotations

import math
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from pointwise import MODELS, module_of
from reference_attacks import Reference

import wdaverify as wd

ROWS: tuple[tuple[str, str, float, str, float, int], ...] = (
    ("iris_8x8", "zero-one", 1, "inf", 0.02, 30),
    ("iris_8x8", "margin", 2, "2", 0.08, 30),
    ("digits_16x16", "zero-one", 1, "inf", 0.02, 20),
    ("digits_16x16", "zero-one", 2, "2", 0.2, 20),
    ("digits_16x16", "margin", 1, "inf", 0.02, 20),
    ("digits_32x32_robust", "zero-one", 1, "inf", 0.05, 20),
    ("digits_16x16", "zero-one", math.inf, "inf", 0.06589, 50),
    ("digits_32x32_robust", "zero-one", math.inf, "inf", 0.184, 50),
    ("digits_16x16", "zero-one", math.inf, "2", 0.33757, 50),
)
Finder = Callable[["Row", int], float]


class Counted(nn.Module):
    """A module that counts the rows it is given."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.rows = inner, 0

    def forward(self, x: Tensor) -> Tensor:
        self.rows += len(x)
        return self.inner(x)


class Row:
    """A question, its exact value, and the module that references attack."""

    def __init__(self, name: str, loss: str, order: float, norm: str, radius: float, count: int) -> None:
        data = np.load(MODELS / f"{name}.npz")
        self.network = wd.load_network(MODELS / f"{name}.onnx")
        self.x, self.y = data["x"][:count], data["y"][:count]
        self.loss, self.order, self.norm, self.radius = loss, order, norm, radius
        spelled = "inf" if math.isinf(order) else order
        self.words = {"radius": radius, "order": spelled, "norm": norm, "loss": loss, "support": (0, 1)}
        exact = wd.worst_case(self.network, self.x, self.y, **self.words, time_limit=60, jobs=None)
        self.nominal, self.exact, self.upper = exact.nominal, exact.lower, exact.upper
        self.module = Counted(module_of(self.network))
        self.title = f"{name} {loss} W{spelled} l{norm} {radius}"

    def reference(self) -> Reference:
        inner = module_of(self.network).double()
        x, y = torch.tensor(self.x).double(), torch.tensor(self.y)
        return Reference(inner, x, y, self.radius, self.order, self.norm, self.loss)

    def share(self, value: float) -> float:
        return (value - self.nominal) / (self.exact - self.nominal)

    def pointwise(self, points: Tensor) -> float:
        """The loss at points within the radius; others stay."""
        judge, total = self.reference(), 0.0
        for centre, point, label in zip(judge.x, points.double(), judge.y.tolist(), strict=True):
            good = judge.far(point, centre) <= self.radius and float(point.min()) >= 0 and float(point.max()) <= 1
            total += max(judge.lost(centre, label), judge.lost(point, label) if good else -np.inf)
        return total / len(judge.x)

    def nearest(self, points: Tensor) -> float:
        """The knapsack on the distances of those points that are errors; of order inf those within the radius count."""
        if math.isinf(self.order):
            return self.pointwise(points)
        judge, flips = self.reference(), []
        for i, (centre, point, label) in enumerate(zip(judge.x, points.double(), judge.y.tolist(), strict=True)):
            wrong = float(judge.margins(point, label).max()) >= 0
            if wrong and judge.far(point, centre) > 0 and float(point.min()) >= 0 and float(point.max()) <= 1:
                flips.append((judge.far(point, centre), i, judge.lost(point, label)))
        return judge.value(judge.bought(flips))


def wda(row: Row, _: int) -> float:
    reference = row.reference()
    value = max(reference.value(reference.wda(kappa)) for kappa in (1, 2, 4, 8, 16))
    row.module.rows += reference.evaluations
    return value


def wda_pp(row: Row, _: int) -> float:
    reference = row.reference()
    value = reference.value(reference.wda_pp())
    row.module.rows += reference.evaluations
    return value


def foolbox_attack(kind: str) -> Finder:
    """PGD with 10 restarts; FMN; DeepFool."""

    def found(row: Row, seed: int) -> float:
        import foolbox as fb

        torch.manual_seed(seed)
        np.random.seed(seed)
        inf = row.norm == "inf"
        model = fb.PyTorchModel(row.module.eval(), bounds=(0, 1), device="cpu")
        x, y = torch.tensor(row.x).float(), torch.tensor(row.y)
        if kind == "PGD":
            make = fb.attacks.LinfPGD if inf else fb.attacks.L2PGD
            radius = row.radius * (1 - 1e-6)
            return row.pointwise(make(steps=40).repeat(10)(model, x, y, epsilons=radius)[1])
        if kind == "DeepFool":
            deep = fb.attacks.LinfDeepFoolAttack if inf else fb.attacks.L2DeepFoolAttack
            return row.nearest(deep(steps=50)(model, x, y, epsilons=None)[1])
        fmn = fb.attacks.LInfFMNAttack if inf else fb.attacks.L2FMNAttack
        return row.nearest(fmn(steps=200)(model, x, y, epsilons=None)[1])

    return found


def art_pgd(row: Row, seed: int) -> float:
    """Auto-PGD with 5 restarts."""
    from art.attacks.evasion import AutoProjectedGradientDescent
    from art.estimators.classification import PyTorchClassifier

    torch.manual_seed(seed)
    np.random.seed(seed)
    classes = row.network.n_outputs
    made = PyTorchClassifier(
        row.module, nn.CrossEntropyLoss(), (row.x.shape[1],), classes, clip_values=(0.0, 1.0), device_type="cpu"
    )
    norm = np.inf if row.norm == "inf" else 2
    how = {"norm": norm, "eps": row.radius * (1 - 1e-6), "eps_step": row.radius / 4, "max_iter": 40}
    attack = AutoProjectedGradientDescent(made, **how, nb_random_init=5, loss_type="cross_entropy", verbose=False)
    return row.pointwise(torch.tensor(attack.generate(row.x.astype(np.float32), np.eye(classes)[row.y])))


def auto_attack(row: Row, seed: int) -> float:
    """AutoAttack of torchattacks as it comes."""
    import torchattacks

    torch.manual_seed(seed)
    how = {"norm": "Linf" if row.norm == "inf" else "L2", "eps": row.radius * (1 - 1e-5), "seed": seed}
    attack = torchattacks.AutoAttack(row.module, version="standard", n_classes=row.network.n_outputs, **how)
    side = math.isqrt(row.x.shape[1])
    images = torch.tensor(row.x).float().reshape(-1, 1, side, side)
    return row.pointwise(attack(images, torch.tensor(row.y)).flatten(1))


def references() -> dict[str, Finder]:
    """Those that are installed."""
    out: dict[str, Finder] = {"WDA, best of 5 kappas": wda, "WDA++": wda_pp}
    if find_spec("foolbox"):
        out |= {f"foolbox {kind}": foolbox_attack(kind) for kind in ("PGD", "FMN", "DeepFool")}
    if find_spec("art"):
        out["ART Auto-PGD"] = art_pgd
    if find_spec("torchattacks"):
        out["AutoAttack"] = auto_attack
    for name, how in (
        ("foolbox", "-e '.[references]'"),
        ("art", "-e '.[references]'"),
        ("torchattacks", "--no-deps torchattacks"),
    ):
        if not find_spec(name):
            print(f"SKIPPED: {name} is not installed; pip install {how}")
    return out


def asked_of(row: Row, name: str) -> bool:
    """Whether a reference is put to a question that it says something of."""
    if name == "AutoAttack" or name.startswith("WDA"):
        return math.isinf(row.order) == (name == "AutoAttack")
    return row.loss != "margin" or name in (
        "foolbox PGD",
        "ART Auto-PGD",
    )  # the nearest error says little of the margin


def timed(row: Row, find: Finder, seed: int) -> tuple[float, int, float, float]:
    """The value, evaluations, processor seconds and seconds of wall clock of a reference."""
    row.module.rows, begun, spent = 0, time.monotonic(), time.process_time()
    value = find(row, seed)
    return value, row.module.rows, time.process_time() - spent, time.monotonic() - begun


def main(seeds: int) -> None:
    """Run every row with every reference and every seed, and print medians."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    known = references()
    print(
        "| row | reference | evaluations | s | its share | ours, as many evaluations | ours, as many s | loses by more than 0.1 % |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for asked in ROWS:
        row = Row(*asked)
        for name, find in known.items():
            if not asked_of(row, name):
                continue
            trios: list[tuple[Any, ...]] = []
            for seed in range(seeds):
                value, evaluations, seconds, clock = timed(row, find, seed)
                equal = wd.attack(row.network, row.x, row.y, **row.words, seed=seed, budget=max(1, evaluations))
                within = wd.attack(row.network, row.x, row.y, **row.words, seed=seed, time_limit=max(0.01, clock))
                shares = (row.share(v) for v in (value, equal.lower, within.lower))
                trios.append((evaluations, seconds, *shares))
            evaluations, seconds, *shares = (statistics.median(column) for column in zip(*trios, strict=True))
            lost = [n for n, ours in zip(("evaluations", "s"), shares[1:], strict=True) if shares[0] > ours + 1e-3]
            told = " | ".join(f"{share:.2%}" for share in shares)
            print(
                f"| {row.title} | {name} | {evaluations:.0f} | {seconds:.2f} | {told} | {', '.join(lost) or 'no'} |",
                flush=True,
            )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
