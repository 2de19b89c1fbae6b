"""A box and its numbers as text that reads back to itself."""

from __future__ import annotations

from itertools import groupby

from wdaverify.digits import stated
from wdaverify.network.model import Array

_RUNS = 8
"""The most factors of a box that are spelled out."""


def box_text(lower: Array, upper: Array) -> str:
    """``[0, 1]^64``, ``[0, 1]^62 x [0, 0.5]^2``; of a box of many different sides the first few, and how many there are."""
    sides = list(zip(lower.tolist(), upper.tolist(), strict=True))
    if lower.size and bool((lower == -float("inf")).all() and (upper == float("inf")).all()):
        return f"R^{len(sides)}"
    runs = [(side, len(list(same))) for side, same in groupby(sides)]
    factors = [f"[{stated(a)}, {stated(b)}]" + (f"^{k}" if k > 1 or len(runs) == 1 else "") for (a, b), k in runs]
    if len(runs) <= _RUNS:
        return " x ".join(factors)
    head = " x ".join(factors[: _RUNS - 2])
    return (
        f"{head} x ..., a box in R^{len(sides)} with {len(set(sides))} different sides between {stated(lower.min())} and "
        f"{stated(upper.max())}"
    )
