"""A mixed-integer linear model, sparse and solver-free; l2 and order 2 add convex quadratic rows.

maximise or minimise  objective . v + offset   s.t.  row_lower <= A v <= row_upper,  lower <= v <= upper,  v_k integer,
                                                     sum_k square_k v_k^2 + line . v <= side

Solvers drop coefficients below about 1e-12 without a word, however large the columns they multiply. So columns and rows
far from 1 are scaled by powers of two (which is exact), and what is still below ``_LEAST`` is left out here, with the side
of its row moved outward by all that it could contribute.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from wdaverify.network.model import Array
from wdaverify.rounding import UNIT_ROUNDOFF, underflow

Ints = NDArray[np.int64]
Row = tuple[Ints, Array, float, float]
"""Column indices, coefficients, lower and upper side."""

_USUAL = 2.0**10
"""Columns and rows whose size is within this factor of 1 stay as they are."""
_LEAST = 2.0**-38
"""The least coefficient that is handed to a solver, 3.6e-12; HiGHS keeps those above 1e-12, Gurobi above 1e-13."""


@dataclass(frozen=True, eq=False)
class Quadratic:
    """``sum_k square_k v[index_k]^2 + sum_k line_k v[linear_k] <= side``: all squares are >= 0 but at most one, of a column >= 0."""

    index: Ints
    square: Array
    linear: Ints
    line: Array
    side: float


@dataclass(frozen=True)
class Neurons:
    """One elementwise node's columns: h of the neurons ``alive``, s and the phase of those ``opened``."""

    node: int
    alive: Ints
    above: Ints
    opened: Ints
    below: Ints
    phase: Ints


@dataclass
class Trace:
    """Which columns hold what, so that a point can be written as values of all of them: a start.

    ``own`` are affine nodes with columns of their own; ``distance`` and ``square`` the columns of t and t^2 over powers of ``unit``.
    """

    neurons: list[Neurons] = field(default_factory=list)
    own: list[tuple[int, Ints]] = field(default_factory=list)
    distance: int = -1
    square: int = -1
    unit: float = 1.0


@dataclass(frozen=True, eq=False)
class MilpModel:
    """The model in compressed rows. ``slack`` is how far the objective of the encoded question may lie from the true one.

    objective, lower, upper, integer ``[c]``; row_lower, row_upper ``[r]``; start ``[r + 1]``, index and coefficient ``[nnz]``.
    ``scale [c]``: the true columns are ``scale * v``. ``inputs [n]`` are the columns of x, or for the l1 cost those of the
    positive parts p with ``negative_inputs`` those of q, ``x = centre + p - q``; with ``step [n]`` those of ``(x - centre) / step``.
    """

    maximise: bool
    objective: Array
    offset: float
    slack: float
    lower: Array
    upper: Array
    integer: NDArray[np.bool_]
    row_lower: Array
    row_upper: Array
    start: Ints
    index: Ints
    coefficient: Array
    scale: Array
    centre: Array
    inputs: Ints
    negative_inputs: Ints | None
    step: Array | None = None
    quadratic: tuple[Quadratic, ...] = ()
    trace: Trace = field(default_factory=Trace)

    @property
    def n_columns(self) -> int:
        """The number of variables."""
        return int(self.objective.size)

    @property
    def n_rows(self) -> int:
        """The number of linear rows."""
        return int(self.row_lower.size)

    def point(self, columns: Array) -> Array:
        """The network input ``[n]`` of an assignment ``[c]`` of the columns."""
        true = columns * self.scale
        if self.step is not None:
            return np.asarray(self.centre + self.step * true[self.inputs])
        if self.negative_inputs is None:
            return np.asarray(true[self.inputs], dtype=np.float64)
        return np.asarray(self.centre + true[self.inputs] - true[self.negative_inputs])

    def objective_row(self, low: float, high: float) -> Row:
        """The row ``low <= objective . v + offset <= high``, made so that no solver drops any of it."""
        index = np.flatnonzero(self.objective)
        row = (index, self.objective[index], low - self.offset, high - self.offset)
        return _scaled_row(row, np.ones(self.n_columns), self.lower, self.upper)


