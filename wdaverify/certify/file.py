"""What the files of certificates have in common: an archive of plain arrays, the first of them JSON, read as a stranger's."""

from __future__ import annotations

import io
import json
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping
from itertools import accumulate
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from wdaverify.archive import ArrayArchive, TooLargeError, pack
from wdaverify.digits import stated
from wdaverify.errors import CertificateError, OutputError
from wdaverify.given import path_of, real
from wdaverify.untrusted import UnreadableError, plain_file, shown
from wdaverify.writing import write_bytes

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


def read_from(
    path: str | os.PathLike[str],
    memory: float,
    arrays: Mapping[str, str],
    unpack: Callable[[dict[str, NDArray[Any]], int], _Made],
    kind: str,
    accepted: str,
) -> _Made:
    """A certificate of a kind from its file, whose content may take so many bytes of memory.

    Raises:
        CertificateError: it is none that can be read; one line that says what was found.
    """
    path = path_of("certificate", path, CertificateError)
    memory = real("memory", memory, "a finite number of bytes > 0", lambda size: 0 < size < math.inf, CertificateError)
    most = int(min(memory, 2.0**62))
    try:
        with (
            plain_file(path, MAX_BYTES, accepted) as stream,
            ArrayArchive(stream, min(MAX_BYTES, most // COPIES), width=1) as archive,
        ):
            for name, other in _KINDS.items():
                if name in archive.names and name not in arrays:
                    raise UnreadableError(f"it is a certificate {other}; {accepted} is accepted")
            return unpack({name: archive.read(name, form) for name, form in arrays.items()}, most)
    except TooLargeError as error:
        raise CertificateError(
            f"{shown(path, 4096)}: {error}; reading it may take more than {stated(memory / 1e6)} MB: if you trust where it comes "
            "from, give recheck a larger --memory-limit"
        ) from None
    except UnreadableError as error:
        raise CertificateError(f"{shown(path, 4096)}: {error}") from None
    except (KeyError, ValueError, TypeError, OverflowError, RecursionError) as error:
        why = shown(" ".join(str(error).split())) or type(error).__name__
        raise CertificateError(f"{shown(path, 4096)}: no certificate {kind} ({why}); {accepted} is accepted") from None


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
    stream = io.BytesIO()
    pack(stream, arrays)
    write_bytes(path, stream.getvalue())
    return len(stream.getbuffer())


def text_of(meta: NDArray[Any], form: str, hashes: Iterable[str]) -> dict[str, Any]:
    """The meta data of a format, with hashes that are some or None.

    Raises (of these):
        ValueError, KeyError, TypeError: they are none.
    """
    if meta.size > MAX_META:
        raise ValueError(f"its meta data take {meta.size} bytes, more than {MAX_META}")
    out = json.loads(meta.tobytes().decode())
    if not isinstance(out, dict) or out.get("format") != form:
        raise ValueError(f"its format is not {form!r}")
    for name in hashes:
        if out[name] is not None and not (isinstance(out[name], str) and _HASH.fullmatch(out[name])):
            raise ValueError(f"{name} is {shown(repr(out[name]), 80)}")
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


def edges(name: str, counts: NDArray[Any], total: int) -> list[int]:
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
