"""Interval Jacobians forwards: what layers make of the input on the cells that phases decide, batched, rounded outward.

With ``x = base + step e`` every node's value on such a cell is ``G e + g``; from the input on, as centre and radius:

    affine         (G, g) = sum_s M_s (G_s, g_s) + (0, b)
    elementwise    rows of G times 1 or 0 where a neuron is decided, times anything in [0, 1] where it is open

Where every neuron before a node is decided, the radius is what rounding lost and (G, g) are the rows of the cell; from the first open
neuron on G bounds the gradient (g then says nothing). Backwards (``jacobian``) open neurons come first and decided layers are multiplied
one by one; forwards decided layers are one matrix, which is tighter where the first layers are decided.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from wdaverify.certify.jacobian import add, gated, slope_up
from wdaverify.graph.maps import Dense, LinearMap, known
from wdaverify.graph.nodes import INPUT, Affine, Graph
from wdaverify.ground import GroundCost
from wdaverify.network.model import Array
from wdaverify.rounding import UNIT_ROUNDOFF, dot_error, underflow

Ints = NDArray[np.int64]
States = dict[int, tuple[Array, Array]]
"""Per node centre and radius, each ``[B, e + 1, m]`` (or without the last row, which is g)."""
_FAR = float(np.finfo(np.float64).max)
"""How far a feature is moved to see what it reaches: no product of it with anything but 0 vanishes."""


class Forward:
    """Forward passes of one graph of ReLUs, for one set of functionals ``rows [R, K]``.

    ``step [n]``: powers of two, 0 for features that do not move.
    """

    def __init__(self, graph: Graph, rows: Array, base: Array, step: Array) -> None:
        self._graph, self._rows = graph, Dense(rows)
        self.moving: Ints = np.flatnonzero(step > 0)
        self.step, self._base = step, base
        self._edges = graph.edges.tolist()

    def run(self, phases: NDArray[np.int8]) -> States:
        """All nodes with their values' constants, from the input on; phases ``[B, M]``: 1, -1, or 0 where open."""
        n, e = self._base.size, self.moving.size
        centre = np.zeros((1, e + 1, n))
        centre[0, np.arange(e), self.moving] = self.step[self.moving]
        centre[0, e] = self._base
        states: States = {INPUT: (centre, np.zeros_like(centre))}
        self._through(states, 0, phases, constants=True)
        batch = len(phases)
        return {k: (_spread(c, batch), _spread(r, batch)) for k, (c, r) in states.items()}

    def onward(self, states: States, number: int, parents: Ints, phases: NDArray[np.int8]) -> tuple[Array, Array]:
        """The functionals' gradients ``[C, R, e]`` with other phases ``[C, M]`` of elementwise node ``number`` and later ones.

        The nodes before it are those of ``states`` at ``parents [C]``.
        """
        first = self._graph.elementwise[number] if number < len(self._graph.elementwise) else len(self._graph.nodes)
        there = {
            k: (centre[parents, :-1], radius[parents, :-1])
            for k, (centre, radius) in states.items()
            if k < first and self._later(k, first)
        }
        if first == len(self._graph.nodes):
            k = first - 1
            there[k] = states[k][0][parents, :-1], states[k][1][parents, :-1]
        self._through(there, first, phases, constants=False)
        return self._gradients(*there[len(self._graph.nodes) - 1])

    def slopes(self, centre: Array, radius: Array, cost: GroundCost, still: Array) -> Array:
        """The largest slope of gradients ``[C, R, e]``, rounded up, ``[C]``."""
        shape = (*centre.shape[:2], self._base.size)
        whole, loose = np.zeros(shape), np.zeros(shape)
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            whole[:, :, self.moving] = centre / self.step[self.moving]
            loose[:, :, self.moving] = radius / self.step[self.moving] + underflow(1)
        return slope_up(whole, loose, cost, still)

    def reached(self, phases: NDArray[np.int8]) -> NDArray[np.bool_]:
        """Which neurons ``[B, M]`` change at all as features move; what is off before them, by phases ``[B, M]``, hands nothing on."""
        moves = {INPUT: np.broadcast_to(np.where(self.step > 0, _FAR, 0.0), (len(phases), self._base.size))}
        out = np.zeros(phases.shape, np.bool_)
        number = 0
        with np.errstate(over="ignore"):
            for k, node in enumerate(self._graph.nodes):
                if isinstance(node, Affine):
                    both = zip(node.sources, node.maps, strict=True)
                    parts = [np.where(m.size().apply(moves[s]) == 0, 0.0, _FAR) for s, m in both]
                    moves[k] = np.max(parts, axis=0)
                    continue
                own = slice(self._edges[number], self._edges[number + 1])
                out[:, own] = moves[node.source] > 0
                moves[k] = np.where(phases[:, own] >= 0, moves[node.source], 0.0)
                number += 1
        return out

    def _later(self, k: int, first: int) -> bool:
        """Whether a node from ``first`` on reads node k."""
        return any(k in sources_of(self._graph, later) for later in range(first, len(self._graph.nodes)))

    def _through(self, states: States, first: int, phases: NDArray[np.int8], *, constants: bool) -> None:
        number = sum(k < first for k in self._graph.elementwise)
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            for k in range(first, len(self._graph.nodes)):
                node = self._graph.nodes[k]
                if isinstance(node, Affine):
                    made: States = {}
                    for source, map_ in zip(node.sources, node.maps, strict=True):
                        add(made, k, *_ahead(map_, *states[source]))
                    states[k] = _shifted(node, *made[k]) if constants else made[k]
                    continue
                own = phases[:, self._edges[number] : self._edges[number + 1]]
                centre, radius = (_spread(part, len(phases)) for part in states[node.source])
                states[k] = gated(centre, radius, (own > 0).astype(np.float64), (own >= 0).astype(np.float64))
                number += 1

    def _gradients(self, centre: Array, radius: Array) -> tuple[Array, Array]:
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            made = _ahead(self._rows, centre, radius)
        return np.swapaxes(made[0], 1, 2), np.swapaxes(made[1], 1, 2)


def sources_of(graph: Graph, k: int) -> Sequence[int]:
    """What a node reads."""
    node = graph.nodes[k]
    return node.sources if isinstance(node, Affine) else (node.source,)


def _spread(part: Array, batch: int) -> Array:
    return np.broadcast_to(part, (batch, *part.shape[1:]))


def _ahead(map_: LinearMap, centre: Array, radius: Array) -> tuple[Array, Array]:
    """``W c`` of an interval ``[B, r, m]``."""
    stored, off = known(map_)
    slip = _apply(stored, radius)
    if map_.terms_out:
        size, factor = np.abs(centre) + radius, dot_error(map_.terms_out + 4)
        slip = slip + factor * _apply(stored, size)
        if off is not None:
            slip = slip + 2 * _apply(off, size)
        slip = slip * (1 + factor) + map_.lost_out
    return _apply(map_, centre), slip


def _apply(map_: LinearMap, h: Array) -> Array:
    return map_.apply(h.reshape(-1, map_.inputs)).reshape(*h.shape[:2], map_.outputs)


def _shifted(node: Affine, centre: Array, radius: Array) -> tuple[Array, Array]:
    """With the bias, in the last row."""
    centre, radius = np.array(centre), np.array(radius)
    centre[:, -1] += node.bias
    lost = 2 * UNIT_ROUNDOFF * np.abs(centre[:, -1])
    radius[:, -1] += lost if node.bias_error is None else lost + 2 * node.bias_error
    radius[:, -1] *= 1 + 4 * UNIT_ROUNDOFF
    return centre, radius
