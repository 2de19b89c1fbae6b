"""What a run says and keeps: replays, limits, Ctrl-C, refusals, and the command with its exit statuses and files."""

from __future__ import annotations

import gzip
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from builders import build_model, write_mlp, write_model
from jsonschema import Draft202012Validator
from onnx import helper

from wdaverify import CheckResult, Outcome, check, cli, load_network, load_specification
from wdaverify.checking import splitting
from wdaverify.checking.result import Ended
from wdaverify.errors import DocumentError, ProblemError, SpecificationError
from wdaverify.report import as_json
from wdaverify.report.page.document import as_document
from wdaverify.report.page.output import text_of
from wdaverify.report.page.view import build
from wdaverify.specification.model import Box
from wdaverify.wdro.progress import Progress
from wdaverify.witness import replay as module
from wdaverify.witness.replay import Replay, single

HEAD = "(declare-const X_0 Real)(declare-const X_1 Real)(declare-const Y_0 Real)(declare-const Y_1 Real)"
BOXED = HEAD + "(assert (<= -1 X_0 1))(assert (<= -1 X_1 1))"
UNSAT, SAT = "(assert (<= Y_0 -0.5))", "(assert (>= Y_0 0.5))(assert (< Y_1 0))"


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A point that no replay confirms is not searched on for long."""
    monkeypatch.setattr(splitting, "_GRACE", 0.2)


@pytest.fixture
def endless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ties are halved on and on, which is a run without an end."""
    monkeypatch.setattr(splitting.Search, "_tied", lambda _: False)


@pytest.fixture
def net(tmp_path: Path) -> str:
    """``Y_0 = |X_0| + |X_1|, Y_1 = X_0``, by ReLUs."""
    first = np.array([[1.0, 0], [-1, 0], [0, 1], [0, -1]])
    second = np.array([[1.0, 1, 1, 1], [1, -1, 0, 0]])
    return str(write_mlp(tmp_path / "abs.onnx", [(first, np.zeros(4)), (second, np.zeros(2))]))


@pytest.fixture
def spec(tmp_path: Path):
    def write(text: str, name: str = "s.vnnlib") -> str:
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)

    return write


# Points


def test_sat_is_replayed_and_unsat_is_a_bound(net: str, spec) -> None:
    sat = check(net, spec(BOXED + SAT))
    assert sat.outcome is Outcome.SAT
    assert sat.decided
    found = sat.counterexample
    assert found is not None
    assert found.runtime.startswith("onnxruntime ")
    assert (found.inputs == found.inputs.astype(np.float32)).all()
    assert found.outputs[0] >= 0.5
    assert found.outputs[1] < 0
    assert found.outputs[0] == np.abs(found.inputs.astype(np.float32)).sum()
    unsat = check(net, spec(BOXED + UNSAT))
    assert (unsat.outcome, unsat.counterexample) == (Outcome.UNSAT, None)
    assert unsat.lower <= -0.5 <= unsat.upper < 0
    assert repr(unsat).startswith("CheckResult(unsat: v in [-0.5")
    assert len(repr(unsat)) < 100


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("(assert (<= Y_0 0))", Outcome.SAT),  # at 0 alone, a tie
        ("(assert (< Y_0 0))", Outcome.UNKNOWN),  # its closure has 0
        ("(assert (>= Y_0 2))", Outcome.SAT),  # in corners alone
        ("(assert (> Y_0 2))", Outcome.UNKNOWN),
        ("(assert (>= Y_0 2.0000001))", Outcome.UNSAT),
        ("(assert (or (<= Y_0 -1) (and (>= Y_1 1) (<= Y_0 1))))", Outcome.SAT),
        ("(assert (>= Y_0 3))(assert (<= Y_0 2))", Outcome.UNSAT),
        ("(assert (>= X_0 2))(assert (<= Y_0 2))", Outcome.UNSAT),  # no disjunct is left
        ("(assert (= Y_1 0.125))", Outcome.SAT),
    ],
)
def test_ties_strict_rows_and_empty_boxes(text: str, outcome: Outcome, net: str, spec) -> None:
    result = check(net, spec(BOXED + text), time_limit=0.5)
    assert result.outcome is (
        Outcome.TIMEOUT if outcome is Outcome.UNKNOWN and result.ended == "time-limit" else outcome
    )
    assert result.lower <= result.upper


