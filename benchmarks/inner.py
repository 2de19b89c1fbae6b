"""Single inner problems by the cell engine and by the MIP back-ends, paired in one run, one thread each.

    python benchmarks/inner.py [--limit S] [--repeats N] [--only WORD] [--solvers cells,gurobi,highs]

Reads the instances of WDAVERIFY_INSTANCES and the public MNIST network of WDAVERIFY_REALWORLD; prints a table. Every solver
gets the whole support as one region, no cut-off and no start; the MIP back-ends get CROWN bounds of it.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from wdaverify import GroundCost, Loss, Norm, ReluNetwork, Support, WdroProblem, load_network, make_samples
from wdaverify.certify.enclosure import margins_enclosure
from wdaverify.engines.base import Answer, Effort, Inner
from wdaverify.engines.registry import make_engine
from wdaverify.engines.screening import Screen
from wdaverify.engines.threads import one_thread
from wdaverify.witness.evaluate import distances_up


@dataclass(frozen=True, eq=False)
class Instance:
    """``max z_rival - z_label - multiplier ||x - x_i||_inf`` over the unit box."""

    name: str
    network: ReluNetwork
    x: np.ndarray
    label: int
    rival: int
    multiplier: float


def stored() -> Iterator[Instance]:
    folder = Path(os.environ["WDAVERIFY_INSTANCES"])
    data = np.load(folder / "digits_100.npz")["x"].reshape(100, -1).astype(np.float64)
    for entry in json.loads((folder / "instances.json").read_text())["instances"]:
        network = load_network(folder / entry["network"])
        name = f"{Path(entry['network']).stem[7:]} #{entry['sample']} lam {entry['multiplier']}"
        yield Instance(name, network, data[entry["sample"]], entry["label"], entry["rival"], float(entry["multiplier"]))


def mnist() -> Iterator[Instance]:
    folder = Path(os.environ["WDAVERIFY_REALWORLD"])
    network = load_network(folder / "networks" / "nv_mnist_784-30-20-10.onnx")
    with gzip.open(folder / "data" / "t10k-images-idx3-ubyte.gz") as stream:
        images = np.frombuffer(stream.read()[16:], np.uint8).reshape(-1, 784) / 255.0
    with gzip.open(folder / "data" / "t10k-labels-idx1-ubyte.gz") as stream:
        labels = np.frombuffer(stream.read()[8:], np.uint8)
    for k in range(2):
        logits = network.forward(images[k : k + 1])[0]
        logits[labels[k]] = -np.inf
        for multiplier in (50.0, 100.0, 200.0):
            name = f"MNIST 784-30-20-10 #{k} lam {multiplier:g}"
            yield Instance(name, network, images[k], int(labels[k]), int(logits.argmax()), multiplier)


def ask(instance: Instance, solver: str, limit: float) -> tuple[Answer, float]:
    """The answer and the value at its point, both without any help from outside."""
    network, x = instance.network, instance.x
    samples = make_samples(x[None], np.array([instance.label]))
    support = Support.box(0, 1, network.n_inputs)
    screen = Screen(WdroProblem(network, samples, GroundCost(Norm.INF, 1), support, Loss.MARGIN, 0.1))
    region, bounds, _ = screen.region(0, 0.0, float(screen.reach[0]))
    question = Inner(0, instance.label, instance.rival, region, bounds, instance.multiplier)
    answer = make_engine(network, solver).answer(question, Effort(1e-6, limit, 0, None, None))
    lower = -np.inf
    for point in answer.points:
        margin = margins_enclosure(network, point[None], np.array([instance.label]))[0][0, instance.rival]
        cost = distances_up(GroundCost(Norm.INF, 1), point[None], x[None])[0]
        lower = max(lower, float(margin - instance.multiplier * cost))
    return answer, lower


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--limit", type=float, default=60.0)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--only", default="")
    parser.add_argument("--solvers", default="cells,gurobi,highs")
    options = parser.parse_args()
    print("| instance | solver | bracket | gap | median s | nodes |\n|---|---|---|---|---|---|", flush=True)
    with one_thread(), threadpool_limits(1):
        for instance in (*stored(), *mnist()):
            if options.only not in instance.name:
                continue
            found: dict[str, list[tuple[Answer, float]]] = {name: [] for name in options.solvers.split(",")}
            for _ in range(options.repeats):
                for solver, answers in found.items():
                    answers.append(ask(instance, solver, options.limit))
            for solver, answers in found.items():
                answer, lower = answers[0]
                seconds = statistics.median(a.seconds for a, _ in answers)
                gap = answer.bound - lower
                row = f"[{lower:.6f}, {answer.bound:.6f}] | {gap:.2g} | {seconds:.2f} | {answer.nodes}"
                print(f"| {instance.name} | {solver} | {row} |", flush=True)


if __name__ == "__main__":
    main()
