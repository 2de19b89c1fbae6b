"""Where a linear functional less the price of moving is largest within a shell, in single precision: it steers, and proves nothing.

    max  q . d - price t^p     over  |d_k| <= room of k,  ||d|| <= t,  near <= t <= far

l-inf: for a given t every coordinate takes min(t, its room), so the value is concave in t and bends only where t passes a
room. l1: the dearest coordinates first, until the price is no longer worth it. Distances in units of the cost.

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
        case _:
            return None


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


def _crossed(
    slope: Floats, level: Floats, start: Floats, edges: tuple[np.float32, np.float32]
) -> tuple[Floats, Floats]:
    """Where a line from ``start`` at ``level`` reaches 0, kept between the edges, and the price, its slope."""
    price = np.maximum(slope, np.float32(_LEAST_PRICE))
    return np.clip(start - level / price, *edges), price


def _closing(slope: Floats, level: Floats, far: np.float32) -> Floats:
    """A price at which what stays below 0 up to far, where its slope is known, is twice as far away."""
    price: Floats = np.minimum(-level / np.maximum(far, np.float32(_LEAST_PRICE)), slope)
    return np.maximum(price, np.float32(_LEAST_PRICE))
