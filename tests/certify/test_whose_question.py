"""What a certificate states may be its author's choice: recheck takes the question from its user, and says it in full.

The right values are by hand; what a refusal says to add is run as it stands.
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable
from contextlib import chdir
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import write_mlp
from jsonschema import Draft202012Validator

from wdaverify import (
    Certificate,
    Functionals,
    LinearRows,
    Loss,
    Samples,
    WdroProblem,
    cli,
    load_network,
    load_samples,
    make_samples,
    read_certificate,
    recheck,
    write_certificate,
)
from wdaverify.ground import GroundCost, Norm, Support
from wdaverify.report import as_json

POINTS = [[0.9, 0.9], [0.8, 0.7], [0.95, 0.6], [0.7, 0.9]]


@dataclass(frozen=True)
class Case:
    """A network and samples, how the certificate's author asked, the value of that and the value of the plain reading."""

    layers: list[tuple[list[list[float]], list[float]]]
    data: str
    asked: list[str]
    value: float
    plain: float
    says: list[str]


# margins 10 (x0 + x1) - 5 at radius 0.05 rise by 1 at most: the mean of 13, 10, 10.5, 11 is 11.125; at (0.1, 0.11) it is -2.9
SUM = [([[1.0, 1.0]], [0.0]), ([[0.0], [10.0]], [0.0, -5.0])]
CASES = {
    "a box of its own, and samples moved onto it": Case(
        SUM,
        "two.npz",
        ["--clip", "--support-file", "box.toml"],
        -2.9,
        12.125,
        ["[0, 0.1] x [0, 0.11]", "4 of them MOVED", "0.850001 in the ground cost", "all 4 of two.npz", "labels in y"],
    ),
    # 10 x - 2 against 0: by the last column class 0 at x = 1, worth 8; by the first class 1 at x = 0, worth 2
    "another column for the labels": Case(
        [([[0.0], [10.0]], [0.0, -2.0])],
        "flags.csv",
        ["--label-column", "flag"],
        2.0,
        8.0,
        ["[0, 1]^1", "labels in column 0 ('flag'), NOT the last", "none of them moved"],
    ),
    # max(0, x - 0.9999996) 1e8 - 5 is -5 on the box below, and 35 at x = 1
    "a box that is nearly the plain one": Case(
        [([[1.0]], [-0.9999996]), ([[0.0], [1e8]], [0.0, -5.0])],
        "one.npz",
        ["--support", "0", "0.9999996", "--gap", "1e-4"],
        -5.0,
        35.0,
        ["[0, 0.9999996]^1", "all 1 of one.npz"],
    ),
    # x0 + x1 <= 1.8 + 0.1 on either box
    "a wider box": Case(
        SUM, "two.npz", ["--support", "-0.5", "1.5"], 12.125, 0.0, ["[-0.5, 1.5]^2", "none of them moved"]
    ),
    "the first samples only": Case(
        SUM, "two.npz", ["--samples", "1"], 14.0, 12.125, ["the first 1 of the 4 of two.npz", "[0, 1]^2"]
    ),
    "the norm l1, stated": Case(SUM, "two.npz", ["--norm", "1"], 11.625, 12.125, ["l1 cost"]),
}
RADIUS = {"a box that is nearly the plain one": "0.5"}
DEPARTS = [name for name in CASES if "stated" not in name]


