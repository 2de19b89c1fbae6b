"""Cross-entropy: the log-sum-exp of all margins, which is no piecewise linear function."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wdaverify.losses.rule import Array, Labels, Reads, Rule


@dataclass(frozen=True, kw_only=True)
class _CrossEntropy(Rule):
    """``log sum_j exp(z_j - z_y)``."""

    def enclosed(self, lower: Array, upper: Array, label: Labels) -> tuple[Array, Array]:
        return _log_sum(lower, -1.0), _log_sum(upper, 1.0)

    def single(self, logits: NDArray[np.floating], label: Labels) -> Array:
        margin = logits - logits[np.arange(len(label)), label][:, None]
        return np.asarray(np.logaddexp.reduce(margin, axis=1), dtype=np.float64)

    def derivative(self, logits: Array, label: Labels) -> Array:
        share = np.exp(logits - logits.max(axis=1, keepdims=True))
        out = share / share.sum(axis=1, keepdims=True)
        out[np.arange(len(label)), label] -= 1.0
        return np.asarray(out)


def _log_sum(margins: Array, outward: float) -> Array:
    """``log sum_j exp(m_j)`` of rows ``[B, K]`` (0 at the label), moved outward by more than its rounding; >= 0."""
    top = margins.max(axis=1)
    with np.errstate(invalid="ignore", under="ignore"):
        value = top + np.log(np.exp(margins - top[:, None]).sum(axis=1))
    value = value + outward * 2.0**-48 * (margins.shape[1] + np.abs(top))
    value = np.where(np.isfinite(top), value, outward * math.inf)
    return np.asarray(np.maximum(value, 0.0) if outward < 0 else value)


RULE = _CrossEntropy(
    formula="log sum_j exp(z_j - z_y)",
    noun="cross-entropy loss",
    reading="The loss that classifiers are trained on: log sum_j exp(z_j - z_y).",
    aliases=("ce", "crossentropy"),
    reads=Reads.MARGINS,
    entropy=True,
    of_logits=False,
)
