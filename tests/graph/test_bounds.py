"""Bounds over graphs: no point lies outside a node's bound or above a functional's, in rationals where it is close."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from graph.graphs import exactly, random_graph, residual_convolution

from wdaverify.certify import backward as module
from wdaverify.certify.backward import Backward, Shells
from wdaverify.graph.convolution import Convolution
from wdaverify.graph.functions import relu
from wdaverify.graph.maps import Dense
from wdaverify.graph.nodes import INPUT, Affine, Elementwise, Graph
from wdaverify.ground import GroundCost, Norm

SEEDS = [*range(12), *(pytest.param(s, marks=pytest.mark.full) for s in range(12, 200))]
POINTS = 400


def corners_and_points(rng: np.random.Generator, n: int, centre: np.ndarray, far: float) -> np.ndarray:
    """On a grid of short dyadic numbers in the unit box, half of them at its corners or the shell's."""
    x = np.round(rng.uniform(size=(POINTS, n)) * 64) / 64
    x[: POINTS // 4] = np.round(x[: POINTS // 4])
    near = slice(POINTS // 4, POINTS // 2)
    x[near] = np.clip(centre + far * rng.choice([-1.0, 0.0, 1.0], size=x[near].shape), 0, 1)
    single = np.clip(centre + far * np.concatenate([np.zeros((1, n)), np.eye(n), -np.eye(n)]), 0, 1)
    return np.concatenate([x, single])


def check(graph: Graph, norm: Norm, seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = graph.inputs
    cost, centre, far = GroundCost(norm, 1), np.round(rng.uniform(size=n) * 8) / 8, float(rng.choice([0.125, 0.5, 2.0]))
    shells = Shells.around(cost, centre[None], np.zeros(n), np.ones(n), np.zeros(1), np.array([far]))
    backward = Backward(graph)
    bounds = backward.pre_activations(shells)
    x = corners_and_points(rng, n, centre, far)
    x = x[cost.distance(x - centre) <= far]
    values = graph.values(x)
    for k, (low, high) in zip(graph.elementwise, bounds, strict=True):
        z = values[graph.nodes[k].source]  # type: ignore[union-attr]
        for side, edge in ((z.argmin(axis=0), low), (z.argmax(axis=0), high)):
            for neuron, at in enumerate(side.tolist()):
                value = exactly(graph, x[at])[graph.nodes[k].source][neuron]  # type: ignore[union-attr]
                assert (
                    value >= Fraction(float(edge[0, neuron]))
                    if edge is low
                    else value <= Fraction(float(edge[0, neuron]))
                )
    phases = np.zeros((1, backward.neurons), np.int8)
    for trial in range(3):
        functional, tau = rng.normal(size=(1, graph.outputs)), np.array([float(trial)])
        nu = None if trial < 2 else rng.normal(size=(1, backward.neurons))
        top = float(backward.leaves(functional, tau, shells, bounds, phases, nu)[0])
        assert np.isfinite(top)
        worth = values[-1] @ functional[0] - tau[0] * cost.distance(x - centre)
        at = int(worth.argmax())
        exact = sum(
            (Fraction(float(c)) * v for c, v in zip(functional[0], exactly(graph, x[at])[-1], strict=True)), Fraction(0)
        )
        exact -= Fraction(float(tau[0])) * _distance(norm, x[at] - centre)
        assert Fraction(top) >= exact


def _distance(norm: Norm, move: np.ndarray) -> Fraction:
    size = [abs(Fraction(float(v))) for v in move]
    return max(size) if norm is Norm.INF else sum(size, Fraction(0))


@pytest.mark.parametrize("norm", [Norm.INF, Norm.ONE])
@pytest.mark.parametrize("seed", SEEDS)
def test_random_graphs(seed: int, norm: Norm) -> None:
    check(random_graph(seed), norm, seed)


@pytest.mark.parametrize("seed", range(3))
def test_a_residual_convolution(seed: int) -> None:
    check(residual_convolution(seed), Norm.INF, seed)


@pytest.mark.parametrize("seed", range(3))
def test_structure_changes_no_bound(seed: int) -> None:
    """The same graph with every map as its matrix: bounds agree but for rounding."""
    graph = residual_convolution(seed)
    plain = [
        Affine(n.sources, tuple(Dense(m.apply(np.eye(m.inputs)).T.copy()) for m in n.maps), n.bias)
        if isinstance(n, Affine)
        else n
        for n in graph.nodes
    ]
    shells = Shells.around(
        GroundCost(Norm.INF, 1), np.full((1, 9), 0.5), np.zeros(9), np.ones(9), np.zeros(1), np.array([0.25])
    )
    found = [Backward(g).pre_activations(shells) for g in (graph, Graph(tuple(plain), 9))]
    for (a, b), (c, d) in zip(*found, strict=True):
        np.testing.assert_allclose(np.stack([a, b]), np.stack([c, d]), rtol=0, atol=1e-11)
    assert any(isinstance(m, Convolution) for n in graph.nodes if isinstance(n, Affine) for m in n.maps)


FAULTS = {
    "a consumer is forgotten": lambda m: m.setattr(
        module._Sum, "give", lambda self, node, value, slip: self.waiting.setdefault(node, (value, slip))
    ),
    "a gain is forgotten": lambda m: m.setattr(
        "wdaverify.graph.functions.PiecewiseLinear.gain",
        lambda self, q, nu, low, high: (np.zeros_like(q), np.zeros_like(q)),
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_noticed(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    FAULTS[fault](monkeypatch)

    def look() -> None:
        for seed in range(12):
            check(random_graph(seed), Norm.INF, seed)

    with pytest.raises(AssertionError):
        look()


def test_what_is_given_for_neurons_that_nothing_reads_counts() -> None:
    """A lift of a neuron behind which there is nothing: ``z = x`` on [0, 1], of which the largest is 1."""
    one = Dense(np.ones((1, 1)))
    graph = Graph(
        (Affine((INPUT,), (one,), np.zeros(1)), Elementwise(0, relu()), Affine((INPUT,), (one,), np.zeros(1))), 1
    )
    backward, cost = Backward(graph), GroundCost(Norm.INF, 1)
    shells = Shells.around(cost, np.zeros((1, 1)), np.zeros(1), np.ones(1), np.zeros(1), np.ones(1))
    bounds, phases, zero = backward.pre_activations(shells), np.zeros((1, 1), np.int8), np.zeros((1, 1))
    for lift in (1.0, -1.0):
        lines = module.Lines(zero, zero, np.full((1, 1), lift))
        top = float(backward.leaves(zero, np.zeros(1), shells, bounds, phases, None, lines=lines)[0])
        assert max(0.0, lift) <= top <= max(0.0, lift) + 1e-9
    least = backward.leaves(np.ones((1, 1)), np.zeros(1), shells, bounds, phases, np.full((1, 1), -3.0))
    assert 1 <= float(least[0]) <= 4 + 1e-9
