"""Screening: what batched backward passes settle before any solve (docs/theory.md, section 3).

Each piece of a sample's loss is bounded over shells of the distance. A shell whose bound does not beat the incumbent is dropped;
what is left is the hull of the surviving shells, usually far smaller than the support and with far fewer open neurons.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from wdaverify.certify.backward import Backward, HiddenBounds, Shells
from wdaverify.certify.enclosure import functionals_enclosure
from wdaverify.certify.entropy import led, log_sum_up
from wdaverify.certify.jacobian import jacobian, slope_up
from wdaverify.encoding.cost import Region
from wdaverify.engines.known import KnownBounds
from wdaverify.engines.loops import compiled
from wdaverify.ground import euclidean
from wdaverify.network.model import Array
from wdaverify.pieces import Pieces
from wdaverify.problem import GroundCost, Norm, WdroProblem
from wdaverify.rounding import UNIT_ROUNDOFF, dot_error, underflow

Ints = NDArray[np.int64]

_GRACE = 0.25
"""Seconds beyond the deadline that the bounds of neurons over the whole support may take."""
_NUMBERS = 2**19
"""The most doubles that one batch holds per array: the deadline is looked at between batches."""
_SHELLS = 8
_ROUNDS = 4
_WORTHWHILE = 0.9
"""Another round of shells is run while the region's reach shrinks at least by this factor somewhere."""


@dataclass(frozen=True, eq=False)
class Screened:
    """Per item (piece of a sample's loss): what is proven, and the shell [near, far] that may still beat the incumbent.

    ``upper`` bounds what an engine would be asked everywhere, ``outside`` outside the shell (-inf: there is no outside).
    ``far < near`` where nothing is left to solve. All arrays ``[M]``. ``inner, outer``: per item the edges of the shells that
    were dropped, from 0 to near and from far to the reach (all of them in ``inner`` where nothing is left); ``middle``: of those
    that were not, from near to far.
    """

    items: Ints
    upper: Array
    outside: Array
    near: Array
    far: Array
    inner: list[list[float]]
    middle: list[list[float]]
    outer: list[list[float]]


