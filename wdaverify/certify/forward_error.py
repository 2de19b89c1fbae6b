"""How far a network in float32 may be from the same network in real arithmetic, output by output, on a region: whatever order it adds in.

With ``u = 2^-24`` a stretch of affine nodes between two functions computes sums of products of constants and one value at its start. Let
K be the most roundings on a way through it, M the sum of the absolute values of all such products at the values *computed* at its start,
and P the same sum at what those may be off. Then (Higham 2002, section 3.1), in any order, with or without FMA, in float32 or wider,

    |computed - real| <= P + gamma_K M + 8 (K + 1) B 2^-94,        gamma_K = K u / (1 - K u)

The last term pays for underflow, gradual or flushed to zero: each operation may lose ``2^-126``, which what stands beside it on the way
multiplies; B is M with every factor and value below 1 taken as 1, and the spare ``2^32`` is for constants that the reader has multiplied
already (Gemm's alpha and beta, a normalisation's multiplier: ``network.float32`` bounds these). No partial product and no partial sum is
larger than B, so nothing overflows while B is below ``2^96``; beyond that nothing is claimed (inf).

Since M has no cancellation in it and K counts whole ways, the bound also holds where a runtime has multiplied neighbouring constants
beforehand: a normalisation, a factor or a shift folded into a convolution. At a function a stretch ends: there bounds ``l <= z <= u`` of
the real values, made as everywhere (``certify.backward``), say how large values are, not M.

    ReLU      max(z, 0) rounds nothing; 0 where u + e <= 0
    LeakyReLU one product where z < 0
    Abs, Clip nothing, but for bounds that are no float32
    max       the larger of two errors: the larger of two numbers is one of them
    input     u |x| + 2^-126: it is rounded to float32
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wdaverify.certify.backward import Backward, HiddenBounds, Shells
from wdaverify.certify.boxes import Boxes
from wdaverify.errors import NetworkError
from wdaverify.graph.convolution import Convolution
from wdaverify.graph.functions import Larger, PiecewiseLinear
from wdaverify.graph.maps import Dense, Diagonal, LinearMap
from wdaverify.graph.nodes import INPUT, Affine, Elementwise, Graph
from wdaverify.ground import GroundCost, Norm, Support
from wdaverify.network.float32 import refused
from wdaverify.network.model import Array, ReluNetwork

UNIT, FLUSHED = 2.0**-24, 2.0**-126
"""The unit roundoff of float32, and its smallest normal number."""
_SPARE = 2.0**32
_MOST = 2.0**96
_UP = 1 + 2.0**-28
"""Pays for the rounding of sums of at most 2^22 numbers >= 0 in double precision."""
_PRODUCT, _COMPUTED, _BIAS = 4, 10, 2
"""Roundings of a product (itself, its constant's, Gemm's alpha), of one with a constant that is computed, and of a bias (its own, beta)."""
_TERMS = 2**22
_EXACT = -1
"""In place of roundings: what follows the outputs, a specification's rows, is real arithmetic on them."""
_FUNCTIONS = "Relu", "LeakyRelu", "Abs", "Clip"


@dataclass(frozen=True, eq=False)
class _State:
    """A node's ``P, M [S, m]``, K and ``B [S]``."""

    off: Array
    size: Array
    roundings: int
    most: Array

    def error(self) -> Array:
        """``|computed - real| [S, m]``; inf where it may overflow."""
        if self.roundings == _EXACT:
            return self.off
        most = self.most[:, None]
        with np.errstate(over="ignore", invalid="ignore"):
            gone = 8 * (self.roundings + 1) * FLUSHED * _SPARE * most
            error = (self.off + gamma(self.roundings) * self.size + gone) * _UP
        known = np.isfinite(error) & (self.size < _MOST) & (most < _MOST)
        return np.asarray(np.where(known, error, np.inf))


@dataclass(frozen=True, eq=False)
class _Step:
    """What is known of an affine node beforehand: ``|W|`` by source, the roundings it adds, and by how much B grows at each source."""

    sizes: tuple[LinearMap, ...]
    roundings: int
    growth: tuple[float, ...]


