"""The first-order sensitivity (Bai, He, Jiang, Obloj, arXiv 2306.09844): an estimate of V for small radii, no bound of anything.

    V(eps)  ~  E_P[l] + eps (sum_i w_i ||grad_x l(x_i, y_i)||_*^q)^(1/q),      1/p + 1/q = 1

with the dual norm of the ground cost; order 1 takes the largest norm, order inf the mean. The support and moving labels are not seen.
"""

from __future__ import annotations

import numpy as np

from wdaverify.ground import GroundCost, Norm, euclidean
from wdaverify.network.model import Array
from wdaverify.problem import WdroProblem


def first_order(problem: WdroProblem, nominal: float) -> float:
    """The estimate at the problem's radius, not finite where it overflows; the zero-one loss has none."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        return _first_order(problem, nominal)


def _first_order(problem: WdroProblem, nominal: float) -> float:
    samples, cost = problem.samples, problem.cost
    gradient = problem.network.gradient(samples.x, _loss_gradient(problem))
    size = _dual_norm(gradient, cost)
    used = samples.w > 0
    if cost.order == 1:
        slope = float(size[used].max(initial=0.0))
    elif cost.order == 2:
        slope = float(euclidean(np.sqrt(samples.w) * size))
    else:
        slope = float(samples.w @ size)
    return nominal + problem.radius * slope


def _dual_norm(gradient: Array, cost: GroundCost) -> Array:
    """``||g / a||_*`` of gradients ``[N, n]``; fixed features do not count."""
    n = gradient.shape[1]
    scaled = np.where(cost.fixed(n), 0.0, gradient / cost.scale(n))
    if cost.norm is Norm.INF:
        return np.asarray(np.abs(scaled).sum(axis=1))
    if cost.norm is Norm.ONE:
        return np.asarray(np.abs(scaled).max(axis=1, initial=0.0))
    return euclidean(scaled)


def _loss_gradient(problem: WdroProblem) -> Array:
    """The loss's derivative by the logits at the samples, ``[N, K]``."""
    samples = problem.samples
    values = problem.network.forward(samples.x)
    if problem.functionals is None:
        return problem.loss.rule.derivative(values, samples.y)
    values = values @ problem.functionals.matrix.T + problem.functionals.offsets(samples.y)
    return np.asarray(problem.loss.rule.derivative(values, samples.y) @ problem.functionals.matrix)
