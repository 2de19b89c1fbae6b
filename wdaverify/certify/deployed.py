"""By how much a loss may be off in float32 (``certify.forward_error``): on what samples can reach, and at points.

losses of slope 1 in the margins      |l_32 - l| <= max_(j != y) e_j + e_y
a linear loss                         |l_32 - l| <= max_r |F_r| . e
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from wdaverify.certify.forward_error import ForwardError
from wdaverify.certify.peak import Shells
from wdaverify.errors import ProblemError
from wdaverify.network.model import Array
from wdaverify.problem import WdroProblem
from wdaverify.rounding import float_down, float_up

Ints = NDArray[np.int64]
_PORTION = 64
"""Samples or points whose errors are bounded at a time."""


@dataclass(frozen=True, eq=False)
class Errors:
    """The error bounds of a question's outputs."""

    problem: WdroProblem
    forward: ForwardError

    @classmethod
    def of(cls, problem: WdroProblem) -> Errors:
        """Of a question in float32.

        Raises:
            NetworkError: something in the network has no error bound.
        """
        return cls(problem, ForwardError(problem.network))

    def check(self) -> None:
        """Refuse a question of whose outputs nothing is known: they may overflow where a sample can reach.

        Raises:
            ProblemError: names the first such sample.
        """
        lost = ~np.isfinite(self.of_samples) & (self.problem.samples.w > 0)
        if lost.any():
            raise ProblemError(
                f"{self.problem.network.name} may overflow float32 (beyond 2^96 on some way through it) where sample "
                f"{int(lost.argmax())} can reach: give a smaller support (--support), at order inf a smaller radius, or rescale the weights"
            )

    @cached_property
    def reached(self) -> Array:
        """``e [N, K]`` on what each sample can reach: at order inf its ball within the support, else the support."""
        problem, count = self.problem, len(self.problem.samples)
        if math.isfinite(problem.cost.order):
            return np.broadcast_to(self.forward.on(problem.support), (count, problem.network.n_outputs))
        out, support = list[Array](), problem.support
        for first in range(0, count, _PORTION):
            centre = problem.samples.x[first : first + _PORTION]
            near, far = np.zeros(len(centre)), np.full(len(centre), problem.radius)
            out.append(self.forward.of(Shells.around(problem.cost, centre, support.lower, support.upper, near, far)))
        return np.concatenate(out)

    def at(self, points: Array) -> Array:
        """``e [M, K]`` at points ``[M, n]``."""
        parts = [self.forward.at(points[k : k + _PORTION]) for k in range(0, len(points), _PORTION)]
        return np.concatenate(parts) if parts else np.zeros((0, self.problem.network.n_outputs))

    def of_losses(self, errors: Array, labels: Ints) -> Array:
        """By how much the loss may be off ``[M]`` where outputs are by ``[M, K]``, under labels ``[M]``; rounded up."""
        functionals = self.problem.functionals
        if functionals is not None:
            return np.asarray((errors @ np.abs(functionals.matrix).T).max(axis=1) * (1 + 2.0**-40))
        rows = np.arange(len(labels))
        others = errors.copy()
        others[rows, labels] = 0.0
        return np.asarray((others.max(axis=1) + errors[rows, labels]) * (1 + 2.0**-40))

    @cached_property
    def of_samples(self) -> Array:
        """The same of each sample on what it can reach, under whatever label it may have there, ``[N]``."""
        errors, own = self.reached, self.problem.samples.y
        out = self.of_losses(errors, own)
        if self.problem.cost.moves_labels and self.problem.functionals is None:
            for label in range(self.problem.network.n_outputs):
                out = np.maximum(out, self.of_losses(errors, np.full(len(own), label)))
        return out

    def of_points(self, points: Array, labels: Ints) -> Array:
        """The same at points ``[M, n]`` under labels ``[M]``, ``[M]``."""
        return self.of_losses(self.at(points), labels)


def mean(weights: Sequence[float] | Array, values: Array, *, up: bool) -> float:
    """``sum_i w_i v_i`` of values >= 0, rounded; inf where one of them is."""
    if not np.isfinite(values[np.asarray(weights) > 0]).all():
        return math.inf
    total = sum(
        (Fraction(float(w)) * Fraction(float(v)) for w, v in zip(weights, values, strict=True) if w), Fraction(0)
    )
    return float_up(total) if up else float_down(total)


def raised(value: float, by: float) -> float:
    """``value + by``, rounded up."""
    return float_up(Fraction(value) + Fraction(by)) if math.isfinite(value) and math.isfinite(by) else value + by


def lowered(value: float, by: float) -> float:
    """``value - by``, rounded down."""
    return float_down(Fraction(value) - Fraction(by)) if math.isfinite(value) and math.isfinite(by) else value - by
