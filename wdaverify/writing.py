"""Files written whole or not at all: to a scratch file beside the target, which then takes its place."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from pathlib import Path

from wdaverify.errors import OutputError


def check_writable(path: str | os.PathLike[str]) -> None:
    """Refuse a path that ``write`` could not write, before any work is done.

    Raises:
        OutputError: the folder is missing or closed to us, or the path names something that is not a plain file.
    """
    if not os.path.basename(path):
        raise OutputError(_refusal(path, "it names no file"))
    target = Path(os.path.realpath(path))
    try:
        mode = target.stat().st_mode
    except FileNotFoundError:
        mode = None
    except OSError as error:
        raise OutputError(_refusal(path, _words(error))) from error
    if mode is not None and not stat.S_ISREG(mode):
        raise OutputError(_refusal(path, "it is a folder" if stat.S_ISDIR(mode) else "it is not a plain file"))
    if mode is not None and not os.access(target, os.W_OK):
        raise OutputError(_refusal(path, "the file is read-only"))
    scratch = _scratch(target)
    try:
        scratch.touch(exist_ok=False)
        scratch.unlink()
    except OSError as error:
        raise OutputError(_refusal(path, _words(error))) from error


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write text as UTF-8, whole or not at all; half of a surrogate pair, which UTF-8 cannot hold, is written as an escape.

    Raises:
        OutputError: the file cannot be written; what was there before is left as it was.
    """
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Write bytes whole or not at all.

    Raises:
        OutputError: as ``write_text``.
    """
    target = Path(os.path.realpath(path))
    scratch = _scratch(target)
    try:
        try:
            with scratch.open("xb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            scratch.replace(target)
        finally:
            scratch.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(_refusal(path, _words(error))) from error


def _scratch(target: Path) -> Path:
    return target.with_name(f".wdaverify-{secrets.token_hex(8)}.tmp")


def _words(error: OSError) -> str:
    if error.errno == errno.ENOENT:
        return "its folder does not exist"
    return (error.strerror or str(error)).lower()


def _refusal(path: str | os.PathLike[str], why: str) -> str:
    return f"cannot write {os.fspath(path)}: {why}; name a plain file in a folder that exists and can be written to"
