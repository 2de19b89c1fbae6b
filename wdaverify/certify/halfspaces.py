"""Half-spaces of decided neurons within a region, and proofs that they leave no interior.

With ``x = base + step e`` a decided neuron is a row ``s (G e + g) >= 0`` with ``(G, g)`` of a forward pass (``certify.forward``).
Multipliers y >= 0 of rows, those of the region among them, with ``sum y s (G e + g) < 0`` wherever e may be prove that there is no
point on all of them:

    in a box or ball   from the rows as computed, with what forming them lost
    on R^n             by a y' near y for which the sum is constant (unbounded.py)
    where flat         in rationals (flatness.py): the sum is 0 at most
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from wdaverify.certify.backward import Shells
from wdaverify.certify.flatness import Box, Strict, flat
from wdaverify.certify.forward import Ints, States
from wdaverify.certify.peak import peak
from wdaverify.certify.unbounded import constant_sum, crossing
from wdaverify.graph.nodes import INPUT, Affine, Graph
from wdaverify.ground import GroundCost, LinearRows, Norm
from wdaverify.network.model import Array
from wdaverify.rounding import dot_error, underflow

_LEAST = 1e-12
"""Multipliers below this share of the largest are none."""
_EXPONENT = 200
"""The largest exponent of a step, either way."""


class Where(Box, Protocol):
    """A convex region: ``||a (x - centre)|| <= far`` in the box ``lower, upper [n]`` (rounded outward), cut by rows if there are any."""

    @property
    def cost(self) -> GroundCost:
        """Whose norm and weights it is."""
        ...

    @property
    def centre(self) -> Array:
        """The middle of its ball."""
        ...

    @property
    def far(self) -> float:
        """The radius of its ball, inf where the box says all."""
        ...

    @property
    def rows(self) -> LinearRows | None:
        """What cuts it."""
        ...


def shell_of(region: Where) -> Shells:
    """The region as one shell: its ball, or its box around the middle."""
    if math.isfinite(region.far):
        one = np.array([region.far])
        return Shells.around(region.cost, region.centre[None, :], region.lower, region.upper, np.zeros(1), one)
    middle = 0.5 * region.lower + 0.5 * region.upper
    far = np.nextafter(np.maximum(region.upper - middle, middle - region.lower).max(initial=0.0), np.inf)
    cost = GroundCost(Norm.INF, 1)
    return Shells.around(cost, middle[None, :], region.lower, region.upper, np.zeros(1), np.array([far]))


@dataclass(frozen=True, eq=False)
class Units:
    """``x = base + step e`` with powers of two for steps, 0 where a feature does not move.

    Of a box from its middle on, so that e is about [-1, 1]; of R^n such that first-layer neurons have kinks at about 1.
    """

    base: Array
    step: Array
    bounded: bool

    @classmethod
    def of(cls, graph: Graph, region: Where, still: Array) -> Units:
        """Of the features of a region that are not ``still [n]``."""
        bounded = bool(np.isfinite(region.lower).all() and np.isfinite(region.upper).all())
        moves = (still <= 0) & (region.lower < region.upper)
        if bounded:
            base = np.where(
                moves, 0.5 * region.lower + 0.5 * region.upper, region.lower
            )  # half of the least double is 0
            step = np.where(moves, _power(0.5 * region.upper - 0.5 * region.lower), 0.0)
        else:
            base, step = np.clip(0.0, region.lower, region.upper), np.where(moves, _kinks(graph), 0.0)
        return cls(base, step, bounded)


def _near_one(multipliers: Array) -> Array:
    """Multipliers times a power of two, the largest near 1, so that products with them lose next to nothing to underflow.

    Those that vanish meanwhile become smaller ones, which prove as well.
    """
    exponent = int(np.frexp(multipliers.max(initial=0.0))[1])
    with np.errstate(under="ignore"):
        return np.asarray(np.ldexp(multipliers, -exponent))


def _power(size: Array) -> Array:
    """The largest power of two that is at most each, ``[n]``."""
    with np.errstate(divide="ignore"):
        exponent = np.floor(np.log2(np.maximum(size, 1e-300)))
    return np.asarray(np.exp2(np.clip(exponent, -_EXPONENT, _EXPONENT)))


def _kinks(graph: Graph) -> Array:
    """Per feature one over the sum of its first weights, times what makes the first layers' biases about as large as their rows."""
    total = np.zeros(graph.inputs)
    first = [node for node in graph.nodes if isinstance(node, Affine) and INPUT in node.sources]
    maps = [node.maps[node.sources.index(INPUT)].size() for node in first]
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for node, map_ in zip(first, maps, strict=True):
            total = total + map_.back(np.ones(node.width)) / node.width
        one = _power(np.where((total > 0) & np.isfinite(total), 1.0 / total, 1.0))
        ratio = np.concatenate([np.abs(n.bias) / m.apply(one) for n, m in zip(first, maps, strict=True)])
        ratio = ratio[np.isfinite(ratio) & (ratio > 0)]
        return _power(one * (float(np.median(ratio)) if ratio.size else 1.0))


