"""The question that ``recheck`` was asked, beside the one that a certificate states.

What its author could choose is taken from the options, as ``verify`` takes it: the support, feature weights, label cost and
functionals, how many samples, the label column of a ``.csv``, clipping. A certificate that states otherwise is refused, with the
options that would ask for it.
"""

from __future__ import annotations

import math
import shlex
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from wdaverify.arithmetic import Arithmetic
from wdaverify.cli.questions import cost_of, network_of, specification_of, support_of
from wdaverify.errors import CertificateError
from wdaverify.losses.registry import in_words, those
from wdaverify.untrusted import shown

if TYPE_CHECKING:
    from wdaverify.certify.certificate import Certificate
    from wdaverify.problem import GroundCost, Support, WdroProblem
    from wdaverify.reading import Contents, Moved, Reading

_SPELLED = 8
"""The most features of a box that is no cube whose sides a refusal spells out."""


class _Departure(NamedTuple):
    """What a certificate is about instead of what was asked, the options that ask for it, and what they need besides."""

    said: str
    options: tuple[str, ...]
    needs: str = ""


def expected_problem(
    certificate: Certificate, path: str, network_path: str, data_path: str, asked: dict[str, Any]
) -> tuple[WdroProblem, Reading]:
    """The question that was asked, from the user's own files and options, and how its samples were read.

    Raises:
        InputError: a file cannot be used, or the certificate is about another question.
    """
    from wdaverify.problem import Loss, Support, WdroProblem
    from wdaverify.question_files import load_functionals
    from wdaverify.reading import UNMOVED, Reading, contents, moved
    from wdaverify.samples import load_samples

    _check_family(certificate, path)
    _check_arithmetic(certificate, path, asked["arithmetic"])
    _check_specification(certificate, path, asked["specification"])
    loss, network = Loss(certificate.loss), network_of(network_path, asked)
    cost = cost_of(network.n_inputs, {**asked, "norm": certificate.norm, "order": str(certificate.order)})
    specification = specification_of(loss, asked)
    functionals = None if asked["functionals"] is None else load_functionals(asked["functionals"])
    box = Support(certificate.support_lower, certificate.support_upper)
    support = support_of(network.n_inputs, asked, specification)
    if box.lower.size != network.n_inputs:
        raise CertificateError(
            f"{shown(path, 4096)}: its box has {box.lower.size} features, {network.name} takes {network.n_inputs}: it is about "
            "another network; give the one that it was made for"
        )
    extras = {"weights": cost.weights, "functionals": functionals, "rows": support.rows, "integers": support.integer}
    _check_named(certificate, path, extras)
    held = contents(data_path, asked["classes"], labels=specification is None)
    read = partial(
        load_samples,
        data_path,
        limit=certificate.count,
        label_column=certificate.label_column,
        classes=asked["classes"],
        labels=specification is None,
    )
    if specification is not None and not support.bounded:
        from wdaverify.specification.unsafe import within_reach

        support = within_reach(specification, support, read().x)  # as a problem has it
    departures = [
        *_of_words(certificate, asked),
        *_of_label_cost(certificate, cost),
        *_of_box(certificate, box, support, path),
        *_of_count(certificate, held, asked["limit"]),
        *_of_labels(certificate, held, asked["label_column"]),
    ]
    if certificate.clip and not asked["clip"]:
        departures += _of_clip(moved(read(), read(clip=box), cost))
    if departures:
        raise CertificateError(_refusal(path, departures))
    samples = read()  # as was asked: the certificate states the same number and column
    moves = UNMOVED
    if asked["clip"]:
        samples, there = read(clip=support), samples
        moves = moved(there, samples, cost)
    arithmetic = Arithmetic(asked["arithmetic"])
    problem = WdroProblem(
        network, samples, cost, support, loss, certificate.radius, functionals, specification, arithmetic
    )
    return problem, Reading(held.count, held.labels(asked["label_column"]), moves)


def _check_family(certificate: Certificate, path: str) -> None:
    """Refuse what no checker here knows."""
    stated = (certificate.norm, certificate.loss, certificate.order)
    losses = those(lambda rule: rule.certified)
    if (
        certificate.norm not in ("inf", "1", "2")
        or certificate.loss not in losses
        or certificate.order not in (1, 2, math.inf)
    ):
        raise CertificateError(
            f"the certificate states norm, loss and order {stated}: norm inf, 1 or 2, {in_words(losses, 'or')}, and order 1, 2 or inf "
            "are accepted"
        )
    if certificate.count < 1:
        raise CertificateError(f"{shown(path, 4096)}: it is about {certificate.count} samples; at least 1 is accepted")


def _check_arithmetic(certificate: Certificate, path: str, asked: str) -> None:
    """Refuse a certificate about another arithmetic."""
    if certificate.arithmetic != asked:
        raise CertificateError(
            f"{shown(path, 4096)}: it is about {shown(certificate.arithmetic, 40)} arithmetic, and {asked} was asked for; --arithmetic "
            "says which"
        )


def _check_specification(certificate: Certificate, path: str, asked: str | None) -> None:
    """Refuse a certificate about a specification where none is given, and the other way round."""
    stated = certificate.specification_sha256
    if stated is not None and asked is None:
        raise CertificateError(
            f"{shown(path, 4096)}: it is about the specification of sha256 {stated}, and none is given; --spec FILE.vnnlib does"
        )
    if stated is None and asked is not None:
        raise CertificateError(
            f"{shown(path, 4096)}: it is about the {certificate.loss} loss and no specification; leave --spec out"
        )


