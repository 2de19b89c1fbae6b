"""The device checks: a visible skip without CUDA, and checks that can fail."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import device
import pytest
import torch

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "device.py"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a device, so that nothing is skipped")
def test_without_cuda_it_says_so() -> None:
    ran = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True, check=True)
    assert ran.stdout.startswith("SKIPPED")


@pytest.mark.full
def test_checks_run_on_any_device_and_a_failure_counts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(device, "CHECKS", {"values": device.same_values, "never": lambda _: (False, "wrong")})
    assert device.main("cpu") == 1
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["ok", "FAIL", "1"]
