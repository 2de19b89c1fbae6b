"""The ladder: every certificate and every attack beside the exact bracket, at one radius or several."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from wdaverify.attacks.outcome import AttackOutcome
from wdaverify.digits import down_to, stated, up_to
from wdaverify.errors import ProblemError
from wdaverify.given import instance, listed, real, settle, told, words
from wdaverify.ladder.constants import bound_from, slopes_question
from wdaverify.ladder.relaxed import RelaxedDual, crown_zero_one
from wdaverify.ladder.rung import Comparison, Kind, Ladder, Rung, Side, absent
from wdaverify.ladder.sensitivity import first_order
from wdaverify.lipschitz.eclipse import eclipse_fast
from wdaverify.lipschitz.exact import interval_constants, lipschitz
from wdaverify.lipschitz.lipsdp import LipSdp, lipsdp
from wdaverify.lipschitz.norms import product_of_norms
from wdaverify.lipschitz.question import LipschitzProblem
from wdaverify.losses.registry import those
from wdaverify.network.model import Array
from wdaverify.problem import WdroProblem
from wdaverify.wdro.attacking import FINDING_SHARE, launch, refuse_overflow, stay_put, valued
from wdaverify.wdro.family import check_family
from wdaverify.wdro.horizon import Horizon
from wdaverify.wdro.options import Options, seconds
from wdaverify.wdro.progress import Progress, Report
from wdaverify.wdro.result import Reason, VerificationResult, Voucher
from wdaverify.wdro.run import Run
from wdaverify.wdro.verify import check_asked, verify
from wdaverify.wdro.workers import Workers
from wdaverify.witness.decide import deciding_until
from wdaverify.witness.evaluate import nominal_bracket

ABOVE = (
    "product of layer norms",
    "ECLipsE-Fast",
    "LipSDP",
    "interval Jacobian",
    "exact Lipschitz",
    "CROWN dual",
    "LP dual",
)
BELOW = ("nominal", "asymptotic", "first-order sensitivity", "attacks")
NAMES = {
    "norms": ABOVE[0],
    "eclipse": ABOVE[1],
    "lipsdp": ABOVE[2],
    "jacobian": ABOVE[3],
    "lipschitz": ABOVE[4],
    "crown": ABOVE[5],
    "lp": ABOVE[6],
    "exact": "exact",
    "asymptotic": BELOW[1],
    "first-order": BELOW[2],
    "attacks": BELOW[3],
}
"""The rungs that can be chosen, as they are called on the command line; the nominal loss always stands below."""
_CUT = "cut short by the rung limit"
_QUICK = ("norms", "first-order")
"""Rungs that take milliseconds, and are made whatever the time."""
_OF_ANY = ("norms", "jacobian", "lipschitz")
"""Rungs of Lipschitz constants that know functions which are not piecewise linear."""
_CURVED_GAP, _CURVED_SECONDS = 0.01, 10.0
"""Of such functions slopes are bracketed to this share of what intervals say of them, and no longer than so many seconds."""


@dataclass(frozen=True, kw_only=True)
class Settings(Options):
    """How to compare: the exact run's options are those of ``wdaverify.wdro.verify.verify``.

    ``rungs`` of ``NAMES``; ``rung_limit``: seconds that each certificate and the attacks may take at a radius (None: no limit);
    ``time_limit``: seconds for everything, half of them for the exact runs (None: no limit).
    """

    rungs: tuple[str, ...] = tuple(NAMES)
    rung_limit: float | None = 60.0

    def __post_init__(self) -> None:
        super().__post_init__()
        settle(self, rungs=words("rungs", self.rungs), rung_limit=seconds("rung limit", self.rung_limit))
        unknown = [told(name) for name in self.rungs if name not in NAMES]
        if unknown or not self.rungs:
            raise ProblemError(f"rung {', '.join(unknown) or 'none'}: {', '.join(NAMES)} are accepted")


@dataclass(eq=False)
class _Budget:
    """What is left of the time, and the weights of the steps that it is left for; a step that takes less leaves it to the next."""

    deadline: float
    weights: float
    missed: bool = False
    """Whether a step was left out."""

    def take(self, weight: float) -> float:
        """Seconds for the next step."""
        left = max(self.deadline - time.monotonic(), 0.0)
        share = left if weight >= self.weights else left * weight / self.weights
        self.weights -= weight
        return share

    @property
    def over(self) -> bool:
        """Whether there is no time left."""
        return time.monotonic() >= self.deadline


@dataclass(eq=False)
class _Constants:
    """What does not depend on the radius: constants by rung, with what each took; made once. ``ran``: an exact run was begun."""

    question: LipschitzProblem | None
    found: dict[str, tuple[Array | None, float, str]] = field(default_factory=dict)
    ran: bool = False


def compare(
    problem: WdroProblem, radii: Sequence[float], settings: Settings | None = None, *, progress: Report | None = None
) -> Comparison:
    """Climb the ladder at every radius.

    Args:
        problem: the question; its own radius is not used.
        radii: at least one, each finite and >= 0.
        settings: which rungs, and how; see ``Settings``.
        progress: called with the bracket so far, the phase naming the rung.

    Raises:
        ProblemError: a rung that is not known, no radius, or what ``verify`` refuses where the exact run is asked for.

    A KeyboardInterrupt ends the comparison with the rungs so far; those not reached say so.
    """
    settings = Settings() if settings is None else settings
    instance("settings", settings, Settings, "Settings(rungs=..., gap=...) makes them")
    check_asked(problem, progress=progress)
    problem.refuse_float32(
        "the rungs of the ladder are about real arithmetic", "compare in it, and ask verify in float32"
    )
    radii = _radii(radii)
    if "exact" in settings.rungs:
        check_family(problem, settings)
    begun = time.monotonic()
    deadline = math.inf if settings.time_limit is None else begun + settings.time_limit
    with deciding_until(deadline):
        refuse_overflow(problem)
        slopes = None if problem.loss.rule.no_slope else slopes_question(problem)
        constants, ladders, stopped = _Constants(slopes), [], False
        time_left = _Budget(deadline, len(radii) * sum(_weight(name, settings) for name in settings.rungs))
        for radius in radii:
            ladder = _Climb(replace(problem, radius=radius), settings, constants, time_left, progress, begun)
            stopped = ladder.run(stopped)
            ladders.append(ladder.ladder())
    notices = tuple(dict.fromkeys(n for ladder in ladders if ladder.result for n in ladder.result.notices))
    return Comparison(
        replace(problem, radius=max(radii)),
        tuple(ladders),
        time.monotonic() - begun,
        settings.seed,
        notices or problem.network.notices,
        stopped,
        time_left.missed,
    )


def _weight(name: str, settings: Settings) -> float:
    """The exact run weighs as much as all other rungs together."""
    return max(1.0, len(settings.rungs) - 1.0) if name == "exact" else 1.0


def _radii(radii: object) -> tuple[float, ...]:
    """The radii asked for.

    Raises:
        ProblemError: there is none, or one that is no radius.
    """
    accepted = "a list of finite numbers >= 0"
    out = tuple(real("radii", r, accepted, lambda r: 0 <= r < math.inf) for r in listed("radii", radii, accepted))
    if not out:
        raise ProblemError("radii []: one or more finite numbers >= 0 are accepted")
    return out


class _Climb:
    """One ladder as it is built."""

    def __init__(
        self,
        problem: WdroProblem,
        settings: Settings,
        constants: _Constants,
        time_left: _Budget,
        progress: Report | None,
        begun: float,
    ) -> None:
        self._problem, self._settings, self._constants = problem, settings, constants
        self._time_left, self._seconds = time_left, math.inf
        self._progress, self._begun = progress, begun
        self._nominal = nominal_bracket(problem)[0]
        self._outcome: AttackOutcome | None = None
        self._relaxed: RelaxedDual | None = None
        self._result: VerificationResult | None = None
        self._above: list[Rung] = []
        self._below: list[Rung] = [
            Rung("nominal", Side.BELOW, Kind.BOUND, self._nominal, Voucher.CHECKED, 0.0, "the samples as they are")
        ]
        self._middle: list[Rung] = []

    def run(self, stopped: bool) -> bool:
        """Climb; True if an interrupt stopped it (or had before)."""
        steps: list[tuple[str, Side, Callable[[], None]]] = [
            ("asymptotic", Side.BELOW, self._asymptotic),
            ("first-order", Side.BELOW, self._sensitivity),
            ("attacks", Side.BELOW, self._attacks),
            ("norms", Side.ABOVE, lambda: self._slopes("norms", self._by_norms)),
            ("eclipse", Side.ABOVE, lambda: self._slopes("eclipse", self._by_eclipse)),
            ("lipsdp", Side.ABOVE, lambda: self._slopes("lipsdp", self._by_lipsdp)),
            ("jacobian", Side.ABOVE, lambda: self._slopes("jacobian", self._by_jacobian)),
            ("lipschitz", Side.ABOVE, lambda: self._slopes("lipschitz", self._by_cells)),
            ("crown", Side.ABOVE, self._crown),
            ("lp", Side.ABOVE, self._lp),
            ("exact", Side.MIDDLE, self._exact),
        ]
        try:
            for name, side, step in steps:
                if name not in self._settings.rungs:
                    continue
                if stopped:
                    self._put(absent(self._named(name), side, "interrupted before this rung"))
                    continue
                self._seconds = self._time_left.take(_weight(name, self._settings))
                if self._time_left.over and name not in _QUICK and not self._foremost(name):
                    self._time_left.missed = True
                    self._put(absent(self._named(name), side, "the time limit was reached before this rung"))
                    continue
                self._tell(self._named(name))
                try:
                    step()
                except KeyboardInterrupt:
                    stopped = True
                    self._put(absent(self._named(name), side, "interrupted"))
        finally:
            if self._relaxed is not None:
                self._relaxed.close()
        return stopped or (self._result is not None and self._result.reason is Reason.INTERRUPTED)

    def _foremost(self, name: str) -> bool:
        """Whether this is the first exact run: its bracket is what is asked for, however little time there was."""
        first, self._constants.ran = not self._constants.ran, self._constants.ran or name == "exact"
        return first and name == "exact"

    def _limit(self) -> float | None:
        """Seconds that the rung at hand may take."""
        limit = math.inf if self._settings.rung_limit is None else self._settings.rung_limit
        least = min(limit, self._seconds)
        return least if math.isfinite(least) else None

    def ladder(self) -> Ladder:
        """The rungs from the top: certificates, the exact bracket, attacks from the best down, the nominal loss."""
        rungs = (*self._above, *self._middle, *reversed(self._below))
        return Ladder(self._problem, self._nominal, rungs, self._result)

    def _tell(self, phase: str) -> None:
        if self._progress is not None:
            ladder = self.ladder()
            elapsed = time.monotonic() - self._begun
            self._progress(Progress(phase, ladder.lower, ladder.upper, 0, 0, 0, elapsed))

    def _put(self, rung: Rung) -> None:
        {Side.ABOVE: self._above, Side.MIDDLE: self._middle, Side.BELOW: self._below}[rung.side].append(rung)

    def _bound(self, name: str, side: Side, value: float, seconds: float, detail: str = "") -> None:
        """A proven value; one that says nothing has no place on the ladder."""
        if math.isinf(value):
            self._put(absent(name, side, f"it proves no finite bound{'; ' + detail if detail else ''}", seconds))
        else:
            self._put(Rung(name, side, Kind.BOUND, value, Voucher.CHECKED, seconds, detail))

    # below

    def _asymptotic(self) -> None:
        problem, name = self._problem, NAMES["asymptotic"]
        if problem.support.bounded:
            self._put(absent(name, Side.BELOW, "the support is bounded: slopes at infinity are for --support none"))
        elif problem.cost.order != 1 or not problem.loss.rule.grows:
            self._put(
                absent(name, Side.BELOW, f"for order 1 and losses that grow: {', '.join(those(lambda r: r.grows))}")
            )
        else:
            begun = time.monotonic()
            options = Options(solver="cells", time_limit=self._limit(), device="cpu", seed=self._settings.seed)
            horizon = Horizon(problem)
            horizon.look(Run(problem, options, Workers(problem.network, "cells", None), None))
            value = math.nextafter(self._nominal + horizon.lower * problem.radius * (1 - 2.0**-50), -math.inf)
            detail = f"slope at infinity {down_to(horizon.lower, 6)}; as a supremum, attained by no distribution"
            self._bound(name, Side.BELOW, value, time.monotonic() - begun, detail)

    def _sensitivity(self) -> None:
        name, begun = NAMES["first-order"], time.monotonic()
        if why := self._problem.loss.rule.no_gradient:
            self._put(absent(name, Side.BELOW, why, kind=Kind.ESTIMATE))
            return
        value = first_order(self._problem, self._nominal)
        detail = "an estimate for small radii, no bound"
        self._put(Rung(name, Side.BELOW, Kind.ESTIMATE, value, None, time.monotonic() - begun, detail))

    def _attacks(self) -> None:
        problem, settings = self._problem, self._settings
        begun, limit = time.monotonic(), self._limit()
        until, deadline = (math.inf, math.inf) if limit is None else (begun + FINDING_SHARE * limit, begun + limit)
        outcome = launch(problem, device=settings.device, seed=settings.seed, deadline=until)
        self._outcome = outcome
        with deciding_until(deadline):
            worth = valued(problem, outcome, deadline)
        witnesses = worth.witnesses
        cut = "" if outcome.finished and worth.complete else _CUT
        for name in outcome.distributions:
            if name in witnesses:
                self._bound(name, Side.BELOW, witnesses[name].lower, outcome.spent[name], cut)
            else:
                self._put(absent(name, Side.BELOW, "no time was left to value it", outcome.spent[name]))
        best = max((stay_put(problem), *witnesses.values()), key=lambda w: w.lower)
        what = "the best distribution on all points that the attacks visited"
        self._bound("mixture", Side.BELOW, best.lower, time.monotonic() - begun, f"{what}{'; ' + cut if cut else ''}")

    # above

    def _slopes(self, name: str, make: Callable[[LipschitzProblem], tuple[Array | None, str]]) -> None:
        """A certificate made of Lipschitz constants, which are found once for all radii."""
        question = self._constants.question
        if name not in _OF_ANY and self._problem.network.curved:
            which = ", ".join(self._problem.network.curved)
            self._put(absent(self._named(name), Side.ABOVE, f"for piecewise-linear networks; this one has {which}"))
            return
        if question is None:
            rule = self._problem.loss.rule
            self._put(absent(self._named(name), Side.ABOVE, f"the {rule.noun} is not Lipschitz: {rule.no_slope}"))
            return
        if name not in self._constants.found:
            begun = time.monotonic()
            constants, detail = make(question)
            self._constants.found[name] = constants, time.monotonic() - begun, detail
        constants, seconds, detail = self._constants.found[name]
        if constants is None:
            self._put(absent(self._named(name), Side.ABOVE, detail, seconds))
            return
        value = bound_from(self._problem, question.measure, constants)
        size = f"constant {up_to(float(constants.max(initial=0.0)), 6)}"
        self._bound(self._named(name), Side.ABOVE, value, seconds, f"{size}{'; ' + detail if detail else ''}")

    def _named(self, name: str) -> str:
        """What a rung is called: no constant of a network with curved functions is exact."""
        return "Lipschitz bracket" if name == "lipschitz" and self._problem.network.curved else NAMES[name]

    def _by_norms(self, question: LipschitzProblem) -> tuple[Array | None, str]:
        network = question.network
        layers = network.form if network.curved else network.layers
        return product_of_norms(layers, question.measure.rows, question.cost), "over all of R^n"

    def _by_eclipse(self, question: LipschitzProblem) -> tuple[Array | None, str]:
        return self._by_multipliers(question, eclipse_fast)

    def _by_lipsdp(self, question: LipschitzProblem) -> tuple[Array | None, str]:
        return self._by_multipliers(question, lipsdp)

    def _by_multipliers(self, question: LipschitzProblem, ask: Callable[..., LipSdp]) -> tuple[Array | None, str]:
        limit = self._limit()
        deadline = math.inf if limit is None else time.monotonic() + limit
        try:
            found = ask(question.network.layers, question.measure.rows, question.cost, deadline=deadline)
        except ProblemError as refused:
            return None, str(refused)
        if not np.isfinite(found.constants).all():
            missing = int((~np.isfinite(found.constants)).sum())
            return None, f"{missing} of {found.constants.size} functionals without a bound: {found.why}"
        return found.constants, "over all of R^n" + (f"; {found.why}" if found.why else "")

    def _by_jacobian(self, question: LipschitzProblem) -> tuple[Array | None, str]:
        constants = interval_constants(question)
        if not np.isfinite(constants).any():
            return None, "pre-activation bounds overflow"
        return constants, ""

    def _by_cells(self, question: LipschitzProblem) -> tuple[Array | None, str]:
        settings = self._settings
        apart, limit, gap = self._problem.loss.rule.by_distances, self._limit(), 1e-6
        if question.network.curved:
            limit = min(_CURVED_SECONDS, math.inf if limit is None else limit)
            gap = max(gap, _CURVED_GAP * float(interval_constants(question).max(initial=0.0)))
        found = lipschitz(question, gap=gap, time_limit=limit, jobs=settings.jobs, seed=settings.seed, each=apart)
        if found.reason is Reason.INTERRUPTED:
            raise KeyboardInterrupt
        by_name = {bound.functional: bound.upper for bound in found.functionals}
        constants = np.array([by_name.get(name, found.upper) for name in question.measure.names])
        whole = (
            "" if found.status.closed else f"its bracket is open: [{down_to(found.lower, 6)}, {up_to(found.upper, 6)}]"
        )
        return np.minimum(constants, found.upper), whole

    def _crown(self) -> None:
        problem, name, begun = self._problem, NAMES["crown"], time.monotonic()
        if problem.loss.rule.by_levels:
            self._put(absent(name, Side.ABOVE, f"the {problem.loss.rule.noun} is no functional of the logits"))
            return
        limit = self._limit()
        if problem.loss.rule.by_distances:
            value = crown_zero_one(problem, math.inf if limit is None else begun + limit)
            detail = "distances from balls without an error"
        elif problem.radius == 0:
            value, detail = nominal_bracket(problem)[1], ""
        else:
            relaxed = self._made_relaxed()
            value = relaxed.crown()
            cut = _CUT if relaxed.late() else ""
            detail = cut if math.isinf(value) else f"at the multiplier {stated(relaxed.multiplier)}{cut and '; ' + cut}"
        self._bound(name, Side.ABOVE, value, time.monotonic() - begun, detail)

    def _lp(self) -> None:
        problem, name, begun = self._problem, NAMES["lp"], time.monotonic()
        if problem.loss.rule.by_levels:
            self._put(absent(name, Side.ABOVE, f"the {problem.loss.rule.noun} is no functional of the logits"))
        elif problem.loss.rule.by_distances:
            found = self._roots()
            self._bound(name, Side.ABOVE, found, time.monotonic() - begun, "distances by linear programs, no branching")
        elif problem.radius == 0:
            self._bound(name, Side.ABOVE, nominal_bracket(problem)[1], time.monotonic() - begun)
        else:
            relaxed = self._made_relaxed()
            if relaxed.tried == 0:
                relaxed.crown()
            value = relaxed.lp()
            cut = f"; {_CUT}" if relaxed.late() else ""
            self._bound(name, Side.ABOVE, value, time.monotonic() - begun, f"no branching{cut}")

    def _roots(self) -> float:
        """The zero-one search without branching: the roots alone."""
        settings = self._settings
        found = verify(
            self._problem,
            solver="cells",
            gap=settings.gap,
            time_limit=self._limit(),
            jobs=settings.jobs,
            seed=settings.seed,
            branching=False,
        )
        if found.reason is Reason.INTERRUPTED:
            raise KeyboardInterrupt
        return found.upper

    def _made_relaxed(self) -> RelaxedDual:
        if self._relaxed is not None:
            self._relaxed.renew(self._limit())
        else:
            settings = self._settings
            self._relaxed = RelaxedDual(
                self._problem,
                self._outcome,
                jobs=settings.jobs,
                seed=settings.seed,
                seconds=self._limit(),
            )
        return self._relaxed

    # the middle

    def _exact(self) -> None:
        settings, begun = self._settings, time.monotonic()
        result = verify(
            self._problem,
            solver=settings.solver,
            gap=settings.gap,
            time_limit=None if math.isinf(self._seconds) else self._seconds,
            jobs=settings.jobs,
            threshold=settings.threshold,
            device=settings.device,
            seed=settings.seed,
            mip_start=settings.mip_start,
            certificate=settings.certificate,
            memory_limit=settings.memory_limit,
            branching=settings.branching,
            progress=self._progress,
        )
        self._result = result
        middle = Rung(
            "bracket" if self._problem.network.curved else NAMES["exact"],
            Side.MIDDLE,
            Kind.BRACKET,
            0.5 * (result.lower + result.upper) if math.isfinite(result.gap) else None,
            result.vouched_upper,
            time.monotonic() - begun,
            result.detail,
            lower=result.lower,
            upper=result.upper,
        )
        self._put(middle)
