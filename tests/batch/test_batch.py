"""Batches: every row the answer of its own command, one journal, one document, and an exit status that counts all."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from journal.killed import MODELS
from jsonschema import Draft202012Validator
from wdro.dask_cluster import local_cluster

from wdaverify import cli
from wdaverify.batch_file import read_rows
from wdaverify.errors import InputError, JournalError
from wdaverify.journal.state import read_state
from wdaverify.report import as_json

NET, DATA = str(MODELS / "iris_8x8.onnx"), str(MODELS / "iris_8x8.npz")
HEAD = f'[defaults]\nnetwork = "{NET}"\ndata = "{DATA}"\nradius = 0.05\njobs = 1\n'
ROWS = """
[[job]]
name = "margin"
[[job]]
name = "farther"
radius = 0.06
[[job]]
loss = "zero-one"
support = [0, 1]
clip = true
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "jobs.toml"
    path.write_text(text)
    return path


def verified(tmp_path: Path, *options: str) -> dict[str, Any]:
    target = tmp_path / "one.json"
    assert cli._run(["verify", NET, DATA, "--jobs", "1", "--quiet", "--output", str(target), *options]) == 0
    return json.loads(target.read_text())  # type: ignore[no-any-return]


def test_rows_are_what_verify_answers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jobs, target, folder = write(tmp_path, HEAD + ROWS), tmp_path / "all.json", tmp_path / "run"
    command = ["batch", str(jobs), "--run", str(folder), "--output", str(target)]
    assert cli._run(command) == 0
    said = capsys.readouterr().out
    assert "3 of 3 rows are exact or decided" in said
    document = json.loads(target.read_text())
    assert document["schema"] == "wdaverify/batch/1"
    assert document["done"] is True
    assert [row["name"] for row in document["rows"]] == ["margin", "farther", "3"]
    alone = [("--radius", "0.05"), ("--radius", "0.06"), ("--radius", "0.05", "--loss", "zero-one", "--clip")]
    for row, options in zip(document["rows"], alone, strict=True):
        Draft202012Validator(as_json.schema("verification")).validate(row["result"])
        truth = verified(tmp_path, *options)
        for side in ("lower", "upper"):
            assert row["result"][side] == pytest.approx(truth[side], abs=2e-6)
    assert any("reused" in notice for notice in document["rows"][1]["result"]["notices"])
    assert cli._run(["resume", str(folder)]) == 0
    again = json.loads(target.read_text())
    assert [row["result"]["statistics"]["solves"] for row in again["rows"]] == [0, 0, 0]
    capsys.readouterr()
    assert cli._run(["status", str(folder)]) == 0
    said = capsys.readouterr().out
    assert "6 run(s)" in said
    assert "3 (3 of 3)" in said