def gamma(roundings: int) -> float:
    """``K u / (1 - K u)``, rounded up; inf for K beyond 2^22."""
    return np.inf if roundings > _TERMS else roundings * UNIT * (1 + 2 * roundings * UNIT) * _UP


class ForwardError:
    """The error bounds of one network, of its graph as its file has it.

    Raises:
        NetworkError: something in it has none (``network.float32``).
    """

    def __init__(self, network: ReluNetwork) -> None:
        why = refused(network)
        if why:
            raise NetworkError(why)
        self._graph, self._backward = network.graph, Backward(network.graph)
        self._end = len(network.graph.nodes) - 1 if network.unsafe is None else network.unsafe.at
        self._number = {k: number for number, k in enumerate(self._graph.elementwise)}
        self._pools = any(_is_larger(self._graph, k) for k in self._graph.elementwise if k <= self._end)
        self._steps = {k: _step(node) for k, node in enumerate(self._graph.nodes) if isinstance(node, Affine)}
        for k in self._graph.elementwise:
            function = self._graph.function(k)
            if function.name not in _FUNCTIONS:
                raise NetworkError(
                    f"{network.name} has {function.name}, of which no error in float32 is known; Relu, LeakyRelu, Abs and Clip are accepted"
                )

    def on(self, support: Support) -> Array:
        """Errors ``[K]`` of the outputs anywhere in the box of a bounded support."""
        return self.sized(support)[0]

    def sized(self, support: Support) -> tuple[Array, Array]:
        """The same, and what the outputs are at most in size there, roughly: M, ``[K]``."""
        middle = 0.5 * support.lower + 0.5 * support.upper
        cost = GroundCost(Norm.INF, 1)
        far = np.nextafter(np.maximum(support.upper - middle, middle - support.lower).max(), np.inf)
        shells = Shells.around(cost, middle[None], support.lower, support.upper, np.zeros(1), np.array([far]))
        end = self._end_of(shells)
        return np.asarray(end.error()[0]), np.asarray(end.size[0] + end.error()[0])

    def at(self, points: Array) -> Array:
        """Errors ``[S, K]`` of the outputs at points ``[S, n]``."""
        none, points = np.zeros(len(points)), np.asarray(points, np.float64)
        shells = Shells(GroundCost(Norm.INF, 1), points, np.zeros_like(points), np.zeros_like(points), none, none)
        return self._end_of(shells, intervals=True).error()

    def of(self, shells: Shells) -> Array:
        """Errors ``[S, K]`` of the outputs anywhere in each shell."""
        return self._end_of(shells).error()

    def _end_of(self, shells: Shells, *, intervals: bool = False) -> _State:
        """The last node on each shell, by intervals where asked to, or where trees of maxima would be many rows of a backward pass."""
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            bounds = self._intervals(shells) if intervals or self._pools else self._backward.pre_activations(shells)
            return self._between(shells.centre - shells.down, shells.centre + shells.up, bounds)

    def _intervals(self, shells: Shells) -> HiddenBounds:
        bounds: HiddenBounds = []
        boxes = _Intervals(self._graph)
        for k in self._graph.elementwise:
            bounds.append(boxes.of(self._graph.source(k), shells, bounds))
        return bounds

    def _between(self, lower: Array, upper: Array, bounds: HiddenBounds) -> _State:
        """The last node in boxes ``[S, n]`` where ``bounds`` are those of what functions are applied to."""
        size = np.maximum(np.abs(lower), np.abs(upper)) * _UP
        off = (UNIT * size + FLUSHED) * _UP
        states = {INPUT: _start(off, size)}
        for k, node in enumerate(self._graph.nodes):
            if isinstance(node, Elementwise):
                states[k] = self._applied(k, node, states, bounds)
            else:
                states[k] = self._added(k, node, states)
            if k == self._end:
                error = states[k].error()
                states = {INPUT: _known(0 * off), k: _known(error)} if k < len(self._graph.nodes) - 1 else states
        return states[len(self._graph.nodes) - 1]

    def _added(self, k: int, node: Affine, states: dict[int, _State]) -> _State:
        step = self._steps[k]
        larger = [s for s in node.sources if _is_larger(self._graph, s)]
        if larger:
            return _chosen(node, larger[0], states)
        given = [states[s] for s in node.sources]
        if given[0].roundings == _EXACT:
            return _known(np.asarray(sum(m.apply(s.off) for m, s in zip(step.sizes, given, strict=True))) * _UP)
        off = np.asarray(sum(m.apply(s.off) for m, s in zip(step.sizes, given, strict=True)))
        size = np.asarray(sum(m.apply(s.size) for m, s in zip(step.sizes, given, strict=True)) + np.abs(node.bias))
        most = np.asarray(sum(g * s.most for g, s in zip(step.growth, given, strict=True)) + _barred(node.bias))
        return _State(off * _UP, size * _UP, max(s.roundings for s in given) + step.roundings, most * _UP)

    def _applied(self, k: int, node: Elementwise, states: dict[int, _State], bounds: HiddenBounds) -> _State:
        function = node.function
        assert isinstance(function, PiecewiseLinear)
        if isinstance(function, Larger):
            return self._larger(node, states)
        error, (low, high) = states[node.source].error(), bounds[self._number[k]]
        low, high = low - error, high + error
        if function.is_relu:
            on = high > 0
            return _start(np.where(on, error, 0.0), np.where(on, high, 0.0) * _UP)
        off = error
        if function.name == "LeakyRelu":
            steep = np.maximum(np.abs(function.slopes).max(axis=0), 1.0)
            rounded = 4 * UNIT * steep * np.maximum(-low, 0.0) + 4 * FLUSHED * steep
            off = np.where(low >= 0, error, (steep * error + rounded) * _UP)
        elif (function.breaks.astype(np.float32) != function.breaks).any():
            off = error + 2 * UNIT * np.abs(function.breaks).max()
        known = np.isfinite(low) & np.isfinite(high)
        size = function.reach(np.where(known, low, 0.0), np.where(known, high, 0.0)) + off
        return _start(np.where(known, off, np.inf), np.where(known, size, np.inf))

    def _larger(self, node: Elementwise, states: dict[int, _State]) -> _State:
        """The larger of what stands on both sides of a difference: ``max(a, b) = (a + b + |a - b|) / 2``."""
        before = self._graph.nodes[node.source]
        assert isinstance(before, Affine)
        parts = [(m, states[s]) for s, m in zip(before.sources, before.maps, strict=True)]

        def most(values: list[Array]) -> Array:
            total = sum(m.size().apply(v) for (m, _), v in zip(parts, values, strict=True))
            apart = sum(m.apply(v) for (m, _), v in zip(parts, values, strict=True))
            out = 0.5 * (total + np.abs(apart)) * _UP
            return np.asarray(np.where(np.isfinite(out), out, np.inf))

        off = most([state.error() for _, state in parts])
        if parts[0][1].roundings == _EXACT:
            return _known(off)
        return _start(off, most([state.size for _, state in parts]) + off)


