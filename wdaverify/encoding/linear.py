"""A linear program of one shell for branch and bound: few rows, the rest added where a point violates them.

Nothing here needs outward rounding: what a node proves is recomputed from its multipliers (``certify.backward``), whatever
program they come from. So rows may be missing and coefficients rounded. With ``d = x - x_i``, ``t = ||d||``:

    affine          its sums over columns (``encoding.columns``); on columns of its own  z, free,  sums = z
    open neuron     W h_prev + b = h - s,   0 <= h <= u,   0 <= s <= -l,   (-l) h + u s <= u (-l);   a fixed phase is s = 0 or h = 0
    support         lower <= A x <= upper
    curved neuron   W h_prev + b = z,  l <= z <= u,   lines above and below v = phi(z), and more where a point passes between them
    cross-entropy   m_j = z_j - z_y in [l_j, u_j],   e_j <= the secant of exp(m_j - M),   w <= M + tangents of log(exp(-M) + sum e_j)

Every other function is a ReLU here. Columns and rows far from 1 are scaled by powers of two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from wdaverify.encoding.columns import Sums, affine, owned
from wdaverify.encoding.cost import Region
from wdaverify.encoding.milp import Ints, powers
from wdaverify.encoding.moves import Moves
from wdaverify.encoding.rows import LinearProgram, Rows
from wdaverify.graph.nodes import INPUT, Affine, Elementwise, Graph
from wdaverify.graph.smooth.curve import Smooth
from wdaverify.ground import Norm
from wdaverify.network.model import Array

__all__ = ["Aim", "Entropy", "LinearProgram", "Moves", "Rows", "ShellProgram", "shell_program"]


_SHARES = np.array([0.0, 0.5, 1.0])
"""Where in its interval lines of a curved neuron are, to begin with."""
_BETWEEN, _LEAST = 0.05, 1e-9
"""Lines are added where a point is beyond them by more than this share of how far it is from phi."""


@dataclass(frozen=True, eq=False)
class Aim:
    """``min multiplier t^power - functional . z``; without a multiplier ``min t`` s.t. ``functional . z >= least``.

    With ``spans`` (bounds ``[K - 1]`` of the margins ``rows @ z``) the log-sum-exp of these and 0 is added to the functional.
    """

    functional: Array
    multiplier: float | None
    power: int
    least: float
    rows: Array | None = None
    spans: tuple[Array, Array] | None = None


@dataclass(frozen=True, eq=False)
class Entropy:
    """Where the cross-entropy's parts are: columns of ``m, e [J]`` and ``w``, rows of the margins and of the secants.

    ``weight [J]`` turns the multipliers of the margins' rows into gamma; ``shift`` is M.
    """

    margin: Ints
    power: Ints
    value: int
    margin_row: int
    secant_row: int
    weight: Array
    shift: float

    def tangent(self, total: float) -> Rows:
        """``w <= M + log S + (exp(-M) + sum e - S) / S`` at ``S = total``."""
        index = np.append(self.power, self.value)[None, :]
        value = np.append(np.full(self.power.size, -1.0 / total), 1.0)[None, :]
        side = self.shift + float(np.log(total)) + (float(np.exp(-self.shift)) - total) / total
        return Rows.of(index, value, np.array([-np.inf]), np.array([side]))


@dataclass(frozen=True, eq=False)
class Bent:
    """The neurons of a node whose function is curved: columns of ``z / z_scale`` and ``v / v_scale``, and ``[l, u]``, each ``[m]``."""

    function: Smooth
    low: Array
    high: Array
    z: Ints
    z_scale: Array
    v: Ints
    v_scale: Array

    def lines(self, at: Array, among: Ints) -> Rows:
        """The best lines above and below v at points ``[k, m']`` of some neurons ``[m']``."""
        low, high = (np.broadcast_to(side[among], at.shape).ravel() for side in (self.low, self.high))
        columns = np.stack([self.z[among], self.v[among]], axis=1)
        index = np.broadcast_to(columns, (len(at), *columns.shape)).reshape(-1, 2)
        z_scale, v_scale = (np.broadcast_to(s[among], at.shape).ravel() for s in (self.z_scale, self.v_scale))
        parts = []
        for sign in (1.0, -1.0):
            slope, one = self.function.line(at.ravel(), low, high, sign), np.full(low.size, sign)
            best, lost = self.function.gain(one, sign * slope, low, high)
            factor = 1.0 / v_scale
            value = np.stack([-sign * slope * z_scale * factor, sign * v_scale * factor], axis=1)
            parts.append(Rows.of(index, value, np.full(low.size, -np.inf), (best + lost) * factor))
        return Rows.stacked(parts)

    def violated(self, point: Array) -> Rows | None:
        """The best lines at a point of the program that lies farther from phi than they do."""
        z = np.clip(point[self.z] * self.z_scale, self.low, self.high)
        v, room = point[self.v] * self.v_scale, np.zeros(z.size)
        for sign in (1.0, -1.0):
            slope, one = self.function.line(z, self.low, self.high, sign), np.full(z.size, sign)
            best, lost = self.function.gain(one, sign * slope, self.low, self.high)
            room = np.maximum(room, sign * v - (sign * slope * z + best + lost))
        at = np.flatnonzero(room > _BETWEEN * np.abs(v - self.function.value(z)) + _LEAST * self.v_scale)
        return self.lines(z[None, at], at) if at.size else None


@dataclass(frozen=True, eq=False)
class ShellProgram:
    """The program of one shell and what its parts mean.

    The first rows are those of the neurons ``neuron [r']``, whose multipliers times ``weight [r']`` are nu; the row of the
    margin, where there is one, is ``margin`` (else -1) and its multiplier counts ``margin_weight`` times; those of the support
    begin at ``support``, and less their multipliers times ``support_weight`` are rho. ``names [m]`` are the open neurons,
    ``above, below`` their columns h and s, in units of ``scale``. The value is the program's plus ``offset``.
    """

    program: LinearProgram
    moves: Moves
    neuron: Ints
    weight: Array
    margin: int
    margin_weight: float
    support: int
    support_weight: Array
    names: Ints
    above: Ints
    below: Ints
    scale: Array
    offset: float
    entropy: Entropy | None
    bent: tuple[Bent, ...] = ()

    def between(self, point: Array) -> list[Rows]:
        """The lines of curved neurons that a point violates."""
        found = [bent.violated(point) for bent in self.bent]
        return [rows for rows in found if rows is not None]


def shell_program(
    graph: Graph,
    bounds: Sequence[tuple[Array, Array]],
    region: Region,
    rooms: tuple[Array, Array],
    aim: Aim,
) -> ShellProgram:
    """The program of an aim on a shell; ``rooms`` are the coordinates' rooms up and down ``[n]``."""
    pull = _pull(graph, bounds, aim.functional)
    build = _Build()
    moves = build.inputs(region, rooms, pull, aim.power if aim.multiplier is not None else 1)
    values, own, number = {INPUT: moves.sums(region.centre)}, owned(graph), 0
    for k, node in enumerate(graph.nodes):
        if isinstance(node, Affine):
            sums = affine(node, values, lambda weight: (moves.index, moves.on_columns(weight)))
            values[k] = build.own(sums) if k in own else sums
        else:
            function, given = node.function, (values[node.source], *bounds[number], int(graph.edges[number]))
            values[k] = build.curved(function, *given) if isinstance(function, Smooth) else build.layer(*given)
            number += 1
    return build.done(moves, region, values[len(graph.nodes) - 1], aim)


