"""The cell engine against the cells themselves, and against LPs that lie."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from bounds.tiny import best_in_cells, network, problem, random_layers, raw
from oracles import enumerate_cells, exact_distance
from scipy.optimize import linprog
from wdaverify.engines.cells.dual import DualBound

from wdaverify import verify
from wdaverify.encoding.milp import MilpModel, ModelBuilder
from wdaverify.engines.base import Distance, Effort, Inner
from wdaverify.engines.cells.engine import CellEngine
from wdaverify.engines.screening import Screen
from wdaverify.network.model import ReluNetwork
from wdaverify.problem import Norm
from wdaverify.solvers.lp import LpSession, LpSolution, LpStatus

NORMS = list(Norm)
PLAIN = Effort(gap=1e-8, seconds=math.inf, seed=0, cutoff=None, start=None)
SEEDS = range(6)


def questions(norm: Norm, seed: int, pieces: int) -> tuple[ReluNetwork, Inner, Distance]:
    rng = np.random.default_rng(seed)
    net = network(*random_layers(rng, 2, 5, 4, 3))
    x = rng.uniform(size=2)
    label = int(net.forward(x[None])[0].argmax())
    screen = Screen(problem(net, x, [label], norm=norm))
    far = float(screen.reach[0])
    region, bounds, _ = screen.region(0, 0.0, far)
    cover = screen.pieces(0, 0.0, far, pieces)
    rival = (label + 1) % 3
    return net, Inner(0, label, rival, region, bounds, 1.5, cover), Distance(0, label, rival, region, bounds, cover)


def truths(net: ReluNetwork, inner: Inner) -> tuple[float, float]:
    lower, upper, region = np.zeros(2), np.ones(2), inner.region
    cells = enumerate_cells(raw(net), lower, upper)
    c = np.zeros(3)
    c[inner.rival], c[inner.label] = 1.0, -1.0
    value, _ = best_in_cells(cells, c, 1.5, region.norm, region.centre, 0.0, region.far, lower, upper)
    weight, bias = raw(net)[-1]
    pair = [inner.label, inner.rival]
    two = [*raw(net)[:-1], (weight[pair], bias[pair])]
    nearest = exact_distance(two, region.centre, 0, region.norm.value, lower, upper, enumerate_cells(two, lower, upper))
    return value, nearest


@pytest.mark.parametrize("pieces", [1, 4])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", SEEDS)
def test_answers_are_the_true_values_and_checked(seed: int, norm: Norm, pieces: int) -> None:
    net, inner, distance = questions(norm, seed, pieces)
    value, nearest = truths(net, inner)
    answer = CellEngine(net).answer(inner, PLAIN)
    assert (answer.vouched_by, answer.closed, answer.checked) == ("cells", True, True)
    assert value - 1e-12 <= answer.bound <= value + 1e-6
    shortest = CellEngine(net).answer(distance, PLAIN)
    if math.isinf(nearest):
        assert shortest.bound >= inner.region.far - 1e-6
    else:
        assert nearest - 1e-6 <= shortest.bound <= nearest + 1e-12


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", SEEDS)
def test_lying_multipliers_cost_width_and_never_validity(
    seed: int, norm: Norm, monkeypatch: pytest.MonkeyPatch
) -> None:
    net, inner, distance = questions(norm, seed, 2)
    value, nearest = truths(net, inner)
    rng, honest = np.random.default_rng(seed), LpSession.solve

    def lying(self: LpSession) -> LpSolution:
        told = honest(self)
        size = 0 if told.rows is None else told.rows.size
        match int(rng.integers(5)):
            case 0:
                return replace(told, rows=None if told.rows is None else told.rows + rng.normal(size=size))
            case 1 if told.status is LpStatus.OPTIMAL:
                return replace(told, columns=rng.normal(size=told.columns.size) * 10)
            case 2:
                return replace(told, status=LpStatus.INFEASIBLE, rows=rng.normal(size=max(size, 1)) if size else None)
            case 3:
                return replace(told, status=LpStatus.UNKNOWN, rows=None)
        return told

    monkeypatch.setattr(LpSession, "solve", lying)
    assert CellEngine(net).answer(inner, PLAIN).bound >= value - 1e-12
    assert CellEngine(net).answer(distance, PLAIN).bound <= min(nearest, math.inf) + 1e-12


@pytest.mark.parametrize("seconds", [0.0, 1e-4, 1e-3])
@pytest.mark.parametrize("norm", NORMS)
def test_out_of_time_is_a_wider_bound(norm: Norm, seconds: float) -> None:
    net, inner, distance = questions(norm, 1, 4)
    value, nearest = truths(net, inner)
    effort = replace(PLAIN, seconds=seconds)
    assert CellEngine(net).answer(inner, effort).bound >= value - 1e-12
    assert CellEngine(net).answer(distance, effort).bound <= nearest + 1e-12


def random_model(rng: np.random.Generator) -> MilpModel:
    """A feasible LP with ranges, equalities and one-sided rows."""
    builder, n = ModelBuilder(), int(rng.integers(2, 7))
    low = rng.normal(size=n)
    columns = builder.columns(low, low + rng.uniform(0, 3, n))
    inside = rng.uniform(low, builder._upper[0])
    for _ in range(int(rng.integers(1, 6))):
        row = rng.normal(size=n) * (rng.random(n) < 0.7)
        at = float(row @ inside)
        sides = [(at, at), (at - rng.random(), math.inf), (-math.inf, at + rng.random()), (at - 1, at + 0.1)]
        builder.row(columns, row, *sides[int(rng.integers(4))])
    return builder.build(
        maximise=False,
        index=columns,
        coefficient=rng.normal(size=n),
        offset=0.0,
        slack=0.0,
        centre=np.zeros(n),
        inputs=columns,
        negative_inputs=None,
    )


def optimum(model: MilpModel) -> float:
    dense = np.zeros((model.n_rows, model.n_columns))
    for r in range(model.n_rows):
        piece = slice(model.start[r], model.start[r + 1])
        dense[r, model.index[piece]] = model.coefficient[piece]
    rows = np.vstack([dense, -dense])
    sides = np.concatenate([model.row_upper, -model.row_lower])
    kept = np.isfinite(sides)
    bounds = list(zip(model.lower, model.upper, strict=True))
    return float(linprog(model.objective, rows[kept], sides[kept], bounds=bounds).fun)


@pytest.mark.parametrize("seed", range(40))
def test_no_multipliers_prove_more_than_the_optimum(seed: int) -> None:
    rng = np.random.default_rng(seed)
    model = random_model(rng)
    dual, best = DualBound(model), optimum(model)
    solution = LpSession(model).solve()
    assert solution.rows is not None
    assert best - 1e-7 <= dual.objective(solution.rows, model.lower, model.upper) <= best + 1e-9
    for scale in (1e-9, 1e-3, 1.0, 1e6):
        rows = solution.rows + scale * rng.normal(size=model.n_rows)
        assert dual.objective(rows, model.lower, model.upper) <= best + 1e-9
        assert not dual.infeasible(rows, model.lower, model.upper)
    shift = np.where(np.isfinite(model.row_lower), 100.0, -100.0)
    wrong = replace(model, row_lower=model.row_lower + shift, row_upper=model.row_upper + shift)
    ray = LpSession(wrong).solve()
    assert ray.status is LpStatus.INFEASIBLE
    if ray.rows is not None:
        assert DualBound(wrong).infeasible(ray.rows, wrong.lower, wrong.upper)


def test_a_loosened_reduced_cost_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check above can fail: with the columns' part taken at the wrong end it does."""
    monkeypatch.setattr(np, "minimum", np.maximum)
    found = 0
    for seed in range(10):
        rng = np.random.default_rng(seed)
        model = random_model(rng)
        rows = rng.normal(size=model.n_rows)
        found += DualBound(model).objective(rows, model.lower, model.upper) > optimum(model) + 1e-9
    assert found > 0


