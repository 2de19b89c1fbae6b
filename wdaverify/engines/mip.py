"""The MIP engine: one mixed-integer program per question."""

from __future__ import annotations

import math

import numpy as np

from wdaverify.encoding.distance import distance_model
from wdaverify.encoding.inner import inner_model
from wdaverify.encoding.level import level_model
from wdaverify.encoding.milp import MilpModel
from wdaverify.encoding.relu import HiddenBounds
from wdaverify.encoding.start import start_at
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
        """Raises NetworkError where the network is not piecewise linear."""
        network.refuse_curved(f"the solver {solver}", "use --solver cells (the default)")
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
                graph, model = model_of(self._network, question)
        except SolverError as error:
            trivial = math.inf if isinstance(question, Inner) else -math.inf
            return Answer(trivial, self._none(), "none", True, 0, 0.0, str(error), False)
        start = None if effort.start is None else start_at(model, graph, question.region, effort.start)
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

    def _none(self) -> Array:
        return np.zeros((0, self._network.n_inputs))


def model_of(network: ReluNetwork, question: Inner | Distance | Level) -> tuple[Graph, MilpModel]:
    """The program of a question, and the graph that it encodes: what the question's region leaves of the network.

    Raises:
        SolverError: no integer program states the question.
    """
    graph, bounds = _left_of(network, question)
    region, label = question.region, question.label
    if isinstance(question, Level):
        return graph, level_model(graph, bounds, region, label, question.level, least=question.least)
    if isinstance(question, Distance):
        return graph, distance_model(graph, bounds, region, label, question.rival, least=question.least)
    if question.entropy:
        raise SolverError("a cross-entropy is no piecewise-linear function; use --solver cells")
    return graph, inner_model(graph, bounds, region, label, question.rival, question.multiplier, question.functional)


def _left_of(network: ReluNetwork, question: Inner | Distance | Level) -> tuple[Graph, HiddenBounds]:
    """The graph, and its neurons' bounds, without what the region of the question settles."""
    graph, bounds = network.canonical, question.bounds
    found = settled_where_it_pays(graph, bounds)
    if found is None:
        return graph, bounds
    open_ = [(low < 0) & (high > 0) for low, high in bounds]
    return found.graph, [(low[at], high[at]) for (low, high), at in zip(bounds, open_, strict=True) if at.any()]
