"""What a checker made of a certificate, as text and as JSON.

Both state the question that was checked in full: it was read from the user's own files, and numbers that state it read back to
themselves.
"""

from __future__ import annotations

from wdaverify.certify.certificate import Certificate
from wdaverify.certify.checker import Verdict
from wdaverify.digits import at_most, down, places, stated, up
from wdaverify.problem import WdroProblem
from wdaverify.reading import Column, Reading
from wdaverify.report.as_json import Json, number, specification_json, support_json
from wdaverify.report.box import box_text
from wdaverify.report.summary import rows
from wdaverify.untrusted import shown

VERDICT_SCHEMA = "wdaverify/verdict/1"


def verdict_summary(
    certificate: Certificate, verdict: Verdict, problem: WdroProblem, reading: Reading, size: int, seconds: float
) -> str:
    """The theorem, what was proven of it, what was claimed; ends without a newline."""
    digits = places(verdict.lower, verdict.upper)
    proofs = certificate.proofs
    leaves = sum(int((tree.nodes >= 0).sum()) + 1 for proof in proofs for tree in proof.trees)
    answer = "proved" if verdict.proved else "REJECTED: what follows is all that was proven"
    if verdict.unproven and not verdict.reasons:
        answer = "not decided: the time limit was reached; what follows is all that was proven"
    table = [
        ("verdict", answer),
        ("theorem", _theorem(problem)),
        ("samples", _samples(problem, reading)),
        ("network", f"{shown(problem.network.name)}, sha256 {problem.network.sha256}"),
        *_specification(problem),
        *(("", f"of it: {notice}") for notice in problem.network.notices),
        ("lower", f"{down(verdict.lower, digits)}   proven"),
        ("upper", f"{up(verdict.upper, digits)}   proven"),
        ("claimed", f"[{stated(certificate.lower)}, {stated(certificate.upper)}]"),
        ("certificate", f"{size / 1e6:.3g} MB, {len(proofs)} proofs, {leaves} leaves"),
        ("time", f"{seconds:.2f} s"),
    ]
    return rows(table)


def _theorem(problem: WdroProblem) -> str:
    norm = problem.cost.norm.short
    box = box_text(problem.support.lower, problem.support.upper)
    if "..." in box:
        box += " (each is in the JSON of --output)"
    what = f"E_Q[{problem.loss.value} loss]" if problem.specification is None else "P_Q(specification violated)"
    fixed = ", labels fixed" if problem.specification is None else ""
    return (
        f"lower <= sup {what} <= upper over all Q on {box} with W{problem.cost.order}(Q, P) <= "
        f"{stated(problem.radius)} ({norm} cost{fixed}), P the samples below, for the network below"
    )


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
        "radius": number(problem.radius),
        "order": problem.cost.power,
        "norm": problem.cost.norm.value,
        "loss": problem.loss.value,
        "support": support_json(problem.support),
        "samples": len(samples),
        "samples_in_file": reading.there,
        "source": samples.source,
        "label_column": None if column is None else {"index": column.index, "name": column.name, "last": column.last},
        "moved": {"samples": moved.samples, "cost": number(moved.cost), "linf": number(moved.linf)},
        "equal_weights": bool((samples.w == samples.w[0]).all()),
        "specification": specification_json(problem),
        "network": problem.network.name,
        "network_sha256": problem.network.sha256,
        "network_notices": list(problem.network.notices),
        "samples_sha256": samples.sha256,
        "proofs": len(certificate.proofs),
        "seconds": number(seconds),
    }
