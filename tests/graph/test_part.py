"""Parts of graphs: the same entries by the same numbers, and bounds by way of parts that no point leaves."""

from __future__ import annotations

import time

import numpy as np
import pytest
from graph.graphs import random_graph, relu_graph, residual_convolution
from graph.test_bounds import check
from graph.test_maps import maps, matrix

from wdaverify.certify.backward import Backward, Shells
from wdaverify.graph import part as module
from wdaverify.graph.convolution import Convolution
from wdaverify.graph.functions import relu
from wdaverify.graph.maps import Dense, Diagonal, LinearMap, Same
from wdaverify.graph.nodes import INPUT, Affine, Elementwise, Graph, chain
from wdaverify.graph.part import Tiling, part
from wdaverify.ground import GroundCost, Norm

SEEDS = [*range(8), *(pytest.param(s, marks=pytest.mark.full) for s in range(8, 200))]
GRAPHS = [random_graph, relu_graph, residual_convolution]


def convolutional(seed: int, size: int) -> Graph:
    """Two convolutions with a scaled skip around the second, then a matrix."""
    rng = np.random.default_rng(seed)
    first = Convolution(rng.normal(size=(4, 1, 3, 3)), size, size, (2, 2), (1, 1, 1, 1))
    high, wide = first.out
    second = Convolution(rng.normal(size=(4, 4, 3, 3)), high, wide, (1, 1), (1, 1, 1, 1))
    width = first.outputs
    scaled = Diagonal(rng.normal(size=width), rng.uniform(1, 2, size=width))
    nodes = [
        Affine((INPUT,), (first,), rng.normal(size=width)),
        Elementwise(0, relu()),
        Affine((1, 0), (second, scaled), rng.normal(size=width), np.full(width, 1e-12)),
        Elementwise(2, relu()),
        Affine((3,), (Dense(rng.normal(size=(3, width))),), np.zeros(3)),
    ]
    return Graph(tuple(nodes), size * size)


@pytest.fixture
def in_small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TILE", 2)
    monkeypatch.setattr(module, "_SHARE", 0)


@pytest.mark.parametrize("map_", maps(), ids=lambda m: type(m).__name__)
def test_rows_of_a_map(map_: LinearMap) -> None:
    w, rng = matrix(map_), np.random.default_rng(2)
    for size in range(1, map_.outputs + 1):
        at = np.sort(rng.choice(map_.outputs, size=size, replace=False))
        columns = map_.reads(at)
        assert columns.tolist() == np.flatnonzero(w[at].any(axis=0)).tolist()
        if columns.size:
            np.testing.assert_array_equal(matrix(map_.part(at, columns)), w[np.ix_(at, columns)])


def test_errors_of_entries_are_kept() -> None:
    dense = Dense(np.array([[1.0, 0.0, 0.0], [0.0, 2.0, 0.0]]), np.array([[0.0, 0.5, 0.0], [0.25, 0.0, 0.0]]))
    at = np.array([1])
    columns = dense.reads(at)
    assert columns.tolist() == [0, 1]
    smaller = dense.part(at, columns)
    assert smaller.error is not None
    assert smaller.error.tolist() == [[0.25, 0.0]]
    diagonal = Diagonal(np.ones(3), np.ones(3), np.array([0.0, 0.1, 0.2])).part(np.array([0, 2]), np.array([0, 2]))
    assert diagonal.error is not None
    assert diagonal.error.tolist() == [0.0, 0.2]


@pytest.mark.parametrize("make", GRAPHS)
@pytest.mark.parametrize("seed", SEEDS)
def test_a_part_has_the_values_of_the_graph(seed: int, make: object) -> None:
    graph, rng = make(seed), np.random.default_rng(seed)  # type: ignore[operator]
    x = rng.normal(size=(20, graph.inputs))
    values = graph.values(x)
    for k, node in enumerate(graph.nodes):
        if isinstance(node, Affine):
            at = np.sort(rng.choice(node.width, size=int(rng.integers(1, node.width + 1)), replace=False))
            found = part(graph, k, at)
            of_part = found.graph.values(x)
            np.testing.assert_allclose(of_part[-1], values[k][:, at], rtol=0, atol=1e-11)
            for place, (inner, kept) in zip(found.graph.elementwise, found.kept.items(), strict=True):
                np.testing.assert_allclose(of_part[place], values[inner][:, kept], rtol=0, atol=1e-11)


def test_what_is_not_known_goes_with_its_entries() -> None:
    graph = convolutional(0, 8)
    found = part(graph, 2, np.array([7, 30]))
    last = found.graph.nodes[-1]
    assert isinstance(last, Affine)
    assert last.bias_error is not None
    assert last.bias_error.tolist() == [1e-12, 1e-12]


def test_nothing_read_is_one_entry_times_zero() -> None:
    zero = Affine((INPUT,), (Dense(np.array([[0.0, 0.0], [1.0, 2.0]])),), np.array([3.0, 4.0]))
    found = part(Graph((zero,), 2), 0, np.array([0]))
    assert found.graph.forward(np.array([5.0, 6.0])).tolist() == [3.0]


