"""The command line: the only module that prints or exits.

Exit status: 0 exact, or the threshold is decided, or proved (recheck), or done (attack, info); 1 a certificate was rejected;
2 the input was refused, with one line on stderr; 3 a limit was reached and the bracket stands; 130 interrupted, with the
bracket so far written and printed.
"""

from __future__ import annotations

import errno
import logging
import math
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import chdir, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

import click

from wdaverify.command_help import Commands
from wdaverify.errors import CertificateError, InputError, OutputError, WdaverifyError

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from wdaverify.certify.certificate import Certificate
    from wdaverify.journal.store import Journal
    from wdaverify.lipschitz.question import LipschitzProblem
    from wdaverify.log_file import LogFile
    from wdaverify.problem import GroundCost, Support, WdroProblem
    from wdaverify.report.batch import RowResult
    from wdaverify.wdro.progress import Progress, Report
    from wdaverify.wdro.result import VerificationResult

DONE, REJECTED, REFUSED, LIMIT, INTERRUPTED = 0, 1, 2, 3, 130

_Command = TypeVar("_Command", bound=Callable[..., Any])


def _number(least: float = -math.inf, *, above: bool = False) -> Callable[[str], float]:
    """A finite number at least (or above) ``least``, as the type of an option."""

    def convert(value: str) -> float:
        with suppress(ValueError):
            number = float(value.replace("_", "x"))
            if math.isfinite(number) and (number > least if above else number >= least):
                return number
        bound = "" if math.isinf(least) else f" {'>' if above else '>='} {least:g}"
        raise click.BadParameter(f"{value} is refused: a finite number{bound} is accepted")

    return convert


def _whole(least: int) -> Callable[[str], int]:
    """A whole number from ``least`` to 2^63 - 1, as the type of an option."""

    def convert(value: str) -> int:
        with suppress(ValueError):
            number = int(value)
            if least <= number < 2**63:
                return number
        raise click.BadParameter(f"{value} is refused: a whole number >= {least} (and below 2^63) is accepted")

    return convert


def _side(value: str) -> float | str:
    """One side of the box, or ``none`` for the whole space."""
    return value if value == "none" else float(_number()(value))


def _image_shape(value: str) -> tuple[int, ...]:
    """``H W`` or ``H W C``, as ``_spelled_out`` joins them."""
    return tuple(_whole(1)(size) for size in value.replace("x", " ").split())


_IMAGE_SHAPE = click.option(
    "--image-shape", type=_image_shape, metavar="H W [C]", help="Show inputs as images of this shape."
)

_CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}

_QUESTION: list[Callable[[_Command], _Command]] = [
    click.argument("network_path", metavar="NET.onnx"),
    click.argument("data_path", metavar="DATA.npz|DATA.csv"),
    click.option(
        "--radius", type=_number(0), metavar="X", required=True, help="Radius of the ball, in units of the input."
    ),
    click.option(
        "--norm", type=click.Choice(["inf", "1", "2"]), default="inf", help="Norm that measures how far a point moves."
    ),
    click.option(
        "--order",
        type=click.Choice(["1", "2", "inf"]),
        default="1",
        help="Order of the distance; inf: every point by itself.",
    ),
    click.option(
        "--loss",
        type=click.Choice(["margin", "zero-one", "hinge", "cross-entropy", "dlr", "linear"]),
        default="margin",
        help="Loss of a point; linear needs --functionals.",
    ),
    click.option(
        "--label-cost", type=_number(0, above=True), metavar="K", help="Price of another label; default none may move."
    ),
    click.option("--cost-weights", metavar="FILE", help="Weight of each feature in the cost (.toml, .npz)."),
    click.option("--functionals", metavar="FILE", help="Linear loss: functionals of the outputs (.toml, .npz)."),
    click.option(
        "--support",
        type=_side,
        nargs=2,
        default=("0", "1"),
        metavar="LO HI",
        help="Box that holds the inputs; none: the whole space.",
    ),
    click.option("--support-file", metavar="FILE", help="Support with bounds, rows, integers (.toml, .npz)."),
    click.option("--samples", "limit", type=_whole(1), metavar="N", help="The first N samples only; default all."),
    click.option("--label-column", metavar="NAME", help="Column of the labels in a .csv; default the last."),
    click.option("--clip", is_flag=True, help="Move samples outside the support onto it."),
    click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", help="Where attacks run."),
    click.option("--seed", type=_whole(0), metavar="N", default="0", help="Seed of the attacks."),
    click.option("--time-limit", type=_number(0), metavar="S", help="Seconds; default no limit."),
    click.option("--output", metavar="FILE.json", help="Write the result there, whole or not at all."),
    click.option("--quiet", is_flag=True, help="Print errors only."),
]


_NAMES = (
    "network_path",
    "data_path",
    "--radius",
    "--norm",
    "--order",
    "--loss",
    "--label-cost",
    "--cost-weights",
    "--functionals",
    "--support",
    "--support-file",
    "--samples",
    "--label-column",
    "--clip",
    "--device",
    "--seed",
    "--time-limit",
    "--output",
    "--quiet",
)
"""Of the entries above, in their order."""


def _question(command: _Command) -> _Command:
    """The arguments and options that verify and attack share."""
    for option in reversed(_QUESTION):
        command = option(command)
    return command


_run_folder = click.option(
    "--run", "run_folder", metavar="DIR", help="Keep every proven fact there, and take up what is."
)

_FIRST_RADIUS = 0.1
"""Where the attacks look first for the distances, which know no radius."""