class _Intervals(Boxes):
    """Intervals of nodes on shells, where the larger of two is no more than the larger one."""

    def _sides(
        self, k: int, shells: Shells, bounds: HiddenBounds, done: dict[int, tuple[Array, Array]]
    ) -> tuple[Array, Array]:
        node = self._graph.nodes[k] if k != INPUT else None
        larger = [s for s in node.sources if _is_larger(self._graph, s)] if isinstance(node, Affine) else []
        if k in done or not larger or not isinstance(node, Affine):
            return super()._sides(k, shells, bounds, done)
        before = self._graph.nodes[self._graph.source(larger[0])]
        assert isinstance(before, Affine)
        parts = [(m, self._sides(s, shells, bounds, done)) for s, m in zip(before.sources, before.maps, strict=True)]
        ends = []
        for side in (0, 1):
            total = np.asarray(sum(m.size().apply(sides[side]) for m, sides in parts))
            apart = np.asarray(sum(m.apply(sides[side]) for m, sides in parts))
            size = np.asarray(sum(m.size().apply(np.abs(sides[side])) for m, sides in parts))
            slack = (-1, 1)[side] * 2.0**-50 * size
            ends.append((0.5 * (total + np.abs(apart)) + slack, 0.5 * (total - np.abs(apart)) + slack))
        turn = node.maps[node.sources.index(larger[0])]
        [other] = [s for s in node.sources if s != larger[0]]
        kept, rest = node.maps[node.sources.index(other)], self._sides(other, shells, bounds, done)
        sign = turn.apply(np.ones(turn.inputs))
        low, high = (
            np.where(sign > 0, turn.size().apply(most), np.where(sign < 0, turn.size().apply(least), kept.apply(end)))
            for (most, least), end in zip(ends, rest, strict=True)
        )
        done[k] = low, high
        return done[k]


