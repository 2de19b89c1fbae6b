"""What a checker made of a certificate, as text and as JSON.

Both state the question that was checked in full: it was read from the user's own files, and numbers that state it read back to
themselves.
"""

from __future__ import annotations

import math

import numpy as np

from wdaverify.arithmetic import Arithmetic
from wdaverify.certify.certificate import CURVE, DISTANCES, VALUE, Certificate
from wdaverify.certify.checker import Verdict
from wdaverify.certify.question import named
from wdaverify.digits import at_most, down, places, stated, up
from wdaverify.network.model import Array
from wdaverify.problem import WdroProblem
from wdaverify.reading import Column, Reading
from wdaverify.report.as_json import Json, number, question_json
from wdaverify.report.box import box_text
from wdaverify.report.summary import rows
from wdaverify.rounding import widths_up
from wdaverify.untrusted import shown

VERDICT_SCHEMA = "wdaverify/verdict/1"
_FEW = 8
"""The most numbers of a kind that the text spells out."""


def verdict_summary(
    certificate: Certificate, verdict: Verdict, problem: WdroProblem, reading: Reading, size: int, seconds: float
) -> str:
    """The theorem, what was proven of it, what was claimed; ends without a newline."""
    digits = places(verdict.lower, verdict.upper)
    answer = f"proved{_unclaimed(certificate)}" if verdict.proved else "REJECTED: what follows is all that was proven"
    if verdict.unproven and not verdict.reasons:
        answer = "not decided: the time limit was reached; what follows is all that was proven"
    table = [
        ("verdict", answer),
        ("theorem", _theorem(certificate, problem)),
        ("samples", _samples(problem, reading)),
        ("network", f"{shown(problem.network.name)}, sha256 {problem.network.sha256}"),
        *_specification(problem),
        *_named(problem),
        *(("", f"of it: {notice}") for notice in problem.network.notices),
        *_proven(certificate, verdict, digits),
        ("certificate", f"{size / 1e6:.3g} MB, {certificate.content}"),
        ("time", f"{seconds:.2f} s"),
    ]
    return rows(table)


def _unclaimed(certificate: Certificate) -> str:
    """Of which sides there was nothing to prove."""
    if certificate.of == VALUE:
        none = [certificate.lower == -math.inf, certificate.upper == math.inf]
    else:
        none = [bool((certificate.claims[:, k] == end).all()) for k, end in ((1, -math.inf), (2, math.inf))]
    sides = [side for side, there in zip(("below", "above"), none, strict=True) if there]
    return f"; nothing is claimed from {' or '.join(sides)}" if sides else ""


def _proven(certificate: Certificate, verdict: Verdict, digits: int) -> list[tuple[str, str]]:
    """What was proven, beside what was claimed; of distances and curves the first few and the widest."""
    if certificate.of == VALUE:
        return [
            ("lower", f"{down(verdict.lower, digits)}   proven"),
            ("upper", f"{up(verdict.upper, digits)}   proven"),
            ("claimed", f"[{stated(certificate.lower)}, {stated(certificate.upper)}]"),
        ]
    if not len(verdict.claims):
        return [("proven", "nothing")]
    at, low, high = verdict.claims.T
    width = widths_up(low, high)
    shown = sorted({*range(min(_FEW, at.size)), int(width.argmax()), at.size - 1})
    name = "at radius" if certificate.of == CURVE else "sample"
    out = [(f"{name} {stated(at[k])}", f"[{stated(low[k])}, {stated(high[k])}]   proven") for k in shown]
    what = "radii" if certificate.of == CURVE else "samples"
    return [*out, ("widest", f"{stated(width.max())}, of {at.size} {what} (all are in the JSON of --output)")]


def _theorem(certificate: Certificate, problem: WdroProblem) -> str:
    norm = problem.cost.norm.short
    box = box_text(problem.support.lower, problem.support.upper)
    if "..." in box:
        box += " (each is in the JSON of --output)"
    what = f"E_Q[{problem.loss.value} loss]" if problem.specification is None else "P_Q(specification violated)"
    cost, support = problem.cost, problem.support
    cuts = [name for name, there in (("rows", support.rows), ("integers", support.integer)) if there is not None]
    box += f" cut by the {' and '.join(cuts)} below" if cuts else ""
    labels = ", labels fixed" if problem.specification is None else ""
    if cost.moves_labels:
        labels = f", labels move at {stated(cost.label_cost)}"
    weighted = ", weighted as below" if cost.weights is not None else ""
    if certificate.of == DISTANCES:
        error = "an error (a tie is one)" if problem.specification is None else "a violation of the specification"
        return (
            f"for each sample, lower <= d <= upper, d the least distance ({norm} cost{weighted}) from it to {error} in {box}, for the "
            "network below"
        )
    radius = stated(problem.radius)
    if certificate.of == CURVE:
        between = "straight lines in r^p between them" if math.isfinite(cost.order) else "steps from each to the next"
        radius = f"r, at every radius r below and, by {between}, at every other from 0 to {radius}"
    return (
        f"lower <= sup {what} <= upper over all Q on {box} with W{cost.order}(Q, P) <= "
        f"{radius} ({norm} cost{weighted}{labels}), P the samples below, for the network below{_single(problem)}"
    )


