"""Plain questions about curved functions of many inputs: neurons' intervals and distances are cut in batches, multipliers descend.

A leaf is a shell and an interval of every neuron's pre-activation. It is narrowed to where the value can still reach what is known
(``certify.cutoff``), and bounded by the trusted pass along multipliers that descent finds (``descent``). With x the point at which the
bound is attained it exceeds the value there by the sum over neurons of ``gain - (q phi(z_i(x)) - nu z_i(x))``, and is cut where that is
largest, beside ``z_i(x)``; a shell whose near side is less than half as far as its far side is cut there first. Questions about one graph
are answered in common batches.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from wdaverify.certify.backward import Backward, HiddenBounds, Shells
from wdaverify.certify.certificate import rounded
from wdaverify.certify.cutoff import Cutoff
from wdaverify.certify.leaf_row import Layout
from wdaverify.certify.peak import Price
from wdaverify.certify.proof import NARROWED, Tree
from wdaverify.encoding.milp import Ints
from wdaverify.engines.base import Distance
from wdaverify.engines.cells.curved_trees import Grown, bits_for
from wdaverify.engines.cells.descent import Descent, pulls
from wdaverify.engines.cells.hunt import Hunt
from wdaverify.engines.cells.peaks import peaks_of
from wdaverify.graph.nodes import Graph
from wdaverify.network.model import Array

_BATCH, _STEPS, _FIRST = 64, 40, 60
"""Leaves that are cut together, and steps of descent of each; of the first ones."""
_MORE, _STALLED = 80, 0.98
"""Steps more of leaves of which so much of what they fell short by is left."""
_LOOK = 5
"""Steps after which leaves that are closed leave the batch."""
_SHELLS = 8
_RATE, _LAST = 0.1, 0.1
"""The first and the last step, in units of the range of a neuron's slopes."""
_ASIDE = 0.2
"""How far beside the point's place an interval is cut, relative to it, on the longer side; half as far as its end at most."""
_NARROW, _NO_TERM = 2.0**-40, 1e-14
_TRIED, _HALVINGS = 3, 20
_DOUBT = 2.0**10
"""How many times its rounding a margin must be below 0 where a checker follows: there a sign lost is a leaf lost."""


@dataclass(frozen=True, eq=False)
class _Leaves:
    """``owner [L]`` the question, near and far ``[L]``, neurons' ``ends [L, 2, M]``, slopes and shifts ``free [L, 2, M]`` and the row
    ``nu [L, M]`` that they make, what neurons cost it, ``costs [L, M]``, what to cut and where, ``cut [L, 2]`` (a neuron, or M: the
    distance; -1: nothing), and ``bound [L]``, proven; ``spot [L]`` its node where trees are kept.
    """

    owner: Ints
    near: Array
    far: Array
    ends: Array
    free: Array
    nu: Array
    costs: Array
    cut: Array
    bound: Array
    spot: Ints

    def take(self, at: Ints | NDArray[np.bool_] | slice) -> _Leaves:
        return _Leaves(*(getattr(self, f.name)[at] for f in fields(self)))

    @classmethod
    def joined(cls, *parts: _Leaves) -> _Leaves:
        return cls(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(cls)))

    def __len__(self) -> int:
        return int(self.owner.size)


