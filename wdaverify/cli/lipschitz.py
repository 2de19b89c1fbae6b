"""``wdaverify lipschitz``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from wdaverify.cli.exits import exit_status
from wdaverify.cli.files import check_target, page_target
from wdaverify.cli.group import CONTEXT, cli
from wdaverify.cli.options import (
    classes,
    engine,
    external_data,
    label_column,
    logits,
    network,
    output,
    output_name,
    page_file,
    quiet,
    time_limit,
)
from wdaverify.cli.questions import network_of, support_of
from wdaverify.cli.runs import engine_of
from wdaverify.cli.terminal import live_line, notes, say
from wdaverify.cli.values import number, side, whole
from wdaverify.errors import InputError

if TYPE_CHECKING:
    from wdaverify.lipschitz.question import LipschitzProblem

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
@click.option("--outputs", metavar="I,J-K,...", help="Gradients of the outputs I, and of the differences J minus K.")
@click.option("--margins", metavar="Y|all", help="Gradients of z_j - z_Y for every rival j of the class Y, or of all.")
@click.option("--each", is_flag=True, help="Bracket every functional by itself, not only the largest.")
@engine()
@time_limit
@click.option("--seed", type=whole(0), metavar="N", default="0", help="Seed of the points tried first.")
@output
@page_file("answer")
@quiet
def lipschitz(*, output: str | None, quiet: bool, **asked: Any) -> int:
    """Exact Lipschitz constant of a network.

    The largest gradient norm over full-dimensional activation cells that meet the region: by default the operator norm of the
    whole Jacobian over the box [0, 1].
    """
    if output is not None:
        check_target("--output", output, (asked["network_path"], asked["around"], asked["report"]))
    page = page_target(asked, (asked["network_path"], asked["around"], output))
    problem = _slopes(**asked)
    from wdaverify.lipschitz.exact import lipschitz as run
    from wdaverify.report.as_json import write
    from wdaverify.report.lipschitz import lipschitz_json, lipschitz_summary

    notes(problem.network.notices, quiet)
    with live_line(quiet) as live:
        result = run(problem, **engine_of(asked), each=asked["each"], progress=live)
    files = {name: asked[at] for name, at in _FILES}
    try:
        made = lipschitz_json(result, files)
        if output is not None:
            write(output, made)
        if page is not None:
            page(made)
    finally:
        if not quiet:
            notes([notice for notice in result.notices if notice not in problem.network.notices], quiet=False)
            say(lipschitz_summary(result))
    return exit_status(result.status.closed, result.reason)


def _slopes(
    *,
    network_path: str,
    norm: str,
    around: str | None,
    within: float | None,
    outputs: str | None,
    margins: str | None,
    **options: Any,
) -> LipschitzProblem:
    """The question about a Lipschitz constant that the options ask."""
    from wdaverify.lipschitz.question import LipschitzProblem, Measure
    from wdaverify.problem import GroundCost, Norm, Support
    from wdaverify.samples import load_samples

    if (around is None) != (within is None):
        raise InputError("--around DATA and --within R belong together: balls of radius R around the samples of DATA")
    if around is None and any(options[name] is not None for name in ("limit", "label_column", "classes")):
        raise InputError(
            "--samples, --label-column and --classes are about the samples of --around DATA, and there is none"
        )
    if outputs is not None and margins is not None:
        raise InputError("--outputs and --margins are two measures; give one of them, or none for the operator norm")
    network = network_of(network_path, options)
    given = click.get_current_context().get_parameter_source("support") is not click.core.ParameterSource.DEFAULT
    if around is not None and not given and options["support_file"] is None:
        support = Support.whole(network.n_inputs)
    else:
        support = support_of(network.n_inputs, options)
    measure = Measure.operator_norm(network)
    if outputs is not None:
        measure = Measure.outputs(network, _outputs(outputs))
    if margins is not None:
        network = network.two_classes() if network.n_outputs == 1 else network
        measure = Measure.margins(network, _labels(margins, network.n_outputs))
    cost = GroundCost(Norm(norm), 1)
    if around is None or within is None:
        return LipschitzProblem(network, cost, support, measure)
    samples = load_samples(
        around, limit=options["limit"], label_column=options["label_column"], classes=options["classes"]
    )
    return LipschitzProblem(network, cost, support, measure, samples, within)


def _outputs(text: str) -> list[tuple[int, int | None]]:
    """``0,2-1``: the output 0, and output 2 minus output 1."""
    out: list[tuple[int, int | None]] = []
    for part in text.split(","):
        ends = part.strip().split("-")
        if not 1 <= len(ends) <= 2 or not all(end.strip().isdecimal() and len(end) < 10 for end in ends):
            raise InputError(f"--outputs {text}: outputs and differences are accepted, as in 0,2-1")
        out.append((int(ends[0]), int(ends[1]) if len(ends) == 2 else None))
    return out


def _labels(text: str, classes: int) -> list[int]:
    """The classes whose margins are asked for."""
    if text == "all":
        labels = list(range(classes))
    elif text.isdecimal() and len(text) < 10 and int(text) < classes:
        labels = [int(text)]
    else:
        raise InputError(f"--margins {text}: a class from 0 to {classes - 1} is accepted, or all")
    return labels
