"""Slopes of networks with curved functions: the region is cut into leaves, whose interval Jacobians bound them in batches.

A leaf is a box of the region and an interval of every neuron's pre-activation; what a function's slopes are on an interval is enclosed
(``Smooth.slope_range``), and so is every gradient of the leaf (``certify.jacobian``). Regions of few moving inputs are halved, of others
intervals of neurons are cut:

    input j     by  w_j sum_k  r_k p_k |dz_k / dx_j|     w its width, r the range of a neuron's slopes, p how much its output matters
    neuron k    by  r_k p_k s_k                          s how fast what it is applied to changes, on the whole region

at the place that leaves the two parts the least range together. The bound exceeds the largest slope of a leaf by about its width (not its
square), so that a narrow gap costs many leaves. Points are tried as those of cells are.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wdaverify.certify.backward import Backward, HiddenBounds, Shells
from wdaverify.certify.cutoff import Cutoff
from wdaverify.certify.halfspaces import shell_of
from wdaverify.certify.jacobian import jacobian, neuron_slopes, slope_up
from wdaverify.encoding.milp import Ints
from wdaverify.engines.base import Answer, Effort, Slope
from wdaverify.engines.cells.frontier import Frontier
from wdaverify.engines.cells.points_within import PointsWithin
from wdaverify.graph.nodes import Graph
from wdaverify.ground import GroundCost, Norm
from wdaverify.network.model import Array
from wdaverify.rounding import dot_error

_FEW, _BATCH = 6, 64
"""So many inputs that move are halved; leaves that are cut together."""
_BYTES = 64.0
_NARROW = 2.0**-40
_SHARES = (0.25, 0.5, 0.75)
"""Where intervals are cut, beside the places where functions turn."""


@dataclass(frozen=True, eq=False)
class _Sought:
    """One question's search, as a frontier asks about it."""

    question: Slope
    effort: Effort
    deadline: float

    @property
    def target(self) -> float:
        """Of a minimisation of the negative slope."""
        return 0.0 if self.effort.cutoff is None else -self.effort.cutoff


