"""Errors at integer corners: each is one, in the support, and they are as near as those found by trying all points."""

from __future__ import annotations

import numpy as np

from wdaverify import load_network
from wdaverify.attacks.ascent import Clock
from wdaverify.attacks.corners import integer_corners
from wdaverify.graph.maps import Diagonal
from wdaverify.graph.nodes import INPUT, Affine, Elementwise, Graph, Node
from wdaverify.ground import GroundCost, Norm, Support
from wdaverify.network.model import ReluNetwork
from wdaverify.problem import Loss, WdroProblem
from wdaverify.samples import make_samples
from wdaverify.wdro.verify import verify


def pixels(count: int, order: float = 1, radius: float = 1.0) -> WdroProblem:
    """Digits in whole pixels 0 to 16."""
    net, data = load_network("models/digits_16x16.onnx"), np.load("models/digits_16x16.npz")
    nodes: list[Node] = [Affine((INPUT,), (Diagonal(np.full(64, 1 / 16), np.ones(64)),), np.zeros(64))]
    for node in net.graph.nodes:
        if isinstance(node, Affine):
            nodes.append(Affine(tuple(s + 1 for s in node.sources), node.maps, node.bias))
        else:
            nodes.append(Elementwise(node.source + 1, node.function))
    whole = ReluNetwork(Graph(tuple(nodes), 64), (64,), (10,), "pixels", "pixels", ())
    support = Support(np.zeros(64), np.full(64, 16.0), None, np.ones(64, np.bool_))
    samples = make_samples(np.rint(data["x"][:count] * 16), data["y"][:count])
    return WdroProblem(whole, samples, GroundCost(Norm.INF, order), support, Loss("zero-one"), radius)


def test_errors_of_digits() -> None:
    problem = pixels(20)
    sample, point = integer_corners(problem, Clock(None))
    assert problem.support.contains(point).all()
    z, y = problem.network.forward(point), problem.samples.y[sample]
    own = z[np.arange(len(z)), y]
    z[np.arange(len(z)), y] = -np.inf
    assert (z.max(axis=1) >= own).all()
    nearest = [np.abs(point[sample == i] - problem.samples.x[i]).max(axis=1).min() for i in np.unique(sample).tolist()]
    assert len(nearest) == 19  # the other one is an error as it is
    assert np.sort(nearest)[:17].tolist() == [1.0] * 4 + [2.0] * 13


def test_zero_one_of_pixels_closes() -> None:
    """At radius 1 every distance but one is 0, 1, or at least 2: four of five samples are within 1 of an error at most."""
    for order in (1, np.inf):
        result = verify(pixels(5, order), time_limit=60)
        assert result.status == "exact"
