"""Questions out, answers in: whatever becomes of a worker or an executor, what is lost proves nothing and is asked again."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Future, wait
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from wdaverify.engines.base import Answer, Distance
from wdaverify.errors import ExecutorLostError
from wdaverify.wdro.log import LOGGER
from wdaverify.wdro.workers import Task, Workers

_GRACE = 1.0
"""Seconds past the deadline after which an answer is no longer waited for."""
_TICK = 0.2
_DEATHS = 3
"""How often a question may be under way while a worker dies or fails before it is given up."""
_HANG = 20.0
"""Seconds beyond its own, half as many again, after which a question is given up and its worker ended."""
_WORTH = 1.5
"""Seconds of work that a bundle for a foreign executor should hold, so that handing it over costs little beside it."""
_WORTH_TOGETHER = 0.25
"""Seconds of work that questions should be that one of our own processes is handed at once, so that the run hears of answers often."""
_LARGEST_BUNDLE = 64
_FORGOTTEN = 0.8
"""What of an answer's weight in the typical time is left when the next one comes."""
_NOT_STARTED = (BrokenExecutor, OSError, MemoryError)
"""What handing a task to processes of our own may meet: a pool that broke, or processes that cannot be started."""


class Asker(Protocol):
    """Whose questions they are. ``deaths``: by item, how often it was under way while a worker died or failed."""

    workers: Workers
    solves: Counter[str]
    solve_seconds: float
    deaths: Counter[int]

    @property
    def deadline(self) -> float:
        """The time (``time.monotonic``) after which nothing is begun."""

    def verdict(self) -> object | None:
        """Why the run can stop now, or None."""


@dataclass(frozen=True, eq=False)
class _Out:
    """Tasks under way together, the seconds they are allowed once begun, and until when (``time.monotonic``) they may be."""

    tasks: tuple[Task, ...]
    allowed: float
    until: float


