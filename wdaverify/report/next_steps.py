"""What to do where a bracket stays open: what would narrow it, what would be cheaper to ask, and which samples hold it open."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from wdaverify.digits import width
from wdaverify.wdro.result import Reason

_SHOWN = 5
Held = tuple[int, float]
"""A sample, and how much of the bracket's width it holds open; infinite where it has no bound yet."""

_MORE_TIME = "more time (--time-limit; --run DIR keeps what is proven)"
_WAYS = {
    Reason.TIME_LIMIT.value: _MORE_TIME,
    Reason.INTERRUPTED.value: "run it again (--run DIR keeps what is proven)",
    Reason.EXECUTOR_LOST.value: "start the scheduler again, then this (--run DIR keeps what is proven)",
    Reason.STALLED.value: "another --solver, since this one is at its tolerances",
    Reason.NUMERICAL.value: "another --solver, since this one contradicted itself",
    Reason.THRESHOLD_UNDECIDED.value: "a smaller --gap, so that the bracket leaves the threshold on one side",
}


def ways_on(reason: str, lower: float, upper: float, cheaper: str) -> str:
    """What narrows a bracket that ended for this reason, and what would be cheaper; "" for a reason that leaves nothing open."""
    way = _WAYS.get(reason)
    if way is None:
        return ""
    if reason == Reason.THRESHOLD_UNDECIDED.value:
        return way
    met = f"--gap {width(lower, upper)} (met already), " if math.isfinite(upper) and math.isfinite(lower) else ""
    return f"{way}, or a cheaper question: {met}{cheaper}"


AT_RADIUS = "--threshold T, fewer --samples, a smaller radius"
AT_RADII = "fewer --samples, a smaller radius"
BEYOND = "beyond what was asked about"
"""Of a distance that is proven to be ``--within`` or more."""
OF_SAMPLES = "a larger --gap, fewer --samples"


def holders(brackets: Iterable[tuple[int, float, float, float]]) -> list[Held]:
    """Samples ``(sample, weight, lower, upper)`` that hold a bracket open, most first: the weight times the width."""
    held = [
        (sample, math.inf if math.isinf(upper - lower) else weight * (upper - lower))
        for sample, weight, lower, upper in brackets
        if upper > lower and weight > 0
    ]
    return sorted((entry for entry in held if entry[1] > 0), key=lambda entry: (-entry[1], entry[0]))


def held_open(held: Sequence[Held]) -> str:
    """Which samples those are, in words; "" where nobody knows."""
    if not held:
        return ""
    names = [str(sample) for sample, _ in held[:_SHOWN]]
    listed = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
    noun = "sample" if len(names) == 1 else "samples"
    without = sum(math.isinf(share) for _, share in held)
    if without:
        return f"held open most by {noun} {listed}; {without} of {len(held)} open ones have no bound yet"
    total = math.fsum(share for _, share in held)
    part = math.fsum(share for _, share in held[:_SHOWN]) / total
    return f"held open most by {noun} {listed} ({100 * part:.0f} % of the width, of {len(held)} open ones)"
