"""Archives of arrays (``.npz``) from strangers: sizes are checked before anything is allocated, and no text is evaluated."""

from __future__ import annotations

import os
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from wdaverify.untrusted import UnreadableError, shown

MAX_DIRECTORY = 2**16
"""Bytes of an archive's directory: several hundred arrays."""
MAX_RANK = 32
PACKED_LIMIT, PACKED_RATIO = 2**26, 250
"""The arrays that unpack to more than so many times what they take in the archive may take so many bytes together."""
_MAX_HEADER = 10_000
_CHUNK = 2**20
_END = struct.Struct("<4s4H2LH")
"""The record that ends an archive: signature, three counts and a number, size and offset of the directory, comment."""
_DTYPE = re.compile(r"[<>|=]?[biuf?][1-8]?\Z")
_KNOWN = re.compile(r"[<>|=]?(?:f16|c8|c16|[SU]\d{1,4})\Z")
_ENTRY = r"'(?:descr'\s*+:\s*+'[^'\\]*+'|fortran_order'\s*+:\s*+(?:True|False)|shape'\s*+:\s*+\([\d\s,]*+\))"
_HEADER = re.compile(rf"\{{\s*+{_ENTRY}\s*+,\s*+{_ENTRY}\s*+,\s*+{_ENTRY}\s*+,?\s*+\}}\s*+\Z")


