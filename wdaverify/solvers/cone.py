"""A program with its cones as they are, by an interior point method (Clarabel). Nothing it says is believed."""

from __future__ import annotations

import clarabel
import numpy as np
from scipy import sparse

from wdaverify.encoding.milp import Ints
from wdaverify.encoding.rows import LinearProgram
from wdaverify.network.model import Array
from wdaverify.solvers.lp import LpSolution, LpStatus

_TOLERANCE = 1e-11
_DONE = (clarabel.SolverStatus.Solved, clarabel.SolverStatus.AlmostSolved, clarabel.SolverStatus.InsufficientProgress)
"""Where the last iterate is worth a look: whoever asked holds its multipliers to what they prove."""
_EMPTY = (clarabel.SolverStatus.PrimalInfeasible, clarabel.SolverStatus.AlmostPrimalInfeasible)


class ConeProgram:
    """``min cost . v`` over a program's rows, ``||v[ball]|| <= v[0]`` and ``v[0]^2 <= v[square]`` (None, -1: without)."""

    def __init__(self, program: LinearProgram, ball: Ints | None, square: int) -> None:
        rows, width = program.rows, program.cost.size
        matrix = sparse.csr_matrix((rows.value, rows.index, rows.start), shape=(rows.lower.size, width))
        equal = np.flatnonzero(rows.lower == rows.upper)
        high = np.flatnonzero((rows.lower != rows.upper) & np.isfinite(rows.upper))
        low = np.flatnonzero((rows.lower != rows.upper) & np.isfinite(rows.lower))
        cones = _cones(width, ball, square)
        self._cost, self._count = program.cost, rows.lower.size
        self._equations = matrix[equal].tocsc(), rows.lower[equal]
        sides = np.concatenate([rows.upper[high], -rows.lower[low]])
        self._sides = sparse.vstack([matrix[high], -matrix[low]]).tocsc(), sides
        self._kept = np.concatenate([equal, high, low])
        self._sign = np.concatenate([np.full(equal.size + high.size, -1.0), np.ones(low.size)])
        self._balls = sparse.vstack([a for a, _ in cones]).tocsc(), np.concatenate([b for _, b in cones])
        self._kinds = [clarabel.SecondOrderConeT(b.size) for _, b in cones]

    def solve(self, lower: Array, upper: Array, seconds: float) -> LpSolution:
        """Solve with these bounds of the columns; multipliers as ``LpSession`` has them, a Farkas ray where it is empty.

        A program that is not solved is ``UNKNOWN``.
        """
        free = np.flatnonzero(lower < upper)
        fixed = np.where(lower < upper, 0.0, lower)
        eye = sparse.identity(free.size, format="csc")
        above, below = np.isfinite(upper[free]), np.isfinite(lower[free])
        (equal, level), (rows, side), (balls, apex) = self._equations, self._sides, self._balls
        parts = [equal[:, free], rows[:, free], eye[above], -eye[below], balls[:, free]]
        ends = [upper[free][above], -lower[free][below], apex - balls @ fixed]
        constants = [level - equal @ fixed, side - rows @ fixed, *ends]
        kinds = [clarabel.ZeroConeT(level.size), clarabel.NonnegativeConeT(side.size + ends[0].size + ends[1].size)]
        found = clarabel.DefaultSolver(
            sparse.csc_matrix((free.size, free.size)),
            self._cost[free],
            sparse.vstack(parts).tocsc(),
            np.concatenate(constants),
            [*kinds, *self._kinds],
            _settings(seconds),
        ).solve()
        if found.status not in (*_DONE, *_EMPTY):
            return LpSolution(LpStatus.UNKNOWN, np.zeros(0), None, found.iterations)
        multipliers = np.zeros(self._count)
        np.add.at(multipliers, self._kept, self._sign * np.array(found.z)[: self._kept.size])
        if found.status in _EMPTY:
            return LpSolution(LpStatus.INFEASIBLE, np.zeros(0), multipliers, found.iterations)
        columns = fixed.copy()
        columns[free] = found.x
        return LpSolution(LpStatus.OPTIMAL, columns, multipliers, found.iterations)


def _cones(width: int, ball: Ints | None, square: int) -> list[tuple[sparse.csr_matrix, Array]]:
    """``A`` and ``b`` of second-order cones, of which ``b - A v`` is to be a point."""
    out = []
    if ball is not None:
        index = np.concatenate([[0], ball])
        at, shape = np.arange(index.size), (index.size, width)
        out.append((sparse.csr_matrix((np.full(index.size, -1.0), (at, index)), shape), np.zeros(index.size)))
    if square >= 0:  # ||(2 t, 1 - u)|| <= 1 + u
        value, index = np.array([-1.0, -2.0, 1.0]), np.array([square, 0, square])
        out.append((sparse.csr_matrix((value, (np.arange(3), index)), (3, width)), np.array([1.0, 0.0, 1.0])))
    return out


def _settings(seconds: float) -> clarabel.DefaultSettings:
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    settings.max_threads = 1
    settings.time_limit = min(seconds, 1e6)
    settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = _TOLERANCE
    return settings
