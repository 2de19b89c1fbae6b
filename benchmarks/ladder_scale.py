"""The cheap rungs of the ladder at scale: CROWN dual and attacks on a network of random weights, seconds and peak memory.

python benchmarks/ladder_scale.py                        # 784-100-100-10, 2000 samples, l-inf radius 0.01
python benchmarks/ladder_scale.py --widths 64 64 10 --samples 300
"""

from __future__ import annotations

import argparse
import resource
import time

from sources import random_network

from wdaverify.ladder.compare import Settings, compare
from wdaverify.problem import GroundCost, Loss, Norm, WdroProblem
from wdaverify.report.compare import compare_summary


def random_problem(widths: list[int], count: int, radius: float) -> WdroProblem:
    """Random weights and samples on the unit box."""
    network, samples, support = random_network(widths)(count)
    return WdroProblem(network, samples, GroundCost(Norm.INF, 1), support, Loss.MARGIN, radius)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--widths", type=int, nargs="+", default=[784, 100, 100, 10])
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--radius", type=float, default=0.01)
    parser.add_argument("--rung-limit", type=float, default=60.0, help="seconds for each rung; 0: none")
    arguments = parser.parse_args()
    problem = random_problem(arguments.widths, arguments.samples, arguments.radius)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    begun = time.monotonic()
    settings = Settings(rungs=("crown", "attacks"), rung_limit=arguments.rung_limit or None)
    print(compare_summary(compare(problem, [arguments.radius], settings)))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"{time.monotonic() - begun:.1f} s, peak {peak:.2f} GB ({before:.2f} GB before the run)")


if __name__ == "__main__":
    main()
