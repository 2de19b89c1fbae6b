"""The last step of a backward pass: a linear functional of the input less the price of moving, over a shell.

In cost units (``d_k`` times the weight of feature k) and for any vector m, weak duality in ``t = ||d||`` gives

    max q.d - tau t^p  <=  sum_k max (q_k - m_k) d_k over the room of k   +   max_(near <= t <= far) ||m||_* t - tau t^p

so the choice of m decides how tight the bound is, never whether it holds. At the optimum m is the share of q that the
distance pays for:

    l-inf   roomiest coordinates first, until sum |m_k| is the slope of the price
    l1      |m_k| up to the slope of the price
    l2      m_k = clip(s q_k, room) / s,  s such that ||m|| is the slope of the price
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from wdaverify.ground import GroundCost, Norm, euclidean
from wdaverify.network.model import Array
from wdaverify.rounding import SMALLEST_SUBNORMAL, dot_error, underflow

_BISECTIONS = 60
_SURELY = 2.0**-30
"""More than what a distance may be rounded by, of it."""


@dataclass(frozen=True, eq=False)
class Shells:
    """S shells ``near <= ||x - centre|| <= far`` within a box.

    ``up, down [S, n]`` is the room of each coordinate, rounded up; one is negative where the box leaves the centre out.
    """

    cost: GroundCost
    centre: Array
    up: Array
    down: Array
    near: Array
    far: Array

    @classmethod
    def around(cls, cost: GroundCost, centre: Array, lower: Array, upper: Array, near: Array, far: Array) -> Shells:
        """Shells around ``centre [S, n]`` in the box ``lower, upper [n]``; ``near, far [S]``."""
        reach = np.broadcast_to(far[:, None], centre.shape)
        if cost.weights is not None:
            reach = np.nextafter(reach / cost.scale(centre.shape[1]), np.inf)
            reach = np.where(cost.fixed(centre.shape[1]), 0.0, reach)
        up = np.minimum(np.nextafter(np.maximum(upper - centre, 0.0), np.inf), reach)
        down = np.minimum(np.nextafter(np.maximum(centre - lower, 0.0), np.inf), reach)
        return cls(cost, centre, up, down, near, far)

    @classmethod
    def stacked(cls, parts: Sequence[Shells]) -> Shells:
        """Shells of one cost, one after the other."""
        up, down, centre = (
            np.concatenate(some) for some in zip(*((s.up, s.down, s.centre) for s in parts), strict=True)
        )
        near, far = (np.concatenate(some) for some in zip(*((s.near, s.far) for s in parts), strict=True))
        return cls(parts[0].cost, centre, up, down, near, far)

    def take(self, index: NDArray[np.int64] | slice) -> Shells:
        """Those at the given positions."""
        parts = (self.centre, self.up, self.down, self.near, self.far)
        out = Shells(self.cost, *(part[index] for part in parts))
        vars(out)["gone"] = self.gone[index]
        return out

    @cached_property
    def gone(self) -> NDArray[np.bool_]:
        """``unreachable``, computed once: those that are taken from these have it from here."""
        return unreachable(self)

    def within(self, lower: Array, upper: Array) -> Shells:
        """Each cut to a box of its own, ``lower, upper [S, n]``, which may leave its centre out: then its points are not as near."""
        up = np.minimum(self.up, np.nextafter(upper - self.centre, np.inf))
        down = np.minimum(self.down, np.nextafter(self.centre - lower, np.inf))
        with np.errstate(over="ignore", under="ignore"):
            least = _size(self.cost.norm, np.maximum(np.maximum(-up, -down), 0.0) * self.cost.scale(up.shape[1]))
        near = np.maximum(self.near, least * (1 - _SURELY) - underflow(up.shape[1]))
        return Shells(self.cost, self.centre, up, down, np.minimum(near, self.far), self.far)

    def __len__(self) -> int:
        return int(self.near.size)


@dataclass(frozen=True, eq=False)
class Price:
    """``tau [B]`` a unit of ``||x - c||^power``, and multipliers ``rho [B, r]`` of the support's rows (None: 0)."""

    tau: Array
    power: int
    rho: Array | None


