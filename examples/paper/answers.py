"""The questions of the table and their answers: one line of JSON each, so that a run that was stopped goes on where it was."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import networks
import numpy as np
import pointwise
import torch

import wdaverify as wd
from wdaverify.ladder.compare import Comparison
from wdaverify.ladder.rung import Ladder

RUNGS = ("norms", "lipschitz", "crown", "attacks", "exact")
LIPSDP = "left out: one program for each pair of classes, and the digits' 42 did not fit in 15 s"
"""Of the irises alone; why not of the others."""
CUT = "the limit of the attacks came before it moved anything"
RADII = {"inf": (0.01, 0.02, 0.05, 0.1), "2": (0.05, 0.1, 0.2, 0.4)}


SHARE = {"mnist": 0.5}
"""Of the samples and of the seconds, where a question about data is much harder than another."""
GAP = {"margin": 1e-6, "zero-one": 1e-6, "cross-entropy": 1e-3}
COARSE = {"mnist": 1e-4}
"""Brackets of these data are closed to no less than what the table shows."""


@dataclass(frozen=True)
class Size:
    """How much is asked: ``samples`` a question, and seconds for each certificate and for each exact bracket; of some data a ``SHARE``.

    ``asked``: (loss, order, norm, support) of each question, asked of every network in turn.
    """

    name: str
    data: tuple[str, ...]
    kinds: tuple[str, ...]
    asked: tuple[tuple[str, int, str, str], ...]
    radii: int
    samples: int
    rung_seconds: float
    exact_seconds: float
    epochs: int | None = None


def whole(data: tuple[str, ...]) -> Size:
    """Everything: 60 questions of irises and digits and 54 of MNIST, a minute or less each; where that is too little brackets stand."""
    balls = ((1, "inf"), (2, "2"), (1, "2"), (2, "inf"))
    asked = tuple((loss, *ball, "box") for ball in balls for loss in ("margin", "zero-one"))
    more = (("cross-entropy", 1, "inf", "box"), *SLOPES, ("margin", 1, "2", "none"))
    return Size("whole", data, ("mlp", "conv"), (*asked, *more), 4, 20, 15.0, 10.0)


SLOPES = (("margin", 1, "inf", "none"),)
"""All of R^n, which the irises alone are asked: their slopes can be found exactly."""


QUICK = Size(
    "quick",
    ("iris", "digits"),
    ("mlp",),
    (("margin", 1, "inf", "box"), ("zero-one", 1, "inf", "box"), *SLOPES),
    3,
    10,
    15.0,
    15.0,
)


@dataclass(frozen=True)
class Question:
    """One line of the file: a network, a loss, a ball, and all its radii."""

    size: str
    data: str
    kind: str
    way: str
    loss: str
    order: int
    norm: str
    support: str
    samples: int
    seconds: tuple[float, float]
    radii: tuple[float, ...]
    epochs: int | None

    @property
    def key(self) -> str:
        """What makes it this question and no other one."""
        return json.dumps(asdict(self), sort_keys=True)


def questions(size: Size) -> Iterator[Question]:
    """All of them, in an order of which every beginning is a table."""
    for loss, order, norm, support in size.asked:
        for data in size.data:
            share = SHARE.get(data, 1.0)
            samples, limits = round(share * size.samples), (share * size.rung_seconds, share * size.exact_seconds)
            for kind in size.kinds:
                for way in networks.WAYS:
                    if (support == "none") != (data == "iris") or (data, kind) == ("iris", "conv"):
                        continue
                    radii = RADII[norm][: size.radii]
                    yield Question(
                        size.name, data, kind, way, loss, order, norm, support, samples, limits, radii, size.epochs
                    )


def done(path: Path) -> dict[str, dict[str, Any]]:
    """The answers there are; a last line that was cut off is none."""
    found = {}
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        found[json.dumps(row["question"], sort_keys=True)] = row
    return found


def keep(path: Path, row: dict[str, Any]) -> None:
    """Add an answer; what was cut off before it stays a line of its own."""
    text = path.read_text() if path.exists() else ""
    with path.open("a") as out:
        out.write(("\n" if text and not text.endswith("\n") else "") + json.dumps(row) + "\n")


@cache
def _data(name: str) -> networks.Data:
    return networks.DATA[name]()


SLOWEST = 6.0


@dataclass
class Pace:
    """How many seconds of wall clock one of the processor took at the last question: limits are of the processor.

    So a busy machine answers later, not less; at most ``SLOWEST``.
    """

    slow: float = 1.0

    def learn(self, row: dict[str, Any]) -> None:
        """From a question's own seconds."""
        self.slow = min(max(row["seconds"] / max(row["processor"], 1e-9), 1.0), SLOWEST)


