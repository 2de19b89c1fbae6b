"""Exact Lipschitz constants by cells in the order of layers: published and open questions, one process, seconds of the processor.

    WDAVERIFY_LIPSCHITZ=folder python benchmarks/lipschitz_cells.py [--only wine-12] [--seconds 120]

Networks of ExLipBaB (arXiv 2602.15499; l2 on all of R^n), LipBaB (boxes) and MIPVerify (mfc), and margins of the digits on [0, 1]^64.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sources import MODELS

from wdaverify import GroundCost, Norm, ReluNetwork, Support, load_network
from wdaverify.lipschitz.exact import lipschitz
from wdaverify.lipschitz.question import LipschitzProblem, Measure


@dataclass(frozen=True)
class Named:
    """A network, a norm, where, and whether the whole Jacobian or one margin ``(i, j)``; ``published`` is what others found."""

    network: str
    norm: str
    where: Callable[[ReluNetwork, Path], Support]
    pair: tuple[int, int | None] | None = None
    published: str = "-"


def _whole(network: ReluNetwork, _: Path) -> Support:
    return Support.whole(network.n_inputs)


def _to(upper: float) -> Callable[[ReluNetwork, Path], Support]:
    return lambda network, _: Support.box(0.0, upper, network.n_inputs)


def _mfc(_: ReluNetwork, folder: Path) -> Support:
    ends = np.load(folder / "mfc_box.npz")
    return Support(ends["lower"], ends["upper"])


WORKLOADS = {
    "abalone": Named("exlipbab_abalone_9-16-16-1", "2", _whole, published="11.1216023322"),
    "abalone-inf": Named("exlipbab_abalone_9-16-16-1", "inf", _whole),
    "abalone-1": Named("exlipbab_abalone_9-16-16-1", "1", _whole),
    "wine-12": Named("exlipbab_wine_11-12-12-1", "2", _whole, published="1.7433699967"),
    "wine-24": Named("exlipbab_wine_11-24-24-1", "2", _whole, published="at least 1.73687"),
    "bike": Named("exlipbab_bike_13-20-16-8-3", "2", _whole, published="not closed"),
    "sdnet-2": Named("lipbab_SDnet--10-30-30-30-3", "2", _to(0.1), published="19.462799793"),
    "sdnet-1": Named("lipbab_SDnet--10-30-30-30-3", "1", _to(0.1)),
    "sdnet-inf": Named("lipbab_SDnet--10-30-30-30-3", "inf", _to(0.1)),
    "mfc": Named("mfc", "2", _mfc, published="15.9052348"),
    "digits-16-2": Named("digits_16x16", "2", _to(1.0), (1, 0)),
    "digits-32-2": Named("digits_32x32_robust", "2", _to(1.0), (3, 8)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=WORKLOADS, nargs="+", default=list(WORKLOADS))
    parser.add_argument("--seconds", type=float, default=120.0, help="limit of each question, of wall clock")
    asked = parser.parse_args()
    folder = Path(os.environ["WDAVERIFY_LIPSCHITZ"])
    print(
        "| workload | lower | upper | published | status | nodes | s of the processor |\n|---|---|---|---|---|---|---|"
    )
    for name in asked.only:
        work = WORKLOADS[name]
        network = load_network((MODELS if work.network.startswith("digits") else folder) / f"{work.network}.onnx")
        measure = Measure.operator_norm(network) if work.pair is None else Measure.outputs(network, [work.pair])
        problem = LipschitzProblem(network, GroundCost(Norm(work.norm), 1), work.where(network, folder), measure)
        begun = time.process_time()
        found = lipschitz(problem, time_limit=asked.seconds)
        spent = time.process_time() - begun
        ends = f"{found.lower:.10g} | {found.upper:.10g} | {work.published} | {found.status.value}"
        print(f"| {name} | {ends} | {found.statistics.nodes} | {spent:.2f} |", flush=True)


if __name__ == "__main__":
    main()
