"""Rewrites of a graph mean the same function: in rationals where nothing is rounded, within what they say where something is."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from graph.graphs import Maker, exactly, random_graph, residual_convolution

from wdaverify.certify.backward import Backward, Shells
from wdaverify.certify.enclosure import margins_enclosure
from wdaverify.errors import NetworkError
from wdaverify.graph.convolution import Convolution
from wdaverify.graph.functions import PiecewiseLinear, clip, leaky_relu, relu
from wdaverify.graph.maps import Dense, Diagonal, Same
from wdaverify.graph.nodes import INPUT, Affine, Elementwise, Graph
from wdaverify.graph.rewrite import canonical, fused, homogeneous, relus, without_biases
from wdaverify.ground import GroundCost, Norm
from wdaverify.network.model import ReluNetwork

FEW = range(12)


def graphs(seed: int) -> Graph:
    return residual_convolution(seed) if seed % 4 == 3 else random_graph(seed)


def points(graph: Graph, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng((seed, 1))
    return [np.round(rng.normal(size=graph.inputs) * 8) / 8 for _ in range(4)]


def functions_of(graph: Graph) -> list[PiecewiseLinear]:
    return [node.function for node in graph.nodes if isinstance(node, Elementwise)]


@pytest.mark.parametrize("seed", FEW)
def test_relus_are_the_function_exactly(seed: int) -> None:
    graph = graphs(seed)
    plain = relus(graph)
    assert all(function.is_relu for function in functions_of(plain))
    for x in points(graph, seed):
        assert exactly(plain, x)[-1] == exactly(graph, x)[-1]


def test_slopes_without_a_difference_take_two_relus() -> None:
    """1 less 2^-60 is no double."""
    make = Maker(1)
    make.affine({make.function(make.affine({INPUT: Same(1)}), leaky_relu(2.0**-60)): Same(1)})
    plain = relus(make.graph())
    assert plain.neurons == 2
    for x in (-3.0, 0.0, 0.7):
        assert exactly(plain, np.array([x]))[-1] == [Fraction(x) if x > 0 else Fraction(x) / 2**60]
    odd = PiecewiseLinear("odd", [0.0, 1.0], [0.0, 2.0**-60], [1.0, 2.0**-60, 1.0])  # type: ignore[arg-type]
    make = Maker(1)
    make.affine({make.function(make.affine({INPUT: Same(1)}), odd): Same(1)})
    with pytest.raises(NetworkError, match="accepted"):
        relus(make.graph())


def test_a_relu_of_a_relu_is_one() -> None:
    make = Maker(2)
    first = make.function(make.affine({INPUT: Dense(np.eye(2))}, np.array([0.5, -0.5])), relu())
    again = make.function(make.affine({first: Same(2)}), relu())
    shifted = make.function(make.affine({again: Same(2)}, np.array([0.0, -1.0])), relu())
    make.affine({shifted: Same(2), again: Same(2)})
    graph = make.graph()
    assert (graph.neurons, relus(graph).neurons) == (6, 4)
    for x in points(graph, 0):
        assert exactly(relus(graph), x)[-1] == exactly(graph, x)[-1]


@pytest.mark.parametrize("seed", FEW)
def test_what_fusing_and_scaling_round_is_paid_for(seed: int) -> None:
    """A bound at a point over the canonical form holds for the graph itself, in rationals."""
    graph = graphs(seed)
    form = canonical(graph)
    assert form.neurons <= relus(graph).neurons
    backward, rows = Backward(form), np.concatenate([np.eye(form.outputs), -np.eye(form.outputs)])
    for x in points(graph, seed):
        many = np.broadcast_to(x, (len(rows), x.size))
        none = np.zeros(len(rows))
        shells = Shells.around(GroundCost(Norm.INF, 1), many, x, x, none, none)
        bounds = backward.pre_activations(shells)
        phases = np.zeros((len(rows), backward.neurons), np.int8)
        top = backward.leaves(rows, none, shells, bounds, phases, None)
        value = exactly(graph, x)[-1]
        assert all(a >= b for a, b in zip(top.tolist(), [*value, *(-v for v in value)], strict=True))
        np.testing.assert_allclose(form.forward(x), [float(v) for v in value], rtol=1e-9, atol=1e-9)


def test_affine_nodes_in_a_row_are_one_and_structure_is_kept() -> None:
    rng = np.random.default_rng(0)
    make = Maker(4)
    scaled = make.affine({INPUT: Same(4)}, -rng.normal(size=4))
    scaled = make.affine({scaled: Diagonal(np.ones(4), np.full(4, 3.0))})
    first = make.affine(
        {scaled: Convolution(rng.normal(size=(3, 1, 2, 2)), 2, 2, pads=(1, 1, 1, 1))}, rng.normal(size=27)
    )
    v = make.function(make.affine({first: Same(27), INPUT: Dense(rng.normal(size=(27, 4)))}), relu())
    make.affine({make.affine({v: Dense(rng.normal(size=(5, 27)))}): Dense(rng.normal(size=(2, 5)))})
    form = fused(make.graph())
    assert [type(node) for node in form.nodes] == [Affine, Affine, Elementwise, Affine]
    maps = [type(m) for node in form.nodes if isinstance(node, Affine) for m in node.maps]
    assert maps == [Diagonal, Convolution, Dense, Dense]


def test_a_node_with_two_readers_stays() -> None:
    make = Maker(2)
    shared = make.affine({INPUT: Dense(np.array([[1.0, 2.0], [3.0, -1.0]]))})
    v = make.function(shared, relu())
    make.affine({v: Dense(np.ones((2, 2))), shared: Dense(np.eye(2) * 3)})
    form = fused(make.graph())
    assert len(form.nodes) == 3
    for x in points(form, 0):
        assert exactly(form, x)[-1] == exactly(make.graph(), x)[-1]


def test_composing_beyond_the_largest_double_is_refused() -> None:
    make = Maker(1)
    make.affine({make.affine({INPUT: Dense([[1e200]])}): Dense([[1e200]])})  # type: ignore[arg-type]
    with pytest.raises(NetworkError, match="overflow double precision when composed"):
        fused(make.graph())


@pytest.mark.parametrize("seed", FEW)
def test_homogeneous_graphs(seed: int) -> None:
    """``g(x, t) = t f(x / t)`` at powers of two, in rationals, and ``f(t x) / t`` far out."""
    graph = graphs(seed)
    wide, far = homogeneous(graph), without_biases(graph)
    assert wide.inputs == graph.inputs + 1
    for x in points(graph, seed):
        for t in (0.5, 1.0, 4.0):
            got = exactly(wide, np.append(x, t))[-1]
            assert got == [v * Fraction(t) for v in exactly(graph, x / t)[-1]]
        distant = exactly(graph, x * 2.0**60)[-1]
        for a, b in zip(exactly(far, x)[-1], distant, strict=True):
            assert abs(a - b / 2**60) <= Fraction(1, 2**40)


def test_clips_are_flat_far_out() -> None:
    make = Maker(1)
    make.affine({make.function(make.affine({INPUT: Dense([[2.0]])}), clip(-1.0, 2.0)): Same(1)})  # type: ignore[arg-type]
    assert exactly(without_biases(make.graph()), np.array([3.0]))[-1] == [0]


def test_two_nodes_that_become_one_are_read_twice() -> None:
    """``relu(z)`` and ``relu(relu(z))`` of one reader."""
    make = Maker(2)
    first = make.function(make.affine({INPUT: Dense(np.eye(2))}, np.array([0.5, -0.5])), relu())
    again = make.function(make.affine({first: Same(2)}), relu())
    make.affine({first: Dense(np.array([[1.0, 2.0]])), again: Dense(np.array([[-3.0, 0.5]]))})
    graph = make.graph()
    assert canonical(graph).neurons == 2
    for x in points(graph, 0):
        assert exactly(relus(graph), x)[-1] == exactly(graph, x)[-1]
        np.testing.assert_allclose(canonical(graph).forward(x), [float(v) for v in exactly(graph, x)[-1]], atol=1e-12)


@pytest.mark.parametrize(
    ("low", "high"), [(-3.4028234663852886e38, 0.3), (-1e10, 0.3), (-np.inf, 1e300), (-0.4, 1e300)]
)
def test_ends_that_are_far_cost_nothing(low: float, high: float) -> None:
    make = Maker(2)
    clipped = make.function(make.affine({INPUT: Dense(np.eye(2))}), clip(low, high))
    make.affine({clipped: Dense(np.array([[1.0, -1.0], [0.5, 1.0]]))})
    graph, x = make.graph(), np.array([0.1, 0.7])
    want = [float(v) for v in exactly(graph, x)[-1]]
    for form in (graph, canonical(graph)):
        np.testing.assert_allclose(form.forward(x), want, rtol=0, atol=1e-15)
    net = ReluNetwork(graph, (2,), (2,), "", "clipped", ())
    lower, upper = margins_enclosure(net, x[None], np.array([0]))
    assert float(upper[0, 1] - lower[0, 1]) < 1e-14
    tiny = make.graph().forward(x * 1e-200)
    np.testing.assert_allclose(tiny, np.array([[1.0, -1.0], [0.5, 1.0]]) @ (x * 1e-200), rtol=1e-14, atol=0)
