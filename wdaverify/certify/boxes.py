"""Intervals of a graph's nodes on shells: one product with the middle and one with the radius a map, every rounding paid for.

    v in mid +- rad   ==>   M v + b  in  (M mid + b) +- |M| rad

They are the cheapest bounds there are, and all that is needed of a neuron whose function they show to be affine: a relaxation of it is
exact, whatever its bounds.
"""

from __future__ import annotations

import numpy as np

from wdaverify.certify.peak import Shells
from wdaverify.graph.nodes import INPUT, Affine, Elementwise, Graph
from wdaverify.ground import Norm
from wdaverify.network.model import Array
from wdaverify.rounding import dot_error

_Sides = tuple[Array, Array]


class Boxes:
    """Intervals of one network."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._number = {k: number for number, k in enumerate(graph.elementwise)}
        self._plain = {
            k: [(m, m.like(np.abs), m.size()) for m in node.maps]
            for k, node in enumerate(graph.nodes)
            if isinstance(node, Affine)
        }
        """Of an affine node its maps, their absolute values, and these enlarged by what is not known of them."""

    def of(self, node: int, shells: Shells, bounds: list[_Sides]) -> _Sides:
        """``l <= z <= u``, each ``[S, m]``, of an affine node; ``bounds`` are those of the elementwise nodes in front of it."""
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            low, high = self._sides(node, shells, bounds, {})
        known = np.isfinite(low) & np.isfinite(high)
        return np.where(known, low, -np.inf), np.where(known, high, np.inf)

    def exact(self, node: int, shells: Shells) -> bool:
        """Whether no bound of an affine node is better than its interval: where its sources are the point, which moves in a box."""
        read = self._graph.nodes[node]
        return shells.cost.norm is Norm.INF and isinstance(read, Affine) and read.sources == (INPUT,)

    def _sides(self, k: int, shells: Shells, bounds: list[_Sides], done: dict[int, _Sides]) -> _Sides:
        if k not in done:
            node = self._graph.nodes[k] if k != INPUT else None
            if node is None:
                least, most = shells.centre - shells.down, shells.centre + shells.up
                done[k] = np.nextafter(least, -np.inf), np.nextafter(most, np.inf)
            elif isinstance(node, Elementwise):
                done[k] = self._values(node, *bounds[self._number[k]])
            else:
                done[k] = self._affine(k, node, shells, bounds, done)
        return done[k]

    @staticmethod
    def _values(node: Elementwise, low: Array, high: Array) -> _Sides:
        """The range of a function on ``[l, u]``, the other way round where a side is empty."""
        low, high = np.minimum(low, high), np.maximum(low, high)
        one, none = np.ones_like(low), np.zeros(1)
        most, rounded = node.function.gain(one, none, low, high)
        least, lost = node.function.gain(-one, none, low, high)
        return -np.nextafter(least + 1.001 * lost, np.inf), np.nextafter(most + 1.001 * rounded, np.inf)

    def _affine(self, k: int, node: Affine, shells: Shells, bounds: list[_Sides], done: dict[int, _Sides]) -> _Sides:
        total, width, size = node.bias, np.zeros(1), np.abs(node.bias)
        lost, terms = np.zeros(1), 16 + 4 * len(node.maps)
        for source, (map_, plain, enlarged) in zip(node.sources, self._plain[k], strict=True):
            low, high = (side[:, None, :] for side in self._sides(source, shells, bounds, done))  # shell by shell
            middle = 0.5 * (low + high)
            radius = np.nextafter(np.maximum(np.maximum(middle - low, high - middle), 0.0), np.inf)
            total, width = total + map_.apply(middle), width + plain.apply(radius)
            size, lost = size + enlarged.apply(np.abs(middle) + radius), lost + 4 * map_.lost_out
            terms += map_.terms_out
        error = 1.001 * (dot_error(terms) * size + lost)
        if node.bias_error is not None:
            error = error + 2 * node.bias_error
        return (total - width - error)[:, 0], (total + width + error)[:, 0]
