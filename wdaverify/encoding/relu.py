"""The hidden layers as columns and rows (Tjeng, Xiao, Tedrake, arXiv 1711.07356, with the split ``z = h - s``).

For a neuron with pre-activation ``z`` in ``[l, u]``:

    dead      (u <= 0):      no column
    active    (l >= 0):      h in [l, u],           W h_prev + b = h
    unstable  (l < 0 < u):   h, s >= 0, delta in {0, 1},
                             W h_prev + b = h - s,   h <= u delta,   s <= -l (1 - delta)

or, relaxed, with the binary eliminated (the triangle; ``delta`` in [0, 1] leaves exactly this):

    unstable  (l < 0 < u):   0 <= h <= u,  0 <= s <= -l,  W h_prev + b = h - s,   (-l) h + u s <= u (-l)

where fixing the phase of a neuron is fixing a column: s = 0 if active, h = 0 if dead.

What fusing affine maps rounded travels along as an error per layer, ``e_k = E_k |h|_max + e_b + |W_k| e_(k-1)`` (ReLU is
1-Lipschitz): bounds widen by it, and so does the answer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from wdaverify.encoding.cost import EncodedInput, Region
from wdaverify.encoding.milp import Ints, ModelBuilder
from wdaverify.network.model import Array, Block
from wdaverify.rounding import UNIT_ROUNDOFF

HiddenBounds = Sequence[tuple[Array, Array]]
"""Per hidden block the pre-activation bounds ``(lower, upper)``, each ``[m]``, rounded outward."""


class Gadget(Protocol):
    """How open neurons are tied to their phase."""

    def tie(self, builder: ModelBuilder, above: Ints, below: Ints, low: Array, high: Array, names: Ints) -> None:
        """Add what ties the columns ``h = above`` and ``s = below`` of one layer's open neurons, ``low < 0 < high``.

        ``names`` number the neurons across all layers.
        """
        ...


class Binary:
    """One binary column a neuron."""

    def tie(self, builder: ModelBuilder, above: Ints, below: Ints, low: Array, high: Array, names: Ints) -> None:
        """``h <= u delta``, ``s <= -l (1 - delta)``."""
        phase = builder.columns(np.zeros(above.size), np.ones(above.size), integer=True)
        for k in range(above.size):
            builder.row(np.array([above[k], phase[k]]), np.array([1.0, -high[k]]), -np.inf, 0.0)
            builder.row(np.array([below[k], phase[k]]), np.array([1.0, -low[k]]), -np.inf, float(-low[k]))


@dataclass
class Chord:
    """One row a neuron; collects the columns and the names of all open neurons, layer by layer."""

    names: list[int] = field(default_factory=list)
    above: list[int] = field(default_factory=list)
    below: list[int] = field(default_factory=list)

    def tie(self, builder: ModelBuilder, above: Ints, below: Ints, low: Array, high: Array, names: Ints) -> None:
        """``(-l) h + u s <= u (-l)``, the right-hand side rounded up."""
        for k in range(above.size):
            side = math.nextafter(float(high[k]) * float(-low[k]), math.inf)
            builder.row(np.array([above[k], below[k]]), np.array([-low[k], high[k]]), -np.inf, side)
        self.names += names.tolist()
        self.above += above.tolist()
        self.below += below.tolist()


@dataclass(frozen=True, eq=False)
class EncodedMargin:
    """``z_rival - z_label = coefficient . v[index] + offset``, up to ``slack``."""

    index: Ints
    coefficient: Array
    offset: float
    slack: float


@dataclass(frozen=True, eq=False)
class _Previous:
    """What the next block acts on: columns, the rows of weights that apply, magnitudes and errors of the layer."""

    index: Ints
    alive: Ints
    magnitude: Array
    error: Array


def add_network(
    builder: ModelBuilder,
    blocks: Sequence[Block],
    bounds: HiddenBounds,
    region: Region,
    encoded: EncodedInput,
    label: int,
    rival: int,
    gadget: Gadget,
) -> EncodedMargin:
    """Columns and rows of every hidden layer; the margin of ``rival`` over ``label`` on top of them."""
    layer: _Previous | None = None
    first = 0
    for block, (low, high) in zip(blocks[:-1], bounds, strict=True):
        weights, index, constant, error = _affine(block, layer, region, encoded)
        low, high = np.nextafter(low - error, -np.inf), np.nextafter(high + error, np.inf)
        layer = _add_layer(builder, weights, index, constant, (low, high), error, gadget, first)
        first += low.size
    weights, index, constant, error = _affine(blocks[-1], layer, region, encoded)
    coefficient = weights[rival] - weights[label]
    magnitude = _column_magnitude(layer, region, encoded)
    rounding = 2 * UNIT_ROUNDOFF * (np.abs(coefficient) @ magnitude)
    offset = float(constant[rival] - constant[label])
    rounding += 2 * UNIT_ROUNDOFF * (abs(constant[rival]) + abs(constant[label]))
    slack = 1.0001 * float(rounding + error[rival] + error[label])
    return EncodedMargin(index, coefficient, offset, slack)


def _affine(
    block: Block, layer: _Previous | None, region: Region, encoded: EncodedInput
) -> tuple[Array, Ints, Array, Array]:
    """Weights on columns, the columns, the constant and the error ``[m]`` of one block's pre-activation."""
    if layer is None:
        constant, rounded = encoded.constant(block, region)
        error = rounded + block.weight_error @ region.magnitude() + block.bias_error
        return encoded.weights(block), encoded.index, constant, 2 * error
    error = block.weight_error @ layer.magnitude + block.bias_error + np.abs(block.weight) @ layer.error
    return block.weight[:, layer.alive], layer.index, block.bias, 2 * error


def _column_magnitude(layer: _Previous | None, region: Region, encoded: EncodedInput) -> Array:
    if layer is not None:
        return layer.magnitude[layer.alive]
    size = region.magnitude() + np.abs(region.centre)
    return size if encoded.negative_inputs is None else np.concatenate([size, size])


def _add_layer(
    builder: ModelBuilder,
    weights: Array,
    index: Ints,
    constant: Array,
    bounds: tuple[Array, Array],
    error: Array,
    gadget: Gadget,
    first: int,
) -> _Previous:
    """One ReLU layer, its neurons numbered from ``first``; dead neurons vanish."""
    low, high = bounds
    active, dead = low >= 0, high <= 0
    alive = np.flatnonzero(~dead)
    columns = builder.columns(np.where(active, low, 0.0)[alive], high[alive])
    opened = np.flatnonzero(~dead & ~active)
    below = builder.columns(np.zeros(opened.size), -low[opened])
    minus = {int(neuron): int(column) for neuron, column in zip(opened, below, strict=True)}
    for column, neuron in zip(columns, alive, strict=True):
        side, s = float(-constant[neuron]), minus.get(int(neuron))
        if s is None:
            builder.row(np.append(index, column), np.append(weights[neuron], -1.0), side, side)
        else:
            builder.row(np.append(index, [column, s]), np.append(weights[neuron], [-1.0, 1.0]), side, side)
    gadget.tie(builder, columns[np.searchsorted(alive, opened)], below, low[opened], high[opened], first + opened)
    return _Previous(columns, alive, np.maximum(high, 0.0), error)
