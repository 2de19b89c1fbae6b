"""``wdaverify batch``."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from wdaverify.cli.exits import INTERRUPTED, REFUSED, exit_status_of_all
from wdaverify.cli.files import check_target, files_of, page_target, write_certificate
from wdaverify.cli.group import CONTEXT, cli
from wdaverify.cli.options import page_file, quiet, run_folder, scheduler
from wdaverify.cli.questions import problem_of
from wdaverify.cli.runs import check_cluster, cluster, exact_run, journal_of
from wdaverify.cli.terminal import live_line, notes, one_line, put, refusal, say
from wdaverify.cli.verify import verify
from wdaverify.errors import InputError, OutputError

if TYPE_CHECKING:
    from wdaverify.batch_file import Row
    from wdaverify.cli.runs import Lent
    from wdaverify.journal.store import Journal
    from wdaverify.report.batch import RowResult

_FILE_NAME = re.compile(r"[\w+=@][\w.+=@ -]*")
"""A row's name that is a file's name too."""


@cli.command(context_settings=CONTEXT)
@click.argument("jobs_path", metavar="JOBS.toml|INSTANCES.csv")
@click.option("--output", metavar="FILE.json", help="Write all results there, whole or not at all.")
@page_file("rows and every answer")
@click.option("--certificates", metavar="DIR", help="Prove every row's bracket, and write there what recheck needs.")
@scheduler
@quiet
@run_folder
def batch(
    jobs_path: str,
    output: str | None,
    report: str | None,
    title: str | None,
    author: str | None,
    certificates: str | None,
    scheduler: str | None,
    quiet: bool,
    run_folder: str | None,
) -> int:
    """Verify every row of a file.

    Rows of network, data and question (docs/batch.md), one table and one document; or a .csv of network, specification and seconds,
    as VNN-COMP has it, each checked. Exit status: 0 if all are exact or decided, 2 if a row was refused, 4 if all that is
    lacking are thresholds within closed brackets, 5 sat in real arithmetic alone, else 3.
    """
    if jobs_path.lower().endswith(".csv"):
        said = {"--scheduler": scheduler, "--run": run_folder}
        return _instances(
            jobs_path, output, {"report": report, "title": title, "author": author}, certificates, said, quiet
        )
    from wdaverify.batch_file import read_rows
    from wdaverify.report.as_json import write
    from wdaverify.report.batch import batch_json, batch_summary
    from wdaverify.wdro.result import Reason

    rows = read_rows(jobs_path)
    files = [jobs_path, *dict.fromkeys(file for row in rows for file in row.files)]
    if output is not None:
        check_target("--output", output, files)
    report = _page_of(report)
    page = page_target({"report": report, "title": title, "author": author}, (*files, output))
    asked = [_parsed(jobs_path, row, scheduler) for row in rows]
    proofs = _proofs(rows, certificates, [*files, *(path for path in (output, report) if path is not None)])
    with journal_of(run_folder, files) as journal, cluster(scheduler) as lent:
        results = _answers(rows, asked, proofs, quiet, journal, lent)
    try:
        made = batch_json(results)
        if output is not None:
            write(output, made)
        if page is not None:
            page(made)
    finally:
        if not quiet:
            say(batch_summary(results))
        faults = [(row.name, why) for row in results for why in (row.refused, row.fault) if why]
        for name, why in faults:
            put(f"wdaverify: error: row {name}: {why}", sys.stderr)
    if any(row.result is not None and row.result.reason is Reason.INTERRUPTED for row in results):
        return INTERRUPTED
    return REFUSED if faults else exit_status_of_all(row.result for row in results)


def _page_of(report: str | None) -> str | None:
    """The file of the page; of a folder the one in it."""
    return os.path.join(report, "report.html") if report is not None and os.path.isdir(report) else report


def _instances(
    path: str,
    output: str | None,
    page: dict[str, str | None],
    certificates: str | None,
    refused: dict[str, str | None],
    quiet: bool,
) -> int:
    """A list of specifications."""
    from wdaverify.cli.instances import check_instances
    from wdaverify.instances_file import read_instances

    for option, value in refused.items():
        if value is not None:
            raise InputError(f"{option} is about rows of verify, and {path} lists specifications; leave it out")
    instances = read_instances(path)
    files = [path, *dict.fromkeys(p for one in instances for p in (one.network_path, one.specification_path))]
    if output is not None:
        check_target("--output", output, files)
    page["report"] = _page_of(page["report"])
    written = page_target(page, (*files, output))
    others = [*files, *(target for target in (output, page["report"]) if target is not None)]
    return check_instances(instances, output, written, certificates, others, quiet)


def _parsed(path: str, row: Row, scheduler: str | None) -> click.Context:
    """A row's options, checked before any row begins."""
    try:
        context = verify.make_context("verify", list(row.arguments))
        check_cluster(scheduler, context.params)
    except click.ClickException as error:
        raise InputError(f"{path}, row {row.name}: {refusal(error)}") from None
    except InputError as error:
        raise InputError(f"{path}, row {row.name}: {error}") from None
    return context