def _single(problem: WdroProblem) -> str:
    """In what arithmetic the network is, where that is not real arithmetic."""
    if problem.arithmetic is Arithmetic.REAL:
        return ""
    return (
        " as any runtime of IEEE float32 computes it: points rounded to float32, sums in any order, fused or not, subnormal numbers "
        "flushed or not, constants folded or not; the loss of the outputs in real arithmetic"
    )


def _named(problem: WdroProblem) -> list[tuple[str, str]]:
    """What the theorem takes from below: numbers as far as they are few, all of them in the JSON, and their hashes."""
    hashes, support, out = named(problem), problem.support, list[tuple[str, str]]()
    linear, weights = problem.functionals, problem.cost.weights
    if linear is not None:
        each = "; ".join(_vector(row) for row in linear.matrix[:_FEW])
        offset = "by label" if linear.offset.ndim > 1 else _vector(linear.offset)
        out.append(("functionals", f"{each}; offsets {offset}; sha256 {hashes['functionals_sha256']}"))
    if weights is not None:
        out.append(("weights", f"{_vector(weights)}; sha256 {hashes['weights_sha256']}"))
    if support.rows is not None:
        sides = zip(support.rows.lower[:_FEW].tolist(), support.rows.matrix, support.rows.upper.tolist(), strict=False)
        each = "; ".join(f"{stated(low)} <= {_vector(row)} . x <= {stated(high)}" for low, row, high in sides)
        more = "; ..." if support.rows.lower.size > _FEW else ""
        out.append(("rows", f"{each}{more}; sha256 {hashes['rows_sha256']}"))
    if support.integer is not None:
        features = np.flatnonzero(support.integer).tolist()
        more = ", ..." if len(features) > _FEW else ""
        said = ", ".join(map(str, features[:_FEW]))
        out.append(("integers", f"features {said}{more}; sha256 {hashes['integers_sha256']}"))
    return out


def _vector(values: Array) -> str:
    more = f", ... ({values.size} numbers)" if values.size > _FEW else ""
    return f"({', '.join(stated(v) for v in values[:_FEW].tolist())}{more})"


def _samples(problem: WdroProblem, reading: Reading) -> str:
    """How many of how many, what was moved, weights, labels, hash."""
    samples, moved = problem.samples, reading.moved
    used = len(samples)
    which = f"all {used}" if used == reading.there else f"the first {used} of the {reading.there}"
    said = [f"{which} of {samples.source}"]
    if moved.samples:
        far = f"{at_most(moved.cost, 6)} in the ground cost"
        if moved.linf != moved.cost:
            far += f", {at_most(moved.linf, 6)} in l-inf"
        said.append(f"{moved.samples} of them MOVED onto the support (--clip), by at most {far}")
    else:
        said.append("none of them moved")
    equal = bool((samples.w == samples.w[0]).all())
    said.append("equal weights" if equal else "weighted by the file's w")
    said.append(_labels(reading.column, samples.labelled))
    return f"P: {', '.join(said)}; sha256 as used {samples.sha256}"


def _specification(problem: WdroProblem) -> list[tuple[str, str]]:
    """Whose violation it is about."""
    found = problem.specification
    return [] if found is None else [("violated", f"{shown(found.name)}, sha256 {found.sha256}")]


def _labels(column: Column | None, labelled: bool) -> str:
    if not labelled:
        return "without labels" if column is None else f"without labels, column {column} left out"
    if column is None:
        return "labels in y"
    return f"labels in column {column}, {'the last' if column.last else 'NOT the last'}"


def verdict_json(
    certificate: Certificate, verdict: Verdict, problem: WdroProblem, reading: Reading, seconds: float
) -> Json:
    """The fields of ``verdict.schema.json``."""
    samples, column, moved = problem.samples, reading.column, reading.moved
    return {
        "schema": VERDICT_SCHEMA,
        "proved": verdict.proved,
        "lower": number(verdict.lower),
        "upper": number(verdict.upper),
        "claimed": {"lower": number(verdict.claimed_lower), "upper": number(verdict.claimed_upper)},
        "reasons": list(verdict.reasons),
        "unproven": list(verdict.unproven),
        **question_json(problem),
        "samples": len(samples),
        "samples_in_file": reading.there,
        "source": samples.source,
        "label_column": None if column is None else {"index": column.index, "name": column.name, "last": column.last},
        "moved": {"samples": moved.samples, "cost": number(moved.cost), "linf": number(moved.linf)},
        "equal_weights": bool((samples.w == samples.w[0]).all()),
        "network": problem.network.name,
        "network_sha256": problem.network.sha256,
        "network_notices": list(problem.network.notices),
        "samples_sha256": samples.sha256,
        "of": certificate.of,
        "claims": [
            {"at": number(at), "lower": number(low), "upper": number(high)} for at, low, high in verdict.claims.tolist()
        ],
        "proofs": len(certificate.proofs),
        "seconds": number(seconds),
    }
