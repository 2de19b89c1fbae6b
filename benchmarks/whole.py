"""Baseline (c): one MILP for all samples, each moving wholly to one point, all of them under one budget row.

    max sum_i w_i v_i   s.t.  v_i <= z_j(x_i') - z_y(x_i') + M (1 - s_ij),  sum_j s_ij = 1,  sum_i w_i ||x_i' - x_i|| <= radius

(zero-one: ``max sum_i w_i sum_j s_ij``, ``sum_j s_ij <= 1``, and ``s_ij = 1`` asks that j ties or wins). V may split a sample,
so this is a lower bound of V, and what the solver proves bounds V from no side. The network is encoded as for baseline (b). Gurobi
solves it where its licence admits the model, on ``jobs`` threads, else HiGHS (whose MIP uses one).
"""

from __future__ import annotations

import math
import time

import gurobipy
import numpy as np
from naive import processes
from outcome import Outcome
from questions_highs import everywhere, interval_bounds

from wdaverify import Loss, WdroProblem
from wdaverify.encoding.cost import EncodedInput, add_input
from wdaverify.encoding.milp import Ints, MilpModel, ModelBuilder
from wdaverify.encoding.relu import add_margins
from wdaverify.errors import SolverError
from wdaverify.network.model import Array
from wdaverify.solvers.base import MilpLimits, MilpOutcome
from wdaverify.solvers.gurobi import GurobiSolver, _configure, _environment, _read, _translate
from wdaverify.solvers.highs import HighsSolver
from wdaverify.transport.distribution import Distribution
from wdaverify.witness.evaluate import evaluate
from wdaverify.witness.push import push_across


def whole_model(problem: WdroProblem) -> tuple[MilpModel, list[EncodedInput]]:
    """The model, and where each sample's point is in it."""
    builder, bounds, weights = ModelBuilder(), interval_bounds(problem), problem.samples.w
    inputs: list[EncodedInput] = []
    worth: list[tuple[Ints, Array]] = []
    for sample, weight in enumerate(weights):
        region, label = everywhere(problem, sample), int(problem.samples.y[sample])
        encoded = add_input(builder, region)
        inputs.append(encoded)
        rivals = [j for j in range(problem.network.n_outputs) if j != label]
        margins = add_margins(builder, problem.network.canonical, bounds, region, encoded, label, rivals)
        chosen = builder.columns(np.zeros(len(rivals)), np.ones(len(rivals)), integer=True)
        counted = problem.loss is Loss.ZERO_ONE
        builder.row(chosen, np.ones(chosen.size), -math.inf if counted else 1.0, 1.0)
        size = max(margin.size for margin in margins)
        value = chosen if counted else builder.columns(np.array([-size]), np.array([size]))
        worth.append((value, np.full(value.size, weight)))
        for margin, pick in zip(margins, chosen, strict=True):
            most = margin.size if counted else margin.size + size
            index, coefficient = np.append(margin.index, pick), np.append(margin.coefficient, -most)
            if not counted:
                index, coefficient = np.append(index, value), np.append(coefficient, -1.0)
            builder.row(index, coefficient, -margin.offset - margin.slack - most, math.inf)
    paid = np.concatenate([np.full(e.cost.size, w) for e, w in zip(inputs, weights, strict=True)])
    builder.row(np.concatenate([e.cost for e in inputs]), paid, -math.inf, problem.radius)
    objective = {"index": np.concatenate([i for i, _ in worth]), "coefficient": np.concatenate([c for _, c in worth])}
    first = {"centre": problem.samples.x[0], "inputs": inputs[0].inputs, "negative_inputs": inputs[0].negative_inputs}
    return builder.build(maximise=True, offset=0.0, slack=0.0, **objective, **first), inputs


def _gurobi(model: MilpModel, limits: MilpLimits, threads: int) -> MilpOutcome:
    begun = time.perf_counter()
    with gurobipy.Model(env=_environment()) as solver:
        columns = _translate(solver, model)
        _configure(solver, limits)
        solver.setParam("Threads", threads)
        solver.optimize()
        return _read(solver, columns, model, limits, time.perf_counter() - begun)


def _solve(problem: WdroProblem, gap: float, deadline: float, threads: int) -> tuple[str, str, float, Array | None]:
    """The solver, how it ended, its bound and the points ``[N, n]``; run in a process of its own, so that it can be ended."""
    model, inputs = whole_model(problem)
    limits = MilpLimits(gap, max(deadline - time.monotonic(), 0.0), None, None, 0)
    size = f"{model.n_columns} columns, {model.n_rows} rows"
    if GurobiSolver().fits(model):
        name, outcome = f"Gurobi, {size}", _gurobi(model, limits, threads)
    else:
        name, outcome = f"HiGHS, {size}: Gurobi's licence refuses it", HighsSolver().solve(model, limits)
    points = None
    if outcome.columns is not None:
        true = outcome.columns * model.scale
        points = np.array([_point(problem, i, true, encoded) for i, encoded in enumerate(inputs)])
        if problem.loss is Loss.ZERO_ONE:  # on the boundary up to tolerances: errors lie across it
            points = np.array([_across(problem, i, point) for i, point in enumerate(points)])
    return name, outcome.status.value, outcome.bound, points


def _point(problem: WdroProblem, sample: int, true: Array, encoded: EncodedInput) -> Array:
    x = true[encoded.inputs]
    if encoded.negative_inputs is not None:
        x = problem.samples.x[sample] + x - true[encoded.negative_inputs]
    return np.clip(x, problem.support.lower, problem.support.upper)


def _across(problem: WdroProblem, sample: int, point: Array) -> Array:
    centre, label = problem.samples.x[sample], int(problem.samples.y[sample])
    across = push_across(problem.network, point, centre, label, problem.support, problem.cost)
    return point if across is None else across


def one_milp(problem: WdroProblem, *, gap: float, jobs: int, limit: float) -> Outcome:
    """Solve it for at most ``limit`` seconds; ``lower`` is the re-evaluated value of the points, a lower bound of V."""
    begun, count = time.monotonic(), len(problem.samples)
    with processes(1, "whole") as [process]:
        startup = time.monotonic() - begun
        try:
            name, status, bound, points = process.submit(_solve, problem, gap, begun + limit, jobs).result()
        except SolverError as error:
            return Outcome("refused", note=str(error))
    seconds = time.monotonic() - begun
    lower = None
    if points is not None:
        plan = Distribution(np.arange(count), points, problem.samples.w)
        lower = evaluate(problem, plan).lower
    state = {"optimal": "done", "time-limit": "limit"}.get(status, "open")
    note = f"{name}; lower bound of V: splits no sample"
    return Outcome(state, seconds, count, lower, None, startup, note, {"bound": bound})
