"""``wdaverify batch``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from wdaverify.cli.exits import DONE, INTERRUPTED, LIMIT, REFUSED
from wdaverify.cli.files import check_target
from wdaverify.cli.group import CONTEXT, cli
from wdaverify.cli.options import quiet, run_folder
from wdaverify.cli.questions import problem_of
from wdaverify.cli.runs import exact_run, journal_of
from wdaverify.cli.terminal import live_line, notes, one_line, put, refusal, say
from wdaverify.cli.verify import verify
from wdaverify.errors import InputError

if TYPE_CHECKING:
    from wdaverify.journal.store import Journal
    from wdaverify.report.batch import RowResult


@cli.command(context_settings=CONTEXT)
@click.argument("jobs_path", metavar="JOBS.toml")
@click.option("--output", metavar="FILE.json", help="Write all results there, whole or not at all.")
@quiet
@run_folder
def batch(jobs_path: str, output: str | None, quiet: bool, run_folder: str | None) -> int:
    """Verify every row of a file.

    Rows of network, data and question (docs/batch.md), one table and one document. Exit status: 0 if all are exact or decided,
    2 if a row was refused, else 3.
    """
    from wdaverify.batch_file import read_rows
    from wdaverify.report.as_json import write
    from wdaverify.report.batch import RowResult, batch_json, batch_summary
    from wdaverify.wdro.result import Reason

    rows = read_rows(jobs_path)
    files = [jobs_path, *dict.fromkeys(file for row in rows for file in row.files)]
    if output is not None:
        check_target("--output", output, files)
    asked = [_parsed(jobs_path, row.name, row.arguments) for row in rows]
    results = [RowResult(row.name, None) for row in rows]
    interrupted = False
    with journal_of(run_folder, files) as journal:
        for k, context in enumerate(asked):
            if journal is not None:
                journal.label = f"{rows[k].name} ({k + 1} of {len(rows)})"
            with context.scope():
                results[k] = _answered(rows[k].name, context.params, quiet, journal)
            found = results[k].result
            interrupted = found is not None and found.reason is Reason.INTERRUPTED
            if interrupted:
                break
    if output is not None:
        write(output, batch_json(results))
    if not quiet:
        say(batch_summary(results))
    for row in results:
        if row.refused is not None:
            put(f"wdaverify: error: row {row.name}: {row.refused}", sys.stderr)
    if interrupted:
        return INTERRUPTED
    return REFUSED if any(row.refused for row in results) else DONE if all(row.done for row in results) else LIMIT


def _parsed(path: str, name: str, arguments: Sequence[str]) -> click.Context:
    """A row's options, checked before any row begins."""
    try:
        return verify.make_context("verify", list(arguments))
    except click.ClickException as error:
        raise InputError(f"{path}, row {name}: {refusal(error)}") from None


def _answered(name: str, asked: dict[str, Any], quiet: bool, journal: Journal | None) -> RowResult:
    """One row of a batch."""
    from wdaverify.report.batch import RowResult

    try:
        problem = problem_of(**{**asked, "quiet": quiet})
        with live_line(quiet) as live:
            result = exact_run(problem, asked, certificate=False, live=live, journal=journal, lent=(None, None))
    except InputError as error:
        return RowResult(name, None, one_line(str(error)))
    notes([f"row {name}: {n}" for n in result.notices if n not in problem.network.notices], quiet)
    return RowResult(name, result)
