"""One run: its options, its clock, what it counts, and the bracket it tells of."""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from wdaverify.digits import up_to
from wdaverify.engines.base import Answer
from wdaverify.problem import WdroProblem
from wdaverify.wdro.dispatch import Dispatch
from wdaverify.wdro.log import LOGGER, began
from wdaverify.wdro.options import Options
from wdaverify.wdro.progress import Progress, Report
from wdaverify.wdro.recall import Recall
from wdaverify.wdro.result import Reason, SampleBracket
from wdaverify.wdro.workers import Task, Workers

_LONGEST = 20
_FIRST_SLICE = 2.0
"""Seconds that a question gets on its first try; each further try gets four times as many, and goes on where the last one ended."""
_VALUING_SHARE = 0.5
"""The share of a time limit after which points of the attacks are no longer decided exactly."""
_TICK = 0.2
_JOURNAL_TICK = 1.0
_WIDEST = 5
_NOISE = 1e-12
"""A bound raised by less was rounded, not wrong."""
SHORTFALL = 1e-6
"""By how much a solver's bound may fall short of a re-evaluated point before the run counts as numerically broken."""


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
    lost: str = ""
    """Why there is nobody left to solve."""
    doubt: str = ""
    """What keeps the bracket open where no question is left, if it is not the tolerances of a solver."""
    recall: Recall | None = None
    widest: Callable[[int], list[SampleBracket]] | None = None
    """The samples that add most to the width, for whoever looks on."""
    _reported: float = 0.0
    _written: float = -math.inf
    _phase: str = ""

    def __post_init__(self) -> None:
        began(self.problem, self.options)

    @property
    def deadline(self) -> float:
        """The time (``time.monotonic``) at which the run must stop; inf if never."""
        limit = self.options.time_limit
        return math.inf if limit is None else self.begun + limit

    @property
    def valuing(self) -> float:
        """When points of the attacks are no longer decided exactly (``time.monotonic``): what is left is for bounds."""
        limit = self.options.time_limit
        return math.inf if limit is None else self.begun + _VALUING_SHARE * limit

    @property
    def memory(self) -> float:
        """Bytes that one search tree may take: three quarters of what a worker may; none where nothing is to be branched."""
        if not self.options.branching:
            return 0.0
        limit = self.options.memory_limit
        return math.inf if limit is None else 0.75 * limit

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
        """Report progress, at most every fifth of a second, and where the run stands to its journal."""
        if phase != self._phase:
            self._phase = phase
            LOGGER.info("phase: %s", phase)
        now, logged = time.monotonic(), LOGGER.isEnabledFor(logging.DEBUG)
        if self.recall is not None and now - self._written >= _JOURNAL_TICK:
            self._written = now
            self.state(phase, count_open())
        if (self.progress is None and not logged) or now - self._reported < _TICK:
            return
        self._reported = now
        solves = sum(self.solves.values())
        told = Progress(phase, self.lower, self.upper, self.rounds, solves, count_open(), now - self.begun)
        if logged:
            LOGGER.debug("progress: [%r, %r], %d solves, %d open", told.lower, told.upper, solves, told.open_samples)
        if self.progress is not None:
            self.progress(told)

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
        return min(_FIRST_SLICE * 4.0 ** min(tries, _LONGEST), self.remaining())

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
        """Answers as they come; ``draw`` is asked for the next task whenever a worker falls free, ``tell`` while waiting."""
        return Dispatch(self, draw).answers(tell)

    def notices(self) -> tuple[str, ...]:
        """What went otherwise than asked: bounds that were raised, questions without an answer; and what the journal says."""
        out = []
        if self.largest_shortfall > _NOISE:
            out.append(
                f"{self.raised} solver bound(s) were raised to a re-evaluated point, by at most {up_to(self.largest_shortfall, 2)}"
            )
        if self.lost:
            out.append(f"{self.lost}; what was proven is in the bracket, and with --run in the journal")
        out += [f"{count} question(s) went unanswered: {detail}" for detail, count in self.failures.items()]
        if self.recall is not None:
            out += self.recall.told()
        return tuple(out)
