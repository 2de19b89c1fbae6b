"""The log: what a run tells the logger, and the file that the command line keeps of it."""

from __future__ import annotations

import errno
import logging
import os
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from wdaverify import __version__, cli
from wdaverify.log_file import LogFile

MODELS = Path(__file__).parent.parent / "models"
NET, DATA = str(MODELS / "iris_8x8.onnx"), str(MODELS / "iris_8x8.npz")
ASK = ["verify", NET, DATA, "--radius", "0.05", "--support", "0", "10", "--jobs", "1"]
RECORD = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (DEBUG|INFO|WARNING|ERROR|CRITICAL) wdaverify(\.\w+)* \S.*")


def run(*arguments: str | Path) -> int:
    return cli._run([str(argument) for argument in arguments])


def test_a_run_from_its_question_to_its_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = run(*ASK), *capsys.readouterr()
    path = tmp_path / "run.log"
    assert (run("--log", path, *ASK), capsys.readouterr().err) == (plain[0], plain[2])
    lines = path.read_text().splitlines()
    assert all(RECORD.fullmatch(line) for line in lines)
    text = "\n".join(lines)
    assert f"wdaverify {__version__}, Python" in lines[0]
    assert "--radius 0.05" in lines[0]
    for words in ("question: margin loss, radius 0.05", "sha256", "phase: attack", "attack mixture", "phase: solve"):
        assert words in text
    brackets = [tuple(map(float, found)) for found in re.findall(r"round \d+: \[(.*), (.*)\], \d+ solves", text)]
    assert len(brackets) >= 2
    for before, after in pairwise(brackets):
        assert before[0] <= after[0] <= after[1] <= before[1]
    assert "verify: exact: gap-closed" in lines[-2]
    assert lines[-1].endswith("exit status 0")
    assert logging.getLogger("wdaverify").level == logging.NOTSET


def test_levels_and_places(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The options of the log may stand before or after the command; records are appended."""
    for k, (level, arguments) in enumerate(
        (
            ("debug", ["--log-level", "debug", *ASK, "--log", "L"]),
            ("info", [*ASK, "--log=L"]),
            ("warning", [*ASK, "--log", "L", "--log-level=warning"]),
        )
    ):
        path = tmp_path / f"{k}.log"
        path.write_text("what was there before\n")
        assert (
            run(
                *(
                    argument.replace("L", str(path)) if argument in ("L", "--log=L") else argument
                    for argument in arguments
                )
            )
            == 0
        )
        lines = path.read_text().splitlines()
        assert lines[0] == "what was there before"
        found = {line.split()[2] for line in lines[1:]}
        assert found == {"debug": {"DEBUG", "INFO"}, "info": {"INFO"}, "warning": set()}[level]


def test_notices_refusals_and_other_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.log"
    assert run("--log", path, *ASK, "--time-limit", "0") == 3
    assert "verify: bracket: time-limit" in path.read_text()
    assert path.read_text().endswith("exit status 3\n")
    assert run("--log", path, "info", "no\n\x1b.onnx") == 2
    assert "ERROR wdaverify.cli refused: 'no\\n\\x1b.onnx': no such file" in path.read_text()
    assert "\x1b" not in path.read_text()
    assert path.read_text().endswith("exit status 2\n")
    assert run("--log", path, "attack", NET, DATA, "--radius", "0.05", "--support", "0", "10") == 0
    assert "attack WDA++: " in path.read_text()
    assert run("--log", path, *ASK, "--samples", "3", "--certificate", tmp_path / "a.cert") == 0
    assert run("--log", path, "recheck", NET, DATA, tmp_path / "a.cert", "--support", "0", "10", "--samples", "3") == 0
    assert "recheck: proved, [" in path.read_text()
    question = [NET, DATA, "--support", "0", "10", "--samples", "3", "--jobs", "1"]
    assert run("--log", path, "distance", *question) == 0
    assert "distances: gap-closed" in path.read_text()
    assert run("--log", path, "curve", *question, "--max-radius", "0.05", "--gap", "0.1") == 0
    assert "curve, at its end: gap-closed" in path.read_text()


@pytest.mark.parametrize(
    ("log", "words"),
    [
        ("/nowhere/run.log", "folder"),
        ("/dev/null", "not a plain file"),
        ("/dev/full", "not a plain file"),
        (str(MODELS), "folder"),
        (NET, "is an input"),
        (DATA, "is an input"),
    ],
)
def test_a_log_that_cannot_be_is_refused_up_front(log: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = [Path(name).read_bytes() for name in (NET, DATA)]
    assert run("--log", log, *ASK) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("wdaverify: error: ")
    assert err.count("\n") == 1
    assert words in err
    assert [Path(name).read_bytes() for name in (NET, DATA)] == before


def test_the_log_is_no_other_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.symlink(tmp_path / "out.json", tmp_path / "link")
    for log in (tmp_path / "out.json", tmp_path / "link", f"{tmp_path}/../{tmp_path.name}/out.json"):
        for output in (["--output", tmp_path / "out.json"], [f"--output={tmp_path}/out.json"]):
            assert run("--log", log, *ASK, *output) == 2
            assert "another output" in capsys.readouterr().err
    assert not (tmp_path / "out.json").exists()


def test_a_disk_that_fills_costs_the_log_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(self: Any, record: object) -> None:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError:
            self.handleError(record)

    monkeypatch.setattr("wdaverify.log_file._Quiet.emit", full)
    assert run("--log", tmp_path / "run.log", "info", NET) == 0
    out, err = capsys.readouterr()
    assert "16 ReLUs" in out or "ReLU" in out
    assert err == "note: the log lacks records (No space left on device)\n"


def test_a_defect_leaves_its_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def defect(*_: object) -> None:
        raise IndexError("planted")

    monkeypatch.setattr("wdaverify.report.summary.network_summary", defect)
    with pytest.raises(IndexError):
        run("--log", tmp_path / "run.log", "info", NET)
    text = (tmp_path / "run.log").read_text()
    assert "CRITICAL" in text
    assert "IndexError: planted" in text
    assert LogFile(str(tmp_path / "next.log"), "info", []).close(0) is None  # the handler of the first is gone
    assert "IndexError" not in (tmp_path / "next.log").read_text()


def test_a_library_does_not_speak_unasked() -> None:
    """No handler but the null one, and nothing on stderr, even for warnings."""
    code = (
        "import logging, wdaverify; root = logging.getLogger('wdaverify'); "
        "assert [type(h).__name__ for h in root.handlers] == ['NullHandler']; "
        "logging.getLogger('wdaverify.wdro.log').warning('a notice')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
