"""Derivatives over graphs: interval Jacobians, slopes of neurons and slopes at points, against Jacobians in rationals."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from graph.graphs import FUNCTIONS, Maker, exactly, gradients, random_graph, residual_convolution

from wdaverify.certify import jacobian as module
from wdaverify.certify.backward import Backward, Shells
from wdaverify.certify.jacobian import jacobian, neuron_slopes
from wdaverify.certify.slope import phases_at, slopes_at
from wdaverify.graph.functions import PiecewiseLinear, absolute, relu
from wdaverify.graph.maps import Dense, Diagonal, Same
from wdaverify.graph.nodes import INPUT, Elementwise, Graph
from wdaverify.ground import GroundCost, Norm

SEEDS = [*range(12), *(pytest.param(s, marks=pytest.mark.full) for s in range(12, 200))]
ORDERS = {Norm.INF: np.inf, Norm.ONE: 1, Norm.TWO: 2}
DUALS = {Norm.INF: 1, Norm.ONE: np.inf, Norm.TWO: 2}


def varied(seed: int) -> Graph:
    """A random graph with any function in the place of each."""
    graph, rng = random_graph(seed), np.random.default_rng(seed)
    nodes = [
        replace(e, function=FUNCTIONS[int(rng.integers(len(FUNCTIONS)))]) if isinstance(e, Elementwise) else e
        for e in graph.nodes
    ]
    return Graph(tuple(nodes), graph.inputs)


def check(graph: Graph, seed: int, points: int = 6) -> None:
    """Jacobians of the output and of what enters each function, and what neurons' outputs are worth, on a box of any size."""
    rng = np.random.default_rng(seed)
    n, cost = graph.inputs, GroundCost(Norm.INF, 1)
    centre, far = rng.integers(-8, 9, n) / 8, float(rng.choice([2.0**-10, 0.125, 1.0]))
    shell = Shells.around(cost, centre[None], np.full(n, -4.0), np.full(n, 4.0), np.zeros(1), np.array([far]))
    bounds = Backward(graph).pre_activations(shell)
    rows = rng.integers(-4, 5, (2, graph.outputs)) / 2
    pull: list[np.ndarray] = []
    targets = [len(graph.nodes) - 1, *(_source(graph, k) for k in graph.elementwise)]
    wide = [rows, *(np.eye(graph.width(k)) for k in targets[1:])]
    found = [jacobian(graph, bounds, r[None], k) for r, k in zip(wide, targets, strict=True)]
    slopes = neuron_slopes(graph, bounds, cost, None)
    jacobian(graph, bounds, rows[None], pull=pull)
    for _ in range(points):
        exact = gradients(graph, centre + far * rng.integers(-(2**12), 2**12, n) / 2**12)
        if exact is None:
            continue
        for (middle, radius), r, k in zip(found, wide, targets, strict=True):
            for i, row in enumerate(r.tolist()):
                for j in range(n):
                    value = sum((Fraction(c) * g[j] for c, g in zip(row, exact[k], strict=True) if c), Fraction(0))
                    assert abs(value - Fraction(float(middle[0, i, j]))) <= Fraction(float(radius[0, i, j]))
        for steep, k in zip(slopes, targets[1:], strict=True):
            for i, row in enumerate(exact[k]):
                assert sum(abs(v) for v in row) <= Fraction(float(steep[0, i]))
    assert [part.shape for part in pull] == [(1, graph.width(k)) for k in graph.elementwise]


def _source(graph: Graph, k: int) -> int:
    node = graph.nodes[k]
    assert isinstance(node, Elementwise)
    return node.source


@pytest.mark.parametrize("seed", SEEDS)
def test_random_graphs(seed: int) -> None:
    check(random_graph(seed), seed)
    check(varied(seed), seed)


@pytest.mark.parametrize("seed", range(2))
def test_a_residual_convolution(seed: int) -> None:
    check(residual_convolution(seed), seed, 3)


@pytest.mark.parametrize("norm", list(Norm))
@pytest.mark.parametrize("seed", range(8))
def test_slopes_at_points(seed: int, norm: Norm) -> None:
    graph, rng = random_graph(seed), np.random.default_rng(seed)
    x = rng.uniform(-2, 2, (10, graph.inputs))
    still = (rng.random(graph.inputs) < 0.3).astype(float)
    rows = rng.normal(size=(2, graph.outputs))
    low, high = slopes_at(graph, x, rows, GroundCost(norm, 1), still)
    for k, point in enumerate(x):
        exact, values = gradients(graph, point), exactly(graph, point)
        assert exact is not None
        nodes = [graph.nodes[e] for e in graph.elementwise]
        if any(z in e.function.breaks for e in nodes for z in values[e.source]):  # type: ignore[union-attr]
            continue  # a constant at a break, as max(a, a) - a has it: nothing need be claimed
        moved = rows @ np.array([[float(v) for v in row] for row in exact[-1]])
        true = np.linalg.norm(np.where(still > 0, 0.0, moved), ORDERS[norm])
        assert low[k] <= true * (1 + 1e-13) + 1e-300
        assert true * (1 - 1e-13) <= high[k]
        assert high[k] - low[k] <= 1e-9 * (1 + true)


