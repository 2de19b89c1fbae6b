"""ECLipsE-Fast: LipSDP's multipliers layer by layer in closed form (Xu, Sivaranjani, arXiv 2404.04375), then proven like any others.

With ``T_k = lam_k I`` the inequality of multipliers.py is a recursion over Schur complements,

    X_0 = I,    X_k = 2 lam_k I - lam_k^2 W_k X_(k-1)^-1 W_k^T,    lam_k = 1 / lambda_max(W_k X_(k-1)^-1 W_k^T),    rho^2 = g X_(L-1)^-1 g^T

since ``X_k >= lam_k I``. The paper's number is a float; here the multipliers ``rho^2 lam_k`` are repaired and the constant is raised
until definiteness is proved with outward rounding, so that it may be a little better or worse.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import numpy as np

from wdaverify.graph.nodes import Graph
from wdaverify.ground import GroundCost
from wdaverify.lipschitz.layers import Enclosed
from wdaverify.lipschitz.lipsdp import Clock, LipSdp, constants, single_path
from wdaverify.lipschitz.norms import product_of_norms
from wdaverify.network.model import Array, readonly

MOST_RELUS = 1024
"""Beyond this many definiteness takes too long to prove."""


def eclipse_fast(graph: Graph, rows: Array, cost: GroundCost, *, deadline: float = math.inf) -> LipSdp:
    """Upper bounds of the constants of ``rows . f``, rows ``[R, K]``, on all of R^n, as ``lipsdp`` gives them.

    Raises:
        ProblemError: the network is no single path of affine maps and ReLUs.
    """
    begun = time.monotonic()
    layers = single_path(graph, cost)
    relus = sum(layer.mid.shape[0] for layer in layers[:-1])
    if relus > MOST_RELUS:
        why = f"{relus} hidden ReLUs: at most {MOST_RELUS} are attempted"
        return LipSdp(readonly(np.full(len(rows), math.inf)), 0, why, time.monotonic() - begun)
    if len(layers) == 1:
        found = product_of_norms(graph, rows, cost)
        return LipSdp(readonly(found), int(np.isfinite(found).sum()), "", time.monotonic() - begun)
    return constants(_Recursion, layers, rows, cost, Clock(deadline, math.inf), begun)


class _Recursion:
    """The layers' ``lam_k``, which no functional changes, and what is left of the last."""

    def __init__(self, hidden: Sequence[Enclosed]) -> None:
        self._shares: list[tuple[float, int]] = []
        self._last: Array | None = None
        with np.errstate(all="ignore"):
            inverse: Array | None = None
            for layer in hidden:
                w = layer.mid
                square = w @ w.T if inverse is None else w @ inverse @ w.T
                top = float(np.linalg.eigvalsh(square)[-1]) if np.isfinite(square).all() else math.inf
                if not (math.isfinite(top) and top > 0):
                    return
                share = 1 / top
                inverse = np.asarray(np.linalg.inv(2 * share * np.eye(len(w)) - share * share * square))
                self._shares.append((share, len(w)))
        self._last = inverse

    def solve(self, functional: Array, clock: Clock) -> tuple[list[Array] | None, str]:
        """Multipliers for ``g [m]``."""
        if clock.left() <= 0:
            return None, "no time was left"
        with np.errstate(all="ignore"):
            rho2 = math.inf if self._last is None else float(functional @ self._last @ functional)
        if not (math.isfinite(rho2) and rho2 > 0):
            return None, "the recursion overflows"
        return [np.full(size, share * rho2) for share, size in self._shares], ""
