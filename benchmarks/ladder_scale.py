"""The cheap rungs of the ladder at scale: CROWN dual and attacks on a network of random weights, seconds and peak memory.

python benchmarks/ladder_scale.py                        # 784-100-100-10, 2000 samples, l-inf radius 0.01
python benchmarks/ladder_scale.py --widths 64 64 10 --samples 300
"""

from __future__ import annotations

import argparse
import resource
import time
from itertools import pairwise

import numpy as np

from wdaverify.ladder.compare import Settings, compare
from wdaverify.network.model import Affine, Layer, Relu, ReluNetwork, readonly
from wdaverify.problem import GroundCost, Loss, Norm, Support, WdroProblem
from wdaverify.report.compare import compare_summary
from wdaverify.samples import make_samples


def random_problem(widths: list[int], count: int, radius: float, seed: int = 0) -> WdroProblem:
    """He-initialised weights, uniform samples on the unit box under the labels that the network gives them."""
    rng = np.random.default_rng(seed)
    layers: list[Layer] = []
    for n, m in pairwise(widths):
        weight, bias = rng.normal(size=(m, n)) * np.sqrt(2 / n), rng.normal(size=m) * 0.1
        layers += [Affine(readonly(weight), readonly(bias)), Relu()]
    name = "-".join(map(str, widths))
    network = ReluNetwork(tuple(layers[:-1]), (widths[0],), (widths[-1],), "", name, ())
    x = rng.uniform(size=(count, widths[0]))
    samples = make_samples(x, network.forward(x).argmax(axis=1))
    return WdroProblem(network, samples, GroundCost(Norm.INF, 1), Support.box(0, 1, widths[0]), Loss.MARGIN, radius)


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
