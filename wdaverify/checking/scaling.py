"""Rows times one whole number, so that their coefficients are doubles: 0.7 and 1.4 are none, and 7 and 14 times a tenth are."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

from wdaverify.specification.model import Coefficients, Disjunct, Specification

_MOST = 2**1000
"""Larger factors are not tried."""


def scaled(specification: Specification) -> tuple[Specification, int] | None:
    """The specification with all rows times the least whole number that makes all coefficients doubles, and that; None where none does.

    v is that many times as large; boxes are the same ones.
    """
    factor = 1
    for disjunct in specification.disjuncts:
        for row in disjunct.rows:
            for _, number in (*row.outputs, *row.inputs):
                denominator = number.denominator
                factor = math.lcm(factor, denominator // (denominator & -denominator))
                if factor > _MOST:
                    return None
    disjuncts = []
    for disjunct in specification.disjuncts:
        rows = [
            replace(
                row, outputs=_times(row.outputs, factor), inputs=_times(row.inputs, factor), offset=row.offset * factor
            )
            for row in disjunct.rows
        ]
        if not all(_double(number) for row in rows for _, number in (*row.outputs, *row.inputs)):
            return None
        disjuncts.append(Disjunct(disjunct.box, tuple(rows)))
    return replace(specification, disjuncts=tuple(disjuncts)), factor


def _times(coefficients: Coefficients, factor: int) -> Coefficients:
    return tuple((place, number * factor) for place, number in coefficients)


def _double(number: Fraction) -> bool:
    return abs(number) < 1e300 and Fraction(float(number)) == number
