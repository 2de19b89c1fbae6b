"""Graphs for tests: skips, concatenations, pooling, every function, small convolutions; and what they mean in rationals."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from wdaverify.graph.convolution import Convolution
from wdaverify.graph.functions import PiecewiseLinear, absolute, clip, leaky_relu, relu
from wdaverify.graph.maps import Dense, Diagonal, LinearMap, Same, Select
from wdaverify.graph.nodes import INPUT, Affine, Elementwise, Graph, Node

FUNCTIONS = [relu(), leaky_relu(0.25), absolute(), clip(0.0, 1.0), clip(-0.5, 0.75)]


class Maker:
    """Adds nodes to a graph."""

    def __init__(self, inputs: int) -> None:
        self.nodes: list[Node] = []
        self.inputs = inputs

    def affine(self, parts: dict[int, LinearMap], bias: np.ndarray | None = None) -> int:
        width = next(iter(parts.values())).outputs
        self.nodes.append(Affine(tuple(parts), tuple(parts.values()), np.zeros(width) if bias is None else bias))
        return len(self.nodes) - 1

    def function(self, source: int, function: PiecewiseLinear) -> int:
        self.nodes.append(Elementwise(source, function))
        return len(self.nodes) - 1

    def width(self, k: int) -> int:
        if k == INPUT:
            return self.inputs
        node = self.nodes[k]
        return node.width if isinstance(node, Affine) else self.width(node.source)

    def concatenated(self, sources: list[int]) -> int:
        """One after the other, each placed by a selection."""
        total, first, parts = sum(self.width(s) for s in sources), 0, {}
        for s in sources:
            index = np.full(total, -1)
            index[first : first + self.width(s)] = np.arange(self.width(s))
            parts[s] = Select(index, self.width(s))
            first += self.width(s)
        return self.affine(parts)

    def maximum(self, source: int, pairs: list[tuple[int, int]]) -> int:
        """``max(a, b) = b + relu(a - b)`` of pairs of entries."""
        a, b = (np.array(side) for side in zip(*pairs, strict=True))
        n = self.width(source)
        weight = np.zeros((len(pairs), n))
        weight[np.arange(len(pairs)), a] += 1
        weight[np.arange(len(pairs)), b] -= 1
        over = self.function(self.affine({source: Dense(weight)}), relu())
        return self.affine({source: Select(b, n), over: Same(len(pairs))})

    def graph(self) -> Graph:
        return Graph(tuple(self.nodes), self.inputs)


def random_graph(seed: int) -> Graph:
    """2 or 3 inputs, a handful of nodes of every kind; weights are short dyadic numbers, often tied."""
    rng = np.random.default_rng(seed)
    short = lambda *shape: np.round(rng.normal(size=shape) * 4) / 4  # noqa: E731 (a formula)
    make = Maker(int(rng.integers(2, 4)))
    alive = [make.affine({INPUT: Dense(short(3, make.inputs))}, short(3))]
    for _ in range(int(rng.integers(1, 4))):
        source = int(rng.choice(alive))
        match rng.choice(["layer", "skip", "concatenation", "maximum", "scaled"]):
            case "layer":
                v = make.function(source, FUNCTIONS[int(rng.integers(len(FUNCTIONS)))])
                alive.append(make.affine({v: Dense(short(3, make.width(v)))}, short(3)))
            case "skip":
                v = make.function(source, relu())
                w = make.width(v)
                alive.append(
                    make.affine({v: Dense(short(w, w)), source: Same(w), INPUT: Dense(short(w, make.inputs))}, short(w))
                )
            case "concatenation":
                v = make.function(source, clip(0.0, 1.0))
                alive.append(make.concatenated([v, INPUT]))
            case "maximum":
                alive.append(make.maximum(source, [(0, 1), (1, make.width(source) - 1)]))
            case "scaled":
                w = make.width(source)
                alive.append(
                    make.affine({source: Diagonal(short(w) + 0.25, rng.choice([1.0, 3.0, -7.0], size=w))}, short(w))
                )
    last = {k: Dense(short(3, make.width(k))) for k in sorted(set(alive[-2:]))}
    make.affine(last, short(3))  # type: ignore[arg-type]
    return make.graph()


def relu_graph(seed: int, *, short: bool = False) -> Graph:
    """1 or 2 inputs and up to a dozen ReLUs: skips, concatenations, maxima, LeakyReLUs and Clips of ReLUs, quotients.

    Numbers are short dyadic ones, often tied, or drawn from a normal distribution.
    """
    rng = np.random.default_rng(seed)
    drawn = lambda *shape: np.round(rng.normal(size=shape) * 2) / 2 if short else rng.normal(size=shape)  # noqa: E731 (a formula)
    make = Maker(1 + seed % 2)
    z = make.affine({INPUT: Dense(drawn(2, make.inputs))}, drawn(2))
    for _ in range(2):
        v, w = make.function(z, relu()), make.width(z)
        match rng.choice(["layer", "skip", "concatenation", "maximum", "leaky", "clip", "scaled"]):
            case "layer":
                z = make.affine({v: Dense(drawn(3, w))}, drawn(3))
            case "skip":
                z = make.affine({v: Dense(drawn(w, w)), z: Same(w), INPUT: Dense(drawn(w, make.inputs))}, drawn(w))
            case "concatenation":
                z = make.affine({make.concatenated([v, INPUT]): Dense(drawn(2, w + make.inputs))}, drawn(2))
            case "maximum":
                z = make.maximum(z, [(0, 1), (1, w - 1)])
            case "leaky":
                u = make.function(make.affine({z: Dense(-np.eye(w))}), relu())
                z = make.affine({v: Dense(drawn(2, w)), u: Dense(drawn(2, w))}, drawn(2))
            case "clip":
                u = make.function(make.affine({z: Same(w)}, np.full(w, -0.5)), relu())
                z = make.affine({make.affine({v: Same(w), u: Dense(-np.eye(w))}): Dense(drawn(2, w))}, drawn(2))
            case "scaled":
                scaled = make.affine({v: Diagonal(np.ones(w), rng.choice([3.0, -7.0, 4.0], size=w))})
                z = make.affine({scaled: Dense(drawn(2, w)), z: Dense(drawn(2, w))}, drawn(2))
    make.affine({make.function(z, relu()): Dense(drawn(2, make.width(z))), z: Dense(drawn(2, make.width(z)))}, drawn(2))
    return make.graph()


def residual_convolution(seed: int) -> Graph:
    """1 x 3 x 3 images: convolution, ReLU, convolution with a skip, LeakyReLU, average pooling, a head."""
    rng = np.random.default_rng(seed)
    make = Maker(9)
    first = make.affine(
        {INPUT: Convolution(rng.normal(size=(2, 1, 3, 3)), 3, 3, pads=(1, 1, 1, 1))}, rng.normal(size=18)
    )
    v = make.function(first, relu())
    conv = Convolution(rng.normal(size=(2, 2, 3, 3)) / 2, 3, 3, pads=(1, 1, 1, 1))
    w = make.function(make.affine({v: conv, first: Same(18)}), leaky_relu(0.125))
    pool = make.affine({w: Convolution(np.ones((2, 1, 2, 2)), 3, 3, groups=2)})
    mean = make.affine({pool: Diagonal(np.ones(8), np.full(8, 4.0))})
    make.affine({mean: Dense(rng.normal(size=(3, 8)))}, rng.normal(size=3))
    return make.graph()


def steered_graph(seed: int) -> Graph:
    """2 inputs, 3 outputs, 6 to 12 neurons, each of which counts, ReLUs alone: what the search goes over.

    In turn: skips from an affine node, a ReLU and the input; a convolution with average pooling and a skip past all of it; a
    concatenation with max pooling.
    """
    rng = np.random.default_rng(seed)
    make, normal = Maker(2), lambda *shape: rng.normal(size=shape).astype(np.float32).astype(float)
    weight = 2 * normal(4, 2)
    first = make.affine({INPUT: Dense(weight)}, -(weight * rng.uniform(size=(4, 2))).sum(axis=1))
    v = make.function(first, relu())
    match seed % 3:
        case 0:
            z = make.affine({v: Dense(normal(4, 4)), first: Same(4), INPUT: Dense(normal(4, 2))}, normal(4) / 2)
            last: dict[int, LinearMap] = {make.function(z, relu()): Dense(normal(3, 4)), v: Dense(normal(3, 4))}
        case 1:
            z = make.affine({v: Convolution(normal(2, 1, 2, 2), 2, 2, pads=(0, 0, 1, 1))}, normal(8) / 2)
            pool = make.affine({make.function(z, relu()): Convolution(np.ones((2, 1, 2, 2)), 2, 2, groups=2)})
            mean = make.affine({pool: Diagonal(np.array([1.5, -0.5]), np.full(2, 0.75))})
            last = {mean: Dense(normal(3, 2)), first: Dense(normal(3, 4) / 2)}
        case _:
            z = make.affine({make.concatenated([v, INPUT, first]): Dense(normal(3, 10))}, normal(3) / 2)
            last = {make.maximum(z, [(0, 1), (1, 2)]): Dense(normal(3, 2)), v: Dense(normal(3, 4))}
    make.affine(last, normal(3) / 4)
    return make.graph()


def family_graph(seed: int, n: int, classes: int) -> Graph:
    """At most 9 breaks on n inputs: a residual, clips, max pooling and a concatenation, a convolution with a pool and a skip, absolute
    values, slopes of every neuron's own.
    """
    rng = np.random.default_rng((seed, n, classes))
    make, normal = Maker(n), lambda *shape: np.round(rng.normal(size=shape) * 64) / 64
    first = make.affine({INPUT: Dense(2 * normal(3, n))}, normal(3) / 2)
    last: dict[int, LinearMap]
    match seed % 6:
        case 0:
            v = make.function(first, relu())
            w = make.function(
                make.affine({v: Dense(normal(2, 3)), first: Dense(normal(2, 3))}, normal(2)), leaky_relu(0.125)
            )
            last = {w: Dense(normal(classes, 2)), first: Dense(normal(classes, 3))}
        case 1:
            v = make.function(first, clip(-0.5, 0.75))
            w = make.function(make.affine({v: Dense(normal(2, 3))}, normal(2)), relu())
            last = {w: Dense(normal(classes, 2)), v: Dense(normal(classes, 3)), INPUT: Dense(normal(classes, n))}
        case 2:
            v = make.function(make.maximum(first, [(0, 1), (1, 2)]), leaky_relu(0.25))
            joined = make.concatenated([v, INPUT, first])
            w = make.function(make.affine({joined: Dense(normal(3, 5 + n))}, normal(3)), relu())
            last = {w: Dense(normal(classes, 3))}
        case 3:
            z = make.affine({first: Convolution(normal(2, 1, 1, 2), 1, 3)}, normal(4) / 2)
            pool = make.affine({make.function(z, relu()): Convolution(np.ones((2, 1, 1, 2)), 1, 2, groups=2)})
            mean = make.affine({pool: Diagonal(np.ones(2), np.full(2, 3.0)), z: Select(np.array([3, 0]), 4)})
            last = {make.function(mean, absolute()): Dense(normal(classes, 2)), mean: Dense(normal(classes, 2))}
        case 4:
            v = make.function(first, absolute())
            joined = make.concatenated([first, v])
            w = make.function(make.affine({joined: Dense(normal(3, 6))}, normal(3)), relu())
            last = {w: Dense(normal(classes, 3)), joined: Dense(normal(classes, 6))}
        case _:
            v = make.function(first, leaky_relu(np.array([0.5, -0.25, 2.0])))
            w = make.function(make.affine({v: Dense(normal(3, 3)), INPUT: Dense(normal(3, n))}, normal(3)), relu())
            last = {w: Dense(normal(classes, 3)), v: Dense(normal(classes, 3))}
    make.affine(last, normal(classes))
    return make.graph()


def on_phases(graph: Graph, phases: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Where ReLUs have these phases ``[M]``: what they are applied to, ``G x + g``, and the output ``F x + f``."""
    forms, rows, shifts = {INPUT: (np.eye(graph.inputs), np.zeros(graph.inputs))}, [], []
    for k, node in enumerate(graph.nodes):
        if isinstance(node, Elementwise):
            weight, shift = forms[node.source]
            on = phases[sum(map(len, shifts)) :][: len(shift)] > 0
            rows.append(weight)
            shifts.append(shift)
            forms[k] = on[:, None] * weight, on * shift
        else:
            forms[k] = np.zeros((node.width, graph.inputs)), node.bias
            for source, map_ in zip(node.sources, node.maps, strict=True):
                matrix = map_.apply(np.eye(map_.inputs)).T
                forms[k] = forms[k][0] + matrix @ forms[source][0], forms[k][1] + matrix @ forms[source][1]
    return np.concatenate(rows), np.concatenate(shifts), *forms[len(graph.nodes) - 1]


