"""What is proven of the least row on boxes, and to where in them the rows confine it (docs/specifications.md).

    forms        every row is at most  a_r + A_r . e  on the box, e in [-1, 1]^k (certify.forms)
    backward     the same by a backward pass, at the bounds of the neurons that the forms give; and of  sum_r mu_r row_r  too
    clip         where  a_r + A_r . e < level  for some row, the least row is below level: the box shrinks to the rest, level < 0

All of it is rounded outward but what only chooses: mu, level, and how much each input matters.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from wdaverify.certify.backward import Backward, HiddenBounds, Shells
from wdaverify.certify.forms import Form, Forms
from wdaverify.checking.rows import Rows
from wdaverify.ground import GroundCost, Norm
from wdaverify.network.model import Array
from wdaverify.rounding import UNIT_ROUNDOFF, dot_error, underflow

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_STEPS, _RATE = 8, 2.0
"""Of the search for mu, by multiplicative weights."""
_CLIPS = 2
_SLACK = 2.0**-44
"""What clipping leaves more of a side of [-1, 1] than it has to: it rounds far less."""
_LOOSE = 0.2
"""What the half of a form, which says how loose it is, counts beside the middle where a box is halved.

Of eight ACAS Xu specifications with 1 in its place: 1.6 times as many boxes; with 0 some inputs are never halved.
"""
_LEAST = 1e-250
"""Coefficients below this clip nothing."""


@dataclass(frozen=True, eq=False)
class Boxes:
    """``lower, upper [B, n]``, the disjunct ``[B]`` that each asks about, and what is proven of its least row there, ``top [B]``."""

    lower: Array
    upper: Array
    disjunct: Ints
    top: Array

    def __len__(self) -> int:
        return int(self.top.size)

    @cached_property
    def highest(self) -> float:
        """The largest of what is proven; -inf of no boxes."""
        return float(self.top.max(initial=-np.inf))

    def take(self, at: Ints | Bools | slice) -> Boxes:
        """Those at the given positions."""
        return Boxes(self.lower[at], self.upper[at], self.disjunct[at], self.top[at])

    @staticmethod
    def joined(parts: list[Boxes]) -> Boxes:
        """One after the other."""
        names = ("lower", "upper", "disjunct", "top")
        return Boxes(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


@dataclass(frozen=True, eq=False)
class Bounded:
    """Boxes cut to where their least row may reach the level, with what is proven of it there.

    ``empty [B]``: it reaches the level nowhere. ``hidden`` bounds what functions are applied to, ``pull [B, k]`` is how much each moving
    input matters, ``corner [B, n]`` a point where the least row may be large.
    """

    boxes: Boxes
    empty: Bools
    hidden: HiddenBounds
    pull: Array
    corner: Array

    @property
    def over(self) -> Bools:
        """Where nothing is left to be asked."""
        return (self.boxes.top < 0) | self.empty

    def take(self, at: Ints) -> Bounded:
        """Those at the given positions."""
        hidden = [(low[at], high[at]) for low, high in self.hidden]
        return Bounded(self.boxes.take(at), self.empty[at], hidden, self.pull[at], self.corner[at])

    def closed(self, level: float) -> float:
        """The largest that is proven of the boxes that are over; -inf where there are none."""
        top = np.minimum(np.where(self.empty, level, np.inf), np.where(self.boxes.top < 0, self.boxes.top, np.inf))
        return float(top[self.over].max(initial=-np.inf))


class Bounding:
    """Bounds of one specification's rows."""

    def __init__(self, rows: Rows) -> None:
        self._rows, self._forms, self._backward = rows, Forms(rows.graph), Backward(rows.graph)
        self._cost = GroundCost(Norm.INF, 1)

    def numbers(self) -> int:
        """How many doubles an array holds for one box."""
        rows = self._rows
        return int(max(rows.moving.size, rows.which.shape[1]) + 1) * rows.graph.widest

    def bounded(self, boxes: Boxes, level: float, hidden: HiddenBounds | None = None) -> Bounded:
        """Bound and clip; with bounds of the neurons, these are tightened first, at some cost."""
        rows, moving = self._rows, self._rows.moving
        centre = 0.5 * boxes.lower + 0.5 * boxes.upper
        radius = np.nextafter(np.maximum(boxes.upper - centre, centre - boxes.lower), np.inf)
        count = len(boxes)
        shells = Shells(self._cost, centre, radius, radius, np.zeros(count), radius.max(axis=1))
        if hidden is not None:
            hidden = self._backward.pre_activations(shells, known=hidden)
        form, hidden = self._forms.of(centre, radius, moving, hidden)
        which, offset = rows.which[boxes.disjunct], rows.offset[boxes.disjunct]
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            const, slopes = _above(form, which, offset)
            low, high, empty = _clipped(const, slopes, level)
            mu = _weights(const, slopes, low, high)
            top = np.minimum(boxes.top, self._top(form, hidden, shells, which, offset, mu))
            corner = centre.copy()
            corner[:, moving] += radius[:, moving] * np.sign(np.einsum("bkr,br->bk", slopes, mu))
            lower, upper = _cut(boxes, centre, radius, (low, high), moving)
            pull = _pull(form, which) * (high - low)
        return Bounded(Boxes(lower, upper, boxes.disjunct, top), empty, hidden, pull, corner)

    def _top(self, form: Form, hidden: HiddenBounds, shells: Shells, which: Ints, offset: Array, mu: Array) -> Array:
        """Upper bounds ``[B]`` of the least row: of each row, and of their mixture, which the least one does not exceed."""
        (count, width), outputs = which.shape, form.middle.shape[2]
        functional = np.zeros((count, width + (width > 1), outputs))
        place = np.arange(count)[:, None]
        functional[place, np.arange(width), which] = 1.0
        if width > 1:
            mu = np.where(np.isfinite(offset), mu, 0.0)
            np.add.at(functional, (place, width, which), mu)
        phases = np.zeros((count, self._backward.neurons), np.int8)
        found = self._backward.leaves(functional, np.zeros(count), shells, hidden, phases, None)
        single = form.sides(form.size())[1]
        row = np.minimum(found[:, :width], np.take_along_axis(single, which, 1)) + offset
        row = row + 4 * UNIT_ROUNDOFF * np.abs(row)
        out: Array = np.where(np.isnan(row), np.inf, row).min(axis=1)
        if width == 1:
            return out
        paid = np.where(mu > 0, mu * np.where(mu > 0, offset, 0.0), 0.0)
        total = found[:, width] + paid.sum(axis=1)
        lost = dot_error(width + 4) * (np.abs(found[:, width]) + np.abs(paid).sum(axis=1)) + underflow(width)
        mixed = (total + lost) / mu.sum(axis=1)
        mixed = mixed + dot_error(width + 4) * np.abs(mixed)
        return np.where(mixed < out, mixed, out)