def test_a_tenth_is_no_float32(net: str, spec) -> None:
    """A side that is fixed at a tenth holds the double, which nothing that takes float32 can be given."""
    text = HEAD + "(assert (= X_0 0.1))(assert (<= -1 X_1 1))(assert (>= Y_0 0.5))"
    result = check(net, spec(text), time_limit=5)
    assert result.outcome is Outcome.SAT_IN_REALS
    assert result.counterexample.inputs[0] == 0.1
    assert result.notices[-1].endswith("between the sides of some input lies no float32 number")
    exact = check(net, spec(HEAD + "(assert (= X_0 0.125))(assert (<= -1 X_1 1))(assert (>= Y_0 0.5))"))
    assert exact.outcome is Outcome.SAT


def test_fixed_inputs_alone_are_a_point(net: str, spec) -> None:
    at = HEAD + "(assert (= X_0 0.5))(assert (= X_1 -0.25))"
    assert check(net, spec(at + "(assert (>= Y_0 0.75))")).outcome is Outcome.SAT
    result = check(net, spec(at + "(assert (>= Y_0 0.7500001))"))
    assert result.outcome is Outcome.UNSAT
    assert result.upper - result.lower < 1e-12
    assert check(net, spec(at + "(assert (> Y_0 0.75))")).outcome is Outcome.UNKNOWN


def test_thousands_of_disjuncts(net: str, spec) -> None:
    cells = [
        f"(and (<= {k / 500:.3f} X_0 {(k + 1) / 500:.3f}) (>= Y_0 {(k + 1) / 500 + 1.0001:.4f}))" for k in range(500)
    ]
    text = spec(BOXED + f"(assert (or {' '.join(cells)}))")
    result = check(net, text, time_limit=20)
    assert (result.outcome, len(result.specification.disjuncts)) == (Outcome.UNSAT, 500)
    cells[400] = cells[400].replace("1.8021", "1.8019")
    sat = check(net, spec(BOXED + f"(assert (or {' '.join(cells)}))"), time_limit=20)
    assert (sat.outcome, sat.counterexample.disjunct) == (Outcome.SAT, 400)


def test_float32_numbers_next_to_points() -> None:
    third = 1 / 3
    box = Box(*(np.array([v, v]) for v in (0.1, 1.0, 0.1, 1.0)))
    found = single(np.array([third, 0.1]), box)
    assert found is not None
    assert found[0] == np.float32(third)
    assert found[1] == np.nextafter(np.float32(0.1), np.float32(1)) or found[1] == np.float32(0.1) >= 0.1
    assert ((found >= box.least) & (found <= box.most)).all()
    assert single(np.array([third, third]), Box(*(np.full(2, third) for _ in range(4)))) is None


