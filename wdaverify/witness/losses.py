"""The losses at points, enclosed: bounds of the loss in real arithmetic, and the loss of a plain float32 forward."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wdaverify.certify.enclosure import functionals_enclosure, margins_enclosure, rival_margin
from wdaverify.losses.rule import Reads
from wdaverify.network.model import Array
from wdaverify.problem import WdroProblem
from wdaverify.witness.decide import error_bounds

IntArray = NDArray[np.int64]


def loss_bounds(problem: WdroProblem, x: Array, y: IntArray) -> tuple[Array, Array]:
    """Bounds ``(lower [B], upper [B])`` of the loss at ``x [B, n]`` with labels ``y [B]``; equal for zero-one, if in time."""
    network, rule = problem.network, problem.loss.rule
    match rule.reads:
        case Reads.ERROR:
            surely, possibly = error_bounds(network, x, y)
            lower, upper = surely.astype(np.float64), possibly.astype(np.float64)
        case Reads.RIVAL:
            lower, upper = rival_margin(network, x, y)
        case Reads.MARGINS:
            lower, upper = margins_enclosure(network, x, y)
        case Reads.FUNCTIONALS:
            assert problem.functionals is not None
            lower, upper = functionals_enclosure(network, x, problem.functionals.matrix, problem.functionals.offsets(y))
    return rule.enclosed(lower, upper, y)


def float32_losses(problem: WdroProblem, x: Array, y: IntArray) -> Array:
    """The losses ``[B]`` in a plain float32 forward."""
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        logits = problem.network.forward_float32(x)
        if problem.functionals is None:
            return problem.loss.rule.single(logits, y)
        values = logits.astype(np.float64) @ problem.functionals.matrix.T + problem.functionals.offsets(y)
        return problem.loss.rule.single(values, y)
