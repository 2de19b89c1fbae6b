"""A little farther than the nearest error lies one that is an error in single precision too.

The nearest error lies on the decision boundary, where rounding decides in float32. From there this steps outward, away from the
sample or up the margin, to float32 points, as far as a given distance, and takes the nearest of best ``Flip``. Each is an error in
real arithmetic as well, exactly, and lies in the support.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from wdaverify.network.model import Array
from wdaverify.problem import WdroProblem
from wdaverify.witness.decide import errors
from wdaverify.witness.evaluate import Atom, distances_up, edge_of
from wdaverify.witness.push import directions
from wdaverify.witness.single import IntArray, as_single, flips, single_margins, tried_margins

_FINEST, _STEPS, _LEAST_SIZE = 2.0**-28, 16, 1e-30
"""The shortest step, as a share of the size of the points (at least so large), and how many there are from that to the longest."""
_NEARER = 1 - 1e-12
"""Distances that are not rounded up are held to so much less."""
_NUMBERS = 2**14
"""How many numbers of a layer are held at once: products so small stay on one thread, which is faster beside busy processes."""
_NO, _BARELY, _TRIED, _ANY = -1, 0, 1, 2
"""Each ``Flip`` as a number, ``NO`` the least."""

Errors = dict[int, tuple[Array, float]]
"""A point and its distance, by sample."""


def said(problem: WdroProblem, atoms: Sequence[Atom]) -> tuple[Atom, ...]:
    """The atoms, those of zero-one loss 1 with what float32 makes of them."""
    out = list(atoms)
    wrong = [k for k, atom in enumerate(atoms) if problem.loss.rule.by_distances and atom.loss > 0]
    if wrong:
        points, labels = np.stack([atoms[k].point for k in wrong]), np.array([atoms[k].label for k in wrong], np.int64)
        for k, flip in zip(wrong, flips(problem.network, points, labels), strict=True):
            out[k] = replace(atoms[k], float32=flip)
    return tuple(out)


def portion(problem: WdroProblem) -> int:
    """How many samples ``outward`` should be asked about at once."""
    widest = problem.network.graph.widest
    return max(1, _NUMBERS // (widest * (_STEPS + 1)))


def outward(problem: WdroProblem, sample: IntArray, point: Array, farthest: Array) -> Errors:
    """Errors near ``point [M, n]`` no farther than ``farthest [M]`` from their samples ``[M]`` that float32 makes errors too.

    For each the nearest found that is one in any order of summation; else the nearest that is one in those tried by more than
    they differ; else the one that comes closest to that. Samples without any are left out.
    """
    cost, support, centre = problem.cost, problem.support, problem.samples.x[sample]
    loose = (
        ~cost.fixed(centre.shape[1]) if support.integer is None else ~(cost.fixed(centre.shape[1]) | support.integer)
    )
    away = point - centre
    away = np.where(loose & np.where(away > 0, point < support.upper, point > support.lower), away, 0.0)
    length, room = cost.distance(away), farthest - cost.distance(point - centre)
    straight = away / np.where(length > 0, length, 1.0)[:, None]
    out, rising = _best(problem, sample, _stepped(point, straight[:, None, :], room), farthest)
    for k in np.flatnonzero((room > 0) & np.isfinite(room) & ~rising).tolist():
        i = int(sample[k])
        if i not in out:
            ways = directions(problem.network, point[k], centre[k], int(problem.samples.y[i]), support, cost, loose)
            one = slice(k, k + 1)
            out |= _best(problem, sample[one], _stepped(point[one], ways[None], room[one]), farthest[one])[0]
    return out


def _stepped(point: Array, ways: Array, room: Array) -> Array:
    """Points ``[M, n]`` themselves, and up to ``room [M]`` from them others along ``ways [M, D, n]`` of unit norm, ``[M, B, n]``."""
    room = np.where(np.isfinite(room), np.maximum(room, 0.0), 0.0)
    least = np.minimum(room, _FINEST * np.maximum(np.abs(point).max(axis=1), _LEAST_SIZE))
    ratio = np.where(least > 0, room / np.where(least > 0, least, 1.0), 1.0)
    steps = least[:, None] * ratio[:, None] ** np.linspace(0.0, 1.0, _STEPS)
    stepped = point[:, None, None, :] + steps[:, None, :, None] * ways[:, :, None, :]
    return np.concatenate([point[:, None, :], stepped.reshape(len(point), -1, point.shape[1])], axis=1)


def _best(problem: WdroProblem, sample: IntArray, tried: Array, farthest: Array) -> tuple[Errors, NDArray[np.bool_]]:
    """The best among points ``[M, B, n]``, moved to float32 numbers, of samples ``[M]``; and whose margins rise beyond the first's."""
    support, centre = problem.support, problem.samples.x[sample]
    tried = as_single(np.clip(tried, support.lower, support.upper), centre[:, None, :])
    distance = problem.cost.distance(tried - centre[:, None, :])
    inside = distance <= _NEARER * farthest[:, None]
    inside[inside] = support.contains(tried[inside])
    labels = np.broadcast_to(problem.samples.y[sample][:, None], inside.shape)
    lower, value = np.full(inside.shape, -math.inf), np.full(inside.shape, -math.inf)
    lower[inside], value[inside] = single_margins(problem.network, tried[inside], labels[inside])
    rank = np.where(lower > 0, _ANY, _NO)
    likely = (value > 0) & (rank.max(axis=1) < _ANY)[:, None]
    least, need = np.full(inside.shape, -math.inf), np.full(inside.shape, math.inf)
    if likely.any():
        least[likely], need[likely] = tried_margins(problem.network, tried[likely], labels[likely])
    barely = (least > 0) & (least == least.max(axis=1, keepdims=True))
    rank = np.where(least > need, _TRIED, np.where(barely, _BARELY, rank))
    best = np.where(rank == rank.max(axis=1, keepdims=True), distance, math.inf).argmin(axis=1)
    rows = np.flatnonzero(rank[np.arange(len(rank)), best] > _NO)
    rising = np.asarray(value.max(axis=1) > value[:, 0])
    return _exactly(problem, sample[rows], tried[rows, best[rows]], farthest[rows]), rising


def _exactly(problem: WdroProblem, sample: IntArray, point: Array, farthest: Array) -> Errors:
    """Those of points ``[M, n]`` of the support that are errors within reach, exactly."""
    if not len(point):
        return {}
    distance = distances_up(problem.cost, point, problem.samples.x[sample], edge_of(problem))
    there = errors(problem.network, point, problem.samples.y[sample]) & (distance <= farthest)
    return {int(sample[k]): (point[k], float(distance[k])) for k in np.flatnonzero(there)}
