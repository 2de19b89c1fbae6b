"""The classic exact questions at the size of real networks, one row each: processor seconds of all processes beside a calibration.

    python benchmarks/classic.py [--jobs N] [--seconds S] [NAME ...]

The calibration is a fixed load of numpy and of a linear program, in processor seconds: rows of machines are comparable in its
units. Where a network is missing (WDAVERIFY_REALWORLD, WDAVERIFY_INSTANCES) its rows are skipped visibly.
"""

from __future__ import annotations

import argparse
import math
import time

import numpy as np
from cases import Case, Taken, answered, apart
from scipy.optimize import linprog
from sources import MissingFolderError, instance, mnist, model, random_network

from wdaverify import Loss

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


def _run(name: str, seconds: float | None, jobs: int) -> Taken:
    return answered(CASES[name], seconds, jobs)


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
    for name in given.names or CASES:
        try:
            CASES[name].data(1)
        except MissingFolderError as error:
            print(f"| {name} | skipped: {error} | | | | |", flush=True)
            continue
        what, reason, spent, took, most = apart(_run, name, given.seconds, given.jobs)
        print(f"| {name} | {what} | {reason} | {spent:.1f} | {took:.1f} | {most:.0f} |", flush=True)


if __name__ == "__main__":
    main()
