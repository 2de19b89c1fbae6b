"""Questions about tiny regions in the regions' own units: programs take what is below their tolerances for 0.

With ``x = s x'`` and s a power of two nothing is rounded: the first maps are multiplied by s, sides, samples and distances divided by it,

    Inner      functional . z(s x') - (multiplier s^p) ||x' - x_i / s||^p
    Distance   min s ||x' - x_i / s||
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from wdaverify.encoding.cost import Region
from wdaverify.engines.base import Answer, Distance, Effort, Inner
from wdaverify.graph.balance import scaled, scaled_map
from wdaverify.graph.nodes import INPUT, Affine, Graph, Node
from wdaverify.ground import LinearRows

_TINY, _LEAST = 2.0**-20, 2.0**-800
"""Regions that reach farther are questioned in the units they have, and so are those whose numbers might vanish."""


def exponent(region: Region) -> int:
    """``log2 s``: 0 where the region is not tiny, has integers, or is a point."""
    room = np.maximum(region.upper - region.centre, region.centre - region.lower)
    reach = min(float(room.max(initial=0.0)), float(region.far))
    if region.integer is not None or not _LEAST < reach < _TINY:
        return 0
    return math.frexp(reach)[1]


def in_units(graph: Graph, exponent: int) -> Graph | None:
    """The graph of ``x'``; None where that would round a number."""
    nodes: list[Node] = []
    for node in graph.nodes:
        if isinstance(node, Affine) and INPUT in node.sources:
            maps = [scaled_map(m, exponent) if s == INPUT else m for s, m in zip(node.sources, node.maps, strict=True)]
            if any(m is None for m in maps):
                return None
            node = replace(node, maps=tuple(m for m in maps if m is not None))
        nodes.append(node)
    return Graph(tuple(nodes), graph.inputs)


def asked(question: Inner | Distance, effort: Effort, exponent: int) -> tuple[Inner | Distance, Effort] | None:
    """The question of ``x'``, without trees; None where that would round a number."""
    region = question.region
    sides = [scaled(part, -exponent) for part in (region.centre, region.lower, region.upper)]
    if any(part is None for part in sides):
        return None
    centre, lower, upper = (part for part in sides if part is not None)
    rows = region.rows
    if rows is not None:
        matrix = scaled(rows.matrix, exponent)
        if matrix is None:
            return None
        rows = LinearRows(matrix, rows.lower, rows.upper)
    near, far = math.ldexp(region.near, -exponent), math.ldexp(region.far, -exponent)
    region = Region(region.cost, centre, lower, upper, near, far, rows, None)
    effort = replace(effort, known=(), proof=False)
    if isinstance(question, Distance):
        cutoff = None if effort.cutoff is None else math.ldexp(effort.cutoff, -exponent)
        return replace(question, region=region), replace(effort, cutoff=cutoff, gap=math.ldexp(effort.gap, -exponent))
    power = region.cost.power if math.isfinite(region.cost.order) else 1
    return replace(question, region=region, multiplier=math.ldexp(question.multiplier, power * exponent)), effort


def back(question: Inner | Distance, answer: Answer, exponent: int) -> Answer:
    """The answer in the units of the question."""
    bound = answer.bound
    if isinstance(question, Distance) and math.isfinite(bound):
        bound = math.ldexp(bound, exponent)
    points = np.clip(np.ldexp(answer.points, exponent), question.region.lower, question.region.upper)
    return replace(answer, bound=bound, points=points)
