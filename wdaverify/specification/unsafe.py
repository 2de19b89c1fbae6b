"""The unsafe set of a specification as scores of a network, so that a violation is an error of class 0.

    unsafe = { x : for some disjunct d, x in its box and row_dr(x) >= 0 for all of its rows r }
    scores = (0, v_1, ..., v_D)(x),    v_d(x) = min_r row_dr(x)

x is unsafe exactly where some score is at least that of class 0. The least row is made of ReLUs (``specification.least``), so that the
scores are a network like any other. Rows count as closed; sides of a box that the support keeps are no rows.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from wdaverify.errors import SpecificationError
from wdaverify.graph.maps import Dense, LinearMap, Select
from wdaverify.graph.nodes import INPUT, Affine, Graph, Node
from wdaverify.ground import Support
from wdaverify.network.model import Array, ReluNetwork, Unsafe
from wdaverify.specification.fits import check_fits
from wdaverify.specification.least import append_least
from wdaverify.specification.model import Box, Coefficients, Disjunct, Row, Specification
from wdaverify.specification.scaled import Scaled

_Functional = tuple[Coefficients, Coefficients]
_MAX_NUMBERS = 2**26
"""Coefficients of all rows together."""


def with_unsafe_scores(network: ReluNetwork, specification: Specification, support: Support) -> ReluNetwork:
    """The network with the scores 0 and the least row of each disjunct that can hold on the support's box.

    Every row is scaled by a positive number that makes doubles of its numbers, or sums of a few; an offset for which there is none is
    rounded up, which widens the unsafe set by less than a unit in its last place. A network that has these scores already is handed back.

    Raises:
        SpecificationError: it is about another network, or the coefficients of a row are proportional to no sums of a few doubles.
    """
    unsafe = Unsafe(specification.sha256, _digest(support), ())
    if network.unsafe is not None:
        if replace(network.unsafe, disjuncts=(), at=-1) == unsafe:
            return network
        raise SpecificationError(
            f"{network.name} has the scores of a specification already, for another one or on another support; give the network as "
            "it was read"
        )
    check_fits(network, specification)
    if support.lower.size != network.n_inputs:
        raise SpecificationError(f"the support has {support.lower.size} features, {network.name} {network.n_inputs}")
    parts = [(d, _Part.of(disjunct, support)) for d, disjunct in enumerate(specification.disjuncts)]
    kept = [(d, part) for d, part in parts if part is not None]
    rows = _Rows([part for _, part in kept])
    graph = _followed(network.graph, [part for _, part in kept], rows)
    return replace(
        network,
        graph=graph,
        output_shape=(1 + max(1, len(kept)),),
        notices=(*network.notices, *_notices(specification, [part for _, part in kept], rows)),
        unsafe=replace(unsafe, disjuncts=tuple(d for d, _ in kept), at=len(network.graph.nodes) - 1),
        onnx=None,
    )


def box_of(specification: Specification) -> Support:
    """The smallest box that holds all boxes of a specification.

    Nothing outside violates it, so that for samples within the supremum there is that over all of R^n.

    Raises:
        SpecificationError: nothing can satisfy it, so that it has no box.
    """
    if not specification.disjuncts:
        raise SpecificationError(
            f"{specification.name} has no disjunct that can hold, and no box; give a support of your own to be told 0"
        )
    boxes = {id(d.box): d.box for d in specification.disjuncts}.values()
    return Support(np.min([box.lower for box in boxes], axis=0), np.max([box.upper for box in boxes], axis=0))


def within_reach(specification: Specification, support: Support, x: Array) -> Support:
    """In place of the whole space the smallest box that holds all boxes of a specification and the samples ``x [N, n]``; else the support.

    The supremum is the same: mass has no reason to move but to where the specification is violated.
    """
    if support.bounded or not specification.disjuncts or x.shape[1:] != (specification.inputs,) or not len(x):
        return support
    box = box_of(specification)
    if box.lower.size != support.lower.size:
        return support
    return Support(np.minimum(box.lower, x.min(axis=0)), np.maximum(box.upper, x.max(axis=0)))


@dataclass(frozen=True)
class _Part:
    """A disjunct on a support: its own rows, and those of the sides of its box that the support does not keep; ``strict`` ones."""

    own: tuple[Row, ...]
    sides: tuple[Row, ...]
    strict: int

    @classmethod
    def of(cls, disjunct: Disjunct, support: Support) -> _Part | None:
        """None where no point of the support's box is in the disjunct, by what it says of inputs alone."""
        box = disjunct.box
        if ((box.lower > support.upper) | (box.upper < support.lower)).any():
            return None
        own = list[Row]()
        for row in _least(disjunct.rows):
            least, most = (-math.inf, math.inf) if row.outputs else _between(row, support)
            if most < 0:
                return None
            own += [row] if least < 0 else []
        return cls(tuple(own), _sides(box, support), sum(row.strict for row in own))


