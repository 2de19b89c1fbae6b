"""From options to questions: everything is read and checked before any work starts."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import click

from wdaverify.cli.files import check_target
from wdaverify.cli.terminal import notes
from wdaverify.errors import InputError

if TYPE_CHECKING:
    from wdaverify.network.model import ReluNetwork
    from wdaverify.problem import GroundCost, Support, WdroProblem


def network_of(path: str, options: dict[str, Any]) -> ReluNetwork:
    """The network that the options mean."""
    from wdaverify.network.onnx_reader import load_network

    return load_network(
        path,
        logits=options.get("logits", False),
        external_data=options["external_data"],
        output_name=options["output_name"],
    )


def problem_of(*, network_path: str, data_path: str, radius: float, output: str | None, **options: Any) -> WdroProblem:
    """Read and check everything before any work starts; the output path first."""
    from wdaverify.problem import Loss, WdroProblem
    from wdaverify.question_files import load_functionals
    from wdaverify.samples import load_samples

    if output is not None:
        check_target("--output", output, (network_path, data_path))
    network = network_of(network_path, options)
    cost = _cost(network.n_inputs, options)
    support = support_of(network.n_inputs, options)
    if options["clip"] and not support.bounded:
        raise InputError("--clip moves samples onto a box, and --support none has none; leave one of the two out")
    functionals = None if options["functionals"] is None else load_functionals(options["functionals"])
    samples = load_samples(
        data_path,
        limit=options["limit"],
        label_column=options["label_column"],
        classes=options["classes"],
        clip=support if options["clip"] else None,
    )
    problem = WdroProblem(network, samples, cost, support, Loss(options["loss"]), radius, functionals)
    if options["classes"] is not None and not problem.loss.rule.takes_functionals:
        check_classes(options["classes"], problem.network.n_outputs)
    notes((*problem.network.notices, *samples.notices), options["quiet"])
    return problem


def check_classes(classes: tuple[str, ...], outputs: int) -> None:
    """Refuse names of more or fewer classes than the network has: which of them is which would not be said."""
    if len(classes) != outputs:
        raise InputError(
            f"--classes names {len(classes)} classes and the network has {outputs}; name all of them, in the order of its outputs"
        )


def _cost(width: int, options: dict[str, Any]) -> GroundCost:
    """The ground cost that the options ask for."""
    from wdaverify.problem import GroundCost, Norm
    from wdaverify.question_files import load_weights

    weights = None if options["cost_weights"] is None else load_weights(options["cost_weights"], width)
    label_cost = math.inf if options["label_cost"] is None else options["label_cost"]
    order = math.inf if options["order"] == "inf" else int(options["order"])
    return GroundCost(Norm(options["norm"]), order, weights, label_cost)


def support_of(width: int, options: dict[str, Any]) -> Support:
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
