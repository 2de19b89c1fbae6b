"""From options to questions: everything is read and checked before any work starts."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import click

from wdaverify.arithmetic import Arithmetic
from wdaverify.cli.files import check_target
from wdaverify.cli.terminal import notes
from wdaverify.errors import InputError

if TYPE_CHECKING:
    from wdaverify.losses.registry import Loss
    from wdaverify.network.model import ReluNetwork
    from wdaverify.problem import GroundCost, Support, WdroProblem
    from wdaverify.specification.model import Specification


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
        check_target("--output", output, (network_path, data_path, options["specification"]))
    loss = Loss(options["loss"])
    specification = specification_of(loss, options)
    network = network_of(network_path, options)
    cost = cost_of(network.n_inputs, options)
    support = support_of(network.n_inputs, options, specification)
    if options["clip"] and not support.bounded:
        raise InputError("--clip moves samples onto a box, and --support none has none; leave one of the two out")
    functionals = None if options["functionals"] is None else load_functionals(options["functionals"])
    samples = load_samples(
        data_path,
        limit=options["limit"],
        label_column=options["label_column"],
        classes=options["classes"],
        clip=support if options["clip"] else None,
        labels=specification is None,
    )
    arithmetic = Arithmetic(options["arithmetic"])
    problem = WdroProblem(network, samples, cost, support, loss, radius, functionals, specification, arithmetic)
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


def cost_of(width: int, options: dict[str, Any]) -> GroundCost:
    """The ground cost that the options ask for."""
    from wdaverify.problem import GroundCost, Norm
    from wdaverify.question_files import load_weights

    weights = None if options["cost_weights"] is None else load_weights(options["cost_weights"], width)
    label_cost = math.inf if options["label_cost"] is None else options["label_cost"]
    order = math.inf if options["order"] == "inf" else int(options["order"])
    return GroundCost(Norm(options["norm"]), order, weights, label_cost)


def specification_of(loss: Loss, options: dict[str, Any]) -> Specification | None:
    """The specification that the options name, which belongs to its loss and knows no classes."""
    path = options["specification"]
    if loss.rule.takes_specification != (path is not None):
        raise InputError(
            f"--loss {loss} without --spec FILE.vnnlib, which says what must not happen; give it"
            if path is None
            else f"--spec {path} says what must not happen, and --loss {loss} is another question; give --loss specification with it"
        )
    if path is None:
        return None
    if options["classes"] is not None:
        raise InputError("--classes names labels, of which a specification says nothing; leave it out")
    from wdaverify.specification.reader import load_specification

    return load_specification(path)


def support_of(width: int, options: dict[str, Any], specification: Specification | None = None) -> Support:
    """The support that the options ask for; that of a specification is its own box, unless another is given."""
    from wdaverify.problem import Support
    from wdaverify.question_files import load_support

    low, high = options["support"]
    given = click.get_current_context().get_parameter_source("support") is not click.core.ParameterSource.DEFAULT
    if options["support_file"] is not None:
        if given:
            raise InputError("--support and --support-file are two supports; give one of them")
        return load_support(options["support_file"], width)
    if (low == "specification") != (high == "specification"):
        raise InputError("--support takes LO HI, none for the whole space, or specification for the box of one")
    if low == "specification" and specification is None:
        raise InputError(
            "--support specification is the box of a specification, and none is given; --spec FILE.vnnlib does"
        )
    if specification is not None and (low == "specification" or not given):
        from wdaverify.specification.unsafe import box_of

        return box_of(specification)
    if (low == "none") != (high == "none"):
        raise InputError("--support takes LO HI, none for the whole space, or specification for the box of one")
    return Support.whole(width) if low == "none" else Support.box(low, high, width)
