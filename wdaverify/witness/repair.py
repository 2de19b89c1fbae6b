"""Points moved into the support: integers rounded, rows satisfied, fixed features put back.

What searches and attacks find violates rows by their tolerances; a distribution may not. Continuous features are projected
onto the violated rows in turn, with a tiny overshoot; what is not in the support afterwards is left out.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from wdaverify.ground import LinearRows, Support
from wdaverify.network.model import Array
from wdaverify.problem import WdroProblem
from wdaverify.witness.evaluate import distances_up

_SWEEPS = 60
_PULLS = 12
_OVERSHOOT = 1e-12


def repaired(
    support: Support, centre: Array, point: Array, fixed: NDArray[np.bool_] | None = None
) -> tuple[Array, NDArray[np.bool_]]:
    """Points ``[B, n]`` near the given ones, and which of them lie in the support, exactly; ``centre [B, n]`` are their samples."""
    out = np.clip(np.asarray(point, np.float64), support.lower, support.upper)
    if fixed is not None and fixed.any():
        out = np.where(fixed, centre, out)
    if support.plain or not support.bounded:
        return out, np.atleast_1d(np.isfinite(out).all(axis=1))
    loose = np.ones(out.shape[1], np.bool_) if fixed is None else ~fixed
    if support.integer is not None:
        out[:, support.integer] = np.rint(out[:, support.integer])
        loose = loose & ~support.integer
    if support.rows is not None:
        out = _projected(support, support.rows, out, loose)
    return out, support.contains(out)


def _projected(support: Support, rows: LinearRows, point: Array, loose: NDArray[np.bool_]) -> Array:
    """Cyclic projections onto the rows, along the features that may move."""
    moving = np.where(loose, rows.matrix, 0.0)
    square = (moving * moving).sum(axis=1)
    usable = np.flatnonzero(square > 0)
    size = np.abs(rows.matrix) @ np.maximum(np.abs(support.lower), np.abs(support.upper)) + 1.0
    for _ in range(_SWEEPS):
        wrong = ~rows.hold(point)
        if not wrong.any():
            break
        for r in usable:
            value = point[wrong] @ rows.matrix[r]
            low, high, extra = rows.lower[r], rows.upper[r], _OVERSHOOT * size[r]
            inner = (low + extra, high - extra) if low + extra < high - extra else (0.5 * (low + high),) * 2
            target = np.clip(value, *inner)
            moved = point[wrong] + ((target - value) / square[r])[:, None] * moving[r]
            point[wrong] = np.clip(moved, support.lower, support.upper)
    return point


def within_reach(problem: WdroProblem, sample: NDArray[np.int64], point: Array) -> Array:
    """For order inf, points ``[B, n]`` of samples ``[B]`` pulled towards them until no farther than the radius, exactly.

    Integers stay where they are. Other orders: the points themselves.
    """
    if math.isfinite(problem.cost.order) or not len(point):
        return point
    centre = problem.samples.x[sample]
    loose = np.ones(centre.shape[1], np.bool_) if problem.support.integer is None else ~problem.support.integer
    out = np.array(point, np.float64)
    for step in range(_PULLS):
        distance = distances_up(problem.cost, out, centre, problem.radius)
        far = np.flatnonzero(distance > problem.radius)
        if not far.size:
            break
        shrink = problem.cost.shrink(out[far] - centre[far], loose, problem.radius) * (1 - 2.0 ** (step - 52))
        out[far] = np.where(loose, centre[far] + shrink[:, None] * (out[far] - centre[far]), out[far])
        out[far] = np.clip(out[far], problem.support.lower, problem.support.upper)
    return out
