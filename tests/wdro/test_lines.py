"""Slopes on the whole support bound every piece along a line: sound, and no early answer is worse than the rung of interval Jacobians."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from wdaverify import Functionals, GroundCost, Loss, Norm, Support, WdroProblem, load_network, load_samples, verify
from wdaverify.engines.screening import Screen
from wdaverify.ladder.compare import Settings, compare, interval_constants
from wdaverify.ladder.constants import bound_from, slopes_question
from wdaverify.network.model import Array
from wdaverify.wdro.distances import distances
from wdaverify.wdro.margin import MarginSearch
from wdaverify.wdro.result import Reason
from wdaverify.witness.evaluate import distances_up, edge_of
from wdaverify.witness.losses import loss_bounds

MODELS = Path(__file__).parents[2] / "models"
LOSSES = [Loss.MARGIN, Loss.HINGE, Loss.CW, Loss.CROSS_ENTROPY, Loss.LINEAR]


def question(loss: Loss, order: float, norm: Norm, count: int = 8, weights: Array | None = None) -> WdroProblem:
    network, samples = load_network(MODELS / "iris_8x8.onnx"), load_samples(MODELS / "iris_8x8.npz", limit=count)
    functionals = None
    if loss is Loss.LINEAR:
        functionals = Functionals(
            np.array([[1.0, -2.0, 0.5], [0.0, 1.0, 1.0]]), np.array([[0.0, 1.0], [0.5, 0.0], [0.0, 0.0]])
        )
    cost = GroundCost(norm, order, weights)
    return WdroProblem(network, samples, cost, Support.box(0, 1, 4), loss, 0.05, functionals)


@pytest.mark.parametrize("norm", list(Norm))
@pytest.mark.parametrize("order", [1, 2, math.inf])
@pytest.mark.parametrize("loss", LOSSES)
def test_the_first_bound_is_no_worse_than_the_rung(loss: Loss, order: float, norm: Norm) -> None:
    """A threshold that the rung decides is decided before anything is asked."""
    problem = question(loss, order, norm)
    asked = slopes_question(problem)
    rung = bound_from(problem, asked.measure, interval_constants(asked))
    result = verify(problem, threshold=rung + 1e-9 * abs(rung))
    assert result.upper <= rung + 1e-9 * abs(rung)
    assert not result.statistics.solves


def test_a_cross_entropy_whose_questions_take_long_begins_at_what_screening_promises(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Within a step of the scan of CROWN's dual, a rung of a tenth of a second, before any question is answered."""
    network, samples = load_network(MODELS / "digits_16x16.onnx"), load_samples(MODELS / "digits_16x16.npz", limit=4)
    problem = WdroProblem(network, samples, GroundCost(Norm.INF, 1), Support.box(0, 1, 64), Loss.CROSS_ENTROPY, 0.05)
    [ladder] = compare(problem, [0.05], Settings(rungs=("crown",))).ladders
    [rung] = [rung for rung in ladder.rungs if rung.name == "CROWN dual"]
    monkeypatch.setattr(MarginSearch, "_price", lambda self: Reason.TIME_LIMIT)
    result = verify(problem)
    assert not result.statistics.solves
    assert result.upper <= math.sqrt(2) * rung.value


def violations(problem: WdroProblem) -> int:
    """How many points of the support, drawn at random and at corners, lie above a sample's lines."""
    screen = Screen(problem)
    lines = screen.lines()
    assert lines is not None
    (clean, slope), pieces, rng, found = lines, screen.pieces, np.random.default_rng(0), 0
    n, fixed = problem.network.n_inputs, problem.cost.fixed(problem.network.n_inputs)
    for i in range(len(problem.samples)):
        x = rng.uniform(size=(60, n))
        x[::2] = np.round(x[::2])
        x = np.where(fixed, problem.samples.x[i], x)
        items = pieces.of_samples(np.array([i]))[0]
        base = replace(problem.cost, order=1)
        far = distances_up(
            base, x, np.broadcast_to(problem.samples.x[i], x.shape), edge_of(replace(problem, cost=base))
        )
        top = np.max(clean[items] + pieces.offset[items] + slope[items] * far[:, None], axis=1)
        values = loss_bounds(problem, x, np.full(len(x), problem.samples.y[i]))[0]
        found += int((values > np.maximum(top, pieces.floor) + 1e-12 * np.abs(top)).sum())
    return found


@pytest.mark.parametrize("weights", [None, np.array([0.5, 2.0, 1.0, np.inf])])
@pytest.mark.parametrize("norm", list(Norm))
@pytest.mark.parametrize("loss", LOSSES)
def test_no_point_lies_above_its_lines(loss: Loss, norm: Norm, weights: Array | None) -> None:
    assert violations(question(loss, 1, norm, weights=weights)) == 0


def test_lines_that_are_too_flat_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    genuine = Screen._slopes
    monkeypatch.setattr(Screen, "_slopes", lambda self, bounds, rows: 0.1 * genuine(self, bounds, rows))
    assert violations(question(Loss.MARGIN, 1, Norm.INF)) > 0


def test_there_are_none_past_the_deadline_on_the_whole_space_or_for_a_checker() -> None:
    problem = question(Loss.MARGIN, 1, Norm.INF)
    assert Screen(problem, -math.inf).lines() is None
    assert Screen(problem, slopes=False).lines() is None
    assert Screen(replace(problem, support=Support.whole(4))).lines() is None


@pytest.mark.parametrize("norm", list(Norm))
def test_distances_begin_at_what_slopes_prove(norm: Norm) -> None:
    """Below the exact ones, and above 0 where the sample is right."""
    problem = question(Loss.ZERO_ONE, 1, norm)
    found = Screen(problem).first_distances()
    assert found is not None
    lows = found.reshape(8, -1).min(axis=1)
    exact = [bracket.upper for bracket in distances(problem).brackets]
    assert (lows <= np.array(exact) * (1 + 1e-9)).all()
    assert ((lows > 0) == (np.array(exact) > 0)).all()
