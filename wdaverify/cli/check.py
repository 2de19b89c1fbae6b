"""``wdaverify check``."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import click

from wdaverify.arithmetic import Arithmetic
from wdaverify.cli.exits import check_status
from wdaverify.cli.files import again, check_target, page_target, pasted
from wdaverify.cli.group import CONTEXT, cli
from wdaverify.cli.options import (
    external_data,
    image,
    logits,
    network,
    output,
    output_name,
    page_file,
    quiet,
    time_limit,
)
from wdaverify.cli.questions import network_of
from wdaverify.cli.runs import time_left
from wdaverify.cli.terminal import live_line, notes, say
from wdaverify.cli.values import whole
from wdaverify.cores import cores


@cli.command(context_settings=CONTEXT)
@network
@click.argument("specification_path", metavar="FILE.vnnlib")
@logits
@output_name
@external_data
@click.option(
    "--arithmetic",
    type=click.Choice([arithmetic.value for arithmetic in Arithmetic]),
    help="real; float32: unsat for any runtime of single precision; default as the file declares.",
)
@time_limit
@click.option("--jobs", type=whole(1), metavar="N", help="Threads (processes for many inputs); default one a core.")
@click.option("--seed", type=whole(0), metavar="N", default="0", help="Seed of the points tried first.")
@click.option(
    "--certificate", "proof", metavar="FILE.cert", help="Keep the proof of unsat, and write there what recheck needs."
)
@output
@page_file("answer")
@image
@quiet
def check(
    network_path: str, specification_path: str, proof: str | None, output: str | None, quiet: bool, **asked: Any
) -> int:
    """Decide a VNN-LIB specification.

    Is there an input in the boxes of FILE.vnnlib (or .vnnlib.gz) whose outputs satisfy it? Prints sat with the
    counterexample, unsat, unknown or timeout, and a bracket of how far the specification is from being satisfied.

    \b
    Exit status: 0 sat or unsat; 5 sat in real arithmetic alone (nothing replayed
    it, or rounding undoes it); 3 unknown or timeout; 2 the input was refused.
    """
    read = (network_path, specification_path)
    if output is not None:
        check_target("--output", output, read)
    if proof is not None:
        check_target("--certificate", proof, (*read, output))
    page = page_target(asked, (*read, output, proof), asked["image_shape"])
    from wdaverify.certify.unsat import write_unsat
    from wdaverify.checking.check import check as run
    from wdaverify.report.as_json import write
    from wdaverify.report.check import check_json, check_summary
    from wdaverify.report.kept import kept_text
    from wdaverify.specification.reader import load_specification

    specification, network = load_specification(specification_path), network_of(network_path, asked)
    if asked["image_shape"] is not None:
        from wdaverify.report.page.pictures import check_shape

        check_shape(asked["image_shape"], network.n_inputs)
    notes(network.notices, quiet)
    with live_line(quiet) as live:
        result = run(
            network,
            specification,
            time_limit=time_left(asked["time_limit"]),
            jobs=asked["jobs"] or cores(),
            seed=asked["seed"],
            onnx_file=network_path,
            output_name=asked["output_name"],
            certificate=proof is not None,
            arithmetic=asked["arithmetic"],
            progress=live,
        )
    result = replace(result, time_limit=asked["time_limit"])  # as asked, not what reading had left of it
    written = proof if proof is not None and result.certificate is not None else None
    files = {"network": network_path, "specification": specification_path, "certificate": written}
    files |= {name: asked[name] for name in ("logits", "output_name", "external_data")}
    kept = ""
    try:
        made = check_json(result, files)
        if written is not None and result.certificate is not None:
            write_unsat(written, result.certificate)
            kept = f"\n{kept_text(written, result.certificate.content, [*pasted(*read, written), *again(asked)])}"
        if output is not None:
            write(output, made)
        if page is not None:
            page(made)
    finally:
        if not quiet:
            notes([notice for notice in result.notices if notice not in network.notices], quiet=False)
            say(check_summary(result, files) + kept)
    return check_status(result)
