"""What a worker process says of itself; imported by it, so nothing heavy is imported here."""

from __future__ import annotations

import signal
import sys


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
