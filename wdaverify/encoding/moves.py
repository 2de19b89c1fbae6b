"""How the input moves in a linear program of one shell: the distance, its square, and the rows added as points violate them.

With ``d = a * (x - x_i)`` in cost units and ``t = ||d||``:

    l-inf     d_k = turn_k (t - y_k),  y_k >= 0:  the side of |d_k| <= t to which the gradient pulls is a column's bound
    l1        d = p - q,   sum (p + q) = t
    l2        v_k t >= d_k^2,   sum v_k <= t,   by tangents  v_k >= 2 s d_k - s^2 t  at s = d_k / t  (Vielma et al. 2017)
    order 2   u >= t^2,  by tangents  u >= 2 s t - s^2  at s = t

With 784 inputs the rows ``|d_k| <= t`` outnumber all others; written so, few of them are ever needed (Schrage 1975 treats
variable upper bounds alike).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wdaverify.encoding.columns import Sums
from wdaverify.encoding.milp import Ints
from wdaverify.encoding.rows import Rows
from wdaverify.ground import Norm
from wdaverify.network.model import Array

_VIOLATED = 1e-7
"""A row is added where a point violates it by more than this, relative to the farthest distance."""
_BENT = 2e-10
"""A tangent is added where a point violates it by more than this, relative to the farthest distance or its square."""


@dataclass(frozen=True, eq=False)
class Moves:
    """How inputs that can move do: ``d[inputs] = unit * (turn * v[0] + step * (v[column] - v[other]))``, each ``[k]``.

    ``v[0]`` is the distance over ``unit``; ``other`` is -1 but for l1, ``share`` (the columns of ``v_k``) but for l2;
    ``square`` is the column of ``(t / unit)^2`` or -1. ``up, down`` are the rooms over ``unit``; ``scale`` the weights a.
    """

    norm: Norm
    inputs: Ints
    column: Ints
    other: Ints
    share: Ints
    square: int
    turn: Array
    step: Array
    up: Array
    down: Array
    unit: float
    scale: Array

    def displacement(self, v: Array, n: int) -> Array:
        """``x - x_i [n]`` of a point of the program."""
        out = np.zeros(n)
        out[self.inputs] = self.unit * self._moved(v) / self.scale
        return out

    def _moved(self, v: Array) -> Array:
        moved = self.turn * v[0] + self.step * v[self.column]
        return np.asarray(moved - self.step * v[self.other] if self.norm is Norm.ONE else moved)

    def on_columns(self, weight: Array) -> Array:
        """A matrix ``[m, n]`` on ``x - x_i`` as one on the columns that ``index`` names."""
        moving = weight[:, self.inputs] / self.scale * self.unit
        if self.norm is Norm.ONE:
            return np.hstack([moving, -moving])
        if self.norm is Norm.TWO:
            return moving
        return np.hstack([(moving @ self.turn)[:, None], moving * self.step])

    def sums(self, centre: Array) -> Sums:
        """The input ``[n]`` on the columns."""
        size, first = self.unit / self.scale, np.zeros(self.inputs.size, np.int64)
        if self.norm is Norm.ONE:
            terms = [(self.column, size), (self.other, -size)]
        elif self.norm is Norm.TWO:
            terms = [(self.column, size)]
        else:
            terms = [(first, size * self.turn), (self.column, size * self.step)]
        index, value = np.zeros((centre.size, len(terms)), np.int64), np.zeros((centre.size, len(terms)))
        for k, (columns, coefficients) in enumerate(terms):
            index[self.inputs, k], value[self.inputs, k] = columns, coefficients
        return Sums(index, value, centre)

    @property
    def index(self) -> Ints:
        """The columns that matrices act on."""
        if self.norm is Norm.ONE:
            return np.concatenate([self.column, self.other])
        return self.column if self.norm is Norm.TWO else np.concatenate([np.zeros(1, np.int64), self.column])

    def bounds(self, features: Ints, box: Array) -> tuple[Ints, Array, Array]:
        """Columns and their bounds that keep ``x - x_i`` of features within a box ``[2, g]``; for those that can move."""
        at = np.searchsorted(self.inputs, features)
        there = (
            np.flatnonzero((at < self.inputs.size) & (self.inputs[np.minimum(at, self.inputs.size - 1)] == features))
            if self.inputs.size
            else np.zeros(0, np.int64)
        )
        at = at[there]
        low, high = box[:, there] * self.scale[at] / self.unit
        low, high = np.maximum(low, -self.down[at]), np.minimum(high, self.up[at])
        low = np.minimum(low, high)
        if self.norm is not Norm.ONE:
            return self.column[at], low, high
        index = np.concatenate([self.column[at], self.other[at]])
        least = np.concatenate([np.maximum(low, 0.0), np.maximum(-high, 0.0)])
        return index, least, np.concatenate([np.maximum(high, 0.0), np.maximum(-low, 0.0)])

    def violated(self, v: Array, far: float) -> Rows | None:
        """The rows that a point violates, or None: of the box and of ``|d_k| <= t`` (l-inf), and tangents."""
        parts = [self._sides(v, far), self._shares(v, far), self._squares(v, far)]
        some = [part for part in parts if part is not None]
        return Rows.stacked(some) if some else None

    def sides(self) -> Rows | None:
        """Every row of ``|d_k| <= t`` and of the rooms, of which a program of l-inf begins with none; None for other norms."""
        if self.norm is not Norm.INF:
            return None
        index = np.stack([np.zeros(self.column.size, np.int64), self.column], axis=1)
        parts = []
        for sign, room in ((1.0, self.up), (-1.0, self.down)):
            for less, side in ((0.0, room), (1.0, np.zeros(room.size))):
                value = np.stack([sign * self.turn - less, sign * self.step], axis=1)
                parts.append(Rows.of(index, value, np.full(room.size, -np.inf), side))
        return Rows.stacked(parts)

    def _sides(self, v: Array, far: float) -> Rows | None:
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

    def _shares(self, v: Array, far: float) -> Rows | None:
        """Tangents of the disaggregated cone where their sum falls short."""
        if self.norm is not Norm.TWO:
            return None
        moved, t = v[self.column], float(v[0])
        norm = float(np.sqrt(moved @ moved))
        if norm <= t + _BENT * far / self.unit:
            return None
        slope = moved / max(norm, 1e-300)
        at = np.flatnonzero(2 * slope * moved - slope**2 * t > v[self.share])
        return self.tangents(at, slope[at]) if at.size else None

    def tangents(self, at: Ints, slope: Array) -> Rows:
        """``v_k >= 2 s d_k - s^2 t`` for the inputs at the given positions."""
        index = np.stack([np.zeros(at.size, np.int64), self.column[at], self.share[at]], axis=1)
        value = np.stack([slope**2, -2 * slope, np.ones(at.size)], axis=1)
        return Rows.of(index, value, np.zeros(at.size), np.full(at.size, np.inf))

    def _squares(self, v: Array, far: float) -> Rows | None:
        """The tangent of the square at the point's distance."""
        if self.square < 0:
            return None
        t = float(v[0])
        if t * t - float(v[self.square]) <= _BENT * (far / self.unit) ** 2:
            return None
        return self.squares(np.array([t]))

    def squares(self, at: Array) -> Rows:
        """``u >= 2 s t - s^2`` at the given distances over ``unit``."""
        index = np.broadcast_to(np.array([0, self.square]), (at.size, 2))
        return Rows.of(index, np.stack([-2 * at, np.ones(at.size)], axis=1), -(at**2), np.full(at.size, np.inf))