@pytest.mark.parametrize("norm", NORMS)
def test_a_whole_value_is_checked_from_end_to_end(norm: Norm) -> None:
    rng = np.random.default_rng(3)
    net = network(*random_layers(rng, 3, 8, 8, 3))
    x = rng.uniform(size=(3, 3))
    asked = problem(net, x, net.forward(x).argmax(axis=1), 0.2, norm=norm)
    result = verify(asked, solver="cells")
    assert (result.status, result.vouched_upper) == ("exact", "checked")
    assert {bracket.vouched.value for bracket in result.per_sample} == {"checked"}
    assert set(result.solver.solves) <= {"cells"}
    other = verify(asked, solver="highs")
    assert result.lower == pytest.approx(other.lower, abs=2e-6)


@pytest.mark.parametrize("seed", range(30))
def test_scaling_and_dropping_keep_every_point_of_a_row(seed: int) -> None:
    """Coefficients from 1e-14 to 1e14: every point of the original rows satisfies the scaled ones."""
    rng = np.random.default_rng(seed)
    builder, n = ModelBuilder(), 5
    size = 10.0 ** rng.uniform(-13, 13, n)
    columns = builder.columns(np.zeros(n), size)
    row = rng.normal(size=n) * 10.0 ** rng.uniform(-14, 2, n)
    points = rng.uniform(0, 1, (50, n)) * size
    values = points @ row
    builder.row(columns, row, float(values.min()), float(values.max()))
    model = builder.build(
        maximise=True,
        index=columns,
        coefficient=row,
        offset=0.0,
        slack=0.0,
        centre=np.zeros(n),
        inputs=columns,
        negative_inputs=None,
    )
    assert (np.abs(model.coefficient) >= 2e-12).all()
    for point in points:
        scaled = point / model.scale
        left = model.coefficient @ scaled[model.index]
        slack = 1e-9 * max(np.abs(model.coefficient * scaled[model.index]).sum(), 1e-300)
        assert model.row_lower[0] - slack <= left <= model.row_upper[0] + slack
