"""The level problem ``min ||x - x_i|| s.t. DLR(x, y) >= r`` over a region (docs/theory.md, section 4).

With the margins ``m_j = z_j - z_y`` of the rivals in descending order ``m_(1) >= m_(2) >= ...`` the set where
``m_(1) >= r (z_pi1 - z_pi3)`` is, whatever the rank of y,

    -1 <= r <= 0    m_(1) + r m_(2) >= 0
     0 <  r <= 1    (1 - r) m_(1) + r m_(2) >= 0
     1 <  r         (1 - r) m_(1) + r m_(3) >= 0     (K >= 4)
     r = inf        m_(3) >= m_(1), m_(3) >= least: three logits tie at the top, by so much above the label's

A lower bound of ``m_(k)`` is a column below k chosen margins, an upper bound of ``m_(k)`` one above all but k - 1 of them.
Points where the denominator is 0 belong to every level: the model's minimum is then less than the distance, never more.
"""

from __future__ import annotations

import math

import numpy as np

from wdaverify.encoding.cost import Region, add_input
from wdaverify.encoding.milp import Ints, MilpModel, ModelBuilder
from wdaverify.encoding.relu import HiddenBounds, add_margins
from wdaverify.graph.nodes import Graph
from wdaverify.network.model import Array


def level_model(
    graph: Graph,
    bounds: HiddenBounds,
    region: Region,
    label: int,
    level: float,
    *,
    least: float = 0.0,
) -> MilpModel:
    """The model whose minimum is at most the distance to the nearest point of the region at or above the level, ``r >= -1``."""
    builder = ModelBuilder()
    encoded = add_input(builder, region)
    rivals = [j for j in range(graph.outputs) if j != label]
    margins = add_margins(builder, graph, bounds, region, encoded, label, rivals)
    size = np.array([margin.size for margin in margins])
    columns = builder.columns(-size, size)
    for column, margin in zip(columns, margins, strict=True):
        side = -margin.offset
        index, value = np.append(margin.index, column), np.append(margin.coefficient, -1.0)
        builder.row(index, value, side - margin.slack, side + margin.slack)
    ranks = _Ranks(builder, columns, size)
    if level <= 0:
        parts = [(ranks.below(1), 1.0), (ranks.above(2), level)]
    elif level <= 1:
        parts = [(ranks.below(1), 1.0 - level), (ranks.below(2), level)]
    elif level < math.inf:
        parts = [(ranks.above(1), 1.0 - level), (ranks.below(3), level)]
    else:
        third = ranks.below(3)
        builder.row(np.array([third]), np.ones(1), least, math.inf)
        parts = [(third, 1.0), (ranks.above(1), -1.0)]
    builder.row(np.array([c for c, _ in parts]), np.array([v for _, v in parts]), 0.0, math.inf)
    return builder.build(
        maximise=False,
        index=encoded.cost,
        coefficient=encoded.price,
        offset=0.0,
        slack=0.0,
        centre=region.centre,
        inputs=encoded.inputs,
        negative_inputs=encoded.negative_inputs,
        step=encoded.step,
    )


class _Ranks:
    """Columns that bound the k-th largest margin."""

    def __init__(self, builder: ModelBuilder, columns: Ints, size: Array) -> None:
        self._builder, self._columns, self._size = builder, columns, size
        self._most = float(size.max())

    def _column(self) -> int:
        return int(self._builder.columns(np.array([-self._most]), np.array([self._most]))[0])

    def below(self, k: int) -> int:
        """A column that is at most the k-th largest margin: below k of them, chosen by binaries."""
        rank, count = self._column(), self._columns.size
        chosen = self._builder.columns(np.zeros(count), np.ones(count), integer=True)
        self._builder.row(chosen, np.ones(count), k, k)
        for column, binary, size in zip(self._columns, chosen, self._size, strict=True):
            room = self._most + float(size)
            self._builder.row(np.array([rank, column, binary]), np.array([1.0, -1.0, room]), -math.inf, room)
        return rank

    def above(self, k: int) -> int:
        """A column that is at least the k-th largest margin: above all but k - 1 of them, chosen by binaries."""
        rank, count = self._column(), self._columns.size
        left = self._builder.columns(np.zeros(count), np.full(count, float(k > 1)), integer=True)
        if k > 1:
            self._builder.row(left, np.ones(count), 0.0, k - 1)
        for column, binary, size in zip(self._columns, left, self._size, strict=True):
            room = self._most + float(size)
            self._builder.row(np.array([column, rank, binary]), np.array([1.0, -1.0, -room]), -math.inf, 0.0)
        return rank