def test_without_onnxruntime_the_answer_is_one_of_real_arithmetic(
    net: str, spec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    result = check(net, spec(BOXED + SAT))
    assert result.outcome is Outcome.SAT_IN_REALS
    assert not result.decided
    assert result.notices[-1] == (
        "the counterexample was not replayed: onnxruntime is not installed; pip install onnxruntime"
    )
    assert check(load_network(net), load_specification(spec(BOXED + SAT))).notices[-1].endswith("give its path")
    assert check(net, spec(BOXED + UNSAT)).outcome is Outcome.UNSAT


def test_a_runtime_that_disagrees_is_not_believed(net: str, spec, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a replay gives has to satisfy the rows."""
    monkeypatch.setattr(Replay, "outputs", lambda self, x: np.array([0.4, 1.0]))
    result = check(net, spec(BOXED + SAT), time_limit=5)
    assert result.outcome is Outcome.SAT_IN_REALS
    assert result.notices[-1].endswith("rounding undoes it there")


def test_files_that_cannot_be_replayed_say_why(tmp_path: Path, net: str, spec) -> None:
    network = load_network(net)
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    assert "does not take the file" in Replay(network, tmp_path / "broken.onnx").why
    assert "does not take the file" in Replay(network, tmp_path / "none.onnx").why
    node = helper.make_node("Split", ["x"], ["a", "b"], axis=1)
    two = build_model([node], {}, [1, 2], output="a")
    two.graph.output.append(helper.make_tensor_value_info("b", 1, None))
    assert "several outputs" in Replay(network, write_model(tmp_path / "two.onnx", two)).why
    other = write_mlp(tmp_path / "other.onnx", [(np.ones((3, 2)), np.zeros(3))])
    assert Replay(network, other).outputs(np.zeros(2)) is None
    assert check(network, spec(BOXED + SAT), onnx_file=other).outcome is Outcome.SAT_IN_REALS
    packed = tmp_path / "abs.onnx.gz"
    packed.write_bytes(gzip.compress(Path(net).read_bytes()))
    assert check(packed, spec(BOXED + SAT)).outcome is Outcome.SAT


def test_another_tensor_of_the_file_is_replayed(net: str, spec) -> None:
    text = "".join(f"(declare-const {n} Real)" for n in ("X_0", "X_1", "Y_0", "Y_1", "Y_2", "Y_3"))
    text += "(assert (<= -1 X_0 1))(assert (<= -1 X_1 1))(assert (>= Y_1 0.75))"
    result = check(net, spec(text), output_name="z0")
    assert result.outcome is Outcome.SAT
    assert result.counterexample.outputs[1] >= 0.75


# Limits


@pytest.mark.usefixtures("endless")
def test_a_limit_keeps_the_bracket(net: str, spec) -> None:
    text = spec(BOXED + "(assert (> Y_0 2))")
    for limit in (0.0, 0.3):
        result = check(net, text, time_limit=limit)
        assert (result.outcome, result.ended) == (Outcome.TIMEOUT, Ended.TIME_LIMIT)
        assert result.effort.seconds < limit + 1.0
        assert result.lower <= 0 <= result.upper
        assert result.upper < 1e-3 or limit == 0


@pytest.mark.usefixtures("endless")
def test_ctrl_c_keeps_the_bracket(net: str, spec) -> None:
    told: list[Progress] = []

    def progress(now: Progress) -> None:
        told.append(now)
        if len(told) > 3:
            raise KeyboardInterrupt

    result = check(net, spec(BOXED + "(assert (> Y_0 2))"), progress=progress)
    assert (result.outcome, result.ended) == (Outcome.UNKNOWN, Ended.INTERRUPTED)
    assert result.lower <= 0 <= result.upper < math.inf
    assert {now.phase for now in told} == {"attack", "split"}
    assert all(now.lower <= now.upper for now in told)


@pytest.mark.parametrize("jobs", [None, 2])
@pytest.mark.usefixtures("endless")
def test_ctrl_c_inside_a_step_loses_no_box(net: str, spec, jobs: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second step is interrupted: what it was to do counts as open."""
    step, calls = splitting.Stepper.step, []

    def interrupted(self, boxes, level):
        calls.append(boxes)
        if len(calls) > 3:
            raise KeyboardInterrupt
        return step(self, boxes, level)

    monkeypatch.setattr(splitting.Stepper, "step", interrupted)
    result = check(net, spec(BOXED + "(assert (>= Y_0 2.0001))(assert (<= Y_0 1.9))"), jobs=jobs)
    assert result.outcome in (Outcome.UNKNOWN, Outcome.UNSAT)
    result = check(net, spec(BOXED + "(assert (> Y_0 2))"), jobs=jobs)
    assert result.ended is Ended.INTERRUPTED
    assert result.upper >= 0


@pytest.mark.parametrize("after", [0, 1, 2])
def test_ctrl_c_before_all_boxes_are_bounded_loses_none(
    net: str, spec, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the last of several boxes has points: whenever the first pass over them is interrupted, nothing is proven."""
    root, calls = splitting.Stepper.root, []

    def interrupted(self, boxes):
        calls.append(boxes)
        if len(calls) > after:
            raise KeyboardInterrupt
        return root(self, boxes)

    monkeypatch.setattr(splitting.Stepper, "root", interrupted)
    monkeypatch.setattr(splitting.Search, "size", property(lambda self: 1))
    text = BOXED + "(assert (or (>= Y_0 1e8) (>= Y_0 2e8) (>= Y_0 -1e8)))"
    result = check(net, spec(text))
    assert (result.outcome, result.ended) == (Outcome.UNKNOWN, Ended.INTERRUPTED)
    assert result.upper == math.inf or result.upper >= 1e7


def test_of_many_open_boxes_the_newest_go_first(net: str, spec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(splitting, "_MOST", 0)
    for text, outcome in ((UNSAT, Outcome.UNSAT), ("(assert (>= Y_0 1.5))(assert (<= Y_1 -0.5))", Outcome.SAT)):
        monkeypatch.setattr(splitting.Points, "attack", lambda *_: None)
        assert check(net, spec(BOXED + text), time_limit=20).outcome is outcome


# Refusals


def test_what_does_not_fit_is_refused(net: str, spec, tmp_path: Path) -> None:
    other = spec("(declare-const X_0 Real)(declare-const Y_0 Real)(assert (<= 0 X_0 1))(assert (<= Y_0 1))")
    with pytest.raises(SpecificationError, match=r"1 inputs and 1 outputs, abs.onnx has 2 and 2"):
        check(net, other)
    for asked in ({"time_limit": -1}, {"jobs": 0}, {"seed": -1}, {"progress": 3}):
        with pytest.raises(ProblemError):
            check(net, spec(BOXED + SAT), **asked)
    with pytest.raises(SpecificationError, match="a path is accepted"):
        check(net, 3)
    soft = build_model([helper.make_node("Softmax", ["x"], ["y"], axis=1)], {}, [1, 2])
    path = write_model(tmp_path / "soft.onnx", soft)
    with pytest.raises(SpecificationError, match="--logits"):
        check(path, spec(BOXED + SAT))
    result = check(load_network(path, logits=True), spec(BOXED + SAT), onnx_file=path)
    assert result.outcome is Outcome.SAT_IN_REALS
    assert "left out" in result.notices[-1]


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("assertion", ["(assert (> Y_0 2))", "(assert (< Y_0 0))", "(assert (< Y_0 Y_1))"])
def test_a_tie_ends(assertion: str, jobs: int, net: str, spec) -> None:
    """v is 0, and a strict row is not satisfied there: nothing can be proven, and nobody halves boxes for ever."""
    result = check(net, spec(BOXED + assertion), jobs=jobs)
    assert (result.outcome, result.ended) == (Outcome.UNKNOWN, Ended.STALLED)
    assert -1e-12 <= result.lower <= 0 <= result.upper <= 1e-9
    assert result.effort.seconds < 30


def test_what_is_close_to_a_tie_is_decided(net: str, spec) -> None:
    for gap in ("1e-9", "1e-12"):
        assert check(net, spec(BOXED + f"(assert (<= Y_0 -{gap}))")).outcome is Outcome.UNSAT
        assert check(net, spec(BOXED + f"(assert (>= (+ Y_0 {gap}) 2))")).outcome in (Outcome.SAT, Outcome.SAT_IN_REALS)


def test_a_result_shows_itself(net: str, spec, tmp_path: Path) -> None:
    """As other results do: text, document, files, page, notebook."""
    for text, word in ((BOXED + SAT, "sat"), (BOXED + UNSAT, "unsat")):
        result = check(net, spec(text))
        assert str(result).splitlines()[0] == word
        assert repr(result).startswith(f"CheckResult({word}: v in [")
        Draft202012Validator(as_json.schema("check")).validate(result.to_dict())
        assert json.loads(result.to_json())["outcome"] == word
        result.save(tmp_path / "r.json")
        result.save_report(tmp_path / "r.html", author="A. Nobody")
        page = (tmp_path / "r.html").read_text()
        for part in ("A. Nobody", f'"badge">{word}', "Specification s.vnnlib", result.specification.sha256):
            assert part in page
        assert ("The counterexample" in page) == (word == "sat")
        assert cli._run(["report", str(tmp_path / "r.json"), "--output", str(tmp_path / "again.html")]) == 0
        assert (tmp_path / "again.html").read_text().count("<h3") == page.count("<h3")
        html = result._repr_html_()
        assert word in html
        assert "checked" in html
        with pytest.raises(DocumentError, match="nothing to draw"):
            result.plot()


def test_pages_of_images_and_of_strangers(net: str, spec, tmp_path: Path) -> None:
    """An input that is an image is shown as one; documents that contradict themselves are refused."""
    out, page = str(tmp_path / "r.json"), str(tmp_path / "r.html")
    arguments = [
        "check",
        net,
        spec(BOXED + SAT),
        "--output",
        out,
        "--report",
        page,
        "--image-shape",
        "1",
        "2",
        "--quiet",
    ]
    assert cli._run(arguments) == 0
    assert "data:image/png;base64," in Path(page).read_text()
    made = json.loads(Path(out).read_text())
    for change in (
        {"lower": 9.0},
        {"counterexample": {**made["counterexample"], "inputs": [0.0]}},
        {"counterexample": {**made["counterexample"], "outputs": [0.0]}},
        {"outcome": "certainly"},
    ):
        Path(out).write_text(json.dumps({**made, **change}))
        assert cli._run(["report", out, "--output", page]) == 2


# The command


def run(*arguments: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    status = cli._run(["check", *arguments])
    out = capsys.readouterr()
    return status, out.out, out.err


@pytest.mark.usefixtures("endless")
def test_the_command_prints_words_and_writes_json(
    net: str, spec, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "r.json"
    cases = {BOXED + SAT: ("sat", 0), BOXED + UNSAT: ("unsat", 0), BOXED + "(assert (> Y_0 2))": ("timeout", 3)}
    for text, (word, status) in cases.items():
        got = run(net, spec(text), "--output", str(target), "--time-limit", "1", "--jobs", "1", capsys=capsys)
        assert got[0] == status
        lines = got[1].splitlines()
        assert lines[0] == word
        assert max(map(len, lines)) <= 80
        assert got[2] == ""
        document = json.loads(target.read_text())
        Draft202012Validator(as_json.schema("check")).validate(document)
        assert document["outcome"] == word
        assert document["files"]["network"] == net
        if word == "sat":
            assert lines[1].startswith("((X_0 ")
            values = document["counterexample"]["inputs"]
            assert lines[1] == f"((X_0 {values[0]!r})".replace(".0)", ")")
            assert sum(map(abs, values)) >= 0.5
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    status, out, err = run(net, spec(BOXED + SAT), "--output", str(target), capsys=capsys)
    assert (status, out.splitlines()[0]) == (5, "sat-in-real-arithmetic")
    assert "onnxruntime is not installed" in err
    Draft202012Validator(as_json.schema("check")).validate(json.loads(target.read_text()))


@pytest.mark.usefixtures("endless")
def test_ctrl_c_has_a_status_and_a_document(
    net: str, spec, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(splitting.Stepper, "step", interrupted)
    target = tmp_path / "r.json"
    status, out, _ = run(net, spec(BOXED + "(assert (> Y_0 2))"), "--output", str(target), "--jobs", "1", capsys=capsys)
    assert (status, out.splitlines()[0]) == (130, "unknown")
    assert "interrupted; the bracket holds" in " ".join(out.split())
    document = json.loads(target.read_text())
    Draft202012Validator(as_json.schema("check")).validate(document)
    assert document["ended"] == "interrupted"


def test_no_disjunct_is_a_document_too(net: str, spec, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "r.json"
    text = spec(BOXED + "(assert (>= X_0 2))(assert (<= Y_0 2))")
    status, out, _ = run(net, text, "--output", str(target), capsys=capsys)
    assert (status, out.splitlines()[0]) == (0, "unsat")
    document = json.loads(target.read_text())
    Draft202012Validator(as_json.schema("check")).validate(document)
    assert (document["lower"], document["upper"], document["specification"]["dropped"]) == ("-inf", "-inf", 1)
    assert "nothing satisfies the constraints" in document["detail"]
    assert "maximum over nothing" in " ".join(out.split())
    page = text_of(build([as_document(document)]), "html")
    assert page.lower().count("nothing satisfies the constraints") == 2
    answer = build([as_document(document)]).questions[0].parts[0].answer
    assert (answer.vouched_lower, answer.vouched_upper) == ("", "")


def test_sat_has_the_colour_of_falsified_and_its_variables_their_names(
    net: str, spec, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "r.json"
    assert run(net, spec(BOXED + SAT), "--output", str(target), "--time-limit", "60", capsys=capsys)[0] == 0
    document = json.loads(target.read_text())
    assert document["time_limit"] == 60
    assert document["versions"]["onnxruntime"] == onnxruntime.__version__
    report = build([as_document(document)])
    assert report.questions[0].parts[0].answer.status == "falsified"
    names = [line.split(",")[0] for line in text_of(report, "csv").splitlines()]
    assert [name for name in names if name[:2] in ("X_", "Y_")] == ["X_0", "X_1", "Y_0", "Y_1"]


def test_refusals_are_one_line(net: str, spec, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = spec(BOXED + SAT)
    for arguments, said in (
        ((net, spec("(", "b.vnnlib")), "never closed"),
        ((net, str(tmp_path / "none")), "no such file"),
        ((net, good, "--output", good), "is an input"),
        ((net, good, "--jobs", "0"), "--jobs 0 is refused"),
        ((net,), "FILE.vnnlib"),
        ((good, good), "ONNX"),
    ):
        status, out, err = run(*arguments, capsys=capsys)
        assert (status, out) == (2, "")
        assert said in err
        assert len(err.splitlines()) == 1


def test_unsat_loads_neither_a_solver_nor_a_runtime(net: str, spec) -> None:
    heavy = ("torch", "cvxpy", "highspy", "gurobipy", "scipy", "onnxruntime", "rich", "matplotlib")
    code = (
        f"import sys\nfrom wdaverify.cli import _run\nassert _run({['check', net, spec(BOXED + UNSAT), '--quiet']!r}) == 0\n"
        f"assert not set({heavy!r}) & set(sys.modules), set({heavy!r}) & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_result_is_frozen(net: str, spec) -> None:
    result: CheckResult = check(net, spec(BOXED + SAT))
    with pytest.raises(AttributeError):
        result.lower = 0.0  # type: ignore[misc]
    with pytest.raises(ValueError, match="read-only"):
        result.counterexample.inputs[0] = 1.0
    assert module.Replay(load_network(net), net).outputs(np.array([0.5, -1.0])).tolist() == [1.5, 0.5]
