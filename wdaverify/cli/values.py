"""The types of options: numbers, whole numbers, a side of a box, the shape of an image."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from fractions import Fraction
from io import StringIO

import click

_DIGITS = 40
_FRACTION = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)/(?:[0-9]+\.?[0-9]*|\.[0-9]+)")


def number(least: float = -math.inf, *, above: bool = False) -> Callable[[str], float]:
    """A finite number at least (or above) ``least``, as the type of an option; a fraction is read exactly, and rounded once."""

    def finite(value: str) -> float:
        found = _quotient(value) if "/" in value else _decimal(value)
        if found is not None and (found > least if above else found >= least):
            return found
        bound = "" if math.isinf(least) else f" {'>' if above else '>='} {least:g}"
        raise click.BadParameter(f"{value} is refused: a finite number{bound} is accepted, as in 0.05 or 8/255")

    return finite


def _decimal(text: str) -> float | None:
    with suppress(ValueError):
        value = float(text.replace("_", "x"))
        return value if math.isfinite(value) else None
    return None


def _quotient(text: str) -> float | None:
    """``a/b`` of plain decimals, rounded to the nearest double, ties to even."""
    if not _FRACTION.fullmatch(text):
        raise click.BadParameter(
            f"{text} is refused: a fraction is two decimal numbers without exponents around one /, as in 8/255 or -0.5/3"
        )
    top, bottom = text.split("/")
    if max(len(top), len(bottom)) > _DIGITS:
        raise click.BadParameter(
            f"{text[:_DIGITS]}... is refused: at most {_DIGITS} characters are accepted on either side of a fraction"
        )
    if not Fraction(bottom):
        raise click.BadParameter(f"{text} is refused: the denominator is 0; a fraction like 8/255 is accepted")
    return float(Fraction(top) / Fraction(bottom))


def whole(least: int) -> Callable[[str], int]:
    """A whole number from ``least`` to 2^63 - 1, as the type of an option."""

    def convert(value: str) -> int:
        with suppress(ValueError):
            number = int(value)
            if least <= number < 2**63:
                return number
        raise click.BadParameter(f"{value} is refused: a whole number >= {least} (and below 2^63) is accepted")

    return convert


SUPPORTS = ("none", "specification")
"""Supports that have a name instead of sides."""


def side(value: str) -> float | str:
    """One side of the box, ``none`` for the whole space, or ``specification`` for the box of one."""
    return value if value in SUPPORTS else float(number()(value))


def names(value: str) -> tuple[str, ...]:
    """Names between commas, as a line of a ``.csv`` has them: in double quotes where a name holds a comma."""
    with suppress(csv.Error):
        rows = list(csv.reader([value], skipinitialspace=True, strict=True))
        if len(rows) == 1 and rows[0] and all(name.strip() for name in rows[0]):
            return tuple(name.strip() for name in rows[0])
    raise click.BadParameter(
        f"{value} is refused: names between commas are accepted, in the order of the outputs, as in cat,dog"
    )


def spelled(given: Sequence[str]) -> str:
    """Names as ``names`` reads them again."""
    line = StringIO()
    csv.writer(line, lineterminator="").writerow(given)
    return line.getvalue()


def wholes(value: str) -> tuple[int, ...]:
    """Whole numbers of at least 1 between commas."""
    return tuple(whole(1)(part.strip()) for part in value.split(","))


def image_shape(value: str) -> tuple[int, ...]:
    """``H W`` or ``H W C``, as ``line.spelled_out`` joins them."""
    return tuple(whole(1)(size) for size in value.replace("x", " ").split())
