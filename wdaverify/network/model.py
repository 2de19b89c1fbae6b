"""The network as verified: affine and diagonal maps and ReLU, in the order of the file.

The reference meaning is real arithmetic on the weights as stored (docs/theory.md, section 1); ``forward`` is its
float64 evaluation. ``blocks`` is the canonical form ``W_k relu(... relu(W_1 x + b_1) ...) + b_k`` that bounds and
encodings use: consecutive affine maps are fused, what the fusing rounded is kept as an error per entry, and layers of very small or
very large numbers are scaled by powers of two.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from wdaverify.errors import NetworkError
from wdaverify.given import array, instance, listed, settle, whole, words
from wdaverify.graph.functions import relu
from wdaverify.graph.maps import Dense
from wdaverify.graph.nodes import Affine as AffineNode
from wdaverify.graph.nodes import Elementwise, Graph, Node
from wdaverify.network.balance import exponents, scaled
from wdaverify.rounding import UNIT_ROUNDOFF, dot_error, underflow

Array = NDArray[np.float64]


def readonly(array: NDArray[np.generic] | Array) -> Array:
    """A read-only, C-contiguous float64 copy."""
    out = np.array(array, dtype=np.float64, order="C", copy=True)
    out.setflags(write=False)
    return out


@dataclass(frozen=True, eq=False)
class Affine:
    """``x -> weight @ x + bias`` with weight ``[m, n]`` and bias ``[m]``."""

    weight: Array
    bias: Array

    def __post_init__(self) -> None:
        settle(self, weight=array("weight", self.weight, NetworkError), bias=array("bias", self.bias, NetworkError))
        if self.weight.ndim != 2 or 0 in self.weight.shape or self.bias.shape != self.weight.shape[:1]:
            raise NetworkError(
                f"an affine map of weight {list(self.weight.shape)} and bias {list(self.bias.shape)}: [m, n] and [m] are accepted"
            )


@dataclass(frozen=True, eq=False)
class Diagonal:
    """``x -> x * factor / divisor + shift``, elementwise, each ``[n]``; real division, kept exact by keeping it apart."""

    factor: Array
    divisor: Array
    shift: Array

    def __post_init__(self) -> None:
        names = ("factor", "divisor", "shift")
        settle(self, **{name: array(name, getattr(self, name), NetworkError) for name in names})
        if self.factor.ndim != 1 or not self.factor.size or len({getattr(self, name).shape for name in names}) > 1:
            shapes = ", ".join(f"{name} {list(getattr(self, name).shape)}" for name in names)
            raise NetworkError(f"a diagonal map of {shapes}: each [n] is accepted")
        if not self.divisor.all():
            raise NetworkError("a diagonal map divides by 0; divisors other than 0 are accepted")


@dataclass(frozen=True)
class Relu:
    """``x -> max(x, 0)``, elementwise."""


Layer = Affine | Diagonal | Relu
Head = Literal["softmax", "log-softmax"]


@dataclass(frozen=True, eq=False)
class Block:
    """One affine map of the canonical form, ``(W +- weight_error) x + (b +- bias_error)``; both errors are 0 if nothing was fused.

    weight ``[m, n]``, bias ``[m]``, weight_error ``[m, n]``, bias_error ``[m]``, all float64.
    """

    weight: Array
    bias: Array
    weight_error: Array
    bias_error: Array

    @property
    def exact(self) -> bool:
        """Whether the stored numbers are the network's own, with nothing rounded."""
        return not (self.weight_error.any() or self.bias_error.any())


