"""The answer: a bracket and a reason, with what shows it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from wdaverify.arithmetic import Arithmetic
from wdaverify.certify.certificate import Certificate
from wdaverify.digits import down, places, stated, up
from wdaverify.network.model import ReluNetwork
from wdaverify.problem import WdroProblem
from wdaverify.shown import Shown, line
from wdaverify.transport.ray import Ray
from wdaverify.witness.evaluate import Atom
from wdaverify.witness.tie import Tie

__all__ = [
    "Atom",
    "AttackResult",
    "Reason",
    "SampleBracket",
    "SolverUse",
    "Statistics",
    "Status",
    "VerificationResult",
    "Voucher",
]


class Status(StrEnum):
    """Whether the bracket is closed to the gap asked for, and whether the network has exact values at all."""

    EXACT = "exact"
    TO_THE_GAP = "to-the-gap"
    """Closed, of a network with curved functions, whose values are enclosed: no number in the bracket is exact."""
    BRACKET = "bracket"

    @classmethod
    def of(cls, network: ReluNetwork, *, closed: bool) -> Status:
        """What an answer about a network is called."""
        return (cls.TO_THE_GAP if network.curved else cls.EXACT) if closed else cls.BRACKET

    @property
    def closed(self) -> bool:
        """Whether the gap asked for is closed."""
        return self is not Status.BRACKET

    @property
    def words(self) -> str:
        """As a person reads it."""
        return self.value.replace("-", " ")


class Reason(StrEnum):
    """Why the run ended."""

    GAP_CLOSED = "gap-closed"
    THRESHOLD_DECIDED = "threshold-decided"
    THRESHOLD_UNDECIDED = "threshold-undecided"
    """The gap asked for is closed, and the threshold lies in what is left of it."""
    TIME_LIMIT = "time-limit"
    INTERRUPTED = "interrupted"
    EXECUTOR_LOST = "executor-lost"
    """The scheduler or executor that solved is gone."""
    STALLED = "stalled"
    """No question is left that would narrow the bracket (solver tolerances are reached)."""
    UNBOUNDED = "unbounded"
    """The supremum is +inf, proven (DLR: three logits tie above the label's, in rationals)."""
    NUMERICAL = "numerical"
    """A solver's bound contradicted a re-evaluated point by more than 1e-6."""
    ROUNDING = "rounding"
    """In real arithmetic the question is answered to the gap; what is left open is the error bound of float32."""


UNREPLAYED = (
    "the run was interrupted while the checker replayed its proof; the bracket holds, and there is no certificate"
)
"""The detail of a run that was interrupted after its search."""


@dataclass(frozen=True)
class Replay:
    """What one runtime on this machine made of the atoms: at how many of them its loss is within the error bound of the real one."""

    runtime: str
    atoms: int
    within: int
    farthest: float
    """The largest difference of an output from real arithmetic."""


@dataclass(frozen=True)
class Deployed:
    """What float32 adds to a bracket (docs/float32.md).

    ``above``: by how much the upper end was raised, ``below``: the lower one lowered; ``lower`` and ``upper`` are those of real arithmetic.
    Of zero-one the margins were widened before the search: by as much at most, and there is no bracket of real arithmetic (None).
    ``replay``: None without onnxruntime, or without a file to run.
    """

    above: float
    below: float
    lower: float | None
    upper: float | None
    replay: Replay | None = None


class Voucher(StrEnum):
    """Who vouches for a bound: re-evaluated here with outward rounding, or a solver's word, or an independent checker's proof."""

    CHECKED = "checked"
    SOLVER = "solver"
    PROVED = "proved"


def decided(lower: float, upper: float, threshold: float) -> str:
    """Whether ``V <= threshold``: "yes", "no" or "undecided", by a bracket."""
    if upper <= threshold:
        return "yes"
    return "no" if lower > threshold else "undecided"


def bracket_text(lower: float, upper: float) -> str:
    """``[lower, upper]``, both rounded outward, with as many digits as show the gap."""
    digits = places(lower, upper)
    return f"[{down(lower, digits)}, {up(upper, digits)}]"


def asked_text(problem: WdroProblem) -> str:
    """A question in a few words."""
    cost = problem.cost
    ball = f"W_{cost.order} radius {stated(problem.radius)} in {cost.norm.short}"
    single = ", in float32" if problem.arithmetic is Arithmetic.FLOAT32 else ""
    return f"{problem.loss.value}, {ball}, {len(problem.samples)} samples{single}"


@dataclass(frozen=True)
class SampleBracket:
    """Margin: ``lower <= phi_i(multiplier) <= upper``. Zero-one: the same for the distance ``d_i`` to the nearest error."""

    sample: int
    weight: float
    lower: float
    upper: float
    vouched: Voucher


@dataclass(frozen=True)
class Statistics:
    """What the answer cost. Seconds of wall clock, ``solve_seconds`` added over processes.

    ``naive_solves`` = samples x rivals x 40 bisection steps.
    """

    seconds: float
    attack_seconds: float
    screen_seconds: float
    solve_seconds: float
    rounds: int
    solves: int
    nodes: int
    samples_solved: int
    rivals_screened: int
    naive_solves: int
    jobs: int
    device: str


@dataclass(frozen=True)
class SolverUse:
    """Which back-end answered and why: ``asked`` by the user, solves per back-end, the Gurobi licence kind, the reason in words."""

    asked: str
    solves: dict[str, int]
    gurobi_licence: str
    why: str


@dataclass(frozen=True, eq=False, repr=False)
class VerificationResult(Shown):
    """``lower <= V(radius) <= upper``, with the reason why the run ended and what shows each bound.

    ``multiplier`` is the dual multiplier that attains ``upper`` (None at radius 0, where V is the nominal loss), so that
    ``upper = multiplier * radius^p + sum_i w_i per_sample[i].upper`` for the margin loss. ``attacks`` maps the name of
    each attack to the re-evaluated value of its distribution, a lower bound of V (zero-one: it may exceed ``lower`` by as much as
    was paid, within the gap, for atoms that are errors in float32 too). ``transport_cost`` is
    ``(sum w d^p)^(1/p)`` of the atoms, rounded up, at most the radius. ``certificate`` shows the bracket, where one was asked
    for (``wdaverify.certify.certificate.write``). ``deployed`` says what float32 added, None in real arithmetic. ``tie`` shows that V is
    +inf, where that is the reason; ``lower`` is then still the finite value of the distribution exported.
    """

    problem: WdroProblem
    status: Status
    reason: Reason
    detail: str
    lower: float
    upper: float
    nominal: float
    multiplier: float | None
    transport_cost: float
    attacks: dict[str, float]
    atoms: tuple[Atom, ...]
    per_sample: tuple[SampleBracket, ...]
    vouched_lower: Voucher
    vouched_upper: Voucher
    solver: SolverUse
    statistics: Statistics
    gap_asked: float
    threshold: float | None
    seed: int
    notices: tuple[str, ...]
    rays: tuple[Ray, ...] = ()
    certificate: Certificate | None = None
    tie: Tie | None = None
    deployed: Deployed | None = None

    def __repr__(self) -> str:
        bounds = bracket_text(self.lower, self.upper)
        if self.reason is Reason.UNBOUNDED:
            bounds = "+inf"
        return line(f"{self.status.words} {bounds}", self.reason.value, asked_text(self.problem))

    @property
    def gap(self) -> float:
        """``upper - lower``."""
        return self.upper - self.lower

    @property
    def decision(self) -> str | None:
        """Whether ``V <= threshold``: "yes", "no" or "undecided", by the bracket or since V is +inf; None: none was asked for."""
        lower = math.inf if self.reason is Reason.UNBOUNDED else self.lower
        return None if self.threshold is None else decided(lower, self.upper, self.threshold)

    @property
    def answered(self) -> bool:
        """Whether what was asked is answered: the threshold is decided, or where there is none the gap is closed or V is +inf."""
        if self.reason is Reason.THRESHOLD_UNDECIDED:
            return False
        if self.reason is Reason.ROUNDING:
            return self.threshold is None
        return self.status.closed or self.reason in (Reason.THRESHOLD_DECIDED, Reason.UNBOUNDED)

    @property
    def value(self) -> float:
        """V, known to the gap asked for; +inf where that is proven. A bracket that is still open has no value: asking for it raises."""
        if self.reason is Reason.UNBOUNDED:
            return math.inf
        if self.reason is Reason.ROUNDING:
            raise ValueError(
                "no value: what float32 makes of the network is known up to its error bound; read lower and upper"
            )
        if not self.status.closed:
            digits = places(self.lower, self.upper)
            raise ValueError(
                f"no value: the bracket [{down(self.lower, digits)}, {up(self.upper, digits)}] is open ({self.reason.value}); "
                "read lower and upper, or give more time"
            )
        return 0.5 * (self.lower + self.upper)


@dataclass(frozen=True, eq=False, repr=False)
class AttackResult(Shown):
    """Lower bounds only: ``attacks`` maps each attack's name (and "mixture", the best of all points) to a re-evaluated bound.

    ``atoms`` and ``transport_cost`` are those of the mixture; ``spent`` are seconds by attack; ``nominal`` is E_P[loss] rounded down.
    """

    problem: WdroProblem
    nominal: float
    attacks: dict[str, float]
    transport_cost: float
    atoms: tuple[Atom, ...]
    seconds: float
    spent: dict[str, float]
    evaluations: int
    device: str
    seed: int
    finished: bool
    notices: tuple[str, ...]
    deployed: Deployed | None = None

    @property
    def lower(self) -> float:
        """The best value found."""
        return max([self.nominal, *self.attacks.values()])

    @property
    def vouched(self) -> str:
        """``checked``: the bounds were evaluated again rigorously."""
        return "checked"

    def __repr__(self) -> str:
        return line(f"attack >= {down(self.lower)}", f"nominal {down(self.nominal)}", asked_text(self.problem))
