"""What a checker made of a certificate of Lipschitz constants, as text and as JSON: the theorem in full, about the user's own files."""

from __future__ import annotations

from wdaverify.certify.checker import Verdict
from wdaverify.certify.slope_certificate import SlopeCertificate
from wdaverify.certify.slope_checker import stated_parts
from wdaverify.digits import down, places, stated, up
from wdaverify.lipschitz.question import OPERATOR_NORM, LipschitzProblem
from wdaverify.report.as_json import Json, number, support_json
from wdaverify.report.box import box_text
from wdaverify.report.summary import rows
from wdaverify.rounding import widths_up
from wdaverify.untrusted import shown

SLOPE_VERDICT_SCHEMA = "wdaverify/slope-verdict/1"
_FEW = 8
"""The most constants that the text spells out."""


def slope_verdict_summary(
    certificate: SlopeCertificate, verdict: Verdict, problem: LipschitzProblem, size: int, seconds: float
) -> str:
    """The theorem, what was proven of it, what was claimed; ends without a newline."""
    digits = places(verdict.lower, verdict.upper)
    answer = "proved" if verdict.proved else "REJECTED: what follows is all that was proven"
    if verdict.unproven and not verdict.reasons:
        answer = "not decided: the time limit was reached; what follows is all that was proven"
    hashes, around = stated_parts(problem.stated), problem.around
    points = (
        [] if around is None else [("samples", f"{len(around)} of {around.source}; sha256 {hashes['points_sha256']}")]
    )
    return rows(
        [
            ("verdict", answer),
            ("theorem", _theorem(problem)),
            *_rows(problem),
            *points,
            ("network", f"{shown(problem.network.name)}, sha256 {problem.network.sha256}"),
            *(("", f"of it: {notice}") for notice in problem.network.notices),
            ("lower", f"{down(verdict.lower, digits)}   of L, proven"),
            ("upper", f"{up(verdict.upper, digits)}   of L, proven"),
            ("claimed", f"[{stated(verdict.claimed_lower)}, {stated(verdict.claimed_upper)}]"),
            *_each(certificate, verdict, problem),
            ("certificate", f"{size / 1e6:.3g} MB, {certificate.content}"),
            ("time", f"{seconds:.2f} s"),
        ]
    )


def _theorem(problem: LipschitzProblem) -> str:
    norm, names = problem.cost.norm.short, problem.measure.names
    if problem.measure.kind == OPERATOR_NORM:
        what = f"f the vector of all {len(names)} outputs, in {norm},"
    elif len(names) == 1:
        what = f"f the function {names[0]},"
    else:
        what = f"the largest of the constants of {len(names)} functions f, each by itself: {', '.join(names)};"
    weighted = "" if problem.cost.weights is None else ", weighted as the certificate's hash says"
    box = box_text(problem.support.lower, problem.support.upper)
    box += " cut by the rows below" if problem.support.rows is not None else ""
    where = box
    if problem.around is not None:
        cut = f", cut by {box}" if problem.support.bounded else ""
        where = f"any of the balls of radius {stated(problem.within)} ({norm}{weighted}) around the samples below{cut}"
    cut_by, flat = (
        problem.support.rows,
        "; where rows leave no interior L is that slope, and may be more than the least",
    )
    return (
        f"lower <= L <= upper, L the least number with |f(x) - f(x')| <= L ||x - x'|| ({norm}{weighted}), {what} for x and x' that "
        f"segments within {where} join: the largest slope over the full-dimensional activation cells that meet it, of the network below"
        f"{'' if cut_by is None else flat}"
    )


def _rows(problem: LipschitzProblem) -> list[tuple[str, str]]:
    found = problem.support.rows
    if found is None:
        return []
    sides = zip(found.lower[:_FEW].tolist(), found.matrix.tolist(), found.upper.tolist(), strict=False)
    each = "; ".join(f"{stated(a)} <= ({', '.join(map(stated, row))}) . x <= {stated(b)}" for a, row, b in sides)
    more = "; ..." if found.lower.size > _FEW else ""
    return [("rows", f"{each}{more}; sha256 {stated_parts(problem.stated)['rows_sha256']}")]


def _each(certificate: SlopeCertificate, verdict: Verdict, problem: LipschitzProblem) -> list[tuple[str, str]]:
    """Of several constants the first few and the widest."""
    if len(verdict.claims) < 2 or not verdict.proved:
        return []
    at, low, high = verdict.claims.T
    wide = widths_up(low, high)
    some = sorted({*range(min(_FEW, at.size)), int(wide.argmax())})
    named = [("", f"{_name(certificate, problem, k)}: [{stated(low[k])}, {stated(high[k])}]   proven") for k in some]
    return [*named, ("widest", f"{stated(wide.max())}, of {at.size} constants (all are in the JSON of --output)")]


def _name(certificate: SlopeCertificate, problem: LipschitzProblem, k: int) -> str:
    sample, functional = _claim(certificate, problem, k)
    return ", ".join(part for part in (f"sample {sample}" if sample is not None else "", functional or "") if part)


def _claim(certificate: SlopeCertificate, problem: LipschitzProblem, k: int) -> tuple[int | None, str | None]:
    """The sample and functional that a claim is about."""
    parts = [name for name, _ in problem.measure.parts(problem.cost.norm)]
    sample = k // (len(parts) if certificate.each else 1)
    return None if problem.around is None else sample, parts[k % len(parts)] if certificate.each else None


def slope_verdict_json(
    certificate: SlopeCertificate, verdict: Verdict, problem: LipschitzProblem, seconds: float
) -> Json:
    """The fields of ``slope_verdict.schema.json``."""
    hashes, sides, around = stated_parts(problem.stated), support_json(problem.support), problem.around
    claims = []
    for k, (_, low, high) in enumerate(verdict.claims.tolist()):
        sample, functional = _claim(certificate, problem, k)
        claims.append({"sample": sample, "functional": functional, "lower": number(low), "upper": number(high)})
    return {
        "schema": SLOPE_VERDICT_SCHEMA,
        "proved": verdict.proved,
        "lower": number(verdict.lower),
        "upper": number(verdict.upper),
        "claimed": {"lower": number(verdict.claimed_lower), "upper": number(verdict.claimed_upper)},
        "reasons": list(verdict.reasons),
        "unproven": list(verdict.unproven),
        "norm": problem.cost.norm.value,
        "measure": problem.measure.kind,
        "functionals": list(problem.measure.names),
        "rows": problem.measure.rows.tolist(),
        "region": {"lower": sides["lower"], "upper": sides["upper"], "rows": sides["rows"]},
        "within": None if around is None else number(problem.within),
        "samples": None if around is None else len(around),
        "source": None if around is None else around.source,
        "points_sha256": hashes["points_sha256"],
        "network": problem.network.name,
        "network_sha256": problem.network.sha256,
        "network_notices": list(problem.network.notices),
        "claims": claims if verdict.proved or verdict.unproven else [],
        "leaves": certificate.leaves,
        "seconds": number(seconds),
    }
