"""A Dask cluster of separate processes on this machine."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from distributed import Client


class LocalProcesses:
    """A scheduler and workers, each a process that can be killed."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.address = f"tcp://127.0.0.1:{port}"
        self.scheduler = self._process("dask_scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-show")
        self.workers: list[subprocess.Popen[bytes]] = []

    def _process(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", f"distributed.cli.{program}", "--no-dashboard", *arguments]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def join(self, *, wait: int = 0) -> None:
        """One more worker; waits until there are so many."""
        self.workers.append(self._process("dask_worker", self.address, "--nthreads", "1", "--no-nanny"))
        if wait:
            with Client(self.address, timeout="60s", set_as_default=False) as client:
                client.wait_for_workers(wait, timeout=60)

    def end(self) -> None:
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait()


@contextmanager
def local_cluster(workers: int) -> Iterator[LocalProcesses]:
    made = LocalProcesses()
    try:
        for k in range(workers):
            made.join(wait=workers if k == workers - 1 else 0)
        yield made
    finally:
        made.end()