class Header(NamedTuple):
    """What the npy header of an array says, and how many bytes it takes itself."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran_order: bool
    length: int


class KindError(UnreadableError):
    """An array that holds something else than numbers, or numbers of a type that is not read."""


class TooLargeError(UnreadableError):
    """Arrays that would take more together than is accepted."""


class ArrayArchive:
    """The arrays of a ``.npz`` archive: stored or deflated ``.npy`` members of plain numbers, read one at a time.

    ``allowance`` is how many bytes they may take together, each number at least ``width`` (8: in double precision).

    Raises (here and in ``read``):
        UnreadableError: no archive, or one that is cut off, damaged, encrypted, or not of plain arrays.
    """

    def __init__(self, stream: BinaryIO, allowance: int, width: int = 8) -> None:
        self._allowance, self._left, self._width = allowance, allowance, width
        self._loose = 0
        with _damage("the archive is damaged"):
            self._size = _checked_directory(stream)
            self._archive = zipfile.ZipFile(stream)
        self._members: dict[str, zipfile.ZipInfo] = {}
        for entry in self._archive.infolist():
            if entry.filename.endswith(".npy"):
                name = entry.filename.removesuffix(".npy")
                if name in self._members:
                    raise UnreadableError(
                        f"the archive holds {shown(repr(name), 60)} twice; each name once is accepted"
                    )
                self._members[name] = entry

    def __enter__(self) -> ArrayArchive:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._archive.close()

    @property
    def names(self) -> list[str]:
        """The names of the arrays, in the order of the archive."""
        return list(self._members)

    def read(self, name: str, kind: str | None = None) -> NDArray[Any]:
        """One array; with ``kind`` it has to be of that dtype."""
        if name not in self._members:
            raise UnreadableError(f"there is no array {name!r}")
        entry = self._members[name]
        _check_member(entry, name, self._size)
        with _damage(f"{name} is damaged"), self._archive.open(entry) as stream:
            header = _header(stream, name)
            if kind is not None and header.dtype.str != kind:
                raise UnreadableError(f"{name} holds {header.dtype.str}, not {kind}")
            self._check_size(entry, name, header)
            return _values(stream, name, header)

    def _check_size(self, entry: zipfile.ZipInfo, name: str, header: Header) -> None:
        count = 1
        for side in header.shape:
            count *= side
        size, held = count * header.dtype.itemsize, entry.file_size - header.length
        wide = max(size, self._width * count)
        if wide > self._left:
            raise TooLargeError(
                f"{name} has shape {list(header.shape)}; at most {self._allowance} bytes"
                f"{' in double precision' if self._width == 8 else ''} are accepted for all arrays together"
            )
        if held != size:
            raise UnreadableError(f"{name} claims {size} bytes where {held} are stored; the file is damaged")
        self._loose += size if loose(entry) else 0
        if self._loose > PACKED_LIMIT:
            raise UnreadableError(
                f"{name} unpacks {entry.compress_size} bytes to {size}; beyond {PACKED_LIMIT} bytes at most "
                f"{PACKED_RATIO} times the packed size is accepted: store it unpacked"
            )
        self._left -= wide


def loose(entry: zipfile.ZipInfo) -> bool:
    """Whether a member unpacks to so much that only little of its kind is accepted."""
    return entry.file_size > PACKED_RATIO * entry.compress_size


@contextmanager
def _damage(what: str) -> Iterator[None]:
    """Whatever zipfile and zlib raise on a damaged archive is a refusal."""
    try:
        yield
    except UnreadableError:
        raise
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        struct.error,
        RuntimeError,
        ValueError,
        OverflowError,
        MemoryError,
        OSError,
    ) as error:
        why = shown(" ".join(str(error).split())) or type(error).__name__
        raise UnreadableError(f"{what} ({why})") from None


def _checked_directory(stream: BinaryIO) -> int:
    """The size of an archive whose directory, as its last record says, is small."""
    size = stream.seek(0, os.SEEK_END)
    cut = UnreadableError("this is not an .npz file, or it is cut off")
    if size < _END.size:
        raise cut
    stream.seek(size - _END.size)
    signature, *_, directory, _, comment = _END.unpack(stream.read(_END.size))
    if signature != b"PK\x05\x06" or comment:
        raise cut
    if size >= _END.size + 20:
        stream.seek(size - _END.size - 20)
        if stream.read(4) == b"PK\x06\x07":
            raise UnreadableError("the archive has a 64-bit directory; archives of less than 2 GiB are accepted")
    if directory > MAX_DIRECTORY:
        raise UnreadableError(f"the archive's directory takes {directory} bytes; at most {MAX_DIRECTORY} are accepted")
    stream.seek(0)
    return size


def _check_member(entry: zipfile.ZipInfo, name: str, whole: int) -> None:
    """Refuse a member that says of itself what cannot be read, or that takes more than the file has."""
    if entry.flag_bits & 1:
        raise UnreadableError(f"{name} is encrypted; plain archives are accepted")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise UnreadableError(f"{name} is packed by method {entry.compress_type}; stored and deflated are accepted")
    most = entry.compress_size * (1 if entry.compress_type == zipfile.ZIP_STORED else 1040)
    if entry.compress_size > whole or entry.file_size > most:
        raise UnreadableError(
            f"{name} claims {entry.file_size} bytes out of {entry.compress_size}, which cannot be; the file is damaged"
        )


def _header(stream: Any, name: str) -> Header:
    """Formats 1.0 and 2.0, of numbers only; the text is matched, never evaluated."""
    magic = stream.read(8)
    if magic[:6] != b"\x93NUMPY" or magic[6:] not in (b"\x01\x00", b"\x02\x00"):
        raise UnreadableError(f"{name} is damaged: it does not begin as an array in npy format 1.0 or 2.0 does")
    wide = magic[6] == 2
    field = stream.read(4 if wide else 2)
    length = int.from_bytes(field, "little")
    if length > _MAX_HEADER:
        raise UnreadableError(
            f"{name} is damaged: its header claims {length} bytes; at most {_MAX_HEADER} are accepted"
        )
    raw = stream.read(length)
    text = raw.decode("latin-1")
    if len(raw) != length or not _HEADER.match(text):
        raise UnreadableError(
            f"{name} is damaged, or no array of plain numbers of one type: its header is {shown(repr(text[:60]))}"
        )
    return Header(*_fields(text, name), len(magic) + len(field) + length)


def _fields(text: str, name: str) -> tuple[np.dtype[Any], tuple[int, ...], bool]:
    found = {key: text.count(f"'{key}'") for key in ("descr", "fortran_order", "shape")}
    descr, shape = re.search(r"'descr'\s*:\s*'([^']*)'", text), re.search(r"\(([\d\s,]*)\)", text)
    if set(found.values()) != {1} or descr is None or shape is None:
        raise UnreadableError(f"{name} is damaged: its header does not say type, order and shape once each")
    if descr[1] in ("O", "|O", "<O", ">O", "=O"):
        raise KindError(f"{name} is an array of Python objects; save numbers, as {name}.astype(float)")
    if not _DTYPE.match(descr[1]):
        known = str(np.dtype(descr[1])) if _KNOWN.match(descr[1]) else shown(repr(descr[1]), 60)
        way = f": number the texts, as numpy.unique({name}, return_inverse=True)[1] does" if known[1:2] in "US" else ""
        raise KindError(f"{name} has type {known}; integers and floats of up to 64 bits are accepted{way}")
    sides = [side.strip() for side in shape[1].split(",")]
    if sides and not sides[-1]:
        sides.pop()
    if len(sides) > MAX_RANK or any(not side.isdigit() or len(side) > 18 for side in sides):
        raise UnreadableError(f"{name} is damaged: its shape is ({shown(shape[1], 60)})")
    try:
        dtype = np.dtype(descr[1])
    except TypeError:
        raise UnreadableError(f"{name} has type {descr[1]!r}, which numpy does not know") from None
    return dtype, tuple(int(side) for side in sides), "True" in text


def _values(stream: Any, name: str, header: Header) -> NDArray[Any]:
    """The numbers, read piece by piece into the array that they fill."""
    out: NDArray[Any] = np.empty(header.shape, header.dtype, order="F" if header.fortran_order else "C")
    target = out.reshape(-1, order="A").view(np.uint8).data
    at = 0
    while at < len(target):
        piece = stream.read(min(_CHUNK, len(target) - at))
        if not piece:
            raise UnreadableError(f"{name} is damaged: it ends after {at} of {len(target)} bytes")
        target[at : at + len(piece)] = piece
        at += len(piece)
    if stream.read(1):
        raise UnreadableError(f"{name} is damaged: there is more than its header says")
    return out


def pack(stream: BinaryIO, arrays: dict[str, NDArray[Any]]) -> None:
    """Write arrays packed, but not so well that the reader would take them for a bomb."""
    np.savez_compressed(stream, allow_pickle=False, **arrays)
    with zipfile.ZipFile(stream) as archive:
        tight = sum(entry.file_size for entry in archive.infolist() if loose(entry)) > PACKED_LIMIT
    if tight:
        stream.seek(0)
        stream.truncate()
        np.savez(stream, allow_pickle=False, **arrays)
