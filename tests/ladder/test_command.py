"""``wdaverify compare``: exit statuses, files, and one line for every refusal."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

import wdaverify.ladder.compare as module
from wdaverify import cli
from wdaverify.ladder.compare import ABOVE, BELOW, NAMES
from wdaverify.report import as_json

MODELS = Path(__file__).parents[2] / "models"
NET, DATA = str(MODELS / "iris_8x8.onnx"), str(MODELS / "iris_8x8.npz")
ASK = ["compare", NET, DATA, "--samples", "3", "--jobs", "1"]
CHEAP = ["--rungs", "norms,jacobian,first-order"]


def run(*arguments: str | Path) -> int:
    return cli._run([str(argument) for argument in arguments])


def read(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_text())
    Draft202012Validator(as_json.schema("compare")).validate(document)
    return document


def names(document: dict[str, Any]) -> list[str]:
    return [rung["name"] for rung in document["ladders"][0]["rungs"]]


def test_all_rungs_as_json_text_and_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, page = tmp_path / "ladder.json", tmp_path / "ladder.html"
    assert run(*ASK, "--radius", "0.05", "--output", out, "--report", page) == 0
    document = read(out)
    [ladder], [verification] = document["ladders"], document["verifications"]
    Draft202012Validator(as_json.schema("verification")).validate(verification)
    assert names(document)[: len(ABOVE) + 1] == [*ABOVE, "exact"]
    assert names(document)[-3:] == ["first-order sensitivity", "asymptotic", "nominal"]
    assert set(BELOW) - {"attacks"} <= set(names(document))
    assert (ladder["lower"], ladder["upper"]) == (verification["lower"], verification["upper"])
    assert ladder["status"] == "exact"
    for rung in ladder["rungs"]:
        if rung["side"] == "above":
            assert rung["value"] >= ladder["lower"]
            assert rung["distance"] == pytest.approx(rung["value"] - ladder["upper"])
        elif rung["kind"] == "bound" and rung["value"] is not None:
            assert rung["value"] <= ladder["upper"]
            assert rung["distance"] == pytest.approx(ladder["lower"] - rung["value"])
    text = capsys.readouterr().out
    assert "radius 0.05: exact, the bracket is closed" in text
    rows = {line[:24].strip(): line[24:44].strip() for line in text.splitlines() if len(line) > 44}
    for rung in ladder["rungs"]:
        if rung["side"] == "middle":
            assert float(rows["exact, upper end"]) >= rung["upper"]
            assert float(rows["exact, lower end"]) <= rung["lower"]
        elif rung["value"] is None:
            assert rows[rung["name"]] == "n/a"
        elif rung["side"] == "above":
            assert rung["value"] <= float(rows[rung["name"]]) <= rung["value"] + 1e-5
        else:
            assert rung["value"] - 1e-5 <= float(rows[rung["name"]]) <= rung["value"]
    html = page.read_text()
    assert html.lower().startswith("<!doctype html>")
    for name in ("product of layer norms", "CROWN dual", "mixture"):
        assert name in html


def test_several_radii_in_ascending_order(tmp_path: Path) -> None:
    out = tmp_path / "ladder.json"
    assert run(*ASK, "--radii", "0.05, 0,0.02,0.02", *CHEAP, "--output", out, "--quiet") == 0
    document = read(out)
    assert document["radii"] == [0.0, 0.02, 0.05]
    assert [ladder["radius"] for ladder in document["ladders"]] == [0.0, 0.02, 0.05]
    assert document["verifications"] == []
    assert {ladder["status"] for ladder in document["ladders"]} == {"not-asked"}
    for ladder in document["ladders"]:
        assert ladder["upper"] == min(r["value"] for r in ladder["rungs"] if r["side"] == "above")
        assert ladder["lower"] == ladder["nominal"]


@pytest.mark.parametrize(
    ("rungs", "kept"),
    [
        ("norms", ["norms"]),
        ("crown, attacks", ["attacks", "crown"]),
        (
            "-exact,-lp,-lipsdp,-lipschitz,-attacks",
            ["crown", "jacobian", "norms", "eclipse", "asymptotic", "first-order"],
        ),
    ],
)
def test_rungs_by_name_or_by_exception(rungs: str, kept: list[str], tmp_path: Path) -> None:
    out = tmp_path / "ladder.json"
    assert run(*ASK, "--radius", "0.05", "--rungs", rungs, "--output", out, "--quiet") == 0
    shown = {"mixture" if name == "attacks" else NAMES[name] for name in kept}
    assert {name for name in names(read(out)) if not name.startswith("WDA")} == {*shown, "nominal"}


def test_exit_status_of_an_open_bracket(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "ladder.json"
    ask = [*ASK, "--radius", "0.05", "--rungs", "norms,exact", "--time-limit", "0", "--output", out]
    assert run(*ask) == 3
    [ladder] = read(out)["ladders"]
    assert (ladder["status"], ladder["reason"]) == ("bracket", "time-limit")
    [exact] = [rung for rung in ladder["rungs"] if rung["name"] == "exact"]
    assert exact["lower"] < exact["value"] < exact["upper"]
    assert exact["value"] == pytest.approx(0.5 * (exact["lower"] + exact["upper"]))
    assert "radius 0.05: bracket, the time limit" in capsys.readouterr().out


def test_exit_status_of_a_threshold(tmp_path: Path) -> None:
    assert run(*ASK, "--radius", "0.05", "--rungs", "exact", "--threshold", "50", "--quiet") == 0


def test_exit_status_of_an_interrupt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "interval_constants", interrupt)
    out = tmp_path / "ladder.json"
    assert run(*ASK, "--radii", "0.02,0.05", "--rungs", "norms,jacobian,first-order,crown", "--output", out) == 130
    first, second = read(out)["ladders"]
    value = {rung["name"]: (rung["value"], rung["why"]) for rung in first["rungs"]}
    assert value["product of layer norms"][0] is not None
    assert value["interval Jacobian"] == (None, "interrupted")
    assert value["CROWN dual"] == (None, "interrupted before this rung")
    assert {rung["why"] for rung in second["rungs"] if rung["name"] != "nominal"} == {"interrupted before this rung"}
    assert "interrupted before this rung" in capsys.readouterr().out


def test_a_certificate_of_the_exact_run(tmp_path: Path) -> None:
    proof, out = tmp_path / "proof.cert", tmp_path / "ladder.json"
    ask = [*ASK, "--radius", "0.02", "--rungs", "norms,exact", "--certificate", proof, "--output", out, "--quiet"]
    assert run(*ask) == 0
    [exact] = [rung for rung in read(out)["ladders"][0]["rungs"] if rung["name"] == "exact"]
    assert exact["vouched"] == "proved"
    assert run("recheck", NET, DATA, proof, "--samples", "3", "--quiet") == 0


def test_the_whole_space(tmp_path: Path) -> None:
    out = tmp_path / "ladder.json"
    assert run(*ASK, "--radius", "0.02", "--support", "none", "--gap", "1e-4", "--output", out, "--quiet") == 0
    rungs = {rung["name"]: rung["value"] for rung in read(out)["ladders"][0]["rungs"]}
    assert rungs["nominal"] < rungs["asymptotic"] <= rungs["exact"] + 1e-4
    assert rungs["exact"] <= rungs["exact Lipschitz"] <= rungs["interval Jacobian"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["no radius", "--radius X", "--radii X,X,..."]),
        (["--radius", "0.1", "--radii", "0.1,0.2"], ["not both"]),
        (["--radii", "0.1,-0.2"], ["-0.2", ">= 0"]),
        (["--radii", "0.1,,0.2"], ["finite number"]),
        (["--radii", "0.1,nan"], ["nan", "finite"]),
        (["--radius", "-1"], ["--radius", ">= 0"]),
        (["--radius", "0.1", "--rungs", "norms,crwn"], ["--rungs norms,crwn", "lipsdp", "crown", "minus"]),
        (["--radius", "0.1", "--rungs", "norms,-lp"], ["only names behind a minus"]),
        (["--radius", "0.1", "--rungs", ""], ["--rungs"]),
        (["--radius", "0.1", "--rungs", ",".join(f"-{name}" for name in NAMES)], ["rung none"]),
        (["--radius", "0.1", "--rung-limit", "-1"], ["--rung-limit", ">= 0"]),
        (["--radii", "0.1,0.2", "--certificate", "a.cert"], ["one radius", "2 are given"]),
        (["--radius", "0.1", "--certificate", NET], ["--certificate"]),
        (["--radius", "0.1", "--certificate", "a.cert", "--rungs", "norms"], ["--certificate", "add exact"]),
        (["--radius", "0.1", "--threshold", "5", "--rungs", "-exact"], ["--threshold", "add exact"]),
        (["--radius", "0.1", "--threshold", "0", "--rungs", "crown"], ["--threshold", "add exact"]),
        (["--radius", "0.1", "--certificate", "a.cert", "--loss", "dlr"], ["without certificate"]),
        (["--radius", "0.1", "--norm", "2", "--solver", "highs"], ["--solver cells"]),
        (["--radius", "0.1", "--image-shape", "2", "2"], ["--report"]),
    ],
)
def test_refusals(
    arguments: list[str],
    words: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(*ASK, *arguments) == 2
    out, err = capsys.readouterr()
    assert not out
    [line] = err.splitlines()
    assert line.startswith("wdaverify: error: ")
    for word in words:
        assert word in line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("where", ["--output", "--report"])
def test_a_file_that_cannot_be_written_is_refused_first(
    where: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*ASK, "--radius", "0.1", where, tmp_path / "absent" / "file") == 2
    assert "absent" in capsys.readouterr().err


def test_no_number_of_the_json_is_nan_or_infinite_unquoted(tmp_path: Path) -> None:
    out = tmp_path / "ladder.json"
    limit = ["--rung-limit", "0", "--support", "none", "--time-limit", "0"]
    assert run(*ASK, "--radius", "0.1", *limit, "--output", out, "--quiet") == 3

    def refuse(text: str) -> float:
        raise AssertionError(text)

    json.loads(out.read_text(), parse_constant=refuse)
    document = read(out)
    for rung in document["ladders"][0]["rungs"]:
        assert rung["value"] is None or math.isfinite(rung["value"])
