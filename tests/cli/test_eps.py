"""``--eps E`` is ``--radius E --order inf``: the same question, and refused beside what would contradict it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from wdaverify import cli
from wdaverify.batch_file import read_rows

MODELS = Path(__file__).parents[2] / "models"
NET, DATA = str(MODELS / "iris_8x8.onnx"), str(MODELS / "iris_8x8.npz")
ASK = ["net.onnx", "data.npz"]


def parsed(command: str, *arguments: str) -> dict[str, Any]:
    return cli.cli.commands[command].make_context(command, list(arguments)).params


@pytest.mark.parametrize("command", ["verify", "attack", "compare"])
@pytest.mark.parametrize("more", [[], ["--order", "inf"]])
def test_it_is_the_radius_at_order_inf(command: str, more: list[str]) -> None:
    short = parsed(command, *ASK, "--eps", "8/255", *more)
    assert short == parsed(command, *ASK, "--radius", "8/255", "--order", "inf")
    assert (short["radius"], short["order"]) == (8 / 255, "inf")


def test_the_answer_is_that_of_the_long_form(tmp_path: Path) -> None:
    found = []
    for k, ask in enumerate((["--eps", "1/20"], ["--radius", "0.05", "--order", "inf"])):
        target = tmp_path / f"{k}.json"
        assert cli._run(["verify", NET, DATA, "--samples", "2", "--jobs", "1", "--output", str(target), *ask]) == 0
        document = json.loads(target.read_text())
        found.append([document[name] for name in ("radius", "order", "lower", "upper")])
    assert found[0] == found[1]
    assert found[0][:2] == [0.05, "inf"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (["verify", *ASK], ["no radius", "--radius X", "--eps E"]),
        (["compare", *ASK], ["no radius", "--radius X", "--radii", "--eps E"]),
        (["verify", *ASK, "--eps", "0.1", "--radius", "0.1"], ["--eps and --radius", "--radius E --order inf"]),
        (["attack", *ASK, "--radius", "0.1", "--eps", "0.1"], ["--eps and --radius"]),
        (["compare", *ASK, "--eps", "0.1", "--radii", "0.1"], ["--eps and --radii"]),
        (["verify", *ASK, "--eps", "0.1", "--order", "1"], ["--order 1 is another order", "--radius E --order 1"]),
        (["attack", *ASK, "--order", "2", "--eps", "0.1"], ["--order 2 is another order"]),
        (["verify", *ASK, "--eps", "-1"], ["--eps -1", ">= 0"]),
        (["curve", *ASK, "--max-radius", "1", "--eps", "1"], ["--eps", "--max-radius X", "--order inf"]),
        (["curve", *ASK, "--eps", "1"], ["--eps", "--max-radius X"]),
        (["curve", *ASK, "--max-radius", "1", "--image-shape", "8", "8"], ["no inputs", "verify --radius X"]),
        (["distance", *ASK, "--eps", "1"], ["--eps", "verify --eps E --loss zero-one"]),
    ],
)
def test_what_is_refused(line: list[str], words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli._run(line) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    for word in words:
        assert word in err


ROW = '[[job]]\nnetwork = "n.onnx"\ndata = "d.npz"\n'


@pytest.mark.parametrize(
    ("defaults", "row", "radius", "order"),
    [
        ("", 'eps = "8/255"', 8 / 255, "inf"),
        ("radius = 0.5\norder = 2", "eps = 0.25", 0.25, "inf"),
        ("eps = 0.25", "radius = 0.5", 0.5, "1"),
        ("eps = 0.25", "", 0.25, "inf"),
    ],
)
def test_rows_of_a_batch(defaults: str, row: str, radius: float, order: str, tmp_path: Path) -> None:
    jobs = tmp_path / "jobs.toml"
    jobs.write_text(f"[defaults]\n{defaults}\n{ROW}{row}\n")
    [read] = read_rows(jobs)
    found = parsed("verify", *read.arguments)
    assert (found["radius"], found["order"]) == (radius, order)


@pytest.mark.parametrize(
    ("defaults", "row", "words"),
    [
        ("", "eps = 1\nradius = 1", "--eps and --radius"),
        ("eps = 1", "order = 1", "--order 1 is another order"),
        ("", "", "no radius is given"),
    ],
)
def test_rows_that_are_refused(
    defaults: str, row: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = tmp_path / "jobs.toml"
    jobs.write_text(f"[defaults]\n{defaults}\n{ROW}{row}\n")
    assert cli._run(["batch", str(jobs)]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert words in err
    assert "row 1" in err
