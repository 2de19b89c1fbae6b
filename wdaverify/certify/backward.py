"""Linear upper bounds by one backward pass, every rounding paid for: all that an upper bound rests on.

For one leaf (a shell, phases) and any numbers ``nu_k [m_k]``, one a hidden neuron (docs/theory.md, section 9):

    q_k = W_(k+1)^T nu_(k+1),       nu_last = the functional of the logits
    a functional of the logits - tau ||x - c||
       <=  sum_k nu_k . b_k  +  sum_k sum_i e_ki  +  max_x (W_1^T nu_1) . x - tau ||x - c||
    e = max_z  q relu(z) - nu z     over z in [l, u] and on the side that the leaf's phase allows

since ``z = W h + b`` may be added with any multiplier. ``e`` is piecewise linear: its ends and 0 decide. Pre-activation
bounds ``l, u`` are the same bound of ``+z`` and ``-z`` with ``nu`` chosen by rule (CROWN, arXiv 1811.00866) or 0 (intervals).
``nu`` is what is stored, exactly; only q is rounded, and its error is charged at the largest ``h = relu(z)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wdaverify.certify.proof import Phases
from wdaverify.network.model import Array, Block
from wdaverify.problem import Norm
from wdaverify.rounding import UNIT_ROUNDOFF, dot_error, underflow

HiddenBounds = list[tuple[Array, Array]]
"""Per hidden block ``(l, u)``, each ``[S, m]``."""
_CHUNK = 2**21
"""The most doubles that one pass holds per array."""


@dataclass(frozen=True, eq=False)
class Shells:
    """S shells ``near <= ||x - centre|| <= far`` within a box; ``up, down [S, n]`` is the room of each coordinate, rounded up."""

    norm: Norm
    centre: Array
    up: Array
    down: Array
    near: Array
    far: Array

    @classmethod
    def around(cls, norm: Norm, centre: Array, lower: Array, upper: Array, near: Array, far: Array) -> Shells:
        """Shells around ``centre [S, n]`` in the box ``lower, upper [n]``; ``near, far [S]``."""
        up = np.minimum(np.nextafter(np.maximum(upper - centre, 0.0), np.inf), far[:, None])
        down = np.minimum(np.nextafter(np.maximum(centre - lower, 0.0), np.inf), far[:, None])
        return cls(norm, centre, up, down, near, far)

    def take(self, index: NDArray[np.int64] | slice) -> Shells:
        """Those at the given positions."""
        parts = (self.centre, self.up, self.down, self.near, self.far)
        return Shells(self.norm, *(part[index] for part in parts))

    def __len__(self) -> int:
        return int(self.near.size)


class Backward:
    """Bounds of one network."""

    def __init__(self, blocks: Sequence[Block]) -> None:
        self._blocks = tuple(blocks)
        self._sizes = [block.weight.shape[0] for block in self._blocks[:-1]]
        self._edges = np.concatenate([[0], np.cumsum(self._sizes)]).astype(np.int64)
        self._absolute = [np.abs(block.weight) for block in self._blocks]

    @property
    def neurons(self) -> int:
        """The number M of hidden neurons."""
        return int(self._edges[-1])

    def pre_activations(self, shells: Shells) -> HiddenBounds:
        """``l <= z <= u`` of every hidden neuron on each shell."""
        bounds: HiddenBounds = []
        for k, size in enumerate(self._sizes):
            unit = np.concatenate([np.eye(size), -np.eye(size)])
            step = max(1, _CHUNK // (2 * size * max(self._blocks[0].weight.shape[1], *self._sizes)))
            parts = []
            for first in range(0, len(shells), step):
                piece = slice(first, first + step)
                local = [(low[piece], high[piece]) for low, high in bounds]
                some = shells.take(piece)
                none = np.zeros((len(some), self.neurons), np.int8)
                rows = np.broadcast_to(unit, (len(some), *unit.shape))
                top = self._pass(k, rows, some, local, none, None, None)
                if k > 0:
                    zeros = np.zeros((len(some), self.neurons))
                    top = np.minimum(top, self._pass(k, rows, some, local, none, zeros, None))
                parts.append(top)
            top = np.concatenate(parts)
            bounds.append((-top[:, size:], np.maximum(top[:, :size], -top[:, size:])))
        return bounds

    def leaves(
        self, functional: Array, tau: Array, shells: Shells, bounds: HiddenBounds, phases: Phases, nu: Array | None
    ) -> Array:
        """Upper bounds ``[L]`` of ``functional . f(x) - tau ||x - c||`` on leaves; -inf where a leaf is empty.

        functional ``[L, K]``, tau ``[L] >= 0``, shells and bounds one a leaf, phases ``[L, M]``, nu ``[L, M]`` (None: by rule).
        """
        step = max(1, _CHUNK // max(max(block.weight.shape) for block in self._blocks))
        out = np.empty(len(shells))
        for first in range(0, len(shells), step):
            at = slice(first, first + step)
            local = [(low[at], high[at]) for low, high in bounds]
            given = None if nu is None else nu[at]
            rows = functional[at, None, :]
            out[at] = self._pass(len(self._sizes), rows, shells.take(at), local, phases[at], given, tau[at])[:, 0]
        return out

    def _pass(
        self,
        last: int,
        nu: Array,
        shells: Shells,
        bounds: HiddenBounds,
        phases: Phases,
        given: Array | None,
        tau: Array | None,
    ) -> Array:
        """Upper bounds ``[B, R]`` of ``nu . z_last - tau ||x - c||`` with ``nu [B, R, m_last]``; given ``[B, M]``."""
        total, size, error = np.zeros(nu.shape[:2]), np.zeros(nu.shape[:2]), np.zeros(nu.shape[:2])
        empty = np.zeros(len(shells), np.bool_)
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            for k in range(last, -1, -1):
                block, weights = self._blocks[k], np.abs(nu)
                total, size = total + nu @ block.bias, size + weights @ np.abs(block.bias)
                error = error + 2 * (weights @ block.bias_error)
                q = nu @ block.weight
                slip = weights @ (dot_error(nu.shape[-1] + 2) * self._absolute[k] + 2 * block.weight_error)
                slip = slip + underflow(nu.shape[-1])
                if k == 0:
                    break
                span = slice(int(self._edges[k - 1]), int(self._edges[k]))
                low, high, vacant = _allowed(bounds[k - 1], phases[:, span])
                empty |= vacant
                nu = _by_rule(q, low, high) if given is None else _repeat(given[:, span], q)
                gain, rounded = _gain(q, nu, low, high)
                total, size = total + gain.sum(-1), size + np.abs(gain).sum(-1)
                error = error + rounded.sum(-1) + (slip * np.maximum(high, 0.0)[:, None, :]).sum(-1)
            top, spread = _peak(q, slip, shells, tau)
            rounding = dot_error(4 * (sum(self._sizes) + self._blocks[0].weight.shape[1]) + 8) * (size + spread)
            bound = (
                total
                + top
                + 1.001 * (error + rounding)
                + underflow(4 * (self.neurons + self._blocks[0].weight.shape[1]))
            )
        bound = np.where(np.isfinite(bound), bound, np.inf)
        return np.where(empty[:, None], -np.inf, bound)


def _repeat(given: Array, like: Array) -> Array:
    return np.broadcast_to(given[:, None, :], like.shape)


def _allowed(bounds: tuple[Array, Array], phases: Phases) -> tuple[Array, Array, NDArray[np.bool_]]:
    """``[l, u]`` cut to the side of the phase, each ``[B, m]``, and whether that leaves nothing for some neuron ``[B]``."""
    low = np.where(phases > 0, np.maximum(bounds[0], 0.0), bounds[0])
    high = np.where(phases < 0, np.minimum(bounds[1], 0.0), bounds[1])
    vacant = low > high
    return np.minimum(low, high), np.maximum(low, high), np.asarray(vacant.any(axis=1))


def _by_rule(q: Array, low: Array, high: Array) -> Array:
    """``nu [B, R, m]``: q where active, 0 where dead; else along the chord if q > 0, along the nearer side if not."""
    low, high = low[:, None, :], high[:, None, :]
    chord = high / np.where(high > low, high - low, 1.0)
    line = np.where(q > 0, chord, np.where(high > -low, 1.0, 0.0))
    slope = np.where(low >= 0, 1.0, np.where(high <= 0, 0.0, line))
    return np.asarray(q * slope)


def _gain(q: Array, nu: Array, low: Array, high: Array) -> tuple[Array, Array]:
    """``e = max q relu(z) - nu z`` over ``[low, high]`` and what computing it may have rounded, both ``[B, R, m]``."""
    low, high = low[:, None, :], high[:, None, :]
    bottom = q * np.maximum(low, 0.0) - nu * low
    top = q * np.maximum(high, 0.0) - nu * high
    gain = np.maximum(bottom, top)
    gain = np.where((low < 0) & (high > 0), np.maximum(gain, 0.0), gain)
    size = np.maximum(np.abs(low), np.abs(high))
    return gain, 4 * UNIT_ROUNDOFF * (np.abs(q) + np.abs(nu)) * size


def _peak(q: Array, slip: Array, shells: Shells, tau: Array | None) -> tuple[Array, Array]:
    """``max q.x - tau ||x - c||`` over the shell ``[B, R]``, and the sizes that its rounding grows with.

    Weak duality in ``t = ||x - c||``: with the room ``r_k`` of coordinate k in the direction of ``q_k``, for any
    ``0 <= m_k <= |q_k|`` (l-inf) or any mu (l1, where p - q' = x - c and sum (p + q') = t),

        l-inf:  q.c + sum (|q_k| - m_k) r_k                                      + max_(near <= t <= far) (sum m_k - tau) t
        l1:     q.c + sum max(q_k - mu, 0) up_k + max(-q_k - mu, 0) down_k       + max_(near <= t <= far) (mu - tau) t
    """
    near, far = shells.near[:, None], shells.far[:, None]
    price = np.zeros_like(near) if tau is None else tau[:, None]
    centre, size = shells.centre[:, None, :], np.abs(q)
    up, down = np.broadcast_to(shells.up[:, None, :], q.shape), np.broadcast_to(shells.down[:, None, :], q.shape)
    if shells.norm is Norm.INF:
        room = np.where(q > 0, up, down)
        share = np.zeros_like(size) if tau is None else _shares(size, room, price, near)
        paid, kept = share.sum(-1), ((size - share) * room).sum(-1)
    else:
        pulls, room = np.concatenate([q, -q], axis=-1), np.concatenate([up, down], axis=-1)
        paid = _threshold(pulls, room, price, near, far)
        kept = (np.maximum(pulls - paid[..., None], 0.0) * room).sum(-1)
    rate = paid - price
    travel = np.where(rate > 0, rate * far, rate * near)
    reach = np.maximum(up, down)
    lost = (slip * (np.abs(centre) + reach)).sum(-1)
    spread = (size * np.abs(centre)).sum(-1) + (3 * size * reach).sum(-1) + 3 * kept + (2 * np.abs(paid) + price) * far
    return (q * centre).sum(-1) + kept + travel + 1.001 * lost, spread


def _shares(size: Array, room: Array, price: Array, near: Array) -> Array:
    """Roomiest coordinates first are charged to the distance until the price is used up; none with less room than near."""
    order = np.argsort(-room, axis=-1, kind="stable")
    sizes = np.take_along_axis(size, order, -1)
    before = np.cumsum(sizes, axis=-1) - sizes
    filled = np.clip(price[..., None] - before, 0.0, sizes)
    share = np.zeros_like(size)
    np.put_along_axis(share, order, filled, -1)
    return np.where(room > near[..., None], np.minimum(share, size), 0.0)


def _threshold(pulls: Array, room: Array, price: Array, near: Array, far: Array) -> Array:
    """The price ``mu [B, R]`` of distance at which the pulls beyond it take up the room that the price asks for."""
    order = np.argsort(-pulls, axis=-1, kind="stable")
    sizes, reached = np.take_along_axis(pulls, order, -1), np.cumsum(np.take_along_axis(room, order, -1), axis=-1)

    def slope(distance: Array) -> Array:
        at = (reached < distance[..., None]).sum(-1, keepdims=True)
        return np.asarray(np.take_along_axis(sizes, np.minimum(at, pulls.shape[-1] - 1), -1)[..., 0])

    return np.maximum(slope(far), np.minimum(price, slope(near)))