def _pull(graph: Graph, bounds: Sequence[tuple[Array, Array]], functional: Array) -> Array:
    """The gradient of a linear upper bound of the functional, ``[n]``: where the inputs are drawn."""
    waiting, number = {len(graph.nodes) - 1: functional}, len(bounds)
    for k in range(len(graph.nodes) - 1, INPUT, -1):
        node = graph.nodes[k]
        number -= isinstance(node, Elementwise)
        q = waiting.pop(k, None)
        if q is None:
            continue
        if isinstance(node, Affine):
            parts = [(source, map_.back(q)) for source, map_ in zip(node.sources, node.maps, strict=True)]
        else:
            low, high = bounds[number]
            if isinstance(node.function, Smooth):
                part = node.function.by_rule(q, low, high)
                waiting[node.source] = waiting[node.source] + part if node.source in waiting else part
                continue
            chord = high / np.where(high > low, high - low, 1.0)
            line = np.where(q > 0, chord, high > -low)
            parts = [(node.source, q * np.where(low >= 0, 1.0, np.where(high <= 0, 0.0, line)))]
        for source, part in parts:
            waiting[source] = waiting[source] + part if source in waiting else part
    return waiting.get(INPUT, np.zeros(graph.inputs))


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
    _bent: list[Bent] = field(default_factory=list)

    def _add(self, lower: Array, upper: Array) -> Ints:
        self._lower.append(lower)
        self._upper.append(upper)
        self._columns += lower.size
        return np.arange(self._columns - lower.size, self._columns, dtype=np.int64)

    def inputs(self, region: Region, rooms: tuple[Array, Array], pull: Array, power: int) -> Moves:
        """The distance, its square and the moves."""
        unit = float(powers(np.array([region.far]))[0])
        near, far = region.near / unit, region.far / unit
        self._add(np.array([near]), np.array([far]))
        square = int(self._add(np.array([near**2]), np.array([far**2]))[0]) if power == 2 else -1
        at = np.flatnonzero((rooms[0] > 0) | (rooms[1] > 0))
        scale = region.cost.scale(region.centre.size)[at]
        up, down = rooms[0][at] * scale / unit, rooms[1][at] * scale / unit
        zero, one, none = np.zeros(at.size), np.ones(at.size), np.full(at.size, -1, np.int64)
        if region.norm is Norm.ONE:
            column, other = self._add(zero, up), self._add(zero, down)
            moves = Moves(region.norm, at, column, other, none, square, zero, one, up, down, unit, scale)
            self._sum(np.concatenate([column, other]), equal=True)
        elif region.norm is Norm.TWO:
            column, share = self._add(-down, up), self._add(zero, np.full(at.size, far))
            moves = Moves(region.norm, at, column, none, share, square, zero, one, up, down, unit, scale)
            self._sum(share, equal=False)
            slope = np.full(at.size, 1 / np.sqrt(max(at.size, 1)))
            self._chords += [moves.tangents(np.arange(at.size), s) for s in (slope, -slope)]
        else:
            sign = np.where(pull[at] > 0, 1.0, -1.0)
            tied = np.where(sign > 0, up, down) > near
            if region.integer is not None:
                tied &= ~region.integer[at]
            turn, step = np.where(tied, sign, 0.0), np.where(tied, -sign, 1.0)
            column = self._add(np.where(tied, 0.0, -down), np.where(tied, far + np.where(sign > 0, down, up), up))
            moves = Moves(region.norm, at, column, none, none, square, turn, step, up, down, unit, scale)
        if square >= 0:
            self._chords.append(moves.squares(np.linspace(near, far, 4)))
        return moves

    def _sum(self, columns: Ints, *, equal: bool) -> None:
        """``sum of the columns = t``, or ``<= t``."""
        row = np.concatenate([np.ones(columns.size), [-1.0]])[None, :]
        self._chords.append(
            Rows.of(np.append(columns, 0)[None, :], row, np.array([0.0 if equal else -np.inf]), np.zeros(1))
        )

    def own(self, sums: Sums) -> Sums:
        """An affine node on columns of its own; bounds they need none."""
        width = sums.base.size
        at, scale = np.arange(width), powers(np.maximum(sums.largest(), np.abs(sums.base)))
        column = self._add(np.full(width, -np.inf), np.full(width, np.inf))
        rows = sums.plus(column[:, None], -scale[:, None])
        self._chords.append(Rows.zero(rows, 1.0 / powers(rows.largest())))
        return Sums.single(width, at, column, scale)

    def layer(self, sums: Sums, low: Array, high: Array, first: int) -> Sums:
        """One elementwise node; dead neurons have no columns."""
        width, alive = low.size, np.flatnonzero(high > 0)
        low, high = low[alive], high[alive]
        opened = np.flatnonzero(low < 0)
        scale = powers(np.maximum(high, -low))
        above = self._add(np.maximum(low, 0.0) / scale, high / scale)
        below = self._add(np.zeros(opened.size), -low[opened] / scale[opened])
        minus = np.zeros(alive.size, np.int64)
        minus[opened] = below
        split = np.stack([above, minus], axis=1), np.stack([-scale, np.where(low < 0, scale, 0.0)], axis=1)
        rows = sums.take(alive).plus(*split)
        factor = 1.0 / powers(rows.largest())
        self._rows.append(Rows.zero(rows, factor))
        self._neuron.append(first + alive)
        self._weight.append(factor)
        slope = high[opened] - low[opened]
        chord = np.stack([-low[opened] / slope, high[opened] / slope], axis=1)
        side = -low[opened] * (high[opened] / slope) / scale[opened]
        pair = np.stack([above[opened], below], axis=1)
        self._chords.append(Rows.of(pair, chord, np.full(opened.size, -np.inf), side))
        self._open.append((first + alive[opened], above[opened], below, scale[opened]))
        return Sums.single(width, alive, above, scale)

    def curved(self, function: Smooth, sums: Sums, low: Array, high: Array, first: int) -> Sums:
        """One elementwise node of a curved function."""
        every, high = np.arange(low.size), np.maximum(low, high)
        z_scale, v_scale = powers(np.maximum(np.abs(low), np.abs(high))), powers(function.reach(low, high))
        z = self._add(low / z_scale, high / z_scale)
        v = self._add(np.full(low.size, -np.inf), np.full(low.size, np.inf))
        rows = sums.plus(z[:, None], -z_scale[:, None])
        factor = 1.0 / powers(rows.largest())
        self._rows.append(Rows.zero(rows, factor))
        self._neuron.append(first + every)
        self._weight.append(factor)
        bent = Bent(function, low, high, z, z_scale, v, v_scale)
        self._chords.append(bent.lines(low + _SHARES[:, None] * (high - low), every))
        self._bent.append(bent)
        return Sums.single(low.size, every, v, v_scale)

    def _count(self) -> int:
        return sum(part.lower.size for part in self._rows)

    def _support(self, moves: Moves, region: Region) -> tuple[int, Array]:
        """The rows of the support; where they begin, and what their multipliers count."""
        first, rows = self._count(), region.rows
        if rows is None:
            return first, np.zeros(0)
        value = moves.on_columns(rows.matrix)
        factor = 1.0 / powers(np.abs(value).max(axis=1, initial=0.0))
        here = rows.matrix @ region.centre
        sides = ((rows.lower - here) * factor, (rows.upper - here) * factor)
        self._rows.append(Rows.of(np.broadcast_to(moves.index, value.shape), value * factor[:, None], *sides))
        return first, factor

    def _entropy(self, top: Sums, aim: Aim) -> Entropy:
        """Columns and rows of the cross-entropy; the secants are those of a node, set later."""
        (index, matrix), base = top.dense(), top.base
        assert aim.rows is not None
        assert aim.spans is not None
        low, high = aim.spans
        count, shift = low.size, max(0.0, float(high.max()))
        margin = self._add(low, high)
        power = self._add(np.zeros(count), np.ones(count))
        value = int(self._add(np.array([-np.inf]), np.array([np.inf]))[0])
        rows = aim.rows @ matrix
        factor = 1.0 / powers(np.maximum(np.abs(rows).max(axis=1, initial=0.0), 1.0))
        coefficient = np.hstack([rows, -np.ones((count, 1))]) * factor[:, None]
        columns = np.hstack([np.broadcast_to(index, rows.shape), margin[:, None]])
        side = -(aim.rows @ base) * factor
        first = self._count()
        self._rows.append(Rows.of(columns, coefficient, side, side))
        pair = np.stack([power, margin], axis=1)
        self._rows.append(Rows.of(pair, np.ones((count, 2)), np.full(count, -np.inf), np.zeros(count)))
        return Entropy(margin, power, value, first, first + count, factor, shift)

    def done(self, moves: Moves, region: Region, top: Sums, aim: Aim) -> ShellProgram:
        """The program with its objective."""
        (index, matrix), base = top.dense(), top.base
        margin, offset = aim.functional @ matrix, float(aim.functional @ base)
        row, factor, entropy = -1, 1.0, None
        if aim.multiplier is None:
            factor = 1.0 / float(powers(np.array([np.abs(margin).max(initial=0.0)]))[0])
            row = self._count()
            side = np.array([(aim.least - offset) * factor])
            self._rows.append(Rows.of(index[None, :], margin[None, :] * factor, side, np.array([np.inf])))
            offset = 0.0
        elif aim.spans is not None:
            entropy = self._entropy(top, aim)
            self._chords += [entropy.tangent(total) for total in (1.0, float(1 + entropy.margin.size))]
        cost = np.zeros(self._columns)
        if aim.multiplier is None:
            cost[0] = moves.unit
        else:
            cost[max(moves.square, 0)] = aim.multiplier * (moves.unit**2 if moves.square >= 0 else moves.unit)
            np.add.at(cost, index, -margin)
            if entropy is not None:
                cost[entropy.value] = -1.0
        support, weight = self._support(moves, region)
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
            support,
            weight,
            names.astype(np.int64),
            above.astype(np.int64),
            below.astype(np.int64),
            np.concatenate([o[3] for o in self._open] or [np.zeros(0)]),
            -offset,
            entropy,
            tuple(self._bent),
        )
