"""DLR, the difference of logits ratio (Croce & Hein 2020): the margin divided by the spread of the three largest logits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wdaverify.losses.rule import Array, By, Labels, Reads, Rule, largest_margin, margin_derivative


@dataclass(frozen=True, kw_only=True)
class _Dlr(Rule):
    """``-(z_y - max_{j != y} z_j) / (z_pi1 - z_pi3)``."""

    def enclosed(self, lower: Array, upper: Array, label: Labels) -> tuple[Array, Array]:
        """-inf, inf without a denominator."""
        rows = np.arange(len(label))
        low, high = np.sort(lower, axis=1)[:, ::-1], np.sort(upper, axis=1)[:, ::-1]  # of the order statistics
        least, most = np.nextafter(low[:, 0] - high[:, 2], -np.inf), np.nextafter(high[:, 0] - low[:, 2], np.inf)
        others_low, others_high = lower.copy(), upper.copy()
        others_low[rows, label] = others_high[rows, label] = -np.inf
        above = others_low.max(axis=1), others_high.max(axis=1)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            smallest = np.nextafter(np.where(above[0] >= 0, above[0] / most, above[0] / least), -np.inf)
            largest = np.nextafter(np.where(above[1] >= 0, above[1] / least, above[1] / most), np.inf)
        there = (least > 0) & np.isfinite(most)
        smallest, largest = np.where(there, np.maximum(smallest, -1.0), -np.inf), np.where(there, largest, np.inf)
        if lower.shape[1] == 3:  # the label is among the three largest
            largest = np.where(there, np.minimum(largest, 1.0), np.inf)
        return smallest, largest

    def single(self, logits: NDArray[np.floating], label: Labels) -> Array:
        ranked, worst = np.sort(logits, axis=1)[:, ::-1], largest_margin(logits, label)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(worst / (ranked[:, 0] - ranked[:, 2]), dtype=np.float64)

    def derivative(self, logits: Array, label: Labels) -> Array:
        rows, order = np.arange(len(label)), np.argsort(-logits, axis=1, kind="stable")
        spread = logits[rows, order[:, 0]] - logits[rows, order[:, 2]]
        by_spread = np.zeros_like(logits)
        by_spread[rows, order[:, 0]] += 1.0
        by_spread[rows, order[:, 2]] -= 1.0
        ratio = largest_margin(logits, label) / spread**2
        return np.asarray(margin_derivative(logits, label) / spread[:, None] - ratio[:, None] * by_spread)


RULE = _Dlr(
    formula="-(z_y - max_(j != y) z_j) / (z_pi1 - z_pi3)",
    noun="DLR loss",
    reading="The margin divided by the spread of the three largest logits, so that the scale of the logits does not matter.",
    search=By.LEVELS,
    reads=Reads.MARGINS,
    attacked_as="margin",
    least_classes=3,
    few_classes="its denominator needs at least 3 classes; ask for --loss margin",
    fixed_labels="the loss dlr with label cost {cost}: its labels are fixed; leave --label-cost out, or ask for --loss margin",
    undefined="its three largest logits tie; leave the sample out, or ask for --loss margin",
    no_slope="its denominator may vanish",
)
