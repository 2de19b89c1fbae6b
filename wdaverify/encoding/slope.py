"""The largest slope ``max ||rows J u||`` over full-dimensional activation cells, as a mixed-integer program.

Next to the point x the direction u goes through the network with the same phases (docs/theory.md, section 7):

    first input     ||a u|| <= 1                        (l2: its box, and tangents that others add; Q a u for W_1 / a = L Q)
    open neuron     W v_prev = v - w,   |v| <= A delta,   |w| <= A (1 - delta)         A: its own slope on the region
    one functional  max c . v;   several, cost l1:  max sum_k p_k + n_k,  (rows W v)_k = p_k - n_k,  p_k <= Y_k sigma_k, ...

with the hidden layers and their phases delta as in ``relu``. The bilinear ``delta (W v_prev)`` is exact at integer delta, and
no sign of the gradient needs a binary: u takes it. Neurons of a layer whose pre-activations are multiples of each other share
their phase, or have opposite ones, in the interior of every cell. Cells without an interior are not all cut off by that: who
solves the program asks of every answer whether its cell has one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from wdaverify.encoding.cost import EncodedInput, Region
from wdaverify.encoding.milp import Ints, MilpModel, ModelBuilder
from wdaverify.encoding.relu import HiddenBounds, Layer, add_hidden
from wdaverify.errors import SolverError
from wdaverify.ground import GroundCost, Norm, euclidean
from wdaverify.network.model import Array, Block, graph_of
from wdaverify.rounding import dot_error, underflow


@dataclass(frozen=True, eq=False)
class SlopeColumns:
    """Where the parts of a slope program are.

    Per hidden layer ``hidden``; ``along`` are the columns v of its living neurons, ``across`` the columns w of its open ones.
    ``direction`` are the columns of u (l1: of its positive parts, then its negative ones; l2: of its image, if that is narrower),
    which are no longer than 1 after ``stretch``; ``signs`` are the columns of sigma.
    """

    point: EncodedInput
    direction: Ints
    stretch: Array
    hidden: tuple[Layer, ...]
    along: tuple[Ints, ...]
    across: tuple[Ints, ...]
    signs: Ints


def slope_model(
    blocks: Sequence[Block],
    bounds: HiddenBounds,
    slopes: Sequence[Array],
    region: Region,
    rows: Array,
    still: Array,
) -> tuple[MilpModel, SlopeColumns]:
    """The model whose maximum plus its slack is at least the slope of ``rows [R, K]`` on the region.

    ``slopes [m]`` per hidden block bound those of its pre-activations; features where ``still [n]`` do not move.

    Raises:
        SolverError: several rows with another cost than l1 (one problem a row answers l-inf), or an overflow.
    """
    if rows.shape[0] > 1 and region.norm is not Norm.ONE:
        raise SolverError("an integer program has one functional, or the columns' sums of several")
    builder = ModelBuilder()
    point = _point(builder, region)
    hidden = tuple(add_hidden(builder, graph_of(blocks), bounds, region, point))
    for block, layer in zip(blocks, hidden, strict=False):
        _tie(builder, block, layer)
    index, weight, size, stretch, off = _direction(builder, blocks[0], region.cost, still)
    direction = index
    along: list[Ints] = []
    across: list[Ints] = []
    loose = 2 * (blocks[0].weight_error @ size) + off
    for k, layer in enumerate(hidden):
        v, w = _layer(builder, layer, weight, index, slopes[k], loose)
        along.append(v)
        across.append(w)
        index, weight = v, blocks[k + 1].weight[:, layer.alive]
        size = slopes[k]
        loose = 2 * (blocks[k + 1].weight_error @ size)
    reach = size[hidden[-1].alive] if hidden else np.zeros(index.size) + size.max(initial=0.0)
    goal = rows @ weight
    with np.errstate(over="ignore", invalid="ignore"):
        size = np.abs(rows) @ np.abs(weight) @ reach
        slack = dot_error(rows.shape[1] + index.size + 8) * size + np.abs(rows) @ loose
    if not (np.isfinite(size) & np.isfinite(slack)).all():
        raise SolverError("slopes of this network overflow double precision; rescale its weights")
    if rows.shape[0] == 1:
        aim, coefficient, signs = index, goal[0], np.zeros(0, np.int64)
    else:
        aim, signs = _absolute(builder, index, goal, size + slack, slack)
        coefficient = np.ones(aim.size)
    model = builder.build(
        maximise=True,
        index=aim,
        coefficient=coefficient,
        offset=0.0,
        slack=1.001 * float(slack[0]) if rows.shape[0] == 1 else 0.0,
        centre=region.centre,
        inputs=point.inputs,
        negative_inputs=point.negative_inputs,
    )
    return model, SlopeColumns(point, direction, stretch, hidden, tuple(along), tuple(across), signs)


def _point(builder: ModelBuilder, region: Region) -> EncodedInput:
    """The input in its box, its l1 ball and its rows."""
    none = np.zeros(0, np.int64)
    if region.norm is Norm.ONE and np.isfinite(region.far):
        centre = region.centre
        zeros = np.zeros_like(centre)
        above = builder.columns(zeros, np.nextafter(np.maximum(region.upper - centre, 0.0), np.inf))
        below = builder.columns(zeros, np.nextafter(np.maximum(centre - region.lower, 0.0), np.inf))
        both = np.concatenate([above, below])
        builder.row(both, np.tile(region.cost.scale(centre.size), 2), -np.inf, region.far)
        if region.rows is not None:
            for row, low, high in zip(region.rows.matrix, region.rows.lower, region.rows.upper, strict=True):
                here, size = float(row @ centre), float(np.abs(row) @ np.abs(centre))
                sides = [float(low) - here, float(high) - here]
                lost = underflow(2 * centre.size)
                off = [dot_error(centre.size + 4) * (size + abs(s)) + lost if np.isfinite(s) else 0.0 for s in sides]
                builder.row(both, np.concatenate([row, -row]), sides[0] - off[0], sides[1] + off[1])
        return EncodedInput(above, below, none)
    inputs = builder.columns(region.lower, region.upper)
    if region.rows is not None:
        for row, low, high in zip(region.rows.matrix, region.rows.lower, region.rows.upper, strict=True):
            builder.row(inputs, row, float(low), float(high))
    return EncodedInput(inputs, None, none)


def _direction(
    builder: ModelBuilder, block: Block, cost: GroundCost, still: Array
) -> tuple[Ints, Array, Array, Array, Array]:
    """Columns of u, the first block's weights on them, the largest ``|u| [n]``, the columns' stretch, the weights' error ``[m]``."""
    m, n = block.weight.shape
    free = np.flatnonzero(~(cost.fixed(n) | (still > 0)))
    scale = cost.scale(n)[free]
    longest = np.where(scale == 1, 1.0, np.nextafter(1 / scale, np.inf))
    size, none = np.zeros(n), np.zeros(m)
    size[free] = longest
    weight = block.weight[:, free]
    if cost.norm is Norm.ONE:
        above, below = (builder.columns(np.zeros(free.size), longest) for _ in range(2))
        both = np.concatenate([above, below])
        builder.row(both, np.tile(scale, 2), -np.inf, 1.0)
        return both, np.hstack([weight, -weight]), size, np.tile(scale, 2), none
    if cost.norm is Norm.TWO and free.size > m:
        return _turned(builder, weight / scale, size)
    return builder.columns(-longest, longest), weight, size, scale, none


