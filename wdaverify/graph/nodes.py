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
from numpy.typing import ArrayLike, NDArray

from wdaverify.errors import NetworkError
from wdaverify.given import array, listed, settle, told, whole
from wdaverify.graph.functions import PiecewiseLinear
from wdaverify.graph.maps import Array, Change, Dense, LinearMap, errors, known, unchecked
from wdaverify.graph.smooth.curve import Smooth

INPUT = -1
"""In place of a node: the point."""

Function = PiecewiseLinear | Smooth
"""What an elementwise node applies: every pass over a graph knows these alone by what they enclose."""


@dataclass(frozen=True, eq=False)
class Affine:
    """``sum_k maps[k](v_(sources[k])) + bias``; a source may occur once. The bias is known up to ``bias_error`` (None: exactly)."""

    sources: tuple[int, ...]
    maps: tuple[LinearMap, ...]
    bias: Array
    bias_error: Array | None = None

    def __post_init__(self) -> None:
        sources = listed(
            "sources", self.sources, "a tuple of places of earlier nodes, INPUT for the point,", NetworkError
        )
        maps = listed("maps", self.maps, "a tuple of linear maps, one a source,", NetworkError)
        if not all(isinstance(m, LinearMap) for m in maps) or not 0 < len(maps) == len(sources):
            raise NetworkError(
                f"{len(maps)} maps of {len(sources)} sources: one linear map (Dense, Convolution, ...) a source is accepted"
            )
        places = tuple(
            whole("a source", s, "the place of a node, or INPUT", lambda n: n >= INPUT, NetworkError) for s in sources
        )
        settle(self, sources=places, maps=tuple(maps))
        settle(self, bias=array("bias", self.bias, NetworkError), bias_error=errors(self.bias_error))
        if self.bias.shape != (maps[0].outputs,):
            raise NetworkError(
                f"a bias of shape {list(self.bias.shape)}: [{maps[0].outputs}] is accepted, as the map gives"
            )

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
    function: Function

    def __post_init__(self) -> None:
        place = whole("source", self.source, "the place of a node", lambda n: n >= 0, NetworkError)
        settle(self, source=place)
        if not isinstance(self.function, Function):
            raise NetworkError(
                f"function of a node {told(self.function)}: a PiecewiseLinear, as relu() makes one, or a Smooth is accepted"
            )


Node = Affine | Elementwise


@dataclass(frozen=True, eq=False)
class Graph:
    """Nodes over points of ``inputs`` numbers.

    Raises:
        NetworkError: a node reads a later one, widths do not go together, or the last node is not affine.
    """

    nodes: tuple[Node, ...]
    inputs: int

    def __post_init__(self) -> None:
        nodes = listed("nodes", self.nodes, "a tuple of Affine and Elementwise nodes", NetworkError)
        if not all(isinstance(node, Node) for node in nodes):
            raise NetworkError("nodes with other entries: Affine and Elementwise are accepted")
        settle(
            self,
            nodes=tuple(nodes),
            inputs=whole("inputs", self.inputs, "a size from 1 to 2^31", lambda n: 0 < n <= 2**31, NetworkError),
        )
        if not self.nodes or not isinstance(self.nodes[-1], Affine):
            raise NetworkError("a graph ends in an affine node; of an elementwise one the identity makes one")
        for k, node in enumerate(self.nodes):
            sources = node.sources if isinstance(node, Affine) else (node.source,)
            if not all(INPUT <= s < k for s in sources) or len(set(sources)) < len(sources):
                raise NetworkError(f"node {k} reads {sources}: earlier nodes, each once, are accepted")
            if isinstance(node, Affine):
                found = [(m.inputs, m.outputs) for m in node.maps]
                if found != [(self.width(s), node.width) for s in sources]:
                    raise NetworkError(
                        f"node {k}: maps {found} from {[self.width(s) for s in sources]} to {node.width} numbers"
                    )
            elif not isinstance(self.nodes[node.source] if node.source >= 0 else None, Affine):
                raise NetworkError(f"node {k}: a function of an affine node is accepted")

    def width(self, k: int) -> int:
        """How many numbers a node has."""
        return width_of(self.nodes, k, self.inputs)

    def like(self, change: Change) -> Graph:
        """The same graph with every stored number changed; what functions are made of stays."""
        nodes = tuple(
            unchecked(
                Affine,
                sources=node.sources,
                maps=tuple(m.like(change) for m in node.maps),
                bias=change(node.bias),
                bias_error=None,
            )
            if isinstance(node, Affine)
            else node
            for node in self.nodes
        )
        return Graph(nodes, self.inputs)

    @cached_property
    def exact(self) -> bool:
        """Whether every stored number is the network's own, a double: no map and no bias is known up to an error only."""
        affine = [node for node in self.nodes if isinstance(node, Affine)]
        stored = [part for node in affine for part in (node.bias, *(n for m in node.maps for n in m.numbers))]
        known = all(node.bias_error is None and all(m.exact for m in node.maps) for node in affine)
        return known and all(part.dtype == np.float64 for part in stored)

    @cached_property
    def widest(self) -> int:
        """The width of the widest node, or the input."""
        return max(self.inputs, *(self.width(k) for k in range(len(self.nodes))))

    def source(self, k: int) -> int:
        """What the function of an elementwise node is applied to."""
        node = self.nodes[k]
        assert isinstance(node, Elementwise)
        return node.source

    def function(self, k: int) -> Function:
        """What an elementwise node applies."""
        node = self.nodes[k]
        assert isinstance(node, Elementwise)
        return node.function

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
    def curved(self) -> tuple[str, ...]:
        """The names of the functions that are not piecewise linear, each once."""
        found = [node.function for node in self.nodes if isinstance(node, Elementwise)]
        return tuple(dict.fromkeys(function.name for function in found if isinstance(function, Smooth)))

    @property
    def products(self) -> int:
        """How many products going through all maps once takes: of a chain of matrices their entries."""
        return sum(m.outputs * m.terms_out for node in self.nodes if isinstance(node, Affine) for m in node.maps)

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


def width_of(nodes: Sequence[Node], k: int, inputs: int) -> int:
    """How many numbers node k has, or the input."""
    if k == INPUT:
        return inputs
    node = nodes[k]
    return node.width if isinstance(node, Affine) else width_of(nodes, node.source, inputs)


def chain(layers: Sequence[tuple[LinearMap | ArrayLike, ArrayLike]], function: Function) -> Graph:
    """``(M_k, b_k)`` one after the other with a function between each two; an array ``[m, n]`` is a dense map."""
    nodes: list[Node] = []
    accepted = "a list of pairs (matrix or linear map, bias)"
    for pair in listed("layers", layers, accepted, NetworkError):
        parts = listed("a layer", pair, accepted, NetworkError)
        if len(parts) != 2:
            raise NetworkError(f"a layer of {len(parts)} parts: {accepted} is accepted")
        map_, bias = parts
        if nodes:
            nodes.append(Elementwise(len(nodes) - 1, function))
        linear = map_ if isinstance(map_, LinearMap) else Dense(map_)
        nodes.append(Affine((len(nodes) - 1,), (linear,), bias))
    first = nodes[0] if nodes else None
    return Graph(tuple(nodes), first.maps[0].inputs if isinstance(first, Affine) else 1)
