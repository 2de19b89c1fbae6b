"""Rows of a specification times a positive number, so that all of their numbers are doubles, or sums of a few."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from wdaverify.errors import SpecificationError
from wdaverify.rounding import float_up
from wdaverify.specification.model import Coefficients, Row

_PIECES = 4
"""The most doubles that a number is the sum of: four hold any decimal of 60 digits."""
_LARGEST = 2**1023
_Numbers = tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Part:
    """Coefficients and an offset that are doubles."""

    outputs: _Numbers
    inputs: _Numbers
    offset: float


@dataclass(frozen=True)
class Scaled:
    """A row times a positive number, as a sum; not ``exact``: the offset is rounded up."""

    parts: tuple[Part, ...]
    exact: bool

    @classmethod
    def of(cls, row: Row) -> Scaled:
        """The row, its largest coefficient within [1/2, 1]."""
        factors = [factor for _, factor in (*row.outputs, *row.inputs)]
        for numbers in ([*factors, row.offset], factors):
            scale = _scale(factors, numbers)
            outputs, inputs = _cut(scale, row.outputs), _cut(scale, row.inputs)
            if outputs is not None and inputs is not None:
                offset = _pieces(scale * row.offset)
                if offset is None and abs(scale * row.offset) >= _LARGEST:
                    raise SpecificationError(
                        f"a row with the constant {_shown(row.offset)} beside coefficients of at most {_shown(max(map(abs, factors)))}: "
                        "their ratio is beyond double precision; leave the row out if it always holds, or the disjunct if it never does"
                    )
                if offset is not None or numbers is factors:
                    offsets = [float_up(scale * row.offset)] if offset is None else offset
                    count = max(len(outputs), len(inputs), len(offsets))
                    nothing: list[_Numbers] = [()] * count
                    parts = zip(outputs + nothing, inputs + nothing, offsets + [0.0] * count, strict=False)
                    return cls(tuple(Part(*each) for each in list(parts)[:count]), offset is not None)
        shown = ", ".join(map(_shown, factors[:4]))
        raise SpecificationError(
            f"a row with the coefficients {shown}{', ...' if len(factors) > 4 else ''}, which no common factor makes sums of {_PIECES} "
            f"doubles of: coefficients of at most {15 * _PIECES} digits together are accepted"
        )


def _shown(number: Fraction) -> str:
    """To 17 digits, whatever its size."""
    return f"{(Decimal(number.numerator) / Decimal(number.denominator)).normalize():.17g}"


def _scale(factors: Sequence[Fraction], numbers: Sequence[Fraction]) -> Fraction:
    """What makes integers of all numbers, brought to size by a power of two."""
    common = Fraction(math.lcm(*(number.denominator for number in numbers)))
    common /= math.gcd(*(int(number * common) for number in numbers)) or 1
    largest = max((abs(int(factor * common)) for factor in factors), default=1)
    return common / Fraction(2 ** largest.bit_length())


def _pieces(number: Fraction) -> list[float] | None:
    """The fewest doubles, the largest first, that are the number together; None where a few are not enough."""
    out, rest = list[float](), number
    while rest and len(out) < _PIECES and abs(rest) < _LARGEST:
        out.append(float(rest))
        rest -= Fraction(out[-1])
    return None if rest else out or [0.0]


def _cut(scale: Fraction, coefficients: Coefficients) -> list[_Numbers] | None:
    """The coefficients times the scale as a sum of such that are doubles; None where a few are not enough."""
    each = [(place, _pieces(scale * factor)) for place, factor in coefficients]
    if any(pieces is None for _, pieces in each):
        return None
    known = [(place, pieces) for place, pieces in each if pieces is not None]
    count = max((len(pieces) for _, pieces in known), default=0)
    return [tuple((place, pieces[k]) for place, pieces in known if k < len(pieces)) for k in range(count)]
