"""Graphs on a region where neurons are settled: the same output there, in rationals, within what is said to be lost."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from graph.graphs import exactly, random_graph, relu_graph, residual_convolution, steered_graph

from wdaverify.certify.backward import Backward, Shells
from wdaverify.graph import settled as module
from wdaverify.graph.functions import leaky_relu, relu
from wdaverify.graph.maps import Dense
from wdaverify.graph.nodes import INPUT, Affine, Elementwise, Graph, chain
from wdaverify.graph.rewrite import canonical, relus
from wdaverify.graph.settled import settled
from wdaverify.ground import GroundCost, Norm

SEEDS = [*range(10), *(pytest.param(s, marks=pytest.mark.full) for s in range(10, 200))]
MAKERS = {
    "relus": relu_graph,
    "steered": steered_graph,
    "clips": lambda seed: relus(random_graph(seed)),
    "convolution": lambda seed: relus(residual_convolution(seed)),
    "fused": lambda seed: canonical(relu_graph(seed)),
}


def on_a_ball(graph: Graph, seed: int, far: float) -> tuple[np.ndarray, list[tuple[np.ndarray, np.ndarray]]]:
    """Points of a ball in the unit box, short dyadic ones, and bounds of the neurons on it."""
    rng = np.random.default_rng(seed)
    n = graph.inputs
    centre = np.round(rng.uniform(size=n) * 16) / 16
    shells = Shells.around(GroundCost(Norm.INF, 1), centre[None], np.zeros(n), np.ones(n), np.zeros(1), np.array([far]))
    bounds = [(low[0], high[0]) for low, high in Backward(graph).pre_activations(shells)]
    moves = far * np.round(rng.uniform(-1, 1, size=(12, n)) * 8) / 8
    moves[:4] = np.sign(moves[:4]) * far
    return np.clip(centre + moves, 0, 1), bounds


def slack(graph: Graph, values: list[list[Fraction]], x: np.ndarray) -> list[Fraction]:
    """By how much the last node may be off, by what is said of the graph's numbers, at a point with these values."""
    point, off = [Fraction(float(v)) for v in x], list[list[Fraction]]()
    for node in graph.nodes:
        if isinstance(node, Elementwise):
            off.append(off[node.source])  # ReLUs move nothing by more
            continue
        total = [
            Fraction(0) if node.bias_error is None else Fraction(float(e))
            for e in (node.bias if node.bias_error is None else node.bias_error)
        ]
        for source, map_ in zip(node.sources, node.maps, strict=True):
            assert isinstance(map_, Dense)
            given = point if source == INPUT else values[source]
            lost = [Fraction(0)] * map_.inputs if source == INPUT else off[source]
            error = np.zeros_like(map_.weight) if map_.error is None else map_.error
            for k in range(map_.outputs):
                for w, e, v, o in zip(map_.weight[k].tolist(), error[k].tolist(), given, lost, strict=True):
                    total[k] += Fraction(e) * (abs(v) + o) + abs(Fraction(w)) * o
        off.append(total)
    return off[-1]


def check(graph: Graph, seed: int, far: float, truth: Graph | None = None) -> int:
    """How many neurons were left."""
    points, bounds = on_a_ball(graph, seed, far)
    found = settled(graph, bounds)
    assert found is not None
    flat = np.concatenate([np.zeros((2, 0)), *(np.stack(pair) for pair in bounds)], axis=1)
    assert found.open.tolist() == np.flatnonzero((flat[0] < 0) & (flat[1] > 0)).tolist()
    assert found.graph.neurons == found.open.size
    for x in points:
        want = exactly(graph if truth is None else truth, x)[-1]
        values = exactly(found.graph, x)
        for got, wanted, off in zip(values[-1], want, slack(found.graph, values, x), strict=True):
            assert abs(got - wanted) <= off
            if truth is None and all(isinstance(n, Elementwise) or n.exact for n in graph.nodes):
                assert off <= Fraction(1, 10**9)
    return found.open.size


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("seed", SEEDS)
def test_the_output_is_the_same_on_the_region(seed: int, make: str) -> None:
    graph = MAKERS[make](seed)
    for far in (0.0625, 0.5):
        check(graph, seed, far)


def test_some_neurons_settle_and_some_do_not() -> None:
    left = [(check(g, seed, 0.125), g.neurons) for seed in range(10) for g in (steered_graph(seed),)]
    assert any(0 < open_ < all_ for open_, all_ in left)


