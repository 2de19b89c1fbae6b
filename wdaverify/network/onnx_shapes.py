"""Operators that give a tensor another shape or order: each acts alike on constants and on the layout of the activation."""

from __future__ import annotations

import math
from collections.abc import Callable

from wdaverify.network.onnx_nodes import EVERY, Node, Operator, before, since
from wdaverify.network.onnx_tensors import MAX_RANK, Tensor

Rearrangement = Callable[[Node, Tensor], Tensor]


def _identity(node: Node, array: Tensor) -> Tensor:
    return array


def _flatten(node: Node, array: Tensor) -> Tensor:
    """``[d_0, ..., d_r] -> [d_0 ... d_(axis-1), d_axis ... d_r]``."""
    axis = node.integer("axis", 1)
    lowest = -array.ndim
    if not lowest <= axis <= array.ndim:
        raise node.refused(f"axis {axis} for shape {list(array.shape)}; accepted are {lowest} to {array.ndim}")
    split = axis if axis >= 0 else axis + array.ndim
    return array.reshape(math.prod(array.shape[:split]), math.prod(array.shape[split:]))


def _reshape(node: Node, array: Tensor) -> Tensor:
    """0 copies a dimension (unless ``allowzero``), one -1 takes what is left."""
    target = node.integer_operand(1)
    if target is None:
        raise node.refused("the shape is left out; a constant shape is accepted")
    shape = list(target)
    if len(shape) > MAX_RANK:
        raise node.refused(f"a shape of {len(shape)} axes; at most {MAX_RANK} are accepted")
    if not node.flag("allowzero"):
        for k, size in enumerate(shape):
            if size == 0 and k >= array.ndim:
                raise node.refused(f"shape {list(target)} copies axis {k}, which {list(array.shape)} has not")
            shape[k] = array.shape[k] if size == 0 else size
    if shape.count(-1) > 1 or any(size < 1 and size != -1 for size in shape):
        raise node.refused(f"shape {list(target)}; accepted are positive numbers, 0 for a copy, and at most one -1")
    if -1 in shape:
        shape[shape.index(-1)] = array.size // max(1, -math.prod(shape))
    if math.prod(shape) != array.size:
        raise node.refused(f"shape {list(target)} does not hold the {array.size} numbers of shape {list(array.shape)}")
    return array.reshape(shape)


def _axes(node: Node, rank: int) -> tuple[int, ...] | None:
    """Axes as counted from 0, from the attribute (before operator set 13) or from input 1 (since then)."""
    if node.opset < 13 and len(node.constants) > 1:
        raise node.refused(f"axes are an attribute in operator set {node.opset}, not an input")
    axes = node.integers("axes") if node.opset < 13 else node.integer_operand(1)
    if axes is None:
        return None
    lowest = -rank
    if any(not lowest <= axis < rank for axis in axes):
        raise node.refused(f"axes {list(axes)}; accepted are {lowest} to {rank - 1}")
    out = tuple(axis % rank for axis in axes)
    if len(set(out)) != len(out):
        raise node.refused(f"axes {list(axes)} name an axis twice")
    return out


def _squeeze(node: Node, array: Tensor) -> Tensor:
    axes = _axes(node, array.ndim)
    if axes is None:
        return array.reshape([size for size in array.shape if size != 1])
    if any(array.shape[axis] != 1 for axis in axes):
        raise node.refused(f"axes {list(axes)} of shape {list(array.shape)} are not all of size 1")
    return array.reshape([size for k, size in enumerate(array.shape) if k not in axes])


def _unsqueeze(node: Node, array: Tensor) -> Tensor:
    given = node.integers("axes") if node.opset < 13 else node.integer_operand(1)
    if given is None:
        raise node.refused("axes are left out; constant axes are accepted")
    rank = array.ndim + len(given)
    if rank > MAX_RANK:
        raise node.refused(f"the result has {rank} axes; at most {MAX_RANK} are accepted")
    axes = _axes(node, rank) or ()
    sizes = iter(array.shape)
    return array.reshape([1 if k in axes else next(sizes) for k in range(rank)])


def _transpose(node: Node, array: Tensor) -> Tensor:
    """Axis k of the result is axis ``perm[k]`` of the input."""
    perm = node.integers("perm")
    if perm is None:
        perm = tuple(reversed(range(array.ndim)))
    if sorted(perm) != list(range(array.ndim)):
        raise node.refused(f"perm {list(perm)} does not permute the axes of shape {list(array.shape)}")
    return array.transpose(perm)


def axis_of(node: Node, rank: int, default: int) -> int:
    """The attribute ``axis``, as counted from 0."""
    axis = node.integer("axis", default)
    lowest = -rank
    if not lowest <= axis < rank:
        raise node.refused(f"axis {axis} of {rank} axes; accepted are {lowest} to {rank - 1}")
    return axis % rank


def _blocks(node: Node, array: Tensor) -> Tensor:
    """Channels to blocks of places, or blocks of places to channels."""
    b, rank = node.integer("blocksize", 0), array.ndim
    if rank != 4 or b < 1:
        raise node.refused(
            f"blocksize {b} of shape {list(array.shape)}; one from 1 on, of images [N, C, H, W], is accepted"
        )
    n, channels, high, wide = array.shape
    if node.op == "SpaceToDepth":
        if high % b or wide % b:
            raise node.refused(f"blocksize {b} does not divide the sides of shape {list(array.shape)}")
        split = array.reshape(n, channels, high // b, b, wide // b, b)
        return split.transpose(0, 3, 5, 1, 2, 4).reshape(n, channels * b * b, high // b, wide // b)
    if channels % (b * b):
        raise node.refused(f"blocksize {b} does not divide the {channels} channels into squares")
    if node.text("mode", "DCR", ("DCR", "CRD")) == "DCR":
        turned = array.reshape(n, b, b, channels // b**2, high, wide).transpose(0, 3, 4, 1, 5, 2)
    else:
        turned = array.reshape(n, channels // b**2, b, b, high, wide).transpose(0, 1, 4, 2, 5, 3)
    return turned.reshape(n, channels // b**2, high * b, wide * b)


SHAPES: dict[str, Operator[Rearrangement]] = {
    "DepthToSpace": Operator(_blocks, 1, 1, {"blocksize": EVERY, "mode": since(11)}),
    "Flatten": Operator(_flatten, 1, 1, {"axis": EVERY}),
    "Identity": Operator(_identity, 1, 1),
    "Reshape": Operator(_reshape, 2, 2, {"allowzero": since(14)}),
    "SpaceToDepth": Operator(_blocks, 1, 1, {"blocksize": EVERY}),
    "Squeeze": Operator(_squeeze, 1, 2, {"axes": before(13)}),
    "Transpose": Operator(_transpose, 1, 1, {"perm": EVERY}),
    "Unsqueeze": Operator(_unsqueeze, 1, 2, {"axes": before(13)}),
}
