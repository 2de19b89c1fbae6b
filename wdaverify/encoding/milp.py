"""A mixed-integer linear model, sparse and solver-free.

maximise or minimise  objective . v + offset   s.t.  row_lower <= A v <= row_upper,  lower <= v <= upper,  v_k integer
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from wdaverify.network.model import Array

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class MilpModel:
    """The model in compressed rows. ``slack`` is how far the objective of the encoded question may lie from the true one.

    objective, lower, upper, integer ``[c]``; row_lower, row_upper ``[r]``; start ``[r + 1]``, index and coefficient ``[nnz]``.
    ``inputs [n]`` are the columns of x, or for the l1 cost those of the positive parts p with ``negative_inputs`` those of
    q, ``x = centre + p - q``.
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
    centre: Array
    inputs: Ints
    negative_inputs: Ints | None

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
        if self.negative_inputs is None:
            return np.asarray(columns[self.inputs], dtype=np.float64)
        return self.centre + columns[self.inputs] - columns[self.negative_inputs]


@dataclass
class ModelBuilder:
    """Collects columns and rows; ``build`` freezes them."""

    _objective: list[Array] = field(default_factory=list)
    _lower: list[Array] = field(default_factory=list)
    _upper: list[Array] = field(default_factory=list)
    _integer: list[NDArray[np.bool_]] = field(default_factory=list)
    _rows: list[tuple[Ints, Array, float, float]] = field(default_factory=list)
    _count: int = 0

    def columns(self, lower: Array, upper: Array, *, integer: bool = False) -> Ints:
        """Add columns with the given bounds and no objective; their indices."""
        size = int(lower.size)
        self._lower.append(np.asarray(lower, dtype=np.float64))
        self._upper.append(np.asarray(upper, dtype=np.float64))
        self._integer.append(np.full(size, integer))
        self._count += size
        return np.arange(self._count - size, self._count, dtype=np.int64)

    def row(self, index: Ints, coefficient: Array, lower: float, upper: float) -> None:
        """Add ``lower <= coefficient . v[index] <= upper``; zero coefficients are left out."""
        kept = coefficient != 0
        self._rows.append((index[kept], coefficient[kept], lower, upper))

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
    ) -> MilpModel:
        """The model with the objective ``coefficient . v[index] + offset``."""
        objective = np.zeros(self._count)
        np.add.at(objective, index, coefficient)
        lengths = [row[0].size for row in self._rows]
        return MilpModel(
            maximise=maximise,
            objective=objective,
            offset=offset,
            slack=slack,
            lower=np.concatenate(self._lower),
            upper=np.concatenate(self._upper),
            integer=np.concatenate(self._integer),
            row_lower=np.array([row[2] for row in self._rows], dtype=np.float64),
            row_upper=np.array([row[3] for row in self._rows], dtype=np.float64),
            start=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            index=np.concatenate([row[0] for row in self._rows] or [np.zeros(0, np.int64)]).astype(np.int64),
            coefficient=np.concatenate([row[1] for row in self._rows] or [np.zeros(0)]),
            centre=centre,
            inputs=inputs,
            negative_inputs=negative_inputs,
        )