@pytest.mark.parametrize("seed", range(6))
def test_numbers_that_are_not_known_exactly_stay_so(seed: int) -> None:
    """Whichever numbers within their errors are the true ones."""
    rng = np.random.default_rng(seed)
    short = lambda *shape: np.round(rng.normal(size=shape) * 8) / 8  # noqa: E731 (a formula)
    nodes, true, read = list[Affine | Elementwise](), list[Affine | Elementwise](), {INPUT: 2}
    for width in (6, 6, 3):
        maps = {s: short(width, n) for s, n in read.items()}
        errors = {s: np.full((width, n), 2.0**-8) for s, n in read.items()}
        signs = {s: rng.choice([-1.0, 0.0, 1.0], size=(width, n)) for s, n in read.items()}
        bias, off, by = short(width), np.full(width, 2.0**-7), rng.choice([-1.0, 1.0], size=width)
        nodes.append(Affine(tuple(maps), tuple(Dense(maps[s], errors[s]) for s in maps), bias, off))
        true.append(Affine(tuple(maps), tuple(Dense(maps[s] + signs[s] * errors[s]) for s in maps), bias + by * off))
        nodes.append(Elementwise(len(nodes) - 1, relu()))
        true.append(nodes[-1])
        read = {len(nodes) - 1: width, len(nodes) - 2: width}
    check(Graph(tuple(nodes[:-1]), 2), seed, 0.125, Graph(tuple(true[:-1]), 2))


def test_errors_that_all_add_up_are_covered() -> None:
    """Positive numbers, all of them larger than they are stored: no slack of other numbers hides what is lost."""
    rng = np.random.default_rng(0)
    nodes, true = list[Affine | Elementwise](), list[Affine | Elementwise]()
    for k, (width, n) in enumerate(((4, 2), (4, 4), (2, 4))):
        weight, error = np.round(rng.uniform(1, 2, size=(width, n)) * 8) / 8, np.full((width, n), 2.0**-8)
        source = 2 * k - 1 if k else INPUT
        nodes.append(Affine((source,), (Dense(weight, error),), np.ones(width)))
        true.append(Affine((source,), (Dense(weight + error),), np.ones(width)))
        nodes.append(Elementwise(2 * k, relu()))
        true.append(nodes[-1])
    assert check(Graph(tuple(nodes[:-1]), 2), 0, 0.125, Graph(tuple(true[:-1]), 2)) == 0


def test_what_cannot_be_had_is_left() -> None:
    graph = chain([(np.eye(2), np.zeros(2)), (np.eye(2), np.zeros(2))], relu())
    open_ = [(np.full(2, -1.0), np.ones(2))]
    left = settled(graph, open_)
    assert left is not None
    assert left.graph.neurons == 2
    assert settled(chain([(np.eye(2), np.zeros(2))] * 2, leaky_relu(0.1)), open_) is None
    large = chain([(np.full((2, 2), 1e300), np.zeros(2))] * 3, relu())
    assert settled(large, [(np.ones(2), np.full(2, 2.0))] * 2) is None


def test_too_much_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = chain([(np.eye(4), np.zeros(4)), (np.eye(4), np.zeros(4))], relu())
    monkeypatch.setattr(module, "_MOST", 15)
    assert settled(graph, [(np.full(4, -1.0), np.ones(4))]) is None


FAULTS = {
    "the other side": lambda m: m.setattr(
        module, "settled", lambda g, b, f=module.settled: f(g, [(-high, -low) for low, high in b])
    ),
    "open neurons taken for active": lambda m: m.setattr(
        module, "settled", lambda g, b, f=module.settled: f(g, [(np.where(h > 0, 1.0, lo), h) for lo, h in b])
    ),
    "nothing is lost on the way": lambda m: m.setattr(module, "_lost", lambda map_, p, off: map_.size().back(off)),
    "errors are not kept": lambda m: m.setattr(module, "_error", lambda off: None),
    "a consumer is forgotten": lambda m: m.setattr(
        module._Rows, "_give", lambda self, node, value, off: self._waiting.setdefault(node, (value, off))
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_noticed(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    FAULTS[fault](monkeypatch)
    monkeypatch.setitem(check.__globals__, "settled", module.settled)

    def look() -> None:
        test_errors_that_all_add_up_are_covered()
        for seed in range(10):
            for make in MAKERS.values():
                check(make(seed), seed, 0.125)
            test_numbers_that_are_not_known_exactly_stay_so(seed)

    with pytest.raises(AssertionError):
        look()
