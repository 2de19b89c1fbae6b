"""Where a linear functional less the price of moving is largest within a shell, in single precision: it steers, and proves nothing.

    max  q . d - price t^p     over  |d_k| <= room of k,  ||d|| <= t,  near <= t <= far

l-inf: for a given t every coordinate takes min(t, its room), so the value is concave in t and bends only where t passes a
room. l1: the dearest coordinates first, until the price is no longer worth it. l2: every coordinate takes s times its pull, up to its
room, for an s that grows with t; what a further unit of t gains is t / s. Distances in units of the cost.

A room that leaves the centre out (below 0) is one that is used up before near: its coordinate stays where it is nearest, unless it is
pulled farther out.

The same curve tells how near the centre ``q . d + level`` can be 0, and at which price that t is the best one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from wdaverify.certify.backward import Shells
from wdaverify.compiled.choice import extension
from wdaverify.encoding.milp import Ints
from wdaverify.ground import Norm
from wdaverify.network.model import Array

Floats = NDArray[np.float32]
Edge = Floats | np.float32

_LEAST_PRICE = 1e-6
"""Prices are kept from 0: bounds are divided by them."""
_CLOSE = 1e-6
"""Values of t that are closer than this share of far are one."""
_SHARE = np.float32(2.0**-4)
"""The least share of the slope that a price is, where rooms are left."""
_DOUBLINGS, _BISECTIONS = 60.0, 48
"""Of stretches that are bisected: ends, in powers of 2, and steps."""
_LONGEST = 1e60
"""A stretch beyond this is all there is."""
_BENDS = 64
"""The most values of t that are tried; where rooms bend at more places, these are spread over them."""
_TABLES = 16
"""In numpy so many shells have tables of their own; where there are more, few rows of a batch share one, and all are sorted together."""


class Peaks(Protocol):
    """Of shells ``[S]``, for rows whose shells ``[B]`` ascend: the largest value ``[B]``, where it is attained and at which t ``[B]``.

    q ``[B, n]`` and price ``[B]`` to value, displacement ``[B, n]``, t.
    """

    def __call__(self, shell: Ints, q: Floats, price: Floats) -> tuple[Floats, Floats, Floats]:
        """Solve a batch."""
        ...

    def crossing(self, shell: Ints, q: Floats, level: Floats) -> tuple[Floats, Floats, Floats]:
        """The price ``[B]`` at which ``-max (q . d + level - price t) / price`` is largest, a displacement ``[B, n]`` and t that attain it.

        It is the least t at which ``q . d + level`` reaches 0, where that is between near and far; else some price at which
        it is less than near or more than far. Power 1 alone.
        """
        ...


def peaks_of(shells: Shells, power: int) -> Peaks:
    """The peaks over shells of one cost."""
    scale, forced = shells.cost.scale(shells.up.shape[1]), (shells.up < 0) | (shells.down < 0)
    parts = scale, shells.up * scale, shells.down * scale, shells.near, shells.far, power
    match shells.cost.norm:
        case Norm.INF:
            few = len(shells) <= _TABLES and extension("steering") is None
            return _Cubes(*parts) if few else _Sorted(*parts)
        case Norm.ONE:
            return _Cross(*parts)
        case Norm.TWO:
            return _Ball(*parts, forced=bool(forced.any()))


class _Cubes:
    """l-inf, few shells: one after the other."""

    def __init__(self, scale: Array, up: Array, down: Array, near: Array, far: Array, power: int) -> None:
        edges = zip(up, down, near.tolist(), far.tolist(), strict=True)
        self._each = [_Cube(scale, *some, power) for some in edges]

    def __call__(self, shell: Ints, q: Floats, price: Floats) -> tuple[Floats, Floats, Floats]:
        return self._apart(shell, lambda cube, at: cube(q[at], price[at]))

    def crossing(self, shell: Ints, q: Floats, level: Floats) -> tuple[Floats, Floats, Floats]:
        price, moved, t = self._apart(shell, lambda cube, at: cube.crossing(q[at], level[at]))
        return price, moved, t

    def _apart(
        self, shell: Ints, solve: Callable[[_Cube, slice], tuple[Floats, Floats, Floats]]
    ) -> tuple[Floats, Floats, Floats]:
        edges = np.flatnonzero(np.diff(shell, prepend=-1))
        ends = [*edges[1:].tolist(), shell.size]
        found = [solve(self._each[int(shell[a])], slice(a, b)) for a, b in zip(edges.tolist(), ends, strict=True)]
        if len(found) == 1:
            return found[0]
        first, moved, last = (np.concatenate(part) for part in zip(*found, strict=True))
        return first, moved, last


class _Cube:
    """l-inf: the best of the values of t at which a room is used up."""

    def __init__(self, scale: Array, up: Array, down: Array, near: float, far: float, power: int) -> None:
        bends = np.unique(np.concatenate([[near, far], up, down]))
        bends = bends[(bends >= near) & (bends <= far)]
        if power == 2:
            bends = np.unique(np.concatenate([bends, np.linspace(near, far, _BENDS // 2)]))
        bends = bends[np.diff(bends, prepend=-np.inf) > _CLOSE * far]
        if bends.size > _BENDS:
            bends = bends[np.linspace(0, bends.size - 1, _BENDS).round().astype(np.int64)]
        self._scale = scale.astype(np.float32)
        self._t = bends.astype(np.float32)
        self._power = power
        self._up = np.minimum(bends[:, None], up).astype(np.float32)
        self._down = np.minimum(bends[:, None], down).astype(np.float32)
        self._rooms = np.concatenate([self._up, self._down], axis=1).T.copy()

    def __call__(self, q: Floats, price: Floats) -> tuple[Floats, Floats, Floats]:
        pull = q / self._scale
        both = np.concatenate([np.maximum(pull, 0), np.maximum(-pull, 0)], axis=1)
        values = both @ self._rooms - price[:, None] * self._t**self._power
        at = values.argmax(axis=1)
        moved = np.where(pull > 0, self._up[at], -self._down[at]) / self._scale
        return values[np.arange(at.size), at], moved, self._t[at]

    def crossing(self, q: Floats, level: Floats) -> tuple[Floats, Floats, Floats]:
        pull = q / self._scale
        both = np.concatenate([np.maximum(pull, 0), np.maximum(-pull, 0)], axis=1)
        reached, last = both @ self._rooms + level[:, None], self._t.size - 1
        below = (reached < 0).sum(axis=1)  # they ascend
        row, before = np.arange(below.size), np.clip(below - 1, 0, max(last - 1, 0))
        after = np.minimum(before + 1, last)
        rise, run = reached[row, after] - reached[row, before], self._t[after] - self._t[before]
        slope = rise / np.where(run > 0, run, 1)
        t, price = _crossed(slope, reached[row, before], self._t[before], (self._t[0], self._t[-1]))
        moved = np.where(pull > 0, np.minimum(t[:, None], self._up[-1]), -np.minimum(t[:, None], self._down[-1]))
        return price, moved / self._scale, t


class _Sorted:
    """l-inf: of each shell the rooms of both directions in ascending order, far at their end; between two of them all is linear."""

    def __init__(self, scale: Array, up: Array, down: Array, near: Array, far: Array, power: int) -> None:
        self._c: Any = extension("steering")
        self._plain = bool((scale == 1).all())
        self._scale, self._power = scale.astype(np.float32), power
        self._up, self._down = up.astype(np.float32), down.astype(np.float32)
        self._near, self._far = near.astype(np.float32), far.astype(np.float32)
        rooms = np.minimum(np.concatenate([self._up, self._down], axis=1), self._far[:, None])
        self._order = np.argsort(rooms, axis=1).astype(np.int32)
        self._rooms = np.concatenate([np.take_along_axis(rooms, self._order, 1), self._far[:, None]], axis=1)
        self._last = (self._rooms < self._far[:, None]).sum(axis=1)
        self._first = np.minimum((self._rooms <= self._near[:, None]).sum(axis=1), self._last)
        self._lists = self._near, self._far, self._order, self._rooms, self._first, self._last

    def _in_cost_units(self, q: Floats) -> Floats:
        return np.ascontiguousarray(q if self._plain else q / self._scale)

    def _in_units(self, moved: Floats) -> Floats:
        return moved if self._plain else moved / self._scale

    def _steep(self, shell: Ints, pull: Floats) -> tuple[Floats, Floats, Floats]:
        """Pulls, rooms in order, and what a further unit of t gains up to each: ``[B, 2 n + 1]``."""
        both = np.concatenate([np.maximum(pull, 0), np.maximum(-pull, 0)], axis=1)
        pulls = np.zeros((shell.size, both.shape[1] + 1), np.float32)
        pulls[:, :-1] = np.take_along_axis(both, self._order[shell], 1)
        return pulls, self._rooms[shell], np.cumsum(pulls[:, ::-1], axis=1)[:, ::-1]

    def _moved(self, shell: Ints, pull: Floats, t: Floats) -> Floats:
        """The displacement that gains most at t, in cost units."""
        if self._c is not None:
            moved = np.empty_like(pull)
            self._c.moves(shell, pull, t, self._up, self._down, moved)
            return moved
        return np.where(pull > 0, np.minimum(t[:, None], self._up[shell]), -np.minimum(t[:, None], self._down[shell]))

    def __call__(self, shell: Ints, q: Floats, price: Floats) -> tuple[Floats, Floats, Floats]:
        pull = self._in_cost_units(q)
        if self._c is not None:
            value, moved, t = np.empty_like(price), np.empty_like(pull), np.empty_like(price)
            self._c.peaks(self._power, shell, pull, price, self._up, self._down, *self._lists, value, moved, t)
            return value, self._in_units(moved), t
        _, rooms, steep = self._steep(shell, pull)
        if self._power == 1:
            past = (steep > price[:, None]).sum(axis=1)
            t = np.where(past > 0, _at(rooms, past - 1), np.float32(0))
        else:
            past = (steep > 2 * price[:, None] * rooms).sum(axis=1)
            low = np.where(past > 0, _at(rooms, past - 1), np.float32(0))
            with np.errstate(divide="ignore", invalid="ignore"):
                best = np.where(price > 0, _at(steep, past) / (2 * price), np.float32(np.inf))
            t = np.clip(np.nan_to_num(best, nan=0.0), low, _at(rooms, past))
        t = np.clip(t, self._near[shell], self._far[shell])
        moved = self._moved(shell, pull, t)
        value = (pull * moved).sum(axis=1) - price * t**self._power
        return value, self._in_units(moved), t

    def crossing(self, shell: Ints, q: Floats, level: Floats) -> tuple[Floats, Floats, Floats]:
        pull = self._in_cost_units(q)
        start, there, slope = (np.empty_like(level) for _ in range(3))
        if self._c is not None:
            self._c.crossings(shell, pull, level, self._up, self._down, *self._lists, start, there, slope)
        else:
            pulls, rooms, steep = self._steep(shell, pull)
            reached = np.cumsum(pulls * rooms, axis=1) + rooms * (steep - pulls) + level[:, None]
            at = np.clip((reached < 0).sum(axis=1), self._first[shell], self._last[shell])
            begun, slope = at > 0, _at(steep, at)
            start = np.where(begun, _at(rooms, at - 1), np.float32(0))
            there = np.where(begun, _at(reached, at - 1), level)
        t, price = _crossed(slope, there, start, (self._near[shell], self._far[shell]))
        return price, self._in_units(self._moved(shell, pull, t)), t


def _at(of: Floats, index: Ints) -> Floats:
    """``of [B, m]`` at ``index [B]``, kept within its ends."""
    return np.asarray(np.take_along_axis(of, np.clip(index, 0, of.shape[1] - 1)[:, None], 1)[:, 0])


class _Cross:
    """l1: coordinates in the order of their pull, as far as it exceeds the price."""

    def __init__(self, scale: Array, up: Array, down: Array, near: Array, far: Array, power: int) -> None:
        self._scale = scale.astype(np.float32)
        begun = np.maximum(-down, 0.0) - np.maximum(-up, 0.0)
        base = np.abs(begun).sum(axis=1)
        self._begun, self._base = begun.astype(np.float32), base.astype(np.float32)
        self._up, self._down = (
            np.maximum(s + np.minimum(o, 0), 0).astype(np.float32) for s, o in ((up, down), (down, up))
        )
        near, far = np.maximum(near - base, 0), np.maximum(far - base, 0)
        self._near, self._far, self._power = near.astype(np.float32), far.astype(np.float32), power

    def _dearest(self, shell: Ints, q: Floats) -> tuple[Floats, NDArray[np.int64], Floats, Floats]:
        """Pulls per unit of cost; the order that puts the dearest first, the sizes of the pulls and the rooms in it, ``[B, n]``."""
        pull = q / self._scale
        size, room = np.abs(pull), np.where(pull > 0, self._up[shell], self._down[shell])
        order = np.argsort(-size, axis=1)
        return pull, order, np.take_along_axis(size, order, 1), np.take_along_axis(room, order, 1)

    def __call__(self, shell: Ints, q: Floats, price: Floats) -> tuple[Floats, Floats, Floats]:
        pull, order, sizes, rooms = self._dearest(shell, q)
        reached = np.cumsum(rooms, axis=1)
        begun, base = self._begun[shell], self._base[shell]
        so_far = reached - rooms + base[:, None]
        worth = sizes > (price[:, None] if self._power == 1 else 2 * price[:, None] * so_far)
        last = worth.sum(axis=1)
        at = np.maximum(last - 1, 0)[:, None]
        t = np.where(last > 0, np.take_along_axis(reached, at, 1)[:, 0], np.float32(0))
        if self._power == 2:
            with np.errstate(divide="ignore", invalid="ignore"):
                best = np.take_along_axis(sizes, at, 1)[:, 0] / (2 * price) - base
            t = np.where(price > 0, np.minimum(t, best), t)
        t = np.clip(t, self._near[shell], self._far[shell])
        taken = np.clip(t[:, None] - (reached - rooms), 0, rooms)
        t = t + base
        value = (sizes * taken).sum(axis=1) + (pull * begun).sum(axis=1) - price * t**self._power
        moved = np.empty_like(sizes)
        np.put_along_axis(moved, order, taken, 1)
        return value, np.asarray((begun + np.where(pull > 0, moved, -moved)) / self._scale, np.float32), t

    def crossing(self, shell: Ints, q: Floats, level: Floats) -> tuple[Floats, Floats, Floats]:
        pull, order, sizes, rooms = self._dearest(shell, q)
        reached, begun, base = np.cumsum(rooms, axis=1), self._begun[shell], self._base[shell]
        level = level + (pull * begun).sum(axis=1)
        gained = np.cumsum(sizes * rooms, axis=1) + level[:, None]
        at = np.minimum((gained < 0).sum(axis=1), sizes.shape[1] - 1)
        edges = self._near[shell], self._far[shell]
        near, far = (((reached - rooms) <= edge[:, None]).sum(axis=1) - 1 for edge in edges)
        at = np.clip(at, near, far)[:, None]
        slope, used, end, top = (np.take_along_axis(part, at, 1)[:, 0] for part in (sizes, rooms, reached, gained))
        t, price = _crossed(slope, top - slope * used, end - used, edges)
        below = top - slope * np.maximum(end - edges[1], 0) < 0
        t = np.where(below, edges[1], t)
        taken = np.clip(t[:, None] - (reached - rooms), 0, rooms)
        moved = np.empty_like(sizes)
        np.put_along_axis(moved, order, taken, 1)
        best = (sizes * taken).sum(axis=1) + level
        still = np.where(reached[:, -1] < edges[1], np.float32(0), slope)  # nothing rises once all rooms are used up
        price = np.where(below, _closing(still, best, edges[1] + base), price)
        return price, np.asarray((begun + np.where(pull > 0, moved, -moved)) / self._scale, np.float32), t + base


class _Ball:
    """l2: coordinates in the order in which a common stretch s of all pulls uses up their rooms."""

    def __init__(
        self, scale: Array, up: Array, down: Array, near: Array, far: Array, power: int, *, forced: bool
    ) -> None:
        self._scale, self._up, self._down = scale, np.ascontiguousarray(up), np.ascontiguousarray(down)
        self._near, self._far, self._power, self._forced = near, far, power, forced
        self._c: Any = extension("proving")

    def _rays(self, shell: Ints, q: Floats) -> _Rays | _CompiledRays | _ForcedRays:
        pull = q / self._scale
        if self._forced:
            return _ForcedRays(pull.astype(np.float64), self._up[shell], self._down[shell])
        if self._c is not None:
            return _CompiledRays(self._c, shell, pull.astype(np.float64), self._up, self._down)
        return _Rays(pull, self._up[shell], self._down[shell])

    def __call__(self, shell: Ints, q: Floats, price: Floats) -> tuple[Floats, Floats, Floats]:
        rays, dear = self._rays(shell, q), price.astype(np.float64)
        with np.errstate(divide="ignore"):
            wanted = 0.5 / dear if self._power == 2 else rays.worth(dear)
        moved, t = self._at(shell, rays, wanted)
        value = (rays.pull * moved).sum(axis=1) - dear * t**self._power
        return _singles(value, moved / self._scale, t)

    def crossing(self, shell: Ints, q: Floats, level: Floats) -> tuple[Floats, Floats, Floats]:
        rays, start = self._rays(shell, q), level.astype(np.float64)
        wanted = rays.gaining(-start)
        near, far = self._near[shell], self._far[shell]
        last = rays.reaching(far)
        moved, t = self._at(shell, rays, wanted)
        s = np.clip(wanted, rays.reaching(near), last)
        slope = rays.slope(s)
        best = (rays.pull * moved).sum(axis=1) + start
        still = np.where(np.isinf(last), 0.0, slope)  # nothing rises once all rooms are used up
        price, gained, rise = _singles(slope, best, still)
        edge = far.astype(np.float32)
        end = np.where(wanted >= last, edge, t.astype(np.float32))
        price = np.where((end == edge) & (gained < 0), _closing(rise, gained, edge), price)
        return np.maximum(price, np.float32(_LEAST_PRICE)), np.asarray(moved / self._scale, np.float32), end

    def _at(self, shell: Ints, rays: _Rays | _CompiledRays | _ForcedRays, s: Array) -> tuple[Array, Array]:
        """Displacements in cost units ``[B, n]`` and t ``[B]`` at stretches ``[B]``, kept between near and far."""
        near, far = self._near[shell], self._far[shell]
        s = np.clip(s, rays.reaching(near), rays.reaching(far))
        moved = np.clip(np.minimum(s, _LONGEST)[:, None] * rays.pull, -self._down[shell], self._up[shell])
        length = np.sqrt((moved**2).sum(axis=1))
        return moved, np.clip(length, near, far)


class _Rays:
    """Pulls ``[B, n]`` with the stretches at which their rooms are used up, in that order.

    At a stretch s of segment k the squared length is ``taken_k + s^2 rest_k``, the gain ``gained_k + s rest_k``.
    """

    def __init__(self, pull: Array, up: Array, down: Array) -> None:
        self.pull = pull.astype(np.float64)
        size = np.abs(self.pull)
        room = np.where(size > 0, np.where(self.pull > 0, up, down), 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            edge = np.where(size > 0, room / size, np.inf)
        order = np.argsort(edge, axis=1)
        self._edges, rooms, sizes = (np.take_along_axis(part, order, 1) for part in (edge, room, size))
        self._taken = np.cumsum(rooms**2, axis=1) - rooms**2
        self._gained = np.cumsum(rooms * sizes, axis=1) - rooms * sizes
        self._rest = np.cumsum((sizes**2)[:, ::-1], axis=1)[:, ::-1]
        self._ends = np.minimum(self._edges, _LONGEST)
        self._reached = self._taken + self._ends**2 * self._rest

    def _pick(self, at: NDArray[np.int64], of: Array) -> Array:
        return np.asarray(np.take_along_axis(of, np.minimum(at, of.shape[1] - 1)[:, None], 1)[:, 0])

    def _open(self, at: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether a segment grows: behind the last one, or where no pull is left, nothing does."""
        return np.asarray((at < self._rest.shape[1]) & (self._pick(at, self._rest) > 0))

    def reaching(self, length: Array) -> Array:
        """The stretch at which a length ``[B]`` is reached, inf where it never is."""
        at = (self._reached < (length**2)[:, None]).sum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            s = np.sqrt(np.maximum(length**2 - self._pick(at, self._taken), 0.0) / self._pick(at, self._rest))
        return np.where(self._open(at), s, np.where(length == 0, 0.0, np.inf))

    def gaining(self, level: Array) -> Array:
        """The stretch at which a gain is reached, inf where it never is."""
        at = ((self._gained + self._ends * self._rest) < level[:, None]).sum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            s = np.maximum(level - self._pick(at, self._gained), 0.0) / self._pick(at, self._rest)
        return np.where(level <= 0, 0.0, np.where(self._open(at), s, np.inf))

    def worth(self, price: Array) -> Array:
        """The stretch at which a further unit of length gains no more than the price."""
        with np.errstate(divide="ignore", invalid="ignore"):
            steep = np.where(self._ends > 1.0 / _LONGEST, self._reached / self._ends**2, np.inf)
            at = (steep > (price**2)[:, None]).sum(axis=1)
            spare = price**2 - self._pick(at, self._rest)
            s = np.sqrt(self._pick(at, self._taken) / spare)
        s = np.where(spare > 0, np.minimum(s, self._pick(at, self._edges)), self._pick(at, self._edges))
        s = np.where(at < self._rest.shape[1], s, np.inf)
        return np.where(self._rest[:, 0] <= price**2, 0.0, s)

    def slope(self, s: Array) -> Array:
        """What a further unit of length gains at stretches ``[B]``."""
        at = (self._edges < s[:, None]).sum(axis=1)
        s = np.maximum(s, 1.0 / _LONGEST)
        inside = self._pick(at, self._taken) / s**2 + self._pick(at, self._rest)
        return np.where(at < self._rest.shape[1], np.sqrt(inside), 0.0)


