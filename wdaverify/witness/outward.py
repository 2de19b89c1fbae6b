"""A little farther than the nearest error lies one that is an error in single precision too.

The nearest error lies on the decision boundary, where rounding decides in float32. From there this steps outward, away from the
sample or up the margin, to float32 points, as far as a given distance, and takes the nearest of best ``Flip``. Each is an error in
real arithmetic as well, exactly, and lies in the support.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from wdaverify.network.model import Array
from wdaverify.problem import Loss, WdroProblem
from wdaverify.witness.decide import errors
from wdaverify.witness.evaluate import Atom, distances_up, edge_of
from wdaverify.witness.push import directions
from wdaverify.witness.single import as_single, flips, single_margins, tried_margins

_FINEST, _STEPS = 2.0**-28, 20
"""The shortest step, as a share of the size of the points, and how many there are from that to the longest."""
_TRIALS = 24
"""How many points, from the nearest to the farthest, are tried in several orders of summation."""

_LEAST_SIZE = 1e-30
_BARELY, _CLEARLY, _SURELY = 0, 1, 2


@dataclass(frozen=True, eq=False)
class _Found:
    point: Array
    distance: float
    rank: int
    """An error in any order of summation, in those tried by more than they differ, or in those tried."""


def said(problem: WdroProblem, atoms: Sequence[Atom]) -> tuple[Atom, ...]:
    """The atoms, those of zero-one loss 1 with what float32 makes of them."""
    out = list(atoms)
    wrong = [k for k, atom in enumerate(atoms) if problem.loss is Loss.ZERO_ONE and atom.loss > 0]
    if wrong:
        points, labels = np.stack([atoms[k].point for k in wrong]), np.array([atoms[k].label for k in wrong], np.int64)
        for k, flip in zip(wrong, flips(problem.network, points, labels), strict=True):
            out[k] = replace(atoms[k], float32=flip)
    return tuple(out)


def outward(problem: WdroProblem, sample: int, point: Array, farthest: float) -> tuple[Array, float] | None:
    """An error near ``point [n]`` no farther than ``farthest`` from its sample that float32 makes an error too, and its distance; or None.

    The nearest found that is one in any order of summation; else the nearest that is one in those tried by more than they differ;
    else the one that comes closest to that.
    """
    centre, cost, support = problem.samples.x[sample], problem.cost, problem.support
    label = int(problem.samples.y[sample])
    away = point - centre
    loose = ~cost.fixed(away.size) if support.integer is None else ~(cost.fixed(away.size) | support.integer)
    length, room = float(cost.distance(np.where(loose, away, 0.0))), farthest - float(cost.distance(away))
    if not math.isfinite(room):
        return None
    straight = np.where(loose, away / (length or 1.0), 0.0)[None, :]
    found = _along(problem, sample, _steps(point, straight if length else straight[:0], room), farthest)
    if room > 0 and (found is None or found.rank == _BARELY):
        ways = directions(problem.network, point, centre, label, support, cost, loose)
        other = _along(problem, sample, _steps(point, ways, room), farthest)
        found = other if found is None or (other is not None and other.rank > found.rank) else found
    return None if found is None else (found.point, found.distance)


def _steps(point: Array, ways: Array, room: float) -> Array:
    """The point ``[n]`` itself, and others along ``ways [D, n]`` of unit norm, in geometric steps up to ``room``, ``[B, n]``."""
    if room <= 0:
        return point[None, :]
    least = min(room, _FINEST * max(float(np.abs(point).max()), _LEAST_SIZE))
    steps = np.geomspace(least, room, _STEPS)
    return np.vstack([point[None, :], (point + steps[None, :, None] * ways[:, None, :]).reshape(-1, point.size)])


def _along(problem: WdroProblem, sample: int, points: Array, farthest: float) -> _Found | None:
    """The best of points ``[B, n]``, moved to float32 numbers within the support's box."""
    network, centre, label = problem.network, problem.samples.x[sample], int(problem.samples.y[sample])
    tried = as_single(np.clip(points, problem.support.lower, problem.support.upper), centre)
    distance = problem.cost.distance(tried - centre)
    kept = np.flatnonzero(distance <= farthest)
    tried = tried[kept[np.argsort(distance[kept], kind="stable")]]
    tried = tried[problem.support.contains(tried)]
    labels = np.full(len(tried), label, np.int64)
    if not len(tried):
        return None
    lower, value = single_margins(network, tried, labels)
    found = _first(problem, sample, tried[lower > 0], farthest, _SURELY)
    likely = tried[value > 0]
    if found is not None or not len(likely):
        return found
    likely = likely[np.unique(np.linspace(0, len(likely) - 1, min(len(likely), _TRIALS)).astype(int))]
    least, need = tried_margins(network, likely, labels[: len(likely)])
    found = _first(problem, sample, likely[least > need], farthest, _CLEARLY)
    if found is None and least.max() > 0:
        found = _first(problem, sample, likely[[int(least.argmax())]], farthest, _BARELY)
    return found


def _first(problem: WdroProblem, sample: int, points: Array, farthest: float, rank: int) -> _Found | None:
    """The first of points ``[B, n]`` of the support that is an error, and within reach, exactly."""
    centre, label = problem.samples.x[sample], problem.samples.y[sample : sample + 1]
    for point in points:
        distance = float(distances_up(problem.cost, point[None, :], centre[None, :], edge_of(problem))[0])
        if distance <= farthest and bool(errors(problem.network, point[None, :], label)[0]):
            return _Found(point, distance, rank)
    return None
