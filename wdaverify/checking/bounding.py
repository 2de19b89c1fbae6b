"""Boxes that a search asks about, what is proven of the least row on them (``certify.confined``), and where to go on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from wdaverify.certify.confined import Bools, Codes, Confined, Confining, Ints, Slopes, cut, kept, middle
from wdaverify.certify.rows import Rows
from wdaverify.checking.climbing import Climber
from wdaverify.engines.loops import compiled
from wdaverify.network.model import Array

_LOOSE = 0.2
"""What the half of a form, which says how loose it is, counts beside the middle where a box is halved.

Of eight ACAS Xu specifications with 1 in its place: 1.6 times as many boxes; with 0 some inputs are never halved.
"""


@dataclass(frozen=True, eq=False)
class Boxes:
    """``lower, upper [B, n]``, the disjunct ``[B]`` that each asks about, and what is proven of its least row there, ``top [B]``.

    ``node [B]`` is the number of each among all boxes of a search.
    """

    lower: Array
    upper: Array
    disjunct: Ints
    top: Array
    node: Ints

    def __len__(self) -> int:
        return int(self.top.size)

    @cached_property
    def highest(self) -> float:
        """The largest of what is proven; -inf of no boxes."""
        return float(self.top.max(initial=-np.inf))

    def take(self, at: Ints | Bools | slice) -> Boxes:
        """Those at the given positions."""
        return Boxes(*(getattr(self, name)[at] for name in _FIELDS))

    @staticmethod
    def joined(parts: list[Boxes]) -> Boxes:
        """One after the other."""
        return Boxes(*(np.concatenate([getattr(part, name) for part in parts]) for name in _FIELDS))


_FIELDS = ("lower", "upper", "disjunct", "top", "node")


@dataclass(frozen=True, eq=False)
class Bounded:
    """Boxes cut to where their least row may reach the level, with what is proven of it there.

    ``codes [B, 2, k]`` say what is cut off, ``empty [B]``: it reaches the level nowhere. ``pull [B, k]`` is how much each moving input
    matters, ``corner [B, n]`` a point where the least row may be large, ``mixture [B, R]`` what shows the top where it is ``mixed [B]``.
    """

    boxes: Boxes
    codes: Codes
    empty: Bools
    pull: Array
    corner: Array
    mixture: NDArray[np.float32]
    mixed: Bools
    found: Confined

    @property
    def over(self) -> Bools:
        """Where nothing is left to be asked."""
        return (self.boxes.top < 0) | self.empty

    @property
    def needs(self) -> Bools:
        """Where the mixture is needed to show what is over."""
        return self.mixed & ~self.empty

    def closed(self, level: float) -> float:
        """The largest that is proven of the boxes that are over; -inf where there are none."""
        top = np.minimum(np.where(self.empty, level, np.inf), np.where(self.boxes.top < 0, self.boxes.top, np.inf))
        return float(top[self.over].max(initial=-np.inf))


class Bounding:
    """Bounds of one specification's rows."""

    def __init__(self, rows: Rows) -> None:
        self._rows, self._confining, self._climber = rows, Confining(rows, compiled()), Climber(rows)

    def numbers(self) -> int:
        """How many doubles an array holds for one box."""
        return self._confining.numbers()

    def at(self, x: Array, disjunct: int) -> Confined:
        """Of boxes that are one point each, ``x [B, n]``."""
        return self._confining.of(x, x, np.full(len(x), disjunct), -np.inf)

    def bounded(self, boxes: Boxes, level: float, *, deep: bool = False) -> Bounded:
        """Bound and clip; deep at bounds of the neurons that are tightened first, at some cost."""
        moving = self._rows.moving
        found = self._confining.of(boxes.lower, boxes.upper, boxes.disjunct, level, deep=deep)
        codes = found.codes()
        lower, upper = cut(boxes.lower, boxes.upper, codes, moving)
        corner, radius = middle(boxes.lower, boxes.upper)
        uphill = np.einsum("bkr,br->bk", found.slopes, found.mixture.astype(np.float64))
        with np.errstate(invalid="ignore"):
            corner[:, moving] += radius[:, moving] * np.sign(uphill)
        low, high = kept(codes)
        pull = _pull(found, self._rows.which[boxes.disjunct]) * (high - low)
        less = Boxes(lower, upper, boxes.disjunct, np.minimum(boxes.top, found.top), boxes.node)
        return Bounded(less, codes, found.empty, pull, corner, found.mixture, found.mixed, found)

    def climbed(self, bounded: Bounded, at: Ints) -> tuple[Bounded, Slopes]:
        """Of some boxes that are open, ``at [k]``, bounds along lines found by ascent; with slopes ``[k, M]`` of these, and their mu."""
        disjunct = bounded.boxes.disjunct
        mixture, slopes = self._climber.slopes(bounded.found, disjunct, at)
        top = self._confining.along(bounded.found, disjunct, at, mixture, slopes)
        mixtures, tops = bounded.mixture.copy(), bounded.boxes.top.copy()
        mixtures[at], tops[at] = mixture, np.fmin(tops[at], top)
        return replace(bounded, boxes=replace(bounded.boxes, top=tops), mixture=mixtures), slopes


def _pull(found: Confined, which: Ints) -> Array:
    """How much some row's form changes along each e, ``[B, k]``, its middle first of all; 0 where that is not known."""
    form = found.form
    middle, half = (np.abs(np.take_along_axis(part[:, 1:], which[:, None, :], 2)) for part in (form.middle, form.half))
    pull = (middle + _LOOSE * half).max(axis=2)
    return np.asarray(np.where(np.isfinite(pull), pull, 0.0))
