"""``wdaverify recheck``."""

from __future__ import annotations

import logging
import math
import os
import sys
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from wdaverify.cli.exits import DONE, LIMIT, REJECTED
from wdaverify.cli.expected import expected_problem
from wdaverify.cli.files import check_target
from wdaverify.cli.group import CONTEXT, cli
from wdaverify.cli.options import expected, network, quiet, time_limit
from wdaverify.cli.questions import network_of
from wdaverify.cli.runs import bytes_of, time_left
from wdaverify.cli.terminal import notes, one_line, put, say
from wdaverify.cli.values import number
from wdaverify.errors import CertificateError, InputError
from wdaverify.untrusted import shown

if TYPE_CHECKING:
    from wdaverify.certify.checker import Verdict

_OF_SAMPLES = ("label_cost", "cost_weights", "functionals", "specification", "clip", "radius", "order", "loss")
_OF_REGIONS = ("support", "support_file", "limit", "label_column", "classes", "norm")
_OF_SLOPES = ("outputs", "margins", "within")


_Paths = tuple[str, str | None, str]
"""Network, samples or specification (None: none given), and certificate."""


class _Replayed(NamedTuple):
    """What came of a replay, and how it is written."""

    verdict: Verdict
    document: dict[str, Any]
    summary: str


@cli.command(context_settings=CONTEXT)
@network
@click.argument("data_path", metavar="[DATA|SPEC.vnnlib]", required=False)
@click.argument("certificate_path", metavar="FILE.cert", required=False)
@expected
@click.option("--outputs", metavar="I,J-K,...", help="Refuse a Lipschitz constant of other outputs.")
@click.option("--margins", metavar="Y|all", help="Refuse a Lipschitz constant of other margins.")
@click.option("--within", type=number(0, above=True), metavar="R", help="Refuse one on balls of another radius.")
@click.option("--output", metavar="FILE.json", help="Write the verdict there, whole or not at all.")
@click.option(
    "--memory-limit",
    type=number(0, above=True),
    metavar="MB",
    default="1000",
    help="What the certificate may take in memory.",
)
@time_limit
@quiet
def recheck(
    *,
    network_path: str,
    data_path: str | None,
    certificate_path: str | None,
    output: str | None,
    memory_limit: float,
    time_limit: float | None,
    quiet: bool,
    **asked: Any,
) -> int:
    """Prove or reject a certificate.

    No solver is involved. The question is yours: all samples of the file, unmoved, labels in the last column, on [0, 1]^n, unless
    you say otherwise; a certificate about another one is refused. With a specification it is unsat that is proved (check
    --certificate). Of a Lipschitz constant DATA are the samples of its balls, if it has any. Options about other questions are
    refused. Exit status: 0 proved, 1 rejected, 2 unreadable, about another question, or larger than --memory-limit admits, 3
    --time-limit ended the replay before, and the bracket is what was proven.
    """
    from wdaverify.certify.file import SLOPES, kind_of
    from wdaverify.report.as_json import write

    if data_path is not None and certificate_path is None:
        data_path, certificate_path = None, data_path
    if certificate_path is None:
        raise click.UsageError("recheck takes NET.onnx, DATA or SPEC.vnnlib where it is about any, and FILE.cert")
    if output is not None:
        files = (asked[name] for name in ("support_file", "cost_weights", "functionals"))
        check_target("--output", output, (network_path, data_path, certificate_path, *files))
    paths, memory = (network_path, data_path, certificate_path), bytes_of(memory_limit)
    begun = time.perf_counter()
    if kind_of(certificate_path) == SLOPES:
        replay = _slopes
        _refuse(_OF_SAMPLES, "a worst case or distances, and the certificate is of Lipschitz constants")
    elif data_path is not None and data_path.lower().endswith((".vnnlib", ".vnnlib.gz")):
        replay = _unsat
        _refuse(
            (*_OF_SAMPLES, *_OF_REGIONS, *_OF_SLOPES),
            "samples, and a specification has none; leave it out, or give samples",
        )
    else:
        replay = _bracket
        _refuse(_OF_SLOPES, "Lipschitz constants, and the certificate is none of those")
    verdict, document, summary = replay(paths, asked, memory, time_limit, quiet, begun)
    said = "proved" if verdict.proved else f"rejected: {'; '.join(verdict.reasons)}"
    if verdict.unproven and not verdict.reasons:
        said = f"not decided: {'; '.join(verdict.unproven)}"
    seconds = document["seconds"]
    logging.getLogger(__package__).info("recheck: %s, [%r, %r], %.3f s", said, verdict.lower, verdict.upper, seconds)
    if output is not None:
        write(output, document)
    if not quiet:
        say(summary)
    for reason in verdict.reasons:
        put(f"wdaverify: rejected: {one_line(reason)}", sys.stderr)
    notes(verdict.unproven, quiet)
    if verdict.proved:
        return DONE
    return REJECTED if verdict.reasons else LIMIT


