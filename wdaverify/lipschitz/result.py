"""The answer about a Lipschitz constant: a bracket, by region and over all of them, with what shows it."""

from __future__ import annotations

from dataclasses import dataclass

from wdaverify.certify.slope_certificate import SlopeCertificate
from wdaverify.lipschitz.question import LipschitzProblem
from wdaverify.network.model import Array
from wdaverify.shown import Shown, line
from wdaverify.wdro.result import Reason, SolverUse, Status, Voucher, bracket_text


@dataclass(frozen=True, eq=False)
class Part:
    """The bracket on one region, that of ``sample`` or the whole one (None): attained by ``functional`` at ``point [n]``, or None."""

    sample: int | None
    functional: str | None
    lower: float
    upper: float
    point: Array | None


@dataclass(frozen=True)
class Bound:
    """What is proven of one functional on one region: no more than ``upper``, or than the region's lower end if that is larger."""

    functional: str
    sample: int | None
    upper: float


@dataclass(frozen=True)
class Cost:
    """What the answer cost. Seconds of wall clock, ``solve_seconds`` added over processes."""

    seconds: float
    solve_seconds: float
    solves: int
    nodes: int
    jobs: int


@dataclass(frozen=True, eq=False, repr=False)
class LipschitzResult(Shown):
    """``lower <= constant <= upper`` over all regions, and by region in ``parts``; exact where every region's bracket is closed.

    With ``each`` every functional has a part of its own on every region. ``certificate`` is what the checker proved the brackets from,
    where one was asked for.
    """

    problem: LipschitzProblem
    status: Status
    reason: Reason
    detail: str
    lower: float
    upper: float
    parts: tuple[Part, ...]
    functionals: tuple[Bound, ...]
    vouched_lower: Voucher
    vouched_upper: Voucher
    solver: SolverUse
    statistics: Cost
    gap_asked: float
    seed: int
    each: bool
    notices: tuple[str, ...]
    certificate: SlopeCertificate | None = None

    def __repr__(self) -> str:
        bounds = bracket_text(self.lower, self.upper)
        return line(
            f"Lipschitz constant: {self.status.words} {bounds}",
            self.reason.value,
            f"norm {self.problem.cost.norm.value}",
        )

    @property
    def gap(self) -> float:
        """``upper - lower``."""
        return self.upper - self.lower
