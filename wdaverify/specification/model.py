"""A specification in normal form: boxes of inputs, and rows of which all of one disjunct are to hold.

    is there an x in the box of some disjunct with   F_r . f(x) + G_r . x + b_r >= 0   for all of its rows r   (> 0 where strict)?

Numbers are exact: F, G and b are the rationals that the file states. A side of a box is a rational too, and comes as doubles in two
ways. ``lower, upper`` are rounded outward, so that what is proved impossible on that box is impossible in the box stated, and in the
one whose sides are the doubles nearest to it. ``least, most`` are these nearest doubles: how everybody replays a point, so that a
counterexample lies between them (a fixed side 0.1 holds the double 0.1, and no number that is exactly a tenth).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import numpy as np

from wdaverify.arithmetic import Arithmetic
from wdaverify.errors import SpecificationError
from wdaverify.given import array, instance, listed, number, settle, told, whole
from wdaverify.network.model import Array
from wdaverify.rounding import float_down, float_up

Coefficients = tuple[tuple[int, Fraction], ...]
"""By place, which ascend; none is 0."""
_WAY_OUT = "load_specification(path) reads one"


def _exact(value: object) -> Fraction:
    """A finite number as the rational that it is."""
    if isinstance(value, Fraction):
        return value
    found = number(value)
    if found is None or not math.isfinite(found):
        raise SpecificationError(f"the number {told(value)} of a row: finite numbers are accepted")
    return Fraction(found)


@dataclass(frozen=True)
class Row:
    """``sum_j outputs_j f_j(x) + sum_i inputs_i x_i + offset >= 0``, or ``> 0`` where strict."""

    outputs: Coefficients
    inputs: Coefficients
    offset: Fraction
    strict: bool = False

    def __post_init__(self) -> None:
        exact = [_exact(factor) for _, factor in (*self.outputs, *self.inputs)]
        settle(self, offset=_exact(self.offset))
        for name in ("outputs", "inputs"):
            pairs = tuple((int(place), exact.pop(0)) for place, _ in getattr(self, name))
            if not all(a < b for (a, _), (b, _) in pairwise(pairs)) or not all(factor for _, factor in pairs):
                raise SpecificationError(
                    f"{name} of a row: pairs of a place and a factor other than 0, places ascending, are accepted"
                )
            settle(self, **{name: pairs})

    def value(self, x: list[float], z: list[float]) -> Fraction:
        """The left side at doubles, exactly."""
        total = self.offset
        for coefficients, values in ((self.outputs, z), (self.inputs, x)):
            for place, factor in coefficients:
                total += factor * Fraction(values[place])
        return total

    def holds(self, x: list[float], z: list[float]) -> bool:
        """Whether finite inputs and outputs satisfy it, exactly."""
        value = self.value(x, z)
        return value > 0 if self.strict else value >= 0


@dataclass(frozen=True, eq=False)
class Box:
    """``lower, upper [n]`` hold it (rounded outward); ``least, most [n]`` are the doubles nearest to its sides."""

    lower: Array
    upper: Array
    least: Array
    most: Array

    def __post_init__(self) -> None:
        for name in ("lower", "upper", "least", "most"):
            settle(self, **{name: array(f"{name} of a box", getattr(self, name), SpecificationError)})
        shapes = {side.shape for side in (self.lower, self.upper, self.least, self.most)}
        if len(shapes) > 1 or self.lower.ndim != 1 or not self.lower.size:
            raise SpecificationError("sides of a box of different shapes: one number for each input is accepted")
        if not ((self.lower <= self.least) & (self.least <= self.most) & (self.most <= self.upper)).all():
            raise SpecificationError(
                "a box with lower > upper, or that leaves its own sides out; lower <= upper is accepted"
            )

    @classmethod
    def exact(cls, lower: Iterable[Fraction], upper: Iterable[Fraction]) -> Box:
        """The box of rational sides."""
        low, high = list(lower), list(upper)
        sides = (
            [float_down(v) for v in low],
            [float_up(v) for v in high],
            [float(v) for v in low],
            [float(v) for v in high],
        )
        return cls(*(np.array(side, np.float64) for side in sides))


@dataclass(frozen=True, eq=False)
class Disjunct:
    """A box and the rows of which all are to hold, at least one."""

    box: Box
    rows: tuple[Row, ...]

    def __post_init__(self) -> None:
        instance("box of a disjunct", self.box, Box, "Box.exact(lower, upper) makes one", SpecificationError)
        rows = listed("rows", self.rows, "a tuple of Row", SpecificationError)
        if not rows or not all(isinstance(row, Row) for row in rows):
            raise SpecificationError("a disjunct without rows, or with anything else: at least one Row is accepted")
        settle(self, rows=tuple(rows))


@dataclass(frozen=True, eq=False, repr=False)
class Specification:
    """Disjuncts over networks of ``inputs`` inputs and ``outputs`` outputs; none of them: nothing can satisfy it.

    ``dropped``: how many more the file has that contradict themselves (an empty box, or a false row of numbers alone) and are no part of v.
    ``shapes`` of the input and the output where the file states them, and whether it is about elements of float32.
    """

    inputs: int
    outputs: int
    disjuncts: tuple[Disjunct, ...]
    name: str
    sha256: str
    dropped: int = 0
    shapes: tuple[tuple[int, ...], tuple[int, ...]] | None = None
    arithmetic: Arithmetic = Arithmetic.REAL

    def __post_init__(self) -> None:
        for name in ("inputs", "outputs"):
            size = whole(
                name, getattr(self, name), "a size from 1 to 2^31", lambda n: 1 <= n <= 2**31, SpecificationError
            )
            settle(self, **{name: size})
        disjuncts = listed("disjuncts", self.disjuncts, "a tuple of Disjunct", SpecificationError)
        for disjunct in disjuncts:
            instance("disjunct", disjunct, Disjunct, _WAY_OUT, SpecificationError)
            if disjunct.box.lower.size != self.inputs:
                raise SpecificationError(
                    f"a box of {disjunct.box.lower.size} inputs among {self.inputs}: one side for each input is accepted"
                )
            for row in disjunct.rows:
                places = [(place, self.outputs) for place, _ in row.outputs] + [(p, self.inputs) for p, _ in row.inputs]
                if not all(0 <= place < size for place, size in places):
                    raise SpecificationError("a row about an input or output that there is not")
        settle(self, disjuncts=tuple(disjuncts))

    def __repr__(self) -> str:
        return (
            f"Specification({self.name}: {self.inputs} inputs, {self.outputs} outputs, {len(self.disjuncts)} "
            f"disjunct{'s' * (len(self.disjuncts) != 1)})"
        )
