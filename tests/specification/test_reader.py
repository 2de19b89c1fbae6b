"""VNN-LIB text, in every form that is accepted, and what is refused."""

from __future__ import annotations

import gzip
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from specification.formulas import boxed, declared, formula, normal_form_holds

from wdaverify.errors import InputError, SpecificationError
from wdaverify.specification import formulas
from wdaverify.specification.model import Box, Disjunct, Row, Specification
from wdaverify.specification.reader import load_specification

HEAD = declared(2, 2) + boxed(2, -1, 1)


def read(tmp_path: Path, text: str | bytes, name: str = "s.vnnlib") -> Specification:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_specification(path)


def rows(spec: Specification) -> list[list[tuple[dict[str, Fraction], Fraction, bool]]]:
    """By disjunct, each row as coefficients by name, offset and whether it is strict."""
    return [
        [
            (
                {f"Y_{j}": c for j, c in row.outputs} | {f"X_{i}": c for i, c in row.inputs},
                row.offset,
                row.strict,
            )
            for row in disjunct.rows
        ]
        for disjunct in spec.disjuncts
    ]


F = Fraction
FORMS = {
    "(assert (<= Y_0 Y_1))": [[({"Y_0": F(-1), "Y_1": F(1)}, F(0), False)]],
    "(assert (>= Y_0 Y_1))": [[({"Y_0": F(1), "Y_1": F(-1)}, F(0), False)]],
    "(assert (< Y_0 0.1))": [[({"Y_0": F(-1)}, F(1, 10), True)]],
    "(assert (> Y_0 -1.5e-1))": [[({"Y_0": F(1)}, F(3, 20), True)]],
    "(assert (<= 0.5 Y_0))": [[({"Y_0": F(1)}, F(-1, 2), False)]],
    "(assert (>= (- 2) Y_0))": [[({"Y_0": F(-1)}, F(-2), False)]],
    "(assert (= Y_0 1))": [[({"Y_0": F(-1)}, F(1), False), ({"Y_0": F(1)}, F(-1), False)]],
    "(assert (<= -1 Y_0 1))": [[({"Y_0": F(1)}, F(1), False), ({"Y_0": F(-1)}, F(1), False)]],
    "(assert (<= (+ Y_0 (* 2.0 Y_1) 1) (- Y_1 3 Y_0)))": [[({"Y_0": F(-2), "Y_1": F(-1)}, F(-4), False)]],
    "(assert (<= (* Y_0 -2) X_1))": [[({"Y_0": F(2), "X_1": F(1)}, F(0), False)]],
    "(assert (<= (/ Y_0 4) (/ 1 2 2)))": [[({"Y_0": F(-1, 4)}, F(1, 4), False)]],
    "(assert (<= (- X_0 X_1) 0))": [[({"X_0": F(-1), "X_1": F(1)}, F(0), False)]],
    "(assert (or (and (>= Y_0 1)) (and (<= Y_0 0) (<= Y_1 0))))": [
        [({"Y_0": F(1)}, F(-1), False)],
        [({"Y_0": F(-1)}, F(0), False), ({"Y_1": F(-1)}, F(0), False)],
    ],
    "(assert (or (>= Y_0 1) (>= Y_1 1)))": [[({"Y_0": F(1)}, F(-1), False)], [({"Y_1": F(1)}, F(-1), False)]],
    "(assert (and (or (>= Y_0 1) (>= Y_1 1)) (<= Y_0 2)))": [
        [({"Y_0": F(-1)}, F(2), False), ({"Y_0": F(1)}, F(-1), False)],
        [({"Y_0": F(-1)}, F(2), False), ({"Y_1": F(1)}, F(-1), False)],
    ],
    "(assert (or (>= Y_0 1) (>= 0 1)))": [[({"Y_0": F(1)}, F(-1), False)]],
    "(assert (>= Y_0 1)) (assert (<= 0 1))": [[({"Y_0": F(1)}, F(-1), False)]],
    "(assert (>= Y_0 +1.)) ; a comment ) é\n(check-sat)": [[({"Y_0": F(1)}, F(-1), False)]],
    '(set-logic QF_LRA)(set-info :source "a ( in a text")(assert\n(>= Y_0\t.5))(exit)': [
        [({"Y_0": F(1)}, F(-1, 2), False)]
    ],
}


