"""``wdaverify curve``."""

from __future__ import annotations

from typing import Any

import click

from wdaverify.cli.ball import no_eps, refused
from wdaverify.cli.exits import exit_status
from wdaverify.cli.files import check_target, files_of, hand_over, named, page_target, write_certificate
from wdaverify.cli.group import CONTEXT, cli
from wdaverify.cli.options import engine, page_file, proof, question, run_folder
from wdaverify.cli.questions import problem_of
from wdaverify.cli.runs import engine_of, journal_for
from wdaverify.cli.terminal import live_line
from wdaverify.cli.values import number


@cli.command(context_settings=CONTEXT)
@question("radius", "eps")
@no_eps("a curve has every radius up to --max-radius X, with --order inf at order inf")
@click.option("--max-radius", "radius", type=number(0), metavar="X", required=True, help="The largest radius.")
@engine("Stop at this gap everywhere.")
@click.option("--csv", "csv_path", metavar="FILE.csv", help="Write the breakpoints there, whole or not at all.")
@proof
@run_folder
@page_file("curve")
@refused(
    "--image-shape",
    "a curve holds bounds and no inputs to be shown as images; verify --radius X shows those of one radius",
)
def curve(*, csv_path: str | None, certificate: str | None, run_folder: str | None, **asked: Any) -> int:
    """Bracket the worst-case value at every radius.

    All radii from 0 to the largest at once, from one set of bounds.
    """
    if csv_path is not None:
        check_target("--csv", csv_path, named(asked))
    if certificate is not None:
        check_target("--certificate", certificate, (*named(asked), csv_path))
    page = page_target(asked, (*named(asked), csv_path, certificate))
    problem = problem_of(**asked)
    from wdaverify.report.as_json import write_text
    from wdaverify.report.curve import curve_csv, curve_json, curve_summary
    from wdaverify.wdro.curve import curve as run

    with live_line(asked["quiet"]) as live, journal_for(run_folder, asked) as journal:
        result = run(
            problem,
            **engine_of(asked),
            device=asked["device"],
            progress=live,
            journal=journal,
            certificate=certificate is not None,
        )
    kept = write_certificate(certificate, result, asked)
    if csv_path is not None:
        write_text(csv_path, curve_csv(result))
    hand_over(
        asked,
        problem,
        result.notices,
        lambda: curve_json(result, files_of(asked, certificate if result.certificate else None)),
        lambda: curve_summary(result) + kept,
        page,
    )
    from wdaverify.wdro.result import Reason

    answered = result.closed or result.reason is Reason.ROUNDING  # nothing is left to search
    return exit_status(answered, result.reason, lacking=certificate is not None and result.certificate is None)
