"""What a run of the attacks hands on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wdaverify.network.model import Array
from wdaverify.transport.distribution import Distribution


@dataclass(frozen=True, eq=False)
class AttackOutcome:
    """Named distributions, and every visited point worth keeping.

    ``distributions`` maps a name ("WDA(1)", "WDA(2)", ..., "WDA++") to the distribution it proposes.
    ``sample [M]`` and ``point [M, n]`` (inside the support) are the pool for the mixture: for each sample and rival the
    points on the upper concave envelope of (distance, margin to that rival), and the nearest points found past each
    rival's decision boundary. ``spent`` are the seconds of each named attack. ``finished`` is False when the deadline cut the run short.
    """

    distributions: dict[str, Distribution]
    sample: NDArray[np.int64]
    point: Array
    evaluations: int
    seconds: float
    spent: dict[str, float]
    device: str
    finished: bool

    def points(self) -> tuple[NDArray[np.int64], Array]:
        """Samples ``[M]`` and points ``[M, n]`` of the distributions, then of the pool."""
        found = [(d.sample, d.point) for d in self.distributions.values()]
        samples, points = zip(*found, (self.sample, self.point), strict=True)
        return np.concatenate(samples).astype(np.int64), np.concatenate(points)
