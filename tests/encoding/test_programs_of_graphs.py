"""Programs of graphs with skips, concatenations and convolutions, against linear and cone programs over every activation cell.

The cells come from the matrices that maps apply, the programs from their rows.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from bounds.tiny import best_in_cells, network
from engines.cellwise import true_distance, true_value
from graph.graphs import Maker, exactly
from oracles import Array, Cell, _Region, _split

from wdaverify.certify.backward import Backward, Shells
from wdaverify.encoding.columns import owned
from wdaverify.encoding.cost import Region, add_input
from wdaverify.encoding.distance import distance_model
from wdaverify.encoding.inner import inner_model
from wdaverify.encoding.linear import Aim, _pull, shell_program
from wdaverify.encoding.milp import MilpModel, ModelBuilder
from wdaverify.encoding.relu import EncodedMargin, add_margins
from wdaverify.encoding.start import start_at
from wdaverify.engines.base import Effort, Inner
from wdaverify.engines.cells.tree import Node, Relaxation
from wdaverify.engines.mip import MipEngine
from wdaverify.graph.convolution import Convolution
from wdaverify.graph.functions import relu
from wdaverify.graph.maps import Dense, Diagonal, LinearMap, Same, Select
from wdaverify.graph.nodes import INPUT, Affine, Elementwise, Graph
from wdaverify.network.model import ReluNetwork
from wdaverify.problem import GroundCost, Norm
from wdaverify.rounding import float_down, float_up
from wdaverify.solvers.base import MilpLimits
from wdaverify.solvers.gurobi import GurobiSolver
from wdaverify.solvers.highs import HighsSolver

BACK_ENDS = [HighsSolver, GurobiSolver]
BackEnd = type[HighsSolver] | type[GurobiSolver]
NORMS = [Norm.INF, Norm.ONE]
MOST = 10
"""Neurons: each is a binary, and a program has a leaf for every combination of the open ones."""


class ReluMaker(Maker):
    """ReLUs alone, no more than ``MOST`` of them."""

    def __init__(self, rng: np.random.Generator, inputs: int) -> None:
        super().__init__(inputs)
        self.rng, self.neurons = rng, 0

    def relu(self, source: int) -> int:
        self.neurons += self.width(source)
        return self.function(source, relu())

    def short(self, *shape: int) -> Array:
        return np.round(self.rng.normal(size=shape) * 4) / 4

    def dense(self, source: int, width: int) -> int:
        return self.affine({source: Dense(self.short(width, self.width(source)))}, self.short(width))

    def shifted(self, source: int, sign: float, shift: float) -> int:
        n = self.width(source)
        map_: LinearMap = Same(n) if sign == 1 else Diagonal(np.full(n, sign), np.ones(n))
        return self.affine({source: map_}, np.full(n, shift))


def residual(make: ReluMaker) -> None:
    """Two blocks ``r + W relu(r)``, the second sum with the input too; both sums are read twice."""
    first = make.dense(INPUT, 2)
    v = make.relu(first)
    second = make.affine({v: Dense(make.short(2, 2)), first: Same(2)}, make.short(2))
    w = make.relu(second)
    third = {w: Dense(make.short(2, 2)), second: Same(2), INPUT: Dense(make.short(2, make.inputs))}
    make.dense(make.relu(make.affine(third)), 3)


def concatenation(make: ReluMaker) -> None:
    """Scaled inputs, ``[relu(z), x / 3]``, and a head on top of a layer and of what was concatenated."""
    scaled = make.affine({INPUT: Diagonal(np.ones(make.inputs), np.full(make.inputs, 3.0))}, make.short(make.inputs))
    both = make.concatenated([make.relu(make.dense(scaled, 3)), scaled])
    v = make.relu(make.dense(both, 3))
    make.affine({v: Dense(make.short(3, 3)), both: Dense(make.short(3, make.width(both)))}, make.short(3))


def pieces(make: ReluMaker) -> None:
    """``clip(z, -1/2, 1/2)``, ``max`` of pairs and ``|.|``, all of ReLUs with skips."""
    z = make.dense(INPUT, 2)
    low, high = make.relu(make.shifted(z, 1, 0.5)), make.relu(make.shifted(z, 1, -0.5))
    clipped = make.affine({low: Same(2), high: Diagonal(np.full(2, -1.0), np.ones(2))}, np.full(2, -0.5))
    wide = make.dense(clipped, 3)
    top = make.maximum(wide, [(0, 1), (1, 2)])
    make.neurons += 2
    size = make.affine({make.relu(top): Same(2), make.relu(make.shifted(top, -1, 0.0)): Same(2)})
    make.affine({size: Dense(make.short(3, 2)), wide: Select(np.array([0, -1, 1]), 3)}, make.short(3))


def convolution(make: ReluMaker) -> None:
    """Images of 1 x 1 x 3: pixels over 3, a padded convolution, a scale behind it, ReLU, average pooling, a residual head."""
    pixels = make.affine({INPUT: Diagonal(np.ones(3), np.full(3, 3.0))}, make.short(3))
    kernel = Convolution(make.short(2, 1, 1, 3), 1, 3, pads=(0, 1, 0, 1))
    conv = make.affine({pixels: kernel}, make.short(6))
    v = make.relu(make.affine({conv: Diagonal(make.short(6) + 0.125, np.full(6, 0.75))}, make.short(6)))
    pool = make.affine({v: Convolution(np.ones((2, 1, 1, 2)), 1, 3, groups=2)})
    mean = make.affine({pool: Diagonal(np.ones(4), np.full(4, 2.0))})
    w = make.relu(make.dense(mean, 3))
    make.affine({w: Dense(make.short(3, 3)), mean: Dense(make.short(3, 4))}, make.short(3))


KINDS = {"residual": residual, "concatenation": concatenation, "pieces": pieces, "convolution": convolution}
GRAPHS = [
    pytest.param(kind, seed, id=f"{kind}-{seed}", marks=[pytest.mark.full] * (seed >= 3))
    for kind in KINDS
    for seed in range(12)
]


def graph_of_kind(kind: str, seed: int) -> Graph:
    rng = np.random.default_rng(seed)
    make = ReluMaker(rng, 3 if kind == "convolution" else int(rng.integers(2, 4)))
    KINDS[kind](make)
    assert make.neurons <= MOST
    return make.graph()


def matrix(map_: LinearMap) -> Array:
    return map_.apply(np.eye(map_.inputs)).T


def cells_of(graph: Graph, lower: Array, upper: Array) -> list[Cell]:
    """Every activation cell that meets the box: each node as an affine function of the input there."""
    n = graph.inputs
    cells: list[Cell] = []

    def node(k: int, forms: dict[int, tuple[Array, Array]], region: _Region) -> None:
        if k == len(graph.nodes):
            cells.append(Cell(region.A, region.b, *forms[k - 1]))
            return
        it = graph.nodes[k]
        if isinstance(it, Elementwise):
            neuron(k, it.source, [], forms, region)
            return
        parts = [(matrix(m), *forms[s]) for s, m in zip(it.sources, it.maps, strict=True)]
        made = np.sum([M @ G for M, G, _ in parts], axis=0), np.sum([M @ h for M, _, h in parts], axis=0) + it.bias
        node(k + 1, {**forms, k: made}, region)

    def neuron(k: int, source: int, on: list[bool], forms: dict[int, tuple[Array, Array]], region: _Region) -> None:
        G, h = forms[source]
        if len(on) == h.size:
            phases = np.array(on, dtype=float)
            node(k + 1, {**forms, k: (phases[:, None] * G, phases * h)}, region)
            return
        for active, cut in _split(region, G[len(on)], float(h[len(on)]), lower, upper):
            neuron(k, source, [*on, active], forms, cut)

    node(0, {INPUT: (np.eye(n), np.zeros(n))}, _Region(np.zeros((0, n)), np.zeros(0), 0.5 * (lower + upper), math.inf))
    return cells


def asked(graph: Graph, cost: GroundCost, seed: int, near: float = 0.0) -> tuple[Region, Shells, list]:
    """A shell around a point of the unit box, its rooms, and the bounds of what functions are applied to."""
    n, rng = graph.inputs, np.random.default_rng(1000 + seed)
    x, lower, upper = np.round(rng.uniform(size=n) * 16) / 16, np.zeros(n), np.ones(n)
    most = float(cost.distance(np.maximum(upper - x, x - lower)))
    near, far = near * most, most * (1.0 if seed % 2 else 0.5)
    shells = Shells.around(cost, x[None], lower, upper, np.array([near]), np.array([far]))
    bounds = [(low[0], high[0]) for low, high in Backward(graph).pre_activations(shells)]
    return Region(cost, x, lower, upper, near, far), shells, bounds


def solve(back_end: BackEnd, model: MilpModel) -> float:
    """The bound of the encoded question, slack included."""
    limits = MilpLimits(gap=1e-9, seconds=math.inf, cutoff=None, start=None, seed=0)
    return back_end().solve(model, limits).bound + (model.slack if model.maximise else -model.slack)


# Integer models


@pytest.mark.parametrize("back_end", BACK_ENDS, ids=lambda b: b.name)
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(("kind", "seed"), GRAPHS)
def test_optima_are_those_of_the_cells(kind: str, seed: int, norm: Norm, back_end: BackEnd) -> None:
    graph = graph_of_kind(kind, seed)
    region, _, bounds = asked(graph, GroundCost(norm, 1), seed, 0.2)
    cells = cells_of(graph, region.lower, region.upper)
    for rival in (1, 2):
        functional = np.zeros(3)
        functional[rival], functional[0] = 1.0, -1.0
        for lam in (0.0, 1.5):
            ask = (cells, functional, lam, norm, region.centre, region.near, region.far, region.lower, region.upper)
            best, _ = best_in_cells(*ask)
            found = solve(back_end, inner_model(graph, bounds, region, 0, rival, lam))
            assert best - 1e-7 <= found <= best + 1e-6
        nearest = true_distance(cells, region, functional)
        found = solve(back_end, distance_model(graph, bounds, region, 0, rival))
        assert found == pytest.approx(nearest, abs=1e-6)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_engine_answers_about_graphs_and_starts_from_points(kind: str, norm: Norm) -> None:
    graph = graph_of_kind(kind, 1)
    region, _, bounds = asked(graph, GroundCost(norm, 1), 1)
    net = of_graph(graph)
    start = np.clip(region.centre + 0.05, 0.0, 1.0)
    question, engine = Inner(0, 0, 1, region, bounds, 1.5), MipEngine(net, "highs")
    answer = engine.answer(question, Effort(gap=1e-8, seconds=math.inf, seed=0, cutoff=None, start=start))
    functional = np.array([-1.0, 1.0, 0.0])
    box = (region.lower, region.upper)
    best, _ = best_in_cells(cells_of(graph, *box), functional, 1.5, norm, region.centre, 0.0, region.far, *box)
    assert answer.bound == pytest.approx(best, abs=1e-6)
    model = inner_model(graph, bounds, region, 0, 1, 1.5)
    values, given = exactly(graph, start), start_at(model, graph, region, start)
    opened = [
        values[node.source][i] > 0
        for node, (low, high) in zip(functions(graph), bounds, strict=True)
        for i in np.flatnonzero((low < 0) & (high > 0))
    ]
    assert set(given) == set(range(model.n_columns))
    assert [given[k] for k in np.flatnonzero(model.integer).tolist()] == opened


def functions(graph: Graph) -> list[Elementwise]:
    return [node for node in graph.nodes if isinstance(node, Elementwise)]


def of_graph(graph: Graph) -> ReluNetwork:
    """A network whose canonical form is the graph."""
    net = network((np.zeros((graph.outputs, graph.inputs)), np.zeros(graph.outputs)))
    net.__dict__["canonical"] = graph
    return net


# What rounding and vague entries may cost, in rationals


def model_point(builder: ModelBuilder, known: dict[int, Fraction]) -> dict[int, Fraction]:
    """Every column from those of the input: rows that are equations give one column each, or ``h - s``."""
    value = dict(known)
    for index, coefficient, low, high in builder._rows:
        new = {int(k): float(c) for k, c in zip(index, coefficient, strict=True) if int(k) not in value}
        if low != high or not new:
            continue
        there = [(Fraction(float(c)), value[int(k)]) for k, c in zip(index, coefficient, strict=True) if k not in new]
        z = sum((c * v for c, v in there), Fraction(0)) - Fraction(low)
        assert sorted(new.values()) in ([-1.0], [-1.0, 1.0])
        for k, sign in new.items():
            value[k] = z if len(new) == 1 else max(-z if sign > 0 else z, Fraction(0))
    return value


def margins(graph: Graph, region: Region, bounds: list) -> tuple[ModelBuilder, list[EncodedMargin]]:
    builder = ModelBuilder()
    return builder, add_margins(builder, graph, bounds, region, add_input(builder, region), 0, [1, 2])


def check_points(graph: Graph, region: Region, bounds: list, others: list[Graph], least: float) -> None:
    """At points of the region, of every graph that the model is to cover: columns within their bounds, margins within the slack."""
    builder, encoded = margins(graph, region, bounds)
    lower, upper = builder.bounds()
    n, rng, off = graph.inputs, np.random.default_rng(0), Fraction(0)
    corners = np.array(list(itertools.product([0.0, 1.0], repeat=n)))
    for x in np.concatenate([corners, np.round(rng.uniform(size=(8, n)) * 64) / 64]):
        if float(region.cost.distance(x - region.centre)) > region.far:
            continue
        at = [Fraction(float(v)) for v in x]
        if region.norm is Norm.INF:
            given = dict(enumerate(at))
        else:
            d = [v - Fraction(float(c)) for v, c in zip(at, region.centre, strict=True)]
            given = {k: max(v, Fraction(0)) for k, v in enumerate([*d, *(-v for v in d)])}
        point = model_point(builder, given)
        for k, v in point.items():
            assert lower[k] <= v <= upper[k]
        for margin, rival in zip(encoded, (1, 2), strict=True):
            said = sum(
                (Fraction(float(c)) * point[int(k)] for k, c in zip(margin.index, margin.coefficient, strict=True))
            )
            for other in others:
                out = exactly(other, x)[-1]
                apart = abs(said + Fraction(margin.offset) - (out[rival] - out[0]))
                off = max(off, apart)
                assert apart <= margin.slack
                assert abs(out[rival] - out[0]) <= margin.size
    assert off >= least


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(("kind", "seed"), GRAPHS)
def test_margins_are_off_by_no_more_than_their_slack(kind: str, seed: int, norm: Norm) -> None:
    graph = graph_of_kind(kind, seed)
    region, _, bounds = asked(graph, GroundCost(norm, 1), seed)
    check_points(graph, region, bounds, [graph], 0.0)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", range(4))
def test_what_composing_rounds_is_paid_for(seed: int, norm: Norm) -> None:
    """Coefficients and constants of 1e8 that nearly cancel, with bounds as tight as can be; a sum of long numbers."""
    rng = np.random.default_rng(seed)
    large = 1e8 + rng.normal(size=(3, 1))
    twice = Dense(np.array([[0.1, -0.1, 0.0], [0.3, 0.0, -0.3], [0.0, 0.7, -0.7]]))
    for first, shift in ((large, np.zeros(3)), (np.ones((3, 1)), large[:, 0])):
        make = Maker(1)
        top = make.affine({make.affine({INPUT: Dense(first)}, shift): twice})
        cancelled = make.graph()
        assert owned(cancelled) == frozenset()
        region, _, bounds = asked(cancelled, GroundCost(norm, 1), 1)
        check_points(cancelled, region, bounds, [cancelled], 1e-11)
        v = make.function(top, relu())
        make.affine({v: Dense(rng.normal(size=(3, 3))), top: Same(3)})
        behind = make.graph()
        region, _, _ = asked(behind, GroundCost(norm, 1), 1)
        ends = np.array([exactly(behind, np.array([x]))[top] for x in (0.0, 1.0)])
        bounds = [(np.vectorize(float_down)(ends.min(axis=0)), np.vectorize(float_up)(ends.max(axis=0)))]
        check_points(behind, region, bounds, [behind], 1e-11)
    make = Maker(1)
    small = make.affine({INPUT: Dense(rng.normal(size=(3, 1)))})
    make.affine({INPUT: Dense(np.round(large)), small: Same(3)})
    added = make.graph()
    region, _, bounds = asked(added, GroundCost(norm, 1), 1)
    check_points(added, region, bounds, [added], 1e-11)
    make = Maker(2)
    total = make.affine({INPUT: Dense(rng.normal(size=(3, 2)))}, rng.normal(size=3))
    v = make.function(total, relu())
    make.affine({total: Dense(rng.normal(size=(3, 3))), v: Same(3)})
    long = make.graph()
    assert owned(long) == {total}
    region, _, bounds = asked(long, GroundCost(norm, 1), 1)
    check_points(long, region, bounds, [long], 0.0)


def vague(graph: Graph, size: float) -> Graph:
    """The same, claiming that every entry of every matrix and every bias may be off by ``size``."""
    nodes = []
    for node in graph.nodes:
        if isinstance(node, Affine):
            maps = tuple(
                replace(m, error=np.full_like(m.weight, size)) if isinstance(m, Dense) else m for m in node.maps
            )
            node = replace(node, maps=maps, bias_error=np.full_like(node.bias, size))
        nodes.append(node)
    return Graph(tuple(nodes), graph.inputs)


def moved(graph: Graph, size: float, rng: np.random.Generator) -> Graph:
    """One of the graphs that ``vague`` stands for."""
    off = lambda a: a + size * rng.choice([-1.0, 1.0], a.shape)  # noqa: E731 (a formula)
    nodes = []
    for node in graph.nodes:
        if isinstance(node, Affine):
            maps = tuple(Dense(off(m.weight)) if isinstance(m, Dense) else m for m in node.maps)
            node = Affine(node.sources, maps, off(node.bias))
        nodes.append(node)
    return Graph(tuple(nodes), graph.inputs)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(("kind", "seed"), GRAPHS)
def test_the_slack_covers_every_graph_within_the_errors(kind: str, seed: int, norm: Norm) -> None:
    """Errors far larger than rounding."""
    graph, size = graph_of_kind(kind, seed), 2.0**-6
    loose, rng = vague(graph, size), np.random.default_rng(seed)
    region, _, bounds = asked(loose, GroundCost(norm, 1), seed)
    check_points(loose, region, bounds, [moved(graph, size, rng) for _ in range(4)], size)


# Linear programs


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("norm", [Norm.INF, Norm.ONE, Norm.TWO])
@pytest.mark.parametrize(("kind", "seed"), GRAPHS)
def test_leaves_of_a_program_are_the_cells_and_prove_it(kind: str, seed: int, norm: Norm, power: int) -> None:
    """With every phase fixed the program is exact, and its multipliers of the neurons' rows prove its value."""
    graph, rng = graph_of_kind(kind, seed), np.random.default_rng(seed)
    cost = GroundCost(norm, power, rng.uniform(0.5, 2.0, graph.inputs) if seed % 2 else None)
    region, shells, bounds = asked(graph, cost, seed, 0.2 if seed % 3 and norm is not Norm.ONE else 0.0)
    functional, backward = np.array([-1.0, 1.0, 0.0]), Backward(graph)
    aim = Aim(functional, 1.5, power, 0.0)
    program = shell_program(graph, bounds, region, (shells.up[0], shells.down[0]), aim)
    batched = [(low[None], high[None]) for low, high in bounds]

    def proven(node: Node) -> float:
        if node.row is None:
            return -math.inf
        price = np.array([1.5 * node.row[1]])
        rows = node.row[0] * functional[None]
        top = backward.leaves(rows, price, shells, batched, node.phases[None], node.row[None, 2:], power=power)[0]
        return -float(top) if node.row[0] > 0 else math.inf if top < 0 else -math.inf

    relaxation = Relaxation(program, backward.neurons, graph.inputs, region.far, proven)
    root, best, shown = relaxation.root(math.inf, math.inf), math.inf, math.inf

    def below(node: Node, names: list[int]) -> None:
        nonlocal best, shown
        if node.bound == math.inf:
            return
        if not names:
            relaxation.settle(node, math.inf, math.inf)
            best, shown = min(best, node.bound), min(shown, proven(node))
            return
        for side in (-1, 1):
            phases = node.phases.copy()
            phases[names[0]] = side
            below(relaxation.bound(phases, node, math.inf, math.inf), names[1:])

    below(root, relaxation.names.tolist())
    cells = cells_of(graph, region.lower, region.upper)
    truth = -true_value(cells, region, functional, 1.5, power)
    assert best == pytest.approx(truth, abs=1e-6)
    assert truth - 1e-6 <= shown <= truth + 1e-7