def _without(*dropped: str) -> Callable[[_Command], _Command]:
    """The arguments and options of a question but for some."""

    def add(command: _Command) -> _Command:
        for option, name in zip(reversed(_QUESTION), reversed(_NAMES), strict=True):
            if name not in dropped:
                command = option(command)
        return command

    return add


_SOLVING: list[Callable[[_Command], _Command]] = [
    click.option(
        "--solver", type=click.Choice(["auto", "cells", "highs", "gurobi"]), default="auto", help="Who solves."
    ),
    click.option(
        "--gap", type=_number(0, above=True), metavar="ABS", default="1e-6", help="Stop at this absolute gap."
    ),
    click.option("--jobs", type=_whole(1), metavar="N", help="Processes; default one for each core."),
    click.option("--threshold", type=_number(), metavar="T", help="Stop as soon as the bracket decides V <= T."),
    click.option("--mip-start/--no-mip-start", default=False, help="Hand attack points to a MIP solver as starts."),
    click.option("--certificate", metavar="FILE.cert", help="Prove the bracket, and write there what recheck needs."),
    click.option("--memory-limit", type=_number(0, above=True), metavar="MB", help="What a worker may take at most."),
]


def _solving(command: _Command) -> _Command:
    """The options of an exact run."""
    for option in reversed(_SOLVING):
        command = option(command)
    return command


@dataclass
class _CommandLine:
    """What was typed, and the log that it asked for."""

    arguments: list[str]
    log: LogFile | None = None


@click.group(cls=Commands, context_settings={**_CONTEXT, "show_default": True}, invoke_without_command=True)
@click.version_option(package_name="wdaverify", prog_name="wdaverify", message="%(prog)s %(version)s")
@click.option("--log", type=click.Path(readable=False), metavar="FILE", help="Append there what the run does.")
@click.option("--log-level", type=click.Choice(["debug", "info", "warning"]), default="info", help="How much of it.")
@click.pass_context
def cli(ctx: click.Context, log: str | None, log_level: str) -> None:
    """Exact worst-case value of a ReLU network over a Wasserstein ball around its samples.

    NET.onnx is a classifier (or regressor) of Gemm, MatMul, Relu and the like. DATA is an .npz with points x and labels y,
    or a .csv with the label in its last column. The answer is a bracket [lower, upper] that holds the worst expected loss
    over all distributions within the radius, and who vouches for each side.

    \b
    First steps:
      wdaverify info net.onnx                             what the file holds
      wdaverify attack net.onnx data.npz --radius 0.05    quick lower bounds
      wdaverify verify net.onnx data.npz --radius 0.05    the exact value
      wdaverify --log run.log verify net.onnx data.npz --radius 0.05

    Each command explains itself: wdaverify verify --help.

    Exit status: 0 done; 1 a certificate was rejected; 2 the input was refused, with one line that says why; 3 a limit was
    reached and the bracket stands; 130 interrupted, with the bracket so far.
    """
    if ctx.invoked_subcommand is None:
        raise click.UsageError(
            "no command was given: verify, batch, curve, distance, attack, compare, lipschitz, report, recheck, status, resume and info "
            "are accepted; see wdaverify --help"
        )
    if log is not None:
        from wdaverify.log_file import LogFile

        line: _CommandLine = ctx.obj
        line.log = LogFile(log, log_level, line.arguments)


@cli.command(context_settings={**_CONTEXT, "show_default": True})
@_question
@_solving
@click.option("--scheduler", metavar="tcp://HOST:PORT", help="Solve on the workers of a Dask cluster.")
@_run_folder
@click.option("--report", metavar="FILE.html", help="Write the answer as a page, whole or not at all.")
@_IMAGE_SHAPE
def verify(
    *,
    solver: str,
    gap: float,
    jobs: int | None,
    threshold: float | None,
    mip_start: bool,
    certificate: str | None,
    report: str | None,
    image_shape: tuple[int, ...] | None,
    memory_limit: float | None,
    scheduler: str | None,
    run_folder: str | None,
    **question: Any,
) -> int:
    """Bracket the worst-case value at a radius.

    The supremum of the expected loss over all distributions on the support within the radius of the samples, to the gap
    asked for. Without --time-limit it runs until the bracket is closed or nothing narrows it any more.
    """
    if certificate is not None:
        _check_target(
            "--certificate", certificate, (question["network_path"], question["data_path"], question["output"])
        )
    if scheduler is not None and (jobs is not None or memory_limit is not None):
        raise InputError(
            "--jobs and --memory-limit are about processes of our own, and a --scheduler has its own; leave them out"
        )
    page = _page_target(report, image_shape, question, certificate)
    problem = _problem(**question)
    _check_image(image_shape, problem)
    from wdaverify.report.as_json import verification_json
    from wdaverify.report.summary import verification_summary
    from wdaverify.wdro.verify import verify as run

    with (
        _live_line(question["quiet"]) as live,
        _journal(run_folder, question) as journal,
        _cluster(scheduler) as (executor, slots),
    ):
        result = run(
            problem,
            solver=solver,
            gap=gap,
            time_limit=question["time_limit"],
            jobs=jobs or _cores(),
            executor=executor,
            slots=slots,
            threshold=threshold,
            device=question["device"],
            seed=question["seed"],
            mip_start=mip_start,
            certificate=certificate is not None,
            memory_limit=None if memory_limit is None else 1e6 * memory_limit,
            progress=live,
            journal=journal,
        )
    if certificate is not None and result.certificate is not None:
        _write_certificate(certificate, result, question)
    _hand_over(
        question,
        problem,
        result.notices,
        lambda: verification_json(result, _files(question, certificate if result.certificate else None)),
        lambda: verification_summary(result),
        page,
    )
    return _exit_status(result)


