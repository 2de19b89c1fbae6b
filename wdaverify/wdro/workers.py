"""Where questions are answered: worker processes, or this process. A task is picklable in, picklable out."""

from __future__ import annotations

import os
import secrets
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import current_process, get_context
from types import ModuleType
from typing import Any

from threadpoolctl import threadpool_limits

from wdaverify.engines.base import Answer, Effort, Engine, Gathering, Inner, Question
from wdaverify.engines.registry import make_engine
from wdaverify.errors import ProblemError
from wdaverify.given import called, instance, whole
from wdaverify.network.model import ReluNetwork
from wdaverify.wdro.parcel import Parcel
from wdaverify.wdro.parts import divided, gathered

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

_PATIENCE = 0.5
"""Seconds that processes have to end when asked to."""
_BEYOND = 2.0**62
"""Bytes that no process has, and a limit of which is none."""
_ALLOWANCE = 2.5e8
"""Bytes that libraries of solvers may take beside what is limited."""

_starting = threading.RLock()
"""Held while processes are started: what they are to inherit is the whole process's."""
_engine: Engine | None = None
"""The engine of a worker process, made once by ``_start``."""
_networks: dict[str, tuple[ReluNetwork, str]] = {}
_engines: dict[tuple[str, int], Engine] = {}
"""Of a process that is not ours: what it was sent, and an engine for each of its threads."""


@dataclass(frozen=True, eq=False)
class Task:
    """One question and how hard to try; ``item`` is the caller's own index of it, ``parts`` how many workers may share it.

    ``tries``: how often it was asked before. What stayed open is answered alone.
    """

    item: int
    question: Question
    effort: Effort
    parts: int = 1
    tries: int = 0


def _start(network: Parcel | ReluNetwork, solver: str, memory: float | None, parent: int) -> None:
    """Begin a worker: no SIGINT (the parent decides), one BLAS thread, the network received once, a cap on its memory."""
    global _engine  # noqa: PLW0603 (the one piece of state of a worker process)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow, args=(parent,), daemon=True).start()
    threadpool_limits(1)
    _engine = make_engine(network.content() if isinstance(network, Parcel) else network, solver)
    if memory is not None:
        _cap(memory)