@dataclass(frozen=True, eq=False)
class ReluNetwork:
    """A single-path ReLU network ``f: R^n -> R^K``.

    ``input_shape`` and ``output_shape`` are those of the file with the batch axis left out, so that
    ``prod(input_shape) == n_inputs``; points are flattened row-major. ``head`` is what the file ends in and the layers leave out:
    f is what stands in front of it. Questions about the network's own outputs are refused where there is one.
    """

    layers: tuple[Layer, ...]
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    sha256: str
    name: str
    notices: tuple[str, ...]
    head: Head | None = None

    def __post_init__(self) -> None:
        for text in ("sha256", "name"):
            instance(f"{text} of a network", getattr(self, text), str, "load_network(path) gives it", NetworkError)
        settle(
            self,
            layers=_layers(self.layers),
            input_shape=_shape("input_shape", self.input_shape),
            output_shape=_shape("output_shape", self.output_shape),
            notices=words("notices", self.notices, NetworkError),
        )
        width = self.n_inputs
        for k, layer in enumerate(self.layers):
            takes, gives = _widths(layer) or (width, width)
            if takes != width:
                raise NetworkError(f"layer {k} of {self.name} takes {takes} numbers where {width} reach it")
            width = gives
        if width != self.n_outputs:
            raise NetworkError(
                f"the layers of {self.name} end with {width} numbers, its output shape {list(self.output_shape)} has {self.n_outputs}"
            )

    @property
    def n_inputs(self) -> int:
        """The width n of the input."""
        return math.prod(self.input_shape)

    @property
    def n_outputs(self) -> int:
        """The width K of the output."""
        return math.prod(self.output_shape)

    @property
    def n_relus(self) -> int:
        """The number of ReLU neurons of the canonical form (a ReLU of a ReLU counts once)."""
        return sum(block.weight.shape[0] for block in self.blocks[:-1])

    @property
    def n_parameters(self) -> int:
        """The number of stored weights, biases, factors, divisors and shifts."""
        count = 0
        for layer in self.layers:
            if isinstance(layer, Affine):
                count += layer.weight.size + layer.bias.size
            elif isinstance(layer, Diagonal):
                count += int((layer.factor != 1).any()) * layer.factor.size
                count += int((layer.divisor != 1).any()) * layer.divisor.size
                count += int((layer.shift != 0).any()) * layer.shift.size
        return count

    def forward(self, x: Array) -> Array:
        """Logits ``[B, K]`` of points ``[B, n]`` in float64; not finite where they overflow."""
        h = np.asarray(x, dtype=np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            for layer in self.layers:
                h = _apply(layer, h)
        return h

    def forward_float32(self, x: Array) -> NDArray[np.float32]:
        """Logits ``[B, K]`` of points ``[B, n]`` in plain float32, as a runtime outside would give them."""
        h: NDArray[np.float32] = np.asarray(x, dtype=np.float32)
        for layer in self.layers:
            h = _apply_float32(layer, h)
        return h

    def gradient(self, x: Array, functional: Array) -> Array:
        """Gradients ``[B, n]`` of ``functional[b] . f`` (``[B, K]``) at ``x [B, n]``, with relu'(0) = 0; not finite where they overflow."""
        with np.errstate(over="ignore", invalid="ignore"):
            return self._gradient(x, functional)

    def _gradient(self, x: Array, functional: Array) -> Array:
        activations: list[Array] = []
        h = np.asarray(x, dtype=np.float64)
        for layer in self.layers:
            activations.append(h)
            h = _apply(layer, h)
        g = np.asarray(functional, dtype=np.float64)
        for layer, before in zip(reversed(self.layers), reversed(activations), strict=True):
            match layer:
                case Affine():
                    g = g @ layer.weight
                case Diagonal():
                    g = g * layer.factor / layer.divisor
                case Relu():
                    g = g * (before > 0)
        return g

    @cached_property
    def fused(self) -> tuple[Block, ...]:
        """Affine blocks with a ReLU between each two, as the layers have them; at least one block.

        Raises:
            NetworkError: composing consecutive affine maps overflows.
        """
        with np.errstate(over="ignore", invalid="ignore", under="ignore", divide="ignore"):
            return _fuse(self.layers, self.n_inputs)

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """The canonical form: ``fused``, with hidden layers whose numbers are far from 1 brought back to size, exactly.

        Raises:
            NetworkError: composing consecutive affine maps overflows.
        """
        return _balanced(self.fused)

    @cached_property
    def canonical(self) -> Graph:
        """``blocks`` as a graph: what bounds, encodings and engines go over.

        Raises:
            NetworkError: composing consecutive affine maps overflows.
        """
        return graph_of(self.blocks)


def graph_of(blocks: Sequence[Block]) -> Graph:
    """Blocks as a graph of dense maps with a ReLU between each two."""
    nodes: list[Node] = []
    for block in blocks:
        if nodes:
            nodes.append(Elementwise(len(nodes) - 1, relu()))
        error, bias_error = (None, None) if block.exact else (block.weight_error, block.bias_error)
        nodes.append(AffineNode((len(nodes) - 1,), (Dense(block.weight, error),), block.bias, bias_error))
    return Graph(tuple(nodes), int(blocks[0].weight.shape[1]))


def _layers(given: object) -> tuple[Layer, ...]:
    """The layers as a tuple."""
    accepted = "a tuple of Affine, Diagonal and Relu (load_network(path) reads one)"
    layers = listed("layers", given, accepted, NetworkError)
    if not all(isinstance(layer, Layer) for layer in layers):
        raise NetworkError(f"layers with other entries: {accepted} is accepted")
    return tuple(layers)


def _shape(name: str, given: object) -> tuple[int, ...]:
    """A shape as a tuple of ints."""
    sizes = listed(name, given, "a list of sizes, as (n,) or (channels, height, width),", NetworkError)
    return tuple(whole(name, size, "a size from 1 to 2^31", lambda n: 1 <= n <= 2**31, NetworkError) for size in sizes)


def _widths(layer: Layer) -> tuple[int, int] | None:
    """How many numbers a layer takes, and how many it gives; None where it takes any and gives as many."""
    match layer:
        case Affine():
            return layer.weight.shape[1], layer.weight.shape[0]
        case Diagonal():
            return layer.factor.size, layer.factor.size
        case Relu():
            return None


def _apply(layer: Layer, h: Array) -> Array:
    match layer:
        case Affine():
            return h @ layer.weight.T + layer.bias
        case Diagonal():
            return h * layer.factor / layer.divisor + layer.shift
        case Relu():
            return np.maximum(h, 0.0)


def _apply_float32(layer: Layer, h: NDArray[np.float32]) -> NDArray[np.float32]:
    single = np.float32
    match layer:
        case Affine():
            return np.asarray(h @ layer.weight.astype(single).T + layer.bias.astype(single), dtype=single)
        case Diagonal():
            scaled = h * layer.factor.astype(single)
            return np.asarray(scaled / layer.divisor.astype(single) + layer.shift.astype(single), dtype=single)
        case Relu():
            return np.maximum(h, single(0))


def _fuse(layers: tuple[Layer, ...], width: int) -> tuple[Block, ...]:
    """Fuse runs of affine maps between ReLUs; a run that is empty becomes an identity block (a ReLU of a ReLU vanishes)."""
    blocks: list[Block] = []
    run: list[Affine | Diagonal] = []
    for layer in layers:
        if not isinstance(layer, Relu):
            run.append(layer)
        elif run or not blocks:
            blocks.append(_compose(run, width))
            width = blocks[-1].weight.shape[0]
            run = []
    blocks.append(_compose(run, width))
    return tuple(blocks)


def _balanced(blocks: tuple[Block, ...]) -> tuple[Block, ...]:
    """The same function with hidden layers near 1 in size; the blocks as they are where that is so, or would round a number."""
    sizes = [*exponents([(block.weight, block.bias) for block in blocks[:-1]]), 0]
    if not any(sizes):
        return blocks
    out = list[Block]()
    for block, before, after in zip(blocks, [0, *sizes], sizes, strict=False):
        weight, bias = scaled(block.weight, after - before), scaled(block.bias, after)
        weight_error, bias_error = scaled(block.weight_error, after - before), scaled(block.bias_error, after)
        if weight is None or bias is None or weight_error is None or bias_error is None:
            return blocks
        out.append(Block(readonly(weight), readonly(bias), readonly(weight_error), readonly(bias_error)))
    return tuple(out)


def _compose(run: list[Affine | Diagonal], width: int) -> Block:
    """The composition of a run of affine maps as one block, every rounding carried into its errors.

    Kept while composing: a diagonal prefix ``x * f / g`` (for maps before the first matrix), then a dense block.
    """
    if not any(isinstance(layer, Affine) for layer in run):
        run = [Affine(np.eye(width), np.zeros(width)), *run]
    head = next(k for k, layer in enumerate(run) if isinstance(layer, Affine))
    first = run[head]
    assert isinstance(first, Affine)
    block = Block(first.weight, first.bias, np.zeros_like(first.weight), np.zeros_like(first.bias))
    for layer in reversed(run[:head]):
        assert isinstance(layer, Diagonal)
        block = _after_diagonal(block, layer)
    for later in run[head + 1 :]:
        block = _then_diagonal(block, later) if isinstance(later, Diagonal) else _then_affine(block, later)
    parts = (block.weight, block.bias, block.weight_error, block.bias_error)
    if not all(np.isfinite(part).all() for part in parts):
        raise NetworkError(
            "consecutive affine maps overflow double precision when composed; rescale the weights of the network"
        )
    return Block(*(readonly(part) for part in parts))


def _scaled(matrix: Array, error: Array, factor: Array, divisor: Array) -> tuple[Array, Array]:
    """``matrix * factor / divisor`` and its error; nothing is lost where both are 1."""
    touched = ((factor != 1) | (divisor != 1)) & ((matrix != 0) | (error != 0))
    product = matrix * factor
    out = product / divisor
    lost = underflow(1) + underflow(1) / np.abs(divisor)
    rounded = 4 * UNIT_ROUNDOFF * np.abs(out) + lost
    carried = 2 * (error * np.abs(factor) / np.abs(divisor))  # the factor over the divisor alone may vanish
    return out, np.where(touched, rounded + carried, error)


def _after_diagonal(block: Block, first: Diagonal) -> Block:
    """``block(first(x))``."""
    bias, bias_error = block.bias, block.bias_error
    if first.shift.any():
        terms = first.shift.size + 1
        bias = block.weight @ first.shift + block.bias
        size = np.abs(block.weight) @ np.abs(first.shift) + np.abs(block.bias)
        bias_error = 2 * (block.bias_error + block.weight_error @ np.abs(first.shift)) + dot_error(terms) * size
        bias_error = bias_error + underflow(terms)
    weight, weight_error = _scaled(block.weight, block.weight_error, first.factor[None, :], first.divisor[None, :])
    return Block(weight, bias, weight_error, bias_error)


def _then_diagonal(block: Block, later: Diagonal) -> Block:
    """``later(block(x))``; a shift onto a zero bias is exact."""
    weight, weight_error = _scaled(block.weight, block.weight_error, later.factor[:, None], later.divisor[:, None])
    bias, bias_error = _scaled(block.bias, block.bias_error, later.factor, later.divisor)
    shifted = bias + later.shift
    inexact = (bias != 0) & (later.shift != 0)
    return Block(weight, shifted, weight_error, bias_error + 2 * UNIT_ROUNDOFF * np.abs(shifted) * inexact)


def _then_affine(block: Block, later: Affine) -> Block:
    """``later(block(x))`` for two matrices in a row."""
    w, inner = np.abs(later.weight), later.weight.shape[1]
    factor = dot_error(inner + 1)
    weight = later.weight @ block.weight
    bias = later.weight @ block.bias + later.bias
    weight_error = 2 * (w @ block.weight_error) + factor * (w @ np.abs(block.weight)) + underflow(inner)
    bias_error = 2 * (w @ block.bias_error) + factor * (w @ np.abs(block.bias) + np.abs(later.bias)) + underflow(inner)
    return Block(weight, bias, weight_error, bias_error)
