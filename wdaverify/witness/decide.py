"""The zero-one loss at points: by enclosure where that decides, exactly where it does not."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wdaverify.certify.exact import exact_error
from wdaverify.network.model import Array, ReluNetwork
from wdaverify.witness.enclosure import rival_margin

IntArray = NDArray[np.int64]


def errors(network: ReluNetwork, x: Array, y: IntArray) -> NDArray[np.bool_]:
    """The zero-one loss ``[B]`` at ``x [B, n]`` with labels ``y [B]``: by enclosure, and exactly where that is open."""
    lower, upper = rival_margin(network, x, y)
    out: NDArray[np.bool_] = lower >= 0
    for b in np.flatnonzero((lower < 0) & (upper >= 0)):
        out[b] = exact_error(network, x[b], int(y[b]))
    return out
