"""The path through the graph while it is read: exact layers so far, and where each feature stands in the tensor.

The activation is a vector ``h [n]`` of features; ``layout``, of the tensor's shape with the batch axis at size 1, holds
at each entry the number of the feature that stands there. Weights are brought into feature order by permuting them,
which rounds nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wdaverify.errors import NetworkError
from wdaverify.network.model import Affine, Array, Diagonal, Head, Layer, Relu
from wdaverify.network.onnx_nodes import Node
from wdaverify.network.onnx_tensors import Tensor

MAX_IDENTITY = 2**12
"""The widest vector that may reach a ReLU or the end without a matrix (the canonical form writes an identity there)."""
MAX_DERIVED, DERIVED_TIMES = 2**24, 4
"""How many numbers may be made of those in the file: so many times as many, and so many beyond."""


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


@dataclass(eq=False)
class Path:
    """The network up to some node: its layers, and where each feature stands in the tensor."""

    layout: NDArray[np.int64]
    dtype: np.dtype[Any]
    layers: list[Layer]
    notices: list[str]
    allowance: Allowance
    head: tuple[str, Head] | None = None
    """What the network ends in and the layers leave out: its label and kind."""

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

    def diagonal(
        self, *, factor: Array | None = None, divisor: Array | None = None, shift: Array | None = None
    ) -> None:
        """Append ``h * factor / divisor + shift``; a shift right after a matrix without bias becomes its bias."""
        last = self.layers[-1] if self.layers else None
        if (
            factor is None
            and divisor is None
            and shift is not None
            and isinstance(last, Affine)
            and not last.bias.any()
        ):
            self.layers[-1] = Affine(last.weight, shift)
            return
        self.allowance.take(3 * self.layout.size)
        one, zero = np.ones(self.layout.size), np.zeros(self.layout.size)
        parts = (
            one if factor is None else factor,
            one if divisor is None else divisor,
            zero if shift is None else shift,
        )
        self.layers.append(Diagonal(*parts))

    def matrix(self, matrix: Tensor, places: NDArray[np.int64], bias: Tensor | None, shape: tuple[int, ...]) -> None:
        """Append ``matrix [m, n]`` on the features listed in ``places [n]``; the m results stand in ``shape``."""
        self.allowance.take(matrix.size)
        weight = np.empty(matrix.shape)
        weight[:, places] = matrix
        m = matrix.shape[0]
        self.layers.append(Affine(weight, np.zeros(m) if bias is None else bias))
        self.layout = np.arange(m).reshape(shape)


def finished(path: Path, width: int) -> tuple[Layer, ...]:
    """The layers of a path that began with ``width`` features, permuted so that the output is row-major.

    Raises:
        NetworkError: a vector wider than ``MAX_IDENTITY`` meets no matrix, or the canonical form would be too large.
    """
    layers = _in_output_order(path)
    allowance = Allowance(path.allowance.most)
    bare, first = True, width
    for k, layer in enumerate([*layers, Relu()]):
        if isinstance(layer, Affine):
            bare, width = False, layer.weight.shape[0]
            allowance.take(width * first)  # affine maps are composed from one ReLU to the next
        elif isinstance(layer, Relu):
            if bare and not (k and isinstance(layers[k - 1], Relu)):
                if width > MAX_IDENTITY:
                    raise _too_wide(width)
                allowance.take(width * width)
            bare, first = True, width
    return tuple(layers)


def _too_wide(width: int) -> NetworkError:
    return NetworkError(
        f"{width} numbers reach a ReLU or the output without a matrix; at most {MAX_IDENTITY} are accepted there"
    )


def _in_output_order(path: Path) -> list[Layer]:
    order, layers = path.order, list(path.layers)
    if np.array_equal(order, np.arange(order.size)):
        return layers
    for k in range(len(layers) - 1, -1, -1):
        layer = layers[k]
        if isinstance(layer, Affine):
            layers[k] = Affine(layer.weight[order], layer.bias[order])
            return layers
        if isinstance(layer, Diagonal):
            layers[k] = Diagonal(*(part[order] for part in (layer.factor, layer.divisor, layer.shift)))
    if order.size > MAX_IDENTITY:
        raise _too_wide(order.size)
    return [Affine(np.eye(order.size)[order], np.zeros(order.size)), *layers]
