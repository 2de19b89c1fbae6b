"""The command line: exit statuses, what goes where, and one line for every refusal."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import synthetic
from jsonschema import Draft202012Validator

from wdaverify import cli
from wdaverify.cli import terminal
from wdaverify.errors import ProblemError
from wdaverify.report import as_json, live
from wdaverify.wdro.progress import Progress
from wdaverify.wdro.result import Reason, Status

MODELS = Path(__file__).parent.parent / "models"
NET, DATA = str(MODELS / "iris_8x8.onnx"), str(MODELS / "iris_8x8.npz")
ASK = ["verify", NET, DATA, "--radius", "0.05"]
FORMULA = "sup { E_Q[margin loss]"
Answer = Callable[..., None]


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Answer:
    """Let ``verify`` answer with a made-up result; its arguments are kept in ``answer.asked``."""

    def install(result: Any = None, **changes: Any) -> None:
        def verify(problem: Any, **asked: Any) -> Any:
            install.asked = {"problem": problem, **asked}  # type: ignore[attr-defined]
            if isinstance(result, BaseException):
                raise result
            return synthetic.verification(**changes)

        monkeypatch.setattr("wdaverify.wdro.verify.verify", verify)

    return install


def run(*arguments: str | Path) -> int:
    return cli._run([str(argument) for argument in arguments])


def process(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "wdaverify", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, **options)


@pytest.mark.parametrize(
    ("status", "reason", "expected"),
    [
        (Status.EXACT, Reason.GAP_CLOSED, 0),
        (Status.BRACKET, Reason.THRESHOLD_DECIDED, 0),
        (Status.EXACT, Reason.THRESHOLD_UNDECIDED, 4),
        (Status.BRACKET, Reason.TIME_LIMIT, 3),
        (Status.BRACKET, Reason.STALLED, 3),
        (Status.BRACKET, Reason.NUMERICAL, 3),
        (Status.BRACKET, Reason.INTERRUPTED, 130),
    ],
)
def test_exit_status(
    status: Status,
    reason: Reason,
    expected: int,
    answer: Answer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    answer(status=status, reason=reason)
    target = tmp_path / "out.json"
    assert run(*ASK, "--output", target) == expected
    document = json.loads(target.read_text())
    Draft202012Validator(as_json.schema("verification")).validate(document)
    assert document["reason"] == reason.value
    assert FORMULA in capsys.readouterr().out


def test_every_reason_has_words() -> None:
    from wdaverify.report import summary

    for reason in Reason:
        assert summary.verification_summary(synthetic.verification(reason=reason))


def test_options_reach_the_engine(answer: Any) -> None:
    answer()
    options = "--norm 1 --loss zero-one --support -1 2 --solver highs --gap 0.5 --time-limit 7 --jobs 3 --samples 4"
    more = "--device cpu --seed 9 --threshold -2.5 --mip-start --quiet"
    assert run(*ASK, *options.split(), *more.split()) == 0
    asked = answer.asked
    problem = asked.pop("problem")
    assert asked == {
        "solver": "highs",
        "gap": 0.5,
        "time_limit": pytest.approx(7.0, abs=6.9),  # less what the command took so far
        "jobs": 3,
        "threshold": -2.5,
        "device": "cpu",
        "seed": 9,
        "mip_start": True,
        "certificate": False,
        "memory_limit": None,
        "journal": None,
        "executor": None,
        "slots": None,
        "progress": None,
    }
    assert (problem.radius, problem.cost.norm, problem.cost.order, problem.loss) == (0.05, "1", 1, "zero-one")
    assert (len(problem.samples), problem.support.lower[0], problem.support.upper[0]) == (4, -1.0, 2.0)


def test_defaults(answer: Any) -> None:
    answer()
    assert run(*ASK) == 0
    asked = answer.asked
    problem = asked.pop("problem")
    assert asked.pop("jobs") == len(os.sched_getaffinity(0))
    assert asked == {
        "solver": "auto",
        "gap": 1e-6,
        "time_limit": None,
        "threshold": None,
        "device": "auto",
        "seed": 0,
        "mip_start": False,
        "certificate": False,
        "memory_limit": None,
        "journal": None,
        "executor": None,
        "slots": None,
        "progress": None,
    }
    assert (problem.cost.norm, problem.loss, len(problem.samples)) == ("inf", "margin", 30)
    assert (problem.support.lower.max(), problem.support.upper.min()) == (0.0, 1.0)


def test_clip_and_label_column(answer: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer()
    table = tmp_path / "data.csv"
    table.write_text("class,a,b,c,d\n2,0.5,0.5,7,0.5\n")
    assert run("verify", NET, table, "--radius", "1", "--label-column", "class", "--clip") == 0
    samples = answer.asked["problem"].samples
    assert samples.x.tolist() == [[0.5, 0.5, 1.0, 0.5]]
    assert samples.y.tolist() == [2]
    assert "note: 1 of 1 samples lay outside the support and were moved onto it (clip)" in capsys.readouterr().err


def test_notes_and_quiet(answer: Answer, capsys: pytest.CaptureFixture[str]) -> None:
    answer(notices=("first\nline", "second", "second"))
    assert run(*ASK) == 0
    assert capsys.readouterr().err.splitlines() == ["note: first line", "note: second"]
    assert run(*ASK, "--quiet") == 0
    assert capsys.readouterr() == ("", "")


def test_result_is_printed_even_if_the_disk_fills(
    answer: Answer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answer(notices=())

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert run(*ASK, "--output", tmp_path / "out.json") == 2
    out, err = capsys.readouterr()
    assert FORMULA in out
    assert err.startswith("wdaverify: error: cannot write")
    assert err.count("\n") == 1
    assert os.listdir(tmp_path) == []


def test_refused_by_the_engine(answer: Answer, capsys: pytest.CaptureFixture[str]) -> None:
    answer(ProblemError("no CUDA device:\n use --device cpu"))
    assert run(*ASK) == 2
    assert capsys.readouterr() == ("", "wdaverify: error: no CUDA device: use --device cpu\n")


def test_a_defect_is_no_refusal(answer: Answer) -> None:
    answer(ZeroDivisionError("a defect"))
    with pytest.raises(ZeroDivisionError):
        run(*ASK)


def test_interrupted_before_an_answer(answer: Answer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer(KeyboardInterrupt())
    assert run(*ASK, "--output", tmp_path / "out.json") == 130
    assert capsys.readouterr().err.strip() == "wdaverify: interrupted before there was an answer"
    assert os.listdir(tmp_path) == []


def test_help_and_version() -> None:
    for flag in ("-h", "--help"):
        done = process("verify", flag)
        assert done.returncode == 0
        assert "--mip-start / --no-mip-start" in done.stdout
    assert process("--version").stdout.split()[0] == "wdaverify"


def test_info(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("info", NET) == 0
    assert "affine 4 -> 8, ReLU, affine 8 -> 8, ReLU, affine 8 -> 3" in capsys.readouterr().out
    assert run("info", NET, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["relus"], document["inputs"], document["outputs"]) == (16, 4, 3)


def test_a_reader_who_leaves() -> None:
    command = f"{sys.executable} -m wdaverify info {NET} | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_full_standard_output() -> None:
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m wdaverify info {NET} > /dev/full"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == "wdaverify: error: cannot write to standard output: no space left on device\n"


def test_progress_line(monkeypatch: pytest.MonkeyPatch) -> None:
    line = live.progress_text(Progress("solve", -1.25, -1.0, 3, 17, 4, 12.0))
    assert line == "solve  [-1.250000, -1.000000]  gap 0.25  round 3  solves 17  open 4"
    with terminal.live_line(quiet=False) as report:
        assert report is None
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with terminal.live_line(quiet=True) as report:
        assert report is None
    with terminal.live_line(quiet=False) as report:
        assert report is not None
        report(Progress("attack", -float("inf"), float("inf"), 0, 0, 4, 0.1))


def test_verify_end_to_end(tmp_path: Path) -> None:
    done = process(*ASK, "--samples", "3", "--jobs", "1", "--output", tmp_path / "out.json")
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads((tmp_path / "out.json").read_text())
    Draft202012Validator(as_json.schema("verification")).validate(document)
    assert document["status"] == "exact"
    assert FORMULA in done.stdout


def test_attack_end_to_end(tmp_path: Path) -> None:
    done = process("attack", NET, DATA, "--radius", "0.05", "--samples", "3", "--output", tmp_path / "out.json")
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads((tmp_path / "out.json").read_text())
    Draft202012Validator(as_json.schema("attack")).validate(document)
    assert document["lower"] >= document["nominal"]


def test_interrupt_end_to_end(tmp_path: Path) -> None:
    """Ctrl-C as soon as the live line shows that it works: the bracket so far is printed and written."""
    target = tmp_path / "out.json"
    network, data = MODELS / "digits_32x32_robust.onnx", MODELS / "digits_32x32_robust.npz"
    options = ["--radius", "0.2", "--gap", "1e-9", "--jobs", "2", "--output", target]
    command = [sys.executable, "-m", "wdaverify", "verify", network, data, *options]
    terminal, stderr = os.openpty()
    with subprocess.Popen(
        list(map(str, command)),
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        start_new_session=True,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100"},
    ) as work:
        os.close(stderr)
        shown = b""
        while b"attack" not in shown and select.select([terminal], [], [], 60)[0]:
            shown += os.read(terminal, 4096)
        os.killpg(work.pid, signal.SIGINT)
        drain = threading.Thread(target=_drain, args=(terminal,), daemon=True)
        drain.start()
        out, _ = work.communicate(timeout=60)
    assert work.returncode == 130, shown
    assert "interrupted" in out
    document = json.loads(target.read_text())
    Draft202012Validator(as_json.schema("verification")).validate(document)
    assert document["reason"] == "interrupted"


def test_an_interrupt_while_modules_are_read_is_one_line(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys\n"
        "class Pressed:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'wdaverify.cli.line':\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Pressed())\n"
        "from wdaverify.__main__ import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "wdaverify: interrupted before there was an answer\n"


def test_an_interrupt_inside_of_made_code_is_one_too(tmp_path: Path) -> None:
    """Ctrl-C while a library makes classes by exec (torch does, as it is imported): the status is still that of an interrupt."""
    script = (
        "from wdaverify.cli import line\n"
        "def run(arguments):\n"
        "    try:\n"
        "        exec('raise KeyboardInterrupt')\n"
        "    except KeyboardInterrupt:\n"
        "        return 130\n"
        "line.run = run\n"
        "line.main()\n"
    )
    (tmp_path / "interrupted_run.py").write_text(script)
    command = [sys.executable, "-m", "interrupted_run"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(tmp_path)}
    )
    assert (done.returncode, done.stderr) == (130, "")


def _drain(terminal: int) -> None:
    with suppress(OSError):
        while os.read(terminal, 4096):
            pass
    os.close(terminal)
