"""Pages on paper: a .pdf is printed by a browser or refused before any work, and is there whole or not at all."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import documents
import pytest

from wdaverify import cli

MODELS = Path(__file__).parents[2] / "models"
NET, DATA = str(MODELS / "iris_8x8.onnx"), str(MODELS / "iris_8x8.npz")
RUNS = {
    "verify": ["verify", NET, DATA, "--radius", "0.05", "--samples", "2", "--jobs", "1"],
    "curve": ["curve", NET, DATA, "--max-radius", "0.05", "--samples", "2", "--jobs", "1"],
    "compare": ["compare", NET, DATA, "--radius", "0.05", "--samples", "2", "--rungs", "crown"],
    "lipschitz": ["lipschitz", NET],
    "batch": ["batch", "jobs.toml"],
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("jobs.toml").write_text(f'[[job]]\nnetwork = "{NET}"\ndata = "{DATA}"\nradius = 0.05\nsamples = 2\njobs = 1\n')
    Path("v.json").write_text(json.dumps(documents.verification()))
    return tmp_path


def browser(folder: Path, code: str) -> str:
    """A program that is called as a browser is: ``target`` is where it is to print."""
    program = folder / "browser"
    head = "import sys\ntarget = next(a for a in sys.argv if a.startswith('--print-to-pdf=')).split('=', 1)[1]\n"
    program.write_text(f"#!{sys.executable}\n{head}{code}\n")
    program.chmod(0o755)
    return str(program)


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> None:
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("wdaverify: error: ")
    assert err.count("\n") == 1
    for word in words:
        assert word in err


@pytest.mark.parametrize("kind", ["verification", "batch"])
def test_a_page_is_printed(
    kind: str, browser_path: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WDAVERIFY_CHROMIUM", browser_path)
    made = documents.many(60) if kind == "verification" else documents.batch()
    Path("v.json").write_text(json.dumps(made))
    assert cli._run(["report", "v.json", "--output", "V.PDF"]) == 0
    content = Path("V.PDF").read_bytes()
    assert content.startswith(b"%PDF-")
    assert content.rstrip().endswith(b"%%EOF")
    assert len(re.findall(rb"/Type /Page\b(?!s)", content)) >= 3
    assert capsys.readouterr() == ("", "")
    assert sorted(os.listdir(folder)) == ["V.PDF", "jobs.toml", "v.json"]


def test_a_run_prints_its_own(browser_path: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WDAVERIFY_CHROMIUM", browser_path)
    assert cli._run([*RUNS["compare"], "--report", "a.pdf", "--quiet"]) == 0
    assert Path("a.pdf").read_bytes().startswith(b"%PDF-")


@pytest.mark.parametrize("command", RUNS)
@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("x.pdf", ["WDAVERIFY_CHROMIUM", "chromium", "on the path", ".html"]),
        ("x.png", ["x.png has the suffix .png", ".html or .htm", ".pdf"]),
        ("x", ["x has no suffix", ".html or .htm", ".pdf"]),
    ],
)
def test_what_cannot_be_written_is_refused_before_the_run(
    command: str,
    target: str,
    words: list[str],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.delenv("WDAVERIFY_CHROMIUM", raising=False)
    monkeypatch.setenv("PATH", str(folder / "nothing"))
    assert cli._run([*RUNS[command], "--report", target, "--output", "out.json"]) == 2
    refused(capsys, "--report" if target != "x.pdf" else "", *words)
    assert sorted(os.listdir(folder)) == ["jobs.toml", "v.json"]


@pytest.mark.parametrize("target", ["x.png", "x.txt", "x"])
def test_report_writes_pages_where_pages_belong(target: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli._run(["report", "v.json", "--output", target]) == 2
    refused(capsys, "--output", ".html or .htm")
    assert cli._run(["report", "v.json", "--output", target, "--format", "csv"]) == 0
    assert Path(target).exists()


def test_a_named_browser_must_be_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WDAVERIFY_CHROMIUM", str(folder / "v.json"))
    assert cli._run([*RUNS["verify"], "--report", "x.pdf"]) == 2
    refused(capsys, "WDAVERIFY_CHROMIUM names", "v.json", ".html")


@pytest.mark.parametrize(
    "code",
    [
        "sys.exit(3)",
        "print('out of paper', file=sys.stderr); sys.exit(3)",
        "open(target, 'wb').write(b'%PDF-1.7 whole %%EOF'); sys.exit(1)",
        "open(target, 'wb').write(b'%PDF-1.7 half of it')",
        "open(target, 'wb').write(b'<html> %%EOF')",
        "",
    ],
)
def test_a_browser_that_fails_leaves_what_was_there(
    code: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WDAVERIFY_CHROMIUM", browser(folder, code))
    Path("x.pdf").write_text("before")
    assert cli._run(["report", "v.json", "--output", "x.pdf"]) == 2
    refused(capsys, "printed no PDF", "exit status", "write a .html", *(["out of paper"] if "paper" in code else []))
    assert Path("x.pdf").read_text() == "before"
    assert not list(folder.glob(".wdaverify*"))


def test_what_the_browser_is_handed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of its own that is the page, and a profile of its own."""
    code = "from urllib.parse import urlparse\nbody = open(urlparse(sys.argv[-1]).path, 'rb').read()\n"
    code += "assert any(a.startswith('--user-data-dir=') for a in sys.argv)\n"
    code += "open(target, 'wb').write(b'%PDF-1.7\\n' + body + b'\\n%%EOF\\n')"
    monkeypatch.setenv("WDAVERIFY_CHROMIUM", browser(folder, code))
    for target in ("x.pdf", "x.html"):
        assert cli._run(["report", "v.json", "--output", target]) == 0
    assert Path("x.pdf").read_bytes() == b"%PDF-1.7\n" + Path("x.html").read_bytes() + b"\n%%EOF\n"
