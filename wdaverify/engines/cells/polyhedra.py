"""Where the neurons decided so far leave room: an interior point of their half-spaces, or a proof that there is none.

With ``x = base + step e`` a decided neuron is a row ``s (G e + g) >= 0`` with ``(G, g)`` of a forward pass (``certify.forward``). One
linear program, ``max tau <= 1  s.t.  s (G e + g) >= tau ||G||``, finds the deepest point, or multipliers y >= 0 of the rows with
``sum y s (G e + g) < 0`` wherever e may be. That is proven

    in a box      from the rows as computed, with what forming them lost
    on R^n        by a y' near y for which the sum is constant (unbounded.py)
    where flat    in rationals (flatness.py): the sum is 0 at most
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wdaverify.certify.forward import Forward, Ints, States
from wdaverify.encoding.cost import Region
from wdaverify.encoding.rows import LinearProgram, Rows
from wdaverify.engines.cells.flatness import flat
from wdaverify.engines.cells.interior import FLAT, CellRows
from wdaverify.engines.cells.unbounded import constant_sum, crossing
from wdaverify.errors import SolverError
from wdaverify.graph.nodes import Graph
from wdaverify.network.model import Array
from wdaverify.rounding import dot_error, underflow
from wdaverify.solvers.lp import LpSession, LpStatus

_LEAST = 1e-12
"""Multipliers below this share of the largest are none."""


@dataclass(frozen=True, eq=False)
class HalfSpaces:
    """Rows ``table e + side >= 0`` of unit normals, ``[r, e]`` and ``[r]``, of neurons ``at [r]`` on side ``sign [r]``.

    ``size [r]`` is what they were divided by, ``loose [r, e + 1]`` by how much they may be off.
    """

    table: Array
    side: Array
    loose: Array
    size: Array
    at: Ints
    sign: Array

    def joined(self, other: HalfSpaces) -> HalfSpaces:
        """These and others."""
        return HalfSpaces(
            np.concatenate([self.table, other.table]),
            np.concatenate([self.side, other.side]),
            np.concatenate([self.loose, other.loose]),
            np.concatenate([self.size, other.size]),
            np.concatenate([self.at, other.at]),
            np.concatenate([self.sign, other.sign]),
        )


@dataclass(frozen=True, eq=False)
class Room:
    """The deepest point found, ``[e]``, how deep it is in rows and box (None: none), and the rows' multipliers, if any."""

    point: Array | None
    depth: float
    multipliers: Array | None