@cli.command(context_settings={**_CONTEXT, "show_default": True})
@_without("--radius", "--order", "--loss", "--label-cost", "--functionals")
@click.option("--solver", type=click.Choice(["auto", "cells", "highs", "gurobi"]), default="auto", help="Who solves.")
@click.option("--gap", type=_number(0, above=True), metavar="ABS", default="1e-6", help="Stop at this absolute gap.")
@click.option("--jobs", type=_whole(1), metavar="N", help="Processes; default one for each core.")
@_run_folder
def distance(*, solver: str, gap: float, jobs: int | None, run_folder: str | None, **question: Any) -> int:
    """Exact distance of each sample to an error.

    The nearest point within the support that the network gets wrong (a tie counts), and its distance.
    """
    for name, usual in (("order", "1"), ("loss", "zero-one"), ("label_cost", None), ("functionals", None)):
        question[name] = usual
    problem = _problem(**question, radius=_FIRST_RADIUS)
    from wdaverify.report.distances import distances_json, distances_summary
    from wdaverify.wdro.distances import distances as run
    from wdaverify.wdro.result import Reason

    with _live_line(question["quiet"]) as live, _journal(run_folder, question) as journal:
        result = run(
            problem,
            solver=solver,
            gap=gap,
            time_limit=question["time_limit"],
            jobs=jobs or _cores(),
            device=question["device"],
            seed=question["seed"],
            progress=live,
            journal=journal,
        )
    _hand_over(
        question,
        problem,
        result.notices,
        lambda: distances_json(result, _files(question)),
        lambda: distances_summary(result),
    )
    if result.exact:
        return DONE
    return INTERRUPTED if result.reason is Reason.INTERRUPTED else LIMIT


@cli.command(context_settings={**_CONTEXT, "show_default": True})
@_without("--radius")
@click.option("--max-radius", "radius", type=_number(0), metavar="X", required=True, help="The largest radius.")
@click.option("--solver", type=click.Choice(["auto", "cells", "highs", "gurobi"]), default="auto", help="Who solves.")
@click.option("--gap", type=_number(0, above=True), metavar="ABS", default="1e-6", help="Stop at this gap everywhere.")
@click.option("--jobs", type=_whole(1), metavar="N", help="Processes; default one for each core.")
@click.option("--csv", "csv_path", metavar="FILE.csv", help="Write the breakpoints there, whole or not at all.")
@_run_folder
@click.option("--report", metavar="FILE.html", help="Write the curve as a page, whole or not at all.")
def curve(
    *,
    solver: str,
    gap: float,
    jobs: int | None,
    csv_path: str | None,
    run_folder: str | None,
    report: str | None,
    **question: Any,
) -> int:
    """Bracket the worst-case value at every radius.

    All radii from 0 to the largest at once, from one set of bounds.
    """
    if csv_path is not None:
        _check_target("--csv", csv_path, (question["network_path"], question["data_path"], question["output"]))
    page = _page_target(report, None, question, csv_path)
    problem = _problem(**question)
    from wdaverify.report.as_json import write_text
    from wdaverify.report.curve import curve_csv, curve_json, curve_summary
    from wdaverify.wdro.curve import curve as run
    from wdaverify.wdro.result import Reason

    with _live_line(question["quiet"]) as live, _journal(run_folder, question) as journal:
        result = run(
            problem,
            solver=solver,
            gap=gap,
            time_limit=question["time_limit"],
            jobs=jobs or _cores(),
            device=question["device"],
            seed=question["seed"],
            progress=live,
            journal=journal,
        )
    if csv_path is not None:
        write_text(csv_path, curve_csv(result))
    _hand_over(
        question,
        problem,
        result.notices,
        lambda: curve_json(result, _files(question)),
        lambda: curve_summary(result),
        page,
    )
    if result.exact:
        return DONE
    return INTERRUPTED if result.reason is Reason.INTERRUPTED else LIMIT


@cli.command(context_settings={**_CONTEXT, "show_default": True})
@_question
def attack(**question: Any) -> int:
    """Lower bounds only, by attacks.

    WDA at several m, WDA++, and the best mixture of all points that they visit.
    """
    problem = _problem(**question)
    from wdaverify.report.as_json import attack_json
    from wdaverify.report.summary import attack_summary
    from wdaverify.wdro.attacking import attack as run

    result = run(problem, device=question["device"], seed=question["seed"], time_limit=question["time_limit"])
    _hand_over(
        question, problem, result.notices, lambda: attack_json(result, _files(question)), lambda: attack_summary(result)
    )
    return DONE


@cli.command(context_settings={**_CONTEXT, "show_default": True})
@click.argument("paths", metavar="RESULT.json...", nargs=-1, required=True)
@click.option("--output", metavar="FILE", help="Write there, whole or not at all; default: tables are printed.")
@click.option(
    "--format", "kind", type=click.Choice(["html", "csv", "latex", "markdown"]), default="html", help="Page, or tables."
)
@click.option("--figures", type=click.Choice(["svg", "pdf"]), help="Write each figure too, beside the output.")
@_IMAGE_SHAPE
@click.option("--title", metavar="TEXT", help="Title of the page.")
def report(
    *,
    paths: tuple[str, ...],
    output: str | None,
    kind: str,
    figures: str | None,
    image_shape: tuple[int, ...] | None,
    title: str | None,
) -> int:
    """Results as a page, tables or figures.

    What --output wrote, of one run or several, as one page that needs nothing else, as tables, or as figures for a paper.
    """
    from wdaverify.report.files import write_text
    from wdaverify.report.page.output import report_of_files, text_of, write_figures

    if output is None and (kind == "html" or figures is not None):
        raise InputError("a page and figures are files: say where, as in --output report.html")
    if output is not None:
        _check_target("--output", output, paths)
    made = report_of_files(paths, image_shape=image_shape, title=title)
    text = text_of(made, kind)
    if output is None:
        _say(text.rstrip("\n"))
        return DONE
    write_text(output, text)
    if figures is not None:
        write_figures(made, figures, output)
    return DONE


