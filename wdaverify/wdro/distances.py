"""Exact distances to the nearest error, sample by sample: what the zero-one curve of every radius is made of.

d_i = min { ||x - x_i|| : x in the support, max_(j != y_i) z_j(x) >= z_(y_i)(x) }
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wdaverify.arithmetic import Arithmetic
from wdaverify.certify.certificate import Certificate
from wdaverify.certify.deployed import Errors
from wdaverify.certify.proof import Proof
from wdaverify.engines.threads import one_thread
from wdaverify.errors import ProblemError
from wdaverify.given import real
from wdaverify.journal.store import Journal
from wdaverify.network.model import Array
from wdaverify.problem import WdroProblem
from wdaverify.shown import Shown, line
from wdaverify.solvers.registry import choose
from wdaverify.wdro.attacking import launch, portions, refuse_overflow, stay_put
from wdaverify.wdro.certifying import for_a_checker, proven_distances
from wdaverify.wdro.deployed import Found, jobs_of_some, sided, used
from wdaverify.wdro.family import check_family
from wdaverify.wdro.log import ended
from wdaverify.wdro.options import Options
from wdaverify.wdro.progress import Report
from wdaverify.wdro.recall import Recall
from wdaverify.wdro.reproduced import nearest_reproduced
from wdaverify.wdro.result import UNREPLAYED, Deployed, Reason, SampleBracket, SolverUse, Status, Voucher
from wdaverify.wdro.run import Run
from wdaverify.wdro.verify import check_asked
from wdaverify.wdro.workers import Workers
from wdaverify.wdro.zero_one import ZeroOneSearch
from wdaverify.witness.decide import deciding_until
from wdaverify.witness.evaluate import Witness
from wdaverify.witness.single import Flip, flips

_FARTHEST = 1e6
"""On the whole space nothing beyond this is looked at; a distance of more is left open above."""


@dataclass(frozen=True, eq=False, repr=False)
class DistancesResult(Shown):
    """Per sample a bracket of its distance (upper inf: no error is known, lower inf: there is none) and the nearest error found.

    ``points [N]`` are inputs ``[n]`` at distance ``upper``, None where there is none; ``classes [N]`` what the network says there,
    ``float32 [N]`` whether they are errors in float32 too. Where the gap leaves room for it a point is a little farther than the
    nearest error known, so that it is. In float32 (``deployed``) lower ends are of what may be an error, upper ends and points of what
    surely is one. What lies beyond ``within`` was not looked for: a lower end there is all that was asked.
    """

    problem: WdroProblem
    reason: Reason
    brackets: tuple[SampleBracket, ...]
    points: tuple[Array | None, ...]
    classes: tuple[int | None, ...]
    gap_asked: float
    seconds: float
    solves: int
    notices: tuple[str, ...]
    float32: tuple[Flip | None, ...] = ()
    within: float = math.inf
    solver: SolverUse | None = None
    certificate: Certificate | None = None
    deployed: Deployed | None = None

    def beyond(self, bracket: SampleBracket) -> bool:
        """Whether a distance is proven to be ``within`` or more, which is all that was asked of it."""
        return self.within <= bracket.lower < math.inf

    def settled(self, bracket: SampleBracket) -> bool:
        """Whether a bracket is closed to the gap asked for, or beyond what was asked about."""
        return bracket.upper - bracket.lower <= self.gap_asked or bracket.lower >= self.within

    def __repr__(self) -> str:
        closed, how = sum(map(self.settled, self.brackets)), Status.of(self.problem.network, closed=True).words
        how += "" if self.within == math.inf else f" within {self.within:g}"
        return line(f"distances of {len(self.brackets)} samples", f"{closed} {how}", self.reason.value)

    @property
    def status(self) -> Status:
        """What the distances are called: ``exact``, ``to-the-gap`` (of a network with curved functions) or ``bracket``."""
        return Status.of(self.problem.network, closed=self.closed)

    @property
    def exact(self) -> bool:
        """Whether they are closed, of a network that has exact values: never where it has curved functions."""
        return self.status is Status.EXACT

    @property
    def closed(self) -> bool:
        """Whether every bracket is closed to the gap asked for, or beyond what was asked about."""
        return all(map(self.settled, self.brackets))


class _DistanceSearch(ZeroOneSearch):
    """Every distance matters, not only those at a radius."""

    def __init__(self, run: Run, witness: Witness, within: float) -> None:
        self._within = within
        super().__init__(run, witness)
        if not self._problem.support.bounded:
            self._screen.reach = np.full(len(self._problem.samples), _FARTHEST)
        self._screen.reach = np.minimum(self._screen.reach, within)

    def _open(self) -> Array:
        """How wide each sample's bracket is."""
        low, high = self.low(), self.high
        with np.errstate(invalid="ignore"):
            width = np.where(low >= self._within, 0.0, high - low)
        return np.where(self._problem.samples.w > 0, width, 0.0)

    def _update(self) -> None:
        self._run.lower, self._run.upper = 0.0, float(self._open().max(initial=0.0))

    def _widths(self) -> tuple[Array, float]:
        width = self._open()
        return np.where(width > self._run.options.gap, np.minimum(width, 1e300), 0.0), 0.0

    def _open_items(self) -> NDArray[np.int64]:
        items = super()._open_items()
        return items[self._low[items] < self._within]

    def _gap(self, distance: float, lam: float) -> float:
        return 0.5 * self._run.options.gap

    def _cap(self) -> float:
        return math.inf

    def nearest(self) -> tuple[Array | None, ...]:
        """The nearest error known of each sample."""
        return tuple(self._nearest)


