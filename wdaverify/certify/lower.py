"""The lower bound: atoms are a distribution in the ball, and V is at least what it is worth (exact rationals).

    lower = sum_k mass_k loss(point_k, label_k)   where   sum of a sample's masses = w_i,   sum_k mass_k c_k <= radius^p

with ``c_k = ||a (point - x_i)||^p + label_cost^p [label != y_i]``; at order inf every atom with mass is within the radius, and labels
move where their cost is.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from wdaverify.certify.enclosure import functionals_enclosure, margins_enclosure, rival_margin
from wdaverify.certify.exact import exact_error, functionals_between, margin_between, margins_between
from wdaverify.certify.proof import MalformedProofError
from wdaverify.certify.question import root_up
from wdaverify.certify.upper import Ints, in_time
from wdaverify.ground import GroundCost, Norm
from wdaverify.losses.rule import Reads
from wdaverify.network.model import Array, ReluNetwork
from wdaverify.problem import WdroProblem
from wdaverify.rounding import float_down, float_up


@dataclass(frozen=True, eq=False)
class Atoms:
    """Atoms ``[A]``: sample, weight, point ``[A, n]``, and label (None: the samples' own)."""

    sample: Ints
    weight: Array
    point: Array
    label: Ints | None

    def each(self, problem: WdroProblem, deadline: float) -> Iterator[tuple[int, float, Array, int]]:
        """Sample, weight, point and label of every atom, one by one: there may be as many as the file holds.

        Raises:
            MalformedProofError: it is no atom: of no sample, without weight, outside the support, or of a label that may not be.
            TimeoutError: the deadline has passed.
        """
        samples = problem.samples
        for at, point in enumerate(self.point):
            in_time(deadline, "atoms")
            sample, weight = int(self.sample[at]), float(self.weight[at])
            if not 0 <= sample < len(samples):
                raise MalformedProofError(f"an atom of sample {sample}, which does not exist")
            if not (math.isfinite(weight) and weight > 0):
                raise MalformedProofError(f"an atom of sample {sample} has weight {weight}")
            if not (np.isfinite(point).all() and problem.support.contains(point[None, :])[0]):
                raise MalformedProofError(f"an atom of sample {sample} lies outside the support")
            label = int(samples.y[sample]) if self.label is None else int(self.label[at])
            if label != samples.y[sample] and not (
                problem.cost.moves_labels and 0 <= label < problem.network.n_outputs
            ):
                raise MalformedProofError(f"an atom of sample {sample} has the label {label}")
            yield sample, weight, point, label


def value_of(
    atoms: Atoms,
    problem: WdroProblem,
    deadline: float,
    radius: float | None = None,
    clean: Sequence[Fraction] = (),
) -> float:
    """The value of the atoms' distribution, in rationals, rounded down once; in a ball of another radius than the problem's, if given.

    With a radius given, what no atom of a sample weighs stays where it is, and is worth ``clean [N]``.

    Raises:
        MalformedProofError: it is no distribution in the ball.
        TimeoutError: the deadline has passed.
    """
    samples, cost = problem.samples, problem.cost
    mass: defaultdict[int, Fraction] = defaultdict(Fraction)
    spent, value = Fraction(0), Fraction(0)
    for sample, weight, point, label in atoms.each(problem, deadline):
        mass[sample] += Fraction(weight)
        moved = price(problem, point, samples.x[sample], moves_label=label != samples.y[sample])
        if math.isfinite(cost.order):
            spent += Fraction(weight) * moved
        else:
            spent = max(spent, moved)
        value += Fraction(weight) * loss_between(problem, point, label)[0]
    for i, weight in enumerate(samples.w.tolist()):
        rest = Fraction(weight) - mass[i]
        if rest < 0 or (rest and radius is None):
            raise MalformedProofError(f"the atoms of sample {i} weigh {float(mass[i])!r}, not {weight!r}")
        if rest:
            value += rest * clean[i]
    most = Fraction(problem.radius if radius is None else radius)
    if spent > (most**cost.power if math.isfinite(cost.order) else most):
        raise MalformedProofError(f"the atoms cost {float_up(spent)!r}, more than radius^p")
    return float_down(value)


def price(problem: WdroProblem, x: Array, centre: Array, *, moves_label: bool) -> Fraction:
    """The ground cost to the power p, rounded up where it is a root; at order inf the cost.

    Raises:
        MalformedProofError: a feature moved that cannot change.
    """
    cost = problem.cost
    out = distance(cost, x, centre)
    if not math.isfinite(cost.order):
        return max(out, Fraction(cost.label_cost)) if moves_label else out
    exact = cost.norm is Norm.TWO and cost.power == 2
    paid = sum((m * m for m in _moves(cost, x, centre)), Fraction(0)) if exact else out**cost.power
    return paid + Fraction(cost.label_cost) ** cost.power if moves_label else paid


def distance(cost: GroundCost, x: Array, centre: Array) -> Fraction:
    """``||a (x - centre)||``, exactly but for l2, where it is rounded up by less than a part in 2^100.

    Raises:
        MalformedProofError: a feature moved that cannot change.
    """
    moved = _moves(cost, x, centre)
    match cost.norm:
        case Norm.INF:
            return max(moved, default=Fraction(0))
        case Norm.ONE:
            return sum(moved, Fraction(0))
        case Norm.TWO:
            return root_up(sum((m * m for m in moved), Fraction(0)))


def _moves(cost: GroundCost, x: Array, centre: Array) -> list[Fraction]:
    """How far each feature moves that does, in units of cost."""
    at = np.flatnonzero(x != centre)
    if cost.fixed(x.size)[at].any():
        raise MalformedProofError("an atom moves a feature that cannot change")
    pairs = zip(x[at].tolist(), centre[at].tolist(), cost.scale(x.size)[at].tolist(), strict=True)
    return [Fraction(a) * abs(Fraction(v) - Fraction(c)) for v, c, a in pairs]


def _error(network: ReluNetwork, x: Array, label: int) -> tuple[Fraction, Fraction]:
    """Whether a point ``[n]`` is an error, 1 or 0: where doubles can tell, else exactly; 0 and 1 where neither can."""
    low, high = rival_margin(network, x[None], np.array([label]))
    if low[0] >= 0 or high[0] < 0:
        return (Fraction(int(low[0] >= 0)),) * 2
    return (Fraction(0), Fraction(1)) if network.curved else (Fraction(int(exact_error(network, x, label))),) * 2


def _enclosed(problem: WdroProblem, x: Array, label: int) -> tuple[list[Fraction], list[Fraction]]:
    """Bounds of ``z_j - z_label`` at a point of a network with curved functions, or of the functionals: doubles.

    Raises:
        MalformedProofError: they are none.
    """
    linear, points, labels = problem.functionals, x[None], np.array([label])
    if linear is None:
        ends = margins_enclosure(problem.network, points, labels)
    else:
        ends = functionals_enclosure(problem.network, points, linear.matrix, linear.offsets(labels))
    if not (np.isfinite(ends[0]).all() and np.isfinite(ends[1]).all()):
        raise MalformedProofError("a loss is beyond double precision")
    low, high = ([Fraction(z) for z in side[0].tolist()] for side in ends)
    return low, high


def loss_between(problem: WdroProblem, x: Array, label: int) -> tuple[Fraction, Fraction]:
    """Bounds of the loss; equal for piecewise linear ones wherever rationals are short.

    Raises:
        MalformedProofError: the loss is none that is valued here.
    """
    rule, network = problem.loss.rule, problem.network
    match rule.reads:
        case Reads.ERROR:
            return _error(network, x, label)
        case Reads.RIVAL if rule.by_pieces:
            if network.curved:
                ends = _enclosed(problem, x, label)
                low, high = (max(z for j, z in enumerate(side) if j != label) for side in ends)
            else:
                low, high = margin_between(network, x, label)
            low, high = Fraction(rule.offset) + low, Fraction(rule.offset) + high
            floor = None if math.isinf(rule.floor) else Fraction(rule.floor)
            return (low, high) if floor is None else (max(low, floor), max(high, floor))
        case Reads.FUNCTIONALS:
            assert problem.functionals is not None
            if network.curved:
                low, high = (max(side) for side in _enclosed(problem, x, label))
                return low, high
            offset = problem.functionals.offsets(np.array([label]))[0]
            return functionals_between(network, x, problem.functionals.matrix, offset)
        case Reads.MARGINS if rule.entropy:
            ends = _enclosed(problem, x, label) if network.curved else margins_between(network, x, label)
            lower = np.array([[float_down(z) for z in ends[0]]])
            upper = np.array([[float_up(z) for z in ends[1]]])
            found = [float(side[0]) for side in rule.enclosed(lower, upper, np.array([label]))]
            if not np.isfinite(found).all():
                raise MalformedProofError("a loss is beyond double precision")
            return Fraction(found[0]), Fraction(found[1])
    raise MalformedProofError(f"the loss {problem.loss.value} is not valued here")
