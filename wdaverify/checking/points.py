"""Points: an attack on all disjuncts at once, and what a point that seems to satisfy one is worth."""

from __future__ import annotations

import math
import time

import numpy as np
from numpy.typing import NDArray

from wdaverify.certify.rows import Rows
from wdaverify.checking.least import least_row
from wdaverify.checking.result import Counterexample
from wdaverify.network.model import Array
from wdaverify.specification.model import Specification
from wdaverify.witness.replay import Replay, single

Ints = NDArray[np.int64]

_STARTS, _MOST, _STEPS = 64, 2048, 40
_FIRST, _LAST = 0.25, 2.0**-20
"""Steps of the attack as a share of the box, from the first to the last."""
_TRIES, _CHANCES = 4, 256
"""How many points of a batch are looked at closely, and how many in all that are no better than the best."""
_SHORT = (0, 2, 4, 8, 12, 16, 20)
"""Binary digits behind the point of numbers that are tried next to the best one."""
_POLISHES = 6
"""How often a point that no replay confirms is pushed on."""


class Points:
    """The best point so far and, once there is one, the counterexample.

    ``best`` is that point and its disjunct. ``lower``: what is proven of v by points; ``found``: replayed; ``real``: proven in real
    arithmetic alone.
    """

    def __init__(self, rows: Rows, specification: Specification, replay: Replay) -> None:
        self._rows, self._specification, self._replay = rows, specification, replay
        boxes = [d.box for d in specification.disjuncts]
        self._least, self._most = np.stack([b.least for b in boxes]), np.stack([b.most for b in boxes])
        self._between: bool | None = None
        self._seen, self._chances = -math.inf, _CHANCES
        self.lower, self.tried = -math.inf, 0
        self.found: Counterexample | None = None
        self.real: Counterexample | None = None
        self.best: tuple[Array, int] | None = None

    @property
    def over(self) -> bool:
        """Whether no better point is needed: it is replayed, or proven where nothing can be replayed."""
        return self.found is not None or (self.real is not None and bool(self.why))

    @property
    def why(self) -> str:
        """Why nothing can be replayed; empty where it can."""
        if self._between is None:
            self._between = any(single(d.box.least, d.box) is not None for d in self._specification.disjuncts)
        return self._replay.why if self._between else "between the sides of some input lies no float32 number"

    def attack(self, seed: int, deadline: float) -> None:
        """Ascend the least row by signs of gradients, from random points of every box."""
        rng = np.random.default_rng(seed)
        count = len(self._least)
        disjunct = np.repeat(np.arange(count), max(1, _STARTS // count))
        disjunct = disjunct if disjunct.size <= _MOST else np.sort(rng.choice(disjunct, _MOST, replace=False))
        low, high = self._least[disjunct], self._most[disjunct]
        x = low + rng.random(low.shape) * (high - low)
        x[:: max(1, _STARTS // count)] = (0.5 * low + 0.5 * high)[:: max(1, _STARTS // count)]
        self._ascend(x, disjunct, _FIRST, deadline)

    def _ascend(self, x: Array, disjunct: Ints, first: float, deadline: float) -> None:
        low, high = self._least[disjunct], self._most[disjunct]
        for share in np.geomspace(first, _LAST, _STEPS):
            values = self.take(x, disjunct)
            if self.over or time.monotonic() > deadline:
                return
            uphill = self._rows.ascent(x, disjunct, values.argmin(axis=1))
            x = np.clip(x + share * (high - low) * np.sign(uphill), low, high)
        self.take(x, disjunct)

    def take(self, x: Array, disjunct: Ints) -> Array:
        """Learn from points ``[B, n]``, moved into their boxes; their rows ``[B, R]``."""
        x = np.clip(x, self._least[disjunct], self._most[disjunct])
        values = self._rows.values(x, disjunct)
        least = values.min(axis=1)
        self.tried += len(x)
        for k in np.argsort(-least)[:_TRIES].tolist():
            better = bool(least[k] > self._seen)
            if self.over or not (better or (least[k] >= 0 and self._chances > 0)):
                break
            self._chances -= not better
            if better:
                self._seen, self.best = float(least[k]), (x[k], int(disjunct[k]))
            self._learn(x[k], int(disjunct[k]), float(least[k]))
        return values

    def _learn(self, x: Array, disjunct: int, value: float) -> None:
        rows = self._specification.disjuncts[disjunct].rows
        low, holds = least_row(self._rows.network, rows, x)
        self.lower = max(self.lower, low)
        if holds and (self.real is None or low > self.real.least):
            outputs = self._rows.network.forward(x[None])[0]
            self.real = Counterexample(x, outputs, disjunct, low, None)
        if value >= 0:
            self._try(x, disjunct)

    def _try(self, x: Array, disjunct: int) -> None:
        """Replay the float32 numbers next to a point."""
        point = single(x, self._specification.disjuncts[disjunct].box)
        if point is None:
            return
        outputs = self._replay.outputs(point)
        rows = self._specification.disjuncts[disjunct].rows
        if outputs is not None and all(row.holds(point.tolist(), outputs.tolist()) for row in rows):
            low = least_row(self._rows.network, rows, point)[0]
            self.lower = max(self.lower, low)
            self.found = Counterexample(point, outputs, disjunct, low, self._replay.runtime)

    def rounded(self) -> None:
        """Try short numbers next to the best point: where v is 0 in one point alone, halving comes close to it and no closer."""
        if self.best is None or self.over:
            return
        x, disjunct = self.best
        near = np.unique(np.stack([np.rint(x * 2.0**k) / 2.0**k for k in _SHORT]), axis=0)
        self._chances = max(self._chances, len(near))
        for point in near:
            self.take(point[None], np.array([disjunct]))

    def polish(self, deadline: float) -> None:
        """Push the best point in real arithmetic on, so that rounding does not undo it."""
        for k in range(_POLISHES):
            if self.real is None or self.over or time.monotonic() > deadline:
                return
            before = self.real
            at = np.array([before.disjunct])
            self._ascend(before.inputs[None], at, 2.0 ** -(2 + 3 * k), deadline)
