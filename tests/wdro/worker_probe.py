"""What a worker process says of itself; imported by it, so nothing heavy is imported here."""

from __future__ import annotations

import signal
import sys
from typing import Any


def report() -> dict[str, object]:
    """Signals, threads and modules of this process."""
    from threadpoolctl import threadpool_info

    from wdaverify.wdro import workers

    return {
        "ignores_sigint": signal.getsignal(signal.SIGINT) is signal.SIG_IGN,
        "threads": [(pool["user_api"], pool["num_threads"]) for pool in threadpool_info()],
        "torch": "torch" in sys.modules,
        "engine": type(workers._engine).__name__,
    }


def hog(size: int) -> int:
    """Take so many bytes, give them back, and say how many they were."""
    return len(bytearray(size))


def large(size: int) -> bytes:
    """An answer that no pipe holds: it is read in pieces while it is written."""
    return bytes(size)


def hungry(task: Any) -> Any:
    """The answer to every other item; the rest ask for more memory than any machine has."""
    import numpy as np

    from wdaverify.wdro import workers

    if task.item % 2:
        np.ones(2**52)
    return workers._answer(task)


def defective(task: Any) -> Any:
    """A defect, on every item."""
    raise IndexError(f"list index\nout of range in item {task.item % 1}")


def leaving(task: Any) -> Any:
    """An engine that would end its process."""
    sys.exit(3)


def refused(problem: Any) -> str:
    """Why this process may not start others."""
    from wdaverify import ProblemError, verify

    try:
        verify(problem, jobs=2)
    except ProblemError as error:
        return str(error)
    return "not refused"
