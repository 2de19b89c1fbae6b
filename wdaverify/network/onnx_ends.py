"""What goes into a graph and what comes out: the one input and the one output, their types and shapes."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import numpy as np
from onnx import GraphProto, TensorProto, ValueInfoProto

from wdaverify.errors import NetworkError
from wdaverify.network.onnx_tensors import DTYPES, FLOATS, HALVES, MAX_RANK, quoted, type_name

MAX_FEATURES = 2**20


def input_of(graph: GraphProto, constants: Collection[str]) -> ValueInfoProto:
    """The one input that is not a constant."""
    inputs = [value for value in graph.input if value.name not in constants]
    if len(inputs) != 1:
        names = ", ".join(quoted(value.name) for value in inputs[:8]) or "none"
        raise NetworkError(f"the graph has {len(inputs)} inputs ({names}); graphs with one are accepted")
    tensor, accepted = inputs[0].type.tensor_type, (*FLOATS, TensorProto.UINT8)
    if not inputs[0].type.HasField("tensor_type") or tensor.elem_type not in accepted:
        raise NetworkError(
            f"input {quoted(inputs[0].name)} has type {type_name(tensor.elem_type)}; tensors of "
            f"{', '.join(type_name(code) for code in accepted)} are accepted"
        )
    source: ValueInfoProto = inputs[0]
    return source


def outputs_of(graph: GraphProto, wanted: str | None, tensors: Collection[str]) -> list[str]:
    """The outputs of the file, or the tensor that was asked for by its name."""
    outputs = [value.name for value in graph.output]
    if wanted is None:
        if not outputs:
            raise NetworkError("the graph has no outputs; one at least is accepted")
        return outputs
    if wanted not in tensors:
        names = ", ".join(quoted(name) for name in outputs[:8]) or "none"
        raise NetworkError(
            f"--output-name {quoted(wanted)}: no node of the file gives a tensor of that name; its outputs are {names}"
        )
    return [wanted]


def input_shape(source: ValueInfoProto) -> tuple[tuple[int, ...], int]:
    """The input's shape with the batch axis, the first of two or more axes, at size 1; and how many samples the file fixes."""
    tensor = source.type.tensor_type
    label = f"input {quoted(source.name)}"
    if not tensor.HasField("shape") or not 1 <= len(tensor.shape.dim) <= MAX_RANK:
        raise NetworkError(
            f"{label} has no shape, or none with 1 to {MAX_RANK} axes; [n], [1, n], [N, 1, 28, 28] are accepted"
        )
    sizes = [int(d.dim_value) if d.HasField("dim_value") and d.dim_value >= 0 else None for d in tensor.shape.dim]
    shown = "[" + ", ".join("?" if size is None else str(size) for size in sizes) + "]"
    batch = 1
    if len(sizes) > 1:
        batch, sizes[0] = sizes[0] or 1, 1
    shape = tuple(size for size in sizes if size is not None)
    if len(shape) != len(sizes):
        raise NetworkError(f"{label} has shape {shown}; only the batch axis, the first of two or more, may be symbolic")
    if not 1 <= math.prod(shape) <= MAX_FEATURES:
        raise NetworkError(f"{label} has shape {shown}; 1 to 2^20 features are accepted")
    return shape, batch


def input_type(source: ValueInfoProto) -> np.dtype[Any]:
    """The type of the input's numbers."""
    kind = source.type.tensor_type.elem_type
    return np.dtype(np.uint8) if kind == TensorProto.UINT8 else DTYPES[kind]


def told_of_types(graph: GraphProto, source: ValueInfoProto, batch: int) -> list[str]:
    """What numbers of two bytes, an input of bytes and a fixed batch are taken for."""
    out = list[str]()
    kinds = _halves(graph)
    if kinds:
        names = " and ".join(sorted(type_name(kind) for kind in kinds))
        out.append(
            f"numbers of type {names} are taken as the real numbers they are, and arithmetic is real: a runtime that computes in "
            "that type differs by its roundings"
        )
    if batch > 1:
        out.append(f"input {quoted(source.name)} takes a fixed batch of {batch}: the network is that of one sample")
    if source.type.tensor_type.elem_type == TensorProto.UINT8:
        out.append(
            f"input {quoted(source.name)} has type UINT8: the network is taken for all real inputs; integers from 0 to 255 are "
            "for the support to say"
        )
    return out


def has_halves(graph: GraphProto) -> bool:
    """Whether the file stores or takes numbers of two bytes."""
    return bool(_halves(graph))


def _halves(graph: GraphProto) -> set[int]:
    kinds = {tensor.data_type for tensor in graph.initializer if tensor.data_type in HALVES}
    return kinds | {
        value.type.tensor_type.elem_type for value in graph.input if value.type.tensor_type.elem_type in HALVES
    }
