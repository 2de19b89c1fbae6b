"""Ctrl-C and requests to end while a module is imported: heard once it is there, as a native library may abort if interrupted."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SLOW = """
import os, signal, sys, threading, time
threading.Timer(0.2, os.kill, (os.getpid(), getattr(signal, sys.argv[1]))).start()
until = time.monotonic() + 1.0
while time.monotonic() < until:
    time.sleep(0.01)
print("imported")
"""
SCRIPT = """
import signal, sys, time
from wdaverify.cli import line
signal.signal(signal.SIGINT, line._interrupted)
signal.signal(signal.SIGTERM, line._terminated)
try:
    import slow
    print("went on")
    time.sleep(10)
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no interval timers")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_it_waits_for_modules(name: str, tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(SLOW)
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "script.py", name], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    heard = done.stdout.split("\n")
    assert heard[0] == "imported"
    assert heard[-2] == "interrupted"


def test_it_is_heard_at_once_elsewhere(tmp_path: Path) -> None:
    script = SCRIPT.replace("import slow", "exec(open('slow.py').read())")
    (tmp_path / "slow.py").write_text(SLOW)
    (tmp_path / "script.py").write_text(script)
    ask = [sys.executable, "script.py", "SIGINT"]
    done = subprocess.run(ask, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout == "interrupted\n"
