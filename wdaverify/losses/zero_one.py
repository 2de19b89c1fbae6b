"""Zero-one: 1 at an error, where a tie is one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wdaverify.losses.rule import Array, By, Labels, Reads, Rule, largest_margin


@dataclass(frozen=True, kw_only=True)
class _ZeroOne(Rule):
    """``[max_{j != y} z_j >= z_y]``."""

    def single(self, logits: NDArray[np.floating], label: Labels) -> Array:
        return np.asarray(largest_margin(logits, label) >= 0, dtype=np.float64)


RULE = _ZeroOne(
    formula="1 if max_(j != y) z_j >= z_y, else 0",
    noun="error rate",
    reading="The share of the probability mass that the network gets wrong; a tie counts as wrong.",
    aliases=("01", "0-1", "zeroone"),
    search=By.DISTANCES,
    reads=Reads.ERROR,
    of_logits=False,
    no_gradient="the zero-one loss has no gradient",
)
