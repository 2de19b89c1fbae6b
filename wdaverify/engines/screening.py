"""Screening: what batched CROWN bounds settle before any solve (docs/theory.md, section 3).

Each (sample, rival) is bounded over shells of the distance. A shell whose bound does not beat the incumbent is dropped;
what is left is the hull of the surviving shells, usually far smaller than the support and with far fewer open neurons.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wdaverify.bounds.crown import Bounds, Crown, unstable
from wdaverify.bounds.region import Regions
from wdaverify.encoding.cost import Region
from wdaverify.encoding.relu import HiddenBounds
from wdaverify.network.model import Array
from wdaverify.problem import Norm, WdroProblem
from wdaverify.rounding import UNIT_ROUNDOFF, dot_error

Ints = NDArray[np.int64]

_SHELLS = 8
_ROUNDS = 4
_WORTHWHILE = 0.9
"""Another round of shells is run while the region's reach shrinks at least by this factor somewhere."""


@dataclass(frozen=True, eq=False)
class Screened:
    """Per item (sample, rival): what is proven, and the shell [near, far] that may still beat the incumbent.

    ``upper`` bounds the inner value everywhere, ``outside`` outside the shell (-inf: there is no outside). ``far < near``
    where nothing is left to solve. All arrays ``[M]``. ``inner, outer``: per item the edges of the shells that were dropped,
    from 0 to near and from far to the reach (all of them in ``inner`` where nothing is left).
    """

    sample: Ints
    rival: Ints
    upper: Array
    outside: Array
    near: Array
    far: Array
    inner: list[list[float]]
    outer: list[list[float]]


