"""``wdaverify report``."""

from __future__ import annotations

import click

from wdaverify.cli.exits import DONE
from wdaverify.cli.files import check_page, check_target
from wdaverify.cli.group import CONTEXT, cli
from wdaverify.cli.options import author, image, title
from wdaverify.cli.terminal import say
from wdaverify.errors import InputError


@cli.command(context_settings=CONTEXT)
@click.argument("paths", metavar="RESULT.json...", nargs=-1, required=True)
@click.option("--output", metavar="FILE", help="Write there, whole or not at all; default: tables are printed.")
@click.option(
    "--format", "kind", type=click.Choice(["html", "csv", "latex", "markdown"]), default="html", help="Page, or tables."
)
@click.option("--figures", type=click.Choice(["svg", "pdf"]), help="Write each figure too, beside the output.")
@image
@title
@author
def report(
    *,
    paths: tuple[str, ...],
    output: str | None,
    kind: str,
    figures: str | None,
    image_shape: tuple[int, ...] | None,
    title: str | None,
    author: str | None,
) -> int:
    """Results as a page, tables or figures.

    What --output wrote, of one run or several, as one page that needs nothing else, as tables, or as figures for a paper.
    """
    from wdaverify.report.page.output import report_of_files, text_of, write_figures, write_report
    from wdaverify.writing import write_text

    if output is None and (kind == "html" or figures is not None):
        raise InputError("a page and figures are files: say where, as in --output report.html")
    if author is not None and kind != "html":
        raise InputError(f"--author is about a page, and --format {kind} writes tables; leave one of the two out")
    if output is not None:
        (check_page if kind == "html" else check_target)("--output", output, paths)
    made = report_of_files(paths, image_shape=image_shape, title=title, author=author)
    if output is None:
        say(text_of(made, kind).rstrip("\n"))
        return DONE
    if kind == "html":
        write_report(output, made)
    else:
        write_text(output, text_of(made, kind))
    if figures is not None:
        write_figures(made, figures, output)
    return DONE