def _is_larger(graph: Graph, k: int) -> bool:
    return k in graph.elementwise and isinstance(graph.function(k), Larger)


def _start(off: Array, size: Array) -> _State:
    """Where a stretch begins, at values off by so much."""
    with np.errstate(over="ignore"):
        size = (size + off) * _UP
    return _State(off, size, 0, np.maximum(1.0, size.max(axis=1, initial=0.0)))


def _known(off: Array) -> _State:
    """What is computed in real arithmetic of numbers off by so much."""
    return _State(off, off, _EXACT, np.zeros(len(off)))


def _chosen(node: Affine, larger: int, states: dict[int, _State]) -> _State:
    """What ``b + relu(a - b)`` stands for: the larger of two where there are two, else what there is."""
    chosen, others = states[larger], [s for s in node.sources if s != larger]
    if len(others) != 1 or node.bias.any():
        raise NetworkError("a larger of two that is read otherwise than as one: load the network again")
    turn, kept = (node.maps[node.sources.index(s)].size() for s in (larger, others[0]))
    two = turn.apply(np.ones(turn.inputs)) > 0
    other = states[others[0]]
    off = np.where(two, turn.apply(chosen.off), kept.apply(other.error()))
    if other.roundings == _EXACT:
        return _known(off)
    return _start(off, np.where(two, turn.apply(chosen.size), kept.apply(other.size)))


def _barred(numbers: Array) -> float:
    """The largest number, those below 1 taken as 1; 0 if all are."""
    size = np.abs(numbers)
    return float(np.where(size > 0, np.maximum(size, 1.0), 0.0).max(initial=0.0))


def _step(node: Affine) -> _Step:
    terms, extra, growth = 0, 0, list[float]()
    for map_ in node.maps:
        some, rounds, grown = _of_map(map_)
        terms, extra = terms + some, max(extra, rounds)
        growth.append(grown)
    bias = bool(node.bias.any())
    return _Step(tuple(m.size() for m in node.maps), terms + bias - 1 + extra + _BIAS * bias, tuple(growth))


def _of_map(map_: LinearMap) -> tuple[int, int, float]:
    """The products of the longest sum, the roundings of one, and the largest sum of a row whose entries below 1 are taken as 1."""
    if isinstance(map_, Diagonal):
        if (np.abs(map_.factor) == 1).all() and (map_.divisor == 1).all():
            return 1, 0, 1.0
        inverse = np.maximum(1 / np.abs(map_.divisor), 1.0)
        return 1, _COMPUTED, float((np.maximum(np.abs(map_.factor), 1.0) * inverse).max()) * _UP
    if not isinstance(map_, Dense | Convolution):
        return 1, 0, 1.0
    rows: NDArray[np.float64] = np.abs(map_.numbers[0])
    rows = rows.reshape(len(rows), -1)
    terms = max(1, int((rows > 0).sum(axis=1).max()))
    return terms, _PRODUCT, float(np.where(rows > 0, np.maximum(rows, 1.0), 0.0).sum(axis=1).max(initial=0.0)) * _UP
