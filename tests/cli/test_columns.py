"""Text is as wide as the terminal that it is printed to, and 100 columns where it is printed to none."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

MODELS = Path(__file__).parents[2] / "models"
LINE = [sys.executable, "-m", "wdaverify", "attack", str(MODELS / "iris_8x8.onnx"), str(MODELS / "iris_8x8.npz")]
LINE += ["--radius", "8/255", "--samples", "3", "--device", "cpu"]


def printed(columns: int) -> list[str]:
    """What a terminal of so many columns is sent."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    with subprocess.Popen(LINE, stdout=theirs, stderr=subprocess.DEVNULL) as work:
        os.close(theirs)
        text = b""
        try:
            while part := os.read(ours, 4096):
                text += part
        except OSError:  # the other end is closed
            pass
    os.close(ours)
    assert work.returncode == 0
    return text.decode().replace("\r\n", "\n").splitlines()


@pytest.mark.parametrize(
    ("columns", "least", "most"),
    [(80, 70, 80), *(pytest.param(*case, marks=pytest.mark.full) for case in ((200, 85, 100), (20, 50, 60)))],
)
def test_lines_fit_the_terminal(columns: int, least: int, most: int) -> None:
    widest = max(map(len, printed(columns)))
    assert least < widest <= most


def test_what_is_no_terminal_has_100_columns() -> None:
    done = subprocess.run(LINE, capture_output=True, text=True, check=True)
    assert 85 < max(map(len, done.stdout.splitlines())) <= 100
