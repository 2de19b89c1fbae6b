"""What screening proves, against linear programs over every activation cell."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from bounds.tiny import best_in_cells, network, problem, random_layers, raw
from oracles import Cell, enumerate_cells, exact_distance

from wdaverify.certify.backward import Backward, HiddenBounds, Shells
from wdaverify.engines.screening import Screen
from wdaverify.network.model import Array, ReluNetwork
from wdaverify.problem import GroundCost, Loss, Norm, WdroProblem
from wdaverify.witness.losses import loss_bounds

NORMS = [Norm.INF, Norm.ONE]
MULTIPLIERS = (0.0, 0.05, 1.0, 5.0, 50.0)
CORNER = 16
"""Here a shell around a corner holds so little of its ball that bounds over the shell do not hold on the way to it."""
SEEDS = [pytest.param(seed, marks=[pytest.mark.full] * (seed >= 3 and seed != CORNER)) for seed in range(30)]


def setting(seed: int, norm: Norm) -> tuple[WdroProblem, list[Cell]]:
    rng = np.random.default_rng(seed)
    widths = (int(rng.integers(1, 4)), *((6,) if seed % 2 else (3, 3)), int(rng.integers(2, 4)))
    net = network(*random_layers(rng, *widths))
    x = rng.uniform(size=(3, widths[0]))
    x[0] = rng.integers(0, 2, widths[0])  # a corner
    y = net.forward(x).argmax(axis=1)
    y[2] = (y[2] + 1) % net.n_outputs  # a misclassified one
    return problem(net, x, y, norm=norm), enumerate_cells(raw(net), np.zeros(widths[0]), np.ones(widths[0]))


def e(net: ReluNetwork, label: int, rival: int) -> Array:
    out = np.zeros(net.n_outputs)
    out[rival], out[label] = 1.0, -1.0
    return out


def size_of(norm: Norm, delta: Array) -> Array:
    size = np.abs(delta)
    return size.max(axis=-1) if norm is Norm.INF else size.sum(axis=-1)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", SEEDS)
def test_inner_bounds_hold_and_the_maximiser_stays_in_the_shell(seed: int, norm: Norm) -> None:
    p, cells = setting(seed, norm)
    net, n = p.network, p.network.n_inputs
    screen, box = Screen(p), (np.zeros(n), np.ones(n))
    rng = np.random.default_rng(seed)
    scattered = rng.uniform(size=(300, n))
    for lam in MULTIPLIERS:
        truth: dict[tuple[int, int], tuple[float, Array]] = {}
        for i, j in zip(screen.pieces.sample, screen.pieces.code, strict=True):
            c = e(net, int(p.samples.y[i]), int(j))
            reach = float(screen.reach[i])
            truth[int(i), int(j)] = best_in_cells(cells, c, lam, norm, p.samples.x[i], 0.0, reach, *box)
        best = np.array([max(v for (i, _), (v, _) in truth.items() if i == k) for k in range(3)])
        for incumbents in (np.full(3, -math.inf), best - 0.3, best - 1e-5, best, best + 0.1):
            screened = screen.inner(np.arange(3), lam, incumbents, 1e-6)
            sample, rival = screen.pieces.sample[screened.items], screen.pieces.code[screened.items]
            for m, (i, j) in enumerate(zip(sample.tolist(), rival.tolist(), strict=True)):
                value, point = truth[i, j]
                near, far = float(screened.near[m]), float(screened.far[m])
                distance = float(size_of(norm, point - p.samples.x[i]))
                assert screened.upper[m] >= value - 1e-7
                if value > incumbents[i] + 1e-5:
                    assert near - 1e-6 <= distance <= far + 1e-6
                logits = net.forward(scattered)
                away = size_of(norm, scattered - p.samples.x[i])
                values = logits[:, j] - logits[:, int(p.samples.y[i])] - lam * away
                outside = (away < near) | (away > far)
                assert (values[outside] <= screened.outside[m] + 1e-9).all()
                assert screened.outside[m] <= incumbents[i] + 1e-6


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", SEEDS)
def test_distances_are_never_overstated(seed: int, norm: Norm) -> None:
    p, cells = setting(100 + seed, norm)
    net, n = p.network, p.network.n_inputs
    screen, box = Screen(p), (np.zeros(n), np.ones(n))
    exact = np.array(
        [exact_distance(raw(net), p.samples.x[i], int(p.samples.y[i]), norm.value, *box, cells) for i in range(3)]
    )
    for known in (np.full(3, math.inf), exact, exact + 0.05, 0.5 * exact):
        items, low = screen.distances(np.arange(3), known)
        sample, rival = screen.pieces.sample[items], screen.pieces.code[items]
        assert low.shape == (3 * (net.n_outputs - 1),)
        for i in range(3):
            assert low[sample == i].min() <= (exact[i] + 1e-9 if known[i] >= exact[i] else known[i])
        assert (rival != p.samples.y[sample]).all()


@pytest.mark.parametrize("norm", NORMS)
def test_a_rival_that_never_ties_is_infinitely_far(norm: Norm) -> None:
    p = problem(
        network((np.array([[0.0, 0.0], [-1.0, -1.0]]), np.array([0.0, -1.0]))), np.array([[0.5, 0.5]]), [0], norm=norm
    )
    _, low = Screen(p).distances(np.array([0]), np.array([math.inf]))
    assert low.tolist() == [math.inf]
    _, low = Screen(p).distances(np.array([0]), np.array([0.25]))
    assert low.tolist() == [0.25]


@pytest.mark.parametrize("norm", NORMS)
def test_reach_is_the_largest_distance(norm: Norm) -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(50, 4))
    net = network((rng.normal(size=(2, 4)), np.zeros(2)))
    screen = Screen(problem(net, x, [0] * 50, norm=norm))
    room = np.maximum(x, 1 - x)
    expected = room.max(axis=1) if norm is Norm.INF else room.sum(axis=1)
    assert (screen.reach >= expected).all()
    assert screen.reach == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("norm", NORMS)
def test_a_support_of_one_point(norm: Norm) -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(size=(1, 3))
    net = network(*random_layers(rng, 3, 5, 2))
    p = problem(net, x, [0], norm=norm, lower=x[0], upper=x[0])
    margin = float(net.forward(x)[0] @ np.array([-1.0, 1.0]))
    screened = Screen(p).inner(np.array([0]), 1.0, np.array([-math.inf]), 1e-6)
    assert screened.upper == pytest.approx([margin], abs=1e-9)
    assert Screen(p).box_values() == pytest.approx([margin], abs=1e-9)


@pytest.mark.parametrize("norm", NORMS)
def test_one_region_serves_the_samples_of_all_labels(norm: Norm, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole support is bounded once, however many labels there are, and no margin anywhere exceeds what is said."""
    rng = np.random.default_rng(3)
    net = network(*random_layers(rng, 4, 6, 6, 5))
    x = rng.uniform(size=(5, 4))
    screen = Screen(problem(net, x, list(range(5)), norm=norm), -math.inf)
    asked: list[int] = []
    whole = Backward.pre_activations

    def counted(backward: Backward, shells: Shells, *, deadline: float) -> HiddenBounds:
        asked.append(len(shells))
        return whole(backward, shells, deadline=deadline)

    monkeypatch.setattr(Backward, "pre_activations", counted)
    values = screen.box_values()
    assert asked == [1]
    z = net.forward(rng.uniform(size=(20_000, 4)))
    for label in range(5):
        assert (np.delete(z, label, axis=1).max(axis=1) - z[:, label]).max() <= values[label]


@pytest.mark.parametrize("loss", [Loss.MARGIN, Loss.CROSS_ENTROPY])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", range(10))
def test_features_that_cannot_change_are_each_samples_own(seed: int, norm: Norm, loss: Loss) -> None:
    """What one region says holds for the samples that agree with it there, and for no others."""
    rng = np.random.default_rng(seed)
    net, labels = network(*random_layers(rng, 4, 6, 6, 3)), [0, 1, 0, 1, 0]
    x = rng.uniform(size=(5, 4))
    x[:, 2] = [0.0, 1.0, 1.0, 0.0, 0.5]
    weights = np.array([1.0, 2.0, np.inf, np.inf if seed % 2 else 0.5])
    p = replace(problem(net, x, labels, 0.3, norm=norm, loss=loss), cost=GroundCost(norm, 1, weights))
    values, fixed = Screen(p, -math.inf).box_values(), np.isinf(weights)
    for i, label in enumerate(labels):
        points = np.where(fixed, x[i], rng.uniform(size=(5000, 4)))
        assert loss_bounds(p, points, np.full(5000, label))[0].max() <= values[i]
    assert values[0] != values[2]
