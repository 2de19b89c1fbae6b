"""The tables of a report as CSV, LaTeX and Markdown: complete, exact where numbers are written, and inert whatever a file says."""

from __future__ import annotations

import csv
import io
import math
import re
from pathlib import Path

import documents
import pytest

from wdaverify import cli
from wdaverify.report.page.content import Cell, Column, Report, Table
from wdaverify.report.page.document import as_document
from wdaverify.report.page.tables import as_text
from wdaverify.report.page.view import build

INJECTIONS = (
    "=1+1",
    "+1",
    "-1+cmd",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "−1",
    documents.NASTY,
    "a|b\nc",
    'quote "x", y',
    r"\end{table}",
)


def reported(*kinds: str, nasty: bool = False) -> Report:
    made = [documents.ALL[kind]() for kind in kinds or documents.ALL]
    return build([as_document(documents.nasty(one) if nasty else one) for one in made])


def table(*texts: str) -> Report:
    columns = (Column("Text"), Column("Number", True))
    rows = tuple((Cell(text, text), Cell("−0.5", -0.5)) for text in texts)
    made = reported("verification")
    return Report(made.title, Table("t", "=T|itle", columns, rows), (), (), made.sources, "")


def test_csv_is_read_back() -> None:
    made = reported()
    lines = list(csv.reader(io.StringIO(as_text(made, "csv"))))
    for one in made.tables():
        start = lines.index([f"# {one.title}"])
        assert lines[start + 1] == [column.head for column in one.columns]
        for row, cells in zip(lines[start + 2 :], one.rows, strict=False):
            for text, cell in zip(row, cells, strict=True):
                if isinstance(cell.value, float):
                    assert float(text) == cell.value
                elif cell.value is None:
                    assert text == ""


def test_csv_holds_the_bounds_exactly() -> None:
    text = as_text(reported("verification"), "csv")
    assert "At radius 0.05,-0.1234567891234,-0.1234562,exact" in text
    assert '"exact, upper end",the bracket,-0.1234562,0.0,' in text
    assert '"exact, lower end",the bracket,-0.1234567891234,0.0,' in text


@pytest.mark.parametrize("nasty", [documents.NASTY, *INJECTIONS])
def test_csv_holds_no_formula(nasty: str) -> None:
    rows = list(csv.reader(io.StringIO(as_text(table(nasty), "csv"))))
    for cell in (cell for row in rows for cell in row):
        number = re.fullmatch(r"-?[0-9.]+(e-?[0-9]+)?", cell)
        assert number or not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert rows[2][1] == "-0.5"


def test_csv_of_nasty_documents_holds_no_formula() -> None:
    for row in csv.reader(io.StringIO(as_text(reported(nasty=True), "csv"))):
        for cell in row:
            number = re.fullmatch(r"-?(inf|[0-9.]+(e[-+]?[0-9]+)?)", cell)
            assert number or not cell.startswith(("=", "+", "-", "@", "\t", "\r")), cell


def test_infinite_numbers() -> None:
    made = documents.verification()
    made["per_sample"][0].update(lower="-inf", upper="inf")
    report = build([as_document(made)])
    rows = [row for row in csv.reader(io.StringIO(as_text(report, "csv"))) if row[:2] == ["0", "0.5"]]
    assert [(float(row[2]), float(row[3])) for row in rows] == [(-math.inf, math.inf)]


@pytest.mark.parametrize("nasty", [documents.NASTY, *INJECTIONS])
def test_markdown_keeps_its_columns(nasty: str) -> None:
    title, blank, head, rule, *rows, _ = as_text(table(nasty, nasty), "markdown").split("\n")
    assert (title, blank) == (r"### =T\|itle", "")
    assert (head, rule) == ("| Text | Number |", "| :--- | ---: |")
    assert len(rows) == 2
    for row in rows:
        assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", row)) == 3
        assert not re.search(r"(?<!\\)(?:\\\\)*[<&`*_\[]", row)


@pytest.mark.parametrize("nasty", [documents.NASTY, *INJECTIONS])
def test_latex_runs_no_command_of_a_file(nasty: str) -> None:
    """What is left after the commands that wdaverify writes itself has no special character, but for the column marks."""
    text = as_text(table(nasty), "latex")
    own = (
        r"\begin{table}", r"\end{table}", r"\hline", r"\end{tabular}", r"\begin{tabular}{lr}", r"\caption{", r"\textbackslash{}",
        r"\textasciitilde{}", r"\textasciicircum{}", r"\textless{}", r"\textgreater{}", r"\textbar{}", r"\textquotedbl{}",
        r"\textasciigrave{}", r"\textquotesingle{}", "$-$", r"\{", r"\}", r"\$", r"\&", r"\#", r"\%", r"\_",
    )  # fmt: skip
    lines = text.splitlines()
    assert lines[:1] + lines[-2:] == [r"\begin{table}", r"\end{tabular}", r"\end{table}"]
    body = [line for line in lines if line.endswith(r" \\")]
    assert len(body) == 2
    for line in body:
        rest = line.removesuffix(r" \\")
        for command in own:
            rest = rest.replace(command, "")
        assert not set(rest) & set("\\{}$#%_~^<>|\"`'"), rest
        assert rest.count("&") == 1


def test_latex_is_balanced() -> None:
    text = as_text(reported(nasty=True), "latex")
    depth = 0
    for mark in re.findall(r"\\[\\{}]|[{}]", text):
        depth += {"{": 1, "}": -1}.get(mark, 0)
        assert depth >= 0
    assert depth == 0
    assert text.count(r"\begin{") == text.count(r"\end{")


@pytest.mark.parametrize("kind", ["csv", "latex", "markdown"])
def test_tables_are_printed_or_written(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import json

    source, target = tmp_path / "r.json", tmp_path / "out.txt"
    source.write_text(json.dumps(documents.compare()))
    assert cli._run(["report", str(source), "--format", kind]) == 0
    printed = capsys.readouterr().out
    assert cli._run(["report", str(source), "--format", kind, "--output", str(target)]) == 0
    assert not capsys.readouterr().out
    assert target.read_text(encoding="utf-8") == printed
    assert "LipSDP" in printed


@pytest.mark.parametrize("kind", ["csv", "latex", "markdown"])
def test_a_batch_s_tables_say_whose_they_are(kind: str) -> None:
    made = build([as_document(documents.batch())])
    titles = [one.title for one in made.tables()]
    assert titles[0] == "The rows of the batch"
    assert {title.partition(":")[0] for title in titles[1:]} == {"margin", "decided", "open"}
    assert len(set(titles)) == len(titles)
    text = as_text(made, kind)
    if kind == "csv":
        rows = list(csv.reader(io.StringIO(text)))
        start = rows.index(["# The rows of the batch"])
        shown = {row[0]: row[1:4] for row in rows[start + 2 : start + 7]}
        assert shown["decided"] == ["-0.1234567891234", "0.5", "verified"]
        assert shown["open"] == ["-0.1234567891234", "0.25", "open: time-limit"]
        assert shown["no data"] == ["", "", "refused"]
