"""The largest slope ``max ||rows J u||`` over full-dimensional activation cells, as a mixed-integer program.

Next to the point x the direction u goes through the network with the same phases (docs/theory.md, section 7):

    first input     ||a u|| <= 1                        (l2: its box, and tangents that others add; Q a u for W_1 / a = L Q)
    open neuron     v_source = v - w,   |v| <= A delta,   |w| <= A (1 - delta)         A: its own slope on the region
    one functional  max c . v;   several, cost l1:  max sum_k p_k + n_k,  (rows v)_k = p_k - n_k,  p_k <= Y_k sigma_k, ...

with the neurons and their phases delta as in ``relu``, every function being one; an affine node is a sum over its sources' columns. The
bilinear ``delta v_source`` is exact at integer delta, and no sign of the gradient needs a binary: u takes it. Neurons of a node
whose pre-activations are multiples of each other share their phase, or have opposite ones, in the interior of every cell. Cells
without an interior are not all cut off by that: who solves the program asks of every answer whether its cell has one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from wdaverify.encoding.cost import EncodedInput, Region, add_rows
from wdaverify.encoding.milp import Ints, MilpModel, ModelBuilder, Quadratic
from wdaverify.encoding.relu import HiddenBounds, Layer, add_hidden
from wdaverify.errors import SolverError
from wdaverify.graph.maps import LinearMap, Same, known, rows_error
from wdaverify.graph.maps import rows as rows_of
from wdaverify.graph.nodes import INPUT, Affine, Graph
from wdaverify.ground import GroundCost, Norm, euclidean
from wdaverify.network.model import Array
from wdaverify.rounding import dot_error, underflow


@dataclass(frozen=True, eq=False)
class SlopeColumns:
    """Where the parts of a slope program are.

    Per elementwise node ``hidden``; ``along`` are the columns v of its living neurons, ``across`` the columns w of its open ones.
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


@dataclass(frozen=True, eq=False)
class _Sums:
    """A node's derivative along u: ``weight [m, c]`` on the columns ``index [c]``, no larger than ``reach [c]``, up to ``loose [m]``.

    ``plain``: each is one column up to its sign, or 0.
    """

    index: Ints
    weight: Array
    reach: Array
    loose: Array
    plain: bool

    @property
    def size(self) -> Array:
        """How large it may be, ``[m]``."""
        return np.asarray(np.abs(self.weight) @ self.reach + self.loose)


_Part = tuple[LinearMap, _Sums]
"""A map, and what it is applied to."""


def slope_model(
    graph: Graph,
    bounds: HiddenBounds,
    slopes: Sequence[Array],
    region: Region,
    rows: Array,
    still: Array,
) -> tuple[MilpModel, SlopeColumns]:
    """The model whose maximum plus its slack is at least the slope of ``rows [R, K]`` on the region.

    ``slopes [m]`` per elementwise node bound those of what it is applied to; features where ``still [n]`` do not move.

    Raises:
        SolverError: several rows with another cost than l1 (one problem a row answers l-inf), or an overflow.
    """
    if rows.shape[0] > 1 and region.norm is not Norm.ONE:
        raise SolverError("an integer program has one functional, or the columns' sums of several")
    builder = ModelBuilder()
    point = _point(builder, region)
    hidden = tuple(add_hidden(builder, graph, bounds, region, point))
    for k, layer in zip(graph.elementwise, hidden, strict=True):
        _tie(builder, graph, graph.source(k), layer)
    direction, stretch, entering = _direction(builder, graph, region.cost, still)
    if region.norm is Norm.TWO:
        _round(builder, region, point, direction, stretch)
    states = dict[int, _Sums]()
    along: list[Ints] = []
    across: list[Ints] = []
    for k, node in enumerate(graph.nodes):
        if isinstance(node, Affine):
            both = zip(node.sources, node.maps, strict=True)
            states[k] = _summed([entering[k] if s == INPUT else (map_, states[s]) for s, map_ in both])
            continue
        layer, most = hidden[len(along)], slopes[len(along)]
        v, w = _layer(builder, layer, states[node.source], most)
        along.append(v)
        across.append(w)
        states[k] = _Sums(v, np.eye(most.size)[:, layer.alive], most[layer.alive], np.zeros(most.size), True)
    last = states[len(graph.nodes) - 1]
    index, goal = last.index, rows @ last.weight
    with np.errstate(over="ignore", invalid="ignore"):
        size = np.abs(rows) @ np.abs(last.weight) @ last.reach
        slack = dot_error(rows.shape[1] + index.size + 8) * size + np.abs(rows) @ last.loose
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
    if region.norm is Norm.ONE and np.isfinite(region.far):
        centre = region.centre
        zeros = np.zeros_like(centre)
        above = builder.columns(zeros, np.nextafter(np.maximum(region.upper - centre, 0.0), np.inf))
        below = builder.columns(zeros, np.nextafter(np.maximum(centre - region.lower, 0.0), np.inf))
        both = np.concatenate([above, below])
        builder.row(both, np.tile(region.cost.scale(centre.size), 2), -np.inf, region.far)
        point = EncodedInput.free(above, below)
    else:
        point = EncodedInput.free(builder.columns(region.lower, region.upper))
    add_rows(builder, region, point)
    return point