class Screen:
    """Batched bounds for one problem; lives in the parent process. Past its deadline it proves nothing more, at once."""

    def __init__(self, problem: WdroProblem, deadline: float = math.inf) -> None:
        self._problem, self._deadline = problem, deadline
        self._crown = Crown(problem.network, problem.cost.norm)
        self._x = torch.tensor(problem.samples.x, dtype=torch.float64)
        self._support = (
            torch.tensor(problem.support.lower, dtype=torch.float64),
            torch.tensor(problem.support.upper, dtype=torch.float64),
        )
        self.reach = self._reach()

    def _reach(self) -> Array:
        """The largest distance ``D_i`` from each sample within the support, ``[N]``, rounded up."""
        room = np.maximum(
            self._problem.support.upper - self._problem.samples.x, self._problem.samples.x - self._problem.support.lower
        )
        if self._problem.cost.norm is Norm.INF:
            return np.asarray(np.nextafter(room.max(axis=1), np.inf))
        return np.asarray(room.sum(axis=1) * (1 + dot_error(room.shape[1])))

    def rivals(self, samples: Ints) -> tuple[Ints, Ints]:
        """Every (sample, rival) pair of the samples."""
        classes = np.arange(self._problem.network.n_outputs)
        sample, rival = np.meshgrid(samples, classes, indexing="ij")
        kept = rival != self._problem.samples.y[samples][:, None]
        return sample[kept].astype(np.int64), rival[kept].astype(np.int64)

    def _regions(self, sample: Ints, near: Array, far: Array) -> Regions:
        norm = self._problem.cost.norm
        return Regions.around(norm, self._x[sample], self._support, torch.tensor(near), torch.tensor(far))

    def _rows(self, sample: Ints, rivals: Ints) -> Tensor:
        """``e_j - e_y`` for the rivals ``[B, R]`` of each sample, ``[B, R, K]``."""
        rows = torch.zeros(*rivals.shape, self._problem.network.n_outputs, dtype=torch.float64)
        rows.scatter_(2, torch.tensor(rivals)[..., None], 1.0)
        labels = torch.tensor(self._problem.samples.y[sample])[:, None, None].expand(*rivals.shape, 1)
        return rows.scatter_add_(2, labels, torch.full(labels.shape, -1.0, dtype=torch.float64))

    def _all_rivals(self, sample: Ints) -> Ints:
        return self.rivals(sample)[1].reshape(sample.size, -1)

    def _bound(self, sample: Ints, rivals: Ints, near: Array, far: Array, lam: float | None) -> Array:
        """Upper bounds ``[B, R]`` of ``margin - lam * distance`` on the shells; inf for what the deadline left out."""
        step = self._crown.batch(rivals.shape[1])
        parts = []
        for k in range(0, sample.size, step):
            piece = slice(k, k + step)
            if time.monotonic() > self._deadline:
                parts.append(np.full(rivals[piece].shape, math.inf))
            else:
                parts.append(self._bound_piece(sample[piece], rivals[piece], near[piece], far[piece], lam))
        return np.concatenate(parts) if parts else np.zeros(rivals.shape)

    def _bound_piece(self, sample: Ints, rivals: Ints, near: Array, far: Array, lam: float | None) -> Array:
        regions = self._regions(sample, near, far)
        bounds = self._crown.pre_activations(regions)
        multiplier = None if lam is None else torch.full((sample.size,), lam, dtype=torch.float64)
        upper = self._crown.functional(regions, bounds, self._rows(sample, rivals), multiplier).numpy()
        return np.where(np.isnan(upper), math.inf, upper)

    def box_margins(self) -> Array:
        """Upper bounds ``[N]`` of the margin over the whole support: the bound of phi at multiplier 0.

        One region serves all samples, so this is done whatever the deadline says.
        """
        labels, classes = self._problem.samples.y, self._problem.network.n_outputs
        present, position = np.unique(labels, return_inverse=True)
        first = np.array([np.flatnonzero(labels == label)[0] for label in present])
        margins = self._bound_piece(
            first, self._all_rivals(first), np.zeros(first.size), np.full(first.size, self._widest()), None
        )
        assert margins.shape == (present.size, classes - 1)
        return np.asarray(margins.max(axis=1)[position])

    def _widest(self) -> float:
        """A distance that no two points of the support exceed."""
        side = (self._problem.support.upper - self._problem.support.lower) * (1 + 2 * UNIT_ROUNDOFF)
        if self._problem.cost.norm is Norm.INF:
            return float(side.max())
        return float(side.sum() * (1 + dot_error(side.size)))

    def inner(self, samples: Ints, lam: float, incumbents: Array, tolerance: float) -> Screened:
        """Screen every rival of the samples at a multiplier.

        ``incumbents [S]`` are values of phi already attained; a shell that cannot beat its incumbent by more than the
        tolerance is dropped.
        """
        sample, rival = self.rivals(samples)
        per_sample = rival.size // max(samples.size, 1)
        bar = np.repeat(incumbents, per_sample) + tolerance
        edges = self.reach[samples][:, None] * _geometric(_SHELLS)
        shared = self._shells(samples, self._all_rivals(samples), edges, lam)
        state = _Shells.start(sample, rival)
        state.update(np.arange(sample.size), np.repeat(edges, per_sample, axis=0), shared.reshape(sample.size, -1), bar)
        for _ in range(_ROUNDS - 1):
            live = np.flatnonzero(state.far >= state.near)
            if live.size == 0:
                break
            near, far = state.near[live], state.far[live]
            edges = _edges(near, far)
            values = self._shells(sample[live], rival[live][:, None], edges, lam)[:, 0, :]
            state.update(live, edges, values, bar[live])
            kept = state.far[live] >= state.near[live]
            if not (~kept | (state.far[live] < _WORTHWHILE * far)).any():
                break
        return Screened(sample, rival, state.upper(), state.dropped, state.near, state.far, state.inner, state.outer)

    def _shells(self, sample: Ints, rivals: Ints, edges: Array, lam: float | None) -> Array:
        """Bounds ``[B, R, S]`` on the S shells between edges ``[B, S + 1]``."""
        count, shells = edges.shape[0], edges.shape[1] - 1
        near, far = edges[:, :-1].reshape(-1), edges[:, 1:].reshape(-1)
        bound = self._bound(np.repeat(sample, shells), np.repeat(rivals, shells, axis=0), near, far, lam)
        return np.moveaxis(bound.reshape(count, shells, -1), 1, 2)

    def distances(self, samples: Ints, known: Array) -> tuple[Ints, Ints, Array]:
        """Proven lower bounds of the distance to each rival's region, by balls on which the rival's margin stays negative.

        ``known [S]`` are distances of errors already found (inf: none); nothing beyond them matters. Returns sample,
        rival and lower ``[M]``; a rival that stays negative on the whole ball up to ``known`` (or the support) gets
        that radius, and inf where that ball is the whole support.
        """
        sample, rival = self.rivals(samples)
        per_sample = rival.size // max(samples.size, 1)
        reach = np.repeat(self.reach[samples], per_sample)
        low, high = np.zeros(sample.size), np.minimum(np.repeat(known, per_sample), reach)
        whole = high >= reach
        top = self._bound(sample, rival[:, None], np.zeros(sample.size), high, None)[:, 0]
        low = np.where(top < 0, np.where(whole, math.inf, high), low)
        live = np.flatnonzero(top >= 0)
        for _ in range(_ROUNDS):
            if live.size == 0:
                break
            steps = low[live][:, None] + (high - low)[live][:, None] * np.arange(1, _SHELLS) / _SHELLS
            flat, balls = np.repeat(live, _SHELLS - 1), steps.reshape(-1)
            bound = self._bound(sample[flat], rival[flat][:, None], np.zeros(flat.size), balls, None)
            excluded = (bound[:, 0] < 0).reshape(live.size, -1)
            count = np.where(excluded.all(axis=1), _SHELLS - 1, excluded.argmin(axis=1))
            padded = np.hstack([low[live][:, None], steps, high[live][:, None]])
            position = np.arange(live.size)
            low[live], high[live] = padded[position, count], padded[position, count + 1]
        return sample, rival, low

    def shell(self, sample: int, near: float, far: float) -> Region:
        """The region of one question, for an engine that bounds it itself."""
        support = self._problem.support
        return Region(self._problem.cost.norm, self._problem.samples.x[sample], support.lower, support.upper, near, far)

    def region(self, sample: int, near: float, far: float) -> tuple[Region, HiddenBounds, int]:
        """The region of one question within its box, its pre-activation bounds, and how many neurons they leave open."""
        regions = self._regions(np.array([sample]), np.array([near]), np.array([far]))
        bounds: Bounds = self._crown.pre_activations(regions)
        region = Region(
            self._problem.cost.norm,
            self._problem.samples.x[sample],
            np.asarray(regions.lower[0].numpy()),
            np.asarray(regions.upper[0].numpy()),
            near,
            far,
        )
        hidden = [(np.asarray(low[0].numpy()), np.asarray(high[0].numpy())) for low, high in bounds]
        return region, hidden, int(unstable(bounds)[0]) if bounds else 0


