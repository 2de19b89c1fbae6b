"""The margin: by how much the strongest rival beats the label."""

from __future__ import annotations

from wdaverify.losses.rule import Rule

RULE = Rule(
    formula="max_(j != y) z_j - z_y",
    noun="margin loss",
    reading=(
        "By how much the strongest wrong class beats the right one: below zero the right class leads on average, which does "
        "not say that every sample is right."
    ),
)