@pytest.mark.parametrize(
    ("more", "status", "words"),
    [
        ('[[job]]\nname = "short"\nloss = "cross-entropy"\ntime-limit = 0.0\n', 3, "bracket (time-limit)"),
        ('[[job]]\nname = "decided"\ngap = 1e-9\nthreshold = 1000\n', 0, "threshold-decided"),
        ('[[job]]\nname = "no data"\ndata = "nowhere.npz"\n', 2, "refused: "),
        ('[[job]]\nname = "beyond"\nloss = "cross-entropy"\nsolver = "highs"\n', 2, "refused: "),
    ],
)
def test_the_exit_status_counts_every_row(
    more: str, status: int, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = write(tmp_path, f"{HEAD}[[job]]\n{more}")
    assert cli._run(["batch", str(jobs)]) == status
    out, err = capsys.readouterr()
    assert words in out
    assert f"{2 - (status > 0)} of 2 rows" in out
    assert ("error: row" in err) == (status == 2)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["no rows", "[[job]]"]),
        ("job = 3", ["no rows"]),
        ("x = [", ["cannot be read as TOML"]),
        ("x" + ".x" * 20 + " = 1", ["nested more than 8"]),
        (HEAD + '[[job]]\nname = "a\\u001b"\n', ["row 1 is named", "x1b"]),
        (HEAD + "[[job]]\nseed = 0x" + "f" * 5000 + "\n", ["2^53"]),
        (HEAD + "[[job]]\nsupport = 0x" + "f" * 5000 + "\n", ["digits"]),
        (HEAD + "[[job]]\nhelp = true\n", ["row 1", "help"]),
        (HEAD + "[[job]]\n" * 20_000, ["20000 rows", "16384"]),
        (HEAD + "[[rows]]\n", ["rows", "[[job]]"]),
        ("[[job]]\nnetwork = 'a'\n", ["row 1", "no data"]),
        (HEAD + "[[job]]\nname = 'a'\n[[job]]\nname = 'a'\n", ["2 rows are named a"]),
        (HEAD + "[[job]]\nreport = 'x.html'\n", ["row 1", "report"]),
        (HEAD + "[[job]]\noutput = 'x.json'\n", ["row 1", "output"]),
        (HEAD + "[[job]]\ncertificate = 3\n", ["row 1", "certificate 3", "path of a file"]),
        (HEAD + "[[job]]\ncertificate = ''\n", ["row 1", "certificate ''", "path of a file"]),
        (HEAD + "[[job]]\ncertificate = 'jobs.toml'\n", ["row 1", "jobs.toml", "input or another output"]),
        (HEAD + "[[job]]\nimage-shape = '2 2'\n", ["row 1", "image-shape"]),
        (
            HEAD + "[[job]]\nname = 'a'\ncertificate = 'x'\n[[job]]\nname = 'b'\ncertificate = 'x'\n",
            ["row b", "another output"],
        ),
        (HEAD + "[[job]]\nsupport = 3\n", ["row 1", "support 3", "[LO, HI]"]),
        (HEAD + "[[job]]\nradius = [1]\n", ["row 1", "radius is list"]),
        (HEAD + "[[job]]\nradius = -1\n", ["row 1", "--radius", ">= 0"]),
        (HEAD + "[[job]]\nspeed = 'high'\n", ["row 1", "--speed"]),
        (HEAD + "[[job]]\nloss = 'logit'\n", ["row 1", "--loss", "zero-one"]),
    ],
)
def test_a_faulty_file_is_refused_before_any_work(
    text: str, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli._run(["batch", str(write(tmp_path, text)), "--run", str(tmp_path / "run")]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    for word in words:
        assert word in err
    assert not (tmp_path / "run").exists()


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    jobs = write(tmp_path, '[[job]]\nnetwork = "n.onnx"\ndata = "sub/d.npz"\ncost-weights = "w.toml"\norder = inf\n')
    [row] = read_rows(jobs)
    assert row.files == (str(tmp_path / "n.onnx"), str(tmp_path / "sub/d.npz"), str(tmp_path / "w.toml"))
    assert row.arguments == (*row.files[:2], f"--cost-weights={tmp_path / 'w.toml'}", "--order=inf")
    with pytest.raises(InputError, match="no such file"):
        read_rows(tmp_path / "none.toml")


def test_an_interrupted_batch_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C in the second row: the first is written, and resume does the rest."""
    digits = f'network = "{MODELS / "digits_16x16.onnx"}"\ndata = "{MODELS / "digits_16x16.npz"}"\nsamples = 30\n'
    jobs = write(tmp_path, f'{HEAD}[[job]]\nname = "first"\n[[job]]\nname = "second"\n{digits}')
    folder, target = tmp_path / "run", tmp_path / "all.json"
    command = [sys.executable, "-m", "wdaverify", "batch", str(jobs), "--run", str(folder), "--output", str(target)]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and parent.poll() is None:
        time.sleep(0.05)
        try:
            state = read_state(folder).state
        except JournalError:
            continue
        if state.get("label", "").startswith("second") and state["solves"] > 0:
            break
    parent.send_signal(signal.SIGINT)
    out, err = parent.communicate(timeout=60)
    assert parent.returncode == 130, err
    assert "1 of 2 rows" in out
    rows = json.loads(target.read_text())["rows"]
    assert [row["done"] for row in rows] == [True, False]
    assert cli._run(["resume", str(folder)]) == 0
    assert "2 of 2 rows" in capsys.readouterr().out
    first = json.loads(target.read_text())["rows"][0]["result"]
    assert first["statistics"]["solves"] == 0


PROVEN = """
[[job]]
name = "margin"
samples = 4
[[job]]
name = "errors"
loss = "zero-one"
samples = 4
certificate = "own.cert"
[[job]]
name = "soft"
loss = "cross-entropy"
samples = 2
certificate = false
[[job]]
name = "cannot"
loss = "dlr"
samples = 2
"""


def test_certificates_of_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each by its own name or as the row says, each proved by recheck; a row that cannot have one is refused by name."""
    jobs, target, folder = write(tmp_path, HEAD + PROVEN), tmp_path / "all.json", tmp_path / "proofs"
    assert cli._run(["batch", str(jobs), "--certificates", str(folder), "--output", str(target)]) == 2
    err = capsys.readouterr().err
    assert "row cannot: the DLR loss is answered by MIP solvers, level by level, without certificate" in err
    rows = json.loads(target.read_text())["rows"]
    assert [row["done"] for row in rows] == [True, True, True, False]
    assert sorted(path.name for path in folder.iterdir()) == ["margin.cert"]
    for row, proof in ((rows[0], folder / "margin.cert"), (rows[1], tmp_path / "own.cert")):
        result = row["result"]
        assert result["files"]["certificate"] == str(proof)
        assert result["vouched"] == {"lower": "proved", "upper": "proved"}
        assert (
            cli._run(["recheck", NET, DATA, str(proof), "--samples", "4", "--output", str(tmp_path / "verdict.json")])
            == 0
        )
        verdict = json.loads((tmp_path / "verdict.json").read_text())
        assert (verdict["lower"], verdict["upper"]) == (result["lower"], result["upper"])
    assert rows[2]["result"]["files"]["certificate"] is None


@pytest.mark.parametrize("name", ["a/b", "..", ".hidden", "-x", "a|b"])
def test_a_name_that_is_no_file_name(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jobs = write(tmp_path, f"{HEAD}[[job]]\nname = '{name}'\n")
    assert cli._run(["batch", str(jobs), "--certificates", str(tmp_path / "proofs")]) == 2
    assert f"row {name}: its name is no name of a file" in capsys.readouterr().err
    assert list((tmp_path / "proofs").iterdir()) == []


def test_a_certificate_that_cannot_be_written_loses_no_answer(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from wdaverify.certify import certificate
    from wdaverify.errors import OutputError

    def fails(path: object, made: object) -> None:
        raise OutputError(f"cannot write {path}: no space left on device")

    monkeypatch.setattr(certificate, "write_certificate", fails)
    jobs, target = write(tmp_path, f"{HEAD}samples = 2\n[[job]]\n"), tmp_path / "all.json"
    assert cli._run(["batch", str(jobs), "--certificates", str(tmp_path), "--output", str(target)]) == 2
    out, err = capsys.readouterr()
    assert "1 of 1 rows" in out
    assert err == f"wdaverify: error: row 1: cannot write {tmp_path / '1.cert'}: no space left on device\n"
    [row] = json.loads(target.read_text())["rows"]
    assert row["done"]
    assert row["result"]["files"]["certificate"] is None


def test_one_page_of_all_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The page of --report is the one that ``report`` makes of the JSON, but for the file's name and hash."""
    text = f"{HEAD}samples = 3\n[[job]]\nname = 'one'\n[[job]]\nname = 'none'\ndata = 'nowhere.npz'\n"
    jobs, target, page = write(tmp_path, text), tmp_path / "all.json", tmp_path / "report.html"
    assert cli._run(["batch", str(jobs), "--report", str(tmp_path), "--output", str(target), "--quiet"]) == 2
    Draft202012Validator(as_json.schema("batch")).validate(json.loads(target.read_text()))
    assert cli._run(["report", str(target), "--output", str(tmp_path / "again.html")]) == 0
    own, again = (path.read_text() for path in (page, tmp_path / "again.html"))
    assert own.split('id="sources"')[0] == again.split('id="sources"')[0]
    assert "1 of 2 rows" in own
    assert cli._run(["batch", str(jobs), "--report", str(jobs)]) == 2
    assert "input or another output" in capsys.readouterr().err


def test_on_a_cluster(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All rows on one cluster, whatever their networks; options of processes of our own are refused."""
    pytest.importorskip("distributed")
    digits = f'network = "{MODELS / "digits_16x16.onnx"}"\ndata = "{MODELS / "digits_16x16.npz"}"\nsamples = 2\n'
    head = HEAD.replace("jobs = 1\n", "samples = 4\n")
    rows = f'{head}[[job]]\nname = "iris"\n[[job]]\nname = "digits"\n{digits}[[job]]\nname = "again"\nradius = 0.06\n'
    jobs, target = write(tmp_path, rows), tmp_path / "all.json"
    alone = tmp_path / "alone.json"
    with local_cluster(2) as cluster:
        ask = ["batch", str(jobs), "--scheduler", cluster.address]
        assert cli._run([*ask, "--output", str(target), "--certificates", str(tmp_path / "proofs")]) == 0
        write(tmp_path, rows + "jobs = 2\n")
        assert cli._run(ask) == 2
        assert "row again: --jobs and --memory-limit are about processes of our own" in capsys.readouterr().err
    write(tmp_path, rows)
    assert cli._run(["batch", str(jobs), "--output", str(alone)]) == 0
    there, here = (json.loads(path.read_text())["rows"] for path in (target, alone))
    assert len({row["result"]["network_sha256"] for row in there}) == 2
    for one, other in zip(there, here, strict=True):
        assert one["result"]["lower"] == pytest.approx(other["result"]["lower"], abs=2e-6)
        assert one["result"]["upper"] == pytest.approx(other["result"]["upper"], abs=2e-6)
    assert len(list((tmp_path / "proofs").iterdir())) == 3
