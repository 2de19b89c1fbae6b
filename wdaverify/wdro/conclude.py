"""From the state of a run to its result."""

from __future__ import annotations

import math
import time

import numpy as np

from wdaverify.digits import up_to
from wdaverify.solvers.registry import Choice
from wdaverify.wdro.attacking import stay_put
from wdaverify.wdro.dlr import DlrSearch
from wdaverify.wdro.margin import MarginSearch
from wdaverify.wdro.reproduced import witness_reproduced
from wdaverify.wdro.result import (
    Reason,
    SampleBracket,
    SolverUse,
    Statistics,
    Status,
    VerificationResult,
    Voucher,
)
from wdaverify.wdro.run import SHORTFALL, Run
from wdaverify.wdro.zero_one import ZeroOneSearch
from wdaverify.witness.evaluate import nominal_bracket
from wdaverify.witness.outward import said

_NAIVE_STEPS = 40
"""Bisection steps on the multiplier that a naive loop takes to reach 1e-6 (a range of 1e6, halved 40 times)."""

_DETAIL = {
    Reason.GAP_CLOSED: "the bracket is closed to the gap asked for",
    Reason.THRESHOLD_DECIDED: "the bracket decides the threshold",
    Reason.TIME_LIMIT: "the time limit was reached; the bracket holds",
    Reason.UNBOUNDED: "the supremum is +inf: three logits tie above the label's within reach, and the loss grows without bound "
    "there, as rationals show",
    Reason.INTERRUPTED: "the run was interrupted; the bracket holds",
    Reason.EXECUTOR_LOST: "what was to solve is gone (see the notices); the bracket holds",
    Reason.STALLED: "no question is left that would narrow the bracket: the tolerances of the solver are reached",
}


def conclude(
    run: Run,
    choice: Choice,
    search: MarginSearch | ZeroOneSearch | DlrSearch | None,
    reason: Reason,
    attacks: dict[str, float],
) -> VerificationResult:
    """The result of a run that ended for ``reason``; a search is None at radius 0 or if it never began."""
    problem = run.problem
    if search is not None:
        search.settle()
    witness = stay_put(problem) if search is None else search.witness
    run.narrow(witness.lower, float("inf"))
    if run.lower > run.upper:  # a solver's bound below a re-evaluated point: raised, and told
        run.shortfall(run.lower - run.upper)
        run.upper = run.lower
    if run.largest_shortfall > SHORTFALL:
        reason = Reason.NUMERICAL
    ended = reason
    if isinstance(search, ZeroOneSearch):
        witness, reason = witness_reproduced(run, search, reason)
        run.lower = min(run.lower, witness.lower)
    closed = run.upper - run.lower <= run.options.gap and reason is not Reason.NUMERICAL
    if closed and reason is ended and reason is not Reason.THRESHOLD_DECIDED:  # an interrupt in between stays one
        reason = Reason.GAP_CLOSED
    own = search is None or search.checked_upper() <= run.upper
    run.state("end", 0, reason)
    return VerificationResult(
        problem=problem,
        status=Status.of(problem.network, closed=closed),
        reason=reason,
        detail=_detail(run, reason),
        lower=run.lower,
        upper=run.upper,
        nominal=nominal_bracket(problem)[0],
        multiplier=None if search is None else search.multiplier,
        transport_cost=witness.transport_cost,
        attacks=attacks,
        atoms=said(problem, witness.atoms),
        per_sample=_clean_brackets(run) if search is None else search.per_sample(),
        vouched_lower=Voucher.CHECKED,
        vouched_upper=Voucher.CHECKED if own else Voucher.SOLVER,
        solver=SolverUse(choice.asked, dict(run.solves), choice.licence, choice.why),
        statistics=_statistics(run),
        gap_asked=run.options.gap,
        threshold=run.options.threshold,
        seed=run.options.seed,
        rays=search.horizon.rays if isinstance(search, MarginSearch) and search.horizon is not None else (),
        tie=search.tie if isinstance(search, DlrSearch) else None,
        notices=(*problem.network.notices, *((choice.notice,) if choice.notice else ()), *run.notices()),
    )


def _detail(run: Run, reason: Reason) -> str:
    if reason is Reason.NUMERICAL:
        amount = up_to(run.largest_shortfall, 3)
        return f"a solver's bound fell short of a re-evaluated point by {amount}; try another --solver"
    if reason is Reason.STALLED and run.doubt and math.isinf(run.upper):
        return run.doubt
    if reason is Reason.STALLED and run.problem.radius == 0:
        return "the losses at the samples are known up to their rounding, which is more than the gap asked for"
    if reason is Reason.STALLED and run.failures:
        return "questions went unanswered (see the notices), and no other would narrow the bracket"
    return _DETAIL[reason]


def _clean_brackets(run: Run) -> tuple[SampleBracket, ...]:
    """At radius 0 the brackets are those of the losses at the samples; zero-one: of the distances, 0 where it is an error already."""
    from wdaverify.witness.evaluate import clean_losses

    low, high = clean_losses(run.problem)
    if run.problem.loss.rule.by_distances:
        low, high = np.zeros(low.size), np.where(low > 0, 0.0, math.inf)
    weights = run.problem.samples.w
    return tuple(
        SampleBracket(i, float(w), float(a), float(b), Voucher.CHECKED)
        for i, (w, a, b) in enumerate(zip(weights, low, high, strict=True))
    )


def _statistics(run: Run) -> Statistics:
    problem = run.problem
    rivals = problem.network.n_outputs - 1
    return Statistics(
        seconds=time.monotonic() - run.begun,
        attack_seconds=run.attack_seconds,
        screen_seconds=run.screen_seconds,
        solve_seconds=run.solve_seconds,
        rounds=run.rounds,
        solves=sum(run.solves.values()),
        nodes=run.nodes,
        samples_solved=len(run.samples_solved),
        rivals_screened=run.rivals_screened,
        naive_solves=len(problem.samples) * rivals * _NAIVE_STEPS,
        jobs=run.workers.jobs,
        device=run.device,
    )