def _cap(memory: float) -> None:
    """Let this process's data grow by so many bytes and the allowance for solvers, and no further."""
    if sys.platform != "linux" or memory >= _BEYOND:
        return
    import resource

    with open("/proc/self/status", encoding="ascii") as status:
        now = next(1024 * int(line.split()[1]) for line in status if line.startswith("VmData"))
    most = int(min(now + memory + _ALLOWANCE, sys.maxsize))
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    resource.setrlimit(resource.RLIMIT_DATA, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def _follow(parent: int) -> None:
    """End with the parent, however it ended, and if it did so before this process was ready."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _ready() -> None:
    """Nothing: a worker that answers it is ready."""


def _answer(task: Task) -> Answer:
    assert _engine is not None
    return _engine.answer(task.question, task.effort)


def _answer_all(tasks: Sequence[Task]) -> list[Answer]:
    return _answers_of(_engine, tasks)


def _answers_of(engine: Engine | None, tasks: Sequence[Task]) -> list[Answer]:
    assert isinstance(engine, Gathering)
    return engine.answer_all([(task.question, task.effort) for task in tasks])


def _answer_there(
    token: str, given: tuple[ReluNetwork, str] | None, tasks: Sequence[Task], patience: float
) -> list[Answer] | None:
    """Answers in a process that is not ours: those to the first tasks, as many as ``patience`` seconds allow, at least one.

    None where the network is not there yet: it is sent once and kept.
    """
    if given is not None:
        _networks[token] = given
    if token not in _networks:
        return None
    name = token, threading.get_ident()
    if name not in _engines:
        _engines[name] = make_engine(*_networks[token])
    begun = time.monotonic()
    with threadpool_limits(1):
        out = [_engines[name].answer(tasks[0].question, tasks[0].effort)]
        while len(out) < len(tasks) and time.monotonic() - begun < patience:
            task = tasks[len(out)]
            out.append(_engines[name].answer(task.question, task.effort))
    return out


class Workers:
    """Answers tasks on ``jobs`` spawned processes, in this process where ``jobs`` is None, or on somebody else's executor.

    ``memory``: bytes by which a process of our own may grow. ``slots`` says how many tasks a foreign executor can work on now.
    """

    def __init__(
        self,
        network: ReluNetwork,
        solver: str,
        jobs: int | None,
        memory: float | None = None,
        executor: Executor | None = None,
        slots: Callable[[], int] | None = None,
    ) -> None:
        """No process is started yet.

        Raises:
            ProblemError: an executor or slots that cannot be used, or no process can be started from this one.
        """
        if executor is not None:
            instance("executor", executor, Executor, "it is one of concurrent.futures, or made like one")
        called("slots", slots)
        if slots is not None and executor is None:
            raise ProblemError("slots says how many tasks an executor can take, and there is none; give executor= too")
        if jobs is not None and executor is None and current_process().daemon:
            raise ProblemError(
                f"jobs {jobs}: this is a daemonic process (a worker of multiprocessing.Pool, say), which may start none; "
                "jobs=None solves in it"
            )
        self._network, self._solver, self._jobs, self._memory = network, solver, jobs, memory
        self._foreign, self._slots = executor, slots
        self._count = self._free() if slots is not None else jobs or 1
        self._token = secrets.token_hex(16)
        self._executor: Executor | None = None
        self._parcel: Parcel | None = None
        self._local: Engine | None = None

    @property
    def foreign(self) -> bool:
        """Whether the processes are somebody else's, who alone can end them."""
        return self._foreign is not None

    @property
    def width(self) -> int:
        """How many tasks are worth having under way at once: one more than there are workers keeps each of them busy.

        Raises:
            ExecutorLostError: there is nobody left.
        """
        if self._slots is not None:
            self._count = self._free()
        return 1 if self._jobs is None and not self.foreign else self.jobs + 1

    def _free(self) -> int:
        """How many tasks the executor can work on now, at least 1."""
        assert self._slots is not None
        return max(1, whole("slots()", self._slots(), "a number of tasks", lambda _: True))

    @property
    def own_bounds(self) -> bool:
        """Whether the engine makes its pre-activation bounds itself."""
        if self._local is None:
            self._local = make_engine(self._network, self._solver)
        return self._local.own_bounds

    @property
    def jobs(self) -> int:
        """The number of processes that solve, as last seen."""
        return self._count

    def warm(self) -> None:
        """Start the processes now, so that they import what they need while the attacks run."""
        if self._jobs is not None and not self.foreign:
            try:
                self._processes()
            except OSError:  # none can be started now; the first question will tell
                self.close()

    def _processes(self) -> Executor:
        """The executor of our own processes; all of them are started with it.

        Raises:
            OSError: no process can be started.
        """
        assert self._jobs is not None
        if self._executor is None:
            try:
                self._parcel = self._parcel or Parcel(self._network)
            except OSError:  # no room: through the pipe, which only takes longer
                self._parcel = None
            given = (self._parcel or self._network, self._solver, self._memory, os.getpid())
            self._executor = ProcessPoolExecutor(self._jobs, get_context("spawn"), initializer=_start, initargs=given)
            with _starting, _calm_children():
                for _ in range(self._jobs):
                    self._executor.submit(_ready)
        return self._executor

    @property
    def gathering(self) -> bool:
        """Whether several questions at once are less work for the engine."""
        return self.own_bounds and isinstance(self._local, Gathering)

    def submit_all(self, tasks: Sequence[Task], *, whole: bool, patience: float) -> Future[Any]:
        """Start on tasks: several at once where the engine gathers them, or elsewhere; ``whole`` sends the network along.

        The future holds an answer, or those to the first tasks, or None where a foreign process has not the network yet.
        """
        if self._foreign is None:
            return self.submit(tasks[0]) if len(tasks) == 1 else self._submit_many(tasks)
        given = (self._network, self._solver) if whole else None
        return self._foreign.submit(_answer_there, self._token, given, tasks, patience)

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
        if task.parts > 1 and isinstance(task.question, Inner):
            pieces = [replace(task, question=q, parts=1) for q in divided(task.question, task.parts)]
            return gathered([self._processes().submit(_answer, piece) for piece in pieces])
        return self._processes().submit(_answer, task)

    def _submit_many(self, tasks: Sequence[Task]) -> Future[list[Answer]]:
        """Start on tasks that are answered together."""
        if self._jobs is not None:
            return self._processes().submit(_answer_all, tasks)
        done: Future[list[Answer]] = Future()
        try:
            done.set_result(_answers_of(self._local, tasks))
        except Exception as error:  # noqa: BLE001 (as from a worker: the run says what it means)
            done.set_exception(error)
        return done

    def close(self) -> None:
        """Stop now: what is under way is abandoned, processes of our own are ended, by force where they do not listen."""
        executor, self._executor = self._executor, None
        parcel, self._parcel = self._parcel, None
        if isinstance(executor, ProcessPoolExecutor):
            processes, results = list((executor._processes or {}).values()), executor._result_queue
            executor.shutdown(wait=False, cancel_futures=True)
            for process in processes:
                process.terminate()
            until = time.monotonic() + _PATIENCE
            for process in processes:
                process.join(max(until - time.monotonic(), 0.0))
                if process.is_alive():
                    process.kill()
            if (
                results is not None
            ):  # the last open end: who waits for the rest of an answer cut short is told that there is none
                results._writer.close()  # type: ignore[attr-defined]
        if parcel is not None:
            parcel.close()


@contextmanager
def _calm_children() -> Iterator[None]:
    """Processes started inside inherit a blocked SIGINT and one thread for numerical libraries, and run no main module again.

    A spawned process begins with the program that started it, which here only costs time (what it imports) or begins a run
    of its own (a script without a guard).
    """
    main = sys.modules["__main__"]
    before = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}) if hasattr(signal, "pthread_sigmask") else None
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, "1"))
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        if blocked is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
