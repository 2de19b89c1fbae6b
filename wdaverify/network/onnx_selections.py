"""Operators that take some numbers of a tensor, or some several times: alike on constants and on the layout of the activation."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

from wdaverify.network.onnx_nodes import EVERY, Node, Operator, before, since
from wdaverify.network.onnx_shapes import Rearrangement, axis_of
from wdaverify.network.onnx_tensors import MAX_RANK, Tensor

MAX_MADE = 2**24
"""The largest tensor that is made by repeating numbers."""


def _bounded(node: Node, shape: Sequence[int]) -> None:
    if len(shape) > MAX_RANK or not 0 < math.prod(shape) <= MAX_MADE:
        raise node.refused(
            f"its result has shape {list(shape)}; 1 to 2^24 numbers on at most {MAX_RANK} axes are accepted"
        )


def _slice(node: Node, array: Tensor) -> Tensor:
    """``starts``, ``ends``, ``axes``, ``steps``: attributes before operator set 10, inputs since then."""
    if node.opset < 10:
        if len(node.constants) > 1:
            raise node.refused(f"starts and ends are attributes in operator set {node.opset}, not inputs")
        starts, ends, axes, steps = node.integers("starts"), node.integers("ends"), node.integers("axes"), None
    else:
        starts, ends, axes, steps = (node.integer_operand(k) for k in range(1, 5))
    if starts is None or ends is None:
        raise node.refused("starts or ends are left out; constant ones are accepted")
    axes = tuple(range(len(starts))) if axes is None else axes
    steps = (1,) * len(starts) if steps is None else steps
    if not len(starts) == len(ends) == len(axes) == len(steps):
        raise node.refused(
            f"starts {list(starts)}, ends {list(ends)}, axes {list(axes)} and steps {list(steps)} differ in length"
        )
    if any(not -array.ndim <= axis < array.ndim for axis in axes) or len({a % array.ndim for a in axes}) < len(axes):
        raise node.refused(f"axes {list(axes)} of shape {list(array.shape)}; each axis at most once is accepted")
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        size, at = array.shape[axis], axis % array.ndim
        if step == 0:
            raise node.refused("a step of 0; other steps are accepted")
        low, high = (0, size) if step > 0 else (-1, size - 1)
        begin = min(max(start + size * (start < 0), low, 0), high)
        stop = min(max(end + size * (end < 0), low), high)
        taken = range(begin, stop, step)
        if not taken:
            raise node.refused(
                f"nothing is left of axis {at} of shape {list(array.shape)}; at least one number is accepted"
            )
        array = np.take(array, taken, axis=at) if step != 1 else array[(slice(None),) * at + (slice(begin, stop),)]
    return array


def _gather(node: Node, array: Tensor) -> Tensor:
    """The axis is replaced by those of the indices."""
    axis, indices = axis_of(node, array.ndim, 0), node.operand(1)
    if indices is None or indices.dtype.kind != "i":
        raise node.refused("constant integer indices are accepted")
    size = array.shape[axis]
    lowest = -size if node.opset >= 11 else 0
    if ((indices < lowest) | (indices >= size)).any():
        raise node.refused(
            f"indices outside axis {axis} of shape {list(array.shape)}; {lowest} to {size - 1} are accepted"
        )
    _bounded(node, (*array.shape[:axis], *indices.shape, *array.shape[axis + 1 :]))
    return np.take(array, indices, axis=axis)


def _expand(node: Node, array: Tensor) -> Tensor:
    """To the shape that its own and the given one broadcast to."""
    shape = node.integer_operand(1)
    if shape is None:
        raise node.refused("the shape is left out; a constant shape is accepted")
    if len(shape) > MAX_RANK or any(size < 1 for size in shape):
        raise node.refused(f"shape {list(shape)}; sizes from 1 on, on at most {MAX_RANK} axes, are accepted")
    try:
        whole = np.broadcast_shapes(array.shape, shape)
    except ValueError:
        raise node.refused(f"shapes {list(array.shape)} and {list(shape)} do not broadcast to one") from None
    _bounded(node, whole)
    return np.broadcast_to(array, whole)


def _tile(node: Node, array: Tensor) -> Tensor:
    repeats = node.integer_operand(1)
    if repeats is None or len(repeats) != array.ndim or any(r < 1 for r in repeats):
        raise node.refused(
            f"repeats {None if repeats is None else list(repeats)} of shape {list(array.shape)}; one from 1 on for each axis is accepted"
        )
    _bounded(node, [size * r for size, r in zip(array.shape, repeats, strict=True)])
    return np.tile(array, repeats)


_PLACES = {"half_pixel": ("round_prefer_floor", "round_prefer_ceil"), "asymmetric": ("floor",)}
_PLACES["pytorch_half_pixel"] = _PLACES["half_pixel"]
"""How places are counted -> how they are rounded, so that each number is repeated whole times."""


def _resize(node: Node, array: Tensor) -> Tensor:
    """Nearest neighbours by whole factors: every number so many times."""
    node.text("mode", "nearest", ("nearest",))
    if node.op == "Resize" and node.opset >= 11:
        counted = node.text("coordinate_transformation_mode", "half_pixel", tuple(_PLACES))
        node.text("nearest_mode", "round_prefer_floor", _PLACES[counted])
    node.text("keep_aspect_ratio_policy", "stretch", ("stretch",))
    if node.flag("antialias") or node.integers("axes") is not None:
        raise node.refused("antialias or axes; factors of all axes, without antialias, are accepted")
    at = 2 if node.op == "Resize" and node.opset >= 11 else 1
    sizes = node.integer_operand(3)
    given: object = node.attributes.get("scales") if node.opset < 9 else node.operand(at)
    if sizes is not None:
        exact = [want / have for want, have in zip(sizes, array.shape, strict=False)]
    else:
        exact = [float(f) for f in np.ravel(np.array(() if given is None else given, np.float64))]
    if (
        len(exact) != array.ndim
        or any(not 1 <= f <= MAX_MADE or f != int(f) for f in exact)
        or (sizes and len(sizes) != array.ndim)
    ):
        raise node.refused(
            f"factors {exact} of shape {list(array.shape)}; a constant whole one from 1 on for each axis is accepted"
        )
    _bounded(node, [size * int(f) for size, f in zip(array.shape, exact, strict=True)])
    for axis, f in enumerate(exact):
        array = np.repeat(array, int(f), axis=axis) if f != 1 else array
    return array


def padded(node: Node, array: Tensor, value: object) -> Tensor:
    """``array`` with a border, of ``value`` where the mode is constant."""
    mode = node.text("mode", "constant", ("constant", "edge", "reflect"))
    pads = node.integers("pads") if node.opset < 11 else node.integer_operand(1)
    axes = node.integer_operand(3) if node.opset >= 18 else None
    if axes is not None and (
        any(not -array.ndim <= a < array.ndim for a in axes) or len({a % array.ndim for a in axes}) < len(axes)
    ):
        raise node.refused(f"axes {list(axes)} of shape {list(array.shape)}; each axis at most once is accepted")
    axes = tuple(range(array.ndim)) if axes is None else axes
    if pads is None or len(pads) != 2 * len(axes) or any(p < 0 for p in pads):
        raise node.refused(f"pads {None if pads is None else list(pads)}; two for each axis, from 0 on, are accepted")
    width = [(0, 0)] * array.ndim
    for k, axis in enumerate(axes):
        width[axis % array.ndim] = pads[k], pads[k + len(axes)]
    _bounded(node, [size + a + b for size, (a, b) in zip(array.shape, width, strict=True)])
    if mode == "reflect" and any(max(w) >= size for size, w in zip(array.shape, width, strict=True)):
        raise node.refused(f"pads {list(pads)} of shape {list(array.shape)} reflect more than there is")
    if mode == "constant":
        return np.pad(array, width, constant_values=value)  # type: ignore[call-overload, no-any-return]
    return np.pad(array, width, mode="edge" if mode == "edge" else "reflect")


def pad_value(node: Node) -> Tensor:
    """What a border of constants holds; a 0 by default."""
    if node.opset < 11:
        return np.array(node.number("value", 0.0))
    value = node.operand(2)
    if value is None and 2 in node.moving:
        raise node.refused("a computed border; a constant one is accepted")
    if value is not None and value.size != 1:
        raise node.refused(f"a border of shape {list(value.shape)}; one number is accepted")
    return np.zeros(()) if value is None else value.reshape(())


def split(node: Node, array: Tensor) -> list[Tensor]:
    """The parts along an axis, one an output: of sizes given (an attribute before operator set 13), or alike."""
    axis, count = axis_of(node, array.ndim, 0), len(node.outputs)
    size = array.shape[axis]
    if node.opset < 13 and len(node.constants) > 1:
        raise node.refused(f"split is an attribute in operator set {node.opset}, not an input")
    sizes = node.integers("split") if node.opset < 13 else node.integer_operand(1)
    if sizes is None:
        if node.integer("num_outputs", count) != count or (node.opset < 18 and size % count):
            raise node.refused(f"{count} outputs of axis {axis} of shape {list(array.shape)}; equal parts are accepted")
        each = -(-size // count)
        sizes = (each,) * (count - 1) + (size - each * (count - 1),)
    if len(sizes) != count or any(s < 1 for s in sizes) or sum(sizes) != size:
        raise node.refused(
            f"parts {list(sizes)} for {count} outputs of axis {axis} of shape {list(array.shape)} do not add up"
        )
    edges = [0, *np.cumsum(sizes).tolist()]
    return [array[(slice(None),) * axis + (slice(a, b),)] for a, b in pairwise(edges)]


SELECTIONS: dict[str, Operator[Rearrangement]] = {
    "Expand": Operator(_expand, 2, 2),
    "Gather": Operator(_gather, 2, 2, {"axis": EVERY}),
    "Resize": Operator(
        _resize,
        1,
        4,
        {
            "mode": EVERY,
            "antialias": since(18),
            "axes": since(18),
            "coordinate_transformation_mode": since(11),
            "cubic_coeff_a": since(11),
            "exclude_outside": since(11),
            "extrapolation_value": since(11),
            "keep_aspect_ratio_policy": since(18),
            "nearest_mode": since(11),
        },
    ),
    "Slice": Operator(_slice, 1, 5, {"starts": before(10), "ends": before(10), "axes": before(10)}),
    "Tile": Operator(_tile, 2, 2),
    "Upsample": Operator(_resize, 1, 2, {"mode": EVERY, "scales": before(9)}),
}

SPLIT: Operator[Callable[[Node, Tensor], list[Tensor]]] = Operator(
    split, 1, 2, {"axis": EVERY, "split": before(13), "num_outputs": since(18)}, many=True
)
PADS = {"mode": EVERY, "pads": before(11), "value": before(11)}
