"""The hidden layers as columns and rows (Tjeng, Xiao, Tedrake, arXiv 1711.07356, with the split ``z = h - s``).

For a neuron with pre-activation ``z`` in ``[l, u]``:

    dead      (u <= 0):      no column
    active    (l >= 0):      h in [l, u],           W h_prev + b = h
    unstable  (l < 0 < u):   h, s >= 0, delta in {0, 1},
                             W h_prev + b = h - s,   h <= u delta,   s <= -l (1 - delta)

An affine node is a sum over columns (``encoding.columns``); one with columns of its own has them between what its sums can be. What the
network's numbers may be off by, and what composing rounds, travels along as an error per node (ReLU is 1-Lipschitz),

    e = sum_s E_s |v_s|_max + |M_s| e_s,  + e_b  + what is rounded

by which bounds widen, and so does the answer. Every function is a ReLU here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from wdaverify.encoding.columns import Sums, affine, entries, owned
from wdaverify.encoding.cost import EncodedInput, Region
from wdaverify.encoding.milp import Ints, ModelBuilder, Neurons
from wdaverify.graph.nodes import INPUT, Affine, Graph
from wdaverify.network.model import Array
from wdaverify.rounding import dot_error, underflow

HiddenBounds = Sequence[tuple[Array, Array]]
"""Per elementwise node the bounds of its argument ``(lower, upper)``, each ``[m]``, rounded outward."""


@dataclass(frozen=True, eq=False)
class EncodedMargin:
    """A functional of the outputs, ``coefficient . v[index] + offset``, up to ``slack``; no larger than ``size``."""

    index: Ints
    coefficient: Array
    offset: float
    slack: float
    size: float


@dataclass(frozen=True, eq=False)
class Layer:
    """An elementwise node as columns: what others act on, and where its open neurons are.

    ``index`` are the columns h of the neurons ``alive``, no larger than ``magnitude [m]`` and known up to ``error [m]``. ``opened``
    are the unstable ones, ``below`` and ``phase`` their columns s and delta.
    """

    index: Ints
    alive: Ints
    magnitude: Array
    error: Array
    opened: Ints
    below: Ints
    phase: Ints


@dataclass(frozen=True, eq=False)
class _Known:
    """A node: its numbers on columns, which are no larger than ``reach [c]``, and what these numbers may be off by, ``[m]``.

    Of an affine node that is composed ``own`` is None. Any other is columns times 1 or -1, so that composing it rounds no coefficient;
    ``own [m]`` is how large the network's numbers are.
    """

    sums: Sums
    error: Array
    reach: Array
    own: Array | None

    @cached_property
    def size(self) -> Array:
        """How large the sums are, ``[m]``."""
        return self.sums.most(self.reach) + np.abs(self.sums.base)

    @property
    def largest(self) -> Array:
        """How large the network's numbers are, ``[m]``."""
        return 1.001 * (self.size + self.error) if self.own is None else self.own


def add_network(
    builder: ModelBuilder,
    graph: Graph,
    bounds: HiddenBounds,
    region: Region,
    encoded: EncodedInput,
    label: int,
    rival: int,
) -> EncodedMargin:
    """Columns and rows of every node; the margin of ``rival`` over ``label`` on top of them."""
    return add_margins(builder, graph, bounds, region, encoded, label, [rival])[0]


def add_margins(
    builder: ModelBuilder,
    graph: Graph,
    bounds: HiddenBounds,
    region: Region,
    encoded: EncodedInput,
    label: int,
    rivals: Sequence[int],
) -> list[EncodedMargin]:
    """The same with the margins of several rivals."""
    return add_functionals(builder, graph, bounds, region, encoded, margin_rows(graph.outputs, label, rivals))


def margin_rows(classes: int, label: int, rivals: Sequence[int]) -> Array:
    """``z_j - z_y`` of rivals as functionals ``[R, K]``."""
    rows = np.zeros((len(rivals), classes))
    rows[np.arange(len(rivals)), list(rivals)] = 1.0
    rows[:, label] -= 1.0
    return rows


def add_functionals(
    builder: ModelBuilder,
    graph: Graph,
    bounds: HiddenBounds,
    region: Region,
    encoded: EncodedInput,
    rows: Array,
) -> list[EncodedMargin]:
    """The same with functionals ``rows [R, K]`` of the outputs."""
    _, top = _add_nodes(builder, graph, bounds, region, encoded)
    (index, weights), constant, error = top.sums.dense(), top.sums.base, top.error
    magnitude = top.reach[index]
    size, offsets = np.abs(weights) @ magnitude + np.abs(constant), rows @ constant
    out = []
    for row, coefficient, offset in zip(rows, rows @ weights, offsets.tolist(), strict=True):
        lost = dot_error(int(np.count_nonzero(row)) + 2) * float(np.abs(row) @ size) + underflow(index.size + 2)
        slack = 1.0001 * float(lost + np.abs(row) @ error)
        terms = float(np.abs(coefficient) @ magnitude)
        out.append(EncodedMargin(index, coefficient, offset, slack, 1.0001 * (terms + abs(offset) + slack)))
    return out


def add_hidden(
    builder: ModelBuilder,
    graph: Graph,
    bounds: HiddenBounds,
    region: Region,
    encoded: EncodedInput,
) -> list[Layer]:
    """Columns and rows of every node but for the sums that the last one is; its elementwise nodes."""
    return _add_nodes(builder, graph, bounds, region, encoded)[0]


