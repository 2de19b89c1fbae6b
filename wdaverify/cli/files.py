"""The files that a command writes: refused before any work, written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from wdaverify.arithmetic import Arithmetic
from wdaverify.cli.terminal import notes, say
from wdaverify.cli.values import spelled
from wdaverify.errors import InputError, OutputError

if TYPE_CHECKING:
    from wdaverify.problem import WdroProblem
    from wdaverify.wdro.curve import CurveResult
    from wdaverify.wdro.distances import DistancesResult
    from wdaverify.wdro.result import VerificationResult


def named(asked: dict[str, Any]) -> tuple[str | None, ...]:
    """The files that a question names as its network, samples and output."""
    return asked["network_path"], asked["data_path"], asked["specification"], asked["output"]


def check_target(option: str, target: str, others: Sequence[str | None]) -> None:
    """Refuse a file that cannot be written, or that this run reads or writes already."""
    from wdaverify.report.as_json import check_writable

    check_writable(target)
    for path in others:
        if path is None:
            continue
        same = os.path.exists(target) and os.path.exists(path) and os.path.samefile(target, path)
        if same or os.path.realpath(target) == os.path.realpath(path):
            raise OutputError(f"{option} {target} is an input or another output of this run; name another file")


def write_certificate(
    path: str | None, result: VerificationResult | CurveResult | DistancesResult, question: dict[str, Any]
) -> str:
    """Write a result's certificate, if there is one, with how its samples are to be read again; what is said of it, "" if nothing."""
    from dataclasses import replace

    from wdaverify.certify.certificate import write_certificate as write
    from wdaverify.report.kept import kept_text

    made = result.certificate
    if path is None or made is None:
        return ""
    write(path, replace(made, clip=question["clip"], label_column=question["label_column"]))
    words = [*pasted(question["network_path"], question["data_path"], path), *again(question)]
    return f"\n\n{kept_text(path, made.content, words)}"


def pasted(*paths: str | None) -> list[str]:
    """Paths as words of a command line, None left out: one that begins as an option does is told apart."""
    return [f"./{path}" if path.startswith("-") else path for path in paths if path is not None]


_FLAGS = {"clip": "--clip", "logits": "--logits", "external_data": "--external-data"}
_VALUES = {
    "support_file": "--support-file",
    "limit": "--samples",
    "label_column": "--label-column",
    "label_cost": "--label-cost",
    "cost_weights": "--cost-weights",
    "functionals": "--functionals",
    "specification": "--spec",
    "output_name": "--output-name",
}


def again(question: dict[str, Any]) -> list[str]:
    """The options that ask ``recheck`` the same question, as far as the certificate does not state it."""
    from wdaverify.digits import stated

    out = list[str]()
    source = click.get_current_context().get_parameter_source("support")
    if source is click.core.ParameterSource.COMMANDLINE:
        out += ["--support", *(side if isinstance(side, str) else stated(side) for side in question["support"])]
    for name, option in _VALUES.items():
        value = question.get(name)
        if value is not None:
            out += [option, stated(value) if isinstance(value, float) else str(value)]
    if question.get("arithmetic") not in (None, Arithmetic.REAL):
        out += ["--arithmetic", str(question["arithmetic"])]
    if question.get("classes") is not None:
        out += ["--classes", spelled(question["classes"])]
    return out + [option for name, option in _FLAGS.items() if question.get(name)]


def hand_over(
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
        made = document() if question["output"] is not None or page is not None else {}
        if question["output"] is not None:
            write(question["output"], made)
        if page is not None:
            page(made)
    finally:
        if not question["quiet"]:
            notes([notice for notice in notices if notice not in problem.network.notices], quiet=False)
            say(summary())


def page_target(
    page: dict[str, Any], others: Sequence[str | None], image_shape: tuple[int, ...] | None = None
) -> Callable[[dict[str, Any]], None] | None:
    """How to write the page of an answer, which may be no file that the run reads or writes already; None: none was asked for.

    ``page`` has the options of ``options.page_file``: ``report``, ``title`` and ``author``.
    """
    path: str | None = page["report"]
    if path is None:
        said = {"--image-shape": image_shape, "--title": page["title"], "--author": page["author"]}
        for option, value in said.items():
            if value is not None:
                raise InputError(f"{option} is about a page, and no page is written; give --report FILE.html")
        return None
    check_page("--report", path, others)

    def write(document: dict[str, Any]) -> None:
        from wdaverify.report.page.output import write_page

        write_page(path, document, image_shape, page["title"], page["author"])

    return write


def check_page(option: str, path: str, others: Sequence[str | None]) -> None:
    """Refuse a page that cannot be written or printed, or that this run reads or writes already."""
    from wdaverify.report.page.paper import check_page as check

    check_target(option, path, others)
    check(option, path)


def check_image(image_shape: tuple[int, ...] | None, problem: WdroProblem) -> None:
    """Refuse an image shape that does not fit, before any work."""
    if image_shape is not None:
        from wdaverify.report.page.pictures import check_shape

        check_shape(image_shape, problem.network.n_inputs)


def files_of(question: dict[str, Any], certificate: str | None = None) -> dict[str, Any]:
    """What the question was read from, so that a report can say how to ask it again."""
    from wdaverify.report.as_json import files_json

    return files_json(
        question["network_path"],
        question["data_path"],
        clip=question["clip"],
        label_column=question["label_column"],
        classes=question["classes"],
        support=question["support_file"],
        cost_weights=question["cost_weights"],
        functionals=question["functionals"],
        specification=question["specification"],
        logits=question["logits"],
        output_name=question["output_name"],
        external_data=question["external_data"],
        certificate=certificate,
    )