def test_parts_are_made_where_windows_are_small() -> None:
    graph = convolutional(1, 48)
    for node in (0, 2):
        made = [part(graph, node, at) for at in Tiling(graph).of(node)]
        assert len(made) == -(-graph.width(node) // 64)
        assert sorted(np.concatenate([p.at for p in made]).tolist()) == list(range(graph.width(node)))
        largest = max(sum(p.graph.width(k) for k in p.graph.elementwise) for p in made)
        assert largest <= graph.neurons // 4
    assert Tiling(graph).of(4) == []  # few entries
    dense = chain([(np.ones((300, 20)), np.zeros(300)), (np.ones((300, 300)), np.zeros(300))], relu())
    same = Graph((Affine((INPUT,), (Same(300),), np.zeros(300)),), 300)
    assert len(Tiling(dense).of(0)) == len(Tiling(same).of(0)) == 5
    assert Tiling(dense).of(2) == []


def test_parts_take_no_more_memory_than_they_may(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = convolutional(1, 48)
    whole = Tiling(graph)
    numbers = [
        sum(
            n.size
            for p in (part(graph, node, at) for at in whole.of(node))
            for read in p.graph.nodes
            if isinstance(read, Affine)
            for m in read.maps
            for n in m.numbers
        )
        for node in (0, 2)
    ]
    assert numbers[1] > 3 * numbers[0]
    monkeypatch.setattr(module, "_NUMBERS", 2 * numbers[1])
    assert Tiling(graph).of(2)
    monkeypatch.setattr(module, "_NUMBERS", numbers[1])
    less = Tiling(graph)
    assert less.of(0)
    assert less.of(2) == []


def test_parts_are_made_when_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not beyond the deadline: one, after which it is looked at."""
    graph, made = convolutional(1, 48), list[int]()

    def counted(graph: Graph, node: int, at: np.ndarray) -> module.Part:
        made.append(node)
        return part(graph, node, at)

    monkeypatch.setattr("wdaverify.certify.backward.part", counted)
    n = graph.inputs
    shells = Shells.around(
        GroundCost(Norm.ONE, 1), np.full((1, n), 0.5), np.zeros(n), np.ones(n), np.zeros(1), np.ones(1)
    )
    backward = Backward(graph)
    backward.pre_activations(shells, deadline=time.monotonic() - 1)
    assert made == [0, 2]
    backward.pre_activations(shells)
    everything = len(made)
    assert everything > 20
    backward.pre_activations(shells)
    assert len(made) == everything


def test_ways_of_deep_graphs_do_not_overflow() -> None:
    deep = chain([(np.ones((130, 130)), np.zeros(130))] * 160, relu())
    assert Tiling(deep).of(316) == []


@pytest.mark.usefixtures("in_small_parts")
@pytest.mark.parametrize("norm", [Norm.INF, Norm.ONE])
@pytest.mark.parametrize("make", GRAPHS)
@pytest.mark.parametrize("seed", SEEDS)
def test_no_point_leaves_the_bounds(seed: int, make: object, norm: Norm) -> None:
    check(make(seed), norm, seed)  # type: ignore[operator]


@pytest.mark.parametrize("norm", list(Norm))
@pytest.mark.parametrize("seed", range(3))
def test_bounds_are_those_of_one_pass_over_the_graph(seed: int, norm: Norm, monkeypatch: pytest.MonkeyPatch) -> None:
    """On several shells at once and one by one, with phases and without."""
    monkeypatch.setattr(module, "_TILE", 16)
    graph, rng = convolutional(seed, 16), np.random.default_rng(seed)
    centre, far = rng.uniform(size=(3, graph.inputs)), np.array([0.02, 0.3, 0.1])
    shells = Shells.around(GroundCost(norm, 1), centre, np.zeros(256), np.ones(256), np.zeros(3), far)
    signs = np.concatenate([np.sign(graph.values(centre)[k]) for k in (0, 2)], axis=1).astype(np.int8)
    signs[rng.uniform(size=signs.shape) < 0.5] = 0
    backward = Backward(graph)
    found = [backward.pre_activations(shells, phases) for phases in (None, signs)]
    assert len(backward._windows) > 2
    for i in range(3):
        some = np.array([i])
        for phases, together in zip((None, signs), found, strict=True):
            alone = backward.pre_activations(shells.take(some), None if phases is None else phases[some])
            for pair, both in zip(alone, together, strict=True):
                for side, sides in zip(pair, both, strict=True):
                    np.testing.assert_array_equal(side[0], sides[i])
    monkeypatch.setattr(Tiling, "of", lambda self, node: [])
    whole = Backward(graph)
    for phases, by_parts in zip((None, signs), found, strict=True):
        for pair, both in zip(whole.pre_activations(shells, phases), by_parts, strict=True):
            for side, sides in zip(pair, both, strict=True):
                np.testing.assert_allclose(side, sides, rtol=1e-9, atol=1e-9)


def _less_bias(graph: Graph, node: int, at: np.ndarray) -> module.Part:
    found = part(graph, node, at)
    last = found.graph.nodes[-1]
    assert isinstance(last, Affine)
    nodes = (*found.graph.nodes[:-1], Affine(last.sources, last.maps, np.zeros_like(last.bias)))
    return module.Part(found.at, Graph(nodes, graph.inputs), found.kept, 0)


FAULTS = {
    "a bias is lost": lambda m: m.setattr("wdaverify.certify.backward.part", _less_bias),
    "bounds of other neurons": lambda m: m.setattr(
        "wdaverify.certify.backward.part",
        lambda g, n, at: module.Part(at, (f := part(g, n, at)).graph, {k: e[::-1] for k, e in f.kept.items()}, 0),
    ),
    "entries of other neurons": lambda m: m.setattr(
        "wdaverify.certify.backward.part",
        lambda g, n, at: module.Part(at[::-1], (f := part(g, n, at)).graph, f.kept, 0),
    ),
}


@pytest.mark.usefixtures("in_small_parts")
@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_noticed(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    FAULTS[fault](monkeypatch)

    def look() -> None:
        for seed in range(8):
            for make in GRAPHS:
                check(make(seed), Norm.ONE, seed)

    with pytest.raises(AssertionError):
        look()
