"""Linear maps ``R^n -> R^m`` that keep their structure, each with the length of its own sums.

What a trusted pass needs of a matrix W is W h, c W, |W|, and how many products the longest sum of either has: by Higham 2002,
section 3.1, sums of k products in any order, fused or not, differ from the exact ones by at most ``rounding.dot_error(k)`` times the same
sums of absolute values, and by what products lose to underflow. A map with no products (a selection, the identity) rounds nothing.

The longest sums bound what a map may be computed by: matrix products, shifted or gathered, in any order. An algorithm that multiplies sums
of entries (Winograd, FFT, Strassen) is outside.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from wdaverify.errors import NetworkError
from wdaverify.given import array, settle, whole
from wdaverify.rounding import UNIT_ROUNDOFF, dot_error, underflow

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
Change = Callable[[Any], Any]
"""From one array of stored numbers to another of its shape, of any type."""


_Made = TypeVar("_Made")


def unchecked(kind: type[_Made], **fields: object) -> _Made:
    """One of ours with numbers of any type, infinite ones too, as they are: what is derived from numbers once checked."""
    out = object.__new__(kind)
    settle(out, **fields)
    return out


def errors(given: object) -> Array | None:
    """Errors of entries, infinite where nothing is known."""
    return None if given is None else array("error", given, NetworkError, infinite=True)


@runtime_checkable
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

    @property
    def numbers(self) -> tuple[Array, ...]: ...  # noqa: D102 (what is stored, if anything)
    @property
    def exact(self) -> bool: ...  # noqa: D102 (whether the entries are known exactly)

    def apply(self, h: Array) -> Array:
        """``W h`` of ``h [..., n]``, ``[..., m]``."""
        ...

    def back(self, c: Array) -> Array:
        """``c W`` of ``c [..., m]``, ``[..., n]``."""
        ...

    def size(self) -> LinearMap:
        """``|W|``, of the same structure."""
        ...

    def like(self, change: Change) -> LinearMap:
        """The same structure with every stored number changed: to single precision, to integers."""
        ...

    def reads(self, at: Ints) -> Ints:
        """The columns, ascending, that the rows ``at`` have entries in."""
        ...

    def part(self, at: Ints, columns: Ints) -> LinearMap:
        """The rows ``at`` of those columns, which are all that they read (``reads``)."""
        ...


@dataclass(frozen=True, eq=False)
class Dense:
    """A matrix ``weight [m, n]``, each entry known up to ``error [m, n]`` (None: exactly)."""

    weight: Array
    error: Array | None = None

    def __post_init__(self) -> None:
        settle(self, weight=array("weight", self.weight, NetworkError), error=errors(self.error))
        if self.weight.ndim != 2 or 0 in self.weight.shape:
            raise NetworkError(f"a matrix of shape {list(self.weight.shape)}: [m, n] is accepted")

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

    @property
    def exact(self) -> bool:
        """Whether no entry has an error."""
        return self.error is None

    @property
    def numbers(self) -> tuple[Array, ...]:
        """The matrix."""
        return (self.weight,)

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
            return unchecked(Dense, weight=size, error=None)
        with np.errstate(over="ignore"):
            return unchecked(Dense, error=None, weight=size + (2.001 / dot_error(min(size.shape) + 2)) * self.error)

    def like(self, change: Change) -> Dense:
        """The matrix changed, without its error."""
        return unchecked(Dense, weight=change(self.weight), error=None)

    def reads(self, at: Ints) -> Ints:
        """Where an entry or its error is not 0."""
        some = (self.weight[at] != 0).any(axis=0)
        return np.flatnonzero(some if self.error is None else some | (self.error[at] != 0).any(axis=0))

    def part(self, at: Ints, columns: Ints) -> Dense:
        """A smaller matrix."""
        chosen = np.ix_(at, columns)
        return Dense(self.weight[chosen], None if self.error is None else self.error[chosen])


@dataclass(frozen=True, eq=False)
class Diagonal:
    """``x -> x * factor / divisor``, each ``[n]``; a real division, which no stored factor would be.

    The quotients are known up to ``error [n]`` (None: exactly).
    """

    factor: Array
    divisor: Array
    error: Array | None = None

    def __post_init__(self) -> None:
        given = {name: array(name, getattr(self, name), NetworkError) for name in ("factor", "divisor")}
        settle(self, **given, error=errors(self.error))
        if self.factor.ndim != 1 or not self.factor.size or self.divisor.shape != self.factor.shape:
            shapes = f"factor {list(self.factor.shape)}, divisor {list(self.divisor.shape)}"
            raise NetworkError(f"a diagonal map of {shapes}: each [n] is accepted")
        if not self.divisor.all():
            raise NetworkError("a diagonal map divides by 0; divisors other than 0 are accepted")

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
        return 0 if self.exact and (self.factor == 1).all() and (self.divisor == 1).all() else 2

    @property
    def exact(self) -> bool:
        """Whether no quotient has an error."""
        return self.error is None

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

    @property
    def numbers(self) -> tuple[Array, ...]:
        """Factor and divisor."""
        return self.factor, self.divisor

    def apply(self, h: Array) -> Array:
        """``h * factor / divisor``."""
        return h * self.factor / self.divisor

    def back(self, c: Array) -> Array:
        """The same: a diagonal is its own transpose."""
        return c * self.factor / self.divisor

    def size(self) -> Diagonal:
        """Of the absolute values, each enlarged so that the factor of its sum pays for its error too."""
        return self._size

    @cached_property
    def _size(self) -> Diagonal:
        size = self.like(np.abs)
        if self.error is None:
            return size
        with np.errstate(over="ignore"):
            factor = size.factor + (2.001 / dot_error(4)) * self.error * size.divisor
            return unchecked(Diagonal, factor=factor, divisor=size.divisor, error=None)

    def like(self, change: Change) -> Diagonal:
        """Factor and divisor changed, without the error."""
        return unchecked(Diagonal, factor=change(self.factor), divisor=change(self.divisor), error=None)

    def reads(self, at: Ints) -> Ints:
        """The same entries."""
        return at

    def part(self, at: Ints, columns: Ints) -> Diagonal:
        """A shorter diagonal."""
        return Diagonal(self.factor[at], self.divisor[at], None if self.error is None else self.error[at])


@dataclass(frozen=True, eq=False)
class Same:
    """The identity on ``R^width``: a connection that skips."""

    width: int
    terms_out: int = field(default=0, init=False)
    terms_in: int = field(default=0, init=False)
    lost_out: float = field(default=0.0, init=False)
    lost_in: float = field(default=0.0, init=False)
    numbers: tuple[Array, ...] = field(default=(), init=False)
    exact: bool = field(default=True, init=False)

    def __post_init__(self) -> None:
        settle(self, width=whole("width", self.width, "a size from 1 to 2^31", lambda n: 0 < n <= 2**31, NetworkError))

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

    def like(self, change: Change) -> Same:
        """Itself: it stores nothing."""
        return self

    def reads(self, at: Ints) -> Ints:
        """The same entries."""
        return at

    def part(self, at: Ints, columns: Ints) -> Same:
        """A shorter identity."""
        return Same(at.size)


@dataclass(frozen=True, eq=False)
class Select:
    """``y_k = x_(index_k)``, and 0 where ``index_k`` is -1: slices, permutations, repetitions, padding, places in a concatenation.

    index ``[m]``; ``back`` adds up what is selected several times.
    """

    index: Ints
    inputs: int
    terms_out: int = field(default=0, init=False)
    lost_out: float = field(default=0.0, init=False)
    lost_in: float = field(default=0.0, init=False)
    numbers: tuple[Array, ...] = field(default=(), init=False)
    exact: bool = field(default=True, init=False)

    def __post_init__(self) -> None:
        settle(
            self, inputs=whole("inputs", self.inputs, "a size from 1 to 2^31", lambda n: 0 < n <= 2**31, NetworkError)
        )
        index = array("index", self.index, NetworkError)
        whole_numbers = index.ndim == 1 and index.size and (index == np.floor(index)).all()
        if not whole_numbers or index.min() < -1 or index.max() >= self.inputs:
            raise NetworkError(
                f"an index of a selection from {self.inputs} numbers: whole numbers from -1 to {self.inputs - 1} are accepted"
            )
        settle(self, index=index.astype(np.int64))

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
        by, cuts = np.argsort(turn, kind="stable"), np.cumsum(np.bincount(turn))[:-1]
        return tuple(zip(np.split(order[by], cuts), np.split(chosen[by], cuts), strict=True)) if at.size else ()

    def apply(self, h: Array) -> Array:
        """The entries selected."""
        out: Array = h[..., self.index]
        return out if (self.index >= 0).all() else np.where(self.index >= 0, out, np.zeros((), h.dtype))

    def back(self, c: Array) -> Array:
        """The sum of what each entry gave."""
        out = np.zeros((*c.shape[:-1], self.inputs), c.dtype)
        for position, chosen in self.layers:
            out[..., chosen] += c[..., position]
        return out

    def size(self) -> Select:
        """Itself."""
        return self

    def like(self, change: Change) -> Select:
        """Itself: it stores no number."""
        return self

    def reads(self, at: Ints) -> Ints:
        """What is selected."""
        return np.unique(self.index[at][self.index[at] >= 0])

    def part(self, at: Ints, columns: Ints) -> Select:
        """From what is left."""
        index = self.index[at]
        return Select(np.where(index >= 0, np.searchsorted(columns, index), -1), columns.size)


def known(map_: LinearMap) -> tuple[LinearMap, LinearMap | None]:
    """``|W|`` of the entries as stored, and by how much each may be off (None: not at all)."""
    if isinstance(map_, Dense) and map_.error is not None:
        return Dense(np.abs(map_.weight)), Dense(map_.error)
    return map_.size(), None


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


def rationals(map_: LinearMap, at: Ints, columns: Ints) -> list[dict[int, Fraction]]:
    """The rows ``at`` in rationals, each as its entries other than 0 in some columns; without what they may be off."""
    if isinstance(map_, Diagonal):
        kept = set(columns.tolist())
        scales = ((j, Fraction(float(map_.factor[j])) / Fraction(float(map_.divisor[j]))) for j in at.tolist())
        return [{j: scale} if scale and j in kept else {} for j, scale in scales]
    table = rows(map_, at)[:, columns]
    return [{int(columns[i]): Fraction(float(row[i])) for i in np.flatnonzero(row)} for row in table]


def rows_error(map_: LinearMap, at: Ints | None = None) -> Array | None:
    """By how much ``rows`` may differ from the map's own entries ``[r, n]``; None: nowhere."""
    if isinstance(map_, Dense):
        return None if map_.error is None else map_.error if at is None else map_.error[at]
    if isinstance(map_, Diagonal) and map_.terms_in:
        lost = np.diag(4 * UNIT_ROUNDOFF * np.abs(map_.factor / map_.divisor) + map_.lost_in)
        lost = lost if map_.error is None else lost + np.diag(2 * map_.error)
        return lost if at is None else lost[at]
    return None
