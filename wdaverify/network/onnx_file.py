"""The bytes of an ONNX file: as they are, or out of a ``.gz``; files of other formats are told by how they begin.

No small file becomes a large one: what is packed may unpack to 64 MiB, and beyond that to 20 times its size.
"""

from __future__ import annotations

import zlib
from pathlib import Path

from wdaverify.errors import NetworkError
from wdaverify.untrusted import contents

MAX_BYTES = 2**29
"""Of the file, and of what a packed one unpacks to."""

PACKED_LIMIT, PACKED_RATIO = 2**26, 20
"""What a packed file may unpack to: so many bytes, or so many times its size; weights pack to a half at best, pruned ones to a tenth."""

_TORCH = "a PyTorch file", "torch.onnx.export(model, example, 'net.onnx') writes one"
_BEGINNINGS: tuple[tuple[bytes, int, str, str], ...] = (
    (b"\x89HDF\r\n\x1a\n", 0, "an HDF5 file (Keras)", "tf2onnx's python -m tf2onnx.convert --keras writes one"),
    (b"TFL3", 4, "a TensorFlow Lite file", "tf2onnx's python -m tf2onnx.convert --tflite writes one"),
    (b"//", 0, "an .nnet file", "NNet's nnet2onnx writes one"),
    (b"{", 0, "a text file of JSON", "export the network to ONNX"),
)
"""What stands where in files of other formats; what they are, and the way to ONNX."""


def network_bytes(path: Path) -> bytes:
    """The bytes of the model, unpacked where the file is a ``.gz``.

    Raises:
        NetworkError: another format, or a packed file that is damaged or unpacks to too much.
        UnreadableError: as ``untrusted.contents``.
    """
    data = contents(path, MAX_BYTES, "an ONNX file")
    if data[:2] == b"\x1f\x8b":
        data = _unpacked(data)
    found = _other(data)
    if found is not None:
        raise NetworkError(f"this is {found[0]}; ONNX files (.onnx, .onnx.gz) are accepted: {found[1]}")
    return data


def _unpacked(packed: bytes) -> bytes:
    """The one member of a gzip file; zlib checks its sum."""
    most = min(MAX_BYTES, max(PACKED_LIMIT, PACKED_RATIO * len(packed)))
    reader = zlib.decompressobj(wbits=31)
    try:
        out = reader.decompress(packed, most)
    except zlib.error:
        raise NetworkError("this .gz file is damaged; pack the ONNX file again, or unpack it") from None
    if not reader.eof and len(out) == most:
        raise NetworkError(f"this .gz file unpacks to more than {most} bytes; unpack it, if it is to be trusted")
    if not reader.eof or reader.unused_data:
        raise NetworkError("this .gz file is cut off, or holds more than one file; one packed ONNX file is accepted")
    return out


def _other(data: bytes) -> tuple[str, str] | None:
    """What a file of another format is, and how to come from it to ONNX."""
    if data[:4] == b"PK\x03\x04":
        names = data[:4096] + data[-4096:]
        if b"/data.pkl" in names or b"/constants.pkl" in names or b"/version" in names:
            return _TORCH
        if b".npy" in names:
            return "an archive of arrays (.npz)", "give the network first, then the samples"
        return "a .zip archive", "unpack it, and give the ONNX file in it"
    if data[:1] == b"\x80" and data[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return _TORCH
    return next(((what, way) for begins, at, what, way in _BEGINNINGS if data[at : at + len(begins)] == begins), None)
