"""Nodes of an ONNX graph: the closed list of operators with the inputs and attributes that each may have."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from onnx import AttributeProto, NodeProto

from wdaverify.errors import NetworkError
from wdaverify.network.onnx_tensors import Tensor, decode_tensor, quoted

OPSETS = range(6, 29)
"""The versions of the standard operator set whose meaning was checked for every accepted operator."""

_ALL = OPSETS
_Attributes = dict[str, range]


def _since(version: int) -> range:
    return range(version, OPSETS.stop)


def _before(version: int) -> range:
    return range(OPSETS.start, version)


_BROADCAST: _Attributes = {"broadcast": _before(7), "axis": _before(7)}

# operator -> (least and greatest number of inputs, attribute -> operator-set versions that have it)
OPERATORS: dict[str, tuple[int, int, _Attributes]] = {
    "Add": (2, 2, _BROADCAST),
    "BatchNormalization": (
        5,
        5,
        {
            "epsilon": _ALL,
            "momentum": _ALL,
            "is_test": _before(7),
            "spatial": _before(9),
            "training_mode": _since(14),
        },
    ),
    "Cast": (1, 1, {"to": _ALL, "saturate": _since(19), "round_mode": _since(24)}),
    "Concat": (1, 2**10, {"axis": _ALL}),
    "Constant": (
        0,
        0,
        {"value": _ALL} | {f"value_{kind}": _since(12) for kind in ("float", "floats", "int", "ints")},
    ),
    "Div": (2, 2, _BROADCAST),
    "Dropout": (1, 3, {"is_test": _before(7), "ratio": _before(12), "seed": _since(12)}),
    "Flatten": (1, 1, {"axis": _ALL}),
    "Gemm": (2, 3, {"alpha": _ALL, "beta": _ALL, "transA": _ALL, "transB": _ALL, "broadcast": _before(7)}),
    "Identity": (1, 1, {}),
    "LogSoftmax": (1, 1, {"axis": _ALL}),
    "MatMul": (2, 2, {}),
    "Mul": (2, 2, _BROADCAST),
    "Relu": (1, 1, {}),
    "Reshape": (2, 2, {"allowzero": _since(14)}),
    "Softmax": (1, 1, {"axis": _ALL}),
    "Squeeze": (1, 2, {"axes": _before(13)}),
    "Sub": (2, 2, _BROADCAST),
    "Sum": (1, 2**10, {}),
    "Transpose": (1, 1, {"perm": _ALL}),
    "Unsqueeze": (1, 2, {"axes": _before(13)}),
}

_Value = int | float | str | tuple[int, ...] | tuple[float, ...] | Tensor


@dataclass(frozen=True, eq=False)
class Node:
    """One operator with its constant inputs at hand.

    ``constants[k]`` is input k if it is a constant, else None; ``moving`` are the numbers of the inputs that are computed from the
    network's input, ``active`` the first of them (None if every input is constant).
    """

    op: str
    label: str
    opset: int
    constants: tuple[Tensor | None, ...]
    moving: tuple[int, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, _Value]

    @property
    def active(self) -> int | None:
        """The first computed input."""
        return self.moving[0] if self.moving else None

    def refused(self, reason: str) -> NetworkError:
        """The error to raise; ``reason`` says what was found and what is accepted."""
        return NetworkError(f"{self.label}: {reason}")

    def integer(self, name: str, default: int) -> int:
        """An attribute that is one integer."""
        value = self.attributes.get(name, default)
        if not isinstance(value, int):
            raise self.refused(f"attribute {name} is not an integer")
        return value

    def flag(self, name: str, default: int = 0) -> bool:
        """An attribute that is 0 or 1."""
        value = self.integer(name, default)
        if value not in (0, 1):
            raise self.refused(f"attribute {name} is {value}; accepted are 0 and 1")
        return value == 1

    def number(self, name: str, default: float) -> float:
        """An attribute that is one finite number."""
        value = self.attributes.get(name, default)
        if not isinstance(value, float) or not math.isfinite(value):
            raise self.refused(f"attribute {name} is not a finite number")
        return value

    def integers(self, name: str) -> tuple[int, ...] | None:
        """An attribute that is a list of integers, or None if it is absent."""
        value = self.attributes.get(name)
        if value is None:
            return None
        if not isinstance(value, tuple):
            raise self.refused(f"attribute {name} is not a list of integers")
        whole = tuple(v for v in value if isinstance(v, int))
        if len(whole) != len(value):
            raise self.refused(f"attribute {name} is not a list of integers")
        return whole

    def operand(self, k: int) -> Tensor | None:
        """Constant input k, or None if it is left out."""
        return self.constants[k] if k < len(self.constants) else None

    def integer_operand(self, k: int) -> tuple[int, ...] | None:
        """Constant input k as a list of integers, or None if it is left out."""
        value = self.operand(k)
        if value is None:
            if self.active == k:
                raise self.refused(f"input {k} must be a constant")
            return None
        if value.dtype.kind != "i" or value.ndim > 1:
            raise self.refused(f"input {k} must be a list of integers, not {value.dtype} of shape {list(value.shape)}")
        return tuple(int(v) for v in value.reshape(-1))


def describe(proto: NodeProto, position: int) -> str:
    """How messages name a node: by its name, else by its place and output."""
    plain = proto.op_type.isidentifier() and proto.op_type.isascii() and len(proto.op_type) <= 60
    operator = proto.op_type if plain else quoted(proto.op_type)
    if proto.name:
        return f"node {quoted(proto.name)} ({operator})"
    return f"node #{position} with output {quoted(proto.output[0] if proto.output else '')} ({operator})"


def check_operator(proto: NodeProto, label: str, opset: int) -> None:
    """Refuse a node whose operator, domain, attributes or number of inputs are outside the closed list.

    Raises:
        NetworkError: names the node, the operator and what is accepted.
    """
    if proto.domain not in ("", "ai.onnx"):
        raise NetworkError(f"{label}: domain {quoted(proto.domain)}; only standard ONNX operators are accepted")
    if proto.op_type not in OPERATORS:
        raise NetworkError(
            f"{label}: this operator is not accepted; accepted are {', '.join(OPERATORS)}; "
            "rewrite or re-export the network with these"
        )
    least, most, known = OPERATORS[proto.op_type]
    if not least <= len(proto.input) <= most:
        raise NetworkError(f"{label}: {len(proto.input)} inputs; accepted are {least} to {most}")
    if not proto.output or not proto.output[0]:
        raise NetworkError(f"{label}: the node has no output")
    for attribute in proto.attribute:
        if opset not in known.get(attribute.name, range(0)):
            has = [name for name, versions in known.items() if opset in versions]
            raise NetworkError(
                f"{label}: attribute {quoted(attribute.name)} in operator set {opset}; "
                f"accepted are {', '.join(has) if has else 'none'}"
            )


def decode_attributes(proto: NodeProto, label: str) -> dict[str, _Value]:
    """The attributes of a node by name.

    Raises:
        NetworkError: an attribute that occurs twice, refers to a function's attribute or is of another type.
    """
    out: dict[str, _Value] = {}
    for attribute in proto.attribute:
        if attribute.name in out:
            raise NetworkError(f"{label}: attribute {quoted(attribute.name)} occurs twice")
        if attribute.ref_attr_name:
            raise NetworkError(f"{label}: attribute {quoted(attribute.name)} refers to a function's attribute")
        out[attribute.name] = _value(attribute, label)
    return out


def _value(attribute: AttributeProto, label: str) -> _Value:
    match attribute.type:
        case AttributeProto.FLOAT:
            return float(attribute.f)
        case AttributeProto.INT:
            return int(attribute.i)
        case AttributeProto.STRING:
            return attribute.s.decode("utf-8", errors="replace")
        case AttributeProto.FLOATS:
            return tuple(float(v) for v in attribute.floats)
        case AttributeProto.INTS:
            return tuple(int(v) for v in attribute.ints)
        case AttributeProto.TENSOR:
            return decode_tensor(attribute.t, f"{label}: attribute {quoted(attribute.name)}")
        case _:
            raise NetworkError(f"{label}: attribute {quoted(attribute.name)} is of a type that is not accepted")
