"""Where a report goes: a page or its tables as text, and its figures as files beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from wdaverify.report.as_json import Json
from wdaverify.report.page.content import Report
from wdaverify.report.page.document import as_document, read_document
from wdaverify.report.page.ink import figure_file
from wdaverify.report.page.paper import pdf
from wdaverify.report.page.render import html
from wdaverify.report.page.tables import as_text
from wdaverify.report.page.view import build
from wdaverify.writing import check_writable, write_bytes, write_text


def report_of_files(
    paths: Sequence[str],
    *,
    image_shape: tuple[int, ...] | None = None,
    title: str | None = None,
    author: str | None = None,
) -> Report:
    """The report of result files.

    Raises:
        DocumentError: a file is no result that can be reported, or the image shape fits none of the networks.
    """
    return build([read_document(path) for path in paths], image_shape, title, author)


def text_of(report: Report, kind: str) -> str:
    """The report as "html", or its tables as "csv", "latex" or "markdown"."""
    return html(report) if kind == "html" else as_text(report, kind)


def write_figures(report: Report, kind: str, beside: str) -> list[str]:
    """Write every figure as an "svg" or "pdf" file: ``out.html`` makes ``out-q1-v0-ladder.svg``; the paths written.

    Raises:
        OutputError: a file cannot be written.
    """
    base = Path(beside)
    paths = [str(base.with_name(f"{base.stem}-{figure.key}.{kind}")) for figure in report.figures()]
    for path in paths:
        check_writable(path)
    for path, figure in zip(paths, report.figures(), strict=True):
        write_bytes(path, figure_file(figure.draw, kind))
    return paths


def write_page(
    path: str,
    data: Json,
    image_shape: tuple[int, ...] | None = None,
    title: str | None = None,
    author: str | None = None,
) -> None:
    """Write the page of a result that was just made.

    Raises:
        OutputError: the file cannot be written or printed.
        DocumentError: the image shape does not fit the network.
    """
    write_report(path, build([as_document(data)], image_shape, title, author))


def write_report(path: str, report: Report) -> None:
    """Write a report as a page, or print it where the suffix is ``.pdf``; whole or not at all.

    Raises:
        OutputError: the file cannot be written or printed.
    """
    page = html(report)
    if Path(path).suffix.lower() == ".pdf":
        write_bytes(path, pdf(page))
    else:
        write_text(path, page)