@dataclass(frozen=True, eq=False)
class _Shell:
    """Shells in cost units: up, down ``[B, 1, n]``; near, far ``[B, 1]``."""

    up: Array
    down: Array
    near: Array
    far: Array
    forced: NDArray[np.bool_] | None
    """Coordinates whose room leaves 0 out, if any."""


def dot(rows: Array, points: Array) -> Array:
    """``rows . points`` ``[B, R]`` of rows ``[B, R, n]`` and points ``[B, 1, n]``."""
    out: Array = rows @ points.transpose(0, 2, 1)
    return out[..., 0]


def largest(shells: Shells) -> Array:
    """The largest ``|x_k|`` on each shell, ``[B, 1, n]``, roughly."""
    return np.asarray(np.abs(shells.centre) + np.maximum(np.abs(shells.up), np.abs(shells.down)))[:, None, :]


Stretch = Callable[[Array, Array, Array, Array, Array, Array, int], Array]
"""From pulls ``[B, R, n]``, up, down ``[B, n]``, near, far, tau ``[B]`` and power to a stretch of l2 ``[B, R]``, any above 0."""


def peak(
    q: Array, slip: Array | None, shells: Shells, price: Price | None, stretch: Stretch | None = None
) -> tuple[Array, Array]:
    """``max q.x`` less the price over the shells ``[B, R]``, and the sizes that its rounding grows with.

    q ``[B, R, n]`` is known up to ``slip`` (None: paid for); without a price only the shell counts. ``stretch`` chooses l2's in
    the place of what is here.
    """
    away = np.asarray(((shells.up < 0) | (shells.down < 0)).any(axis=1))
    if 0 < away.sum() < away.size:  # the others are as if these were not beside them
        return _apart(away, q, slip, shells, price, stretch)
    tau = np.zeros((len(shells), 1)) if price is None else price.tau[:, None]
    power = 1 if price is None else price.power
    free = price is None or not price.tau.any()
    centre, size = shells.centre[:, None, :], np.abs(q)
    shell, pull = _in_cost_units(q, shells)
    slope = _slope(shells.cost.norm, pull, shell, tau) if power == 2 else tau
    match shells.cost.norm:
        case Norm.INF:
            paid, kept = _shared(pull, shell, slope, free=free)
        case Norm.ONE:
            paid, kept = _capped(pull, shell, slope)
        case Norm.TWO:
            paid, kept = _scaled(pull, shell, tau, power, stretch)
    far, travel = shell.far, _travel(paid, shell, tau, power)
    reach = np.maximum(np.abs(shells.up), np.abs(shells.down))[:, None, :]
    if shells.cost.weights is not None:  # dividing by them lost to underflow
        less = SMALLEST_SUBNORMAL * shells.cost.scale(q.shape[-1])[None, None]
        slip = less if slip is None else slip + less
    lost = 0.0 if slip is None else dot(slip, largest(shells))
    moved = 3 * dot(size, reach) + 3 * np.abs(kept) + 3 * np.abs(paid) * far
    spread = dot(size, np.abs(centre)) + 2 * moved + 2 * (tau * far if power == 1 else tau * far * far)
    return dot(q, centre) + kept + travel + 1.001 * lost, spread


def _apart(
    away: NDArray[np.bool_],
    q: Array,
    slip: Array | None,
    shells: Shells,
    price: Price | None,
    stretch: Stretch | None,
) -> tuple[Array, Array]:
    """The same of some shells and of the others ``[S]``, each among themselves."""
    out = np.empty(q.shape[:2]), np.empty(q.shape[:2])
    for at in (np.flatnonzero(away), np.flatnonzero(~away)):
        rho = None if price is None or price.rho is None else price.rho[at]
        paid = None if price is None else Price(price.tau[at], price.power, rho)
        lost = None if slip is None else np.broadcast_to(slip, q.shape)[at]
        for whole, some in zip(out, peak(q[at], lost, shells.take(at), paid, stretch), strict=True):
            whole[at] = some
    return out