class Dispatch:
    """One stretch of work of a run."""

    def __init__(self, run: Asker, draw: Callable[[], Task | None]) -> None:
        self._run, self._workers, self._draw = run, run.workers, draw
        self._pending: dict[Future[object], _Out] = {}
        self._left: list[Task] = []
        self._typical = 0.0, 0.0
        """Seconds of answers and how many of these closed their question, the last ones weighing most."""

    def answers(self, tell: Callable[[], None]) -> Iterator[tuple[Task, Answer]]:
        """Answers as they come; ends when nothing is under way and nothing is drawn, or a grace after the deadline."""
        while time.monotonic() <= self._run.deadline + _GRACE:
            self._fill()
            if not self._pending:
                return
            done, _ = wait(self._pending, timeout=_TICK, return_when=FIRST_COMPLETED)
            late = [
                future for future, out in self._pending.items() if not future.done() and time.monotonic() > out.until
            ]
            if late or any(isinstance(_error(future), BrokenExecutor) for future in done):
                yield from self._cleared(late)
            else:
                for future in done:
                    yield from self._settled(future, self._pending.pop(future))
            tell()

    def _fill(self) -> None:
        """Keep the workers busy."""
        free, most = self._workers.width - len(self._pending), self._bundle()
        tasks: list[Task] = []
        while len(tasks) < free * most and (task := self._next()) is not None:
            if self._apart(task):
                self._submit((task,))
                free -= 1
            else:
                tasks.append(task)
        for k in range(min(free, len(tasks))):
            self._submit(tuple(tasks[k::free]))
        if free <= 0:
            self._left += tasks

    def _apart(self, task: Task) -> bool:
        """Whether a task is handed over by itself: it is long, many workers share it, or it may be what ended one."""
        return not self._workers.foreign and bool(task.tries or task.parts > 1 or self._run.deaths[task.item])

    def _next(self) -> Task | None:
        """What a bundle left over comes first, as long as the run goes on."""
        if self._left and self._run.verdict() is None:
            return self._left.pop()
        return self._draw()

    def _bundle(self) -> int:
        """How many questions make up enough work to be worth handing over, or to be answered together."""
        if self._workers.foreign:
            worth, spent, count = _WORTH, self._run.solve_seconds, float(sum(self._run.solves.values()))
        elif self._workers.gathering:
            worth, (spent, count) = _WORTH_TOGETHER, self._typical
        else:
            return 1
        if not count:
            return 1
        return max(1, min(_LARGEST_BUNDLE, math.ceil(worth * count / max(spent, 1e-6))))

    def _submit(self, tasks: tuple[Task, ...], *, whole: bool = False) -> None:
        """Hand tasks over; a task may wait for one that was handed over before it."""
        seconds = [task.effort.seconds for task in tasks]
        allowed = 1.5 * (sum(seconds) if self._workers.foreign else max(seconds)) + _HANG
        before = max((out.allowed for out in self._pending.values()), default=0.0)
        try:
            future = self._workers.submit_all(tasks, whole=whole, patience=4 * _WORTH)
        except (*_NOT_STARTED, RuntimeError) as error:
            if self._workers.foreign:
                raise ExecutorLostError(_words("the executor takes no more tasks", error)) from error
            if not isinstance(error, _NOT_STARTED):
                raise
            future = Future()
            future.set_exception(BrokenExecutor(str(error)))
        self._pending[future] = _Out(tasks, allowed, time.monotonic() + before + allowed)

    def _settled(self, future: Future[object], out: _Out) -> Iterator[tuple[Task, Answer]]:
        """What a future brought."""
        error = _error(future)
        if error is not None:
            yield from self._failed(out.tasks, error)
            return
        found = future.result()
        if found is None:  # the worker is new, and has not the network yet
            self._submit(out.tasks, whole=True)
            return
        answers = [found] if isinstance(found, Answer) else found
        assert isinstance(answers, Sequence)
        self._left += out.tasks[len(answers) :]
        for answer in answers:
            spent, count = (_FORGOTTEN * part for part in self._typical)
            self._typical = spent + answer.seconds, count + answer.closed
        yield from zip(out.tasks, answers, strict=False)

    def _cleared(self, late: Sequence[Future[object]]) -> Iterator[tuple[Task, Answer]]:
        """Whatever is under way is lost with its pool; late questions and those of a pool that broke by itself count."""
        error = next((e for f in self._pending if isinstance(e := _error(f), BrokenExecutor)), None)
        if error is not None and self._workers.foreign:
            raise ExecutorLostError(_words("the executor is broken", error)) from error
        if not self._workers.foreign:
            self._workers.close()
            gone = list(self._pending)
        else:
            gone = list(late)
        for future in gone:
            out = self._pending.pop(future)
            if future.done() and not isinstance(_error(future), (BrokenExecutor, CancelledError)):
                yield from self._settled(future, out)
            elif future in late:
                future.cancel()
                yield from self._lost(
                    out.tasks, "a solver did not stop when its time was over, and was ended", counts=True
                )
            elif error is not None:
                yield from self._lost(out.tasks, _words("a worker process died", error), counts=True)
            else:
                yield from self._lost(
                    out.tasks, "its worker was ended with another, and it is asked again", counts=False
                )

    def _failed(self, tasks: Sequence[Task], error: BaseException) -> Iterator[tuple[Task, Answer]]:
        """An engine raised, or the memory did not suffice: whatever it was, no answer."""
        if isinstance(error, KeyboardInterrupt):
            raise error
        LOGGER.warning("an engine failed on question %d", tasks[0].item, exc_info=error)
        who = "a worker" if isinstance(error, CancelledError) else "an engine"
        why = _words(f"{who} failed", error, named=True)
        yield from self._lost(
            tasks, "a worker ran out of memory" if isinstance(error, MemoryError) else why, counts=True
        )

    def _lost(self, tasks: Sequence[Task], why: str, *, counts: bool) -> Iterator[tuple[Task, Answer]]:
        """What is known of tasks that were lost: nothing. They may be asked again, but not for ever."""
        for task in tasks:
            LOGGER.warning("no answer to question %d: %s", task.item, why)
            self._run.deaths[task.item] += counts
            closed = self._run.deaths[task.item] >= _DEATHS
            bound = -math.inf if isinstance(task.question, Distance) else math.inf
            none = np.zeros((0, task.question.region.centre.size))
            yield task, Answer(bound, none, "none", closed, 0, 0.0, why)


def _error(future: Future[object]) -> BaseException | None:
    """Why a future failed; None where it did not, or is still under way."""
    if not future.done():
        return None
    return CancelledError("cancelled") if future.cancelled() else future.exception()


def _words(what: str, error: BaseException, *, named: bool = False) -> str:
    said = " ".join(str(error).split())[:200]
    name = type(error).__name__
    return f"{what} ({f'{name}: {said}' if named and said else said or name})"
