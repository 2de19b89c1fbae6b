"""A network's numbers as sums over the columns of a program, node by node.

    input, function     what the program has for them: a column or two each, or none
    affine              sum_s M_s v_s + b, composed of the sums of its sources

An affine node keeps its sums, and whoever reads it composes them into its own, where that fills nothing in: where it is made of one
number each, or its one reader takes one of its numbers each. Any other (a residual sum read twice, a convolution into a pool)
has columns of its own with a row each: composed, its products would be repeated in every row that reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np

from wdaverify.encoding.milp import Ints
from wdaverify.graph.maps import Dense, LinearMap, rows, rows_error
from wdaverify.graph.nodes import INPUT, Affine, Graph
from wdaverify.network.model import Array

OnInput = Callable[[Array], tuple[Ints, Array]]
"""From a matrix ``[m, n]`` on the input to columns ``[w]`` in ascending order and the matrix ``[m, w]`` on them."""
_CHUNK = 2**21
"""The most doubles of an explicit part of a map."""


@dataclass(frozen=True, eq=False)
class Sums:
    """Numbers ``v_i = base_i + sum_k value_ik column[index_ik]``: value ``[m, w]``, base ``[m]``, and index ``[m, w]`` or, of all alike,
    ``[1, w]``. No column twice in a row, but where the value is 0.
    """

    index: Ints
    value: Array
    base: Array

    @classmethod
    def of(cls, owner: Ints, index: Ints, value: Array, base: Array) -> Sums:
        """From terms in any order, each of the number ``owner``; those of one column add up."""
        span = int(index.max(initial=0)) + 1
        place, at = np.unique(owner * span + index, return_inverse=True)
        owner, index = place // span, place % span
        slot = np.arange(place.size) - np.searchsorted(owner, np.arange(base.size))[owner]
        shape = base.size, int(slot.max(initial=-1)) + 1
        columns, values = np.zeros(shape, np.int64), np.zeros(shape)
        columns[owner, slot], values[owner, slot] = index, np.bincount(at, weights=value, minlength=place.size)
        return cls(columns, values, base)

    @classmethod
    def single(cls, width: int, at: Ints, column: Ints, scale: Array | float = 1.0) -> Sums:
        """Numbers ``[width]`` that are ``scale * column`` at the places ``at`` and 0 elsewhere."""
        index, value = np.zeros((width, 1), np.int64), np.zeros((width, 1))
        index[at, 0], value[at, 0] = column, scale
        return cls(index, value, np.zeros(width))

    def terms(self) -> tuple[Ints, Ints, Array]:
        """Whose each term is, its column and its value, which is not 0."""
        owner, slot = np.nonzero(self.value)
        return owner, self.index[owner if len(self.index) > 1 else 0, slot], self.value[owner, slot]

    def take(self, at: Ints) -> Sums:
        """The numbers at some places."""
        return Sums(self.index[at] if len(self.index) > 1 else self.index, self.value[at], self.base[at])

    def plus(self, column: Ints, scale: Array) -> Sums:
        """With further terms ``scale * column`` each, both ``[m, k]``."""
        index = np.concatenate([np.broadcast_to(self.index, self.value.shape), column], axis=1)
        return Sums(index, np.concatenate([self.value, scale], axis=1), self.base)

    def row(self, k: int) -> tuple[Ints, Array]:
        """Columns and coefficients of one number."""
        return self.index[k if len(self.index) > 1 else 0], self.value[k]

    def dense(self) -> tuple[Ints, Array]:
        """All columns ``[w]`` and the matrix ``[m, w]`` on them."""
        if len(self.index) == 1:
            return self.index[0], self.value
        owner, column, value = self.terms()
        index, at = np.unique(column, return_inverse=True)
        matrix = np.zeros((self.base.size, index.size))
        matrix[owner, at] = value
        return index, matrix

    def largest(self) -> Array:
        """The largest coefficient of each number, ``[m]``."""
        return np.asarray(np.abs(self.value).max(axis=1, initial=0.0))

    def most(self, reach: Array) -> Array:
        """How large the sums less their base are where columns are no larger than ``reach``, ``[m]``."""
        if len(self.index) == 1:
            return np.asarray(np.abs(self.value) @ reach[self.index[0]])
        return np.asarray(np.where(self.value == 0, 0.0, np.abs(self.value) * reach[self.index]).sum(axis=1))


_ENTRIES: WeakKeyDictionary[LinearMap, tuple[Sums, Sums | None]] = WeakKeyDictionary()


def entries(map_: LinearMap) -> tuple[Sums, Sums | None]:
    """The matrix of a map row by row, on the numbers of its source, and what its entries may be off by (None: nothing)."""
    if isinstance(map_, Dense):
        every, none = np.arange(map_.inputs)[None], np.zeros(map_.outputs)
        return Sums(every, map_.weight, none), None if map_.error is None else Sums(every, map_.error, none)
    known = _ENTRIES.get(map_)
    if known is None:
        step = max(1, _CHUNK // max(map_.inputs, map_.outputs))
        places = [np.arange(k, min(k + step, map_.outputs)) for k in range(0, map_.outputs, step)]
        off = rows_error(map_)
        known = _pressed([rows(map_, at) for at in places]), None if off is None else _pressed([off])
        _ENTRIES[map_] = known
    return known


def _pressed(parts: Sequence[Array]) -> Sums:
    """The entries of a matrix, handed over by parts, that are not 0."""
    found = [np.nonzero(part) for part in parts]
    value = np.concatenate([part[at] for part, at in zip(parts, found, strict=True)])
    before = np.cumsum([0, *(len(part) for part in parts)])
    owner = np.concatenate([first + at[0] for first, at in zip(before, found, strict=False)])
    return Sums.of(owner, np.concatenate([at[1] for at in found]), value, np.zeros(before[-1]))


def affine(node: Affine, values: Mapping[int, Sums], on_input: OnInput | None = None) -> Sums:
    """An affine node's numbers, composed of those of its sources; ``on_input`` is how a matrix acts on the input, where that is shorter."""
    base, parts = node.bias, []
    for source, map_ in zip(node.sources, node.maps, strict=True):
        given = values[source]
        if given.base.any():
            base = map_.apply(given.base) + base
        parts.append(_composed(map_, given, on_input if source == INPUT else None))
    if len(parts) == 1:
        return Sums(parts[0].index, parts[0].value, base)
    owner, index, value = (np.concatenate(terms) for terms in zip(*(part.terms() for part in parts), strict=True))
    return Sums.of(owner, index, value, base)


