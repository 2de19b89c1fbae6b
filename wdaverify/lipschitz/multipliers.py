"""The matrix inequality of LipSDP: multipliers made feasible, and the constant they prove.

Fazlyab et al. (arXiv 1906.04893) with diagonal multipliers ``T_k >= 0`` only. A ReLU has slopes in [0, 1], so that
``dx_k . T_k (W_k dx_(k-1) - dx_k) >= 0`` for any two inputs; with these added twice, and dx_0 eliminated by its Schur
complement, ``|c . f(x) - c . f(x')|^2 <= rho2 ||x - x'||_2^2`` on all of R^n follows from

    [ 2 T_1 - T_1 W_1 W_1^T T_1 / rho2   -W_2^T T_2                              ]
    [ -T_2 W_2                            2 T_2       ...                        ]  >= 0,      g = c W_L
    [                                     ...         2 T_(L-1)            g^T   ]
    [                                                 g                     1    ]

Its side is the number of hidden ReLUs + 1, whatever the input. Only ``proves`` vouches; the repair merely proposes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from wdaverify.lipschitz.definite import proven_psd
from wdaverify.lipschitz.layers import TINY, Enclosed, gram
from wdaverify.network.model import Array
from wdaverify.rounding import UNIT_ROUNDOFF

_FLOORS = (1e-9, 1e-7, 1e-5, 1e-3)
"""Multipliers below this share of their layer's largest are raised to it, one attempt each."""
_SHARES = (0.999999, 0.99, 0.9, 0.5)
"""How much of a layer's inequality the layers behind it may use up, one attempt each."""
_LEAST = 1e-100
"""Multipliers and rho2 below, or above the reciprocal, are left unproven: products of three neither under- nor overflow."""
_EXCESSES = (1e-11, 1e-10, 1e-9, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3)


@dataclass(frozen=True, eq=False)
class Inequality:
    """One functional's matrix inequality: hidden matrices ``[m_k, m_(k-1)]`` and ``g [m_(L-1)]``, both enclosed."""

    hidden: tuple[Enclosed, ...]
    square: Enclosed
    functional: Enclosed

    @classmethod
    def of(cls, hidden: Sequence[Enclosed], functional: Enclosed) -> Inequality:
        """With ``W_1 W_1^T`` enclosed."""
        return cls(tuple(hidden), gram(hidden[0]), functional)

    def proves(self, rho2: float, multipliers: Sequence[Array]) -> bool:
        """Whether ``T_k [m_k]`` are proven to give the bound ``sqrt(rho2)`` for every network within the enclosures."""
        values = np.concatenate([[rho2], *multipliers])
        usable = (values >= _LEAST) & (values <= 1 / _LEAST)
        return bool(usable.all()) and proven_psd(self._matrix(rho2, multipliers))

    def _matrix(self, rho2: float, multipliers: Sequence[Array]) -> Enclosed:
        ends = np.cumsum([0, *(t.size for t in multipliers)])
        spans = [slice(a, b) for a, b in pairwise(ends.tolist())]
        side = int(ends[-1]) + 1
        mid, rad = np.zeros((side, side)), np.zeros((side, side))
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            first = multipliers[0]
            outer = first[:, None] * first[None, :] / rho2
            mid[spans[0], spans[0]] = -outer * self.square.mid
            lost = 8 * UNIT_ROUNDOFF * (np.abs(mid[spans[0], spans[0]]) + np.diag(2 * first))
            rad[spans[0], spans[0]] = (outer * self.square.rad + lost) * (1 + 16 * UNIT_ROUNDOFF) + 2 * TINY
            for span, t in zip(spans, multipliers, strict=True):
                mid[span, span] += np.diag(2 * t)
            for before, span, layer, t in zip(spans[:-1], spans[1:], self.hidden[1:], multipliers[1:], strict=True):
                mid[span, before] = -t[:, None] * layer.mid
                spread = 2 * UNIT_ROUNDOFF * np.abs(mid[span, before]) + t[:, None] * layer.rad
                rad[span, before] = spread * (1 + 8 * UNIT_ROUNDOFF) + 2 * TINY
                mid[before, span], rad[before, span] = mid[span, before].T, rad[span, before].T
            mid[-1, spans[-1]] = mid[spans[-1], -1] = self.functional.mid
            rad[-1, spans[-1]] = rad[spans[-1], -1] = self.functional.rad
            mid[-1, -1] = 1.0
        return Enclosed(mid, rad)

    def bound(self, multipliers: Sequence[Array]) -> float:
        """The least proven ``rho2`` found near any multipliers, feasible or not; inf where there is none."""
        with np.errstate(all="ignore"):
            proposals = [self._repaired(multipliers, floor, share) for floor in _FLOORS for share in _SHARES]
        for rho2, feasible in sorted((p for p in proposals if p is not None), key=lambda p: p[0]):
            for excess in _EXCESSES:
                if self.proves(rho2 * (1 + excess), feasible):
                    return rho2 * (1 + excess)
        return math.inf

    def _repaired(self, multipliers: Sequence[Array], floor: float, share: float) -> tuple[float, list[Array]] | None:
        """Multipliers enlarged until every Schur complement is positive, from the last layer to the first, and their rho2."""
        kept: list[Array] = []
        g = self.functional.mid
        used = np.outer(g, g)
        try:
            for k in range(len(self.hidden) - 1, -1, -1):
                t = _floored(multipliers[k], floor)
                root = np.sqrt(2 * t)
                t = t * max(1.0, float(np.linalg.eigvalsh(used / np.outer(root, root))[-1]) / share)
                kept.insert(0, t)
                lower = np.linalg.cholesky(np.diag(2 * t) - used)
                if k:
                    half = np.linalg.solve(lower, t[:, None] * self.hidden[k].mid)
                    used = half.T @ half
            half = np.linalg.solve(lower, np.outer(t, t) * self.square.mid)
            rho2 = float(np.linalg.eigvalsh(np.linalg.solve(lower, half.T))[-1])
        except np.linalg.LinAlgError:
            return None
        return (rho2, kept) if rho2 > 0 and math.isfinite(rho2) else None


def _floored(t: Array, floor: float) -> Array:
    """Clipped to be positive; all 1 where nothing is."""
    clipped = np.maximum(np.nan_to_num(t, nan=0.0, posinf=0.0, neginf=0.0), 0.0)
    top = float(clipped.max(initial=0.0))
    return np.asarray(np.maximum(clipped, floor * top)) if top > 0 else np.ones_like(t)
