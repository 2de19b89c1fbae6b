"""Operators on the activation: each appends exact nodes to the path, or moves its layout."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from decimal import Context, Decimal, localcontext

import numpy as np
from onnx import TensorProto

from wdaverify.graph.functions import relu
from wdaverify.network.model import Array
from wdaverify.network.onnx_joins import JOINS
from wdaverify.network.onnx_nodes import Node
from wdaverify.network.onnx_path import Path, Place
from wdaverify.network.onnx_products import gemm, matmul
from wdaverify.network.onnx_shapes import REARRANGEMENTS, rearranged
from wdaverify.network.onnx_tensors import DTYPES, FLOATS, Tensor, type_name

DROPPED_AT_THE_END = ("LogSoftmax", "Softmax")


def apply(path: Path, node: Node, given: Sequence[Place]) -> None:
    """Append ``node``, of whose inputs those that are computed are ``given``, to ``path``: its result is then at hand.

    Raises:
        NetworkError: the node is not an affine map, a piecewise-linear function, or a move of numbers.
    """
    if node.op in JOINS and (len(given) > 1 or node.op not in _HANDLERS):
        JOINS[node.op](path, node, given)
        return
    if len(given) > 1:
        raise node.refused(f"it reads {len(given)} computed tensors; accepted is one, with constants beside it")
    path.take(given[0])
    if node.op in REARRANGEMENTS:
        if node.active != 0:
            raise node.refused("the activation is its shape; a constant shape is accepted")
        path.layout = rearranged(node, path.layout)
    else:
        if not path.permuted:
            path.ordered()
        _HANDLERS[node.op](path, node)


def _relu(path: Path, node: Node) -> None:
    path.function(relu())


def _elementwise(path: Path, node: Node) -> None:
    """``h + c``, ``h - c``, ``c - h``, ``h * c``, ``h / c``; a quotient is kept as a divisor, never inverted."""
    first = node.active == 0
    if node.op == "Div" and not first:
        raise node.refused(
            "a constant divided by the activation is not affine; accepted is the activation by a constant"
        )
    value = path.weight(node, 1 if first else 0)
    if node.opset < 7:
        value = _aligned(node, value, path.layout.shape)
    c = path.scattered(node, value)
    match node.op:
        case "Add":
            path.diagonal(shift=c)
        case "Sub" if first:
            path.diagonal(shift=-c)
        case "Sub":
            path.diagonal(factor=np.full(c.size, -1.0), shift=c)
        case "Mul":
            path.diagonal(factor=c)
        case _:
            if not c.all():
                raise node.refused("the divisor has a zero; nonzero constants are accepted")
            path.diagonal(divisor=c)


def _aligned(node: Node, value: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Operator set 6: equal shapes, or ``broadcast`` of the second input from ``axis`` on (default: the last axes)."""
    if node.flag("broadcast") and node.active == 0:
        axis = node.integer("axis", len(shape) - value.ndim)
        value = value.reshape(value.shape + (1,) * (len(shape) - axis - value.ndim))
        if axis >= 0 and axis + value.ndim == len(shape):
            return value
    elif value.shape == shape:
        return value
    raise node.refused(f"a constant of shape {list(value.shape)} does not broadcast to the activation's {list(shape)}")


def _batch_normalization(path: Path, node: Node) -> None:
    """``(h - mean) * fl(scale / sqrt(var + epsilon)) + B`` along axis 1, fl to the nearest double."""
    if node.flag("training_mode") or (node.opset < 7 and not node.flag("is_test")) or any(node.outputs[1:]):
        raise node.refused("training mode; the inference form is accepted: export the network in evaluation mode")
    if not node.flag("spatial", 1):
        raise node.refused("spatial is 0; accepted is 1 (one mean and variance per channel)")
    rank = path.layout.ndim
    if node.active != 0 or rank < 2:
        raise node.refused(f"the activation must be its input 0, of shape [N, C, ...], not {list(path.layout.shape)}")
    channels = path.layout.shape[1]
    scale, offset, mean, variance = (path.weight(node, k) for k in (1, 2, 3, 4))
    for k, part in enumerate((scale, offset, mean, variance), 1):
        if part.shape != (channels,):
            raise node.refused(f"input {k} has shape {list(part.shape)}, not [{channels}] as the activation's channels")
    factor = _multiplier(node, scale, variance, node.number("epsilon", float(np.float32(1e-5))))
    along = (channels,) + (1,) * (rank - 2)
    path.diagonal(shift=-path.scattered(node, mean.reshape(along)))
    path.diagonal(factor=path.scattered(node, factor.reshape(along)), shift=path.scattered(node, offset.reshape(along)))
    path.notices.append(
        f"{node.label}: scale / sqrt(variance + epsilon), rounded to the nearest double, is taken as the weight"
    )


def _multiplier(node: Node, scale: Tensor, variance: Tensor, epsilon: float) -> Array:
    """``scale / sqrt(variance + epsilon)`` ``[C]``, each the nearest double of a 60-digit value."""
    out = np.empty(scale.size)
    with localcontext(Context(prec=60)):
        for k in range(scale.size):
            spread = Decimal(float(variance[k])) + Decimal(epsilon)
            if spread <= 0:
                raise node.refused(
                    f"variance + epsilon is {float(spread):.6g} in channel {k}; a positive number is accepted"
                )
            out[k] = float(Decimal(float(scale[k])) / spread.sqrt())
    return out


def _dropout(path: Path, node: Node) -> None:
    mode = node.operand(2)
    if node.active != 0 or (mode is not None and bool(mode.any())) or (node.opset < 7 and not node.flag("is_test")):
        raise node.refused("training mode; the inference form is accepted: export the network in evaluation mode")


def _cast(path: Path, node: Node) -> None:
    code = node.integer("to", 0)
    if code not in FLOATS:
        raise node.refused(f"a cast of the activation to {type_name(code)}; accepted are FLOAT and DOUBLE")
    if code == TensorProto.FLOAT and path.dtype == np.float64:
        path.notices.append(f"{node.label}: the rounding of a cast to float32 is left out; it is taken as the identity")
    path.dtype = DTYPES[code]


def _softmax(path: Path, node: Node) -> None:
    """Left out, and told: it moves no margin's sign, and logits are what margins are defined on."""
    shape = path.layout.shape
    axis = node.integer("axis", -1 if node.opset >= 13 else 1)
    lowest = -len(shape) if node.opset >= 11 else 0
    if not lowest <= axis < max(len(shape), 1):
        raise node.refused(f"axis {axis} for shape {list(shape)}; the class axis is accepted")
    start = axis % len(shape) if shape else 0
    over = shape[start : start + 1] if node.opset >= 13 else shape[start:]
    if math.prod(over) != path.layout.size:
        raise node.refused(
            f"axis {axis} of shape {list(shape)} is not the class axis; accepted is {node.op} over all classes"
        )
    path.head = node.label, "softmax" if node.op == "Softmax" else "log-softmax"


_HANDLERS: dict[str, Callable[[Path, Node], None]] = {
    "Add": _elementwise,
    "BatchNormalization": _batch_normalization,
    "Cast": _cast,
    "Div": _elementwise,
    "Dropout": _dropout,
    "Gemm": gemm,
    "LogSoftmax": _softmax,
    "MatMul": matmul,
    "Mul": _elementwise,
    "Relu": _relu,
    "Softmax": _softmax,
    "Sub": _elementwise,
}
