"""Linear upper bounds by one backward pass, every rounding paid for: all that an upper bound rests on.

For one leaf (a shell, phases) and any numbers ``nu_k [m_k]``, one a hidden neuron (docs/theory.md, section 9):

    q_k = W_(k+1)^T nu_(k+1),       nu_last = the functional of the logits
    a functional of the logits - tau ||x - c||^p
       <=  sum_k nu_k . b_k  +  sum_k sum_i e_ki  +  max_x (W_1^T nu_1) . x - tau ||x - c||^p
    e = max_z  q relu(z) - nu z     over z in [l, u] and on the side that the leaf's phase allows

since ``z = W h + b`` may be added with any multiplier. ``e`` is piecewise linear: its ends and 0 decide. Pre-activation
bounds ``l, u`` are the same bound of ``+z`` and ``-z`` with ``nu`` chosen by rule (CROWN, arXiv 1811.00866) or 0 (intervals).
The rule has no jump (``lower_slope``), so that whoever follows it finds the same bounds, however they round.
``nu`` is what is stored, exactly; only q is rounded, and its error is charged at the largest ``h = relu(z)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wdaverify.certify.peak import Price, Shells, peak, unreachable
from wdaverify.certify.proof import Phases
from wdaverify.ground import LinearRows
from wdaverify.network.model import Array, Block
from wdaverify.rounding import UNIT_ROUNDOFF, dot_error, underflow

__all__ = ["Backward", "HiddenBounds", "Lines", "Shells"]

HiddenBounds = list[tuple[Array, Array]]
"""Per hidden block ``(l, u)``, each ``[S, m]``."""
_FLAT, _RAMP, _LEAST = 2.0**-26, 2.0**-14, 1e-300
_CHUNK = 2**21
"""The most doubles that one pass holds per array."""


@dataclass(frozen=True, eq=False)
class Lines:
    """How nu is chosen from q: along lines of the given slopes ``[B, M]`` below open neurons, plus beta and lift ``[B, M]``."""

    slopes: Array
    beta: Array
    lift: Array

    def take(self, at: slice) -> Lines:
        """Those at the given positions."""
        return Lines(self.slopes[at], self.beta[at], self.lift[at])

    def nu(self, span: slice, q: Array, low: Array, high: Array) -> Array:
        """``nu [B, R, m]`` of the neurons of a span."""
        added = (self.beta[:, span] + self.lift[:, span])[:, None, :]
        return _along(q, low[:, None, :], high[:, None, :], self.slopes[:, None, span]) + added


class Backward:
    """Bounds of one network."""

    def __init__(self, blocks: Sequence[Block], rows: LinearRows | None = None) -> None:
        self._blocks, self._rows = tuple(blocks), rows
        self._sizes = [block.weight.shape[0] for block in self._blocks[:-1]]
        self._edges = np.concatenate([[0], np.cumsum(self._sizes)]).astype(np.int64)
        self._charged = [_charged(block) for block in self._blocks]
        self._terms = sum(block.weight.shape[0] for block in self._blocks) + self._blocks[0].weight.shape[1]
        self._terms += 0 if rows is None else rows.lower.size

    @property
    def neurons(self) -> int:
        """The number M of hidden neurons."""
        return int(self._edges[-1])

    def pre_activations(self, shells: Shells, phases: Phases | None = None) -> HiddenBounds:
        """``l <= z <= u`` of every hidden neuron on each shell, where phases ``[S, M]`` are given on their side of it.

        A side that phases leave empty has ``l > u`` for some neuron.
        """
        bounds: HiddenBounds = []
        for k, size in enumerate(self._sizes):
            unit = np.concatenate([np.eye(size), -np.eye(size)])
            step = max(1, _CHUNK // (2 * size * max(self._blocks[0].weight.shape[1], *self._sizes)))
            parts = []
            for first in range(0, len(shells), step):
                piece = slice(first, first + step)
                local = [(low[piece], high[piece]) for low, high in bounds]
                some = shells.take(piece)
                none = np.zeros((len(some), self.neurons), np.int8) if phases is None else phases[piece]
                rows = np.broadcast_to(unit, (len(some), *unit.shape))
                top = self._pass(k, rows, some, local, none, None, None)
                if k > 0:
                    zeros = np.zeros((len(some), self.neurons))
                    top = np.minimum(top, self._pass(k, rows, some, local, none, zeros, None))
                parts.append(top)
            top = np.concatenate(parts)
            if phases is None:
                bounds.append((-top[:, size:], np.maximum(top[:, :size], -top[:, size:])))
            else:
                side = phases[:, self._edges[k] : self._edges[k + 1]]
                bounds.append(_cut(-top[:, size:], top[:, :size], side))
        return bounds

    def leaves(
        self,
        functional: Array,
        tau: Array,
        shells: Shells,
        bounds: HiddenBounds,
        phases: Phases,
        nu: Array | None,
        *,
        power: int = 1,
        rho: Array | None = None,
        lines: Lines | None = None,
    ) -> Array:
        """Upper bounds ``[L]`` of ``functional . f(x) + lift . z - tau ||x - c||^power`` on leaves; -inf where a leaf is empty.

        functional ``[L, K]``, tau ``[L] >= 0``, shells and bounds one a leaf, phases ``[L, M]``, nu ``[L, M]`` (None: by rule),
        rho ``[L, r]`` (None: 0) multipliers of the support's rows; with lines nu is along them, and theirs is the lift (else 0).
        """
        step = max(1, _CHUNK // max(max(block.weight.shape) for block in self._blocks))
        out = np.empty(len(shells))
        for first in range(0, len(shells), step):
            at = slice(first, first + step)
            local = [(low[at], high[at]) for low, high in bounds]
            given = None if nu is None else nu[at]
            rows = functional[at, None, :]
            price = Price(tau[at], power, None if rho is None else rho[at])
            some = None if lines is None else lines.take(at)
            top = self._pass(len(self._sizes), rows, shells.take(at), local, phases[at], given, price, some)
            out[at] = top[:, 0]
        return out

    def _pass(
        self,
        last: int,
        nu: Array,
        shells: Shells,
        bounds: HiddenBounds,
        phases: Phases,
        given: Array | None,
        price: Price | None,
        lines: Lines | None = None,
    ) -> Array:
        """Upper bounds ``[B, R]`` of ``nu . z_last + lift . z`` less the price, with ``nu [B, R, m_last]``; given ``[B, M]``."""
        total, size, error = np.zeros(nu.shape[:2]), np.zeros(nu.shape[:2]), np.zeros(nu.shape[:2])
        empty = unreachable(shells)
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            for k in range(last, -1, -1):
                block, weights = self._blocks[k], np.abs(nu)
                total, size = total + nu @ block.bias, size + weights @ np.abs(block.bias)
                error = error + 2 * (weights @ block.bias_error)
                q = nu @ block.weight
                slip = dot_error(nu.shape[-1] + 2) * (weights @ self._charged[k]) + underflow(nu.shape[-1])
                if k == 0:
                    break
                span = slice(int(self._edges[k - 1]), int(self._edges[k]))
                low, high, vacant = _allowed(bounds[k - 1], phases[:, span])
                empty |= vacant
                if lines is not None:
                    nu = lines.nu(span, q, low, high)
                    gain, rounded = _lifted(q, nu, lines.lift[:, span], low, high)
                else:
                    nu = _by_rule(q, low, high) if given is None else _repeat(given[:, span], q)
                    gain, rounded = _gain(q, nu, low, high)
                total, size = total + gain.sum(-1), size + np.abs(gain).sum(-1)
                error = error + rounded.sum(-1) + (slip * np.maximum(high, 0.0)[:, None, :]).sum(-1)
            if price is not None and price.rho is not None:
                q, slip, extra, sized = self._with_rows(q, slip, price.rho)
                total, size = total + extra, size + sized
            top, spread = peak(q, slip, shells, price)
            rounding = dot_error(4 * self._terms + 8) * (size + spread)
            bound = total + top + 1.001 * (error + rounding) + underflow(4 * self._terms)
        bound = np.where(np.isfinite(bound), bound, np.inf)
        return np.where(empty[:, None], -np.inf, bound)

    def _with_rows(self, q: Array, slip: Array, rho: Array) -> tuple[Array, Array, Array, Array]:
        """``q - A^T rho``, its slip, ``max rho . v`` over ``lower <= v <= upper`` and its size, for ``lower <= A x <= upper``."""
        rows = self._rows
        assert rows is not None
        rho = np.where(np.isinf(np.where(rho > 0, rows.upper, rows.lower)), 0.0, rho)  # a side that is not there
        side = np.where(rho > 0, rows.upper, rows.lower)
        gain = np.where(rho == 0, 0.0, rho * np.where(rho == 0, 0.0, side))[:, None, :]
        less = (rho @ rows.matrix)[:, None, :]
        lost = dot_error(rho.shape[1] + 2) * (np.abs(rho) @ np.abs(rows.matrix))[:, None, :] + underflow(rho.shape[1])
        out = q - less
        return out, slip + lost + 2 * UNIT_ROUNDOFF * np.abs(out), gain.sum(-1), np.abs(gain).sum(-1)


def _charged(block: Block) -> Array:
    """``C [m, n]`` such that ``dot_error(m + 2) (|nu| @ C)`` pays for rounding ``nu @ W`` and for W's own error.

    The factor is for the sum: times one tiny weight it would vanish.
    """
    weight = np.abs(block.weight)
    if block.exact:
        return weight
    with np.errstate(over="ignore"):
        return np.asarray(weight + (2.001 / dot_error(block.weight.shape[0] + 2)) * block.weight_error)


def _repeat(given: Array, like: Array) -> Array:
    return np.broadcast_to(given[:, None, :], like.shape)


def _allowed(bounds: tuple[Array, Array], phases: Phases) -> tuple[Array, Array, NDArray[np.bool_]]:
    """``[l, u]`` cut to the side of the phase, each ``[B, m]``, and whether that leaves nothing for some neuron ``[B]``."""
    low = np.where(phases > 0, np.maximum(bounds[0], 0.0), bounds[0])
    high = np.where(phases < 0, np.minimum(bounds[1], 0.0), bounds[1])
    vacant = low > high
    return np.minimum(low, high), np.maximum(low, high), np.asarray(vacant.any(axis=1))


def _cut(low: Array, high: Array, phases: Phases) -> tuple[Array, Array]:
    """Bounds on the side of the phases; an empty side stays so (``l > u``), also after what ``_pass`` says of it."""
    gone = ~(low <= high)
    low, high = np.where(gone, 1.0, low), np.where(gone, -1.0, high)
    return np.where(phases > 0, np.maximum(low, 0.0), low), np.where(phases < 0, np.minimum(high, 0.0), high)


def _by_rule(q: Array, low: Array, high: Array) -> Array:
    """``nu [B, R, m]``: q where active, 0 where dead; else along the chord if q > 0, along the line below by rule if not."""
    low, high = low[:, None, :], high[:, None, :]
    return _along(q, low, high, lower_slope(low, high))


def lower_slope(low: Any, high: Any) -> Any:
    """The slope in [0, 1] of the line below open neurons ``l < 0 < u``, elementwise; arrays of numpy or tensors of torch.

    The line of smaller area: 1 where ``u > -l``, else 0 (CROWN). Any slope is sound, but the two lead to bounds far apart, and
    where ``u = -l``, which small numbers often attain, rounding would choose. So a tie is 0 up to rounding, and from there the
    slope rises along a ramp: bounds that differ by rounding never lead to more than ``1 / _RAMP`` times as much.
    """
    lean = (high + low) / (high - low + _LEAST)
    return ((lean - _FLAT) / _RAMP).clip(0.0, 1.0)


def _along(q: Array, low: Array, high: Array, slopes: Array) -> Array:
    """``nu [B, R, m]``: q where active, 0 where dead; else along the chord if q > 0, along the line below if not."""
    chord = high / np.where(high > low, high - low, 1.0)
    line = np.where(q > 0, chord, slopes)
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
    return gain, 4 * UNIT_ROUNDOFF * ((np.abs(q) + np.abs(nu)) * size)  # the products first: q alone may be tiny


def _lifted(q: Array, nu: Array, lift: Array, low: Array, high: Array) -> tuple[Array, Array]:
    """``e = max q relu(z) + lift z - nu z`` likewise, with lift ``[B, m]``."""
    rest = nu - lift[:, None, :]
    gain, rounded = _gain(q, rest, low, high)
    size = np.maximum(np.abs(low), np.abs(high))[:, None, :]
    return gain, rounded + 2 * UNIT_ROUNDOFF * (np.abs(rest) * size)
