"""Regions of few points, where every feature that moves is an integer: each point is evaluated, and no cell is searched.

Inner      max over points of  the upper end of the functional (or the cross-entropy)  -  multiplier * distance^p, rounded down
Distance   min over points where the upper end of the margin is at least 0 of the distance, rounded down
"""

from __future__ import annotations

import math
import time

import numpy as np

from wdaverify.certify.enclosure import functionals_enclosure, margins_enclosure
from wdaverify.encoding.cost import Region
from wdaverify.engines.base import Answer, Distance, Effort, Inner
from wdaverify.engines.cells.asked import Asked
from wdaverify.losses.cross_entropy import RULE as ENTROPY
from wdaverify.network.model import Array, ReluNetwork
from wdaverify.rounding import UNIT_ROUNDOFF, dot_error, underflow

MOST, _NUMBERS = 2**14, 2**21
"""Regions of more points, or of more numbers that these have, are searched."""
_KEPT = 8
"""How many points are handed back."""


def points_of(region: Region) -> Array | None:
    """All points of a region that may lie in it, ``[P, n]``; None where there is no end of them, too many, or none."""
    centre, cost = region.centre, region.cost
    moves = (region.lower < region.upper) & ~cost.fixed(centre.size)
    if region.integer is None or not moves.any() or (moves & ~region.integer).any():
        return None
    reach = region.far / cost.scale(centre.size) * (1 + 8 * UNIT_ROUNDOFF)
    lower = np.ceil(np.maximum(region.lower, centre - reach))
    upper = np.floor(np.minimum(region.upper, centre + reach))
    counts = np.where(moves, np.maximum(upper - lower + 1, 0), 1.0)
    if not 0 < counts.prod() <= min(MOST, _NUMBERS / centre.size):
        return None
    ways = [lower[k] + np.arange(counts[k]) if moves[k] else centre[k : k + 1] for k in range(centre.size)]
    points: Array = np.stack([axis.ravel() for axis in np.meshgrid(*ways, indexing="ij")], axis=1)
    low, high = _distances(region, points)
    kept = (low <= region.far) & (high >= region.near)
    if region.rows is not None:
        kept &= region.rows.hold(points)
    return points[kept] if kept.any() else None


def _distances(region: Region, points: Array) -> tuple[Array, Array]:
    """The points' distances, rounded down and up, ``[P]`` each."""
    n, away = region.centre.size, points - region.centre
    distance = region.cost.distance(away)
    off = 2 * dot_error(n + 8) * distance + underflow(2)
    off = np.where(away.any(axis=1), off, 0.0)
    return np.maximum(distance - off, 0.0), distance + off


def evaluated(network: ReluNetwork, question: Inner | Distance, effort: Effort, points: Array) -> Answer:
    """The answer from all points ``[P, n]`` of the question's region."""
    begun, asked = time.perf_counter(), Asked(network.form, question)
    step = max(1, _NUMBERS // network.graph.widest)
    ends = [_ends(network, question, asked.functional, points[k : k + step]) for k in range(0, len(points), step)]
    lower, upper = (np.concatenate(part) for part in zip(*ends, strict=True))
    near = _distances(question.region, points)[0]
    if isinstance(question, Distance):
        there = upper >= 0 if question.least <= 0 else lower >= question.least
        bound = float(near[there].min(initial=math.inf))
        best = np.flatnonzero(there)[np.argsort(near[there], kind="stable")][:_KEPT]
    else:
        paid = question.multiplier * near**asked.power if question.multiplier else np.zeros(len(points))
        worth = upper - paid
        worth = worth + 4 * UNIT_ROUNDOFF * (np.abs(upper) + 2 * np.abs(paid)) + underflow(2)
        worth = np.where(np.isnan(worth), math.inf, worth)
        bound = float(worth.max())
        bound = bound if effort.cutoff is None else max(bound, effort.cutoff)
        best = np.argsort(-worth, kind="stable")[:_KEPT]
    seconds = time.perf_counter() - begun
    return Answer(bound, points[best], "cells", True, len(points), seconds, f"{len(points)} points", True)


def _ends(network: ReluNetwork, question: Inner | Distance, functional: Array, points: Array) -> tuple[Array, Array]:
    """Bounds of what is asked for at points ``[P, n]``, without its price, ``[P]`` each."""
    if isinstance(question, Inner) and question.entropy:
        labels = np.full(len(points), question.label)
        return ENTROPY.enclosed(*margins_enclosure(network, points, labels), labels)
    low, high = functionals_enclosure(network, points, functional[None, :], np.zeros((len(points), 1)))
    return low[:, 0], high[:, 0]
