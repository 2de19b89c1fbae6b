"""torch and numpy on one thread: beside busy worker processes their own thread pools cost more than they gain.

Measured on 2 cores with 2 workers: 4.9 s of screening with torch's default threads, 1.1 s with one (digits 16x16, N = 20).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from threadpoolctl import threadpool_limits


@contextmanager
def one_thread() -> Iterator[None]:
    """Run the block on one thread, then restore what was set before."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1, user_api="blas"):
            yield
    finally:
        torch.set_num_threads(before)
