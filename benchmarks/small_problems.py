"""A random family of small problems: every combination, degenerate networks, extreme units. Which of them close, and how fast?

    python benchmarks/small_problems.py --problems 500 --cap 20 --output small.jsonl

Problem s is ``small_problem(s)``: at most 4 features and 12 ReLUs; loss, norm, order, support and network take turns by s. Each is
asked to 1e-6 in the units of its outputs (cross-entropy: 1e-4) with no limit but the cap. A line a problem says how it ended.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from wdaverify import ReluNetwork, WdroProblem, verify
from wdaverify.graph.functions import relu
from wdaverify.graph.nodes import chain
from wdaverify.ground import GroundCost, LinearRows, Norm, Support
from wdaverify.lipschitz.exact import lipschitz
from wdaverify.lipschitz.question import LipschitzProblem, Measure
from wdaverify.network.model import Array
from wdaverify.problem import Functionals, Loss
from wdaverify.samples import make_samples
from wdaverify.wdro.distances import distances

LOSSES = ("margin", "zero-one", "hinge", "cw", "cross-entropy", "linear", "distance", "lipschitz")
NORMS = (Norm.INF, Norm.ONE, Norm.TWO)
ORDERS = (1, 2, math.inf)
SUPPORTS = ("box", "whole", "fixed", "rows", "integer", "one-hot", "wide", "thin", "thinner", "weights", "labels")
NETWORKS = ("plain", "pairs", "twins", "dead", "constant", "uneven", "small outputs", "large outputs", "short numbers")


@dataclass(frozen=True, eq=False)
class Small:
    """A problem, the gap that is asked for, and what it is."""

    problem: WdroProblem | LipschitzProblem
    gap: float
    tags: tuple[str, ...]


def small_problem(seed: int) -> Small:
    """Problem ``seed`` of the family."""
    rng = np.random.default_rng([27, seed])
    loss = LOSSES[seed % len(LOSSES)]
    norm, order = NORMS[seed // 8 % 3], ORDERS[seed // 24 % 3]
    support_kind, kind = str(rng.choice(SUPPORTS)), str(rng.choice(NETWORKS))
    if order == math.inf and loss == "distance":
        order = 1
    if loss == "lipschitz" and support_kind == "labels":
        support_kind = "box"
    n, classes = int(rng.integers(1, 5)), int(rng.integers(2, 5))
    if support_kind == "one-hot":
        n = max(n, 3)
    support, x = _support(rng, support_kind, n)
    layers, unit = _network(rng, kind, x, classes)
    graph = chain(layers, relu())
    network = ReluNetwork(graph, (n,), (classes,), f"small-{seed}", f"small-{seed}", ())
    weights = None
    if support_kind == "weights":
        weights = np.exp2(rng.integers(-3, 4, n).astype(np.float64))
        if n > 1 and rng.random() < 0.5:
            weights[0] = math.inf
    tags = (loss, norm.value, str(order), support_kind, kind)
    gap = (1e-4 if loss == "cross-entropy" else 1e-6) * max(1.0, unit)
    if loss == "lipschitz":
        pairs = Measure.operator_norm(network) if rng.random() < 0.5 else Measure.outputs(network, [(0, 1)])
        side = float((support.upper - support.lower).max()) if support.bounded else 1.0
        gap = 1e-6 * unit * max(1.0, 1 / (side or 1.0))
        return Small(LipschitzProblem(network, GroundCost(norm, 1, weights), support, pairs), gap, tags)
    count = int(rng.integers(1, 5))
    x = x[:count]
    y = network.forward(x).argmax(axis=1)
    y = np.where(rng.random(count) < 0.15, rng.integers(classes, size=count), y)
    width = float(np.ptp(x, axis=0).max()) if support_kind == "whole" else float((support.upper - support.lower).max())
    radius = float(rng.choice([0.02, 0.1, 0.3])) * (width or 1.0)
    label = float(0.5 * (width or 1.0)) if support_kind == "labels" and loss != "linear" else math.inf
    functionals = None
    if loss == "linear":
        functionals = Functionals(rng.normal(size=(2, classes)), rng.normal(size=2))
    problem = WdroProblem(
        network=network,
        samples=make_samples(x, y.astype(np.int64), rng.uniform(0.5, 2.0, count)),
        cost=GroundCost(norm, order, weights, label),
        support=support,
        loss=Loss("zero-one" if loss == "distance" else loss),
        radius=radius,
        functionals=functionals,
    )
    return Small(problem, 1e-6 * (width or 1.0) if loss == "distance" else gap, tags)


def _support(rng: np.random.Generator, kind: str, n: int) -> tuple[Support, Array]:
    """A support, and 8 points of it."""
    middle = np.round(rng.uniform(-0.5, 0.5, n) * 64) / 64
    if kind in ("thin", "thinner"):  # elsewhere doubles are too far apart for atoms that attain a value
        middle = np.zeros(n)
    half = {"wide": 1e4, "thin": 0.5e-9, "thinner": 0.5e-12}.get(kind, 0.75)
    lower, upper = middle - half, middle + half
    points = middle + half * np.round(rng.uniform(-1, 1, (8, n)) * 64) / 64
    if kind == "whole":
        return Support.whole(n), points
    if kind == "fixed":
        some = rng.random(n) < 0.5
        lower, upper = np.where(some, middle, lower), np.where(some, middle, upper)
    if kind == "integer":
        lower, upper = np.zeros(n), np.full(n, 4.0)
        points = rng.integers(0, 5, (8, n)).astype(np.float64)
        return Support(lower, upper, None, np.ones(n, np.bool_)), points
    if kind == "one-hot":
        hot = np.arange(n) < 3
        lower, upper = np.where(hot, 0.0, lower), np.where(hot, 1.0, upper)
        points = np.where(hot, 0.0, np.clip(points, lower, upper))
        points[np.arange(8), rng.integers(0, 3, 8)] = 1.0
        one = LinearRows(hot[None, :].astype(np.float64), np.ones(1), np.ones(1))
        return Support(lower, upper, one, hot), points
    points = np.clip(points, lower, upper)
    if kind == "rows":
        matrix = np.round(rng.normal(size=(2, n)) * 8) / 8
        matrix[~matrix.any(axis=1), 0] = 1.0
        at = points @ matrix.T
        return Support(lower, upper, LinearRows(matrix, at.min(axis=0) - 0.125, at.max(axis=0) + 0.125)), points
    return Support(lower, upper), points


def _network(rng: np.random.Generator, kind: str, x: Array, classes: int) -> tuple[list[tuple[Array, Array]], float]:
    """Layers whose kinks lie among the points, at most 12 ReLUs, and the unit of the outputs."""
    sizes = [(4,), (8,), (3, 3), (5, 5), (6, 6), (4, 4, 4), (12,), (2, 2, 2)][int(rng.integers(8))]
    spread = np.maximum(np.ptp(x, axis=0), 1e-300)
    layers: list[tuple[Array, Array]] = []
    h = x
    for k, (n, m) in enumerate(pairwise((x.shape[1], *sizes, classes))):
        weight = rng.normal(size=(m, n)) / math.sqrt(n)
        if k == 0:
            weight = weight / spread  # of unit size over the points, whatever their unit
            weight = np.where(np.ptp(x, axis=0) > 0, weight, rng.normal(size=(m, n)))
        if kind == "short numbers" and spread.min() > 1e-3:
            weight = np.round(weight * 8) / 8
        z = h @ weight.T
        bias = -np.median(z, axis=0) + 0.3 * rng.normal(size=m)
        last = k == len(sizes)
        if kind == "short numbers":
            bias = np.round(bias * 8) / 8
        if not last and m > 1:
            _spoil(rng, kind, weight, bias, z)
        layers.append((weight, bias))
        h = np.maximum(h @ weight.T + bias, 0.0)
    if kind == "pairs":
        for (weight, _), (before, _) in zip(layers[1:], layers[:-1], strict=True):
            for j in range(1, before.shape[0], 2):
                weight[:, j] = -weight[:, j - 1]
    if kind == "uneven":
        factor = np.exp2(np.round(rng.uniform(-20, 20, sizes[0])))
        layers[0] = layers[0][0] * factor[:, None], layers[0][1] * factor
        layers[1] = layers[1][0] / factor, layers[1][1]
    unit = {"small outputs": 1e-6, "large outputs": 1e4}.get(kind, 1.0)
    layers[-1] = layers[-1][0] * unit, layers[-1][1] * unit
    return layers, unit


def _spoil(rng: np.random.Generator, kind: str, weight: Array, bias: Array, z: Array) -> None:
    """Neurons that are others' opposites, their multiples, dead, or constant."""
    for j in range(1, len(weight), 2):
        if kind == "pairs":
            weight[j], bias[j] = -weight[j - 1], -bias[j - 1]
        elif kind == "twins":
            factor = float(rng.choice([1.0, 2.0, 3.0]))
            weight[j - 1], bias[j - 1] = (np.asarray(v, np.float32) for v in (weight[j - 1], bias[j - 1]))
            weight[j], bias[j] = factor * weight[j - 1], factor * bias[j - 1]  # exactly
    if kind == "dead":
        bias[0] = -z[:, 0].max() - 10 * (1 + np.abs(z[:, 0]).max())
    if kind == "constant":
        weight[0], bias[0] = 0.0, float(rng.choice([0.0, 1.0, -1.0]))