@pytest.mark.parametrize("text", FORMS)
def test_forms_of_rows(text: str, tmp_path: Path) -> None:
    spec = read(tmp_path, HEAD + text)
    assert rows(spec) == FORMS[text]
    assert (spec.inputs, spec.outputs) == (2, 2)


def test_other_declarations_and_a_packed_file(tmp_path: Path) -> None:
    text = "(declare-fun Y_0 () Real)(declare-fun X_1 () Real)(declare-const X_0 Real)" + boxed(2, 0, 1)
    data = (text + "(assert (<= Y_0 0))").encode()
    plain, packed = read(tmp_path, data), read(tmp_path, gzip.compress(data), "s.vnnlib.gz")
    assert rows(plain) == rows(packed)
    assert plain.sha256 == packed.sha256
    assert repr(packed) == "Specification(s.vnnlib.gz: 2 inputs, 1 outputs, 1 disjunct)"
    assert read(tmp_path, b"\xef\xbb\xbf" + data.replace(b"\n", b"\r\n")).inputs == 2


def test_sides_are_the_tightest_and_rounded_outward(tmp_path: Path) -> None:
    text = "(assert (<= (* 3 X_0) 1))(assert (<= X_0 0.9))(assert (>= 0.7 X_1))(assert (< 0.1 X_1))(assert (>= Y_0 0))"
    spec = read(tmp_path, HEAD + text)
    box = spec.disjuncts[0].box
    for doubles, sides in ((box.upper, (F(1, 3), F(7, 10))), (box.lower, (F(-1), F(1, 10)))):
        for got, exact in zip(doubles.tolist(), sides, strict=True):
            assert abs(F(got) - exact) <= F(1, 2**53)
    assert F(box.upper[0]) > F(1, 3) > F(box.most[0])
    assert F(box.lower[1]) < F(1, 10)
    assert (box.least[1], box.most[1]) == (0.1, 0.7)
    assert rows(spec) == [[({"X_1": F(1)}, F(-1, 10), True), ({"Y_0": F(1)}, F(0), False)]]


def test_several_boxes(tmp_path: Path) -> None:
    """As of ACAS Xu's property 6, of both kinds: boxes in a disjunction of their own, and beside rows."""
    own = "(assert (or (and (<= X_0 0) (>= X_1 0.5)) (and (>= X_0 0.25))))(assert (or (>= Y_0 1) (>= Y_1 1)))"
    spec = read(tmp_path, HEAD + own)
    assert len(spec.disjuncts) == 4
    assert sorted({(*d.box.lower.tolist(), *d.box.upper.tolist()) for d in spec.disjuncts}) == [
        (-1.0, 0.5, 0.0, 1.0),
        (0.25, -1.0, 1.0, 1.0),
    ]
    beside = "(assert (or (and (<= X_0 0) (>= Y_0 1)) (and (>= X_0 0) (>= Y_1 1))))"
    spec = read(tmp_path, declared(1, 2) + boxed(1, -1, 1) + beside)
    assert [(d.box.lower[0], d.box.upper[0]) for d in spec.disjuncts] == [(-1, 0), (0, 1)]
    alone = "(assert (or (and (>= X_0 0) (<= X_0 1) (>= Y_0 1)) (and (>= X_0 3) (<= X_0 3) (>= Y_0 2))))"
    spec = read(tmp_path, declared(1, 1) + alone)
    assert [(d.box.least[0], d.box.most[0]) for d in spec.disjuncts] == [(0, 1), (3, 3)]


