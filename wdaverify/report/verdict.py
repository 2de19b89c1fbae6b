"""What a checker made of a certificate, as text and as JSON."""

from __future__ import annotations

from wdaverify.certify.certificate import Certificate
from wdaverify.certify.checker import Verdict
from wdaverify.digits import down, places, stated, up
from wdaverify.report.as_json import Json, number
from wdaverify.report.summary import rows

VERDICT_SCHEMA = "wdaverify/verdict/1"


def verdict_summary(certificate: Certificate, verdict: Verdict, size: int, seconds: float) -> str:
    """The theorem, what was proven of it, what was claimed; ends without a newline."""
    digits = places(verdict.lower, verdict.upper)
    proofs = certificate.proofs
    leaves = sum(int((tree.nodes >= 0).sum()) + 1 for proof in proofs for tree in proof.trees)
    answer = "proved" if verdict.proved else "REJECTED: what follows is all that was proven"
    if verdict.unproven and not verdict.reasons:
        answer = "not decided: the time limit was reached; what follows is all that was proven"
    table = [
        ("verdict", answer),
        ("theorem", _theorem(certificate)),
        ("lower", f"{down(verdict.lower, digits)}   proven"),
        ("upper", f"{up(verdict.upper, digits)}   proven"),
        ("claimed", f"[{stated(certificate.lower)}, {stated(certificate.upper)}]"),
        ("certificate", f"{size / 1e6:.3g} MB, {len(proofs)} proofs, {leaves} leaves"),
        ("time", f"{seconds:.2f} s"),
    ]
    return rows(table)


def _theorem(certificate: Certificate) -> str:
    low, high = certificate.support_lower, certificate.support_upper
    box = (
        f"[{low[0]:g}, {high[0]:g}]^{low.size}"
        if low.size and (low == low[0]).all() and (high == high[0]).all()
        else "a box"
    )
    norm = "l-inf" if certificate.norm == "inf" else "l1"
    return (
        f"lower <= sup E_Q[{certificate.loss} loss] <= upper over all Q on {box} with W{certificate.order}(Q, P) <= "
        f"{certificate.radius:.17g} ({norm} cost, labels fixed), P the {certificate.count} samples given, for the network given"
    )


def verdict_json(certificate: Certificate, verdict: Verdict, seconds: float) -> Json:
    """The fields of ``verdict.schema.json``."""
    return {
        "schema": VERDICT_SCHEMA,
        "proved": verdict.proved,
        "lower": number(verdict.lower),
        "upper": number(verdict.upper),
        "claimed": {"lower": number(verdict.claimed_lower), "upper": number(verdict.claimed_upper)},
        "reasons": list(verdict.reasons),
        "unproven": list(verdict.unproven),
        "radius": number(certificate.radius),
        "order": certificate.order,
        "norm": certificate.norm,
        "loss": certificate.loss,
        "samples": certificate.count,
        "network_sha256": certificate.network_sha256,
        "samples_sha256": certificate.samples_sha256,
        "proofs": len(certificate.proofs),
        "seconds": number(seconds),
    }