def _least(rows: Sequence[Row]) -> list[Row]:
    """Of rows that differ by their offset alone the one that holds last."""
    out: dict[_Functional, Row] = {}
    for row in rows:
        functional = row.outputs, row.inputs
        if functional not in out or row.offset < out[functional].offset:
            out[functional] = row
    return list(out.values())


def _between(row: Row, support: Support) -> tuple[Fraction | float, Fraction | float]:
    """The least and the largest value on the support's box of a row of inputs alone."""
    least: Fraction | float = row.offset
    most: Fraction | float = row.offset
    for place, factor in row.inputs:
        ends = [float(support.lower[place]), float(support.upper[place])]
        if not all(map(math.isfinite, ends)):
            return -math.inf, math.inf
        low, high = sorted(factor * Fraction(end) for end in ends)
        least, most = least + low, most + high
    return least, most


def _sides(box: Box, support: Support) -> tuple[Row, ...]:
    """``x_i - lower_i >= 0`` and ``upper_i - x_i >= 0`` wherever the support reaches beyond."""
    low = np.flatnonzero(support.lower < box.lower).tolist()
    high = np.flatnonzero(support.upper > box.upper).tolist()
    rows = [Row((), ((i, Fraction(1)),), -Fraction(float(box.lower[i]))) for i in low]
    return (*rows, *(Row((), ((i, Fraction(-1)),), Fraction(float(box.upper[i]))) for i in high))


class _Rows:
    """The rows of all disjuncts, each once, in doubles."""

    def __init__(self, parts: Sequence[_Part]) -> None:
        self.place: dict[Row, int] = {}
        self.scaled: list[Scaled] = []
        self.rounded = 0
        """Rows whose offset is no sum of a few doubles."""
        for part in parts:
            for row in (*part.own, *part.sides):
                key = replace(row, strict=False)
                if key not in self.place:
                    self.place[key] = len(self.scaled)
                    self.scaled.append(Scaled.of(row))
        self.rounded = sum(not row.exact for row in self.scaled)

    def of(self, rows: Sequence[Row]) -> list[int]:
        """Where rows are."""
        return [self.place[replace(row, strict=False)] for row in rows]

    def nodes(self, graph: Graph) -> list[Affine]:
        """All of them, behind a graph: the parts that each is the sum of, and these sums where one has several."""
        parts = [part for row in self.scaled for part in row.parts]
        if len(parts) * (graph.outputs + graph.inputs) > _MAX_NUMBERS:
            raise SpecificationError(
                f"{len(parts)} rows over {graph.inputs} inputs and {graph.outputs} outputs; at most {_MAX_NUMBERS} coefficients are "
                "accepted: give a support within the boxes of the specification, whose sides then are no rows"
            )
        outputs = np.zeros((len(parts), graph.outputs))
        inputs = np.zeros((len(parts), graph.inputs))
        for r, row in enumerate(parts):
            outputs[r, [place for place, _ in row.outputs]] = [factor for _, factor in row.outputs]
            inputs[r, [place for place, _ in row.inputs]] = [factor for _, factor in row.inputs]
        maps: dict[int, LinearMap] = {len(graph.nodes) - 1: Dense(outputs)}
        if inputs.any():
            maps[INPUT] = Dense(inputs)
        each = Affine(tuple(maps), tuple(maps.values()), np.array([row.offset for row in parts]))
        if len(parts) == len(self.scaled):
            return [each]
        owner = np.repeat(np.arange(len(self.scaled)), [len(row.parts) for row in self.scaled])
        sums = (owner == np.arange(len(self.scaled))[:, None]).astype(np.float64)
        return [each, Affine((len(graph.nodes),), (Dense(sums),), np.zeros(len(sums)))]


