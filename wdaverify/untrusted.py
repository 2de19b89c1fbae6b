"""Files from strangers: plain files of bounded size, and text that is shown of them.

Nothing of a file is executed, no other file is opened, and nothing is allocated because a file claims to need it: what is
claimed has to be stored. The limits of each format are with its reader; docs/inputs.md lists them all.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


class UnreadableError(ValueError):
    """Why a file is refused, in one line without its path; readers raise their own error with it."""


def shown(text: str | os.PathLike[str], most: int = 200) -> str:
    """A path or other text on one line and of bounded length, as messages give it."""
    text = os.fspath(text)
    text = text if len(text) <= most else text[: most - 3] + "..."
    return text if text.isprintable() else repr(text)


@contextmanager
def plain_file(path: str | os.PathLike[str], largest: int, accepted: str) -> Iterator[BinaryIO]:
    """A plain file of at most ``largest`` bytes, open for reading; no device or pipe is waited for.

    Raises:
        UnreadableError: it cannot be opened, is no plain file, or is larger; ``accepted`` says what would be read.
    """
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except (FileNotFoundError, NotADirectoryError, ValueError):  # a path with a NUL names nothing
        raise UnreadableError(f"no such file; give the path of {accepted}") from None
    except IsADirectoryError:
        raise UnreadableError(f"this is a directory; {accepted} is accepted") from None
    except OSError as error:
        raise UnreadableError(f"the file cannot be read ({(error.strerror or 'input error').lower()})") from None
    try:
        _check(os.fstat(handle), largest, accepted)
        stream = os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise
    with stream:
        try:
            yield stream
        except OSError as error:
            raise UnreadableError(f"the file cannot be read ({(error.strerror or 'input error').lower()})") from None


def _check(found: os.stat_result, largest: int, accepted: str) -> None:
    if stat.S_ISDIR(found.st_mode):
        raise UnreadableError(f"this is a directory; {accepted} is accepted")
    if not stat.S_ISREG(found.st_mode):
        raise UnreadableError(f"this is not a plain file; {accepted} is accepted")
    if found.st_size > largest:
        raise UnreadableError(f"the file has {found.st_size} bytes; at most {largest} are accepted")


def contents(path: str | os.PathLike[str], largest: int, accepted: str) -> bytes:
    """All bytes of a plain file.

    Raises:
        UnreadableError: as ``plain_file``, and where the file changes meanwhile.
    """
    with plain_file(path, largest, accepted) as stream:
        size = os.fstat(stream.fileno()).st_size
        content = stream.read(size + 1)  # which allocates as much at once
        if len(content) != size:
            raise UnreadableError(f"the file had {size} bytes and changed while it was read; try again")
        return content


def file_name(path: str | os.PathLike[str]) -> str:
    """The last part of a path, as messages and reports give it."""
    return shown(Path(path).name)
