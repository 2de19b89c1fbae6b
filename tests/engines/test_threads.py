"""What screening, attacks and the checker multiply by keeps to one thread, and gets back what it had."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits
from wdro.test_workers import question

from wdaverify import Loss, recheck
from wdaverify.certify import checker
from wdaverify.engines.threads import one_thread
from wdaverify.wdro.certifying import bare_certificate


def blas(of: str = "") -> set[int]:
    pools = (pool for pool in threadpool_info() if pool["user_api"] == "blas" and of in pool["filepath"])
    return {pool["num_threads"] for pool in pools}


def test_one_thread_and_back() -> None:
    before = torch.get_num_threads()
    with threadpool_limits(2, user_api="blas"):
        many = blas()
        with one_thread():
            assert (blas(), torch.get_num_threads()) == ({1}, 1)
        assert blas() == many
    assert torch.get_num_threads() == before


def test_the_checker_has_one_thread_wherever_it_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    """numpy's pool, which it multiplies with; others may be there by then."""
    seen, asked = list[set[int]](), question(Loss.MARGIN)
    real = checker.upper_of

    def watched(*given: Any) -> tuple[float, str]:
        seen.append(blas("numpy"))
        return real(*given)

    monkeypatch.setattr(checker, "upper_of", watched)
    with threadpool_limits(2, user_api="blas"):
        many = blas("numpy")
        assert recheck(bare_certificate(asked, (), ()), asked).upper == float("inf")
        assert (seen, blas("numpy")) == ([{1}], many)
