"""Formulas as lists of conjunctions of comparisons, whose number is counted before they are made.

A formula is a list of conjunctions, one of which is to hold: ``[]`` is false, ``[()]`` true.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from wdaverify.specification.terms import CONSTANT, Linear, TermError, constant, plus

MAX_DISJUNCTS = 2**15
MAX_COMPARISONS = 2**18
"""Of all disjuncts together, each with its own."""


class Comparison(NamedTuple):
    """``term >= 0``, or ``> 0`` where strict; the term has variables."""

    term: Linear
    strict: bool


Conjunction = tuple[Comparison, ...]
Formula = list[Conjunction]


def compared(operator: str, terms: Sequence[Linear]) -> Formula:
    """``terms_1 <= terms_2 <= ...``, and the same with >=, <, > and =."""
    found: list[Comparison] = []
    for left, right in pairwise(terms):
        ways = {"<": [1], ">": [-1], "=": [1, -1]}[operator[0]]
        for way in ways:
            term = plus([right, left], [way, -way])
            strict = operator in ("<", ">")
            if constant(term):
                value = term.get(CONSTANT, 0)
                if value < 0 or (strict and value == 0):
                    return []
            else:
                found.append(Comparison(term, strict))
    return [tuple(found)]


def either(formulas: Sequence[Formula]) -> Formula:
    """One of them."""
    return _counted([conjunction for formula in formulas for conjunction in formula])


def both(formulas: Sequence[Formula]) -> Formula:
    """All of them."""
    if any(not formula for formula in formulas):
        return []
    common = tuple(comparison for formula in formulas if len(formula) == 1 for comparison in formula[0])
    out: Formula = [common]
    for formula in formulas:
        if len(formula) > 1:
            count = len(out) * len(formula)
            sizes = [sum(map(len, part)) for part in (out, formula)]
            _check(count, sizes[0] * len(formula) + sizes[1] * len(out))
            out = [left + right for left in out for right in formula]
    return _counted(out)


def _counted(formula: Formula) -> Formula:
    _check(len(formula), sum(map(len, formula)))
    return formula


def _check(disjuncts: int, comparisons: int) -> None:
    if disjuncts > MAX_DISJUNCTS or comparisons > MAX_COMPARISONS:
        raise TermError(
            f"{disjuncts} disjuncts of {comparisons} comparisons when multiplied out; at most {MAX_DISJUNCTS} of "
            f"{MAX_COMPARISONS} are accepted"
        )
