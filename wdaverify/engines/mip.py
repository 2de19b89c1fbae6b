"""The MIP engine: one mixed-integer program per question."""

from __future__ import annotations

import math

import numpy as np

from wdaverify.encoding.distance import distance_model
from wdaverify.encoding.inner import inner_model
from wdaverify.encoding.level import level_model
from wdaverify.encoding.milp import MilpModel
from wdaverify.encoding.relu import HiddenBounds
from wdaverify.engines.base import Answer, Distance, Effort, Inner, Level, Question, Slope
from wdaverify.engines.mip_slope import slope_answer
from wdaverify.errors import SolverError
from wdaverify.graph.nodes import Graph
from wdaverify.graph.settled import settled_where_it_pays
from wdaverify.network.model import Array, ReluNetwork
from wdaverify.solvers.base import MilpLimits, MilpStatus, outward, trivial_bound
from wdaverify.solvers.registry import solve

_CLOSED = (MilpStatus.OPTIMAL, MilpStatus.INFEASIBLE, MilpStatus.CUT_OFF)
"""Statuses after which the same question would get the same answer."""


class MipEngine:
    """Encodes a question, asks a back-end, and rounds what it says outward."""

    own_bounds = False

    def __init__(self, network: ReluNetwork, solver: str) -> None:
        self._network = network
        self._solver = solver

    def answer(self, question: Question, effort: Effort) -> Answer:
        """One solve; a back-end that breaks down proves nothing."""
        if isinstance(question, Slope):
            return slope_answer(self._network.canonical, self._solver, question, effort)
        if not all(np.isfinite(side).all() for pair in question.bounds for side in pair):
            trivial = math.inf if isinstance(question, Inner) else -math.inf
            detail = "pre-activation bounds overflow double precision"
            return Answer(trivial, self._none(), "none", True, 0, 0.0, detail, False)
        try:
            with np.errstate(over="ignore", invalid="ignore"):  # what overflows is refused by the back-end
                graph, bounds = self._left_of(question)
                model = self._encode(question, graph, bounds)
        except SolverError as error:
            trivial = math.inf if isinstance(question, Inner) else -math.inf
            return Answer(trivial, self._none(), "none", True, 0, 0.0, str(error), False)
        start = None if effort.start is None else _start(model, graph, bounds, effort.start)
        limits = MilpLimits(effort.gap, effort.seconds, effort.cutoff, start, effort.seed)
        try:
            name, outcome = solve(self._solver, model, limits)
        except SolverError as error:
            return Answer(trivial_bound(model), self._none(), "none", True, 0, 0.0, str(error), False)
        points = self._none()
        if outcome.columns is not None:
            region = question.region
            points = np.clip(model.point(outcome.columns), region.lower, region.upper)[None, :]
        if outcome.status is MilpStatus.FAILED:
            return Answer(
                trivial_bound(model), points, "none", True, outcome.nodes, outcome.seconds, f"{name}: {outcome.detail}"
            )
        bound = outward(outcome.bound, model)
        closed = outcome.status in _CLOSED
        return Answer(bound, points, name, closed, outcome.nodes, outcome.seconds, outcome.detail, False)

    def _left_of(self, question: Inner | Distance | Level) -> tuple[Graph, HiddenBounds]:
        """The graph, and its neurons' bounds, without what the region of the question settles."""
        graph, bounds = self._network.canonical, question.bounds
        found = settled_where_it_pays(graph, bounds)
        if found is None:
            return graph, bounds
        open_ = [(low < 0) & (high > 0) for low, high in bounds]
        return found.graph, [(low[at], high[at]) for (low, high), at in zip(bounds, open_, strict=True) if at.any()]

    def _encode(self, question: Inner | Distance | Level, graph: Graph, bounds: HiddenBounds) -> MilpModel:
        region, label = question.region, question.label
        if isinstance(question, Level):
            return level_model(graph, bounds, region, label, question.level, least=question.least)
        if isinstance(question, Distance):
            return distance_model(graph, bounds, region, label, question.rival, least=question.least)
        if question.functional is not None or question.entropy or region.cost.order == 2:
            raise SolverError("integer models answer margins at order 1 alone; use --solver cells")
        return inner_model(graph, bounds, region, label, question.rival, question.multiplier)

    def _none(self) -> Array:
        return np.zeros((0, self._network.n_inputs))


def _start(model: MilpModel, graph: Graph, bounds: HiddenBounds, point: Array) -> dict[int, float]:
    """A MIP start: the inputs and the phase of every open neuron at the point (the solver completes the rest)."""
    start: dict[int, float] = {}
    if model.negative_inputs is None:
        start.update(zip(model.inputs.tolist(), point.tolist(), strict=True))
    else:
        delta = point - model.centre
        start.update(zip(model.inputs.tolist(), np.maximum(delta, 0).tolist(), strict=True))
        start.update(zip(model.negative_inputs.tolist(), np.maximum(-delta, 0).tolist(), strict=True))
    values, phases = graph.values(point), list[float]()
    for k, (low, high) in zip(graph.elementwise, bounds, strict=True):
        phases += (values[k][(low < 0) & (high > 0)] > 0).astype(np.float64).tolist()
    columns = np.flatnonzero(model.integer).tolist()
    if len(columns) == len(phases):
        start.update(zip(columns, phases, strict=True))
    return {column: value / float(model.scale[column]) for column, value in start.items()}