def answer(question: Question, folder: Path, slow: float = 1.0) -> dict[str, Any]:
    """One question, answered at all its radii, its limits stretched by ``slow``; networks and points are kept in ``folder``."""
    data = _data(question.data)
    network, module = networks.made(folder, data, question.kind, question.way, question.epochs)
    x, y = data.test_x[: question.samples], data.test_y[: question.samples]
    rung, exact = question.seconds
    box = question.support == "box"
    begun, spent = time.monotonic(), time.process_time()
    found = wd.compare(
        network,
        x,
        y,
        radii=list(question.radii),
        order=question.order,
        norm=question.norm,
        loss=question.loss,
        support=(0, 1) if box else "none",
        rungs=RUNGS if box else ("asymptotic", "lipsdp", *(rung for rung in RUNGS if rung != "crown")),
        rung_limit=slow * rung,
        time_limit=slow * 2 * exact * len(question.radii),
        gap=max(GAP[question.loss], COARSE.get(question.data, 0.0)),
        jobs=None,
        seed=networks.SEED,
    )
    with torch.no_grad():
        right = module.float()(torch.from_numpy(data.test_x)).argmax(dim=1) == torch.from_numpy(data.test_y)
    radii = [_at(ladder) for ladder in found.ladders]
    if box:
        for row in radii:
            for name in pointwise.ATTACKS:
                points = _points(folder, name, network.sha256, module, question, row["radius"])
                row["below"][name] = _loss(question.loss, module, points, y)
            missing = {} if "AutoAttack" in pointwise.ATTACKS else {"AutoAttack": pointwise.MISSING}
            row["why"] |= {"LipSDP": LIPSDP, **missing}
    return {
        "question": json.loads(question.key),
        "accuracy": float(right.double().mean()),
        "radii": radii,
        "constants": _constants(found),
        "seconds": time.monotonic() - begun,
        "processor": time.process_time() - spent,
    }


def _points(
    folder: Path, name: str, sha256: str, module: torch.nn.Module, question: Question, radius: float
) -> torch.Tensor:
    """Where a point-wise attack leads: a distribution of every order, as all points stay within the radius.

    That is the same for every loss and order, and is kept.
    """
    path = folder / f"{name}-{sha256[:16]}-{question.samples}-{question.norm}-{radius:g}.pt"
    if not path.exists():
        data, some = _data(question.data), slice(question.samples)
        x, y = torch.from_numpy(data.test_x[some]).double(), torch.from_numpy(data.test_y[some])
        torch.save(pointwise.ATTACKS[name](module, x, y, question.norm, radius), path)
    found: torch.Tensor = torch.load(path, weights_only=True)
    return found


def _loss(loss: str, module: torch.nn.Module, points: torch.Tensor, y: Any) -> float:
    """The mean loss at points, in float64, not proven."""
    labels = torch.from_numpy(y)
    with torch.no_grad():
        z = module.double()(points)
    own = z.gather(1, labels[:, None])[:, 0]
    margin = z.scatter(1, labels[:, None], -torch.inf).amax(dim=1) - own
    losses = {
        "margin": margin,
        "zero-one": (margin >= 0).double(),
        "cross-entropy": torch.nn.functional.cross_entropy(z, labels, reduction="none"),
    }
    return float(losses[loss].mean())


def _at(ladder: Ladder) -> dict[str, Any]:
    """Numbers of one radius: the bracket, what is below and above it, and the distribution that attains its lower end."""
    sides = {side: {r.name: r.value for r in ladder.rungs if r.side.value == side} for side in ("below", "above")}
    cut = [r.name for r in ladder.rungs if r.name.startswith("WDA") and r.detail and r.value == ladder.nominal]
    sides["below"] |= dict.fromkeys(cut)
    result = ladder.result
    assert result is not None
    moved = [atom for atom in result.atoms if atom.distance > 0]
    upper = min([result.upper, *(v for v in sides["above"].values() if v is not None)])
    lower = max([result.lower, *(v for v in sides["below"].values() if v is not None)])
    return {
        "radius": ladder.problem.radius,
        "nominal": ladder.nominal,
        "lower": lower,
        "upper": upper,
        "exact": result.status.value == "exact",
        "multiplier": result.multiplier,
        **sides,
        "why": {r.name: r.why for r in ladder.rungs if r.why} | dict.fromkeys(cut, CUT),
        "moved": {
            "samples": len({atom.sample for atom in moved}),
            "mass": sum(atom.weight for atom in moved),
            "farthest": max([0.0, *(atom.distance for atom in moved)]),
        },
    }


def _constants(found: Comparison) -> dict[str, str]:
    """What the rungs say of their constants."""
    return {r.name: r.detail for r in found.ladders[0].rungs if "slope" in r.detail or "constant" in r.detail}


def plain(values: Any) -> Any:
    """Infinities as words, which JSON has none of."""
    if isinstance(values, dict):
        return {name: plain(value) for name, value in values.items()}
    if isinstance(values, list):
        return [plain(value) for value in values]
    return str(values) if isinstance(values, float) and not np.isfinite(values) else values
