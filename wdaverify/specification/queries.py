"""VNN-LIB 2.0 of one network with one input and one output of ``real`` or ``float32`` elements, by the ``vnnlib`` package's typed tree.

Text is looked through before that package sees it (it follows nesting by recursion, in native code), and its numbers are read from their
digits: what it makes of them as doubles is not used, nor is its conversion to boxes and matrices.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from types import ModuleType
from typing import Any, NoReturn

from wdaverify.arithmetic import Arithmetic
from wdaverify.errors import SpecificationError
from wdaverify.specification.commands import MAX_NESTING, MAX_VARIABLES
from wdaverify.specification.formulas import MAX_COMPARISONS, Formula, both, compared, either
from wdaverify.specification.terms import CONSTANT, Linear, TermError, literal, plus, times
from wdaverify.specification.tokens import Text, told

MAX_BYTES, MAX_WORDS = 2**22, 2**18
"""Of the text, and of all of it: the package's tree takes about fifty times as much memory, and half a kilobyte a word."""
_VERSION = "<2.0>"
_INTEGER = re.compile(r"[0-9]{19}")
_OPERATORS = {
    "LessEqual": "<=",
    "GreaterEqual": ">=",
    "LessThan": "<",
    "GreaterThan": ">",
    "Equal": "=",
}
_ACCEPTED = (
    "accepted is VNN-LIB 2.0 of one network with one input and one output of real or float32 elements, whose numbers are decimals "
    "as 0.5"
)


