"""However a run ends, its bracket holds: limits, thresholds, Ctrl-C, back-ends that err and back-ends that fail."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from bounds.tiny import network, problem, random_layers, raw
from oracles import exact_bracket

import wdaverify.wdro.workers as workers_module
from wdaverify import WdroProblem, verify
from wdaverify.encoding.milp import MilpModel
from wdaverify.engines.base import Answer, Distance, Effort, Inner, Question
from wdaverify.engines.mip import MipEngine
from wdaverify.errors import ProblemError, SolverError
from wdaverify.network.model import ReluNetwork
from wdaverify.problem import Loss, Norm
from wdaverify.solvers.base import MilpLimits, MilpOutcome
from wdaverify.wdro.progress import Progress
from wdaverify.wdro.result import VerificationResult

LOSSES, NORMS = [Loss.MARGIN, Loss.ZERO_ONE], [Norm.INF, Norm.ONE]
BOTH = pytest.mark.parametrize(("loss", "norm"), [(a, b) for a in LOSSES for b in NORMS])


@cache
def tiny(loss: Loss, norm: Norm, radius: float = 0.06) -> tuple[WdroProblem, float, float]:
    """A problem small enough for the oracle on which solvers are asked, with the oracle's bracket."""
    rng = np.random.default_rng(21)
    net = network(*random_layers(rng, 2, 4, 4, 3))
    x = rng.uniform(size=(5, 2))
    p = problem(net, x, net.forward(x).argmax(axis=1), radius, loss=loss, norm=norm, w=[0.25, 0.25, 0.25, 0.125, 0.125])
    s = p.samples
    low, high = exact_bracket(raw(net), s.x, s.y, s.w, radius, norm.value, loss.value, np.zeros(2), np.ones(2))
    return p, low, high


@cache
def larger(loss: Loss, norm: Norm) -> tuple[WdroProblem, VerificationResult]:
    """Six inputs, four classes: some rounds of solves."""
    rng = np.random.default_rng(0)
    net = network(*random_layers(rng, 6, 8, 8, 4))
    x = rng.uniform(size=(5, 6))
    p = problem(net, x, net.forward(x).argmax(axis=1), 0.1, loss=loss, norm=norm)
    return p, verify(p, solver="gurobi")


@pytest.fixture
def every_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Progress is told at every step."""
    monkeypatch.setattr("wdaverify.wdro.run._TICK", 0.0)


Wrap = Callable[[MipEngine, Question, Effort], Answer]


def disguise(monkeypatch: pytest.MonkeyPatch, wrap: Wrap) -> list[Question]:
    """Have every question answered by ``wrap``; the questions asked so far."""
    asked: list[Question] = []

    class Disguised:
        own_bounds = False

        def __init__(self, net: ReluNetwork, solver: str) -> None:
            self._engine = MipEngine(net, solver)

        def answer(self, question: Question, effort: Effort) -> Answer:
            asked.append(question)
            return wrap(self._engine, question, effort)

    monkeypatch.setattr(workers_module, "make_engine", Disguised)
    return asked


def attained(question: Question, net: ReluNetwork, answer: Answer) -> float:
    """The value that the answer's point attains, in float64."""
    [point] = answer.points
    size = np.abs(point - question.region.centre)
    distance = float(size.max() if question.region.norm is Norm.INF else size.sum())
    if isinstance(question, Distance):
        return distance
    z = net.forward(point[None])[0]
    return float(z[question.rival] - z[question.label] - question.multiplier * distance)


# Nested brackets and limits


@BOTH
@pytest.mark.parametrize("solver", ["gurobi", "cells"])
@pytest.mark.usefixtures("every_report")
def test_brackets_are_nested(solver: str, loss: Loss, norm: Norm) -> None:
    p, truth = larger(loss, norm)
    seen: list[Progress] = []
    result = verify(p, solver=solver, progress=seen.append)
    assert len(seen) >= 2
    for before, after in pairwise(seen):
        assert before.lower <= after.lower
        assert after.upper <= before.upper
        assert before.elapsed <= after.elapsed
        assert before.solves <= after.solves
    spare = (
        result.gap_asked if loss is Loss.ZERO_ONE else 0.0
    )  # errors a little farther, which float32 reproduces, are exported
    assert seen[-1].lower - spare <= result.lower
    assert result.gap <= result.gap_asked
    assert result.upper <= seen[-1].upper
    assert result.value == pytest.approx(truth.value, abs=2e-6)


