"""Linear maps ``R^n -> R^m`` that keep their structure, each with the length of its own sums.

What a trusted pass needs of a matrix W is W h, c W, |W|, and how many products the longest sum of either has: by Higham 2002,
section 3.1, sums of k products in any order, fused or not, differ from the exact ones by at most ``rounding.dot_error(k)`` times the same
sums of absolute values, and by what products lose to underflow. A map with no products (a selection, the identity) rounds nothing.

The longest sums bound what a map may be computed by: matrix products, shifted or gathered, in any order. An algorithm that multiplies sums
of entries (Winograd, FFT, Strassen) is outside.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from wdaverify.rounding import UNIT_ROUNDOFF, dot_error, underflow

Array = NDArray[np.float64]
Ints = NDArray[np.int64]


class LinearMap(Protocol):
    """``R^n -> R^m``.

    ``terms_out`` and ``terms_in``: the most products in a sum of ``apply`` and of ``back``, 0 where nothing is rounded.
    ``lost_out`` and ``lost_in``: what a result of ``apply`` or ``back`` may lose to underflow, one number or one a result.
    """

    @property
    def inputs(self) -> int: ...  # noqa: D102 (said above, as for the next ones)
    @property
    def outputs(self) -> int: ...  # noqa: D102
    @property
    def terms_out(self) -> int: ...  # noqa: D102
    @property
    def terms_in(self) -> int: ...  # noqa: D102
    @property
    def lost_out(self) -> Array | float: ...  # noqa: D102
    @property
    def lost_in(self) -> Array | float: ...  # noqa: D102

    def apply(self, h: Array) -> Array:
        """``W h`` of ``h [..., n]``, ``[..., m]``."""
        ...

    def back(self, c: Array) -> Array:
        """``c W`` of ``c [..., m]``, ``[..., n]``."""
        ...

    def size(self) -> LinearMap:
        """``|W|``, of the same structure."""
        ...


@dataclass(frozen=True, eq=False)
class Dense:
    """A matrix ``weight [m, n]``, each entry known up to ``error [m, n]`` (None: exactly)."""

    weight: Array
    error: Array | None = None

    @property
    def inputs(self) -> int:
        """n."""
        return int(self.weight.shape[1])

    @property
    def outputs(self) -> int:
        """m."""
        return int(self.weight.shape[0])

    @property
    def terms_out(self) -> int:
        """A row of the matrix."""
        return self.inputs

    @property
    def terms_in(self) -> int:
        """A column of the matrix."""
        return self.outputs

    @property
    def lost_out(self) -> float:
        """A row's products."""
        return underflow(self.inputs)

    @property
    def lost_in(self) -> float:
        """A column's products."""
        return underflow(self.outputs)

    def apply(self, h: Array) -> Array:
        """``W h``."""
        return h @ self.weight.T

    def back(self, c: Array) -> Array:
        """``c W``."""
        return c @ self.weight

    def size(self) -> Dense:
        """The matrix of absolute values, each enlarged so that the factor of the shorter sum pays for its error too."""
        return self._size

    @cached_property
    def _size(self) -> Dense:
        size = np.abs(self.weight)
        if self.error is None:
            return Dense(size)
        with np.errstate(over="ignore"):
            return Dense(size + (2.001 / dot_error(min(size.shape) + 2)) * self.error)


@dataclass(frozen=True, eq=False)
class Diagonal:
    """``x -> x * factor / divisor``, each ``[n]``; a real division, which no stored factor would be."""

    factor: Array
    divisor: Array

    @property
    def inputs(self) -> int:
        """n."""
        return int(self.factor.size)

    @property
    def outputs(self) -> int:
        """n."""
        return self.inputs

    @property
    def terms_out(self) -> int:
        """A product and a quotient; none where all are 1."""
        return 0 if (self.factor == 1).all() and (self.divisor == 1).all() else 2

    @property
    def terms_in(self) -> int:
        """The same."""
        return self.terms_out

    @cached_property
    def lost_out(self) -> Array:
        """A product that vanished counts as much as the division makes of it."""
        with np.errstate(over="ignore"):
            out: Array = underflow(2) * (1 + 1 / np.abs(self.divisor))
        return out

    @property
    def lost_in(self) -> Array:
        """The same."""
        return self.lost_out

    def apply(self, h: Array) -> Array:
        """``h * factor / divisor``."""
        return h * self.factor / self.divisor

    def back(self, c: Array) -> Array:
        """The same: a diagonal is its own transpose."""
        return c * self.factor / self.divisor

    def size(self) -> Diagonal:
        """Of the absolute values."""
        return Diagonal(np.abs(self.factor), np.abs(self.divisor))