def _turned(builder: ModelBuilder, weight: Array, size: Array) -> tuple[Ints, Array, Array, Array, Array]:
    """The image ``Q u`` in m dimensions, with ``weight = L Q``: no longer than u, up to what Q lacks of orthonormal rows."""
    m, n = weight.shape
    q, triangle = np.linalg.qr(weight.T)
    turn, inner = q.T, triangle.T
    skew = np.abs(np.eye(m) - turn @ q).sum(axis=1).max(initial=0.0) + m * dot_error(n + 4)
    longest = np.full(m, 1 + skew)
    rest = np.abs(weight - inner @ turn) + dot_error(m + 8) * (np.abs(inner) @ np.abs(turn) + np.abs(weight))
    stretch = np.full(m, 1 / (1 + skew))
    return builder.columns(-longest, longest), inner, size, stretch, 1.001 * euclidean(rest) + underflow(1)


def _layer(
    builder: ModelBuilder, layer: Layer, weight: Array, index: Ints, slopes: Array, loose: Array
) -> tuple[Ints, Ints]:
    """``v`` of the living neurons and ``w`` of the open ones, with their rows."""
    alive, opened = layer.alive, layer.opened
    v = builder.columns(-slopes[alive], slopes[alive])
    w = builder.columns(-slopes[opened], slopes[opened])
    place = {int(neuron): k for k, neuron in enumerate(opened)}
    for column, neuron in zip(v.tolist(), alive.tolist(), strict=True):
        ends = [column] if neuron not in place else [column, int(w[place[neuron]])]
        parts = np.array([-1.0, 1.0][: len(ends)])
        side = float(loose[neuron])
        builder.row(np.append(index, ends), np.append(weight[neuron], parts), -side, side)
    for k, neuron in enumerate(opened.tolist()):
        most, phase = float(slopes[neuron]), int(layer.phase[k])
        here, there = int(v[np.searchsorted(alive, neuron)]), int(w[k])
        for sign in (1.0, -1.0):
            builder.row(np.array([here, phase]), np.array([sign, -most]), -np.inf, 0.0)
            builder.row(np.array([there, phase]), np.array([sign, most]), -np.inf, most)
    return v, w