@pytest.mark.parametrize(("kind", "seed"), GRAPHS)
def test_inputs_are_drawn_along_the_gradient_where_no_neuron_is_open(kind: str, seed: int) -> None:
    graph, rng = graph_of_kind(kind, seed), np.random.default_rng(seed)
    x, functional = rng.uniform(size=graph.inputs), rng.normal(size=3)
    values = graph.values(x)
    bounds = [(values[node.source], values[node.source]) for node in functions(graph)]
    cells = cells_of(graph, x - 1e-6, x + 1e-6)
    assert len(cells) == 1
    np.testing.assert_allclose(_pull(graph, bounds, functional), functional @ cells[0].G, atol=1e-12)


# Which nodes have columns of their own


def test_columns_of_their_own_are_for_sums_that_composing_would_repeat() -> None:
    """Sums read twice, and a mean of pixels that a matrix reads; none for scaled inputs, a scaled convolution or what is concatenated."""
    assert owned(network((np.ones((3, 2)), np.zeros(3)), (np.ones((2, 3)), np.zeros(2))).canonical) == frozenset()
    assert owned(graph_of_kind("residual", 0)) == {0, 2}
    assert owned(graph_of_kind("concatenation", 0)) == frozenset()
    assert owned(graph_of_kind("pieces", 0)) == {0, 5, 6, 9, 13}
    assert owned(graph_of_kind("convolution", 0)) == {5}


