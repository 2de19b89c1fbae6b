"""Networks with convolutions, pooling and skips of WDAVERIFY_REALWORLD: the bracket after some seconds, and what it took.

    python benchmarks/convolutions.py [--jobs N] [NAME ...]

Each question runs in a process of its own; a row has the bracket after each of the limits (until it closes), the seconds, and the
most memory that the process and its workers held.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable

import numpy as np
from cases import Case, Taken, answered, apart
from sources import Data, folder, mnist

from wdaverify import Loss, Support, load_network, make_samples


def drawn(name: str) -> Callable[[int], Data]:
    """A network on points drawn from the unit box with a fixed seed, under the labels that it gives them."""

    def load(count: int) -> Data:
        network = load_network(folder("WDAVERIFY_REALWORLD") / "networks" / f"{name}.onnx")
        x = np.random.default_rng(0).uniform(size=(count, network.n_inputs))
        samples = make_samples(x, network.forward(x).argmax(axis=1), source="drawn")
        return network, samples, Support.box(0.0, 1.0, network.n_inputs)

    return load


def conv6x6(count: int) -> Data:
    """The generated network of MIPVerify.jl on its one image, under the network's own label."""
    where = folder("WDAVERIFY_REALWORLD")
    network = load_network(where / "networks" / "mipverify_conv6x6.onnx")
    image = np.ravel(json.loads((where / "data" / "conv6x6_input.json").read_text())["conv6x6"])[None]
    samples = make_samples(image, network.forward(image).argmax(axis=1), source="conv6x6")
    return network, samples, Support.box(0.0, 1.0, network.n_inputs)


CASES = {
    "wk17a_conv": Case(mnist("wk17a_conv"), 100, Loss.ZERO_ONE, math.inf, 0.1),
    "wk17a_conv, order 1": Case(mnist("wk17a_conv"), 10, Loss.ZERO_ONE, 1, 0.02),
    "mipverify_conv6x6": Case(conv6x6, 1, Loss.ZERO_ONE, 1, 0.05),
    "verivital_Convnet_avgpool": Case(mnist("verivital_Convnet_avgpool"), 10, Loss.ZERO_ONE, math.inf, 0.01),
    "verivital_Convnet_maxpool": Case(mnist("verivital_Convnet_maxpool"), 10, Loss.ZERO_ONE, math.inf, 0.005),
    "marabou_conv_mp1": Case(drawn("marabou_conv_mp1"), 10, Loss.MARGIN, 1, 0.01),
    "omlt_keras_conv_7x7_relu": Case(drawn("omlt_keras_conv_7x7_relu"), 10, Loss.MARGIN, 1, 0.1),
    "marabou_cifar10_small": Case(drawn("marabou_cifar10_small"), 5, Loss.ZERO_ONE, math.inf, 0.005),
    "cifar10_resnet_2b": Case(drawn("cifar10_resnet_2b"), 5, Loss.ZERO_ONE, math.inf, 0.005),
}


def _run(name: str, seconds: float | None, jobs: int) -> Taken:
    return answered(CASES[name], seconds, jobs)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(CASES)}")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="processes")
    parser.add_argument("--seconds", type=float, nargs="+", default=[10.0, 60.0], metavar="S", help="time limits")
    given = parser.parse_args()
    print("| network | question | limit, s | bracket | reason | processor seconds | seconds | MB of a process |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name in given.names or CASES:
        case = CASES[name]
        for limit in given.seconds:
            answer, reason, spent, took, most = apart(_run, name, limit, given.jobs)
            what = f"{case.samples} samples, order {case.order:g}, {case.loss.value}, radius {case.radius:g}"
            print(
                f"| {name} | {what} | {limit:g} | {answer} | {reason} | {spent:.1f} | {took:.1f} | {most:.0f} |",
                flush=True,
            )
            if reason == "gap-closed":
                break


if __name__ == "__main__":
    main()
