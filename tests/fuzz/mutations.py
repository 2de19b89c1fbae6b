"""Mutations with a fixed seed: of bytes, of tokens, of archive members, of protobuf messages."""

from __future__ import annotations

import io
import json
import re
import warnings
import zipfile
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import Message

Rng = np.random.Generator
NUMBERS = (
    0,
    1,
    -1,
    2,
    3,
    127,
    128,
    255,
    256,
    2**15,
    2**16,
    2**31 - 1,
    2**31,
    2**32,
    2**53 + 1,
    2**62,
    2**63 - 1,
    -(2**63),
)
TEXTS = (
    "",
    "x",
    "y",
    "\n",
    "\0",
    "a\nb",
    "\x1b[31m",
    "é\ud7ff",
    "../../etc/passwd",
    "/etc/passwd",
    "9" * 5000,
    "a" * 3000,
    "nan",
    "-inf",
    "1e999",
    "0x10",
    "True",
    "none",
)


def pick(rng: Rng, values: Sequence[Any]) -> Any:
    return values[int(rng.integers(len(values)))]


# Bytes


def _spot(rng: Rng, data: bytes) -> tuple[int, int]:
    a = int(rng.integers(len(data) + 1))
    return a, min(len(data), a + int(rng.integers(1, 1 + int(pick(rng, (1, 4, 16, 64))))))


def _flip(rng: Rng, data: bytes, _: Sequence[bytes]) -> bytes:
    out = bytearray(data)
    for _k in range(int(rng.integers(1, 5))):
        if out:
            out[int(rng.integers(len(out)))] ^= 1 << int(rng.integers(8))
    return bytes(out)


def _set(rng: Rng, data: bytes, _: Sequence[bytes]) -> bytes:
    a, b = _spot(rng, data)
    return data[:a] + rng.bytes(b - a) + data[b:]


def _number(rng: Rng, data: bytes, _: Sequence[bytes]) -> bytes:
    size = int(pick(rng, (1, 2, 4, 8)))
    value = int(pick(rng, NUMBERS)) % 256**size
    a, _b = _spot(rng, data)
    return data[:a] + value.to_bytes(size, "little") + data[a + size :]


def _cut(rng: Rng, data: bytes, _: Sequence[bytes]) -> bytes:
    return data[: int(rng.integers(len(data) + 1))]


def _drop(rng: Rng, data: bytes, _: Sequence[bytes]) -> bytes:
    a, b = _spot(rng, data)
    return data[:a] + data[b:]


def _repeat(rng: Rng, data: bytes, _: Sequence[bytes]) -> bytes:
    a, b = _spot(rng, data)
    return data[:b] + data[a:b] * int(pick(rng, (1, 2, 100))) + data[b:]


def _insert(rng: Rng, data: bytes, _: Sequence[bytes]) -> bytes:
    a, _b = _spot(rng, data)
    return data[:a] + rng.bytes(int(rng.integers(1, 20))) + data[a:]


def _splice(rng: Rng, data: bytes, others: Sequence[bytes]) -> bytes:
    other = pick(rng, others)
    return data[: int(rng.integers(len(data) + 1))] + other[int(rng.integers(len(other) + 1)) :]


_BYTES = (_flip, _flip, _set, _number, _cut, _drop, _repeat, _insert, _splice)


def bytes_mutated(rng: Rng, data: bytes, others: Sequence[bytes]) -> bytes:
    """One to three mutations of bytes."""
    for _ in range(int(pick(rng, (1, 1, 1, 2, 3)))):
        data = pick(rng, _BYTES)(rng, data, others)
    return data


# Tokens


def tokens_mutated(rng: Rng, text: str, words: Sequence[str], pattern: str) -> str:
    """One to three tokens dropped, doubled, swapped, replaced or nested."""
    parts = re.findall(pattern, text, re.S)
    for _ in range(int(pick(rng, (1, 1, 1, 2, 3)))):
        if not parts:
            return text
        k, j = (int(v) for v in rng.integers(len(parts), size=2))
        match int(rng.integers(6)):
            case 0:
                del parts[k]
            case 1:
                parts.insert(k, parts[j])
            case 2:
                parts[k], parts[j] = parts[j], parts[k]
            case 3:
                parts[k] = pick(rng, (*words, *TEXTS, *map(str, NUMBERS)))
            case 4:
                parts.insert(k, pick(rng, (*words, *TEXTS)))
            case _:
                parts[k] = parts[k] * int(pick(rng, (2, 30, 1500)))
    return "".join(parts)


