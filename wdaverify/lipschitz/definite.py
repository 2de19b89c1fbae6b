"""Whether an enclosed symmetric matrix is positive semidefinite, proven in floating point.

For any matrix ``L``, any ``c`` and every symmetric ``S`` with ``|S - M| <= R`` entry by entry,

    S = L L^T + c I + E,    |E| <= |M - c I - L L^T| + R,    so  S >= 0  where the row sums of that bound are at most c

(Rump 2006, BIT 46, proves the same from the a priori error of Cholesky; here the residual itself is bounded, so the
factor L may come from anywhere). Scaling by powers of two to a diagonal near 1 is exact and loses nothing.
"""

from __future__ import annotations

import numpy as np

from wdaverify.lipschitz.layers import TINY, Enclosed, gram
from wdaverify.network.model import Array
from wdaverify.rounding import UNIT_ROUNDOFF, dot_error, underflow

_WIDEST_GRAM = 2048
"""Up to what smaller side a spectral norm is found by eigenvalues; beyond, by row and column sums."""


def proven_psd(matrix: Enclosed) -> bool:
    """Whether every symmetric matrix within ``matrix`` ``[N, N]`` is positive semidefinite; False where that is not proven."""
    used = (matrix.mid != 0).any(axis=1) | (matrix.rad != 0).any(axis=1)
    mid, rad = matrix.mid[np.ix_(used, used)], matrix.rad[np.ix_(used, used)]
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
    """``proven_psd`` where the diagonal is between 1/2 and 2."""
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


def spectral_norm(matrix: Enclosed) -> float:
    """An upper bound of ``||W||_2`` for every matrix within ``matrix`` ``[m, n]``, inf where it overflows.

    The least of ``sqrt(||W||_1 ||W||_inf)`` and a number s with ``s^2 I - W W^T`` (or ``W^T W``) proven semidefinite.
    """
    if matrix.zero or not matrix.mid.size:
        return 0.0
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        size = matrix.size
        slack = 1 + 2 * dot_error(sum(size.shape))
        sums = float(np.sqrt(size.sum(axis=0).max()) * np.sqrt(size.sum(axis=1).max())) * slack + underflow(1)
        if min(size.shape) > _WIDEST_GRAM or not np.isfinite(sums):
            return sums
        flat = matrix if size.shape[0] <= size.shape[1] else Enclosed(matrix.mid.T, matrix.rad.T)
        square = gram(flat)
        if not np.isfinite(square.rad).all():
            return sums
        top = float(np.linalg.eigvalsh(square.mid)[-1])
        for excess in (1e-11, 1e-9, 1e-7, 1e-5, 1e-3):
            bound = top * (1 + excess)
            if top > 0 and proven_psd(below(bound, square)):
                return min(sums, float(np.nextafter(np.sqrt(bound), np.inf)))
    return sums


def below(bound: float, matrix: Enclosed) -> Enclosed:
    """``bound I - S`` for the symmetric matrices within ``matrix``."""
    mid = -matrix.mid
    lost = np.diag(2 * UNIT_ROUNDOFF * (bound + np.abs(np.diag(mid))))
    return Enclosed(mid + bound * np.eye(len(mid)), (matrix.rad + lost) * (1 + 4 * UNIT_ROUNDOFF))
