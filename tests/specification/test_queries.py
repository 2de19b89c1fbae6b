"""VNN-LIB 2.0: the same specification written in both versions is the same sets; what is refused, by what was found."""

from __future__ import annotations

import gzip
import re
import sys
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from builders import write_mlp
from specification.formulas import boxed, declared, formula, normal_form_holds

from wdaverify import check, load_network
from wdaverify.errors import SpecificationError
from wdaverify.specification import queries
from wdaverify.specification.fits import check_fits
from wdaverify.specification.model import Specification
from wdaverify.specification.reader import load_specification

HEAD = (
    "(vnnlib-version <2.0>)\n(declare-network acc\n  (declare-input X real [1,3])\n  (declare-output Y real [1,2])\n)\n"
)
BOX = "".join(f"(assert (>= X[0,{i}] -1.0))(assert (<= X[0,{i}] 1.0))\n" for i in range(3))


def read(tmp_path: Path, text: str | bytes, name: str = "s.vnnlib") -> Specification:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_specification(path)


def tree(text: str) -> list[object]:
    stack: list[list[object]] = [[]]
    for word in re.findall(r"[()]|[^\s()]+", text):
        if word == "(":
            stack.append([])
        elif word == ")":
            done = stack.pop()
            stack[-1].append(done)
        else:
            stack[-1].append(word)
    return stack[0]


def second(node: object) -> str:
    """A term or formula of VNN-LIB 1.0 as 2.0 writes it."""
    if isinstance(node, str):
        found = re.fullmatch(r"([XY])_(\d+)", node)
        if found:
            return f"{found[1]}[{found[2]}]" if found[1] == "X" else f"{found[1]}[0,{found[2]}]"
        return f"{float(node):.4f}"
    assert isinstance(node, list)
    head, *parts = node
    if head in ("<=", ">=", "<", ">", "="):
        sides = [second(part) for part in parts]
        head = {"=": "=="}.get(head, head)
        pairs = [f"({head} {a} {b})" for a, b in pairwise(sides)]
        return pairs[0] if len(pairs) == 1 else f"(and {' '.join(pairs)})"
    return f"({head} {' '.join(map(second, parts))})"


def both_versions(rng: np.random.Generator) -> tuple[str, str, tuple[int, int], list[object]]:
    sizes = int(rng.integers(1, 4)), int(rng.integers(1, 4))
    made = [formula(rng, sizes, int(rng.integers(4))) for _ in range(int(rng.integers(1, 4)))]
    first = boxed(sizes[0], -2, 2) + "".join(f"(assert {part})\n" for part, _ in made) + "(assert (>= Y_0 -99))\n"
    head = f"(vnnlib-version <2.0>)(declare-network n (declare-input X real [{sizes[0]}])(declare-output Y real [1,{sizes[1]}]))\n"
    asserted = "".join(f"(assert {second(node[1])})\n" for node in tree(first))
    return declared(*sizes) + first, head + asserted, sizes, [value for _, value in made]


def sets(spec: Specification) -> list[object]:
    return [
        (*(side.tolist() for side in (d.box.lower, d.box.upper, d.box.least, d.box.most)), d.rows)
        for d in spec.disjuncts
    ]


@pytest.mark.parametrize("count", [100, pytest.param(2000, marks=pytest.mark.full)])
def test_both_versions_are_the_same_sets_and_what_the_formulas_say(count: int, tmp_path: Path) -> None:
    seen = {True: 0, False: 0}
    for number in range(count):
        rng = np.random.default_rng([17, number])
        first, later, sizes, holds = both_versions(rng)
        one, two = read(tmp_path, first), read(tmp_path, later)
        assert (sets(one), one.dropped) == (sets(two), two.dropped), later
        assert (two.inputs, two.outputs) == sizes
        for _ in range(15):
            point = tuple((rng.integers(-10, 11, size=size) / 4).tolist() for size in sizes)
            want = all(value(point) for value in holds) and all(-2 <= v <= 2 for v in point[0])
            assert normal_form_holds(two, point) == want, later
            seen[want] += 1
    assert min(seen.values()) > count


