"""The mixed-integer models against linear programs over every activation cell."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from bounds.tiny import best_in_cells, exact_values, network, problem, random_layers, raw
from layers import Affine, Diagonal, Relu, blocks_of, network_of
from oracles import Cell, enumerate_cells, exact_distance

from wdaverify.encoding.distance import distance_model
from wdaverify.encoding.inner import inner_model
from wdaverify.encoding.milp import MilpModel
from wdaverify.engines.screening import Screen
from wdaverify.graph.maps import Dense, rows
from wdaverify.graph.nodes import Affine as AffineNode
from wdaverify.graph.nodes import Graph
from wdaverify.network.model import Array, ReluNetwork, readonly
from wdaverify.problem import Norm
from wdaverify.solvers.base import MilpLimits, MilpOutcome, MilpStatus
from wdaverify.solvers.highs import HighsSolver

NORMS = [Norm.INF, Norm.ONE]
TOLERANCE = 1e-6
SEEDS = [pytest.param(seed, marks=[pytest.mark.full] * (seed >= 8)) for seed in range(40)]


def solve(model: MilpModel) -> MilpOutcome:
    return HighsSolver().solve(model, MilpLimits(gap=1e-9, seconds=math.inf, cutoff=None, start=None, seed=0))


def upper(model: MilpModel) -> float:
    outcome = solve(model)
    return outcome.bound + model.slack


def random_network(rng: np.random.Generator) -> ReluNetwork:
    widths = (int(rng.integers(1, 4)), *((5,) if rng.random() < 0.5 else (3, 3)), int(rng.integers(2, 4)))
    return network(*random_layers(rng, *widths))


def functional(net: ReluNetwork, label: int, rival: int) -> Array:
    out = np.zeros(net.n_outputs)
    out[rival], out[label] = 1.0, -1.0
    return out


def cells_of(net: ReluNetwork) -> list[Cell]:
    return enumerate_cells(raw(net), np.zeros(net.n_inputs), np.ones(net.n_inputs))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", SEEDS)
def test_inner_optimum_is_that_of_the_cells(seed: int, norm: Norm) -> None:
    rng = np.random.default_rng(seed)
    net = random_network(rng)
    n = net.n_inputs
    x = rng.uniform(size=n) if seed % 3 else np.zeros(n)
    screen = Screen(problem(net, x, [0], norm=norm))
    reach, cells = float(screen.reach[0]), cells_of(net)
    for near, far in ((0.0, reach), (0.0, 0.2 * reach), (0.3 * reach, 0.6 * reach)):
        region, bounds, _ = screen.region(0, near, far)
        for rival in range(1, net.n_outputs):
            for lam in (0.0, 0.7, 6.0):
                model = inner_model(net.canonical, bounds, region, 0, rival, lam)
                box = (np.zeros(n), np.ones(n))
                best, _ = best_in_cells(cells, functional(net, 0, rival), lam, norm, x, near, far, *box)
                found = upper(model)
                assert found >= best - 1e-7
                assert found <= best + TOLERANCE


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", SEEDS)
def test_distance_is_that_of_the_cells(seed: int, norm: Norm) -> None:
    rng = np.random.default_rng(1000 + seed)
    net = random_network(rng)
    x = rng.uniform(size=net.n_inputs)
    label = int(net.forward(x[None])[0].argmax())
    screen = Screen(problem(net, x, [label], norm=norm))
    region, bounds, _ = screen.region(0, 0.0, float(screen.reach[0]))
    nearest = math.inf
    for rival in range(net.n_outputs):
        if rival == label:
            continue
        model = distance_model(net.canonical, bounds, region, label, rival)
        outcome = solve(model)
        assert outcome.status in (MilpStatus.OPTIMAL, MilpStatus.INFEASIBLE)
        nearest = min(nearest, outcome.bound - model.slack)
    expected = exact_distance(
        raw(net), x, label, norm.value, np.zeros(net.n_inputs), np.ones(net.n_inputs), cells_of(net)
    )
    assert nearest == pytest.approx(expected, abs=TOLERANCE)


# Fused maps


def normalised(rng: np.random.Generator) -> ReluNetwork:
    """Pixels divided by 255, a shift, and a batch normalisation behind each matrix but the last."""
    (w1, b1), (w2, b2) = random_layers(rng, 2, 5, 3)

    def diagonal(size: int) -> Diagonal:
        parts = (rng.uniform(0.5, 2, size), rng.choice([0.3, 3.0], size), rng.normal(size=size) * 0.1)
        return Diagonal(*(readonly(p) for p in parts))

    pixels = Diagonal(readonly(np.ones(2)), readonly(np.full(2, 255.0)), readonly(np.full(2, -0.1307)))
    layers = (pixels, Affine(readonly(w1), readonly(b1)), diagonal(5), Relu(), Affine(readonly(w2), readonly(b2)))
    return network_of(layers, (2,), (3,), "", "normalised", ())


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", range(4))
def test_fused_maps_are_bounded_from_above(seed: int, norm: Norm) -> None:
    rng = np.random.default_rng(seed)
    net = normalised(rng)
    assert not blocks_of(net.canonical)[0].exact
    x = rng.uniform(0, 255, size=2)
    screen = Screen(problem(net, x, [0], norm=norm, upper=255.0))
    region, bounds, _ = screen.region(0, 0.0, float(screen.reach[0]))
    fused = [(block.weight, block.bias) for block in blocks_of(net.canonical)]
    cells = enumerate_cells(fused, np.zeros(2), np.full(2, 255.0))
    for rival in (1, 2):
        lam = 0.002
        model = inner_model(net.canonical, bounds, region, 0, rival, lam)
        assert 0 < model.slack < 1e-9
        best, where = best_in_cells(
            cells, functional(net, 0, rival), lam, norm, x, 0.0, float(screen.reach[0]), np.zeros(2), np.full(2, 255.0)
        )
        assert upper(model) == pytest.approx(best, abs=TOLERANCE)
        for point in [np.clip(where, 0, 255), *rng.uniform(0, 255, (20, 2))]:
            logits = exact_values(net, point)[1]
            size = np.abs(point - x)
            cost = lam * (size.max() if norm is Norm.INF else size.sum())
            assert upper(model) >= float(logits[rival] - logits[0]) - cost - 1e-9


def with_errors(net: ReluNetwork, size: float) -> ReluNetwork:
    """The same network, claiming that every entry of every block may be off by ``size``."""
    nodes = tuple(
        replace(
            node,
            maps=tuple(Dense(rows(m), np.full((m.outputs, m.inputs), size)) for m in node.maps),
            bias_error=np.full(node.width, size),
        )
        if isinstance(node, AffineNode)
        else node
        for node in net.canonical.nodes
    )
    vague = replace(net)
    vague.__dict__["canonical"] = Graph(nodes, net.n_inputs)
    return vague


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", range(4))
def test_the_slack_covers_every_network_within_the_errors(seed: int, norm: Norm) -> None:
    """Errors far larger than rounding, so that the allowance for them can be measured."""
    rng, size = np.random.default_rng(seed), 0.02
    net = network(*random_layers(rng, 2, 3, 3, 2))
    vague = with_errors(net, size)
    x = rng.uniform(size=2)
    screen = Screen(problem(vague, x, [0], norm=norm))
    region, bounds, _ = screen.region(0, 0.0, float(screen.reach[0]))
    model = inner_model(vague.canonical, bounds, region, 0, 1, 0.5)
    shortest = distance_model(vague.canonical, bounds, region, 0, 1)
    found, nearest = upper(model), solve(shortest)
    assert model.slack > size
    box = (np.zeros(2), np.ones(2))
    for _ in range(12):
        other = network(
            *[(w + size * rng.choice([-1, 1], w.shape), b + size * rng.choice([-1, 1], b.shape)) for w, b in raw(net)]
        )
        cells = cells_of(other)
        best, _ = best_in_cells(cells, np.array([-1.0, 1.0]), 0.5, norm, x, 0.0, float(screen.reach[0]), *box)
        assert found >= best - 1e-7
        assert nearest.bound - shortest.slack <= exact_distance(raw(other), x, 0, norm.value, *box, cells) + 1e-7


# Shape of the models


@pytest.mark.parametrize("norm", NORMS)
def test_only_unstable_neurons_cost_binaries(norm: Norm) -> None:
    """Two dead, three active, four unstable neurons in the first layer."""
    rng = np.random.default_rng(0)
    weight = rng.uniform(0.5, 1.0, size=(9, 3)) * rng.choice([-1, 1], (9, 3))
    middle = weight @ np.full(3, 0.5)
    bias = np.concatenate([np.full(2, -100.0), np.full(3, 100.0), -middle[5:]])
    net = network((weight, bias), (rng.normal(size=(2, 9)), np.zeros(2)))
    screen = Screen(problem(net, np.full(3, 0.5), [0], norm=norm))
    region, bounds, open_neurons = screen.region(0, 0.0, float(screen.reach[0]))
    assert open_neurons == 4
    inputs = 3 + 1 if norm is Norm.INF else 6
    input_rows = 6 if norm is Norm.INF else 1
    model = inner_model(net.canonical, bounds, region, 0, 1, 1.0)
    assert model.n_columns == inputs + 7 + 4 + 4
    assert int(model.integer.sum()) == 4
    assert model.n_rows == input_rows + 7 + 2 * 4
    assert distance_model(net.canonical, bounds, region, 0, 1).n_rows == model.n_rows + 1
    at_the_sample = screen.region(0, 0.0, 0.0)
    small = inner_model(net.canonical, at_the_sample[1], at_the_sample[0], 0, 1, 1.0)
    assert int(small.integer.sum()) <= 4
    tiny = screen.region(0, 0.0, 1e-9)
    assert inner_model(net.canonical, tiny[1], tiny[0], 0, 1, 1.0).n_columns <= model.n_columns


@pytest.mark.parametrize("norm", NORMS)
def test_a_network_without_hidden_layers_is_a_linear_program(norm: Norm) -> None:
    net = network((np.array([[0.0, 0.0], [1.0, 2.0]]), np.array([0.0, -1.0])))
    x = np.array([0.25, 0.25])
    screen = Screen(problem(net, x, [0], norm=norm))
    region, bounds, open_neurons = screen.region(0, 0.0, float(screen.reach[0]))
    assert (open_neurons, len(bounds)) == (0, 0)
    model = inner_model(net.canonical, bounds, region, 0, 1, 1.0)
    assert not model.integer.any()
    # margin x1 + 2 x2 - 1 is 2 at (1, 1): 3/4 away under l-inf, 3/2 under l1, each worth its cost
    assert upper(model) == pytest.approx(2.0 - (0.75 if norm is Norm.INF else 1.5), abs=1e-9)


def test_points_are_read_back() -> None:
    net = network((np.array([[0.0, 0.0], [1.0, 2.0]]), np.array([0.0, -1.0])))
    x = np.array([0.25, 0.25])
    for norm in NORMS:
        screen = Screen(problem(net, x, [0], norm=norm))
        region, bounds, _ = screen.region(0, 0.0, float(screen.reach[0]))
        model = inner_model(net.canonical, bounds, region, 0, 1, 0.5)
        columns = solve(model).columns
        assert columns is not None
        assert model.point(columns) == pytest.approx([1.0, 1.0], abs=1e-7)