def _followed(graph: Graph, parts: Sequence[_Part], rows: _Rows) -> Graph:
    """The graph with the scores for its outputs: all rows, the least of each group of them, the least own row and side of a disjunct."""
    if not rows.scaled:
        return _constant(graph, [1.0] * len(parts) or [-1.0])
    nodes: list[Node] = [*graph.nodes, *rows.nodes(graph)]
    groups = dict.fromkeys(tuple(rows.of(some)) for part in parts for some in (part.own, part.sides) if some)
    _select(nodes, [place for group in groups for place in group])
    append_least(nodes, [len(group) for group in groups])
    at = {group: k for k, group in enumerate(groups)}
    least = [[at[tuple(rows.of(some))] for some in (part.own, part.sides) if some] for part in parts]
    _select(nodes, [place for some in least for place in some or [-1]])
    append_least(nodes, [max(1, len(some)) for some in least])
    scores = Select(np.arange(-1, len(parts)), len(parts))
    always = np.array([0.0, *(0.0 if some else 1.0 for some in least)])  # the disjuncts that hold on all of the support
    nodes.append(Affine((len(nodes) - 1,), (scores,), always))
    return Graph(tuple(nodes), graph.inputs)


def _constant(graph: Graph, scores: Sequence[float]) -> Graph:
    """Scores that no input changes."""
    nothing = Dense(np.zeros((1 + len(scores), graph.outputs)))
    last = Affine((len(graph.nodes) - 1,), (nothing,), np.array([0.0, *scores]))
    return Graph((*graph.nodes, last), graph.inputs)


def _select(nodes: list[Node], index: Sequence[int]) -> None:
    """Add a node of entries of the last one."""
    before = nodes[-1]
    assert isinstance(before, Affine)
    nodes.append(Affine((len(nodes) - 1,), (Select(np.array(index), before.width),), np.zeros(len(index))))


def _digest(support: Support) -> str:
    """Of the box of a support, which says what of the specification is a row."""
    return hashlib.sha256(support.lower.tobytes() + support.upper.tobytes()).hexdigest()


def _notices(specification: Specification, parts: Sequence[_Part], rows: _Rows) -> list[str]:
    """What was made of the specification, where that is not what stands in it."""
    out, total = list[str](), len(specification.disjuncts)
    left = total - len(parts)
    if left:
        which = "none of its disjuncts" if left == total else f"{left} of its {total} disjuncts"
        rest = (
            "can hold on the support: nothing there violates it"
            if left == total
            else "cannot hold on the support and are left out"
        )
        out.append(f"{specification.name}: {which} {rest}")
    if total == 0:
        out.append(f"{specification.name} has no disjunct that can hold: nothing violates it")
    if any(part.sides for part in parts):
        out.append(
            f"{specification.name}: the support reaches beyond its boxes, and an input outside them is no violation"
        )
    if any(part.strict for part in parts):
        out.append(f"{specification.name}: its strict rows count as closed, the edge of the unsafe set as unsafe")
    if rows.rounded:
        out.append(
            f"{specification.name}: the offsets of {rows.rounded} rows are no sums of a few doubles and are rounded up, which widens the "
            "unsafe set by less than one unit in their last place"
        )
    return out
