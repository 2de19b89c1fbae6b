"""Upper bounds of the least row of a specification on boxes, and to where in them its rows confine it (docs/specifications.md).

    forms        every row is at most  a_r + A_r . e  on the box, e in [-1, 1]^k (certify.forms)
    backward     the same by a backward pass, at the bounds of the neurons that the forms give; and of  sum_r mu_r row_r  too
    clip         where  a_r + A_r . e < level  for some row, the least row is below level: the box shrinks to the rest, level < 0
    deep         all of it once more, at bounds of the neurons that a backward pass has tightened
    along        the bound of  sum_r mu_r row_r  once more, along given lines below the open neurons

All of it is rounded outward but what only chooses: mu, level, lines, and how much of a clip is made.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wdaverify.certify.backward import Backward, HiddenBounds, Lines, Shells
from wdaverify.certify.forms import Form, Forms
from wdaverify.certify.loops import Loops
from wdaverify.certify.rows import Rows
from wdaverify.ground import GroundCost, Norm
from wdaverify.network.model import Array
from wdaverify.rounding import UNIT_ROUNDOFF, dot_error, underflow

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Slopes = NDArray[np.uint8]
"""Of lines below open neurons, in 255ths, ``[..., M]``."""
Codes = NDArray[np.uint8]
"""How much of a box is cut off at each side of each moving input, in 256ths of its width, ``[..., 2, k]``."""

_STEPS, _RATE = 8, 2.0
"""Of the search for mu, by multiplicative weights."""
_CLIPS = 2
_SLACK = 2.0**-44
"""What clipping leaves more of a side of [-1, 1] than it has to: it rounds far less."""
_LEAST = 1e-250
"""Coefficients below this clip nothing."""
_STEEPEST = 255.0
_PARTS, _WORTH = 256, 8
"""A clip is made in so many parts of a width, and not for fewer than so many."""
_SPARE = 2.0**-12
"""Of a part, which is left so that whoever rounds otherwise finds the same parts."""


@dataclass(frozen=True, eq=False)
class Confined:
    """Of boxes: ``top [B]`` bounds the least row, which is below the level wherever e is outside ``low, high [B, k]``.

    ``empty [B]``: it is below the level everywhere. ``mixture [B, R]`` is mu; ``mixed [B]``: no row alone shows what the mixture does.
    ``row [B]`` is the row whose bound is the least. ``shells [B]`` and bounds of the neurons, ``hidden``, are what all this was found on.
    """

    top: Array
    empty: Bools
    low: Array
    high: Array
    mixture: NDArray[np.float32]
    mixed: Bools
    slopes: Array
    form: Form
    row: Ints
    shells: Shells
    hidden: HiddenBounds

    def codes(self) -> Codes:
        """The clips worth making."""
        parts = np.stack([1.0 + self.low, 1.0 - self.high], axis=1) * (0.5 * _PARTS) - _SPARE
        parts = np.clip(np.floor(parts), 0, _PARTS - 1)
        return np.where((parts >= _WORTH) & ~self.empty[:, None, None], parts, 0).astype(np.uint8)

    def shows(self, codes: Codes) -> Bools:
        """Whether what codes ``[B, 2, k]`` cut off is below the level."""
        low, high = kept(codes)
        return np.asarray(self.empty | ((low <= self.low) & (high >= self.high)).all(axis=-1))


class Confining:
    """Bounds of one specification's rows."""

    def __init__(self, rows: Rows, loops: Loops | None = None) -> None:
        """``loops`` do in numpy's place what they can."""
        self._rows, self._forms, self._backward = rows, Forms(rows.graph), Backward(rows.graph, loops=loops)
        self._cost = GroundCost(Norm.INF, 1)

    def numbers(self) -> int:
        """How many doubles an array holds for one box."""
        rows = self._rows
        return int(max(rows.moving.size, rows.which.shape[1]) + 1) * rows.graph.widest

    def of(
        self,
        lower: Array,
        upper: Array,
        disjunct: Ints,
        level: float,
        *,
        deep: bool = False,
        mixture: NDArray[np.float32] | None = None,
        enough: float = -np.inf,
    ) -> Confined:
        """Bounds on boxes ``lower, upper [B, n]`` of disjuncts ``[B]``.

        ``mixture [B, R]`` is mu (rows of zeros: none), chosen by rule where None. A bound that is not above ``enough`` is not bettered.
        """
        rows, moving = self._rows, self._rows.moving
        centre, radius = middle(lower, upper)
        shells = Shells(self._cost, centre, radius, radius, np.zeros(len(centre)), radius.max(axis=1))
        form, hidden = self._forms.of(centre, radius, moving)
        if deep:
            hidden = self._backward.pre_activations(shells, known=hidden)
            form, hidden = self._forms.of(centre, radius, moving, hidden)
        which, offset = rows.which[disjunct], rows.offset[disjunct]
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            const, slopes = _above(form, which, offset)
            low, high, empty = _clipped(const, slopes, level)
            mu = _weights(const, slopes, low, high) if mixture is None else mixture
            stored = np.asarray(mu, np.float32)
            single = _up(np.take_along_axis(form.sides(form.size())[1], which, 1) + offset).min(axis=1)
            top, mixed, row = single.copy(), np.zeros(len(single), np.bool_), np.zeros(len(single), np.int64)
            at = np.flatnonzero(~(np.minimum(single, np.where(empty, level, np.inf)) <= enough))
            if at.size:
                local = [(a[at], b[at]) for a, b in hidden]
                rows_, both = self._tops(which[at], offset[at], stored[at], shells.take(at), local)
                top[at], row[at] = np.minimum(single[at], both), rows_.argmin(axis=1)
                mixed[at] = both < np.minimum(rows_.min(axis=1), single[at])
        return Confined(top, empty, low, high, stored, mixed, slopes, form, row, shells, hidden)

    def along(self, found: Confined, disjunct: Ints, at: Ints, mixture: NDArray[np.float32], slopes: Slopes) -> Array:
        """Upper bounds of the least row on some boxes, ``at [k]``, with mu ``[k, R]`` along lines of slopes ``[k, M]``."""
        rows, local = self._rows, [(low[at], high[at]) for low, high in found.hidden]
        none = np.zeros(slopes.shape)
        lines = Lines(slopes / _STEEPEST, none, none)
        which, offset = rows.which[disjunct[at]], rows.offset[disjunct[at]]
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            _, both = self._tops(which, offset, mixture, found.shells.take(at), local, lines)
        return both

    def _tops(
        self,
        which: Ints,
        offset: Array,
        mu: NDArray[np.float32],
        shells: Shells,
        hidden: HiddenBounds,
        lines: Lines | None = None,
    ) -> tuple[Array, Array]:
        """Upper bounds of each row by itself, ``[B, R]``, and of the least one, ``[B]``, which their mixture is not below."""
        (count, width), outputs = which.shape, self._rows.graph.outputs
        weights = np.where(np.isfinite(offset) & (mu > 0), mu, 0.0).astype(np.float64)
        wide = width > 1 and bool(weights.any())
        functional = np.zeros((count, width + wide, outputs))
        place = np.arange(count)[:, None]
        functional[place, np.arange(width), which] = 1.0
        if wide:
            np.add.at(functional, (place, width, which), weights)
        phases = np.zeros((count, self._backward.neurons), np.int8)
        found = self._backward.leaves(functional, np.zeros(count), shells, hidden, phases, None, lines=lines)
        each = _up(found[:, :width] + offset)
        alone: Array = each.min(axis=1)
        if not wide:
            return each, alone
        paid = np.where(weights > 0, weights * np.where(weights > 0, offset, 0.0), 0.0)
        total = found[:, width] + paid.sum(axis=1)
        lost = dot_error(width + 4) * (np.abs(found[:, width]) + np.abs(paid).sum(axis=1)) + underflow(width)
        whole = weights.sum(axis=1)
        mixed: Array = np.where(whole > 0, (total + lost) / np.where(whole > 0, whole, 1.0), np.inf)
        mixed = mixed + dot_error(width + 4) * np.abs(mixed)
        return each, np.asarray(np.fmin(alone, mixed), np.float64)


