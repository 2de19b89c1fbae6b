"""Worker processes: alike in their answers, calm under Ctrl-C, single-threaded, and mortal."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from bounds.tiny import network, problem, random_layers
from wdro import worker_probe
from wdro.worker_probe import report

from wdaverify import ProblemError, WdroProblem, verify
from wdaverify.problem import Loss, Norm
from wdaverify.wdro import workers as workers_module
from wdaverify.wdro.distances import distances
from wdaverify.wdro.progress import Progress
from wdaverify.wdro.workers import Workers

needs_kill = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this platform has no SIGKILL")


def question(loss: Loss = Loss.MARGIN, norm: Norm = Norm.INF) -> WdroProblem:
    """Four classes and six samples on which the attacks and screening leave some dozens of questions."""
    rng = np.random.default_rng(0)
    net = network(*random_layers(rng, 6, 10, 10, 4))
    x = rng.uniform(size=(6, 6))
    return problem(net, x, net.forward(x).argmax(axis=1), 0.1, loss=loss, norm=norm)


@pytest.fixture(scope="module")
def value() -> float:
    result = verify(question(), solver="highs")
    assert result.status == "exact"
    assert result.statistics.solves >= 5
    return result.value


@pytest.mark.parametrize("loss", [Loss.MARGIN, Loss.ZERO_ONE])
def test_processes_give_the_value_of_one_process(loss: Loss) -> None:
    alone, together = (verify(question(loss), solver="highs", jobs=jobs) for jobs in (None, 2))
    assert (alone.status, together.status) == ("exact", "exact")
    assert together.lower == pytest.approx(alone.lower, abs=2e-6)
    assert together.upper == pytest.approx(alone.upper, abs=2e-6)
    assert (alone.statistics.jobs, together.statistics.jobs) == (1, 2)


def test_a_worker_is_calm_and_small() -> None:
    workers = Workers(question().network, "highs", 1)
    before = {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    try:
        rng = np.random.default_rng(0)
        task = _some_task(rng)
        assert np.isfinite(workers.submit(task).result(60).bound)
        assert workers._executor is not None
        said = workers._executor.submit(report).result(60)
    finally:
        workers.close()
    assert said["ignores_sigint"] is True
    assert said["torch"] is False
    assert said["engine"] == "MipEngine"
    threads = said["threads"]
    assert isinstance(threads, list)
    assert {count for _, count in threads} <= {1}
    assert {name: os.environ.get(name) for name in before} == before
    assert signal.getsignal(signal.SIGINT) is not signal.SIG_IGN
    if hasattr(signal, "pthread_sigmask"):
        assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def _some_task(rng: np.random.Generator) -> object:
    from wdaverify.engines.base import Effort, Inner
    from wdaverify.engines.screening import Screen
    from wdaverify.wdro.workers import Task

    p = question()
    region, bounds, _ = Screen(p).region(0, 0.0, 0.1)
    label = int(p.samples.y[0])
    return Task(0, Inner(0, label, (label + 1) % 4, region, bounds, 1.0), Effort(1e-6, 60.0, 0, None, None))


_UNGUARDED = """
import torch
import numpy as np
from bounds.tiny import network, problem, random_layers
from wdaverify import verify
from wdaverify.wdro.workers import Workers
from wdro.worker_probe import report

print("begun")
rng = np.random.default_rng(0)
net = network(*random_layers(rng, 6, 10, 10, 4))
x = rng.uniform(size=(6, 6))
result = verify(problem(net, x, net.forward(x).argmax(axis=1), 0.1), jobs=2)
print(result.status.value, result.statistics.jobs, len(result.notices))
workers = Workers(net, "auto", 1)
print(workers._processes().submit(report).result(60)["torch"])
workers.close()
print(__name__, __import__("sys").modules["__main__"].torch is torch)
"""


def test_a_script_needs_no_guard(tmp_path: Path) -> None:
    """Workers do not run the program again that starts them, nor import what it imports."""
    script = tmp_path / "script.py"
    script.write_text(_UNGUARDED)
    done = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        timeout=120,
    )
    assert done.stdout.split("\n") == ["begun", "exact 2 0", "False", "__main__ True", ""], done.stderr


def test_threads_that_start_processes_at_once_leave_no_trace() -> None:
    main, before = sys.modules["__main__"], dict(os.environ)
    teams = [Workers(question().network, "auto", 2) for _ in range(6)]
    threads = [threading.Thread(target=team.warm) for team in teams]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for team in teams:
        team.close()
    assert sys.modules["__main__"] is main
    assert dict(os.environ) == before


@pytest.mark.parametrize("jobs", [0, -1, 1025, 10**9])
def test_numbers_of_processes_that_are_none(jobs: int) -> None:
    for ask in (verify, distances):
        with pytest.raises(ProblemError, match="1 to 1024 processes"):
            ask(question(Loss.ZERO_ONE), jobs=jobs)


def test_a_daemonic_process_starts_none() -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert "daemonic" in pool.apply(worker_probe.refused, (question(),))


_INTERRUPTED = """
import os, signal, threading
import numpy as np
from bounds.tiny import network, problem, random_layers
from wdaverify import verify
from wdaverify.engines import mip

