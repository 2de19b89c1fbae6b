"""What the attacks found in the box, moved into the support and, for order inf, into the ball of the radius."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from wdaverify.network.model import Array
from wdaverify.problem import Support, WdroProblem
from wdaverify.witness.repair import repaired

Bools = NDArray[np.bool_]

_INSIDE = 1 - 2.0**-40


def into_support(problem: WdroProblem, centre: Array, point: Array, fixed: Bools | None) -> tuple[Array, Bools]:
    """Points ``[B, n]`` near the given ones, and which of them lie in the support, exactly; ``centre [B, n]`` are their samples.

    Integers go to the nearest, one-hot groups to their largest entry; where that leaves the support they are cut off
    towards the sample, and then put back to it. ``fixed [n]`` (None: none) features are the sample's.
    """
    support = problem.support
    out, good = repaired(support, centre, _with_groups(support, point), fixed)
    for trial in _tamer(support, centre, point):
        bad = np.flatnonzero(~good)
        if not bad.size:
            break
        out[bad], good[bad] = repaired(support, centre[bad], trial[bad], fixed)
    if math.isinf(problem.cost.order) and not support.plain:
        _pull_in(problem, centre, out, good)
    return out, good


def _tamer(support: Support, centre: Array, point: Array) -> Iterator[Array]:
    """The points with their integers cut off towards the sample, then at it."""
    if support.integer is None:
        return
    yield np.where(support.integer, centre + np.trunc(point - centre), point)
    yield np.where(support.integer, centre, point)


def _with_groups(support: Support, point: Array) -> Array:
    """Points whose one-hot groups (rows ``sum = 1`` of integers) have 1 at the largest entry and 0 elsewhere."""
    if support.rows is None or support.integer is None:
        return point
    matrix, out = support.rows.matrix, point.copy()
    ones = ((matrix == 0) | ((matrix == 1) & support.integer)).all(axis=1)
    for r in np.flatnonzero(ones & (support.rows.lower == 1) & (support.rows.upper == 1)):
        group = np.flatnonzero(matrix[r])
        out[:, group] = point[:, group].argmax(axis=1)[:, None] == np.arange(group.size)
    return out


def _pull_in(problem: WdroProblem, centre: Array, point: Array, good: Bools) -> None:
    """Order inf: draw points that the repair moved out of the ball back into it, where the support allows it.

    Integers go back to the sample's; then what is left is scaled.
    """
    support = problem.support
    for stay in (False, True):
        far = np.flatnonzero(good & (_distance(problem, point - centre) > problem.radius * _INSIDE))
        if not far.size:
            return
        move = point[far] - centre[far]
        if support.integer is not None and stay:
            move[:, support.integer] = 0.0
        length = np.maximum(_distance(problem, move), np.finfo(np.float64).tiny)
        pulled = centre[far] + np.minimum(problem.radius * _INSIDE**2 / length, 1.0)[:, None] * move
        inside = support.contains(pulled)
        point[far[inside]] = pulled[inside]


def _distance(problem: WdroProblem, move: Array) -> Array:
    with np.errstate(invalid="ignore"):  # a weight inf times a move of 0
        return problem.cost.distance(move)