def middle(lower: Array, upper: Array) -> tuple[Array, Array]:
    """Centres and radii of boxes, the radii rounded up."""
    centre = 0.5 * lower + 0.5 * upper
    return centre, np.nextafter(np.maximum(upper - centre, centre - lower), np.inf)


def kept(codes: Codes) -> tuple[Array, Array]:
    """``low, high [..., k]`` within [-1, 1]: where e stays."""
    cut: Array = codes.astype(np.float64) * (2.0 / _PARTS)
    return -1.0 + cut[..., 0, :], 1.0 - cut[..., 1, :]


def cut(lower: Array, upper: Array, codes: Codes, moving: Ints) -> tuple[Array, Array]:
    """Boxes ``[..., n]`` less what codes cut off, rounded outward."""
    low, high = kept(codes)
    centre, radius = (side[..., moving] for side in middle(lower, upper))
    lost = 8 * UNIT_ROUNDOFF * (np.abs(centre) + radius)
    sides = lower.copy(), upper.copy()
    sides[0][..., moving] = np.maximum(lower[..., moving], centre + radius * low - lost)
    sides[1][..., moving] = np.minimum(upper[..., moving], centre + radius * high + lost)
    return sides[0], np.maximum(*sides)  # where they cross nothing is left


def _up(rows: Array) -> Array:
    """Upper bounds, sums with offsets ``[B, R]``, rounded up."""
    up = rows + 4 * UNIT_ROUNDOFF * np.abs(rows)
    return np.asarray(np.where(np.isnan(up), np.inf, up))


def _above(form: Form, which: Ints, offset: Array) -> tuple[Array, Array]:
    """``a [B, R]`` and ``A [B, k, R]``: each row is at most ``a + A . e``."""
    const, slopes = form.above()
    const = np.take_along_axis(const, which, 1) + offset
    return const + 4 * UNIT_ROUNDOFF * np.abs(const), np.take_along_axis(slopes, which[:, None, :], 2)


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