def exactly(graph: Graph, x: np.ndarray | list[Fraction]) -> list[list[Fraction]]:
    """Every node's values at one point, in rationals, from the matrix that each map stands for."""
    out: list[list[Fraction]] = []
    point = [v if isinstance(v, Fraction) else Fraction(float(v)) for v in x]
    for node in graph.nodes:
        if isinstance(node, Elementwise):
            out.append([_value(node.function, z, k) for k, z in enumerate(out[node.source])])
            continue
        total = [Fraction(float(b)) for b in node.bias]
        for source, map_ in zip(node.sources, node.maps, strict=True):
            given = point if source == INPUT else out[source]
            total = [a + b for a, b in zip(total, _applied(map_, given), strict=True)]
        out.append(total)
    return out


def gradients(graph: Graph, x: np.ndarray) -> list[list[list[Fraction]]] | None:
    """Every node's Jacobian ``[m][n]`` at one point, in rationals, from the inputs on; None where one that moves is at a break."""
    values, out = exactly(graph, x), list[list[list[Fraction]]]()
    start = [[Fraction(int(i == j)) for j in range(graph.inputs)] for i in range(graph.inputs)]
    for node in graph.nodes:
        if isinstance(node, Elementwise):
            slopes = [_slope(node.function, z, k) for k, z in enumerate(values[node.source])]
            if any(s is None and any(row) for s, row in zip(slopes, out[node.source], strict=True)):
                return None
            out.append([[(s or 0) * v for v in row] for s, row in zip(slopes, out[node.source], strict=True)])
            continue
        columns = []
        for j in range(graph.inputs):
            total = [Fraction(0)] * node.width
            for source, map_ in zip(node.sources, node.maps, strict=True):
                given = [row[j] for row in (start if source == INPUT else out[source])]
                total = [a + b for a, b in zip(total, _applied(map_, given), strict=True)]
            columns.append(total)
        out.append([list(row) for row in zip(*columns, strict=True)])
    return out


