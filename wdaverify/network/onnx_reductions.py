"""Sums, means and largest numbers over axes: each group is a column of an array of features ``[k, m]``.

sum         a selection, and a convolution of size 1 by k ones
largest     max(a, b) = b + relu(a - b), pair by pair
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from wdaverify.graph.convolution import Convolution
from wdaverify.graph.functions import larger
from wdaverify.graph.maps import Dense, Select
from wdaverify.network.onnx_nodes import EVERY, Node, Operator, before, since
from wdaverify.network.onnx_path import Path, Place

Groups = NDArray[np.int64]
"""Features ``[k, m]``: those of column j are taken together; -1 stands for none."""


def summed(path: Path, groups: Groups, signs: Sequence[float] | None = None) -> None:
    """Append the signed sums of the columns, ``[m]``."""
    k, m = groups.shape
    path.allowance.take(groups.size)
    path.selected(groups.reshape(-1))
    if k > 1 or signs is not None:
        kernel = np.ones((1, k)) if signs is None else np.array([signs], np.float64)
        path.affine(Dense(kernel) if m == 1 else Convolution(kernel[:, :, None, None], 1, m))
    path.layout = np.arange(m)


def greatest(path: Path, groups: Groups) -> None:
    """Append the largest numbers of the columns, ``[m]``; a column has one at least, and -1 never wins."""
    path.allowance.take(4 * groups.size)
    groups = np.take_along_axis(groups, np.argsort(groups < 0, axis=0, kind="stable"), axis=0)
    groups = groups[: int((groups >= 0).sum(axis=0).max())]
    while len(groups) > 1:
        if len(groups) % 2:
            groups = np.vstack([groups, np.full((1, groups.shape[1]), -1)])
        left, right = groups[::2], groups[1::2]
        live, pair = left >= 0, right >= 0
        before_, width = path.at, path.width
        path.allowance.take(4 * groups.size)
        summed(path, np.stack([left[pair], right[pair]]), (1.0, -1.0))
        path.function(larger())
        turn = np.where(pair, np.cumsum(pair).reshape(pair.shape) - 1, -1)
        maps = Select(np.where(pair, right, left)[live], width), Select(turn[live], path.width)
        path.joint((before_, path.at), maps)
        groups = np.where(live, np.cumsum(live).reshape(live.shape) - 1, -1)
    path.selected(groups.reshape(-1))
    path.layout = np.arange(groups.shape[1])


def mean(path: Path, groups: Groups, count: NDArray[np.int64] | int) -> None:
    """Append the sums of the columns over their counts."""
    summed(path, groups)
    if np.any(count != np.ones(1)):
        path.diagonal(divisor=np.broadcast_to(np.asarray(count, np.float64), groups.shape[1:]))


def _axes(node: Node, rank: int) -> tuple[int, ...]:
    """The axes, as counted from 0: an attribute, or since some version input 1; all of them where none are given."""
    version = 13 if node.op == "ReduceSum" else 18
    if node.opset < version and len(node.constants) > 1:
        raise node.refused(f"axes are an attribute in operator set {node.opset}, not an input")
    axes = node.integers("axes") if node.opset < version else node.integer_operand(1)
    if not axes:
        return () if node.flag("noop_with_empty_axes") else tuple(range(rank))
    lowest = -rank  # before operator set 11 too, where exporters write them and runtimes take them
    if any(not lowest <= axis < rank for axis in axes) or len({axis % rank for axis in axes}) < len(axes):
        raise node.refused(f"axes {list(axes)} of {rank} axes; {lowest} to {rank - 1}, each once, are accepted")
    return tuple(axis % rank for axis in axes)


def reduced_shape(node: Node, shape: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The axes that a node reduces, and the shape that is left."""
    axes = _axes(node, len(shape))
    keep = node.flag("keepdims", 1)
    return axes, tuple(1 if k in axes else size for k, size in enumerate(shape) if keep or k not in axes)


def _reduce(path: Path, node: Node, given: Sequence[Place]) -> None:
    path.only(node, given)
    layout = path.layout
    axes, shape = reduced_shape(node, layout.shape)
    rest = [k for k in range(layout.ndim) if k not in axes]
    count = math.prod(layout.shape[k] for k in axes)
    groups = layout.transpose([*axes, *rest]).reshape(count, -1)
    collected(path, node.op.removeprefix("Reduce"), groups)
    path.layout = path.layout.reshape(shape)


def collected(path: Path, how: str, groups: Groups) -> None:
    """Append ``Sum``, ``Mean``, ``Max`` or ``Min`` of the columns."""
    match how:
        case "Sum":
            summed(path, groups)
        case "Mean":
            mean(path, groups, len(groups))
        case "Max":
            greatest(path, groups)
        case _:  # the negative of the largest negative
            shape = groups.shape
            path.selected(groups.reshape(-1))
            path.negated()
            greatest(path, np.arange(math.prod(shape)).reshape(shape))
            path.negated()


def _global(path: Path, node: Node, given: Sequence[Place]) -> None:
    """Over all places of an image, channel by channel."""
    path.only(node, given)
    shape = path.layout.shape
    if len(shape) < 3:
        raise node.refused(f"shape {list(shape)}; images [N, C, ...] are accepted")
    groups = path.layout.reshape(shape[0] * shape[1], -1).T
    collected(path, "Max" if node.op == "GlobalMaxPool" else "Mean", groups)
    path.layout = path.layout.reshape(*shape[:2], *(1,) * (len(shape) - 2))


def _attributes(version: int) -> dict[str, range]:
    return {"axes": before(version), "keepdims": EVERY, "noop_with_empty_axes": since(version)}


Read = Callable[[Path, Node, Sequence[Place]], None]
REDUCTIONS: dict[str, Operator[Read]] = {
    "GlobalAveragePool": Operator(_global, 1, 1),
    "GlobalMaxPool": Operator(_global, 1, 1),
    "ReduceMax": Operator(_reduce, 1, 2, _attributes(18)),
    "ReduceMean": Operator(_reduce, 1, 2, _attributes(18)),
    "ReduceMin": Operator(_reduce, 1, 2, _attributes(18)),
    "ReduceSum": Operator(_reduce, 1, 2, _attributes(13)),
}
