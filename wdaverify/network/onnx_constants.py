"""Nodes whose inputs are all constant. Only what rounds nothing is evaluated; arithmetic on weights is refused."""

from __future__ import annotations

import numpy as np

from wdaverify.network.onnx_nodes import Node
from wdaverify.network.onnx_shapes import REARRANGEMENTS, rearranged
from wdaverify.network.onnx_tensors import DTYPES, Tensor, refuse_non_finite, type_name


def folded(node: Node) -> Tensor:
    """The constant that ``node`` gives.

    Raises:
        NetworkError: the node computes (it would have to be rounded), or does not fit its input.
    """
    if node.op == "Constant":
        return _constant(node)
    source = node.operand(0)
    if source is not None and node.op == "Cast":
        return _cast(node, source)
    if source is not None and node.op in REARRANGEMENTS:
        return rearranged(node, source)
    raise node.refused(
        "it computes with constants only, which would round the weights; "
        f"accepted on constants are Cast, {', '.join(REARRANGEMENTS)}; fold the constants when exporting"
    )


def _constant(node: Node) -> Tensor:
    if len(node.attributes) != 1:
        raise node.refused("exactly one of value, value_float, value_floats, value_int, value_ints is accepted")
    ((name, value),) = node.attributes.items()
    if name == "value":
        if not isinstance(value, np.ndarray):
            raise node.refused("attribute value is not a tensor")
        return value
    if name in ("value_int", "value_ints"):
        whole = node.integer(name, 0) if name == "value_int" else node.integers(name)
        out: Tensor = np.array(whole, dtype=np.int64)
    else:
        number = node.number(name, 0.0) if name == "value_float" else value
        if name == "value_floats" and not isinstance(number, tuple):
            raise node.refused("attribute value_floats is not a list of numbers")
        out = np.array(number, dtype=np.float32)
        refuse_non_finite(out, node.label)
    if out.size == 0:
        raise node.refused(f"attribute {name} is empty")
    return out


def _cast(node: Node, source: Tensor) -> Tensor:
    code = node.integer("to", 0)
    if code not in DTYPES:
        accepted = ", ".join(type_name(known) for known in DTYPES)
        raise node.refused(f"a cast to {type_name(code)}; accepted are {accepted}")
    with np.errstate(over="ignore", invalid="ignore"):
        out = source.astype(DTYPES[code])
        exact = np.array_equal(out.astype(source.dtype), source)
    if not exact:
        raise node.refused(
            f"casting this constant to {type_name(code)} changes its numbers; store them in that type when exporting"
        )
    return out
