"""From Lipschitz constants to upper bounds of V (docs/theory.md, section 6).

With S the largest constant of the pieces of the loss on the support, for any ``lam > 0`` (order 1: ``lam >= S``)

    V <= lam eps^p + sum_i w_i [ max over labels y' of l(x_i, y') - lam kappa^p [y' != y_i] ] + sup_t (S t - lam t^p)

With fixed labels the best lam gives ``E_P[l] + S eps`` for every order. For the zero-one loss the distance to an error is at least
``min_j -m_j(x_i) / S_j``, and those distances go into the knapsack.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import numpy as np

from wdaverify.certify.enclosure import margins_enclosure
from wdaverify.lipschitz.question import FUNCTIONALS, LipschitzProblem, Measure
from wdaverify.network.model import Array
from wdaverify.problem import WdroProblem
from wdaverify.rounding import float_down, float_up, squares_down
from wdaverify.transport.knapsack import knapsack_upper
from wdaverify.wdro.margin import dual_value
from wdaverify.witness.evaluate import nominal_bracket
from wdaverify.witness.losses import loss_bounds

_STEPS = 40
"""Golden-section steps on the multiplier where labels may move."""


def slopes_question(problem: WdroProblem) -> LipschitzProblem:
    """Which constants bound a problem: those of the pieces of its loss, on its support."""
    network = problem.network
    if problem.functionals is not None:
        matrix = problem.functionals.matrix
        measure = Measure(FUNCTIONALS, tuple(f"F_{r}" for r in range(matrix.shape[0])), matrix)
    else:
        present = np.unique(problem.samples.y[problem.samples.w > 0]).tolist()
        labels = list(range(network.n_outputs)) if problem.cost.moves_labels else present
        measure = Measure.margins(network, labels)
    # the losses are those of the logits, whatever stands behind them
    logits = network if network.head is None else replace(network, head=None)
    return LipschitzProblem(logits, problem.cost, problem.support, measure)


def bound_from(problem: WdroProblem, measure: Measure, constants: Array) -> float:
    """The upper bound of V that constants ``[R]`` of a measure's rows prove."""
    if problem.loss.rule.by_distances:
        return _zero_one(problem, measure, constants)
    largest = float(constants.max(initial=0.0))
    if not math.isfinite(largest):
        return math.inf
    if not problem.cost.moves_labels:
        return float_up(Fraction(nominal_bracket(problem)[1]) + Fraction(largest) * Fraction(problem.radius))
    return _moving(problem, largest)


def _moving(problem: WdroProblem, largest: float) -> float:
    """The same where labels may move, at the best multiplier found."""
    losses = _by_label(problem)
    own = np.eye(losses.shape[1], dtype=np.bool_)[problem.samples.y]
    cost, radius = problem.cost, problem.radius
    if not math.isfinite(cost.order):
        reach = losses if cost.label_cost <= radius else np.where(own, losses, -math.inf)
        base = dual_value(problem, 0.0, np.asarray(reach.max(axis=1)))
        return float_up(Fraction(base) + Fraction(largest) * Fraction(radius))

    price = Fraction(cost.label_cost) ** cost.power

    def value(lam: float) -> float:
        with np.errstate(over="ignore"):
            charged = np.where(own, losses, np.nextafter(losses - float_down(Fraction(lam) * price), np.inf))
        gain = 0.0 if cost.power == 1 else float_up(Fraction(largest) ** 2 / (4 * Fraction(lam)))
        return math.nextafter(dual_value(problem, lam, np.asarray(charged.max(axis=1))) + gain, math.inf)

    least = largest if cost.power == 1 else 1e-9 * max(largest, 1e-9)
    range_ = Fraction(float(losses.max())) - Fraction(float(losses.min()))
    most = max(least * 2, float_up(range_ / price), 1e-9) + largest / max(radius, 1e-9)
    most = min(most, sys.float_info.max)
    return min(value(lam) for lam in [max(least, 1e-300), *_golden(value, max(least, 1e-300), float(most))])


def _golden(value: Callable[[float], float], low: float, high: float) -> list[float]:
    """Multipliers that close in on the best of a convex function, on a logarithmic scale."""
    share, seen = (math.sqrt(5) - 1) / 2, list[float]()
    a, b = math.log(low), math.log(high)
    for _ in range(_STEPS):
        c, d = b - share * (b - a), a + share * (b - a)
        seen += [math.exp(c), math.exp(d)]
        a, b = (a, d) if value(max(math.exp(c), low)) <= value(max(math.exp(d), low)) else (c, b)
    return [max(lam, low) for lam in seen]


def _by_label(problem: WdroProblem) -> Array:
    """Losses ``[N, K]`` of every sample under every label, rounded up."""
    count = problem.network.n_outputs
    columns = [loss_bounds(problem, problem.samples.x, np.full(len(problem.samples), y))[1] for y in range(count)]
    return np.stack(columns, axis=1)


def _zero_one(problem: WdroProblem, measure: Measure, constants: Array) -> float:
    """The knapsack of the distances that the constants prove."""
    samples, cost = problem.samples, problem.cost
    upper = margins_enclosure(problem.network, samples.x, samples.y)[1]
    table = np.full((problem.network.n_outputs,) * 2, math.inf)
    for row, constant in zip(measure.rows, constants, strict=True):
        j, y = int(row.argmax()), int(row.argmin())
        table[j, y] = table[y, j] = constant
    slopes = table.T[samples.y]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        each = np.nextafter(np.maximum(-upper, 0.0) / slopes, 0.0)
    each = np.where(upper >= 0, 0.0, np.where(slopes == 0, math.inf, each))
    each[np.arange(len(samples)), samples.y] = math.inf
    return knapsack_bound(problem, np.minimum(each.min(axis=1), cost.label_cost))


def knapsack_bound(problem: WdroProblem, distances: Array) -> float:
    """The upper bound of a zero-one V that lower bounds of the distances ``[N]`` prove."""
    cost, radius, weights = problem.cost, problem.radius, problem.samples.w
    if not math.isfinite(cost.order):
        return float_up(sum((Fraction(float(w)) for w in weights[distances <= radius]), Fraction(0)))
    paid = distances if cost.power == 1 else squares_down(distances)
    return knapsack_upper(paid, weights, Fraction(radius) ** cost.power).value
