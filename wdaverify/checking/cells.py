"""Specifications with many inputs: put to ``verify`` as a worst case of order inf, whose cells split neurons instead of boxes.

All disjuncts of one box are one question: each is an output more of the network, its row or the least of its rows by
``min(a, b) = a - relu(a - b)``, and the largest output over the box is a linear loss with one sample in its middle. v < 0 is
the threshold.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from wdaverify.checking.points import Points
from wdaverify.checking.result import Ended
from wdaverify.graph.maps import Dense, LinearMap
from wdaverify.graph.nodes import INPUT, Affine, Graph, Node
from wdaverify.ground import GroundCost, Norm, Support
from wdaverify.network.model import ReluNetwork
from wdaverify.problem import Functionals, Loss, WdroProblem
from wdaverify.rounding import float_up, widths_up
from wdaverify.samples import make_samples
from wdaverify.specification.least import append_least
from wdaverify.specification.model import Box, Disjunct, Row, Specification
from wdaverify.wdro.progress import Report
from wdaverify.wdro.result import Reason, VerificationResult, Voucher
from wdaverify.wdro.verify import verify

_BELOW = -math.ulp(0.0)
"""The threshold: the largest double below 0."""


def by_cells(
    network: ReluNetwork,
    specification: Specification,
    points: Points,
    *,
    limit: Callable[[], float | None],
    jobs: int | None,
    seed: int,
    progress: Report | None,
) -> tuple[float, Ended, int]:
    """An upper bound of v, why it ended, and how many nodes that took; what it finds it hands to the points.

    Coefficients of the specification are doubles. Boxes are asked about one after the other, with the time that is left.
    """
    boxes: dict[int, tuple[Box, list[int]]] = {}
    for d, disjunct in enumerate(specification.disjuncts):
        boxes.setdefault(id(disjunct.box), (disjunct.box, []))[1].append(d)
    upper, nodes, ended = -math.inf, 0, Ended.DECIDED
    for box, numbers in boxes.values():
        rest = limit()
        if rest == 0 or ended in (Ended.INTERRUPTED, Ended.TIME_LIMIT):
            return math.inf, ended if ended is Ended.INTERRUPTED else Ended.TIME_LIMIT, nodes
        problem = question(network, [specification.disjuncts[d] for d in numbers], box)
        found = verify(
            problem, threshold=_BELOW, time_limit=rest, jobs=jobs, seed=seed, progress=progress, device="cpu"
        )
        proven = found.upper if found.vouched_upper is Voucher.CHECKED else math.inf
        upper, nodes = max(upper, proven), nodes + found.statistics.nodes
        for atom in found.atoms:
            points.take(np.repeat(atom.point[None], len(numbers), axis=0), np.array(numbers))
        points.polish(math.inf)
        if points.over:
            return upper, Ended.DECIDED, nodes
        if proven >= 0:
            ended = _ended(found)
    return upper, ended, nodes


def _ended(found: VerificationResult) -> Ended:
    return {Reason.TIME_LIMIT: Ended.TIME_LIMIT, Reason.INTERRUPTED: Ended.INTERRUPTED}.get(found.reason, Ended.STALLED)


def question(network: ReluNetwork, disjuncts: Sequence[Disjunct], box: Box) -> WdroProblem:
    """``V = max_x max_d min_r row_dr(x)`` over the box, offsets rounded up."""
    graph = with_least_rows(network.graph, [disjunct.rows for disjunct in disjuncts])
    asked = ReluNetwork(graph, network.input_shape, (len(disjuncts),), network.sha256, network.name, ())
    middle = np.clip(0.5 * box.lower + 0.5 * box.upper, box.lower, box.upper)
    radius = float(np.maximum(widths_up(middle, box.upper), widths_up(box.lower, middle)).max())
    one = Functionals(np.eye(len(disjuncts)), np.zeros(len(disjuncts)))
    samples, cost = make_samples(middle[None], np.zeros(1, np.int64)), GroundCost(Norm.INF, math.inf)
    return WdroProblem(asked, samples, cost, Support(box.lower, box.upper), Loss.LINEAR, radius, one)


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
