"""Rows that tighten the bounds of hidden neurons below nodes, by ascent: for some neurons of many nodes at once, in single precision.

    s z_k  <=  min over alpha, mu of  ( max_x  mu (functional . z - price ||x - c||^p - level)  +  s z_k )

over the relaxation at the node, layer after layer; a layer is an elementwise node of the graph, whose functions are ReLUs. The
ascent begins where that of the node's own bound ended: with a large mu its problem is that one, pulled a little towards the
neuron. It steers, and proves nothing: the rows (``certify.tightened``) are evaluated in double precision by whoever uses them.
That hidden bounds gain from slopes of their own is Xu et al., arXiv 2011.13824; that they gain from what is asked, Kotha et
al., arXiv 2302.01404.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from wdaverify.certify.proof import Phases, Tightening
from wdaverify.encoding.milp import Ints
from wdaverify.engines.cells.ascent import Multipliers
from wdaverify.engines.cells.peaks import Floats, Peaks
from wdaverify.graph.single import Single
from wdaverify.network.model import Array

_STEPS = 3
_RATE, _RATE_OF_MU = 0.5, 0.4
_FIRST, _SECOND, _TINY = 0.9, 0.999, 1e-8
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
    much their bound exceeds the level ``[B]``; what the chord of each neuron costs it ``[B, M]`` (0 or less: not open).
    """

    shell: Ints
    level: Array
    low: Floats
    high: Floats
    made: Phases
    free: Multipliers
    excess: Floats
    costs: Floats


