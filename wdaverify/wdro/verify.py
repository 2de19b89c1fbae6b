"""The main job: a bracket of V(radius), closed to the gap asked for where no limit stops it."""

from __future__ import annotations

import math
import time

from wdaverify.bounds.threads import one_thread
from wdaverify.errors import ProblemError
from wdaverify.problem import Loss, WdroProblem
from wdaverify.solvers.registry import Choice, choose
from wdaverify.wdro.attacking import launch, mixture, refuse_overflow, stay_put
from wdaverify.wdro.conclude import conclude
from wdaverify.wdro.margin import MarginSearch
from wdaverify.wdro.progress import Report
from wdaverify.wdro.result import Reason, VerificationResult
from wdaverify.wdro.run import Options, Run
from wdaverify.wdro.workers import Workers
from wdaverify.wdro.zero_one import ZeroOneSearch
from wdaverify.witness.evaluate import evaluate, nominal_bracket

_ATTACK_SHARE = 0.3
"""The share of a time limit that the attacks may use."""

Search = MarginSearch | ZeroOneSearch


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
    progress: Report | None = None,
) -> VerificationResult:
    """The exact value of ``V(radius) = sup { E_Q[loss] : Q on the support, W_p(Q, P) <= radius }``, as a bracket and a reason.

    Args:
        problem: the question.
        solver: ``auto`` (Gurobi where its licence admits the model, else HiGHS), ``cells`` (our own branch and bound over
            activation cells, whose bounds are checked), ``highs`` or ``gurobi``.
        gap: the absolute width at which the bracket counts as closed.
        time_limit: seconds of wall clock, or None; the bracket is valid whenever it ends.
        jobs: worker processes; None solves in this process (a script that asks for processes needs the usual
            ``if __name__ == "__main__":``).
        threshold: stop as soon as the bracket decides ``V <= threshold``.
        device: where the attacks run: ``auto``, ``cpu`` or ``cuda``.
        seed: of the attacks and the solvers.
        mip_start: hand the best atom to the solver as a start.
        progress: called with the bracket so far.

    Raises:
        ProblemError: an option outside what is accepted.

    A KeyboardInterrupt ends the run with the bracket so far (reason ``interrupted``) instead of being raised.
    """
    options = Options(solver, gap, time_limit, jobs, threshold, device, seed, mip_start)
    _check(options)
    choice = choose(solver)
    run = Run(problem, options, Workers(problem.network, solver, jobs), progress)
    try:
        with one_thread():
            return _verify(run, choice)
    finally:
        run.workers.close()


def _check(options: Options) -> None:
    if not (math.isfinite(options.gap) and options.gap > 0):
        raise ProblemError(f"gap {options.gap}: a finite number > 0 is accepted")
    if options.time_limit is not None and not options.time_limit >= 0:
        raise ProblemError(f"time limit {options.time_limit}: a number of seconds >= 0 is accepted")
    if options.jobs is not None and options.jobs < 1:
        raise ProblemError(f"jobs {options.jobs}: a number >= 1 is accepted, or None for this process alone")
    if options.threshold is not None and math.isnan(options.threshold):
        raise ProblemError("the threshold is not a number")
    if options.mip_start and options.solver == "cells":
        raise ProblemError(
            "a MIP start needs a MIP solver, and the cell engine has none: drop it, or ask for highs or gurobi"
        )
    if options.seed < 0:
        raise ProblemError(f"seed {options.seed}: a number >= 0 is accepted")


def _verify(run: Run, choice: Choice) -> VerificationResult:
    problem = run.problem
    refuse_overflow(problem)
    nominal = nominal_bracket(problem)
    if problem.radius == 0:  # V(0) is the nominal loss; the dual infimum need not be attained there
        run.narrow(*nominal)
        return conclude(run, choice, None, Reason.GAP_CLOSED, {})
    attacks: dict[str, float] = {}
    search: Search | None = None
    try:
        witness = stay_put(problem)
        search = MarginSearch(run, witness) if problem.loss is Loss.MARGIN else ZeroOneSearch(run, witness)
        run.tell("attack", lambda: len(problem.samples))
        attacks.update(_attack(run, search))
        reason = search.search()
    except KeyboardInterrupt:
        run.workers.close()
        reason = Reason.INTERRUPTED
    return conclude(run, choice, search, reason, attacks)


def _attack(run: Run, search: Search) -> dict[str, float]:
    """Run the attacks, hand their points to the search, and value their distributions."""
    begun = time.monotonic()
    limit = run.options.time_limit
    deadline = math.inf if limit is None else begun + _ATTACK_SHARE * limit
    outcome = launch(run.problem, device=run.options.device, seed=run.options.seed, deadline=deadline)
    run.device = outcome.device
    values = {name: evaluate(run.problem, proposal).lower for name, proposal in outcome.distributions.items()}
    best = mixture(run.problem, outcome)
    values["mixture"] = best.lower
    search.adopt(best)
    search.offer(outcome.sample, outcome.point)
    for proposal in outcome.distributions.values():
        search.offer(proposal.sample, proposal.point)
    run.attack_seconds = time.monotonic() - begun
    return values
