"""Every loss, label costs and weights on the digits rows beside the margin: one process, seconds of the processor.

python benchmarks/losses.py [--network digits_16x16] [--samples 20] [--radius 0.05] [--seconds 120] [--only cross-entropy]
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace

import numpy as np
from sources import model

from wdaverify import GroundCost, Loss, Norm, WdroProblem, verify
from wdaverify.network.model import readonly
from wdaverify.problem import Functionals

NAMES = ("margin", "hinge", "cw", "linear", "zero-one", "label cost 0.5", "weights", "cross-entropy")


def question(name: str, network: str, count: int, radius: float) -> WdroProblem:
    """The margin's question with something else."""
    net, samples, support = model(network)(count)
    margin = WdroProblem(net, samples, GroundCost(Norm.INF, 1), support, Loss("margin"), radius)
    if name == "label cost 0.5":
        return replace(margin, cost=GroundCost(Norm.INF, 1, label_cost=0.5))
    if name == "weights":
        rng = np.random.default_rng(0)
        return replace(margin, cost=GroundCost(Norm.INF, 1, readonly(rng.uniform(0.5, 2.0, net.n_inputs))))
    if name == "linear":
        rows = np.eye(net.n_outputs)
        functionals = Functionals(readonly(np.roll(rows, 1, axis=1) - rows), np.zeros(net.n_outputs))
        return replace(margin, loss=Loss("linear"), functionals=functionals)
    return replace(margin, loss=Loss(name))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="digits_16x16")
    parser.add_argument("--samples", type=int, default=20)
    parser.add_argument("--radius", type=float, default=0.05)
    parser.add_argument("--seconds", type=float, default=120.0, help="limit of each question, of wall clock")
    parser.add_argument("--only", choices=NAMES, nargs="+", default=list(NAMES))
    asked = parser.parse_args()
    print("| loss | lower | upper | status | questions | s of the processor |\n|---|---|---|---|---|---|")
    for name in asked.only:
        problem = question(name, asked.network, asked.samples, asked.radius)
        begun = time.process_time()
        found = verify(problem, gap=1e-4, time_limit=asked.seconds)
        spent = time.process_time() - begun
        ends = f"{found.lower:.6f} | {found.upper:.6f} | {found.status.value}"
        print(f"| {name} | {ends} | {found.statistics.solves} | {spent:.2f} |", flush=True)


if __name__ == "__main__":
    main()
