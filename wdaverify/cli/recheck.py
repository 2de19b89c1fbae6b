"""``wdaverify recheck``."""

from __future__ import annotations

import logging
import math
import os
import sys
import time
from typing import TYPE_CHECKING

import click

from wdaverify.cli.exits import DONE, LIMIT, REJECTED
from wdaverify.cli.files import check_target
from wdaverify.cli.group import CONTEXT, cli
from wdaverify.cli.options import data, network, quiet, time_limit
from wdaverify.cli.runs import time_left
from wdaverify.cli.terminal import notes, one_line, put, say
from wdaverify.cli.values import number
from wdaverify.errors import CertificateError

if TYPE_CHECKING:
    from wdaverify.certify.certificate import Certificate
    from wdaverify.problem import WdroProblem


@cli.command(context_settings=CONTEXT)
@network
@data
@click.argument("certificate_path", metavar="FILE.cert")
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
    network_path: str,
    data_path: str,
    certificate_path: str,
    output: str | None,
    memory_limit: float,
    time_limit: float | None,
    quiet: bool,
) -> int:
    """Prove or reject a certificate.

    No solver is involved. Exit status: 0 proved, 1 rejected, 2 unreadable, or larger than --memory-limit admits, 3 --time-limit
    ended the replay before either, and the bracket is what was proven until then.
    """
    from wdaverify.certify.certificate import read_certificate
    from wdaverify.certify.checker import recheck as check
    from wdaverify.report.as_json import write
    from wdaverify.report.verdict import verdict_json, verdict_summary

    if output is not None:
        check_target("--output", output, (network_path, data_path, certificate_path))
    begun = time.perf_counter()
    certificate = read_certificate(certificate_path, 1e6 * memory_limit)
    problem = _stated(certificate, network_path, data_path)
    notes(problem.network.notices, quiet)
    left = time_left(time_limit)
    verdict = check(certificate, problem, math.inf if left is None else time.monotonic() + left)
    seconds = time.perf_counter() - begun
    said = "proved" if verdict.proved else f"rejected: {'; '.join(verdict.reasons)}"
    if verdict.unproven and not verdict.reasons:
        said = f"not decided: {'; '.join(verdict.unproven)}"
    logging.getLogger(__package__).info("recheck: %s, [%r, %r], %.3f s", said, verdict.lower, verdict.upper, seconds)
    if output is not None:
        write(output, verdict_json(certificate, verdict, seconds))
    if not quiet:
        say(verdict_summary(certificate, verdict, os.path.getsize(certificate_path), seconds))
    for reason in verdict.reasons:
        put(f"wdaverify: rejected: {one_line(reason)}", sys.stderr)
    notes(verdict.unproven, quiet)
    if verdict.proved:
        return DONE
    return REJECTED if verdict.reasons else LIMIT


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
