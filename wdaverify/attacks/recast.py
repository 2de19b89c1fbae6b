"""The question as the attacks see it: inputs in cost units, and outputs whose margins are the pieces of the loss.

    x~ = s x,    W_1 x = (W_1 / s) x~,    m_j = z~_j - z~_label

z~ are the logits; for a linear loss they are 0 and then ``F_r z + b_r(y)`` for every label y present and every r, the
"label" of every sample being the 0 and its rivals the functionals with its own offsets.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wdaverify.attacks.repair import into_support
from wdaverify.network.model import Array
from wdaverify.problem import Functionals, WdroProblem

Maps = tuple[tuple[Array, Array], ...]
"""Affine maps ``(weight [m, n], bias [m])`` with a relu between any two."""


@dataclass(frozen=True, eq=False)
class Recast:
    """centre ``[N, n]``, lower and upper ``[n]`` in cost units; label ``[N]``, rival ``[N, J]``; fixed ``[n]`` or None."""

    problem: WdroProblem
    maps: Maps
    label: NDArray[np.int64]
    rival: NDArray[np.int64]
    centre: Array
    lower: Array
    upper: Array
    fixed: NDArray[np.bool_] | None

    @classmethod
    def of(cls, problem: WdroProblem) -> Recast:
        """The problem in these terms; without weights and functionals nothing changes."""
        cost, support, x, y = problem.cost, problem.support, problem.samples.x, problem.samples.y
        maps: Maps = tuple((block.weight, block.bias) for block in problem.network.blocks)
        slots = np.arange(problem.network.n_outputs - 1)
        label, rival = y, slots + (slots >= y[:, None])
        if problem.functionals is not None:
            last, label, rival = _functional_map(problem.functionals, maps[-1], y)
            maps = (*maps[:-1], last)
        if cost.weights is None:
            return cls(problem, maps, label, rival, x, support.lower, support.upper, None)
        s, fixed = cost.scale(x.shape[1]), cost.fixed(x.shape[1])
        maps = ((maps[0][0] / s, maps[0][1]), *maps[1:])
        held = fixed if fixed.any() else None
        return cls(problem, maps, label, rival, x * s, support.lower * s, support.upper * s, held)

    def back(self, sample: NDArray[np.int64], point: Array) -> tuple[Array, NDArray[np.bool_]]:
        """Points ``[M, n]`` of samples ``[M]`` out of cost units and moved into the support, and which of them are in it."""
        problem = self.problem
        centre = problem.samples.x[sample]
        if problem.cost.weights is not None:
            point = centre + (point - self.centre[sample]) / problem.cost.scale(centre.shape[1])
        return into_support(problem, centre, point, self.fixed)


def _functional_map(
    functionals: Functionals, last: tuple[Array, Array], y: NDArray[np.int64]
) -> tuple[tuple[Array, Array], NDArray[np.int64], NDArray[np.int64]]:
    """The last map followed by the functionals under each label present, the samples' label 0 and their rivals."""
    present, at = np.unique(y, return_inverse=True)
    offset = functionals.offsets(present)
    if functionals.offset.ndim == 1:
        offset, at = offset[:1], np.zeros_like(at)
    weight, bias = functionals.matrix @ last[0], functionals.matrix @ last[1]
    tall = np.vstack([np.zeros((1, weight.shape[1])), np.tile(weight, (len(offset), 1))])
    long = np.concatenate([[0.0], (bias + offset).reshape(-1)])
    rival = 1 + at.reshape(-1)[:, None] * len(bias) + np.arange(len(bias))
    return (tall, long), np.zeros(len(y), np.int64), rival.astype(np.int64)