@cli.command(context_settings={**_CONTEXT, "show_default": True})
@click.argument("network_path", metavar="NET.onnx")
@click.argument("data_path", metavar="DATA.npz|DATA.csv")
@click.argument("certificate_path", metavar="FILE.cert")
@click.option("--output", metavar="FILE.json", help="Write the verdict there, whole or not at all.")
@click.option("--quiet", is_flag=True, help="Print errors only.")
def recheck(network_path: str, data_path: str, certificate_path: str, output: str | None, quiet: bool) -> int:
    """Prove or reject a certificate.

    No solver is involved. Exit status: 0 proved, 1 rejected, 2 unreadable.
    """
    import time

    from wdaverify.certify.certificate import read_certificate
    from wdaverify.certify.checker import recheck as check
    from wdaverify.report.as_json import write
    from wdaverify.report.verdict import verdict_json, verdict_summary

    if output is not None:
        _check_target("--output", output, (network_path, data_path, certificate_path))
    begun = time.perf_counter()
    certificate = read_certificate(certificate_path)
    problem = _stated(certificate, network_path, data_path)
    verdict = check(certificate, problem)
    seconds = time.perf_counter() - begun
    said = "proved" if verdict.proved else f"rejected: {'; '.join(verdict.reasons)}"
    logging.getLogger(__name__).info("recheck: %s, [%r, %r], %.3f s", said, verdict.lower, verdict.upper, seconds)
    if output is not None:
        write(output, verdict_json(certificate, verdict, seconds))
    if not quiet:
        _say(verdict_summary(certificate, verdict, os.path.getsize(certificate_path), seconds))
    for reason in verdict.reasons:
        _put(f"wdaverify: rejected: {_one_line(reason)}", sys.stderr)
    return DONE if verdict.proved else REJECTED


@cli.command(context_settings={**_CONTEXT, "show_default": True})
@_without("--radius")
@click.option("--radius", "radius", type=_number(0), metavar="X", help="Radius of the Wasserstein ball.")
@click.option("--radii", metavar="X,X,...", help="Several radii, a ladder each.")
@click.option("--rungs", metavar="NAME,...", help="These rungs only, or all but those behind a minus: -lipsdp,-lp.")
@click.option(
    "--rung-limit", type=_number(0), metavar="S", default="60", help="Seconds for each certificate, and the attacks."
)
@_solving
@click.option("--report", metavar="FILE.html", help="Write the ladder as a page, whole or not at all.")
@_IMAGE_SHAPE
def compare(
    *,
    radii: str | None,
    rungs: str | None,
    rung_limit: float,
    certificate: str | None,
    memory_limit: float | None,
    report: str | None,
    image_shape: tuple[int, ...] | None,
    **question: Any,
) -> int:
    """Certificates and attacks beside the exact value.

    The ladder at one radius or several: every certificate above and every attack below the exact bracket, each with what it
    took and how far off it is. Rungs: norms, lipsdp, jacobian, lipschitz, crown, lp, exact, asymptotic, first-order, attacks.
    """
    from wdaverify.ladder.compare import Settings
    from wdaverify.ladder.compare import compare as run
    from wdaverify.report.compare import compare_json, compare_summary

    every, chosen = _radii(question["radius"], radii), _rungs(rungs)
    if "exact" not in chosen:
        _refuse_unused()
    if certificate is not None:
        if len(every) > 1:
            raise InputError(
                f"--certificate holds the proof of one radius, and {len(every)} are given; give one --radius"
            )
        _check_target(
            "--certificate", certificate, (question["network_path"], question["data_path"], question["output"])
        )
    page = _page_target(report, image_shape, question, certificate)
    solving = {name: question.pop(name) for name in ("solver", "gap", "jobs", "threshold", "mip_start")}
    solving["jobs"] = solving["jobs"] or _cores()
    settings = Settings(
        rungs=chosen,
        rung_limit=rung_limit,
        time_limit=question["time_limit"],
        device=question["device"],
        seed=question["seed"],
        certificate=certificate is not None,
        memory_limit=None if memory_limit is None else 1e6 * memory_limit,
        **solving,
    )
    problem = _problem(**{**question, "radius": max(every)})
    _check_image(image_shape, problem)
    with _live_line(question["quiet"]) as live:
        comparison = run(problem, every, settings, progress=live)
    result = comparison.ladders[0].result
    proof = certificate if result is not None and result.certificate is not None else None
    if proof is not None and result is not None:
        _write_certificate(proof, result, question)
    _hand_over(
        question,
        problem,
        comparison.notices,
        lambda: compare_json(comparison, _files(question, proof)),
        lambda: compare_summary(comparison),
        page,
    )
    if comparison.interrupted:
        return INTERRUPTED
    return DONE if comparison.exact else LIMIT


def _radii(radius: float | None, radii: str | None) -> list[float]:
    """The radii of ``--radius`` or ``--radii``, in ascending order."""
    if (radius is None) == (radii is None):
        raise InputError("one of --radius X and --radii X,X,... is needed, and not both")
    if radii is None:
        assert radius is not None
        return [radius]
    return sorted({_number(0)(part.strip()) for part in radii.split(",")})


