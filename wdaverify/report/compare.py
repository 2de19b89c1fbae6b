"""The ladder as JSON and as text."""

from __future__ import annotations

import math

from wdaverify.digits import down, places, stated, up, up_to
from wdaverify.ladder.rung import Comparison, Kind, Ladder, Rung, Side
from wdaverify.report.as_json import Json, number, optional, provenance_json, question_json, verification_json
from wdaverify.report.error_rates import error_rate_json, error_rates, radius_kind, rates_label, rates_text
from wdaverify.report.summary import question_text, rows
from wdaverify.report.threshold import verdict
from wdaverify.wdro.result import Voucher

SCHEMA = "wdaverify/compare/1"
_NAME, _VALUE, _AWAY = 24, 20, 12


def compare_json(comparison: Comparison, files: Json | None = None) -> Json:
    """The fields of ``compare.schema.json``."""
    problem = comparison.problem
    return {
        "schema": SCHEMA,
        **question_json(problem),
        "radii": [number(ladder.problem.radius) for ladder in comparison.ladders],
        "ladders": [_ladder(ladder) for ladder in comparison.ladders],
        "verifications": [
            verification_json(ladder.result, files) for ladder in comparison.ladders if ladder.result is not None
        ],
        "error_rate": error_rate_json(problem),
        "seed": comparison.seed,
        **provenance_json(problem, comparison.notices),
        "files": files,
    }


def _ladder(ladder: Ladder) -> Json:
    result = ladder.result
    return {
        "radius": number(ladder.problem.radius),
        "nominal": number(ladder.nominal),
        "lower": number(ladder.lower),
        "upper": number(ladder.upper),
        "status": "not-asked" if result is None else result.status.value,
        "reason": "not-asked" if result is None else result.reason.value,
        "detail": "the exact run was not asked for" if result is None else result.detail,
        "rungs": [_rung(rung, ladder) for rung in ladder.rungs],
    }


def _rung(rung: Rung, ladder: Ladder) -> Json:
    return {
        "name": rung.name,
        "side": rung.side.value,
        "kind": rung.kind.value,
        "value": optional(rung.value),
        "lower": optional(rung.lower),
        "upper": optional(rung.upper),
        "vouched": "none" if rung.vouched is None else rung.vouched.value,
        "seconds": rung.seconds,
        "distance": None if rung.side is Side.MIDDLE else _known(rung.distance(ladder.lower, ladder.upper)),
        "detail": rung.detail,
        "why": rung.why,
    }


def _known(distance: float | None) -> float | None:
    """A distance; none from a bracket without that end."""
    return distance if distance is not None and math.isfinite(distance) else None


def compare_summary(comparison: Comparison) -> str:
    """The question, and for every radius its ladder from the top down; ends without a newline."""
    problem = comparison.problem
    table, rates = [("radius", f"how far mass may move, {radius_kind(problem.cost.order)}")], error_rates(problem)
    table += [] if rates is None else [(rates_label(problem.loss), rates_text(rates, problem.loss))]
    parts = [question_text(problem) + "\n" + rows(table)]
    for ladder in comparison.ladders:
        parts.append(_table(ladder))
    parts.append(rows([("time", f"{comparison.seconds:.1f} s")]))
    return "\n\n".join(parts)


def _table(ladder: Ladder) -> str:
    scale = [abs(r.value - ladder.upper) for r in ladder.rungs if r.value is not None and math.isfinite(r.value)]
    digits = min(12, places(0.0, max(min([s for s in scale if s > 0], default=1.0), 1e-9)))
    middle = "bracket" if ladder.problem.network.curved else "exact"
    head = f"radius {stated(ladder.problem.radius)}: {_state(ladder)}"
    lines = [head, f"{'':<{_NAME}}{'value':>{_VALUE}}{f'from {middle}':>{_AWAY}}{'seconds':>10}  vouched"]
    for rung in ladder.rungs:
        lines += _lines(rung, ladder, digits)
    return "\n".join(lines)


def _state(ladder: Ladder) -> str:
    if ladder.result is None:
        return "the exact run was not asked for; distances are from the best that is proven"
    result = ladder.result
    if result.threshold is not None and result.decision is not None:
        return f"{', '.join(verdict(result.decision, result.threshold))}; {result.detail}"
    return f"{result.status.words}, {result.detail}"


_WORDS = {Voucher.CHECKED: "checked", Voucher.SOLVER: "solver", Voucher.PROVED: "proved", None: "estimate, no bound"}


def _lines(rung: Rung, ladder: Ladder, digits: int) -> list[str]:
    seconds = "" if rung.seconds is None else f"{rung.seconds:.2f}"
    if rung.side is Side.MIDDLE:
        assert rung.lower is not None
        assert rung.upper is not None
        high, low = up(rung.upper, digits), down(rung.lower, digits)
        result = ladder.result
        word = "" if result is None else _WORDS[result.vouched_lower]
        return [
            f"{f'{rung.name}, upper end':<{_NAME}}{high:>{_VALUE}}{'':>{_AWAY}}{seconds:>10}  {_WORDS[rung.vouched]}",
            f"{f'{rung.name}, lower end':<{_NAME}}{low:>{_VALUE}}{'':>{_AWAY}}{'':>10}  {word}",
        ]
    if rung.value is None:
        return [f"{rung.name:<{_NAME}}{'n/a':>{_VALUE}}{'':>{_AWAY}}{seconds:>10}  {rung.why or ''}"]
    rounded = up if rung.side is Side.ABOVE else down
    away = _known(rung.distance(ladder.lower, ladder.upper))
    shown = "" if away is None else f"{'-' * (away < 0)}{up_to(abs(away), 3)}"
    note = _WORDS[rung.vouched] + (f"; {rung.detail}" if rung.detail and rung.kind is Kind.BOUND else "")
    return [f"{rung.name:<{_NAME}}{rounded(rung.value, digits):>{_VALUE}}{shown:>{_AWAY}}{seconds:>10}  {note}"]
