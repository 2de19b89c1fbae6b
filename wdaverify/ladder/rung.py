"""A rung: one certificate, attack or estimate beside the exact bracket; a ladder: all of them at one radius."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from wdaverify.digits import stated
from wdaverify.problem import WdroProblem
from wdaverify.shown import Shown, line
from wdaverify.wdro.result import Status, VerificationResult, Voucher, asked_text


class Side(StrEnum):
    """Where a rung stands."""

    ABOVE = "above"
    MIDDLE = "middle"
    BELOW = "below"


class Kind(StrEnum):
    """What a rung's value is. An estimate bounds nothing."""

    BOUND = "bound"
    ESTIMATE = "estimate"
    BRACKET = "bracket"


@dataclass(frozen=True)
class Rung:
    """``value`` is None where the rung does not apply, and ``why`` says why not. The middle has ``lower`` and ``upper`` instead.

    ``vouched`` is None for an estimate. ``seconds``: what this rung alone took, None where that is not known.
    """

    name: str
    side: Side
    kind: Kind
    value: float | None
    vouched: Voucher | None
    seconds: float | None
    detail: str = ""
    why: str | None = None
    lower: float | None = None
    upper: float | None = None

    def distance(self, lower: float, upper: float) -> float | None:
        """How far outside the exact bracket: above its upper end, below its lower one; negative inside or across."""
        if self.value is None:
            return None
        return self.value - upper if self.side is Side.ABOVE else lower - self.value


def absent(name: str, side: Side, why: str, seconds: float | None = None, kind: Kind = Kind.BOUND) -> Rung:
    """A rung that does not apply, or came to nothing."""
    return Rung(name, side, kind, None, None, seconds, why=why)


@dataclass(frozen=True, eq=False)
class Ladder:
    """All rungs at one radius; ``result`` is that of the exact run, None where it was not asked for.

    ``lower`` and ``upper`` are the best of all that is proven, the exact run's own where it ran.
    """

    problem: WdroProblem
    nominal: float
    rungs: tuple[Rung, ...]
    result: VerificationResult | None

    @property
    def lower(self) -> float:
        """The exact run's lower bound, or the best that the rungs prove."""
        if self.result is not None:
            return self.result.lower
        return max([self.nominal, *(r.value for r in self._proven(Side.BELOW) if r.value is not None)])

    @property
    def upper(self) -> float:
        """The exact run's upper bound, or the best that the rungs prove."""
        if self.result is not None:
            return self.result.upper
        return min([math.inf, *(r.value for r in self._proven(Side.ABOVE) if r.value is not None)])

    def _proven(self, side: Side) -> list[Rung]:
        return [r for r in self.rungs if r.side is side and r.kind is Kind.BOUND and r.value is not None]

    @property
    def closed(self) -> bool:
        """Whether the exact run closed its bracket."""
        return self.result is not None and self.result.status.closed


@dataclass(frozen=True, eq=False, repr=False)
class Comparison(Shown):
    """The ladders at all radii, in the order asked for; ``cut``: the time limit left rungs out."""

    problem: WdroProblem
    ladders: tuple[Ladder, ...]
    seconds: float
    seed: int
    notices: tuple[str, ...]
    interrupted: bool
    cut: bool = False

    def __repr__(self) -> str:
        radii = ", ".join(stated(ladder.problem.radius) for ladder in self.ladders)
        closed = Status.of(self.problem.network, closed=True).words
        state = "no exact run" if not self.runs else closed if self.answered else "open"
        return line(f"comparison at {radii}", state, asked_text(self.problem))

    @property
    def runs(self) -> list[VerificationResult | None]:
        """The results of the exact runs that were asked for; None for one that gave none."""
        return [ladder.result for ladder in self.ladders if any(rung.side is Side.MIDDLE for rung in ladder.rungs)]

    @property
    def answered(self) -> bool:
        """Whether every exact run that was asked for has an answer: a closed bracket, +inf, or a threshold that is decided."""
        return all(result is not None and result.answered for result in self.runs)

    @property
    def exact(self) -> bool:
        """Whether all are answered, of a network that has exact values: never where it has curved functions."""
        return self.answered and not self.problem.network.curved
