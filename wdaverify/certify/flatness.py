"""That rows of decided neurons leave no interior, in rationals: where the room is flat no float can prove it.

Multipliers ``y >= 0, y != 0`` of strict rows with ``sum y_r row_r <= 0`` everywhere in the box.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from wdaverify.graph.maps import rationals
from wdaverify.graph.nodes import INPUT, Elementwise, Graph
from wdaverify.network.model import Array

Ints = NDArray[np.int64]
_Coefficients = dict[int, Fraction]
_SUPPORT = 24
"""The most multipliers that a proof in rationals may use."""


class Box(Protocol):
    """What has sides ``lower, upper [n]``."""

    @property
    def lower(self) -> Array:
        """The lower sides."""
        ...

    @property
    def upper(self) -> Array:
        """The upper sides."""
        ...


@dataclass(frozen=True, eq=False)
class Strict:
    """Strict rows of neurons on a cell: each one's layer (an elementwise node by its number), neuron and sign.

    ``active`` are the active neurons of each layer.
    """

    layer: Sequence[int]
    neuron: Sequence[int]
    sign: Array
    active: Sequence[list[int]]


def flat(graph: Graph, rows: Strict, multipliers: Array, region: Box, still: Array) -> bool:
    """Whether multipliers near these prove, in rationals, that no point of the box satisfies every strict row."""
    if not graph.exact:
        return False
    size = np.abs(multipliers)
    chosen = np.flatnonzero(size > 1e-13 * size.max(initial=0.0))
    if not 0 < chosen.size <= _SUPPORT:
        return False
    table = [exact_row(graph, rows.active, rows.layer[r], rows.neuron[r], float(rows.sign[r])) for r in chosen.tolist()]
    moves = np.flatnonzero(~(still > 0)).tolist()
    if not all(any(row[0][k] for k in moves) for row in table):
        return False  # a row that is constant after all says nothing of an interior
    if _cancels(graph, rows, size, chosen, region):
        return True
    plain = [Fraction(float(v)) for v in size[chosen]]
    cancelled = np.abs(size[chosen] @ np.array([[float(v) for v in row[0]] for row in table]))
    columns = np.flatnonzero(cancelled <= 1e-7 * cancelled.max(initial=0.0) + 1e-9).tolist()
    for y in (_null_vector([[row[0][k] for k in columns] for row in table]), plain):
        if y is not None and all(v >= 0 for v in y) and any(v > 0 for v in y) and _never_positive(table, y, region):
            return True
    return False


def _cancels(graph: Graph, rows: Strict, size: Array, chosen: Ints, region: Box) -> bool:
    """Whether the rows of later layers are made up, in rationals, of the active rows of those before (however small the weights)."""
    largest = float(size[chosen].max())
    y = {(rows.layer[r], rows.neuron[r]): Fraction(float(size[r])) for r in chosen}
    signs = {
        (k, j): Fraction(float(sign)) for k, j, sign in zip(rows.layer, rows.neuron, rows.sign.tolist(), strict=True)
    }
    readers: dict[int, list[int]] = {}
    for number, k in enumerate(graph.elementwise):
        readers.setdefault(graph.source(k), []).append(number)

    def made_up(k: int, came: _Coefficients) -> _Coefficients:
        """What later rows leave of a node's values, with its own rows, chosen so as to cancel it where they nearly do."""
        for number in readers.get(k, []):
            for j in {j for layer, j in y if layer == number} | set(came):
                before, sign, own = came.get(j, Fraction(0)), signs.get((number, j)), y.get((number, j), Fraction(0))
                if sign is None:
                    continue
                rest = abs(float(sign * own + before))
                if before and rest <= max(1e-7 * abs(float(before)), 1e-12 * largest) and -before * sign >= 0:
                    own = -before * sign
                came[j] = before + own * sign
        return came

    slopes, constant = _on_cell(graph, rows.active, {}, made_up)
    return farthest(slopes, constant, region) <= 0


def farthest(slopes: dict[int, Fraction], constant: Fraction, region: Box) -> Fraction:
    """``max slopes . x + constant`` over the box (a number > 0 where that has no end)."""
    ends = [(v, float(region.upper[k] if v > 0 else region.lower[k])) for k, v in slopes.items() if v]
    if any(math.isinf(end) for _, end in ends):
        return Fraction(1)
    return sum((v * Fraction(end) for v, end in ends), constant)


