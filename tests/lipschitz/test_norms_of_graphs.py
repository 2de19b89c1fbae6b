"""Norms added up over the paths of a graph, LipSDP of a single path alone, and what biases are worth at infinity, against rationals."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from bounds.tiny import network, problem
from graph.graphs import Maker, exactly, gradients, random_graph, relu_graph, residual_convolution
from lipschitz.tangents import dual
from lipschitz.test_slopes_of_graphs import standing_for

from wdaverify.errors import ProblemError
from wdaverify.graph.convolution import Convolution
from wdaverify.graph.functions import absolute, relu
from wdaverify.graph.maps import Dense, Diagonal, Same, Select
from wdaverify.graph.nodes import INPUT, Affine, Graph
from wdaverify.ground import GroundCost, Norm
from wdaverify.ladder.compare import Settings, compare
from wdaverify.lipschitz.lipsdp import lipsdp
from wdaverify.lipschitz.norms import product_of_norms
from wdaverify.wdro.horizon import Horizon

NORMS = list(Norm)
SEEDS = [*range(10), *(pytest.param(s, marks=pytest.mark.full) for s in range(10, 60))]


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", SEEDS)
def test_above_every_gradient(seed: int, norm: Norm) -> None:
    rng = np.random.default_rng(seed)
    for graph in (relu_graph(seed), random_graph(seed)):
        weights = np.where(rng.random(graph.inputs) < 0.2, math.inf, rng.uniform(0.2, 5, graph.inputs))
        rows = rng.normal(size=(2, graph.outputs))
        bound = product_of_norms(graph, rows, GroundCost(norm, 1, weights))
        assert np.isfinite(bound).all()
        for x in rng.uniform(-2, 2, (20, graph.inputs)):
            exact = gradients(graph, x)
            if exact is not None:
                moved = rows @ np.array([[float(v) for v in row] for row in exact[-1]])
                assert (dual(moved, norm.value, weights) <= bound * (1 + 1e-13)).all()


@pytest.mark.parametrize("norm", NORMS)
def test_paths_add_up(norm: Norm) -> None:
    """``x + |2 x| + 3 relu(x - |2 x|)``: 1 + 2 + 3 (1 + 2), and what two paths through affine nodes take back is not counted."""
    make = Maker(1)
    z = make.affine({INPUT: Same(1)}, np.array([0.5]))
    v = make.function(make.affine({z: Dense(np.array([[2.0]]))}), absolute())
    w = make.function(make.affine({z: Same(1), v: Dense(np.array([[-1.0]]))}), relu())
    last = make.affine({z: Same(1), v: Same(1), w: Dense(np.array([[3.0]]))})
    assert product_of_norms(make.graph(), np.ones((1, 1)), GroundCost(norm, 1)) == pytest.approx([12.0], rel=1e-8)
    make.affine({last: Same(1), z: Dense(np.array([[-1.0]]))})
    assert product_of_norms(make.graph(), np.ones((1, 1)), GroundCost(norm, 1)) == pytest.approx([11.0], rel=1e-8)


@pytest.mark.parametrize("norm", NORMS)
def test_a_convolution_is_its_matrix(norm: Norm) -> None:
    graph = residual_convolution(0)
    plain = [
        Affine(n.sources, tuple(Dense(m.apply(np.eye(m.inputs)).T.copy()) for m in n.maps), n.bias)
        if isinstance(n, Affine)
        else n
        for n in graph.nodes
    ]
    found = [product_of_norms(g, np.eye(3), GroundCost(norm, 1)) for g in (graph, Graph(tuple(plain), 9))]
    assert found[0] == pytest.approx(found[1], rel=1e-12)


# LipSDP


def path() -> Graph:
    """Quotients and a selection before a layer, a convolution and a sum after it."""
    make = Maker(3)
    turned = make.affine({make.affine({INPUT: Diagonal(np.ones(3), np.full(3, 7.0))}): Select(np.array([2, 0, 1]), 3)})
    v = make.function(make.affine({turned: Dense(np.random.default_rng(0).normal(size=(4, 3)))}, np.ones(4)), relu())
    made = make.affine({v: Convolution(np.random.default_rng(1).normal(size=(2, 1, 2, 1)), 2, 2)})
    make.affine({made: Dense(np.random.default_rng(2).normal(size=(2, 4)))})
    return make.graph()


@pytest.mark.parametrize("norm", NORMS)
def test_a_single_path_is_that_of_its_products(norm: Norm) -> None:
    graph = path()
    units = [m.apply(np.eye(m.inputs)).T for n in graph.nodes if isinstance(n, Affine) for m in n.maps]
    chain = network((units[2] @ units[1] @ units[0], np.ones(4)), (units[4] @ units[3], np.zeros(2)))
    rows, cost = np.array([[1.0, -1.0]]), GroundCost(norm, 1, np.array([1.0, 0.5, 3.0]))
    for method in (lambda g: lipsdp(g, rows, cost).constants, lambda g: product_of_norms(g, rows, cost)):
        assert method(graph) == pytest.approx(method(chain.canonical), rel=1e-5)
    exact = [gradients(graph, x) for x in np.random.default_rng(3).normal(size=(50, 3)) * 9]
    steepest = max(float(dual(rows @ np.array(g[-1], dtype=float), norm.value, cost.scale(3))[0]) for g in exact if g)
    assert lipsdp(graph, rows, cost).constants[0] >= steepest


def skip() -> Graph:
    make = Maker(2)
    z = make.affine({INPUT: Dense(np.eye(2))})
    make.affine({make.function(z, relu()): Same(2), z: Same(2)})
    return make.graph()


def test_lipsdp_refuses_what_is_no_single_path() -> None:
    make = Maker(2)
    make.affine({make.function(make.affine({INPUT: Dense(np.eye(2))}), absolute()): Same(2)})
    for graph, found in ((skip(), "layer 2, which reads more than"), (make.graph(), "the function Abs")):
        with pytest.raises(
            ProblemError, match=f"^LipSDP of a network with {found}.* is accepted; ask for the exact constant instead$"
        ):
            lipsdp(graph, np.eye(2), GroundCost(Norm.TWO, 1))


def test_the_ladder_says_why_lipsdp_is_missing() -> None:
    asked = problem(standing_for(skip()), np.full((1, 2), 0.5), [0])
    ladder = compare(asked, [0.1], Settings(rungs=("norms", "lipsdp"))).ladders[0]
    rungs = {rung.name: rung for rung in ladder.rungs}
    assert rungs["LipSDP"].value is None
    assert "a single path of affine maps and ReLUs is accepted" in str(rungs["LipSDP"].why)
    assert rungs["product of layer norms"].value is not None


# The whole space


@pytest.mark.parametrize("seed", SEEDS)
def test_what_biases_are_worth(seed: int) -> None:
    """``c . f(x) <= C + c . f0(x - x_i)`` for the margins c of every sample, far out and near, in rationals."""
    graph, rng = relu_graph(seed), np.random.default_rng(seed)
    x = rng.integers(-8, 9, (2, graph.inputs)) / 8
    constants = Horizon(problem(standing_for(graph), x, [0, 1], lower=-2.0, upper=2.0))._constant
    bare = [replace(n, bias=np.zeros_like(n.bias)) if isinstance(n, Affine) else n for n in graph.nodes]
    linear = Graph(tuple(bare), graph.inputs)
    assert np.isfinite(constants).all()
    for y, (centre, constant) in enumerate(zip(x, constants.tolist(), strict=True)):
        for far in (0.0, 0.25, 1.0, 64.0):
            point = centre + far * rng.integers(-8, 9, graph.inputs) / 8
            f, f0 = exactly(graph, point)[-1], exactly(linear, point - centre)[-1]
            assert (f[1 - y] - f[y]) - (f0[1 - y] - f0[y]) <= Fraction(constant)


def test_what_biases_are_worth_by_hand() -> None:
    """``relu(relu(x - 3) - 1) + x / 4 + x - 3`` against 0 around 5: functions of 2 and then of 2 + 1, and 5 / 4 + 2 of what is affine."""
    make = Maker(1)
    z = make.affine({INPUT: Same(1)}, np.array([-3.0]))
    v = make.function(make.affine({make.function(z, relu()): Same(1)}, np.array([-1.0])), relu())
    quarter = make.affine({INPUT: Diagonal(np.ones(1), np.full(1, 4.0))})
    make.affine(dict.fromkeys((v, quarter, z), Dense(np.array([[0.0], [1.0]]))))
    constants = Horizon(problem(standing_for(make.graph()), np.full((1, 1), 5.0), [0], lower=-9.0, upper=9.0))._constant
    assert constants == pytest.approx([6.25], rel=1e-12)
    assert constants[0] >= 6.25
