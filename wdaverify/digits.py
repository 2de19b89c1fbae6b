"""Numbers as people read them: what is printed of a bound is a bound, and what states a question reads back to itself.

Every function takes a double as the exact rational number that it is, and rounds once.
"""

from __future__ import annotations

import math
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from fractions import Fraction

_EXACT = Context(prec=2000)
"""Wide enough for every double, and for the difference of any two."""


def down(value: float, places: int = 6) -> str:
    """A lower bound, rounded down at ``places`` decimals; where it is huge, at 16 digits."""
    return _at_places(value, places, ROUND_FLOOR)


def up(value: float, places: int = 6) -> str:
    """An upper bound, rounded up at ``places`` decimals; where it is huge, at 16 digits."""
    return _at_places(value, places, ROUND_CEILING)


def down_to(value: float, digits: int) -> str:
    """A lower bound, rounded down at ``digits`` significant digits."""
    return _at_digits(value, digits, ROUND_FLOOR)


def up_to(value: float, digits: int) -> str:
    """An upper bound, rounded up at ``digits`` significant digits."""
    return _at_digits(value, digits, ROUND_CEILING)


def at_most(value: float, digits: int = 2) -> str:
    """A cost or a distance as it is stated where that takes no more than ``digits`` digits (0.05 stays 0.05), else rounded up."""
    text = stated(value)
    if not math.isfinite(value):
        return text
    return text if len(Decimal(text).normalize().as_tuple().digits) <= digits else up_to(value, digits)


def width(lower: float, upper: float) -> str:
    """``upper - lower``, rounded up at two digits; 0 where both are the same infinity."""
    if lower == upper:
        return "0"
    if not (math.isfinite(lower) and math.isfinite(upper)):
        return stated(upper - lower)
    return _shown(Context(prec=2, rounding=ROUND_CEILING).plus(_EXACT.subtract(Decimal(upper), Decimal(lower))), 2)


def places(lower: float, upper: float) -> int:
    """How many decimals show two digits of the gap of a bracket: at least 6, at most 15; 12 where it has none."""
    gap = 0.0 if lower == upper else upper - lower
    if not (math.isfinite(gap) and gap > 0):
        return 6 if gap else 12
    return min(15, max(6, 1 - math.floor(math.log10(gap))))


def stated(value: float) -> str:
    """A number of a question, in the shortest form that reads back to the same double."""
    return repr(float(value) + 0.0).removesuffix(".0")


def percent(value: float, start: float, end: float) -> str:
    """How far ``value`` is on the way from ``start`` to ``end > start``, rounded down: 100.0 only where it has arrived."""
    share = (Fraction(value) - Fraction(start)) / (Fraction(end) - Fraction(start))
    return f"{Decimal(math.floor(1000 * share)).scaleb(-1):f} %"


def _at_places(value: float, places: int, rounding: str) -> str:
    if not math.isfinite(value):
        return stated(value)
    exact = Decimal(float(value))
    huge = abs(exact) >= Decimal(10) ** 15
    exponent = exact.adjusted() - 15 if huge else -places
    shown = exact.quantize(Decimal((0, (1,), exponent)), context=Context(prec=2000, rounding=rounding))
    if not shown:
        shown = abs(shown)
    return f"{shown:.15e}" if huge else f"{shown:f}"


def _at_digits(value: float, digits: int, rounding: str) -> str:
    if value == 0 or not math.isfinite(value):
        return stated(value)
    return _shown(Context(prec=digits, rounding=rounding).create_decimal(Decimal(float(value))), digits)


def _shown(value: Decimal, digits: int) -> str:
    """With an exponent where it would take many zeros or digits that are not known."""
    if value.adjusted() < -5 or value.adjusted() >= max(5, digits):
        return f"{value:.{digits - 1}e}"
    return f"{value:f}"