def constant_sign(
    graph: Graph, active: Sequence[list[int]], layer: int, neuron: int, lower: Array, upper: Array
) -> int:
    """On which side of 0 a neuron is on a cell, in rationals, that no moving feature reaches: 1 where above, else -1; 0: unknown."""
    if not graph.exact:
        return 0
    slopes, constant = exact_row(graph, active, layer, neuron, 1.0)
    for slope, low, high in zip(slopes, lower.tolist(), upper.tolist(), strict=True):
        if slope and low != high:
            return 0
        constant += slope * Fraction(low) if slope else 0
    return 1 if constant > 0 else -1


def exact_row(
    graph: Graph, active: Sequence[list[int]], layer: int, neuron: int, sign: float
) -> tuple[list[Fraction], Fraction]:
    """``sign`` times a neuron's pre-activation on a cell, in rationals."""
    start = {graph.source(graph.elementwise[layer]): {neuron: Fraction(sign)}}
    slopes, constant = _on_cell(graph, active, start, lambda _, came: came)
    return [slopes.get(i, Fraction(0)) for i in range(graph.inputs)], constant


def _on_cell(
    graph: Graph,
    active: Sequence[list[int]],
    waiting: dict[int, _Coefficients],
    settled: Callable[[int, _Coefficients], _Coefficients],
) -> tuple[_Coefficients, Fraction]:
    """Coefficients of nodes' values as those of the input and a constant on a cell; of each affine node's they are settled first."""
    constant = Fraction(0)
    for k in range(len(graph.nodes) - 1, INPUT, -1):
        node, given = graph.nodes[k], waiting.pop(k, {})
        if isinstance(node, Elementwise):
            _add(waiting, node.source, given)
            continue
        given = {j: v for j, v in settled(k, given).items() if v}
        constant += sum((v * Fraction(float(node.bias[j])) for j, v in given.items()), Fraction(0))
        for source, map_ in zip(node.sources, node.maps, strict=True) if given else ():
            alive = active[graph.elementwise.index(source)] if source in graph.elementwise else range(map_.inputs)
            entries = rationals(map_, np.array(list(given), np.int64), np.array(alive, np.int64))
            for v, row in zip(given.values(), entries, strict=True):
                _add(waiting, source, {i: v * w for i, w in row.items()})
    return waiting.get(INPUT, {}), constant


def _add(waiting: dict[int, _Coefficients], node: int, given: _Coefficients) -> None:
    """Coefficients of a node's values from one of its consumers."""
    total = waiting.setdefault(node, {})
    for i, v in given.items():
        total[i] = total.get(i, Fraction(0)) + v


def _null_vector(table: list[list[Fraction]]) -> list[Fraction] | None:
    """``y`` with ``sum_r y_r table_r = 0`` and the last free entry 1, if there is one, by elimination in rationals.

    The columns are those that the multipliers found nearly cancel; the others are left to the box.
    """
    count = len(table)
    columns = [list(column) for column in zip(*table, strict=True) if any(column)]
    pivots: list[tuple[int, list[Fraction]]] = []
    for column in columns:
        for at, done in pivots:
            if column[at]:
                factor = column[at] / done[at]
                column = [a - factor * b for a, b in zip(column, done, strict=True)]
        lead = next((k for k, v in enumerate(column) if v), None)
        if lead is not None:
            pivots.append((lead, column))
    free = [k for k in range(count) if k not in {at for at, _ in pivots}]
    if not free:
        return None
    y = [Fraction(0)] * count
    y[free[-1]] = Fraction(1)
    for at, row in reversed(pivots):
        y[at] = -sum((row[k] * y[k] for k in range(count) if k != at), Fraction(0)) / row[at]
    return [-v for v in y] if all(v <= 0 for v in y) else y


def _never_positive(table: list[tuple[list[Fraction], Fraction]], y: list[Fraction], region: Box) -> bool:
    """Whether ``sum_r y_r (G_r x + g_r) <= 0`` all over the box."""
    total = sum((v * row[1] for v, row in zip(y, table, strict=True)), Fraction(0))
    slopes = {
        k: sum((v * row[0][k] for v, row in zip(y, table, strict=True)), Fraction(0)) for k in range(region.lower.size)
    }
    return farthest(slopes, total, region) <= 0
