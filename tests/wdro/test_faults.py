"""Faults that are real: stopped and starved workers, a full disk, impatient users. The bracket holds and somebody says what happened."""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import time
import warnings
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from journal.killed import MODELS
from wdro.test_workers import question
from wdro.worker_probe import hog

from wdaverify import verify
from wdaverify.problem import Loss
from wdaverify.wdro.progress import Progress
from wdaverify.wdro.workers import Workers

NET, DATA = str(MODELS / "digits_16x16.onnx"), str(MODELS / "digits_16x16.npz")
SLOW = ["verify", NET, DATA, "--radius", "0.05", "--jobs", "2"]


def stopper() -> tuple[list[int], Any]:
    """A progress callback that stops every worker (SIGSTOP: it hangs, and hears no polite request to end), once."""
    stopped: list[int] = []

    def progress(now: Progress) -> None:
        children = multiprocessing.active_children()
        if now.phase == "solve" and now.solves >= 1 and children and not stopped:
            for child in children:
                assert child.pid
                stopped.append(child.pid)
                os.kill(child.pid, signal.SIGSTOP)

    return stopped, progress


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wdaverify.wdro.run._TICK", 0.0)
    monkeypatch.setattr("wdaverify.wdro.run._FIRST_SLICE", 1.0)
    monkeypatch.setattr("wdaverify.wdro.dispatch._HANG", 0.5)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("loss", [Loss.MARGIN, Loss.ZERO_ONE])
def test_workers_that_hang_are_ended_and_the_answer_is_found(loss: Loss) -> None:
    truth = verify(question(loss))
    stopped, progress = stopper()
    result = verify(question(loss), jobs=2, progress=progress)
    assert len(stopped) == 2
    assert result.status == "exact"
    assert result.value == pytest.approx(truth.value, abs=2e-6)
    assert any("did not stop when its time was over" in notice for notice in result.notices)
    for pid in stopped:
        assert not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text()


def test_a_time_limit_holds_whatever_the_workers_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """All workers hang; the generous bound tells waiting from ending."""
    monkeypatch.setattr("wdaverify.wdro.run._TICK", 0.0)
    truth = verify(question())
    stopped, progress = stopper()
    begun = time.monotonic()
    result = verify(question(), jobs=2, time_limit=4.0, progress=progress)
    assert time.monotonic() - begun < 14.0
    assert stopped
    assert (result.status, result.reason) == ("bracket", "time-limit")
    assert result.lower <= truth.upper
    assert truth.lower <= result.upper


@pytest.mark.skipif(sys.platform != "linux", reason="the cap on a worker's memory is Linux's")
def test_a_worker_that_takes_too_much_memory_fails_alone() -> None:
    workers = Workers(question().network, "cells", 1, 1e8)
    try:
        workers.warm()
        assert workers._executor is not None
        assert workers._executor.submit(hog, 50_000_000).result(60) == 50_000_000
        with pytest.raises(MemoryError):
            workers._executor.submit(hog, 2_000_000_000).result(60)
        assert workers._executor.submit(hog, 50_000_000).result(60) == 50_000_000
    finally:
        workers.close()
    uncapped = Workers(question().network, "cells", 1)
    try:
        uncapped.warm()
        assert uncapped._executor is not None
        assert uncapped._executor.submit(hog, 1_000_000_000).result(60) == 1_000_000_000
    finally:
        uncapped.close()


class Failing(Executor):
    """A thread that runs out of memory at some calls."""

    def __init__(self, failures: int) -> None:
        self._threads, self._failures = ThreadPoolExecutor(1), failures

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        self._failures -= 1
        if self._failures < 0:
            return self._threads.submit(fn, *args, **kwargs)
        failed: Future[Any] = Future()
        failed.set_exception(MemoryError("cannot allocate"))
        return failed


@pytest.mark.parametrize(("failures", "status"), [(2, "exact"), (10**9, "bracket")])
def test_tasks_that_fail_are_asked_again_but_not_for_ever(failures: int, status: str) -> None:
    truth = verify(question())
    result = verify(question(), executor=Failing(failures), jobs=1)
    assert result.status == status
    assert result.lower <= truth.upper
    assert truth.lower <= result.upper
    assert any("a worker ran out of memory" in notice for notice in result.notices)


@pytest.mark.parametrize("loss", [Loss.MARGIN, Loss.ZERO_ONE])
@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_any_executor_gives_the_same_answer(kind: str, loss: Loss) -> None:
    truth = verify(question(loss))
    executor: Executor = ThreadPoolExecutor(2) if kind == "threads" else ProcessPoolExecutor(2, get_context("spawn"))
    with executor:
        result = verify(question(loss), executor=executor, jobs=2)
        again = verify(question(loss), executor=executor, jobs=2)
    assert (result.status, again.status) == ("exact", "exact")
    assert result.value == pytest.approx(truth.value, abs=2e-6)
    assert again.value == pytest.approx(truth.value, abs=2e-6)
    assert result.vouched_upper == "checked"
    assert result.statistics.solves >= 5