def _slope(function: PiecewiseLinear, z: Fraction, neuron: int) -> Fraction | None:
    slopes = function.slopes if function.slopes.ndim == 1 else function.slopes[:, neuron]
    breaks = [Fraction(v) for v in function.breaks.tolist()]
    return None if z in breaks else Fraction(float(slopes[sum(z > b for b in breaks)]))


def _applied(map_: LinearMap, given: list[Fraction]) -> list[Fraction]:
    if isinstance(map_, Diagonal):
        scales = zip(map_.factor.tolist(), map_.divisor.tolist(), strict=True)
        return [v * Fraction(f) / Fraction(d) for v, (f, d) in zip(given, scales, strict=True)]
    matrix = map_.apply(np.eye(map_.inputs)).T
    return [
        sum((Fraction(w) * v for w, v in zip(row, given, strict=True) if w), Fraction(0)) for row in matrix.tolist()
    ]


def _value(function: PiecewiseLinear, z: Fraction, neuron: int) -> Fraction:
    slopes = function.slopes if function.slopes.ndim == 1 else function.slopes[:, neuron]
    breaks, values = ([Fraction(v) for v in a.tolist()] for a in (function.breaks, function.values))
    at = sum(z >= b for b in breaks)
    anchor = max(at - 1, 0)
    return values[anchor] + Fraction(float(slopes[at])) * (z - breaks[anchor])
