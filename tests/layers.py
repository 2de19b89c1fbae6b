"""Networks of one path, layer by layer, as tests and their oracles write them; and the layers of a network that was read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wdaverify.graph.functions import relu
from wdaverify.graph.maps import Dense, LinearMap, Same, Select, rows, rows_error
from wdaverify.graph.maps import Diagonal as DiagonalMap
from wdaverify.graph.nodes import Affine as AffineNode
from wdaverify.graph.nodes import Elementwise, Graph, Node
from wdaverify.graph.rewrite import fused, relus
from wdaverify.network.model import Head, ReluNetwork

Array = NDArray[np.float64]


def readonly(values: ArrayLike) -> Array:
    out = np.array(values, np.float64, order="C")
    out.setflags(write=False)
    return out


@dataclass(frozen=True, eq=False)
class Affine:
    """``x -> weight @ x + bias``."""

    weight: Array
    bias: Array

    def __post_init__(self) -> None:
        for name in ("weight", "bias"):
            object.__setattr__(self, name, readonly(getattr(self, name)))


@dataclass(frozen=True, eq=False)
class Diagonal:
    """``x -> x * factor / divisor + shift``."""

    factor: Array
    divisor: Array
    shift: Array

    def __post_init__(self) -> None:
        for name in ("factor", "divisor", "shift"):
            object.__setattr__(self, name, readonly(getattr(self, name)))


@dataclass(frozen=True)
class Relu:
    """``x -> max(x, 0)``."""


Layer = Affine | Diagonal | Relu


def graph_from(layers: Sequence[Layer], inputs: int) -> Graph:
    """The layers as a graph."""
    nodes: list[Node] = []
    width = inputs

    def affine(map_: LinearMap, bias: Array) -> None:
        nodes.append(AffineNode((len(nodes) - 1,), (map_,), bias))

    for layer in layers:
        match layer:
            case Affine():
                affine(Dense(layer.weight), layer.bias)
                width = layer.weight.shape[0]
            case Diagonal():
                affine(DiagonalMap(layer.factor, layer.divisor), layer.shift)
            case Relu():
                if not nodes or isinstance(nodes[-1], Elementwise):
                    affine(Same(width), np.zeros(width))
                nodes.append(Elementwise(len(nodes) - 1, relu()))
    if not nodes or isinstance(nodes[-1], Elementwise):
        affine(Same(width), np.zeros(width))
    return Graph(tuple(nodes), inputs)


def network_of(
    layers: Sequence[Layer],
    input_shape: tuple[int, ...],
    output_shape: tuple[int, ...],
    sha256: str,
    name: str,
    notices: tuple[str, ...],
    head: Head | None = None,
) -> ReluNetwork:
    """A network of one path."""
    graph = graph_from(layers, int(np.prod(input_shape)))
    return ReluNetwork(graph, input_shape, output_shape, sha256, name, notices, head)


def layers_of(network: ReluNetwork) -> list[Layer]:
    """The layers of a network of one path."""
    out: list[Layer] = []
    for k, node in enumerate(network.graph.nodes):
        assert (node.sources if isinstance(node, AffineNode) else (node.source,)) == (k - 1,)
        if not isinstance(node, AffineNode):
            assert node.function.is_relu
            out.append(Relu())
            continue
        (map_,) = node.maps
        match map_:
            case Dense():
                out.append(Affine(map_.weight, node.bias))
            case Select():
                out.append(Affine(map_.apply(np.eye(map_.inputs)).T, node.bias))
            case DiagonalMap():
                out.append(Diagonal(map_.factor, map_.divisor, node.bias))
            case Same() if node.bias.any():
                out.append(Diagonal(np.ones(map_.width), np.ones(map_.width), node.bias))
            case _:
                assert isinstance(map_, Same)
    return out


@dataclass(frozen=True, eq=False)
class Block:
    """An affine node of a chain: its matrix and bias, and by how much each entry may be off."""

    weight: Array
    bias: Array
    weight_error: Array
    bias_error: Array

    @property
    def exact(self) -> bool:
        return not (self.weight_error.any() or self.bias_error.any())


def blocks_of(graph: Graph) -> tuple[Block, ...]:
    """The affine nodes of a chain of ReLUs, one after the other."""
    out = []
    for k, node in enumerate(graph.nodes):
        assert (node.sources if isinstance(node, AffineNode) else (node.source,)) == (k - 1,)
        if isinstance(node, AffineNode):
            (map_,) = node.maps
            weight, error = rows(map_), rows_error(map_)
            none = np.zeros_like(node.bias) if node.bias_error is None else node.bias_error
            out.append(Block(weight, node.bias, np.zeros_like(weight) if error is None else error, none))
    return tuple(out)


def fused_blocks(network: ReluNetwork) -> tuple[Block, ...]:
    """The same before hidden layers are brought to size."""
    return blocks_of(fused(relus(network.graph)))