asked = mip.solve
timer = threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT))
timer.daemon = True

def solve(*arguments):
    if timer.ident is None:
        timer.start()
    return asked(*arguments)

mip.solve = solve
rng = np.random.default_rng(0)
net = network(*random_layers(rng, 30, 40, 40, 3))
x = rng.uniform(size=(3, 30))
result = verify(problem(net, x, net.forward(x).argmax(axis=1), 0.1), solver="SOLVER", time_limit=4.0)
print(result.reason.value)
"""


@pytest.mark.parametrize("solver", ["highs", "gurobi"])
def test_ctrl_c_during_a_solve_in_this_process_is_not_lost(solver: str) -> None:
    """Ctrl-C one second into the first solve; some solvers catch the signal themselves."""
    here = str(Path(__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", _INTERRUPTED.replace("SOLVER", solver)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": here},
    )
    assert "interrupted" in done.stdout.split("\n"), done.stderr  # Gurobi prints a line of its own, before or behind


def test_closing_ends_the_processes() -> None:
    workers = Workers(question().network, "highs", 2)
    tasks = [workers.submit(_some_task(np.random.default_rng(0))) for _ in range(3)]  # type: ignore[arg-type]
    tasks[0].result(60)
    children = multiprocessing.active_children()
    assert children
    workers.close()
    deadline = time.monotonic() + 10
    while any(child.is_alive() for child in children) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(child.is_alive() for child in children)
    workers.close()  # twice does no harm


def test_an_answer_cut_short_holds_nobody_up() -> None:
    """A process that is ended while it writes leaves half an answer; who reads it learns that no more comes, and this process can end."""
    workers = Workers(question().network, "highs", 1)
    workers.warm()
    for _ in range(3):  # an end between two answers shows nothing
        pool = workers._processes()
        assert isinstance(pool, ProcessPoolExecutor)
        pool.submit(worker_probe.large, 1).result(60)
        reader = pool._executor_manager_thread  # type: ignore[attr-defined]
        for _ in range(4):
            pool.submit(worker_probe.large, 2**27)
        time.sleep(0.1)
        workers.close()
        reader.join(20)
        assert not reader.is_alive()


def _killer(pause: float, times: int) -> tuple[list[int], object]:
    """A progress callback that kills a worker, waits, and so leaves the parent with a broken pool at its next move."""
    killed: list[int] = []

    def progress(now: Progress) -> None:
        children = multiprocessing.active_children()
        if now.phase == "solve" and now.solves >= 1 and children and len(killed) < times and children[0].pid:
            killed.append(children[0].pid)
            children[0].kill()  # one that has just ended by itself is no error
            time.sleep(pause)

    return killed, progress


@needs_kill
@pytest.mark.parametrize(
    ("jobs", "pause", "loss"),
    [
        (1, 0.5, Loss.MARGIN),
        (2, 0.0, Loss.MARGIN),
        (2, 0.5, Loss.MARGIN),
        (1, 0.0, Loss.ZERO_ONE),
        (2, 0.5, Loss.ZERO_ONE),
    ],
)
def test_a_killed_worker_leaves_a_valid_answer(
    jobs: int, pause: float, loss: Loss, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wdaverify.wdro.run._TICK", 0.0)
    truth = verify(question(loss), solver="highs")
    killed, progress = _killer(pause, 1)
    result = verify(question(loss), solver="highs", jobs=jobs, progress=progress)  # type: ignore[arg-type]
    assert len(killed) == 1
    assert result.lower <= truth.upper
    assert truth.lower <= result.upper
    assert any("a worker died" in notice for notice in result.notices) or result.status == "exact"


@needs_kill
def test_one_death_does_not_cost_the_answer(value: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """The questions that were under way are asked again: one lost process is no reason for an open bracket."""
    monkeypatch.setattr("wdaverify.wdro.run._TICK", 0.0)
    killed, progress = _killer(0.0, 1)
    result = verify(question(), solver="highs", jobs=2, progress=progress)  # type: ignore[arg-type]
    assert len(killed) == 1
    assert result.status == "exact"
    assert result.value == pytest.approx(value, abs=2e-6)


FAILURES = {
    "hungry": "a worker ran out of memory",
    "defective": "an engine failed (IndexError: list index out of range in item 0)",
    "leaving": "an engine failed (SystemExit: 3)",
}


@pytest.mark.parametrize("loss", [Loss.MARGIN, Loss.ZERO_ONE])
@pytest.mark.parametrize("fault", FAILURES)
def test_a_worker_that_fails_widens_the_bracket_and_says_why(
    fault: str, loss: Loss, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The engine raises in the worker process; no question is asked without end, and the run ends with a reason."""
    truth = verify(question(loss), solver="highs")
    monkeypatch.setattr(workers_module, "_answer", getattr(worker_probe, fault))
    with caplog.at_level("WARNING", "wdaverify"):
        result = verify(question(loss), solver="highs", jobs=2)
    assert result.lower <= truth.upper
    assert truth.lower <= result.upper
    assert (result.status, result.reason) == ("bracket", "stalled")
    assert any(f"went unanswered: {FAILURES[fault]}" in notice for notice in result.notices)
    assert (result.statistics.solves > 0) == (fault == "hungry")
    assert FAILURES[fault] in caplog.text
    assert "Traceback" in caplog.text


