"""What multipliers prove of a linear program, whatever solver they come from (Neumaier & Shcherbina 2004).

    min c.v  over  L <= A v <= U,  l <= v <= u        >=   sum_r min(y_r L_r, y_r U_r) + sum_k min(d_k l_k, d_k u_k),     d = c - A^T y

for every y, since ``c.v = y.(A v) + d.v``. Every rounding is charged.
"""

from __future__ import annotations

import numpy as np

from wdaverify.encoding.rows import Rows
from wdaverify.network.model import Array
from wdaverify.rounding import UNIT_ROUNDOFF, dot_error, underflow


def proven(cost: Array, rows: Rows, lower: Array, upper: Array, multipliers: Array) -> float:
    """A lower bound of the least ``cost . v``, rounded down; ``lower, upper [c]`` finite, multipliers ``[r]``."""
    y = np.where(np.isfinite(multipliers), multipliers, 0.0)
    side = np.where(y > 0, rows.lower, rows.upper)
    y = np.where(np.isfinite(side), y, 0.0)
    side = np.where(y == 0, 0.0, side)
    owner = np.repeat(np.arange(y.size), np.diff(rows.start))
    terms = rows.value * y[owner]
    width = cost.size
    pulled = np.bincount(rows.index, weights=terms, minlength=width)
    sized = np.bincount(rows.index, weights=np.abs(terms), minlength=width) + np.abs(cost)
    most = int(np.bincount(rows.index, minlength=width).max(initial=0))
    rest = cost - pulled
    lost = dot_error(most + 4) * sized + underflow(most + 4)
    reach = np.maximum(np.abs(lower), np.abs(upper))
    ends = np.where(rest > 0, rest * lower, rest * upper)
    gains = y * side
    size = float(np.abs(gains).sum() + np.abs(ends).sum())
    total = float(gains.sum() + ends.sum())
    error = float((lost * reach).sum()) * (1 + dot_error(width + 4)) + dot_error(width + y.size + 4) * size
    bound = total - error * (1 + 8 * UNIT_ROUNDOFF) - underflow(width + y.size)
    return bound if np.isfinite(bound) else -np.inf
