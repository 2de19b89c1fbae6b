"""A slope question as one mixed-integer program, solved again without each flat cell that it returns (docs/theory.md, section 7)."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import numpy as np

from wdaverify.certify.backward import Backward
from wdaverify.certify.halfspaces import shell_of
from wdaverify.certify.jacobian import neuron_slopes
from wdaverify.certify.slope import slopes_at
from wdaverify.encoding.milp import MilpModel
from wdaverify.encoding.slope import SlopeColumns, slope_model
from wdaverify.engines.base import Answer, Effort, Slope
from wdaverify.engines.cells.flatness import no_interior
from wdaverify.engines.cells.interior import FLAT, cell_rows, deepest
from wdaverify.errors import SolverError
from wdaverify.graph.nodes import Graph
from wdaverify.network.model import Array
from wdaverify.solvers.base import MilpLimits, MilpStatus, outward
from wdaverify.solvers.registry import solve

_FLAT_CELLS = 100
"""How many flat cells are cut off before the question is left open."""
_NEITHER = "a cell was met that has neither a sure interior nor a proof that it is flat"
_OPEN = "the solver's bound is further from what its point gives than the gap"


def slope_answer(graph: Graph, solver: str, question: Slope, effort: Effort) -> Answer:
    """The bound is the solver's word; the point lies in the interior of a cell. A back-end that breaks down proves nothing."""
    begun = time.perf_counter()
    none = np.zeros((0, question.region.lower.size))
    bounds = Backward(graph).pre_activations(shell_of(question.region))
    slopes = neuron_slopes(graph, bounds, question.region.cost, question.still)
    single = [(low[0], high[0]) for low, high in bounds]
    best, point, nodes, name = -math.inf, none, 0, "none"
    try:
        model, at = slope_model(graph, single, [s[0] for s in slopes], question.region, question.rows, question.still)
        for _ in range(_FLAT_CELLS):
            left = effort.seconds - (time.perf_counter() - begun)
            name, outcome = solve(
                solver, model, MilpLimits(effort.gap, max(left, 0.0), effort.cutoff, None, effort.seed)
            )
            nodes += outcome.nodes
            if outcome.status is MilpStatus.FAILED:
                return Answer(
                    math.inf, point, "none", True, nodes, time.perf_counter() - begun, f"{name}: {outcome.detail}"
                )
            bound = max(outward(outcome.bound, model), best, 0.0)
            if outcome.columns is None:
                return _answer(bound, point, name, outcome.status is not MilpStatus.TIME_LIMIT, nodes, begun)
            phases = _phases(single, at, outcome.columns)
            found, flatness = _inside(graph, question, phases)
            if found is not None:
                value = float(
                    slopes_at(graph, found[None, :], question.rows, question.region.cost, question.still)[0][0]
                )
                if value > best:
                    best, point = value, found[None, :]
            if not flatness or outcome.status is MilpStatus.TIME_LIMIT:
                why = _NEITHER if found is None and not flatness else _OPEN
                return _answer(bound, point, name, outcome.status is not MilpStatus.TIME_LIMIT, nodes, begun, why)
            model = _without(model, at, outcome.columns)
    except SolverError as error:
        return Answer(math.inf, point, "none", True, nodes, time.perf_counter() - begun, str(error))
    return _answer(bound, point, name, True, nodes, begun, f"{_FLAT_CELLS} flat cells were cut off, and no more are")


def _answer(bound: float, point: Array, name: str, closed: bool, nodes: int, begun: float, why: str = _OPEN) -> Answer:
    return Answer(bound, point, name, closed, nodes, time.perf_counter() - begun, f"{name}: {why}")


def _phases(bounds: list[tuple[Array, Array]], at: SlopeColumns, columns: Array) -> list[Array]:
    """The phase of every neuron: its binary where it is open, its sign elsewhere."""
    out = []
    for (low, _), layer in zip(bounds, at.hidden, strict=True):
        phase = np.where(low >= 0, 1, -1)
        phase[layer.opened] = np.where(columns[layer.phase] > 0.5, 1, -1)
        out.append(phase)
    return out


def _inside(graph: Graph, question: Slope, phases: list[Array]) -> tuple[Array | None, bool]:
    """A point deep in a cell if it has one, and whether it is proved to have none."""
    rows = cell_rows(graph, phases, question.still)
    depth = deepest(rows, question.region, question.still)
    if no_interior(graph, rows, depth, question.region, question.still):
        return None, True
    return depth.point if depth.slack > FLAT else None, False


def _without(model: MilpModel, at: SlopeColumns, columns: Array) -> MilpModel:
    """The model without one assignment of its phases: ``sum of those on - sum of those off <= on - 1``."""
    index = np.concatenate([layer.phase for layer in at.hidden])
    on = columns[index] > 0.5
    return replace(
        model,
        row_lower=np.append(model.row_lower, -np.inf),
        row_upper=np.append(model.row_upper, float(on.sum()) - 1.0),
        start=np.append(model.start, model.start[-1] + index.size),
        index=np.concatenate([model.index, index]),
        coefficient=np.concatenate([model.coefficient, np.where(on, 1.0, -1.0)]),
    )
