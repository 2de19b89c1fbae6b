"""Reading a specification: VNN-LIB 1.0 as it is written in the wild, and the linear part of 2.0, in normal form.

Nothing is rounded on the way: numbers are exact rationals until a box is rounded outward (``specification.model``).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fractions import Fraction

import numpy as np

from wdaverify.errors import SpecificationError
from wdaverify.given import path_of
from wdaverify.network.model import Array
from wdaverify.rounding import float_down, float_up
from wdaverify.specification.commands import Commands
from wdaverify.specification.formulas import Comparison, Formula, both
from wdaverify.specification.model import Box, Disjunct, Row, Specification
from wdaverify.specification.queries import Queries
from wdaverify.specification.terms import CONSTANT, LARGEST, TermError
from wdaverify.specification.tokens import Text, specification_bytes
from wdaverify.untrusted import UnreadableError, file_name, shown

MAX_SIDES = 2**22
"""Sides of boxes that differ among disjuncts, all together; and rows of all disjuncts, those that they share counted each time."""


def load_specification(path: str | os.PathLike[str]) -> Specification:
    """Read a specification from a VNN-LIB file (``.vnnlib``, or packed as ``.vnnlib.gz``).

    Assertions of ``<=, >=, <, >`` and ``=`` between linear terms of inputs ``X_i`` and outputs ``Y_j``, with ``and`` and ``or`` in any
    order, multiplied out. What bounds one input by a number is a side of the box of its disjunct, and every other comparison a
    row; a strict side is a closed side and a strict row. Every input needs two sides. Files that begin with
    ``(vnnlib-version <2.0>)`` are read by the ``vnnlib`` package (extra ``[vnnlib]``): one network, one input and one output of ``real``
    or ``float32`` elements, which are numbered in row-major order; ``a != b`` is ``a < b`` or ``a > b``.

    Raises:
        SpecificationError: the file cannot be read, or holds anything else; one line that says where and what is accepted.
    """
    path = path_of("specification", path, SpecificationError)
    try:
        data = specification_bytes(path)
        text = Text(data)
        commands = Queries(text) if text.is_version_2 else Commands(text)
        common, choice = _Part(commands.input_name), Formula([()])
        dropped = 0
        for formula, place in commands.assertions():
            if len(formula) == 1:
                common.take(formula[0])
                continue
            try:
                choice = both([choice, formula])
            except TermError as error:
                text.refuse(place, str(error))
            dropped += not formula
        found = _specification(common, choice, commands.counts, dropped, (file_name(path), data))
        return (
            replace(found, shapes=commands.shapes, arithmetic=commands.arithmetic)
            if isinstance(commands, Queries)
            else found
        )
    except (SpecificationError, UnreadableError) as error:
        raise SpecificationError(f"{shown(path, 4096)}: {error}") from None


@dataclass(eq=False)
class _Part:
    """The sides of some inputs, each the tightest, and rows; ``open`` are inputs with the numbers of their strict sides.

    ``named`` says how the file calls an input.
    """

    named: Callable[[int], str]
    lower: dict[int, Fraction] = field(default_factory=dict)
    upper: dict[int, Fraction] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    open: set[tuple[int, Fraction]] = field(default_factory=set)

    def take(self, comparisons: tuple[Comparison, ...]) -> None:
        """All of a conjunction."""
        for term, strict in comparisons:
            places = [place for place in term if place != CONSTANT]
            if len(places) > 1 or places[0] % 2:
                self.rows.append(_row(term, strict))
                continue
            factor, at = term[places[0]], places[0] // 2
            side = -term.get(CONSTANT, Fraction(0)) / factor
            if abs(side) > LARGEST:
                raise SpecificationError(f"a side of {self.named(at)} beyond 1e300; smaller ones are accepted")
            if factor > 0:
                self.lower[at] = max(side, self.lower.get(at, side))
            else:
                self.upper[at] = min(side, self.upper.get(at, side))
            if strict:
                self.rows.append(_row(term, strict))
                self.open.add((at, side))


def _row(term: dict[int, Fraction], strict: bool) -> Row:
    places = sorted(place for place in term if place != CONSTANT)
    return Row(
        tuple((place // 2, term[place]) for place in places if place % 2),
        tuple((place // 2, term[place]) for place in places if not place % 2),
        term.get(CONSTANT, Fraction(0)),
        strict,
    )


def _specification(
    common: _Part, choice: Formula, sizes: tuple[int, int], dropped: int, source: tuple[str, bytes]
) -> Specification:
    """Disjuncts of what is common and one conjunction each, those that contradict themselves left out."""
    boxes, disjuncts, rows = _Boxes(common, sizes[0]), list[Disjunct](), 0
    for conjunction in choice:
        part = _Part(common.named)
        part.take(conjunction)
        rows += len(common.rows) + len(part.rows)
        if rows > MAX_SIDES:
            raise SpecificationError(f"more than {MAX_SIDES} rows of all disjuncts together; fewer are accepted")
        box = boxes.within(part)
        if box is None:
            dropped += 1
            continue
        found = (*common.rows, *part.rows)
        if not found:
            raise SpecificationError(
                "a disjunct compares no output with anything, so that every point of its box satisfies it; give a comparison, "
                "as (assert (>= Y_0 0.0))"
            )
        disjuncts.append(Disjunct(box, found))
    name, data = source
    return Specification(*sizes, tuple(disjuncts), name, hashlib.sha256(data).hexdigest(), dropped)


class _Boxes:
    """Boxes that differ from a common one in the sides of some inputs, each made once."""

    def __init__(self, common: _Part, inputs: int) -> None:
        self._common, self._inputs = common, inputs
        self._made: dict[tuple[object, ...], Box] = {}
        self._numbers = 0
        self._lower = _rounded(common.lower, inputs, float_down)
        self._upper = _rounded(common.upper, inputs, float_up)
        self._empty = any(self._apart(at, side, common.upper.get(at), common.open) for at, side in common.lower.items())

    def within(self, part: _Part) -> Box | None:
        """The common box cut to the sides of a part; None where that leaves nothing.

        Raises:
            SpecificationError: an input has a side to one direction only, or to none; or there are too many boxes.
        """
        common = self._common
        lower = {at: max(side, common.lower.get(at, side)) for at, side in part.lower.items()}
        upper = {at: min(side, common.upper.get(at, side)) for at, side in part.upper.items()}
        places = {*lower, *upper}
        low = {at: lower.get(at, common.lower.get(at)) for at in places}
        high = {at: upper.get(at, common.upper.get(at)) for at in places}
        opened = common.open | part.open if part.open else common.open
        if self._empty or any(self._apart(at, low[at], high[at], opened) for at in places):
            return None
        key = (*sorted(lower.items()), None, *sorted(upper.items()))
        if key not in self._made:
            self._numbers += self._inputs
            if self._numbers > MAX_SIDES and self._made:
                raise SpecificationError(f"boxes of more than {MAX_SIDES} inputs together; fewer are accepted")
            self._made[key] = self._box(lower, upper)
        return self._made[key]

    @staticmethod
    def _apart(at: int, low: Fraction | None, high: Fraction | None, opened: set[tuple[int, Fraction]]) -> bool:
        """Whether nothing is between two sides of an input: they cross, or meet where one of them is strict."""
        return low is not None and high is not None and (low > high or (low == high and (at, low) in opened))

    def _box(self, lower: dict[int, Fraction], upper: dict[int, Fraction]) -> Box:
        sides = []
        for (outward, nearest), own, what, way, rounded in (
            (self._lower, lower, "lower", ">=", float_down),
            (self._upper, upper, "upper", "<=", float_up),
        ):
            out, near = outward.copy(), nearest.copy()
            for at, side in own.items():
                out[at], near[at] = rounded(side), float(side)
            if np.isnan(out).any():
                name = self._common.named(int(np.isnan(out).argmax()))
                raise SpecificationError(
                    f"{name} has no {what} side; one is needed for every input, as (assert ({way} {name} 0.5))"
                )
            sides.append((out, near))
        return Box(sides[0][0], sides[1][0], sides[0][1], sides[1][1])


def _rounded(sides: dict[int, Fraction], inputs: int, rounded: Callable[[Fraction], float]) -> tuple[Array, Array]:
    """Sides ``[n]`` rounded outward and to nearest; NaN where there is none."""
    out, near = np.full(inputs, np.nan), np.full(inputs, np.nan)
    for at, side in sides.items():
        out[at], near[at] = rounded(side), float(side)
    return out, near