def test_a_point_at_a_break_claims_nothing() -> None:
    """``x + |x - 1/2| + relu(y)``: at x = 1/2, though the skip moves on; a y that does not move may stay at its break."""
    make = Maker(2)
    a = make.function(make.affine({INPUT: Dense(np.array([[1.0, 0.0]]))}, np.array([-0.5])), absolute())
    b = make.function(make.affine({INPUT: Dense(np.array([[0.0, 1.0]]))}), relu())
    make.affine({INPUT: Dense(np.array([[1.0, 0.0]])), a: Same(1), b: Same(1)})
    graph, one, cost = make.graph(), np.eye(1), GroundCost(Norm.INF, 1)
    points = np.array([[0.5, 1.0], [0.75, 0.0], [0.75, 1.0], [0.25, 1.0]])
    assert slopes_at(graph, points, one, cost, np.zeros(2))[0] == pytest.approx([-math.inf, -math.inf, 3.0, 1.0])
    assert slopes_at(graph, points, one, cost, np.array([0, 1]))[0] == pytest.approx([-math.inf, 2.0, 2.0, 0.0])


def test_a_factor_that_vanishes_still_moves() -> None:
    """``relu(x 2^-1074 / 2^1000)`` is 0 in double precision and depends on x all the same."""
    make = Maker(1)
    tiny = make.affine({INPUT: Diagonal(np.array([2.0**-1074]), np.array([2.0**1000]))})
    make.affine({make.function(tiny, relu()): Same(1)})
    assert not phases_at(make.graph(), np.ones((1, 1)), np.zeros(1))[1][0]
    assert phases_at(make.graph(), np.ones((1, 1)), np.ones(1))[1][0]


def test_what_neurons_are_worth() -> None:
    """``2 v + 3 relu(w) - w`` with ``w = v``, a skip around a function: v is worth 1 or 4, w's function 3, and one that nothing reads 0."""
    make = Maker(1)
    z = make.affine({INPUT: Same(1)})
    v, _ = make.function(z, relu()), make.function(z, relu())
    w = make.affine({v: Same(1)})
    make.affine(
        {v: Dense(np.full((1, 1), 2.0)), make.function(w, relu()): Dense(np.full((1, 1), 3.0)), w: Dense(-np.eye(1))}
    )
    bounds = [(np.array([[-1.0]]), np.array([[1.0]]))] * 3
    pull: list[np.ndarray] = []
    middle, radius = jacobian(make.graph(), bounds, np.ones((1, 1, 1)), pull=pull)
    assert [float(part[0, 0]) for part in pull] == pytest.approx([4.0, 0.0, 3.0])
    assert float(middle[0, 0, 0] + radius[0, 0, 0]) == pytest.approx(4.0)


def test_adding_up_paths_is_paid_for() -> None:
    """``x + 2^-60 x``: no double is 1 + 2^-60."""
    make = Maker(1)
    make.affine({INPUT: Same(1), make.affine({INPUT: Dense(np.array([[2.0**-60]]))}): Same(1)})
    middle, radius = jacobian(make.graph(), [], np.ones((1, 1, 1)))
    assert abs(1 + Fraction(2) ** -60 - Fraction(float(middle[0, 0, 0]))) <= Fraction(float(radius[0, 0, 0])) < 2**-50


@pytest.mark.parametrize("function", FUNCTIONS)
def test_slopes_up_to_a_break_are_those_within(function: PiecewiseLinear) -> None:
    at = function.breaks[:1]
    left, right = function.slopes[:1], function.slopes[1:2]
    for low, high, few in ((at, at, right), (at, at + 2.0**-9, right), (at - 1.0, at, left)):
        assert function.slope_range(low, high) == (few, few)
    assert function.slope_range(at - 1.0, at + 2.0**-9) == (min(left, right), max(left, right))


FAULTS = {
    "a consumer is forgotten": lambda m: m.setattr(
        module, "add", lambda waiting, node, centre, radius: waiting.setdefault(node, (centre, radius))
    ),
    "a slope has one sign": lambda m: m.setattr(
        "wdaverify.graph.functions.PiecewiseLinear.slope_range",
        lambda self, low, high: (np.zeros_like(low), np.ones_like(low)),
    ),
    "rounding is free": lambda m: m.setattr(module, "dot_error", lambda terms: 0.0),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_noticed(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    FAULTS[fault](monkeypatch)

    def look() -> None:
        for seed in range(12):
            check(varied(seed), seed)
        check(residual_convolution(0), 0, 3)

    with pytest.raises(AssertionError):
        look()
