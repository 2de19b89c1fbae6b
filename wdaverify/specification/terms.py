"""Linear terms of a specification, in exact arithmetic whose numbers stay of bounded length.

A term maps places to coefficients, none of which is 0: input i is ``2 i``, output j is ``2 j + 1``, and the constant is ``CONSTANT``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache

CONSTANT = -1
Linear = dict[int, Fraction]

MAX_BITS = 2**13
"""Of the numerator and the denominator of any number, or of the sum of the lengths of the terms of a sum."""
LARGEST = 10**300
"""No number may be larger: doubles would overflow."""

_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE]([+-]?[0-9]{1,6}))?")
_MAX_EXPONENT = 999


class TermError(ValueError):
    """Why a term is refused, in words."""


@lru_cache(maxsize=2**12)
def literal(word: str) -> Fraction | None:
    """The exact value of a decimal number, or None where this is none.

    Raises:
        TermError: it is too large, or too small to be one by its exponent.
    """
    found = _NUMBER.fullmatch(word)
    if found is None:
        return None
    if found[1] is not None and abs(int(found[1])) > _MAX_EXPONENT:
        raise TermError(f"an exponent beyond {_MAX_EXPONENT}; numbers up to 1e300 are accepted")
    return checked(Fraction(word))


def checked(value: Fraction) -> Fraction:
    """The number itself.

    Raises:
        TermError: it is too large, or too long.
    """
    if abs(value) > LARGEST:
        raise TermError("a number beyond 1e300; smaller ones are accepted")
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > MAX_BITS:
        raise TermError(f"a number whose exact value takes more than {MAX_BITS} bits; shorter ones are accepted")
    return value


def plus(terms: Sequence[Linear], signs: Sequence[int]) -> Linear:
    """The sum of terms with signs +1 and -1."""
    out: Linear = {}
    for term, sign in zip(terms, signs, strict=True):
        for place, factor in term.items():
            more = factor if sign > 0 else -factor
            out[place] = checked(out[place] + more) if place in out else more
    return {place: factor for place, factor in out.items() if factor}


def times(terms: Sequence[Linear]) -> Linear:
    """The product of terms, all but one of which are constant.

    Raises:
        TermError: two of them are not.
    """
    out: Linear = {CONSTANT: Fraction(1)}
    for term in terms:
        if not constant(term):
            out, term = term, out
        if not constant(term):
            raise TermError("a product of variables; products by constants are accepted, as in (* 0.5 Y_0)")
        factor = term.get(CONSTANT, Fraction(0))
        out = {place: checked(value * factor) for place, value in out.items() if factor}
    return out


def over(terms: Sequence[Linear]) -> Linear:
    """The first term divided by constants.

    Raises:
        TermError: by anything else, or by 0.
    """
    out = terms[0]
    for term in terms[1:]:
        if not constant(term) or CONSTANT not in term:
            raise TermError("a division by 0 or by variables; divisions by other constants are accepted")
        out = {place: checked(value / term[CONSTANT]) for place, value in out.items()}
    return out


def constant(term: Linear) -> bool:
    """Whether it has no variables."""
    return not term or (len(term) == 1 and CONSTANT in term)