class SlopeSearch(Frontier):
    """One question about a bounded region; leaves are ``lower, upper [n]``, ``ends [2, M]`` and a cut (axis or neuron, place)."""

    def __init__(self, graph: Graph, backward: Backward, sought: _Sought) -> None:
        question, region = sought.question, sought.question.region
        super().__init__(sought, _BATCH, _BYTES + 16.0 * (graph.inputs + graph.neurons))
        self._graph, self._backward, self._question = graph, backward, question
        self._cutoff, self._points = Cutoff(graph, backward), PointsWithin(graph, question)
        self._spans = [slice(int(a), int(b)) for a, b in zip(graph.edges[:-1], graph.edges[1:], strict=True)]
        self._moving = (region.lower < region.upper) & (question.still <= 0) & ~region.cost.fixed(region.lower.size)
        self._few = int(self._moving.sum()) <= _FEW
        self._shell = shell_of(region)
        bounds = backward.pre_activations(self._shell)
        self._steep = np.concatenate(
            [np.zeros(0), *(part[0] for part in neuron_slopes(graph, bounds, region.cost, question.still))]
        )
        none = np.zeros((1, 0))
        ends = np.stack([np.concatenate([none, *(pair[side] for pair in bounds)], axis=1) for side in (0, 1)], axis=1)
        for points in self._points.drawn(sought.effort.seed, lambda: self.best):
            self._try(points)
            if time.perf_counter() > sought.deadline:
                break
        box = region.lower[None], region.upper[None]
        self._bound, cut = self._bounded(*box, ends)
        self._leaves = *box, ends, cut

    def _stuck(self, some: Ints) -> NDArray[np.bool_]:
        """Nothing is left to cut."""
        return np.asarray(self._leaves[3][some, 0] < 0)

    def _open(self, some: Ints) -> None:
        lower, upper, ends, cut = (np.repeat(part[some], 2, axis=0) for part in self._leaves)
        first = 2 * np.arange(some.size)
        at, place = cut[first, 0].astype(np.int64), cut[first, 1]
        if self._few:
            upper[first, at] = lower[first + 1, at] = place
            known = self._split(ends)
            bounds = self._backward.pre_activations(_boxes(lower, upper), known=known)
            ends = np.stack([np.concatenate([pair[side] for pair in bounds], axis=1) for side in (0, 1)], axis=1)
            middle = 0.5 * lower + 0.5 * upper
            self._try(middle)
        else:
            ends[first, 1, at] = ends[first + 1, 0, at] = place
            ends = self._cutoff.by_rule(self._shell.take(np.zeros(len(ends), np.int64)), ends)
        gone = ~(ends[:, 0] <= ends[:, 1]).all(axis=1) | self._away(lower, upper)
        ends = np.stack([np.minimum(ends[:, 0], ends[:, 1]), np.maximum(ends[:, 0], ends[:, 1])], axis=1)
        bound, cut = self._bounded(lower, upper, ends)
        self._replace(some, np.where(gone, math.inf, bound), lower, upper, ends, cut)

    def _away(self, lower: Array, upper: Array) -> NDArray[np.bool_]:
        """Which boxes are outside the region's ball."""
        region = self._region
        if not math.isfinite(region.far):
            return np.zeros(len(lower), np.bool_)
        off = np.maximum(np.maximum(lower - region.centre, region.centre - upper), 0.0)
        return np.asarray(region.cost.distance(off) * (1 - dot_error(off.shape[1] + 8)) > region.far)

    def _split(self, ends: Array) -> HiddenBounds:
        return [(ends[:, 0, span], ends[:, 1, span]) for span in self._spans]

    def _bounded(self, lower: Array, upper: Array, ends: Array) -> tuple[Array, Array]:
        """Minus what interval Jacobians prove, ``[B]``, and where to cut, ``[B, 2]``."""
        count, question = len(ends), self._question
        self.visited += count
        bounds, pull = self._split(ends), list[Array]()
        rows = np.broadcast_to(question.rows, (count, *question.rows.shape))
        centre, radius = jacobian(self._graph, bounds, rows, None, pull)
        top = slope_up(centre, radius, self._region.cost, question.still)
        ranges = [
            np.subtract(*self._graph.function(k).slope_range(low, high)[::-1])
            for k, (low, high) in zip(self._graph.elementwise, bounds, strict=True)
        ]
        matters = [r * np.where(np.isfinite(p), p, 1.0) for r, p in zip(ranges, pull, strict=True)]
        cut = self._axes(lower, upper, bounds, matters) if self._few else self._neurons(ends, matters)
        return -top, cut

    def _axes(self, lower: Array, upper: Array, bounds: HiddenBounds, matters: list[Array]) -> Array:
        score = np.zeros_like(lower)
        for k, part in zip(self._graph.elementwise, matters, strict=True):
            eye = np.broadcast_to(np.eye(part.shape[1]), (len(part), part.shape[1], part.shape[1]))
            centre, radius = jacobian(self._graph, bounds, eye, self._graph.source(k))
            score += np.einsum("bm,bmn->bn", part, np.abs(centre) + radius)
        middle, width = 0.5 * lower + 0.5 * upper, upper - lower
        fits = self._moving & (width > _NARROW * np.maximum(np.abs(lower), np.abs(upper)))
        score = np.where(fits & (score > 0), score * width, -1.0)
        axis, rows = score.argmax(axis=1), np.arange(len(score))
        return np.stack([np.where(score[rows, axis] > 0, axis, -1), middle[rows, axis]], axis=1)

    def _neurons(self, ends: Array, matters: list[Array]) -> Array:
        low, high, rows = ends[:, 0], ends[:, 1], np.arange(len(ends))
        fits = high - low > _NARROW * np.maximum(np.abs(low), np.abs(high))
        score = np.concatenate([np.zeros((len(ends), 0)), *matters], axis=1) * np.minimum(self._steep, 1e100)
        if not score.shape[1]:
            return np.full((len(ends), 2), -1.0)
        score = np.where(fits & (score > 0), score, -1.0)
        neuron = score.argmax(axis=1)
        place = 0.5 * low[rows, neuron] + 0.5 * high[rows, neuron]
        for k, span in zip(self._graph.elementwise, self._spans, strict=True):
            some = np.flatnonzero((neuron >= span.start) & (neuron < span.stop))
            if some.size:
                place[some] = self._place(
                    k, neuron[some] - span.start, low[some, neuron[some]], high[some, neuron[some]]
                )
        good = (score[rows, neuron] > 0) & (low[rows, neuron] < place) & (place < high[rows, neuron])
        return np.stack([np.where(good, neuron, -1), place], axis=1)

    def _place(self, k: int, neurons: Ints, low: Array, high: Array) -> Array:
        """Where slopes range least on both parts together, ``[B]``."""
        function = self._graph.function(k).take(neurons)
        turns = getattr(function, "turns", None)
        places = [low + share * (high - low) for share in _SHARES]
        places += [np.full_like(low, turn) for turn in (getattr(function, "breaks", ()) if turns is None else turns)]
        best, out = np.full_like(low, np.inf), places[1]
        for place in places:
            inside = (place > low) & (place < high)
            at = np.clip(place, low, high)
            both = [function.slope_range(*sides) for sides in ((low, at), (at, high))]
            total = sum(greatest - least for least, greatest in both)
            better = inside & (total < best)
            best, out = np.where(better, total, best), np.where(better, place, out)
        return out

    def _try(self, points: Array) -> None:
        low, point = self._points.best(points)
        if point is not None and (-low < self.incumbent or self.best is None):
            self.incumbent, self.best = min(self.incumbent, -low), point


def _boxes(lower: Array, upper: Array) -> Shells:
    """Boxes as shells around their middles."""
    centre = 0.5 * lower + 0.5 * upper
    radius = np.nextafter(np.maximum(upper - centre, centre - lower), np.inf)
    return Shells(GroundCost(Norm.INF, 1), centre, radius, radius, np.zeros(len(centre)), radius.max(axis=1))


def slope_answer(graph: Graph, backward: Backward, question: Slope, effort: Effort) -> Answer:
    """The largest slope of a bounded region, as far as the effort goes."""
    begun = time.perf_counter()
    with np.errstate(all="ignore"):  # what overflows bounds nothing
        search = SlopeSearch(graph, backward, _Sought(question, effort, begun + effort.seconds))
        search.run()
    points = np.zeros((0, graph.inputs)) if search.best is None else search.best[None, :]
    detail = "intervals of slopes" + (", cut short by the memory limit" if search.full else "")
    closed = search.finished or search.full
    return Answer(
        max(-search.proven, 0.0), points, "cells", closed, search.visited, time.perf_counter() - begun, detail, True
    )
