"""Plain questions about curved functions of many inputs: intervals of neurons are cut in batches, multipliers found by descent.

A leaf is a shell and an interval of every neuron's pre-activation. For any multipliers nu the trusted pass bounds it (docs/theory.md,
section 9), and that bound is convex in them. With ``nu = s q + b``, x the point and z the places where the maxima are attained,

    forward      v = phi(z) + s (y - z),   y the affine map of the v before it (at the input x)
    derivative   q (y - z) by s,   y - z by b

since moving a multiplier moves the bound by how far the two sides that it ties together are apart. Descent and points only steer.
A leaf exceeds the value at x by the sum over neurons of ``gain - (q phi(z_i(x)) - nu z_i(x))``, and is cut where that is largest, beside
``z_i(x)``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from wdaverify.certify.backward import Backward, HiddenBounds, Shells
from wdaverify.encoding.milp import Ints
from wdaverify.engines.cells.frontier import Frontier
from wdaverify.engines.cells.hunt import Hunt
from wdaverify.engines.cells.peaks import peaks_of
from wdaverify.graph.nodes import INPUT, Affine, Elementwise, Graph
from wdaverify.network.model import Array

_BATCH, _STEPS, _FIRST = 64, 25, 80
"""Leaves that are cut together, and steps of descent of each; of the first ones."""
_SHELLS = 8
_RATE, _LAST, _SHIFTS, _MOST = 0.1, 0.1, 0.1, 0.1
"""The first and the last step, in units of the range of a neuron's slopes; the least such unit of its shift."""
_ASIDE = 0.2
"""How far beside the point's place an interval is cut, relative to it, on the longer side; half as far as its end at most."""
_NARROW, _NO_TERM = 2.0**-40, 1e-14
_TRIED = 3