@dataclass(eq=False)
class _Shells:
    """The shells still open, per item, and the best bound of all that were dropped."""

    dropped: Array
    alive: Array
    near: Array
    far: Array
    inner: list[list[float]]
    outer: list[list[float]]

    @classmethod
    def start(cls, sample: Ints, rival: Ints) -> _Shells:
        count = sample.size
        assert rival.size == count
        none = np.full(count, -math.inf)
        inner: list[list[float]] = [[0.0] for _ in range(count)]
        outer: list[list[float]] = [[] for _ in range(count)]
        return cls(none, np.full(count, math.inf), np.zeros(count), np.full(count, math.inf), inner, outer)

    def update(self, items: Ints, edges: Array, values: Array, bar: Array) -> None:
        """Drop the shells of the items whose values ``[M, S]`` do not beat the bar ``[M]``; shrink to the hull of the rest."""
        beats: NDArray[np.bool_] = np.greater(values, bar[:, None])
        some: NDArray[np.bool_] = np.asarray(beats.any(axis=1))
        last = values.shape[1] - 1
        first, final = beats.argmax(axis=1), last - beats[:, ::-1].argmax(axis=1)
        position = np.arange(items.size)
        inside = (np.arange(last + 1) >= first[:, None]) & (np.arange(last + 1) <= final[:, None]) & some[:, None]
        outside = np.where(inside, -math.inf, values).max(axis=1)
        self.dropped[items] = np.maximum(self.dropped[items], outside)
        self.alive[items] = np.minimum(self.alive[items], np.where(inside, values, -math.inf).max(axis=1))
        self.near[items] = np.where(some, edges[position, first], 0.0)
        self.far[items] = np.where(some, edges[position, final + 1], -1.0)
        self._record(
            items, edges.tolist(), np.where(some, first, last + 1).tolist(), np.where(some, final, last).tolist()
        )

    def _record(self, items: Ints, edges: list[list[float]], first: list[int], final: list[int]) -> None:
        """Keep the edges of dropped shells: those up to ``first`` and those from ``final + 1`` on."""
        for item, row, begin, end in zip(items.tolist(), edges, first, final, strict=True):
            outer = self.outer[item] or row[-1:]
            if begin == len(row) - 1:
                self.inner[item] += row[1:] + outer[1:]
                self.outer[item] = []
            else:
                self.inner[item] += row[1 : begin + 1]
                self.outer[item] = row[end + 1 : -1] + outer

    def upper(self) -> Array:
        """The bound of each item over everything, dropped or not."""
        return np.maximum(self.dropped, self.alive)


def _geometric(shells: int) -> Array:
    """Edges 0, 2^-(S-1), ..., 1/2, 1."""
    return np.concatenate([[0.0], 2.0 ** -np.arange(shells - 1, -1, -1)])


def _edges(near: Array, far: Array) -> Array:
    """Edges of S shells from near to far ``[M]``: geometric from 0, evenly spaced otherwise; ends kept exactly."""
    even = np.arange(_SHELLS + 1) / _SHELLS
    linear = near[:, None] + (far - near)[:, None] * even
    edges = np.where((near == 0)[:, None], far[:, None] * _geometric(_SHELLS), linear)
    edges[:, 0], edges[:, -1] = near, far
    return np.asarray(np.maximum.accumulate(edges, axis=1))
