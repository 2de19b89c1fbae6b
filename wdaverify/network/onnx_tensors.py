"""Tensors stored in an ONNX file, as numpy arrays: sizes are checked against the stored bytes before allocation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from wdaverify.errors import NetworkError

Tensor = NDArray[Any]

MAX_ELEMENTS = 2**31
MAX_RANK = 32

# type in the file -> (field that holds the numbers when they are not raw bytes, little-endian dtype of the raw bytes)
_STORAGE: dict[int, tuple[str, str]] = {
    TensorProto.FLOAT: ("float_data", "<f4"),
    TensorProto.DOUBLE: ("double_data", "<f8"),
    TensorProto.INT64: ("int64_data", "<i8"),
    TensorProto.INT32: ("int32_data", "<i4"),
    TensorProto.BOOL: ("int32_data", "|b1"),
    TensorProto.FLOAT16: ("int32_data", "<u2"),
    TensorProto.BFLOAT16: ("int32_data", "<u2"),
}
HALVES = (TensorProto.FLOAT16, TensorProto.BFLOAT16)
"""Types of two bytes, whose numbers are kept as those of single precision that they are; stored as their bits."""
DTYPES: dict[int, np.dtype[Any]] = {
    code: np.dtype("f4" if code in HALVES else form).newbyteorder("=") for code, (_, form) in _STORAGE.items()
}
FLOATS = (TensorProto.FLOAT, TensorProto.DOUBLE, *HALVES)


def quoted(name: str) -> str:
    """``name`` in quotes, on one line and of bounded length."""
    return repr(name if len(name) <= 60 else name[:57] + "...")


def type_name(code: int) -> str:
    """The ONNX word for a tensor type."""
    return str(TensorProto.DataType.Name(code)) if code in TensorProto.DataType.values() else f"number {code}"


def decode_tensor(tensor: TensorProto, what: str) -> Tensor:
    """The numbers of ``tensor`` in its own type: float32, float64, int32, int64 or bool; messages say ``what`` it is.

    Raises:
        NetworkError: external or segmented data, another type, a size that the stored bytes do not have, NaN or Inf.
    """
    if tensor.external_data or tensor.data_location == TensorProto.EXTERNAL:
        where = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
        way = "with --external-data (load_network(path, external_data=True)) files beside the model are read, for initializers"
        raise NetworkError(
            f"{what} keeps its data in another file, {quoted(where)}, which is not opened unasked; save the model in one file: "
            f"torch.onnx.export(..., external_data=False), or onnx.save(onnx.load(path), path); {way}"
        )
    if tensor.HasField("segment"):
        raise NetworkError(f"{what} is stored in segments; save it whole")
    if tensor.data_type not in _STORAGE:
        raise NetworkError(
            f"{what} has type {type_name(tensor.data_type)}; accepted are weights of FLOAT, DOUBLE, FLOAT16 and BFLOAT16 "
            "(INT64, INT32 and BOOL for shapes and flags); convert the model to float32"
        )
    shape = _shape(tensor, what)
    values = _values(tensor, math.prod(shape), what).reshape(shape)
    if values.dtype.kind == "f":
        refuse_non_finite(values, what)
    return values


def decode_names(tensor: TensorProto, what: str) -> Tensor:
    """The texts, or else the numbers, of ``tensor``: the names of classes."""
    if tensor.data_type != TensorProto.STRING:
        return decode_tensor(tensor, what)
    shape = _shape(tensor, what)
    if len(tensor.string_data) != math.prod(shape):
        raise NetworkError(f"{what} claims shape {list(shape)}, but {len(tensor.string_data)} texts are stored")
    return np.array([text.decode("utf-8", errors="replace") for text in tensor.string_data], object).reshape(shape)


def refuse_non_finite(values: Tensor, what: str) -> None:
    """Raises NetworkError, naming the first entry, if ``values`` has a NaN or an Inf."""
    bad = ~np.isfinite(values)
    if bad.any():
        where = [int(k) for k in np.unravel_index(int(bad.argmax()), bad.shape)]
        raise NetworkError(f"{what} has {values[tuple(where)]} at index {where}; finite numbers are accepted")


def _shape(tensor: TensorProto, what: str) -> tuple[int, ...]:
    shape = tuple(int(d) for d in tensor.dims)
    if len(shape) > MAX_RANK:
        raise NetworkError(f"{what} has {len(shape)} axes; at most {MAX_RANK} are accepted")
    if any(d < 1 for d in shape) and shape != (0,):  # a list of nothing, as of axes or of a region that is not used
        raise NetworkError(f"{what} has shape {list(shape)}; every dimension must be at least 1")
    if math.prod(shape) > MAX_ELEMENTS:
        raise NetworkError(f"{what} claims shape {list(shape)}; at most 2^31 numbers are accepted")
    return shape


def _values(tensor: TensorProto, count: int, what: str) -> Tensor:
    field, form = _STORAGE[tensor.data_type]
    raw = tensor.HasField("raw_data")
    stored = len(tensor.raw_data) / np.dtype(form).itemsize if raw else len(getattr(tensor, field))
    if stored != count:
        raise NetworkError(
            f"{what} claims shape {list(tensor.dims)}, {count} numbers, but {stored:g} are stored; the file is damaged"
        )
    dtype = DTYPES[tensor.data_type]
    if tensor.data_type in HALVES:
        given = np.frombuffer(tensor.raw_data, form) if raw else np.array(getattr(tensor, field), np.int64)
        if ((given < 0) | (given >= 2**16)).any():
            raise NetworkError(f"{what} has numbers of more than two bytes; the file is damaged")
        bits = given.astype(np.uint16)
        if tensor.data_type == TensorProto.FLOAT16:
            return bits.view(np.float16).astype(dtype)
        return (bits.astype(np.uint32) << 16).view(np.float32)
    if raw:
        return np.frombuffer(tensor.raw_data, dtype=form).astype(dtype)
    return np.array(getattr(tensor, field), dtype=dtype)


def rounded_to(values: Tensor, code: int) -> Tensor:
    """Numbers rounded to the nearest of a type, ties to even; of two bytes as those of single precision that they are."""
    if code == TensorProto.FLOAT16:
        return values.astype(np.float16).astype(np.float32)
    if code == TensorProto.BFLOAT16:
        bits = values.astype(np.float32).view(np.uint32)
        return ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)
    return values.astype(DTYPES[code])
