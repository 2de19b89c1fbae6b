"""The bytes of a specification file and its tokens, each with the line that it stands in."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from itertools import islice
from typing import NoReturn

from wdaverify.errors import SpecificationError
from wdaverify.untrusted import contents, shown

MAX_BYTES = 2**25
"""Of the file, and of what a packed one unpacks to."""
LONGEST = 400
"""Characters of one word."""

_TOKEN = re.compile(r"""[ \t\r\n\f\v]+|;[^\n\r]*|([()])|"[^"]*"|\|[^|]*\||([^ \t\r\n\f\v()";|]+)|(.)""", re.S)
_BOM = b"\xef\xbb\xbf"
_TEXT = 60

_BEGINNINGS: tuple[tuple[bytes, str], ...] = (
    (b"PK\x03\x04", "an archive (.zip or .npz)"),
    (b"\xff\xfe", "text in UTF-16"),
    (b"\xfe\xff", "text in UTF-16"),
)


class Text:
    """A file's text, which knows where in it something was found.

    Bytes beyond ASCII are kept one character each: they are read over in comments, and refused where they are not.
    """

    def __init__(self, data: bytes) -> None:
        self._text = data.removeprefix(_BOM).decode("latin-1")

    def __len__(self) -> int:
        return len(self._text)

    @property
    def is_version_2(self) -> bool:
        """Whether it begins as VNN-LIB 2.0 does."""
        return [word for word, _ in islice(self.tokens(), 2)] == ["(", "vnnlib-version"]

    def without_comments(self) -> str:
        """The text in which only what ``tokens`` gives stands, on the same lines."""
        return _TOKEN.sub(lambda found: " " if found[0].startswith(";") else found[0], self._text).replace("\r", " ")

    def tokens(self) -> Iterator[tuple[str, int]]:
        """Parentheses and words, each with its place; of texts in quotes ``""``.

        Raises:
            SpecificationError: a word that is too long, or a quote that never ends.
        """
        for found in _TOKEN.finditer(self._text):
            parenthesis, word, other = found.groups()
            if parenthesis is not None:
                yield parenthesis, found.start()
            elif word is not None:
                if len(word) > LONGEST:
                    self.refuse(found.start(), f"a word of {len(word)} characters; at most {LONGEST} are accepted")
                yield word, found.start()
            elif other is not None:
                self.refuse(found.start(), f"a {other} that never ends; texts in quotes end in one")
            elif found[0][0] in '"|':
                yield '""', found.start()

    def refuse(self, place: int, why: str) -> NoReturn:
        """Raise for what stands at a place."""
        line = self._text.count("\n", 0, place) + 1
        raise SpecificationError(f"line {line}: {why}")


def told(word: str, most: int = _TEXT) -> str:
    """A word of the file as messages show it."""
    return shown(word, most)


def specification_bytes(path: str) -> bytes:
    """The bytes of the text, unpacked where the file is a ``.gz``.

    Raises:
        SpecificationError: another format, or a packed file that is damaged or unpacks to too much.
        UnreadableError: as ``untrusted.contents``.
    """
    data = contents(path, MAX_BYTES, "a VNN-LIB file (.vnnlib, .vnnlib.gz)")
    if data[:2] == b"\x1f\x8b":
        data = _unpacked(data)
    for begins, what in _BEGINNINGS:
        if data.removeprefix(_BOM).lstrip()[: len(begins)] == begins:
            raise SpecificationError(
                f"this is {what}; VNN-LIB is accepted: text of (declare-const X_0 Real) and (assert (<= X_0 1.0))"
            )
    return data


def _unpacked(packed: bytes) -> bytes:
    """The one member of a gzip file; zlib checks its sum."""
    reader = zlib.decompressobj(wbits=31)
    try:
        out = reader.decompress(packed, MAX_BYTES)
    except zlib.error:
        raise SpecificationError("this .gz file is damaged; pack the specification again, or unpack it") from None
    if not reader.eof and len(out) == MAX_BYTES:
        raise SpecificationError(f"this .gz file unpacks to {MAX_BYTES} bytes or more; less is accepted")
    if not reader.eof or reader.unused_data:
        raise SpecificationError(
            "this .gz file is cut off, or holds more than one file; one packed specification is accepted"
        )
    return out