def test_what_contradicts_itself_is_dropped(tmp_path: Path) -> None:
    spec = read(tmp_path, HEAD + "(assert (or (and (<= X_0 -2) (>= Y_0 1)) (and (>= X_0 0) (>= Y_1 1))))")
    assert (len(spec.disjuncts), spec.dropped) == (1, 1)
    assert read(tmp_path, HEAD + "(assert (>= X_0 2))(assert (>= Y_0 1))").disjuncts == ()
    assert read(tmp_path, HEAD + "(assert (<= 1 0))(assert (>= Y_0 1))").disjuncts == ()
    for strict in ("(> X_0 1)", "(< X_0 -1)", "(and (> X_0 0) (<= X_0 0))", "(and (< X_1 0.5) (>= X_1 0.5))"):
        assert read(tmp_path, f"{HEAD}(assert {strict})(assert (>= Y_0 -100))").disjuncts == (), strict
    for some in ("(> X_0 0.99)", "(and (>= X_0 0) (<= X_0 0))", "(and (> X_1 0.4) (<= X_1 0.5))"):
        assert len(read(tmp_path, f"{HEAD}(assert {some})(assert (>= Y_0 -100))").disjuncts) == 1, some


REFUSED = {
    "": "no input is declared",
    "(declare-const X_0 Real)": "no output is declared",
    "(declare-const X_1 Real)(declare-const Y_0 Real)": "X_0 is not",
    "(declare-const X_0 Int)": "line 1: the declaration declare-const X_0 Int",
    "(declare-const Z Real)": "the declaration",
    "(declare-const X_00 Real)": "the declaration",
    "(declare-fun X_0 (Real) Real)": "the operator Real",
    "(declare-const X_9999999 Real)": "at most 1048576",
    "(declare-const X_0 Real)(declare-const X_0 Real)": "declared twice",
    "\n\n(assert (<= X_0 1))": "line 3: X_0 is not declared",
    "(declare-network N)": "VNN-LIB 2.0",
    "(vnnlib-version <2.0>)": "accepted is VNN-LIB 2.0",
    "(push 1)": "the command push",
    "assert": "outside of parentheses",
    "(": "never closed",
    ")": "a ) too many",
    '(set-info "': 'a " that never ends',
    "()": "without an operator",
    "((and))": "an operator is expected",
    "(assert)": "anything but one formula",
    "\xff\xfe(": "UTF-16",
    "\xe9": "outside of parentheses",
    "PK\x03\x04": "an archive",
    HEAD: "compares no output",
    declared(1, 1) + "(assert (<= X_0 1))(assert (<= Y_0 1))": "X_0 has no lower side",
    declared(2, 1) + "(assert (<= X_0 1))(assert (>= X_0 1))(assert (<= Y_0 1))": "X_1 has no lower side",
    declared(1, 1) + "(assert (>= X_0 1))(assert (<= Y_0 1))": "X_0 has no upper side",
    HEAD + "(assert (not (<= Y_0 1)))": "line 9: the operator not",
    HEAD + "(assert (=> (<= Y_0 1) (<= Y_0 1)))": "the operator =>",
    HEAD + "(assert (<= Y_0 true))": "true; accepted are decimal numbers",
    HEAD + "(assert (<= Y_0 0x10))": "0x10; accepted",
    HEAD + "(assert (<= Y_0 nan))": "nan; accepted",
    HEAD + "(assert (<= Y_0 1_0))": "1_0; accepted",
    HEAD + "(assert (<= Y_2 1))": "Y_2 is not declared",
    HEAD + "(assert (<= (* X_0 Y_0) 1))": "a product of variables",
    HEAD + "(assert (<= (/ 1 Y_0) 1))": "a division",
    HEAD + "(assert (<= (/ Y_0 0) 1))": "a division by 0",
    HEAD + "(assert (<= Y_0))": "<= of 1 sides",
    HEAD + "(assert (<= (+) Y_0))": "+ of nothing",
    HEAD + "(assert (and))": "and of a number, or of nothing",
    HEAD + "(assert (or 1 (<= Y_0 1)))": "or of a number",
    HEAD + "(assert (<= Y_0 (<= Y_0 1)))": "<= of a comparison",
    HEAD + "(assert 1)": "anything but one formula",
    HEAD + "(assert (<= Y_0 1) (<= Y_0 1))": "anything but one formula",
    HEAD + "(assert (<= Y_0 (assert (<= Y_0 1))))": "the operator assert",
    HEAD + "(assert (<= Y_0 1e301))": "beyond 1e300",
    HEAD + "(assert (<= Y_0 1e99999))": "an exponent beyond",
    HEAD + "(assert (<= Y_0 1e99999999999))": "accepted are decimal numbers",
    HEAD + "(assert (<= Y_0 " + "1" * 500 + "))": "a word of 500 characters",
    HEAD + "(assert (<= (* 1e-300 X_0) 1e299))(assert (<= Y_0 0))": "a side of X_0 beyond",
    HEAD + "(assert (<= Y_0 (* 1e200 1e200)))": "beyond 1e300",
    HEAD + "(assert (<= Y_0 " + "(+ 1 " * 100 + ")" * 100 + "))": "nested more than 64",
    HEAD + "(assert (<= Y_0 " + "(* 1.37e-290 " * 30 + "Y_0" + ")" * 30 + "))": "bits",
    HEAD + "(assert (or (<= Y_0 0) (<= Y_1 0)))" * 16: "at most 32768",
}


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: repr(text[-40:]))
def test_refusals_are_one_line_that_says_where(text: str, tmp_path: Path) -> None:
    with pytest.raises(
        SpecificationError, match=r"accepted|needed|declares|closed|end in|cut off|too many|give a"
    ) as caught:
        read(tmp_path, text.encode("latin-1"))
    message = str(caught.value)
    assert REFUSED[text] in message
    assert message.isprintable()
    assert message.startswith(str(tmp_path))
    assert isinstance(caught.value, InputError)


