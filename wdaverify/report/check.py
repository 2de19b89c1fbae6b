"""The answer to a specification as JSON and as text, at most 80 columns wide."""

from __future__ import annotations

import textwrap
from dataclasses import asdict

from wdaverify.checking.result import CheckResult, Counterexample, Ended, Outcome
from wdaverify.digits import down, places, stated, up, up_to
from wdaverify.report.as_json import Json, network_provenance_json, number, optional

SCHEMA = "wdaverify/check/1"
_WIDTH, _LABEL, _SHOWN = 80, 16, 40
"""Columns, those of labels, and the most values of a counterexample that are printed."""

MEANING = {
    Outcome.UNSAT: "no input in the boxes satisfies any disjunct: proven, {arithmetic}",
    Outcome.SAT: "the counterexample satisfies a disjunct as {runtime} computes it, with no tolerance",
    Outcome.SAT_IN_REALS: "the counterexample satisfies a disjunct in real arithmetic, proven; it was not replayed",
    Outcome.UNKNOWN: "neither was proven: {ended}",
    Outcome.TIMEOUT: "neither was proven: {ended}",
}
VACUOUS = "nothing satisfies the constraints: every disjunct contradicts itself, whatever the network (vacuous)"
_ENDED = {
    Ended.DECIDED: "decided",
    Ended.TIME_LIMIT: "the time limit was reached; the bracket holds",
    Ended.INTERRUPTED: "the run was interrupted; the bracket holds",
    Ended.STALLED: "nothing is left to ask that would decide it; the bracket holds",
}


def check_json(result: CheckResult, files: Json | None = None) -> Json:
    """The fields of ``check.schema.json``; ``files`` names what the question was read from."""
    specification = result.specification
    return {
        "schema": SCHEMA,
        "outcome": result.outcome.value,
        "ended": result.ended.value,
        "detail": _meaning(result),
        "lower": number(result.lower),
        "upper": number(result.upper),
        "arithmetic": "real" if result.raised is None else "float32",
        "raised": optional(result.raised),
        "counterexample": None if result.counterexample is None else _point(result.counterexample),
        "specification": {
            "name": specification.name,
            "inputs": specification.inputs,
            "outputs": specification.outputs,
            "disjuncts": len(specification.disjuncts),
            "dropped": specification.dropped,
        },
        "specification_sha256": specification.sha256,
        "statistics": asdict(result.effort),
        "time_limit": optional(result.time_limit),
        "seed": result.seed,
        **network_provenance_json(result.network, result.notices),
        "files": files,
    }


def _point(found: Counterexample) -> Json:
    return {
        "inputs": [number(v) for v in found.inputs],
        "outputs": [number(v) for v in found.outputs],
        "disjunct": found.disjunct,
        "least": number(found.least),
        "runtime": found.runtime,
    }


def check_summary(result: CheckResult, files: Json | None = None) -> str:
    """VNN-COMP's word, the counterexample as it is written there, then what was asked and proven; ends without a newline."""
    specification, effort, proof = result.specification, result.effort, result.certificate
    digits = places(result.lower, result.upper)
    count = len(specification.disjuncts)
    dropped = f", and {specification.dropped} that contradict themselves" if specification.dropped else ""
    who = "boxes of inputs, halved" if effort.engine == "boxes" else "the cell engine: neurons, halved"
    upper = f"{up(result.upper, digits)}   outward-rounded bounds"
    if not count:
        upper = f"{up(result.upper, digits)}   the maximum over nothing: no disjunct is left"
    lower = f"{down(result.lower, digits)}   of {effort.points} points tried, re-evaluated here"
    table = [
        ("question", "is there an x in the box of a disjunct with all of its rows >= 0?"),
        (
            "specification",
            f"{specification.name}: {specification.inputs} inputs, {specification.outputs} outputs, {count} "
            f"disjunct{'s' * (count != 1)}{dropped}",
        ),
        ("network", f"{result.network.name}: {result.network.n_inputs} inputs, {result.network.n_relus} ReLUs"),
        ("answer", f"{result.outcome.value}: {_meaning(result)}"),
        ("v", "max over disjuncts and x of the least row: below 0, none is satisfied"),
        ("lower", lower if effort.points else f"{down(result.lower, digits)}   no point was tried"),
        ("upper", upper),
        *_raised(result),
        *([("certificate", proof.content)] if proof is not None and not (files or {}).get("certificate") else []),
        ("work", f"{effort.boxes} {'boxes' if effort.engine == 'boxes' else 'nodes'} bounded ({who})"),
        ("time", f"{effort.seconds:.1f} s, jobs {effort.jobs}"),
    ]
    text = "\n".join(
        textwrap.fill(
            said, _WIDTH, initial_indent=f"{label:<{_LABEL}}", subsequent_indent=" " * _LABEL, break_on_hyphens=False
        )
        for label, said in table
    )
    found = result.counterexample
    return "\n\n".join([result.outcome.value + ("" if found is None else f"\n{_written(found)}"), text])


def _raised(result: CheckResult) -> list[tuple[str, str]]:
    """What float32 added."""
    if result.raised is None:
        return []
    return [
        (
            "rounding",
            f"rows are raised by {up_to(result.raised, 3)} at most, their error bounds in float32, and the lower end lowered",
        )
    ]


def _meaning(result: CheckResult) -> str:
    if not result.specification.disjuncts:
        return VACUOUS
    found = result.counterexample
    runtime = "" if found is None or found.runtime is None else found.runtime
    arithmetic = "in real arithmetic" if result.raised is None else "in float32, whatever order a runtime adds in"
    return MEANING[result.outcome].format(runtime=runtime, ended=_ENDED[result.ended], arithmetic=arithmetic)


def _written(found: Counterexample) -> str:
    """``((X_0 0.5)`` and so on, a value a line; of many inputs the first."""
    lines = [f"(X_{k} {stated(v)})" for k, v in enumerate(found.inputs.tolist())]
    if len(lines) > _SHOWN:
        lines = [*lines[:_SHOWN], f"; {len(lines) - _SHOWN} more inputs are in the file of --output"]
    lines += [f"(Y_{k} {stated(v)})" for k, v in enumerate(found.outputs.tolist())]
    return "(" + "\n ".join(lines) + ")"
