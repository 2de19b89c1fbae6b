"""Where the neurons decided so far leave room: an interior point of their half-spaces, or multipliers that may prove that there is none.

One linear program, ``max tau <= 1  s.t.  s (G e + g) >= tau ||G||``, finds the deepest point, or multipliers y >= 0 of the rows with
``sum y s (G e + g) < 0`` wherever e may be. What they prove is ``certify.halfspaces``' to say.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wdaverify.certify.halfspaces import HalfSpaces, Units, Within
from wdaverify.encoding.cost import Region
from wdaverify.encoding.rows import LinearProgram, Rows
from wdaverify.engines.cells.interior import FLAT
from wdaverify.errors import SolverError
from wdaverify.graph.nodes import Graph
from wdaverify.network.model import Array
from wdaverify.solvers.lp import LpSession, LpStatus


@dataclass(frozen=True, eq=False)
class Room:
    """The deepest point found, ``[e]``, how deep it is in rows and box (None: none), and the rows' multipliers, if any."""

    point: Array | None
    depth: float
    multipliers: Array | None


class Polyhedra(Within):
    """The polyhedra of one question."""

    def __init__(self, graph: Graph, region: Region, still: Array, units: Units) -> None:
        super().__init__(graph, region, still, units)
        self.solves = 0

    def depth(self, spaces: HalfSpaces, point: Array) -> float:
        """How deep a point is within rows and box; below 0 outside of them."""
        out = float((spaces.table @ point + spaces.side).min(initial=1.0))
        low = (point - self.lower).min(initial=1.0)
        return min(out, float(low), float((self.upper - point).min(initial=1.0)))

    def deepest(self, spaces: HalfSpaces) -> Room:
        """Solve the program; a solver that gives up has found nothing."""
        self.solves += 1
        e, own = self._moving.size, spaces.at.size
        cut, side, tied, _ = self._cut
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


def deep(room: Room) -> bool:
    """Whether a point was found that is surely no accident of tolerances."""
    return room.point is not None and room.depth > FLAT
