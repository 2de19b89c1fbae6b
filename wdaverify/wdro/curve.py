"""The worst case at every radius at once, from one set of atoms and one set of dual lines.

In the budget ``b = radius^p`` the value V is concave, so with proven lower values ``L_j`` at budgets ``b_j`` and, for every
multiplier priced, ``D_k >= sum_i w_i phi_i(lam_k)``

    the chords of (b_j, L_j)  <=  V  <=  min_k lam_k b + D_k       for every b in [0, max-radius^p]

and the radius where the two are farthest apart is searched next (docs/theory.md, section 2). Zero-one curves come from the
distances alone: ``knapsack(hi) <= V <= knapsack(lo)``; for order inf they are steps.

The breakpoints and what holds between them: ``wdaverify.wdro.breakpoints``.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace

import numpy as np

from wdaverify.arithmetic import Arithmetic
from wdaverify.certify.certificate import Certificate
from wdaverify.certify.checker import Verdict
from wdaverify.certify.deployed import Errors, lowered, mean, raised
from wdaverify.certify.exact import exact_dot
from wdaverify.certify.proof import Proof
from wdaverify.digits import at_most
from wdaverify.engines.threads import one_thread
from wdaverify.errors import ProblemError
from wdaverify.journal.store import Journal
from wdaverify.network.model import Array
from wdaverify.problem import WdroProblem
from wdaverify.rounding import SMALLEST_SUBNORMAL, float_up, widths_up
from wdaverify.shown import Shown, line
from wdaverify.solvers.registry import choose
from wdaverify.wdro.attacking import budget, launch, portions, refuse_overflow, stay_put, valued
from wdaverify.wdro.breakpoints import knapsack_steps, least_lines, on_line, read_steps, table
from wdaverify.wdro.certifying import for_a_checker, proven_curve, proven_steps
from wdaverify.wdro.deployed import in_reals
from wdaverify.wdro.distances import DistancesResult, distances
from wdaverify.wdro.family import check_family
from wdaverify.wdro.log import ended
from wdaverify.wdro.margin import MarginSearch
from wdaverify.wdro.options import Options
from wdaverify.wdro.progress import Report
from wdaverify.wdro.recall import Recall
from wdaverify.wdro.result import UNREPLAYED, Deployed, Reason, Status, asked_text
from wdaverify.wdro.run import SHORTFALL, Run
from wdaverify.wdro.verify import check_asked
from wdaverify.wdro.workers import Workers
from wdaverify.witness.evaluate import Witness, evaluate, nominal_bracket

_SHARE = 0.5
"""The share of the gap asked for to which single radii are closed; the curve in between then stays within the whole."""
_RADII = 500
_STEPS, _GROWTH = 40, 4.0


@dataclass(frozen=True, eq=False, repr=False)
class CurveResult(Shown):
    """``lower <= V <= upper`` at ``radius``, all ``[M]``: every breakpoint of the two curves, from 0 to the largest radius.

    For finite orders both are to be joined by straight lines in ``radius^p``: a lower bound and an upper bound hold between
    breakpoints too. For order inf both hold from their radius up to the next (steps). Neither ever falls. ``deployed`` says what float32
    added, None in real arithmetic.
    """

    problem: WdroProblem
    reason: Reason
    radius: Array
    lower: Array
    upper: Array
    gap_asked: float
    seconds: float
    solves: int
    searched: int
    notices: tuple[str, ...]
    certificate: Certificate | None = None
    deployed: Deployed | None = None

    def __repr__(self) -> str:
        width = at_most(float(self.widths.max(initial=0.0)))
        return line(
            f"curve: {self.status.words}, at most {width} wide", self.reason.value, f"up to {asked_text(self.problem)}"
        )

    @property
    def widths(self) -> Array:
        """``upper - lower``, rounded up, ``[M]``."""
        return widths_up(self.lower, self.upper)

    @property
    def status(self) -> Status:
        """What the curve is called: ``exact``, ``to-the-gap`` (of a network with curved functions) or ``bracket``."""
        return Status.of(self.problem.network, closed=self.closed)

    @property
    def exact(self) -> bool:
        """Whether it is closed, of a network that has exact values: never where it has curved functions."""
        return self.status is Status.EXACT

    @property
    def closed(self) -> bool:
        """Whether the bracket is closed to the gap asked for at every radius; at order inf, whether every step is known that well."""
        if not math.isfinite(self.problem.cost.order):
            return self.reason is Reason.GAP_CLOSED
        return bool((self.widths <= self.gap_asked).all())


class _CurveSearch(MarginSearch):
    """One search that moves from radius to radius and keeps its atoms, its bounds and its lines."""

    def __init__(self, run: Run, witness: Witness) -> None:
        self.lines: dict[float, float] = {}
        self.witnesses: dict[float, Witness] = {}
        """The best distribution known at each radius that was looked at."""
        super().__init__(run, witness)

    def _take_upper(self) -> None:
        weights = self._problem.samples.w
        used, upper = weights > 0, self._pricing.upper()
        total = math.inf
        if np.isfinite(upper[used]).all():
            total = float_up(exact_dot(weights[used].tolist(), upper[used].tolist()))
        if math.isfinite(total):
            lam = self._pricing.multiplier
            self.lines[lam] = min(total, self.lines.get(lam, math.inf))
        super()._take_upper()

    def at(self, radius: float) -> tuple[Reason, float]:
        """Close the bracket at a radius; the reason, and the proven lower value there."""
        self._problem = replace(self._problem, radius=radius)
        self._budget = budget(self._problem)
        self._run.lower, self._run.upper = -math.inf, math.inf
        self.witness = stay_put(self._problem)
        self._forget_approach()  # the best of another radius says nothing here
        self._run.rounds = 0
        best = min(self.lines, key=lambda lam: lam * self._budget + self.lines[lam], default=None)
        self._run.upper = (
            math.inf if best is None else on_line(best, self.lines[best], radius, self._problem.cost.power)
        )
        reason = self.search()
        return reason, self._kept(radius, self.witness)

    def _kept(self, radius: float, witness: Witness) -> float:
        """What the best distribution at a radius is worth."""
        if radius not in self.witnesses or witness.lower > self.witnesses[radius].lower:
            self.witnesses[radius] = witness
        return self.witnesses[radius].lower

    def steepen(self) -> Reason:
        """Close the bracket at radius 0, where no multiplier need attain the dual: price at ever larger ones."""
        self._problem = replace(self._problem, radius=0.0)
        self._budget = 0.0
        self._run.lower, self._run.upper = nominal_bracket(self._problem)[0], math.inf
        self.witness = stay_put(self._problem)
        lam = max([1.0, *self.lines])
        for _ in range(_STEPS):
            self._forget_approach()
            lam *= _GROWTH
            if not math.isfinite(lam):
                break
            self._run.next_round()
            self._pricing.move_to(lam)
            self._take_upper()
            reason = self._run.verdict() or self._price()
            if reason is not None:
                return reason
        return Reason.STALLED

    def lower_at(self, radius: float) -> float:
        """What the atoms at hand prove at a radius."""
        from wdaverify.transport.master import solve_master

        problem = replace(self._problem, radius=radius)
        plan = solve_master(self._pool, problem.samples.w, budget(problem)).plan
        return self._kept(radius, evaluate(problem, plan.distribution(problem.samples.y)))

    def proofs_of(self, slopes: list[float]) -> tuple[Proof, ...]:
        """What proves the heights of lines, each proof once."""
        found = {
            (proof.sample, proof.label, proof.rival, proof.multiplier): proof
            for lam in slopes
            for proof in self._pricing.proofs_at(lam)
        }
        return tuple(found.values())


def curve(
    problem: WdroProblem,
    *,
    solver: str = "auto",
    gap: float = 1e-6,
    time_limit: float | None = None,
    jobs: int | None = None,
    device: str = "auto",
    seed: int = 0,
    progress: Report | None = None,
    journal: Journal | None = None,
    certificate: bool = False,
) -> CurveResult:
    """``[lower(radius), upper(radius)]`` for every radius from 0 to the problem's own.

    Args:
        problem: the question at the largest radius.
        solver, gap, time_limit, jobs, device, seed, progress, journal: as ``verify``; the gap is to hold at every radius.
        certificate: keep what proves the whole curve, in one file for all radii, and report what the checker accepts.

    Raises:
        ProblemError: order inf with another loss than zero-one (its value is no concave function of the radius), or an option
            outside what is accepted.

    A KeyboardInterrupt ends the run with the curve so far.
    """
    asked = Options(
        solver=solver, gap=gap, time_limit=time_limit, jobs=jobs, device=device, seed=seed, certificate=certificate
    )
    check_asked(problem, journal, progress)
    if problem.loss.rule.by_distances:
        found = distances(
            problem,
            solver=solver,
            gap=max(asked.gap * (1e-2 if problem.arithmetic is Arithmetic.REAL else 1.0), SMALLEST_SUBNORMAL),
            time_limit=time_limit,
            jobs=jobs,
            device=device,
            seed=seed,
            progress=progress,
            journal=journal,
            reproduced=False,
            certificate=asked.certificate,
        )
        return _of_distances(problem, found, asked.gap)
    if problem.loss.rule.by_levels:
        raise ProblemError(
            f"the {problem.loss.rule.noun} has no curve from one set of atoms; use verify at the radii of interest"
        )
    if not math.isfinite(problem.cost.order):
        raise ProblemError(
            f"at order inf the {problem.loss.value} loss has no curve from one set of atoms: its value is not concave in the "
            "radius; use verify at the radii of interest, or the zero-one loss"
        )
    options = replace(asked, gap=max(_SHARE * asked.gap, SMALLEST_SUBNORMAL))
    check_family(problem, options)
    if problem.arithmetic is Arithmetic.FLOAT32:
        if asked.certificate:
            problem.refuse_float32(
                "a certificate of a curve is about real arithmetic", "leave it out, or ask verify for one"
            )
        some = {name: getattr(asked, name) for name in ("solver", "gap", "time_limit", "jobs", "device", "seed")}
        errors = Errors.of(problem)
        errors.check()
        return _widened(errors, curve(in_reals(problem), **some, progress=progress, journal=journal))
    choose(options.solver)
    until = math.inf if options.time_limit is None else time.monotonic() + options.time_limit
    options = for_a_checker(options) if options.certificate else options
    recall = None if journal is None else Recall(journal, problem, options, "curve")
    run = Run(problem, options, Workers(problem.network, options.solver, options.jobs), progress, recall=recall)
    try:
        with one_thread():
            refuse_overflow(problem)
            return _refined(run, asked.gap, until)
    finally:
        run.workers.close()


def _refined(run: Run, gap: float, until: float) -> CurveResult:
    """Search the radius where the curve is widest until it is closed everywhere, or a limit is reached; then check, where asked to.

    At radius 0 the lines must come down to the nominal loss too: V is concave, so that no chord to it is an upper bound."""
    problem = run.problem
    nominal = nominal_bracket(problem)
    points: dict[float, float] = {0.0: nominal[0]}
    search = _CurveSearch(run, stay_put(problem))
    reason, searched = Reason.GAP_CLOSED, 0
    stuck: set[float] = set()
    try:
        if problem.radius > 0:
            run.workers.warm()
            limit = run.options.time_limit
            deadline = math.inf if limit is None else run.begun + 0.3 * limit
            if run.recall is None or run.recall.attacks() is None:
                outcome = launch(problem, device=run.options.device, seed=run.options.seed, deadline=deadline)
                for witness in valued(problem, outcome, run.deadline).witnesses.values():
                    search.adopt(witness)
                for part in portions(outcome.sample.size, run.deadline):
                    search.offer(outcome.sample[part], outcome.point[part])
                if run.recall is not None and outcome.finished and time.monotonic() < run.deadline:
                    run.recall.keep_attacks(outcome.device, {})
        radius: float | None = problem.radius if problem.radius > 0 else None
        while radius is not None and searched < _RADII:
            if radius > 0:
                reason, lower = search.at(radius)
                points[radius] = max(lower, points.get(radius, -math.inf))
            else:
                reason = search.steepen()
            searched += 1
            if reason in (Reason.TIME_LIMIT, Reason.NUMERICAL, Reason.STALLED) and radius in stuck:
                break
            stuck.add(radius)
            if reason in (Reason.TIME_LIMIT, Reason.NUMERICAL):
                break
            radius = _widest(search, points, problem, gap)
        else:
            reason = Reason.GAP_CLOSED if radius is None else Reason.STALLED
    except KeyboardInterrupt:
        run.workers.close()
        reason = Reason.INTERRUPTED
    if problem.radius == 0:
        zero = np.zeros(1)
        bounds = zero, zero + nominal[0], zero + nominal[1]
    else:
        points.setdefault(problem.radius, nominal[0])  # an interrupt may come before any search, and V never falls
        radii, low, high = table(search.lines, points, problem)
        if (low > high).any():  # a solver's word against re-evaluated points: raised, and told
            run.shortfall(float((low - high).max()))
            reason = Reason.NUMERICAL if run.largest_shortfall > SHORTFALL else reason
        bounds = radii, low, np.maximum(low, high)
    slopes = least_lines(search.lines, bounds[0], problem.cost.power) if search.lines else []
    run.state("end", 0, reason)
    result = CurveResult(
        problem,
        reason,
        *bounds,
        gap,
        time.monotonic() - run.begun,
        sum(run.solves.values()),
        searched,
        (*problem.network.notices, *run.notices()),
    )
    if run.options.certificate:
        rows = result.radius, result.lower, result.upper
        proofs = search.proofs_of(slopes)
        try:
            made = proven_curve(problem, proofs, rows, slopes, search.witnesses, until, search.slopes())
            result = _proven(result, *made)
        except KeyboardInterrupt:
            result = replace(result, reason=Reason.INTERRUPTED, notices=(*result.notices, UNREPLAYED))
    if not result.closed and result.reason is Reason.GAP_CLOSED:
        result = replace(result, reason=Reason.STALLED)
    ends = float(result.lower[-1]), float(result.upper[-1])
    ended("curve, at its end", result.reason.value, ends, result.solves, result.seconds, result.notices)
    return result


def _proven(result: CurveResult, made: Certificate, verdict: Verdict) -> CurveResult:
    """The result as the checker confirms it; where it does not, the curve stays, and the certificate claims less."""
    if not verdict.proved:
        why = tuple(f"the certificate proves less: {why}" for why in (*verdict.reasons, *verdict.unproven))
        return replace(result, certificate=made, notices=result.notices + why)
    return replace(result, certificate=made, lower=verdict.claims[:, 1], upper=verdict.claims[:, 2])


def _widest(search: _CurveSearch, points: dict[float, float], problem: WdroProblem, gap: float) -> float | None:
    """The radius whose bracket is widest, after what the atoms at hand prove there; None where the curve is closed."""
    for _ in range(_RADII):
        radius, lower, upper = table(search.lines, points, problem)
        width = widths_up(lower, upper)
        at = int(width.argmax())
        if width[at] <= gap:
            return None
        chosen = float(radius[at])
        if chosen in points:
            return chosen if points[chosen] + _SHARE * gap < upper[at] else None
        points[chosen] = search.lower_at(chosen)
        if upper[at] - points[chosen] > gap:
            return chosen
    return None


def _widened(errors: Errors, found: CurveResult) -> CurveResult:
    """The curve of the network as deployed, of the one in real arithmetic: the same error at every radius."""
    problem = errors.problem
    by = mean(problem.samples.w, errors.of_samples, up=True)
    lower = np.array([lowered(value, by) for value in found.lower.tolist()])
    upper = np.array([raised(value, by) for value in found.upper.tolist()])
    deployed = Deployed(by, by, float(found.lower[-1]), float(found.upper[-1]))
    out = replace(found, problem=problem, lower=lower, upper=upper, deployed=deployed)
    closed = Reason.GAP_CLOSED if out.closed else Reason.ROUNDING
    return replace(out, reason=closed if found.closed else found.reason)


def _of_distances(problem: WdroProblem, found: DistancesResult, gap: float) -> CurveResult:
    """The zero-one curve from the brackets of the distances."""
    cost, w = problem.cost, problem.samples.w
    low = np.minimum([b.lower for b in found.brackets], cost.label_cost)
    high = np.minimum([b.upper for b in found.brackets], cost.label_cost)
    least, most = knapsack_steps(problem, high, w, upper=False), knapsack_steps(problem, low, w, upper=True)
    radius = np.unique(np.concatenate([[problem.radius], least[0], most[0]]))
    radius = radius[radius <= problem.radius]
    lower, upper = read_steps(problem, least, radius, upper=False), read_steps(problem, most, radius, upper=True)
    closed = bool((widths_up(lower, upper) <= gap).all()) if math.isfinite(cost.order) else found.closed
    reason = Reason.GAP_CLOSED if closed else found.reason if found.reason is not Reason.GAP_CLOSED else Reason.STALLED
    result = CurveResult(
        problem,
        Reason.INTERRUPTED if UNREPLAYED in found.notices else reason,
        radius,
        lower,
        upper,
        gap,
        found.seconds,
        found.solves,
        0,
        found.notices,
        deployed=found.deployed,
    )
    if found.certificate is None:
        return result
    try:
        result = _proven(result, *proven_steps(problem, found.certificate, (radius, lower, upper)))
    except KeyboardInterrupt:
        return replace(result, reason=Reason.INTERRUPTED, notices=(*result.notices, UNREPLAYED))
    return result if result.closed or result.reason is not Reason.GAP_CLOSED else replace(result, reason=Reason.STALLED)
