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
_GOOD = (clarabel.SolverStatus.Solved, clarabel.SolverStatus.AlmostSolved, clarabel.SolverStatus.InsufficientProgress)
"""Where the last iterate is worth a look: whoever asked holds its multipliers to what they prove."""


def solve_cone(
    program: LinearProgram, bounds: tuple[Array, Array], ball: Ints | None, square: int, seconds: float
) -> LpSolution:
    """``min cost . v`` over the program's rows, column ``bounds`` and ``||v[ball]|| <= v[0]``, ``v[0]^2 <= v[square]`` (None, -1: without).

    The multipliers are those of the program's rows, as ``LpSession`` has them; a program that is not solved is ``UNKNOWN``.
    """
    rows, width = program.rows, program.cost.size
    matrix = sparse.csr_matrix((rows.value, rows.index, rows.start), shape=(rows.lower.size, width))
    eye = sparse.identity(width, format="csr")
    lower, upper = bounds
    parts, sides = [], []
    kept: list[tuple[Ints, float]] = []  # rows of the program, and the sign of their multiplier
    for own, a, low, high in ((True, matrix, rows.lower, rows.upper), (False, eye, lower, upper)):
        equal = low == high
        for sign, side, there in ((-1.0, high, equal), (-1.0, high, ~equal), (1.0, -low, ~equal)):
            at = np.flatnonzero(there & np.isfinite(side))
            parts.append(a[at] if sign < 0 else -a[at])
            sides.append(side[at])
            kept.append((at if own else np.zeros(0, np.int64), sign))
    order = (0, 3, 1, 2, 4, 5)  # equations first
    counts = [len(sides[k]) for k in order]
    cones = [clarabel.ZeroConeT(counts[0] + counts[1]), clarabel.NonnegativeConeT(sum(counts[2:]))]
    stacked, constant = [parts[k] for k in order], [sides[k] for k in order]
    for rows_of, side in _cones(width, ball, square):
        cones.append(clarabel.SecondOrderConeT(side.size))
        stacked.append(rows_of)
        constant.append(side)
    found = clarabel.DefaultSolver(
        sparse.csc_matrix((width, width)),
        program.cost,
        sparse.vstack(stacked).tocsc(),
        np.concatenate(constant),
        cones,
        _settings(seconds),
    ).solve()
    if found.status not in _GOOD:
        return LpSolution(LpStatus.UNKNOWN, np.zeros(0), None, found.iterations)
    z, first = np.array(found.z), 0
    multipliers = np.zeros(rows.lower.size)
    for k, count in zip(order, counts, strict=True):
        at, sign = kept[k]
        multipliers[at] += sign * z[first : first + at.size]
        first += count
    return LpSolution(LpStatus.OPTIMAL, np.array(found.x), multipliers, found.iterations)


def _cones(width: int, ball: Ints | None, square: int) -> list[tuple[sparse.csr_matrix, Array]]:
    """``A`` and ``b`` of second-order cones, of which ``b - A v`` is to be a point."""
    out = []
    if ball is not None:
        index = np.concatenate([[0], ball])
        at = np.arange(index.size)
        out.append(
            (sparse.csr_matrix((np.full(index.size, -1.0), (at, index)), (index.size, width)), np.zeros(index.size))
        )
    if square >= 0:  # ||(2 t, 1 - u)|| <= 1 + u
        value, at, index = np.array([-1.0, -2.0, 1.0]), np.arange(3), np.array([square, 0, square])
        out.append((sparse.csr_matrix((value, (at, index)), (3, width)), np.array([1.0, 0.0, 1.0])))
    return out


def _settings(seconds: float) -> clarabel.DefaultSettings:
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    settings.max_threads = 1
    settings.time_limit = min(seconds, 1e6)
    settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = _TOLERANCE
    return settings
