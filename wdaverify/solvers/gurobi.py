"""The Gurobi back-end. Without a licence of one's own, gurobipy solves models of at most 2000 columns and 2000 rows, and of 200
columns where anything is quadratic.
"""

from __future__ import annotations

import math
import time
from functools import cache

import gurobipy
import numpy as np
from gurobipy import GRB

from wdaverify.encoding.milp import MilpModel
from wdaverify.errors import SolverError
from wdaverify.network.model import Array
from wdaverify.solvers.base import MilpLimits, MilpOutcome, MilpStatus, trivial_bound

TOLERANCE = 1e-9
"""Feasibility, integrality and optimality tolerance, the least that Gurobi takes."""

SIZE_LIMIT = 2000
"""Columns and rows that the size-limited licence admits."""

QUADRATIC_LIMIT = 200
"""The columns that it admits where anything is quadratic."""

_CONE = 1e-10
"""How exactly the barrier method solves a quadratic relaxation."""

_STATUS = {
    GRB.OPTIMAL: MilpStatus.OPTIMAL,
    GRB.INFEASIBLE: MilpStatus.INFEASIBLE,
    GRB.CUTOFF: MilpStatus.CUT_OFF,
    GRB.TIME_LIMIT: MilpStatus.TIME_LIMIT,
}
"""Statuses with a meaning; every other one counts as failed and proves nothing."""


@cache
def _environment() -> gurobipy.Env:
    """One silent environment a process: created empty so that no banner is printed."""
    environment = gurobipy.Env(empty=True)
    environment.setParam("OutputFlag", 0)
    environment.start()
    return environment


@cache
def licence_kind() -> str:
    """``full``, ``size-limited``, or ``none: <why>``; found by starting an environment and solving 2001 free columns."""
    try:
        with gurobipy.Model(env=_environment()) as model:
            model.addMVar(SIZE_LIMIT + 1)
            model.optimize()
    except gurobipy.GurobiError as error:
        if error.errno == GRB.Error.SIZE_LIMIT_EXCEEDED:
            return "size-limited"
        return f"none: {' '.join(str(error).split())}"
    return "full"


class GurobiSolver:
    """Gurobi, one thread, tolerances at 1e-9."""

    name = "gurobi"

    def fits(self, model: MilpModel) -> bool:
        """Whether the licence found admits the model."""
        kind, columns = licence_kind(), QUADRATIC_LIMIT if model.quadratic else SIZE_LIMIT
        return kind == "full" or (kind == "size-limited" and model.n_columns <= columns and model.n_rows <= SIZE_LIMIT)

    def solve(self, model: MilpModel, limits: MilpLimits) -> MilpOutcome:
        """Solve the model; values no better than the cut-off are pruned."""
        begun = time.perf_counter()
        try:
            with gurobipy.Model(env=_environment()) as solver:
                columns = _translate(solver, model)
                _configure(solver, limits)
                for index, value in (limits.start or {}).items():
                    columns[index].Start = value
                solver.optimize()
                if solver.Status == GRB.INTERRUPTED:  # Gurobi caught the Ctrl-C that was meant for us
                    raise KeyboardInterrupt
                return _read(solver, columns, model, limits, time.perf_counter() - begun)
        except gurobipy.GurobiError as error:
            raise SolverError(f"Gurobi: {' '.join(str(error).split())}") from error


def _translate(solver: gurobipy.Model, model: MilpModel) -> gurobipy.MVar:
    kinds = np.where(model.integer, GRB.INTEGER, GRB.CONTINUOUS)
    columns = solver.addMVar(model.n_columns, lb=model.lower, ub=model.upper, obj=model.objective, vtype=kinds)
    solver.ObjCon = model.offset
    solver.ModelSense = GRB.MAXIMIZE if model.maximise else GRB.MINIMIZE
    members = columns.tolist()
    for r in range(model.n_rows):
        piece = slice(model.start[r], model.start[r + 1])
        expression = gurobipy.LinExpr(model.coefficient[piece].tolist(), [members[k] for k in model.index[piece]])
        low, high = float(model.row_lower[r]), float(model.row_upper[r])
        if high - low <= TOLERANCE:  # every point of so narrow a range is within the tolerance of its middle
            solver.addLConstr(expression, GRB.EQUAL, low if low == high else 0.5 * (low + high))
        elif high == math.inf:
            solver.addLConstr(expression, GRB.GREATER_EQUAL, low)
        elif low == -math.inf:
            solver.addLConstr(expression, GRB.LESS_EQUAL, high)
        else:
            solver.addRange(expression, low, high)
    for row in model.quadratic:
        terms = gurobipy.QuadExpr(gurobipy.LinExpr(row.line.tolist(), [members[k] for k in row.linear]))
        squared = [members[k] for k in row.index]
        terms.addTerms(row.square.tolist(), squared, squared)
        solver.addQConstr(terms, GRB.LESS_EQUAL, row.side)
    return columns


def _configure(solver: gurobipy.Model, limits: MilpLimits) -> None:
    parameters: dict[str, int | float] = {
        "Threads": 1,
        "Seed": limits.seed % 2**31,
        "MIPGap": 0.0,
        "MIPGapAbs": limits.gap,
        "FeasibilityTol": TOLERANCE,
        "IntFeasTol": TOLERANCE,
        "OptimalityTol": TOLERANCE,
        "BarQCPConvTol": _CONE,
    }
    if math.isfinite(limits.seconds):
        parameters["TimeLimit"] = max(limits.seconds, 0.0)
    if limits.cutoff is not None:
        parameters["Cutoff"] = limits.cutoff
    for key, value in parameters.items():
        solver.setParam(key, value)


def _read(
    solver: gurobipy.Model, columns: gurobipy.MVar, model: MilpModel, limits: MilpLimits, seconds: float
) -> MilpOutcome:
    status = _STATUS.get(solver.Status, MilpStatus.FAILED)
    found: Array | None = np.array(columns.X, dtype=np.float64) if solver.SolCount > 0 else None
    if status is MilpStatus.INFEASIBLE:
        bound = -trivial_bound(model)
    elif status is MilpStatus.CUT_OFF:
        assert limits.cutoff is not None
        bound = limits.cutoff
    elif status is MilpStatus.FAILED:
        bound = trivial_bound(model)
    elif solver.IsMIP:
        bound = float(solver.ObjBound)
    else:
        bound = float(solver.ObjVal) if status is MilpStatus.OPTIMAL else trivial_bound(model)
    if limits.cutoff is not None:  # whatever the status says, values no better than the cut-off were not looked at
        bound = max(bound, limits.cutoff) if model.maximise else min(bound, limits.cutoff)
    if abs(bound) >= GRB.INFINITY and status is not MilpStatus.INFEASIBLE:
        bound = trivial_bound(model)
    return MilpOutcome(status, bound, found, int(solver.NodeCount), seconds, f"Gurobi status {solver.Status}")
