"""The answer to a specification: a verdict, a bracket of how far it is from violated, and a counterexample."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from wdaverify.certify.unsat import Unsat
from wdaverify.digits import down, places, up
from wdaverify.network.model import Array, ReluNetwork
from wdaverify.shown import Shown
from wdaverify.specification.model import Specification


class Outcome(StrEnum):
    """What is known of a specification; the words are VNN-COMP's but for one."""

    UNSAT = "unsat"
    """No input satisfies any disjunct: proven, in real arithmetic, or with the errors of float32."""
    SAT = "sat"
    """The counterexample satisfies a disjunct as onnxruntime computes the network, with no tolerance."""
    SAT_IN_REALS = "sat-in-real-arithmetic"
    """The counterexample does so in real arithmetic, proven; nobody replayed it, or rounding had it fail."""
    UNKNOWN = "unknown"
    TIMEOUT = "timeout"


class Ended(StrEnum):
    """Why the run ended."""

    DECIDED = "decided"
    TIME_LIMIT = "time-limit"
    INTERRUPTED = "interrupted"
    STALLED = "stalled"
    """Nothing is left to ask that would decide it."""


@dataclass(frozen=True, eq=False)
class Counterexample:
    """Inputs ``[n]`` in the box of disjunct ``disjunct``, and outputs ``[K]``; ``least`` is a lower bound of the least row there.

    ``runtime`` computed the outputs, and all rows hold of them exactly; None: the inputs are doubles, the rows hold in real
    arithmetic, and the outputs are rounded.
    """

    inputs: Array
    outputs: Array
    disjunct: int
    least: float
    runtime: str | None


@dataclass(frozen=True)
class Effort:
    """What the answer cost: seconds of wall clock, boxes bounded or nodes of the cell engine, points tried, and who searched."""

    seconds: float
    boxes: int
    points: int
    jobs: int
    engine: str


@dataclass(frozen=True, eq=False, repr=False)
class CheckResult(Shown):
    """``lower <= v <= upper`` for ``v = max over disjuncts, x of min_r row_r(x)``, and what follows from it.

    v < 0: no input satisfies any disjunct; how far the rows are from that is in their own units. ``upper`` is proven; ``lower`` is what the
    best point found is worth in real arithmetic (-inf: none was evaluated; v is -inf where there is no disjunct). ``certificate`` proves
    unsat, where it was asked for. ``raised``: by how much rows were raised at most, in a question about float32; None: in real arithmetic.
    """

    network: ReluNetwork
    specification: Specification
    outcome: Outcome
    ended: Ended
    lower: float
    upper: float
    counterexample: Counterexample | None
    effort: Effort
    time_limit: float | None
    seed: int
    notices: tuple[str, ...]
    certificate: Unsat | None = None
    raised: float | None = None

    @property
    def decided(self) -> bool:
        """Whether it is unsat, or sat as onnxruntime replays it."""
        return self.outcome in (Outcome.UNSAT, Outcome.SAT)

    def __repr__(self) -> str:
        digits = places(self.lower, self.upper)
        return (
            f"CheckResult({self.outcome.value}: v in [{down(self.lower, digits)}, {up(self.upper, digits)}], {self.effort.boxes} boxes, "
            f"{self.effort.seconds:.1f} s)"
        )
