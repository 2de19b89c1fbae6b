"""The linear loss: the largest of functionals of the outputs that the user brings along."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wdaverify.losses.rule import Array, Labels, Reads, Rule


@dataclass(frozen=True, kw_only=True)
class _Linear(Rule):
    """``max_r F_r . z + b_r``."""

    def enclosed(self, lower: Array, upper: Array, label: Labels) -> tuple[Array, Array]:
        return np.asarray(lower.max(axis=1)), np.asarray(upper.max(axis=1))

    def single(self, logits: NDArray[np.floating], label: Labels) -> Array:
        return np.asarray(logits.max(axis=1, initial=-math.inf), dtype=np.float64)

    def derivative(self, logits: Array, label: Labels) -> Array:
        return np.asarray(np.arange(logits.shape[1]) == logits.argmax(axis=1)[:, None], dtype=np.float64)


RULE = _Linear(
    formula="max_r F_r . z + b_r of the functionals given",
    noun="linear loss",
    reading="The largest of the functionals of the outputs that the question names.",
    reads=Reads.FUNCTIONALS,
    of_logits=False,
    fixed_labels="the linear loss takes no label cost: what it says of other labels is not defined; leave --label-cost out",
)
