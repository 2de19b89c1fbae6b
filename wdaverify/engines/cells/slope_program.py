"""The linear relaxation of a slope program between nodes: column bounds change, tangents of balls are added, bounds are recomputed."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from wdaverify.certify.proof import Phases
from wdaverify.encoding.milp import Ints
from wdaverify.encoding.rows import TINY, LinearProgram, Rows
from wdaverify.encoding.slope import slope_model
from wdaverify.encoding.weak_duality import proven
from wdaverify.engines.base import Slope
from wdaverify.graph.nodes import Graph
from wdaverify.ground import Norm, euclidean
from wdaverify.network.model import Array
from wdaverify.solvers.lp import LpSession, LpStatus

_ROUNDS = 6
_LONG = 1e-6
_MANY = 40
"""So many tangents are kept before those that hold nothing are dropped."""


@dataclass(frozen=True, eq=False)
class Found:
    """What a node's relaxation proves, its point ``[n]`` if it has one, and how far each neuron is on, ``share [M]``."""

    bound: float
    point: Array | None
    share: Array


class SlopeProgram:
    """One question's relaxation, kept in an LP session."""

    def __init__(self, graph: Graph, bounds: list[tuple[Array, Array]], slopes: list[Array], question: Slope) -> None:
        region = question.region
        flat = replace(region, integer=None)
        self._model, self._at = slope_model(graph, bounds, slopes, flat, question.rows, question.still)
        model = self._model
        self._own = Rows(model.row_lower, model.row_upper, model.start, model.index, model.coefficient)
        self._rows, self._cuts = self._own, list[Rows]()
        self._cost = -model.objective
        self._lower, self._upper = model.lower.copy(), model.upper.copy()
        round_ = region.norm is Norm.TWO
        self._session = LpSession(LinearProgram(self._cost, self._lower, self._upper, self._own), curved=round_)
        self._region, self._round = region, round_
        self._sizes = [low.size for low, _ in bounds]
        self.solves = 0

    def bound(
        self, signs: Phases, bounds: list[tuple[Array, Array]], slopes: list[Array], bar: float, seconds: float
    ) -> Found:
        """Solve at a node with bounds and slopes ``[m]`` per layer; ``bar``: what its bound must exceed to be of interest."""
        if len(self._cuts) > _MANY:
            gone = set(self._session.prune())
            self._cuts = [row for k, row in enumerate(self._cuts) if k not in gone]
            self._rows = Rows.stacked([self._own, *self._cuts])
        self._enter(signs, bounds, slopes)
        self._session.cut(-(bar - self._model.offset - self._model.slack))
        self._session.limit(seconds)
        best, point, share = math.inf, None, np.full(sum(self._sizes), 0.5)
        for _ in range(_ROUNDS):
            solution = self._session.solve()
            self.solves += 1
            if solution.rows is None or solution.status is LpStatus.UNKNOWN:
                self._session.forget()
                break
            if solution.status is LpStatus.INFEASIBLE:
                none = np.zeros_like(self._cost)
                for ray in (solution.rows, -solution.rows):
                    if proven(none, self._rows, self._lower, self._upper, ray) > 0:
                        return Found(-math.inf, None, share)
                break
            value = -proven(self._cost, self._rows, self._lower, self._upper, solution.rows)
            best = min(best, value + self._model.offset + self._model.slack)
            if solution.status is LpStatus.CUT_OFF or best <= bar:
                break
            true = solution.columns * self._model.scale
            point, share = self._model.point(solution.columns), self._share(true)
            if not self._round or not self._tangents(true):
                break
        return Found(best, point, share)

    def _enter(self, signs: Phases, bounds: list[tuple[Array, Array]], slopes: list[Array]) -> None:
        """The column bounds of a node."""
        index: list[Ints] = []
        lower: list[Array] = []
        upper: list[Array] = []

        def put(columns: Ints, low: Array, high: Array) -> None:
            index.append(columns)
            lower.append(low)
            upper.append(high)

        for k, layer in enumerate(self._at.hidden):
            low, high = bounds[k]
            low, high = low - 1.001 * layer.error, high + 1.001 * layer.error
            on, off = bounds[k][0] >= 0, bounds[k][1] <= 0
            alive, opened = layer.alive, layer.opened
            root_low = self._model.lower[layer.index] * self._model.scale[layer.index]
            put(
                layer.index,
                np.maximum(root_low, np.where(on, np.maximum(low, 0.0), 0.0)[alive]),
                np.maximum(high, 0.0)[alive],
            )
            put(
                layer.below,
                np.zeros(opened.size),
                np.where(on, np.maximum(layer.error, 0.0), np.maximum(-low, 0.0))[opened],
            )
            put(layer.phase, np.where(on, 1.0, 0.0)[opened], np.where(off & ~on, 0.0, 1.0)[opened])
            along = np.where(off & ~on, 0.0, slopes[k])[alive]
            put(self._at.along[k], -along, along)
            across = np.where(on, 0.0, slopes[k])[opened]
            put(self._at.across[k], -across, across)
        put(self._at.signs, (signs > 0).astype(np.float64), (signs >= 0).astype(np.float64))
        every = np.concatenate(index)
        scale = self._model.scale[every]
        low, high = np.concatenate(lower) / scale, np.concatenate(upper) / scale
        low = np.maximum(low, self._model.lower[every])
        high = np.maximum(np.minimum(high, self._model.upper[every]), low)
        self._lower[every], self._upper[every] = low, high
        self._session.set_bounds(every, low, high)

    def _share(self, true: Array) -> Array:
        """Delta of every neuron, 0.5 where it is not open."""
        out, first = [], 0
        for layer, size in zip(self._at.hidden, self._sizes, strict=True):
            share = np.full(size, 0.5)
            share[layer.opened] = np.clip(true[layer.phase], 0.0, 1.0)
            out.append(share)
            first += size
        return np.concatenate(out) if out else np.zeros(0)

    def _tangents(self, true: Array) -> bool:
        """Cut off a direction longer than 1, and a point beyond its ball; whether anything was added."""
        direction, inputs = self._at.direction, self._at.point.inputs
        cuts = [(direction, np.zeros(direction.size), 1.0, self._at.stretch)]
        if math.isfinite(self._region.far):
            scale = self._region.cost.scale(self._region.lower.size)
            cuts.append((inputs, self._region.centre, self._region.far, scale))
        added = False
        for columns, centre, far, scale in cuts:
            moved = scale * (true[columns] - centre)
            length = float(euclidean(np.abs(moved)))
            if length <= far * (1 + _LONG):
                continue
            line = moved / length * scale * (1 - 1e-12)
            line = np.where(np.abs(line * self._model.scale[columns]) > TINY, line, 0.0)  # as rows leave them out
            side = far * (1 + 1e-15) + float(line @ centre) + 1e-12 * float(np.abs(line) @ np.abs(centre))
            row = Rows.of(
                columns[None, :], (line * self._model.scale[columns])[None, :], np.array([-np.inf]), np.array([side])
            )
            self._session.add_rows(row)
            self._cuts.append(row)
            added = True
        if added:
            self._rows = Rows.stacked([self._own, *self._cuts])
        return added
