"""A stateful LP: change column bounds, solve again from the last basis, read points and multipliers (HiGHS).

Nothing it says is believed: bounds are recomputed from the multipliers by ``certify.backward``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

import highspy
import numpy as np

from wdaverify.encoding.milp import Ints
from wdaverify.encoding.rows import LinearProgram, Rows
from wdaverify.errors import SolverError
from wdaverify.network.model import Array
from wdaverify.solvers.highs import SMALLEST_COEFFICIENT

_TIGHT, _LOOSE = 1e-10, 1e-6
"""The least feasibility tolerance that HiGHS takes, and one at which it still ends where at its own 1e-7 it gives up."""


class LpStatus(StrEnum):
    """How an LP solve ended; ``UNKNOWN`` proves nothing and is no error."""

    OPTIMAL = "optimal"
    CUT_OFF = "cut-off"
    INFEASIBLE = "infeasible"
    UNKNOWN = "unknown"


@dataclass(frozen=True, eq=False)
class LpSolution:
    """``columns [c]`` and row multipliers ``rows [r]`` of an optimal LP.

    One that was cut off has multipliers alone; for an infeasible one ``rows`` is a Farkas ray, if any. Multipliers are
    those of the program's rows, in their order.
    """

    status: LpStatus
    columns: Array
    rows: Array | None
    iterations: int


class LpSession:
    """One model's relaxation, kept in HiGHS between solves."""

    def __init__(self, program: LinearProgram, *, curved: bool = False, loose: bool = False) -> None:
        """``curved``: the program gathers tangents, which are worth no more than the tolerance they are kept to."""
        self._solver = highspy.Highs()  # type: ignore[no-untyped-call]
        if curved or loose:
            for name in ("primal_feasibility_tolerance", "dual_feasibility_tolerance"):
                self._solver.setOptionValue(name, _LOOSE if loose else _TIGHT)
        for key, value in (
            ("output_flag", False),
            ("threads", 1),
            ("parallel", "off"),
            ("solver", "simplex"),
            ("simplex_strategy", 1),
            ("simplex_scale_strategy", 0),
            ("dual_simplex_cost_perturbation_multiplier", 0.0),
            ("presolve", "off"),
            ("small_matrix_value", SMALLEST_COEFFICIENT),
        ):
            self._solver.setOptionValue(key, value)
        lp, rows = highspy.HighsLp(), program.rows
        lp.num_col_, lp.num_row_ = program.cost.size, rows.lower.size
        lp.col_cost_, lp.col_lower_, lp.col_upper_ = program.cost, program.lower, program.upper
        lp.row_lower_, lp.row_upper_ = rows.lower, rows.upper
        lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
        lp.a_matrix_.start_, lp.a_matrix_.index_, lp.a_matrix_.value_ = rows.start, rows.index, rows.value
        if self._solver.passModel(lp) != highspy.HighsStatus.kOk:
            raise SolverError(f"HiGHS refused an LP of {program.cost.size} columns and {rows.lower.size} rows")
        self.lower, self.upper = program.lower.copy(), program.upper.copy()
        self._none, self._own, self._held = np.zeros(0), rows.lower.size, rows.lower.size

    def add_rows(self, rows: Rows) -> None:
        """Further rows; the basis is kept."""
        count, size = rows.lower.size, rows.index.size
        start, index = rows.start[:-1].astype(np.int32), rows.index.astype(np.int32)
        self._solver.addRows(count, rows.lower, rows.upper, size, start, index, rows.value)
        self._held += count

    @property
    def added(self) -> int:
        """The further rows that are there."""
        return self._held - self._own

    def prune(self) -> list[int]:
        """Drop the further rows that hold nothing at the last basis, which stays one without them; their places among them all."""
        status = self._solver.getBasis().row_status
        if len(status) != self._held:
            return []
        slack = [k for k in range(self._own, self._held) if status[k] == highspy.HighsBasisStatus.kBasic]
        if slack:
            self._solver.deleteRows(len(slack), np.array(slack, np.int32))
            self._held = self._solver.getNumRow()
        return [k - self._own for k in slack]

    def set_upper(self, index: Ints, upper: Array) -> None:
        """New upper bounds of columns whose lower bound is 0."""
        self.set_bounds(index, np.zeros(index.size), upper)

    def set_bounds(self, index: Ints, lower: Array, upper: Array) -> None:
        """New bounds of columns."""
        self.lower[index], self.upper[index] = lower, upper
        if index.size:
            self._solver.changeColsBounds(index.size, index.astype(np.int32), lower, upper)

    def set_row(self, row: int, columns: Ints, values: Array, upper: float) -> None:
        """New coefficients and a new upper side of a row without a lower one."""
        for column, value in zip(columns.tolist(), values.tolist(), strict=True):
            self._solver.changeCoeff(row, column, value)
        self._solver.changeRowBounds(row, -math.inf, upper)

    def cut(self, value: float) -> None:
        """Let the next solves stop as soon as their dual objective exceeds a value."""
        self._solver.setOptionValue("objective_bound", value)

    def limit(self, seconds: float) -> None:
        """Give the next solve at most so many seconds."""
        self._solver.setOptionValue(
            "time_limit", self._solver.getRunTime() + seconds if seconds < math.inf else math.inf
        )

    def solve(self) -> LpSolution:
        """Solve from the last basis."""
        self._solver.run()
        verdict, info = self._solver.getModelStatus(), self._solver.getInfo()
        iterations = max(int(info.simplex_iteration_count), 0)
        if verdict == highspy.HighsModelStatus.kOptimal:
            solution = self._solver.getSolution()
            columns = np.array(solution.col_value, dtype=np.float64)
            return LpSolution(LpStatus.OPTIMAL, columns, np.array(solution.row_dual, dtype=np.float64), iterations)
        if verdict == highspy.HighsModelStatus.kObjectiveBound:
            rows = np.array(self._solver.getSolution().row_dual, dtype=np.float64)
            return LpSolution(LpStatus.CUT_OFF, self._none, rows, iterations)
        if verdict == highspy.HighsModelStatus.kInfeasible:
            return LpSolution(LpStatus.INFEASIBLE, self._none, self._ray(), iterations)
        return LpSolution(LpStatus.UNKNOWN, self._none, None, iterations)

    def _ray(self) -> Array | None:
        status, there = self._solver.getDualRay()[:2]  # type: ignore[attr-defined]
        if status != highspy.HighsStatus.kOk or not there:
            return None
        return np.array(self._solver.getDualRay()[2], dtype=np.float64)  # type: ignore[attr-defined]

    def forget(self) -> None:
        """Drop the basis: the next solve starts from scratch."""
        self._solver.clearSolver()
