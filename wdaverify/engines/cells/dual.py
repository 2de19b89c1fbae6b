"""The dual bound of an LP from any multipliers, rounded outward (Neumaier & Shcherbina 2004; docs/theory.md, section 9).

For ``min f.v  s.t.  L <= A v <= U, l <= v <= u`` and any y (a sign whose side is infinite is set to 0),

    min  >=  sum_i (y_i > 0 ? L_i : U_i) y_i  +  sum_j min(r_j l_j, r_j u_j),      r = f - A^T y

whatever produced y. With f = 0 a positive bound proves that there is no feasible point (a Farkas proof).
"""

from __future__ import annotations

import numpy as np

from wdaverify.encoding.milp import MilpModel
from wdaverify.network.model import Array
from wdaverify.rounding import dot_error, underflow


class DualBound:
    """Bounds of one model as a minimisation; column bounds vary from call to call."""

    def __init__(self, model: MilpModel) -> None:
        self._objective = -model.objective if model.maximise else model.objective
        self._row = np.repeat(np.arange(model.n_rows), np.diff(model.start))
        self._index, self._value = model.index, model.coefficient
        self._size = np.abs(model.coefficient)
        self._lower, self._upper = model.row_lower, model.row_upper
        self._columns = model.n_columns
        longest = np.bincount(model.index, minlength=model.n_columns).max(initial=0)
        self._dot = dot_error(int(longest) + 2)
        self._sum = dot_error(model.n_columns + model.n_rows + 2)

    def objective(self, rows: Array, lower: Array, upper: Array) -> float:
        """A lower bound of the minimum for column bounds ``lower, upper [c]`` from multipliers ``rows [r]``."""
        return self._bound(self._objective, rows, lower, upper)

    def infeasible(self, ray: Array, lower: Array, upper: Array) -> bool:
        """Whether a ray (or its opposite) proves that no point is feasible."""
        scale = np.abs(ray).max(initial=0.0)
        if not (0 < scale < np.inf):
            return False
        none = np.zeros(self._columns)
        return any(self._bound(none, sign * ray / scale, lower, upper) > 0 for sign in (1.0, -1.0))

    def _bound(self, objective: Array, rows: Array, lower: Array, upper: Array) -> float:
        side = np.where(rows > 0, self._lower, self._upper)
        y = np.where(np.isfinite(side) & np.isfinite(rows), rows, 0.0)
        base = y * np.where(y != 0, side, 0.0)
        weights = y[self._row]
        pulled = np.bincount(self._index, self._value * weights, self._columns)
        size = np.bincount(self._index, self._size * np.abs(weights), self._columns)
        reduced = objective - pulled
        slip = self._dot * (np.abs(objective) + size) + underflow(self._columns)
        magnitude = np.maximum(np.abs(lower), np.abs(upper))
        terms = np.minimum(reduced * lower, reduced * upper) - slip * magnitude
        total = float(base.sum() + terms.sum())
        spread = float(np.abs(base).sum() + (np.abs(reduced) * magnitude + slip * magnitude).sum())
        bound = total - 2 * self._sum * spread - underflow(self._columns)
        return bound if np.isfinite(bound) else -np.inf