def unreachable(shells: Shells) -> NDArray[np.bool_]:
    """Whether every point of the box is nearer than near or farther than far, or there is none, ``[S]``."""
    n, norm = shells.up.shape[1], shells.cost.norm
    with np.errstate(under="ignore", over="ignore"):
        scale = shells.cost.scale(n)
        most = _size(norm, np.maximum(np.abs(shells.up), np.abs(shells.down)) * scale)
        least = _size(norm, np.maximum(np.maximum(-shells.up, -shells.down), 0.0) * scale)
        error = dot_error(n + 8)
        short = most * (1 + error) + underflow(n) < shells.near
        beyond = least * (1 - error) - underflow(n) > shells.far
        empty = (shells.up < -shells.down).any(axis=1)  # rooms are rounded up: where they cross they do
        return np.asarray(short | (beyond & np.isfinite(least)) | empty)


def _size(norm: Norm, moves: Array) -> Array:
    """The norm of moves ``[..., n]``, none below 0."""
    match norm:
        case Norm.INF:
            return np.asarray(moves.max(axis=-1, initial=0.0))
        case Norm.ONE:
            return np.asarray(moves.sum(axis=-1))
        case Norm.TWO:
            return euclidean(moves)


def _travel(paid: Array, shell: _Shell, tau: Array, power: int) -> Array:
    """``max paid t - tau t^power`` over the shell, ``[B, R]``."""
    if power == 1:
        rate = paid - tau
        return np.where(rate > 0, rate * shell.far, rate * shell.near)
    with np.errstate(divide="ignore", invalid="ignore"):
        best = np.where(tau > 0, 0.5 * paid / tau, np.where(paid > 0, np.inf, 0.0))  # twice tau may overflow
    at = np.clip(best, shell.near, shell.far)
    return np.asarray(paid * at - tau * at * at)


def _in_cost_units(q: Array, shells: Shells) -> tuple[_Shell, Array]:
    """The shells and the pulls ``[B, R, n]`` of the functionals on ``d_k`` times its weight."""
    up, down, near, far, pull = shells.up, shells.down, shells.near[:, None], shells.far[:, None], q
    if shells.cost.weights is not None:
        scale = shells.cost.scale(q.shape[-1])
        up, down, pull = np.nextafter(up * scale, np.inf), np.nextafter(down * scale, np.inf), q / scale
    forced = (up < 0) | (down < 0)
    some = bool(forced.any())
    return _Shell(up[:, None, :], down[:, None, :], near, far, forced[:, None, :] if some else None), pull