def test_a_comment_ends_with_its_line_however_lines_end(tmp_path: Path) -> None:
    rows = ["(assert (>= Y_0 0)) ; hello", "(assert (<= Y_0 1))", ""]
    expected = read(tmp_path, HEAD + "\n".join(rows)).disjuncts
    for end in ("\r", "\r\n"):
        found = read(tmp_path, HEAD + end.join(rows)).disjuncts
        assert [len(d.rows) for d in found] == [len(d.rows) for d in expected] == [2]


@pytest.mark.parametrize("asking", ["check-sat", "exit", "get-model"])
def test_nothing_behind_the_question_belongs_to_it(asking: str, tmp_path: Path) -> None:
    with pytest.raises(SpecificationError, match=rf"an assertion behind \({asking}\)"):
        read(tmp_path, f"{HEAD}(assert (<= 0 Y_0))({asking})(assert (<= Y_0 -1))")
    read(tmp_path, f"{HEAD}(assert (<= 0 Y_0))({asking})")


def test_a_damaged_packed_file_is_refused(tmp_path: Path) -> None:
    data = gzip.compress((HEAD + "(assert (<= Y_0 0))").encode())
    for broken in (data[:-9], data[:12], data + b"\0", data[:20] + b"\xff\xff\xff" + data[23:]):
        with pytest.raises(SpecificationError, match=r"\.gz file is"):
            read(tmp_path, broken)
    with pytest.raises(SpecificationError, match="unpacks to"):
        read(tmp_path, gzip.compress(b" " * 2**26, 1))


def random_file(rng: np.random.Generator) -> tuple[str, list[object]]:
    sizes = int(rng.integers(1, 4)), int(rng.integers(1, 4))
    made = [formula(rng, sizes, int(rng.integers(4))) for _ in range(int(rng.integers(1, 4)))]
    text = declared(*sizes) + boxed(sizes[0], -2, 2)
    asserts = [f"(assert {part})\n" for part, _ in made]
    rng.shuffle(asserts)
    return text + "".join(asserts) + "(assert (>= Y_0 -99))\n", [sizes, [value for _, value in made]]