@BOTH
@pytest.mark.parametrize("limit", [0.0, 0.05, 0.1, 1.0, 10.0])
@pytest.mark.parametrize("solver", ["gurobi", "cells"])
def test_a_time_limit_leaves_a_valid_bracket(solver: str, limit: float, loss: Loss, norm: Norm) -> None:
    p, truth = larger(loss, norm)
    result = verify(p, solver=solver, time_limit=limit)
    assert result.lower <= truth.upper
    assert truth.lower <= result.upper
    assert math.isfinite(result.lower)
    assert math.isfinite(result.upper)
    assert (result.reason, result.status) in (("time-limit", "bracket"), ("gap-closed", "exact"))
    if limit == 0:
        assert result.reason == "time-limit"
        with pytest.raises(ValueError, match="no value"):
            _ = result.value


@BOTH
@pytest.mark.parametrize("above", [True, False])
def test_a_threshold_is_decided(above: bool, loss: Loss, norm: Norm) -> None:
    p, truth = larger(loss, norm)
    gap = 1e-6
    threshold = truth.value + (0.05 if above else -0.01) * (1 if loss is Loss.ZERO_ONE else 5)
    result = verify(p, solver="gurobi", threshold=threshold, gap=gap)
    assert result.threshold == threshold
    assert result.reason in ("threshold-decided", "gap-closed")
    assert result.upper <= threshold if above else result.lower > threshold
    far = verify(p, solver="gurobi", threshold=1e6 if above else -1e6)
    assert far.reason == "threshold-decided"
    assert far.statistics.solves == 0


@BOTH
@pytest.mark.usefixtures("every_report")
@pytest.mark.parametrize("seed", [0, 1])
def test_ctrl_c_keeps_the_bracket(seed: int, loss: Loss, norm: Norm) -> None:
    p, truth = larger(loss, norm)
    calls = 0

    def count(now: Progress) -> None:
        nonlocal calls
        calls += 1

    verify(p, solver="gurobi", progress=count)
    when = int(np.random.default_rng(seed).integers(calls))
    seen: list[Progress] = []

    def progress(now: Progress) -> None:
        seen.append(now)
        if len(seen) > when:
            raise KeyboardInterrupt

    result = verify(p, solver="gurobi", progress=progress)
    assert len(seen) == when + 1
    assert result.reason in ("interrupted", "gap-closed")
    assert result.lower <= truth.upper
    assert truth.lower <= result.upper
    spare = (
        result.gap_asked if loss is Loss.ZERO_ONE else 0.0
    )  # errors a little farther, which float32 reproduces, are exported
    assert seen[-1].lower - spare <= result.lower
    assert result.upper <= seen[-1].upper


@BOTH
def test_starts_leave_the_value(loss: Loss, norm: Norm) -> None:
    p, truth = larger(loss, norm)
    for solver in ("gurobi", "highs") if loss is Loss.ZERO_ONE else ("gurobi",):
        result = verify(p, solver=solver, mip_start=True)
        assert result.status == "exact"
        assert result.value == pytest.approx(truth.value, abs=2e-6)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"gap": 0.0}, "gap"),
        ({"gap": math.nan}, "gap"),
        ({"time_limit": -1.0}, "time limit"),
        ({"time_limit": math.nan}, "time limit"),
        ({"jobs": 0}, "jobs"),
        ({"threshold": math.nan}, "threshold"),
        ({"seed": -1}, "seed"),
        ({"solver": "cplex"}, "accepted are"),
        ({"solver": "highs", "branching": False}, "without branching"),
    ],
)
def test_options_are_checked(options: dict[str, float], words: str) -> None:
    with pytest.raises(ProblemError, match=words):
        verify(tiny(Loss.MARGIN, Norm.INF)[0], **options)  # type: ignore[arg-type]


# Back-ends that err


