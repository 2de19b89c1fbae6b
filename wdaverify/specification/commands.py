"""The commands of a VNN-LIB file, read by a stack instead of recursion: however a stranger nests, nothing overflows.

Parentheses close terms and formulas from the inside, so that each is worth its value at once and no tree of the file is kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import NoReturn

from wdaverify.specification.formulas import MAX_COMPARISONS, Formula, both, compared, either
from wdaverify.specification.terms import CONSTANT, Linear, TermError, literal, over, plus, times
from wdaverify.specification.tokens import Text, told

MAX_NESTING = 64
MAX_WORDS = 2**20
"""Of one command."""
MAX_VARIABLES = 2**20
"""Inputs, and as many outputs."""

_NAME = re.compile(r"([XY])_(0|[1-9][0-9]{0,7})")
_ARITHMETIC = ("+", "-", "*", "/")
_COMPARISONS = ("<=", ">=", "<", ">", "=")
_CONNECTIVES = ("and", "or")
_DECLARATIONS = ("declare-const", "declare-fun")
_WITHOUT_EFFECT = ("set-logic", "set-info", "set-option", "check-sat", "get-model", "get-value", "exit")
_ASKING = ("check-sat", "get-model", "get-value", "exit")
"""Behind these nothing belongs to the question any more."""
_ACCEPTED = "and, or, <=, >=, <, >, =, +, -, * and / of numbers and of declared X_i and Y_j"
_COMMANDS = (
    f"declare-const, declare-fun and assert (and {', '.join(_WITHOUT_EFFECT)}, which say nothing of inputs and outputs)"
)

_Value = Linear | Formula | str
"""A term, a formula, or a word that stands for itself in a command."""


@dataclass(eq=False)
class _Frame:
    """An open parenthesis at a place: its head, once read, and what it holds so far."""

    place: int
    head: str = ""
    values: list[_Value] = field(default_factory=list)

    @property
    def words(self) -> bool:
        """Whether its words stand for themselves."""
        return self.head in _DECLARATIONS or self.head in _WITHOUT_EFFECT


class Commands:
    """A file's declarations, by kind and number, and the formula of each assertion with its place."""

    def __init__(self, text: Text) -> None:
        self._text = text
        self._declared = {"X": bytearray(), "Y": bytearray()}
        self._terms: dict[int, Linear] = {}
        self._words = self._comparisons = 0
        self._asked = ""

    @property
    def counts(self) -> tuple[int, int]:
        """How many inputs and outputs were declared; 0 where there are none, or numbers are left out.

        Raises:
            SpecificationError: there are none, or one is left out.
        """
        found = []
        for kind, what in (("X", "input"), ("Y", "output")):
            flags = self._declared[kind]
            if not flags:
                self._text.refuse(0, f"no {what} is declared in the file; (declare-const {kind}_0 Real) declares one")
            if 0 in flags:
                self._text.refuse(
                    0,
                    f"{kind}_{len(flags) - 1} is declared and {kind}_{flags.index(0)} is not; all {what}s from {kind}_0 are needed",
                )
            found.append(len(flags))
        return found[0], found[1]

    @staticmethod
    def input_name(at: int) -> str:
        """How files call an input."""
        return f"X_{at}"

    def assertions(self) -> Iterator[tuple[Formula, int]]:
        """What each assertion says, in order.

        Raises:
            SpecificationError: anything that is not accepted, by its line.
        """
        stack: list[_Frame] = []
        place = 0
        for word, place in self._text.tokens():
            if word == "(":
                self._open(stack, place)
            elif word != ")":
                self._word(stack, word, place)
            elif not stack:
                self._text.refuse(place, "a ) too many")
            else:
                frame = stack.pop()
                value = self._closed(frame, stack)
                if stack:
                    stack[-1].values.append(value)
                elif frame.head == "assert":
                    assert isinstance(value, list)
                    yield value, frame.place
        if stack:
            self._text.refuse(stack[0].place, "a ( that is never closed; the file may be cut off")

    def _open(self, stack: list[_Frame], place: int) -> None:
        if stack and not stack[-1].head:
            self._text.refuse(place, f"a ( where an operator is expected; accepted are {_ACCEPTED}")
        if len(stack) >= MAX_NESTING:
            self._text.refuse(place, f"parentheses nested more than {MAX_NESTING} deep; fewer are accepted")
        if not stack:
            self._words = self._comparisons = 0
        self._count(place)
        stack.append(_Frame(place))

    def _count(self, place: int) -> None:
        self._words += 1
        if self._words > MAX_WORDS:
            self._text.refuse(place, f"a command of more than {MAX_WORDS} words; split it into several assertions")

    def _word(self, stack: list[_Frame], word: str, place: int) -> None:
        if not stack:
            self._text.refuse(place, f"{told(word)} outside of parentheses; accepted are {_COMMANDS}")
        self._count(place)
        frame = stack[-1]
        if not frame.head:
            self._check_head(word, place, outermost=len(stack) == 1)
            frame.head = word
        else:
            frame.values.append(word if frame.words else self._term(word, place))

    def _check_head(self, word: str, place: int, *, outermost: bool) -> None:
        commands = ("assert", *_DECLARATIONS, *_WITHOUT_EFFECT)
        operators = (*_ARITHMETIC, *_COMPARISONS, *_CONNECTIVES)
        if outermost and word not in commands:
            new = (
                ""
                if not word.startswith(("declare-", "vnnlib"))
                else " (VNN-LIB 2.0 begins with (vnnlib-version <2.0>))"
            )
            self._text.refuse(place, f"the command {told(word)}; accepted are {_COMMANDS}{new}")
        if not outermost and word not in operators:
            self._text.refuse(place, f"the operator {told(word)}; accepted are {_ACCEPTED}")

    def _term(self, word: str, place: int) -> Linear:
        """A number or a variable."""
        try:
            number = literal(word)
        except TermError as error:
            self._text.refuse(place, str(error))
        if number is not None:
            return {CONSTANT: number} if number else {}
        found = _NAME.fullmatch(word)
        if found is None:
            self._text.refuse(
                place, f"{told(word)}; accepted are decimal numbers, inputs X_0, X_1, ... and outputs Y_0, Y_1, ..."
            )
        kind, at = found[1], int(found[2])
        flags = self._declared[kind]
        if at >= len(flags) or not flags[at]:
            self._text.refuse(
                place, f"{word} is not declared before it is used; (declare-const {word} Real) declares it"
            )
        where = 2 * at + (kind == "Y")
        if where not in self._terms:
            self._terms[where] = {where: Fraction(1)}
        return self._terms[where]

    def _closed(self, frame: _Frame, outer: list[_Frame]) -> _Value:
        """What a parenthesis is worth."""
        if not frame.head:
            if outer and outer[-1].words:
                return "()"
            self._text.refuse(frame.place, f"() without an operator; accepted are {_ACCEPTED}")
        if frame.head in _DECLARATIONS:
            self._declare(frame)
            return "declared"
        if frame.head in _WITHOUT_EFFECT:
            self._asked = self._asked or (frame.head if frame.head in _ASKING else "")
            return "said"
        try:
            return self._worth(frame)
        except TermError as error:
            self._text.refuse(frame.place, str(error))

    def _worth(self, frame: _Frame) -> _Value:
        head, values = frame.head, frame.values
        if head == "assert":
            if self._asked:
                raise TermError(
                    f"an assertion behind ({self._asked}), which does not count; assertions are accepted in front of it"
                )
            formulas = [value for value in values if isinstance(value, list)]
            if len(formulas) != 1 or len(values) != 1:
                raise TermError(
                    "an assertion of anything but one formula; one is accepted, as in (assert (<= X_0 1.0))"
                )
            return formulas[0]
        if head in _CONNECTIVES:
            formulas = [value for value in values if isinstance(value, list)]
            if not formulas or len(formulas) < len(values):
                raise TermError(f"{head} of a number, or of nothing; comparisons, and and or are accepted in it")
            return both(formulas) if head == "and" else either(formulas)
        terms = [value for value in values if isinstance(value, dict)]
        if len(terms) < len(values):
            raise TermError(f"{head} of a comparison; numbers, inputs, outputs and their sums are accepted in it")
        return self._compared(head, terms) if head in _COMPARISONS else _computed(head, terms)

    def _compared(self, head: str, terms: list[Linear]) -> Formula:
        if len(terms) < 2:
            raise TermError(f"{head} of {len(terms)} sides; two or more are accepted")
        self._comparisons += len(terms) - 1
        if self._comparisons > MAX_COMPARISONS:
            raise TermError(
                f"an assertion of more than {MAX_COMPARISONS} comparisons; split it into several assertions"
            )
        return compared(head, terms)

    def _declare(self, frame: _Frame) -> None:
        words = frame.values
        shape = ["Real"] if frame.head == "declare-const" else ["()", "Real"]
        name = words[0] if words else ""
        found = _NAME.fullmatch(name) if isinstance(name, str) else None
        if found is None or words[1:] != shape:
            shown = " ".join(str(word) for word in words[:4])
            self._refuse_declaration(frame, told(f"{frame.head} {shown}"))
        kind, at = found[1], int(found[2])
        if at >= MAX_VARIABLES:
            self._text.refuse(frame.place, f"{name}; at most {MAX_VARIABLES} inputs and as many outputs are accepted")
        flags = self._declared[kind]
        if at < len(flags) and flags[at]:
            self._text.refuse(frame.place, f"{name} is declared twice; once is accepted")
        flags.extend(bytes(max(0, at + 1 - len(flags))))
        flags[at] = 1

    def _refuse_declaration(self, frame: _Frame, shown: str) -> NoReturn:
        self._text.refuse(
            frame.place,
            f"the declaration {shown}; (declare-const X_0 Real) and (declare-fun Y_0 () Real) are accepted, inputs X_i and outputs Y_j",
        )


def _computed(head: str, terms: list[Linear]) -> Linear:
    """A sum, a difference, a product or a quotient."""
    if not terms:
        raise TermError(f"{head} of nothing; numbers, inputs and outputs are accepted in it")
    if head == "/" and len(terms) < 2:
        raise TermError("/ of one term; a quotient has two or more")
    if head == "+":
        return plus(terms, [1] * len(terms))
    if head == "-":
        return plus(terms, [-1] if len(terms) == 1 else [1] + [-1] * (len(terms) - 1))
    return times(terms) if head == "*" else over(terms)