class Tightener:
    """Makes rows for nodes, ``most`` at once. ``functional [S, K]``, ``centre [S, n]``, ``multiplier [S]`` (None: distance)."""

    def __init__(
        self,
        graph: Single,
        functional: Array,
        centre: Array,
        peaks: Peaks,
        multiplier: Array | None,
        power: int,
    ) -> None:
        self._graph, self._functional, self._centre = graph, functional.astype(np.float32), centre.astype(np.float32)
        none = np.zeros(centre.shape[0]) if multiplier is None else multiplier
        self._peaks, self._multiplier, self._power = peaks, none.astype(np.float32), power
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
                some = [
                    self._climb(leaves, (low, high), layer, (node[at], neuron[at], side[at]))
                    for at in (slice(k, k + self._together) for k in range(0, node.size, self._together))
                ]
                for part in some:
                    upper = part.at % 2 == 0
                    np.minimum.at(high, (part.node[upper], part.at[upper] // 2), part.top[upper])
                    np.maximum.at(low, (part.node[~upper], part.at[~upper] // 2), -part.top[~upper])
                made += some
        return _by_node(made, leaves)

    def _climb(
        self, leaves: Leaves, ranges: tuple[Floats, Floats], layer: int, which: tuple[Ints, Ints, Ints]
    ) -> _Made:
        """The best rows of some neurons of one layer, ``[R]`` with their nodes in ascending order, as far as they gain."""
        node, neuron, side = which
        index, low, high = np.arange(node.size), ranges[0][node], ranges[1][node]
        beta = leaves.free.beta[node] * leaves.made[node]
        floor = np.maximum(np.where(beta > 0, low, -high), 0) * np.abs(beta)
        spared = [floor[:, span].sum(axis=1) for span in self._graph.spans]
        items = _Items.of(
            leaves.shell[node], layer, neuron - self._graph.spans[layer].start, side, low, high, beta, spared
        )
        width = high[index, neuron] - low[index, neuron]
        excess = np.maximum(leaves.excess[node], np.float32(_TINY))
        mu: Floats = np.clip(np.float32(_SHARE) * width / excess, np.float32(_LEAST), np.float32(_MOST))
        alpha: Floats = leaves.free.alpha[node]
        level = leaves.level[node].astype(np.float32)
        best, kept, adam = np.full(node.size, np.inf, np.float32), (alpha, mu), _Adam(alpha.shape)
        for step in range(_STEPS):
            value, slope, in_mu = self._slope(items, alpha, mu, level)
            better = value < best
            best = np.where(better, value, best)
            kept = np.where(better[:, None], alpha, kept[0]), np.where(better, mu, kept[1])
            if step < _STEPS - 1:
                towards = adam.step(slope, in_mu * mu, step)
                alpha = np.clip(alpha - np.float32(_RATE) * towards[0], np.float32(0), np.float32(1))
                mu = np.clip(mu * np.exp(-np.float32(_RATE_OF_MU) * towards[1]), np.float32(_LEAST), np.float32(_MOST))
        before = np.where(side == 0, high[index, neuron], -low[index, neuron])
        gains = np.flatnonzero(np.isfinite(best) & (best < before - np.float32(_GAIN) * width))
        slopes = np.rint(kept[0][gains] * _STEEPS).astype(np.uint8)
        return _Made(node[gains], (2 * neuron + side)[gains], best[gains], np.reciprocal(kept[1][gains]), slopes)

    def _written(self, items: _Items, alpha: Floats, mu: Floats) -> _Written:
        """The backward pass."""
        q_all, constant, index = np.empty_like(alpha), np.zeros_like(mu), np.arange(mu.size)

        def line(number: int, q: Floats) -> Floats:
            nonlocal constant
            span = self._graph.spans[number]
            opened, chord = items.open[:, span], items.chord[:, span]
            rising = opened & (q > 0)
            nu: Floats = q * np.where(rising, chord, np.where(opened, alpha[:, span], items.active[:, span]))
            nu += mu[:, None] * items.beta[:, span]
            constant -= mu * items.spared[number]
            constant -= np.where(rising, q * chord * items.low[:, span], 0).sum(axis=1)
            if number == items.layer:
                nu[index, items.neuron] += items.sign
            q_all[:, span] = q
            return nu

        pull = self._graph.back(mu[:, None] * self._functional[items.shell], constant, line)
        return _Written(constant, q_all, pull)

    def _slope(self, items: _Items, alpha: Floats, mu: Floats, level: Floats) -> tuple[Floats, Floats, Floats]:
        """The bound ``[R]``, and how it grows in alpha ``[R, M]`` and mu ``[R]``: beta goes with mu."""
        written, multiplier = self._written(items, alpha, mu), self._multiplier[items.shell]
        centre = self._centre[items.shell]
        value, moved, t = self._peaks(items.shell, written.pull, mu * multiplier)
        value = value + written.constant + (written.pull * centre).sum(axis=1)
        slope, in_mu = np.empty_like(alpha), np.zeros_like(mu)

        def line(number: int, z: Floats) -> Floats:
            nonlocal in_mu
            span = self._graph.spans[number]
            q, opened = written.q[:, span], items.open[:, span]
            falling = opened & (q <= 0)
            slope[:, span] = np.where(falling, z * q, 0)
            in_mu += (items.beta[:, span] * z).sum(axis=1) - items.spared[number]
            chord = items.chord[:, span] * (z - items.low[:, span])
            below = z * np.where(falling, alpha[:, span], items.active[:, span])
            return np.where(opened & ~falling, chord, below)

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
    """Neurons ``[R]`` of one layer, counted in it, with sign 1 or -1, and what is known at their nodes, ``[R, M]`` each."""

    shell: Ints
    layer: int
    neuron: Ints
    sign: Floats
    low: Floats
    open: NDArray[np.bool_]
    active: Floats
    chord: Floats
    beta: Floats
    spared: list[Floats]
    """What beta gains in each layer from intervals that do not touch 0, ``[R]``."""

    @classmethod
    def of(
        cls,
        shell: Ints,
        layer: int,
        neuron: Ints,
        side: Ints,
        low: Floats,
        high: Floats,
        beta: Floats,
        spared: list[Floats],
    ) -> _Items:
        opened = (low < 0) & (high > 0)
        chord = np.where(opened, high / np.where(opened, high - low, 1), 0)
        sign = np.where(side == 0, 1, -1).astype(np.float32)
        return cls(shell, layer, neuron, sign, low, opened, (low >= 0).astype(np.float32), chord, beta, spared)


@dataclass(frozen=True, eq=False)
class _Written:
    """A backward pass: constant ``[R]``, q ``[R, M]``, the pull on the inputs ``[R, n]``."""

    constant: Floats
    q: Floats
    pull: Floats


class _Adam:
    """First and second moments of the slopes in alpha and the logarithm of mu."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._first = [np.zeros(shape, np.float32), np.zeros(shape[0], np.float32)]
        self._second = [np.zeros(shape, np.float32), np.zeros(shape[0], np.float32)]

    def step(self, alpha: Floats, mu: Floats, number: int) -> list[Floats]:
        """The directions in which to go, of size 1 about."""
        rate, unbiased = (np.float32(1 / (1 - moment ** (number + 1))) for moment in (_FIRST, _SECOND))
        out = []
        for k, g in enumerate((alpha, mu)):
            self._first[k] = _FIRST * self._first[k] + np.float32(1 - _FIRST) * g
            self._second[k] = _SECOND * self._second[k] + np.float32(1 - _SECOND) * g * g
            out.append(rate * self._first[k] / (np.sqrt(unbiased * self._second[k]) + np.float32(_TINY)))
        return out
