"""Arithmetic with constants: sums, products, quotients, normalisations; each appends exact nodes to the path."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Context, Decimal, localcontext

import numpy as np

from wdaverify.network.model import Array
from wdaverify.network.onnx_curved import product
from wdaverify.network.onnx_joins import added
from wdaverify.network.onnx_nodes import EVERY, Attributes, Node, Operator, before, since
from wdaverify.network.onnx_path import Path, Place
from wdaverify.network.onnx_reductions import Read
from wdaverify.network.onnx_selections import PADS, pad_value, padded
from wdaverify.network.onnx_tensors import Tensor


def _elementwise(path: Path, node: Node, given: Sequence[Place]) -> None:
    """``h + c``, ``h - c``, ``c - h``, ``h * c``, ``h / c``; a quotient is kept as a divisor, never inverted.

    Two computed tensors are added, or multiplied where that is a function of one (``onnx_curved``).
    """
    if len(given) > 1:
        if node.op in ("Add", "Sub"):
            added(path, node, given)
        else:
            product(path, node, given)
        return
    path.at_hand(given[0])
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


def _batch_normalization(path: Path, node: Node, given: Sequence[Place]) -> None:
    """``(h - mean) * fl(scale / sqrt(var + epsilon)) + B`` along axis 1, fl to the nearest double."""
    if node.flag("training_mode") or (node.opset < 7 and not node.flag("is_test")) or any(node.outputs[1:]):
        raise node.refused("training mode; the inference form is accepted: export the network in evaluation mode")
    if not node.flag("spatial", 1):
        raise node.refused("spatial is 0; accepted is 1 (one mean and variance per channel)")
    path.at_hand(given[0])
    rank = path.layout.ndim
    if len(given) > 1 or node.active != 0 or rank < 2:
        raise node.refused(f"the activation must be its input 0, of shape [N, C, ...], not {list(path.layout.shape)}")
    channels = path.layout.shape[1]
    scale, offset, mean, variance = (path.weight(node, k) for k in (1, 2, 3, 4))
    for k, part in enumerate((scale, offset, mean, variance), 1):
        if part.shape != (channels,):
            raise node.refused(f"input {k} has shape {list(part.shape)}, not [{channels}] as the activation's channels")
    epsilon = node.number("epsilon", float(np.float32(1e-5)))
    factor = _multiplier(node, scale, variance, epsilon)
    positive = (variance >= 0).all() and epsilon >= 0  # else rounding them to float32 may leave nothing of their sum
    if not (positive and _ordinary(scale, variance) and _ordinary(variance + epsilon, None)):
        path.not_float32.append(
            f"{node.label} has a scale or a variance far from 1 or below 0, of whose roundings in float32 nothing is known; fold it "
            "into the layer in front of it"
        )
    along = (channels,) + (1,) * (rank - 2)
    path.diagonal(shift=-path.scattered(node, mean.reshape(along)))
    path.diagonal(factor=path.scattered(node, factor.reshape(along)), shift=path.scattered(node, offset.reshape(along)))
    path.notices.append(
        f"{node.label}: scale / sqrt(variance + epsilon), rounded to the nearest double, is taken as the weight"
    )


def _ordinary(small: Tensor, large: Tensor | None) -> bool:
    """Whether scales (0 or normal, at most 2^20) and variances (at most 2^40), or their sum with epsilon (at least 2^-40), are sizes that
    no step of a normalisation in float32 underflows or overflows at.
    """
    size = np.abs(small.astype(np.float64))
    if large is None:
        return bool((size >= 2.0**-40).all())
    return bool((((size >= 2.0**-126) | (size == 0)) & (size <= 2.0**20)).all() and (np.abs(large) <= 2.0**40).all())


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


def _negative(path: Path, node: Node, given: Sequence[Place]) -> None:
    path.at_hand(given[0])
    path.negated()


def _sum(path: Path, node: Node, given: Sequence[Place]) -> None:
    """Of computed tensors, and of constants that do not enlarge them."""
    added(path, node, given)
    for k in range(len(node.constants)):
        if k not in node.moving:
            path.diagonal(shift=path.scattered(node, path.weight(node, k)))


def _pad(path: Path, node: Node, given: Sequence[Place]) -> None:
    """A border of copies moves numbers alone; one of constants is a selection and a shift."""
    path.only(node, given)
    value = pad_value(node)
    if value.dtype != path.dtype and node.opset >= 11 and node.operand(2) is not None:
        raise node.refused(f"a border of {value.dtype} where the activation is {path.dtype}; one type is accepted")
    path.layout = padded(node, path.layout, -1)
    border = path.order < 0
    path.allowance.take(border.size)
    path.ordered()
    if value != 0 and border.any():
        path.diagonal(shift=np.where(border, float(value), 0.0))


_BROADCAST: Attributes = {"broadcast": before(7), "axis": before(7)}
_NORMALIZATION: Attributes = {
    "epsilon": EVERY,
    "momentum": EVERY,
    "is_test": before(7),
    "spatial": before(9),
    "training_mode": since(14),
}
ARITHMETIC: dict[str, Operator[Read]] = {
    "Add": Operator(_elementwise, 2, 2, _BROADCAST),
    "BatchNormalization": Operator(_batch_normalization, 5, 5, _NORMALIZATION),
    "Div": Operator(_elementwise, 2, 2, _BROADCAST),
    "Mul": Operator(_elementwise, 2, 2, _BROADCAST),
    "Neg": Operator(_negative, 1, 1),
    "Pad": Operator(_pad, 1, 4, PADS),
    "Sub": Operator(_elementwise, 2, 2, _BROADCAST),
    "Sum": Operator(_sum, 1, 2**10),
}
