"""Nodes of an ONNX graph, and what is said of an operator: the inputs and attributes that it may have, by version."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from onnx import AttributeProto, NodeProto

from wdaverify.errors import NetworkError
from wdaverify.network.onnx_tensors import Tensor, decode_tensor, quoted

OPSETS = range(6, 29)
"""The versions of the standard operator set whose meaning was checked for every accepted operator."""

EVERY = OPSETS
Attributes = Mapping[str, range]
"""Attribute -> operator-set versions that have it."""


def since(version: int) -> range:
    """That version and those behind it."""
    return range(version, OPSETS.stop)


def before(version: int) -> range:
    """The versions in front of that one."""
    return range(OPSETS.start, version)


_Read = TypeVar("_Read")


@dataclass(frozen=True)
class Operator(Generic[_Read]):
    """What reads an operator, the least and the greatest number of its inputs, and its attributes."""

    read: _Read
    least: int
    most: int
    attributes: Attributes = field(default_factory=dict)
    many: bool = False
    """Whether every output is a tensor of its own; otherwise the first is, and no other may be used."""


_Value = int | float | str | tuple[int, ...] | tuple[float, ...] | tuple[str, ...] | Tensor


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
    inputs: tuple[str, ...]
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

    def numbers(self, name: str, default: float | None = None) -> tuple[float, ...]:
        """An attribute that is a list of finite numbers; left out, the one number ``default``."""
        value = self.attributes.get(name, () if default is None else (default,))
        if not isinstance(value, tuple) or not all(isinstance(v, float) and math.isfinite(v) for v in value):
            raise self.refused(f"attribute {name} is not a list of finite numbers, which is accepted")
        return tuple(v for v in value if isinstance(v, float))

    def text(self, name: str, default: str, accepted: Sequence[str]) -> str:
        """An attribute that is one of the words accepted."""
        value = self.attributes.get(name, default)
        if value not in accepted:
            raise self.refused(f"attribute {name} is {quoted(str(value))}; accepted are {', '.join(accepted)}")
        return str(value)

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


def operator_name(proto: NodeProto) -> str:
    """The operator, with its domain in front unless that is the standard one."""
    return proto.op_type if proto.domain in ("", "ai.onnx") else f"{proto.domain}.{proto.op_type}"


def describe(proto: NodeProto, position: int) -> str:
    """How messages name a node: by its name, else by its place and output."""
    plain = proto.op_type.isidentifier() and proto.op_type.isascii() and len(proto.op_type) <= 60
    operator = proto.op_type if plain else quoted(proto.op_type)
    if proto.name:
        return f"node {quoted(proto.name)} ({operator})"
    return f"node #{position} with output {quoted(proto.output[0] if proto.output else '')} ({operator})"


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
        case AttributeProto.STRINGS:
            return tuple(text.decode("utf-8", errors="replace") for text in attribute.strings)
        case AttributeProto.TENSOR:
            return decode_tensor(attribute.t, f"{label}: attribute {quoted(attribute.name)}")
        case _:
            raise NetworkError(f"{label}: attribute {quoted(attribute.name)} is of a type that is not accepted")
