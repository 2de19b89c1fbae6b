"""Errors at integer corners: where features are integers, the nearest errors under l-inf lie at whole distances.

From a sample x the margin to every rival climbs over corners ``x + r sign(gradient)`` of the box of whole radius r, cut by the support,
until a corner leads to itself, then by smaller steps and one feature at a time; r = 1, 2, ... until an error of the sample is found.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wdaverify.attacks.ascent import Clock
from wdaverify.ground import Norm
from wdaverify.network.model import Array
from wdaverify.problem import WdroProblem

_RADII, _STEPS = 8, 20
_NUMBERS = 2**22
"""Of problems with more numbers in all starting points nothing is tried."""


def integer_corners(problem: WdroProblem, clock: Clock) -> tuple[NDArray[np.int64], Array]:
    """Samples ``[M]`` and errors of theirs ``[M, n]`` in the support (floats: candidates); none where no feature is an integer."""
    network, support, cost = problem.network, problem.support, problem.cost
    samples, n, rivals = problem.samples, problem.network.n_inputs, problem.network.n_outputs - 1
    none = np.zeros(0, np.int64), np.zeros((0, n))
    if support.integer is None or cost.norm is not Norm.INF or len(samples) * rivals * n > _NUMBERS:
        return none
    scale = np.where(cost.fixed(n), np.inf, cost.scale(n))
    lower = np.where(support.integer, np.ceil(support.lower), support.lower)
    upper = np.where(support.integer, np.floor(support.upper), support.upper)
    found: list[tuple[int, Array]] = []
    waiting = np.flatnonzero(network.forward(samples.x).argmax(axis=1) == samples.y)
    for r in range(1, _RADII + 1):
        if not waiting.size or clock.over() or (np.isinf(cost.order) and r > problem.radius):
            break
        room = np.where(support.integer, np.floor(r / scale), r / scale)
        index = np.repeat(waiting, rivals)
        rival = np.concatenate([np.delete(np.arange(rivals + 1), y) for y in samples.y[waiting].tolist()])
        wanted = np.zeros((index.size, rivals + 1))
        wanted[np.arange(index.size), rival] = 1.0
        wanted[np.arange(index.size), samples.y[index]] -= 1.0
        ball = _Ball(problem, samples.x[index], room, lower, upper, wanted)
        done = set[int]()
        for moved in ball.climbs():
            for k in np.flatnonzero(ball.margin(moved) >= 0).tolist():
                if int(index[k]) not in done and bool(support.contains(moved[k : k + 1])[0]):
                    done.add(int(index[k]))
                    found.append((int(index[k]), moved[k]))
            if len(done) == waiting.size or clock.over():
                break
        waiting = waiting[[i not in done for i in waiting.tolist()]]
    if not found:
        return none
    return np.array([i for i, _ in found], np.int64), np.stack([p for _, p in found])


@dataclass(frozen=True, eq=False)
class _Ball:
    """Boxes ``|x - centre| <= room`` of points ``[P, n]`` cut by the support, and functionals ``[P, K]`` that are to climb."""

    problem: WdroProblem
    centre: Array
    room: Array
    lower: Array
    upper: Array
    wanted: Array

    def climbs(self) -> Iterator[Array]:
        """Whole points ``[P, n]`` one after the other: corners, then what smaller steps lead to, then its neighbours."""
        point = self.centre
        for _ in range(_STEPS):
            moved = self._cut(self.centre + self.room * np.sign(self._gradient(point)))
            yield moved
            if (moved == point).all():
                break
            point = moved
        point = self.centre
        for k in range(2 * _STEPS):
            step = self.room * (0.5 if k < _STEPS else 0.125)
            point = self._cut(point + step * np.sign(self._gradient(point)))
        point = self._whole(point)
        yield point
        for _ in range(_STEPS):
            nearby = self._neighbour(point)
            if nearby is None:
                break
            yield nearby
            point = nearby

    def margin(self, points: Array) -> Array:
        """The functionals at points ``[P, n]``."""
        out: Array = (self.problem.network.forward(points) * self.wanted).sum(axis=1)
        return out

    def _gradient(self, point: Array) -> Array:
        return self.problem.network.gradient(point, self.wanted)

    def _cut(self, points: Array) -> Array:
        return np.clip(np.clip(points, self.centre - self.room, self.centre + self.room), self.lower, self.upper)

    def _whole(self, points: Array) -> Array:
        integer = self.problem.support.integer
        return points if integer is None else np.where(integer, np.rint(points), points)

    def _neighbour(self, point: Array) -> Array | None:
        """Each point with the one feature at an end of its room that gains most; None where none gains."""
        if point.size * point.shape[1] > _NUMBERS:
            return None
        n, before = point.shape[1], self.margin(point)
        tried = np.repeat(point[:, None, :], 2 * n, axis=1)
        k = np.arange(n)
        tried[:, k, k] = self._cut(self.centre - self.room)
        tried[:, n + k, k] = self._cut(self.centre + self.room)
        flat = self.problem.network.forward(tried.reshape(-1, n)).reshape(len(point), 2 * n, -1)
        value = np.einsum("pck,pk->pc", flat, self.wanted)
        best = value.argmax(axis=1)
        rows = np.arange(len(point))
        gains = value[rows, best] > before
        return np.where(gains[:, None], tried[rows, best], point) if gains.any() else None
