"""A network as a directed graph: affine nodes that add up linear maps of earlier nodes, and elementwise functions of one.

    affine        z = sum_s M_s v_s + b         (a layer; a residual sum, a concatenation, a normalisation)
    elementwise   v = phi(z)

in topological order, the last one affine: the output. ``INPUT`` is the point itself (docs/theory.md, section 10).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from wdaverify.graph.functions import PiecewiseLinear
from wdaverify.graph.maps import Array, LinearMap, known

INPUT = -1
"""In place of a node: the point."""


@dataclass(frozen=True, eq=False)
class Affine:
    """``sum_k maps[k](v_(sources[k])) + bias``; a source may occur once. The bias is known up to ``bias_error`` (None: exactly)."""

    sources: tuple[int, ...]
    maps: tuple[LinearMap, ...]
    bias: Array
    bias_error: Array | None = None

    @property
    def width(self) -> int:
        """m."""
        return int(self.bias.size)

    @property
    def exact(self) -> bool:
        """Whether the numbers are the network's own, with nothing rounded."""
        return self.bias_error is None and all(known(map_)[1] is None for map_ in self.maps)


@dataclass(frozen=True, eq=False)
class Elementwise:
    """``function(z_source)``."""

    source: int
    function: PiecewiseLinear


Node = Affine | Elementwise


@dataclass(frozen=True, eq=False)
class Graph:
    """Nodes over points of ``inputs`` numbers.

    Raises:
        ValueError: a node reads a later one, widths do not go together, or the last node is not affine.
    """

    nodes: tuple[Node, ...]
    inputs: int

    def __post_init__(self) -> None:
        if not self.nodes or not isinstance(self.nodes[-1], Affine):
            raise ValueError("a graph ends in an affine node; of an elementwise one the identity makes one")
        for k, node in enumerate(self.nodes):
            sources = node.sources if isinstance(node, Affine) else (node.source,)
            if not all(INPUT <= s < k for s in sources) or len(set(sources)) < len(sources):
                raise ValueError(f"node {k} reads {sources}: earlier nodes, each once, are accepted")
            if isinstance(node, Affine):
                found = [(m.inputs, m.outputs) for m in node.maps]
                if found != [(self.width(s), node.width) for s in sources]:
                    raise ValueError(
                        f"node {k}: maps {found} from {[self.width(s) for s in sources]} to {node.width} numbers"
                    )
            elif not isinstance(self.nodes[node.source] if node.source >= 0 else None, Affine):
                raise ValueError(f"node {k}: a function of an affine node is accepted")

    def width(self, k: int) -> int:
        """How many numbers a node has."""
        if k == INPUT:
            return self.inputs
        node = self.nodes[k]
        return node.width if isinstance(node, Affine) else self.width(node.source)

    def source(self, k: int) -> int:
        """What the function of an elementwise node is applied to."""
        node = self.nodes[k]
        assert isinstance(node, Elementwise)
        return node.source

    @property
    def outputs(self) -> int:
        """The width of the last node."""
        return self.width(len(self.nodes) - 1)

    @cached_property
    def elementwise(self) -> tuple[int, ...]:
        """The places of the elementwise nodes, in order: their neurons are counted through."""
        return tuple(k for k, node in enumerate(self.nodes) if isinstance(node, Elementwise))

    @cached_property
    def edges(self) -> NDArray[np.int64]:
        """Where each elementwise node's neurons begin among all, and where the last one's end."""
        return np.concatenate([[0], np.cumsum([self.width(k) for k in self.elementwise])]).astype(np.int64)

    @property
    def neurons(self) -> int:
        """The number M of neurons: entries that a function is applied to."""
        return int(self.edges[-1])

    @cached_property
    def exact(self) -> bool:
        """Whether every affine node is."""
        return all(node.exact for node in self.nodes if isinstance(node, Affine))

    def values(self, x: Array) -> list[Array]:
        """Every node at points ``x [..., n]``, in float64."""
        out: list[Array] = []
        for node in self.nodes:
            if isinstance(node, Affine):
                terms = [m.apply(x if s == INPUT else out[s]) for s, m in zip(node.sources, node.maps, strict=True)]
                out.append(np.asarray(sum(terms[1:], start=terms[0]) + node.bias))
            else:
                out.append(node.function.value(out[node.source]))
        return out

    def forward(self, x: Array) -> Array:
        """The output ``[..., K]`` at points ``x [..., n]``, in float64."""
        return self.values(x)[-1]


def chain(layers: Sequence[tuple[LinearMap, Array]], function: PiecewiseLinear) -> Graph:
    """``(M_k, b_k)`` one after the other with a function between each two."""
    nodes: list[Node] = []
    for k, (map_, bias) in enumerate(layers):
        if k:
            nodes.append(Elementwise(len(nodes) - 1, function))
        nodes.append(Affine((len(nodes) - 1,), (map_,), bias))
    return Graph(tuple(nodes), layers[0][0].inputs)
