"""What a checker made of a certificate of unsat, as text and as JSON: the theorem in full, about the user's own files."""

from __future__ import annotations

from wdaverify.certify.checker import Verdict
from wdaverify.certify.unsat import Unsat
from wdaverify.digits import places, stated, up
from wdaverify.network.model import ReluNetwork
from wdaverify.report.as_json import Json, number
from wdaverify.report.summary import rows
from wdaverify.specification.model import Specification
from wdaverify.untrusted import shown

UNSAT_VERDICT_SCHEMA = "wdaverify/unsat-verdict/1"


def unsat_verdict_summary(
    certificate: Unsat,
    verdict: Verdict,
    network: ReluNetwork,
    specification: Specification,
    size: int,
    seconds: float,
) -> str:
    """The theorem, what was proven of it, what was claimed; ends without a newline."""
    digits = places(verdict.upper, verdict.claimed_upper)
    answer = "proved" if verdict.proved else "REJECTED: what follows is all that was proven"
    if verdict.unproven and not verdict.reasons:
        answer = "not decided: the time limit was reached, and nothing is proven"
    table = [
        ("verdict", answer),
        ("theorem", _theorem(specification)),
        ("specification", f"{shown(specification.name)}, {_size(specification)}; sha256 {specification.sha256}"),
        ("network", f"{shown(network.name)}, sha256 {network.sha256}"),
        *(("", f"of it: {notice}") for notice in network.notices),
        ("upper", f"{up(verdict.upper, digits)}   of v, proven"),
        ("claimed", stated(verdict.claimed_upper)),
        ("certificate", f"{size / 1e6:.3g} MB, {certificate.content}"),
        ("time", f"{seconds:.2f} s"),
    ]
    return rows(table)


def _theorem(specification: Specification) -> str:
    return (
        f"unsat: no x in the boxes of {shown(specification.name)} makes all rows of a disjunct hold for the network below, in real "
        "arithmetic on the numbers as stored, strict rows taken as closed; v = max over disjuncts and x of the least row is at most upper, "
        "which is below 0"
    )


def _size(specification: Specification) -> str:
    count = len(specification.disjuncts)
    dropped = f", and {specification.dropped} that contradict themselves" if specification.dropped else ""
    return (
        f"{specification.inputs} inputs, {specification.outputs} outputs, {count} disjunct{'s' * (count != 1)}{dropped}"
    )


def unsat_verdict_json(
    certificate: Unsat,
    verdict: Verdict,
    network: ReluNetwork,
    specification: Specification,
    seconds: float,
) -> Json:
    """The fields of ``unsat_verdict.schema.json``."""
    return {
        "schema": UNSAT_VERDICT_SCHEMA,
        "proved": verdict.proved,
        "upper": number(verdict.upper),
        "claimed": number(verdict.claimed_upper),
        "reasons": list(verdict.reasons),
        "unproven": list(verdict.unproven),
        "specification": specification.name,
        "specification_sha256": specification.sha256,
        "disjuncts": len(specification.disjuncts),
        "dropped": specification.dropped,
        "network": network.name,
        "network_sha256": network.sha256,
        "network_notices": list(network.notices),
        "leaves": certificate.leaves,
        "seconds": number(seconds),
    }