def run(seed: int, cap: float) -> dict[str, object]:
    """How one problem ended."""
    small = small_problem(seed)
    begun, spent = time.perf_counter(), time.process_time()
    row: dict[str, object] = {"seed": seed, "tags": list(small.tags)}
    try:
        if isinstance(small.problem, LipschitzProblem):
            found = lipschitz(small.problem, gap=small.gap, time_limit=cap)
            row |= {
                "lower": found.lower,
                "upper": found.upper,
                "status": found.status.value,
                "reason": found.reason.value,
            }
        elif small.tags[0] == "distance":
            many = distances(small.problem, gap=small.gap, time_limit=cap)
            width = max((b.upper - b.lower for b in many.brackets if b.upper != b.lower), default=0.0)
            row |= {
                "lower": 0.0,
                "upper": width,
                "status": "exact" if many.exact else "bracket",
                "reason": many.reason.value,
            }
        else:
            one = verify(small.problem, gap=small.gap, time_limit=cap)
            row |= {"lower": one.lower, "upper": one.upper, "status": one.status.value, "reason": one.reason.value}
    except Exception as error:  # noqa: BLE001 (a fault of ours is a row, and the run goes on)
        row |= {"status": "failed", "reason": f"{type(error).__name__}: {error}"}
    return row | {"gap": small.gap, "wall": time.perf_counter() - begun, "cpu": time.process_time() - spent}


def main() -> None:
    """Run problems and print how many closed, and those that did not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", type=int, default=0, help="the first problem")
    parser.add_argument("--problems", type=int, default=500, help="how many")
    parser.add_argument("--seeds", help="these alone, with commas")
    parser.add_argument("--cap", type=float, default=20.0, help="seconds of wall clock for each")
    parser.add_argument("--output", type=Path, help="a line of JSON a problem")
    given = parser.parse_args()
    seeds = range(given.first, given.first + given.problems)
    ends: Counter[str] = Counter()
    for seed in [int(s) for s in given.seeds.split(",")] if given.seeds else seeds:
        row = run(seed, given.cap)
        ends[str(row["status"])] += 1
        if row["status"] != "exact":
            print(json.dumps(row), flush=True)
        if given.output is not None:
            with given.output.open("a") as out:
                out.write(json.dumps(row) + "\n")
    print(dict(ends))


if __name__ == "__main__":
    main()
