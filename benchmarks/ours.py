"""Our own runs: ``verify`` or ``distances``, as the command line calls them."""

from __future__ import annotations

import math

import numpy as np
from outcome import Outcome
from workloads import Workload

from wdaverify import DistancesResult, Reason, VerificationResult, WdroProblem, distances, verify

Result = VerificationResult | DistancesResult


def run(
    workload: Workload, problem: WdroProblem, settings: dict[str, object], *, jobs: int, limit: float
) -> tuple[Outcome, Result]:
    """One run on ``jobs`` processes for at most ``limit`` seconds; attacks on the CPU.

    Raises:
        KeyboardInterrupt: the run was interrupted: what it found is no measurement.
    """
    given = {"gap": workload.gap, "jobs": jobs, "time_limit": limit, "device": "cpu", **settings}
    result: Result = distances(problem, **given) if workload.distances else verify(problem, **given)
    if result.reason is Reason.INTERRUPTED:
        raise KeyboardInterrupt
    return (_of_distances if isinstance(result, DistancesResult) else _of_value)(result), result


def _state(exact: bool, reason: Reason) -> str:
    return "done" if exact else "limit" if reason is Reason.TIME_LIMIT else "open"


def _of_value(result: VerificationResult) -> Outcome:
    cost = result.statistics
    facts = {
        "nominal": result.nominal,
        "attacks": result.attacks,
        "attack_seconds": cost.attack_seconds,
        "screen_seconds": cost.screen_seconds,
        "solve_seconds": cost.solve_seconds,
        "solves": cost.solves,
        "nodes": cost.nodes,
        "rounds": cost.rounds,
        "naive_solves": cost.naive_solves,
        "vouched": result.vouched_upper.value,
    }
    state = _state(result.status.closed, result.reason)
    note = f"{cost.solves} solves, {cost.nodes} nodes"
    count = len(result.problem.samples)
    return Outcome(state, cost.seconds, count, result.lower, result.upper, note=note, facts=facts)


def _of_distances(result: DistancesResult) -> Outcome:
    low, high = (np.array([getattr(b, side) for b in result.brackets]) for side in ("lower", "upper"))
    closed = int(((high - low <= result.gap_asked) | (low == math.inf)).sum())
    note = f"{result.solves} solves, {closed} of {low.size} distances closed"
    facts = {"solves": result.solves, "closed": closed, "distances": high.tolist()}
    state = _state(result.closed, result.reason)
    return Outcome(state, result.seconds, low.size, float(low.mean()), float(high.mean()), note=note, facts=facts)
