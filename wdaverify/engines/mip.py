"""The MIP engine: one mixed-integer program per question."""

from __future__ import annotations

import math

import numpy as np

from wdaverify.encoding.distance import distance_model
from wdaverify.encoding.inner import inner_model
from wdaverify.encoding.level import level_model
from wdaverify.encoding.milp import MilpModel
from wdaverify.engines.base import Answer, Distance, Effort, Inner, Level, Question, Slope
from wdaverify.engines.mip_slope import slope_answer
from wdaverify.errors import SolverError
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
                model = self._encode(question)
        except SolverError as error:
            trivial = math.inf if isinstance(question, Inner) else -math.inf
            return Answer(trivial, self._none(), "none", True, 0, 0.0, str(error), False)
        start = None if effort.start is None else self._start(model, question, effort.start)
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

    def _encode(self, question: Inner | Distance | Level) -> MilpModel:
        graph = self._network.canonical
        if isinstance(question, Level):
            return level_model(
                graph, question.bounds, question.region, question.label, question.level, least=question.least
            )
        if isinstance(question, Distance):
            return distance_model(
                graph, question.bounds, question.region, question.label, question.rival, least=question.least
            )
        if question.functional is not None or question.entropy or question.region.cost.order == 2:
            raise SolverError("integer models answer margins at order 1 alone; use --solver cells")
        return inner_model(graph, question.bounds, question.region, question.label, question.rival, question.multiplier)

    def _start(self, model: MilpModel, question: Inner | Distance | Level, point: Array) -> dict[int, float]:
        """A MIP start: the inputs and the phase of every open neuron at the point (the solver completes the rest)."""
        start: dict[int, float] = {}
        if model.negative_inputs is None:
            start.update(zip(model.inputs.tolist(), point.tolist(), strict=True))
        else:
            delta = point - model.centre
            start.update(zip(model.inputs.tolist(), np.maximum(delta, 0).tolist(), strict=True))
            start.update(zip(model.negative_inputs.tolist(), np.maximum(-delta, 0).tolist(), strict=True))
        graph = self._network.canonical
        values, phases = graph.values(point), list[float]()
        for k, (low, high) in zip(graph.elementwise, question.bounds, strict=True):
            phases += (values[k][(low < 0) & (high > 0)] > 0).astype(np.float64).tolist()
        columns = np.flatnonzero(model.integer).tolist()
        if len(columns) == len(phases):
            start.update(zip(columns, phases, strict=True))
        return {column: value / float(model.scale[column]) for column, value in start.items()}

    def _none(self) -> Array:
        return np.zeros((0, self._network.n_inputs))
