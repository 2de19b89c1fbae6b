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
from wdaverify.network.model import Array, readonly
from wdaverify.problem import Loss, Norm, WdroProblem
from wdaverify.rounding import float_down, float_up
from wdaverify.transport.distribution import Distribution
from wdaverify.witness.decide import errors
from wdaverify.witness.enclosure import rival_margin

IntArray = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Atom:
    """One atom of a distribution: ``weight`` of ``sample`` sits at ``point [n]``, ``distance`` away (rounded up).

    ``loss`` is re-evaluated (rounded down; exact for zero-one); ``loss_float32`` is the loss in a plain float32
    forward.
    """

    sample: int
    weight: float
    distance: float
    loss: float
    loss_float32: float
    point: Array


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

    def masses(self, weights: Array) -> Array:
        """The masses ``[M]``, each an exact double."""
        return np.array([u * math.ulp(weights[i]) for i, u in zip(self.sample, self.units, strict=True)], np.float64)


def evaluate(problem: WdroProblem, distribution: Distribution) -> Witness:
    """Prove what a proposed distribution is worth; moves that do not gain are dropped.

    Raises:
        ValueError: arrays of wrong shapes, an unknown sample, a mass that is negative or not finite, or a point that
            is not finite or lies outside the support.
    """
    _check(problem, distribution)
    samples = problem.samples
    clean = clean_losses(problem)[0]
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
    """Bounds ``(lower [N], upper [N])`` of the losses at the samples; equal for zero-one."""
    return loss_bounds(problem, problem.samples.x, problem.samples.y)


def nominal_bracket(problem: WdroProblem) -> tuple[float, float]:
    """Bounds of the nominal loss ``E_P[loss] = sum_i w_i loss(x_i, y_i)``, rounded outward."""
    lower, upper = clean_losses(problem)
    return _expectation(problem.samples.w, lower), -_expectation(problem.samples.w, -upper)


def loss_bounds(problem: WdroProblem, x: Array, y: IntArray) -> tuple[Array, Array]:
    """Bounds ``(lower [B], upper [B])`` of the loss at ``x [B, n]`` with labels ``y [B]``; equal for zero-one."""
    if problem.loss is Loss.ZERO_ONE:
        decided = errors(problem.network, x, y).astype(np.float64)
        return decided, decided
    return rival_margin(problem.network, x, y)


def distances_up(norm: Norm, x: Array, origin: Array) -> Array:
    """``||x - origin||`` of rows ``[B, n]``, each the least double that is at least the exact distance, ``[B]``.

    The rounding error of a subtraction is itself a double (Knuth's TwoSum), so ``difference + error`` is exact.
    """
    difference = x - origin
    back = difference - x
    error = (x - (difference - back)) - (origin + back)
    size = np.abs(difference)
    error = np.where(difference < 0, -error, error)
    if norm is Norm.INF:
        out: Array = np.where(error > 0, np.nextafter(size, np.inf), size).max(axis=1, initial=0.0)
        return out
    return np.array([_sum_up([*s, *e]) for s, e in zip(size.tolist(), error.tolist(), strict=True)], np.float64)


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
    if not ((point >= problem.support.lower) & (point <= problem.support.upper)).all():
        raise ValueError("a point lies outside the support")


def _gaining(problem: WdroProblem, distribution: Distribution, clean: Array) -> _Moves:
    """The moves with a larger loss than staying, masses quantised down and clipped to the weights."""
    samples = problem.samples
    some = np.flatnonzero(distribution.mass > 0)
    loss = np.full(distribution.mass.shape, -math.inf)
    loss[some] = loss_bounds(problem, distribution.point[some], samples.y[distribution.sample[some]])[0]
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
    return _Moves(sample, point, distances_up(problem.cost.norm, point, samples.x[sample]), loss[at], units)


def _transport_cost(problem: WdroProblem, moves: _Moves) -> Fraction:
    """``sum mass * distance^p``, exactly."""
    power, mass = problem.cost.order, moves.masses(problem.samples.w)
    if power == 1:
        return exact_dot(mass.tolist(), moves.distance.tolist())
    pairs = zip(mass.tolist(), moves.distance.tolist(), strict=True)
    return sum((Fraction(m) * Fraction(d) ** power for m, d in pairs), Fraction(0))


def _shrink(problem: WdroProblem, moves: _Moves) -> tuple[_Moves, float]:
    """Scale all masses by ``radius^p / cost`` if that is below 1; rounding units down only lowers the cost further."""
    cost, budget = _transport_cost(problem, moves), Fraction(problem.radius) ** problem.cost.order
    if cost <= budget:
        return moves, 1.0
    kept = budget / cost
    units = [u * kept.numerator // kept.denominator for u in moves.units]
    at = np.flatnonzero(np.array([u > 0 for u in units], dtype=np.bool_))
    left = [units[m] for m in at]
    return _Moves(moves.sample[at], moves.point[at], moves.distance[at], moves.loss[at], left), float_down(kept)


def _root_up(cost: Fraction, problem: WdroProblem) -> float:
    """``cost^(1/p)`` rounded up; the cost is at most ``radius^p``, so its root is at most the radius."""
    if problem.cost.order == 1:
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
    single = _float32_losses(problem, samples.x[at], samples.y[at])
    out = [Atom(int(i), float(stay[i]), 0.0, float(clean[i]), float(single[k]), samples.x[i]) for k, i in enumerate(at)]
    single = _float32_losses(problem, point, samples.y[moves.sample])
    for m, i in enumerate(moves.sample):
        loss, distance = float(moves.loss[m]), float(moves.distance[m])
        out.append(Atom(int(i), float(mass[m]), distance, loss, float(single[m]), point[m]))
    return tuple(sorted(out, key=lambda atom: atom.sample))


def _float32_losses(problem: WdroProblem, x: Array, y: IntArray) -> Array:
    """The losses ``[B]`` in a plain float32 forward."""
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        logits = problem.network.forward_float32(x)
        rows = np.arange(logits.shape[0])
        margin = logits - logits[rows, y][:, None]
    margin[rows, y] = -np.inf
    worst = margin.max(axis=1)
    out: Array = np.asarray(worst >= 0 if problem.loss is Loss.ZERO_ONE else worst, dtype=np.float64)
    return out
