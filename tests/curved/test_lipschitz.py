"""Lipschitz constants of networks with curved functions against the gradients of dense grids, for halved boxes and for cut neurons."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from curved.test_against_grids import Tiny, tiny

from wdaverify.errors import NetworkError
from wdaverify.graph.smooth.curve import Smooth
from wdaverify.ladder.compare import Settings, compare
from wdaverify.lipschitz.exact import lipschitz
from wdaverify.lipschitz.question import LipschitzProblem, Measure
from wdaverify.lipschitz.result import LipschitzResult
from wdaverify.network.onnx_reader import load_network
from wdaverify.problem import GroundCost, Loss, Norm, Support, WdroProblem
from wdaverify.report.lipschitz import lipschitz_json, lipschitz_summary
from wdaverify.samples import load_samples
from wdaverify.wdro.result import Status

MODELS = Path(__file__).parents[2] / "models"
DUAL = {Norm.INF: 1, Norm.ONE: np.inf, Norm.TWO: 2}
FUNCTIONALS = np.array([[1.0, -1.0, 0.0], [0.0, 0.0, 1.0]])


def steepest(given: Tiny, norm: Norm) -> float:
    """The largest gradient on a grid, by central differences of what torch says."""
    n = given.problem.network.n_inputs
    axis = np.linspace(-1, 1, 4001 if n == 1 else 121)
    points = np.stack([a.ravel() for a in np.meshgrid(*(axis,) * n, indexing="ij")], axis=1)
    step = 1e-5
    sides = [
        (given.forward(points + step * e) - given.forward(points - step * e)) @ FUNCTIONALS.T / (2 * step)
        for e in np.eye(n)
    ]
    return float(np.linalg.norm(np.stack(sides, axis=2), ord=DUAL[norm], axis=2).max())


def constant(given: Tiny, norm: Norm, gap: float, seconds: float) -> LipschitzResult:
    net = given.problem.network
    n = net.n_inputs
    measure = Measure.outputs(net, [(0, 1), (2, None)])
    problem = LipschitzProblem(net, GroundCost(norm, 1), Support(-np.ones(n), np.ones(n)), measure)
    return lipschitz(problem, gap=gap, time_limit=seconds)


def agrees(given: Tiny, norm: Norm, result: LipschitzResult, gap: float) -> None:
    found = steepest(given, norm)
    assert found <= result.upper * (1 + 1e-6) + 1e-7
    assert result.lower <= result.upper
    if result.status.closed:
        assert result.status is Status.TO_THE_GAP
        assert result.lower >= found - gap - 1e-6 * found


@pytest.mark.parametrize("seed", [pytest.param(k, marks=[] if k < 3 else pytest.mark.full) for k in range(28)])
def test_halved_boxes_hold_the_gradients_of_grids(seed: int) -> None:
    """Every function, in every norm, to 0.02 of the constant."""
    given, norm = tiny(seed), tuple(Norm)[seed % 3]
    gap = 0.02 * max(1.0, steepest(given, norm))
    result = constant(given, norm, gap, 30)
    assert result.status.closed, result
    agrees(given, norm, result, gap)


@pytest.mark.parametrize("seed", [pytest.param(k, marks=[] if k in (1, 6) else pytest.mark.full) for k in range(28)])
def test_cut_neurons_hold_the_gradients_of_grids(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The search of regions of many inputs, on few: it narrows what one interval Jacobian says, and closes where it has the time."""
    monkeypatch.setattr("wdaverify.engines.cells.curved_slopes._FEW", -1)
    given, norm = tiny(seed), tuple(Norm)[seed % 3]
    whole = constant(given, norm, 1e-3, 1e-9)
    result = constant(given, norm, 1e-3, 1)
    agrees(given, norm, result, 1e-3)
    assert result.upper <= whole.upper


def test_a_range_of_slopes_that_forgets_an_end_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    true = Smooth.slope_range
    monkeypatch.setattr(
        Smooth, "slope_range", lambda self, low, high: (lambda r: (r[0], 0.9 * r[1]))(true(self, low, high))
    )
    given = tiny(1)
    with pytest.raises(AssertionError):
        agrees(given, Norm.INF, constant(given, Norm.INF, 0.02, 5), 0.02)


def test_images_have_brackets_and_say_so() -> None:
    net = load_network(MODELS / "digits_16x16_gelu.onnx")
    samples = load_samples(MODELS / "digits_16x16.npz", limit=1)
    balls = LipschitzProblem(
        net, GroundCost(Norm.INF, 1), Support(np.zeros(64), np.ones(64)), Measure.outputs(net, [(1, 0)]), samples, 0.01
    )
    result = lipschitz(balls, gap=1.0, time_limit=3)
    x = samples.x + np.random.default_rng(0).uniform(-0.01, 0.01, (2000, 64))
    slopes = np.abs(net.gradient(np.clip(x, 0, 1), np.tile(np.eye(10)[1] - np.eye(10)[0], (2000, 1)))).sum(axis=1)
    assert slopes.max() <= result.upper
    assert result.upper <= 1.5 * result.lower
    text = lipschitz_summary(result)
    assert "32 neurons" in text
    assert "cell" not in text.split("work")[0]
    assert lipschitz_json(result)["status"] in ("to-the-gap", "bracket")


def test_what_has_no_end_is_refused() -> None:
    net = load_network(MODELS / "iris_8x8_silu.onnx")
    whole = LipschitzProblem(net, GroundCost(Norm.INF, 1), Support.whole(4), Measure.operator_norm(net))
    with pytest.raises(NetworkError, match=r"Silu.*give a box .*compare --rungs norms"):
        lipschitz(whole)
    box = LipschitzProblem(net, GroundCost(Norm.INF, 1), Support(np.zeros(4), np.ones(4)), Measure.operator_norm(net))
    with pytest.raises(NetworkError, match=r"solver highs.*solver cells"):
        lipschitz(box, solver="highs")


def test_the_ladder_has_all_three_constants(monkeypatch: pytest.MonkeyPatch) -> None:
    """GELU's global slope times norms, one interval Jacobian, and the bracket's upper end: each is finite, none below the next."""
    monkeypatch.setattr("wdaverify.ladder.compare._CURVED_SECONDS", 1.0)
    net, samples = load_network(MODELS / "iris_8x8_gelu.onnx"), load_samples(MODELS / "iris_8x8.npz", limit=2)
    problem = WdroProblem(net, samples, GroundCost(Norm.INF, 1), Support(np.zeros(4), np.ones(4)), Loss.MARGIN, 0.01)
    ladder = compare(problem, [0.01], Settings(rungs=("norms", "jacobian", "lipschitz"), device="cpu")).ladders[0]
    values = {rung.name: rung.value for rung in ladder.rungs}
    bracket, jacobian, norms = (
        values[name] for name in ("Lipschitz bracket", "interval Jacobian", "product of layer norms")
    )
    assert bracket is not None
    assert jacobian is not None
    assert norms is not None
    assert bracket <= jacobian <= norms < np.inf
    loss = net.forward(samples.x)
    nominal = np.mean([np.delete(z, y).max() - z[y] for z, y in zip(loss, samples.y, strict=True)])
    assert nominal < bracket