class CutSearch:
    """Searches of questions ``[Q]`` of one graph, one cost and power, all distances or none; quantities are those of a minimisation.

    Of a distance a leaf proves its near side, or that it holds no error where the margin is below 0 throughout; the level is 0.
    """

    def __init__(self, graph: Graph, backward: Backward, hunts: Sequence[Hunt]) -> None:
        self._graph, self._backward, self._hunts, self.solves = graph, backward, tuple(hunts), 0
        self._cutoff = Cutoff(graph, backward)
        self._spans = [slice(int(a), int(b)) for a, b in pairwise(graph.edges.tolist())]
        relus = [
            np.full(s.stop - s.start, graph.function(k).is_relu)
            for s, k in zip(self._spans, graph.elementwise, strict=True)
        ]
        self._straight = np.concatenate([np.zeros(0, np.bool_), *relus])
        regions = [hunt.question.region for hunt in hunts]
        self._cost, self._power = regions[0].cost, hunts[0].power
        self._functional = np.stack([hunt.functional for hunt in hunts])
        self._distance = isinstance(hunts[0].question, Distance)
        self._tau = np.array([0.0 if self._distance else hunt.claim.multiplier for hunt in hunts], np.float64)
        self._centre, self._lower, self._upper = (
            np.stack([getattr(region, name) for region in regions]) for name in ("centre", "lower", "upper")
        )
        self.incumbent = np.array([hunt.target for hunt in hunts], np.float64)
        self._gap = np.array([hunt.effort.gap for hunt in hunts])
        self._deadline = max(hunt.deadline for hunt in hunts)
        self._room = min(hunt.effort.memory for hunt in hunts) / (128.0 + 72.0 * graph.neurons)
        self.best: list[Array | None] = [None] * len(hunts)
        self.visited, self._closed = np.zeros(len(hunts), np.int64), np.full(len(hunts), math.inf)
        self.full = False
        self.grown = Grown() if any(hunt.effort.whole for hunt in hunts) else None
        self._bits = bits_for(float(self._gap.min()))
        self._roots: list[tuple[int, int, float, float]] = []
        """Of trees: the question, the node, near and far."""
        self._leaves = self._first()

    def trees(self, question: int, layout: Layout) -> tuple[Tree, ...]:
        """What shows what is proven of a question, where that is kept."""
        if self.grown is None:
            return ()
        return tuple(
            self.grown.tree(spot, near, far, layout) for own, spot, near, far in self._roots if own == question
        )

    @property
    def proven(self) -> Array:
        """The least of what all leaves of each question prove, ``[Q]``."""
        out = self._closed.copy()
        np.minimum.at(out, self._leaves.owner, self._leaves.bound)
        return out

    @property
    def finished(self) -> NDArray[np.bool_]:
        """Of which questions nothing is left open, ``[Q]``."""
        return np.asarray(np.bincount(self._leaves.owner, minlength=len(self._hunts)) == 0)

    def run(self) -> None:
        """Search until all are closed, out of time or out of room."""
        while True:
            leaves = self._leaves
            short = leaves.bound - self._threshold[leaves.owner]
            self._close(short >= 0)
            leaves, short = self._leaves, short[short < 0]
            if not len(leaves) or time.perf_counter() > self._deadline:
                return
            if max(len(leaves), 0 if self.grown is None else len(self.grown)) >= self._room:
                self.full = True
                return
            some = np.argpartition(short, min(_BATCH, short.size) - 1)[:_BATCH]
            stuck = leaves.cut[some, 0] < 0
            mask = np.zeros(len(leaves), np.bool_)
            mask[some] = True
            if stuck.any():  # they stay as they are
                mask[some[~stuck]] = False
                self._close(mask)
                continue
            self._leaves = leaves.take(~mask)
            below = self._opened(leaves.take(some))
            self._leaves = _Leaves.joined(self._leaves, below)

    @property
    def _threshold(self) -> Array:
        """What leaves have to prove to count no more, ``[Q]``."""
        return np.asarray(self.incumbent - self._gap, np.float64)

    @property
    def _level(self) -> Array:
        """What values of the maximisation have to reach to count, ``[Q]``: of a margin, 0."""
        return np.zeros(len(self._hunts)) if self._distance else self._stored(-self._threshold)

    def _stored(self, numbers: Array, bits: int = 40) -> Array:
        """Numbers as a certificate has them, where one is wanted."""
        return numbers if self.grown is None else rounded(numbers, bits)

    def _close(self, mask: NDArray[np.bool_]) -> None:
        """Leave leaves out, as they are."""
        np.minimum.at(self._closed, self._leaves.owner[mask], self._leaves.bound[mask])
        self._leaves = self._leaves.take(~mask)

    def _first(self) -> _Leaves:
        """The shells of the regions."""
        pairs = [hunt.cutter.edges((), _SHELLS if hunt.claim.multiplier > 0 else 1)[:2] for hunt in self._hunts]
        owner = np.repeat(np.arange(len(pairs)), [near.size for near, _ in pairs])
        near, far = (np.concatenate([pair[side] for pair in pairs]) for side in (0, 1))
        count, neurons = owner.size, self._graph.neurons
        bounds = self._backward.pre_activations(self._shells(owner, near, far))
        none = np.zeros((count, 0))
        low, high = (np.concatenate([none, *(pair[side] for pair in bounds)], axis=1) for side in (0, 1))
        ends = np.stack([low, high], axis=1)
        free, nu, cut = np.zeros_like(ends), np.zeros((count, neurons)), np.full((count, 2), -1.0)
        bound, spot = np.full(count, -math.inf), np.full(count, -1)
        if self.grown is not None:
            spot = np.array([self.grown.add() for _ in range(count)], np.int64)
            self._roots = list(zip(owner.tolist(), spot.tolist(), near.tolist(), far.tolist(), strict=True))
        leaves = _Leaves(owner, near, far, ends, free, nu, np.zeros_like(nu), cut, bound, spot)
        known = np.isfinite(ends).all(axis=(1, 2))
        parts = [leaves.take(~known)]
        some = np.flatnonzero(known)
        for first in range(0, some.size, 2 * _BATCH):
            if time.perf_counter() > self._deadline:
                parts.append(leaves.take(some[first:]))
                break
            parts.append(self._solved(leaves.take(some[first : first + 2 * _BATCH]), _FIRST, fresh=True))
        return _Leaves.joined(*parts)

    def _shells(self, owner: Ints, near: Array, far: Array) -> Shells:
        return Shells.around(self._cost, self._centre[owner], self._lower[owner], self._upper[owner], near, far)

    def _opened(self, leaves: _Leaves) -> _Leaves:
        """Two parts of each leaf, narrowed and bounded, as far as they count."""
        count, neurons = len(leaves), self._graph.neurons
        both = leaves.take(np.repeat(np.arange(count), 2))
        ends, near, far = both.ends.copy(), both.near.copy(), both.far.copy()
        neuron, place = leaves.cut[:, 0].astype(np.int64), leaves.cut[:, 1]
        rows = np.flatnonzero(neuron < neurons)
        ends[2 * rows, 1, neuron[rows]] = ends[2 * rows + 1, 0, neuron[rows]] = place[rows]
        rows = np.flatnonzero(neuron == neurons)
        far[2 * rows] = near[2 * rows + 1] = place[rows]
        if self.grown is not None:
            both = replace(both, spot=self._recorded(self.grown, leaves))
        both = self._narrowed(replace(both, ends=ends, near=near, far=far))
        return self._solved(both, _STEPS) if len(both) else both

    def _recorded(self, grown: Grown, leaves: _Leaves) -> Ints:
        """The nodes of both parts of each leaf, ``[2 L]``: what is cut, and the rows that narrow what is left of it."""
        rows = np.zeros((len(leaves), 2, 2 + self._graph.neurons))
        level = self._level[leaves.owner]
        if self._distance:  # where nothing is beyond what is known there is no end
            known = self._stored(self.incumbent[leaves.owner])
            level = np.where(leaves.far > known, known, math.inf)
        rows[:, 0, 0], rows[:, 0, 2:], rows[:, 1, 2:] = level, leaves.nu, self._cutoff.chosen(leaves.costs)
        places = zip(leaves.spot.tolist(), leaves.cut.tolist(), rows, strict=True)
        n = self._graph.inputs
        return np.array([grown.cut(spot, NARROWED, (n + at, x, x), some) for spot, (at, x), some in places]).reshape(-1)

    def _narrowed(self, leaves: _Leaves) -> _Leaves:
        """The leaves as far as their values can count; what is left out proves the threshold, of a distance the value to beat, or all."""
        owner, level, far = leaves.owner, self._level[leaves.owner], leaves.far
        if self._distance:
            most = self._stored(self.incumbent[owner])
            beyond = far > most
            np.minimum.at(self._closed, owner[beyond], most[beyond])
            far = np.where(beyond, np.maximum(most, leaves.near), far)
        else:
            np.minimum.at(self._closed, owner, -level)
        shells, price = self._shells(owner, leaves.near, far), Price(self._tau[owner], self._power, None)
        by = leaves.nu, level, leaves.costs
        shells, ends = self._cutoff.narrowed(self._functional[owner], shells, leaves.ends, price, by)
        here = (shells.near <= shells.far) & (ends[:, 0] <= ends[:, 1]).all(axis=1)
        return replace(leaves, ends=ends, near=shells.near, far=shells.far).take(np.asarray(here))

    def _split(self, ends: Array) -> HiddenBounds:
        return [(ends[:, 0, span], ends[:, 1, span]) for span in self._spans]

    def _solved(self, leaves: _Leaves, steps: int, *, fresh: bool = False) -> _Leaves:
        """The leaves with what descent finds of them: a row, what it proves, and where to cut."""
        owner, count = leaves.owner, len(leaves)
        np.add.at(self.visited, owner, 1)
        functional, tau, centre = self._functional[owner], self._tau[owner], self._centre[owner]
        shells = self._shells(owner, leaves.near, leaves.far)
        peaks = peaks_of(shells, self._power)
        assert peaks is not None
        level = self._level[owner]
        state = Descent(self._graph, self._spans, functional, leaves.ends, None if fresh else leaves.free)
        best, free, nu, points = np.full(count, math.inf), np.zeros_like(leaves.ends), leaves.nu.copy(), centre.copy()
        live = np.arange(count)
        for step in range(steps + _MORE):
            if step == steps:  # what has gained next to nothing goes on
                before = np.maximum(-leaves.bound[live] - level[live], 0.0)
                stays = (best[live] - level[live] > _STALLED * before) & (not self._distance)
                live = live[stays]
                state.keep(stays)
            if not live.size:
                break
            pull, constant = state.back()
            value, moved, _ = peaks(live, pull.astype(np.float32), tau[live].astype(np.float32))
            total = constant + (pull * centre[live]).sum(axis=1) + value
            better = total < best[live]
            at = live[better]
            best[at], free[at], nu[at] = total[better], state.free[better], state.nu[better]
            points[at] = centre[at] + moved[better]
            share = step / steps if step < steps else (step - steps) / _MORE
            state.step(centre[live] + moved, _RATE * _LAST**share)
            if step % _LOOK == _LOOK - 1:
                stays = best[live] > level[live]
                live = live[stays]
                state.keep(stays)
        nu = self._stored(nu, self._bits)
        none, doubt = np.zeros((count, self._graph.neurons), np.int8), 1.0
        if self._distance and self.grown is not None:
            doubt = _DOUBT
        top = self._backward.leaves(
            functional, tau, shells, self._split(leaves.ends), none, nu, power=self._power, doubt=doubt
        )
        self._try(owner, points)
        costs, cut = self._where(leaves, functional, nu, points)
        bound = np.where(top < 0, math.inf, leaves.near) if self._distance else -top
        if self.grown is not None:
            rows = np.zeros((count, 2 + self._graph.neurons))
            rows[:, 0], rows[:, 1] = 1.0, 0.0 if self._distance else 1.0
            rows[:, 2:] = np.where((bound < leaves.bound)[:, None], leaves.nu, nu)  # what holds above holds here
            for spot, row in zip(leaves.spot.tolist(), rows, strict=True):
                self.grown.write(spot, row)
        return replace(leaves, free=free, nu=nu, costs=costs, cut=cut, bound=np.maximum(leaves.bound, bound))

    def _where(self, leaves: _Leaves, functional: Array, nu: Array, points: Array) -> tuple[Array, Array]:
        """What neurons add to what a leaf's bound exceeds the value at a point by, ``[B, M]``; the one that adds most, and its place there.

        Or M, the distance, or -1: nothing.
        """
        values, (low, high) = self._graph.values(points), (leaves.ends[:, 0], leaves.ends[:, 1])
        terms, at = np.zeros(low.shape), np.zeros(low.shape)
        for span, node, q in pulls(self._graph, self._spans, functional, nu):
            z = np.clip(values[node.source], low[:, span], high[:, span])
            gain, _ = node.function.gain(q, nu[:, span], low[:, span], high[:, span])
            terms[:, span], at[:, span] = gain - (q * node.function.value(z) - nu[:, span] * z), z
            if node.function.is_relu:
                terms[:, span] = np.where((low[:, span] < 0) & (high[:, span] > 0), terms[:, span], -1.0)
        width = high - low
        wide = width > _NARROW * np.maximum(np.abs(low), np.abs(high))
        terms = np.where(wide & np.isfinite(terms), terms, -1.0)
        left = np.concatenate(
            [
                self._bent(k, low[:, span], high[:, span])
                for span, k in zip(self._spans, self._graph.elementwise, strict=True)
            ],
            axis=1,
        )
        none = np.asarray(
            (terms <= _NO_TERM).all(axis=1)
        )  # multipliers or the input's own maximum are to blame: any cut helps these
        terms = np.where(none[:, None], np.where(wide, left * width, -1.0), terms)
        neuron = terms.argmax(axis=1)
        rows = np.arange(len(neuron))
        least, most = low[rows, neuron], high[rows, neuron]
        place = between(at[rows, neuron], least, most)
        place = np.where(self._straight[neuron], 0.0, place)
        chosen = np.where(terms[rows, neuron] > 0, neuron, -1)
        near, far = leaves.near, leaves.far
        middle = 0.5 * near + 0.5 * far
        tied = self._moved_along(leaves, points) / np.where(wide, width, np.inf)
        gained = (np.maximum(terms, 0.0) * np.minimum(tied, 1.0) ** 2).sum(axis=1)
        halved = (near < 0.5 * far) | (gained > terms[rows, neuron])
        halved &= (
            (self._distance | (self._tau[leaves.owner] > 0))
            & (near < middle)
            & (middle < far)
            & (far - near > _NARROW * (1 + far))
        )
        return terms, np.stack([np.where(halved, low.shape[1], chosen), np.where(halved, middle, place)], axis=1)

    def _moved_along(self, leaves: _Leaves, points: Array) -> Array:
        """How far pre-activations ``[B, M]`` are apart at points from the near to the far side in the direction of those given."""
        centre = self._centre[leaves.owner]
        moved = points - centre
        distance = np.maximum(self._cost.distance(moved), 1e-300)
        sides = list[Array]()
        for edge in (leaves.near, leaves.far):
            at = centre + moved * np.minimum(edge / distance, 1e6)[:, None]
            values = self._graph.values(np.clip(at, self._lower[leaves.owner], self._upper[leaves.owner]))
            sides.append(np.concatenate([values[self._graph.source(k)] for k in self._graph.elementwise], axis=1))
        return np.abs(sides[1] - sides[0])

    def _bent(self, k: int, low: Array, high: Array) -> Array:
        """How far a node's slopes range, ``[B, m]``."""
        least, greatest = self._graph.function(k).slope_range(low, high)
        return np.asarray(np.minimum(greatest - least, 1.0))

    def _try(self, owner: Ints, points: Array) -> None:
        """Value points, the best ones of each question closely."""
        points = np.clip(points, self._lower[owner], self._upper[owner])
        moved = points - self._centre[owner]
        if self._distance:
            moved = self._nearer(owner, moved)
            value = np.where(self._margin(owner, moved) >= 0, self._cost.distance(moved), math.inf)
        else:
            value = self._tau[owner] * self._cost.distance(moved) ** self._power - self._margin(owner, moved)
        tried = np.zeros(len(self._hunts), np.int64)
        for k in np.argsort(value - self.incumbent[owner], kind="stable").tolist():
            q = int(owner[k])
            if tried[q] == _TRIED or not value[k] < self.incumbent[q]:
                continue
            tried[q] += 1
            own = self._hunts[q].asked.value(moved[k])
            if own < self.incumbent[q]:
                self.incumbent[q], self.best[q] = own, moved[k]

    def _margin(self, owner: Ints, moved: Array) -> Array:
        """The functional at displacements ``[B, n]``."""
        return np.asarray((self._graph.forward(self._centre[owner] + moved) * self._functional[owner]).sum(axis=1))

    def _nearer(self, owner: Ints, moved: Array) -> Array:
        """Displacements shortened to where the margin is about 0, if it is above there."""
        low, high = np.zeros(len(moved)), np.ones(len(moved))
        for _ in range(_HALVINGS):
            middle = 0.5 * (low + high)
            error = self._margin(owner, middle[:, None] * moved) >= 0
            low, high = np.where(error, low, middle), np.where(error, middle, high)
        return high[:, None] * moved


def between(at: Array, low: Array, high: Array) -> Array:
    """Where to cut intervals so that a place is well inside one part: the other one holds no best point, and closes by its slope.

    Cut at the place itself both parts have it, and so have all ``2^m`` leaves after m neurons.
    """
    aside = _ASIDE * (high - low)
    above, below = np.minimum(at + aside, 0.5 * (at + high)), np.maximum(at - aside, 0.5 * (at + low))
    return np.asarray(np.where(high - at > at - low, above, below))
