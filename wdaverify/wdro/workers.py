"""Where questions are answered: worker processes, or this process. A task is picklable in, picklable out."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context

from threadpoolctl import threadpool_limits

from wdaverify.engines.base import Answer, Effort, Engine, Inner, Question
from wdaverify.engines.registry import make_engine
from wdaverify.network.model import ReluNetwork
from wdaverify.wdro.parts import divided, gathered

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

_engine: Engine | None = None
"""The engine of a worker process, made once by ``_start``."""


@dataclass(frozen=True, eq=False)
class Task:
    """One question and how hard to try; ``item`` is the caller's own index of it, ``parts`` how many workers may share it."""

    item: int
    question: Question
    effort: Effort
    parts: int = 1


def _start(network: ReluNetwork, solver: str) -> None:
    """Begin a worker: no SIGINT (the parent decides), one BLAS thread, the network received once."""
    global _engine  # noqa: PLW0603 (the one piece of state of a worker process)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow, args=(os.getppid(),), daemon=True).start()
    threadpool_limits(1)
    _engine = make_engine(network, solver)


def _follow(parent: int) -> None:
    """End with the parent, however it ended."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _ready() -> None:
    """Nothing: a worker that answers it is ready."""


def _answer(task: Task) -> Answer:
    assert _engine is not None
    return _engine.answer(task.question, task.effort)


class Workers:
    """Answers tasks on ``jobs`` spawned processes, or in this process where ``jobs`` is None."""

    def __init__(self, network: ReluNetwork, solver: str, jobs: int | None) -> None:
        self._network, self._solver, self._jobs = network, solver, jobs
        self._executor: Executor | None = None
        self._local: Engine | None = None

    @property
    def width(self) -> int:
        """How many tasks are worth having under way at once: one more than there are workers keeps each of them busy."""
        return 1 if self._jobs is None else self._jobs + 1

    @property
    def own_bounds(self) -> bool:
        """Whether the engine makes its pre-activation bounds itself."""
        if self._local is None:
            self._local = make_engine(self._network, self._solver)
        return self._local.own_bounds

    @property
    def jobs(self) -> int:
        """The number of processes that solve."""
        return 1 if self._jobs is None else self._jobs

    def warm(self) -> None:
        """Start the processes now, so that they import what they need while the attacks run."""
        if self._jobs is not None:
            try:
                with _calm_children():
                    for _ in range(self._jobs):
                        self._processes().submit(_ready)
            except OSError:  # none can be started now; the first question will tell
                self.close()

    def _processes(self) -> Executor:
        assert self._jobs is not None
        if self._executor is None:
            self._executor = ProcessPoolExecutor(
                self._jobs, get_context("spawn"), initializer=_start, initargs=(self._network, self._solver)
            )
        return self._executor

    def submit(self, task: Task) -> Future[Answer]:
        """Start on a task; the first one starts the processes if ``warm`` did not."""
        if self._jobs is None:
            self._local = self._local or make_engine(self._network, self._solver)
            done: Future[Answer] = Future()
            try:
                done.set_result(self._local.answer(task.question, task.effort))
            except Exception as error:  # noqa: BLE001 (as from a worker: the run says what it means)
                done.set_exception(error)
            return done
        with _calm_children():
            if task.parts > 1 and isinstance(task.question, Inner):
                pieces = [replace(task, question=q, parts=1) for q in divided(task.question, task.parts)]
                return gathered([self._processes().submit(_answer, piece) for piece in pieces])
            return self._processes().submit(_answer, task)

    def close(self) -> None:
        """Stop now: what is under way is abandoned, processes are ended."""
        executor, self._executor = self._executor, None
        if isinstance(executor, ProcessPoolExecutor):
            processes = list((executor._processes or {}).values())
            executor.shutdown(wait=False, cancel_futures=True)
            for process in processes:
                process.terminate()
            for process in processes:
                process.join(1.0)


@contextmanager
def _calm_children() -> Iterator[None]:
    """Processes started inside inherit a blocked SIGINT and one thread for numerical libraries."""
    before = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if hasattr(signal, "pthread_sigmask") else None
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        if blocked is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
