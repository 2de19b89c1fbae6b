"""Who takes part in a workload, and the runs themselves, alternating."""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass

import ours
from limit import limit
from naive import naive_loop
from outcome import Outcome
from plain_distance import plain_distances
from record import Record
from whole import one_milp
from workloads import Workload

from wdaverify import DistancesResult, Status, WdroProblem

OWN = "wdaverify"
BASELINES = ("limit", "naive Gurobi", "naive HiGHS", "plain Gurobi", "plain HiGHS", "one MILP")
_LIBRARIES = {"gurobi": "Gurobi", "highs": "HiGHS"}


@dataclass(frozen=True)
class Plan:
    """How a run goes. ``own_limit``: seconds for each run of our own; ``baseline_limit``: for each run of a baseline."""

    jobs: int
    repeats: int
    baselines: bool
    baseline_samples: int
    baseline_limit: float
    own_limit: float
    against: tuple[str, ...] = ()
    """The baselines that take part, by name; all of them where there are none."""


Contender = Callable[[], Outcome]


def tell(words: str) -> None:
    """A line of progress."""
    print(words, file=sys.stderr, flush=True)


def measure(workload: Workload, plan: Plan, record: Record) -> None:
    """Run everybody in turn and the whole turn repeated; every result is written as soon as it is there.

    Who was refused, failed or ran into its cap is not asked again.
    """
    problem = workload.problem()
    asked, runs = len(problem.samples), {}
    parts = _contenders(workload, problem, plan)
    for turn in range(plan.repeats):
        for who, contender in parts.items():
            if turn and runs[who][-1].state in ("failed", "absent", "refused", "limit", "wrong"):
                continue
            outcome = _run(contender)
            runs.setdefault(who, []).append(outcome)
            record.row(workload.name, who, runs[who], asked)
            where = f"{outcome.samples} of {asked} samples"
            tell(f"{workload.name}: {who}, run {turn + 1}: {outcome.state} after {outcome.seconds:.1f} s, {where}")


def _run(contender: Contender) -> Outcome:
    """One run; where its process died (out of memory, say) that is what the row says."""
    try:
        return contender()
    except BrokenExecutor as error:
        return Outcome("failed", note=f"a process died: {' '.join(str(error).split())}")


def _contenders(workload: Workload, problem: WdroProblem, plan: Plan) -> dict[str, Contender]:
    """By name; ``wdaverify`` comes first, since the limit needs its result."""
    out: dict[str, Contender] = {}
    results: list[ours.Result] = []

    def own(settings: dict[str, object]) -> Outcome:
        outcome, result = ours.run(workload, problem, settings, jobs=plan.jobs, limit=plan.own_limit)
        if not settings:
            results.append(result)
        return outcome

    for name, settings in workload.settings.items():
        who = OWN if not settings else f"{OWN}, {name}"
        out[who] = lambda settings=settings: own(settings)
    if not workload.baselines or not plan.baselines:
        return out
    out["limit"] = lambda: _limit(workload, problem, results[-1], plan)
    few = workload.problem(plan.baseline_samples)
    given = {"gap": workload.gap, "jobs": plan.jobs, "limit": plan.baseline_limit}
    for solver, library in _LIBRARIES.items():
        if workload.loss == "margin":
            out[f"naive {library}"] = lambda solver=solver: naive_loop(few, solver, **given)
        else:
            out[f"plain {library}"] = lambda solver=solver: plain_distances(
                few, solver, value=not workload.distances, **given
            )
    if not workload.distances:
        out["one MILP"] = lambda: one_milp(problem, **given)
    return {who: run for who, run in out.items() if not plan.against or who in plan.against or who.startswith(OWN)}


def _limit(workload: Workload, problem: WdroProblem, result: ours.Result, plan: Plan) -> Outcome:
    exact = result.exact if isinstance(result, DistancesResult) else result.status is Status.EXACT
    if not exact:
        return Outcome("absent", note="the run did not close, so that no optimum is known to certify")
    return limit(workload, problem, result, jobs=plan.jobs, cap=plan.own_limit)


def validate(workload: Workload, plan: Plan, record: Record) -> None:
    """The naive loop by Gurobi on a few samples and on all of them: what the extrapolation is worth."""
    given = {"gap": workload.gap, "jobs": plan.jobs}
    few, problem = workload.problem(plan.baseline_samples), workload.problem()
    asked = len(problem.samples)
    cap = plan.baseline_limit * max(1.0, asked / plan.baseline_samples)
    parts = {"naive Gurobi": (few, plan.baseline_limit), "naive Gurobi, all samples": (problem, cap)}
    for who, (question, seconds) in parts.items():
        outcome = _run(
            lambda question=question, seconds=seconds: naive_loop(question, "gurobi", limit=seconds, **given)
        )
        record.row(workload.name, who, [outcome], asked)
        tell(f"{workload.name}: {who}: {outcome.state} after {outcome.seconds:.1f} s")
