"""Small specifications of small graphs, and v of them by linear programs over the graph's linear regions."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from graph.cells import enumerate_graph
from graph.graphs import random_graph, relu_graph, steered_graph
from scipy.optimize import linprog

from wdaverify.certify.unsat import read_unsat, recheck_unsat, write_unsat
from wdaverify.graph.nodes import Graph
from wdaverify.network.model import ReluNetwork
from wdaverify.specification.model import Box, Disjunct, Row, Specification

Array = np.ndarray
MAKERS = (random_graph, relu_graph, steered_graph)


def network_of(graph: Graph) -> ReluNetwork:
    return ReluNetwork(graph, (graph.inputs,), (graph.outputs,), "0" * 64, "made here", ())


def matrices(rows: Sequence[Row], inputs: int, outputs: int) -> tuple[Array, Array, Array]:
    """``F, G, b`` in double precision."""
    F, G = np.zeros((len(rows), outputs)), np.zeros((len(rows), inputs))
    for r, row in enumerate(rows):
        for place, factor in row.outputs:
            F[r, place] = float(factor)
        for place, factor in row.inputs:
            G[r, place] = float(factor)
    return F, G, np.array([float(row.offset) for row in rows])


def value_of(graph: Graph, disjunct: Disjunct) -> float:
    """``max_x min_r row_r(x)`` over the box: a program ``max t`` for each linear region, with a row ``t <= row_r``."""
    F, G, b = matrices(disjunct.rows, graph.inputs, graph.outputs)
    low, high = disjunct.box.lower, disjunct.box.upper
    best = -np.inf
    for cell in enumerate_graph(graph, low, high):
        slope, shift = F @ cell.G + G, F @ cell.h + b
        upper = np.block([[-slope, np.ones((len(b), 1))], [cell.A, np.zeros((len(cell.A), 1))]])
        found = linprog(
            np.append(np.zeros(graph.inputs), -1.0),
            upper,
            np.concatenate([shift, cell.b]),
            bounds=[*zip(low, high, strict=True), (None, None)],
            method="highs",
        )
        if found.status == 0:
            best = max(best, -found.fun)
    return best


def random_row(rng: np.random.Generator, inputs: int, outputs: int) -> Row:
    """Few coefficients, some of which are no doubles."""

    def some(size: int, share: float) -> tuple[tuple[int, Fraction], ...]:
        factors = [Fraction(int(rng.integers(-8, 9)), int(rng.choice([1, 2, 4, 5]))) for _ in range(size)]
        return tuple((k, c) for k, c in enumerate(factors) if c and rng.random() < share)

    z = some(outputs, 0.7) or ((0, Fraction(1)),)
    return Row(z, some(inputs, 0.3), Fraction(int(rng.integers(-9, 10)), 10), bool(rng.random() < 0.3))


def random_disjunct(rng: np.random.Generator, graph: Graph, near: float) -> Disjunct:
    """A box and up to three rows, moved so that v is ``near``."""
    corner = [Fraction(int(rng.integers(-20, 20)), 10) for _ in range(graph.inputs)]
    width = [Fraction(int(rng.choice([0, 5, 10, 15], p=[0.1, 0.3, 0.3, 0.3])), 10) for _ in range(graph.inputs)]
    box = Box.exact(corner, [a + w for a, w in zip(corner, width, strict=True)])
    rows = tuple(random_row(rng, graph.inputs, graph.outputs) for _ in range(int(rng.integers(1, 4))))
    move = Fraction(near) - Fraction(value_of(graph, Disjunct(box, rows)))
    return Disjunct(box, tuple(Row(row.outputs, row.inputs, row.offset + move, row.strict) for row in rows))


def random_question(seed: int) -> tuple[ReluNetwork, Specification, float]:
    """Up to three disjuncts of one graph, and v, which is often close to 0."""
    rng = np.random.default_rng([31, seed])
    graph = MAKERS[seed % len(MAKERS)](seed)
    sign = -1.0 if rng.random() < 0.6 else 1.0
    nears = [sign * float(rng.choice([1e-3, 1e-2, 0.3])) for _ in range(int(rng.integers(1, 4)))]
    if sign > 0 and len(nears) > 1:
        nears[0] *= -1
    disjuncts = tuple(random_disjunct(rng, graph, near) for near in nears)
    return network_of(graph), Specification(graph.inputs, graph.outputs, disjuncts, "made here", ""), max(nears)


def is_proved(network: Any, specification: Specification, certificate: Any, folder: Path) -> None:
    """A certificate of unsat after a trip through a file; what is proven lies above v, by programs over all regions."""
    write_unsat(folder / "c.cert", certificate)
    verdict = recheck_unsat(read_unsat(folder / "c.cert"), network, specification)
    assert verdict.proved, verdict.reasons
    value = max(value_of(network.graph, disjunct) for disjunct in specification.disjuncts)
    assert value - 1e-9 <= verdict.upper < 0
    assert verdict.upper <= certificate.upper + 1e-9
