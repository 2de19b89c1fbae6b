"""The structure of an ONNX file before it is parsed: how much memory its messages would take beyond their bytes.

A protobuf message of two bytes becomes an object of hundreds, so that the size of a file says little of what parsing it
takes. The walk follows the fields that ModelProto knows and looks into nothing else.
"""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor import FieldDescriptor as Field  # type: ignore[import-untyped]
from onnx import ModelProto

from wdaverify.errors import NetworkError

MAX_STRUCTURE = 2**26
"""Bytes that messages, fields and packed integers may take in memory beyond their own."""
MAX_NESTING = 16
_MESSAGE, _FIELD, _INTEGER = 512, 64, 8
"""What a message takes, what any field, and what each byte of packed integers."""
_INTEGERS = (
    Field.CPPTYPE_INT32,
    Field.CPPTYPE_INT64,
    Field.CPPTYPE_UINT32,
    Field.CPPTYPE_UINT64,
    Field.CPPTYPE_ENUM,
)
_LENGTH = 2
"""The wire type of what says its own length."""


def check_structure(data: bytes) -> None:
    """Refuse a file of too many parts, or of parts nested too deep.

    Raises:
        NetworkError: so, or the bytes are no protobuf message.
    """
    waiting: list[tuple[int, int, Any, int]] = [(0, len(data), ModelProto.DESCRIPTOR, 1)]
    taken = 0
    while waiting:
        at, end, kind, depth = waiting.pop()
        while at < end:
            key, at = _varint(data, at, end)
            field = kind.fields_by_number.get(key >> 3)
            taken += _FIELD
            if key & 7 == _LENGTH:
                length, at = _varint(data, at, end)
                if length > end - at:
                    raise _damaged()
                if field is not None and field.message_type is not None:
                    if depth == MAX_NESTING:
                        raise NetworkError(
                            f"its messages are nested more than {MAX_NESTING} deep; no network needs that"
                        )
                    taken += _MESSAGE
                    waiting.append((at, at + length, field.message_type, depth + 1))
                elif field is not None and field.cpp_type in _INTEGERS:
                    taken += _INTEGER * length
                at += length
            else:
                at = _after_scalar(data, at, end, key)
            if taken > MAX_STRUCTURE:
                raise NetworkError(
                    f"its nodes, attributes and packed integers would take more than {MAX_STRUCTURE} bytes besides the "
                    "weights; store weights as raw data, in fewer nodes"
                )


def _after_scalar(data: bytes, at: int, end: int, key: int) -> int:
    """Where the field ends whose value begins at ``at``."""
    match key & 7:
        case 0:
            return _varint(data, at, end)[1]
        case 1:
            at += 8
        case 5:
            at += 4
        case _:
            raise _damaged()
    if at > end:
        raise _damaged()
    return at


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise _damaged()


def _damaged() -> NetworkError:
    return NetworkError("this is not an ONNX file, or it is cut off")
