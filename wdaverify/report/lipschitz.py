"""Lipschitz constants as JSON and as text."""

from __future__ import annotations

from dataclasses import asdict

from wdaverify.digits import down, places, stated, up, width
from wdaverify.lipschitz.question import OPERATOR_NORM, LipschitzProblem
from wdaverify.lipschitz.result import LipschitzResult, Part
from wdaverify.report.as_json import Json, network_provenance_json, number, support_json
from wdaverify.report.summary import rows
from wdaverify.wdro.result import Voucher

SCHEMA = "wdaverify/lipschitz/1"
_SHOWN = 20
_LOWER = {
    Voucher.CHECKED: "evaluated here inside a cell, with outward rounding",
    Voucher.PROVED: "proved: accepted by the checker of the certificate",
}
_UPPER = {
    Voucher.CHECKED: "re-evaluated here with outward rounding",
    Voucher.PROVED: "proved: accepted by the checker of the certificate",
    Voucher.SOLVER: "on the solver's word",
}


def lipschitz_json(result: LipschitzResult, files: Json | None = None) -> Json:
    """The fields of ``lipschitz.schema.json``; ``files`` names what the question was read from."""
    problem, around = result.problem, result.problem.around
    return {
        "schema": SCHEMA,
        "status": result.status.value,
        "reason": result.reason.value,
        "detail": result.detail,
        "lower": number(result.lower),
        "upper": number(result.upper),
        "gap_asked": number(result.gap_asked),
        "norm": problem.cost.norm.value,
        "measure": problem.measure.kind,
        "each": result.each,
        "functionals": list(problem.measure.names),
        "region": _region(problem),
        "parts": [_part(part) for part in result.parts],
        "bounds": [
            {"functional": b.functional, "sample": b.sample, "upper": number(b.upper)} for b in result.functionals
        ],
        "vouched": {"lower": result.vouched_lower.value, "upper": result.vouched_upper.value},
        "solver": asdict(result.solver),
        "statistics": {k: number(v) if isinstance(v, float) else v for k, v in asdict(result.statistics).items()},
        "seed": result.seed,
        **network_provenance_json(problem.network, result.notices),
        "samples": None if around is None else {"source": around.source, "count": len(around)},
        "samples_sha256": None if around is None else around.sha256,
        "files": files,
    }


def _region(problem: LipschitzProblem) -> Json:
    kind = "balls" if problem.around is not None else "box" if problem.support.bounded else "whole-space"
    sides = support_json(problem.support)
    return {
        "kind": kind,
        "lower": sides["lower"],
        "upper": sides["upper"],
        "rows": sides["rows"],
        "within": number(problem.within) if problem.around is not None else None,
    }


def _part(part: Part) -> Json:
    return {
        "sample": part.sample,
        "functional": part.functional,
        "lower": number(part.lower),
        "upper": number(part.upper),
        "point": None if part.point is None else [number(v) for v in part.point],
    }


def lipschitz_summary(result: LipschitzResult) -> str:
    """The question, the bracket, where it is attained, and what it cost; ends without a newline."""
    problem, norm = result.problem, result.problem.cost.norm.short
    digits = places(result.lower, result.upper)
    statistics = result.statistics
    table = [
        ("question", _question(problem)),
        ("", f"distances in {norm}; {_over(problem)}"),
        (
            "network",
            f"{problem.network.name}: {problem.network.n_inputs} inputs, {_neurons(problem)}",
        ),
    ]
    answer = [
        ("answer", f"{result.status.words}: {result.detail}"),
        ("lower", f"{down(result.lower, digits)}   {_lower(result)}"),
        ("upper", f"{up(result.upper, digits)}   {_UPPER[result.vouched_upper]}"),
        (
            "gap",
            f"{width(result.lower, result.upper)}   "
            f"(asked for: {stated(result.gap_asked)}{' for each row' if len(result.parts) > 1 else ''})",
        ),
    ]
    best = max(result.parts, key=lambda part: part.lower)
    if best.point is not None:
        where = "" if best.sample is None else f" near sample {best.sample}"
        answer.append(("attained", f"{best.functional}{where}, around the point {_short(best.point.tolist())}"))
    work = rows(
        [
            ("work", f"{statistics.solves} questions, {statistics.nodes} nodes, {result.solver.why}"),
            ("time", f"{statistics.seconds:.1f} s with {statistics.jobs} process{'es' * (statistics.jobs != 1)}"),
        ]
    )
    parts = "" if len(result.parts) == 1 else "\n\n" + _table(result, digits)
    return f"{rows(table)}\n\n{rows(answer)}{parts}\n\n{work}"


def _over(problem: LipschitzProblem) -> str:
    if problem.network.curved:
        return "the largest over all points of the region where there is a gradient"
    return "the largest over full-dimensional activation cells that meet the region"


def _neurons(problem: LipschitzProblem) -> str:
    network = problem.network
    return f"{network.n_relus} {'neurons' if network.curved else 'ReLUs'}"


def _lower(result: LipschitzResult) -> str:
    said = _LOWER[result.vouched_lower]
    return said.replace("inside a cell", "at a point") if result.problem.network.curved else said


def _question(problem: LipschitzProblem) -> str:
    names = problem.measure.names
    if problem.measure.kind == OPERATOR_NORM:
        norm = problem.cost.norm.short
        what = f"operator norm of the whole Jacobian, from {norm} to {norm}"
    else:
        shown = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
        what = f"largest gradient ({problem.cost.norm.dual}) of {shown}"
    return f"{what}, on {_where(problem)}"


def _where(problem: LipschitzProblem) -> str:
    support, n = problem.support, problem.network.n_inputs
    box = f"R^{n}"
    if support.bounded:
        same = (support.lower == support.lower[0]).all() and (support.upper == support.upper[0]).all()
        box = f"[{stated(support.lower[0])}, {stated(support.upper[0])}]^{n}" if same else f"a box in R^{n}"
        box += " cut by linear rows" if support.rows is not None else ""
    if problem.around is None:
        return box
    cut = f" within {box}" if support.bounded else ""
    return f"balls of radius {stated(problem.within)} around {len(problem.around)} samples{cut}"


def _table(result: LipschitzResult, digits: int) -> str:
    lines = [f"{'sample':>8}  {'lower':>18}  {'upper':>18}  functional"]
    for part in result.parts[:_SHOWN]:
        sample, ends = "all" if part.sample is None else str(part.sample), (part.lower, part.upper)
        low, high = down(ends[0], digits), up(ends[1], digits)
        lines.append(f"{sample:>8}  {low:>18}  {high:>18}  {part.functional or '-'}")
    if len(result.parts) > _SHOWN:
        lines.append(f"{len(result.parts) - _SHOWN} more rows are in the file of --output")
    return "\n".join(lines)


def _short(point: list[float]) -> str:
    shown = ", ".join(f"{v:.6g}" for v in point[:6])
    return f"({shown}{', ...' if len(point) > 6 else ''})"