class _ForcedRays:
    """The same where rooms leave the centre out, by bisection: length, gain and slope are monotone in the stretch."""

    def __init__(self, pull: Array, up: Array, down: Array) -> None:
        self.pull, self._up, self._down = pull, up, down

    def _at(self, s: Array) -> Array:
        return np.clip(s[:, None] * self.pull, -self._down, self._up)

    def _length(self, s: Array) -> Array:
        return np.asarray(np.sqrt((self._at(s) ** 2).sum(axis=1)))

    def _gain(self, s: Array) -> Array:
        return np.asarray((self.pull * self._at(s)).sum(axis=1))

    def _least(self, there: Callable[[Array], NDArray[np.bool_]]) -> Array:
        """The least stretch at which something is the case, inf where it never is."""
        low, high = np.full(self.pull.shape[0], -_DOUBLINGS), np.full(self.pull.shape[0], _DOUBLINGS)
        for _ in range(_BISECTIONS):
            middle = 0.5 * (low + high)
            some = there(np.exp2(middle))
            low, high = np.where(some, low, middle), np.where(some, middle, high)
        return np.where(there(np.exp2(high)), np.exp2(high), np.inf)

    def reaching(self, length: Array) -> Array:
        """The stretch at which a length ``[B]`` is reached, inf where it never is."""
        return self._least(lambda s: self._length(s) >= length)

    def gaining(self, level: Array) -> Array:
        """The stretch at which a gain is reached, inf where it never is."""
        return self._least(lambda s: self._gain(s) >= level)

    def worth(self, price: Array) -> Array:
        """The stretch at which a further unit of length gains no more than the price."""
        return self._least(lambda s: self._length(s) <= price * s)

    def slope(self, s: Array) -> Array:
        """What a further unit of length gains at stretches ``[B]``."""
        s = np.clip(s, np.exp2(-_DOUBLINGS), np.exp2(_DOUBLINGS))
        full = s[:, None] * np.abs(self.pull) >= np.where(self.pull > 0, self._up, self._down)
        return np.where(full.all(axis=1), 0.0, self._length(s) / s)


