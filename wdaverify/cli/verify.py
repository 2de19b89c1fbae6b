"""``wdaverify verify``."""

from __future__ import annotations

from typing import Any

from wdaverify.cli.ball import BallCommand
from wdaverify.cli.exits import exit_status
from wdaverify.cli.files import check_image, check_target, files_of, hand_over, named, page_target, write_certificate
from wdaverify.cli.group import CONTEXT, cli
from wdaverify.cli.options import image, page_file, question, run_folder, scheduler, solving
from wdaverify.cli.questions import problem_of
from wdaverify.cli.runs import check_cluster, cluster, exact_run, journal_for
from wdaverify.cli.terminal import live_line


@cli.command(cls=BallCommand, context_settings=CONTEXT)
@question()
@solving
@scheduler
@run_folder
@page_file("answer")
@image
def verify(
    *,
    certificate: str | None,
    image_shape: tuple[int, ...] | None,
    scheduler: str | None,
    run_folder: str | None,
    **asked: Any,
) -> int:
    """Bracket the worst-case value at a radius.

    The supremum of the expected loss over all distributions on the support within the radius of the samples, to the gap
    asked for. Without --time-limit it runs until the bracket is closed or nothing narrows it any more.
    """
    if certificate is not None:
        check_target("--certificate", certificate, named(asked))
    check_cluster(scheduler, asked)
    page = page_target(asked, (*named(asked), certificate), image_shape)
    problem = problem_of(**asked)
    check_image(image_shape, problem)
    from wdaverify.report.as_json import verification_json
    from wdaverify.report.summary import verification_summary

    with (
        live_line(asked["quiet"]) as live,
        journal_for(run_folder, asked) as journal,
        cluster(scheduler) as lent,
    ):
        result = exact_run(problem, asked, certificate=certificate is not None, live=live, journal=journal, lent=lent)
    kept = write_certificate(certificate, result, asked)
    hand_over(
        asked,
        problem,
        result.notices,
        lambda: verification_json(result, files_of(asked, certificate if result.certificate else None)),
        lambda: verification_summary(result) + kept,
        page,
    )
    return exit_status(result.answered, result.reason, lacking=certificate is not None and result.certificate is None)
