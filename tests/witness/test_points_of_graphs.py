"""What is said of a graph at a point, against rationals: exact margins, enclosures, one-sided slopes, float32, gradients."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from graph.graphs import exactly, family_graph, random_graph, residual_convolution

from wdaverify.certify.enclosure import functionals_enclosure, margins_enclosure
from wdaverify.certify.exact import exact_error, exact_margins, margin_between, one_sided
from wdaverify.graph.nodes import Elementwise, Graph
from wdaverify.network.model import ReluNetwork
from wdaverify.witness.single import flips, single_margins, tried_margins

SEEDS = [*range(16), *(pytest.param(s, marks=pytest.mark.full) for s in range(16, 160))]


def graph_of(seed: int) -> Graph:
    match seed % 4:
        case 0:
            return random_graph(seed)
        case 1:
            return residual_convolution(seed)
        case _:
            return family_graph(seed, 2, 3)


def network(graph: Graph) -> ReluNetwork:
    return ReluNetwork(graph, (graph.inputs,), (graph.outputs,), "", "graph", ())


def points(graph: Graph, seed: int) -> np.ndarray:
    """Short numbers, where functions often bend, and others."""
    rng = np.random.default_rng((seed, 5))
    x = rng.normal(size=(8, graph.inputs))
    x[:4] = np.round(x[:4] * 4) / 4
    return x


@pytest.mark.parametrize("seed", SEEDS)
def test_exact_margins_and_enclosures(seed: int) -> None:
    graph = graph_of(seed)
    net, x = network(graph), points(graph, seed)
    y = np.arange(len(x)) % graph.outputs
    lower, upper = margins_enclosure(net, x, y)
    rows = np.random.default_rng(seed).normal(size=(2, graph.outputs))
    low, high = functionals_enclosure(net, x, rows, np.ones((1, 2)))
    for b, point in enumerate(x):
        z = exactly(graph, point)[-1]
        want = [v - z[y[b]] for v in z]
        assert exact_margins(net, point, int(y[b])) == want
        rival = max(m for j, m in enumerate(want) if j != y[b])
        assert exact_error(net, point, int(y[b])) == (rival >= 0)
        ends = margin_between(net, point, int(y[b]))
        assert ends[0] <= rival <= ends[1]
        for j, m in enumerate(want):
            assert Fraction(float(lower[b, j])) <= m <= Fraction(float(upper[b, j]))
        for r, row in enumerate(rows):
            value = sum((Fraction(float(a)) * v for a, v in zip(row, z, strict=True)), Fraction(1))
            assert Fraction(float(low[b, r])) <= value <= Fraction(float(high[b, r]))
    assert (upper - lower).max() < 1e-11 * (1 + np.abs(upper).max())


@pytest.mark.parametrize("seed", SEEDS)
def test_slopes_to_one_side(seed: int) -> None:
    """A small enough step moves values by the derivative times the step, exactly; at breaks too."""
    graph = graph_of(seed)
    net, rng = network(graph), np.random.default_rng(seed)
    spans = [k for k, node in enumerate(graph.nodes) if isinstance(node, Elementwise)]
    for point in points(graph, seed)[:5]:
        direction = np.round(rng.normal(size=graph.inputs) * 4) / 4
        start, turn = ([Fraction(float(v)) for v in part] for part in (point, direction))
        found = one_sided(net, start, turn)
        step = Fraction(1, 2**80)
        moved = [a + step * b for a, b in zip(start, turn, strict=True)]
        there = exactly(graph, moved)
        places = [*(graph.nodes[k].source for k in spans), len(graph.nodes) - 1]  # type: ignore[union-attr]
        assert len(found) == len(places)
        for (values, slopes), k in zip(found, places, strict=True):
            assert values == exactly(graph, point)[k]
            assert [v + step * s for v, s in zip(values, slopes, strict=True)] == there[k]


@pytest.mark.parametrize("seed", SEEDS)
def test_float32_is_where_it_is_said_to_be(seed: int) -> None:
    graph = graph_of(seed)
    net = network(graph)
    x = points(graph, seed).astype(np.float32).astype(np.float64)
    y = np.arange(len(x)) % graph.outputs
    lower, _ = single_margins(net, x, y)
    least, _ = tried_margins(net, x, y)
    assert np.isfinite(lower).all()
    z = net.forward_float32(x).astype(np.float64)
    assert net.forward_float32(x).dtype == np.float32
    margin = z - z[np.arange(len(x)), y][:, None]
    margin[np.arange(len(x)), y] = -np.inf
    assert (lower <= margin.max(axis=1)).all()
    assert (lower <= least).all()
    assert (least - lower).max() < 1e-3 * (1 + np.abs(z).max())
    np.testing.assert_allclose(z, net.forward(x), rtol=0, atol=1e-4 * (1 + np.abs(z).max()))
    assert len(flips(net, x, y)) == len(x)


@pytest.mark.parametrize("seed", SEEDS)
def test_gradients(seed: int) -> None:
    graph = graph_of(seed)
    net, rng = network(graph), np.random.default_rng(seed)
    x, rows = rng.normal(size=(6, graph.inputs)), rng.normal(size=(6, graph.outputs))
    got, step = net.gradient(x, rows), 1e-7
    for k in range(graph.inputs):
        move = np.zeros(graph.inputs)
        move[k] = step
        difference = ((net.forward(x + move) - net.forward(x - move)) * rows).sum(axis=1) / (2 * step)
        np.testing.assert_allclose(got[:, k], difference, rtol=1e-5, atol=1e-5)