def _absolute(builder: ModelBuilder, index: Ints, goal: Array, most: Array, loose: Array) -> tuple[Ints, Ints]:
    """Columns ``p, n`` with ``goal v = p - n`` and at most one of the two not 0, and their signs."""
    count = most.size
    zero = np.zeros(count)
    above, below = builder.columns(zero, most), builder.columns(zero, most)
    signs = builder.columns(zero, np.ones(count), integer=True)
    for k in range(count):
        pair = [int(above[k]), int(below[k])]
        builder.row(np.append(index, pair), np.append(goal[k], [-1.0, 1.0]), -float(loose[k]), float(loose[k]))
        builder.row(np.array([pair[0], signs[k]]), np.array([1.0, -most[k]]), -np.inf, 0.0)
        builder.row(np.array([pair[1], signs[k]]), np.array([1.0, most[k]]), -np.inf, float(most[k]))
    return np.concatenate([above, below]), signs


def _tie(builder: ModelBuilder, block: Block, layer: Layer) -> None:
    """The phases of open neurons whose pre-activations are multiples of each other."""
    if not block.exact or layer.opened.size < 2:
        return
    table = np.hstack([block.weight, block.bias[:, None]])[layer.opened]
    pivot = np.abs(table[:, :-1]).argmax(axis=1)
    scale = table[np.arange(pivot.size), pivot]
    shape = table / np.where(scale == 0, 1.0, scale)[:, None]
    for j in range(1, pivot.size):
        near = np.flatnonzero(np.abs(shape[:j] - shape[j]).max(axis=1) <= 1e-9 * np.abs(shape[j]).max())
        for i in near.tolist():
            if scale[i] and scale[j] and _proportional(table[i], table[j], int(pivot[i])):
                pair = layer.phase[[i, j]]
                if (scale[i] > 0) == (table[j, pivot[i]] > 0):
                    builder.row(pair, np.array([1.0, -1.0]), 0.0, 0.0)
                else:
                    builder.row(pair, np.array([1.0, 1.0]), 1.0, 1.0)
                break


def _proportional(first: Array, second: Array, pivot: int) -> bool:
    """Whether two vectors are multiples of each other, in rationals."""
    a, b = Fraction(float(first[pivot])), Fraction(float(second[pivot]))
    return b != 0 and all(
        Fraction(p) * b == Fraction(q) * a for p, q in zip(first.tolist(), second.tolist(), strict=True)
    )
