"""The hidden layers as columns and rows (Tjeng, Xiao, Tedrake, arXiv 1711.07356, with the split ``z = h - s``).

For a neuron with pre-activation ``z`` in ``[l, u]``:

    dead      (u <= 0):      no column
    active    (l >= 0):      h in [l, u],           W h_prev + b = h
    unstable  (l < 0 < u):   h, s >= 0, delta in {0, 1},
                             W h_prev + b = h - s,   h <= u delta,   s <= -l (1 - delta)

What fusing affine maps rounded travels along as an error per layer, ``e_k = E_k |h|_max + e_b + |W_k| e_(k-1)`` (ReLU is
1-Lipschitz): bounds widen by it, and so does the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wdaverify.encoding.cost import EncodedInput, Region
from wdaverify.encoding.milp import Ints, ModelBuilder
from wdaverify.network.model import Array, Block
from wdaverify.rounding import UNIT_ROUNDOFF, underflow

HiddenBounds = Sequence[tuple[Array, Array]]
"""Per hidden block the pre-activation bounds ``(lower, upper)``, each ``[m]``, rounded outward."""


@dataclass(frozen=True, eq=False)
class EncodedMargin:
    """``z_rival - z_label = coefficient . v[index] + offset``, up to ``slack``; no larger than ``size``."""

    index: Ints
    coefficient: Array
    offset: float
    slack: float
    size: float


@dataclass(frozen=True, eq=False)
class Layer:
    """A hidden layer as columns: what the next block acts on, and where its open neurons are.

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


def add_network(
    builder: ModelBuilder,
    blocks: Sequence[Block],
    bounds: HiddenBounds,
    region: Region,
    encoded: EncodedInput,
    label: int,
    rival: int,
) -> EncodedMargin:
    """Columns and rows of every hidden layer; the margin of ``rival`` over ``label`` on top of them."""
    return add_margins(builder, blocks, bounds, region, encoded, label, [rival])[0]


def add_margins(
    builder: ModelBuilder,
    blocks: Sequence[Block],
    bounds: HiddenBounds,
    region: Region,
    encoded: EncodedInput,
    label: int,
    rivals: Sequence[int],
) -> list[EncodedMargin]:
    """The same with the margins of several rivals."""
    layers = add_hidden(builder, blocks, bounds, region, encoded)
    layer = layers[-1] if layers else None
    weights, index, constant, error = _affine(blocks[-1], layer, region, encoded)
    magnitude = _column_magnitude(layer, region, encoded)
    out = []
    for rival in rivals:
        coefficient = weights[rival] - weights[label]
        terms = float(np.abs(coefficient) @ magnitude)
        offset = float(constant[rival] - constant[label])
        rounding = 2 * UNIT_ROUNDOFF * (terms + abs(constant[rival]) + abs(constant[label]))
        slack = 1.0001 * float(rounding + error[rival] + error[label])
        out.append(EncodedMargin(index, coefficient, offset, slack, 1.0001 * (terms + abs(offset) + slack)))
    return out


def add_hidden(
    builder: ModelBuilder,
    blocks: Sequence[Block],
    bounds: HiddenBounds,
    region: Region,
    encoded: EncodedInput,
) -> list[Layer]:
    """Columns and rows of every hidden layer."""
    layers: list[Layer] = []
    for block, (low, high) in zip(blocks[:-1], bounds, strict=True):
        weights, index, constant, error = _affine(block, layers[-1] if layers else None, region, encoded)
        low, high = np.nextafter(low - error, -np.inf), np.nextafter(high + error, np.inf)
        layers.append(_add_layer(builder, weights, index, constant, (low, high), error))
    return layers


def _affine(
    block: Block, layer: Layer | None, region: Region, encoded: EncodedInput
) -> tuple[Array, Ints, Array, Array]:
    """Weights on columns, the columns, the constant and the error ``[m]`` of one block's pre-activation."""
    if layer is None:
        constant, rounded = encoded.constant(block, region)
        error = rounded + block.weight_error @ region.magnitude() + block.bias_error + _lost(block)
        return encoded.weights(block), encoded.index, constant, 2 * error
    error = block.weight_error @ layer.magnitude + block.bias_error + np.abs(block.weight) @ layer.error + _lost(block)
    return block.weight[:, layer.alive], layer.index, block.bias, 2 * error


def _lost(block: Block) -> float:
    """What the products that make up an error may themselves lose to underflow."""
    return 0.0 if block.exact else underflow(2 * block.weight.shape[1])


def _column_magnitude(layer: Layer | None, region: Region, encoded: EncodedInput) -> Array:
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
        side, s = float(-constant[neuron]), minus.get(int(neuron))
        if s is None:
            builder.row(np.append(index, column), np.append(weights[neuron], -1.0), side, side)
        else:
            builder.row(np.append(index, [column, s]), np.append(weights[neuron], [-1.0, 1.0]), side, side)
    phase = builder.columns(np.zeros(opened.size), np.ones(opened.size), integer=True)
    for k, neuron in enumerate(opened):
        above = columns[np.searchsorted(alive, neuron)]
        builder.row(np.array([above, phase[k]]), np.array([1.0, -high[neuron]]), -np.inf, 0.0)
        builder.row(np.array([below[k], phase[k]]), np.array([1.0, -low[neuron]]), -np.inf, float(-low[neuron]))
    return Layer(columns, alive, np.maximum(high, 0.0), error, opened, below, phase)