def _round(builder: ModelBuilder, region: Region, point: EncodedInput, direction: Ints, stretch: Array) -> None:
    """``||stretch u||_2 <= 1`` and the l2 ball as quadratic rows, for who takes them; programs of cells add tangents instead."""
    none, nothing = np.zeros(0, np.int64), np.zeros(0)
    builder.quadratic(Quadratic(direction, np.nextafter(stretch**2, 0.0), none, nothing, 1.0))
    if np.isfinite(region.far):
        square, centre = region.cost.scale(region.centre.size) ** 2, region.centre
        size = float(square @ centre**2) + region.far**2
        side = region.far**2 - float(square @ centre**2) + dot_error(4 * centre.size + 16) * size
        builder.quadratic(Quadratic(point.inputs, square, point.inputs, -2 * square * centre, side))


def _direction(
    builder: ModelBuilder, graph: Graph, cost: GroundCost, still: Array
) -> tuple[Ints, Array, dict[int, _Part]]:
    """Columns of u, their stretch, and by node that reads the input what is to be applied to what."""
    n = graph.inputs
    free = np.flatnonzero(~(cost.fixed(n) | (still > 0)))
    scale = cost.scale(n)[free]
    longest = np.where(scale == 1, 1.0, np.nextafter(1 / scale, np.inf))
    unit, none = np.eye(n)[:, free], np.zeros(n)
    affine = [(k, node) for k, node in enumerate(graph.nodes) if isinstance(node, Affine) and INPUT in node.sources]
    readers = {k: node.maps[node.sources.index(INPUT)] for k, node in affine}
    if cost.norm is Norm.TWO and free.size > sum(map_.outputs for map_ in readers.values()):
        return _turned(builder, readers, free, scale)
    if cost.norm is Norm.ONE:
        above, below = (builder.columns(np.zeros(free.size), longest) for _ in range(2))
        both, scale = np.concatenate([above, below]), np.tile(scale, 2)
        builder.row(both, scale, -np.inf, 1.0)
        state = _Sums(both, np.hstack([unit, -unit]), np.tile(longest, 2), none, True)
    else:
        both = builder.columns(-longest, longest)
        state = _Sums(both, unit, longest, none, True)
    return both, scale, {k: (map_, state) for k, map_ in readers.items()}


