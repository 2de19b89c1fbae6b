"""From a network as its file has it to the form that bounds, encodings and engines go over: the same function.

    relus       every function as ReLUs of affine nodes:  phi(z) = s z + t + sum (s_i - s_(i-1)) relu(+-(z - b_i)), s z + t a piece
    fused       two affine nodes in a row as one, where matrices allow; what that rounds is kept as an error per entry
    merged      neurons that others make up, that are always on or off, or that nothing reads (``graph.merge``)
    balanced    hidden nodes whose numbers are far from 1 brought back to size by powers of two (``graph.balance``)

``canonical`` is all four, one after the other. Functions that are not piecewise linear stay as they are, and graphs that have some are
neither merged nor balanced: what multiples and powers of two are moved through is the ReLU alone.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import numpy as np

from wdaverify.errors import NetworkError
from wdaverify.graph.balance import balanced
from wdaverify.graph.functions import PiecewiseLinear, relu
from wdaverify.graph.fuse import Fused, after
from wdaverify.graph.maps import Array, Dense, Diagonal, LinearMap, Same, Select, rows
from wdaverify.graph.merge import merged
from wdaverify.graph.nodes import INPUT, Affine, Elementwise, Graph, Node, width_of
from wdaverify.graph.smooth.curve import Smooth
from wdaverify.graph.unread import reached


def canonical(graph: Graph) -> Graph:
    """ReLUs alone (and what is curved), affine nodes fused, no neuron that others make up, hidden numbers near 1.

    Raises:
        NetworkError: a function has slopes that no two doubles differ by, or fusing overflows.
    """
    whole = fused(relus(graph))
    return whole if whole.curved else balanced(merged(whole))


def layers(graph: Graph) -> Graph:
    """The same with every neuron, also those that others make up: what certificates of layers speak of.

    Raises:
        NetworkError: as ``canonical``.
    """
    whole = fused(relus(graph))
    return whole if whole.curved else balanced(whole)


class _Nodes:
    """Nodes as they are added, and where those of the graph before went."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.place: dict[int, int] = {INPUT: INPUT}

    def add(self, node: Node) -> int:
        """Its place."""
        self.nodes.append(node)
        return len(self.nodes) - 1


def without_biases(graph: Graph) -> Graph:
    """``lim f(t x) / t`` for t to infinity: the slopes of f far away, of a graph of ReLUs.

    Raises:
        NetworkError: a function that is not piecewise linear.
    """
    _refuse_curved(graph)
    return Graph(
        tuple(
            replace(node, bias=np.zeros_like(node.bias), bias_error=None) if isinstance(node, Affine) else node
            for node in relus(graph).nodes
        ),
        graph.inputs,
    )


def homogeneous(graph: Graph) -> Graph:
    """``g(x, t) = t f(x / t)`` for t > 0, an input more: biases times t. Its full-dimensional cells are those of f.

    Raises:
        NetworkError: a function that is not piecewise linear.
    """
    _refuse_curved(graph)
    n, out = graph.inputs, _Nodes()
    plain = relus(graph)
    x, t = INPUT, out.add(Affine((INPUT,), (Select(np.array([n]), n + 1),), np.zeros(1)))
    if any(INPUT in node.sources and not _widens(node) for node in plain.nodes if isinstance(node, Affine)):
        x = out.add(Affine((INPUT,), (Select(np.arange(n), n + 1),), np.zeros(n)))
    for k, node in enumerate(plain.nodes):
        if isinstance(node, Elementwise):
            out.place[k] = out.add(Elementwise(out.place[node.source], node.function))
            continue
        column, none = node.bias[:, None], np.zeros_like(node.bias)
        if INPUT in node.sources and _widens(node):
            weight = np.hstack([rows(node.maps[node.sources.index(INPUT)]), column])
            parts = {s: m for s, m in zip(node.sources, node.maps, strict=True) if s != INPUT}
            maps: dict[int, LinearMap] = {out.place[s]: m for s, m in parts.items()} | {INPUT: Dense(weight)}
        else:
            maps = {x if s == INPUT else out.place[s]: m for s, m in zip(node.sources, node.maps, strict=True)}
            if node.bias.any():
                maps[t] = Dense(column)
        out.place[k] = out.add(Affine(tuple(maps), tuple(maps.values()), none))
    return reached(out.nodes, n + 1)


def _refuse_curved(graph: Graph) -> None:
    if graph.curved:
        raise NetworkError(
            f"{', '.join(graph.curved)}: slopes at infinity are those of piecewise-linear networks; give a box (--support LO HI)"
        )


def _widens(node: Affine) -> bool:
    """Whether the map of the input is a matrix, which a column for t is added to."""
    return isinstance(node.maps[node.sources.index(INPUT)], Dense)


