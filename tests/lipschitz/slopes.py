"""The largest slope of a tiny network by enumeration: every activation cell with an interior in the region, one Jacobian each.

It shares no code with the package: ``oracles.enumerate_cells``, scipy's LPs for interiors and distances, cvxpy's projection for l2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import cvxpy as cp
import numpy as np
from oracles import Array, Cell, OracleError, Weights, enumerate_cells
from scipy.optimize import linprog

DEEP = 1e-7
"""A cell at least this deep has an interior; one between this and ``FLAT`` is too close to call."""
FLAT = 1e-9


def deepest(cell: Cell, lower: Array, upper: Array, rows: tuple[Array, Array] | None = None) -> float:
    """The largest ball's radius, at most 1, within a cell, the box and rows ``A x <= b``; flat features stay still."""
    free = lower < upper
    table, side = cell.A, cell.b
    if rows is not None:
        table, side = np.vstack([table, rows[0]]), np.append(side, rows[1])
    size = np.abs(table[:, free]).sum(axis=1)
    eye = np.eye(lower.size)[free]
    table = np.vstack([np.column_stack([table, size]), np.column_stack([eye, np.ones(len(eye))])])
    table = np.vstack([table, np.column_stack([-eye, np.ones(len(eye))])])
    side = np.concatenate([side, upper[free], -lower[free]])
    bounds = [*zip(lower, upper, strict=True), (None, 1.0)]
    result = linprog(np.append(np.zeros(lower.size), -1.0), A_ub=table, b_ub=side, bounds=bounds, method="highs")
    if result.status == 2:
        return -math.inf
    if result.status != 0:
        raise OracleError(result.message)
    return float(result.x[-1])


def distance(cell: Cell, norm: str, scale: Array, centre: Array, lower: Array, upper: Array) -> float:
    """The distance of a point from a cell within the box, ``||scale * (x - centre)||``."""
    x = cp.Variable(centre.size)
    away = cp.multiply(scale, x - centre)
    size = {"inf": cp.norm_inf, "1": cp.norm1, "2": cp.norm2}[norm](away)
    rows = [x >= lower, x <= upper] + ([cell.A @ x <= cell.b] if len(cell.A) else [])
    task = cp.Problem(cp.Minimize(size), rows)
    task.solve(solver=cp.CLARABEL, tol_gap_abs=1e-10, tol_gap_rel=1e-10, tol_feas=1e-10)
    return float(task.value) if task.status in (cp.OPTIMAL, cp.OPTIMAL_INACCURATE) else math.inf


def gains(jacobian: Array, rows: Array, norm: str, scale: Array, still: Array, *, together: bool) -> float:
    """The largest dual norm of the rows' gradients, or the induced norm of all rows together; an infinite scale fixes a feature."""
    moves = np.isfinite(scale) & ~still
    matrix = (rows @ jacobian)[:, moves] / scale[moves]
    if not moves.any():
        return 0.0
    if together:
        return float(np.linalg.norm(matrix, {"inf": np.inf, "1": 1, "2": 2}[norm]))
    return float(np.linalg.norm(matrix, {"inf": 1, "1": np.inf, "2": 2}[norm], axis=1).max())


def steepest(weights: Weights, rows: Array, norm: str, lower: Array, upper: Array, **asked: Any) -> float:
    """``largest`` of a chain of layers."""
    return largest(enumerate_cells(weights, lower, upper), rows, norm, lower, upper, **asked)


def largest(
    cells: Sequence[Cell],
    rows: Array,
    norm: str,
    lower: Array,
    upper: Array,
    *,
    together: bool = False,
    scale: Array | None = None,
    cut: tuple[Array, Array] | None = None,
    ball: tuple[Array, float] | None = None,
) -> float:
    """The constant on the box ``lower, upper``, cut by rows ``A x <= b`` or by the ball ``(centre, radius)``.

    Raises:
        OracleError: a cell is too thin, or too close to the ball's border, to call.
    """
    weigh = np.ones(lower.size) if scale is None else scale
    still = lower == upper
    best = 0.0
    for cell in cells:
        depth = deepest(cell, lower, upper, cut)
        if FLAT < depth < DEEP:
            raise OracleError(f"a cell is {depth} deep")
        if depth <= FLAT and not still.all():
            continue
        if ball is not None:
            centre, radius = ball
            away = distance(cell, norm, np.where(np.isfinite(weigh), weigh, 1.0), centre, lower, upper)
            if abs(away - radius) < 1e-6 * radius:
                raise OracleError(f"a cell is {away} from the centre")
            if away > radius:
                continue
        best = max(best, gains(cell.G, rows, norm, weigh, still, together=together))
    return best