def _rungs(text: str | None) -> tuple[str, ...]:
    """The rungs of ``--rungs``."""
    from wdaverify.ladder.compare import NAMES

    if text is None:
        return tuple(NAMES)
    parts = [part.strip() for part in text.split(",")]
    named = {part.removeprefix("-") for part in parts}
    less = [part.startswith("-") for part in parts]
    if not named <= set(NAMES) or (any(less) and not all(less)):
        raise InputError(f"--rungs {text}: {', '.join(NAMES)} are accepted, or only names behind a minus")
    return tuple(name for name in NAMES if (name in named) != any(less))


def _refuse_unused() -> None:
    """Refuse options of the exact run where it is not among the rungs."""
    context = click.get_current_context()
    for name in ("solver", "threshold", "mip_start", "certificate", "memory_limit", "time_limit"):
        if context.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT:
            option = name.replace("_", "-")
            raise InputError(
                f"--{option} is for the exact run, and --rungs leaves it out; add exact, or leave --{option} out"
            )


@cli.command(context_settings={**_CONTEXT, "show_default": True})
@click.argument("network_path", metavar="NET.onnx")
@click.option("--norm", type=click.Choice(["inf", "1", "2"]), default="inf", help="Norm of the inputs.")
@click.option(
    "--support",
    type=_side,
    nargs=2,
    default=("0", "1"),
    metavar="LO HI",
    help="Box of the inputs, none: the whole space; cuts the balls of --around only if given.",
)
@click.option("--support-file", metavar="FILE", help="Region with bounds and rows (.toml, .npz).")
@click.option("--around", metavar="DATA", help="Balls around these samples (.npz, .csv) instead of the whole box.")
@click.option("--within", type=_number(0, above=True), metavar="R", help="Radius of the balls, in the norm of --norm.")
@click.option("--samples", "limit", type=_whole(1), metavar="N", help="The first N samples of --around; default all.")
@click.option("--label-column", metavar="NAME", help="Column of the labels in a .csv; default the last.")
@click.option("--outputs", metavar="I,J-K,...", help="Gradients of the outputs I, and of the differences J minus K.")
@click.option("--margins", metavar="Y|all", help="Gradients of z_j - z_Y for every rival j of the class Y, or of all.")
@click.option("--each", is_flag=True, help="Bracket every functional by itself, not only the largest.")
@click.option("--solver", type=click.Choice(["auto", "cells", "highs", "gurobi"]), default="auto", help="Who solves.")
@click.option("--gap", type=_number(0, above=True), metavar="ABS", default="1e-6", help="Stop at this absolute gap.")
@click.option("--time-limit", type=_number(0), metavar="S", help="Seconds; default no limit.")
@click.option("--jobs", type=_whole(1), metavar="N", help="Processes; default one for each core.")
@click.option("--seed", type=_whole(0), metavar="N", default="0", help="Seed of the points tried first.")
@click.option("--output", metavar="FILE.json", help="Write the result there, whole or not at all.")
@click.option("--report", metavar="FILE.html", help="Write the answer as a page, whole or not at all.")
@click.option("--quiet", is_flag=True, help="Print errors only.")
def lipschitz(
    *, gap: float, solver: str, jobs: int | None, output: str | None, report: str | None, quiet: bool, **question: Any
) -> int:
    """Exact Lipschitz constant of a network.

    The largest gradient norm over full-dimensional activation cells that meet the region: by default the operator norm of the
    whole Jacobian over the box [0, 1].
    """
    for name, target, other in (("--output", output, report), ("--report", report, output)):
        if target is not None:
            _check_target(name, target, (question["network_path"], question["around"], other))
    problem = _slopes(**question)
    from wdaverify.lipschitz.exact import lipschitz as run
    from wdaverify.report.as_json import write
    from wdaverify.report.lipschitz import lipschitz_json, lipschitz_summary
    from wdaverify.wdro.result import Reason, Status

    _notes(problem.network.notices, quiet)
    with _live_line(quiet) as live:
        result = run(
            problem,
            solver=solver,
            gap=gap,
            time_limit=question["time_limit"],
            jobs=jobs or _cores(),
            seed=question["seed"],
            each=question["each"],
            progress=live,
        )
    files = {name: question[at] for name, at in _LIPSCHITZ_FILES}
    try:
        if output is not None:
            write(output, lipschitz_json(result, files))
        if report is not None:
            from wdaverify.report.page.output import write_page

            write_page(report, lipschitz_json(result, files))
    finally:
        if not quiet:
            _notes([notice for notice in result.notices if notice not in problem.network.notices], quiet=False)
            _say(lipschitz_summary(result))
    if result.status is Status.EXACT:
        return DONE
    return INTERRUPTED if result.reason is Reason.INTERRUPTED else LIMIT


@cli.command(context_settings=_CONTEXT)
@click.argument("jobs_path", metavar="JOBS.toml")
@click.option("--output", metavar="FILE.json", help="Write all results there, whole or not at all.")
@click.option("--quiet", is_flag=True, help="Print errors only.")
@_run_folder
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
        _check_target("--output", output, files)
    asked = [_parsed(jobs_path, row.name, row.arguments) for row in rows]
    results = [RowResult(row.name, None) for row in rows]
    interrupted = False
    with _journal_of(run_folder, files) as journal:
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
        _say(batch_summary(results))
    for row in results:
        if row.refused is not None:
            _put(f"wdaverify: error: row {row.name}: {row.refused}", sys.stderr)
    if interrupted:
        return INTERRUPTED
    return REFUSED if any(row.refused for row in results) else DONE if all(row.done for row in results) else LIMIT


def _parsed(path: str, name: str, arguments: Sequence[str]) -> click.Context:
    """A row's options, checked before any row begins."""
    try:
        return verify.make_context("verify", list(arguments))
    except click.ClickException as error:
        raise InputError(f"{path}, row {name}: {_refusal(error)}") from None


