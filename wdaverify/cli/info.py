"""``wdaverify info``."""

from __future__ import annotations

from typing import Any

import click

from wdaverify.cli.exits import DONE
from wdaverify.cli.group import CONTEXT, cli
from wdaverify.cli.options import as_json, classes, data_too, external_data, label_column, network, norm, output_name
from wdaverify.cli.questions import check_classes, network_of
from wdaverify.cli.terminal import say
from wdaverify.errors import InputError


@cli.command(context_settings=CONTEXT)
@network
@data_too
@output_name
@external_data
@norm
@label_column
@classes
@as_json
def info(network_path: str, data_path: str | None, as_json: bool, **options: Any) -> int:
    """What a network holds, and what a radius means.

    Layers, ReLUs, parameters, shapes and hash of the network.

    With DATA also how far samples are from the nearest one of their own and of another class, how large noise is, and radii
    beside them: what each could do to any model that is right on all samples, for every input (order inf) and on average (order 1).
    """
    from wdaverify.report.as_json import dumps, network_json
    from wdaverify.report.summary import network_summary

    if data_path is None:
        _refuse_unused()
    network = network_of(network_path, options)
    document, text = network_json(network), network_summary(network)
    if data_path is not None:
        from wdaverify.doors.radius_guide import guide
        from wdaverify.ground import Norm
        from wdaverify.samples import load_samples

        samples = load_samples(data_path, label_column=options["label_column"], classes=options["classes"])
        if samples.x.shape[1] != network.n_inputs:
            raise InputError(
                f"{data_path} has points of {samples.x.shape[1]} features and the network takes "
                f"{network.n_inputs}; give samples of its input"
            )
        if options["classes"] is not None:
            check_classes(options["classes"], max(2, network.n_outputs))
        found = guide(samples, Norm.of(options["norm"]))
        document, text = {**document, "radius": found.to_dict()}, f"{text}\n\n{found}"
    say(dumps(document).rstrip("\n") if as_json else text)
    return DONE


def _refuse_unused() -> None:
    """Refuse options that are about data where there is none."""
    context = click.get_current_context()
    for name in ("norm", "label_column", "classes"):
        if context.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT:
            option = name.replace("_", "-")
            raise InputError(
                f"--{option} is about samples, and none are given; add DATA.npz or DATA.csv, or leave --{option} out"
            )