class Polyhedra:
    """The polyhedra of one question."""

    def __init__(self, graph: Graph, region: Region, still: Array, forward: Forward, base: Array) -> None:
        self._graph, self._region, self._still = graph, region, still
        moving, step = forward.moving, forward.step[forward.moving]
        self._moving = moving
        with np.errstate(over="ignore", invalid="ignore"):
            self.lower = (region.lower[moving] - base[moving]) / step
            self.upper = (region.upper[moving] - base[moving]) / step
            reach = np.maximum(np.abs(self.lower), np.abs(self.upper))
            self._reach = np.nextafter(reach * (1 + 2.0**-50), np.inf)
        self.bounded = bool(np.isfinite(self.lower).all() and np.isfinite(self.upper).all())
        self._owner = np.repeat(np.arange(len(graph.elementwise)), np.diff(graph.edges))
        self._cut = self._region_rows(base, forward.step)
        self.solves = 0

    def _region_rows(self, base: Array, step: Array) -> tuple[Array, Array, Array]:
        """The region's rows as ``table e + side >= 0``, and whether each is one of an equation."""
        rows = self._region.rows
        none = np.zeros((0, self._moving.size)), np.zeros(0), np.zeros(0)
        if rows is None:
            return none
        table, side, tied = list[Array](), list[float](), list[float]()
        for row, low, high in zip(rows.matrix, rows.lower, rows.upper, strict=True):
            here, there = float(row @ base), row[self._moving] * step[self._moving]
            size = float(np.abs(there).sum())
            for sign, end in ((1.0, -low), (-1.0, high)):
                if math.isfinite(end) and size > 0:
                    table.append(sign * there / size)
                    side.append((sign * here + end) / size)
                    tied.append(float(low == high))
        return (np.array(table), np.array(side), np.array(tied)) if table else none

    def half_spaces(self, states: States, node: int, at: Ints, sign: Array) -> HalfSpaces:
        """The rows of neurons ``at [r]`` on their sides, from the forward pass of a node."""
        e = self._moving.size
        table, loose = np.zeros((at.size, e + 1)), np.zeros((at.size, e + 1))
        owner = self._owner[at]
        for number in np.unique(owner).tolist():
            mine = owner == number
            centre, radius = states[self._graph.source(self._graph.elementwise[number])]
            local = at[mine] - self._graph.edges[number]
            table[mine], loose[mine] = centre[node][:, local].T, radius[node][:, local].T
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            size = np.sqrt((table[:, :e] * table[:, :e]).sum(axis=1))
            size = np.where((size > 0) & np.isfinite(size), size, 1.0)
            table = sign[:, None] * table / size[:, None]
            loose = loose / size[:, None] * (1 + 2.0**-50) + 2.0**-51 * np.abs(table) + underflow(1)
        return HalfSpaces(table[:, :e], table[:, e], loose, size, at, sign)

    def depth(self, spaces: HalfSpaces, point: Array) -> float:
        """How deep a point is within rows and box; below 0 outside of them."""
        out = float((spaces.table @ point + spaces.side).min(initial=1.0))
        low = (point - self.lower).min(initial=1.0)
        return min(out, float(low), float((self.upper - point).min(initial=1.0)))

    def deepest(self, spaces: HalfSpaces) -> Room:
        """Solve the program; a solver that gives up has found nothing."""
        self.solves += 1
        e, own = self._moving.size, spaces.at.size
        cut, side, tied = self._cut
        table = np.concatenate(
            [np.column_stack([spaces.table, -np.ones(own)]), np.column_stack([cut, tied - 1.0])], axis=0
        )
        sides = -np.concatenate([spaces.side, side])
        if not (np.isfinite(table).all() and np.isfinite(sides).all()):
            return Room(None, 0.0, None)
        if self.bounded:
            eye = np.eye(e)
            room = -np.minimum(1.0, 0.5 * (self.upper - self.lower))
            table = np.concatenate([table, np.column_stack([eye, room]), np.column_stack([-eye, room])])
            sides = np.concatenate([sides, self.lower, -self.upper])
        cost = np.zeros(e + 1)
        cost[e] = -1.0
        rows = Rows.of(np.broadcast_to(np.arange(e + 1), table.shape), table, sides, np.full(sides.size, np.inf))
        lower, upper = np.append(self.lower, -np.inf), np.append(self.upper, 1.0)
        try:
            solution = LpSession(LinearProgram(cost, lower, upper, rows), curved=True).solve()
        except SolverError:
            return Room(None, 0.0, None)
        if solution.status is not LpStatus.OPTIMAL or solution.rows is None:
            return Room(None, 0.0, None)
        point = np.clip(solution.columns[:e], self.lower, self.upper)
        return Room(point, float(solution.columns[e]), np.maximum(solution.rows[: own + side.size], 0.0))

    def empty(
        self, states: States, node: int, phases: NDArray[np.int8], spaces: HalfSpaces, multipliers: Array
    ) -> bool:
        """Whether multipliers ``[r]`` of rows (and of the region's) are proved to leave them no interior."""
        own = multipliers[: spaces.at.size]
        if self.bounded:
            if self._below(spaces, multipliers):
                return True
        elif crossing(spaces.table, spaces.side, spaces.loose, own) or constant_sum(
            self._graph, phases, spaces.at, spaces.sign, own / spaces.size
        ):
            return True
        return self._flat(phases, spaces, own)

    def _below(self, spaces: HalfSpaces, multipliers: Array) -> bool:
        """Whether the sum of rows is below 0 all over the box."""
        own, cut = multipliers[: spaces.at.size], multipliers[spaces.at.size :]
        table, side = np.concatenate([spaces.table, self._cut[0]]), np.concatenate([spaces.side, self._cut[1]])
        y = np.concatenate([own, cut])
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            slack = np.append(self._reach, 1.0) @ (own @ spaces.loose)
            size = (y @ np.abs(table)) @ self._reach + float(y @ np.abs(side))
            top = float(np.abs(y @ table) @ self._reach + y @ side + 1.001 * slack)
            return top + 4 * dot_error(y.size + self._moving.size + 8) * float(size + slack) + underflow(64) < 0

    def _flat(self, phases: NDArray[np.int8], spaces: HalfSpaces, own: Array) -> bool:
        """The proof in rationals."""
        if self._cut[1].size and not self.bounded:
            return False
        edges = self._graph.edges
        owner = self._owner[spaces.at]
        active = tuple(
            np.flatnonzero(phases[edges[k] : edges[k + 1]] > 0).tolist() for k in range(len(self._graph.elementwise))
        )
        y = np.where(own > _LEAST * own.max(initial=0.0), own, 0.0) / spaces.size
        local = (spaces.at - edges[owner]).tolist()
        rows = CellRows(spaces.table, spaces.side, owner.tolist(), local, spaces.sign, active, [])
        return flat(self._graph, rows, y, self._region, self._still)


def deep(room: Room) -> bool:
    """Whether a point was found that is surely no accident of tolerances."""
    return room.point is not None and room.depth > FLAT
