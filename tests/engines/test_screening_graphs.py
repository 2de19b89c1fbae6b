"""Screening over graphs with skips, concatenations and convolutions: what it says against what points attain."""

from __future__ import annotations

import math

import numpy as np
import pytest
from graph.graphs import random_graph, residual_convolution

from wdaverify.engines.screening import Screen
from wdaverify.graph.nodes import Graph
from wdaverify.network.model import ReluNetwork, readonly
from wdaverify.problem import GroundCost, Loss, Norm, Samples, Support, WdroProblem

GRAPHS = {**{f"random {seed}": random_graph(seed) for seed in range(12)}, "convolution": residual_convolution(0)}


def asked(graph: Graph, norm: Norm) -> WdroProblem:
    """A question about a network whose canonical form is the graph."""
    n, classes = graph.inputs, graph.outputs
    net = ReluNetwork(graph, (n,), (classes,), "", "graph", ())
    net.__dict__["canonical"] = graph
    x = np.random.default_rng(0).uniform(size=(3, n))
    samples = Samples(readonly(x), graph.forward(x).argmax(axis=1), readonly(np.full(3, 1 / 3)), "", "test")
    return WdroProblem(net, samples, GroundCost(norm, 1), Support.box(0, 1, n), Loss.MARGIN, 0.1)


@pytest.mark.parametrize("norm", list(Norm))
@pytest.mark.parametrize("name", GRAPHS)
def test_no_point_beats_what_is_said(name: str, norm: Norm) -> None:
    """Of margins less their price, of the loss anywhere, and of the distance within which there is no error."""
    graph, rng = GRAPHS[name], np.random.default_rng(1)
    problem = asked(graph, norm)
    screen, x, y = Screen(problem, slopes=False), problem.samples.x, problem.samples.y
    points = np.concatenate([rng.uniform(size=(1500, graph.inputs)), rng.integers(0, 2, size=(200, graph.inputs))])
    near = np.clip(x[:, None] + 0.1 * rng.uniform(-1, 1, size=(3, 500, graph.inputs)), 0, 1)
    points = np.concatenate([points, near.reshape(-1, graph.inputs)])
    z = graph.forward(points)
    everyone = np.arange(3)
    screened = screen.inner(everyone, 0.7, np.full(3, -math.inf), 1e-6)
    items, low = screen.distances(everyone, np.full(3, math.inf))
    rival, sample = screen.pieces.code[screened.items], screen.pieces.sample[screened.items]
    assert np.array_equal(items, screened.items)
    whole = screen.box_values()
    for at, (i, j) in enumerate(zip(sample.tolist(), rival.tolist(), strict=True)):
        margin, distance = z[:, j] - z[:, y[i]], problem.cost.distance(points - x[i])
        assert (margin - 0.7 * distance).max() <= screened.upper[at]
        assert margin.max() <= whole[i]
        assert distance[margin >= 0].min(initial=math.inf) >= low[at]
    assert (low > 0).any()
