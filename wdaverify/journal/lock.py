"""One writer a folder: an advisory lock of the operating system, which dies with its process however that ends."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from wdaverify.errors import JournalError

try:
    from fcntl import LOCK_EX, LOCK_NB, LOCK_SH, flock
except ImportError as _error:  # a platform without POSIX locks
    raise JournalError("journals need the file locks of POSIX, which this platform lacks; leave --run out") from _error

_NAME = "lock"


class FolderLock:
    """Held from construction to ``release``; the file names the process, the lock itself is the system's."""

    def __init__(self, folder: Path) -> None:
        """Take the lock.

        Raises:
            JournalError: another process holds it, or the folder takes no file.
        """
        try:
            self._file = os.open(folder / _NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise JournalError(f"cannot write in {folder}: {(error.strerror or str(error)).lower()}") from None
        try:
            flock(self._file, LOCK_EX | LOCK_NB)
        except OSError:
            holder = os.pread(self._file, 20, 0).decode("ascii", "replace").strip()
            os.close(self._file)
            raise JournalError(
                f"{folder} is in use by another run (process {holder or 'unknown'}); wait for it, end it, or name another folder"
            ) from None
        with suppress(OSError):  # a full disk: the lock holds all the same, it only names nobody
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, f"{os.getpid()}\n".encode("ascii"), 0)

    def release(self) -> None:
        """Let others in; twice does no harm."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def holder(folder: Path) -> int | None:
    """The process that holds the folder's lock now, or None."""
    try:
        file = os.open(folder / _NAME, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        flock(file, LOCK_SH | LOCK_NB)
    except OSError:
        text = os.pread(file, 20, 0).decode("ascii", "replace").strip()
        return int(text) if text.isdigit() else 0
    finally:
        os.close(file)
    return None
