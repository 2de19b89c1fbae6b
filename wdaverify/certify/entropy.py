"""Cross-entropy as one more layer: linear upper bounds of ``log(1 + sum_j exp(m_j))`` over intervals of the margins.

For any ``sigma > 0`` and gamma, since log lies below its tangents and ``sigma exp(m) - gamma m`` is convex in m,

    log(1 + sum exp(m_j))  <=  gamma . m  +  sigma - 1 - log sigma  +  sum_j max over the ends of [l_j, u_j] of (sigma exp(m) - gamma_j m)

and ``gamma . m`` is a functional of the logits, which a backward pass bounds (docs/theory.md, section 4). The margins are those of
the largest logit, ``m_j = z_j - z_r``, a piece for every class r (``pieces``).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wdaverify.network.model import Array
from wdaverify.rounding import UNIT_ROUNDOFF, dot_error, underflow

_GRID = 2.0**40
_GRID_POINTS, _ROUNDS = 65, 6


def on_grid(gamma: Array) -> Array:
    """Gamma on a grid on which sums of a few thousand are exact, so that ``gamma . m`` is one functional of the logits."""
    return np.asarray(np.round(np.clip(gamma, -(2.0**10), 2.0**10) * _GRID) / _GRID)


def entropy_constant(log_sigma: Array, gamma: Array, low: Array, high: Array) -> Array:
    """What is added to ``gamma . m``, rounded up, ``[L]``; log_sigma ``[L]``; gamma, low, high ``[L, J]``."""
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        level = log_sigma[:, None]
        ends = [np.exp(m + level) - gamma * m for m in (low, high)]
        size = [np.exp(m + level) * (1 + np.abs(m) + np.abs(level)) + np.abs(gamma * m) for m in (low, high)]
        rest = np.exp(log_sigma) - 1 - log_sigma
        total = np.maximum(*ends).sum(axis=1) + rest
        spread = np.maximum(*size).sum(axis=1) + np.exp(log_sigma) * (1 + np.abs(log_sigma)) + 1 + np.abs(log_sigma)
        out = total + (16 * UNIT_ROUNDOFF + dot_error(low.shape[1] + 4)) * spread
    return np.where(np.isfinite(out), out, np.inf)


def span_constant(gamma: Array, low: Array, high: Array) -> Array:
    """``sum_j max -gamma_j m`` over the ends of the intervals, rounded up, ``[L]``: with ``gamma . m`` it bounds 0."""
    count = low.shape[1]
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        ends = np.maximum(-gamma * low, -gamma * high).sum(axis=1)
        size = (np.abs(gamma) * np.maximum(np.abs(low), np.abs(high))).sum(axis=1)
        out = ends + dot_error(count + 4) * size + underflow(count)
    return np.where(np.isfinite(out), out, np.inf)


def best_level(gamma: Array, low: Array, high: Array) -> float:
    """The ``log sigma`` that bounds best for gamma ``[J]``: the constant is convex in sigma, searched on ever finer grids."""
    first = -float(np.logaddexp.reduce(np.append(high, 0.0)))
    last = -float(np.logaddexp.reduce(np.append(low, 0.0)))
    wide = [np.broadcast_to(v, (_GRID_POINTS, v.size)) for v in (gamma, low, high)]
    for _ in range(_ROUNDS):
        levels = np.linspace(first, last, _GRID_POINTS)
        at = int(entropy_constant(levels, *wide).argmin())
        first, last = levels[max(at - 1, 0)], levels[min(at + 1, _GRID_POINTS - 1)]
    return float(levels[at])


def by_rule(low: Array, high: Array) -> tuple[float, Array]:
    """``log sigma`` and gamma from the intervals alone: the secants, and the tangent at the middle of their sum."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        top = max(0.0, float(high.max(initial=0.0)))
        ends = np.exp(low - top), np.exp(high - top)
        level = -top - float(np.log(np.exp(-top) + 0.5 * (ends[0] + ends[1]).sum()))
        slope = np.where(high > low, (ends[1] - ends[0]) / (high - low), ends[1])
        gamma = slope * np.exp(level + top)
    return level, on_grid(np.nan_to_num(gamma))


def led(margins: Array, own: Array, label: NDArray[np.int64], largest: NDArray[np.int64]) -> Array:
    """``log sum_j exp min(t_j, t_r)``, rounded up, ``[B]``: what bounds ``t [B, K - 1]`` of a label's margins and ``own`` of 0 say.

    Where class r ``largest [B]`` is the largest logit, every margin is at most its own.
    """
    count = len(label)
    every, rank = np.empty((count, margins.shape[1] + 1)), np.arange(margins.shape[1])
    np.put_along_axis(every, rank + (rank >= label[:, None]), margins, axis=1)
    np.put_along_axis(every, label[:, None], own[:, None], axis=1)
    every = np.minimum(every, np.take_along_axis(every, largest[:, None], axis=1))
    return log_sum_up(every[:, None], np.full((count, 1), -np.inf))[:, 0]


def slack_of(ends: Array) -> Array:
    """``log(1 + sum_j exp(u_j))``, rounded up, ``[L]``: by how much a piece may exceed its lead where margins are at most ``u [L, J]``."""
    return log_sum_up(ends[:, None], np.zeros((len(ends), 1)))[:, 0]


def log_sum_up(raw: Array, extra: Array) -> Array:
    """``log(exp(extra) + sum_q exp(raw_q))`` of ``raw [B, P, Q]``, ``extra [B, 1]``, rounded up, ``[B, P]``."""
    top = np.maximum(raw.max(axis=2), extra)
    with np.errstate(invalid="ignore", under="ignore", over="ignore"):
        total = np.exp(extra - top) + np.exp(raw - top[..., None]).sum(axis=2)
        out = top + np.log(total) + 2.0**-48 * (raw.shape[2] + np.abs(top))
    return np.where(np.isfinite(out), out, np.inf)