def distances(
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
    reproduced: bool = True,
    within: float = math.inf,
    certificate: bool = False,
) -> DistancesResult:
    """The distance of every sample to its nearest error, bracketed to ``gap``.

    Args:
        problem: a zero-one question; its radius says where the attacks look first, its order and label cost do not matter.
        solver, gap, time_limit, jobs, device, seed, progress, journal: as ``verify``; the bracket that progress tells is the widest one.
        reproduced: look for errors that float32 reproduces within the gap; if not, the nearest ones stand as they were found.
        within: a distance of at least this is not looked into further: its lower end is this or more, its upper end may stay open.
        certificate: keep what proves the brackets, and report those that the checker accepts, as ``verify``.

    Raises:
        ProblemError: another loss, or an option outside what is accepted.

    A KeyboardInterrupt ends the run with the brackets so far.
    """
    options = Options(
        solver=solver, gap=gap, time_limit=time_limit, jobs=jobs, device=device, seed=seed, certificate=certificate
    )
    check_asked(problem, journal, progress)
    if not problem.loss.rule.by_distances:
        raise ProblemError(f"distances are those of the zero-one loss, not {problem.loss.value}")
    if problem.arithmetic is Arithmetic.FLOAT32:
        check_family(problem, options)
        beside = {"progress": progress, "journal": journal, "within": within}
        return _in_float32(problem, options, beside)
    samples = replace(
        problem.samples, w=np.full(len(problem.samples), 1 / len(problem.samples))
    )  # weights have no say in distances
    within = real("within", within, "a number above 0, or inf", lambda v: v > 0)
    cost = replace(problem.cost, order=1, label_cost=math.inf)
    asked = replace(problem, samples=samples, cost=cost, radius=min(max(problem.radius, 1e-3), within))
    check_family(asked, options)
    choice, gap_asked = choose(options.solver), options.gap
    begun = time.monotonic()
    until = math.inf if options.time_limit is None else begun + options.time_limit
    options = for_a_checker(options) if options.certificate else options
    recall = (
        None
        if journal is None
        else Recall(journal, asked, options, "distances" if math.isinf(within) else f"distances within {within!r}")
    )
    run = Run(asked, options, Workers(asked.network, options.solver, options.jobs), progress, recall=recall)
    try:
        with one_thread(), deciding_until(run.deadline):
            refuse_overflow(asked)
            search = _DistanceSearch(run, stay_put(asked), within)
            reason = _searched(run, search)
            brackets, points = search.per_sample(), search.nearest()
            if reproduced:
                brackets, points, reason = nearest_reproduced(run, brackets, points, reason)
            proofs = search.proofs() if options.certificate else ()
    finally:
        run.workers.close()
    run.state("end", 0, reason)
    logits = [None if p is None else asked.network.forward(p[None, :])[0] for p in points]
    weights = problem.samples.w.tolist()
    result = DistancesResult(
        problem=replace(asked, samples=problem.samples),
        reason=reason,
        brackets=tuple(replace(bracket, weight=weights[bracket.sample]) for bracket in brackets),
        points=points,
        classes=tuple(
            None if z is None else _wrong_class(z, int(y)) for z, y in zip(logits, asked.samples.y, strict=True)
        ),
        gap_asked=gap_asked,
        seconds=time.monotonic() - begun,
        solves=sum(run.solves.values()),
        notices=(*asked.network.notices, *run.notices()),
        float32=_in_single(asked, points),
        within=within,
        solver=SolverUse(choice.asked, dict(run.solves), choice.licence, choice.why),
    )
    if options.certificate:
        try:
            result = _proven(result, proofs, until)
        except KeyboardInterrupt:
            result = replace(result, reason=Reason.INTERRUPTED, notices=(*result.notices, UNREPLAYED))
    ended("distances", result.reason.value, _widest(result.brackets), result.solves, result.seconds, result.notices)
    return result


