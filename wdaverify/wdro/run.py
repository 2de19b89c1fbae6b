"""One run: its options, its clock, what it counts, and the bracket it tells of."""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from wdaverify.engines.base import Answer, Inner
from wdaverify.network.model import Array
from wdaverify.problem import WdroProblem
from wdaverify.wdro.log import LOGGER, began
from wdaverify.wdro.progress import Progress, Report
from wdaverify.wdro.result import Reason
from wdaverify.wdro.workers import Task, Workers

_FIRST_SLICE = 10.0
"""Seconds that a question gets on its first try; each further try gets four times as many."""
_GRACE = 1.0
"""Seconds past the deadline after which an answer is no longer waited for."""
_TICK = 0.2
_DEATHS = 3
"""How often a question may be under way while a worker dies or fails before it is given up."""
_NOISE = 1e-12
"""A bound raised by less was rounded, not wrong."""
SHORTFALL = 1e-6
"""By how much a solver's bound may fall short of a re-evaluated point before the run counts as numerically broken."""


@dataclass(frozen=True)
class Options:
    """What the user asked of the run; see ``wdaverify.wdro.verify.verify``."""

    solver: str
    gap: float
    time_limit: float | None
    jobs: int | None
    threshold: float | None
    device: str
    seed: int
    mip_start: bool
    certificate: bool = False
    memory_limit: float | None = None


