"""Integer supports: distances are whole or roots of whole numbers, against all points of the support, listed."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from bounds.tiny import network, random_layers

from wdaverify.engines.cells import points
from wdaverify.ground import GroundCost, Norm, Support
from wdaverify.network.model import Array
from wdaverify.problem import Loss, WdroProblem
from wdaverify.samples import make_samples
from wdaverify.wdro.attainable import Attainable
from wdaverify.wdro.distances import distances

NORMS = list(Norm)
WHOLE = np.ones(3, np.bool_)


def asked(seed: int, norm: Norm, *, integer: Array = WHOLE, weights: Array | None = None) -> WdroProblem:
    """Three features 0 to 4, a handful of ReLUs, all samples read as the network reads them."""
    rng = np.random.default_rng(seed)
    net = network(*random_layers(rng, 3, 5, 4, 3))
    x = rng.integers(0, 5, (4, 3)).astype(np.float64)
    support = Support(np.zeros(3), np.full(3, 4.0), None, integer)
    samples = make_samples(x, net.forward(x).argmax(axis=1))
    return WdroProblem(net, samples, GroundCost(norm, 1, weights), support, Loss("zero-one"), 1.0)


def nearest(problem: WdroProblem, i: int) -> float:
    """The distance of sample i to its nearest error, over all points."""
    grid = np.array(list(itertools.product(range(5), repeat=3)), dtype=np.float64)
    z, y = problem.network.forward(grid), int(problem.samples.y[i])
    wrong = np.delete(z, y, axis=1).max(axis=1) >= z[:, y]
    size = np.abs(grid - problem.samples.x[i])
    far = {Norm.INF: size.max(axis=1), Norm.ONE: size.sum(axis=1), Norm.TWO: np.sqrt((size**2).sum(axis=1))}
    return float(far[problem.cost.norm][wrong].min(initial=math.inf))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(s, marks=pytest.mark.full) for s in range(2, 30))])
def test_distances_of_few_points(seed: int, norm: Norm) -> None:
    problem = asked(seed, norm)
    result = distances(problem, gap=1e-9)
    assert result.exact
    for i, bracket in enumerate(result.brackets):
        truth = nearest(problem, i)
        assert bracket.lower <= truth <= bracket.upper * (1 + 1e-12)
        assert truth == math.inf or bracket.upper - bracket.lower <= 1e-9


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", [0, *(pytest.param(s, marks=pytest.mark.full) for s in range(1, 30))])
def test_bounds_taken_up_hold(seed: int, norm: Norm, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where there are too many points: what the search proves is taken up to the next distance that there is."""
    monkeypatch.setattr(points, "MOST", 0)
    problem = asked(seed, norm)
    for i, bracket in enumerate(distances(problem, gap=1e-9, time_limit=1.5).brackets):
        assert bracket.lower <= nearest(problem, i) <= bracket.upper * (1 + 1e-12)


@pytest.mark.parametrize(
    ("norm", "low", "up"),
    [
        (Norm.INF, 1.0000001, 2.0),
        (Norm.ONE, 3.2, 4.0),
        (Norm.INF, 2.0, 2.0),
        (Norm.TWO, 1.3, math.sqrt(2.0)),
        (Norm.TWO, 2.0, 2.0),
        (Norm.TWO, 2.0000001, math.sqrt(5.0)),
        (Norm.TWO, math.inf, math.inf),
        (Norm.ONE, 0.0, 0.0),
        (Norm.INF, 1e9 + 0.5, 1e9 + 0.5),
    ],
)
def test_the_next_attainable_distance(norm: Norm, low: float, up: float) -> None:
    found = float(Attainable(asked(0, norm)).up(np.array([low]))[0])
    assert low <= found <= up
    assert found == up or found >= up * (1 - 2.0**-50)


def test_other_supports_attain_everything() -> None:
    low = np.array([1.25])
    assert Attainable(asked(0, Norm.INF, weights=np.array([1.0, 2.0, 1.0]))).up(low) == low
    assert Attainable(asked(0, Norm.INF, integer=np.array([True, True, False]))).up(low) == low
    assert Attainable(asked(0, Norm.INF, weights=np.array([1.0, math.inf, 1.0]))).up(low) == 2.0
