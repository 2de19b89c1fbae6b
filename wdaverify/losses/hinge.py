"""The hinge: the margin's pieces with offset 1 and a floor."""

from __future__ import annotations

from wdaverify.losses.rule import Rule

RULE = Rule(
    formula="max(0, 1 + max_(j != y) z_j - z_y)",
    noun="hinge loss",
    reading="max(0, 1 + margin): zero where the right class wins by at least 1.",
    offset=1.0,
    floor=0.0,
)
