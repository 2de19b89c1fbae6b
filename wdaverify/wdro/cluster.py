"""A Dask cluster as an executor; the only file that imports ``distributed`` (the extra ``dask``)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager, suppress

from wdaverify.errors import ExecutorLostError, ProblemError

_ANSWERS = "10s"
_FRESH = 1.0
"""Seconds for which the number of workers is believed."""


@contextmanager
def cluster(address: str) -> Iterator[tuple[Executor, Callable[[], int]]]:
    """The executor of the scheduler at ``tcp://host:port`` and how many tasks its workers can do at once, now.

    Raises:
        ProblemError: ``distributed`` is not installed, no scheduler answers, or it has no workers.
    """
    try:
        from distributed import Client
    except ImportError:
        raise ProblemError("--scheduler needs the package distributed: pip install 'wdaverify[dask]'") from None
    try:
        client = Client(address, timeout=_ANSWERS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ProblemError(
            f"no scheduler answers at {address} ({' '.join(str(error).split())}); start one with dask scheduler, or leave --scheduler out"
        ) from None
    known, asked = 0, -_FRESH

    def slots() -> int:
        nonlocal known, asked
        if client.status in ("closing", "closed"):
            raise ExecutorLostError(f"the scheduler at {address} is lost")
        if time.monotonic() - asked >= _FRESH and client.status == "running":
            asked = time.monotonic()
            with suppress(OSError, RuntimeError):  # the scheduler is gone: the last number stands
                known = sum(client.nthreads().values())
        return known

    try:
        if not slots():
            raise ProblemError(f"the scheduler at {address} has no workers; start some with dask worker {address}")
        yield client.get_executor(pure=False), slots
    finally:
        with suppress(OSError, RuntimeError):
            client.close(timeout=1)
