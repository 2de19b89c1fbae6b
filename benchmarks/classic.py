"""The classic exact questions at the size of real networks, one row each: processor seconds of all processes beside a calibration.

    python benchmarks/classic.py [--jobs N] [--seconds S] [NAME ...]

The calibration is a fixed load of numpy and of a linear program, in processor seconds: rows of machines are comparable in its
units. Where a network is missing (WDAVERIFY_REALWORLD, WDAVERIFY_INSTANCES) its rows are skipped visibly.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import resource
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple

import numpy as np
from scipy.optimize import linprog
from sources import Data, MissingFolderError, instance, mnist, model, random_network

from wdaverify import GroundCost, Loss, Norm, WdroProblem, distances, verify


class Case(NamedTuple):
    """A question: where its data come from, how many samples, and the rest; ``distances`` of each sample in place of a value."""

    data: Callable[[int], Data]
    samples: int
    loss: Loss
    order: float
    radius: float
    gap: float = 1e-6
    norm: Norm = Norm.INF
    distances: bool = False
    within: float = math.inf


MARGIN, ZERO_ONE = Loss.MARGIN, Loss.ZERO_ONE
CASES = {
    "wk17a-500": Case(mnist("wk17a_conv"), 500, ZERO_ONE, math.inf, 0.1),
    "wk17a-500-distances": Case(mnist("wk17a_conv"), 500, ZERO_ONE, 1, 0.1, distances=True, within=0.1),
    "wk17a-10000": Case(mnist("wk17a_conv"), 10_000, ZERO_ONE, math.inf, 0.1),
    "digits_16x16-100": Case(model("digits_16x16"), 100, MARGIN, 1, 0.05),
    "digits_32x32_robust-50": Case(model("digits_32x32_robust"), 50, MARGIN, 1, 0.05),
    "nv_mnist-20": Case(mnist("nv_mnist_784-30-20-10"), 20, MARGIN, 1, 0.02, 1e-3),
    "64-64-64-robust-10": Case(instance("digits_64-64-64_robust"), 10, MARGIN, 1, 0.05, 1e-3),
    "random-8-64-64-3": Case(random_network([8, 64, 64, 3]), 10, MARGIN, 1, 0.05, 1e-4),
    "random-8-128-128-3": Case(random_network([8, 128, 128, 3]), 10, MARGIN, 1, 0.05, 1e-4),
    "mnist-net_256x2-distances": Case(mnist("mnist-net_256x2"), 15, ZERO_ONE, 1, 0.03, 1e-4, distances=True),
    "mnist-net_256x2-1000": Case(mnist("mnist-net_256x2"), 1000, ZERO_ONE, math.inf, 0.03),
}


def calibration() -> float:
    """Processor seconds of the fixed load."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(400, 400)), rng.normal(size=(60, 40))
    begun = time.process_time()
    for _ in range(60):
        np.maximum(a @ a, 0.0).sum(axis=0)
    for _ in range(60):
        linprog(np.ones(40), b, np.abs(b).sum(axis=1), bounds=(-1, 1))
    return time.process_time() - begun


def _run(name: str, seconds: float | None, jobs: int) -> tuple[str, str, float, float, float]:
    case = CASES[name]
    network, samples, support = case.data(case.samples)
    problem = WdroProblem(network, samples, GroundCost(case.norm, case.order), support, case.loss, case.radius)
    before, begun = _spent(), time.perf_counter()
    if case.distances:
        found = distances(problem, time_limit=seconds, jobs=jobs, gap=case.gap, within=case.within)
        closed = sum(map(found.settled, found.brackets))
        what, reason = f"{closed} of {len(found.brackets)}", found.reason.value
    else:
        result = verify(problem, time_limit=seconds, jobs=jobs, gap=case.gap)
        what, reason = f"[{result.lower:.9g}, {result.upper:.9g}]", result.reason.value
    took = time.perf_counter() - begun
    most = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return what, reason, _spent() - before, took, most / 1024


def _spent() -> float:
    """Processor seconds of this process and of its children that have ended."""
    parts = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(part.ru_utime + part.ru_stime for part in parts)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(CASES)}")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes that solve")
    parser.add_argument("--seconds", type=float, default=None, metavar="S", help="time limit of each")
    given = parser.parse_args()
    print(f"calibration: {calibration():.2f} processor seconds, {given.jobs} processes that solve\n")
    print("| workload | answer | reason | processor seconds | seconds | MB |")
    print("| --- | --- | --- | --- | --- | --- |")
    context = multiprocessing.get_context("spawn")
    for name in given.names or CASES:
        try:
            CASES[name].data(1)
        except MissingFolderError as error:
            print(f"| {name} | skipped: {error} | | | | |", flush=True)
            continue
        with ProcessPoolExecutor(1, context) as pool:  # its processes may have workers of their own
            what, reason, spent, took, most = pool.submit(_run, name, given.seconds, given.jobs).result()
        print(f"| {name} | {what} | {reason} | {spent:.1f} | {took:.1f} | {most:.0f} |", flush=True)


if __name__ == "__main__":
    main()