@BOTH
@pytest.mark.parametrize("solver", ["highs", "gurobi"])
def test_a_bound_far_beyond_the_truth_is_numerical(
    solver: str, loss: Loss, norm: Norm, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bound that its own point contradicts by 1e-3: the bracket still holds, and the run says why it stopped."""
    p, low, _ = tiny(loss, norm)

    def wrong(engine: MipEngine, question: Question, effort: Effort) -> Answer:
        answer = engine.answer(question, replace(effort, cutoff=None))
        if not len(answer.points):
            return answer
        value = attained(question, p.network, answer)
        return replace(answer, bound=value - 1e-3 if isinstance(question, Inner) else value + 1e-3)

    asked = disguise(monkeypatch, wrong)
    result = verify(p, solver=solver)
    assert asked
    assert (result.reason, result.status) == ("numerical", "bracket")
    assert result.lower <= result.upper
    assert result.lower - 1e-9 <= low
    assert any("raised to a re-evaluated point" in notice for notice in result.notices)
    assert "fell short" in result.detail


@BOTH
def test_a_bound_slightly_beyond_the_truth_is_raised_with_a_notice(
    loss: Loss, norm: Norm, monkeypatch: pytest.MonkeyPatch
) -> None:
    p, low, high = tiny(loss, norm)

    def wrong(engine: MipEngine, question: Question, effort: Effort) -> Answer:
        answer = engine.answer(question, replace(effort, cutoff=None))
        if not len(answer.points):
            return answer
        value = attained(question, p.network, answer)
        return replace(answer, bound=value - 1e-8 if isinstance(question, Inner) else value + 1e-8)

    asked = disguise(monkeypatch, wrong)
    result = verify(p, solver="highs")
    assert asked
    assert result.status == "exact"
    assert result.lower <= result.upper
    assert result.lower - 1e-6 <= low <= high <= result.upper + 1e-6
    assert any("raised to a re-evaluated point" in notice for notice in result.notices)


@BOTH
def test_a_back_end_that_always_fails_leaves_what_is_checked(
    loss: Loss, norm: Norm, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(asked: str, model: MilpModel, limits: MilpLimits) -> tuple[str, MilpOutcome]:
        raise SolverError("the disk is full")

    monkeypatch.setattr("wdaverify.engines.mip.solve", broken)
    p, low, high = tiny(loss, norm)
    result = verify(p, solver="highs")
    assert (result.status, result.reason) == ("bracket", "stalled")
    assert result.lower - 1e-9 <= low
    assert high <= result.upper + 1e-9
    assert result.vouched_upper == "checked"
    assert any("went unanswered: the disk is full" in notice for notice in result.notices)
    assert result.statistics.solves == 0
    assert result.solver.solves == {}


@BOTH
def test_a_back_end_that_only_runs_out_of_time_ends_at_the_limit(
    loss: Loss, norm: Norm, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(engine: MipEngine, question: Question, effort: Effort) -> Answer:
        nothing = -math.inf if isinstance(question, Distance) else math.inf
        none = np.zeros((0, question.region.centre.size))
        return Answer(nothing, none, "highs", False, 0, 0.0, "time limit")

    asked = disguise(monkeypatch, slow)
    p, low, high = tiny(loss, norm)
    result = verify(p, solver="highs", time_limit=0.5)
    assert asked
    assert result.reason in ("time-limit", "stalled")
    assert result.lower - 1e-9 <= low
    assert high <= result.upper + 1e-9


@BOTH
def test_useless_points_do_no_harm(loss: Loss, norm: Norm, monkeypatch: pytest.MonkeyPatch) -> None:
    """Points that are not what the solver says, outside the region, or the sample itself."""
    p, low, high = tiny(loss, norm)
    rng = np.random.default_rng(0)

    def noisy(engine: MipEngine, question: Question, effort: Effort) -> Answer:
        answer = engine.answer(question, effort)
        n = question.region.centre.size
        extra = np.vstack([question.region.centre[None], rng.uniform(size=(3, n)), np.zeros((1, n)), np.ones((1, n))])
        return replace(answer, points=np.vstack([answer.points, extra]))

    disguise(monkeypatch, noisy)
    result = verify(p, solver="highs")
    assert result.status == "exact"
    assert result.lower - 1e-6 <= low <= high <= result.upper + 1e-6


@BOTH
def test_without_a_licence_highs_answers(loss: Loss, norm: Norm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wdaverify.solvers.registry.gurobi", lambda: None)
    monkeypatch.setattr("wdaverify.solvers.registry.gurobi_licence", lambda: "none: expired")
    p = tiny(loss, norm)[0]
    result = verify(p, solver="gurobi")
    assert result.status == "exact"
    assert set(result.solver.solves) <= {"highs"}
    assert result.solver.gurobi_licence == "none: expired"
    assert "HiGHS answers" in result.solver.why
    assert result.solver.why in result.notices
