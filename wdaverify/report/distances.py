"""Distances to the nearest errors, as JSON and as text."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np

from wdaverify.digits import down, places, up
from wdaverify.report.as_json import Json, class_json, deployed_json, label_json, number, provenance_json, question_json
from wdaverify.report.error_rates import error_rate_json, error_rates, rates_label, rates_text
from wdaverify.report.layers import decided_how
from wdaverify.report.next_steps import BEYOND, OF_SAMPLES, held_open, holders, ways_on
from wdaverify.report.summary import VOUCHERS, arithmetic_rows, deployed_rows, rows, solver_text
from wdaverify.wdro.distances import DistancesResult
from wdaverify.witness.single import Flip

SCHEMA = "wdaverify/distances/1"


def distances_json(result: DistancesResult, files: Json | None = None) -> Json:
    """The fields of ``distances.schema.json``: per sample the bracket of its distance, the nearest error and the class there."""
    problem = result.problem
    asked = question_json(problem)
    return {
        "schema": SCHEMA,
        "status": result.status.value,
        "exact": result.exact,
        "reason": result.reason.value,
        "gap_asked": number(result.gap_asked),
        "within": number(result.within),
        **{name: asked[name] for name in ("norm", "arithmetic", "cost_weights", "specification", "support")},
        "error_rate": error_rate_json(problem),
        "seconds": number(result.seconds),
        "solves": result.solves,
        **provenance_json(problem, result.notices),
        "files": files,
        "float32": deployed_json(result.deployed),
        "distances": [
            {
                "sample": bracket.sample,
                "label": label_json(problem, problem.samples.y[bracket.sample]),
                "original": [number(v) for v in problem.samples.x[bracket.sample].tolist()],
                "lower": number(bracket.lower),
                "upper": number(bracket.upper),
                "vouched": bracket.vouched.value,
                "class": class_json(problem, found),
                "point": None if point is None else [number(v) for v in point.tolist()],
                "float32": None if flip is None else flip.value,
            }
            for bracket, point, found, flip in zip(
                result.brackets, result.points, result.classes, _flips(result), strict=True
            )
        ],
    }


def distances_summary(result: DistancesResult) -> str:
    """A line for each sample, nearest first, and one for all; ends without a newline."""
    order = np.argsort([b.upper for b in result.brackets], kind="stable")
    digits = min(12, max((places(b.lower, b.upper) for b in result.brackets if b.lower < b.upper), default=6))
    labelled = result.problem.samples.labelled
    what = "label  class" if labelled else "disjunct"
    lines = [f"sample  {what}  float32       distance (lower, upper)"]
    flips = _flips(result)
    for k in order.tolist():
        bracket, found = result.brackets[k], class_json(result.problem, result.classes[k])
        label = int(result.problem.samples.y[k])
        there, flip = "-" if found is None else str(found), flips[k]
        single = "-" if flip is None else flip.value
        note = f"  no {'error' if labelled else 'violation'} in the support" if bracket.lower == math.inf else ""
        if result.beyond(bracket):
            note = f"  {BEYOND}"
        which = f"{label:5d}  {there:>5}" if labelled else f"{there:>8}"
        ends = f"{down(bracket.lower, digits)}, {up(bracket.upper, digits)}"
        lines.append(f"{k:6d}  {which}  {single:<12}  {ends}{note}")
    word = result.status.words
    if result.closed and result.within < math.inf:
        word = f"{word} within {result.within:g}"
    lines.append(
        f"{word}: {len(order)} distances, {result.solves} solves, {result.seconds:.1f} s ({result.reason.value})"
    )
    rates = error_rates(result.problem)
    facts = [("note", notice) for notice in result.problem.samples.notices]
    facts += [] if rates is None else [(rates_label(result.problem.loss), rates_text(rates, ""))]
    facts += [*arithmetic_rows(result.problem), *deployed_rows(result.deployed)]
    if result.within < math.inf:
        what = "an error" if labelled else "a violation"
        facts.insert(0, ("asked", f"whether there is {what} nearer than {result.within:g}, and how near"))
    facts += [("solver", solver_text(result.solver))] if result.solver is not None else []
    facts.append(("vouched", _vouched(result)))
    held = holders((b.sample, 1.0, b.lower, b.upper) for b in result.brackets if not result.settled(b))
    ways = "" if result.closed else ways_on(result.reason.value, 0.0, math.inf, OF_SAMPLES)
    facts += [("next", ways), ("", held_open(held))] if ways and held else []
    return "\n".join(lines) + "\n\n" + rows(facts)


def _vouched(result: DistancesResult) -> str:
    """Who shows the ends."""
    said = Counter(bracket.vouched for bracket in result.brackets)
    parts = "; ".join(
        f"{VOUCHERS[v]}" + (f" ({n} of {said.total()})" if len(said) > 1 else "") for v, n in said.items()
    )
    return f"lower ends {parts}; errors found decided here {decided_how(result.problem.network)}"


def _flips(result: DistancesResult) -> tuple[Flip | None, ...]:
    """What float32 makes of each point; None where nobody looked."""
    return result.float32 or (None,) * len(result.points)
