"""Labels by name: mapped in the order that ``--classes`` gives, told where it counts, and never guessed."""

from __future__ import annotations

import csv
import json
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wdaverify import cli
from wdaverify.errors import SamplesError
from wdaverify.report.page.document import as_document
from wdaverify.report.page.view import build
from wdaverify.samples import load_samples

MODELS = Path(__file__).parents[2] / "models"
NET, DATA = str(MODELS / "iris_8x8.onnx"), MODELS / "iris_8x8.npz"
NAMES = ["versi, colour", "setosa", 'the "other"']


def typed(names: list[str]) -> str:
    quoted = ['"{}"'.format(name.replace('"', '""')) for name in names]
    return "--classes=" + ",".join(quoted)


@pytest.fixture
def table(tmp_path: Path) -> str:
    """The samples of the model as a table, their labels by name, in the first column."""
    data = np.load(DATA)
    path = tmp_path / "iris.csv"
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["kind", "a", "b", "c", "d"])
        writer.writerows([NAMES[y], *(repr(float(v)) for v in x)] for x, y in zip(data["x"], data["y"], strict=True))
    return str(path)


def ran(line: list[str], target: Path) -> dict[str, Any]:
    assert cli._run([*line, "--output", str(target)]) == 0
    return json.loads(target.read_text())  # type: ignore[no-any-return]


def test_the_answer_is_that_of_the_numbers(table: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = ["--radius", "0.05", "--samples", "4", "--jobs", "1", "--device", "cpu"]
    truth = ran(["verify", NET, str(DATA), *more], tmp_path / "n.json")
    capsys.readouterr()
    made = ran(["verify", NET, table, "--label-column", "kind", typed(NAMES), *more], tmp_path / "c.json")
    said = 'labels by the order of the classes: versi, colour = 0, setosa = 1, the "other" = 2'
    assert capsys.readouterr().err == f"note: {said}\n"
    assert made["notices"] == [said, *truth["notices"]]
    assert made["samples_sha256"] == truth["samples_sha256"]
    assert max(made["lower"], truth["lower"]) <= min(
        made["upper"], truth["upper"]
    )  # bundles go by the clock, within the gap
    assert max(made["upper"], truth["upper"]) - min(made["lower"], truth["lower"]) <= 2e-6
    assert made["files"]["classes"] == NAMES
    assert truth["files"]["classes"] is None
    [command] = [
        line
        for question in build([as_document(made)]).questions
        for block in question.all_blocks()
        if block.kind == "command"
        for line in block.lines  # type: ignore[union-attr]
    ]
    again = ran([*shlex.split(command)[1:], "--quiet"], tmp_path / "again.json")
    assert again["samples_sha256"] == truth["samples_sha256"]


def test_a_certificate_is_rechecked_by_names(table: str, tmp_path: Path) -> None:
    files = [NET, table]
    asked = ["--label-column", "kind", typed(NAMES), "--samples", "2"]
    proof = str(tmp_path / "a.cert")
    more = ["--radius", "0.02", "--jobs", "1", "--certificate", proof, "--quiet"]
    assert cli._run(["verify", *files, *asked, *more]) == 0
    assert cli._run(["recheck", *files, proof, *asked, "--quiet"]) == 0
    swapped = ["--label-column", "kind", typed([NAMES[1], NAMES[0], NAMES[2]]), "--samples", "2"]
    assert cli._run(["recheck", *files, proof, *swapped, "--quiet"]) != 0


def test_a_sample_is_no_header(tmp_path: Path) -> None:
    """Numbers that are their own places, beside a name: a header to those who do not know the classes."""
    path = tmp_path / "t.csv"
    path.write_text("0,1,2,dog\n5,6,7, cat \n")
    samples = load_samples(path, classes=["cat", "dog"])
    assert samples.x.tolist() == [[0.0, 1.0, 2.0], [5.0, 6.0, 7.0]]
    assert samples.y.tolist() == [1, 0]
    path.write_text("a,b,c,dog\n5,6,7,cat\n")
    assert load_samples(path, classes=["cat", "dog"]).y.tolist() == [0]
    path.write_text("5,6,7,8\n1,2,3,3\n")
    assert load_samples(path, classes=["3", "8"]).y.tolist() == [1, 0]


def test_a_sample_whose_label_is_no_class_or_missing_is_not_passed_over(tmp_path: Path) -> None:
    """A header with numbers is taken, and said."""
    path = tmp_path / "t.csv"
    path.write_text("0,1,2,Dog\n5,6,7,cat\n")
    with pytest.raises(SamplesError, match="line 1: the label 'Dog' is none of the classes"):
        load_samples(path, classes=["cat", "dog"])
    path.write_text("0,1,,1\n5,6,7,0\n")
    with pytest.raises(SamplesError, match="line 1, column 2: '' is not a number"):
        load_samples(path)
    path.write_text("0,1,2,label\n5,6,7,0\n")
    samples = load_samples(path)
    assert samples.x.tolist() == [[5.0, 6.0, 7.0]]
    assert samples.notices == (
        "the first line (0, 1, 2, label) is taken as names of columns, since its numbers are their places; it is no sample",
    )
    path.write_text("a,b,c,label\n5,6,7,0\n")
    assert load_samples(path).notices == ()


def test_names_are_not_guessed(table: str, capsys: pytest.CaptureFixture[str]) -> None:
    ask = ["verify", NET, table, "--label-column", "kind", "--radius", "0.05"]
    assert cli._run(ask) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert re.search(r"line 2, column 0: .* is not a number; numbers are accepted; --classes A,B,\.\.\. says", err)


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--classes=a,b,c", "line 2: the label 'setosa' is none of the classes a, b, c; name every class"),
        (typed([*NAMES, "more"]), "--classes names 4 classes and the network has 3; name all of them"),
        (typed([*NAMES[:2], NAMES[0]]), "is named twice"),
        ("--classes=a,,b", "names between commas are accepted"),
        ("--classes=", "names between commas are accepted"),
        ('--classes="a', "names between commas are accepted"),
    ],
)
def test_what_is_refused(option: str, words: str, table: str, capsys: pytest.CaptureFixture[str]) -> None:
    data = Path(table)
    lines = data.read_text().splitlines()
    start = next(line for line in lines if line.startswith("setosa"))
    data.write_text("\n".join([lines[0], start, *lines[1:]]) + "\n")
    assert cli._run(["verify", NET, table, "--label-column", "kind", "--radius", "0.05", option]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert words in err


def test_names_need_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli._run(["verify", NET, str(DATA), "--radius", "0.05", "--classes", "a,b,c"]) == 2
    assert "labels have names in .csv files only" in capsys.readouterr().err
    assert cli._run(["lipschitz", NET, "--classes", "a,b,c"]) == 2
    assert "--around DATA" in capsys.readouterr().err
    for wrong in ("cat,dog", [1, 2], [" "], [], 5):
        with pytest.raises(SamplesError, match=r"class"):
            load_samples("t.csv", classes=wrong)  # type: ignore[arg-type]
