"""A fixed batch of N samples, read as one: no operator may let a sample see another one.

Every computed tensor has the samples along its first axis, of size 1 while it is read. What is not known to keep them apart is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from wdaverify.errors import NetworkError
from wdaverify.network.onnx_nodes import Node
from wdaverify.network.onnx_path import Place

_Apart = Callable[[Node, int, int], bool]
"""Of a node, the number of samples and the number of axes: whether samples stay apart."""


def check_apart(node: Node, batch: int, given: Sequence[Place], made: Sequence[Place]) -> None:
    """Refuse a node that may let samples see each other.

    Raises:
        NetworkError: it may; the way out is an export with a batch of 1, or a symbolic one.
    """
    ranks = {place.layout.ndim for place in given}
    rank = min(ranks)
    constant = max((c.ndim for c in node.constants if c is not None), default=0)
    apart = len(ranks) == 1 and all(place.layout.ndim and place.layout.shape[0] == 1 for place in (*given, *made))
    if node.op in _APART:
        apart &= _APART[node.op](node, batch, rank)
    elif node.op not in _BY_CHANNEL:
        apart &= constant <= rank
    if not apart:
        raise _seeing(node, batch)


def check_tail_apart(node: Node, batch: int, rank: int) -> None:
    """The same of a node behind the scores, of which few are known to keep samples apart: those along another axis.

    Raises:
        NetworkError: it may let them see each other.
    """
    default = 0 if node.op == "ArgMax" else -1 if node.opset >= 13 else 1
    along = node.op in ("ArgMax", "LogSoftmax", "Softmax") and node.integer("axis", default) % max(rank, 1) != 0
    if not along and node.op not in ("Cast", "Identity", "Sigmoid"):
        raise _seeing(node, batch)


def _seeing(node: Node, batch: int) -> NetworkError:
    return node.refused(
        f"it may let the {batch} samples of the fixed batch see each other; what keeps them apart along the first axis is "
        "accepted, or a batch of 1 or a symbolic one: export the network with that"
    )


def of_one(node: Node, batch: int) -> Node:
    """The node as it is for one sample: a Reshape to a batch of N is one to a batch of 1."""
    shape = node.operand(1) if node.op == "Reshape" and batch > 1 else None
    if shape is None or shape.ndim != 1 or shape[0] != batch:
        return node
    return replace(node, constants=(None, np.concatenate([[1], shape[1:]]).astype(shape.dtype)))


def _axis(default: int) -> _Apart:
    return lambda node, batch, rank: node.integer("axis", default) % rank != 0


def _axes(node: Node, batch: int, rank: int) -> bool:
    """Axes in an attribute or in the second input: given, and none of them the first."""
    axes = node.integers("axes") or node.integer_operand(1)
    wide = rank + (len(axes) if axes and node.op == "Unsqueeze" else 0)
    return bool(axes) and all(axis % wide for axis in axes or ())


def _slice(node: Node, batch: int, rank: int) -> bool:
    axes = node.integers("axes") if node.opset < 10 else node.integer_operand(3)
    return axes is not None and all(axis % rank for axis in axes)


def _rows(node: Node, batch: int, rank: int) -> bool:
    """The activation on the left, or stacked in front of its rows and columns."""
    turned = node.op != "MatMul" and node.flag("transA")
    flat = all(c is None or c.ndim <= rank for c in node.constants)
    return (node.active == 0 or rank > 2) and rank > 1 and flat and not turned


_BY_CHANNEL = ("BatchNormalization", "Conv", "ConvTranspose")
_APART: dict[str, _Apart] = {
    "Concat": _axis(1),
    "Einsum": lambda node, batch, rank: False,
    "Flatten": lambda node, batch, rank: node.integer("axis", 1) not in (0, -rank),
    "Gather": _axis(0),
    "Gemm": _rows,
    "MatMul": _rows,
    "ReduceMax": _axes,
    "ReduceMean": _axes,
    "ReduceMin": _axes,
    "ReduceSum": _axes,
    "Reshape": lambda node, batch, rank: (node.integer_operand(1) or (1,))[0] in (batch, 0, -1),
    "Slice": _slice,
    "Split": _axis(0),
    "Squeeze": _axes,
    "Transpose": lambda node, batch, rank: (node.integers("perm") or (rank - 1,))[0] == 0,
    "Unsqueeze": _axes,
    "com.microsoft.FusedGemm": _rows,
}
