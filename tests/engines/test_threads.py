"""What screening and attacks multiply by keeps to one thread, and gets back what it had."""

from __future__ import annotations

import torch
from threadpoolctl import threadpool_info, threadpool_limits

from wdaverify.engines.threads import one_thread


def blas() -> set[int]:
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


def test_one_thread_and_back() -> None:
    before = torch.get_num_threads()
    with threadpool_limits(2, user_api="blas"):
        many = blas()
        with one_thread():
            assert (blas(), torch.get_num_threads()) == ({1}, 1)
        assert blas() == many
    assert torch.get_num_threads() == before
