"""``wdaverify lipschitz``."""

from __future__ import annotations

from typing import Any

import click

from wdaverify.cli.exits import exit_status
from wdaverify.cli.files import again, check_target, page_target, pasted
from wdaverify.cli.group import CONTEXT, cli
from wdaverify.cli.options import (
    arithmetic,
    classes,
    engine,
    external_data,
    label_column,
    logits,
    network,
    output,
    output_name,
    page_file,
    proof,
    quiet,
    time_limit,
)
from wdaverify.cli.runs import engine_of
from wdaverify.cli.slopes import slopes_of
from wdaverify.cli.terminal import live_line, notes, say
from wdaverify.cli.values import number, side, whole

_FILES = (
    ("network", "network_path"),
    ("samples", "around"),
    ("label_column", "label_column"),
    ("classes", "classes"),
    ("support", "support_file"),
    ("logits", "logits"),
    ("output_name", "output_name"),
    ("external_data", "external_data"),
)
"""What a Lipschitz constant was asked from, and the options that said so."""


@cli.command(context_settings=CONTEXT)
@network
@click.option("--norm", type=click.Choice(["inf", "1", "2"]), default="inf", help="Norm of the inputs.")
@click.option(
    "--support",
    type=side,
    nargs=2,
    default=("0", "1"),
    metavar="LO HI",
    help="Box of the inputs, none: the whole space; cuts the balls of --around only if given.",
)
@click.option("--support-file", metavar="FILE", help="Region with bounds and rows (.toml, .npz).")
@click.option("--around", metavar="DATA", help="Balls around these samples (.npz, .csv) instead of the whole box.")
@click.option("--within", type=number(0, above=True), metavar="R", help="Radius of the balls, in the norm of --norm.")
@click.option("--samples", "limit", type=whole(1), metavar="N", help="The first N samples of --around; default all.")
@label_column
@classes
@logits
@output_name
@external_data
@arithmetic
@click.option("--outputs", metavar="I,J-K,...", help="Gradients of the outputs I, and of the differences J minus K.")
@click.option("--margins", metavar="Y|all", help="Gradients of z_j - z_Y for every rival j of the class Y, or of all.")
@click.option("--each", is_flag=True, help="Bracket every functional by itself, not only the largest.")
@engine()
@proof
@time_limit
@click.option("--seed", type=whole(0), metavar="N", default="0", help="Seed of the points tried first.")
@output
@page_file("answer")
@quiet
def lipschitz(*, certificate: str | None, output: str | None, quiet: bool, **asked: Any) -> int:
    """Exact Lipschitz constant of a network.

    The largest gradient norm over full-dimensional activation cells that meet the region: by default the operator norm of the
    whole Jacobian over the box [0, 1].
    """
    if output is not None:
        check_target("--output", output, (asked["network_path"], asked["around"], asked["report"]))
    from wdaverify.lipschitz.question import in_reals_alone

    if certificate is not None:
        check_target("--certificate", certificate, (asked["network_path"], asked["around"], output))
    page = page_target(asked, (asked["network_path"], asked["around"], output, certificate))
    in_reals_alone(asked.pop("arithmetic"))
    problem = slopes_of(**asked)
    from wdaverify.certify.slope_certificate import write_lipschitz
    from wdaverify.lipschitz.exact import lipschitz as run
    from wdaverify.report.as_json import write
    from wdaverify.report.kept import kept_text
    from wdaverify.report.lipschitz import lipschitz_json, lipschitz_summary

    notes(problem.network.notices, quiet)
    with live_line(quiet) as live:
        result = run(
            problem, **engine_of(asked), each=asked["each"], certificate=certificate is not None, progress=live
        )
    files = {name: asked[at] for name, at in _FILES} | {"certificate": certificate if result.certificate else None}
    kept = ""
    try:
        if certificate is not None and result.certificate is not None:
            write_lipschitz(certificate, result.certificate)
            words = pasted(asked["network_path"], asked["around"], certificate)
            kept = f"\n\n{kept_text(certificate, result.certificate.content, [*words, *again(asked)])}"
        made = lipschitz_json(result, files)
        if output is not None:
            write(output, made)
        if page is not None:
            page(made)
    finally:
        if not quiet:
            notes([notice for notice in result.notices if notice not in problem.network.notices], quiet=False)
            say(lipschitz_summary(result) + kept)
    return exit_status(
        result.status.closed, result.reason, lacking=certificate is not None and result.certificate is None
    )
