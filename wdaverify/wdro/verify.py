"""The main job: a bracket of V(radius), closed to the gap asked for where no limit stops it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import replace
from typing import Any

from wdaverify.arithmetic import Arithmetic
from wdaverify.certify.deployed import Errors
from wdaverify.engines.threads import one_thread
from wdaverify.errors import ExecutorLostError, ProblemError
from wdaverify.given import called, instance
from wdaverify.journal.store import Journal
from wdaverify.losses.rule import By
from wdaverify.problem import WdroProblem
from wdaverify.solvers.registry import Choice, choose
from wdaverify.wdro.attacking import launch, nominal_pool, portions, refuse_overflow, stay_put, valued
from wdaverify.wdro.certifying import for_a_checker, proven
from wdaverify.wdro.conclude import conclude
from wdaverify.wdro.deployed import NOTHING, Found, by_distances, in_reals, jobs_of_some, together, used, widened
from wdaverify.wdro.dlr import DlrSearch
from wdaverify.wdro.family import check_family
from wdaverify.wdro.log import LOGGER, ended
from wdaverify.wdro.margin import MarginSearch
from wdaverify.wdro.options import Options
from wdaverify.wdro.progress import Report
from wdaverify.wdro.recall import Recall
from wdaverify.wdro.result import UNREPLAYED, Reason, SolverUse, Statistics, VerificationResult
from wdaverify.wdro.run import Run
from wdaverify.wdro.workers import Workers
from wdaverify.wdro.zero_one import ZeroOneSearch
from wdaverify.witness.decide import deciding_until
from wdaverify.witness.evaluate import nominal_bracket

_ATTACK_SHARE = 0.3
"""The share of a time limit that the attacks may use, and as much what comes before them."""

Search = MarginSearch | ZeroOneSearch | DlrSearch


_SEARCHES: dict[By, type[Search]] = {By.PIECES: MarginSearch, By.DISTANCES: ZeroOneSearch, By.LEVELS: DlrSearch}


def verify(
    problem: WdroProblem,
    *,
    solver: str = "auto",
    gap: float = 1e-6,
    time_limit: float | None = None,
    jobs: int | None = None,
    threshold: float | None = None,
    device: str = "auto",
    seed: int = 0,
    mip_start: bool = False,
    certificate: bool = False,
    memory_limit: float | None = None,
    branching: bool = True,
    progress: Report | None = None,
    journal: Journal | None = None,
    executor: Executor | None = None,
    slots: Callable[[], int] | None = None,
) -> VerificationResult:
    """The exact value of ``V(radius) = sup { E_Q[loss] : Q on the support, W_p(Q, P) <= radius }``, as a bracket and a reason.

    Args:
        problem: the question.
        solver: ``auto`` or ``cells`` (our own branch and bound over activation cells, whose bounds are checked), or a MIP
            back-end, whose bounds are its word: ``gurobi`` (HiGHS where its licence does not admit the model), ``highs`` or ``scip``.
        gap: the absolute width at which the bracket counts as closed.
        time_limit: seconds of wall clock, or None; the bracket is valid whenever it ends. With a certificate the search ends
            at four fifths of it, and the rest is the checker's.
        jobs: worker processes; None solves in this process, where nobody watches the solver: one that hangs or runs on past
            its time holds up the run and its time limit, and ``memory_limit`` bounds the search tree alone. Processes never run
            the caller's script again: it needs no ``if __name__ == "__main__":``.
        threshold: stop as soon as the bracket decides ``V <= threshold``.
        device: where the attacks run: ``auto``, ``cpu`` or ``cuda``.
        seed: of the attacks and the solvers.
        mip_start: hand the best atom to a MIP solver as a start.
        certificate: keep what proves the bracket, and report the bracket that the checker (``wdaverify.certify``) accepts;
            the result's ``certificate`` can then be written and checked by others. Cells only.
        memory_limit: bytes that a worker may take: three quarters for its search tree, beyond which it dives instead of keeping
            open nodes, and ends with a wider bound where that does not suffice; on Linux a worker process that grows beyond the
            limit (and 250 MB for libraries) fails, which only widens the bracket. None: no limit.
        branching: whether cells may branch; if not, the linear programs at the roots of their trees are all that is solved.
        progress: called with the bracket so far.
        journal: where every proven fact is kept as it is found; what an earlier run has proven of this question is not proven
            again (docs/journal.md).
        executor: solves instead of processes of our own, with ``jobs`` workers or as many as ``slots()`` says at the time;
            each of its processes is sent the network once. Whoever made it ends it.

    Raises:
        ProblemError: an option outside what is accepted.

    A KeyboardInterrupt ends the run with the bracket so far (reason ``interrupted``) instead of being raised.
    """
    asked = Options(
        solver=solver,
        gap=gap,
        time_limit=time_limit,
        jobs=jobs,
        threshold=threshold,
        device=device,
        seed=seed,
        mip_start=mip_start,
        certificate=certificate,
        memory_limit=memory_limit,
        branching=branching,
    )
    check_asked(problem, journal, progress)
    if problem.arithmetic is Arithmetic.FLOAT32:
        check_family(problem, asked)
        return _in_float32(
            problem, asked, {"progress": progress, "journal": journal, "executor": executor, "slots": slots}
        )
    check_family(problem, asked)
    choice, solver = choose(asked.solver), asked.solver
    if problem.loss.rule.by_levels and solver == "auto":
        choice, solver = replace(choose("gurobi"), asked="auto"), "gurobi"
    limit = asked.time_limit
    options = for_a_checker(asked) if asked.certificate else asked
    workers = Workers(problem.network, solver, asked.jobs, asked.memory_limit, executor, slots)
    recall = None if journal is None else Recall(journal, problem, options)
    run = Run(problem, options, workers, progress, recall=recall)
    try:
        with one_thread(), deciding_until(run.deadline):
            result = _verify(run, choice, asked.gap, math.inf if limit is None else run.begun + limit)
    finally:
        run.workers.close()
    what, reason = f"verify: {result.status.value}", f"{result.reason.value} ({result.detail})"
    cost = result.statistics
    ended(what, reason, (result.lower, result.upper), cost.solves, cost.seconds, result.notices)
    return result


def _in_float32(problem: WdroProblem, asked: Options, beside: dict[str, Any]) -> VerificationResult:
    """The answer about the network as deployed, of answers in real arithmetic."""
    words = {**vars(asked), **beside, "threshold": None}
    begun, errors = time.monotonic(), Errors.of(problem)
    errors.check()
    if not problem.loss.rule.by_distances:
        return widened(errors, verify(in_reals(problem), **words), asked.threshold)
    if math.isfinite(problem.cost.order):
        given = {
            "executor": beside["executor"],
            "memory_limit": asked.memory_limit,
            "mip_start": asked.mip_start or None,
        }
        if unused := [name for name, value in given.items() if value is not None]:
            raise ProblemError(
                f"{', '.join(unused)} with arithmetic float32 and the {problem.loss.rule.noun} at a finite order: it is answered by "
                "distances, which take no scheduler, no memory limit and no MIP start; leave it out"
            )
    parts, uses = list[Statistics](), list[SolverUse]()

    def find(question: WdroProblem, limit: float | None) -> Found:
        jobs = jobs_of_some(len(question.samples), asked.jobs)
        if math.isfinite(question.cost.order):
            from wdaverify.wdro.distances import distances

            some = {name: words[name] for name in ("solver", "gap", "device", "seed", "progress", "journal")}
            near = distances(question, **some, jobs=jobs, time_limit=limit, reproduced=False)
            parts.append(replace(NOTHING, solves=near.solves))
            uses.extend([] if near.solver is None else [near.solver])
            return near.brackets, near.points, near.closed, near.reason
        answer = verify(question, **{**words, "jobs": jobs, "time_limit": limit})
        parts.append(answer.statistics)
        uses.append(answer.solver)
        moved = {atom.sample: atom.point for atom in answer.atoms if atom.loss > 0}
        points = [moved.get(i) for i in range(len(question.samples))]
        return answer.per_sample, points, answer.status.closed, answer.reason

    base = verify(replace(in_reals(problem), radius=0.0), **words)
    result = by_distances(errors, find, asked.time_limit, base, asked.threshold)
    statistics = together([base.statistics, *parts], time.monotonic() - begun)
    return replace(result, statistics=statistics, solver=used([base.solver, *uses]))


def check_asked(problem: object, journal: object = None, progress: object = None) -> None:
    """Refuse what is no question, no journal or no function.

    Raises:
        ProblemError: one of them.
    """
    instance("problem", problem, WdroProblem, "WdroProblem(network, samples, cost, support, loss, radius) makes one")
    if journal is not None:
        instance("journal", journal, Journal, "with Journal(folder) as journal: opens one")
    called("progress", progress)


def _verify(run: Run, choice: Choice, gap: float, until: float) -> VerificationResult:
    problem = run.problem
    refuse_overflow(problem)
    nominal = nominal_bracket(problem)
    if problem.radius == 0:  # V(0) is the nominal loss; the dual infimum need not be attained there
        run.narrow(*nominal)
        reason = run.verdict() or Reason.STALLED
        return _certified(run, conclude(run, choice, None, reason, {}), None, gap, until)
    attacks: dict[str, float] = {}
    search: Search | None = None
    try:
        witness = stay_put(problem)
        search = _SEARCHES[problem.loss.rule.search](run, witness)
        if isinstance(search, ZeroOneSearch):
            search.screen_first(_share_of(run, _ATTACK_SHARE))
        run.tell("attack", lambda: len(problem.samples))
        if run.verdict() is None:
            run.workers.warm()
        with deciding_until(run.valuing):
            attacks.update(_attack(run, search))
        reason = search.search()
    except KeyboardInterrupt:
        run.workers.close()
        reason = Reason.INTERRUPTED
    except ExecutorLostError as error:
        run.lost, reason = str(error), Reason.EXECUTOR_LOST
    return _certified(run, conclude(run, choice, search, reason, attacks), search, gap, until)


def _share_of(run: Run, share: float) -> float:
    """When a share of the time limit, from now on, will have gone; inf without one."""
    limit = run.options.time_limit
    return math.inf if limit is None else time.monotonic() + share * limit


def _certified(
    run: Run, result: VerificationResult, search: Search | None, gap: float, until: float
) -> VerificationResult:
    """The result held to the gap asked for, and to the checker, as far as it comes in time, where a certificate is wanted."""
    result = replace(result, gap_asked=gap)
    if run.options.certificate:
        slopes = search.slopes() if isinstance(search, MarginSearch) else ()
        try:
            result = proven(result, () if search is None else search.proofs(), until, slopes)
        except KeyboardInterrupt:
            return replace(_judged(result), reason=Reason.INTERRUPTED, detail=UNREPLAYED)
    return _judged(result)


def _judged(result: VerificationResult) -> VerificationResult:
    """The result with a reason that says what its last bracket makes of the threshold, where one was asked for."""
    if result.decision is None:
        return result
    if result.decision != "undecided":
        late = not result.status.closed and result.reason in (Reason.TIME_LIMIT, Reason.STALLED)
        detail = "the bracket decides the threshold"
        return replace(result, reason=Reason.THRESHOLD_DECIDED, detail=detail) if late else result
    if result.status.closed:
        detail = "the bracket is closed to the gap asked for, and the threshold lies in it; a smaller gap may decide"
        return replace(result, reason=Reason.THRESHOLD_UNDECIDED, detail=detail)
    if result.reason is Reason.THRESHOLD_DECIDED:
        detail = "the search decided the threshold, and what is proven of its bracket does not"
        return replace(result, reason=Reason.STALLED, detail=detail)
    return result


def _attack(run: Run, search: Search) -> dict[str, float]:
    """Run the attacks, hand their points to the search, and value their distributions; not again where a journal has them."""
    recall = run.recall
    if recall is not None and (known := recall.attacks()) is not None:
        run.device, values = known
        return values
    if run.verdict() is Reason.TIME_LIMIT:
        return {}
    begun = time.monotonic()
    among = search.to_attack() if isinstance(search, ZeroOneSearch) else None
    until = _share_of(run, _ATTACK_SHARE)
    outcome = launch(run.problem, device=run.options.device, seed=run.options.seed, deadline=until, among=among)
    run.device = outcome.device
    pool = nominal_pool(run.problem)
    worth = valued(run.problem, outcome, run.deadline, pool)
    values = {name: witness.lower for name, witness in worth.witnesses.items()}
    for witness in worth.witnesses.values():
        search.adopt(witness)
    if isinstance(search, MarginSearch):  # its pool would keep no others
        sample, point = pool.points()
    else:
        sample, point = outcome.points()
    for part in portions(sample.size, run.deadline):
        search.offer(sample[part], point[part])
    run.attack_seconds = time.monotonic() - begun
    if recall is not None and outcome.finished and worth.complete and time.monotonic() < run.deadline:
        recall.keep_attacks(outcome.device, values)
    for name, value in values.items():
        LOGGER.info("attack %s: %r", name, value)
    return values
