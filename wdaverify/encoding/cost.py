"""The input and the cost of moving it, as columns and rows.

With weights a (1 where there are none; a feature of infinite weight stays) and a power of two s near ``far``:

    l-inf    x in its box, near <= t <= far,  a_k x_k - t <= a_k x_ik,  -a_k x_k - t <= -a_k x_ik     (only where its room exceeds near)
    l1       x = x_i + p - q,  0 <= p <= up,  0 <= q <= down,  near <= sum a (p + q) <= far
    l2       x = x_i + s d,  sum a_k^2 d_k^2 <= t^2,  near <= s t <= far                              (a quadratic row)
    order 2  t^2 <= u, and s^2 u is what is paid                                                      (another)

Sides and squares are rounded outward: the models hold all that the question does. Integers are columns that take integers alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from wdaverify.encoding.columns import Sums
from wdaverify.encoding.milp import Ints, ModelBuilder, Quadratic, Trace
from wdaverify.errors import SolverError
from wdaverify.ground import GroundCost, LinearRows, Norm
from wdaverify.network.model import Array
from wdaverify.rounding import dot_error, underflow

Bools = NDArray[np.bool_]


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
    integer: Bools | None = None

    @property
    def norm(self) -> Norm:
        """The norm of the ground cost."""
        return self.cost.norm

    def magnitude(self) -> Array:
        """``max |x_k|`` over the box, ``[n]``."""
        return np.maximum(np.abs(self.lower), np.abs(self.upper))


@dataclass(frozen=True, eq=False)
class EncodedInput:
    """Columns of the input, and of what moving it costs.

    The distance is ``price . v[cost]``, and what is paid for it (its power p) ``worth . v[paid]``. ``x = v[inputs]``, with
    ``negative_inputs`` ``centre + v[inputs] - v[negative_inputs]``, with ``step [n]`` ``centre + step * v[inputs]``.
    """

    inputs: Ints
    negative_inputs: Ints | None
    cost: Ints
    price: Array
    paid: Ints
    worth: Array
    step: Array | None = None

    @classmethod
    def free(cls, inputs: Ints, negative_inputs: Ints | None = None, step: Array | None = None) -> EncodedInput:
        """An input that nothing is paid for."""
        none, nothing = np.zeros(0, np.int64), np.zeros(0)
        return cls(inputs, negative_inputs, none, nothing, none, nothing, step)

    def sums(self, centre: Array) -> Sums:
        """The input ``[n]`` on its columns."""
        if self.step is not None:
            return Sums(self.inputs[:, None], self.step[:, None], centre)
        if self.negative_inputs is None:
            return Sums(self.inputs[:, None], np.ones((centre.size, 1)), np.zeros(centre.size))
        pairs = np.stack([self.inputs, self.negative_inputs], axis=1)
        return Sums(pairs, np.broadcast_to([1.0, -1.0], pairs.shape), centre)


@dataclass(frozen=True, eq=False)
class _Box:
    """Where the input may go: bounds without what integers and fixed features leave out, and which features are integers."""

    lower: Array
    upper: Array
    whole: Bools

    @classmethod
    def of(cls, region: Region) -> _Box:
        n = region.centre.size
        fixed = region.cost.fixed(n)
        lower = np.where(fixed, region.centre, region.lower)
        upper = np.where(fixed, region.centre, region.upper)
        whole = np.zeros(n, np.bool_) if region.integer is None else region.integer & ~fixed
        if (np.rint(region.centre[whole]) != region.centre[whole]).any():
            raise SolverError("a sample whose integer features are no integers")
        return cls(np.where(whole, np.ceil(lower), lower), np.where(whole, np.floor(upper), upper), whole)

    def rooms(self, centre: Array) -> tuple[Array, Array]:
        """How far up and down it is, rounded up, each ``[n]``; 0 for what is fixed."""
        up, down = np.maximum(self.upper - centre, 0.0), np.maximum(centre - self.lower, 0.0)
        fixed = self.lower == self.upper
        out = [np.where(self.whole | fixed, room, np.nextafter(room, np.inf)) for room in (up, down)]
        return out[0], out[1]


def add_input(builder: ModelBuilder, region: Region, power: int = 1) -> EncodedInput:
    """Columns and rows of the input within its region, of its distance from the centre, and of that to the power 1 or 2."""
    box = _Box.of(region)
    add = {Norm.INF: _add_inf, Norm.ONE: _add_one, Norm.TWO: _add_two}[region.norm]
    encoded = add(builder, region, box, power)
    add_rows(builder, region, encoded)
    return encoded


def add_rows(builder: ModelBuilder, region: Region, encoded: EncodedInput) -> None:
    """The linear rows of the support, sides rounded outward where they move with the centre."""
    if region.rows is None:
        return
    centre, terms = region.centre, encoded.sums(region.centre)
    for row, low, high in zip(region.rows.matrix, region.rows.lower.tolist(), region.rows.upper.tolist(), strict=True):
        if not terms.base.any():
            builder.row(encoded.inputs, row, low, high)
            continue
        here, size = float(row @ centre), float(np.abs(row) @ np.abs(centre))
        lost = underflow(2 * centre.size)
        off = [dot_error(centre.size + 4) * (size + abs(s)) + lost if np.isfinite(s) else 0.0 for s in (low, high)]
        value = (row[:, None] * terms.value).ravel()
        builder.row(np.asarray(terms.index.ravel(), np.int64), value, low - here - off[0], high - here + off[1])


def unit_of(far: float) -> float:
    """A power of two near a distance, by which columns that are squared are divided: tolerances of solvers are absolute."""
    return float(np.exp2(np.round(np.log2(far)))) if 0 < far < np.inf else 1.0


def _weighted(weights: Array, values: Array) -> Array:
    """``a_k x_k``, rounded up where that rounds."""
    return np.where(weights == 1, values, np.nextafter(weights * values, np.inf))


def _add_inf(builder: ModelBuilder, region: Region, box: _Box, power: int) -> EncodedInput:
    unit = unit_of(region.far) if power == 2 else 1.0
    near, far, centre = region.near, region.far, region.centre
    scale = region.cost.scale(centre.size)
    inputs = builder.columns(box.lower, box.upper, integer=box.whole)
    distance = builder.columns(np.array([near / unit]), np.array([far / unit]))
    above, below = _weighted(scale, centre), _weighted(scale, -centre)
    for k, column in enumerate(inputs):
        pair = np.array([column, distance[0]])
        if scale[k] * (box.upper[k] - centre[k]) > near:
            builder.row(pair, np.array([scale[k], -unit]), -np.inf, float(above[k]))
        if scale[k] * (centre[k] - box.lower[k]) > near:
            builder.row(pair, np.array([-scale[k], -unit]), -np.inf, float(below[k]))
    return _paid(builder, region, EncodedInput.free(inputs), (distance, np.array([unit])), power)


def _add_one(builder: ModelBuilder, region: Region, box: _Box, power: int) -> EncodedInput:
    scale = region.cost.scale(region.centre.size)
    zeros, (up, down) = np.zeros_like(region.centre), box.rooms(region.centre)
    positive = builder.columns(zeros, up, integer=box.whole)
    negative = builder.columns(zeros, down, integer=box.whole)
    both, price = np.concatenate([positive, negative]), np.tile(scale, 2)
    builder.row(both, price, region.near if region.near > 0 else -np.inf, region.far)
    if power == 2:
        unit = unit_of(region.far)
        total = builder.columns(np.array([region.near / unit]), np.array([region.far / unit]))
        builder.row(np.append(both, total), np.append(price, -unit), -np.inf, 0.0)
        return _paid(builder, region, EncodedInput.free(positive, negative), (total, np.array([unit])), 2)
    return _paid(builder, region, EncodedInput.free(positive, negative), (both, price), 1)


def _add_two(builder: ModelBuilder, region: Region, box: _Box, power: int) -> EncodedInput:
    unit = unit_of(region.far)
    step = np.where(box.whole, 1.0, unit)
    up, down = box.rooms(region.centre)
    moves = builder.columns(-down / step, up / step, integer=box.whole)
    squares = (region.cost.scale(step.size) * (step / unit)) ** 2
    squares = np.where(squares == 1, 1.0, np.nextafter(squares, 0.0))
    encoded = EncodedInput.free(moves, None, step)
    if power == 2:
        return _squared(builder, region, encoded, moves, squares)
    distance = builder.columns(np.array([region.near / unit]), np.array([region.far / unit]))
    index, square = np.append(moves, distance), np.append(squares, -1.0)
    builder.quadratic(Quadratic(index, square, np.zeros(0, np.int64), np.zeros(0), 0.0))
    return _paid(builder, region, encoded, (distance, np.array([unit])), 1)


def _paid(
    builder: ModelBuilder, region: Region, encoded: EncodedInput, distance: tuple[Ints, Array], power: int
) -> EncodedInput:
    """With the distance ``price . v[cost]``, and its square where that is paid."""
    cost, price = distance
    if cost.size == 1:
        builder.trace = Trace(distance=int(cost[0]), unit=float(price[0]))
    encoded = replace(encoded, cost=cost, price=price, paid=cost, worth=price)
    return encoded if power == 1 else _squared(builder, region, encoded, cost, np.ones(1))


def _squared(builder: ModelBuilder, region: Region, encoded: EncodedInput, index: Ints, square: Array) -> EncodedInput:
    """A column above the sum of squares, over ``unit^2``: what order 2 pays."""
    unit = unit_of(region.far)
    near, far = (region.near / unit) ** 2, (region.far / unit) ** 2
    column = builder.columns(np.array([max(np.nextafter(near, -np.inf), 0.0)]), np.array([np.nextafter(far, np.inf)]))
    builder.quadratic(Quadratic(index, square, column, np.array([-1.0]), 0.0))
    builder.trace = replace(builder.trace, square=int(column[0]), unit=unit)
    return replace(encoded, paid=column, worth=np.array([unit**2]))
