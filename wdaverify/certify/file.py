"""What the files of certificates have in common: an archive of plain arrays, the first of them JSON, read as a stranger's."""

from __future__ import annotations

import json
import math
import os
import re
import secrets
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, BinaryIO, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from wdaverify.archive import ArrayArchive, TooLargeError, pack
from wdaverify.digits import stated
from wdaverify.errors import CertificateError, OutputError
from wdaverify.given import path_of, real
from wdaverify.untrusted import UnreadableError, plain_file, shown

MAX_BYTES = 2**31
"""The most that a file may take, and its arrays together."""
MEMORY = 2**30
"""The bytes that reading takes at most, unless told otherwise: arrays are unpacked, turned and cut up."""
COPIES = 3
"""How much of it arrays may take (a third)."""
MAX_META, MAX_TEXT = 2**16, 1000
"""The most bytes of the meta data, and characters of a text in it."""
_HASH = re.compile("[0-9a-f]{0,64}")
_Made = TypeVar("_Made")
SLOPES = "witness_claim"
_KINDS = {
    "atom_sample": "of a bracket (verify, curve, distance --certificate), which goes with samples",
    "tree_clips": "of unsat (check --certificate), which goes with a specification",
    "parts": "of unsat (check --certificate), which goes with a specification",
    SLOPES: "of Lipschitz constants (lipschitz --certificate), which goes with a network, and samples if it is about balls",
}
"""What arrays tell a kind of certificate."""


@dataclass(frozen=True)
class Form(Generic[_Made]):
    """A kind of certificate: what it is of, what writes it, which arrays there are to be read by names, and what is made of them."""

    kind: str
    accepted: str
    arrays: Callable[[Collection[str]], Mapping[str, str]]
    unpack: Callable[[dict[str, NDArray[Any]], int], _Made]


def read_from(path: str | os.PathLike[str], memory: float, form: Form[_Made]) -> _Made:
    """A certificate from its file, whose content may take so many bytes of memory.

    Raises:
        CertificateError: it is none that can be read; one line that says what was found.
    """
    path = path_of("certificate", path, CertificateError)
    memory = real("memory", memory, "a finite number of bytes > 0", lambda size: 0 < size < math.inf, CertificateError)
    try:
        with plain_file(path, MAX_BYTES, form.accepted) as stream:
            return read_stream(stream, memory, form)
    except TooLargeError as error:
        raise CertificateError(
            f"{shown(path, 4096)}: {error}; reading it may take more than {stated(memory / 1e6)} MB: if you trust where it comes "
            "from, give recheck a larger --memory-limit"
        ) from None
    except UnreadableError as error:
        raise CertificateError(f"{shown(path, 4096)}: {error}") from None


def read_stream(stream: BinaryIO, memory: float, form: Form[_Made]) -> _Made:
    """A certificate as a stranger's.

    Raises:
        UnreadableError: it is none, or takes more bytes of memory than that.
    """
    most = int(min(memory, 2.0**62))
    try:
        with ArrayArchive(stream, min(MAX_BYTES, most // COPIES), width=1) as archive:
            wanted = form.arrays(archive.names)
            for name, other in _KINDS.items():
                if name in archive.names and name not in wanted:
                    raise UnreadableError(f"it is a certificate {other}")
            arrays = {name: archive.read(name, kind) for name, kind in wanted.items()}
        return form.unpack(arrays, most)
    except TooLargeError:
        raise
    except (KeyError, ValueError, TypeError, OverflowError, RecursionError) as error:
        why = shown(" ".join(str(error).split())) or type(error).__name__
        raise UnreadableError(f"no certificate{form.kind} ({why}); {form.accepted} is accepted") from None


def kind_of(path: str | os.PathLike[str]) -> str:
    """An array that tells the kind of a file's certificate, "" where none does or the file cannot be read."""
    try:
        path = path_of("certificate", path, CertificateError)
        with (
            plain_file(path, MAX_BYTES, "a certificate") as stream,
            ArrayArchive(stream, MAX_BYTES, width=1) as archive,
        ):
            return next((name for name in _KINDS if name in archive.names), "")
    except (UnreadableError, ValueError, KeyError):
        return ""


def packed_to(path: str | os.PathLike[str], arrays: dict[str, NDArray[Any]]) -> int:
    """Write an archive whole or not at all; its size in bytes.

    Raises:
        OutputError: it cannot be written, or would be larger than what is read again.
    """
    path, size = path_of("certificate", path, OutputError), sum(held.nbytes for held in arrays.values())
    if size > MAX_BYTES:
        raise OutputError(f"the certificate would take {size} bytes; at most {MAX_BYTES} can be read again")
    target = Path(path).resolve()
    scratch = target.with_name(f".wdaverify-{secrets.token_hex(8)}.tmp")
    try:
        try:
            with scratch.open("x+b") as stream:
                pack(stream, arrays)
            scratch.replace(target)
        finally:
            scratch.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {(error.strerror or str(error)).lower()}") from error
    return target.stat().st_size


def text_of(
    meta: NDArray[Any], forms: Collection[str], hashes: Iterable[str], others: Iterable[str] = ()
) -> dict[str, Any]:
    """The meta data of one of some formats, with hashes that it has, and others that may be None or missing.

    Raises (of these):
        ValueError, KeyError, TypeError: they are none.
    """
    if meta.size > MAX_META:
        raise ValueError(f"its meta data take {meta.size} bytes, more than {MAX_META}")
    out = json.loads(meta.tobytes().decode())
    if not isinstance(out, dict) or out.get("format") not in forms:
        raise ValueError(f"its format is not {next(iter(forms))!r}")
    held = [(name, out[name]) for name in hashes]
    held += [(name, out[name]) for name in others if out.get(name) is not None]
    for name, value in held:
        if not (isinstance(value, str) and _HASH.fullmatch(value)):
            raise ValueError(f"{name} is {shown(repr(value), 80)}")
    return out


def numbers(meta: Mapping[str, Any], *names: str) -> dict[str, float]:
    """Doubles of meta data, written as hexadecimal texts.

    Raises (of these):
        ValueError, KeyError, TypeError: one is none, or NaN.
    """
    out = {name: float.fromhex(meta[name]) for name in names}
    if any(math.isnan(value) for value in out.values()):
        raise ValueError("a number is NaN")
    return out


def shaped(name: str, array: NDArray[Any], shape: tuple[int, ...]) -> None:
    """Refuse an array of another shape.

    Raises:
        ValueError: it has.
    """
    if array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}, not {shape}")


def parted(name: str, counts: NDArray[Any], total: int) -> list[int]:
    """Where parts of so many begin, and where the last one ends.

    Raises:
        ValueError: they do not add up.
    """
    out = [0, *accumulate(counts.tolist())]  # in Python's integers, which do not wrap
    if (counts < 0).any() or out[-1] != total:
        raise ValueError(f"{name} does not add up to {total}")
    return out


def joined(parts: Iterable[NDArray[Any]], width: tuple[int, ...]) -> NDArray[Any]:
    """Rows ``[., *width]`` one after the other; parts without any may have no width."""
    return np.concatenate([np.zeros((0, *width)), *(part for part in parts if len(part))])
