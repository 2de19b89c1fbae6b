"""A distribution that an attack proposes: mass moved from samples to points; the rest of each sample stays where it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wdaverify.network.model import Array


@dataclass(frozen=True, eq=False)
class Distribution:
    """``mass[k]`` of sample ``sample[k]`` moved to ``point[k]``; what is left of ``w_i`` stays at ``x_i``.

    sample ``[M]`` int64, point ``[M, n]``, mass ``[M]`` with ``mass >= 0`` and ``sum over a sample <= w_i``.
    ``label [M]`` is the label it moves to; None: every sample keeps its own.
    Nothing here is trusted: ``witness.evaluate`` re-evaluates distances, losses, masses and budget.
    """

    sample: NDArray[np.int64]
    point: Array
    mass: Array
    label: NDArray[np.int64] | None = None

    def labels(self, own: NDArray[np.int64]) -> NDArray[np.int64]:
        """The label of each move, ``[M]``, where ``own [N]`` are the samples'."""
        return own[self.sample] if self.label is None else self.label
