"""Linear programs as plain arrays: rows in compressed form, and what a solver needs beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wdaverify.encoding.columns import Sums
from wdaverify.encoding.milp import Ints
from wdaverify.network.model import Array

TINY = 1e-12
"""Coefficients below this are left out, as solvers do."""


@dataclass(frozen=True, eq=False)
class Rows:
    """``lower <= A v <= upper`` in compressed rows: start ``[r + 1]``, index and value ``[nnz]``."""

    lower: Array
    upper: Array
    start: Ints
    index: Ints
    value: Array

    @classmethod
    def of(cls, index: Ints, value: Array, lower: Array, upper: Array) -> Rows:
        """From padded rows ``[r, w]``; tiny coefficients are left out."""
        kept = np.abs(value) > TINY
        start = np.concatenate([[0], np.cumsum(kept.sum(axis=1))]).astype(np.int64)
        return cls(lower, upper, start, np.broadcast_to(index, value.shape)[kept].astype(np.int64), value[kept])

    @classmethod
    def zero(cls, sums: Sums, factor: Array) -> Rows:
        """``sums = 0``, each row times its factor."""
        side = -sums.base * factor
        return cls.of(sums.index, sums.value * factor[:, None], side, side)

    @classmethod
    def stacked(cls, parts: Sequence[Rows]) -> Rows:
        """All rows of all parts."""
        if not parts:
            none = np.zeros(0)
            return cls(none, none, np.zeros(1, np.int64), np.zeros(0, np.int64), none)
        lengths = np.concatenate([np.diff(part.start) for part in parts])
        return cls(
            np.concatenate([part.lower for part in parts]),
            np.concatenate([part.upper for part in parts]),
            np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            np.concatenate([part.index for part in parts]),
            np.concatenate([part.value for part in parts]),
        )


@dataclass(frozen=True, eq=False)
class LinearProgram:
    """``min cost . v`` over the rows, ``lower <= v <= upper``, all ``[c]``."""

    cost: Array
    lower: Array
    upper: Array
    rows: Rows
