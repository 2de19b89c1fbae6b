"""Who takes part in a workload, and the runs themselves, alternating."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace

import ours
from limit import limit
from naive import naive_loop
from outcome import Outcome
from plain_distance import plain_distances
from record import Record
from whole import one_milp
from workloads import Workload

from wdaverify import DistancesResult, WdroProblem

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
    """One run; where it failed (a process died, a licence ran out) that is what the row says, and the others go on."""
    try:
        return contender()
    except Exception as error:  # noqa: BLE001  hours of measurements are not to end with one contender
        return Outcome("failed", note=f"{type(error).__name__}: {' '.join(str(error).split())}")


def _contenders(workload: Workload, problem: WdroProblem, plan: Plan) -> dict[str, Contender]:
    """By name; ``wdaverify`` comes first, since the limit needs its result."""
    out: dict[str, Contender] = {}
    results: list[ours.Result] = []
    bracket = _Bracket(workload, plan)
    beside = bracket.beside

    def own(settings: dict[str, object]) -> Outcome:
        outcome, result = ours.run(workload, problem, settings, jobs=plan.jobs, limit=plan.own_limit)
        if not settings:
            results.append(result)
            bracket.learn(outcome)
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
            out[f"naive {library}"] = lambda solver=solver: beside(few, naive_loop(few, solver, **given))
        else:  # samples differ too much in what their distances take for some of them to speak for all
            out[f"plain {library}"] = lambda solver=solver: beside(
                problem, plain_distances(problem, solver, value=not workload.distances, **given)
            )
    if not workload.distances:
        out["one MILP"] = lambda: beside(problem, one_milp(problem, **given))
    return {who: run for who, run in out.items() if not plan.against or who in plan.against or who.startswith(OWN)}


class _Bracket:
    """Our own bracket of what a baseline has answered, found off the clock: the two must not contradict each other."""

    def __init__(self, workload: Workload, plan: Plan) -> None:
        self._workload, self._plan = workload, plan
        self._known: dict[int, list[float | None]] = {}

    def learn(self, outcome: Outcome) -> None:
        """Keep a run's bracket, so that it is not asked for again."""
        self._known[outcome.samples] = [outcome.lower, outcome.upper]

    def beside(self, problem: WdroProblem, outcome: Outcome) -> Outcome:
        """The outcome with our bracket in its facts, where it has an answer."""
        if outcome.state != "done":
            return outcome
        if len(problem.samples) not in self._known:
            self.learn(ours.run(self._workload, problem, {}, jobs=self._plan.jobs, limit=self._plan.own_limit)[0])
        return replace(outcome, facts={**outcome.facts, "ours": self._known[len(problem.samples)]})


def _limit(workload: Workload, problem: WdroProblem, result: ours.Result, plan: Plan) -> Outcome:
    exact = result.closed if isinstance(result, DistancesResult) else result.status.closed
    if not exact:
        return Outcome("absent", note="the run did not close, so that no optimum is known to certify")
    return limit(workload, problem, result, jobs=plan.jobs, cap=plan.own_limit)


def validate(workload: Workload, plan: Plan, record: Record) -> None:
    """The naive loop by Gurobi on a few samples and on all of them: what the extrapolation is worth."""
    given = {"gap": workload.gap, "jobs": plan.jobs}
    few, problem = workload.problem(plan.baseline_samples), workload.problem()
    asked = len(problem.samples)
    cap = plan.baseline_limit * max(1.0, asked / plan.baseline_samples)
    beside = _Bracket(workload, plan).beside
    parts = {"naive Gurobi": (few, plan.baseline_limit), "naive Gurobi, all samples": (problem, cap)}
    for who, (question, seconds) in parts.items():
        outcome = _run(
            lambda question=question, seconds=seconds: beside(
                question, naive_loop(question, "gurobi", limit=seconds, **given)
            )
        )
        record.row(workload.name, who, [outcome], asked)
        tell(f"{workload.name}: {who}: {outcome.state} after {outcome.seconds:.1f} s")
