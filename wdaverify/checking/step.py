"""One step on a batch of boxes: bound and clip them, once more and better where that leaves them open, along better lines where that does
too, and halve what is left.

Measured on ACAS Xu (property 2 of network 1_8): 2,046 boxes, and with the second pass left out more than 105,000 in 20 s.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from wdaverify.certify.confined import Ints
from wdaverify.certify.halvings import halfway
from wdaverify.certify.rows import Rows
from wdaverify.checking.bounding import Bounded, Bounding, Boxes
from wdaverify.checking.trace import Trace
from wdaverify.network.model import Array

_FAIR = 0.1
"""What the width of an input, as a share of the box that was asked about, counts beside how much it matters: none is left out for good."""


@dataclass(frozen=True, eq=False)
class Stepped:
    """What became of a batch: halves that are open, boxes that no input halves, the largest bound of what was closed (-inf: nothing).

    ``points [P, n]`` to be tried, of disjuncts ``tried [P]``; the first half of ``halves`` has the lower sides, the second the upper ones.
    ``traces`` say how, for a proof.
    """

    halves: Boxes
    stuck: Boxes
    closed: float
    points: Array
    tried: Ints
    traces: tuple[Trace, ...]


class Stepper:
    """Steps on boxes of one specification, whose disjuncts have ``corners [D, 2, n]``; threads may share it."""

    def __init__(self, rows: Rows, corners: Array) -> None:
        self._bounding, self._rows, self._corners = Bounding(rows), rows, corners

    def numbers(self) -> int:
        """How many doubles an array of a step holds for one box."""
        return self._bounding.numbers()

    def at(self, x: Array, disjunct: int) -> tuple[float, float]:
        """What bounds say of the least row at one point ``x [n]``, and the sizes that its rows are sums of, there and at corners."""
        found = self._bounding.at(np.stack([x, *self._corners[disjunct]]), disjunct)
        rows, offset = self._rows.which[disjunct], self._rows.offset[disjunct]
        size = found.form.size()[:, rows] + np.where(np.isfinite(offset), np.abs(offset), 0.0)
        return float(found.top[0]), float(size.max())

    def root(self, boxes: Boxes) -> Stepped:
        """Bound alone, as cheaply as can be: what is left open is whole."""
        first = self._bounding.bounded(boxes, -math.inf)
        left, none = first.boxes.take(~first.over), np.zeros(0, np.int64)  # cut nowhere
        points = np.concatenate([0.5 * boxes.lower + 0.5 * boxes.upper, first.corner])
        tried = np.concatenate([boxes.disjunct, boxes.disjunct])
        closed = Trace.of(first, first.over, deep=False, whole=True)
        return Stepped(left, boxes.take(none), first.closed(-math.inf), points, tried, (closed,))

    def step(self, boxes: Boxes, level: float) -> Stepped:
        """Bound, clip at ``level < 0``, halve."""
        first = self._bounding.bounded(boxes, level)
        closed = first.closed(level)
        points, tried = [0.5 * boxes.lower + 0.5 * boxes.upper, first.corner], [boxes.disjunct, boxes.disjunct]
        traces = [Trace.of(first, first.over, deep=False, whole=True)]
        open_ = ~first.over
        left = first.boxes.take(open_)
        if not len(left):
            nothing = boxes.take(open_)
            return Stepped(nothing, nothing, closed, np.concatenate(points), np.concatenate(tried), tuple(traces))
        again = self._bounding.bounded(left, level, deep=True)
        closed = max(closed, again.closed(level), level)  # the level is what was clipped
        points.append(again.corner)
        tried.append(left.disjunct)
        before = Trace.of(first, open_, deep=False, whole=False)
        traces += [before, Trace.of(again, again.over, deep=True, whole=True)]
        rest = np.flatnonzero(~again.over)
        if rest.size:
            again, slopes = self._bounding.climbed(again, rest)
            shut = again.boxes.top[rest] < 0
            closed = max(closed, float(again.boxes.top[rest[shut]].max(initial=-math.inf)))
            traces.append(Trace.along(again, rest[shut], slopes[shut]))
        axis = _axis(again, self._rows)
        going = ~again.over & (axis >= 0)
        traces.append(Trace.of(again, going, deep=True, whole=False, axis=axis))
        stuck = again.boxes.take(~again.over & (axis < 0))
        halves = _halved(again.boxes.take(going), self._rows.moving[axis[going]])
        return Stepped(halves, stuck, closed, np.concatenate(points), np.concatenate(tried), tuple(traces))


def _axis(bounded: Bounded, rows: Rows) -> Ints:
    """Of each box the moving input that matters most among those that can be halved, ``[B]``; -1 where none can."""
    boxes, moving = bounded.boxes, rows.moving
    middle = 0.5 * boxes.lower + 0.5 * boxes.upper
    fits = ((boxes.lower < middle) & (middle < boxes.upper))[:, moving]
    whole = rows.widths[boxes.disjunct]
    width = (boxes.upper - boxes.lower)[:, moving] / np.where(whole > 0, whole, 1.0)
    score = np.where(fits, _shares(bounded.pull) + _FAIR * _shares(width), -1.0)
    return np.where(fits.any(axis=1), score.argmax(axis=1) if moving.size else -1, -1)


def _halved(boxes: Boxes, axis: Ints) -> Boxes:
    """The lower halves across inputs ``[B]``, then the upper ones."""
    place = np.arange(len(boxes))
    first, second = boxes.upper.copy(), boxes.lower.copy()
    first[place, axis] = second[place, axis] = halfway(boxes.lower[place, axis], boxes.upper[place, axis])
    low = Boxes(boxes.lower, first, boxes.disjunct, boxes.top, boxes.node)
    return Boxes.joined([low, Boxes(second, boxes.upper, boxes.disjunct, boxes.top, boxes.node)])


def _shares(size: Array) -> Array:
    """Of the largest one of each box."""
    return np.asarray(size / np.maximum(size.max(axis=1, initial=0.0, keepdims=True), 1e-300))
