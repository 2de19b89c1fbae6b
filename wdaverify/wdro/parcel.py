"""What processes that are spawned are handed, in memory that they open themselves.

In the pipe that starts a process its maker would wait until the process has imported what it needs and read the last byte.
"""

from __future__ import annotations

import mmap
import os
import pickle
import tempfile
from multiprocessing.connection import Connection
from typing import Any


class Parcel:
    """One object; picklable while a process is spawned, like any connection of ``multiprocessing``."""

    def __init__(self, content: object) -> None:
        """Pack it into memory, or a file without a name where the system has no such memory.

        Raises:
            OSError: there is no room.
        """
        packed = pickle.dumps(content)
        if hasattr(os, "memfd_create"):
            with open(os.memfd_create("wdaverify"), "wb") as file:
                file.write(packed)
                file.flush()
                self._handle = Connection(os.dup(file.fileno()))
            return
        with tempfile.TemporaryFile() as scratch:
            scratch.write(packed)
            scratch.flush()
            self._handle = Connection(os.dup(scratch.fileno()))

    def content(self) -> Any:
        """The object, in the process that was handed it; every process may ask."""
        with mmap.mmap(self._handle.fileno(), 0, access=mmap.ACCESS_READ) as packed:
            return pickle.loads(packed)

    def close(self) -> None:
        """Let go of it; processes that have it already keep theirs."""
        self._handle.close()
