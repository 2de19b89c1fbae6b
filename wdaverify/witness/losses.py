"""The losses at points, enclosed: bounds of the loss in real arithmetic, and the loss of a plain float32 forward."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from wdaverify.network.model import Array
from wdaverify.problem import Loss, WdroProblem
from wdaverify.witness.decide import error_bounds
from wdaverify.witness.enclosure import functionals_enclosure, margins_enclosure, rival_margin

IntArray = NDArray[np.int64]


def loss_bounds(problem: WdroProblem, x: Array, y: IntArray) -> tuple[Array, Array]:
    """Bounds ``(lower [B], upper [B])`` of the loss at ``x [B, n]`` with labels ``y [B]``; equal for zero-one, if in time."""
    network = problem.network
    match problem.loss:
        case Loss.ZERO_ONE:
            surely, possibly = error_bounds(network, x, y)
            return surely.astype(np.float64), possibly.astype(np.float64)
        case Loss.MARGIN:
            return rival_margin(network, x, y)
        case Loss.HINGE:
            lower, upper = rival_margin(network, x, y)
            return np.maximum(np.nextafter(1 + lower, -np.inf), 0.0), np.maximum(np.nextafter(1 + upper, np.inf), 0.0)
        case Loss.CROSS_ENTROPY:
            lower, upper = margins_enclosure(network, x, y)
            return _log_sum(lower, -1.0), _log_sum(upper, 1.0)
        case Loss.DLR:
            return _ratios(*margins_enclosure(network, x, y), y)
        case Loss.LINEAR:
            assert problem.functionals is not None
            offset = problem.functionals.offsets(y)
            lower, upper = functionals_enclosure(network, x, problem.functionals.matrix, offset)
            return lower.max(axis=1), upper.max(axis=1)


def _log_sum(margins: Array, outward: float) -> Array:
    """``log sum_j exp(m_j)`` of rows ``[B, K]`` (0 at the label), moved outward by more than its rounding; >= 0."""
    top = margins.max(axis=1)
    with np.errstate(invalid="ignore", under="ignore"):
        value = top + np.log(np.exp(margins - top[:, None]).sum(axis=1))
    value = value + outward * 2.0**-48 * (margins.shape[1] + np.abs(top))
    value = np.where(np.isfinite(top), value, outward * math.inf)
    return np.asarray(np.maximum(value, 0.0) if outward < 0 else value)


def _ratios(lower: Array, upper: Array, y: IntArray) -> tuple[Array, Array]:
    """Bounds of the DLR loss from enclosures of the margins ``[B, K]`` (0 at the label); -inf, inf without a denominator."""
    rows = np.arange(len(y))
    low, high = np.sort(lower, axis=1)[:, ::-1], np.sort(upper, axis=1)[:, ::-1]  # of the order statistics
    least, most = np.nextafter(low[:, 0] - high[:, 2], -np.inf), np.nextafter(high[:, 0] - low[:, 2], np.inf)
    others_low, others_high = lower.copy(), upper.copy()
    others_low[rows, y] = others_high[rows, y] = -np.inf
    above = others_low.max(axis=1), others_high.max(axis=1)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        smallest = np.nextafter(np.where(above[0] >= 0, above[0] / most, above[0] / least), -np.inf)
        largest = np.nextafter(np.where(above[1] >= 0, above[1] / least, above[1] / most), np.inf)
    there = (least > 0) & np.isfinite(most)
    smallest, largest = np.where(there, np.maximum(smallest, -1.0), -np.inf), np.where(there, largest, np.inf)
    if lower.shape[1] == 3:  # the label is among the three largest
        largest = np.where(there, np.minimum(largest, 1.0), np.inf)
    return smallest, largest


def float32_losses(problem: WdroProblem, x: Array, y: IntArray) -> Array:
    """The losses ``[B]`` in a plain float32 forward."""
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        logits = problem.network.forward_float32(x)
        if problem.functionals is not None:
            values = logits.astype(np.float64) @ problem.functionals.matrix.T + problem.functionals.offsets(y)
            return np.asarray(values.max(axis=1, initial=-math.inf), dtype=np.float64)
        rows = np.arange(logits.shape[0])
        margin = logits - logits[rows, y][:, None]
        if problem.loss is Loss.CROSS_ENTROPY:
            return np.asarray(np.logaddexp.reduce(margin, axis=1), dtype=np.float64)
    ranked = np.sort(logits, axis=1)[:, ::-1]
    margin[rows, y] = -np.inf
    worst = np.asarray(margin.max(axis=1), dtype=np.float64)
    if problem.loss is Loss.DLR:
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(worst / (ranked[:, 0] - ranked[:, 2]), dtype=np.float64)
    if problem.loss is Loss.ZERO_ONE:
        return np.asarray(worst >= 0, dtype=np.float64)
    return np.maximum(1 + worst, 0.0) if problem.loss is Loss.HINGE else worst