def _bracket(
    paths: _Paths,
    asked: dict[str, Any],
    memory: float,
    time_limit: float | None,
    quiet: bool,
    begun: float,
) -> _Replayed:
    """A bracket of V, of a network and samples."""
    from wdaverify.certify.certificate import read_certificate
    from wdaverify.certify.checker import recheck as check
    from wdaverify.report.verdict import verdict_json, verdict_summary

    network_path, data_path, certificate_path = paths
    certificate = read_certificate(certificate_path, memory)
    if data_path is None:
        raise InputError(f"{shown(certificate_path, 4096)} is about samples, and none are given; give DATA before it")
    problem, reading = expected_problem(certificate, certificate_path, network_path, data_path, asked)
    notes(problem.network.notices, quiet)
    verdict = check(certificate, problem, _deadline(time_limit))
    seconds = time.perf_counter() - begun
    summary = verdict_summary(certificate, verdict, problem, reading, os.path.getsize(certificate_path), seconds)
    return _Replayed(verdict, verdict_json(certificate, verdict, problem, reading, seconds), summary)


def _unsat(
    paths: _Paths,
    asked: dict[str, Any],
    memory: float,
    time_limit: float | None,
    quiet: bool,
    begun: float,
) -> _Replayed:
    """Unsat, of a network and a specification."""
    from wdaverify.certify.unsat import read_unsat, recheck_unsat
    from wdaverify.report.unsat_verdict import unsat_verdict_json, unsat_verdict_summary
    from wdaverify.specification.reader import load_specification

    network_path, specification_path, certificate_path = paths
    assert specification_path is not None
    certificate = read_unsat(certificate_path, memory)
    specification, network = load_specification(specification_path), network_of(network_path, asked)
    if certificate.specification_sha256 != specification.sha256:
        raise CertificateError(
            f"{shown(certificate_path, 4096)}: it is about the specification of sha256 {certificate.specification_sha256 or '(none)'}, and "
            f"{specification.name} has {specification.sha256}; give the one that it was made for"
        )
    notes(network.notices, quiet)
    verdict = recheck_unsat(certificate, network, specification, _deadline(time_limit))
    seconds = time.perf_counter() - begun
    size = os.path.getsize(certificate_path)
    summary = unsat_verdict_summary(certificate, verdict, network, specification, size, seconds)
    return _Replayed(verdict, unsat_verdict_json(certificate, verdict, network, specification, seconds), summary)


def _slopes(
    paths: _Paths,
    asked: dict[str, Any],
    memory: float,
    time_limit: float | None,
    quiet: bool,
    begun: float,
) -> _Replayed:
    """Lipschitz constants, of a network and maybe of samples."""
    from wdaverify.certify.slope_certificate import read_lipschitz
    from wdaverify.certify.slope_checker import recheck_slopes
    from wdaverify.cli.slopes import expected_slopes
    from wdaverify.report.slope_verdict import slope_verdict_json, slope_verdict_summary

    network_path, data_path, certificate_path = paths
    certificate = read_lipschitz(certificate_path, memory)
    problem = expected_slopes(certificate, certificate_path, network_path, data_path, asked)
    notes(problem.network.notices, quiet)
    verdict = recheck_slopes(certificate, problem.stated, _deadline(time_limit))
    seconds, size = time.perf_counter() - begun, os.path.getsize(certificate_path)
    summary = slope_verdict_summary(certificate, verdict, problem, size, seconds)
    return _Replayed(verdict, slope_verdict_json(certificate, verdict, problem, seconds), summary)


def _refuse(names: tuple[str, ...], what: str) -> None:
    """Refuse options that were given and say nothing here."""
    context = click.get_current_context()
    for parameter in context.command.params:
        name = parameter.name or ""
        if name in names and context.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT:
            raise InputError(f"{parameter.opts[0]} is about {what}")


def _deadline(time_limit: float | None) -> float:
    """On the clock of ``time.monotonic``."""
    left = time_left(time_limit)
    return math.inf if left is None else time.monotonic() + left