def _answered(name: str, asked: dict[str, Any], quiet: bool, journal: Journal | None) -> RowResult:
    """One row of a batch."""
    from wdaverify.report.batch import RowResult
    from wdaverify.wdro.verify import verify as run

    own = ("solver", "gap", "jobs", "threshold", "mip_start", "certificate", "memory_limit")
    others = ("scheduler", "run_folder", "report", "image_shape")
    question = {name: value for name, value in asked.items() if name not in own + others} | {"quiet": quiet}
    memory = asked["memory_limit"]
    try:
        problem = _problem(**question)
        with _live_line(quiet) as live:
            result = run(
                problem,
                solver=asked["solver"],
                gap=asked["gap"],
                time_limit=asked["time_limit"],
                jobs=asked["jobs"] or _cores(),
                threshold=asked["threshold"],
                device=asked["device"],
                seed=asked["seed"],
                mip_start=asked["mip_start"],
                memory_limit=None if memory is None else 1e6 * memory,
                progress=live,
                journal=journal,
            )
    except InputError as error:
        return RowResult(name, None, _one_line(str(error)))
    _notes([f"row {name}: {n}" for n in result.notices if n not in problem.network.notices], quiet)
    return RowResult(name, result)


@cli.command(context_settings=_CONTEXT)
@click.argument("folder", metavar="DIR")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def status(folder: str, as_json: bool) -> int:
    """Where the last run with --run DIR stands.

    Its bracket, progress and widest samples, and an estimate of what is left; the run may be at work or not.
    """
    from wdaverify.journal.state import read_state
    from wdaverify.report.as_json import dumps
    from wdaverify.report.journal import status_json, status_summary

    found = read_state(folder)
    _say(dumps(status_json(found)).rstrip("\n") if as_json else status_summary(found))
    return DONE


@cli.command(context_settings=_CONTEXT)
@click.argument("folder", metavar="DIR")
def resume(folder: str) -> int:
    """Go on with the last run with --run DIR.

    Its command is run again from where it ran; what is proven is not proven again.
    """
    from wdaverify.journal.state import read_state, unchanged

    command = read_state(folder).command
    arguments = [*unchanged(command), "--run", os.path.abspath(folder)]
    try:
        with chdir(command["folder"]):
            return _run(arguments)
    except FileNotFoundError as error:
        raise InputError(f"the folder {command['folder']}, where the run was begun, is gone; make it again") from error


@cli.command(context_settings=_CONTEXT)
@click.argument("network_path", metavar="NET.onnx")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def info(network_path: str, as_json: bool) -> int:
    """Layers, ReLUs, parameters, shapes and hash of a network."""
    from wdaverify.network.onnx_reader import load_network
    from wdaverify.report.as_json import dumps, network_json
    from wdaverify.report.summary import network_summary

    network = load_network(network_path)
    _say(dumps(network_json(network)).rstrip("\n") if as_json else network_summary(network))
    return DONE


def _problem(*, network_path: str, data_path: str, radius: float, output: str | None, **options: Any) -> WdroProblem:
    """Read and check everything before any work starts; the output path first."""
    from wdaverify.network.onnx_reader import load_network
    from wdaverify.problem import Loss, WdroProblem
    from wdaverify.question_files import load_functionals
    from wdaverify.samples import load_samples

    if output is not None:
        _check_target("--output", output, (network_path, data_path))
    network = load_network(network_path)
    cost = _cost(network.n_inputs, options)
    support = _support(network.n_inputs, options)
    if options["clip"] and not support.bounded:
        raise InputError("--clip moves samples onto a box, and --support none has none; leave one of the two out")
    functionals = None if options["functionals"] is None else load_functionals(options["functionals"])
    samples = load_samples(
        data_path,
        limit=options["limit"],
        label_column=options["label_column"],
        clip=support if options["clip"] else None,
    )
    problem = WdroProblem(network, samples, cost, support, Loss(options["loss"]), radius, functionals)
    _notes(network.notices, options["quiet"])
    return problem


_LIPSCHITZ_FILES = (
    ("network", "network_path"),
    ("samples", "around"),
    ("label_column", "label_column"),
    ("support", "support_file"),
)
"""What a Lipschitz constant was asked from, and the options that said so."""


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
    from wdaverify.network.onnx_reader import load_network
    from wdaverify.problem import GroundCost, Norm, Support
    from wdaverify.samples import load_samples

    if (around is None) != (within is None):
        raise InputError("--around DATA and --within R belong together: balls of radius R around the samples of DATA")
    if around is None and (options["limit"] is not None or options["label_column"] is not None):
        raise InputError("--samples and --label-column say which samples of --around DATA count, and there is none")
    if outputs is not None and margins is not None:
        raise InputError("--outputs and --margins are two measures; give one of them, or none for the operator norm")
    network = load_network(network_path)
    given = click.get_current_context().get_parameter_source("support") is not click.core.ParameterSource.DEFAULT
    if around is not None and not given and options["support_file"] is None:
        support = Support.whole(network.n_inputs)
    else:
        support = _support(network.n_inputs, options)
    measure = Measure.operator_norm(network)
    if outputs is not None:
        measure = Measure.outputs(network, _outputs(outputs))
    if margins is not None:
        measure = Measure.margins(network, _labels(margins, network.n_outputs))
    cost = GroundCost(Norm(norm), 1)
    if around is None or within is None:
        return LipschitzProblem(network, cost, support, measure)
    samples = load_samples(around, limit=options["limit"], label_column=options["label_column"])
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
    if classes < 2:
        raise InputError(f"--margins {text}: a network with one output has no rivals; use --outputs 0")
    return labels


