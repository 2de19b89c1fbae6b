"""The truth of Inner and Distance questions about tiny networks, cell by cell: every norm, weight and power.

It shares no code with the engine: cells by ``oracles.enumerate_cells``, one cone program each (Clarabel).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import clarabel
import numpy as np
from oracles import Array, Cell, enumerate_cells
from scipy import sparse

from wdaverify.encoding.cost import Region
from wdaverify.problem import Norm

ACCURATE = 1e-7
"""What these programs are trusted to."""


def cone_program(
    cost: Array, square: Array, below: tuple[Array, Array], ball: Array | None = None
) -> tuple[float, Array]:
    """``min cost . v + v . square v`` over ``A v <= b`` and, of rows ``ball v``, the first no less than the rest's length."""
    matrix, side = below
    cones = [clarabel.NonnegativeConeT(side.size)]
    if ball is not None:
        matrix, side = np.vstack([matrix, -ball]), np.append(side, np.zeros(len(ball)))
        cones.append(clarabel.SecondOrderConeT(len(ball)))
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = 1e-10
    quadratic = sparse.csc_matrix(np.diag(2 * square))
    found = clarabel.DefaultSolver(quadratic, cost, sparse.csc_matrix(matrix), side, cones, settings).solve()
    if found.status not in (clarabel.SolverStatus.Solved, clarabel.SolverStatus.AlmostSolved):
        return math.inf, np.zeros(cost.size)
    return float(found.obj_val), np.array(found.x)


def moves(region: Region) -> tuple[Array, Array, Array | None]:
    """Rows ``A v <= b`` and a second-order cone on ``v = (d [n], s [n], t)``: the box, ``t >= ||d||``, near and far."""
    n = region.centre.size
    scale, fixed = region.cost.scale(n), region.cost.fixed(n)
    eye, none, zero = np.eye(n), np.zeros((n, n)), np.zeros((n, 1))
    high = np.where(fixed, 0.0, region.upper - region.centre)
    low = np.where(fixed, 0.0, region.centre - region.lower)
    end = np.zeros((1, 2 * n + 1))
    end[0, -1] = 1.0
    total = np.append(np.zeros(n), np.append(np.ones(n), -1.0))[None]
    sizes = [np.hstack([scale * eye, -eye, zero]), np.hstack([-scale * eye, -eye, zero])]
    reach = np.hstack([none, eye, -np.ones((n, 1))]) if region.norm is Norm.INF else total
    most = np.zeros((0, 2 * n + 1)) if region.norm is Norm.TWO else reach
    rows = [np.hstack([eye, none, zero]), np.hstack([-eye, none, zero]), *sizes, most, end, -end]
    sides = [high, low, np.zeros(2 * n), np.zeros(len(most)), [region.far], [-region.near]]
    if region.rows is not None:
        value = region.rows.matrix @ region.centre
        for sign, side in ((1.0, region.rows.upper), (-1.0, region.rows.lower)):
            there = np.isfinite(side)
            part = sign * region.rows.matrix[there]
            rows.append(np.hstack([part, np.zeros((len(part), n + 1))]))
            sides.append(sign * (side - value)[there])
    ball = np.vstack([end, np.hstack([none, eye, zero])]) if region.norm is Norm.TWO else None
    return np.vstack(rows), np.concatenate(sides), ball


def true_value(cells: Sequence[Cell], region: Region, functional: Array, multiplier: float, power: int) -> float:
    """``max functional . f(x) - multiplier t^power`` over cells and ``t >= ||x - centre||`` between near and far."""
    rows, sides, ball = moves(region)
    n, best = region.centre.size, -math.inf
    square = np.zeros(2 * n + 1)
    square[-1] = multiplier if power == 2 else 0.0
    for cell in cells:
        cut = np.hstack([cell.A, np.zeros((len(cell.A), n + 1))])
        below = np.vstack([rows, cut]), np.append(sides, cell.b - cell.A @ region.centre)
        cost = np.concatenate([-functional @ cell.G, np.zeros(n), [multiplier if power == 1 else 0.0]])
        value, _ = cone_program(cost, square, below, ball)
        best = max(best, float(functional @ (cell.G @ region.centre + cell.h)) - value)
    return best


def true_distance(cells: Sequence[Cell], region: Region, functional: Array, least: float = 0.0) -> float:
    """``min ||x - centre||`` between near and far with ``functional . f(x) >= least``; inf where there is none."""
    rows, sides, ball = moves(region)
    n, best = region.centre.size, math.inf
    cost = np.append(np.zeros(2 * n), 1.0)
    for cell in cells:
        slope, base = functional @ cell.G, float(functional @ (cell.G @ region.centre + cell.h))
        cut = np.vstack([np.hstack([cell.A, np.zeros((len(cell.A), n + 1))]), np.append(-slope, np.zeros(n + 1))])
        side = np.concatenate([sides, cell.b - cell.A @ region.centre, [base - least]])
        best = min(best, cone_program(cost, np.zeros(2 * n + 1), (np.vstack([rows, cut]), side), ball)[0])
    return best


def cells_of(weights: Sequence[tuple[Array, Array]], region: Region) -> list[Cell]:
    """Every cell that meets the region's box."""
    return enumerate_cells(weights, region.lower, region.upper)
