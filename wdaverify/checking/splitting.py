"""Branch and bound over the boxes of a specification with few inputs: the box with the largest bound first, in batches, by threads.

Numbers are in numpy, which lets go of the interpreter while it computes, so that threads share the work.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

import numpy as np

from wdaverify.certify.rows import Rows
from wdaverify.checking.bounding import Boxes
from wdaverify.checking.points import Points
from wdaverify.checking.result import Ended
from wdaverify.checking.step import Stepped, Stepper
from wdaverify.checking.trace import Tracer
from wdaverify.network.model import Array
from wdaverify.specification.model import Specification

_BATCH, _NUMBERS = 256, 2**18
"""The most boxes of a batch, and the most doubles that one array of it holds, nearly."""
_MOST, _BYTES = 2**21, 2**29
"""Beyond so many open boxes, or bytes of their sides, the newest go first, which keeps them from growing in number."""
_LEVEL = 0.5
"""What is clipped has a row below this share of the best point's least row."""
_LEAST = 1e-100
"""The least distance of that level from 0."""
_NEAR, _ROUNDING = 2.0**-36, 2.0**-44
"""Of the sizes that rows are sums of: what is little to bounds, and what is no more than their rounding."""
_GRACE = 5.0
"""How long a point of real arithmetic alone is searched on for one that is replayed, and a tie for any, in seconds."""


@dataclass(eq=False)
class Search:
    """Open boxes in blocks, and what is proven of all others."""

    stepper: Stepper
    points: Points
    deadline: float
    blocks: list[Boxes]
    closed: float = -math.inf
    stuck: float = -math.inf
    count: int = 0
    rounds: int = 0
    told: Callable[[], None] = field(default=lambda: None)
    tracer: Tracer | None = None
    numbered: int = 0
    _at: tuple[tuple[Array, int], float, float] | None = None
    """The best point, and what bounds say there."""
    raised: bool = False
    """Whether rows are above those that are asked about, by their errors in float32."""
    level: float = -math.inf
    """The largest at which boxes were clipped; -inf: none was."""

    @classmethod
    def of(
        cls, rows: Rows, specification: Specification, points: Points, deadline: float, *, traced: bool = False
    ) -> Search:
        """Of every disjunct its box; traced where a proof is wanted."""
        boxes = [disjunct.box for disjunct in specification.disjuncts]
        whole = Boxes(
            np.stack([box.lower for box in boxes]),
            np.stack([box.upper for box in boxes]),
            np.arange(len(boxes)),
            np.full(len(boxes), math.inf),
            np.arange(len(boxes)),
        )
        stepper = Stepper(rows, np.stack([whole.lower, whole.upper], axis=1))
        search = cls(stepper, points, deadline, [whole])
        search.tracer, search.numbered = Tracer() if traced else None, len(boxes)
        return search

    @property
    def open(self) -> int:
        """How many boxes are open."""
        return sum(map(len, self.blocks))

    @property
    def upper(self) -> float:
        """What is proven of v."""
        return max(self.closed, self.stuck, max((block.highest for block in self.blocks), default=-math.inf))

    @property
    def size(self) -> int:
        """How many boxes a batch has."""
        return max(1, min(_BATCH, _NUMBERS // self.stepper.numbers()))

    @property
    def most(self) -> int:
        """How many boxes may be open before the newest go first."""
        inputs = int(self.blocks[0].lower.shape[1])
        return min(_MOST, _BYTES // (16 * max(1, inputs)))

    def roots(self) -> None:
        """Bound the boxes of all disjuncts, as many as the time allows; those that are left, after an interrupt too, stay open."""
        whole, first = self.blocks[0], 0
        try:
            self.blocks = []
            while first < len(whole) and time.monotonic() <= self.deadline:
                batch = whole.take(slice(first, first + self.size))
                self._learn(self.stepper.root(batch), halved=False)
                first += len(batch)
                self.count += len(batch)
        finally:
            if first < len(whole):
                self.blocks.append(whole.take(slice(first, None)))

    def run(self, jobs: int) -> Ended:
        """Until all boxes are closed, a counterexample is found, or the time is over; a KeyboardInterrupt is the caller's."""
        late, pushed = math.inf, False
        with ExitStack() as stack:
            threads = None
            if jobs > 1:
                threads = ThreadPoolExecutor(jobs)
                stack.callback(threads.shutdown, wait=False, cancel_futures=True)
            while self.blocks:
                now = time.monotonic()
                if now > self.deadline:
                    return Ended.TIME_LIMIT
                if self.points.real is not None and not pushed:
                    late, pushed = now + _GRACE, True
                    self.points.polish(min(late, self.deadline))
                elif late == math.inf and self._tied():
                    late = now + _GRACE
                    self.points.rounded()
                if self.points.over:
                    return Ended.DECIDED
                if now > late:
                    return Ended.STALLED
                self._round(threads, jobs)
                self.told()
        return Ended.DECIDED if self.stuck < 0 or self.points.over else Ended.STALLED

    def _round(self, threads: ThreadPoolExecutor | None, jobs: int) -> None:
        """A batch for each thread; nothing is lost where it is interrupted."""
        before = list(self.blocks)
        level = -_LEVEL * max(-self.points.lower, _LEAST) if math.isfinite(self.points.lower) else -_LEAST
        try:
            batches = [self._take(self.size) for _ in range(jobs if threads is not None else 1) if self.blocks]
            if threads is None:
                found = [self.stepper.step(batch, level) for batch in batches]
            else:
                found = list(threads.map(lambda batch: self.stepper.step(batch, level), batches))
            for stepped in found:
                self._learn(stepped, halved=True)
            self.level = max(self.level, level)
        except BaseException:
            self.blocks = before
            raise
        self.count += sum(map(len, batches))
        self.rounds += 1

    def _tied(self) -> bool:
        """Whether v is 0 as nearly as bounds can tell.

        They are nowhere much above 0, and at the best point itself not below it; or both ends differ from 0 by rounding alone.
        """
        best = self.points.best
        if best is None or not 0 <= self.upper < math.inf:
            return False
        if self._at is None or self._at[0] is not best:
            self._at = (best, *self.stepper.at(*best))
        _, top, size = self._at
        if self.raised and top >= 0:  # what rows were raised by keeps it open, however small boxes are
            return True
        if top >= 0 and self.upper <= top + _NEAR * size:
            return True
        return max(-self.points.lower, self.upper) <= _ROUNDING * size

    def _take(self, size: int) -> Boxes:
        """The blocks that go first, as one batch of at most so many boxes; what is left of the last one stays."""
        newest = self.open > self.most
        taken: list[Boxes] = []
        while self.blocks and sum(map(len, taken)) < size:
            at = -1 if newest else int(np.argmax([block.highest for block in self.blocks]))
            taken.append(self.blocks.pop(at))
        whole = Boxes.joined(taken)
        if len(whole) > size:
            order = np.argsort(-whole.top, kind="stable")
            self.blocks.append(whole.take(order[size:]))
            whole = whole.take(order[:size])
        return whole

    def _learn(self, stepped: Stepped, *, halved: bool) -> None:
        self.closed = max(self.closed, stepped.closed)
        if self.tracer is not None:
            self.tracer.learn(stepped.traces, self.numbered)
        if len(stepped.stuck):
            self.stuck = max(self.stuck, float(stepped.stuck.top.max()))
        left = stepped.halves
        if halved:
            left = replace(left, node=np.arange(self.numbered, self.numbered + len(left)))
            self.numbered += len(left)
        if len(left):
            self.blocks.append(left)
        self.points.take(stepped.points, stepped.tried)
