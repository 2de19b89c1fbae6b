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

from wdaverify.certify.exact import one_sided
from wdaverify.problem import Norm, WdroProblem

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

    ``towards`` are points to be tried in turn.
    """
    if not within(problem, sample, point):
        return None
    for toward in towards:
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
    """Whether a point lies in the box of the support and, for order inf, in the closed ball around the sample, exactly."""
    support, cost = problem.support, problem.cost
    if not support.plain or cost.weights is not None or cost.norm is Norm.TWO:
        raise ValueError("ties are decided in l1 and l-inf without weights on a plain box")
    sides = zip(support.lower.tolist(), point, support.upper.tolist(), strict=True)
    if not all(Fraction(low) <= value <= Fraction(high) for low, value, high in sides):
        return False
    if math.isfinite(cost.order):
        return True
    moves = [abs(value - Fraction(x)) for value, x in zip(point, problem.samples.x[sample].tolist(), strict=True)]
    return (max(moves) if cost.norm is Norm.INF else sum(moves, Fraction(0))) <= Fraction(problem.radius)
