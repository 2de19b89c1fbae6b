"""Whether an enclosed symmetric matrix is positive semidefinite, proven in floating point.

For any matrix ``L``, any ``c`` and every symmetric ``S`` with ``|S - M| <= R`` entry by entry,

    S = L L^T + c I + E,    |E| <= |M - c I - L L^T| + R,    so  S >= 0  where the row sums of that bound are at most c

(Rump 2006, BIT 46, proves the same from the a priori error of Cholesky; here the residual itself is bounded, so the
factor L may come from anywhere). Scaling by powers of two to a diagonal near 1 is exact and loses nothing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wdaverify.rounding import dot_error

Array = NDArray[np.float64]
TINY = float(np.finfo(np.float64).tiny)
"""More than products lose to underflow."""


def semidefinite(mid: Array, rad: Array) -> bool:
    """Whether every symmetric matrix within ``rad`` of ``mid`` ``[N, N]`` is positive semidefinite; False where that is not proven."""
    used = (mid != 0).any(axis=1) | (rad != 0).any(axis=1)
    mid, rad = mid[np.ix_(used, used)], rad[np.ix_(used, used)]
    diagonal = np.diag(mid)
    if not (np.isfinite(mid).all() and np.isfinite(rad).all() and (diagonal > 0).all()):
        return False
    if not diagonal.size:
        return True
    half = -(np.frexp(diagonal)[1] // 2)
    power = half[:, None] + half[None, :]
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return _shifted(np.ldexp(mid, power), np.ldexp(rad, power) + TINY)


def _shifted(mid: Array, rad: Array) -> bool:
    """``semidefinite`` where the diagonal is between 1/2 and 2."""
    n = len(mid)
    factor = dot_error(n + 4)
    root = np.sqrt(np.diag(mid))
    likely = factor * (np.outer(root, root) + np.abs(mid))
    shift = float(rad.sum(axis=1).max()) * (1 + 8 * factor) + 1.5 * float(likely.sum(axis=1).max()) + 4 * factor
    if not shift < 1:
        return False
    lowered = mid - shift * np.eye(n)
    try:
        lower = np.linalg.cholesky(lowered)
    except np.linalg.LinAlgError:
        return False
    residual = np.abs(lowered - lower @ lower.T)
    size = np.abs(lower)
    rounded = factor * (size @ size.T + np.abs(mid) + shift * np.eye(n))
    total = ((residual + rounded + rad + n * TINY).sum(axis=1) * (1 + 4 * factor)).max()
    return bool(total <= shift)
