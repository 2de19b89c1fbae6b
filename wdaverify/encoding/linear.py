"""A linear program of one shell for branch and bound: few rows, the rest added where a point violates them.

Nothing here needs outward rounding: what a node proves is recomputed from its multipliers (``certify.backward``), whatever
program they come from. So rows may be missing and coefficients rounded. With ``d = x - x_i``, ``t = ||d||``:

    open neuron   W h_prev + b = h - s,   0 <= h <= u,   0 <= s <= -l,   (-l) h + u s <= u (-l);   a fixed phase is s = 0 or h = 0
    l-inf         d_k = turn_k (t - y_k),  y_k >= 0:  the side of |d_k| <= t to which the gradient pulls is a column's bound
    l1            d = p - q,   sum (p + q) = t

With 784 inputs the rows ``|d_k| <= t`` outnumber all others; written so, few of them are ever needed (Schrage 1975 treats
variable upper bounds alike). Columns and rows far from 1 are scaled by powers of two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from wdaverify.encoding.cost import Region
from wdaverify.encoding.milp import Ints, powers
from wdaverify.network.model import Array, Block
from wdaverify.problem import Norm

_TINY = 1e-12
"""Coefficients below this are left out, as solvers do."""
_VIOLATED = 1e-7
"""A row is added where a point violates it by more than this, relative to the farthest distance."""


@dataclass(frozen=True, eq=False)
class Rows:
    """``lower <= A v <= upper`` in compressed rows: start ``[r + 1]``, index and value ``[nnz]``."""

    lower: Array
    upper: Array
    start: Ints
    index: Ints
    value: Array

    @classmethod
    def of(cls, index: Ints, value: Array, lower: Array, upper: Array) -> Rows:
        """From padded rows ``[r, w]``; tiny coefficients are left out."""
        kept = np.abs(value) > _TINY
        start = np.concatenate([[0], np.cumsum(kept.sum(axis=1))]).astype(np.int64)
        return cls(lower, upper, start, np.broadcast_to(index, value.shape)[kept].astype(np.int64), value[kept])

    @classmethod
    def stacked(cls, parts: Sequence[Rows]) -> Rows:
        """All rows of all parts."""
        lengths = np.concatenate([np.diff(part.start) for part in parts])
        return cls(
            np.concatenate([part.lower for part in parts]),
            np.concatenate([part.upper for part in parts]),
            np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            np.concatenate([part.index for part in parts]),
            np.concatenate([part.value for part in parts]),
        )


@dataclass(frozen=True, eq=False)
class LinearProgram:
    """``min cost . v`` over the rows, ``lower <= v <= upper``, all ``[c]``."""

    cost: Array
    lower: Array
    upper: Array
    rows: Rows


@dataclass(frozen=True, eq=False)
class Moves:
    """How inputs that can move do: ``d[inputs] = unit * (turn * v[0] + step * (v[column] - v[other]))``, each ``[k]``.

    ``v[0]`` is the distance over ``unit``; ``other`` is -1 for l-inf. ``up, down`` are the rooms over ``unit``.
    """

    norm: Norm
    inputs: Ints
    column: Ints
    other: Ints
    turn: Array
    step: Array
    up: Array
    down: Array
    unit: float

    def displacement(self, v: Array, n: int) -> Array:
        """``d [n]`` of a point of the program."""
        out = np.zeros(n)
        out[self.inputs] = self.unit * self._moved(v)
        return out

    def _moved(self, v: Array) -> Array:
        moved = self.turn * v[0] + self.step * v[self.column]
        return np.asarray(moved if self.norm is Norm.INF else moved - self.step * v[self.other])

    def violated(self, v: Array, far: float) -> Rows | None:
        """The rows of the box and of ``|d_k| <= t`` that a point violates (l-inf), or None."""
        if self.norm is not Norm.INF:
            return None
        moved, slack = self._moved(v), _VIOLATED * far / self.unit
        size = np.abs(moved)
        room = np.where(moved > 0, self.up, self.down)
        beyond = size > room + slack
        at = np.flatnonzero(beyond | (size > v[0] + slack))
        if not at.size:
            return None
        boxed, sign = beyond[at], np.sign(moved[at])
        index = np.zeros((at.size, 2), np.int64)
        index[:, 1] = self.column[at]
        value = np.stack([sign * self.turn[at] - np.where(boxed, 0.0, 1.0), sign * self.step[at]], axis=1)
        return Rows.of(index, value, np.full(at.size, -np.inf), np.where(boxed, room[at], 0.0))


@dataclass(frozen=True, eq=False)
class ShellProgram:
    """The program of one shell and what its parts mean.

    The first rows are those of the neurons ``neuron [r']``, whose multipliers times ``weight [r']`` are nu; the row of the
    margin, where there is one, is ``margin`` (else -1) and its multiplier counts ``margin_weight`` times. ``names [m]`` are
    the open neurons, ``above, below`` their columns h and s, in units of ``scale``. The value is the program's plus ``offset``.
    """

    program: LinearProgram
    moves: Moves
    neuron: Ints
    weight: Array
    margin: int
    margin_weight: float
    names: Ints
    above: Ints
    below: Ints
    scale: Array
    offset: float


def shell_program(
    blocks: Sequence[Block],
    bounds: Sequence[tuple[Array, Array]],
    region: Region,
    rooms: tuple[Array, Array],
    pair: tuple[int, int],
    multiplier: float | None,
    least: float = 0.0,
) -> ShellProgram:
    """``min multiplier t - margin`` on the shell; without a multiplier ``min t`` s.t. ``margin >= least``.

    ``margin = z_rival - z_label`` for ``pair = (label, rival)``; ``rooms`` are the coordinates' rooms up and down ``[n]``.
    """
    label, rival = pair
    pull = _pull(blocks, bounds, blocks[-1].weight[rival] - blocks[-1].weight[label])
    build = _Build()
    moves, index, turned = build.inputs(region, rooms, pull)
    matrix, base = turned(blocks[0].weight), blocks[0].weight @ region.centre + blocks[0].bias
    first = 0
    for k, (low, high) in enumerate(bounds):
        alive, index, scale = build.layer(matrix, index, base, low, high, first)
        first += low.size
        matrix, base = blocks[k + 1].weight[:, alive] * scale, blocks[k + 1].bias
    margin, offset = matrix[rival] - matrix[label], float(base[rival] - base[label])
    return build.done(moves, index, margin, offset, multiplier, least)


def _pull(blocks: Sequence[Block], bounds: Sequence[tuple[Array, Array]], row: Array) -> Array:
    """The gradient of a linear upper bound of the functional, ``[n]``: where the inputs are drawn."""
    q = row
    for block, (low, high) in zip(reversed(blocks[:-1]), reversed(bounds), strict=True):
        chord = high / np.where(high > low, high - low, 1.0)
        line = np.where(q > 0, chord, high > -low)
        q = (q * np.where(low >= 0, 1.0, np.where(high <= 0, 0.0, line))) @ block.weight
    return np.asarray(q)


@dataclass
class _Build:
    """Columns and rows as they are added."""

    _lower: list[Array] = field(default_factory=list)
    _upper: list[Array] = field(default_factory=list)
    _rows: list[Rows] = field(default_factory=list)
    _chords: list[Rows] = field(default_factory=list)
    _columns: int = 0
    _neuron: list[Ints] = field(default_factory=list)
    _weight: list[Array] = field(default_factory=list)
    _open: list[tuple[Ints, Ints, Ints, Array]] = field(default_factory=list)
    _unit: float = 1.0

    def _add(self, lower: Array, upper: Array) -> Ints:
        self._lower.append(lower)
        self._upper.append(upper)
        self._columns += lower.size
        return np.arange(self._columns - lower.size, self._columns, dtype=np.int64)

    def inputs(self, region: Region, rooms: tuple[Array, Array], pull: Array):  # type: ignore[no-untyped-def]
        """The distance, the moves; the columns that the first block acts on, and its weights there."""
        unit = self._unit = float(powers(np.array([region.far]))[0])
        near, far = region.near / unit, region.far / unit
        self._add(np.array([near]), np.array([far]))
        at = np.flatnonzero((rooms[0] > 0) | (rooms[1] > 0))
        up, down = rooms[0][at] / unit, rooms[1][at] / unit
        none = np.full(at.size, -1, np.int64)
        if region.norm is Norm.ONE:
            column, other = self._add(np.zeros(at.size), up), self._add(np.zeros(at.size), down)
            moves = Moves(region.norm, at, column, other, np.zeros(at.size), np.ones(at.size), up, down, unit)
            both = np.concatenate([column, other])
            row = np.concatenate([np.ones(both.size), [-1.0]])[None, :]
            self._chords.append(Rows.of(np.append(both, 0)[None, :], row, np.zeros(1), np.zeros(1)))
            return moves, both, lambda weight: np.hstack([weight[:, at], -weight[:, at]]) * unit
        sign = np.where(pull[at] > 0, 1.0, -1.0)
        tied = np.where(sign > 0, up, down) > near
        turn, step = np.where(tied, sign, 0.0), np.where(tied, -sign, 1.0)
        column = self._add(np.where(tied, 0.0, -down), np.where(tied, far + np.where(sign > 0, down, up), up))
        moves = Moves(region.norm, at, column, none, turn, step, up, down, unit)
        index = np.concatenate([[0], column])
        return (
            moves,
            index,
            lambda weight: np.hstack([(weight[:, at] @ turn)[:, None], weight[:, at] * step]) * unit,
        )

    def layer(self, matrix: Array, index: Ints, base: Array, low: Array, high: Array, first: int):  # type: ignore[no-untyped-def]
        """One ReLU layer; its neurons that are not dead, their columns and the columns' scales."""
        alive = np.flatnonzero(high > 0)
        low, high = low[alive], high[alive]
        opened = np.flatnonzero(low < 0)
        scale = powers(np.maximum(high, -low))
        above = self._add(np.maximum(low, 0.0) / scale, high / scale)
        below = self._add(np.zeros(opened.size), -low[opened] / scale[opened])
        minus = np.zeros(alive.size, np.int64)
        minus[opened] = below
        on_below = np.where(low < 0, scale, 0.0)
        value = np.hstack([matrix[alive], -scale[:, None], on_below[:, None]])
        factor = 1.0 / powers(np.abs(value).max(axis=1, initial=0.0))
        columns = np.hstack([np.broadcast_to(index, (alive.size, index.size)), above[:, None], minus[:, None]])
        side = -base[alive] * factor
        self._rows.append(Rows.of(columns, value * factor[:, None], side, side))
        self._neuron.append(first + alive)
        self._weight.append(factor)
        width = high[opened] - low[opened]
        chord = np.stack([-low[opened] / width, high[opened] / width], axis=1)
        side = -low[opened] * (high[opened] / width) / scale[opened]
        pair = np.stack([above[opened], below], axis=1)
        self._chords.append(Rows.of(pair, chord, np.full(opened.size, -np.inf), side))
        self._open.append((first + alive[opened], above[opened], below, scale[opened]))
        return alive, above, scale

    def done(
        self, moves: Moves, index: Ints, margin: Array, offset: float, multiplier: float | None, least: float
    ) -> ShellProgram:
        """The program with its objective."""
        cost, row, factor = np.zeros(self._columns), -1, 1.0
        if multiplier is None:
            cost[0] = self._unit
            factor = 1.0 / float(powers(np.array([np.abs(margin).max(initial=0.0)]))[0])
            row = sum(part.lower.size for part in self._rows)
            side = np.array([(least - offset) * factor])
            self._rows.append(Rows.of(index[None, :], margin[None, :] * factor, side, np.array([np.inf])))
            offset = 0.0
        else:
            cost[0] = multiplier * self._unit
            np.add.at(cost, index, -margin)
        empty = [np.zeros(0, np.int64)]
        names, above, below = (np.concatenate([o[k] for o in self._open] or empty) for k in range(3))
        return ShellProgram(
            LinearProgram(
                cost, np.concatenate(self._lower), np.concatenate(self._upper), Rows.stacked(self._rows + self._chords)
            ),
            moves,
            np.concatenate(self._neuron or empty),
            np.concatenate(self._weight or [np.zeros(0)]),
            row,
            factor,
            names.astype(np.int64),
            above.astype(np.int64),
            below.astype(np.int64),
            np.concatenate([o[3] for o in self._open] or [np.zeros(0)]),
            -offset,
        )
