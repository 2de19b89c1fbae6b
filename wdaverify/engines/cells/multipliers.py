"""Multipliers for ``certify.sectors``: a barrier method on ``min r  s.t.  F(r, T) >= 0, T >= 0``, begun at the parent's.

    t r - log det F - sum log T_j,    with G = F^-1, E and U the rows e_j and u_j:
    gradient in T_j    -2 e_j G u_j - 1 / T_j
    Hessian            2 (E G E^T o U G U^T + E G U^T o (E G U^T)^T) + diag(1 / T_j^2)

A child's variables are a part of its parent's, by which what was feasible stays so. G / t tends to the second moments of a worst direction:
``T_j min(E h_j^2, E (z_j - h_j)^2)`` is what neuron j is worth deciding. Nothing here is believed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from wdaverify.certify.sectors import Sectors
from wdaverify.network.model import Array

_GROWTH = 8.0
_STEPS = 60
_BACK = 30
_CENTRED = 0.5
_PRECISE = 1e-4


@dataclass(frozen=True, eq=False)
class Found:
    """r, multipliers ``[o]``, no r is below ``least``, and what each open neuron is worth deciding ``[o]``."""

    r: float
    multipliers: Array
    least: float
    worth: Array


def start(sectors: Sectors) -> tuple[float, Array]:
    """Multipliers that are feasible, layer by layer from the last on, and their r."""
    out, z, e = sectors.out[0], sectors.z[0], sectors.features
    square = out.T @ out
    multipliers = np.zeros(sectors.at.size)
    for layer in np.unique(sectors.layer)[::-1].tolist():
        mine = np.flatnonzero(sectors.layer == layer)
        here = e + mine
        own = square[np.ix_(here, here)]
        t = np.abs(own).sum(axis=1)
        t = np.maximum(t, 1e-9 * float(np.abs(square).max(initial=0.0)) + 1e-300)
        multipliers[mine] = t
        across = square[here] + t[:, None] * z[mine]
        across[:, here] = 0.0
        square[here] = 0.0
        square[:, here] = 0.0
        square = square + across.T @ np.linalg.solve(2 * np.diag(t) - own, across)
    top = float(np.linalg.eigvalsh(square[:e, :e])[-1]) if e else 0.0
    return 1.01 * top + 1e-300, multipliers


def improve(sectors: Sectors, level: float, r: float, multipliers: Array) -> Found:
    """Better multipliers than those given, until r is at most ``level`` or no multipliers would bring it there."""
    out, z, e = sectors.out[0], sectors.z[0], sectors.features
    o, v = sectors.at.size, sectors.features + sectors.at.size
    fixed = -(out.T @ out)
    u = -z.copy()
    u[np.arange(o), e + np.arange(o)] += 1.0
    least, worth = -math.inf, np.zeros(o)
    t = (v + o) / max(0.5 * r, r - level, 1e-300)
    T = multipliers

    def factor(r: float, T: Array) -> Array | None:
        F = fixed.copy()
        F[np.arange(e), np.arange(e)] += r
        half = T[:, None] * u
        F[e:] += half
        F[:, e:] += half.T
        try:
            return np.asarray(np.linalg.cholesky(F))
        except np.linalg.LinAlgError:
            return None

    lower = factor(r, T)
    if lower is None:
        return Found(math.inf, T, least, worth)
    for _ in range(_STEPS):
        try:
            G = np.linalg.inv(lower @ lower.T)
        except np.linalg.LinAlgError:
            break
        GU = G @ u.T
        EE, EU, UU = G[e:, e:], GU[e:], u @ GU
        H = np.empty((o + 1, o + 1))
        H[0, 0] = (G[:e, :e] ** 2).sum()
        H[1:, 1:] = 2 * (EE * UU + EU * EU.T)
        H[0, 1:] = H[1:, 0] = 2 * (G[e:, :e] * GU[:e].T).sum(axis=1)
        H[np.arange(1, o + 1), np.arange(1, o + 1)] += 1 / T**2
        gradient = np.concatenate([[t - np.trace(G[:e, :e])], -2 * np.diag(EU) - 1 / T])
        try:
            step = -np.linalg.solve(H, gradient)
        except np.linalg.LinAlgError:
            break
        decrement = float(-gradient @ step)
        if not np.isfinite(decrement):
            break
        size = 1.0 if decrement < 0.25 else 1 / (1 + math.sqrt(max(decrement, 0.0)))
        size = max(size, 0.0)
        moved = None
        for share in (min(1.0, size * 4), *(size * 0.5**k for k in range(_BACK))):
            to = float(r + share * step[0]), T + share * step[1:]
            moved = factor(*to) if to[0] > 0 and (to[1] > 0).all() else None
            if moved is not None:
                (r, T), lower = to, moved
                break
        if moved is None:
            break
        if r <= level:
            break
        if decrement < _CENTRED:
            least = max(least, r - (v + o + math.sqrt(v + o)) / t)
            moments = G / t
            h2 = np.diag(moments)[e:]
            rest = ((u @ moments) * u).sum(axis=1)
            worth = T * np.minimum(h2, rest)
            if least > level * (1 + 1e-3) and (v + o) / t < 0.05 * r:
                break
            if (v + o) / t < _PRECISE * r:
                break
            t *= _GROWTH
    return Found(r, T, least, worth)
