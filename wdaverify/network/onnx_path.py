"""The path through the file's graph while it is read: exact nodes so far, and where each feature stands in the tensor.

The activation is a node's vector ``h [n]`` of features; ``layout``, of the tensor's shape with the batch axis at size 1, holds
at each entry the number of the feature that stands there. Weights are brought into feature order by permuting them,
which rounds nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wdaverify.errors import NetworkError
from wdaverify.graph.functions import Larger
from wdaverify.graph.maps import Dense, Diagonal, LinearMap, Same, Select
from wdaverify.graph.nodes import INPUT, Affine, Elementwise, Function, Graph, width_of
from wdaverify.graph.nodes import Node as GraphNode
from wdaverify.graph.unread import reached
from wdaverify.network.model import Array
from wdaverify.network.onnx_nodes import Node
from wdaverify.network.onnx_tensors import Tensor

MAX_DERIVED, DERIVED_TIMES = 2**24, 4
"""How many numbers may be made of those in the file: so many times as many, and so many beyond."""

MAX_COPIES = 2**14
"""How often one number may stand in a tensor that is computed with."""


@dataclass(eq=False)
class Allowance:
    """How many numbers may still be made: a file of few bytes that names the same weights often would fill the memory."""

    most: int
    taken: int = 0

    @classmethod
    def beside(cls, stored: int) -> Allowance:
        """What a file that holds so many numbers may become."""
        return cls(MAX_DERIVED + DERIVED_TIMES * stored)

    def store(self, count: int) -> None:
        """The file holds so many numbers more."""
        self.most += DERIVED_TIMES * count

    def take(self, count: int) -> None:
        """Raises NetworkError if so many more are too many."""
        self.taken += count
        if self.taken > self.most:
            raise NetworkError(
                f"the network would take more than {self.most} numbers, {DERIVED_TIMES} times what its file holds and "
                f"{MAX_DERIVED} more; the same constants are used too often, or narrow layers are followed by wide ones"
            )


@dataclass(frozen=True, eq=False)
class Place:
    """A computed tensor: the node whose features it holds (``INPUT``: the network's own), where each stands in it, and its type.

    An entry of ``layout`` is the number of a feature; several entries may hold one feature, and some features none.
    """

    at: int
    layout: NDArray[np.int64]
    dtype: np.dtype[Any]


@dataclass(eq=False)
class Path:
    """The network up to some node: the graph's nodes, and the tensor at hand (``Place``)."""

    layout: NDArray[np.int64]
    dtype: np.dtype[Any]
    inputs: int
    nodes: list[GraphNode]
    notices: list[str]
    allowance: Allowance
    batch: int = 1
    """How many samples the file takes at once: one of them is read."""
    at: int = INPUT
    """The node whose values the tensor holds."""
    not_float32: list[str] = field(default_factory=list)
    """Of what no error bound in float32 is known, with what to do."""

    def take(self, place: Place) -> None:
        """Make a computed tensor the one at hand."""
        self.at, self.layout, self.dtype = place.at, place.layout, place.dtype

    @property
    def place(self) -> Place:
        """The tensor at hand."""
        return Place(self.at, self.layout, self.dtype)

    @property
    def permuted(self) -> bool:
        """Whether the tensor holds every feature of its node once."""
        return self.layout.size == self.width and np.array_equal(np.sort(self.order), np.arange(self.width))

    def ordered(self) -> None:
        """Make the tensor at hand one whose entries are a node's, in row-major order."""
        shape = self.layout.shape
        self.selected(self.order)
        self.layout = self.layout.reshape(shape)

    def selected(self, order: NDArray[np.int64]) -> None:
        """Make the features ``order [m]`` of the node at hand, -1 for 0, a tensor ``[m]``: of it, or of one that selects them."""
        if not np.array_equal(order, np.arange(self.width)):
            self.affine(self.selection(order))
        self.layout = np.arange(order.size)

    def at_hand(self, place: Place) -> None:
        """Take a computed tensor, as one that holds every feature of its node once."""
        self.take(place)
        if not self.permuted:
            self.ordered()

    def selection(self, order: NDArray[np.int64]) -> Select:
        """The map of the node at hand to its features ``order [m]``, -1 for 0.

        Raises:
            NetworkError: one is taken so often that its coefficient would be a long sum.
        """
        self.allowance.take(order.size)
        often = int(np.bincount(order + 1)[1:].max(initial=0))
        if often > MAX_COPIES:
            raise NetworkError(
                f"one number is repeated {often} times in a tensor; up to {MAX_COPIES} times are accepted: let the network "
                "compute with it before it is expanded"
            )
        return Select(order, self.width)

    def only(self, node: Node, given: Sequence[Place]) -> None:
        """Take the one computed tensor of a node, its first input."""
        if len(given) > 1:
            raise node.refused(f"it reads {len(given)} computed tensors; accepted is one, with constants beside it")
        if node.active != 0:
            raise node.refused(
                f"what is computed is its input {node.active}; accepted is its first one, constants beside it"
            )
        self.take(given[0])

    @property
    def order(self) -> NDArray[np.int64]:
        """``order[k]`` is the feature at place k of the flattened tensor."""
        return self.layout.reshape(-1)

    def weight(self, node: Node, k: int) -> Tensor:
        """Constant input k, of the activation's own type."""
        value = node.operand(k)
        if value is None:
            raise node.refused(f"input {k} is left out; a constant is accepted")
        if value.dtype != self.dtype:
            raise node.refused(f"input {k} is {value.dtype} where the activation is {self.dtype}; one type is accepted")
        return value

    def scattered(self, node: Node, value: Tensor) -> Array:
        """``value`` broadcast to the tensor and brought into feature order ``[n]``; leading axes may be added."""
        try:
            shape = np.broadcast_shapes(self.layout.shape, value.shape)
        except ValueError:
            shape = ()
        if math.prod(shape) != self.layout.size or len(shape) < self.layout.ndim:
            raise node.refused(
                f"a constant of shape {list(value.shape)} does not broadcast to the activation's shape "
                f"{list(self.layout.shape)}; one that does, without enlarging it, is accepted"
            )
        self.layout = self.layout.reshape(shape)
        out = np.empty(self.layout.size)
        out[self.order] = np.broadcast_to(value, shape).reshape(-1)
        return out

    def affine(self, map_: LinearMap, bias: Array | None = None) -> None:
        """Append ``M h + bias``."""
        self.allowance.take(map_.outputs)
        shift = np.zeros(map_.outputs) if bias is None else bias
        self.nodes.append(Affine((self.at,), (map_,), shift))
        self.at = len(self.nodes) - 1

    def joint(self, sources: tuple[int, ...], maps: tuple[LinearMap, ...]) -> None:
        """Append the sum of maps of several nodes."""
        self.allowance.take(maps[0].outputs)
        self.nodes.append(Affine(sources, maps, np.zeros(maps[0].outputs)))
        self.at = len(self.nodes) - 1

    def negated(self) -> None:
        """Append ``-h``."""
        self.diagonal(factor=np.full(self.width, -1.0))

    def function(self, function: Function) -> None:
        """Append ``function(h)``."""
        if self.at == INPUT or not isinstance(self.nodes[self.at], Affine):
            self.affine(Same(self.width))
        self.nodes.append(Elementwise(self.at, function))
        self.at = len(self.nodes) - 1

    @property
    def width(self) -> int:
        """How many features the node has."""
        return width_of(self.nodes, self.at, self.inputs)

    def diagonal(
        self, *, factor: Array | None = None, divisor: Array | None = None, shift: Array | None = None
    ) -> None:
        """Append ``h * factor / divisor + shift``; a shift right after maps without bias becomes their bias."""
        last = self.nodes[self.at] if self.at != INPUT else None
        if factor is None and divisor is None:
            if shift is not None and isinstance(last, Affine) and not last.bias.any() and not self._larger(last):
                self.allowance.take(shift.size)
                self.nodes.append(Affine(last.sources, last.maps, np.array(shift, np.float64)))
                self.at = len(self.nodes) - 1
            else:
                self.affine(Same(self.width), shift)
            return
        self.allowance.take(3 * self.width)
        one = np.ones(self.width)
        factor, divisor = (np.array(one if part is None else part, np.float64) for part in (factor, divisor))
        self.affine(Diagonal(factor, divisor), shift)

    def _larger(self, node: Affine) -> bool:
        """Whether a node is the larger of two, of which none but itself is known to round nothing."""
        found = (self.nodes[s] for s in node.sources if s != INPUT)
        return any(isinstance(source, Elementwise) and isinstance(source.function, Larger) for source in found)

    def matrix(self, matrix: Tensor, places: NDArray[np.int64], bias: Tensor | None, shape: tuple[int, ...]) -> None:
        """Append ``matrix [m, n]`` on the features listed in ``places [n]``; the m results stand in ``shape``."""
        self.allowance.take(matrix.size)
        weight = np.empty(matrix.shape)
        weight[:, places] = matrix
        m = matrix.shape[0]
        self.affine(Dense(weight), bias)
        self.layout = np.arange(m).reshape(shape)


def finished(path: Path) -> Graph:
    """The graph of a path, with an output in row-major order."""
    order = path.order
    if not np.array_equal(order, np.arange(path.width)):
        map_ = path.selection(order)
        last = path.nodes[path.at] if path.at != INPUT else None
        if isinstance(last, Affine) and len(last.maps) == 1 and isinstance(last.maps[0], Dense):
            path.nodes.append(Affine(last.sources, (Dense(last.maps[0].weight[order]),), last.bias[order]))
            path.at = len(path.nodes) - 1
        else:
            path.affine(map_)
    elif path.at == INPUT or not isinstance(path.nodes[path.at], Affine):
        path.affine(Same(path.width))
    return reached(path.nodes[: path.at + 1], path.inputs)