class Pace:
    """Keeps bookkeeping to a tenth of the time: after a turn that took c seconds the next is due 9 c later."""

    def __init__(self) -> None:
        self._next = 0.0

    def due(self) -> bool:
        """Whether another turn may be taken."""
        return time.perf_counter() >= self._next

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Time the block."""
        begun = time.perf_counter()
        yield
        now = time.perf_counter()
        self._next = now + 9 * (now - begun)


@dataclass(eq=False)
class Run:
    """Mutable state shared by the stages of one run; the bracket only ever narrows."""

    problem: WdroProblem
    options: Options
    workers: Workers
    progress: Report | None
    begun: float = field(default_factory=time.monotonic)
    lower: float = -math.inf
    upper: float = math.inf
    rounds: int = 0
    solves: Counter[str] = field(default_factory=Counter)
    nodes: int = 0
    solve_seconds: float = 0.0
    screen_seconds: float = 0.0
    attack_seconds: float = 0.0
    rivals_screened: int = 0
    samples_solved: set[int] = field(default_factory=set)
    raised: int = 0
    largest_shortfall: float = 0.0
    deaths: Counter[int] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    device: str = "cpu"
    _reported: float = 0.0
    _phase: str = ""

    def __post_init__(self) -> None:
        began(self.problem, self.options)

    @property
    def deadline(self) -> float:
        """The time (``time.monotonic``) at which the run must stop; inf if never."""
        limit = self.options.time_limit
        return math.inf if limit is None else self.begun + limit

    @property
    def memory(self) -> float:
        """Bytes that one search tree may take: each of the workers has its share of three quarters of the limit."""
        limit = self.options.memory_limit
        return math.inf if limit is None else 0.75 * limit / self.workers.jobs

    def remaining(self) -> float:
        """Seconds left, at least 0."""
        return max(self.deadline - time.monotonic(), 0.0)

    def narrow(self, lower: float, upper: float) -> None:
        """Take note of a proven bracket."""
        self.lower, self.upper = max(self.lower, lower), min(self.upper, upper)

    def verdict(self) -> Reason | None:
        """Why the run can stop now, or None; limits are looked at last."""
        threshold = self.options.threshold
        if self.largest_shortfall > SHORTFALL:
            return Reason.NUMERICAL
        if self.upper - self.lower <= self.options.gap:
            return Reason.GAP_CLOSED
        if threshold is not None and (self.upper <= threshold or self.lower > threshold):
            return Reason.THRESHOLD_DECIDED
        if time.monotonic() >= self.deadline:
            return Reason.TIME_LIMIT
        return None

    def next_round(self) -> None:
        """Begin another round."""
        self.rounds += 1
        LOGGER.info("round %d: [%r, %r], %d solves", self.rounds, self.lower, self.upper, sum(self.solves.values()))

    def tell(self, phase: str, count_open: Callable[[], int]) -> None:
        """Report progress, at most every fifth of a second."""
        if phase != self._phase:
            self._phase = phase
            LOGGER.info("phase: %s", phase)
        now, logged = time.monotonic(), LOGGER.isEnabledFor(logging.DEBUG)
        if (self.progress is None and not logged) or now - self._reported < _TICK:
            return
        self._reported = now
        solves = sum(self.solves.values())
        told = Progress(phase, self.lower, self.upper, self.rounds, solves, count_open(), now - self.begun)
        if logged:
            LOGGER.debug("progress: [%r, %r], %d solves, %d open", told.lower, told.upper, solves, told.open_samples)
        if self.progress is not None:
            self.progress(told)

    def slice(self, tries: int) -> float:
        """Seconds for a question that was tried ``tries`` times before."""
        return min(_FIRST_SLICE * 4.0**tries, self.remaining())

    def count(self, sample: int, answer: Answer) -> None:
        """Add an answer to the statistics."""
        self.nodes += answer.nodes
        self.solve_seconds += answer.seconds
        self.samples_solved.add(sample)
        if answer.vouched_by == "none":
            self.failures[answer.detail] += 1
        else:
            self.solves[answer.vouched_by] += 1

    def shortfall(self, amount: float) -> None:
        """Take note that a solver's bound was raised by ``amount`` to a re-evaluated point."""
        self.raised += 1
        self.largest_shortfall = max(self.largest_shortfall, amount)

    def work(self, draw: Callable[[], Task | None], tell: Callable[[], None]) -> Iterator[tuple[Task, Answer]]:
        """Answers as they come; ``draw`` is asked for the next task whenever a worker falls free, ``tell`` while waiting.

        Ends when nothing is under way and ``draw`` has nothing, or when the deadline has passed by the grace. A worker
        that dies or fails proves nothing; after a death the others are started anew.
        """
        pending: dict[Future[Answer], Task] = {}
        while time.monotonic() <= self.deadline + _GRACE:
            while len(pending) < self.workers.width and (task := draw()) is not None:
                try:
                    pending[self.workers.submit(task)] = task
                except (BrokenExecutor, OSError) as error:  # a pool that broke, or processes that cannot be started
                    pending[_failed(BrokenExecutor(str(error)))] = task
            if not pending:
                return
            done, _ = wait(pending, timeout=_TICK, return_when=FIRST_COMPLETED)
            broken = next((f.exception() for f in done if isinstance(f.exception(), BrokenExecutor)), None)
            if broken is not None:  # every task under way is lost with its pool
                done = set(pending)
                self.workers.close()
            for future in done:
                task = pending.pop(future)
                yield task, self._outcome(task, future, broken)
            tell()

    def _outcome(self, task: Task, future: Future[Answer], broken: BaseException | None) -> Answer:
        """The answer to a task, or that there is none because a worker died or an engine failed."""
        if broken is not None and not _answered(future):
            return self._lost(task, f"a worker process died ({' '.join(str(broken).split())})")
        error = future.exception()
        if error is None:
            return future.result()
        if isinstance(error, KeyboardInterrupt):
            raise error
        LOGGER.warning("an engine failed on question %d", task.item, exc_info=error)
        if isinstance(error, MemoryError):
            return self._lost(task, "a worker ran out of memory")
        return self._lost(task, f"an engine failed ({type(error).__name__}: {' '.join(str(error).split())[:200]})")

    def _lost(self, task: Task, why: str) -> Answer:
        """What is known of a task whose worker gave no answer: nothing. It may be asked again, but not for ever."""
        LOGGER.warning("no answer to question %d: %s", task.item, why)
        self.deaths[task.item] += 1
        closed = self.deaths[task.item] >= _DEATHS
        return Answer(_trivial(task), _no_points(task), "none", closed, 0, 0.0, why)

    def notices(self) -> tuple[str, ...]:
        """What went otherwise than asked: bounds that were raised, and questions without an answer."""
        out = []
        if self.largest_shortfall > _NOISE:
            out.append(
                f"{self.raised} solver bound(s) were raised to a re-evaluated point, by at most {self.largest_shortfall:.2g}"
            )
        out += [f"{count} question(s) went unanswered: {detail}" for detail, count in self.failures.items()]
        return tuple(out)


def _answered(future: Future[Answer]) -> bool:
    return future.done() and not future.cancelled() and future.exception() is None


def _failed(error: BaseException) -> Future[Answer]:
    future: Future[Answer] = Future()
    future.set_exception(error)
    return future


def _trivial(task: Task) -> float:
    return math.inf if isinstance(task.question, Inner) else -math.inf


def _no_points(task: Task) -> Array:
    return np.zeros((0, task.question.region.centre.size))
