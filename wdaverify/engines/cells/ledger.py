"""What a search has proven: its leaves held to their rows, and its trees in the form of a proof."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from wdaverify.certify.backward import Backward, HiddenBounds, Shells
from wdaverify.certify.entropy import by_rule, entropy_constant, on_grid, span_constant
from wdaverify.certify.leaf_row import Layout, LeafRow
from wdaverify.certify.proof import BARE, FORKED, HALVED, TIGHTENED, WRITTEN, Place, Tightening, Tree, halves_of
from wdaverify.encoding.milp import Ints
from wdaverify.engines.cells.tree import Fork, Node
from wdaverify.network.model import Array

_NONE = np.zeros(0, np.int64)
_SHORT = 1e-9
"""By how much a row may fall short of the LP's promise before its parent's is looked at."""


@dataclass(frozen=True, eq=False)
class Claim:
    """What leaves are held to: ``margin * functional . f(x) - cost * multiplier * ||x - c||^power``; a distance has multiplier 1.

    ``functional [K]`` and multiplier may be one for each leaf, ``[L, K]`` and ``[L]``. With ``margins [J, K]`` (or ``[L, J, K]``) the
    log-sum-exp of these rows and 0 is added to ``lead``, which takes the functional's place. ``integer [g]`` are the features that
    nodes have a box of; ``tail`` is the number of the support's rows.
    """

    functional: Array
    multiplier: float | Array
    distance: bool
    power: int
    margins: Array | None
    integer: Ints
    support: tuple[Array, Array]
    tail: int
    lead: Array | None = None

    def take(self, index: Ints) -> Claim:
        """What some of the leaves are held to."""
        if isinstance(self.multiplier, float):
            return self
        lead = None if self.lead is None else self.lead[index]
        margins = None if self.margins is None else self.margins[index]
        each = self.functional[index], self.multiplier[index]
        return replace(self, functional=each[0], multiplier=each[1], margins=margins, lead=lead)

    def layout(self, neurons: int) -> Layout:
        """What the rows of leaves hold."""
        return Layout(neurons, self.tail, 0 if self.margins is None else self.margins.shape[-2])


def leaves(root: Node) -> list[Node]:
    """The leaves in the order of a proof: the active side first."""
    out, waiting = [], [root]
    while waiting:
        node = waiting.pop()
        if node.sides is None:
            out.append(node)
        else:
            waiting += [node.sides[1], node.sides[0]]
    return out


def tree_of(root: Node, near: float, far: float, layout: Layout, integer: Ints = _NONE) -> Tree:
    """The tree in preorder with the rows of its leaves, what tightens bounds below its nodes, and cuts of features ``integer [g]``."""
    nodes, rows, tights, waiting = list[int](), list[Array](), list[Tightening](), [root]
    forks = list[tuple[float, float, float]]()
    while waiting:
        node = waiting.pop()
        nodes += [TIGHTENED] * len(node.tights)
        tights += node.tights
        if node.sides is not None:
            nodes.append(node.split if node.cut is None else HALVED if node.cut.kind == "half" else FORKED)
            forks += [] if node.cut is None else [node.cut.stored(integer)]
            waiting += [node.sides[1], node.sides[0]]
        elif node.row is None:
            nodes.append(BARE)
        else:
            nodes.append(WRITTEN)
            rows.append(node.row)
    vectors = np.array(rows) if rows else layout.zeros(0).numbers
    cuts = np.array(forks, np.float64).reshape(-1, 3)
    return Tree(near, far, np.array(nodes, np.int32), vectors, tuple(tights), cuts)


def root_of(tree: Tree, neurons: int) -> tuple[Node, list[tuple[Node, Place]]]:
    """The tree as nodes that no program has solved here, the inverse of ``tree_of``; its leaves whose bounds are tightened, and where."""
    top = Node.unknown(neurons)
    waiting: list[tuple[Node, Place | None]] = [(top, None)]
    tightened, row, tights, forks = list[tuple[Node, Place]](), 0, 0, 0
    for code in tree.nodes.tolist():
        node, place = waiting.pop()
        if code == TIGHTENED:
            place = Place(place, node.phases, tree.tights[tights])
            node.tights += (tree.tights[tights],)
            tights += 1
            waiting.append((node, place))
            continue
        if code >= 0:
            active, dead = Node.unknown(neurons), Node.unknown(neurons)
            for side, phase in ((active, 1), (dead, -1)):
                side.phases = node.phases.copy()
                side.phases[code] = phase
            node.split, node.sides = code, (active, dead)
            waiting += [(dead, place), (active, place)]
            continue
        if code == HALVED:
            below, above = halves_of(tree.forks[forks])
            node.cut, forks = Fork("half", below[0], below[2], above[2]), forks + 1
            node.sides = lower, upper = Node.unknown(neurons), Node.unknown(neurons)
            for half, cut in ((upper, above), (lower, below)):
                half.phases = node.phases.copy()
                waiting.append((half, Place(place, node.phases, None, cut)))
            continue
        node.stale = True
        if place is not None:
            tightened.append((node, place))
        if code == WRITTEN:
            node.row = tree.vectors[row]
            row += 1
    return top, tightened


def spelled_out(node: Node, around: Array) -> Node:
    """The leaf that has the phases which a leaf's own bounds imply, beyond those that its shell's ``around [2, M]`` imply.

    The leaf is branched at each; the other side has no point, by its bounds. A linear program that knows the shell's bounds alone is
    exact there if no other phases are open.
    """
    if node.bounds is None:
        return node
    (low, high), bounds = around, node.bounds
    implied = np.where(bounds[0] > 0, 1, np.where(bounds[1] < 0, -1, 0))
    for neuron in np.flatnonzero((low < 0) & (high > 0) & (node.phases == 0) & (implied != 0)).tolist():
        sides = []
        for phase in (1, -1):
            side = Node.unknown(node.phases.size)
            side.phases, side.bounds, side.part, side.stale = node.phases.copy(), bounds, node.part, True
            side.phases[neuron], side.span = phase, node.span
            sides.append(side)
        kept, empty = sides if implied[neuron] > 0 else reversed(sides)
        empty.bound, empty.held = math.inf, True
        kept.bound, kept.row, kept.held = node.bound, node.row, node.held
        node.split, node.sides, node.row, node.bounds = neuron, (sides[0], sides[1]), None, None
        node = kept
    return node


def prove(backward: Backward, claim: Claim, shells: Shells, bounds: HiddenBounds, nodes: list[Node]) -> Array:
    """What leaves prove, ``[L]``, as bounds of the minimisation; rays are given the sign that closes them. One shell a leaf."""

    layout = claim.layout(backward.neurons)

    def held(index: Ints, rows: Array) -> Array:
        local = [(low[index], high[index]) for low, high in bounds]
        return _bounds(
            backward, claim.take(index), shells.take(index), local, [nodes[k] for k in index], LeafRow(layout, rows)
        )

    out = np.full(len(nodes), -math.inf)
    written = np.array([k for k, node in enumerate(nodes) if node.row is not None], np.int64)
    bare = np.array([k for k, node in enumerate(nodes) if node.row is None], np.int64)
    if written.size:
        rows = np.array([nodes[k].row for k in written])
        out[written] = held(written, rows)
        rays = np.flatnonzero((LeafRow(layout, rows).cost == 0) & (out[written] < math.inf))
        if rays.size:
            turned = -rows[rays]
            values = held(written[rays], turned)
            for row, value, k in zip(turned, values, written[rays], strict=True):
                if value > out[k]:
                    nodes[k].row, out[k] = row, value
    spare = np.array([k for k, n in enumerate(nodes) if n.spare is not None and out[k] < n.bound - _SHORT], np.int64)
    if spare.size:
        rows = np.array([nodes[k].spare for k in spare])
        values = held(spare, rows)
        for row, value, k in zip(rows, values, spare, strict=True):
            if value > out[k]:
                nodes[k].row, out[k] = row, value
    if bare.size:
        out[bare] = held(bare, layout.bare(bare.size, 0.0 if claim.distance else 1.0).numbers)
    return out


def _bounds(
    backward: Backward, claim: Claim, shells: Shells, bounds: HiddenBounds, nodes: list[Node], rows: LeafRow
) -> Array:
    """Bounds of the minimisation ``[L]``: inf where a leaf is shown to be empty or free of errors, near where nothing is."""
    count, margin, cost = len(nodes), rows.margin, rows.cost
    phases = np.stack([node.phases for node in nodes])
    functional = np.maximum(margin, 0.0)[:, None] * claim.functional
    constant, none = np.zeros(count), np.zeros(count, np.bool_)
    if claim.margins is not None:
        assert claim.lead is not None
        functional, constant = _entropy(claim.margins, nodes, rows)
        functional = functional + np.where(rows.margin[:, None] > 0, claim.lead, 0.0)  # exact: gamma is on a grid
        none = np.array([node.span is not None and bool((node.span[0] > node.span[1]).any()) for node in nodes])
    place = _boxed(claim, shells, nodes)
    tau = cost * claim.multiplier
    top = constant + backward.leaves(functional, tau, place, bounds, phases, rows.nu, power=claim.power, rho=rows.rho)
    top = np.where((constant != 0) & (top > -math.inf), np.nextafter(top, np.inf), top)
    if not claim.distance:  # rows may come from anywhere: one that weighs the margin otherwise says something else
        empty = ((cost == 0) & (top < 0) & (margin == 0)) | none
        return np.where(empty, math.inf, np.where((cost == 1) & (margin == 1), -top, -math.inf))
    empty = (cost == 0) & (top < 0) & (margin >= 0)
    distance = np.where(cost == 1, np.maximum(-top, place.near), place.near)
    return np.where(empty | (distance > shells.far), math.inf, distance)


def _entropy(margins: Array, nodes: list[Node], rows: LeafRow) -> tuple[Array, Array]:
    """Per leaf the functional ``gamma . m`` and the constant that bound the cross-entropy; for rays that bound 0."""
    spans = np.stack([node.span for node in nodes if node.span is not None])
    low, high = spans[:, 0], spans[:, 1]
    if rows.gamma is None or rows.log_sigma is None:
        pairs = [by_rule(a, b) for a, b in zip(low, high, strict=True)]
        level, gamma = np.array([pair[0] for pair in pairs]), np.stack([pair[1] for pair in pairs])
    else:
        level, gamma = rows.log_sigma, on_grid(rows.gamma)
    constant = np.where(rows.margin > 0, entropy_constant(level, gamma, low, high), span_constant(gamma, low, high))
    return gamma @ margins if margins.ndim == 2 else (gamma[:, None] @ margins)[:, 0], constant


def _boxed(claim: Claim, shell: Shells, nodes: list[Node]) -> Shells:
    """The shell of each leaf, cut to its box of integer features."""
    if not claim.integer.size:
        return shell
    lower, upper = (np.broadcast_to(side, shell.centre.shape).copy() for side in claim.support)
    for k, node in enumerate(nodes):
        if node.box is not None:
            lower[k, claim.integer], upper[k, claim.integer] = node.box
    return shell.within(lower, upper)
