"""The engine around a solve: outward rounding, candidates, and back-ends that break down."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from bounds.tiny import best_in_cells, network, problem, random_layers, raw
from oracles import enumerate_cells, exact_distance

import wdaverify.engines.mip as mip
from wdaverify.encoding.milp import MilpModel
from wdaverify.engines.base import Distance, Effort, Inner, Question
from wdaverify.engines.mip import MipEngine
from wdaverify.engines.screening import Screen
from wdaverify.errors import SolverError
from wdaverify.network.model import ReluNetwork
from wdaverify.problem import Norm
from wdaverify.solvers.base import MilpLimits, MilpOutcome

NORMS = [Norm.INF, Norm.ONE]
SOLVERS = ("highs", "gurobi")
PLAIN = Effort(gap=1e-8, seconds=math.inf, seed=0, cutoff=None, start=None)


def questions(norm: Norm, seed: int = 0) -> tuple[ReluNetwork, Inner, Distance]:
    rng = np.random.default_rng(seed)
    net = network(*random_layers(rng, 2, 4, 4, 2))
    x = rng.uniform(size=2)
    label = int(net.forward(x[None])[0].argmax())
    screen = Screen(problem(net, x, [label], norm=norm))
    region, bounds, _ = screen.region(0, 0.0, float(screen.reach[0]))
    return (
        net,
        Inner(0, label, 1 - label, region, bounds, 1.5),
        Distance(0, label, 1 - label, region, bounds),
    )


def truths(net: ReluNetwork, inner: Inner) -> tuple[float, float]:
    lower, upper, region = np.zeros(2), np.ones(2), inner.region
    cells = enumerate_cells(raw(net), lower, upper)
    c = np.array([1.0, -1.0]) if inner.rival == 0 else np.array([-1.0, 1.0])
    value, _ = best_in_cells(cells, c, 1.5, region.norm, region.centre, 0.0, region.far, lower, upper)
    return value, exact_distance(raw(net), region.centre, inner.label, region.norm.value, lower, upper, cells)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", range(4))
def test_answers_are_the_true_values(seed: int, norm: Norm, solver: str) -> None:
    net, inner, distance = questions(norm, seed)
    value, nearest = truths(net, inner)
    engine = MipEngine(net, solver)
    answer = engine.answer(inner, PLAIN)
    assert answer.bound == pytest.approx(value, abs=1e-6)
    assert (answer.vouched_by, answer.closed) == (solver, True)
    assert answer.points.shape == (1, 2)
    shortest = engine.answer(distance, PLAIN)
    assert shortest.bound == pytest.approx(nearest, abs=1e-6)
    assert ((shortest.points >= 0) & (shortest.points <= 1)).all()


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("norm", NORMS)
def test_starts_and_cut_offs(norm: Norm, solver: str) -> None:
    net, inner, distance = questions(norm)
    value, nearest = truths(net, inner)
    engine = MipEngine(net, solver)
    best = engine.answer(inner, PLAIN).points[0]
    for start in (best, inner.region.centre, np.array([0.0, 1.0])):
        assert engine.answer(inner, replace(PLAIN, start=start)).bound == pytest.approx(value, abs=1e-6)
        assert engine.answer(distance, replace(PLAIN, start=start)).bound == pytest.approx(nearest, abs=1e-6)
    beaten = engine.answer(inner, replace(PLAIN, cutoff=value + 0.5))
    assert beaten.closed
    assert value + 0.5 <= beaten.bound <= value + 0.5 + 1e-9
    assert engine.answer(inner, replace(PLAIN, cutoff=value - 0.5)).bound == pytest.approx(value, abs=1e-6)


@pytest.mark.parametrize("norm", NORMS)
def test_a_back_end_that_breaks_down_proves_nothing(norm: Norm, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(asked: str, model: MilpModel, limits: MilpLimits) -> tuple[str, MilpOutcome]:
        raise SolverError("out of memory")

    monkeypatch.setattr(mip, "solve", broken)
    net, inner, distance = questions(norm)
    pairs: list[tuple[Question, float]] = [(inner, math.inf), (distance, -math.inf)]
    for question, nothing in pairs:
        answer = MipEngine(net, "auto").answer(question, PLAIN)
        assert (answer.bound, answer.vouched_by, answer.detail) == (nothing, "none", "out of memory")
        assert answer.points.shape == (0, 2)


@pytest.mark.parametrize("norm", NORMS)
def test_infinite_bounds_are_never_handed_to_a_solver(norm: Norm) -> None:
    net, inner, distance = questions(norm)
    endless = [(low - math.inf, high) for low, high in inner.bounds]
    for question, nothing in (
        (replace(inner, bounds=endless), math.inf),
        (replace(distance, bounds=endless), -math.inf),
    ):
        answer = MipEngine(net, "auto").answer(question, PLAIN)
        assert (answer.bound, answer.vouched_by) == (nothing, "none")
