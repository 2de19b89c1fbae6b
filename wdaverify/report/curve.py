"""The curve over all radii, as JSON, CSV and text."""

from __future__ import annotations

import math

from wdaverify.digits import down, places, stated, up, up_to
from wdaverify.report.as_json import Json, deployed_json, number, provenance_json, question_json
from wdaverify.report.error_rates import error_rate_json, error_rates, radius_kind, rates_label, rates_text
from wdaverify.report.next_steps import AT_RADII, ways_on
from wdaverify.report.summary import arithmetic_rows, deployed_rows
from wdaverify.report.summary import rows as columns_of
from wdaverify.wdro.curve import CurveResult

SCHEMA = "wdaverify/curve/1"
_SHOWN = 12


def curve_json(result: CurveResult, files: Json | None = None) -> Json:
    """The fields of ``curve.schema.json``: the breakpoints of both curves, and how to read them between."""
    problem = result.problem
    asked = question_json(problem)
    asked["max_radius"] = asked.pop("radius")
    return {
        "schema": SCHEMA,
        "status": result.status.value,
        "exact": result.exact,
        "reason": result.reason.value,
        "gap_asked": number(result.gap_asked),
        "between": f"linear in radius^{problem.cost.order}" if math.isfinite(problem.cost.order) else "steps",
        "error_rate": error_rate_json(problem),
        **asked,
        "seconds": number(result.seconds),
        "solves": result.solves,
        "radii_searched": result.searched,
        **provenance_json(problem, result.notices),
        "files": files,
        "float32": deployed_json(result.deployed),
        "points": [
            {"radius": number(r), "lower": number(a), "upper": number(b)}
            for r, a, b in zip(result.radius, result.lower, result.upper, strict=True)
        ],
    }


def curve_csv(result: CurveResult) -> str:
    """``radius,lower,upper``, a line for each breakpoint."""
    lines = ["radius,lower,upper"]
    lines += [
        f"{r!r},{a!r},{b!r}"
        for r, a, b in zip(*(v.tolist() for v in (result.radius, result.lower, result.upper)), strict=True)
    ]
    return "\n".join(lines) + "\n"


def curve_summary(result: CurveResult) -> str:
    """Some of the breakpoints and the verdict; ends without a newline."""
    count = result.radius.size
    shown = range(count) if count <= _SHOWN else sorted({round(k * (count - 1) / (_SHOWN - 1)) for k in range(_SHOWN)})
    widest = float(result.widths.max())
    digits = places(0.0, widest)
    table = [("radius", "lower", "upper")]
    table += [(stated(result.radius[k]), down(result.lower[k], digits), up(result.upper[k], digits)) for k in shown]
    columns = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ["  ".join(text.rjust(size) for text, size in zip(row, columns, strict=True)) for row in table]
    word = result.status.words
    lines.append(
        f"{word}: {count} breakpoints, widest bracket {up_to(widest, 2)} (asked {stated(result.gap_asked)}), "
        f"{result.solves} solves, {result.seconds:.1f} s ({result.reason.value})"
    )
    facts = [("radius", f"how far mass may move, {radius_kind(result.problem.cost.order)}")]
    rates = error_rates(result.problem)
    facts += [] if rates is None else [(rates_label(result.problem.loss), rates_text(rates, result.problem.loss))]
    facts += [*arithmetic_rows(result.problem), *deployed_rows(result.deployed)]
    ways = "" if result.closed else ways_on(result.reason.value, 0.0, widest, AT_RADII)
    facts += [("next", ways)] if ways else []
    return "\n".join(lines) + "\n\n" + columns_of(facts)
