"""Carlini and Wagner's loss (arXiv 1608.04644: f_6, the label in the target's place): the margin's pieces with a floor of 0."""

from __future__ import annotations

from wdaverify.losses.rule import Rule

RULE = Rule(
    formula="max(0, max_(j != y) z_j - z_y)",
    noun="Carlini-Wagner loss",
    reading="max(0, margin): zero where the right class wins, else by how much the strongest wrong class beats it.",
    aliases=("carlini-wagner", "carliniwagner"),
    floor=0.0,
)