@pytest.mark.parametrize("jobs", [None, 1])
def test_distances_say_what_went_unanswered(jobs: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    def starved(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("wdaverify.engines.mip.MipEngine.answer", starved)
    monkeypatch.setattr(workers_module, "_answer", worker_probe.hungry if jobs is None else worker_probe.defective)
    result = distances(question(Loss.ZERO_ONE), solver="highs", jobs=jobs)
    assert not result.exact
    why = "a worker ran out of memory" if jobs is None else "an engine failed (IndexError"
    assert any(why in notice for notice in result.notices)


def test_an_engine_that_fails_in_this_process_widens_too(monkeypatch: pytest.MonkeyPatch) -> None:
    truth = verify(question(), solver="highs")

    def starved(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("wdaverify.engines.mip.MipEngine.answer", starved)
    result = verify(question(), solver="highs")
    assert result.lower <= truth.upper
    assert truth.lower <= result.upper
    assert result.reason == "stalled"
    assert any("a worker ran out of memory" in notice for notice in result.notices)


@pytest.mark.parametrize("jobs", [None, 2])
def test_ctrl_c_is_no_failure(jobs: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in an engine of this process, or in the parent while workers fail, ends the run with the bracket so far."""
    truth = verify(question(), solver="highs")
    monkeypatch.setattr("wdaverify.wdro.run._TICK", 0.0)
    monkeypatch.setattr(workers_module, "_answer", worker_probe.hungry)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    def progress(now: Progress) -> None:
        if now.phase == "solve":
            raise KeyboardInterrupt

    if jobs is None:
        monkeypatch.setattr("wdaverify.engines.mip.MipEngine.answer", interrupt)
    result = verify(question(), solver="highs", jobs=jobs, progress=progress if jobs else None)
    assert result.reason == "interrupted"
    assert result.lower <= truth.upper
    assert truth.lower <= result.upper


def test_processes_that_cannot_be_started_widen_the_bracket(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(11, "Resource temporarily unavailable")

    truth = verify(question(), solver="highs")
    monkeypatch.setattr(workers_module.Workers, "_processes", full)
    result = verify(question(), solver="highs", jobs=2)
    assert result.lower <= truth.upper
    assert truth.lower <= result.upper
    assert any("Resource temporarily unavailable" in notice for notice in result.notices)


def test_a_process_that_starts_does_not_hold_up_its_maker() -> None:
    """What a process is handed in its pipe fits there, however large the network: its maker need not wait for it to be read."""
    wide = network(*random_layers(np.random.default_rng(0), 6, 300, 200, 4))
    workers = Workers(wide, "cells", 1)
    try:
        workers.warm()
        executor = workers._executor
        assert isinstance(executor, ProcessPoolExecutor)
        parcel = executor._initargs[0]  # type: ignore[attr-defined]
        assert os.fstat(parcel._handle.fileno()).st_size > 2**18
        assert workers.submit(_some_task(np.random.default_rng(0))).result(60).vouched_by == "cells"  # type: ignore[arg-type]
    finally:
        workers.close()
    with pytest.raises(OSError, match="closed"):
        parcel._handle.fileno()


def test_without_room_for_it_the_network_goes_through_the_pipe(monkeypatch: pytest.MonkeyPatch, value: float) -> None:
    def full(content: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(workers_module, "Parcel", full)
    assert verify(question(), solver="highs", jobs=1).value == pytest.approx(value, abs=2e-6)
