"""Specifications about float32: unsat only where no machine that rounds as it likes finds an input, sat by replay as ever."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from machines import Dense, Machine, Relu, Step, write_steps

import wdaverify as wd
from wdaverify.certify.unsat import recheck_unsat
from wdaverify.checking import deployed
from wdaverify.cli.line import run as main
from wdaverify.errors import InputError

HEAD = "(vnnlib-version <2.0>)(declare-network n (declare-input X {kind} [1,2])(declare-output Y {kind} [1,2]))"
BOX = "".join(f"(assert (>= X[0,{k}] 0.0))(assert (<= X[0,{k}] 1.0))" for k in range(2))


def network(seed: int) -> list[Step]:
    rng = np.random.default_rng(seed)
    first = Dense((8 * rng.normal(size=(6, 2))).astype(np.float32), (8 * rng.normal(size=6)).astype(np.float32))
    return [first, Relu(), Dense(rng.normal(size=(2, 6)).astype(np.float32), rng.normal(size=2).astype(np.float32))]


def written(path: Path, kind: str, side: float) -> Path:
    path.write_text(HEAD.format(kind=kind) + BOX + f"(assert (>= (+ Y[0,0] Y[0,1]) {side:.17f}))")
    return path


def top(steps: list[Step], tmp: Path) -> float:
    """The largest sum of the outputs on the box in real arithmetic, to 1e-6 above it."""
    one = np.array([[1.0, 1.0]]), np.zeros(1)
    words: dict[str, Any] = {"radius": 0.5, "support": (0, 1), "order": "inf", "loss": "linear", "functionals": one}
    return wd.worst_case(write_steps(tmp / "net.onnx", steps, 2), [[0.5, 0.5]], [0], jobs=None, **words).upper


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.full), pytest.param(2, marks=pytest.mark.full)])
def test_unsat_in_float32_leaves_room_for_rounding(seed: int, tmp_path: Path) -> None:
    """Just above the largest value of reals: unsat there, not in float32; above all that machines may find: unsat in both."""
    steps = network(seed)
    best, net = top(steps, tmp_path), tmp_path / "net.onnx"
    near, far = (written(tmp_path / f"{k}.vnnlib", "float32", best + d) for k, d in (("near", 2e-6), ("far", 1e-2)))
    reals = written(tmp_path / "reals.vnnlib", "real", best + 2e-6)
    assert wd.check(net, reals).outcome == "unsat"
    open_ = wd.check(net, near, time_limit=2)
    assert open_.outcome != "unsat"
    assert open_.raised is not None
    assert open_.raised < 5e-3
    proven = wd.check(net, far)
    assert (proven.outcome, proven.upper < 0) == ("unsat", True)
    rng = np.random.default_rng(seed)
    seen = [Machine(k).run(steps, x).astype(np.float64).sum() for k, x in enumerate(rng.random((300, 2)))]
    assert max(seen) < best + 1e-2
    assert wd.check(net, reals, arithmetic="float32", time_limit=2).outcome != "unsat"


def test_a_row_that_is_not_raised_shows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted fault: unsat of what a machine satisfies."""
    big = np.float32(2.0**24)
    first = Dense(np.array([[0, 0], [1.3, 0], [0, 0]], np.float32), np.array([big, 0, big], np.float32))
    steps: list[Step] = [
        first,
        Relu(),
        Dense(np.array([[1, 1, -1], [0, 0, 0]], np.float32), np.array([0, 1.5], np.float32)),
    ]
    net, spec = write_steps(tmp_path / "net.onnx", steps, 2), tmp_path / "a.vnnlib"
    box = BOX.replace("(>= X[0,0] 0.0)", "(>= X[0,0] 0.9)")
    spec.write_text(HEAD.format(kind="float32") + box + "(assert (>= Y[0,0] Y[0,1]))")
    seen = [Machine(k).run(steps, np.array([0.95, 0.5])) for k in range(60)]
    assert any(z[0] >= z[1] for z in seen)  # 2^24 + 1.2 is 2^24 + 2 in float32
    alone = wd.load_network(net)  # without a file nothing is replayed
    assert wd.check(alone, spec, time_limit=2).outcome != "unsat"
    monkeypatch.setattr(deployed, "_error", lambda row, box, error, size: 0)
    assert wd.check(alone, spec, time_limit=2).outcome == "unsat"


def test_the_document_and_the_commands_say_float32(tmp_path: Path, capsys: Any) -> None:
    steps = network(0)
    net, spec, out = write_steps(tmp_path / "net.onnx", steps, 2), tmp_path / "far.vnnlib", tmp_path / "a.json"
    written(spec, "float32", 1000.0)
    assert main(["check", str(net), str(spec), "--output", str(out), "--report", str(tmp_path / "a.html")]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "in float32, whatever order a runtime adds in" in said
    found = json.loads(out.read_text())
    assert (found["outcome"], found["arithmetic"]) == ("unsat", "float32")
    assert found["raised"] > 0
    assert "whatever a runtime of single precision makes" in (tmp_path / "a.html").read_text()


def test_what_is_not_about_float32_is_refused(tmp_path: Path) -> None:
    net = write_steps(tmp_path / "net.onnx", network(0), 2)
    single, real = written(tmp_path / "s.vnnlib", "float32", 1000.0), written(tmp_path / "r.vnnlib", "real", 1000.0)
    with pytest.raises(InputError, match="real arithmetic is another question"):
        wd.check(net, single, arithmetic="real")
    with pytest.raises(InputError, match="certificates of unsat are about real arithmetic"):
        wd.check(net, single, certificate=True)
    with pytest.raises(InputError, match="say --arithmetic float32"):
        wd.worst_case(net, [[0.5, 0.5]], radius=0.1, support=(0, 1), loss="specification", specification=single)
    made = wd.check(net, real, certificate=True).certificate
    assert made is not None
    verdict = recheck_unsat(made, wd.load_network(net), wd.load_specification(single))
    assert not verdict.proved
    assert any("about real arithmetic" in reason for reason in verdict.reasons)
