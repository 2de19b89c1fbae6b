"""Exact Lipschitz constants of graphs of ReLUs against the enumeration of their cells, and what is said of a cell against rationals."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from bounds.tiny import network
from graph.cells import enumerate_graph
from graph.graphs import Maker, exactly, gradients, relu_graph
from lipschitz.slopes import largest

from wdaverify.certify import flatness
from wdaverify.certify.flatness import exact_row
from wdaverify.encoding.cost import Region
from wdaverify.engines.cells.flatness import no_interior
from wdaverify.engines.cells.interior import cell_error, cell_rows, deepest
from wdaverify.graph.convolution import Convolution
from wdaverify.graph.functions import relu
from wdaverify.graph.maps import Dense, Diagonal, Same
from wdaverify.graph.nodes import INPUT, Graph
from wdaverify.ground import GroundCost, Norm, Support
from wdaverify.lipschitz.exact import lipschitz
from wdaverify.lipschitz.question import LipschitzProblem, Measure
from wdaverify.lipschitz.result import LipschitzResult
from wdaverify.network.model import ReluNetwork
from wdaverify.samples import make_samples

NORMS = list(Norm)


def seeds(quick: int, complete: int) -> list[object]:
    return [pytest.param(s, marks=() if s < quick else pytest.mark.full) for s in range(complete)]


def standing_for(graph: Graph) -> ReluNetwork:
    """A network whose canonical form, and that with every neuron, is the graph."""
    net = network((np.zeros((graph.outputs, graph.inputs)), np.zeros(graph.outputs)))
    net.__dict__["canonical"] = net.__dict__["layers"] = graph
    return net


def ask(graph: Graph, norm: Norm, solver: str = "cells", within: float = math.inf) -> LipschitzResult:
    """On the unit box, or around (1/4, ..., 1/4)."""
    net, n = standing_for(graph), graph.inputs
    around = make_samples(np.full((1, n), 0.25), np.zeros(1, dtype=int)) if math.isfinite(within) else None
    measure = Measure.operator_norm(net)
    problem = LipschitzProblem(net, GroundCost(norm, 1), Support.box(-1.0, 1.0, n), measure, around, within)
    return lipschitz(problem, solver=solver, time_limit=60.0)


def steepest(graph: Graph, norm: Norm, low: float = -1.0, high: float = 1.0, **asked: object) -> float:
    lower, upper = np.full(graph.inputs, low), np.full(graph.inputs, high)
    cells = enumerate_graph(graph, lower, upper)
    return largest(cells, np.eye(graph.outputs), norm.value, lower, upper, together=True, **asked)  # type: ignore[arg-type]


def closed_at(result: LipschitzResult, truth: float) -> None:
    assert result.lower <= truth * (1 + 1e-9) + 1e-9
    assert truth * (1 - 1e-9) - 1e-9 <= result.upper
    assert result.status == "exact", (result.reason, result.notices)
    assert result.upper - result.lower <= 1e-6


@pytest.mark.parametrize("short", [False, True])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", seeds(3, 60))
def test_boxes(seed: int, norm: Norm, short: bool) -> None:
    """Of short numbers cells are flat, and neurons copy each other."""
    graph = relu_graph(seed, short=short)
    closed_at(ask(graph, norm), steepest(graph, norm))


MANY_FLAT = {(15, Norm.ONE, True), (57, Norm.ONE, True)}
"""Graphs with more flat cells than an integer program cuts off: the bracket holds and may stay open."""


@pytest.mark.parametrize("short", [False, True])
@pytest.mark.parametrize("norm", [Norm.INF, Norm.ONE])
@pytest.mark.parametrize("seed", seeds(2, 60))
def test_integer_programs(seed: int, norm: Norm, short: bool) -> None:
    graph = relu_graph(seed, short=short)
    result, truth = ask(graph, norm, "highs"), steepest(graph, norm)
    if (seed, norm, short) in MANY_FLAT:
        assert result.status == "exact" or "highs: " in result.notices[0]
        assert result.lower <= truth * (1 + 1e-9) <= result.upper * (1 + 2e-9)
    else:
        closed_at(result, truth)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", seeds(3, 40))
def test_balls(seed: int, norm: Norm) -> None:
    graph, within = relu_graph(seed), 0.375
    truth = steepest(graph, norm, -0.125, 0.625, ball=(np.full(graph.inputs, 0.25), within))
    closed_at(ask(graph, norm, within=within), truth)


def wide(seed: int) -> Graph:
    """6 inputs that 3 numbers are read from, by two nodes: an l2 direction is one of 3."""
    rng = np.random.default_rng(seed)
    make = Maker(6)
    v = make.function(make.affine({INPUT: Dense(rng.normal(size=(2, 6)))}, rng.normal(size=2) * 0.3), relu())
    z = make.affine({v: Dense(rng.normal(size=(1, 2))), INPUT: Dense(rng.normal(size=(1, 6)))})
    make.affine({make.function(z, relu()): Dense(rng.normal(size=(2, 1))), v: Dense(rng.normal(size=(2, 2)))})
    return make.graph()


def images(seed: int) -> Graph:
    """A 1 x 1 x 2 image: a convolution, a residual one, an average of all."""
    rng = np.random.default_rng(seed)
    make = Maker(2)
    first = make.affine(
        {INPUT: Convolution(rng.normal(size=(2, 1, 1, 2)), 1, 2, pads=(0, 1, 0, 1))}, rng.normal(size=6) * 0.3
    )
    again = Convolution(rng.normal(size=(2, 2, 1, 3)), 1, 3, pads=(0, 1, 0, 1))
    z = make.affine({make.function(first, relu()): again, first: Same(6)}, rng.normal(size=6) * 0.3)
    pooled = make.affine({make.function(z, relu()): Convolution(np.ones((2, 1, 1, 3)), 1, 3, groups=2)})
    make.affine({make.affine({pooled: Diagonal(np.ones(2), np.full(2, 3.0))}): Dense(rng.normal(size=(2, 2)))})
    return make.graph()


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("graph", [wide(0), wide(1), images(0), images(1)])
def test_wide_inputs_and_convolutions(graph: Graph, norm: Norm) -> None:
    closed_at(ask(graph, norm), steepest(graph, norm))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", range(4))
def test_a_chain_that_carries_its_skip(seed: int, norm: Norm) -> None:
    """``W3 (relu(W2 relu(z) + z + b)) + W4 z`` with ``z = relu(z) - relu(-z)``: the same constant, by layers alone."""
    rng = np.random.default_rng(seed)
    w1, w2, w3, w4 = (rng.normal(size=shape) for shape in ((2, 2), (2, 2), (2, 2), (2, 2)))
    b1, b2, eye, none = rng.normal(size=2) * 0.3, rng.normal(size=2) * 0.3, np.eye(2), np.zeros((2, 2))
    make = Maker(2)
    z = make.affine({INPUT: Dense(w1)}, b1)
    v = make.function(make.affine({make.function(z, relu()): Dense(w2), z: Same(2)}, b2), relu())
    make.affine({v: Dense(w3), z: Dense(w4)})
    chain = network(
        (np.vstack([w1, -w1]), np.concatenate([b1, -b1])),
        (np.block([[w2 + eye, -eye], [eye, none], [none, eye]]), np.concatenate([b2, np.zeros(4)])),
        (np.hstack([w3, w4, -w4]), np.zeros(2)),
    )
    support = Support.box(-1.0, 1.0, 2)
    plain = lipschitz(LipschitzProblem(chain, GroundCost(norm, 1), support, Measure.operator_norm(chain)))
    found = ask(make.graph(), norm)
    assert found.status == plain.status == "exact"
    assert max(found.lower, plain.lower) <= min(found.upper, plain.upper) + 1e-12


# Cells


@pytest.mark.parametrize("seed", seeds(30, 300))
def test_rows_of_a_cell(seed: int) -> None:
    """Its strict rows are those of a point in it, up to what is charged; in rationals they are the same."""
    graph, rng = relu_graph(seed, short=seed % 3 == 0), np.random.default_rng(seed)
    x = rng.integers(-(2**12), 2**12, graph.inputs) / 2.0**12
    exact, values = gradients(graph, x), exactly(graph, x)
    if exact is None:
        return
    sources = [graph.source(k) for k in graph.elementwise]
    phases = [np.array([1 if z > 0 else -1 for z in values[k]]) for k in sources]
    rows = cell_rows(graph, phases, np.zeros(graph.inputs))
    region = Region(GroundCost(Norm.INF, 1), x, x - 1.0, x + 1.0, 0.0, math.inf)
    error = cell_error(graph, rows, region)
    corners = [x + rng.choice([-1.0, 0.0, 1.0], x.size) for _ in range(4)]
    for r, (layer, neuron) in enumerate(zip(rows.layer, rows.neuron, strict=True)):
        sign = int(phases[layer][neuron])
        assert float(rows.sign[r]) == sign
        slopes, constant = exact_row(graph, rows.active, layer, neuron, sign)
        gradient, value = exact[sources[layer]][neuron], values[sources[layer]][neuron]
        assert slopes == [sign * g for g in gradient]
        at_x = sum((s * Fraction(v) for s, v in zip(slopes, x.tolist(), strict=True)), constant)
        assert at_x == sign * value
        for corner in corners:
            moved = [Fraction(v) for v in corner.tolist()]
            true = sum((s * v for s, v in zip(slopes, moved, strict=True)), constant)
            made = sum((Fraction(a) * v for a, v in zip(rows.matrix[r].tolist(), moved, strict=True)), Fraction(0))
            assert abs(made + Fraction(float(rows.constant[r])) - true) <= Fraction(float(error[r]))
    assert len(rows.layer) + len(rows.idle) == graph.neurons
    assert all(not any(exact[sources[layer]][neuron]) for layer, neuron, _ in rows.idle)


def test_a_cell_between_a_skip_and_its_function_is_flat() -> None:
    """``relu((relu(x) - x) / 3)`` is off where relu(x) is on: both off is x = 0 alone, through a quotient that no double is."""
    make = Maker(1)
    z = make.affine({INPUT: Same(1)})
    over = make.affine({make.function(z, relu()): Same(1), z: Dense(np.array([[-1.0]]))})
    third = make.affine({over: Diagonal(np.ones(1), np.full(1, 3.0))})
    make.affine({make.function(third, relu()): Same(1), z: Same(1)})
    graph, still = make.graph(), np.zeros(1)
    region = Region(GroundCost(Norm.INF, 1), np.zeros(1), -np.ones(1), np.ones(1), 0.0, math.inf)
    for phases, gone in (([-1, -1], True), ([-1, 1], False), ([1, -1], False)):
        rows = cell_rows(graph, [np.array([p]) for p in phases], still)
        assert no_interior(graph, rows, deepest(rows, region, still), region, still) is gone
    result = ask(graph, Norm.INF)  # where relu(x) is on the other neuron is 0 all over, and no slope is sure
    assert 2 / 3 - 1e-9 <= result.lower <= 1 <= result.upper <= 1 + 1e-9


def test_what_is_not_exact_proves_no_cell_flat() -> None:
    """The same cell, of weights that are known up to an error."""
    make = Maker(1)
    v = [make.function(make.affine({INPUT: Dense(np.array([[w]]), np.array([[1e-16]]))}), relu()) for w in (1.0, -1.0)]
    make.affine({k: Same(1) for k in v})
    graph, still = make.graph(), np.zeros(1)
    region = Region(GroundCost(Norm.INF, 1), np.zeros(1), -np.ones(1), np.ones(1), 0.0, math.inf)
    rows = cell_rows(graph, [np.array([1]), np.array([1])], still)
    assert not graph.exact
    assert not no_interior(graph, rows, deepest(rows, region, still), region, still)


def test_rows_that_cancel_over_two_paths() -> None:
    """``relu(x + y)`` and, of tiny weights, ``relu(-(x + y))`` read from its skip and from itself are never both on."""
    make = Maker(2)
    z = make.affine({INPUT: Dense(np.array([[1.0, 1.0]]))})
    v = make.function(z, relu())
    z = make.affine({v: Dense(np.array([[-(2.0**-60)]])), z: Dense(np.array([[-(2.0**-60)]]))})
    make.affine({make.function(z, relu()): Same(1)})
    graph, still = make.graph(), np.zeros(2)
    region = Region(GroundCost(Norm.INF, 1), np.zeros(2), -np.ones(2), np.ones(2), 0.0, math.inf)
    rows = cell_rows(graph, [np.array([1]), np.array([1])], still)
    size, chosen = np.array([1.0, 2.0**59 * (1 + 2.0**-30)]), np.arange(2)
    assert flatness._cancels(graph, rows, size, chosen, region)
    off = cell_rows(graph, [np.array([1]), np.array([-1])], still)
    assert not flatness._cancels(graph, off, size, chosen, region)
