"""What the attacks are made of: gradients, steps and projections, and the pool."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from layers import Affine, Relu, network_of

from wdaverify.attacks.ascent import Arena, Clock
from wdaverify.attacks.geometry import Geometry, _ranking
from wdaverify.attacks.pool import Pool
from wdaverify.attacks.torch_network import TorchNetwork
from wdaverify.network.model import Array, readonly
from wdaverify.problem import GroundCost, Loss, Norm, Samples, Support, WdroProblem


def test_gradients_are_those_of_the_network() -> None:
    rng = np.random.default_rng(9)
    maps = [(rng.normal(size=(m, n)), rng.normal(size=m)) for n, m in ((5, 7), (7, 6), (6, 4))]
    first, second, third = (Affine(readonly(weight), readonly(bias)) for weight, bias in maps)
    net = network_of((first, Relu(), second, Relu(), third), (5,), (4,), "", "test", ())
    x, y, j = rng.normal(size=(20, 5)), rng.integers(0, 4, 20), rng.integers(0, 4, 20)
    here = TorchNetwork(net.canonical, torch.device("cpu"))
    margin, gradient = here.margin_gradient(torch.tensor(x), torch.tensor(y), torch.tensor(j))
    functional = np.eye(4)[j] - np.eye(4)[y]
    assert margin.numpy() == pytest.approx((functional * net.forward(x)).sum(axis=1), abs=1e-12)
    assert gradient.numpy() == pytest.approx(net.gradient(x, functional), abs=1e-12)


@pytest.mark.parametrize("norm", [Norm.INF, Norm.ONE])
def test_steps_and_projections_stay_in_the_ball_and_the_box(norm: Norm) -> None:
    rng = np.random.default_rng(10)
    lower, upper = torch.tensor(-rng.uniform(size=6)), torch.tensor(rng.uniform(size=6))
    geometry = Geometry(norm, lower, upper)
    centre = lower + (upper - lower) * torch.tensor(rng.uniform(size=(40, 6)))
    radius, g = torch.tensor(rng.uniform(0.0, 2.0, size=40)), torch.tensor(rng.normal(size=(40, 6)))
    stepped = geometry.steepest(centre, g, radius)
    start = lower + (upper - lower) * torch.tensor(rng.uniform(size=(40, 6)))
    projected = geometry.project(start, centre, radius)
    for x in (stepped, projected):
        assert bool(((x >= lower) & (x <= upper)).all())
        assert bool((geometry.distance(x, centre) <= radius + 1e-12).all())
    for _ in range(300):  # no random feasible point has a larger linear value, or is nearer to the start
        other = geometry.project(lower + (upper - lower) * torch.tensor(rng.uniform(size=(40, 6))), centre, radius)
        assert bool(((g * (other - stepped)).sum(dim=1) <= 1e-12).all())
        assert bool(((start - projected).norm(dim=1) <= (start - other).norm(dim=1) + 1e-12).all())


def test_the_pool_keeps_the_concave_envelope_and_the_nearest_crossing() -> None:
    rng = np.random.default_rng(12)
    pool = Pool(torch.tensor([-1.0, -2.0], dtype=torch.float64), 1, 24)
    seen: list[tuple[Array, Array]] = []
    for _ in range(30):
        d = rng.uniform(0.01, 1.0, size=(2, 5))
        v = -1.5 + 3 * np.sqrt(d) * rng.uniform(0.5, 1.0, size=d.shape)
        seen.append((d, v))
        pool.offer(torch.arange(2), torch.tensor(d), torch.tensor(v), torch.tensor(d).unsqueeze(2))
    d, v = (np.concatenate(part, axis=1) for part in zip(*seen, strict=True))
    for lam in (0.0, 0.3, 1.0, 2.0, 5.0, 20.0, 1000.0):
        expected = np.maximum((v - lam * d).max(axis=1), [-1.0, -2.0])
        assert pool.best(lam)[0].numpy() == pytest.approx(expected, abs=1e-9)
    assert pool.near.numpy() == pytest.approx(np.where(v >= 0, d, np.inf).min(axis=1))
    assert pool.near_point[:, 0].numpy() == pytest.approx(pool.near.numpy())
    kept = torch.isfinite(pool.cost[:, 1:])
    assert torch.equal(pool.point[kept][:, 0], pool.cost[:, 1:][kept])


def test_of_many_vertices_the_pool_keeps_those_that_the_master_wants() -> None:
    # 6 sqrt(c) - 2 c is largest at c = 2.25, where it is 4.5; the curve bends everywhere, and 10 vertices cannot hold it.
    d = torch.linspace(0.01, 40.0, 4000, dtype=torch.float64)[torch.randperm(4000, generator=torch.manual_seed(0))]
    pool = Pool(torch.zeros(1, dtype=torch.float64), 1, 10)
    pool.multiplier = 2.0
    for some in d.split(50):
        pool.offer(torch.zeros(1, dtype=torch.int64), some[None], 6 * some[None].sqrt(), some[None, :, None])
    assert float(pool.best(2.0)[0]) > 4.5 - 1e-4
    assert float(pool.best(1.9)[0]) > 9 / 1.9 - 1e-3
    assert float(pool.cost[torch.isfinite(pool.cost)].max()) > 39.0


@pytest.mark.parametrize("descending", [True, False])
@pytest.mark.parametrize("width", [1, 2, 64, 65, 784])
def test_rankings_sort_rows_up_to_their_last_bits(width: int, descending: bool) -> None:
    rng = np.random.default_rng(width)
    size = rng.uniform(size=(60, width)) * 10.0 ** rng.integers(-300, 300, size=(60, 1))
    size[::3, ::2] = 0.0
    size[1::3, ::5] = math.inf
    order = _ranking(torch.tensor(size), descending=descending).numpy()
    assert (np.sort(order, axis=1) == np.arange(width)).all()
    ranked = np.take_along_axis(size, order, axis=1)
    first, then = (ranked[:, 1:], ranked[:, :-1]) if descending else (ranked[:, :-1], ranked[:, 1:])
    assert (first <= then * (1 + width * 2.0**-51)).all()


@pytest.mark.parametrize(
    ("order", "radius", "expected"),
    [
        (1, 0.1, 3),  # 0.25 (0.1 + 0.2) = 0.075 is paid whole, 0.3 in part; the fourth is farther than twice that
        (1, 0.07, 3),  # 0.2 in part; 0.3 is within twice that
        (1, 0.4, 4),  # 0.25 (0.1 + 0.2 + 0.3 + 0.7) = 0.325
        (
            2,
            math.sqrt(0.05),
            4,
        ),  # 0.25 (0.01 + 0.04 + 0.09) = 0.035, 0.49 in part; without the square 0.2 would be the last
        (math.inf, 0.12, 2),  # twice the radius
        (1, 0.01, 2),  # 0.1 in part, and 0.2 is just twice that
    ],
)
def test_the_budget_reaches_the_nearest_crossings(order: float, radius: float, expected: int) -> None:
    near = [0.1, 0.2, 0.3, 0.7]
    arena = _arena(near, order, radius)
    assert arena.affordable(2.0).tolist() == [k < expected for k in range(4)]
    assert _arena(near, order, radius, everyone=True).affordable(2.0).all()


def test_a_budget_that_buys_every_known_crossing_reaches_samples_without_one() -> None:
    assert _arena([0.1, 0.2, math.inf, math.inf], 1, 0.1).affordable(2.0).all()
    assert _arena([0.1, 0.9, math.inf, math.inf], 1, 0.1).affordable(2.0).tolist() == [True, True, False, False]


def _arena(near: list[float], order: float, radius: float, **options: Any) -> Arena:
    """An arena on the real line, with ``z_1 - z_0 = x - 1`` at 0, where crossings at ``near`` are known."""
    count = len(near)
    net = network_of(
        (Affine(readonly(np.array([[0.0], [1.0]])), readonly(np.array([0.0, -1.0]))),), (1,), (2,), "", "test", ()
    )
    samples = Samples(
        readonly(np.zeros((count, 1))), np.zeros(count, np.int64), readonly(np.full(count, 1 / count)), "", "test"
    )
    asked = WdroProblem(net, samples, GroundCost(Norm.INF, order), Support.box(-9.0, 9.0, 1), Loss.ZERO_ONE, radius)
    arena = Arena.build(asked, torch.device("cpu"), Clock(None), **options)
    arena.pool.near.copy_(torch.tensor(near, dtype=torch.float64))
    return arena