@dataclass(frozen=True, eq=False)
class HalfSpaces:
    """Rows ``table e + side >= 0`` of unit normals, ``[r, e]`` and ``[r]``, of neurons ``at [r]`` on side ``sign [r]``.

    ``size [r]`` is what they were divided by, ``loose [r, e + 1]`` by how much they may be off.
    """

    table: Array
    side: Array
    loose: Array
    size: Array
    at: Ints
    sign: Array

    def joined(self, other: HalfSpaces) -> HalfSpaces:
        """These and others."""
        return HalfSpaces(
            np.concatenate([self.table, other.table]),
            np.concatenate([self.side, other.side]),
            np.concatenate([self.loose, other.loose]),
            np.concatenate([self.size, other.size]),
            np.concatenate([self.at, other.at]),
            np.concatenate([self.sign, other.sign]),
        )


class Within:
    """Half-spaces of one network's neurons in one region."""

    def __init__(self, graph: Graph, region: Where, still: Array, units: Units) -> None:
        self._graph, self._region, self._still, self._units = graph, region, still, units
        base, moving = units.base, np.flatnonzero(units.step > 0)
        self._moving, step = moving, units.step[moving]
        with np.errstate(over="ignore", invalid="ignore"):
            self.lower = (region.lower[moving] - base[moving]) / step
            self.upper = (region.upper[moving] - base[moving]) / step
            reach = np.maximum(np.abs(self.lower), np.abs(self.upper))
            self._reach = np.nextafter(reach * (1 + 2.0**-50), np.inf)
        self.bounded = units.bounded
        self._owner = np.repeat(np.arange(len(graph.elementwise)), np.diff(graph.edges))
        self._cut = self._region_rows(base, units.step)

    @property
    def cuts(self) -> int:
        """How many rows the region itself has, each side of a row being one."""
        return int(self._cut[1].size)

    def _region_rows(self, base: Array, step: Array) -> tuple[Array, Array, Array, Array]:
        """The region's rows as ``table e + side >= 0``, whether each is one of an equation, and by how much the side may be off."""
        rows = self._region.rows
        none = np.zeros((0, self._moving.size)), np.zeros(0), np.zeros(0), np.zeros(0)
        if rows is None:
            return none
        table, side, tied, off = list[Array](), list[float](), list[float](), list[float]()
        for row, low, high in zip(rows.matrix, rows.lower, rows.upper, strict=True):
            here, there = float(row @ base), row[self._moving] * step[self._moving]
            size = float(np.abs(there).sum())
            for sign, end in ((1.0, -low), (-1.0, high)):
                if math.isfinite(end) and size > 0:
                    table.append(sign * there / size)
                    side.append((sign * here + end) / size)
                    tied.append(float(low == high))
                    lost = dot_error(row.size + 8) * (float(np.abs(row) @ np.abs(base)) + abs(end)) + underflow(
                        row.size
                    )
                    off.append(2 * lost / size)
        return (np.array(table), np.array(side), np.array(tied), np.array(off)) if table else none

    def half_spaces(self, states: States, node: int, at: Ints, sign: Array) -> HalfSpaces:
        """The rows of neurons ``at [r]`` on their sides, from the forward pass of a node."""
        e = self._moving.size
        table, loose = np.zeros((at.size, e + 1)), np.zeros((at.size, e + 1))
        owner = self._owner[at]
        for number in np.unique(owner).tolist():
            mine = owner == number
            centre, radius = states[self._graph.source(self._graph.elementwise[number])]
            local = at[mine] - self._graph.edges[number]
            table[mine], loose[mine] = centre[node][:, local].T, radius[node][:, local].T
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            size = np.sqrt((table[:, :e] * table[:, :e]).sum(axis=1))
            size = np.where((size > 0) & np.isfinite(size), size, 1.0)
            table = sign[:, None] * table / size[:, None]
            loose = loose / size[:, None] * (1 + 2.0**-50) + 2.0**-51 * np.abs(table) + underflow(1)
        return HalfSpaces(table[:, :e], table[:, e], loose, size, at, sign)

    def empty(self, phases: NDArray[np.int8], spaces: HalfSpaces, multipliers: Array) -> bool:
        """Whether multipliers ``[r]`` of rows (and of the region's) are proved to leave them no interior."""
        if not (np.isfinite(multipliers).all() and (multipliers >= 0).all()):
            return False
        multipliers = _near_one(multipliers)
        own = multipliers[: spaces.at.size]
        sorted_out = self._decided(phases, spaces.at[own > 0])
        if self.bounded:
            if self._below(spaces, multipliers):
                return True
        elif crossing(spaces.table, spaces.side, spaces.loose, own) or (
            sorted_out and constant_sum(self._graph, phases, spaces.at, spaces.sign, own / spaces.size)
        ):
            return True
        return sorted_out and self._flat(phases, spaces, own)

    def _decided(self, phases: NDArray[np.int8], at: Ints) -> bool:
        """Whether every neuron of the layers before those of neurons ``at`` is decided: their rows are affine then."""
        first = int(self._graph.edges[self._owner[at].max()]) if at.size else 0
        return bool(phases[:first].all())

    def _below(self, spaces: HalfSpaces, multipliers: Array) -> bool:
        """Whether the sum of rows is below 0 all over the box, or over the ball in it."""
        own, cut = multipliers[: spaces.at.size], multipliers[spaces.at.size :]
        table, side = np.concatenate([spaces.table, self._cut[0]]), np.concatenate([spaces.side, self._cut[1]])
        y = np.concatenate([own, cut])
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            slack = np.append(self._reach, 1.0) @ (own @ spaces.loose) + cut @ self._cut[3]
            size = (y @ np.abs(table)) @ self._reach + float(y @ np.abs(side))
            top = float(np.abs(y @ table) @ self._reach + y @ side + 1.001 * slack)
            lost = 4 * dot_error(y.size + self._moving.size + 8) * float(size + slack) + self._vanished(y.size)
            if top + lost < 0:
                return True
            if not math.isfinite(self._region.far):
                return False
            pull, moving, base = np.zeros((1, 1, self._still.size)), self._moving, self._units.base
            pull[0, 0, moving] = (y @ table) / self._units.step[moving]
            value, spread = peak(pull, None, self._shell, None)
            there = float(np.abs(pull[0, 0]) @ np.abs(base))
            top = float(value[0, 0]) - float(pull[0, 0] @ base) + float(y @ side) + 1.001 * float(slack)
            lost += 4 * dot_error(2 * self._still.size + y.size + 32) * (float(spread[0, 0]) + there)
            return top + lost + underflow(64 + 4 * self._still.size) < 0

    def _vanished(self, rows: int) -> float:
        """What products with so many multipliers may lose to underflow, times what is multiplied with their sums."""
        ends = np.maximum(np.abs(self._region.lower), np.abs(self._region.upper))
        return underflow(2 * rows + 64) * (1 + float(self._reach.sum() + ends.sum()))

    @cached_property
    def _shell(self) -> Shells:
        return shell_of(self._region)

    def _flat(self, phases: NDArray[np.int8], spaces: HalfSpaces, own: Array) -> bool:
        """The proof in rationals."""
        if self._cut[1].size and not self.bounded:
            return False
        edges = self._graph.edges
        owner = self._owner[spaces.at]
        active = tuple(
            np.flatnonzero(phases[edges[k] : edges[k + 1]] > 0).tolist() for k in range(len(self._graph.elementwise))
        )
        y = np.where(own > _LEAST * own.max(initial=0.0), own, 0.0) / spaces.size
        if not np.isfinite(y).all():
            return False
        local = (spaces.at - edges[owner]).tolist()
        rows = Strict(owner.tolist(), local, spaces.sign, active)
        return flat(self._graph, rows, y, self._region, self._still)
