"""Where a linear functional less the price of moving is largest within a shell, in single precision: it steers, and proves nothing.

    max  q . d - price t^p     over  |d_k| <= room of k,  ||d|| <= t,  near <= t <= far

l-inf: for a given t every coordinate takes min(t, its room), so the value is concave in t and bends only where t passes a
room. l1: the dearest coordinates first, until the price is no longer worth it. l2: every coordinate takes s times its pull, up to its
room, for an s that grows with t; what a further unit of t gains is t / s. Distances in units of the cost.

The same curve tells how near the centre ``q . d + level`` can be 0, and at which price that t is the best one.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from wdaverify.certify.backward import Shells
from wdaverify.ground import Norm
from wdaverify.network.model import Array

Floats = NDArray[np.float32]

_LEAST_PRICE = 1e-6
"""Prices are kept from 0: bounds are divided by them."""
_CLOSE = 1e-6
"""Values of t that are closer than this share of far are one."""
_SHARE = np.float32(2.0**-4)
"""The least share of the slope that a price is, where rooms are left."""
_LONGEST = 1e60
"""A stretch beyond this is all there is."""
_BENDS = 64
"""The most values of t that are tried; where rooms bend at more places, these are spread over them."""


class Peak(Protocol):
    """The largest value ``[B]``, where it is attained (displacement ``[B, n]``) and at which t ``[B]``; q ``[B, n]``, price ``[B]``."""

    def __call__(self, q: Floats, price: Floats) -> tuple[Floats, Floats, Floats]:
        """Solve a batch."""
        ...

    def crossing(self, q: Floats, level: Floats) -> tuple[Floats, Floats, Floats]:
        """The price ``[B]`` at which ``-max (q . d + level - price t) / price`` is largest, a displacement ``[B, n]`` and t that attain it.

        It is the least t at which ``q . d + level`` reaches 0, where that is between near and far; else some price at which
        it is less than near or more than far. Power 1 alone.
        """
        ...


def peak_of(shell: Shells, power: int) -> Peak | None:
    """The peak over one shell; None where there is none for its norm, or the box leaves the centre out."""
    if (shell.up < 0).any() or (shell.down < 0).any():
        return None
    scale = shell.cost.scale(shell.up.shape[1])
    parts = shell.up[0] * scale, shell.down[0] * scale, float(shell.near[0]), float(shell.far[0]), power
    match shell.cost.norm:
        case Norm.INF:
            return _Cube(scale, *parts)
        case Norm.ONE:
            return _Cross(scale, *parts)
        case Norm.TWO:
            return _Ball(scale, *parts)


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


class _Cross:
    """l1: coordinates in the order of their pull, as far as it exceeds the price."""

    def __init__(self, scale: Array, up: Array, down: Array, near: float, far: float, power: int) -> None:
        self._scale = scale.astype(np.float32)
        self._up, self._down = up.astype(np.float32), down.astype(np.float32)
        self._near, self._far, self._power = np.float32(near), np.float32(far), power

    def _dearest(self, q: Floats) -> tuple[Floats, NDArray[np.int64], Floats, Floats]:
        """Pulls per unit of cost; the order that puts the dearest first, the sizes of the pulls and the rooms in it, ``[B, n]``."""
        pull = q / self._scale
        size, room = np.abs(pull), np.where(pull > 0, self._up, self._down)
        order = np.argsort(-size, axis=1)
        return pull, order, np.take_along_axis(size, order, 1), np.take_along_axis(room, order, 1)

    def __call__(self, q: Floats, price: Floats) -> tuple[Floats, Floats, Floats]:
        pull, order, sizes, rooms = self._dearest(q)
        reached = np.cumsum(rooms, axis=1)
        worth = sizes > (price[:, None] if self._power == 1 else 2 * price[:, None] * (reached - rooms))
        last = worth.sum(axis=1)
        at = np.maximum(last - 1, 0)[:, None]
        t = np.where(last > 0, np.take_along_axis(reached, at, 1)[:, 0], np.float32(0))
        if self._power == 2:
            with np.errstate(divide="ignore", invalid="ignore"):
                best = np.take_along_axis(sizes, at, 1)[:, 0] / (2 * price)
            t = np.where(price > 0, np.minimum(t, best), t)
        t = np.clip(t, self._near, self._far)
        taken = np.clip(t[:, None] - (reached - rooms), 0, rooms)
        value = (sizes * taken).sum(axis=1) - price * t**self._power
        moved = np.empty_like(sizes)
        np.put_along_axis(moved, order, taken, 1)
        return value, np.asarray(np.where(pull > 0, moved, -moved) / self._scale, np.float32), t

    def crossing(self, q: Floats, level: Floats) -> tuple[Floats, Floats, Floats]:
        pull, order, sizes, rooms = self._dearest(q)
        reached = np.cumsum(rooms, axis=1)
        gained = np.cumsum(sizes * rooms, axis=1) + level[:, None]
        at = np.minimum((gained < 0).sum(axis=1), sizes.shape[1] - 1)
        near, far = (((reached - rooms) <= edge).sum(axis=1) - 1 for edge in (self._near, self._far))
        at = np.clip(at, near, far)[:, None]
        slope, used, end, top = (np.take_along_axis(part, at, 1)[:, 0] for part in (sizes, rooms, reached, gained))
        t, price = _crossed(slope, top - slope * used, end - used, (self._near, self._far))
        below = top - slope * np.maximum(end - self._far, 0) < 0
        t = np.where(below, self._far, t)
        taken = np.clip(t[:, None] - (reached - rooms), 0, rooms)
        moved = np.empty_like(sizes)
        np.put_along_axis(moved, order, taken, 1)
        best = (sizes * taken).sum(axis=1) + level
        still = np.where(reached[:, -1] < self._far, np.float32(0), slope)  # nothing rises once all rooms are used up
        price = np.where(below, _closing(still, best, self._far), price)
        return price, np.asarray(np.where(pull > 0, moved, -moved) / self._scale, np.float32), t


class _Ball:
    """l2: coordinates in the order in which a common stretch s of all pulls uses up their rooms."""

    def __init__(self, scale: Array, up: Array, down: Array, near: float, far: float, power: int) -> None:
        self._scale, self._up, self._down = scale, up, down
        self._near, self._far, self._power = near, far, power

    def __call__(self, q: Floats, price: Floats) -> tuple[Floats, Floats, Floats]:
        rays, dear = _Rays(q / self._scale, self._up, self._down), price.astype(np.float64)
        with np.errstate(divide="ignore"):
            wanted = 0.5 / dear if self._power == 2 else rays.worth(dear)
        moved, t = self._at(rays, wanted)
        value = (rays.pull * moved).sum(axis=1) - dear * t**self._power
        return _singles(value, moved / self._scale, t)

    def crossing(self, q: Floats, level: Floats) -> tuple[Floats, Floats, Floats]:
        rays, start = _Rays(q / self._scale, self._up, self._down), level.astype(np.float64)
        wanted = rays.gaining(-start)
        last = rays.reaching(self._far)
        moved, t = self._at(rays, wanted)
        s = np.clip(wanted, rays.reaching(self._near), last)
        slope = rays.slope(s)
        best = (rays.pull * moved).sum(axis=1) + start
        still = np.where(np.isinf(last), 0.0, slope)  # nothing rises once all rooms are used up
        price, gained, rise = _singles(slope, best, still)
        edge = np.float32(self._far)
        end = np.where(wanted >= last, edge, t.astype(np.float32))
        price = np.where((end == edge) & (gained < 0), _closing(rise, gained, edge), price)
        return np.maximum(price, np.float32(_LEAST_PRICE)), np.asarray(moved / self._scale, np.float32), end

    def _at(self, rays: _Rays, s: Array) -> tuple[Array, Array]:
        """Displacements in cost units ``[B, n]`` and t ``[B]`` at stretches ``[B]``, kept between near and far."""
        s = np.clip(s, rays.reaching(self._near), rays.reaching(self._far))
        moved = np.clip(np.minimum(s, _LONGEST)[:, None] * rays.pull, -self._down, self._up)
        length = np.sqrt((moved**2).sum(axis=1))
        return moved, np.clip(length, self._near, self._far)


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

    def reaching(self, length: float) -> Array:
        """The stretch at which a length is reached, inf where it never is."""
        at = (self._reached < length**2).sum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            s = np.sqrt(np.maximum(length**2 - self._pick(at, self._taken), 0.0) / self._pick(at, self._rest))
        return np.where(self._open(at), s, 0.0 if length == 0 else np.inf)

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


def _singles(*parts: Array) -> tuple[Floats, Floats, Floats]:
    """In single precision."""
    one, two, three = (part.astype(np.float32) for part in parts)
    return one, two, three


def _crossed(
    slope: Floats, level: Floats, start: Floats, edges: tuple[np.float32, np.float32]
) -> tuple[Floats, Floats]:
    """Where a line from ``start`` at ``level`` reaches 0, kept between the edges, and the price, its slope."""
    price = np.maximum(slope, np.float32(_LEAST_PRICE))
    return np.clip(start - level / price, *edges), price


def _closing(slope: Floats, level: Floats, far: np.float32) -> Floats:
    """A price at which what stays below 0 up to far, where its slope is known, is twice as far away.

    What stays below by rounding alone is bounded by no tiny price, which would make that rounding large.
    """
    price: Floats = np.minimum(-level / np.maximum(far, np.float32(_LEAST_PRICE)), slope)
    return np.asarray(np.maximum(np.maximum(price, _SHARE * slope), np.float32(_LEAST_PRICE)))
