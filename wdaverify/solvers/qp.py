"""The nearest point of a polytope: a convex quadratic program (HiGHS). Nothing it says is believed."""

from __future__ import annotations

import highspy
import numpy as np

from wdaverify.encoding.rows import LinearProgram
from wdaverify.network.model import Array


def nearest(program: LinearProgram, centre: Array, scale: Array) -> Array | None:
    """``argmin ||scale (v - centre)||^2`` over the rows and bounds of a program, whose own cost is left out; None if none was found."""
    solver = highspy.Highs()  # type: ignore[no-untyped-call]
    for key, value in (("output_flag", False), ("threads", 1), ("time_limit", 10.0)):
        solver.setOptionValue(key, value)
    width = centre.size
    lp, rows = highspy.HighsLp(), program.rows
    lp.num_col_, lp.num_row_ = width, rows.lower.size
    lp.col_cost_, lp.col_lower_, lp.col_upper_ = -2 * scale**2 * centre, program.lower, program.upper
    lp.row_lower_, lp.row_upper_ = rows.lower, rows.upper
    lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    lp.a_matrix_.start_, lp.a_matrix_.index_, lp.a_matrix_.value_ = rows.start, rows.index, rows.value
    hessian = highspy.HighsHessian()
    hessian.dim_, hessian.format_ = width, highspy.HessianFormat.kTriangular
    hessian.start_, hessian.index_ = np.arange(width + 1, dtype=np.int32), np.arange(width, dtype=np.int32)
    hessian.value_ = 2 * scale**2
    if highspy.HighsStatus.kError in (solver.passModel(lp), solver.passHessian(hessian)):
        return None
    solver.run()
    if solver.getModelStatus() != highspy.HighsModelStatus.kOptimal:
        return None
    return np.array(solver.getSolution().col_value, dtype=np.float64)