@dataclass
class ModelBuilder:
    """Collects columns and rows; ``build`` freezes them."""

    _objective: list[Array] = field(default_factory=list)
    _lower: list[Array] = field(default_factory=list)
    _upper: list[Array] = field(default_factory=list)
    _integer: list[NDArray[np.bool_]] = field(default_factory=list)
    _rows: list[Row] = field(default_factory=list)
    _quadratic: list[Quadratic] = field(default_factory=list)
    _count: int = 0
    trace: Trace = field(default_factory=Trace)

    def columns(self, lower: Array, upper: Array, *, integer: bool | NDArray[np.bool_] = False) -> Ints:
        """Add columns with the given bounds and no objective; their indices. ``integer``: of all of them, or ``[w]``."""
        size = int(lower.size)
        self._lower.append(np.asarray(lower, dtype=np.float64))
        self._upper.append(np.asarray(upper, dtype=np.float64))
        self._integer.append(np.broadcast_to(np.asarray(integer, np.bool_), (size,)))
        self._count += size
        return np.arange(self._count - size, self._count, dtype=np.int64)

    def bounds(self) -> tuple[Array, Array]:
        """Those of all columns so far, each ``[c]``."""
        return np.concatenate(self._lower), np.concatenate(self._upper)

    def reach(self) -> Array:
        """How large the columns so far are, ``[c]``."""
        lower, upper = self.bounds()
        return np.maximum(np.abs(lower), np.abs(upper))

    def row(self, index: Ints, coefficient: Array, lower: float, upper: float) -> None:
        """Add ``lower <= coefficient . v[index] <= upper``; zero coefficients are left out."""
        kept = coefficient != 0
        self._rows.append((index[kept], coefficient[kept], lower, upper))

    def quadratic(self, row: Quadratic) -> None:
        """Add a quadratic row."""
        self._quadratic.append(row)

    def build(
        self,
        *,
        maximise: bool,
        index: Ints,
        coefficient: Array,
        offset: float,
        slack: float,
        centre: Array,
        inputs: Ints,
        negative_inputs: Ints | None,
        step: Array | None = None,
    ) -> MilpModel:
        """The model with the objective ``coefficient . v[index] + offset``."""
        objective = np.zeros(self._count)
        np.add.at(objective, index, coefficient)
        lower, upper = self.bounds()
        integer = np.concatenate(self._integer)
        scale = np.where(integer, 1.0, powers(np.maximum(np.abs(lower), np.abs(upper))))
        lower, upper = lower / scale, upper / scale
        rows = [_scaled_row(row, scale, lower, upper) for row in self._rows]
        lengths = [row[0].size for row in rows]
        return MilpModel(
            maximise=maximise,
            objective=objective * scale,
            offset=offset,
            slack=slack,
            lower=lower,
            upper=upper,
            integer=integer,
            row_lower=np.array([row[2] for row in rows], dtype=np.float64),
            row_upper=np.array([row[3] for row in rows], dtype=np.float64),
            start=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            index=np.concatenate([row[0] for row in rows] or [np.zeros(0, np.int64)]).astype(np.int64),
            coefficient=np.concatenate([row[1] for row in rows] or [np.zeros(0)]),
            scale=scale,
            centre=centre,
            inputs=inputs,
            negative_inputs=negative_inputs,
            step=step,
            quadratic=tuple(
                replace(q, square=q.square * scale[q.index] ** 2, line=q.line * scale[q.linear])
                for q in self._quadratic
            ),
            trace=self.trace,
        )


def powers(size: Array) -> Array:
    """A power of two near each size, or 1 where the size is usual, 0 or infinite; none that could overflow."""
    usual = (size <= _USUAL) & (size >= 1 / _USUAL) | (size == 0) | ~np.isfinite(size)
    return np.where(usual, 1.0, np.exp2(np.clip(np.round(np.log2(np.where(usual, 1.0, size))), -64, 64)))


def _scaled_row(row: Row, scale: Array, lower: Array, upper: Array) -> Row:
    """A row on scaled columns, scaled itself, its tiny coefficients traded for wider sides."""
    index, coefficient, low, high = row
    value = coefficient * scale[index]
    factor = 1.0 / float(powers(np.array([np.abs(value).max(initial=0.0)]))[0])
    value, low, high = value * factor, low * factor, high * factor
    tiny = np.abs(value) < _LEAST
    if tiny.any():
        ends = np.stack([value[tiny] * lower[index[tiny]], value[tiny] * upper[index[tiny]]])
        least, most = float(ends.min(axis=0).sum()), float(ends.max(axis=0).sum())
        spare = 4 * UNIT_ROUNDOFF * (ends.size * float(np.abs(ends).sum()) + max(_finite(low), _finite(high)))
        spare += underflow(ends.size)
        low, high = low - most - spare, high - least + spare
        index, value = index[~tiny], value[~tiny]
    return index, value, low, high


def _finite(side: float) -> float:
    return abs(side) if np.isfinite(side) else 0.0