@pytest.mark.parametrize("count", [150, pytest.param(3000, marks=pytest.mark.full)])
def test_normal_forms_say_what_random_formulas_say(count: int, tmp_path: Path) -> None:
    """At points of a coarse grid, on which sides and ties are hit often."""
    seen = {True: 0, False: 0}
    for number in range(count):
        rng = np.random.default_rng([5, number])
        text, (sizes, holds) = random_file(rng)
        spec = read(tmp_path, text)
        for _ in range(40):
            point = tuple((rng.integers(-10, 11, size=size) / 4).tolist() for size in sizes)
            want = all(value(point) for value in holds) and all(-2 <= v <= 2 for v in point[0])
            assert normal_form_holds(spec, point) == want, text
            seen[want] += 1
    assert min(seen.values()) > 4 * count


@pytest.mark.parametrize("fault", ["swapped", "dropped row", "lost disjunct", "lost side"])
def test_a_planted_fault_is_seen(fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the comparison above is worth: each of these breaks it."""
    from wdaverify.specification import commands, reader

    if fault == "swapped":
        monkeypatch.setattr(commands, "compared", lambda op, terms: formulas.compared(op, terms[::-1]))
    if fault == "dropped row":
        monkeypatch.setattr(commands, "both", lambda parts: formulas.both(parts[:1]))
    if fault == "lost disjunct":
        monkeypatch.setattr(commands, "either", lambda parts: formulas.either(parts[:-1] or parts))
    if fault == "lost side":
        monkeypatch.setattr(
            reader._Boxes, "within", lambda self, part: self._box(self._common.lower, self._common.upper)
        )
    with pytest.raises(AssertionError):
        test_normal_forms_say_what_random_formulas_say(150, tmp_path)


def test_specifications_of_ones_own_are_checked() -> None:
    box = Box.exact([F(0)], [F(1, 3)])
    row = Row(((0, F(1)),), (), F(0))
    spec = Specification(1, 1, (Disjunct(box, (row,)),), "mine", "")
    assert row.value([0.0], [-0.5]) == F(-1, 2)
    assert Row(((0, 0.5),), ((0, 2),), 0.1).offset == F(0.1)
    assert Row(((0, np.float64(0.5)),), (), 1) == Row(((0, F(1, 2)),), (), F(1))
    assert repr(spec) == "Specification(mine: 1 inputs, 1 outputs, 1 disjunct)"
    for make in (
        lambda: Disjunct(box, ()),
        lambda: Box.exact([F(1)], [F(0)]),
        lambda: Box(box.least, box.most, box.lower, box.upper),
        lambda: Specification(2, 1, spec.disjuncts, "mine", ""),
        lambda: Specification(1, 1, (Disjunct(box, (Row(((1, F(1)),), (), F(0)),)),), "mine", ""),
        lambda: Specification(1, 1, (row,), "mine", ""),
        lambda: Row(((0, F(0)),), (), F(0)),
        lambda: Row(((1, F(1)), (0, F(1))), (), F(0)),
        lambda: Row(((0, F(1)), (0, F(1))), (), F(0)),
        lambda: Row(((0, "1"),), (), F(0)),
        lambda: Row((), ((0, F(1)),), float("nan")),
    ):
        with pytest.raises(SpecificationError):
            make()


def test_published_files_are_read(vnncomp: Path) -> None:
    shapes = {
        "acasxu/prop_2.vnnlib.gz": (5, 5, [4]),
        "mnist_fc/prop_0_0.03.vnnlib.gz": (784, 10, [1] * 9),
        "reach_prob_density/vdp_0.vnnlib.gz": (3, 3, [5]),
        "rl_benchmarks/cartpole_case_safe_14.vnnlib.gz": (4, 2, [1]),
        "test/test_nano.vnnlib": (1, 1, [1]),
    }
    for name, (inputs, outputs, count) in shapes.items():
        spec = load_specification(vnncomp / name)
        assert (spec.inputs, spec.outputs, [len(d.rows) for d in spec.disjuncts]) == (inputs, outputs, count)