def _cost(width: int, options: dict[str, Any]) -> GroundCost:
    """The ground cost that the options ask for."""
    from wdaverify.problem import GroundCost, Norm
    from wdaverify.question_files import load_weights

    weights = None if options["cost_weights"] is None else load_weights(options["cost_weights"], width)
    label_cost = math.inf if options["label_cost"] is None else options["label_cost"]
    order = math.inf if options["order"] == "inf" else int(options["order"])
    return GroundCost(Norm(options["norm"]), order, weights, label_cost)


def _support(width: int, options: dict[str, Any]) -> Support:
    """The support that the options ask for."""
    from wdaverify.problem import Support
    from wdaverify.question_files import load_support

    low, high = options["support"]
    if options["support_file"] is not None:
        if click.get_current_context().get_parameter_source("support") is not click.core.ParameterSource.DEFAULT:
            raise InputError("--support and --support-file are two supports; give one of them")
        return load_support(options["support_file"], width)
    if (low == "none") != (high == "none"):
        raise InputError("--support takes LO HI, or none for the whole space")
    return Support.whole(width) if low == "none" else Support.box(low, high, width)


def _spelled_out(arguments: Sequence[str]) -> list[str]:
    """The line as click takes it.

    ``--support none`` as the two values that the option takes, ``--image-shape H W [C]`` as one, the log's options in front.
    """
    out: list[str] = []
    front: list[str] = []
    waiting = iter(arguments)
    for argument in waiting:
        if argument in ("--log", "--log-level"):
            front += [argument, *(value for value in [next(waiting, None)] if value is not None)]
        elif argument.startswith(("--log=", "--log-level=")):
            front.append(argument)
        elif out and argument.isdecimal() and out[-2:-1] == ["--image-shape"] and len(out[-1].split()) < 3:
            out[-1] += f" {argument}"
        else:
            out.append(argument)
    for k in range(len(out) - 1, 0, -1):
        if out[k] == "none" and out[k - 1] == "--support" and out[k + 1 : k + 2] != ["none"]:
            out.insert(k, "none")
    return front + out


@contextmanager
def _cluster(address: str | None) -> Iterator[tuple[Executor | None, Callable[[], int] | None]]:
    """The executor of --scheduler."""
    if address is None:
        yield None, None
        return
    from wdaverify.wdro.cluster import cluster

    with cluster(address) as lent:
        yield lent


@contextmanager
def _journal(folder: str | None, question: dict[str, Any]) -> Iterator[Journal | None]:
    """The journal of --run for one question."""
    names = ("network_path", "data_path", "cost_weights", "functionals", "support_file")
    with _journal_of(folder, [question[name] for name in names if question.get(name) is not None]) as journal:
        yield journal


@contextmanager
def _journal_of(folder: str | None, paths: list[str]) -> Iterator[Journal | None]:
    """The journal of --run, with the command that resume runs again and the files that it reads."""
    if folder is None:
        yield None
        return
    from wdaverify.journal.state import command_of
    from wdaverify.journal.store import Journal

    with Journal(folder) as journal:
        line: _CommandLine = click.get_current_context().find_root().obj
        journal.begin(command_of(line.arguments, "--run", os.getcwd(), paths))
        yield journal


def _check_target(option: str, target: str, others: Sequence[str | None]) -> None:
    """Refuse a file that cannot be written, or that this run reads or writes already."""
    from wdaverify.report.as_json import check_writable

    check_writable(target)
    for path in others:
        if path is None:
            continue
        same = os.path.exists(target) and os.path.exists(path) and os.path.samefile(target, path)
        if same or os.path.realpath(target) == os.path.realpath(path):
            raise OutputError(f"{option} {target} is an input or another output of this run; name another file")


def _write_certificate(path: str, result: VerificationResult, question: dict[str, Any]) -> None:
    """Write a result's certificate, with how its samples are to be read again."""
    from dataclasses import replace

    from wdaverify.certify.certificate import write_certificate

    assert result.certificate is not None
    write_certificate(path, replace(result.certificate, clip=question["clip"], label_column=question["label_column"]))


def _stated(certificate: Certificate, network_path: str, data_path: str) -> WdroProblem:
    """The problem that a certificate speaks of, read anew from the user's own files."""
    from wdaverify.network.onnx_reader import load_network
    from wdaverify.problem import GroundCost, Loss, Norm, Support, WdroProblem
    from wdaverify.samples import load_samples

    stated = (certificate.norm, certificate.loss, certificate.order)
    if certificate.norm not in ("inf", "1") or certificate.loss not in ("margin", "zero-one") or certificate.order != 1:
        raise CertificateError(
            f"the certificate states norm, loss and order {stated}: norm inf or 1, margin or zero-one and order 1 are accepted"
        )
    norm, loss = Norm(certificate.norm), Loss(certificate.loss)
    support = Support(certificate.support_lower, certificate.support_upper)
    samples = load_samples(
        data_path,
        limit=certificate.count,
        label_column=certificate.label_column,
        clip=support if certificate.clip else None,
    )
    cost = GroundCost(norm, certificate.order)
    return WdroProblem(load_network(network_path), samples, cost, support, loss, certificate.radius)


def _hand_over(
    question: dict[str, Any],
    problem: WdroProblem,
    notices: Sequence[str],
    document: Callable[[], dict[str, Any]],
    summary: Callable[[], str],
    page: Callable[[dict[str, Any]], None] | None = None,
) -> None:
    """Write the files, then print; what was found is printed even if a file cannot be written."""
    from wdaverify.report.as_json import write

    try:
        if question["output"] is not None:
            write(question["output"], document())
        if page is not None:
            page(document())
    finally:
        if not question["quiet"]:
            _notes([notice for notice in notices if notice not in problem.network.notices], quiet=False)
            _say(summary())