def _turned(
    builder: ModelBuilder, readers: dict[int, LinearMap], free: Ints, scale: Array
) -> tuple[Ints, Array, dict[int, _Part]]:
    """The image ``Q u`` in m dimensions, with all readers' weights ``L Q``: no longer than u, up to what Q lacks of orthonormal rows."""
    weight = np.vstack([rows_of(map_)[:, free] for map_ in readers.values()]) / scale
    m, n = weight.shape
    q, triangle = np.linalg.qr(weight.T)
    turn, inner = q.T, triangle.T
    skew = np.abs(np.eye(m) - turn @ q).sum(axis=1).max(initial=0.0) + m * dot_error(n + 4)
    longest = np.full(m, 1 + skew)
    rest = np.abs(weight - inner @ turn) + dot_error(m + 8) * (np.abs(inner) @ np.abs(turn) + np.abs(weight))
    loose = 1.001 * euclidean(rest) + underflow(1)
    columns, parts, first = builder.columns(-longest, longest), dict[int, _Part](), 0
    for k, map_ in readers.items():
        own, off = slice(first, first + map_.outputs), rows_error(map_)
        lost = loose[own] if off is None else loose[own] + 2 * (off[:, free] @ np.nextafter(1 / scale, np.inf))
        parts[k] = Same(map_.outputs), _Sums(columns, inner[own], longest, lost, False)
        first += map_.outputs
    return columns, np.full(m, 1 / (1 + skew)), parts


def _summed(parts: list[_Part]) -> _Sums:
    """The sum of maps of derivatives; composing two maps, or adding up at one column, rounds."""
    index = np.unique(np.concatenate([given.index for _, given in parts]))
    width, terms = parts[0][0].outputs, 4 + len(parts) + max(map_.terms_out for map_, _ in parts) + index.size
    weight, reach, loose, rounded = (
        np.zeros((width, index.size)),
        np.zeros(index.size),
        np.zeros(width),
        np.zeros(width),
    )
    with np.errstate(over="ignore", invalid="ignore"):
        for map_, given in parts:
            at, off, stored = np.searchsorted(index, given.index), rows_error(map_), known(map_)[0]
            weight[:, at] += map_.apply(given.weight.T).T
            reach[at] = given.reach
            loose = loose + stored.apply(given.loose) + (0.0 if off is None else 2 * (off @ given.size))
            rounded = rounded + stored.apply(np.abs(given.weight) @ given.reach) * dot_error(terms)
            rounded = rounded + map_.lost_out * given.reach.sum()
    apart = index.size == sum(given.index.size for _, given in parts)
    if not apart or not all(given.plain or not map_.terms_out for map_, given in parts):
        loose = loose * (1 + dot_error(terms)) + rounded
    plain = apart and all(given.plain and not map_.terms_out for map_, given in parts) and len(parts) == 1
    return _Sums(index, weight, reach, loose, plain)


def _layer(builder: ModelBuilder, layer: Layer, given: _Sums, slopes: Array) -> tuple[Ints, Ints]:
    """``v`` of the living neurons and ``w`` of the open ones, with their rows."""
    alive, opened = layer.alive, layer.opened
    v = builder.columns(-slopes[alive], slopes[alive])
    w = builder.columns(-slopes[opened], slopes[opened])
    place = {int(neuron): k for k, neuron in enumerate(opened)}
    for column, neuron in zip(v.tolist(), alive.tolist(), strict=True):
        ends = [column] if neuron not in place else [column, int(w[place[neuron]])]
        parts = np.array([-1.0, 1.0][: len(ends)])
        side = float(given.loose[neuron])
        builder.row(np.append(given.index, ends), np.append(given.weight[neuron], parts), -side, side)
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


def _tie(builder: ModelBuilder, graph: Graph, source: int, layer: Layer) -> None:
    """The phases of open neurons whose pre-activations are multiples of each other, as sums of what their node reads."""
    node = graph.nodes[source]
    assert isinstance(node, Affine)
    if layer.opened.size < 2 or not node.exact or any(rows_error(map_) is not None for map_ in node.maps):
        return
    table = np.hstack([*(rows_of(map_, layer.opened) for map_ in node.maps), node.bias[layer.opened, None]])
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