class _CompiledRays:
    """The same without an order: Newton steps over whole rows in C (``compiled/proving.c``)."""

    def __init__(self, module: Any, shell: Ints, pull: Array, up: Array, down: Array) -> None:
        self.pull, self._c, self._shell, self._up, self._down = pull, module, shell, up, down

    def _stretch(self, kind: int, target: Array) -> Array:
        out = np.empty(self.pull.shape[0])
        self._c.stretch(kind, self._shell, self.pull, self._up, self._down, np.ascontiguousarray(target), out)
        return out

    def reaching(self, length: Array) -> Array:
        """The stretch at which a length ``[B]`` is reached, inf where it never is."""
        return self._stretch(0, length)

    def gaining(self, level: Array) -> Array:
        """The stretch at which a gain is reached, inf where it never is."""
        return self._stretch(1, level)

    def worth(self, price: Array) -> Array:
        """The stretch at which a further unit of length gains no more than the price."""
        return self._stretch(2, price)

    def slope(self, s: Array) -> Array:
        """What a further unit of length gains at stretches ``[B]``."""
        size, stretched = np.abs(self.pull), np.maximum(s, 1.0 / _LONGEST)[:, None]
        room = np.where(self.pull > 0, self._up[self._shell], self._down[self._shell])
        with np.errstate(over="ignore", invalid="ignore"):
            full = stretched * size > room
            inside = np.where(full, (room / stretched) ** 2, size**2).sum(axis=1)
        return np.where(full.all(axis=1), 0.0, np.sqrt(inside))


def _singles(*parts: Array) -> tuple[Floats, Floats, Floats]:
    """In single precision."""
    one, two, three = (part.astype(np.float32) for part in parts)
    return one, two, three


def _crossed(slope: Floats, level: Floats, start: Floats, edges: tuple[Edge, Edge]) -> tuple[Floats, Floats]:
    """Where a line from ``start`` at ``level`` reaches 0, kept between the edges, and the price, its slope."""
    price = np.maximum(slope, np.float32(_LEAST_PRICE))
    return np.clip(start - level / price, *edges), price


def _closing(slope: Floats, level: Floats, far: Edge) -> Floats:
    """A price at which what stays below 0 up to far, where its slope is known, is twice as far away.

    What stays below by rounding alone is bounded by no tiny price, which would make that rounding large.
    """
    price: Floats = np.minimum(-level / np.maximum(far, np.float32(_LEAST_PRICE)), slope)
    return np.asarray(np.maximum(np.maximum(price, _SHARE * slope), np.float32(_LEAST_PRICE)))