def _in_float32(problem: WdroProblem, asked: Options, beside: dict[str, Any]) -> DistancesResult:
    """The brackets about the network as deployed, of brackets in real arithmetic."""
    some = {name: getattr(asked, name) for name in ("solver", "gap", "device", "seed")}
    found = list[DistancesResult]()

    def find(question: WdroProblem, limit: float | None) -> Found:
        jobs = jobs_of_some(len(question.samples), asked.jobs)
        found.append(distances(question, **some, **beside, jobs=jobs, time_limit=limit, reproduced=False))
        return found[-1].brackets, found[-1].points, found[-1].closed, found[-1].reason

    begun, errors = time.monotonic(), Errors.of(replace(problem, cost=replace(problem.cost, order=1)))
    errors.check()
    ends = sided(errors, find, asked.time_limit)
    brackets = tuple(
        SampleBracket(i, float(w), float(min(a, b)), float(b), Voucher.CHECKED if own else Voucher.SOLVER)
        for i, (w, a, b, own) in enumerate(zip(problem.samples.w, ends.low, ends.high, ends.checked, strict=True))
    )
    logits = [None if p is None else problem.network.forward(p[None, :])[0] for p in ends.points]
    widest = float(errors.of_samples.max())
    result = DistancesResult(
        problem=replace(problem, cost=replace(problem.cost, order=1, label_cost=math.inf)),
        reason=ends.reason,
        brackets=brackets,
        points=ends.points,
        classes=tuple(
            None if z is None else _wrong_class(z, int(y)) for z, y in zip(logits, problem.samples.y, strict=True)
        ),
        gap_asked=asked.gap,
        seconds=time.monotonic() - begun,
        solves=sum(part.solves for part in found),
        notices=tuple(dict.fromkeys((*problem.network.notices, *(n for part in found for n in part.notices)))),
        float32=_in_single(problem, ends.points),
        within=beside["within"],
        solver=used([part.solver for part in found if part.solver is not None]),
        deployed=Deployed(widest, widest, None, None),
    )
    closed = Reason.GAP_CLOSED if result.closed else Reason.ROUNDING
    return replace(result, reason=closed if ends.closed else ends.reason)


def _proven(result: DistancesResult, proofs: tuple[Proof, ...], deadline: float) -> DistancesResult:
    """The result as the checker confirms it; where it does not, the brackets stay with their vouchers, and the certificate claims less."""
    made, verdict = proven_distances(result.problem, proofs, result.brackets, result.points, deadline)
    if not verdict.proved:
        why = tuple(f"the certificate proves less: {why}" for why in (*verdict.reasons, *verdict.unproven))
        return replace(result, certificate=made, notices=result.notices + why)
    brackets = tuple(
        replace(bracket, lower=float(low), upper=float(high), vouched=Voucher.PROVED)
        for bracket, (_, low, high) in zip(result.brackets, verdict.claims, strict=True)
    )
    out = replace(result, brackets=brackets, certificate=made)
    return out if out.closed or result.reason is not Reason.GAP_CLOSED else replace(out, reason=Reason.STALLED)


def _in_single(problem: WdroProblem, points: Sequence[Array | None]) -> tuple[Flip | None, ...]:
    """What float32 makes of the points."""
    out: list[Flip | None] = [None] * len(points)
    there = [(i, point) for i, point in enumerate(points) if point is not None]
    if there:
        at = np.array([i for i, _ in there])
        for i, flip in zip(
            at, flips(problem.network, np.stack([p for _, p in there]), problem.samples.y[at]), strict=True
        ):
            out[i] = flip
    return tuple(out)


def _widest(brackets: Sequence[SampleBracket]) -> tuple[float, float]:
    """The bracket that is widest."""
    widest = max(brackets, key=lambda b: 0.0 if b.lower == b.upper else b.upper - b.lower)
    return widest.lower, widest.upper


def _wrong_class(logits: Array, label: int) -> int:
    """The rival with the largest logit."""
    return int(np.where(np.arange(logits.size) == label, -np.inf, logits).argmax())


def _searched(run: Run, search: _DistanceSearch) -> Reason:
    """Attack, then search, until done or interrupted."""
    try:
        limit = run.options.time_limit
        deadline = math.inf if limit is None else run.begun + 0.3 * limit
        run.workers.warm()
        if run.recall is None or run.recall.attacks() is None:
            outcome = launch(
                run.problem, device=run.options.device, seed=run.options.seed, deadline=deadline, everyone=True
            )
            with deciding_until(run.valuing):
                for part in portions(outcome.sample.size, run.deadline):
                    search.offer(outcome.sample[part], outcome.point[part])
            if run.recall is not None and outcome.finished and time.monotonic() < run.deadline:
                run.recall.keep_attacks(outcome.device, {})
        return search.search()
    except KeyboardInterrupt:
        run.workers.close()
        return Reason.INTERRUPTED
