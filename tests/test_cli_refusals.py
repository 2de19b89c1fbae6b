"""What the command line refuses: exit status 2, one line on stderr that says why, and nothing written."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wdaverify import cli

MODELS = Path(__file__).parent.parent / "models"
NET, DATA = str(MODELS / "iris_8x8.onnx"), str(MODELS / "iris_8x8.npz")
ASK = ["verify", NET, DATA, "--radius", "0.05"]


def run(*arguments: str | Path) -> int:
    return cli._run([str(argument) for argument in arguments])


def save(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            [],
            [
                "verify, batch, curve, distance, attack, compare, lipschitz, check, export, report, recheck, status, resume and info"
            ],
        ),
        (["prove"], ["prove"]),
        (["verify", NET, DATA], ["--radius"]),
        (["verify", NET, "--radius", "1"], ["DATA.npz"]),
        ([*ASK, "--order", "3"], ["--order", "1", "2", "inf"]),
        ([*ASK, "--norm", "3"], ["--norm", "inf", "1", "2"]),
        ([*ASK, "--loss", "logit"], ["margin", "zero-one", "hinge", "cross-entropy", "dlr", "linear"]),
        ([*ASK, "--loss", "linear"], ["--functionals"]),
        ([*ASK, "--functionals", NET], ["suffix", ".toml", ".npz"]),
        ([*ASK, "--cost-weights", "missing.toml"], ["missing.toml", "no such file"]),
        ([*ASK, "--support-file", DATA], ["'x' is not known", "one_hot"]),
        ([*ASK, "--label-cost", "0"], ["--label-cost", "> 0"]),
        ([*ASK, "--norm", "2", "--solver", "highs"], ["highs", "--solver cells"]),
        ([*ASK, "--loss", "dlr", "--certificate", "a.cert"], ["DLR loss", "without certificate"]),
        ([*ASK, "--support", "none", "--clip"], ["--clip", "box"]),
        ([*ASK, "--solver", "cplex"], ["auto", "highs", "gurobi"]),
        ([*ASK, "--device", "tpu"], ["auto", "cpu", "cuda"]),
        ([*ASK, "--radius", "-0.1"], ["--radius -0.1", ">= 0"]),
        ([*ASK, "--radius", "nan"], ["finite"]),
        ([*ASK, "--radius", "1e999"], ["finite"]),
        ([*ASK, "--gap", "0"], ["> 0"]),
        ([*ASK, "--time-limit", "-1"], [">= 0"]),
        ([*ASK, "--jobs", "0"], [">= 1"]),
        ([*ASK, "--samples", "2.5"], ["whole number"]),
        ([*ASK, "--seed", "-1"], [">= 0"]),
        ([*ASK, "--threshold", "inf"], ["finite"]),
        ([*ASK, "--support", "0"], ["--support"]),
        ([*ASK, "--support", "1", "0"], ["LO must be at most HI"]),
        ([*ASK, "--output", "/nowhere/out.json"], ["/nowhere/out.json", "folder"]),
        ([*ASK, "--output", "/dev/null"], ["not a plain file"]),
        ([*ASK, "--output", NET], ["is an input"]),
        ([*ASK, "--certificate", "/nowhere/a.cert"], ["/nowhere/a.cert", "folder"]),
        ([*ASK, "--certificate", NET], ["is an input"]),
        ([*ASK, "--certificate", "new.cert", "--output", "new.cert"], ["another output"]),
        ([*ASK, "--certificate", "new.cert", "--solver", "highs"], ["--solver cells"]),
        ([*ASK, "--memory-limit", "0"], ["> 0"]),
        (["recheck", NET, DATA, "no.cert"], ["no.cert"]),
        (["recheck", NET, DATA, NET], ["no certificate", "not an .npz file", "--certificate"]),
        ([*ASK, "--frobnicate"], ["--frobnicate"]),
        (["attack", NET, DATA, "--radius", "-1"], [">= 0"]),
        (["info", "no.onnx"], ["no.onnx"]),
        (["info", NET, "extra"], ["extra"]),
    ],
)
def test_bad_arguments(arguments: list[str], words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("wdaverify: error: ")
    assert err.count("\n") == 1
    for word in words:
        assert word in err


def _unsupported(folder: Path) -> str:
    import onnx
    from onnx import TensorProto, helper

    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Cos", ["x"], ["y"], name="squash")], "g", ends[:1], ends[1:])
    onnx.save(helper.make_model(graph), folder / "cos.onnx")
    return str(folder / "cos.onnx")


def _truncated(folder: Path) -> str:
    (folder / "cut.onnx").write_bytes(Path(NET).read_bytes()[:-100])
    return str(folder / "cut.onnx")


def _data(x: Any, y: Any) -> Callable[[Path], str]:
    return lambda folder: str(save(folder / "bad.npz", x=np.array(x), y=np.array(y)))


BAD_INPUT: dict[str, tuple[Callable[[Path], str], list[str]]] = {
    "no such network": (lambda _: "missing.onnx", ["missing.onnx"]),
    "no such data": (lambda _: "missing.npz", ["missing.npz"]),
    "network is a folder": (str, []),
    "truncated network": (_truncated, ["cut.onnx"]),
    "unsupported operator": (_unsupported, ["squash", "Cos", "LeakyRelu"]),
    "wrong width": (_data([[0.5] * 5], [0]), ["5 features"]),
    "NaN": (_data([[0.5, 0.5, float("nan"), 0.5]], [0]), ["nan"]),
    "label out of range": (_data([[0.5] * 4], [3]), ["label 3", "0 to 2"]),
    "no samples": (_data(np.zeros((0, 4)), np.zeros(0, dtype=int)), ["no samples"]),
    "outside the support": (_data([[0.5] * 4, [0.5, 1.5, 0.5, 0.5]], [0, 1]), ["sample 1", "--support", "--clip"]),
}


@pytest.mark.parametrize("command", ["verify", "attack"])
@pytest.mark.parametrize("name", BAD_INPUT)
def test_bad_input(command: str, name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    make, words = BAD_INPUT[name]
    path = make(tmp_path)
    folder = tmp_path / "results"
    folder.mkdir()
    question = [NET, path] if path.endswith(".npz") else [path, DATA]
    assert run(command, *question, "--radius", "0.05", "--output", folder / "out.json") == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("wdaverify: error: ")
    assert err.count("\n") == 1
    for word in words:
        assert word in err
    assert os.listdir(folder) == []


def test_refusal_as_a_process(tmp_path: Path) -> None:
    question = ["verify", _truncated(tmp_path), DATA, "--radius", "0.05", "--output", str(tmp_path / "out.json")]
    command = [sys.executable, "-m", "wdaverify", *question]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("wdaverify: error: ")
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out.json").exists()