def relus(graph: Graph) -> Graph:
    """Every function by ReLUs; a ReLU of a ReLU is left out."""
    out = _Nodes()
    for k, node in enumerate(graph.nodes):
        if isinstance(node, Affine):
            places = list[int]()
            for s in (out.place[source] for source in node.sources):  # what was two nodes and is one has a second name
                width = width_of(out.nodes, s, graph.inputs)
                places.append(out.add(Affine((s,), (Same(width),), np.zeros(width))) if s in places else s)
            out.place[k] = out.add(replace(node, sources=tuple(places)))
        elif node.function.is_relu:
            before = _passed_on(out, out.place[node.source])
            out.place[k] = before if before is not None else out.add(Elementwise(out.place[node.source], relu()))
        elif isinstance(node.function, Smooth):
            out.place[k] = out.add(Elementwise(out.place[node.source], node.function))
        else:
            out.place[k] = _by_relus(out, out.place[node.source], node.function, graph.width(k))
    return reached(out.nodes, graph.inputs)


def _passed_on(out: _Nodes, at: int) -> int | None:
    """The ReLU that an affine node hands on as it is; None if it does anything else."""
    node = out.nodes[at]
    if not (isinstance(node, Affine) and len(node.sources) == 1 and isinstance(node.maps[0], Same)):
        return None
    source = node.sources[0]
    before = out.nodes[source] if source != INPUT else None
    through = isinstance(before, Elementwise) and before.function.is_relu
    return source if through and not node.bias.any() else None


def _by_relus(out: _Nodes, source: int, function: PiecewiseLinear, width: int) -> int:
    """The affine node that has the function's values, after the ReLUs that it needs."""
    slopes = [np.broadcast_to(s, width).astype(np.float64) for s in function.slopes]
    steps = [b - a for a, b in pairwise(slopes)]
    exact = all(_differ(a, b, step) for (a, b), step in zip(pairwise(slopes), steps, strict=True))
    if not exact and not function.origin:
        raise NetworkError(
            f"{function.name}: slopes that no double is the difference of; slopes of 0 and 1 are accepted"
        )
    parts: dict[int, LinearMap] = {}
    if exact:
        base = function.through.index(True) if True in function.through else 0
        if slopes[base].any():
            parts[source] = _scaling(slopes[base])
        for i, (at, step) in enumerate(zip(function.breaks.tolist(), steps, strict=True)):
            turn = -1.0 if i < base else 1.0  # relu(b - z) left of the base piece, relu(z - b) right of it
            moved = _scaling(np.full(width, turn)), np.full(width, -turn * at)
            shifted = source if at == 0 and turn > 0 else out.add(Affine((source,), (moved[0],), moved[1] + 0.0))
            parts[out.add(Elementwise(shifted, relu()))] = _scaling(step)
    else:  # phi(z) = s_1 relu(z) - s_0 relu(-z)
        base = 0
        parts[out.add(Elementwise(source, relu()))] = _scaling(slopes[1])
        turned = out.add(Affine((source,), (_scaling(np.full(width, -1.0)),), np.zeros(width)))
        parts[out.add(Elementwise(turned, relu()))] = _scaling(-slopes[0])
    anchor = max(base - 1, 0)
    level = function.values[anchor] - slopes[base] * function.breaks[anchor]
    value, first = Fraction(float(function.values[anchor])), Fraction(float(function.breaks[anchor]))
    sides = zip(slopes[base].tolist(), level.tolist(), strict=True)
    if any(value - Fraction(s) * first != Fraction(b) for s, b in sides):
        raise NetworkError(f"{function.name}: a line that meets 0 at no double; move the function into a bias")
    return out.add(Affine(tuple(parts), tuple(parts.values()), level))


def _differ(a: Array, b: Array, step: Array) -> bool:
    """Whether ``b - a = step`` exactly."""
    some = zip(*np.unique(np.stack([a, b, step]), axis=1).tolist(), strict=True)
    return all(Fraction(y) - Fraction(x) == Fraction(d) for x, y, d in some)


def _scaling(slope: Array) -> LinearMap:
    return Same(slope.size) if (slope == 1).all() else Diagonal(slope, np.ones(slope.size))


def fused(graph: Graph) -> Graph:
    """Affine nodes of affine nodes that have no other consumer, as one.

    Raises:
        NetworkError: composing consecutive affine maps overflows.
    """
    readers = Counter(s for node in graph.nodes for s in (node.sources if isinstance(node, Affine) else (node.source,)))
    out, old = _Nodes(), dict[int, int]()
    for k, node in enumerate(graph.nodes):
        if isinstance(node, Elementwise):
            out.place[k] = out.add(Elementwise(out.place[node.source], node.function))
            old[out.place[k]] = k
            continue
        whole, parts = Fused(node.bias, node.bias_error), dict[int, LinearMap]()
        taken = {out.place[s] for s in node.sources}
        for source, map_ in zip(node.sources, node.maps, strict=True):
            end, found = out.place[source], map_
            while end != INPUT and readers[old[end]] == 1:
                inner = out.nodes[end]
                if not isinstance(inner, Affine) or len(inner.sources) > 1 or inner.sources[0] in taken:
                    break
                made = after(found, whole, inner)
                if made is None:
                    break
                (found, whole), end = made, inner.sources[0]
                taken.add(end)
            parts[end] = found
        out.place[k] = out.add(whole.node(parts))
        old[out.place[k]] = k
    return reached(out.nodes, graph.inputs)
