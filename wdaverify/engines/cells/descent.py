"""Multipliers of leaves on their way down, for networks of curved functions: it steers, and proves nothing.

For any multipliers nu the trusted pass bounds a leaf (docs/theory.md, section 9), and that bound is convex in them. With
``nu = s q + b``, x the point and z the places where the maxima are attained,

    forward      v = phi(z) + s (y - z),   y the affine map of the v before it (at the input x)
    derivative   q (y - z) by s,   y - z by b

since moving a multiplier moves the bound by how far the two sides that it ties together are apart.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from wdaverify.graph.nodes import INPUT, Affine, Elementwise, Graph
from wdaverify.network.model import Array

_SHIFTS, _MOST = 0.1, 0.1
"""The least and the most of what a step may move a slope or a shift by, in units of the range of the neuron's slopes."""


class Descent:
    """Multipliers of a batch on their way down: ``free [B, 2, M]`` are slopes and shifts, the latter in units of the pulls met first."""

    def __init__(self, graph: Graph, spans: list[slice], functional: Array, ends: Array, start: Array | None) -> None:
        self._graph, self._spans, self._functional = graph, spans, functional
        self._low, self._high = ends[:, 0], ends[:, 1]
        shape = self._low.shape
        self.free = np.zeros((shape[0], 2, shape[1])) if start is None else start.copy()
        self._fresh = start is None
        self._unit = np.ones(shape)
        self._reach = np.full(self.free.shape, _SHIFTS)
        for span, k in zip(spans, graph.elementwise, strict=True):
            least, greatest = graph.function(k).slope_range(self._low[:, span], self._high[:, span])
            self._reach[:, 0, span] = np.clip(greatest - least, 1e-9, _MOST)
            self._reach[:, 1, span] = np.clip(greatest - least, _SHIFTS, _MOST)
            if start is not None:
                self.free[:, 0, span] = np.clip(self.free[:, 0, span], least, greatest)
        self.nu, self._pull, self._place = (np.zeros(shape) for _ in range(3))
        self._mean, self._square, self._count = np.zeros_like(self.free), np.zeros_like(self.free), 0

    def keep(self, stays: NDArray[np.bool_]) -> None:
        """Go on with some of the leaves."""
        for name in (
            "_functional",
            "_low",
            "_high",
            "free",
            "_unit",
            "_reach",
            "nu",
            "_pull",
            "_place",
            "_mean",
            "_square",
        ):
            setattr(self, name, getattr(self, name)[stays])

    def back(self) -> tuple[Array, Array]:
        """The pull on the input ``[B, n]``, and the rest of the bound ``[B]``."""
        graph, first = self._graph, self._count == 0
        constant = np.zeros(len(self._low))
        waiting, number = {len(graph.nodes) - 1: self._functional}, len(self._spans)
        for k in range(len(graph.nodes) - 1, INPUT, -1):
            node, q = graph.nodes[k], waiting.pop(k, None)
            if isinstance(node, Affine):
                if q is not None:
                    constant = constant + q @ node.bias
                    for source, map_ in zip(node.sources, node.maps, strict=True):
                        _give(waiting, source, map_.back(q))
                continue
            number -= 1
            span = self._spans[number]
            low, high = self._low[:, span], self._high[:, span]
            q = np.zeros(low.shape) if q is None else q
            if first:
                self._unit[:, span] = np.abs(q) + 1e-3 * np.abs(q).mean(axis=1, keepdims=True) + 1e-12
                if self._fresh:
                    chosen = node.function.by_rule(np.where(q == 0, 1.0, q), low, high)
                    self.free[:, 0, span] = chosen / np.where(q == 0, 1.0, q)
            nu = q * self.free[:, 0, span] + self._unit[:, span] * self.free[:, 1, span]
            self.nu[:, span], self._pull[:, span] = nu, q
            place, value = node.function.attained(q, nu, low, high)
            self._place[:, span] = place
            constant = constant + value.sum(axis=1)
            _give(waiting, node.source, nu)
        return waiting.get(INPUT, np.zeros((len(self._low), graph.inputs))), constant

    def step(self, points: Array, rate: float) -> None:
        """One step of Adam (arXiv 1412.6980) from where the last pass ended, at points ``[B, n]``."""
        values, gradient, number = {INPUT: points}, np.zeros_like(self.free), 0
        for k, node in enumerate(self._graph.nodes):
            if isinstance(node, Affine):
                terms = [m.apply(values[s]) for s, m in zip(node.sources, node.maps, strict=True)]
                values[k] = sum(terms[1:], start=terms[0]) + node.bias
                continue
            span = self._spans[number]
            number += 1
            apart = values[node.source] - self._place[:, span]
            gradient[:, 0, span] = self._pull[:, span] * apart
            gradient[:, 1, span] = self._unit[:, span] * apart
            values[k] = node.function.value(self._place[:, span]) + self.free[:, 0, span] * apart
        self._count += 1
        self._mean = 0.8 * self._mean + 0.2 * gradient
        self._square = 0.95 * self._square + 0.05 * gradient * gradient
        scale = np.sqrt(self._square / (1 - 0.95**self._count)) + 1e-30
        self.free = self.free - rate * self._reach * (self._mean / (1 - 0.8**self._count)) / scale


def pulls(graph: Graph, spans: list[slice], functional: Array, nu: Array) -> Iterator[tuple[slice, Elementwise, Array]]:
    """Of every elementwise node, last first: its neurons, the node, and the coefficients ``[B, m]`` of its values."""
    waiting, number = {len(graph.nodes) - 1: functional}, len(spans)
    for k in range(len(graph.nodes) - 1, INPUT, -1):
        node, q = graph.nodes[k], waiting.pop(k, None)
        if isinstance(node, Affine):
            if q is not None:
                for source, map_ in zip(node.sources, node.maps, strict=True):
                    _give(waiting, source, map_.back(q))
            continue
        number -= 1
        yield spans[number], node, np.zeros((len(nu), graph.width(k))) if q is None else q
        _give(waiting, node.source, nu[:, spans[number]])


def _give(waiting: dict[int, Array], node: int, value: Array) -> None:
    waiting[node] = waiting[node] + value if node in waiting else value
