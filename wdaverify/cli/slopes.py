"""From options to the question about a Lipschitz constant, that of ``lipschitz`` and that of ``recheck``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click
import numpy as np

from wdaverify.cli.questions import network_of, support_of
from wdaverify.errors import CertificateError, InputError
from wdaverify.untrusted import shown

if TYPE_CHECKING:
    from wdaverify.certify.slope_certificate import SlopeCertificate
    from wdaverify.lipschitz.question import LipschitzProblem, Measure
    from wdaverify.network.model import Array, ReluNetwork


def slopes_of(
    *,
    network_path: str,
    norm: str,
    around: str | None,
    within: float | None,
    outputs: str | None,
    margins: str | None,
    stated: SlopeCertificate | None = None,
    **options: Any,
) -> LipschitzProblem:
    """The question about a Lipschitz constant that the options ask; what it is asked of may be as a certificate states it."""
    from wdaverify.lipschitz.question import LipschitzProblem, Measure
    from wdaverify.problem import GroundCost, Norm, Support
    from wdaverify.samples import load_samples

    if (around is None) != (within is None):
        raise InputError("--around DATA and --within R belong together: balls of radius R around the samples of DATA")
    if around is None and any(options[name] is not None for name in ("limit", "label_column", "classes")):
        raise InputError(
            "--samples, --label-column and --classes are about the samples of --around DATA, and there is none"
        )
    if outputs is not None and margins is not None:
        raise InputError("--outputs and --margins are two measures; give one of them, or none for the operator norm")
    network = network_of(network_path, options)
    given = click.get_current_context().get_parameter_source("support") is not click.core.ParameterSource.DEFAULT
    if around is not None and not given and options["support_file"] is None:
        support = Support.whole(network.n_inputs)
    else:
        support = support_of(network.n_inputs, options)
    if stated is not None and outputs is None and margins is None:
        network, measure = _stated(network, stated)
    else:
        measure = Measure.operator_norm(network)
    if outputs is not None:
        measure = Measure.outputs(network, _outputs(outputs))
    if margins is not None:
        network = network.two_classes() if network.n_outputs == 1 else network
        measure = Measure.margins(network, _labels(margins, network.n_outputs))
    cost = GroundCost(Norm(norm), 1)
    if around is None or within is None:
        return LipschitzProblem(network, cost, support, measure)
    samples = load_samples(
        around, limit=options["limit"], label_column=options["label_column"], classes=options["classes"]
    )
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
    return labels


def _stated(network: ReluNetwork, certificate: SlopeCertificate) -> tuple[ReluNetwork, Measure]:
    """What a certificate says that it is about: the operator norm, or outputs and differences of two."""
    from wdaverify.lipschitz.question import Measure

    rows = certificate.rows
    if rows.shape[1] == 2 and network.n_outputs == 1:
        network = network.two_classes()
    if rows.shape[1] != network.n_outputs or not len(rows):
        raise CertificateError(
            f"the certificate is about {rows.shape[1]} outputs and {network.name} has {network.n_outputs}: it is about another "
            "network; give the one that it was made for"
        )
    whole = Measure.operator_norm(network)
    if certificate.together and np.array_equal(rows, whole.rows):
        return network, whole
    pairs = [_pair(row) for row in rows]
    if certificate.together or None in pairs:
        raise CertificateError(
            "the certificate is about functionals that are no outputs and no differences of two; recheck_lipschitz in Python takes "
            "the problem that it was made for"
        )
    return network, Measure.outputs(network, [pair for pair in pairs if pair is not None])


def _pair(row: Array) -> tuple[int, int | None] | None:
    """A row as an output or the difference of two."""
    plus, minus = np.flatnonzero(row == 1), np.flatnonzero(row == -1)
    if plus.size != 1 or minus.size > 1 or np.count_nonzero(row) != plus.size + minus.size:
        return None
    return int(plus[0]), int(minus[0]) if minus.size else None


def expected_slopes(
    certificate: SlopeCertificate, path: str, network_path: str, data_path: str | None, asked: dict[str, Any]
) -> LipschitzProblem:
    """The question that ``recheck`` was asked: norm, radius of the balls and functionals as stated where no option says otherwise.

    Raises:
        InputError: a file cannot be used, or the certificate is about another question.
    """
    from wdaverify.certify.slope_checker import stated_parts
    from wdaverify.digits import stated
    from wdaverify.report.box import box_text

    def refuse(said: str) -> CertificateError:
        return CertificateError(f"{shown(path, 4096)}: it is about another question than the one asked: {said}")

    if (certificate.count > 0) != (data_path is not None):
        raise refuse(
            f"balls around {certificate.count} samples; give DATA before it"
            if certificate.count
            else "the support and no balls; leave DATA out"
        )
    for name in ("norm", "within"):
        held = getattr(certificate, name)
        if asked[name] is not None and asked[name] != held:
            raise refuse(
                f"{name} {held} instead of {asked[name]}; if you mean that one, ask for it with --{name} {held}"
            )
    within = certificate.within if certificate.count else None
    named = {name: asked[name] for name in ("outputs", "margins")}
    given = asked | {"norm": certificate.norm, "around": data_path, "within": within}
    problem = slopes_of(**{**given, **named, "network_path": network_path}, stated=certificate)
    low, high, support = certificate.support_lower, certificate.support_upper, problem.support
    if not (np.array_equal(low, support.lower) and np.array_equal(high, support.upper)):
        both = box_text(low, high), box_text(support.lower, support.upper)
        option = "--support-file FILE"
        if low.size and (low == low[0]).all() and (high == high[0]).all():
            option = f"--support {stated(low[0])} {stated(high[0])}" if np.isfinite(low).all() else "--support none"
        raise refuse(f"{both[0]} instead of {both[1]}; if you mean that one, ask for it with {option}")
    here = stated_parts(problem.stated)
    if certificate.count and certificate.count != here["count"]:
        said = f"the first {certificate.count} samples instead of {here['count']}"
        raise refuse(f"{said}; if you mean that one, ask for it with --samples {certificate.count}")
    if (certificate.rows_sha256 is None) != (here["rows_sha256"] is None):
        raise refuse("a support with linear rows, or without; --support-file FILE gives them")
    if certificate.rows.shape != problem.stated.rows.shape or (certificate.rows != problem.stated.rows).any():
        raise refuse("other functionals; leave --outputs and --margins out for those that it states")
    return problem