_NAMED = {
    "weights": ("feature weights", "--cost-weights FILE"),
    "functionals": ("functionals", "--functionals FILE"),
    "rows": ("linear rows of the support", "--support-file FILE"),
    "integers": ("integer features of the support", "--support-file FILE"),
}
"""What is stated by hash alone, and the option that gives it."""


def _check_named(certificate: Certificate, path: str, extras: dict[str, Any]) -> None:
    """Refuse a certificate about weights, functionals, rows or integers that are not given, and the other way round.

    Others than its own are the checker's to tell apart, by their hashes.
    """
    for name, (what, option) in _NAMED.items():
        stated, given = getattr(certificate, f"{name}_sha256"), extras[name] is not None
        if stated is not None and not given:
            raise CertificateError(
                f"{shown(path, 4096)}: it is about {what} of sha256 {stated}, and none are given; {option} gives them"
            )
        if stated is None and given and name in ("weights", "functionals"):  # supports say more of themselves
            raise CertificateError(
                f"{shown(path, 4096)}: it is about another question than the one asked: no {what}; leave them out of the question"
            )


def _of_label_cost(certificate: Certificate, cost: GroundCost) -> list[_Departure]:
    """Where labels move at another price, or not at all."""
    from wdaverify.digits import stated

    here, there = certificate.label_cost, cost.label_cost
    if here == there:
        return []
    if math.isinf(here):
        raise CertificateError("it is about another question than the one asked: labels stay; leave --label-cost out")
    instead = "labels that stay" if math.isinf(there) else stated(there)
    return [_Departure(f"labels that move at {stated(here)} instead of {instead}", ("--label-cost", stated(here)))]


def _of_words(certificate: Certificate, asked: dict[str, Any]) -> list[_Departure]:
    """Where radius, norm, order or loss were asked for and differ."""
    out = []
    for name in ("radius", "norm", "order", "loss"):
        stated, wanted = getattr(certificate, name), asked[name]
        if wanted is not None and (stated if name == "radius" else str(stated)) != wanted:
            out.append(_Departure(f"{name} {stated} instead of {wanted}", (f"--{name}", str(stated))))
    return out


def _of_box(certificate: Certificate, box: Support, support: Support, path: str) -> list[_Departure]:
    """Where its box is not the support that was asked for."""
    from wdaverify.digits import stated
    from wdaverify.report.box import box_text

    low, high = box.lower, box.upper
    cut = certificate.rows_sha256 is not None, certificate.integers_sha256 is not None
    given = support.rows is not None, support.integer is not None
    if cut == given and (low == support.lower).all() and (high == support.upper).all():
        return []
    less = "" if cut == given else " cut by rows or integers"
    said = f"distributions on {box_text(low, high)} instead of {box_text(support.lower, support.upper)}{less}"
    if any(cut):
        sides = f"lower = {low.tolist()} and upper = {high.tolist()}" if low.size <= _SPELLED else "the box it states"
        return [
            _Departure(
                said, ("--support-file", "box.toml"), f"where box.toml says {sides} beside its rows and integers"
            )
        ]
    if not box.bounded:
        return [_Departure(said, ("--support", "none"))]
    if (low == low[0]).all() and (high == high[0]).all():
        return [_Departure(said, ("--support", stated(low[0]), stated(high[0])))]
    if low.size <= _SPELLED:
        sides = f"lower = {low.tolist()} and upper = {high.tolist()}"
        return [_Departure(said, ("--support-file", "box.toml"), f"where box.toml says {sides}")]
    code = (
        f"import numpy, wdaverify; c = wdaverify.read_certificate({path!r}); "
        "numpy.savez('box.npz', lower=c.support_lower, upper=c.support_upper)"
    )
    needs = f"where box.npz is what this writes: python -c {shlex.quote(code)}"
    return [_Departure(said, ("--support-file", "box.npz"), needs)]


def _of_count(certificate: Certificate, held: Contents, limit: int | None) -> list[_Departure]:
    """Where it is about fewer samples, or more."""
    stated, wanted = (held.count if n is None else min(n, held.count) for n in (certificate.count, limit))
    if stated == wanted:  # where the file has too few, the checker rejects
        return []
    said = (
        f"the first {stated} of the {held.count} samples instead of {'all' if limit is None else f'the first {wanted}'}"
    )
    return [_Departure(said, ("--samples", str(certificate.count)))]


def _of_labels(certificate: Certificate, held: Contents, wanted: str | None) -> list[_Departure]:
    """Where it takes another column of a ``.csv`` for the labels."""
    stated, asked = held.labels(certificate.label_column), held.labels(wanted)
    if stated == asked or (stated is not None and asked is not None and stated.index == asked.index):
        return []
    if stated is None:
        raise CertificateError(
            "it takes every column for a feature, and a column is left out; leave --label-column out"
        )
    if asked is None:
        return [_Departure(f"column {stated} left out instead of none", ("--label-column", stated.typed))]
    said = f"labels from column {stated} instead of column {asked}"
    return [_Departure(said, ("--label-column", stated.typed))]


def _of_clip(moves: Moved) -> list[_Departure]:
    """Where it moves samples."""
    from wdaverify.digits import at_most

    if not moves.samples:
        return []
    said = f"{moves.samples} of the samples moved onto its box (by at most {at_most(moves.cost, 6)}) instead of as they are"
    return [_Departure(said, ("--clip",))]


def _refusal(path: str, departures: list[_Departure]) -> str:
    """One line with the options to paste."""
    options = shlex.join(option for departure in departures for option in departure.options)
    needs = "".join(f", {departure.needs}" for departure in departures if departure.needs)
    said = "; ".join(departure.said for departure in departures)
    return (
        f"{shown(path, 4096)}: it is about another question than the one asked: {said}; if you mean that one, ask for it with "
        f"{options}{needs}"
    )