def test_a_full_disk_costs_the_journal_and_not_the_answer(tmp_path: Path) -> None:
    """A limit on the size of files stands for the full disk: the system refuses the write, for real."""
    target = tmp_path / "out.json"
    iris = [str(MODELS / "iris_8x8.onnx"), str(MODELS / "iris_8x8.npz")]
    command = [
        "verify",
        *iris,
        "--radius",
        "0.05",
        "--run",
        str(tmp_path / "run"),
        "--output",
        str(target),
        "--jobs",
        "1",
    ]

    def little() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))

    done = subprocess.run(
        [sys.executable, "-m", "wdaverify", *command], check=False, capture_output=True, text=True, preexec_fn=little
    )
    assert done.returncode == 0, done.stderr
    assert "takes nothing more" in done.stderr
    assert "the run goes on without it" in done.stderr
    first = json.loads(target.read_text())
    assert first["status"] == "exact"
    again = subprocess.run([sys.executable, "-m", "wdaverify", *command], check=False, capture_output=True, text=True)
    assert again.returncode == 0
    second = json.loads(target.read_text())
    assert second["lower"] == pytest.approx(first["lower"], abs=2e-6)
    assert "of earlier runs are reused" in again.stderr
    assert "damaged" not in again.stderr


# Ctrl-C


def started(folder: Path, *more: str) -> subprocess.Popen[str]:
    """The command line at work, some seconds into a question that takes longer."""
    from wdaverify.errors import JournalError
    from wdaverify.journal.state import read_state

    command = [sys.executable, "-m", "wdaverify", *SLOW, "--run", str(folder), *more]
    if signal.SIGINT in signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT}):  # the child would inherit it
        warnings.warn("an earlier test of this process left SIGINT blocked", stacklevel=2)
    told = {**os.environ, "PYTHONFAULTHANDLER": "1"}
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=told)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and parent.poll() is None:
        time.sleep(0.05)
        try:
            if read_state(folder).state.get("solves", 0) > 0:
                break
        except JournalError:
            continue
    return parent


def test_ctrl_c_once_gives_the_bracket_so_far(tmp_path: Path) -> None:
    parent = started(tmp_path)
    parent.send_signal(signal.SIGINT)
    try:
        out, err = parent.communicate(timeout=60)
    except subprocess.TimeoutExpired:  # say where it hangs
        parent.send_signal(signal.SIGABRT)
        out, err = parent.communicate(timeout=20)
    assert parent.returncode == 130, err
    assert "bracket" in out
    assert "interrupted" in out


def test_ctrl_c_twice_ends_at_once(tmp_path: Path) -> None:
    """The second one comes while the first is being heard."""
    parent = started(tmp_path)
    for _ in range(3):
        parent.send_signal(signal.SIGINT)
        time.sleep(0.002)
    out, err = parent.communicate(timeout=60)
    assert parent.returncode == 130
    assert "interrupted twice" in err or "interrupted" in out
    assert "Traceback" not in err


def test_the_second_ctrl_c_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the process does after the first one may take for ever."""
    code = (
        "import os, signal, time\nfrom wdaverify import cli\nfrom wdaverify.cli import line\n"
        "def slow(arguments):\n"
        "    try:\n        os.kill(os.getpid(), signal.SIGINT); time.sleep(60)\n"
        "    except KeyboardInterrupt:\n        os.kill(os.getpid(), signal.SIGINT); time.sleep(60)\n    return 0\n"
        "line.run = slow\ncli.main([])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=30)
    assert done.returncode == 130
    assert done.stderr == "wdaverify: interrupted twice: ended at once, without an answer\n"


def test_nothing_is_left_of_a_killed_parent(tmp_path: Path) -> None:
    parent = started(tmp_path)
    children = [int(pid) for pid in Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()]
    assert len(children) >= 2
    parent.kill()
    parent.communicate()
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in children) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(Path(f"/proc/{pid}").exists() for pid in children)


def test_a_worker_whose_parent_died_before_it_was_ready_ends() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    code = (
        "import sys, time\nfrom wdro.test_workers import question\nfrom wdaverify.wdro import workers\n"
        f"workers._start(question().network, 'cells', None, {gone.pid})\ntime.sleep(60)\n"
    )
    here = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], check=False, env=here, timeout=50)
    assert done.returncode == 1