def _slope(norm: Norm, pull: Array, shell: _Shell, tau: Array) -> Array:
    """``2 tau t`` at the distance t where the pull that is left equals it: the slope of ``tau t^2`` at the optimum."""
    size, (forced, up, down) = np.abs(pull), _beyond(shell)
    room = np.maximum(np.where(pull > 0, shell.up, shell.down), 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        if norm is Norm.INF:
            order = np.argsort(-room, axis=-1, kind="stable")
            sums = np.cumsum(np.take_along_axis(size, order, -1), axis=-1)
            crossing = np.minimum(sums / (2 * tau[..., None]), np.take_along_axis(room, order, -1))
        else:
            order = np.argsort(-size, axis=-1, kind="stable")
            room = np.where(pull > 0, up, down)
            reached = forced[..., None] + np.cumsum(np.take_along_axis(room, order, -1), axis=-1)
            crossing = np.minimum(np.take_along_axis(size, order, -1) / (2 * tau[..., None]), reached)
    at = np.clip(np.nan_to_num(crossing, nan=0.0).max(-1, initial=0.0), shell.near, shell.far)
    return np.asarray(2 * tau * at)


def _beyond(shell: _Shell) -> tuple[Array, Array, Array]:
    """How far rooms that leave the centre out force l1 to go, ``[B, 1]``, and what is left of both rooms beyond it."""
    if shell.forced is None:
        return np.zeros((1, 1)), shell.up, shell.down
    total = (np.maximum(-shell.up, 0.0) + np.maximum(-shell.down, 0.0)).sum(-1)
    up, down = shell.up + np.minimum(shell.down, 0.0), shell.down + np.minimum(shell.up, 0.0)
    return total, np.maximum(up, 0.0), np.maximum(down, 0.0)


def _shared(pull: Array, shell: _Shell, slope: Array, *, free: bool) -> tuple[Array, Array]:
    """l-inf: what the distance pays ``[B, R]``, and what is kept."""
    if free:
        kept = dot(np.maximum(pull, 0.0), shell.up) - dot(np.minimum(pull, 0.0), shell.down)
        return np.zeros_like(kept), kept
    size, room = np.abs(pull), np.where(pull > 0, shell.up, shell.down)
    share = _shares(size, room, slope, shell.near)
    return share.sum(-1), ((size - share) * room).sum(-1)


def _shares(size: Array, room: Array, slope: Array, near: Array) -> Array:
    """Roomiest coordinates first are charged to the distance until the slope is used up; none with less room than near.

    Only where neither the roomiest ones nor all together decide it does the order of the others matter.
    """
    roomiest = np.where(room >= room.max(axis=-1, keepdims=True), size, 0.0)
    most, total, price = roomiest.sum(-1), size.sum(-1), np.broadcast_to(slope, size.shape[:2])
    enough = (most >= price) & (most > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(enough[..., None], roomiest * np.where(enough, price / most, 0.0)[..., None], size)
    some = ~enough & ~(total <= price)
    if some.any():
        share[some] = _in_order(size[some], room[some], price[some])
    return np.where(room > near[..., None], np.minimum(share, size), 0.0)


def _in_order(size: Array, room: Array, slope: Array) -> Array:
    """The shares ``[C, n]``, roomiest coordinates first."""
    order = np.argsort(-room, axis=-1, kind="stable")
    sizes = np.take_along_axis(size, order, -1)
    before = np.cumsum(sizes, axis=-1) - sizes
    share = np.zeros_like(size)
    np.put_along_axis(share, order, np.clip(slope[..., None] - before, 0.0, sizes), -1)
    return share


def _capped(pull: Array, shell: _Shell, slope: Array) -> tuple[Array, Array]:
    """l1: ``mu``, the price of distance, and what the pulls beyond it keep; forced moves pay it too."""
    forced, up, down = _beyond(shell)
    pulls, room = np.concatenate([pull, -pull], axis=-1), np.concatenate([up, down], axis=-1)
    paid = _threshold(pulls, room, slope, shell.near - forced, shell.far - forced)
    if shell.forced is None:
        return paid, dot(np.maximum(pulls - paid[..., None], 0.0), room)
    rise, fall = pull - paid[..., None], -pull - paid[..., None]
    free = np.maximum(rise, 0.0) * shell.up + np.maximum(fall, 0.0) * shell.down
    above = np.maximum(rise * shell.up, -rise * shell.down)
    below = np.maximum(fall * shell.down, -fall * shell.up)
    return paid, np.where(shell.down < 0, above, np.where(shell.up < 0, below, free)).sum(-1)


def _kept(rest: Array, shell: _Shell) -> Array:
    """``sum_k max rest_k d_k`` over the rooms."""
    return np.asarray(np.maximum(rest * shell.up, -rest * shell.down).sum(-1))


def _threshold(pulls: Array, room: Array, price: Array, near: Array, far: Array) -> Array:
    """The price ``mu [B, R]`` of distance at which the pulls beyond it take up the room that the price asks for."""
    order = np.argsort(-pulls, axis=-1, kind="stable")
    sizes, reached = np.take_along_axis(pulls, order, -1), np.cumsum(np.take_along_axis(room, order, -1), axis=-1)

    def slope(distance: Array) -> Array:
        at = (reached < distance[..., None]).sum(-1, keepdims=True)
        return np.asarray(np.take_along_axis(sizes, np.minimum(at, pulls.shape[-1] - 1), -1)[..., 0])

    return np.maximum(slope(far), np.minimum(price, slope(near)))


def _scaled(pull: Array, shell: _Shell, tau: Array, power: int, stretch: Stretch | None) -> tuple[Array, Array]:
    """l2: ``||m||``, rounded up, for ``m = clip(s pull, room) / s``, and what is kept."""
    if shell.forced is not None:
        s = _searched(pull, shell, tau, power)[..., None]
    elif stretch is None:
        s = _stretch(pull, shell, tau, power)[..., None]
    else:
        sides = shell.up[:, 0], shell.down[:, 0], shell.near[:, 0], shell.far[:, 0]
        s = np.clip(stretch(pull, *sides, tau[:, 0], power), 1e-100, 1e100)[..., None]
    m = np.clip(s * pull, -shell.down, shell.up) / s
    n = pull.shape[-1]
    paid = euclidean(m) * (1 + dot_error(n + 4)) + underflow(1)
    return paid, _kept(pull - m, shell)


def _stretch(pull: Array, shell: _Shell, tau: Array, power: int) -> Array:
    """The ``s`` at which ``||m(s)||`` is the slope of the price, or at which ``||s m(s)||`` is near or far; ``[B, R]``."""
    size, room = np.abs(pull), np.where(pull > 0, shell.up, shell.down)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        edge = np.where(size > 0, room / size, np.inf)
        order = np.argsort(edge, axis=-1, kind="stable")
        edges, rooms, sizes = (np.take_along_axis(v, order, -1) for v in (edge, room, size))
        taken = np.cumsum(rooms**2, axis=-1) - rooms**2
        left = np.cumsum((sizes**2)[..., ::-1], axis=-1)[..., ::-1]
        reached = taken + np.where(left > 0, edges**2 * left, 0.0)
        last = pull.shape[-1] - 1

        def at(index: Array, of: Array) -> Array:
            return np.asarray(np.take_along_axis(of, np.minimum(index, last)[..., None], -1)[..., 0])

        def reaching(distance: Array) -> Array:
            index = (reached < (distance**2)[..., None]).sum(-1)
            more = np.maximum(distance**2 - at(index, taken), 0.0)
            rest = at(index, left)
            return np.asarray(np.where((index > last) | (rest <= 0), np.inf, np.sqrt(more / rest)))

        if power == 2:
            wanted = np.broadcast_to(np.where(tau > 0, 1 / (2 * tau), np.inf), size.shape[:2])
        else:
            steep = np.where(edges > 1e-150, reached / edges**2, np.inf)
            index = (steep > (tau**2)[..., None]).sum(-1)
            spare = tau**2 - np.where(index > last, 0.0, at(index, left))
            total = np.where(index > last, (rooms**2).sum(-1), at(index, taken))
            wanted = np.where(spare > 0, np.sqrt(total / spare), np.inf)
            wanted = np.where(index > last, wanted, np.minimum(wanted, at(index, edges)))
            wanted = np.where((sizes**2).sum(-1) <= tau**2, 0.0, wanted)
        s = np.clip(np.nan_to_num(wanted, nan=0.0, posinf=1e100), reaching(shell.near), reaching(shell.far))
    return np.asarray(np.clip(np.nan_to_num(s, nan=0.0, posinf=1e100), 1e-100, 1e100))


def _searched(pull: Array, shell: _Shell, tau: Array, power: int) -> Array:
    """The same by bisection, where rooms leave the centre out."""
    low, high = np.full(pull.shape[:2], 1e-12), np.full(pull.shape[:2], 1e12)
    for _ in range(_BISECTIONS):
        s = np.sqrt(low * high)
        length = np.sqrt((np.clip(s[..., None] * pull, -shell.down, shell.up) ** 2).sum(-1))
        steep = length / s > (2 * tau * length if power == 2 else tau)
        more = (steep | (length < shell.near)) & (length < shell.far)
        low, high = np.where(more, s, low), np.where(more, high, s)
    return np.asarray(np.sqrt(low * high))
