"""The lower bound: a distribution re-evaluated from scratch, so that its value is proven.

    lower <= E_Q[loss] <= V(radius),   Q = sum_i (w_i - sum_k m_ik) delta_(x_i) + sum_ik m_ik delta_(x_ik)

Nothing of a proposal is trusted (docs/theory.md, sections 2 and 9). Its points must lie in the support. Its masses are
quantised to multiples of ulp(w_i), so that every weight exported is a double and a sample's weights sum to w_i exactly;
distances are rounded up; the masses are shrunk by a common factor until the exact transport cost is at most radius^p;
losses are rounded down (zero-one: exact).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from wdaverify.certify.exact import exact_dot
from wdaverify.ground import euclidean
from wdaverify.network.model import Array, readonly
from wdaverify.problem import GroundCost, Norm, WdroProblem
from wdaverify.rounding import dot_error, float_down, float_up, underflow
from wdaverify.transport.distribution import Distribution
from wdaverify.witness.losses import float32_losses, loss_bounds
from wdaverify.witness.single import Flip

IntArray = NDArray[np.int64]

_LIKELY, _FEW = 1e-11, 64
"""A distance so little beyond an edge may be there by rounding alone; how many features may move where that is looked at."""


@dataclass(frozen=True, eq=False)
class Atom:
    """One atom of a distribution: ``weight`` of ``sample`` sits at ``point [n]``, ``distance`` away (rounded up).

    ``loss`` is re-evaluated (rounded down; exact for zero-one); ``loss_float32`` is the loss in a plain float32
    forward; ``label`` is the atom's own, another than the sample's where labels move. ``float32`` says of an atom of zero-one loss 1
    whether it is an error in float32 too; None: no such atom, or nobody looked (``witness.single.flips``).
    """

    sample: int
    weight: float
    distance: float
    loss: float
    loss_float32: float
    point: Array
    label: int
    float32: Flip | None = None


@dataclass(frozen=True, eq=False)
class Witness:
    """A distribution in the ball and what it proves: ``lower <= E_Q[loss] <= V(radius)``.

    ``transport_cost`` is ``(sum w d^p)^(1/p)`` of the atoms, rounded up, at most the radius. ``atoms`` are sorted by
    sample, what stays at ``x_i`` first; their weights sum to w_i exactly. ``moved [N]`` is the mass moved of each
    sample. ``kept`` in [0, 1] is the factor the proposed masses were shrunk by to meet the radius (1 if they met it).
    """

    lower: float
    transport_cost: float
    atoms: tuple[Atom, ...]
    moved: Array
    kept: float


@dataclass(frozen=True, eq=False)
class _Moves:
    """``units[m] * ulp(w_i)`` of ``sample[m]`` move to ``point[m]``, ``distance[m]`` away, at ``loss[m]`` each.

    sample ``[M]``, point ``[M, n]``, distance (rounded up) and loss (rounded down) ``[M]``.
    """

    sample: IntArray
    point: Array
    distance: Array
    loss: Array
    units: list[int]
    label: IntArray

    def masses(self, weights: Array) -> Array:
        """The masses ``[M]``, each an exact double."""
        return np.array([u * math.ulp(weights[i]) for i, u in zip(self.sample, self.units, strict=True)], np.float64)


def evaluate(problem: WdroProblem, distribution: Distribution, clean: Array | None = None) -> Witness:
    """Prove what a proposed distribution is worth; moves that do not gain are dropped.

    ``clean [N]``: what the samples are worth as they are, where that is known to be less than their losses in real arithmetic.

    Raises:
        ValueError: arrays of wrong shapes, an unknown sample, a mass that is negative or not finite, or a point that
            is not finite or lies outside the support.
    """
    _check(problem, distribution)
    samples = problem.samples
    clean = clean_losses(problem)[0] if clean is None else clean
    moves = _gaining(problem, distribution, clean)
    moves, kept = _shrink(problem, moves)
    mass = moves.masses(samples.w)
    moved_units = np.zeros(len(samples), dtype=object)
    np.add.at(moved_units, moves.sample, np.array(moves.units, dtype=object))
    moved = np.array([u * math.ulp(w) for u, w in zip(moved_units, samples.w, strict=True)], np.float64)
    stay = samples.w - moved  # exact: both are multiples of ulp(w_i), and 0 <= moved <= w_i
    lower = _expectation(np.concatenate([stay, mass]), np.concatenate([clean, moves.loss]))
    return Witness(
        lower=lower,
        transport_cost=_root_up(_transport_cost(problem, moves), problem),
        atoms=_atoms(problem, stay, clean, moves, mass),
        moved=readonly(moved),
        kept=kept,
    )


def clean_losses(problem: WdroProblem) -> tuple[Array, Array]:
    """Bounds ``(lower [N], upper [N])`` of the losses at the samples; equal for zero-one, if in time."""
    return loss_bounds(problem, problem.samples.x, problem.samples.y)


def nominal_bracket(problem: WdroProblem) -> tuple[float, float]:
    """Bounds of the nominal loss ``E_P[loss] = sum_i w_i loss(x_i, y_i)``, rounded outward."""
    lower, upper = clean_losses(problem)
    return _expectation(problem.samples.w, lower), -_expectation(problem.samples.w, -upper) + 0.0  # 0, not -0


def distances_up(cost: GroundCost, x: Array, origin: Array, edge: float | None = None) -> Array:
    """``||a * (x - origin)||`` of rows ``[B, n]``, rounded up (without weights and but for l2 to the nearest double above), ``[B]``.

    The rounding error of a subtraction is itself a double (Knuth's TwoSum), so ``difference + error`` is exact. A fixed
    feature that moved makes the distance infinite. Rounding alone takes no row beyond ``edge`` in which few features move.
    """
    out = _rounded_up(cost, x, origin)
    if edge is not None and (cost.weights is not None or cost.norm is Norm.TWO):
        for row in np.flatnonzero((out > edge) & (out <= edge * (1 + _LIKELY))).tolist():
            if np.count_nonzero(x[row] != origin[row]) <= _FEW and _within(cost, x[row], origin[row], edge):
                out[row] = edge
    return out


def _within(cost: GroundCost, x: Array, origin: Array, edge: float) -> bool:
    """Whether ``x [n]`` is no farther than ``edge``, in rational arithmetic."""
    at = np.flatnonzero(x != origin)
    scale = cost.scale(x.size)[at].tolist()
    if not np.isfinite(scale).all():
        return False
    moves = [
        abs(Fraction(a) - Fraction(b)) * Fraction(c)
        for a, b, c in zip(x[at].tolist(), origin[at].tolist(), scale, strict=True)
    ]
    match cost.norm:
        case Norm.INF:
            return max(moves, default=Fraction(0)) <= Fraction(edge)
        case Norm.ONE:
            return sum(moves) <= Fraction(edge)
        case Norm.TWO:
            return sum(move * move for move in moves) <= Fraction(edge) ** 2


def edge_of(problem: WdroProblem) -> float | None:
    """The distance at which points begin to be out of reach: the radius of order inf; None for other orders."""
    return None if math.isfinite(problem.cost.order) else problem.radius


def _rounded_up(cost: GroundCost, x: Array, origin: Array) -> Array:
    difference = x - origin
    back = difference - x
    error = (x - (difference - back)) - (origin + back)
    size = np.abs(difference)
    error = np.where(difference < 0, -error, error)
    if cost.weights is not None or cost.norm is Norm.TWO:
        return _scaled_up(cost, np.where(error > 0, np.nextafter(size, np.inf), size))
    if cost.norm is Norm.INF:
        out: Array = np.where(error > 0, np.nextafter(size, np.inf), size).max(axis=1, initial=0.0)
        return out
    return np.array([_sum_up([*s, *e]) for s, e in zip(size.tolist(), error.tolist(), strict=True)], np.float64)


def _scaled_up(cost: GroundCost, size: Array) -> Array:
    """The weighted norm of sizes ``[B, n]``, rounded up."""
    n = size.shape[1]
    with np.errstate(under="ignore", over="ignore"):
        if cost.weights is not None:
            scaled = np.where(size > 0, np.where(size > 0, size, 1.0) * cost.weights, 0.0)
            size = np.where(cost.scale(n) == 1.0, scaled, np.where(size > 0, np.nextafter(scaled, np.inf), 0.0))
        if cost.norm is Norm.INF:
            return np.asarray(size.max(axis=1, initial=0.0))
        if cost.norm is Norm.ONE:
            return np.array([_sum_up(row) for row in size.tolist()], np.float64)
        alone = (size > 0).sum(axis=1) <= 1
        out = euclidean(size) * (1 + dot_error(n + 4)) + underflow(1)
        return np.asarray(np.where(alone, size.max(axis=1, initial=0.0), out))


def _sum_up(terms: list[float]) -> float:
    """The sum of doubles rounded up; ``fsum`` rounds to nearest, and tells the sign of what that left."""
    total = math.fsum(terms)
    return total if math.fsum([*terms, -total]) <= 0 else math.nextafter(total, math.inf)


def _check(problem: WdroProblem, distribution: Distribution) -> None:
    sample, point, mass = distribution.sample, distribution.point, distribution.mass
    if sample.ndim != 1 or mass.shape != sample.shape or point.shape != (sample.size, problem.network.n_inputs):
        raise ValueError(f"distribution of shapes {sample.shape}, {point.shape}, {mass.shape}: not [M], [M, n], [M]")
    if ((sample < 0) | (sample >= len(problem.samples))).any():
        raise ValueError(f"a move of an unknown sample: 0 to {len(problem.samples) - 1} exist")
    if not ((mass >= 0) & np.isfinite(mass)).all():
        raise ValueError("a mass is negative or not finite")
    if not problem.support.contains(point).all():
        raise ValueError("a point lies outside the support")
    if distribution.label is not None:
        if distribution.label.shape != sample.shape:
            raise ValueError("labels of a distribution: one for each move")
        if not problem.cost.moves_labels and (distribution.label != problem.samples.y[sample]).any():
            raise ValueError("a move to another label, which the ground cost forbids")


def _gaining(problem: WdroProblem, distribution: Distribution, clean: Array) -> _Moves:
    """The moves with a larger loss than staying, masses quantised down and clipped to the weights."""
    samples = problem.samples
    some = np.flatnonzero(distribution.mass > 0)
    loss = np.full(distribution.mass.shape, -math.inf)
    label = distribution.labels(samples.y)
    loss[some] = loss_bounds(problem, distribution.point[some], label[some])[0]
    point, origin = np.asarray(distribution.point, np.float64), samples.x[distribution.sample]
    distance = distances_up(problem.cost, point, origin, edge_of(problem))
    loss[~_reachable(problem, distribution.sample, distance, label)] = -math.inf
    left = [int(w / math.ulp(w)) for w in samples.w.tolist()]
    rows: list[int] = []
    units: list[int] = []
    for m in np.flatnonzero(loss > clean[distribution.sample]):
        i = int(distribution.sample[m])
        weight = float(samples.w[i])
        asked = int(min(float(distribution.mass[m]), weight) / math.ulp(weight))
        taken = min(asked, left[i])
        if taken > 0:
            left[i] -= taken
            rows.append(int(m))
            units.append(taken)
    at = np.array(rows, dtype=np.int64)
    sample, point = distribution.sample[at], np.asarray(distribution.point[at], dtype=np.float64)
    return _Moves(sample, point, distance[at], loss[at], units, label[at])


def _reachable(problem: WdroProblem, sample: IntArray, distance: Array, label: IntArray) -> NDArray[np.bool_]:
    """Whether moves are possible at a finite price, and for order inf within the radius."""
    cost, moved = problem.cost, label != problem.samples.y[sample]
    if math.isfinite(cost.order):
        return np.asarray(np.isfinite(distance) & (~moved | cost.moves_labels))
    return np.asarray((distance <= problem.radius) & (~moved | (cost.label_cost <= problem.radius)))


def _transport_cost(problem: WdroProblem, moves: _Moves) -> Fraction:
    """``sum mass * (distance^p + label_cost^p [moved])``, exactly; for order inf the largest of the distances and label costs."""
    cost, moved = problem.cost, moves.label != problem.samples.y[moves.sample]
    if not math.isfinite(cost.order):
        largest = float(moves.distance.max(initial=0.0))
        return Fraction(max(largest, cost.label_cost) if moved.any() else largest)
    power, mass = cost.power, moves.masses(problem.samples.w)
    if power == 1 and not moved.any():
        return exact_dot(mass.tolist(), moves.distance.tolist())
    total = sum(
        (Fraction(m) * Fraction(d) ** power for m, d in zip(mass.tolist(), moves.distance.tolist(), strict=True)),
        Fraction(0),
    )
    if moved.any():
        total += Fraction(cost.label_cost) ** power * sum((Fraction(m) for m in mass[moved].tolist()), Fraction(0))
    return total


def _shrink(problem: WdroProblem, moves: _Moves) -> tuple[_Moves, float]:
    """Scale all masses by ``radius^p / cost`` if that is below 1; rounding units down only lowers the cost further."""
    if not math.isfinite(problem.cost.order):
        return moves, 1.0
    cost, budget = _transport_cost(problem, moves), Fraction(problem.radius) ** problem.cost.power
    if cost <= budget:
        return moves, 1.0
    kept = budget / cost
    units = [u * kept.numerator // kept.denominator for u in moves.units]
    at = np.flatnonzero(np.array([u > 0 for u in units], dtype=np.bool_))
    left = [units[m] for m in at]
    kept_moves = _Moves(moves.sample[at], moves.point[at], moves.distance[at], moves.loss[at], left, moves.label[at])
    return kept_moves, float_down(kept)


def _root_up(cost: Fraction, problem: WdroProblem) -> float:
    """``cost^(1/p)`` rounded up; the cost is at most ``radius^p``, so its root is at most the radius."""
    if problem.cost.order == 1 or not math.isfinite(problem.cost.order):
        return float_up(cost)
    root = math.pow(float_up(cost), 1.0 / problem.cost.order)
    return min(problem.radius, root * (1.0 + 2.0**-48))


def _expectation(weight: Array, loss: Array) -> float:
    """``sum weight * loss`` rounded down; -inf if a loss that carries weight is not finite."""
    used = weight > 0
    if not np.isfinite(loss[used]).all():
        return -math.inf
    return float_down(exact_dot(weight[used].tolist(), loss[used].tolist()))


def _atoms(problem: WdroProblem, stay: Array, clean: Array, moves: _Moves, mass: Array) -> tuple[Atom, ...]:
    """The atoms with weight, by sample, what stays first."""
    samples, point = problem.samples, readonly(moves.point)
    at = np.flatnonzero(stay > 0)
    single = float32_losses(problem, samples.x[at], samples.y[at])
    out = [
        Atom(int(i), float(stay[i]), 0.0, float(clean[i]), float(single[k]), samples.x[i], int(samples.y[i]))
        for k, i in enumerate(at)
    ]
    single = float32_losses(problem, point, moves.label)
    for m, i in enumerate(moves.sample):
        loss, distance = float(moves.loss[m]), float(moves.distance[m])
        out.append(Atom(int(i), float(mass[m]), distance, loss, float(single[m]), point[m], int(moves.label[m])))
    return tuple(sorted(out, key=lambda atom: atom.sample))
