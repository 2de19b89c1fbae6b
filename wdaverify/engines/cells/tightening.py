"""Rows that tighten the bounds of hidden neurons below nodes, by ascent: for some neurons of many nodes at once, in single precision.

    s z_k  <=  min over alpha, mu of  ( max_x  mu (functional . z - price ||x - c||^p - level)  +  s z_k )

over the relaxation at the node, layer after layer; a layer is an elementwise node of the graph, whose functions are ReLUs. The
ascent begins where that of the node's own bound ended: with a large mu its problem is that one, pulled a little towards the
neuron. It steers, and proves nothing: the rows (``certify.tightened``) are evaluated in double precision by whoever uses them.
That hidden bounds gain from slopes of their own is Xu et al., arXiv 2011.13824; that they gain from what is asked, Kotha et
al., arXiv 2302.01404.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from wdaverify.certify.proof import Phases, Tightening
from wdaverify.encoding.milp import Ints
from wdaverify.engines.cells.ascent import Multipliers
from wdaverify.engines.cells.lines import Adam, Lines, Sides
from wdaverify.engines.cells.peaks import Floats, Peaks
from wdaverify.graph.single import Single
from wdaverify.network.model import Array

_STEPS = 3
_RATE, _RATE_OF_MU = 0.5, 0.4
_TINY = 1e-8
_NEURONS, _FEWEST, _MANY = 16, 6, 128.0
"""Of each layer so many, those whose chords cost the node's bound most; fewer where inputs are wide: their rows cost more."""
_TOGETHER, _FEWEST_ROWS, _NUMBERS = 512, 32, 2**16
"""Rows that climb together, at most and at least: as many as have so many numbers of the input, which a core's cache holds."""
_SHARE = 0.25
"""Mu begins at this share of what makes the neuron's range count as much as what the node's bound is above the level."""
_GAIN = 0.03
"""Rows that gain less than this share of the neuron's range are not kept."""
_PRODUCTS, _OF_AN_INPUT = 2.5e8, 40.0
"""Products (each is taken some ten times) of the rows that are made between two looks at the clock, and what an input counts."""
_LEAST, _MOST = 1e-6, 1e6
"""What mu is kept between."""
_STEEPS = np.float32(255.0)


@dataclass(frozen=True, eq=False)
class Leaves:
    """Nodes to be tightened, in the order of their shells: the shell ``[B]`` and the level there ``[B]``; of neurons, ``[B, M]`` each,
    bounds on the sides of their phases, and the sides that both leave (0: open); the multipliers of the nodes' own ascent; by how
    much their bound exceeds the level ``[B]``; what the chord of each neuron costs it ``[B, M]`` (0 or less: not open); the peaks over
    what they lie in, and what these know each by ``[B]``;
    by how much what is asked may exceed the functional there ``[B]``.
    """

    shell: Ints
    level: Array
    low: Floats
    high: Floats
    made: Phases
    free: Multipliers
    excess: Floats
    costs: Floats
    slack: Floats
    peaks: Peaks
    place: Ints