def _page_target(
    path: str | None, image_shape: tuple[int, ...] | None, question: dict[str, Any], other: str | None
) -> Callable[[dict[str, Any]], None] | None:
    """How to write the page of an answer; None where none was asked for."""
    if path is None:
        if image_shape is not None:
            raise InputError(
                "--image-shape says how a page shows inputs, and no page is written; give --report FILE.html"
            )
        return None
    _check_target("--report", path, (question["network_path"], question["data_path"], question["output"], other))

    def write(document: dict[str, Any]) -> None:
        from wdaverify.report.page.output import write_page

        write_page(path, document, image_shape)

    return write


def _check_image(image_shape: tuple[int, ...] | None, problem: WdroProblem) -> None:
    """Refuse an image shape that does not fit, before any work."""
    if image_shape is not None:
        from wdaverify.report.page.pictures import check_shape

        check_shape(image_shape, problem.network.n_inputs)


def _files(question: dict[str, Any], certificate: str | None = None) -> dict[str, Any]:
    """What the question was read from, so that a report can say how to ask it again."""
    from wdaverify.report.as_json import files_json

    return files_json(
        question["network_path"],
        question["data_path"],
        clip=question["clip"],
        label_column=question["label_column"],
        support=question["support_file"],
        cost_weights=question["cost_weights"],
        functionals=question["functionals"],
        certificate=certificate,
    )


def _exit_status(result: VerificationResult) -> int:
    from wdaverify.wdro.result import Reason, Status

    if result.status is Status.EXACT or result.reason is Reason.THRESHOLD_DECIDED:
        return DONE
    return INTERRUPTED if result.reason is Reason.INTERRUPTED else LIMIT


def _cores() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _live_line(quiet: bool) -> Iterator[Report | None]:
    """A line on stderr that follows the run, if stderr is a terminal; the place to send progress to."""
    if quiet or sys.stderr is None or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress as Bar
    from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.table import Column

    text = TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis"))
    with Bar(SpinnerColumn(), TimeElapsedColumn(), text, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting", total=None)
        yield lambda progress: bar.update(task, description=_progress_text(progress))


def _progress_text(progress: Progress) -> str:
    gap = progress.upper - progress.lower
    return (
        f"{progress.phase}  [{progress.lower:.7g}, {progress.upper:.7g}]  gap {gap:.2g}  "
        f"round {progress.round}  solves {progress.solves}  open {progress.open_samples}"
    )


def _notes(notices: Sequence[str], quiet: bool) -> None:
    if not quiet:
        for notice in dict.fromkeys(notices):
            _put(f"note: {_one_line(notice)}", sys.stderr)


def _say(text: str) -> None:
    _put(text, sys.stdout)


def _put(text: str, stream: TextIO | None) -> None:
    """Print; a reader who has gone away or a stream that was closed is no error, characters the terminal lacks are escaped."""
    if stream is None:
        return
    encoding = stream.encoding or "utf-8"
    try:
        click.echo(text.encode(encoding, "backslashreplace").decode(encoding), file=stream)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        if error.errno not in (errno.EPIPE, errno.EINVAL) and stream is sys.stdout:
            raise OutputError(f"cannot write to standard output: {(error.strerror or str(error)).lower()}") from error


def _one_line(message: str) -> str:
    """On one line, and without characters that a terminal would obey."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in " ".join(message.split()))


def _refusal(error: click.ClickException) -> str:
    """What click has to say, with the option's own name before it."""
    if isinstance(error, click.MissingParameter) or not isinstance(error, click.BadParameter) or error.param is None:
        return error.format_message()
    name = error.param.opts[-1] if isinstance(error.param, click.Option) else error.param.metavar
    return f"{name} {error.message}"


def _run(arguments: Sequence[str] | None) -> int:
    """The exit status of one command line; the log, where one was asked for, ends with it."""
    line = _CommandLine(list(sys.argv[1:] if arguments is None else arguments))
    status: int | None = None
    try:
        status = _status(line)
    finally:
        lost = None if line.log is None else line.log.close(status)
    if lost is not None:
        _notes([lost], quiet=False)
    return status


def _status(line: _CommandLine) -> int:
    try:
        spelled = _spelled_out(line.arguments)
        return int(cli.main(spelled, prog_name="wdaverify", standalone_mode=False, obj=line) or DONE)
    except click.ClickException as error:
        message = _refusal(error)
    except click.Abort:
        _put("wdaverify: interrupted before there was an answer", sys.stderr)
        return INTERRUPTED
    except (InputError, WdaverifyError) as error:
        message = str(error)
    logging.getLogger(__name__).error("refused: %s", message)
    _put(f"wdaverify: error: {_one_line(message)}", sys.stderr)
    return REFUSED


def _terminated(*_: object) -> None:
    """A polite request to end is an interrupt: the bracket so far is written and printed."""
    raise KeyboardInterrupt


def _interrupted(*_: object) -> None:
    """The first Ctrl-C ends the run with the bracket so far, the second ends the process at once."""
    signal.signal(signal.SIGINT, _stopped)
    raise KeyboardInterrupt


def _stopped(*_: object) -> None:
    with suppress(OSError):
        os.write(2, b"wdaverify: interrupted twice: ended at once, without an answer\n")
    os._exit(INTERRUPTED)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its status."""
    signal.signal(signal.SIGTERM, _terminated)
    signal.signal(signal.SIGINT, _interrupted)
    sys.exit(_run(arguments))
