"""Cone programs: multipliers of the rows in the sign and the order of the linear programs', and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest

from wdaverify.encoding.rows import LinearProgram, Rows
from wdaverify.network.model import Array
from wdaverify.solvers.cone import ConeProgram
from wdaverify.solvers.lp import LpSession, LpStatus


def dense(matrix: Array, lower: Array, upper: Array) -> Rows:
    index = np.broadcast_to(np.arange(matrix.shape[1]), matrix.shape)
    return Rows.of(index, matrix, lower, upper)


@pytest.mark.parametrize("seed", range(10))
def test_without_cones_it_is_the_linear_program(seed: int) -> None:
    """Equations, rows with one side and with two, fixed columns: the value and the multipliers of the simplex."""
    rng = np.random.default_rng(seed)
    width = 6
    matrix, inside = rng.normal(size=(5, width)), rng.uniform(0.2, 0.8, width)
    inside[0] = 0.0
    level = matrix @ inside
    lower = np.array([level[0], level[1] - 1, -np.inf, level[3] - 0.1, -np.inf])
    upper = np.array([level[0], np.inf, level[2] + 0.2, level[3] + 0.1, level[4]])
    low, high = np.zeros(width), np.ones(width)
    high[0] = 0.0
    # the first column is the distance of a cone that binds nothing here
    program = LinearProgram(rng.normal(size=width), low, high, dense(matrix, lower, upper))
    plain = LpSession(program).solve()
    found = ConeProgram(program, None, 5).solve(low, high, math.inf)
    assert found.status is plain.status is LpStatus.OPTIMAL
    assert program.cost @ found.columns == pytest.approx(program.cost @ plain.columns, abs=1e-7)
    assert found.rows is not None
    assert plain.rows is not None
    np.testing.assert_allclose(found.rows, plain.rows, atol=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_the_nearest_point_of_a_halfspace(seed: int) -> None:
    """min t over a . d >= 1 and ||d|| <= t is 1 / ||a||, which is the row's multiplier too; min u over u >= t^2 its square."""
    rng = np.random.default_rng(seed)
    a = rng.normal(size=4)
    size = float(np.linalg.norm(a))
    matrix = np.concatenate([[0.0], a, [0.0]])[None]
    low, high = np.array([0.0, *[-9.0] * 4, 0.0]), np.array([9.0, *[9.0] * 4, 81.0])
    rows = dense(matrix, np.ones(1), np.full(1, np.inf))
    for square, cost, truth, slope in ((-1, 0, 1 / size, 1 / size), (5, 5, size**-2, 2 * size**-2)):
        program = LinearProgram(np.eye(6)[cost], low, high, rows)
        found = ConeProgram(program, np.arange(1, 5), square).solve(low, high, math.inf)
        assert found.status is LpStatus.OPTIMAL
        assert found.rows is not None
        assert found.columns[cost] == pytest.approx(truth, rel=1e-6)
        assert found.rows[0] == pytest.approx(slope, rel=1e-5)
    far = ConeProgram(program, np.arange(1, 5), 5).solve(low, np.array([0.5 / size, *[9.0] * 4, 81.0]), math.inf)
    assert far.status is LpStatus.INFEASIBLE
    assert far.rows is not None
    assert far.rows[0] > 0