class Queries:
    """A file's one input and one output, and the formula of each assertion with its place (as ``commands.Commands`` has them)."""

    def __init__(self, text: Text) -> None:
        self._text = text
        if len(text) > MAX_BYTES:
            text.refuse(0, f"{len(text)} characters of VNN-LIB 2.0; at most {MAX_BYTES} are accepted")
        self._places = list(self._scanned())
        self._package = _package()
        self._query = self._parsed()
        self.shapes = self._declared()
        self._terms: dict[int, Linear] = {}
        self._comparisons = 0

    @property
    def counts(self) -> tuple[int, int]:
        """How many inputs and outputs there are."""
        return math.prod(self.shapes[0]), math.prod(self.shapes[1])

    def assertions(self) -> Iterator[tuple[Formula, int]]:
        """What each assertion says, in order.

        Raises:
            SpecificationError: anything that is not accepted, by its line.
        """
        for assertion, place in zip(self._query.assertions, self._places, strict=True):
            self._comparisons = 0
            try:
                yield self._formula(assertion.expr), place
            except TermError as error:
                self._text.refuse(place, str(error))

    def input_name(self, at: int) -> str:
        """How the file calls an input."""
        shape, out = self.shapes[0], list[int]()
        for size in reversed(shape):
            at, rest = divmod(at, size)
            out.append(rest)
        return f"{self._names[0]}[{','.join(map(str, reversed(out)))}]" if shape else self._names[0]

    def _scanned(self) -> Iterator[int]:
        """Where assertions begin, once nothing is nested or written longer than is good for the package."""
        depth = words = place = 0
        begun, head = -1, 0
        for word, place in self._text.tokens():
            if word == "(":
                if not depth:
                    begun, head = place, words
                depth += 1
                if depth > MAX_NESTING:
                    self._text.refuse(place, f"parentheses nested more than {MAX_NESTING} deep; fewer are accepted")
                continue
            if word == ")":
                depth -= 1
                if depth < 0:
                    self._text.refuse(place, "a ) too many")
                continue
            words += 1
            if words > MAX_WORDS:
                self._text.refuse(place, f"more than {MAX_WORDS} words of VNN-LIB 2.0; fewer are accepted")
            if words == 2 and word != _VERSION:
                self._text.refuse(place, f"the version {told(word)}; {_VERSION} is accepted")
            if word == '""':
                self._text.refuse(
                    place,
                    "a name in quotes, as hidden tensors and one input among several have; one network with one input and one output "
                    "is accepted, which needs none",
                )
            if not word.isascii() or _INTEGER.search(word.partition(".")[0]):
                self._text.refuse(place, f"{told(word)}; ASCII and whole numbers below 10^18 are accepted")
            if word == "assert" and depth == 1 and words == head + 1:
                yield begun
        if depth:
            self._text.refuse(max(begun, 0), "a ( that is never closed; the file may be cut off")

    def _parsed(self) -> Any:
        try:
            query = self._package.parse_query_string(self._text.without_comments())
        except Exception as error:  # noqa: BLE001 (whatever the package has against a text)
            self._refuse(error)
        if len(query.assertions) != len(self._places):
            self._text.refuse(
                0, f"{len(self._places)} assertions, of which {len(query.assertions)} are understood; {_ACCEPTED}"
            )
        return query

    def _refuse(self, error: Exception) -> NoReturn:
        """The package's first objection in one line."""
        try:
            first = json.loads(str(error))["errors"][0]
            found = f"line {int(first['line'])}: {first['message']} at {first['offendingSymbol']} ({first['hint']})"
        except (ValueError, KeyError, IndexError, TypeError):
            found = str(error) or type(error).__name__
        raise SpecificationError(f"{told(found, 300)}; {_ACCEPTED}") from None

    def _declared(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Shapes of the input and the output."""
        networks = self._query.networks
        if len(networks) != 1:
            self._text.refuse(0, f"{len(networks)} networks are declared; {_ACCEPTED}")
        [network] = networks
        if network.hidden:
            self._text.refuse(0, f"the hidden tensor {told(network.hidden[0].name)} is declared; {_ACCEPTED}")
        shapes, names, kinds = [], [], set()
        for what, tensors in (("input", network.inputs), ("output", network.outputs)):
            if len(tensors) != 1:
                self._text.refuse(0, f"{len(tensors)} {what}s are declared; {_ACCEPTED}")
            [tensor] = tensors
            kinds.add(tensor.dtype)
            if tensor.dtype not in (self._package.DType.Real, self._package.DType.F32):
                kind = re.sub("^F(?=[0-9])", "float", tensor.dtype.name)
                self._text.refuse(
                    0,
                    f"the {what} {told(tensor.name)} has elements of type {kind}, of whose arithmetic nothing is proven here; real and "
                    f"float32 are accepted, declared as (declare-{what} {told(tensor.name)} float32 [...])",
                )
            shape = tuple(int(size) for size in tensor.shape)
            if not all(size > 0 for size in shape) or math.prod(shape) > MAX_VARIABLES:
                self._text.refuse(
                    0,
                    f"the shape {told(str(list(shape)))} of an {what}; from 1 to {MAX_VARIABLES} numbers are accepted",
                )
            shapes.append(shape)
            names.append(tensor.name)
        if len(kinds) > 1:
            self._text.refuse(0, f"an input and an output of elements of different types; {_ACCEPTED}")
        self.arithmetic = Arithmetic.REAL if kinds == {self._package.DType.Real} else Arithmetic.FLOAT32
        self._names = names
        return shapes[0], shapes[1]

    def _formula(self, node: Any) -> Formula:
        kind = type(node).__name__
        if kind in ("And", "Or"):
            parts = [self._formula(part) for part in node.args]
            return both(parts) if kind == "And" else either(parts)
        self._comparisons += 1
        if self._comparisons > MAX_COMPARISONS:
            raise TermError(
                f"an assertion of more than {MAX_COMPARISONS} comparisons; split it into several assertions"
            )
        sides = [self._term(node.lhs), self._term(node.rhs)]
        if kind == "NotEqual":
            return either([compared("<", sides), compared(">", sides)])
        if kind not in _OPERATORS:
            raise TermError(f"a formula of kind {kind}; and, or, <=, >=, <, >, == and != are accepted")
        return compared(_OPERATORS[kind], sides)

    def _term(self, node: Any) -> Linear:
        kind = type(node).__name__
        if kind == "Var":
            return self._variable(node)
        if kind in ("Float", "Int"):
            number = literal(node.lexeme)
            if number is None:
                raise TermError(f"{told(node.lexeme)}; decimal numbers are accepted")
            return {CONSTANT: number} if number else {}
        if kind == "Negate":
            return plus([self._term(node.expr)], [-1])
        if kind == "Minus":
            terms = [self._term(part) for part in (node.head, *node.rest)]
            return plus(terms, [1] + [-1] * (len(terms) - 1))
        if kind not in ("Plus", "Multiply"):
            raise TermError(f"a term of kind {kind}; numbers, variables, +, - and * are accepted")
        terms = [self._term(part) for part in node.args]
        return plus(terms, [1] * len(terms)) if kind == "Plus" else times(terms)

    def _variable(self, node: Any) -> Linear:
        output = node.kind == self._package.SymbolKind.Output
        at = _row_major(node.indices, self.shapes[output])
        place = 2 * at + output
        if place not in self._terms:
            self._terms[place] = {place: Fraction(1)}
        return self._terms[place]


def _row_major(indices: Sequence[int], shape: Sequence[int]) -> int:
    at = 0
    for index, size in zip(indices, shape, strict=True):
        if not 0 <= index < size:
            raise TermError(
                f"the index {list(indices)} of a tensor of shape {list(shape)}; indices from 0 are accepted"
            )
        at = at * size + index
    return at


def _package() -> ModuleType:
    try:
        import vnnlib
    except ImportError:
        raise SpecificationError(
            "this is VNN-LIB of version 2, which the package vnnlib reads, and it is not installed: pip install 'wdaverify[vnnlib]'; "
            "without it VNN-LIB 1.0 is accepted, text of (declare-const X_0 Real) and (assert (<= X_0 1.0))"
        ) from None
    return vnnlib
