"""The SCIP back-end (``pip install 'wdaverify[scip]'``): linear and convex quadratic rows, models of any size, no licence."""

from __future__ import annotations

import math
import time

import numpy as np
import pyscipopt

from wdaverify.encoding.milp import MilpModel
from wdaverify.errors import SolverError
from wdaverify.network.model import Array
from wdaverify.solvers.base import MilpLimits, MilpOutcome, MilpStatus, trivial_bound

TOLERANCE = 1e-9
"""Feasibility and dual feasibility tolerance; integrality follows the former."""

_STATUS = {
    "optimal": MilpStatus.OPTIMAL,
    "gaplimit": MilpStatus.OPTIMAL,
    "infeasible": MilpStatus.INFEASIBLE,
    "timelimit": MilpStatus.TIME_LIMIT,
}
"""Statuses with a meaning; every other one counts as failed and proves nothing."""


class ScipSolver:
    """SCIP, one thread, tolerances at 1e-9."""

    name = "scip"

    def solve(self, model: MilpModel, limits: MilpLimits) -> MilpOutcome:
        """Solve the model; values no better than the cut-off are pruned."""
        begun = time.perf_counter()
        try:
            solver, columns = _translate(model)
            _configure(solver, limits, model)
            if limits.start is not None:
                _start(solver, columns, limits.start)
            solver.optimize()
            return _read(solver, columns, model, limits, time.perf_counter() - begun)
        except (Exception, Warning) as error:
            raise SolverError(f"SCIP: {' '.join(str(error).split())}") from error


def _side(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _translate(model: MilpModel) -> tuple[pyscipopt.Model, list[pyscipopt.Variable]]:
    solver = pyscipopt.Model()
    solver.hideOutput()
    ends = zip(model.lower.tolist(), model.upper.tolist(), model.integer.tolist(), strict=True)
    columns = [solver.addVar(lb=_side(low), ub=_side(high), vtype="I" if whole else "C") for low, high, whole in ends]
    goal = pyscipopt.quicksum(model.objective[k] * columns[k] for k in np.flatnonzero(model.objective))
    solver.setObjective(goal + model.offset, "maximize" if model.maximise else "minimize")
    for r in range(model.n_rows):
        piece = slice(model.start[r], model.start[r + 1])
        terms = zip(model.coefficient[piece].tolist(), model.index[piece].tolist(), strict=True)
        row = pyscipopt.quicksum(value * columns[k] for value, k in terms)
        low, high = float(model.row_lower[r]), float(model.row_upper[r])
        if low == high:
            solver.addCons(row == low)
        elif math.isfinite(low) and math.isfinite(high):
            solver.addCons((low <= row) <= high)
        elif math.isfinite(high):
            solver.addCons(row <= high)
        elif math.isfinite(low):
            solver.addCons(row >= low)
    for q in model.quadratic:
        squares = pyscipopt.quicksum(
            c * columns[k] * columns[k] for c, k in zip(q.square.tolist(), q.index, strict=True)
        )
        line = pyscipopt.quicksum(c * columns[k] for c, k in zip(q.line.tolist(), q.linear, strict=True))
        solver.addCons(squares + line <= q.side)
    return solver, columns


def _configure(solver: pyscipopt.Model, limits: MilpLimits, model: MilpModel) -> None:
    parameters: dict[str, object] = {
        "numerics/feastol": TOLERANCE,
        "numerics/dualfeastol": TOLERANCE,
        "limits/absgap": limits.gap,
        "limits/gap": 0.0,
        "randomization/randomseedshift": limits.seed % 2**31,
        "lp/threads": 1,
        "misc/catchctrlc": False,
    }
    if math.isfinite(limits.seconds):
        parameters["limits/time"] = min(max(limits.seconds, 0.0), 1e20)
    for name, value in parameters.items():
        solver.setParam(name, value)
    if limits.cutoff is not None:
        solver.setObjlimit(limits.cutoff)


def _start(solver: pyscipopt.Model, columns: list[pyscipopt.Variable], start: dict[int, float]) -> None:
    whole = len(start) == len(columns)
    point = solver.createSol() if whole else solver.createPartialSol()
    for index, value in start.items():
        solver.setSolVal(point, columns[index], value)
    solver.addSol(point)


def _read(
    solver: pyscipopt.Model,
    columns: list[pyscipopt.Variable],
    model: MilpModel,
    limits: MilpLimits,
    seconds: float,
) -> MilpOutcome:
    word = solver.getStatus()
    if word == "userinterrupt":
        raise KeyboardInterrupt
    status = _STATUS.get(word, MilpStatus.FAILED)
    found: Array | None = None
    if solver.getNSols() > 0:
        best = solver.getBestSol()
        found = np.array([solver.getSolVal(best, column) for column in columns])
    bound = trivial_bound(model)
    if status is MilpStatus.INFEASIBLE:  # points beyond the cut-off are kept by SCIP
        bound, found, status = -bound, None, status if limits.cutoff is None else MilpStatus.CUT_OFF
    elif status is not MilpStatus.FAILED:
        bound = float(solver.getDualbound())
    if limits.cutoff is not None:  # whatever the status says, values no better than the cut-off were not looked at
        bound = max(bound, limits.cutoff) if model.maximise else min(bound, limits.cutoff)
    if math.isnan(bound) or (abs(bound) >= solver.infinity() and status is not MilpStatus.INFEASIBLE):
        bound = trivial_bound(model)
    return MilpOutcome(status, bound, found, int(solver.getNTotalNodes()), seconds, f"SCIP status {word}")