def _proofs(rows: Sequence[Row], folder: str | None, others: Sequence[str]) -> list[str]:
    """Where each row's certificate goes, "" for none; refused before any work where one cannot be written."""
    from wdaverify.report.as_json import check_writable

    if folder is not None:
        try:
            os.makedirs(folder, exist_ok=True)
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise OutputError(f"--certificates {folder}: the folder cannot be made ({why})") from None
    taken, out = {os.path.realpath(path) for path in others}, []
    for row in rows:
        target = row.certificate
        if target is None and folder is not None:
            if not _FILE_NAME.fullmatch(row.name):
                raise InputError(
                    f'row {row.name}: its name is no name of a file; say certificate = "FILE" in it, or false for none'
                )
            target = os.path.join(folder, f"{row.name}.cert")
        if target:
            check_writable(target)
            if os.path.realpath(target) in taken:
                raise OutputError(
                    f"row {row.name}: the certificate {target} is an input or another output of this run; name another file"
                )
            taken.add(os.path.realpath(target))
        out.append(target or "")
    return out


def _answers(
    rows: Sequence[Row],
    asked: Sequence[click.Context],
    proofs: Sequence[str],
    quiet: bool,
    journal: Journal | None,
    lent: Lent,
) -> list[RowResult]:
    """Row by row, until one is interrupted or there is nobody left to solve."""
    from wdaverify.report.batch import RowResult
    from wdaverify.wdro.result import Reason

    out = [RowResult(row.name, None) for row in rows]
    for k, context in enumerate(asked):
        if journal is not None:
            journal.label = f"{rows[k].name} ({k + 1} of {len(rows)})"
        with context.scope():
            out[k] = _answered(rows[k].name, context, proofs[k], quiet, journal, lent)
        found = out[k].result
        if found is not None and found.reason in (Reason.INTERRUPTED, Reason.EXECUTOR_LOST):
            break
    return out


def _answered(
    name: str, context: click.Context, proof: str, quiet: bool, journal: Journal | None, lent: Lent
) -> RowResult:
    """One row of a batch; its certificate is written at once."""
    from wdaverify.report.batch import RowResult

    asked = context.params
    try:
        problem = problem_of(**{**asked, "quiet": quiet})
        with live_line(quiet) as live:
            result = exact_run(problem, asked, certificate=bool(proof), live=live, journal=journal, lent=lent)
    except InputError as error:
        return RowResult(name, None, one_line(str(error)))
    notes([f"row {name}: {n}" for n in result.notices if n not in problem.network.notices], quiet)
    fault, written = "", None
    if proof and result.certificate is not None:
        try:
            write_certificate(proof, result, asked)
            written = proof
        except OutputError as error:
            fault = one_line(str(error))
    return RowResult(name, result, files=files_of(asked, written), fault=fault)