class Screen:
    """Batched bounds for one problem; lives in the parent process. Past its deadline it proves nothing more, at once.

    ``rounds``: how often shells are cut. ``reach [N]`` is how far from each sample anything matters: by default the largest
    distance within the support. ``slopes``: local Lipschitz constants bound too (not where a checker is to follow, which knows
    backward passes alone). ``doubt``: by how much more than it may have rounded a bound must be below 0 where its sign decides
    (where a checker is to follow, which rounds otherwise).
    """

    def __init__(
        self,
        problem: WdroProblem,
        deadline: float = math.inf,
        *,
        slopes: bool = True,
        doubt: float = 1.0,
    ) -> None:
        self._problem, self._deadline, self._tighten_until = problem, deadline, deadline
        self._logits = _logits_at(problem) if slopes else None
        self._balls = (
            slopes or problem.cost.norm is Norm.INF
        )  # what holds on a path from the sample must hold on the ball
        self.pieces, self.rounds = Pieces.of(problem), _ROUNDS
        self._doubt, self._backward = doubt, Backward(problem.network.form, loops=compiled())
        self._known = KnownBounds(problem.network.form, self._pre_activations)
        self.reach = self._reach()

    def until(self, deadline: float) -> None:
        """Go on, until another deadline."""
        self._deadline = self._tighten_until = deadline

    @property
    def over(self) -> bool:
        """Whether the deadline has passed: what was proven last may be less than could be."""
        return time.monotonic() > self._deadline

    def _reach(self) -> Array:
        """How far from each sample anything matters, ``[N]``: the whole support; for order inf at most the radius."""
        whole = self._whole()
        return whole if math.isfinite(self._problem.cost.order) else np.minimum(whole, self._problem.radius)

    def _whole(self) -> Array:
        """The largest distance ``D_i`` from each sample within the support, ``[N]``, rounded up."""
        support, x = self._problem.support, self._problem.samples.x
        return _length_up(self._problem.cost, np.maximum(support.upper - x, x - support.lower))

    def _around(self, sample: Ints, near: Array, far: Array) -> Shells:
        support = self._problem.support
        return Shells.around(
            self._problem.cost, self._problem.samples.x[sample], support.lower, support.upper, near, far
        )

    def _pre_activations(self, sample: Ints, near: Array, far: Array) -> HiddenBounds:
        return self._backward.pre_activations(self._around(sample, near, far), deadline=self._tighten_until)

    def _bound(self, sample: Ints, rows: Array, near: Array, far: Array, lam: float | None) -> Array:
        """Upper bounds ``[B, R]`` of ``rows . z - lam * distance^p`` on the shells; inf for what the deadline left out."""
        step = max(1, _NUMBERS // self._backward.numbers(rows.shape[1]))
        parts = []
        for k in range(0, sample.size, step):
            piece = slice(k, k + step)
            if self.over:
                parts.append(np.full(rows[piece].shape[:2], math.inf))
            else:
                parts.append(self._bound_piece(sample[piece], rows[piece], near[piece], far[piece], lam))
        return np.concatenate(parts) if parts else np.zeros(rows.shape[:2])

    def _bound_piece(self, sample: Ints, rows: Array, near: Array, far: Array, lam: float | None) -> Array:
        bounds = self._known.of(sample, np.zeros(near.size) if self._balls else near, far)
        upper = self._backward.leaves(
            rows,
            np.full(sample.size, lam or 0.0),
            self._around(sample, near, far),
            bounds,
            np.zeros((sample.size, self._backward.neurons), np.int8),
            None,
            power=1 if lam is None else self._problem.cost.power,
            doubt=self._doubt,
        )
        if self._logits is None:
            return upper
        out: Array = np.minimum(upper, self._from_centre(sample, rows, bounds, (near, far), lam))
        return out

    def functionals(self, sample: int, rows: Array) -> Array:
        """Upper bounds ``[R]`` of ``rows . z`` with rows ``[R, K]`` over all that is within a sample's reach."""
        far = self.reach[[sample]]
        return np.asarray(self._bound(np.array([sample], np.int64), rows[None], np.zeros(1), far, None)[0])

    def _from_centre(
        self, sample: Ints, rows: Array, bounds: HiddenBounds, shell: tuple[Array, Array], lam: float | None
    ) -> Array:
        """``rows . z(x_i) + max S t - lam t^p`` over the shell, with S the slope on the whole ball that it cuts, ``[B, R]``.

        ``bounds`` hold on all of that ball, not on the shell alone.
        """
        clean, slope = self._centres(sample, rows), self._slopes(bounds, rows)
        near, far = shell[0][:, None], shell[1][:, None]
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            gain, paid = _best_gain(slope, near, far, lam, self._problem.cost)
            out = clean + gain + 8 * UNIT_ROUNDOFF * (np.abs(clean) + slope * far + paid) + underflow(8)
        return np.where(np.isfinite(out), out, math.inf)

    def _centres(self, sample: Ints, rows: Array) -> Array:
        """``rows . z(x_i)``, rounded up, ``[B, R]``."""
        assert self._logits is not None
        low, high = (side[sample][:, None, :] for side in self._logits)
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            ends = np.maximum(rows, 0.0) * high, np.minimum(rows, 0.0) * low
            size = np.abs(ends[0]).sum(-1) + np.abs(ends[1]).sum(-1)
            terms = 2 * rows.shape[2] + 4
            out = (ends[0] + ends[1]).sum(-1) + dot_error(terms) * size + underflow(terms)
        return np.where(np.isfinite(out), out, math.inf)

    def _slopes(self, bounds: HiddenBounds, rows: Array) -> Array:
        """How steep ``rows . z`` can be where the bounds hold, per unit of cost, rounded up, ``[B, R]``."""
        centre, radius = jacobian(self._problem.network.form, bounds, rows)
        count, each, n = centre.shape
        slope = slope_up(centre.reshape(-1, 1, n), radius.reshape(-1, 1, n), self._problem.cost)
        return np.asarray(slope.reshape(count, each))

    def lines(self) -> tuple[Array, Array] | None:
        """``clean, slope [M]``: on the whole support piece k is at most ``clean_k + slope_k ||x - x_i||``, its offset left out.

        For a cross-entropy, the steepest of its margins counts. None where slopes are not used, the support has no end, or the time is
        over.
        """
        if self.over or self._logits is None or not self._problem.support.bounded:
            return None
        pieces, group = self.pieces, self._groups()
        item = np.arange(len(pieces))
        kinds, first, which = np.unique(
            np.stack([pieces.label, pieces.code * (not pieces.entropy), group[pieces.sample]]),
            axis=1,
            return_index=True,
            return_inverse=True,
        )
        around = np.unique(group, return_index=True)[1]
        slope = np.empty(first.size)
        for g in np.unique(kinds[2]).tolist():
            bounds = self._known.of(around[[g]], np.zeros(1), np.full(1, self._widest()))
            mine = np.flatnonzero(kinds[2] == g)
            rows = pieces.rows(first[mine])
            slope[mine] = self._slopes(bounds, rows.reshape(1, -1, rows.shape[2])).reshape(mine.size, -1).max(axis=1)
        clean = np.empty(item.size)
        for at in np.array_split(item, -(-item.size * pieces.rows(item[:1])[0].size // _NUMBERS)):
            raw = self._centres(pieces.sample[at], pieces.rows(at))
            clean[at] = log_sum_up(raw[:, None, :], np.zeros((at.size, 1)))[:, 0] if pieces.entropy else raw[:, 0]
        return clean, np.where(np.isfinite(slope), slope, math.inf)[which.reshape(-1)]

    def first_distances(self) -> Array | None:
        """The distances to errors that these lines prove, ``[M]``, inf beyond the whole support; None where there are no lines."""
        lines = self.lines()
        if lines is None:
            return None
        below, slope, sample = np.maximum(-lines[0], 0.0), lines[1], self.pieces.sample
        with np.errstate(divide="ignore", invalid="ignore", over="ignore", under="ignore"):
            low = np.where(slope > 0, np.nextafter(below / slope, 0.0), math.inf)
        low = np.where((below > 0) & ~np.isnan(low), low, 0.0)
        return np.where((low > self.reach[sample]) & self._covers(sample), math.inf, low)

    def _groups(self) -> Ints:
        """Samples that agree in the features that cannot change have one number, ``[N]``."""
        samples = self._problem.samples
        held = samples.x[:, self._problem.cost.fixed(samples.x.shape[1])]
        return np.unique(held, axis=0, return_inverse=True)[1].reshape(-1)

    def _item_bounds(
        self, items: Ints, near: Array, far: Array, lam: float | None, around: Ints | None = None
    ) -> Array:
        """The same for the pieces ``[B, P]`` of one sample each, on its shell ``near, far [B]``, or one around another sample."""
        each = self._problem.network.n_outputs if self.pieces.entropy and items.shape[1] > 1 else 1
        every, items = items, items[:, ::each]  # of one label's pieces
        count, labels = items.shape
        rows = self.pieces.rows(items.reshape(-1))
        flat = rows.reshape(count, labels * rows.shape[1], -1)
        around = self.pieces.sample[items[:, 0]] if around is None else around
        raw = self._bound(around, flat, near, far, lam).reshape(count, labels, -1)
        if not self.pieces.entropy:
            return raw[..., 0]
        paid = np.zeros(near.shape)
        if lam is not None:
            with np.errstate(over="ignore"):
                paid = lam * near if self._problem.cost.power == 1 else lam * near * near  # near^2 alone may vanish
        raw, paid = np.repeat(raw, each, axis=1), np.broadcast_to(paid[:, None], every.shape)
        item = every.reshape(-1)
        own = -paid.reshape(-1) * (1 - 2.0**-50)
        return led(raw.reshape(item.size, -1), own, self.pieces.label[item], self.pieces.code[item]).reshape(
            every.shape
        )

    def box_values(self) -> Array:
        """Upper bounds ``[N]`` of the loss over the whole support, floor left out: phi at multiplier 0; inf if unbounded.

        One region serves all samples that agree in the features that cannot change, so this is done whatever the deadline says;
        past it, bounds of neurons are tightened for a quarter of a second at most.
        """
        samples, pieces, cost = self._problem.samples, self.pieces, self._problem.cost
        if not (self._problem.support.bounded and math.isfinite(cost.order)):
            return np.full(samples.y.size, math.inf)
        group = self._groups()
        present, first, position = np.unique(
            np.stack([samples.y, group]), axis=1, return_index=True, return_inverse=True
        )
        around = np.unique(group, return_index=True)[1][present[1]]
        items, deadline = pieces.of_samples(first), self._deadline
        self._deadline, until = math.inf, self._tighten_until
        self._tighten_until = max(until, time.monotonic() + _GRACE)
        near, far = np.zeros(first.size), np.full(first.size, self._widest())
        raw = self._item_bounds(items, near, far, None, around)
        self._deadline, self._tighten_until = deadline, until
        flat = items.reshape(-1)
        whole = pieces.whole(raw.reshape(-1), flat, 0.0).reshape(items.shape)
        return np.asarray(whole.max(axis=1)[position.reshape(-1)])

    def _widest(self) -> float:
        """A distance that no two points of the support exceed."""
        side = (self._problem.support.upper - self._problem.support.lower) * (1 + 2 * UNIT_ROUNDOFF)
        return float(_length_up(self._problem.cost, side[None, :])[0])

    def inner(self, samples: Ints, lam: float, incumbents: Array, tolerance: float) -> Screened:
        """Screen every piece of the samples at a multiplier.

        ``incumbents [S]`` are values of phi already attained; a shell that cannot beat its incumbent by more than the
        tolerance is dropped.
        """
        table = self.pieces.of_samples(samples)
        items, per_sample = table.reshape(-1), self.pieces.per_sample
        price = lam if math.isfinite(self._problem.cost.order) else None
        bar = self.pieces.bar(np.repeat(incumbents, per_sample) + tolerance, items, lam)
        edges = self.reach[samples][:, None] * _geometric(_SHELLS)
        shared = self._shells(table, edges, price)
        state = _Shells.start(items.size)
        state.update(np.arange(items.size), np.repeat(edges, per_sample, axis=0), shared.reshape(items.size, -1), bar)
        for _ in range(self.rounds - 1):
            live = np.flatnonzero(state.far >= state.near)
            if live.size == 0:
                break
            near, far = state.near[live], state.far[live]
            edges = _edges(near, far)
            values = self._shells(items[live][:, None], edges, price)[:, 0, :]
            state.update(live, edges, values, bar[live])
            kept = state.far[live] >= state.near[live]
            if not (~kept | (state.far[live] < _WORTHWHILE * far)).any():
                break
        shells = state.inner, state.middle, state.outer
        return Screened(items, state.upper(), state.dropped, state.near, state.far, *shells)

    def _shells(self, items: Ints, edges: Array, lam: float | None) -> Array:
        """Bounds ``[B, P, S]`` on the S shells between edges ``[B, S + 1]`` of the pieces ``[B, P]``."""
        count, shells = edges.shape[0], edges.shape[1] - 1
        near, far = edges[:, :-1].reshape(-1), edges[:, 1:].reshape(-1)
        bound = self._item_bounds(np.repeat(items, shells, axis=0), near, far, lam)
        return np.moveaxis(bound.reshape(count, shells, -1), 1, 2)

    def distances(self, samples: Ints, known: Array) -> tuple[Ints, Array]:
        """Proven lower bounds of the distance to each rival's region, by balls on which the rival's margin stays negative.

        ``known [S]`` are distances of errors already found (inf: none); nothing beyond them matters. Returns items and lower
        ``[M]``; a rival that stays negative on the whole ball up to ``known`` (or the reach) gets that radius (at order inf the
        double after it: the least that the distance may be when rounded up), and inf where that ball is the whole support. At order
        inf that is all that matters, and no smaller ball is tried.
        """
        table, far = self.pieces.of_samples(samples), np.minimum(known, self.reach[samples])
        items = table.reshape(-1)
        sample = self.pieces.sample[items]
        reach = self.reach[sample]
        low, high = np.zeros(items.size), np.repeat(far, self.pieces.per_sample)
        whole = (high >= reach) & self._covers(sample)
        top = self._item_bounds(table, np.zeros(far.size), far, None).reshape(-1)
        beyond = high if math.isfinite(self._problem.cost.order) else np.nextafter(high, math.inf)
        low = np.where(top < 0, np.where(whole, math.inf, beyond), low)
        live = np.flatnonzero(top >= 0)
        for _ in range(_ROUNDS if math.isfinite(self._problem.cost.order) else 0):
            if live.size == 0:
                break
            steps = low[live][:, None] + (high - low)[live][:, None] * np.arange(1, _SHELLS) / _SHELLS
            flat, balls = np.repeat(live, _SHELLS - 1), steps.reshape(-1)
            bound = self._item_bounds(items[flat][:, None], np.zeros(flat.size), balls, None)
            excluded = (bound[:, 0] < 0).reshape(live.size, -1)
            count = np.where(excluded.all(axis=1), _SHELLS - 1, excluded.argmin(axis=1))
            padded = np.hstack([low[live][:, None], steps, high[live][:, None]])
            position = np.arange(live.size)
            low[live], high[live] = padded[position, count], padded[position, count + 1]
        return items, low

    def _covers(self, sample: Ints) -> NDArray[np.bool_]:
        """Whether the reach of samples takes in the whole support."""
        return np.asarray(self.reach[sample] >= self._whole()[sample])

    def whole_support(self, sample: int, far: float) -> bool:
        """Whether a ball of this radius around a sample holds the whole support."""
        return bool(far >= self.reach[sample] and self._covers(np.array([sample]))[0])

    def shell(self, sample: int, near: float, far: float) -> Region:
        """The region of one question, for an engine that bounds it itself."""
        support, x = self._problem.support, self._problem.samples.x[sample]
        return Region(self._problem.cost, x, support.lower, support.upper, near, far, support.rows, support.integer)

    def region(self, sample: int, near: float, far: float) -> tuple[Region, HiddenBounds, int]:
        """The region of one question within its box, its pre-activation bounds, and how many neurons they leave open."""
        shells = self._around(np.array([sample]), np.array([near]), np.array([far]))
        region, hidden = self.shell(sample, near, far), self._backward.pre_activations(shells)
        lower = np.maximum(region.lower, np.nextafter(region.centre - shells.down[0], -np.inf))
        upper = np.minimum(region.upper, np.nextafter(region.centre + shells.up[0], np.inf))
        open_ = sum(int(((low < 0) & (high > 0)).sum()) for low, high in hidden)
        return replace(region, lower=lower, upper=upper), [(low[0], high[0]) for low, high in hidden], open_


def _length_up(cost: GroundCost, room: Array) -> Array:
    """The norm of displacements ``[B, n]`` that no coordinate exceeds, ``[B]``, rounded up; fixed features do not move."""
    n = room.shape[1]
    with np.errstate(over="ignore", invalid="ignore"):
        size = np.where(cost.fixed(n), 0.0, np.nextafter(room * cost.scale(n), np.inf))
        if cost.weights is not None:  # two roundings
            size = np.where(size > 0, np.nextafter(size, np.inf), size)
        if cost.norm is Norm.INF:
            return np.asarray(np.nextafter(size.max(axis=1), np.inf))
        if cost.norm is Norm.ONE:
            return np.asarray(size.sum(axis=1) * (1 + dot_error(n)))
        return np.asarray(euclidean(size) * (1 + dot_error(n + 4)) + underflow(1))


def _logits_at(problem: WdroProblem) -> tuple[Array, Array]:
    """Bounds of the logits at the samples, each ``[N, K]``."""
    eye = np.eye(problem.network.n_outputs)
    return functionals_enclosure(problem.network, problem.samples.x, eye, np.zeros((1, eye.shape[0])))


def _best_gain(slope: Array, near: Array, far: Array, lam: float | None, cost: GroundCost) -> tuple[Array, Array]:
    """``max S t - lam t^p`` over the shell, and the size of what is paid; slope ``[B, R]``, near and far ``[B, 1]``."""
    if lam is None:
        return slope * far, np.zeros_like(slope)
    if cost.power == 1:
        rate = slope - lam
        return np.where(rate > 0, rate * far, rate * near), lam * far + np.zeros_like(slope)
    best = np.clip(0.5 * slope / lam if lam > 0 else far, near, far)
    ends = [slope * t - lam * t * t for t in (near, far, best)]
    return np.maximum(
        np.maximum(ends[0], ends[1]), ends[2]
    ) + 8 * UNIT_ROUNDOFF * lam * far * far, lam * far * far + 0 * slope


@dataclass(eq=False)
class _Shells:
    """The shells still open, per item, and the best bound of all that were dropped."""

    dropped: Array
    alive: Array
    near: Array
    far: Array
    inner: list[list[float]]
    middle: list[list[float]]
    outer: list[list[float]]

    @classmethod
    def start(cls, count: int) -> _Shells:
        none = np.full(count, -math.inf)
        inner: list[list[float]] = [[0.0] for _ in range(count)]
        middle, outer = ([list[float]() for _ in range(count)] for _ in range(2))
        return cls(none, np.full(count, math.inf), np.zeros(count), np.full(count, math.inf), inner, middle, outer)

    def update(self, items: Ints, edges: Array, values: Array, bar: Array) -> None:
        """Drop the shells of the items whose values ``[M, S]`` do not beat the bar ``[M]``; shrink to the hull of the rest.

        An item that was bounded before stays as it is where the time was too short to bound all its shells anew.
        """
        whole = (values < math.inf).all(axis=1) | np.isinf(self.alive[items])
        items, edges, values, bar = items[whole], edges[whole], values[whole], bar[whole]
        beats: NDArray[np.bool_] = np.greater(values, bar[:, None])
        some: NDArray[np.bool_] = np.asarray(beats.any(axis=1))
        last = values.shape[1] - 1
        first, final = beats.argmax(axis=1), last - beats[:, ::-1].argmax(axis=1)
        position = np.arange(items.size)
        inside = (np.arange(last + 1) >= first[:, None]) & (np.arange(last + 1) <= final[:, None]) & some[:, None]
        outside = np.where(inside, -math.inf, values).max(axis=1)
        self.dropped[items] = np.maximum(self.dropped[items], outside)
        self.alive[items] = np.where(inside, values, -math.inf).max(axis=1)
        self.near[items] = np.where(some, edges[position, first], 0.0)
        self.far[items] = np.where(some, edges[position, final + 1], -1.0)
        self._record(
            items, edges.tolist(), np.where(some, first, last + 1).tolist(), np.where(some, final, last).tolist()
        )

    def _record(self, items: Ints, edges: list[list[float]], first: list[int], final: list[int]) -> None:
        """Keep the edges of dropped shells, those up to ``first`` and those from ``final + 1`` on, and of those between."""
        for item, row, begin, end in zip(items.tolist(), edges, first, final, strict=True):
            self.middle[item] = row[begin : end + 2]
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
