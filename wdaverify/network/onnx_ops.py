"""The closed list of operators: how each is read where what it reads is computed from the network's input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto

from wdaverify.errors import NetworkError
from wdaverify.graph.nodes import INPUT
from wdaverify.network.onnx_arithmetic import ARITHMETIC
from wdaverify.network.onnx_constants import CONSTANTS
from wdaverify.network.onnx_curved import CURVED
from wdaverify.network.onnx_functions import FUNCTIONS
from wdaverify.network.onnx_joins import JOINS
from wdaverify.network.onnx_linear import LINEAR
from wdaverify.network.onnx_nodes import EVERY, Node, Operator, before, since
from wdaverify.network.onnx_path import Path, Place
from wdaverify.network.onnx_products import PRODUCTS
from wdaverify.network.onnx_reductions import REDUCTIONS, Read
from wdaverify.network.onnx_selections import SELECTIONS, SPLIT, split
from wdaverify.network.onnx_shapes import SHAPES
from wdaverify.network.onnx_tensors import DTYPES, FLOATS, HALVES, quoted, type_name
from wdaverify.network.onnx_windows import WINDOWS


def apply(path: Path, node: Node, given: Sequence[Place]) -> list[Place]:
    """Append ``node``, of whose inputs those that are computed are ``given``, to ``path``: its outputs, the first one at hand.

    Raises:
        NetworkError: the node is not an affine map, a function of one tensor that is known, or a move of numbers.
    """
    if node.op not in (*MOVES, "Split", "Cast") and any(place.dtype.kind != "f" for place in given):
        raise node.refused(
            f"it computes with the input as {given[0].dtype}; a Cast to a floating-point type first is accepted"
        )
    if node.op in COMPUTED:
        COMPUTED[node.op].read(path, node, given)
        return [path.place] * (2 if COMPUTED[node.op].many else 1)  # a classifier's label is read by no node
    if node.op not in MOVES and node.op != "Split":
        raise node.refused("it reads what is computed from the network's input; accepted are constants")
    if len(given) == 1 and node.active != 0:
        raise node.refused("the activation is its shape; a constant shape is accepted")
    path.only(node, given)
    parts = split(node, path.layout) if node.op == "Split" else [MOVES[node.op].read(node, path.layout)]
    for part in parts:
        if not np.may_share_memory(part, path.layout):
            path.allowance.take(part.size)
    return [Place(path.at, part, path.dtype) for part in parts]


def _dropout(path: Path, node: Node, given: Sequence[Place]) -> None:
    path.take(given[0])
    mode = node.operand(2)
    if node.active != 0 or (mode is not None and bool(mode.any())) or (node.opset < 7 and not node.flag("is_test")):
        raise node.refused("training mode; the inference form is accepted: export the network in evaluation mode")


def _cast(path: Path, node: Node, given: Sequence[Place]) -> None:
    path.take(given[0])
    code = node.integer("to", 0)
    if code not in FLOATS:
        raise node.refused(f"a cast of the activation to {type_name(code)}; accepted are floating-point types")
    if code != TensorProto.DOUBLE and (path.dtype == np.float64 or code in HALVES):
        kind = "float32" if code == TensorProto.FLOAT else type_name(code)
        path.notices.append(f"{node.label}: the rounding of a cast to {kind} is left out; it is taken as the identity")
        if code in HALVES or path.at != INPUT:
            path.not_float32.append(
                f"{node.label} casts what is computed to {kind}, whose rounding is not bounded; casts of the input to float32 are accepted"
            )
    path.dtype = DTYPES[code]


_OTHERS: dict[str, Operator[Read]] = {
    "Cast": Operator(_cast, 1, 1, {"to": EVERY, "saturate": since(19), "round_mode": since(24)}),
    "Dropout": Operator(_dropout, 1, 3, {"is_test": before(7), "ratio": before(12), "seed": since(12)}),
}
MOVES = SHAPES | SELECTIONS
COMPUTED = ARITHMETIC | CURVED | FUNCTIONS | JOINS | LINEAR | PRODUCTS | REDUCTIONS | WINDOWS | _OTHERS
OPERATORS: dict[str, Operator[object]] = dict(sorted({**MOVES, **COMPUTED, **CONSTANTS, "Split": SPLIT}.items()))  # type: ignore[arg-type]
"""By name."""


def check_operator(proto: NodeProto, label: str, opset: int, operator: Operator[Any]) -> None:
    """Refuse a node whose attributes or number of inputs are none of its operator's.

    Raises:
        NetworkError: names the node, the operator and what is accepted.
    """
    if not operator.least <= len(proto.input) <= operator.most:
        raise NetworkError(f"{label}: {len(proto.input)} inputs; accepted are {operator.least} to {operator.most}")
    if not proto.output or not proto.output[0]:
        raise NetworkError(f"{label}: the node has no output")
    for attribute in proto.attribute:
        if opset not in operator.attributes.get(attribute.name, range(0)):
            has = [name for name, versions in operator.attributes.items() if opset in versions]
            raise NetworkError(
                f"{label}: attribute {quoted(attribute.name)} in operator set {opset}; "
                f"accepted are {', '.join(has) if has else 'none'}"
            )