class CutSearch(Frontier):
    """One question's search; a leaf is a shell's number, neurons' ends, slopes and shifts, ``[2, M]`` each, and a cut ``[2]``."""

    def __init__(self, graph: Graph, backward: Backward, hunt: Hunt) -> None:
        super().__init__(hunt, _BATCH, 64.0 + 40.0 * graph.neurons)
        self._graph, self._backward = graph, backward
        self._spans = [slice(int(a), int(b)) for a, b in pairwise(graph.edges.tolist())]
        region = self._region
        near, far, _ = hunt.cutter.edges((), _SHELLS if hunt.claim.multiplier > 0 else 1)
        centre = np.broadcast_to(region.centre, (near.size, region.centre.size))
        self._shells = Shells.around(region.cost, centre, region.lower, region.upper, near, far)
        self._peaks = peaks_of(self._shells, hunt.power)
        bounds = backward.pre_activations(self._shells)
        none = np.zeros((near.size, 0))
        low, high = (np.concatenate([none, *(pair[side] for pair in bounds)], axis=1) for side in (0, 1))
        count, neurons = low.shape
        relus = [
            np.full(s.stop - s.start, graph.function(k).is_relu)
            for s, k in zip(self._spans, graph.elementwise, strict=True)
        ]
        self._straight = np.concatenate([np.zeros(0, np.bool_), *relus])
        tree, ends = np.arange(count), np.stack([low, high], axis=1)
        self._bound, nu, cut = np.full(count, -math.inf), np.zeros((count, 2, neurons)), np.zeros((count, 2))
        if np.isfinite(low).all() and np.isfinite(high).all():
            self._bound, nu, cut = self._solved(tree, ends, None, _FIRST)
        self._leaves = tree, ends, nu, cut

    def _stuck(self, some: Ints) -> NDArray[np.bool_]:
        """Nothing is left to cut."""
        return np.asarray(self._leaves[3][some, 0] < 0)

    def _open(self, some: Ints) -> None:
        some = some[np.argsort(self._leaves[0][some], kind="stable")]
        tree, ends, nu, cut = (part[some] for part in self._leaves)
        rows, neuron = np.arange(some.size), cut[:, 0].astype(np.int64)
        tree, ends, nu = (np.repeat(part, 2, axis=0) for part in (tree, ends, nu))
        ends[2 * rows, 1, neuron] = ends[2 * rows + 1, 0, neuron] = cut[:, 1]
        known = self._backward.pre_activations(self._shells.take(tree), known=self._split(ends))
        ends = np.stack([np.concatenate([pair[side] for pair in known], axis=1) for side in (0, 1)], axis=1)
        bound, nu, cut = self._solved(tree, ends, nu, _STEPS)
        self._replace(some, bound, tree, ends, nu, cut)

    def _split(self, ends: Array) -> HiddenBounds:
        return [(ends[:, 0, span], ends[:, 1, span]) for span in self._spans]

    def _solved(self, tree: Ints, ends: Array, start: Array | None, steps: int) -> tuple[Array, Array, Array]:
        """What leaves prove, the slopes and shifts ``[B, 2, M]`` that show it, and where to cut them (neuron, place) ``[B, 2]``."""
        hunt, count = self._hunt, len(tree)
        self.visited += count
        bounds = self._split(ends)
        functional = np.broadcast_to(hunt.functional, (count, hunt.functional.size))
        tau = np.full(count, hunt.claim.multiplier)
        state = _Descent(self._graph, self._spans, functional, ends, start)
        best, kept, numbers = np.full(count, math.inf), np.zeros_like(ends), np.zeros((count, ends.shape[2]))
        price = tau.astype(np.float32)
        points = np.zeros((count, self._graph.inputs))
        for step in range(steps):
            pull, constant = state.back()
            value, moved, _ = self._peaks(tree, pull.astype(np.float32), price)
            total = constant + (pull * self._region.centre).sum(axis=1) + value
            better = total < best
            best = np.where(better, total, best)
            kept[better], numbers[better] = state.free[better], state.nu[better]
            points[better] = self._region.centre + moved[better]
            state.step(self._region.centre + moved, _RATE * _LAST ** (step / max(steps - 1, 1)))
        none = np.zeros((count, self._backward.neurons), np.int8)
        top = self._backward.leaves(functional, tau, self._shells.take(tree), bounds, none, numbers, power=hunt.power)
        self._try(points)
        return -top, kept, self._where(ends, functional, numbers, points)

    def _where(self, ends: Array, functional: Array, nu: Array, points: Array) -> Array:
        """The neuron of each leaf that adds most to what its bound exceeds the value at a point by, and its place there; -1: none."""
        values, (low, high) = self._graph.values(points), (ends[:, 0], ends[:, 1])
        terms, at = np.zeros(low.shape), np.zeros(low.shape)
        for span, node, q in _pulls(self._graph, self._spans, functional, nu):
            z = np.clip(values[node.source], low[:, span], high[:, span])
            gain, _ = node.function.gain(q, nu[:, span], low[:, span], high[:, span])
            terms[:, span], at[:, span] = gain - (q * node.function.value(z) - nu[:, span] * z), z
            if node.function.is_relu:
                terms[:, span] = np.where((low[:, span] < 0) & (high[:, span] > 0), terms[:, span], -1.0)
        width = high - low
        wide = width > _NARROW * np.maximum(np.abs(low), np.abs(high))
        terms = np.where(wide & np.isfinite(terms), terms, -1.0)
        left = np.concatenate(
            [
                self._bent(k, low[:, span], high[:, span])
                for span, k in zip(self._spans, self._graph.elementwise, strict=True)
            ],
            axis=1,
        )
        none = np.asarray(
            (terms <= _NO_TERM).all(axis=1)
        )  # multipliers or the input's own maximum are to blame: any cut helps these
        terms = np.where(none[:, None], np.where(wide, left * width, -1.0), terms)
        neuron = terms.argmax(axis=1)
        rows = np.arange(len(neuron))
        least, most = low[rows, neuron], high[rows, neuron]
        place = between(at[rows, neuron], least, most)
        place = np.where(self._straight[neuron], 0.0, place)
        return np.stack([np.where(terms[rows, neuron] > 0, neuron, -1), place], axis=1)

    def _bent(self, k: int, low: Array, high: Array) -> Array:
        """How far a node's slopes range, ``[B, m]``."""
        least, greatest = self._graph.function(k).slope_range(low, high)
        return np.asarray(np.minimum(greatest - least, 1.0))

    def _try(self, points: Array) -> None:
        """Value points, the best ones closely."""
        region, hunt = self._region, self._hunt
        points = np.clip(points, region.lower, region.upper)
        moved = points - region.centre
        paid = hunt.claim.multiplier * region.cost.distance(moved) ** hunt.power
        value = paid - self._graph.forward(points) @ hunt.functional
        for k in np.argsort(value, kind="stable")[:_TRIED]:
            if not value[k] < self.incumbent:
                break
            own = hunt.asked.value(moved[k])
            if own < self.incumbent:
                self.incumbent, self.best = own, moved[k]


def between(at: Array, low: Array, high: Array) -> Array:
    """Where to cut intervals so that a place is well inside one part: the other one holds no best point, and closes by its slope.

    Cut at the place itself both parts have it, and so have all ``2^m`` leaves after m neurons.
    """
    aside = _ASIDE * (high - low)
    above, below = np.minimum(at + aside, 0.5 * (at + high)), np.maximum(at - aside, 0.5 * (at + low))
    return np.asarray(np.where(high - at > at - low, above, below))


