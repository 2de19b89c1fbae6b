"""The types of options: numbers, whole numbers, a side of a box, the shape of an image."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress

import click


def number(least: float = -math.inf, *, above: bool = False) -> Callable[[str], float]:
    """A finite number at least (or above) ``least``, as the type of an option."""

    def convert(value: str) -> float:
        with suppress(ValueError):
            number = float(value.replace("_", "x"))
            if math.isfinite(number) and (number > least if above else number >= least):
                return number
        bound = "" if math.isinf(least) else f" {'>' if above else '>='} {least:g}"
        raise click.BadParameter(f"{value} is refused: a finite number{bound} is accepted")

    return convert


def whole(least: int) -> Callable[[str], int]:
    """A whole number from ``least`` to 2^63 - 1, as the type of an option."""

    def convert(value: str) -> int:
        with suppress(ValueError):
            number = int(value)
            if least <= number < 2**63:
                return number
        raise click.BadParameter(f"{value} is refused: a whole number >= {least} (and below 2^63) is accepted")

    return convert


def side(value: str) -> float | str:
    """One side of the box, or ``none`` for the whole space."""
    return value if value == "none" else float(number()(value))


def image_shape(value: str) -> tuple[int, ...]:
    """``H W`` or ``H W C``, as ``line.spelled_out`` joins them."""
    return tuple(whole(1)(size) for size in value.replace("x", " ").split())