def _add_nodes(
    builder: ModelBuilder, graph: Graph, bounds: HiddenBounds, region: Region, encoded: EncodedInput
) -> tuple[list[Layer], _Known]:
    """The elementwise nodes, and the last node."""
    point = _Known(encoded.sums(region.centre), np.zeros(graph.inputs), builder.reach(), region.magnitude())
    known, layers, own = {INPUT: point}, list[Layer](), owned(graph)
    for k, node in enumerate(graph.nodes):
        if isinstance(node, Affine):
            sums, reach = affine(node, {source: known[source].sums for source in node.sources}), builder.reach()
            composed = _Known(sums, _error(node, sums, known, reach), reach, None)
            known[k] = _on_own(builder, composed) if k in own else composed
            if k in own:
                builder.trace.own.append((k, known[k].sums.index[:, 0]))
            continue
        (low, high), source = bounds[len(layers)], known[node.source]
        low, high = np.nextafter(low - source.error, -np.inf), np.nextafter(high + source.error, np.inf)
        layer = _add_layer(builder, source.sums, (low, high), source.error)
        layers.append(layer)
        neurons = Neurons(k, layer.alive, layer.index, layer.opened, layer.below, layer.phase)
        builder.trace.neurons.append(neurons)
        single = Sums.single(low.size, layer.alive, layer.index)
        known[k] = _Known(single, layer.error, builder.reach(), layer.magnitude)
    return layers, known[len(graph.nodes) - 1]


def _error(node: Affine, sums: Sums, known: Mapping[int, _Known], reach: Array) -> Array:
    """What the sums of an affine node may be off by, ``[m]``."""
    terms, lost, off, rounded, carried = 1, np.zeros(node.width), list[Array](), list[Array](), list[Array]()
    exact = all(known[source].own is not None for source in node.sources)  # no column has two coefficients to add up
    for source, map_ in zip(node.sources, node.maps, strict=True):
        given, (matrix, wrong) = known[source], entries(map_)
        terms, lost = terms + max(map_.terms_out, 1), lost + map_.lost_out
        off += [] if wrong is None else [wrong.most(given.largest)]
        size = np.abs(given.sums.base) if exact else given.size
        rounded += [matrix.most(size)] if size.any() else []
        carried += [matrix.most(given.error)] if given.error.any() else []
    off += [] if node.bias_error is None else [node.bias_error]
    if rounded:
        off.insert(0, lost * (1 + reach[sums.index].sum(axis=1)))
        off.insert(0, dot_error(terms) * sum(rounded, np.abs(node.bias)))
    error = sum(off + carried, np.zeros(node.width))
    return np.asarray(2 * (error + underflow(2 * terms)) if error.any() else error)


def _on_own(builder: ModelBuilder, composed: _Known) -> _Known:
    """The same on columns of its own, between what its sums and the network's numbers can be."""
    sums = composed.sums
    lost = dot_error(sums.value.shape[1] + 2) * composed.size + underflow(sums.value.shape[1])
    ends = [np.where(sums.value == 0, 0.0, sums.value * side[sums.index]) for side in builder.bounds()]
    low = np.minimum(*ends).sum(axis=1) + sums.base - (lost + composed.error)
    high = np.maximum(*ends).sum(axis=1) + sums.base + (lost + composed.error)
    columns = builder.columns(low, high)
    for k, column in enumerate(columns):
        index, value = sums.row(k)
        side = float(-sums.base[k])
        builder.row(np.append(index, column), np.append(value, -1.0), side, side)
    single = Sums.single(low.size, np.arange(low.size), columns)
    return _Known(single, composed.error, builder.reach(), np.maximum(np.abs(low), np.abs(high)))


def _add_layer(
    builder: ModelBuilder,
    sums: Sums,
    bounds: tuple[Array, Array],
    error: Array,
) -> Layer:
    """One ReLU layer; dead neurons vanish."""
    low, high = bounds
    active, dead = low >= 0, high <= 0
    alive = np.flatnonzero(~dead)
    columns = builder.columns(np.where(active, low, 0.0)[alive], high[alive])
    opened = np.flatnonzero(~dead & ~active)
    below = builder.columns(np.zeros(opened.size), -low[opened])
    minus = {int(neuron): int(column) for neuron, column in zip(opened, below, strict=True)}
    for column, neuron in zip(columns, alive, strict=True):
        side, s = float(-sums.base[neuron]), minus.get(int(neuron))
        index, value = sums.row(int(neuron))
        if s is None:
            builder.row(np.append(index, column), np.append(value, -1.0), side, side)
        else:
            builder.row(np.append(index, [column, s]), np.append(value, [-1.0, 1.0]), side, side)
    phase = builder.columns(np.zeros(opened.size), np.ones(opened.size), integer=True)
    for k, neuron in enumerate(opened):
        above = columns[np.searchsorted(alive, neuron)]
        builder.row(np.array([above, phase[k]]), np.array([1.0, -high[neuron]]), -np.inf, 0.0)
        builder.row(np.array([below[k], phase[k]]), np.array([1.0, -low[neuron]]), -np.inf, float(-low[neuron]))
    return Layer(columns, alive, np.maximum(high, 0.0), error, opened, below, phase)