class _Descent:
    """Multipliers of a batch on their way down: ``free [B, 2, M]`` are slopes and shifts, the latter in units of the pulls met first."""

    def __init__(self, graph: Graph, spans: list[slice], functional: Array, ends: Array, start: Array | None) -> None:
        self._graph, self._spans, self._functional = graph, spans, functional
        self._low, self._high = ends[:, 0], ends[:, 1]
        shape = self._low.shape
        self.free = np.zeros((shape[0], 2, shape[1])) if start is None else start.copy()
        self._fresh = start is None
        self._unit = np.ones(shape)
        self._reach = np.full(self.free.shape, _SHIFTS)
        for span, k in zip(spans, graph.elementwise, strict=True):
            least, greatest = graph.function(k).slope_range(self._low[:, span], self._high[:, span])
            self._reach[:, 0, span] = np.clip(greatest - least, 1e-9, _MOST)
            self._reach[:, 1, span] = np.clip(greatest - least, _SHIFTS, _MOST)
        self.nu, self._pull, self._place = (np.zeros(shape) for _ in range(3))
        self._mean, self._square, self._count = np.zeros_like(self.free), np.zeros_like(self.free), 0

    def back(self) -> tuple[Array, Array]:
        """The pull on the input ``[B, n]``, and the rest of the bound ``[B]``."""
        graph, first = self._graph, self._count == 0
        constant = np.zeros(len(self._low))
        waiting, number = {len(graph.nodes) - 1: self._functional}, len(self._spans)
        for k in range(len(graph.nodes) - 1, INPUT, -1):
            node, q = graph.nodes[k], waiting.pop(k, None)
            if isinstance(node, Affine):
                if q is not None:
                    constant = constant + q @ node.bias
                    for source, map_ in zip(node.sources, node.maps, strict=True):
                        _give(waiting, source, map_.back(q))
                continue
            number -= 1
            span = self._spans[number]
            low, high = self._low[:, span], self._high[:, span]
            q = np.zeros(low.shape) if q is None else q
            if first:
                self._unit[:, span] = np.abs(q) + 1e-3 * np.abs(q).mean(axis=1, keepdims=True) + 1e-12
                if self._fresh:
                    chosen = node.function.by_rule(np.where(q == 0, 1.0, q), low, high)
                    self.free[:, 0, span] = chosen / np.where(q == 0, 1.0, q)
            nu = q * self.free[:, 0, span] + self._unit[:, span] * self.free[:, 1, span]
            self.nu[:, span], self._pull[:, span] = nu, q
            place, value = node.function.attained(q, nu, low, high)
            self._place[:, span] = place
            constant = constant + value.sum(axis=1)
            _give(waiting, node.source, nu)
        return waiting.get(INPUT, np.zeros((len(self._low), graph.inputs))), constant

    def step(self, points: Array, rate: float) -> None:
        """One step of Adam (arXiv 1412.6980) from where the last pass ended, at points ``[B, n]``."""
        values, gradient, number = {INPUT: points}, np.zeros_like(self.free), 0
        for k, node in enumerate(self._graph.nodes):
            if isinstance(node, Affine):
                terms = [m.apply(values[s]) for s, m in zip(node.sources, node.maps, strict=True)]
                values[k] = sum(terms[1:], start=terms[0]) + node.bias
                continue
            span = self._spans[number]
            number += 1
            apart = values[node.source] - self._place[:, span]
            gradient[:, 0, span] = self._pull[:, span] * apart
            gradient[:, 1, span] = self._unit[:, span] * apart
            values[k] = node.function.value(self._place[:, span]) + self.free[:, 0, span] * apart
        self._count += 1
        self._mean = 0.8 * self._mean + 0.2 * gradient
        self._square = 0.95 * self._square + 0.05 * gradient * gradient
        scale = np.sqrt(self._square / (1 - 0.95**self._count)) + 1e-30
        self.free = self.free - rate * self._reach * (self._mean / (1 - 0.8**self._count)) / scale


def _pulls(
    graph: Graph, spans: list[slice], functional: Array, nu: Array
) -> Iterator[tuple[slice, Elementwise, Array]]:
    """Of every elementwise node, last first: its neurons, the node, and the coefficients ``[B, m]`` of its values."""
    waiting, number = {len(graph.nodes) - 1: functional}, len(spans)
    for k in range(len(graph.nodes) - 1, INPUT, -1):
        node, q = graph.nodes[k], waiting.pop(k, None)
        if isinstance(node, Affine):
            if q is not None:
                for source, map_ in zip(node.sources, node.maps, strict=True):
                    _give(waiting, source, map_.back(q))
            continue
        number -= 1
        yield spans[number], node, np.zeros((len(nu), graph.width(k))) if q is None else q
        _give(waiting, node.source, nu[:, spans[number]])


def _give(waiting: dict[int, Array], node: int, value: Array) -> None:
    waiting[node] = waiting[node] + value if node in waiting else value
