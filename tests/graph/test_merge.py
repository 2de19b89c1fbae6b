"""Neurons that others make up: the function stays, in rationals, and what is left is counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
from graph.graphs import Maker, exactly, random_graph

from wdaverify.graph.functions import relu
from wdaverify.graph.maps import Dense, Same
from wdaverify.graph.merge import merged
from wdaverify.graph.nodes import INPUT, Graph
from wdaverify.graph.rewrite import canonical, homogeneous, relus

SEEDS = [s if s < 12 else pytest.param(s, marks=pytest.mark.full) for s in range(120)]


def degenerate(seed: int) -> Graph:
    """Layers of short dyadic numbers with skips, and in each of them neurons that are multiples of others, dead, constant or unread."""
    rng = np.random.default_rng(seed)
    make = Maker(int(rng.integers(1, 4)))
    before = {INPUT: make.inputs}
    for _ in range(int(rng.integers(1, 4))):
        width = int(rng.integers(2, 7))
        matrix = np.round(rng.normal(size=(width, sum(before.values()))) * 4) / 4
        bias = np.round(rng.normal(size=width) * 4) / 4
        for j in range(1, width):
            kind, i = (
                rng.choice(["own", "multiple", "opposite", "constant", "positive", "negative"]),
                int(rng.integers(j)),
            )
            factor = float(rng.choice([1.0, 1.0, 0.5, 3.0, 2.0**-20]))
            if kind in ("multiple", "opposite"):
                sign = 1 if kind == "multiple" else -1
                matrix[j], bias[j] = sign * factor * matrix[i], sign * factor * bias[i]
            elif kind == "constant":
                matrix[j] = 0.0
            elif kind in ("positive", "negative"):
                sign = 1 if kind == "positive" else -1
                matrix[j], bias[j] = sign * np.abs(matrix[j]), sign * abs(bias[j])
        parts, first = {}, 0
        for source, size in before.items():
            parts[source] = Dense(matrix[:, first : first + size])
            first += size
        there = make.function(make.affine(parts, bias), relu())
        skip = [s for s in before if rng.random() < 0.4]
        before = {there: width, **{s: before[s] for s in skip}}
    last = {s: np.round(rng.normal(size=(2, n)) * 2) / 4 for s, n in before.items()}
    pairs = rng.random() < 0.7  # weights that cancel, as where relu(u) - relu(-u) hands u on
    for source, weight in last.items():
        if pairs and source != INPUT and weight.shape[1] > 1:
            weight[:, 1] = -weight[:, 0]
    make.affine({s: Dense(weight) for s, weight in last.items()}, np.array([0.5, -1.0]))
    return make.graph()


@pytest.mark.parametrize("seed", SEEDS)
def test_the_function_stays(seed: int) -> None:
    graph = degenerate(seed) if seed % 3 else relus(random_graph(seed))
    less, wide = merged(graph), homogeneous(graph)
    assert less.exact
    assert less.neurons <= graph.neurons
    rng = np.random.default_rng(seed)
    for x in [np.zeros(graph.inputs), *rng.normal(size=(6, graph.inputs)) * 2.0 ** rng.integers(-3, 6, size=(6, 1))]:
        value = exactly(graph, x)[-1]
        assert exactly(less, x)[-1] == value
        assert exactly(wide, np.append(x, 1.0))[-1] == value
        np.testing.assert_allclose(canonical(graph).forward(x), [float(v) for v in value], rtol=1e-9, atol=1e-9)


def layered(*layers: tuple[list[list[float]], list[float]]) -> Graph:
    make, at = Maker(len(layers[0][0][0])), INPUT
    for k, (matrix, bias) in enumerate(layers):
        at = make.affine({at: Dense(np.array(matrix))}, np.array(bias))
        at = at if k == len(layers) - 1 else make.function(at, relu())
    return make.graph()


PAIR = ([[1.0], [-1.0]], [0.5, -0.5])


@pytest.mark.parametrize(
    ("graph", "left"),
    [
        pytest.param(layered(PAIR, ([[1.0, -1.0]], [0.0])), 0, id="a pair hands on"),
        pytest.param(layered(PAIR, ([[1.0, 1.0]], [0.0])), 1, id="the absolute value"),
        pytest.param(
            layered(PAIR, ([[1.0, -1.0], [-1.0, 1.0]], [0.0, 0.0]), ([[3.0, -3.0]], [1.0])), 0, id="two pairs"
        ),
        pytest.param(layered(PAIR, ([[1.0, 2.0]], [0.0]), ([[1.0]], [0.0])), 1, id="sums of what is at least 0"),
        pytest.param(layered(PAIR, ([[-1.0, -2.0]], [0.0]), ([[1.0]], [0.0])), 0, id="dead, and all before it"),
        pytest.param(layered(([[0.0], [2.0]], [3.0, 0.0]), ([[1.0, 1.0]], [0.0])), 1, id="a constant"),
        pytest.param(layered(([[2.0], [6.0]], [1.0, 3.0]), ([[1.0, 1.0]], [0.0])), 1, id="a multiple of 3"),
        pytest.param(layered(([[3.0], [5.0]], [0.0, 0.0]), ([[1.0, 1.0]], [0.0])), 2, id="5/3 is no double"),
        pytest.param(layered(([[1.0], [1.0]], [0.0, 1e-300]), ([[1.0, -1.0]], [0.0])), 2, id="nearly equal"),
        pytest.param(
            layered(([[1.0], [1.0]], [0.0, 0.0]), ([[1.0, 2.0**-60]], [0.0])), 1, id="a sum that is no double"
        ),
        pytest.param(layered(([[1.0], [-3.0]], [0.0, 0.5]), ([[1.0, 0.0]], [0.0])), 1, id="nothing reads one"),
    ],
)
def test_neurons_left(graph: Graph, left: int) -> None:
    less = merged(graph)
    assert less.neurons == left
    for x in (-2.0, -0.5, 0.0, 0.25, 3.0):
        assert exactly(less, np.array([x]))[-1] == exactly(graph, np.array([x]))[-1]


def test_what_is_known_up_to_an_error_is_its_own() -> None:
    """Two rows of the same numbers, of which one may be off."""
    make = Maker(1)
    off = np.array([[0.0], [1e-16]])
    z = make.affine({INPUT: Dense(np.array([[1.0], [1.0]]), off)})
    make.affine({make.function(z, relu()): Dense(np.array([[1.0, -1.0]]))})
    assert merged(make.graph()).neurons == 2


def test_errors_of_readers_add_up() -> None:
    make = Maker(1)
    v = make.function(make.affine({INPUT: Dense(np.ones((2, 1)))}), relu())
    make.affine({v: Dense(np.array([[1.0, 2.0]]), np.array([[1e-9, 2e-9]]))})
    last = merged(make.graph()).nodes[-1].maps[0]  # type: ignore[union-attr]
    assert isinstance(last, Dense)
    assert last.weight.tolist() == [[3.0]]
    assert last.error is not None
    assert 3e-9 <= last.error[0, 0] <= 3.1e-9


def test_a_skip_reads_what_it_read() -> None:
    """``relu(u) - relu(-u) + 2 u`` of a reader that has u too, and a reader that is no matrix."""
    make = Maker(2)
    u = make.affine({INPUT: Dense(np.array([[1.0, 2.0], [-1.0, -2.0]]))}, np.array([0.25, -0.25]))
    v = make.function(u, relu())
    make.affine({v: Same(2), u: Dense(np.array([[2.0, 0.0], [0.0, 1.0]]))})
    graph = make.graph()
    assert merged(graph).neurons == 1
    for x in np.random.default_rng(0).normal(size=(5, 2)):
        assert exactly(merged(graph), x)[-1] == exactly(graph, x)[-1]


def test_rows_that_cancel_once_what_is_before_them_is_merged() -> None:
    """``relu(v_1 - v_2)`` where both are one neuron: nothing is left of it, nor of its double."""
    make = Maker(1)
    first = make.function(make.affine({INPUT: Dense(np.array([[1.0], [1.0]]))}), relu())
    second = make.function(make.affine({first: Dense(np.array([[1.0, -1.0], [2.0, -2.0], [1.0, 0.0]]))}), relu())
    make.affine({second: Dense(np.array([[1.0, 1.0, 1.0], [0.0, 0.0, 2.0]]))}, np.array([0.1, 0.0]))
    graph = make.graph()
    less = merged(graph)
    for point in (-1.0, 0.0, 0.375, 2.0):
        assert exactly(less, np.array([point]))[-1] == exactly(graph, np.array([point]))[-1]
