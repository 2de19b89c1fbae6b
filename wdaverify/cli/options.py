"""The arguments and options that commands share, each said once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from wdaverify.arithmetic import Arithmetic
from wdaverify.cli.ball import eps
from wdaverify.cli.group import CommandLine
from wdaverify.cli.values import image_shape, names, number, side, whole, wholes
from wdaverify.losses.registry import Loss

_Command = TypeVar("_Command", bound=Callable[..., Any])
_Option = Callable[[Any], Any]


def _said_quiet(context: click.Context, _: click.Parameter, value: bool) -> bool:
    """What was typed, unless the command line as a whole says otherwise (``resume``)."""
    line = context.find_root().obj
    return value if not isinstance(line, CommandLine) or line.quiet is None else line.quiet


network = click.argument("network_path", metavar="NET.onnx")
data = click.argument("data_path", metavar="DATA.npz|DATA.csv")
data_too = click.argument("data_path", metavar="[DATA.npz|DATA.csv]", required=False)
norm = click.option(
    "--norm", type=click.Choice(["inf", "1", "2"]), default="inf", help="Norm that measures how far a point moves."
)
label_column = click.option("--label-column", metavar="NAME", help="Column of the labels in a .csv; default the last.")
classes = click.option(
    "--classes", type=names, metavar="A,B,...", help="Labels in the .csv are these names, for the outputs 0, 1, ..."
)
time_limit = click.option("--time-limit", type=number(0), metavar="S", help="Seconds; default no limit.")
output = click.option("--output", metavar="FILE.json", help="Write the result there, whole or not at all.")
quiet = click.option("--quiet", is_flag=True, callback=_said_quiet, help="Print errors only.")
_solver = click.option(
    "--solver", type=click.Choice(["auto", "cells", "highs", "gurobi", "scip"]), default="auto", help="Who solves."
)
_jobs = click.option("--jobs", type=whole(1), metavar="N", help="Processes; default one for each core.")
run_folder = click.option(
    "--run", "run_folder", metavar="DIR", help="Keep every proven fact there, and take up what is."
)
image = click.option("--image-shape", type=image_shape, metavar="H W [C]", help="Show inputs as images of this shape.")
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
scheduler = click.option("--scheduler", metavar="tcp://HOST:PORT", help="Solve on the workers of a Dask cluster.")


title = click.option("--title", metavar="TEXT", help="Title of the page.")
author = click.option("--author", metavar="TEXT", help="Who hands the page over, said at its head.")


def page_file(what: str) -> _Option:
    """``--report``, which writes ``what`` as a page, and what stands at its head."""
    page = click.option(
        "--report", metavar="FILE.html|FILE.pdf", help=f"Write the {what} as a page; a .pdf is printed by Chromium."
    )
    return lambda command: page(title(author(command)))


logits = click.option(
    "--logits", is_flag=True, help="The network is meant without its final Softmax, LogSoftmax, Sigmoid or ArgMax."
)
output_name = click.option(
    "--output-name", metavar="NAME", help="The tensor of the file that is meant; default its outputs."
)
external_data = click.option("--external-data", is_flag=True, help="Read weights from files beside the network's.")

arithmetic = click.option(
    "--arithmetic",
    type=click.Choice([arithmetic.value for arithmetic in Arithmetic]),
    default="real",
    help="real, on the weights as stored; float32: as any runtime of single precision rounds.",
)

_QUESTION: dict[str, _Option] = {
    "network": network,
    "data": data,
    "radius": click.option(
        "--radius", type=number(0), metavar="X", help="Radius of the ball, in units of the input; or --eps."
    ),
    "eps": eps(),
    "norm": norm,
    "order": click.option(
        "--order",
        type=click.Choice(["1", "2", "inf"]),
        default="1",
        help="Order of the distance; inf: every point by itself.",
    ),
    "loss": click.option(
        "--loss",
        type=click.Choice([loss.value for loss in Loss]),
        default="margin",
        help="Loss of a point; linear needs --functionals, specification needs --spec.",
    ),
    "arithmetic": arithmetic,
    "label-cost": click.option(
        "--label-cost",
        type=number(0, above=True),
        metavar="K",
        help="Price of another label; default none may move.",
    ),
    "cost-weights": click.option(
        "--cost-weights", metavar="FILE", help="Weight of each feature in the cost (.toml, .npz)."
    ),
    "functionals": click.option(
        "--functionals", metavar="FILE", help="Linear loss: functionals of the outputs (.toml, .npz)."
    ),
    "spec": click.option(
        "--spec", "specification", metavar="FILE", help="Specification loss: what must not happen (.vnnlib)."
    ),
    "support": click.option(
        "--support",
        type=side,
        nargs=2,
        default=("0", "1"),
        metavar="LO HI",
        help="Box that holds the inputs; none: the whole space; specification (with --spec the default): its box.",
    ),
    "support-file": click.option(
        "--support-file", metavar="FILE", help="Support with bounds, rows, integers (.toml, .npz)."
    ),
    "samples": click.option(
        "--samples", "limit", type=whole(1), metavar="N", help="The first N samples only; default all."
    ),
    "label-column": label_column,
    "classes": classes,
    "logits": logits,
    "output-name": output_name,
    "external-data": external_data,
    "clip": click.option("--clip", is_flag=True, help="Move samples outside the support onto it."),
    "device": click.option(
        "--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", help="Where attacks run."
    ),
    "seed": click.option("--seed", type=whole(0), metavar="N", default="0", help="Seed of the attacks."),
    "time-limit": time_limit,
    "output": output,
    "quiet": quiet,
}


def _all(*options: _Option) -> Callable[[_Command], _Command]:
    """Options in the order of the help."""

    def add(command: _Command) -> _Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


def question(*dropped: str) -> Callable[[_Command], _Command]:
    """The arguments and options of a question, but for some."""
    return _all(*(option for name, option in _QUESTION.items() if name not in dropped))


effort = _all(
    click.option(
        "--attacks",
        metavar="A,B,...",
        help="Only some of wda, wda++, ensemble, sweep, polish; all feed the mixture.",
    ),
    click.option("--powers", type=wholes, metavar="M,...", help="The m of WDA(m); default 1,2,4,8,16."),
    click.option("--steps", type=whole(1), metavar="N", help="Steps of every ascent; default each its own."),
    click.option("--restarts", type=whole(1), metavar="N", help="Sweeps and rounds of the ensemble."),
    click.option("--rivals", type=whole(1), metavar="N", help="Rivals that are attacked of each sample; default all."),
    click.option(
        "--budget", type=whole(1), metavar="N", help="Points at which the network is evaluated; default no limit."
    ),
)
"""How much the attacks do."""

_STATED = _all(
    click.option("--radius", type=number(0), metavar="X", help="Refuse a proof about another radius."),
    click.option("--norm", type=click.Choice(["inf", "1", "2"]), help="Refuse a proof about another norm."),
    click.option("--order", type=click.Choice(["1", "2", "inf"]), help="Refuse a proof about another order."),
    click.option(
        "--loss",
        type=click.Choice([loss.value for loss in Loss]),
        help="Refuse a proof about another loss.",
    ),
)


def expected(command: _Command) -> _Command:
    """The options of the question that a certificate has to answer: what it may state, and what is read as ``verify`` reads it."""
    return _STATED(_all(*(_QUESTION[name] for name in _READ))(command))


_READ = (
    "arithmetic",
    "label-cost",
    "cost-weights",
    "functionals",
    "spec",
    "support",
    "support-file",
    "samples",
    "label-column",
    "classes",
    "logits",
    "output-name",
    "external-data",
    "clip",
)


def engine(gap: str = "Stop at this absolute gap.") -> Callable[[_Command], _Command]:
    """Who solves, how exactly and with how many processes."""
    how = click.option("--gap", type=number(0, above=True), metavar="ABS", default="1e-6", help=gap)
    return _all(_solver, how, _jobs)


proof = click.option("--certificate", metavar="FILE.cert", help="Prove it, and write there what recheck needs.")

solving = _all(
    engine(),
    click.option("--threshold", type=number(), metavar="T", help="Stop as soon as the bracket decides V <= T."),
    click.option("--mip-start/--no-mip-start", default=False, help="Hand attack points to a MIP solver as starts."),
    click.option("--certificate", metavar="FILE.cert", help="Prove the bracket, and write there what recheck needs."),
    click.option("--memory-limit", type=number(0, above=True), metavar="MB", help="What a worker may take at most."),
)
"""The options of an exact run."""