class Tightener:
    """Makes rows for nodes, ``most`` at once. ``functional [S, K]``, ``centre [S, n]``, ``multiplier [S]`` (None: distance)."""

    def __init__(
        self,
        graph: Single,
        functional: Array,
        centre: Array,
        multiplier: Array | None,
        power: int,
    ) -> None:
        self._graph, self._functional, self._centre = graph, functional.astype(np.float32), centre.astype(np.float32)
        none = np.zeros(centre.shape[0]) if multiplier is None else multiplier
        self._multiplier, self._power = none.astype(np.float32), power
        self._neurons = int(np.clip(_MANY / np.sqrt(centre.shape[1]), _FEWEST, _NEURONS))
        self._together = int(np.clip(_NUMBERS // centre.shape[1], _FEWEST_ROWS, _TOGETHER))
        rows = 2 * self._neurons * len(graph.spans)
        self.most = max(1, int(_PRODUCTS / (max(rows, 1) * (graph.graph.products + _OF_AN_INPUT * centre.shape[1]))))

    def rows(self, leaves: Leaves) -> list[Tightening | None]:
        """Rows for each node; None where none would gain. Levels are finite."""
        low, high = leaves.low.copy(), leaves.high.copy()
        made: list[_Made] = []
        with np.errstate(all="ignore"):  # what overflows single precision promises nothing
            for layer, span in enumerate(self._graph.spans):
                node, neuron = _costliest(leaves.costs[:, span], low[:, span], high[:, span], self._neurons)
                neuron += span.start
                node, neuron = np.repeat(node, 2), np.repeat(neuron, 2)
                side = np.tile(np.array([0, 1]), node.size // 2)
                sides = Sides.of(low, high, leaves.made)
                some = [
                    self._climb(leaves, sides, layer, (node[at], neuron[at], side[at]))
                    for at in (slice(k, k + self._together) for k in range(0, node.size, self._together))
                ]
                for part in some:
                    upper = part.at % 2 == 0
                    np.minimum.at(high, (part.node[upper], part.at[upper] // 2), part.top[upper])
                    np.maximum.at(low, (part.node[~upper], part.at[~upper] // 2), -part.top[~upper])
                made += some
        return _by_node(made, leaves)

    def _climb(self, leaves: Leaves, sides: Sides, layer: int, which: tuple[Ints, Ints, Ints]) -> _Made:
        """The best rows of some neurons of one layer, ``[R]`` with their nodes in ascending order, as far as they gain."""
        node, neuron, side = which
        low, high = sides.low[node, neuron], sides.high[node, neuron]
        lines, local = Lines(sides, leaves.free.beta, node), neuron - self._graph.spans[layer].start
        sign = np.where(side == 0, 1, -1).astype(np.float32)
        place = leaves.place[node]
        items = _Items(leaves.shell[node], layer, np.arange(node.size), local, sign, lines, leaves.peaks, place)
        width = high - low
        excess = np.maximum(leaves.excess[node] + leaves.slack[node], np.float32(_TINY))
        mu: Floats = np.clip(np.float32(_SHARE) * width / excess, np.float32(_LEAST), np.float32(_MOST))
        alpha: Floats = leaves.free.alpha[node]
        level = leaves.level[node].astype(np.float32) - leaves.slack[node]
        best, kept, scale = np.full(node.size, np.inf, np.float32), (alpha.copy(), mu), np.log(mu)
        adam = Adam(alpha.shape), Adam(mu.shape)
        for step in range(_STEPS):
            value, slope, in_mu = self._slope(items, alpha, mu, level)
            better = value < best
            best = np.where(better, value, best)
            kept[0][better] = alpha[better]
            kept = kept[0], np.where(better, mu, kept[1])
            if step < _STEPS - 1:
                adam[0].step(alpha, slope, step, _RATE, 0.0, 1.0)
                adam[1].step(scale, in_mu * mu, step, _RATE_OF_MU, math.log(_LEAST), math.log(_MOST))
                mu = np.exp(scale)
        before = np.where(side == 0, high, -low)
        gains = np.flatnonzero(np.isfinite(best) & (best < before - np.float32(_GAIN) * width))
        slopes = np.rint(kept[0][gains] * _STEEPS).astype(np.uint8)
        return _Made(node[gains], (2 * neuron + side)[gains], best[gains], np.reciprocal(kept[1][gains]), slopes)

    def _written(self, items: _Items, alpha: Floats, mu: Floats) -> _Written:
        """The backward pass."""
        q_all, constant = np.empty_like(alpha), np.zeros_like(mu)

        def line(number: int, q: Floats) -> Floats:
            nu = items.lines.back(self._graph.spans[number], q, alpha, mu, constant, q_all)
            if number == items.layer:
                nu[items.rows, items.neuron] += items.sign
            return nu

        pull = self._graph.back(mu[:, None] * self._functional[items.shell], constant, line)
        return _Written(constant, q_all, pull)

    def _slope(self, items: _Items, alpha: Floats, mu: Floats, level: Floats) -> tuple[Floats, Floats, Floats]:
        """The bound ``[R]``, and how it grows in alpha ``[R, M]`` and mu ``[R]``: beta goes with mu."""
        written, multiplier = self._written(items, alpha, mu), self._multiplier[items.shell]
        centre = self._centre[items.shell]
        value, moved, t = items.peaks(items.place, written.pull, mu * multiplier)
        value = value + written.constant + (written.pull * centre).sum(axis=1)
        slope, in_mu = np.empty_like(alpha), np.zeros_like(mu)

        def line(number: int, z: Floats) -> Floats:
            return items.lines.forward(self._graph.spans[number], z, alpha, written.q, slope, None, in_mu)

        z = self._graph.forward(moved + centre, line)
        in_mu += (z * self._functional[items.shell]).sum(axis=1) - multiplier * t**self._power - level
        return value - mu * level, slope, in_mu


def _costliest(costs: Floats, low: Floats, high: Floats, most: int) -> tuple[Ints, Ints]:
    """Nodes in ascending order, and of each the neurons of a layer whose chords cost most."""
    costs = np.where((low < 0) & (high > 0), costs, -1)
    count = min(most, costs.shape[1])
    best = np.argpartition(-costs, count - 1, axis=1)[:, :count]
    some = np.take_along_axis(costs, best, 1) > 0
    return np.repeat(np.arange(costs.shape[0]), some.sum(axis=1)), best[some]


def _by_node(made: Sequence[_Made], leaves: Leaves) -> list[Tightening | None]:
    """The rows that belong to each node."""
    if not made:
        return [None] * leaves.shell.size
    node = np.concatenate([part.node for part in made])
    order = np.argsort(node, kind="stable")
    at, weight, slopes = (
        np.concatenate([getattr(part, name) for part in made])[order] for name in ("at", "weight", "slopes")
    )
    edges = np.searchsorted(node[order], np.arange(leaves.shell.size + 1))
    beta = leaves.free.beta * leaves.made
    return [
        Tightening(
            float(leaves.level[k]), at[a:b].astype(np.int32), weight[a:b].astype(np.float32), slopes[a:b], beta[k]
        )
        if b > a
        else None
        for k, (a, b) in enumerate(pairwise(edges.tolist()))
    ]


@dataclass(frozen=True, eq=False)
class _Made:
    """Rows ``[R]``: whose they are, what they bound (``Tightening.at``), what they promise, their weights and slopes ``[R, M]``."""

    node: Ints
    at: Ints
    top: Floats
    weight: Floats
    slopes: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class _Items:
    """Neurons ``[R]`` of one layer, counted in it, with sign 1 or -1, the numbers of their rows, the lines of their nodes, and peaks."""

    shell: Ints
    layer: int
    rows: Ints
    neuron: Ints
    sign: Floats
    lines: Lines
    peaks: Peaks
    place: Ints


@dataclass(frozen=True, eq=False)
class _Written:
    """A backward pass: constant ``[R]``, q ``[R, M]``, the pull on the inputs ``[R, n]``."""

    constant: Floats
    q: Floats
    pull: Floats