def _composed(map_: LinearMap, given: Sums, on_input: OnInput | None) -> Sums:
    """``M v`` but for the base."""
    none = np.zeros(map_.outputs)
    if isinstance(map_, Dense):
        if on_input is not None:
            index, matrix = on_input(map_.weight)
            return Sums(index[None], matrix, none)
        at, column, factor = given.terms()
        order = np.argsort(column, kind="stable")
        if (np.diff(column[order]) > 0).all():
            return Sums(column[None, order], map_.weight[:, at[order]] * factor[order], none)
    own, _ = entries(map_)
    owner, place, value = own.terms()
    some = given.take(place)
    times, value = some.value.shape[1], value[:, None] * some.value
    index = np.broadcast_to(some.index, value.shape)
    return Sums.of(np.repeat(owner, times), index.ravel(), value.ravel(), none)


def owned(graph: Graph) -> frozenset[int]:
    """The affine nodes that have columns of their own."""
    readers: list[list[LinearMap | None]] = [[] for _ in graph.nodes]
    for node in graph.nodes:
        if isinstance(node, Affine):
            for source, map_ in zip(node.sources, node.maps, strict=True):
                if source != INPUT:
                    readers[source].append(map_)
        else:
            readers[node.source].append(None)
    most, out = dict.fromkeys(range(INPUT, len(graph.nodes)), 1), []
    for k, node in enumerate(graph.nodes):
        if not isinstance(node, Affine) or readers[k] in ([], [None]):
            continue
        count = np.zeros(node.width, np.int64)
        for source, map_ in zip(node.sources, node.maps, strict=True):
            count += _counts(map_) * most[source]
        taken = [_counts(map_) for map_ in readers[k] if map_ is not None]
        alone = len(readers[k]) == len(taken) == 1 and taken[0].max() <= 1 and taken[0].sum() <= node.width
        if alone or count.max() <= 1:
            most[k] = int(count.max())
        else:
            out.append(k)
    return frozenset(out)


def _counts(map_: LinearMap) -> Ints:
    """How many numbers of its source each number of a map takes, ``[m]``."""
    return np.asarray(np.count_nonzero(entries(map_)[0].value, axis=1), np.int64)
