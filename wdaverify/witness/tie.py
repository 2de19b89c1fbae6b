"""Where the DLR loss has no bound: three logits tie above the label's, shown by rationals (docs/theory.md, section 4).

At ``point`` the three largest logits or more tie, all above the label's; on the way to ``toward``, within the support and, for
order inf, within the closed ball, the largest leaves the third behind at once:

    z_pi1 = z_pi3 > z_y at the point,   z_pi1 - z_pi3 = t (s_(1) - s_(3)),  s_(1) > s_(3),  for all small t > 0

with ``s`` the one-sided derivatives of the logits that tie. The loss there is a positive number over ``t``: no bound holds. The
point itself, where the loss is not defined, need not be a double.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from wdaverify.certify.exact import one_sided
from wdaverify.problem import LinearRows, Norm, WdroProblem

Point = tuple[Fraction, ...]


@dataclass(frozen=True)
class Tie:
    """A tie of the logits ``classes`` at ``point [n]``, above that of ``sample``'s label, and where it comes apart."""

    sample: int
    classes: tuple[int, ...]
    point: Point
    toward: Point


def tie_at(
    problem: WdroProblem, sample: int, point: Sequence[Fraction], towards: Iterable[Sequence[Fraction]]
) -> Tie | None:
    """The tie of ``sample``'s DLR loss at a point, which shows that the loss has no bound; None where it does not.

    ``towards`` are points to be tried in turn, with the point's own values where nothing moves.
    """
    if not within(problem, sample, point):
        return None
    held = still(problem).tolist()
    for aim in towards:
        toward = [own if stays else other for stays, own, other in zip(held, point, aim, strict=True)]
        direction = [b - a for a, b in zip(point, toward, strict=True)]
        values, slopes = one_sided(problem.network, point, direction)[-1]
        top = max(values)
        classes = tuple(j for j, value in enumerate(values) if value == top)
        if len(classes) < 3 or int(problem.samples.y[sample]) in classes:
            return None
        ranked = sorted((slopes[j] for j in classes), reverse=True)
        if ranked[0] != ranked[2] and within(problem, sample, toward):
            return Tie(sample, classes, tuple(point), tuple(toward))
    return None


def within(problem: WdroProblem, sample: int, point: Sequence[Fraction]) -> bool:
    """Whether a point lies in the support, where the sample can move to, and for order inf in the closed ball around it, exactly."""
    support, cost, n = problem.support, problem.cost, len(point)
    x = [Fraction(v) for v in problem.samples.x[sample].tolist()]
    sides = zip(support.lower.tolist(), point, support.upper.tolist(), strict=True)
    if not all(Fraction(low) <= value <= Fraction(high) for low, value, high in sides):
        return False
    if support.integer is not None and any(point[k].denominator != 1 for k in np.flatnonzero(support.integer).tolist()):
        return False
    if any(point[k] != x[k] for k in np.flatnonzero(cost.fixed(n)).tolist()):
        return False
    if support.rows is not None and not _holds(support.rows, point):
        return False
    if math.isfinite(cost.order):
        return True
    moves = [abs(v - c) * Fraction(a) for v, c, a in zip(point, x, cost.scale(n).tolist(), strict=True)]
    if cost.norm is Norm.TWO:
        return sum((move * move for move in moves), Fraction(0)) <= Fraction(problem.radius) ** 2
    return (max(moves) if cost.norm is Norm.INF else sum(moves, Fraction(0))) <= Fraction(problem.radius)


def _holds(rows: LinearRows, point: Sequence[Fraction]) -> bool:
    """Whether a point satisfies every row."""
    for row, low, high in zip(rows.matrix.tolist(), rows.lower.tolist(), rows.upper.tolist(), strict=True):
        value = sum((Fraction(a) * v for a, v in zip(row, point, strict=True) if a), Fraction(0))
        if (math.isfinite(low) and value < Fraction(low)) or (math.isfinite(high) and value > Fraction(high)):
            return False
    return True


def still(problem: WdroProblem) -> NDArray[np.bool_]:
    """The features that do not change along any way within the support: integers, and those of infinite weight, ``[n]``."""
    n = problem.network.n_inputs
    integer = np.zeros(n, np.bool_) if problem.support.integer is None else problem.support.integer
    return np.asarray(integer | problem.cost.fixed(n))
