"""``wdaverify recheck``."""

from __future__ import annotations

import logging
import math
import os
import sys
import time
from typing import Any

import click

from wdaverify.cli.exits import DONE, LIMIT, REJECTED
from wdaverify.cli.expected import expected_problem
from wdaverify.cli.files import check_target
from wdaverify.cli.group import CONTEXT, cli
from wdaverify.cli.options import data, expected, network, quiet, time_limit
from wdaverify.cli.runs import bytes_of, time_left
from wdaverify.cli.terminal import notes, one_line, put, say
from wdaverify.cli.values import number


@cli.command(context_settings=CONTEXT)
@network
@data
@click.argument("certificate_path", metavar="FILE.cert")
@expected
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
    data_path: str,
    certificate_path: str,
    output: str | None,
    memory_limit: float,
    time_limit: float | None,
    quiet: bool,
    **asked: Any,
) -> int:
    """Prove or reject a certificate.

    No solver is involved. The question is yours: all samples of the file, unmoved, labels in the last column, on [0, 1]^n, unless
    you say otherwise; a certificate about another one is refused. Exit status: 0 proved, 1 rejected, 2 unreadable, about another
    question, or larger than --memory-limit admits, 3 --time-limit ended the replay before, and the bracket is what was proven.
    """
    from wdaverify.certify.certificate import read_certificate
    from wdaverify.certify.checker import recheck as check
    from wdaverify.report.as_json import write
    from wdaverify.report.verdict import verdict_json, verdict_summary

    if output is not None:
        check_target("--output", output, (network_path, data_path, certificate_path, asked["support_file"]))
    begun = time.perf_counter()
    certificate = read_certificate(certificate_path, bytes_of(memory_limit))
    problem, reading = expected_problem(certificate, certificate_path, network_path, data_path, asked)
    notes(problem.network.notices, quiet)
    left = time_left(time_limit)
    verdict = check(certificate, problem, math.inf if left is None else time.monotonic() + left)
    seconds = time.perf_counter() - begun
    said = "proved" if verdict.proved else f"rejected: {'; '.join(verdict.reasons)}"
    if verdict.unproven and not verdict.reasons:
        said = f"not decided: {'; '.join(verdict.unproven)}"
    logging.getLogger(__package__).info("recheck: %s, [%r, %r], %.3f s", said, verdict.lower, verdict.upper, seconds)
    if output is not None:
        write(output, verdict_json(certificate, verdict, problem, reading, seconds))
    if not quiet:
        size = os.path.getsize(certificate_path)
        say(verdict_summary(certificate, verdict, problem, reading, size, seconds))
    for reason in verdict.reasons:
        put(f"wdaverify: rejected: {one_line(reason)}", sys.stderr)
    notes(verdict.unproven, quiet)
    if verdict.proved:
        return DONE
    return REJECTED if verdict.reasons else LIMIT