@dataclass(frozen=True, eq=False)
class Same:
    """The identity on ``R^width``: a connection that skips."""

    width: int
    terms_out: int = 0
    terms_in: int = 0
    lost_out: float = 0.0
    lost_in: float = 0.0

    @property
    def inputs(self) -> int:
        """The width."""
        return self.width

    @property
    def outputs(self) -> int:
        """The width."""
        return self.width

    def apply(self, h: Array) -> Array:
        """``h``."""
        return h

    def back(self, c: Array) -> Array:
        """``c``."""
        return c

    def size(self) -> Same:
        """Itself."""
        return self


@dataclass(frozen=True, eq=False)
class Select:
    """``y_k = x_(index_k)``, and 0 where ``index_k`` is -1: slices, permutations, repetitions, padding, places in a concatenation.

    index ``[m]``; ``back`` adds up what is selected several times.
    """

    index: Ints
    inputs: int
    terms_out: int = 0
    lost_out: float = 0.0
    lost_in: float = 0.0

    @property
    def outputs(self) -> int:
        """m."""
        return int(self.index.size)

    @property
    def terms_in(self) -> int:
        """How often one entry is selected at most; sums of one term round nothing."""
        return len(self.layers) if len(self.layers) > 1 else 0

    @cached_property
    def layers(self) -> tuple[tuple[Ints, Ints], ...]:
        """Positions and what they select, so many at a time that no entry is selected twice."""
        at = np.flatnonzero(self.index >= 0)
        order = at[np.argsort(self.index[at], kind="stable")]
        chosen = self.index[order]
        first = np.searchsorted(chosen, chosen, side="left")
        turn = np.arange(chosen.size) - first
        return tuple((order[turn == k], chosen[turn == k]) for k in range(int(turn.max(initial=-1)) + 1))

    def apply(self, h: Array) -> Array:
        """The entries selected."""
        out: Array = h[..., self.index]
        return out if (self.index >= 0).all() else np.where(self.index >= 0, out, 0.0)

    def back(self, c: Array) -> Array:
        """The sum of what each entry gave."""
        out = np.zeros((*c.shape[:-1], self.inputs))
        for position, chosen in self.layers:
            out[..., chosen] += c[..., position]
        return out

    def size(self) -> Select:
        """Itself."""
        return self


def rows(map_: LinearMap, at: Ints | None = None) -> Array:
    """The rows ``[r, n]`` of the matrix that a map stands for, those at ``at [r]`` or all.

    Exact for maps whose entries are stored (Dense, Convolution, Select, Same); a Diagonal's quotients are rounded once or twice.
    """
    if isinstance(map_, Dense):
        return map_.weight if at is None else map_.weight[at]
    some = np.arange(map_.outputs) if at is None else at
    unit = np.zeros((some.size, map_.outputs))
    unit[np.arange(some.size), some] = 1.0
    return map_.back(unit)


def rows_error(map_: LinearMap, at: Ints | None = None) -> Array | None:
    """By how much ``rows`` may differ from the map's own entries ``[r, n]``; None: nowhere."""
    if isinstance(map_, Dense):
        return None if map_.error is None else map_.error if at is None else map_.error[at]
    if isinstance(map_, Diagonal) and map_.terms_in:
        lost = np.diag(4 * UNIT_ROUNDOFF * np.abs(map_.factor / map_.divisor) + map_.lost_in)
        return lost if at is None else lost[at]
    return None
