"""The scripts of VNN-COMP's interface, as the competition runs them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from builders import write_mlp

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "benchmarks" / "vnncomp"
HEAD = "".join(f"(declare-const {name} Real)\n" for name in ("X_0", "X_1", "Y_0", "Y_1"))
BOX = HEAD + "(assert (<= -1 X_0))(assert (<= X_0 1))(assert (<= -1 X_1))(assert (<= X_1 1))\n"


@pytest.fixture
def net(tmp_path: Path) -> str:
    """``Y_0 = |X_0| + |X_1|, Y_1 = X_0``."""
    first, second = np.array([[1.0, 0], [-1, 0], [0, 1], [0, -1]]), np.array([[1.0, 1, 1, 1], [1, -1, 0, 0]])
    return str(write_mlp(tmp_path / "abs.onnx", [(first, np.zeros(4)), (second, np.zeros(2))]))


def script(name: str, *arguments: str) -> tuple[subprocess.CompletedProcess[str], float]:
    begun = time.monotonic()
    environment = {**os.environ, "WDAVERIFY_PYTHON": sys.executable}
    done = subprocess.run(
        [str(FOLDER / name), *arguments], capture_output=True, text=True, env=environment, check=False
    )
    return done, time.monotonic() - begun


@pytest.mark.parametrize(
    ("assertion", "verdict", "status"),
    [
        ("(assert (<= Y_0 -0.5))", "unsat", 0),
        ("(assert (>= Y_0 1.5))(assert (< Y_1 -0.25))", "sat", 0),
        ("(assert (>= Y_0 Z_0))", "error", 1),
    ],
)
def test_answers(net: str, tmp_path: Path, assertion: str, verdict: str, status: int) -> None:
    specification, out = tmp_path / "s.vnnlib", tmp_path / "result.txt"
    specification.write_text(BOX + assertion)
    done, _ = script("run_instance.sh", "v1", "tiny", net, str(specification), str(out), "60")
    assert done.returncode == status, done.stderr
    lines = out.read_text().splitlines()
    assert lines[0] == verdict
    if verdict == "error":
        assert "Z_0" in done.stderr
    if verdict != "sat":
        assert len(lines) == 1
        return
    text = "\n".join(lines[1:])
    assert text.startswith("((X_0 ")
    assert text.endswith("))")
    found = {name: float(value) for name, value in re.findall(r"\(([XY]_\d) ([^()]+)\)", text)}
    assert list(found) == ["X_0", "X_1", "Y_0", "Y_1"]
    x = np.array([found["X_0"], found["X_1"]])
    assert (x == x.astype(np.float32)).all()
    assert (np.abs(x) <= 1).all()
    assert found["Y_0"] == pytest.approx(np.abs(x).sum(), abs=1e-6)
    assert found["Y_0"] >= 1.5
    assert found["Y_1"] < -0.25


@pytest.mark.parametrize("limit", [2, pytest.param(4, marks=pytest.mark.full)])
def test_the_limit_is_kept(limit: int, tmp_path: Path, vnncomp: Path) -> None:
    """Within a second on an idle machine; on a busy one processes start late."""
    folder, out = vnncomp / "acasxu", tmp_path / "result.txt"
    network, specification = folder / "ACASXU_run2a_3_3_batch_2000.onnx", folder / "prop_2.vnnlib.gz"
    done, seconds = script("run_instance.sh", "v1", "acasxu", str(network), str(specification), str(out), str(limit))
    assert (done.returncode, out.read_text()) == (0, "timeout\n")
    assert seconds < limit + 6


def test_a_hanging_run_is_ended(net: str, tmp_path: Path) -> None:
    """By the guard, with ``timeout`` in the file."""
    hanging, out = tmp_path / "python", tmp_path / "result.txt"
    hanging.write_text("#!/bin/bash\nsleep 60\n")
    hanging.chmod(0o755)
    begun = time.monotonic()
    environment = {**os.environ, "WDAVERIFY_PYTHON": str(hanging)}
    arguments = [str(FOLDER / "run_instance.sh"), "v1", "tiny", net, "s.vnnlib", str(out), "0.5"]
    done = subprocess.run(arguments, capture_output=True, env=environment, check=False)
    assert (done.returncode, out.read_text()) == (0, "timeout\n")
    assert time.monotonic() - begun < 3


def test_preparing_and_usage(net: str, tmp_path: Path) -> None:
    (tmp_path / "s.vnnlib").write_text(BOX + "(assert (<= Y_0 -0.5))")
    (tmp_path / "other.vnnlib").write_text(
        "(declare-const X_0 Real)(declare-const Y_0 Real)(assert (<= 0 X_0 1))(assert (<= Y_0 X_0))"
    )
    assert script("prepare_instance.sh", "v1", "tiny", net, str(tmp_path / "s.vnnlib"))[0].returncode == 0
    done, _ = script("prepare_instance.sh", "v1", "tiny", net, str(tmp_path / "other.vnnlib"))
    assert done.returncode == 1
    assert "1 inputs and 1 outputs" in done.stderr
    for name in ("install_tool.sh", "prepare_instance.sh", "run_instance.sh"):
        done, _ = script(name, "v2")
        assert done.returncode == 1
        assert f"usage: {name} v1" in done.stderr
