"""Weights that a model keeps in other files: read where that is asked for, from plain files beside the model and from nowhere else."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from onnx import TensorProto

from wdaverify.errors import NetworkError
from wdaverify.network.onnx_file import MAX_BYTES
from wdaverify.network.onnx_tensors import quoted
from wdaverify.untrusted import UnreadableError, contents


@dataclass(eq=False)
class Beside:
    """The files beside a model that were read, by name."""

    folder: Path
    read: dict[str, bytes] = field(default_factory=dict)
    taken: int = 0

    def whole(self, tensor: TensorProto, what: str) -> TensorProto:
        """The tensor with its bytes, out of the file that it names.

        Raises:
            NetworkError: the file is not one beside the model, cannot be read, or is shorter than what is asked of it; or the
                same bytes are asked for more often than a file of the largest size holds.
        """
        if tensor.data_location != TensorProto.EXTERNAL:
            return tensor
        named = {entry.key: entry.value for entry in tensor.external_data}
        where = named.get("location", "")
        if where in ("", "..") or not where.isprintable() or where != Path(where).name or "\\" in where or ":" in where:
            raise NetworkError(
                f"{what} keeps its data in {quoted(where)}, which is not the name of a file beside the model; "
                "one in the folder of the model is accepted"
            )
        data = self._bytes(where, what)
        start, length = (
            _number(named.get(key, default), what) for key, default in (("offset", "0"), ("length", str(len(data))))
        )
        length = max(0, len(data) - start) if "length" not in named else length
        self.taken += max(0, length)
        if start < 0 or length < 0 or start + length > len(data) or self.taken > MAX_BYTES:
            raise NetworkError(
                f"{what} keeps {length} bytes from {start} on in {quoted(where)}, which has {len(data)}; bytes that are there, "
                f"{MAX_BYTES} of all tensors together, are accepted"
            )
        out = TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
        out.raw_data = data[start : start + length]
        return out

    def _bytes(self, name: str, what: str) -> bytes:
        if name not in self.read:
            path = self.folder / name
            if path.is_symlink():
                raise NetworkError(
                    f"{what} keeps its data in {quoted(name)}, which is a link; a plain file is accepted"
                )
            left = MAX_BYTES - sum(map(len, self.read.values()))
            try:
                self.read[name] = contents(path, left, "a file of weights beside the model")
            except UnreadableError as error:
                raise NetworkError(f"{what} keeps its data in {quoted(name)}: {error}") from None
        return self.read[name]

    def digest(self, data: bytes) -> str:
        """The sum of the model's bytes, and behind them of the files read: name, 0, eight bytes of length, and the bytes, by name."""
        out = hashlib.sha256(data)
        for name in sorted(self.read):
            part = self.read[name]
            out.update(name.encode() + b"\0" + len(part).to_bytes(8, "little") + part)
        return out.hexdigest()


def _number(text: str, what: str) -> int:
    if not text.removeprefix("-").isdecimal() or not text.isascii() or len(text) > 20:
        raise NetworkError(f"{what} keeps its data at {quoted(text)} of another file; a number of bytes is accepted")
    return int(text)
