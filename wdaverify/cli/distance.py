"""``wdaverify distance``."""

from __future__ import annotations

import math
from typing import Any

import click

from wdaverify.cli.ball import no_eps
from wdaverify.cli.exits import exit_status
from wdaverify.cli.files import check_image, check_target, files_of, hand_over, named, page_target, write_certificate
from wdaverify.cli.group import CONTEXT, cli
from wdaverify.cli.options import engine, image, page_file, proof, question, run_folder
from wdaverify.cli.questions import problem_of
from wdaverify.cli.runs import engine_of, journal_for
from wdaverify.cli.terminal import live_line
from wdaverify.cli.values import number

_FIRST_RADIUS = 0.1
"""Where the attacks look first for the distances, which know no radius."""


@cli.command(context_settings=CONTEXT)
@question("radius", "eps", "order", "loss", "label-cost", "functionals")
@no_eps("distances know no radius: verify --eps E --loss zero-one is the share of samples with an error within E")
@engine()
@click.option(
    "--within",
    type=number(0, above=True),
    metavar="R",
    help="Distances of at least R are not looked into further.",
)
@proof
@run_folder
@page_file("distances")
@image
def distance(
    *,
    certificate: str | None,
    run_folder: str | None,
    image_shape: tuple[int, ...] | None,
    within: float | None,
    **asked: Any,
) -> int:
    """Exact distance of each sample to an error.

    The nearest point within the support that the network gets wrong (a tie counts), or with --spec that violates the
    specification, and its distance.
    """
    for name, usual in (
        ("order", "1"),
        ("loss", "zero-one" if asked["specification"] is None else "specification"),
        ("label_cost", None),
        ("functionals", None),
        ("logits", False),
    ):
        asked[name] = usual
    if certificate is not None:
        check_target("--certificate", certificate, named(asked))
    page = page_target(asked, (*named(asked), certificate), image_shape)
    problem = problem_of(**asked, radius=_FIRST_RADIUS)
    check_image(image_shape, problem)
    from wdaverify.report.distances import distances_json, distances_summary
    from wdaverify.wdro.distances import distances as run

    with live_line(asked["quiet"]) as live, journal_for(run_folder, asked) as journal:
        far = math.inf if within is None else within
        result = run(
            problem,
            **engine_of(asked),
            device=asked["device"],
            progress=live,
            journal=journal,
            within=far,
            certificate=certificate is not None,
        )
    kept = write_certificate(certificate, result, asked)
    hand_over(
        asked,
        problem,
        result.notices,
        lambda: distances_json(result, files_of(asked, certificate if result.certificate else None)),
        lambda: distances_summary(result) + kept,
        page,
    )
    from wdaverify.wdro.result import Reason

    answered = result.closed or result.reason is Reason.ROUNDING  # nothing is left to search
    return exit_status(answered, result.reason, lacking=certificate is not None and result.certificate is None)
