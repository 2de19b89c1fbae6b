"""Graphs on a device: values against rationals, gradients against torch's own, in cost units and with functionals behind."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from graph.graphs import exactly, random_graph, residual_convolution
from graph.test_maps import maps, matrix

from wdaverify.attacks import torch_network
from wdaverify.attacks.recast import Recast
from wdaverify.attacks.run import run_attacks
from wdaverify.attacks.torch_maps import on_device
from wdaverify.attacks.torch_network import TorchNetwork
from wdaverify.graph.functions import relu
from wdaverify.graph.maps import Dense, LinearMap, Same
from wdaverify.graph.nodes import INPUT, Affine, Elementwise, Graph
from wdaverify.network.model import Array, ReluNetwork, readonly
from wdaverify.problem import Functionals, GroundCost, Loss, Norm, Samples, Support, WdroProblem

CPU = torch.device("cpu")


def of_relus(graph: Graph) -> Graph:
    """The same graph with a ReLU for every function."""
    return Graph(
        tuple(replace(node, function=relu()) if isinstance(node, Elementwise) else node for node in graph.nodes),
        graph.inputs,
    )


def behind(graph: Graph) -> Graph:
    """The graph followed by a skip: ``z + 0.5 z`` by two nodes, so that the last one is no matrix."""
    last, width = len(graph.nodes) - 1, graph.outputs
    half = Affine((last,), (Dense(0.5 * np.eye(width)),), np.zeros(width))
    both = Affine((last + 1, last), (Same(width), Same(width)), np.arange(width) / 8)
    return Graph((*graph.nodes, half, both), graph.inputs)


GRAPHS = {
    **{f"random {seed}": of_relus(random_graph(seed)) for seed in range(40)},
    **{f"convolution {seed}": of_relus(residual_convolution(seed)) for seed in range(3)},
    **{f"behind {seed}": behind(of_relus(random_graph(seed))) for seed in range(8)},
    "behind a convolution": behind(of_relus(residual_convolution(3))),
}


def plainly(graph: Graph, x: torch.Tensor) -> torch.Tensor:
    """The outputs by the matrices that the maps stand for, for torch to differentiate."""
    out: list[torch.Tensor] = []
    for node in graph.nodes:
        if isinstance(node, Affine):
            z = torch.tensor(node.bias).expand(len(x), -1)
            for source, map_ in zip(node.sources, node.maps, strict=True):
                z = z + (x if source == INPUT else out[source]) @ torch.tensor(matrix(map_)).T
            out.append(z)
        else:
            out.append(torch.relu(out[node.source]))
    return out[-1]


def check(graph: Graph, seed: int) -> None:
    rng = np.random.default_rng(seed)
    here = TorchNetwork(graph, CPU)
    for _ in range(2):  # values are left as they are
        x = np.round(rng.normal(size=(6, graph.inputs)) * 64) / 64
        label, rival = (torch.tensor(rng.integers(0, graph.outputs, 6)) for _ in range(2))
        truth = np.array([[float(v) for v in exactly(graph, point)[-1]] for point in x])
        np.testing.assert_allclose(here.logits(torch.tensor(x)).numpy(), truth, rtol=1e-12, atol=1e-11)
        points = torch.tensor(x, requires_grad=True)
        z = plainly(graph, points)
        wanted = z.gather(1, rival[:, None]) - z.gather(1, label[:, None])
        wanted.sum().backward()
        with torch.inference_mode():
            margin, gradient = here.margin_gradient(torch.tensor(x), label, rival)
        np.testing.assert_allclose(margin.numpy(), wanted.detach().numpy()[:, 0], rtol=1e-12, atol=1e-11)
        assert points.grad is not None
        np.testing.assert_allclose(gradient.numpy(), points.grad.numpy(), rtol=1e-12, atol=1e-11)


@pytest.mark.parametrize("name", GRAPHS)
def test_values_and_gradients(name: str) -> None:
    check(GRAPHS[name], len(name))


FAULTS = {
    "a consumer is forgotten": lambda waiting, node, g: waiting.setdefault(node, g),
    "the last consumer alone counts": lambda waiting, node, g: waiting.update({node: g}),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_noticed(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_network, "_give", FAULTS[fault])
    failed = 0
    for name, graph in GRAPHS.items():
        try:
            check(graph, len(name))
        except AssertionError:
            failed += 1
    assert failed > 5


def test_a_value_that_others_read_is_not_cut_off() -> None:
    """``x - relu(x)`` of one node, whose memory its relu must leave alone."""
    one = Dense(np.eye(1))
    first = Affine((INPUT,), (one,), np.zeros(1))
    last = Affine((0, 1), (one, Dense(-np.eye(1))), np.zeros(1))
    here = TorchNetwork(Graph((first, Elementwise(0, relu()), last), 1), CPU)
    assert here.logits(torch.tensor([[-2.0], [3.0]], dtype=torch.float64)).tolist() == [[-2.0], [0.0]]


@pytest.mark.parametrize("map_", maps(), ids=lambda m: type(m).__name__)
def test_maps_are_those_of_the_graph(map_: LinearMap) -> None:
    rng = np.random.default_rng(2)
    here, h, g, bias = on_device(map_, CPU), *(rng.normal(size=(4, w)) for w in (map_.inputs, map_.outputs)), 0
    bias = rng.normal(size=map_.outputs)
    w = matrix(map_)
    np.testing.assert_allclose(here.apply(torch.tensor(h), torch.tensor(bias)), h @ w.T + bias, rtol=0, atol=1e-12)
    np.testing.assert_allclose(here.back(torch.tensor(g)), g @ w, rtol=0, atol=1e-12)
    index = rng.integers(0, map_.outputs, 5)
    np.testing.assert_allclose(here.rows(torch.tensor(index)), w[index], rtol=0, atol=1e-12)


def test_a_map_that_torch_does_not_know_is_refused() -> None:
    with pytest.raises(TypeError, match="a map object: Dense, Diagonal, Same, Select and Convolution are accepted"):
        on_device(object(), CPU)  # type: ignore[arg-type]


def asked(graph: Graph, loss: Loss, weights: Array | None, functionals: Functionals | None) -> WdroProblem:
    """A question about a network whose canonical form is the graph."""
    rng, n, classes = np.random.default_rng(3), graph.inputs, graph.outputs
    net = ReluNetwork(graph, (n,), (classes,), "", "graph", ())
    net.__dict__["canonical"] = graph
    x = rng.uniform(size=(4, n))
    samples = Samples(readonly(x), graph.forward(x).argmax(axis=1), readonly(np.full(4, 0.25)), "", "test")
    support = Support(readonly(np.full(n, -1.0)), readonly(np.full(n, 2.0)))
    return WdroProblem(net, samples, GroundCost(Norm.INF, 1, weights), support, loss, 0.2, functionals)


@pytest.mark.parametrize("linear", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    "name", ["random 2", "random 5", "convolution 0", "behind 1", "behind a convolution", "random 17"]
)
def test_cost_units_and_functionals_are_part_of_the_graph(name: str, weighted: bool, linear: bool) -> None:
    graph, rng = GRAPHS[name], np.random.default_rng(4)
    classes = graph.outputs
    weights = rng.uniform(0.5, 2.0, graph.inputs) if weighted else None
    wanted = Functionals(rng.normal(size=(2, classes)), rng.normal(size=(classes, 2))) if linear else None
    problem = asked(graph, Loss.LINEAR if linear else Loss.MARGIN, weights, wanted)
    recast = Recast.of(problem)
    x, y = problem.samples.x + 0.1, problem.samples.y
    s = problem.cost.scale(graph.inputs)
    z = graph.forward(x)
    margins = TorchNetwork(recast.graph, CPU).margins(torch.tensor(x * s), torch.tensor(recast.label))
    found = margins.gather(1, torch.tensor(recast.rival)).numpy()
    if wanted is not None:
        truth = z @ wanted.matrix.T + wanted.offset[y]
    else:
        truth = np.stack([np.delete(row - row[label], label) for row, label in zip(z, y, strict=True)])
    np.testing.assert_allclose(found, truth, rtol=1e-12, atol=1e-11)


@pytest.mark.parametrize("name", ["random 5", "convolution 0"])
def test_attacks_find_what_pays(name: str) -> None:
    """Points within the support that raise the margin, evaluated by other code."""
    problem = asked(GRAPHS[name], Loss.MARGIN, None, None)
    outcome = run_attacks(problem, device="cpu", seed=0)
    assert outcome.sample.size
    z, clean = GRAPHS[name].forward(outcome.point), GRAPHS[name].forward(problem.samples.x)
    y = problem.samples.y

    def margin(logits: Array, label: int) -> float:
        return float(np.delete(logits, label).max() - logits[label])

    gains = [margin(z[k], y[i]) - margin(clean[i], y[i]) for k, i in enumerate(outcome.sample.tolist())]
    assert max(gains) > 1e-3
    assert ((outcome.point >= -1.0) & (outcome.point <= 2.0)).all()