def run(*arguments: object) -> int:
    return cli._run([str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def author(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a case's author: the files that everybody has, the certificate and the result."""

    @cache
    def folder(name: str) -> Path:
        case, place = CASES[name], tmp_path_factory.mktemp("author")
        write_mlp(place / "net.onnx", [(np.array(w), np.array(b)) for w, b in case.layers], dtype=np.float64)
        np.savez(place / "two.npz", x=np.array(POINTS), y=np.zeros(4, int))
        np.savez(place / "one.npz", x=np.array([[0.9]]), y=np.zeros(1, int))
        (place / "flags.csv").write_text("flag,label\n1,0\n1,0\n1,0\n")
        (place / "box.toml").write_text("lower = [0.0, 0.0]\nupper = [0.1, 0.11]\n")
        ask = ["net.onnx", case.data, "--radius", RADIUS.get(name, "0.05"), "--jobs", "1", "--quiet"]
        with chdir(place):
            assert run("verify", *ask, *case.asked, "--certificate", "a.cert", "--output", "a.json") in (0, 3)
        (place / "box.toml").unlink()
        return place

    return folder


@pytest.fixture
def made(
    request: pytest.FixtureRequest, author: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Case:
    """A case, in a folder with its files and no more of the author's than was sent."""
    shutil.copytree(author(request.param), tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return CASES[request.param]


def way_out(err: str) -> list[str]:
    """The options of a refusal, with the file that it tells of."""
    [(typed, toml)] = re.findall(r"ask for it with (.*?)(?:, where box\.toml says (.*))?\n", err)
    if toml:
        Path("box.toml").write_text("\n".join(toml.split(" and ")))
    return shlex.split(typed)


@pytest.mark.parametrize("made", DEPARTS, indirect=True)
def test_another_question_is_refused_with_the_way_to_ask_it(made: Case, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("recheck", "net.onnx", made.data, "a.cert", "--output", "verdict.json") == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert "another question than the one asked" in said.err
    assert not Path("verdict.json").exists()
    options = way_out(said.err)
    assert run("recheck", "net.onnx", made.data, "a.cert", "--output", "verdict.json", *options) == 0
    told = json.loads(Path("verdict.json").read_text())
    assert told["lower"] - 1e-9 <= made.value <= told["upper"] + 1e-9
    assert not told["lower"] <= made.plain <= told["upper"]


@pytest.mark.parametrize("made", CASES, indirect=True)
def test_the_theorem_says_its_question_in_full(made: Case, capsys: pytest.CaptureFixture[str]) -> None:
    status = run("recheck", "net.onnx", made.data, "a.cert", "--output", "v.json")
    if status:
        status = run(
            "recheck", "net.onnx", made.data, "a.cert", "--output", "v.json", *way_out(capsys.readouterr().err)
        )
    assert status == 0
    out = " ".join(capsys.readouterr().out.split())
    told = json.loads(Path("v.json").read_text())
    Draft202012Validator(as_json.schema("verdict")).validate(told)
    for words in (*made.says, told["network_sha256"], told["samples_sha256"], "equal weights"):
        assert words in out
    [claimed] = re.findall(r"claimed \[(\S+), (\S+)\]", out)
    certificate = read_certificate("a.cert")
    assert [float(text) for text in claimed] == [certificate.lower, certificate.upper]
    assert told["samples"] == certificate.count
    assert told["support"] == as_json.support_json(Support(certificate.support_lower, certificate.support_upper))


@pytest.mark.parametrize("made", ["a box of its own, and samples moved onto it"], indirect=True)
def test_the_verdict_counts_what_was_moved(made: Case) -> None:
    Path("box.toml").write_text("lower = 0.0\nupper = [0.1, 0.11]\n")
    assert run("recheck", "net.onnx", made.data, "a.cert", *made.asked, "--output", "v.json", "--quiet") == 0
    told = json.loads(Path("v.json").read_text())
    truth = max(Fraction(v) - Fraction(top) for x in POINTS for v, top in zip(x, (0.1, 0.11), strict=True))
    assert told["moved"]["samples"] == 4
    for field in ("cost", "linf"):
        assert truth <= Fraction(told["moved"][field]) <= truth * (1 + Fraction(1, 10**12))
    assert told["label_column"] is None
    assert (told["samples_in_file"], told["source"]) == (4, "two.npz")


@pytest.mark.parametrize("made", ["the norm l1, stated"], indirect=True)
@pytest.mark.parametrize(
    ("option", "value", "right"),
    [
        ("--radius", "0.0500001", "0.05"),
        ("--norm", "inf", "1"),
        ("--norm", "2", "1"),
        ("--order", "inf", "1"),
        ("--loss", "zero-one", "margin"),
        ("--samples", "3", "4"),
    ],
)
def test_what_is_stated_must_agree(
    made: Case, option: str, value: str, right: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("recheck", "net.onnx", made.data, "a.cert", option, value) == 2
    assert f"ask for it with {option} {right}\n" in capsys.readouterr().err
    assert run("recheck", "net.onnx", made.data, "a.cert", option, right) == 0


@pytest.mark.parametrize("made", ["the norm l1, stated"], indirect=True)
@pytest.mark.parametrize(
    "support",
    [
        ["--support", "none"],
        ["--support", "0", "2"],
        ["--support-file", "cut.toml"],
        ["--support-file", "whole.toml"],
    ],
)
def test_the_support_must_be_the_one_that_was_asked_for(
    made: Case, support: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A proof on a smaller box, or on a box where a cut one was asked for, is another theorem."""
    Path("cut.toml").write_text("lower = 0.0\nupper = 1.0\n[[rows]]\ncoefficients = [1.0, 1.0]\nupper = 2.5\n")
    Path("whole.toml").write_text("lower = 0.0\nupper = 1.0\ninteger = [1]\n")
    assert run("recheck", "net.onnx", made.data, "a.cert", *support) == 2
    assert "ask for it with --support 0 1\n" in capsys.readouterr().err
    Path("same.toml").write_text("lower = [0.0, 0.0]\nupper = 1.0\n")
    assert run("recheck", "net.onnx", made.data, "a.cert", "--support-file", "same.toml", "--quiet") == 0


def test_a_box_of_many_sides_is_refused_with_a_command_that_writes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    upper = 1.0 + rng.uniform(size=12)
    write_mlp(Path("net.onnx"), [(rng.normal(size=(2, 12)), np.zeros(2))], dtype=np.float64)
    np.savez("x.npz", x=rng.uniform(size=(2, 12)), y=np.zeros(2, int), w=np.array([1.0, 3.0]))
    np.savez("author.npz", lower=np.zeros(12), upper=upper)
    ask = ["net.onnx", "x.npz", "--radius", "0.01", "--support-file", "author.npz", "--jobs", "1", "--quiet"]
    assert run("verify", *ask, "--certificate", "it's.cert") == 0
    capsys.readouterr()
    assert run("recheck", "net.onnx", "x.npz", "it's.cert") == 2
    err = capsys.readouterr().err
    assert f"between 0 and {float(upper.max())!r}" in err
    [code] = re.findall(r"python -c (.*)\n", err)
    exec(shlex.split(code)[0], {})
    assert run("recheck", "net.onnx", "x.npz", "it's.cert", "--support-file", "box.npz", "--output", "v.json") == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "12 different sides" in out
    assert "in the JSON of --output" in out
    assert "weighted by the file's w" in out
    told = json.loads(Path("v.json").read_text())
    assert told["support"]["upper"] == upper.tolist()
    assert told["equal_weights"] is False


# Forgeries: one field after the other, in a file that is well formed


@dataclass(frozen=True)
class Forged:
    """How a field is changed, and the exit statuses that may follow on the plain question."""

    change: Callable[[Certificate], Any]
    statuses: tuple[int, ...] = (1, 2)
    in_python: bool = False
    """Whether the same problem is proved all the same from Python, where the samples are the caller's own."""


def _other(text: str) -> str:
    return ("0" if text[0] != "0" else "1") + text[1:]


def constants(*values: Any) -> list[Forged]:
    return [Forged(partial(lambda value, _: value, value)) for value in values]


FORGERIES = {
    "network_sha256": [Forged(lambda c: _other(c.network_sha256)), Forged(lambda c: "")],
    "samples_sha256": [Forged(lambda c: _other(c.samples_sha256)), Forged(lambda c: "")],
    "count": constants(0, -1, 1, 3, 5, 2**53),
    # nothing lies outside the box, so that moving changes nothing: the same theorem
    "clip": [Forged(lambda c: True, (0,), in_python=True)],
    "label_column": [replace(f, statuses=(2,), in_python=True) for f in constants("0", "y", "\x1b[2J\n")],
    "radius": constants(0.0, 0.0499, -0.05, 1.0),
    "order": constants(0, 2, -1, 1.5, np.inf),
    "label_cost": constants(0.5, 0.0, -1.0),
    "weights_sha256": constants("0" * 64, ""),
    "rows_sha256": constants("0" * 64, ""),
    "integers_sha256": constants("0" * 64, ""),
    "functionals_sha256": constants("0" * 64, ""),
    "rows": [Forged(lambda c: 1)],
    "margins": [Forged(lambda c: 1)],
    "far_neurons": [Forged(lambda c: 1)],
    "slopes": [
        Forged(lambda c: (replace(c.proofs[0], trees=()),), (0,), in_python=True)
    ],  # of a box nothing is far away
    "of": constants("curve", "distances"),
    "claims": [Forged(lambda c: np.array([[0.0, 0.0, 0.0]]), (0,), in_python=True)],  # a value has none
    "lines": [Forged(lambda c: np.ones(2), (0,), in_python=True)],
    "witness_radius": [Forged(lambda c: np.ones(2), (0,), in_python=True)],
    "atom_witness": [Forged(lambda c: np.ones(2, np.int64), (0,), in_python=True)],
    "atom_label": [
        Forged(lambda c: np.ones(c.atom_sample.size, np.int64)),
        Forged(lambda c: np.full(c.atom_sample.size, 7)),
    ],
    "arithmetic": constants("float32", "float64", ""),
    "norm": constants("1", "2", "l-inf", ""),
    "loss": constants("zero-one", "hinge", "linear", ""),
    "support_lower": [
        Forged(lambda c: c.support_lower + 0.25),
        Forged(lambda c: c.support_lower - 1e-9),
        Forged(lambda c: c.support_lower * np.nan),
        Forged(lambda c: np.full(2, -np.inf)),
    ],
    "support_upper": [
        Forged(lambda c: c.support_upper - 1e-12),
        Forged(lambda c: c.support_upper + 1.0),
        Forged(lambda c: np.array([1.0, np.inf])),
        Forged(lambda c: np.array([np.inf, np.inf])),
    ],
    "specification_sha256": constants("0" * 64, ""),
    "lower": [Forged(lambda c: c.lower + 1e-4)],
    "upper": [Forged(lambda c: c.upper - 1e-4)],
    "multiplier": constants(-1.0, np.inf, 2.0),
    "neurons": [Forged(lambda c: 0), Forged(lambda c: 2)],
    "atom_sample": [Forged(lambda c: c.atom_sample[::-1]), Forged(lambda c: c.atom_sample + 4)],
    "atom_weight": [Forged(lambda c: c.atom_weight * 2), Forged(lambda c: c.atom_weight * 0)],
    "atom_point": [Forged(lambda c: c.atom_point * 0), Forged(lambda c: c.atom_point + 1)],
    "proofs": [Forged(lambda c: ()), Forged(lambda c: c.proofs[:-1]), Forged(lambda c: c.proofs[::-1], (0,), True)],
}


def honest(folder: Path) -> tuple[Certificate, WdroProblem]:
    """A certificate of the plain question about four samples."""
    net, data = folder / "net.onnx", folder / "two.npz"
    write_mlp(net, [(np.array(w), np.array(b)) for w, b in SUM], dtype=np.float64)
    np.savez(data, x=np.array(POINTS), y=np.zeros(4, int))
    assert (
        run("verify", net, data, "--radius", "0.05", "--jobs", "1", "--quiet", "--certificate", folder / "a.cert") == 0
    )
    problem = WdroProblem(
        load_network(net), load_samples(data), GroundCost(Norm.INF, 1), Support.box(0, 1, 2), Loss.MARGIN, 0.05
    )
    return read_certificate(folder / "a.cert"), problem


def test_no_edited_field_is_proved(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """On the command line and from Python; and every field of a certificate stands in the table."""
    assert set(FORGERIES) == {field.name for field in fields(Certificate)}
    good, problem = honest(tmp_path)
    assert recheck(good, problem).proved
    for name, forgeries in FORGERIES.items():
        for k, forged in enumerate(forgeries):
            bad = replace(good, **{name: forged.change(good)})
            assert recheck(bad, problem).proved == forged.in_python, (name, k)
            verdict = recheck(bad, problem)
            assert verdict.lower <= 12.125 <= verdict.upper + 1e-9, (name, k)
            if name in ("neurons", "rows", "margins", "far_neurons"):
                continue  # no file holds it: its arrays are as wide as these
            write_certificate(tmp_path / "b.cert", bad)
            capsys.readouterr()
            status = run("recheck", tmp_path / "net.onnx", tmp_path / "two.npz", tmp_path / "b.cert")
            said = capsys.readouterr()
            assert status in forged.statuses, (name, k, said.err)
            assert (status == 0) == (said.err == ""), (name, k)
            assert all(line.isprintable() for line in said.err.splitlines())


PROBLEMS: dict[str, Callable[[WdroProblem], WdroProblem]] = {
    "radius": lambda p: replace(p, radius=0.06),
    "norm": lambda p: replace(p, cost=GroundCost(Norm.ONE, 1)),
    "norm l2": lambda p: replace(p, cost=GroundCost(Norm.TWO, 1)),
    "order": lambda p: replace(p, cost=GroundCost(Norm.INF, 2)),
    "label cost": lambda p: replace(p, cost=GroundCost(Norm.INF, 1, label_cost=0.5)),
    "cost weights": lambda p: replace(p, cost=GroundCost(Norm.INF, 1, weights=np.array([1.0, 0.5]))),
    "cost weights of 1": lambda p: replace(p, cost=GroundCost(Norm.INF, 1, weights=np.ones(2))),
    "zero-one": lambda p: replace(p, loss=Loss.ZERO_ONE),
    "hinge": lambda p: replace(p, loss=Loss.HINGE),
    "functionals": lambda p: replace(p, loss=Loss.LINEAR, functionals=Functionals(np.eye(2), np.zeros(2))),
    "a wider box": lambda p: replace(p, support=Support.box(0, 2, 2)),
    "a narrower box": lambda p: replace(p, support=Support(np.zeros(2), np.array([1.0, 0.9999999]))),
    "the whole space": lambda p: replace(p, support=Support.whole(2)),
    "rows": lambda p: replace(
        p,
        support=replace(p.support, rows=LinearRows(np.ones((1, 2)), np.array([-np.inf]), np.array([1.9]))),
    ),
    "integers": lambda p: replace(
        p,
        samples=_samples(np.array([[1.0, 0.9]])),
        support=replace(p.support, integer=np.array([True, False])),
    ),
    "another point": lambda p: replace(p, samples=_samples(np.array([*POINTS[:3], [0.7, 0.8]]))),
    "fewer points": lambda p: replace(p, samples=_samples(np.array(POINTS[:3]))),
    "other labels": lambda p: replace(p, samples=make_samples(np.array(POINTS), [0, 0, 0, 1])),
    "weights": lambda p: replace(p, samples=make_samples(np.array(POINTS), [0, 0, 0, 0], [1, 1, 1, 2])),
}


def _samples(x: np.ndarray[Any, Any]) -> Samples:
    return make_samples(x, np.zeros(len(x), int))


def test_no_other_problem_is_proved(tmp_path: Path) -> None:
    """From Python every part of the caller's problem is compared, or beyond what is checked: nothing is proved of it."""
    good, problem = honest(tmp_path)
    for name, change in PROBLEMS.items():
        verdict = recheck(good, change(problem))
        assert not verdict.proved, name
        assert verdict.reasons, name
        assert (verdict.lower, verdict.upper) == (-np.inf, np.inf), name
    other = write_mlp(tmp_path / "o.onnx", [(np.array(w), np.array(b) + 0.0) for w, b in SUM], dtype=np.float32)
    assert not recheck(good, replace(problem, network=load_network(other))).proved


def test_stale_hashes_prove_nothing_false(tmp_path: Path) -> None:
    """Samples that carry another's hash: what is proven is proven of the points that are there."""
    good, problem = honest(tmp_path)
    moved = replace(problem.samples, x=np.zeros((4, 2)))  # worth -5, and at most -4 at the radius
    verdict = recheck(good, replace(problem, samples=moved))
    assert not verdict.proved
    assert verdict.lower <= -4.0 <= verdict.upper


# Reading


@pytest.mark.parametrize(
    ("text", "wanted", "column"),
    [
        ("a,b,c\n1,2,0\n", None, (2, "c", True)),
        ("a,b,c\n1,2,0\n", "b", (1, "b", False)),
        ("a,b,c\n1,2,0\n", "-1", (2, "c", True)),
        ("1,2,0\n", "0", (0, None, False)),
        ("a,a,c\n1,2,0\n", "1", (1, "a", False)),
        ("x,1,2\n0,2,0\n", "1", (1, "1", False)),
        ("1,a,3,a\n1,2,3,0\n", "-3", (1, "a", False)),  # 1 is the name of another
    ],
)
def test_columns_are_named_so_that_they_are_found_again(
    text: str, wanted: str | None, column: tuple[int, str | None, bool], tmp_path: Path
) -> None:
    from wdaverify.reading import contents

    path = tmp_path / "a.csv"
    row = text.splitlines()[-1]
    path.write_text(f"\n{text}\n\n{row}\n{row}\n")
    held = contents(path)
    found = held.labels(wanted)
    assert found is not None
    assert (found.index, found.name, found.last) == column
    again = held.labels(found.typed)
    assert again is not None
    assert again.index == found.index
    assert held.count == len(load_samples(path)) == 3


@pytest.mark.parametrize("text", ["", "\n \n", "a,b,c\n", "1\n", "a,b\n1,0.5\n", "1,0\n1,2,3\n"])
def test_samples_that_cannot_be_read_are_refused(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    honest(tmp_path)
    (tmp_path / "bad.csv").write_text(text)
    capsys.readouterr()
    assert run("recheck", tmp_path / "net.onnx", tmp_path / "bad.csv", tmp_path / "a.cert") == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert run("recheck", tmp_path / "net.onnx", tmp_path / "bad.txt", tmp_path / "a.cert") == 2
    assert "no such file" in capsys.readouterr().err


def test_a_box_reads_back() -> None:
    from wdaverify.report.box import box_text

    rng = np.random.default_rng(1)
    odd = [0.0, 0.1, 0.9999996, 1 / 3, 5e-324, 1e22, 1.7976931348623157e308, 123456789.0, 1e-7]
    for _ in range(200):
        runs = [(sorted(rng.choice(odd, 2, replace=False)), int(rng.integers(1, 4))) for _ in range(rng.integers(1, 7))]
        sides = [side for side, k in runs for _ in range(k)]
        lower, upper = (np.array([side[k] for side in sides]) for k in (0, 1))
        read = [
            ([float(a), float(b)], int(k or 1))
            for a, b, k in re.findall(r"\[(\S+), (\S+)\](?:\^(\d+))?", box_text(lower, upper))
        ]
        assert [side for side, k in read for _ in range(k)] == [list(side) for side in sides]


def test_a_certificate_made_from_clipped_samples_is_asked_for_with_clip(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From Python a certificate does not say how its samples came about: whoever rechecks says so, and the hash decides."""
    good, problem = honest(tmp_path)
    outside = np.array(POINTS)
    outside[0, 0] = 1.5
    clipped = np.clip(outside, 0, 1)
    np.savez(tmp_path / "far.npz", x=outside, y=np.zeros(4, int))
    from wdaverify import verify

    made = verify(replace(problem, samples=make_samples(clipped, np.zeros(4, int))), certificate=True).certificate
    assert made is not None
    assert made.clip is False
    write_certificate(tmp_path / "c.cert", made)
    ask = ["recheck", tmp_path / "net.onnx", tmp_path / "far.npz", tmp_path / "c.cert"]
    assert run(*ask) == 2
    assert "--clip" in capsys.readouterr().err
    assert run(*ask, "--clip") == 0
    assert "1 of them MOVED onto the support (--clip), by at most 0.500001" in " ".join(capsys.readouterr().out.split())
    assert run("recheck", tmp_path / "net.onnx", tmp_path / "two.npz", tmp_path / "c.cert", "--clip") == 1
    assert good.samples_sha256 != made.samples_sha256


@pytest.mark.parametrize(
    ("made", "chosen"),
    [
        ("another column for the labels", ["Label column"]),
        ("a box of its own, and samples moved onto it", ["Clipping"]),
        ("the first samples only", []),
    ],
    indirect=["made"],
)
def test_the_page_of_a_stranger_says_what_was_chosen_and_how_to_recheck(made: Case, chosen: list[str]) -> None:
    from wdaverify.report.page import asked
    from wdaverify.report.page.document import read_document

    document = read_document("a.json")
    facts = {name: text for name, text, _ in asked.facts(document).rows}
    assert facts["Samples"] == f"{document.data['samples']['count']}, from the beginning of {made.data}"
    assert [name for name in ("Label column", "Clipping") if name in facts] == chosen
    assert "0.11]" in facts["Support"] or "Clipping" not in chosen
    command = asked.again(document)
    Path("box.toml").write_text("lower = 0.0\nupper = [0.1, 0.11]\n")
    assert run(*shlex.split(command.lines[0])[1:], "--quiet") == 0
