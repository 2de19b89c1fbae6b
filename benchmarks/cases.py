"""Questions about networks, and what it takes to answer one in a process of its own."""

from __future__ import annotations

import math
import multiprocessing
import resource
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple

from sources import Data

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


class Taken(NamedTuple):
    """The answer, why it ended, and what it took: processor seconds of all processes, seconds, MB of the largest process."""

    answer: str
    reason: str
    processor: float
    seconds: float
    megabytes: float


def answered(case: Case, seconds: float | None, jobs: int) -> Taken:
    """Answer a question here, with so many processes that solve."""
    network, samples, support = case.data(case.samples)
    problem = WdroProblem(network, samples, GroundCost(case.norm, case.order), support, case.loss, case.radius)
    before, begun = _spent(), time.perf_counter()
    if case.distances:
        found = distances(problem, time_limit=seconds, jobs=jobs, gap=case.gap, within=case.within)
        closed = sum(map(found.settled, found.brackets))
        answer, reason = f"{closed} of {len(found.brackets)}", found.reason.value
    else:
        result = verify(problem, time_limit=seconds, jobs=jobs, gap=case.gap)
        answer, reason = f"[{result.lower:.9g}, {result.upper:.9g}]", result.reason.value
    took = time.perf_counter() - begun
    most = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return Taken(answer, reason, _spent() - before, took, most / 1024)


def _spent() -> float:
    """Processor seconds of this process and of its children that have ended."""
    parts = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(part.ru_utime + part.ru_stime for part in parts)


def apart(run: Callable[[str, float | None, int], Taken], name: str, seconds: float | None, jobs: int) -> Taken:
    """``run`` in a fresh process, which may have workers of its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(run, name, seconds, jobs).result()
