"""Lists of instances in VNN-COMP's form: each within its own limit, whatever becomes of the others."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from builders import write_mlp
from jsonschema import Draft202012Validator

from wdaverify import cli, load_network, load_specification, read_unsat, recheck_unsat
from wdaverify.checking import check as module
from wdaverify.errors import InputError
from wdaverify.instances_file import read_instances
from wdaverify.report import as_json

HEAD = "".join(f"(declare-const {name} Real)" for name in ("X_0", "X_1", "Y_0", "Y_1"))
BOX = HEAD + "(assert (<= -1 X_0 1))(assert (<= -1 X_1 1))"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Networks and specifications, one of each packed, and a list that names them unpacked."""
    first, second = np.array([[1.0, 0], [-1, 0], [0, 1], [0, -1]]), np.array([[1.0, 1, 1, 1], [1, -1, 0, 0]])
    for part in ("onnx", "vnnlib"):
        (tmp_path / part).mkdir()
    net = write_mlp(tmp_path / "onnx" / "abs.onnx", [(first, np.zeros(4)), (second, np.zeros(2))])
    (tmp_path / "onnx" / "packed.onnx.gz").write_bytes(gzip.compress(Path(net).read_bytes()))
    (tmp_path / "vnnlib" / "unsat.vnnlib").write_text(BOX + "(assert (<= Y_0 -0.5))")
    (tmp_path / "vnnlib" / "sat.vnnlib.gz").write_bytes(gzip.compress((BOX + "(assert (>= Y_0 0.5))").encode()))
    (tmp_path / "vnnlib" / "tie.vnnlib").write_text(BOX + "(assert (>= Y_0 2.0))(assert (> Y_1 1.0))")
    (tmp_path / "list.csv").write_text(
        "onnx/abs.onnx,vnnlib/unsat.vnnlib,60\n./onnx/packed.onnx,./vnnlib/sat.vnnlib,60\n"
        "onnx/abs.onnx,vnnlib/nothing.vnnlib,60\n\nonnx/abs.onnx,vnnlib/unsat.vnnlib,30\n"
    )
    return tmp_path


def run(*arguments: object) -> int:
    return cli._run([str(argument) for argument in arguments])


def test_rows_files_and_certificates(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, page, proofs = folder / "r.json", folder / "r.html", folder / "certs"
    status = run("batch", folder / "list.csv", "--output", out, "--report", page, "--certificates", proofs)
    said = capsys.readouterr()
    assert status == 2
    assert "instance abs nothing: " in said.err
    assert "no such file" in said.err
    lines = said.out.splitlines()
    assert max(map(len, lines)) <= 80
    assert "3 of 4 are decided" in lines[-1]
    assert "1 refused, 1 sat, 2 unsat" in lines[-1]
    made = json.loads(out.read_text())
    Draft202012Validator(as_json.schema("instances")).validate(made)
    assert [row["name"] for row in made["rows"]] == ["abs unsat (1)", "packed sat", "abs nothing", "abs unsat (4)"]
    found = [row["result"] and row["result"]["outcome"] for row in made["rows"]]
    assert found == ["unsat", "sat", None, "unsat"]
    assert [row["time_limit"] for row in made["rows"]] == [60, 60, 60, 30]
    assert [row["result"]["time_limit"] for row in made["rows"] if row["result"]] == [60, 60, 30]
    for row in made["rows"]:
        if row["result"] is not None:
            Draft202012Validator(as_json.schema("check")).validate(row["result"])
    network, specification = load_network(folder / "onnx/abs.onnx"), load_specification(folder / "vnnlib/unsat.vnnlib")
    certs = [row["result"]["files"]["certificate"] for row in made["rows"] if row["result"]]
    assert certs[1] is None
    assert all(recheck_unsat(read_unsat(path), network, specification).proved for path in (certs[0], certs[2]))
    text = page.read_text()
    for word in ("A batch of 4 instances", "abs nothing", "not all are decided", "The counterexample"):
        assert word in text
    assert run("report", out, "--output", folder / "again.html") == 0
    assert (folder / "again.html").read_text().count("<h2") == text.count("<h2")


def test_an_interrupt_keeps_what_was_done(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, asked = module.check, list[object]()

    def second(*arguments: object, **options: object) -> object:
        asked.append(arguments)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return plain(*arguments, **options)

    monkeypatch.setattr(module, "check", second)
    assert run("batch", folder / "list.csv", "--output", folder / "r.json") == 130
    made = json.loads((folder / "r.json").read_text())
    assert [row["done"] for row in made["rows"]] == [True, False, False, False]
    assert made["rows"][0]["result"]["outcome"] == "unsat"
    assert "1 of 4 are decided" in capsys.readouterr().out


def test_statuses(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "list.csv").write_text("onnx/abs.onnx,vnnlib/unsat.vnnlib,60\n")
    assert run("batch", folder / "list.csv", "--quiet") == 0
    (folder / "list.csv").write_text("onnx/abs.onnx,vnnlib/tie.vnnlib,0.5\n")
    assert run("batch", folder / "list.csv", "--quiet") == 3
    assert run("batch", folder / "list.csv", "--quiet", "--run", folder / "run") == 2
    assert run("batch", folder / "list.csv", "--quiet", "--output", folder / "onnx/abs.onnx") == 2


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "0 instances"),
        ("a.onnx,b.vnnlib\n", "line 1 has 2 entries"),
        ("onnx,vnnlib,timeout\n", "'timeout' for seconds"),
        ("a.onnx,b.vnnlib,0\n", "'0' for seconds"),
        ("a.onnx,b.vnnlib,inf\n", "'inf' for seconds"),
        ("a.onnx,,1\n", "line 1"),
        ('a.onnx,"b.vnnlib,1\n', "unexpected end"),
        ("a.onnx,b.vnnlib,1\n" * (2**14 + 1), "16385 instances"),
    ],
)
def test_lists_that_are_refused(text: str, why: str, tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text(text)
    with pytest.raises(InputError, match=why):
        read_instances(str(tmp_path / "l.csv"))