@pytest.mark.parametrize("norm", [Norm.INF, Norm.ONE, Norm.TWO])
def test_a_convolution_is_its_matrix(norm: Norm) -> None:
    """The same programs, with a window's coefficients in a row."""
    rng = np.random.default_rng(5)
    kernels = [Convolution(rng.normal(size=(2, 1, 3, 3)), 6, 6), Convolution(rng.normal(size=(3, 2, 2, 2)), 4, 4)]
    head = (Dense(rng.normal(size=(3, 27))), rng.normal(size=3))
    biases = [rng.normal(size=k.outputs) for k in kernels]
    graphs = [
        chained([*zip(maps, biases, strict=True), head]) for maps in (kernels, [Dense(matrix(k)) for k in kernels])
    ]
    region, shells, bounds = asked(graphs[1], GroundCost(norm, 1), 0)
    aim = Aim(np.array([-1.0, 1.0, 0.0]), 1.5, 1, 0.0)
    made = [shell_program(graph, bounds, region, (shells.up[0], shells.down[0]), aim).program for graph in graphs]
    for part in ("start", "index"):
        np.testing.assert_array_equal(getattr(made[0].rows, part), getattr(made[1].rows, part))
    for part in ("value", "lower", "upper"):
        np.testing.assert_allclose(getattr(made[0].rows, part), getattr(made[1].rows, part), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(made[0].cost, made[1].cost, rtol=1e-12, atol=1e-12)
    if norm is not Norm.TWO:
        models = [inner_model(graph, bounds, region, 0, 1, 1.5) for graph in graphs]
        for part in ("start", "index", "integer"):
            np.testing.assert_array_equal(getattr(models[0], part), getattr(models[1], part))
        np.testing.assert_allclose(models[0].coefficient, models[1].coefficient, rtol=1e-12, atol=1e-12)


def chained(layers: list[tuple[LinearMap, Array]]) -> Graph:
    make = Maker(layers[0][0].inputs)
    last = INPUT
    for k, (map_, bias) in enumerate(layers):
        last = make.affine({make.function(last, relu()) if k else INPUT: map_}, bias)
    return make.graph()
