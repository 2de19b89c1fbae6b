"""From files to reports: samples without labels, a certificate that is rechecked from both files, refusals."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from wdaverify import cli
from wdaverify.report.as_json import schema

MODELS = Path(__file__).parent.parent.parent / "models"
NET, DATA = str(MODELS / "iris_8x8.onnx"), MODELS / "iris_8x8.npz"
SPEC = """(declare-const X_0 Real)(declare-const X_1 Real)(declare-const X_2 Real)(declare-const X_3 Real)
(declare-const Y_0 Real)(declare-const Y_1 Real)(declare-const Y_2 Real)
(assert (and (>= X_0 0) (<= X_0 1) (>= X_1 0) (<= X_1 1) (>= X_2 0) (<= X_2 1) (>= X_3 0) (<= X_3 1)))
(assert (>= (+ X_2 X_3) 0.5))
(assert (and (>= Y_0 Y_1) (>= Y_0 Y_2)))
"""


def run(*arguments: str | Path) -> int:
    return cli._run([str(argument) for argument in arguments])


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Three flowers as a .csv of features, and the specification."""
    points = np.load(DATA)["x"][:3].reshape(3, -1)
    states, spec = tmp_path / "states.csv", tmp_path / "petals.vnnlib"
    states.write_text("\n".join(",".join(map(repr, row)) for row in points.tolist()))
    spec.write_text(SPEC)
    return states, spec


def test_verified_certified_and_rechecked(
    files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    states, spec = files
    ask = ["--loss", "specification", "--spec", spec, "--radius", "0.05"]
    proof, made, page = tmp_path / "a.cert", tmp_path / "a.json", tmp_path / "a.html"
    assert (
        run("verify", NET, states, *ask, "--jobs", "1", "--certificate", proof, "--output", made, "--report", page) == 0
    )
    said = " ".join(capsys.readouterr().out.split())
    assert "sup { P_Q(specification violated) : Q on [0, 1]^4" in said
    document = json.loads(made.read_text())
    jsonschema.validate(document, schema("verification"))
    assert document["specification"]["kept"] == [0]
    assert document["files"]["specification"] == str(spec)
    assert {original["label"] for original in document["originals"]} <= {None}
    assert "--spec" in page.read_text()
    assert run("recheck", NET, states, proof, *ask, "--output", tmp_path / "v.json") == 0
    verdict = json.loads((tmp_path / "v.json").read_text())
    jsonschema.validate(verdict, schema("verdict"))
    assert verdict["specification"]["sha256"] == document["specification"]["sha256"]
    capsys.readouterr()
    assert run("recheck", NET, states, proof) == 2
    assert "--spec FILE.vnnlib" in capsys.readouterr().err
    spec.write_text(SPEC.replace("0.5", "0.6"))
    assert run("recheck", NET, states, proof, "--spec", spec) == 1
    assert "the specification differs" in capsys.readouterr().err


def test_all_of_space_is_proved_as_the_box_that_counts(files: tuple[Path, Path], tmp_path: Path) -> None:
    """With a sample beyond the specification's box; asked without it, the certificate is about another support."""
    states, spec = files
    states.write_text(states.read_text() + "\n1.5,0.5,0.5,0.5")
    ask, proof = ["--loss", "specification", "--spec", spec, "--radius", "0.05"], tmp_path / "a.cert"
    assert run("verify", NET, states, *ask, "--support", "none", "--jobs", "1", "--certificate", proof, "--quiet") == 0
    assert run("recheck", NET, states, proof, *ask, "--support", "none", "--quiet") == 0
    assert run("recheck", NET, states, proof, *ask, "--quiet") == 2


def test_labels_in_a_file_are_left_out_with_a_notice(
    files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = files[1]
    made = tmp_path / "d.json"
    assert run("distance", NET, DATA, "--spec", spec, "--samples", "2", "--jobs", "1", "--output", made) == 0
    told = capsys.readouterr()
    assert "labels are there and left out" in told.err + told.out
    assert "label" not in told.out.split("sample ")[1].split("\n")[0]
    document = json.loads(made.read_text())
    jsonschema.validate(document, schema("distances"))
    assert {row["label"] for row in document["distances"]} == {None}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--loss", "specification"], ["--spec FILE.vnnlib"]),
        (["--spec", "SPEC"], ["--loss margin is another question", "--loss specification"]),
        (["--loss", "specification", "--spec", "SPEC", "--classes", "a,b,c"], ["--classes", "leave it out"]),
        (["--loss", "specification", "--spec", "SPEC", "--label-cost", "1"], ["knows no labels"]),
        (["--loss", "specification", "--spec", NET], ["outside of parentheses"]),
        (["--support", "specification"], ["--spec FILE.vnnlib"]),
        (["--loss", "specification", "--spec", "SPEC", "--solver", "highs", "--norm", "2"], ["--solver cells"]),
    ],
)
def test_refusals(
    options: list[str], words: list[str], files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    spelled = [str(files[1]) if option == "SPEC" else option for option in options]
    assert run("verify", NET, files[0], "--radius", "0.1", *spelled) == 2
    said = capsys.readouterr().err
    assert all(word in said for word in words), said
