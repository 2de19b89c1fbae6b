"""The probability of a violation by enumeration: the nearest unsafe point of each linear region, and a knapsack on the distances.

It shares no code with the rewrite of the network: of the specification it takes the numbers, and the regions are those of the file's graph.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np
from checking.small import matrices, random_row, value_of
from family_oracle import _nearest, _Part
from graph.cells import enumerate_graph
from graph.graphs import random_graph, relu_graph, steered_graph
from scipy.optimize import linprog

from wdaverify import GroundCost, Norm, Support, make_samples
from wdaverify.graph.nodes import Graph
from wdaverify.network.model import ReluNetwork
from wdaverify.problem import Samples, WdroProblem
from wdaverify.specification.model import Box, Disjunct, Row, Specification
from wdaverify.specification.unsafe import box_of

Array = np.ndarray
_MAKERS = (random_graph, relu_graph, steered_graph)


def distances(graph: Graph, disjuncts: Sequence[Disjunct], support: Support, x: Array, norm: Norm) -> Array:
    """``min { ||x' - x_i|| : x' on the support, in the box of a disjunct, all of its rows >= 0 }`` of points ``[N, n]``, ``[N]``."""
    best = np.full(len(x), math.inf)
    for disjunct in disjuncts:
        F, G, b = matrices(disjunct.rows, graph.inputs, graph.outputs)
        low = np.maximum(disjunct.box.lower, support.lower)
        high = np.minimum(disjunct.box.upper, support.upper)
        if (low > high).any():
            continue
        for cell in enumerate_graph(graph, low, high):
            A, c = np.vstack([cell.A, -(F @ cell.G + G)]), np.concatenate([cell.b, F @ cell.h + b])
            for i, point in enumerate(x):
                best[i] = min(best[i], _within(A, c, low, high, point, norm))
    return best


def _within(A: Array, c: Array, low: Array, high: Array, x: Array, norm: Norm) -> float:
    """The distance from x to ``{low <= x' <= high, A x' <= c}``."""
    if norm is Norm.TWO:
        base = np.clip(x, low, high)
        part = _Part(base, low, high, A, c, np.zeros((0, x.size)), np.zeros(0))
        # the box and what is fixed are at their places in base, from which the rest is measured
        return _from(part, x)
    n = x.size
    sizes = 1 if norm is Norm.INF else n
    pick = np.ones((n, 1)) if norm is Norm.INF else np.eye(n)
    rows = np.block([[A, np.zeros((len(A), sizes))], [np.eye(n), -pick], [-np.eye(n), -pick]])
    found = linprog(
        np.concatenate([np.zeros(n), np.ones(sizes)]),
        rows,
        np.concatenate([c, x, -x]),
        bounds=[*zip(low, high, strict=True), *[(0, None)] * sizes],
        method="highs",
    )
    return float(found.fun) if found.status == 0 else math.inf


def _from(part: _Part, x: Array) -> float:
    """In l2, from x itself."""
    fixed = part.upper == part.lower
    moved = part._replace(base=np.where(fixed, part.base, x))
    return _nearest(moved, x, np.ones(x.size))


def worst(distance: Array, weight: Array, radius: float, order: float) -> float:
    """The most mass that can be made unsafe."""
    if math.isinf(order):
        return float(weight[distance <= radius].sum())
    budget, value = radius**order, 0.0
    for d, w in sorted(zip((distance**order).tolist(), weight.tolist(), strict=True)):
        if not math.isfinite(d):
            break
        share = 1.0 if w * d <= budget else budget / (w * d)
        value, budget = value + share * w, budget - share * w * d
    return value


def _disjunct(rng: np.random.Generator, graph: Graph, near: float) -> Disjunct:
    """A box and up to three rows, moved so that the largest least row on the box is ``near``."""
    corner = [Fraction(int(rng.integers(-20, 20)), 10) for _ in range(graph.inputs)]
    box = Box.exact(corner, [a + Fraction(int(rng.choice([5, 10, 15])), 10) for a in corner])
    rows = tuple(random_row(rng, graph.inputs, graph.outputs) for _ in range(int(rng.integers(1, 4))))
    move = Fraction(round(near - value_of(graph, Disjunct(box, rows)), 6))
    return Disjunct(box, tuple(replace(row, offset=row.offset + move) for row in rows))


def _lengthened(row: Row) -> Row:
    """The same to 35 digits, with numbers that no factor makes doubles of."""
    last = Fraction(1, 10**35)
    outputs, inputs = (tuple((k, c + (k + 1) * last) for k, c in part) for part in (row.outputs, row.inputs))
    return replace(row, outputs=outputs, inputs=inputs, offset=row.offset - last)


def random_violation(seed: int, norm: Norm, order: float, *, long: bool = False) -> tuple[WdroProblem, Array]:
    """A question about up to three disjuncts of up to three rows, on their box, on a wider one or on all of R^n; and its distances.

    With ``long`` its rows have decimals that are no doubles.
    """
    rng = np.random.default_rng([67, seed])
    graph = _MAKERS[seed % len(_MAKERS)](seed)
    nears = rng.choice([0.1, 0.3, 1.0, -0.05], size=int(rng.integers(1, 4)))
    nears[0] = abs(nears[0])
    disjuncts = tuple(_disjunct(rng, graph, float(near)) for near in nears)
    if long:
        disjuncts = tuple(replace(each, rows=tuple(map(_lengthened, each.rows))) for each in disjuncts)
    specification = Specification(graph.inputs, graph.outputs, disjuncts, "made here", "1" * 64)
    box = box_of(specification)
    wider = Support(box.lower - 0.25, box.upper + 0.5)
    support = (box, wider, Support.whole(graph.inputs))[(seed + seed // 9) % 3]
    around = box if support is box else wider
    x = rng.uniform(around.lower, around.upper, size=(4, graph.inputs))
    samples: Samples = make_samples(x, None, rng.uniform(0.1, 1.0, 4))
    distance = distances(graph, disjuncts, support, x, norm)
    known = distance[np.isfinite(distance) & (distance > 0)]
    share = rng.uniform(0.2, 0.8) if math.isfinite(order) else 1.01
    radius = 0.1 if not known.size else float(share * np.quantile(known, 0.5))
    network = ReluNetwork(graph, (graph.inputs,), (graph.outputs,), "0" * 64, "made here", ())
    cost = GroundCost(norm, order)
    return WdroProblem(network, samples, cost, support, "specification", radius, None, specification), distance
