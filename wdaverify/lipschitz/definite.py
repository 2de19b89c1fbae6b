"""Enclosed matrices: whether symmetric ones are positive semidefinite (``certify.definite``), and how large a spectral norm is."""

from __future__ import annotations

import numpy as np

from wdaverify.certify.definite import semidefinite
from wdaverify.lipschitz.layers import Enclosed, gram
from wdaverify.rounding import UNIT_ROUNDOFF, dot_error, underflow

_WIDEST_GRAM = 2048
"""Up to what smaller side a spectral norm is found by eigenvalues; beyond, by row and column sums."""


def proven_psd(matrix: Enclosed) -> bool:
    """Whether every symmetric matrix within ``matrix`` ``[N, N]`` is positive semidefinite; False where that is not proven."""
    return semidefinite(matrix.mid, matrix.rad)


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
