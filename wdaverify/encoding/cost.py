"""The input and the cost of moving it, as columns and rows.

l-inf:  x in its box, near <= t <= far,  x_k - t <= x_ik,  -x_k - t <= -x_ik      (a row only where its room exceeds near)
l1:     x = x_i + p - q,  0 <= p <= up,  0 <= q <= down,  near <= sum (p + q) <= far
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wdaverify.encoding.columns import Sums
from wdaverify.encoding.milp import Ints, ModelBuilder
from wdaverify.errors import SolverError
from wdaverify.ground import GroundCost, LinearRows, Norm
from wdaverify.network.model import Array


@dataclass(frozen=True, eq=False)
class Region:
    """Where a question looks: ``near <= ||x - centre|| <= far`` within the box lower, upper ``[n]`` (rounded outward).

    ``rows`` and ``integer [n]`` are those of the support, if any.
    """

    cost: GroundCost
    centre: Array
    lower: Array
    upper: Array
    near: float
    far: float
    rows: LinearRows | None = None
    integer: NDArray[np.bool_] | None = None

    @property
    def norm(self) -> Norm:
        """The norm of the ground cost."""
        return self.cost.norm

    def magnitude(self) -> Array:
        """``max |x_k|`` over the box, ``[n]``."""
        return np.maximum(np.abs(self.lower), np.abs(self.upper))


@dataclass(frozen=True, eq=False)
class EncodedInput:
    """Columns of the input and of the cost, which is the sum of the columns ``cost``."""

    inputs: Ints
    negative_inputs: Ints | None
    cost: Ints

    def sums(self, centre: Array) -> Sums:
        """The input ``[n]`` on its columns."""
        if self.negative_inputs is None:
            return Sums(self.inputs[:, None], np.ones((centre.size, 1)), np.zeros(centre.size))
        pairs = np.stack([self.inputs, self.negative_inputs], axis=1)
        return Sums(pairs, np.broadcast_to([1.0, -1.0], pairs.shape), centre)


def add_input(builder: ModelBuilder, region: Region) -> EncodedInput:
    """Columns and rows of the input within its region and of its distance from the centre.

    Raises:
        SolverError: a cost or a support beyond what integer models state here.
    """
    if not (
        region.cost.norm is not Norm.TWO
        and region.cost.weights is None
        and region.rows is None
        and region.integer is None
    ):
        raise SolverError("integer models are for l1 and l-inf without weights on plain boxes; use --solver cells")
    return _add_inf(builder, region) if region.norm is Norm.INF else _add_one(builder, region)


def _add_inf(builder: ModelBuilder, region: Region) -> EncodedInput:
    inputs = builder.columns(region.lower, region.upper)
    distance = builder.columns(np.array([region.near]), np.array([region.far]))
    for k, column in enumerate(inputs):
        pair = np.array([column, distance[0]])
        if region.upper[k] - region.centre[k] > region.near:
            builder.row(pair, np.array([1.0, -1.0]), -np.inf, float(region.centre[k]))
        if region.centre[k] - region.lower[k] > region.near:
            builder.row(pair, np.array([-1.0, -1.0]), -np.inf, float(-region.centre[k]))
    return EncodedInput(inputs, None, distance)


def _add_one(builder: ModelBuilder, region: Region) -> EncodedInput:
    zeros = np.zeros_like(region.centre)
    positive = builder.columns(zeros, np.nextafter(np.maximum(region.upper - region.centre, 0.0), np.inf))
    negative = builder.columns(zeros, np.nextafter(np.maximum(region.centre - region.lower, 0.0), np.inf))
    both = np.concatenate([positive, negative])
    builder.row(both, np.ones(both.size), region.near if region.near > 0 else -np.inf, region.far)
    return EncodedInput(positive, negative, both)
