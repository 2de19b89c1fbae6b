"""The tables of a report as CSV, LaTeX and Markdown, each escaped for where it goes."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence

from wdaverify.report.page.content import Cell, Column, Report, Table
from wdaverify.report.page.render import visible

FORMATS = ("csv", "latex", "markdown")

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "`": r"\textasciigrave{}",
    "'": r"\textquotesingle{}",
    "−": "$-$",
    "∞": r"$\infty$",
    "→": r"$\to$",
    "×": r"$\times$",
    "≈": r"$\approx$",
    "φ": r"$\varphi$",
    "–": "--",
    "…": r"\ldots{}",
}
_MARKDOWN = frozenset("\\`*_{}[]()<>#+!|&~")


def as_text(report: Report, kind: str) -> str:
    """Every table of the report, one after the other, each under its title."""
    write: Callable[[Table], str] = {"csv": _csv, "latex": _latex, "markdown": _markdown}[kind]
    return "\n".join(write(table) for table in report.tables())


def _csv(table: Table) -> str:
    """A line with the title, the heads, the rows; numbers whole, and texts such that no spreadsheet takes them for formulas."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow([_inert(f"# {table.title}")])
    writer.writerow([_inert(column.head) for column in table.columns])
    for row in table.rows:
        writer.writerow([_value(cell, column) for cell, column in zip(row, table.columns, strict=True)])
    return stream.getvalue()


def _value(cell: Cell, column: Column) -> str:
    """A number of a column of numbers in full, else the text: what a column of names is sorted by is no name."""
    if cell.value is None:
        return ""
    return repr(cell.value) if column.numeric and isinstance(cell.value, float | int) else _inert(cell.text)


def _inert(text: str) -> str:
    shown = visible(text).replace("\n", " ")
    return f"'{shown}" if shown.startswith(_FORMULA) else shown


def _latex(table: Table) -> str:
    """A ``table`` with a caption and a plain ``tabular``: no package is needed but textcomp."""
    columns = "".join("r" if column.numeric else "l" for column in table.columns)
    rows = [_latex_row([column.head for column in table.columns]), r"\hline"]
    rows += [_latex_row([cell.text for cell in row]) for row in table.rows]
    head = [r"\begin{table}", rf"\caption{{{_tex(table.title)}}}", rf"\begin{{tabular}}{{{columns}}}"]
    return "\n".join([*head, *rows, r"\end{tabular}", r"\end{table}"]) + "\n"


def _latex_row(texts: Sequence[str]) -> str:
    return " & ".join(map(_tex, texts)) + r" \\"


def _tex(text: str) -> str:
    shown = "".join(_LATEX.get(c, c) for c in visible(text).replace("\n", " "))
    return f"{{}}{shown}" if shown.startswith(("[", "*")) else shown


def _markdown(table: Table) -> str:
    heads = [_marked(column.head) for column in table.columns]
    rule = ["---:" if column.numeric else ":---" for column in table.columns]
    rows = [[_marked(cell.text) for cell in row] for row in table.rows]
    lines = ["| " + " | ".join(row) + " |" for row in (heads, rule, *rows)]
    return f"### {_marked(table.title)}\n\n" + "\n".join(lines) + "\n"


def _marked(text: str) -> str:
    shown = visible(text).replace("\n", " ")
    return "".join(f"\\{c}" if c in _MARKDOWN else c for c in shown)
