"""The disjuncts of a specification that share a box, as one worst case: what is asked of the cells, and what their proofs are about.

Each disjunct is an output more of the network, its row or the least of its rows by ``min(a, b) = a - relu(a - b)``. Rows are multiplied
by one whole number, so that their coefficients are doubles: 0.7 and 1.4 are none, and 7 and 14 times a tenth are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np

from wdaverify.graph.maps import Dense, LinearMap
from wdaverify.graph.nodes import INPUT, Affine, Graph, Node
from wdaverify.ground import GroundCost, Norm, Support
from wdaverify.network.model import Array, ReluNetwork
from wdaverify.problem import Functionals, Loss, WdroProblem
from wdaverify.rounding import float_up, widths_up
from wdaverify.samples import make_samples
from wdaverify.specification.least import append_least
from wdaverify.specification.model import Box, Coefficients, Disjunct, Row, Specification

_MOST = 2**1000
"""Larger factors are not tried."""
_BEYOND = 2.0**10


def by_box(specification: Specification) -> list[tuple[Box, list[int]]]:
    """The boxes, each with the numbers of the disjuncts that have it."""
    boxes: dict[int, tuple[Box, list[int]]] = {}
    for d, disjunct in enumerate(specification.disjuncts):
        boxes.setdefault(id(disjunct.box), (disjunct.box, []))[1].append(d)
    return list(boxes.values())


def question(network: ReluNetwork, disjuncts: Sequence[Disjunct], box: Box) -> WdroProblem:
    """``V = max_x max_d min_r row_dr(x)`` over the box, offsets rounded up: a linear loss at order inf, one sample in the middle."""
    least = with_least_rows(network.graph, [disjunct.rows for disjunct in disjuncts])
    one = Functionals(np.eye(len(disjuncts)), np.zeros(len(disjuncts)))
    middle, radius = _around(box)
    return WdroProblem(
        _scores(network, least),
        make_samples(middle[None], np.zeros(1, np.int64)),
        GroundCost(Norm.INF, math.inf),
        Support(box.lower, box.upper),
        Loss.LINEAR,
        radius,
        one,
    )


def claim(network: ReluNetwork, disjuncts: Sequence[Disjunct], box: Box) -> WdroProblem:
    """The same V as a margin at order 1, which certificates are about.

    Scores are ``(0, v_1, ..., v_D)`` with v_d the least row of disjunct d, the one sample in the middle has label 0, the support is the
    box, and no point of it is farther away than the radius: all mass may be wherever ``max_d v_d`` is largest, so that V is that. The
    radius is far larger still, which changes nothing, and makes the best multiplier 0.
    """
    least = with_least_rows(network.graph, [disjunct.rows for disjunct in disjuncts])
    count = len(disjuncts)
    first = np.vstack([np.zeros((1, count)), np.eye(count)])
    node = Affine((len(least.nodes) - 1,), (Dense(first),), np.zeros(count + 1))
    middle, radius = _around(box)
    return WdroProblem(
        _scores(network, Graph((*least.nodes, node), least.inputs)),
        make_samples(middle[None], np.zeros(1, np.int64)),
        GroundCost(Norm.INF, 1),
        Support(box.lower, box.upper),
        Loss.MARGIN,
        _BEYOND * radius,
    )


def _scores(network: ReluNetwork, graph: Graph) -> ReluNetwork:
    return ReluNetwork(graph, network.input_shape, (graph.outputs,), network.sha256, network.name, ())


def _around(box: Box) -> tuple[Array, float]:
    """The middle of a box, and how far its sides are from there, rounded up."""
    middle = np.clip(0.5 * box.lower + 0.5 * box.upper, box.lower, box.upper)
    return middle, float(np.maximum(widths_up(middle, box.upper), widths_up(box.lower, middle)).max())


def with_least_rows(graph: Graph, conjunctions: Sequence[Sequence[Row]]) -> Graph:
    """The graph with the least row of each conjunction for its outputs, offsets rounded up."""
    nodes, width = list[Node](graph.nodes), [len(rows) for rows in conjunctions]
    every = [row for rows in conjunctions for row in rows]
    outputs, inputs = np.zeros((len(every), graph.outputs)), np.zeros((len(every), graph.inputs))
    for r, row in enumerate(every):
        for matrix, coefficients in ((outputs, row.outputs), (inputs, row.inputs)):
            for place, factor in coefficients:
                matrix[r, place] = float(factor)
    maps: dict[int, LinearMap] = {len(nodes) - 1: Dense(outputs)}
    if inputs.any():
        maps[INPUT] = Dense(inputs)
    nodes.append(Affine(tuple(maps), tuple(maps.values()), np.array([float_up(row.offset) for row in every])))
    append_least(nodes, width)
    return Graph(tuple(nodes), graph.inputs)


def scaled(specification: Specification) -> tuple[Specification, int] | None:
    """The specification with all rows times the least whole number that makes all coefficients doubles, and that; None where none does.

    v is that many times as large; boxes are the same ones.
    """
    factor = 1
    for disjunct in specification.disjuncts:
        for row in disjunct.rows:
            for _, number in (*row.outputs, *row.inputs):
                denominator = number.denominator
                factor = math.lcm(factor, denominator // (denominator & -denominator))
                if factor > _MOST:
                    return None
    disjuncts = []
    for disjunct in specification.disjuncts:
        rows = [
            replace(
                row, outputs=_times(row.outputs, factor), inputs=_times(row.inputs, factor), offset=row.offset * factor
            )
            for row in disjunct.rows
        ]
        if not all(_double(number) for row in rows for _, number in (*row.outputs, *row.inputs)):
            return None
        disjuncts.append(Disjunct(disjunct.box, tuple(rows)))
    return replace(specification, disjuncts=tuple(disjuncts)), factor


def _times(coefficients: Coefficients, factor: int) -> Coefficients:
    return tuple((place, number * factor) for place, number in coefficients)


def _double(number: Fraction) -> bool:
    return abs(number) < 1e300 and Fraction(float(number)) == number
