"""Graphs in single precision, both ways: against rationals, against each other, against matrix products."""

from __future__ import annotations

import numpy as np
import pytest
from graph.graphs import Maker, exactly, random_graph, residual_convolution, steered_graph
from graph.test_maps import maps

from wdaverify.graph.functions import relu
from wdaverify.graph.maps import Dense, LinearMap, Same
from wdaverify.graph.nodes import INPUT, Affine, Elementwise, Graph, chain
from wdaverify.graph.single import Floats, Single


def shared() -> Graph:
    """Coefficients that two nodes are given as they are, and one of them more besides."""
    rng, make = np.random.default_rng(3), Maker(2)
    first, second = (make.affine({INPUT: Dense(rng.normal(size=(3, 2)))}) for _ in range(2))
    third = make.affine({first: Dense(rng.normal(size=(3, 3)))}, rng.normal(size=3))
    make.affine({first: Same(3), second: Same(3), third: Same(3)}, rng.normal(size=3))
    return make.graph()


GRAPHS = [shared(), *(random_graph(seed) for seed in range(12)), *(residual_convolution(seed) for seed in range(2))]


def single(*shape: int) -> Floats:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("graph", GRAPHS)
def test_forward_is_the_graph(graph: Graph) -> None:
    """With every function as it is; each elementwise node is asked once, in order."""
    functions = [node.function for node in graph.nodes if isinstance(node, Elementwise)]
    asked: list[int] = []

    def line(number: int, z: Floats) -> Floats:
        assert z.dtype == np.float32
        asked.append(number)
        return functions[number].value(z).astype(np.float32)  # type: ignore[arg-type]

    x = single(5, graph.inputs)
    out = Single(graph).forward(x, line)
    assert out.dtype == np.float32
    assert asked == list(range(len(functions)))
    want = np.array([[float(v) for v in exactly(graph, point)[-1]] for point in x])
    np.testing.assert_allclose(out, want, rtol=1e-5, atol=1e-5 * max(1.0, float(np.abs(want).max())))


@pytest.mark.parametrize("graph", GRAPHS)
def test_back_is_the_transpose_of_forward(graph: Graph) -> None:
    """With a line of its own for every neuron, ``rows . f(x) = constant + pull . x``; each elementwise node is asked once, backwards."""
    rng, made = np.random.default_rng(0), Single(graph)
    slopes, shifts = rng.normal(size=(2, graph.neurons)).astype(np.float32)
    x, rows, asked = single(4, graph.inputs), single(4, graph.outputs), list[int]()
    constant, given = single(4), rows.copy()
    before = constant.copy()

    def below(number: int, q: Floats) -> Floats:
        nonlocal constant
        asked.append(number)
        assert q.dtype == np.float32
        assert q.shape == (4, graph.width(graph.elementwise[number]))
        constant += q @ shifts[made.spans[number]]
        return q * slopes[made.spans[number]]

    pull = made.back(rows, constant, below)
    assert pull.dtype == constant.dtype == np.float32
    np.testing.assert_array_equal(rows, given)
    assert asked == list(range(len(made.spans)))[::-1]
    out = made.forward(x, lambda k, z: z * slopes[made.spans[k]] + shifts[made.spans[k]])
    told, got = (rows * out).sum(axis=1), constant - before + (pull * x).sum(axis=1)
    np.testing.assert_allclose(got, told, rtol=1e-4, atol=1e-4 * max(1.0, float(np.abs(told).max())))


@pytest.mark.parametrize("map_", maps(), ids=lambda m: type(m).__name__)
def test_maps_are_single_both_ways(map_: LinearMap) -> None:
    """Whatever a map is made of: no number becomes double on the way."""
    made = Single(Graph((Affine((INPUT,), (map_,), np.zeros(map_.outputs)),), map_.inputs))
    x, rows, none = single(3, map_.inputs), single(3, map_.outputs), np.zeros(3, np.float32)
    out, pull = made.forward(x, lambda _, z: z), made.back(rows, none, lambda _, q: q)
    assert out.dtype == pull.dtype == np.float32
    np.testing.assert_allclose(out, map_.apply(x.astype(float)), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(pull, map_.back(rows.astype(float)), rtol=1e-5, atol=1e-5)
    assert not none.any()


def test_a_chain_is_its_matrix_products_to_the_last_bit() -> None:
    weights, biases = [single(9, 5), single(7, 9), single(4, 7)], [single(9), single(7), single(4)]
    made = Single(
        chain([(Dense(w.astype(float)), b.astype(float)) for w, b in zip(weights, biases, strict=True)], relu())
    )
    x, rows, constant = single(6, 5), single(6, 4), np.zeros(6, np.float32)
    z, nu, total = x, rows, np.zeros(6, np.float32)
    for weight, bias in zip(weights, biases, strict=True):
        z = z @ np.ascontiguousarray(weight.T) + bias
    for weight, bias in zip(weights[::-1], biases[::-1], strict=True):
        total += nu @ bias
        nu = nu @ weight
    np.testing.assert_array_equal(made.forward(x, lambda _, v: v), z)
    np.testing.assert_array_equal(made.back(rows, constant, lambda _, q: q), nu)
    np.testing.assert_array_equal(constant, total)


def test_neurons_on_which_nothing_depends_are_asked_all_the_same() -> None:
    """Their coefficients are 0; what is given there goes on."""
    make = Maker(2)
    z = make.affine({INPUT: Dense(np.array([[1.0, 2.0], [3.0, 4.0]]))}, np.array([5.0, 6.0]))
    make.function(z, relu())
    make.affine({z: Same(2)})
    constant = np.zeros(1, np.float32)

    def line(number: int, q: Floats) -> Floats:
        np.testing.assert_array_equal(q, np.zeros((1, 2)))
        return q + np.float32(10)

    pull = Single(make.graph()).back(np.ones((1, 2), np.float32), constant, line)
    np.testing.assert_array_equal(pull, [[44.0, 66.0]])
    np.testing.assert_array_equal(constant, [121.0])


def test_products_are_counted() -> None:
    """Of a chain its entries; of a convolution its windows; adding and selecting is none."""
    rng = np.random.default_rng(0)
    assert (
        chain(
            [(Dense(rng.normal(size=(3, 2))), np.zeros(3)), (Dense(rng.normal(size=(4, 3))), np.zeros(4))], relu()
        ).products
        == 18
    )
    skips, convolutions, joined = (steered_graph(seed).products for seed in range(3))
    assert skips == 4 * 2 + 4 * 4 + 4 * 2 + 3 * 4 + 3 * 4
    assert convolutions == 4 * 2 + 8 * 4 + 2 * 4 + 2 * 2 + 3 * 2 + 3 * 4
    assert joined == 4 * 2 + 3 * 10 + 2 * 3 + 3 * 2 + 3 * 4
