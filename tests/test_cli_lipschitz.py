"""``wdaverify lipschitz``: refusals in one line, exit statuses, files that hold to the schema, digits rounded outward."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from builders import write_mlp
from jsonschema import Draft202012Validator

from wdaverify import cli
from wdaverify.report import as_json

MODELS = Path(__file__).parent.parent / "models"
NET, DATA = str(MODELS / "iris_8x8.onnx"), str(MODELS / "iris_8x8.npz")
ASK = ["lipschitz", NET]
BALLS = [*ASK, "--around", DATA, "--within", "0.1", "--samples", "3"]


def run(*arguments: str | Path) -> int:
    return cli._run([str(argument) for argument in arguments])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["lipschitz"], ["NET.onnx"]),
        (["lipschitz", "no.onnx"], ["no.onnx"]),
        ([*ASK, "extra"], ["extra"]),
        ([*ASK, "--norm", "3"], ["--norm", "inf"]),
        ([*ASK, "--support", "1", "0"], ["LO must be at most HI"]),
        ([*ASK, "--support", "0"], ["--support"]),
        ([*ASK, "--support", "none", "1"], ["extra argument (1)"]),
        ([*ASK, "--support", "0", "1", "--support-file", "a.toml"], ["two supports"]),
        ([*ASK, "--support-file", "a.toml"], ["a.toml", "no such file"]),
        ([*ASK, "--around", DATA], ["--around DATA and --within R belong together"]),
        ([*ASK, "--within", "1"], ["belong together"]),
        ([*ASK, "--around", DATA, "--within", "0"], ["--within", "> 0"]),
        ([*ASK, "--around", DATA, "--within", "inf"], ["--within", "finite"]),
        ([*ASK, "--around", "no.npz", "--within", "1"], ["no.npz"]),
        ([*ASK, "--samples", "3"], ["--around DATA", "there is none"]),
        ([*ASK, "--label-column", "y"], ["there is none"]),
        ([*BALLS, "--support", "0.99", "1"], ["sample 0", "outside the support"]),
        ([*ASK, "--outputs", "0", "--margins", "0"], ["two measures"]),
        ([*ASK, "--outputs", "3"], ["output 3", "0 to 2"]),
        ([*ASK, "--outputs", "1-1"], ["itself"]),
        ([*ASK, "--outputs", ""], ["--outputs", "0,2-1"]),
        ([*ASK, "--outputs", "0,,1"], ["0,2-1"]),
        ([*ASK, "--outputs", "-1"], ["0,2-1"]),
        ([*ASK, "--outputs", "0-1-2"], ["0,2-1"]),
        ([*ASK, "--outputs", "99999999999999999999"], ["0,2-1"]),
        ([*ASK, "--margins", "3"], ["--margins 3", "0 to 2", "all"]),
        ([*ASK, "--margins", "every"], ["--margins every"]),
        ([*ASK, "--solver", "highs", "--norm", "2"], ["highs", "--solver cells"]),
        ([*ASK, "--solver", "cplex"], ["auto", "cells", "highs", "gurobi"]),
        ([*ASK, "--gap", "0"], ["--gap", "> 0"]),
        ([*ASK, "--time-limit", "-1"], [">= 0"]),
        ([*ASK, "--time-limit", "nan"], ["finite"]),
        ([*ASK, "--jobs", "0"], [">= 1"]),
        ([*ASK, "--seed", "-1"], [">= 0"]),
        ([*ASK, "--output", "/nowhere/out.json"], ["/nowhere/out.json", "folder"]),
        ([*ASK, "--output", NET], ["is an input"]),
        ([*BALLS, "--output", DATA], ["is an input"]),
        ([*ASK, "--report", NET], ["is an input"]),
        ([*ASK, "--output", "a.out", "--report", "a.out"], ["another output"]),
        ([*ASK, "--radius", "1"], ["--radius"]),
        ([*ASK, "--cost-weights", "a.toml"], ["--cost-weights"]),
    ],
)
def test_refusals(arguments: list[str], words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("wdaverify: error: ")
    assert err.count("\n") == 1
    for word in words:
        assert word in err


def test_the_margin_of_one_output_is_that_of_two_classes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """z itself, or -z: relu(x_0 + x_1) twice, whose slope is 4 in l-inf."""
    net, out = (
        write_mlp(tmp_path / "one.onnx", [(np.ones((2, 2)), np.zeros(2)), (np.ones((1, 2)), np.zeros(1))]),
        tmp_path / "out.json",
    )
    for margins in ("0", "1", "all"):
        assert run("lipschitz", net, "--margins", margins, "--output", out) == 0
        assert json.loads(out.read_text())["upper"] == pytest.approx(4.0)
    assert "two classes with the scores 0 and z" in capsys.readouterr().err.replace("\n", " ")


ASKED: dict[str, tuple[list[str], str, int]] = {
    "box": ([*ASK, "--norm", "2"], "box", 1),
    "functionals": ([*ASK, "--outputs", "0,2-1"], "box", 1),
    "margins": ([*ASK, "--margins", "all", "--norm", "1"], "box", 1),
    "balls": ([*BALLS, "--margins", "1"], "balls", 3),
    "balls within a box": ([*BALLS, "--support", "0", "1", "--norm", "2"], "balls", 3),
    "whole space": ([*ASK, "--support", "none", "--time-limit", "1"], "whole-space", 1),
    "no time": ([*ASK, "--support", "-9", "9", "--time-limit", "0"], "box", 1),
}


@pytest.mark.parametrize("name", ASKED)
def test_files_and_text(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments, kind, parts = ASKED[name]
    path, page = tmp_path / "out.json", tmp_path / "out.html"
    status = run(*arguments, "--jobs", "1", "--output", path, "--report", page)
    made = json.loads(path.read_text())
    Draft202012Validator(as_json.schema("lipschitz")).validate(made)
    assert status == (0 if made["status"] == "exact" else 3)
    assert status == 0 or name in ("no time", "whole space")
    assert made["region"]["kind"] == kind
    assert len(made["parts"]) == parts
    assert made["measure"] == ("operator-norm" if not {"--outputs", "--margins"} & set(arguments) else "functionals")
    assert (made["samples"] is None) == (kind != "balls")
    assert page.read_text().startswith("<!DOCTYPE html>")
    out = capsys.readouterr().out
    shown = {side: Decimal(re.search(rf"^{side}\s+(\S+)", out, re.M).group(1)) for side in ("lower", "upper")}  # type: ignore[union-attr]
    assert shown["lower"] <= Decimal(made["lower"])
    assert Decimal(made["upper"]) <= shown["upper"]
    assert shown["upper"] - shown["lower"] <= 2 * Decimal(made["upper"] - made["lower"]) + Decimal("2e-6")


def test_a_cut_box_and_fixed_digits(tmp_path: Path) -> None:
    """Rows of a file reach the region and its JSON."""
    support = tmp_path / "cut.toml"
    support.write_text(
        "lower = [0.0, 0.0, 0.0, 0.0]\nupper = [1.0, 1.0, 1.0, 1.0]\n[[rows]]\ncoefficients = [1.0, 1.0, 0.0, 0.0]\nupper = 0.5\n"
    )
    whole, cut = tmp_path / "whole.json", tmp_path / "cut.json"
    assert run(*ASK, "--jobs", "1", "--quiet", "--output", whole) == 0
    assert run(*ASK, "--jobs", "1", "--quiet", "--support-file", support, "--output", cut) == 0
    made = json.loads(cut.read_text())
    Draft202012Validator(as_json.schema("lipschitz")).validate(made)
    assert len(made["region"]["rows"]) == 1
    assert made["lower"] <= json.loads(whole.read_text())["upper"]


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="this platform has no pseudo-terminals")
def test_ctrl_c_prints_the_bracket(tmp_path: Path) -> None:
    """As soon as the live line shows that there is one."""
    rng = np.random.default_rng(0)
    widths = [12, 60, 60, 3]
    pairs = [(rng.normal(size=(m, n)), rng.normal(size=m)) for n, m in pairwise(widths)]
    net = write_mlp(tmp_path / "net.onnx", pairs)
    path = tmp_path / "out.json"
    command = [sys.executable, "-m", "wdaverify", "lipschitz", str(net), "--jobs", "2", "--output", str(path)]
    terminal, stderr = os.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True, env=environment) as child:
        os.close(stderr)
        shown = b""
        while not {b"bounds", b"solve"} & set(shown.split()) and select.select([terminal], [], [], 60)[0]:
            shown += os.read(terminal, 4096)
        os.kill(child.pid, signal.SIGINT)
        threading.Thread(target=_drain, args=(terminal,), daemon=True).start()
        out, _ = child.communicate(timeout=60)
    assert child.returncode == 130, shown
    assert "interrupted; the bracket holds" in out
    made = json.loads(path.read_text())
    assert made["reason"] == "interrupted"
    assert made["lower"] <= made["upper"]


def _drain(terminal: int) -> None:
    with suppress(OSError):
        while os.read(terminal, 4096):
            pass
