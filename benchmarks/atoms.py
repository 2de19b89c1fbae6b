"""What the attack buys an exact run: the same question with less and less of what the attack found, alternating, one process.

    no attack      nothing is known but the samples and what the solver's own answers bring
    atoms          the attack's points are atoms from the start; screening drops shells that cannot beat them
    cut-offs       and what is worth no more than the best atom is cut off (what a run does)
    starts         atoms, and each question begins from the best one, without cut-offs
    both           cut-offs and starts (--mip-start)

The cell engine takes no starts: atoms reach it as cut-offs. Seconds are of the processor, medians.

python benchmarks/atoms.py [--repeats 3] [--limit 120] [WORKLOAD ...]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from sources import model

from wdaverify import GroundCost, Loss, Norm, WdroProblem
from wdaverify.engines.base import Answer, Effort, Engine, Question
from wdaverify.engines.registry import make_engine
from wdaverify.network.model import ReluNetwork
from wdaverify.wdro import verify as runs
from wdaverify.wdro import workers

EVERY, QUICK = ("cells", "highs", "gurobi"), ("cells", "gurobi")
WORKLOADS = {
    "iris-30-margin": ("iris_8x8", 30, 0.05, "margin", 1, EVERY),
    "iris-30-zero-one": ("iris_8x8", 30, 0.05, "zero-one", 1, EVERY),
    "digits-5-margin": ("digits_16x16", 5, 0.05, "margin", 1, QUICK),
    "digits-5-zero-one": ("digits_16x16", 5, 0.05, "zero-one", 1, QUICK),
    "digits-10-margin-order-inf": ("digits_16x16", 10, 0.05, "margin", "inf", QUICK),
}
"""Network, samples, radius, loss, order, engines; HiGHS only where it ends soon."""
GAP = 1e-6


@dataclass(frozen=True)
class Setting:
    """What of the attack a run is given."""

    attack: bool = True
    cutoffs: bool = False
    starts: bool = False


SETTINGS = {
    "no attack": Setting(attack=False),
    "atoms": Setting(),
    "cut-offs": Setting(cutoffs=True),
    "starts": Setting(starts=True),
    "both": Setting(cutoffs=True, starts=True),
}


class _Told:
    """An engine that is told no cut-offs, and where there was no attack no starts."""

    def __init__(self, engine: Engine, setting: Setting) -> None:
        self._engine, self._setting = engine, setting
        self.own_bounds = engine.own_bounds

    def answer(self, question: Question, effort: Effort) -> Answer:
        cutoff = effort.cutoff if self._setting.cutoffs else None
        return self._engine.answer(question, replace(effort, cutoff=cutoff))


@contextmanager
def told(setting: Setting) -> Iterator[None]:
    """Runs inside know no more of the attack than the setting says."""
    attack = runs._attack

    def engine(network: ReluNetwork, solver: str) -> Engine:
        return _Told(make_engine(network, solver), setting)

    workers.make_engine = engine
    if not setting.attack:
        runs._attack = lambda run, search: {}
    try:
        yield
    finally:
        workers.make_engine, runs._attack = make_engine, attack


def once(problem: WdroProblem, engine: str, setting: Setting, limit: float) -> tuple[float, runs.VerificationResult]:
    """Processor seconds of one run, and what it said."""
    with told(setting):
        begun = time.process_time()
        starts = setting.starts and engine != "cells"
        result = runs.verify(problem, solver=engine, gap=GAP, mip_start=starts, time_limit=limit, device="cpu")
        return time.process_time() - begun, result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workloads", nargs="*", default=list(WORKLOADS), metavar="WORKLOAD")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--limit", type=float, default=120.0, help="seconds of wall clock of each run")
    asked = parser.parse_args()
    print("| workload | engine | told | answer | solves | nodes | s | against no attack |")
    print("|---|---|---|---|---|---|---|---|")
    for name in asked.workloads:
        source, count, radius, loss, order, engines = WORKLOADS[name]
        network, samples, support = model(source)(count)
        problem = WdroProblem(network, samples, GroundCost(Norm.INF, order), support, Loss(loss), radius)
        once(problem, "cells", SETTINGS["cut-offs"], asked.limit)  # what is imported and cached on first use
        for engine in engines:
            kept = [k for k in SETTINGS if engine != "cells" or not SETTINGS[k].starts]
            times: dict[str, list[float]] = {k: [] for k in kept}
            last: dict[str, runs.VerificationResult] = {}
            for _ in range(asked.repeats):
                for k in kept:
                    seconds, last[k] = once(problem, engine, SETTINGS[k], asked.limit)
                    times[k].append(seconds)
            base = statistics.median(times["no attack"])
            for k in kept:
                result, median = last[k], statistics.median(times[k])
                width = result.upper - result.lower
                answer = f"{result.lower:.6f} to {width:.0e}" if result.status == "exact" else f"open, {width:.1e} wide"
                cost = result.statistics
                cells = (
                    name,
                    engine,
                    k,
                    answer,
                    str(cost.solves),
                    str(cost.nodes),
                    f"{median:.2f}",
                    f"{median / base:.2f}",
                )
                print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