# Archives


def members(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(entries: Sequence[tuple[str, bytes]], method: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a name that occurs twice
        for name, content in entries:
            archive.writestr(zipfile.ZipInfo(name), content, compress_type=method)
    return out.getvalue()


_DESCR = (
    "<f8",
    "<f4",
    "<f2",
    ">f8",
    "<f16",
    "<i8",
    "|i1",
    "<u8",
    "|b1",
    "?",
    "|O",
    "<c16",
    "<U9",
    "<M8[s]",
    "|V8",
    "f8",
    "x",
)
_HEADER_WORDS = (
    "'descr'",
    "'shape'",
    "'fortran_order'",
    "(",
    ")",
    ",",
    "True",
    "False",
    "{",
    "}",
    "(" * 300,
    "'",
    "3L",
)


def npy(array: np.ndarray[Any, Any]) -> bytes:
    out = io.BytesIO()
    np.save(out, array, allow_pickle=True)
    return out.getvalue()


def _header_mutated(rng: Rng, content: bytes) -> bytes:
    """An array whose header is another text, with its length set right or left as it was."""
    if len(content) < 10:
        return content
    length = int.from_bytes(content[8:10], "little")
    text, rest = content[10 : 10 + length].decode("latin-1"), content[10 + length :]
    if rng.random() < 0.3:
        text = re.sub(r"'[<>|][a-z]\d+'", repr(pick(rng, _DESCR)), text)
    elif rng.random() < 0.4:
        shape = ", ".join(str(pick(rng, (*NUMBERS, 4, 5, 0))) for _ in range(int(rng.integers(0, 4))))
        text = re.sub(r"\([^)]*\)", f"({shape},)" if shape else "()", text)
    else:
        text = tokens_mutated(rng, text, _HEADER_WORDS, r"[\w]+|.")
    raw = text.encode("latin-1", "replace")[:60000]
    return content[:8] + (len(raw) if rng.random() < 0.8 else length).to_bytes(2, "little") + raw + rest


def _random_array(rng: Rng) -> np.ndarray[Any, Any]:
    kind = pick(rng, ("f8", "f8", "f4", "i8", "i4", "u8", "u1", "b1", "c16", "U3", "O", "M8[s]"))
    shape = tuple(int(v) for v in rng.integers(0, 5, size=int(rng.integers(0, 4))))
    values = rng.normal(size=shape) * float(pick(rng, (1.0, 1e3, 1e300, 1e-320, 0.0)))
    with np.errstate(all="ignore"):
        if kind in ("U3", "O"):
            return values.astype(str).astype(kind)
        out = np.asarray(np.nan_to_num(values).clip(0, 100) if kind[0] in "iubM" else values).astype(kind)
    if kind[0] == "f" and out.size and rng.random() < 0.3:
        out.reshape(-1)[int(rng.integers(out.size))] = pick(rng, (np.nan, np.inf, -np.inf, -0.0))
    return np.asfortranarray(out) if rng.random() < 0.3 else out


def archive_mutated(rng: Rng, data: bytes, others: Sequence[bytes], texts: str = "") -> bytes:
    """Members dropped, renamed, doubled, swapped, replaced or mutated, in an archive that is whole again.

    ``texts`` is the name of a member that holds JSON as bytes.
    """
    entries = list(members(data).items())
    for _ in range(int(rng.integers(1, 3))):
        if not entries:
            break
        k, j = (int(v) for v in rng.integers(len(entries), size=2))
        name, content = entries[k]
        match int(rng.integers(8)):
            case 0:
                del entries[k]
            case 1:
                entries[k] = (
                    pick(rng, (entries[j][0], "x.npy", "y.npy", "../x.npy", "a\nb.npy", "x", "é.npy")),
                    content,
                )
            case 2:
                entries[k], entries[j] = (name, entries[j][1]), (entries[j][0], content)
            case 3:
                entries[k] = (name, npy(_random_array(rng)))
            case 4:
                entries[k] = (name, bytes_mutated(rng, content, others))
            case 5 if texts and texts in dict(entries):
                k = [entry for entry, _c in entries].index(texts)
                entries[k] = (texts, _json_mutated(rng, entries[k][1]))
            case _:
                entries[k] = (name, _header_mutated(rng, content))
    method = pick(rng, (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2))
    unique = entries if rng.random() < 0.05 else list(dict(entries).items())
    return zipped(unique, method)


_JSON_WORDS = (
    '"',
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "null",
    "true",
    "NaN",
    "Infinity",
    '"0x1p+9999"',
    '"\\ud800"',
    "[" * 3000,
)


def _json_mutated(rng: Rng, content: bytes) -> bytes:
    try:
        text = content[10 + int.from_bytes(content[8:10], "little") :].decode()
        if rng.random() < 0.5:
            meta = json.loads(text)
            values = (None, True, -1, 0, 3.5, 10**30, [], {}, *TEXTS, "0x1p+5", "inf", "nan", *NUMBERS)
            meta[pick(rng, list(meta))] = pick(rng, values)
            text = json.dumps(meta)
        else:
            text = tokens_mutated(rng, text, _JSON_WORDS, r'"[^"]*"|[\w.+-]+|.')
        return npy(np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8))
    except (ValueError, RecursionError):
        return content


# Protobuf


def _messages(message: Message) -> list[Message]:
    """The message and every one in it."""
    out, waiting = [], [message]
    while waiting:
        now = waiting.pop()
        out.append(now)
        for field, value in now.ListFields():
            if field.message_type is not None:
                waiting += list(value) if field.is_repeated else [value]
    return out


def _random_value(rng: Rng, field: Any) -> Any:
    kinds: dict[int, Callable[[], Any]] = {
        field.CPPTYPE_INT32: lambda: int(pick(rng, [v for v in NUMBERS if -(2**31) <= v < 2**31])),
        field.CPPTYPE_INT64: lambda: int(pick(rng, [v for v in NUMBERS if -(2**63) <= v < 2**63])),
        field.CPPTYPE_UINT64: lambda: int(pick(rng, [v for v in NUMBERS if v >= 0])),
        field.CPPTYPE_FLOAT: lambda: float(pick(rng, (0.0, 1.0, -1.0, 3e38, 1e-45, np.nan, np.inf))),
        field.CPPTYPE_DOUBLE: lambda: float(pick(rng, (0.0, 1.0, -1.0, 1e308, 5e-324, np.nan, np.inf))),
        field.CPPTYPE_BOOL: lambda: bool(rng.integers(2)),
        field.CPPTYPE_ENUM: lambda: int(pick(rng, [v.number for v in field.enum_type.values])),
    }
    if field.cpp_type == field.CPPTYPE_STRING:
        if field.type == field.TYPE_BYTES:
            return rng.bytes(int(rng.integers(0, 100)))
        return pick(rng, (*TEXTS, "W", "B", "x", "y", "axis", "Relu", "Gemm", "Reshape", "Cast", "Softmax", "external"))
    return kinds[field.cpp_type]()


def _edit(rng: Rng, message: Message) -> None:
    """One field of one message set, cleared, dropped, doubled or swapped."""
    # repeated fields of the standard form and their entries; a field that the message lacks may be set
    fields = [field for field, _ in message.ListFields()]
    if not fields or rng.random() < 0.15:
        fields = list(message.DESCRIPTOR.fields)
    field = pick(rng, fields)
    value = getattr(message, field.name)
    if field.is_repeated:
        if field.message_type is not None:
            _edit_messages(rng, value)
        elif len(value) and rng.random() < 0.7:
            value[int(rng.integers(len(value)))] = _random_value(rng, field)
        else:
            value.append(_random_value(rng, field))
    elif field.message_type is not None:
        if rng.random() < 0.5:
            message.ClearField(field.name)
        else:
            value.SetInParent()
    elif rng.random() < 0.15:
        message.ClearField(field.name)
    else:
        setattr(message, field.name, _random_value(rng, field))


def _edit_messages(rng: Rng, value: Any) -> None:
    if not len(value):
        value.add()
        return
    k, j = (int(v) for v in rng.integers(len(value), size=2))
    match int(rng.integers(3)):
        case 0:
            del value[k]
        case 1:
            value.add().CopyFrom(value[k])
        case _:
            kept = type(value[k])()
            kept.CopyFrom(value[k])
            value[k].CopyFrom(value[j])
            value[j].CopyFrom(kept)


def model_mutated(rng: Rng, data: bytes) -> bytes:
    """One to three edits of the messages of a model."""
    model = onnx.ModelProto()
    model.ParseFromString(data)
    for _ in range(int(pick(rng, (1, 1, 1, 2, 3)))):
        _edit(rng, pick(rng, _messages(model)))
    return model.SerializeToString()