@pytest.mark.parametrize("fault", ["swapped", "dropped row", "lost disjunct", "column-major"])
def test_a_planted_fault_is_seen(fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if fault == "swapped":
        own = queries.compared
        monkeypatch.setattr(queries, "compared", lambda op, terms: own(op, terms[::-1]))
    if fault == "dropped row":
        own_both = queries.both
        monkeypatch.setattr(queries, "both", lambda parts: own_both(parts[:1]))
    if fault == "lost disjunct":
        own_either = queries.either
        monkeypatch.setattr(queries, "either", lambda parts: own_either(parts[:-1] or parts))
    if fault == "column-major":
        monkeypatch.setattr(queries, "_row_major", lambda indices, shape: indices[0])
    with pytest.raises(AssertionError):
        test_both_versions_are_the_same_sets_and_what_the_formulas_say(100, tmp_path)


def test_numbers_are_those_of_their_digits_and_indices_are_row_major(tmp_path: Path) -> None:
    head = "(vnnlib-version <2.0>)(declare-network n (declare-input A real [2,2])(declare-output b real []))"
    box = "".join(f"(assert (and (>= A[{i},{j}] 0.1) (<= A[{i},{j}] 0.7)))" for i in range(2) for j in range(2))
    spec = read(tmp_path, f"; a comment (\r\n{head}\n{box}(assert (> b (* 0.1000000000000000055 A[1,0])))")
    [disjunct] = spec.disjuncts
    [row] = disjunct.rows
    assert row.inputs == ((2, Fraction("-0.1000000000000000055")),)
    assert (row.outputs, row.strict) == (((0, Fraction(1)),), True)
    assert Fraction(disjunct.box.lower[0]) < Fraction(1, 10) < Fraction(disjunct.box.least[0])
    assert spec.shapes == ((2, 2), ())
    [above, below] = read(tmp_path, f"{head}{box}(assert (!= b 0.5))").disjuncts
    assert {(above.rows[0].offset, above.rows[0].strict), (below.rows[0].offset, below.rows[0].strict)} == {
        (Fraction(1, 2), True),
        (Fraction(-1, 2), True),
    }


def test_check_answers_both_versions_alike(tmp_path: Path) -> None:
    weights = np.array([[1.0, -1.0], [0.5, 2.0]])
    net = load_network(write_mlp(tmp_path / "n.onnx", [(weights, np.zeros(2)), (np.ones((1, 2)), np.zeros(1))]))
    head = "(vnnlib-version <2.0>)(declare-network n (declare-input X real [1,2])(declare-output Y real [1,1]))"
    box = boxed(2, -1, 1)
    for side in (3.4, 3.6):
        first = declared(2, 1) + box + f"(assert (>= Y_0 {side}))"
        asserted = "".join(f"(assert ({op} X[0,{i}] {v}.0))" for i in range(2) for op, v in ((">=", "-1"), ("<=", "1")))
        results = [
            check(net, read(tmp_path, text)) for text in (first, head + asserted + f"(assert (>= Y[0,0] {side}))")
        ]
        assert results[0].outcome == results[1].outcome
        assert results[0].upper == results[1].upper
    other = head.replace("[1,2]", "[2,1,3]") + "".join(
        f"(assert (>= X[{i},0,{j}] 0.0))(assert (<= X[{i},0,{j}] 1.0))" for i in range(2) for j in range(3)
    )
    six = load_network(write_mlp(tmp_path / "m.onnx", [(np.ones((1, 6)), np.zeros(1))]))
    with pytest.raises(SpecificationError, match=r"declares an input of shape \[2, 1, 3\], m.onnx has one of \[6\]"):
        check_fits(six, read(tmp_path, other + "(assert (>= Y[0,0] 0.0))"))


REFUSED = {
    "(vnnlib-version <3.0>)" + HEAD.partition("\n")[2] + BOX: "the version <3.0>; <2.0> is accepted",
    HEAD.replace("real", "float64")
    + BOX
    + "(assert (<= Y[0,0] 0.5))": "type float64, of whose arithmetic nothing is proven",
    HEAD.replace("Y real", "Y float32") + BOX + "(assert (<= Y[0,0] 0.5))": "elements of different types",
    HEAD.replace("real", "Real") + BOX + "(assert (<= Y[0,0] 0.5))": "type Unknown",
    HEAD.replace("(declare-output", '(declare-hidden H real [1] "h")(declare-output') + BOX: "a name in quotes",
    HEAD.replace(")\n)", ")\n(declare-output Z real [1]))") + BOX: "2 outputs are declared",
    HEAD + "(declare-network b (declare-input U real [1])(declare-output V real [1]))" + BOX: "2 networks are declared",
    HEAD.replace("[1,3]", "[0,3]") + "(assert (<= Y[0,0] 0.5))": "",
    HEAD.replace("[1,3]", "[1048576,3]") + "(assert (<= Y[0,0] 0.5))": "the shape [1048576, 3]",
    HEAD + BOX: "compares no output",
    HEAD
    + "(assert (<= Y[0,0] 0.5))": "X[0,0] has no lower side; one is needed for every input, as (assert (>= X[0,0] 0.5))",
    HEAD + BOX + "(assert (<= Y[0,2] 0.5))": "line 9: Index out of bounds",
    HEAD + BOX + "(assert (<= Y[0] 0.5))": "Not enough indices",
    HEAD + BOX + "(assert (<= Y[0,0] 1))": "found a PositiveIntConstant",
    HEAD + BOX + "(assert (<= Y[0,0] 99999999999999999999))": "whole numbers below",
    HEAD + BOX + "(assert (<= Y[0,0] 1e5))": "syntax error",
    HEAD + BOX + "(assert (<= (* Y[0,0] X[0,0]) 0.5))": "line 9: a product of variables",
    HEAD + BOX + "(assert (<= Y[0,0] " + "1" * 350 + ".0))": "",
    HEAD + BOX + "(assert (<= Y[0,0] " + "(+ 1.0 " * 100 + ")" * 100 + "))": "nested more than 64",
    HEAD + "(" * 200000: "nested more than 64",
    HEAD + BOX + "(assert (<= Y[0,0] 0.5)": "never closed",
    HEAD + BOX + ")": "a ) too many",
    HEAD + BOX + "(assert (<= Y[0,0] \xe9))": "ASCII",
    HEAD + BOX + "(assert (or " + "(<= Y[0,0] 0.5) " * 33000 + "))": "at most 32768",
    HEAD
    + BOX
    + "(assert (and (or (<= Y[0,0] 0.0) (<= Y[0,1] 0.0))"
    + "(or (<= Y[0,0] 0.0) (<= Y[0,1] 0.0))" * 16
    + "))": "32768",
}


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: repr(text[-40:]))
def test_refusals_are_one_line_that_says_what_was_found(text: str, tmp_path: Path) -> None:
    with pytest.raises(SpecificationError, match=r"accepted|needed|closed|too many|give a") as caught:
        read(tmp_path, text.encode("latin-1"))
    message = str(caught.value)
    assert REFUSED[text] in message
    assert message.isprintable()
    assert message.startswith(str(tmp_path))


def test_comments_hide_nothing_however_lines_end(tmp_path: Path) -> None:
    """The package ends a comment at a line feed alone, so that it would lose what stands behind a carriage return."""
    text = HEAD + BOX + "; said\r(assert (<= Y[0,0] 0.5))\n"
    [disjunct] = read(tmp_path, text).disjuncts
    assert len(disjunct.rows) == 1
    packed = read(tmp_path, gzip.compress(b"\xef\xbb\xbf" + text.encode()), "s.vnnlib.gz")
    assert sets(packed) == sets(read(tmp_path, text))


def test_without_the_package_the_way_out_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vnnlib", None)
    with pytest.raises(SpecificationError, match=r"pip install 'wdaverify\[vnnlib\]'"):
        read(tmp_path, HEAD + BOX)


def test_long_files_are_refused_before_they_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "MAX_BYTES", 100)
    with pytest.raises(SpecificationError, match="at most 100 are accepted"):
        read(tmp_path, HEAD + BOX)