def _above(form: Form, which: Ints, offset: Array) -> tuple[Array, Array]:
    """``a [B, R]`` and ``A [B, k, R]``: each row is at most ``a + A . e``."""
    const, slopes = form.above()
    const = np.take_along_axis(const, which, 1) + offset
    return const + 4 * UNIT_ROUNDOFF * np.abs(const), np.take_along_axis(slopes, which[:, None, :], 2)


def _pull(form: Form, which: Ints) -> Array:
    """How much some row's form changes along each e, ``[B, k]``, its middle first of all; 0 where that is not known."""
    middle, half = (np.abs(np.take_along_axis(part[:, 1:], which[:, None, :], 2)) for part in (form.middle, form.half))
    pull = (middle + _LOOSE * half).max(axis=2)
    return np.asarray(np.where(np.isfinite(pull), pull, 0.0))


def _clipped(const: Array, slopes: Array, level: float) -> tuple[Array, Array, Bools]:
    """``low, high [B, k]`` within [-1, 1] that hold all e at which every row may be at least ``level``; and where there are none."""
    count, k, width = slopes.shape
    low, high = np.full((count, k), -1.0), np.full((count, k), 1.0)
    empty = np.zeros(count, np.bool_)
    for r in list(range(width)) * _CLIPS:
        slope, size = slopes[:, :, r], np.abs(slopes[:, :, r])
        gains = np.maximum(slope * low, slope * high)
        lost = dot_error(k + 8) * (np.abs(const[:, r]) + size.sum(axis=1)) + underflow(k)
        most = const[:, r] + gains.sum(axis=1) + lost + 2 * UNIT_ROUNDOFF * abs(level)
        empty |= most < level
        bound = (level - (most[:, None] - gains) - lost[:, None]) / np.where(size > _LEAST, slope, 1.0)
        slack = _SLACK * (1 + np.abs(bound))
        use = (size > _LEAST) & np.isfinite(bound)
        low = np.where(use & (slope > 0), np.maximum(low, bound - slack), low)
        high = np.where(use & (slope < 0), np.minimum(high, bound + slack), high)
        gone = np.asarray((low > high).any(axis=1))
        empty |= gone
        low, high = np.where(gone[:, None], -1.0, low), np.where(gone[:, None], 1.0, high)
    return low, high, empty


def _cut(boxes: Boxes, centre: Array, radius: Array, clip: tuple[Array, Array], moving: Ints) -> tuple[Array, Array]:
    """Boxes cut to ``low, high [B, k]`` of e, rounded outward."""
    sides = boxes.lower.copy(), boxes.upper.copy()
    middle, half = centre[:, moving], radius[:, moving]
    lost = 8 * UNIT_ROUNDOFF * (np.abs(middle) + half)
    sides[0][:, moving] = np.maximum(sides[0][:, moving], middle + half * clip[0] - lost)
    sides[1][:, moving] = np.minimum(sides[1][:, moving], middle + half * clip[1] + lost)
    return sides[0], np.maximum(*sides)  # where they cross nothing is left


def _weights(const: Array, slopes: Array, low: Array, high: Array) -> Array:
    """``mu [B, R]`` of the simplex, roughly those that make ``max_e sum_r mu_r (a_r + A_r . e)`` least; 0 for what is no row."""
    rows = np.isfinite(const)
    even = np.where(rows.any(axis=1, keepdims=True), rows, 1.0)
    even = even / even.sum(axis=1, keepdims=True)
    if const.shape[1] == 1:
        return np.ones_like(const)
    const = np.where(rows, const, 0.0)
    best, kept, mu = np.full(len(const), np.inf), even, even
    middle, half = 0.5 * (low + high), 0.5 * (high - low)
    for _ in range(_STEPS):
        at = middle + half * np.sign(np.einsum("bkr,br->bk", slopes, mu))
        value = const + np.einsum("bkr,bk->br", slopes, at)
        total = (mu * value).sum(axis=1)
        better = total < best
        best, kept = np.where(better, total, best), np.where(better[:, None], mu, kept)
        size = np.abs(value).max(axis=1, keepdims=True)
        mu = rows * mu * np.exp(-_RATE * value / np.where(size > 0, size, 1.0))
        mu = mu / np.maximum(mu.sum(axis=1, keepdims=True), 1e-300)
    return np.asarray(np.where(np.isfinite(kept).all(axis=1, keepdims=True), kept, even))
