"""Specification: 1 where the input violates a specification, the zero-one loss of its scores with class 0 for "holds"."""

from __future__ import annotations

from dataclasses import replace

from wdaverify.losses.zero_one import RULE as ZERO_ONE

RULE = replace(
    ZERO_ONE,
    formula="1 if x is in an input box of the specification and all rows of one of its disjuncts hold, else 0",
    noun="probability of a violation",
    reading=(
        "The probability that the specification is violated: that the input lies in one of its boxes and the outputs in its unsafe "
        "set, whose edge belongs to it."
    ),
    aliases=("spec", "violation"),
    takes_specification=True,
    fixed_labels="a specification knows no labels, so that none moves at a price; leave --label-cost out",
    no_gradient="the probability of a violation has no gradient",
)
