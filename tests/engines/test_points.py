"""Regions of few integer points, against the loss at each of them in plain floating point."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from bounds.tiny import network, random_layers

from wdaverify.encoding.cost import Region
from wdaverify.engines.base import Distance, Effort, Inner
from wdaverify.engines.cells.engine import CellEngine
from wdaverify.engines.cells.points import points_of
from wdaverify.ground import GroundCost, LinearRows, Norm

EFFORT = Effort(1e-9, math.inf, 0, None, None)
GRID = np.array(list(itertools.product(range(-1, 4), repeat=3)), dtype=np.float64)
CENTRE = np.array([0.0, 1.0, 3.0])


def region(norm: Norm, order: float, far: float, *, near: float = 0.0, rows: LinearRows | None = None) -> Region:
    cost = GroundCost(norm, order, np.array([1.0, 0.5, 2.0]))
    return Region(cost, CENTRE, np.full(3, -1.0), np.full(3, 3.0), near, far, rows, np.ones(3, np.bool_))


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("norm", list(Norm))
@pytest.mark.parametrize("entropy", [False, True])
def test_largest_of_all_points(norm: Norm, order: float, entropy: bool) -> None:
    net = network(*random_layers(np.random.default_rng(order), 3, 6, 4))
    rows = LinearRows(np.array([[1.0, 1.0, 0.0]]), np.array([-math.inf]), np.array([3.0]))
    asked = region(norm, order, 2.5, near=0.5, rows=rows)
    answer = CellEngine(net).answer(Inner(0, 1, 2, asked, (), 0.75, entropy=entropy), EFFORT)
    z, distance = net.forward(GRID), asked.cost.distance(GRID - CENTRE)
    value = np.logaddexp.reduce(z - z[:, [1]], axis=1) if entropy else z[:, 2] - z[:, 1]
    inside = (distance <= 2.5) & (distance >= 0.5) & (GRID[:, :2].sum(axis=1) <= 3)
    truth = float((value - 0.75 * distance**order)[inside].max())
    assert answer.checked
    assert answer.detail.endswith("points")
    assert truth <= answer.bound <= truth + 1e-9
    assert any(
        np.array_equal(p, GRID[inside][(value - 0.75 * distance**order)[inside].argmax()]) for p in answer.points
    )


@pytest.mark.parametrize("norm", list(Norm))
@pytest.mark.parametrize("seed", range(4))
def test_nearest_of_all_points(norm: Norm, seed: int) -> None:
    net = network(*random_layers(np.random.default_rng(seed), 3, 6, 4))
    asked = region(norm, 1, math.inf)
    answer = CellEngine(net).answer(Distance(0, 0, 3, asked, ()), EFFORT)
    z, distance = net.forward(GRID), asked.cost.distance(GRID - CENTRE)
    truth = float(distance[z[:, 3] >= z[:, 0]].min(initial=math.inf))
    assert answer.bound == truth == math.inf or truth - 1e-12 <= answer.bound <= truth


def test_what_is_searched_instead() -> None:
    """A feature that is no integer, a region without a point, and one with too many."""
    asked = region(Norm.INF, 1, 2.0)
    assert points_of(asked) is not None
    assert points_of(Region(**{**asked.__dict__, "integer": np.array([True, False, True])})) is None
    assert points_of(Region(**{**asked.__dict__, "near": 50.0, "far": 60.0})) is None
    assert points_of(Region(**{**asked.__dict__, "upper": np.full(3, 1e9), "far": 1e9})) is None
