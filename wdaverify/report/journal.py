"""Where a journal's last run stands, in words and as JSON."""

from __future__ import annotations

import math
import shlex
import time
from dataclasses import asdict
from typing import Any

from wdaverify.digits import down, places, stated, up, width
from wdaverify.journal.state import JournalState

_NOTHING = 1e-3
"""A sample that adds less than this share of the gap is not called wide."""


def status_json(found: JournalState) -> dict[str, Any]:
    """The state as it is, with the estimate; infinite numbers as null."""
    return {**_finite(asdict(found)), "estimate_seconds": _estimate(found.state)}


def status_summary(found: JournalState) -> str:
    """A few lines."""
    state = found.state
    rows = [
        (
            "journal",
            f"{found.folder}: {found.runs} run(s), {found.facts} facts, {found.points} points, {found.size / 1e3:.0f} kB",
        ),
        (
            "command",
            f"wdaverify {shlex.join(found.command['arguments'])}"
            if found.command.get("arguments")
            else "(from Python)",
        ),
        ("run", _run(found)),
    ]
    if state:
        if state["label"]:
            rows.append(("row", state["label"]))
        lower, upper = state["lower"], state["upper"]
        rows += [
            (
                "bracket",
                f"{_bracket(lower, upper)}   gap {width(lower, upper)} (asked for: {stated(state['gap'])})",
            ),
            (
                "progress",
                f"{state['phase']}, round {state['rounds']}; {state['solves']} questions answered in {state['elapsed']:.1f} s, "
                f"{state['reused']} facts reused; {state['open']} questions open",
            ),
            ("estimate", _estimate_text(state)),
        ]
        rows += [
            ("widest" if not k else "", f"sample {sample}: {_bracket(low, high)}, weight {weight:.4g}")
            for k, (sample, weight, low, high) in enumerate(state["widest"])
            if weight * (high - low) > _NOTHING * state["gap"]
        ]
    return "\n".join(f"{name:<10}{text}" for name, text in rows)


def _bracket(lower: float, upper: float) -> str:
    digits = places(lower, upper)
    return f"[{down(lower, digits)}, {up(upper, digits)}]"


def _run(found: JournalState) -> str:
    begun = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(found.begun))
    reason = found.state.get("reason")
    if reason is not None:
        how = f"ended: {reason}"
    elif found.process is not None:
        how = f"at work (process {found.process})"
    else:
        how = f"cut off; wdaverify resume {shlex.quote(found.folder)} goes on"
    return f"begun {begun}, {how}; {found.spent:.1f} s in all runs"


def _estimate(state: dict[str, Any]) -> float | None:
    """Seconds for the questions open now at the mean time of those answered; None where nothing can be said."""
    if not state or state["reason"] is not None or not state["solves"]:
        return None
    return float(state["open"] * state["solve_seconds"] / state["solves"] / state["jobs"])


def _estimate_text(state: dict[str, Any]) -> str:
    if state["reason"] is not None:
        return "none: the run has ended"
    seconds = _estimate(state)
    if seconds is None:
        return "none yet: no question was answered"
    return (
        f"{seconds:.1f} s for the questions open now, if they take as long as those answered; "
        "what a new multiplier would open is not in it"
    )


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
