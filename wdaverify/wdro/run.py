"""One run: its options, its clock, what it counts, and the bracket it tells of."""

from __future__ import annotations

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
from wdaverify.wdro.progress import Progress, Report
from wdaverify.wdro.recall import Recall
from wdaverify.wdro.result import Reason, SampleBracket
from wdaverify.wdro.workers import Task, Workers

_FIRST_SLICE = 10.0
"""Seconds that a question gets on its first try; each further try gets four times as many."""
_GRACE = 1.0
"""Seconds past the deadline after which an answer is no longer waited for."""
_TICK = 0.2
_JOURNAL_TICK = 1.0
_WIDEST = 5
_DEATHS = 3
"""How often a question may be under way while a worker dies before it is given up."""
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
    recall: Recall | None = None
    widest: Callable[[int], list[SampleBracket]] | None = None
    """The samples that add most to the width, for whoever looks on."""
    _reported: float = 0.0
    _written: float = -math.inf

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

    def tell(self, phase: str, count_open: Callable[[], int]) -> None:
        """Report progress, at most every fifth of a second, and where the run stands to its journal."""
        now = time.monotonic()
        if self.recall is not None and now - self._written >= _JOURNAL_TICK:
            self._written = now
            self.state(phase, count_open())
        if self.progress is None or now - self._reported < _TICK:
            return
        self._reported = now
        solves = sum(self.solves.values())
        self.progress(Progress(phase, self.lower, self.upper, self.rounds, solves, count_open(), now - self.begun))

    def state(self, phase: str, count_open: int, reason: Reason | None = None) -> None:
        """Write where the run stands into its journal."""
        if self.recall is None:
            return
        widest = [] if self.widest is None else self.widest(_WIDEST)
        self.recall.journal.tell(
            {
                "phase": phase,
                "reason": reason,
                "lower": self.lower,
                "upper": self.upper,
                "gap": self.options.gap,
                "rounds": self.rounds,
                "solves": sum(self.solves.values()),
                "open": count_open,
                "elapsed": time.monotonic() - self.begun,
                "solve_seconds": self.solve_seconds,
                "jobs": self.workers.jobs,
                "reused": self.recall.reused,
                "samples": len(self.problem.samples),
                "widest": [[b.sample, b.weight, b.lower, b.upper] for b in widest],
            }
        )

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
        that dies proves nothing; the others are started anew.
        """
        pending: dict[Future[Answer], Task] = {}
        while time.monotonic() <= self.deadline + _GRACE:
            while len(pending) < self.workers.width and (task := draw()) is not None:
                try:
                    pending[self.workers.submit(task)] = task
                except BrokenExecutor as error:
                    pending[_failed(error)] = task
            if not pending:
                return
            done, _ = wait(pending, timeout=_TICK, return_when=FIRST_COMPLETED)
            broken = next((f.exception() for f in done if isinstance(f.exception(), BrokenExecutor)), None)
            if broken is not None:  # every task under way is lost with its pool
                done = set(pending)
                self.workers.close()
            for future in done:
                task = pending.pop(future)
                lost = broken is not None and not _answered(future)
                yield task, self._died(task, broken) if lost else future.result()
            tell()

    def _died(self, task: Task, error: BaseException | None) -> Answer:
        """What is known of a task whose pool broke: nothing. It may be asked again, but not for ever."""
        self.deaths[task.item] += 1
        closed = self.deaths[task.item] >= _DEATHS
        detail = f"a worker process died ({' '.join(str(error).split())})"
        return Answer(_trivial(task), _no_points(task), "none", closed, 0, 0.0, detail)


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
