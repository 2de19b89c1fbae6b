"""Elementwise functions as data: continuous and piecewise linear, through points whose coordinates are doubles.

``phi`` is given by breaks ``b_1 < ... < b_B``, values there, and slopes left of the first, between, and right of the last break; the value
at each break follows exactly from the one before it (checked in rationals), so that phi has one meaning in real arithmetic. A slope may be
one number or one a neuron (PReLU). For a linear bound ``q phi(z) <= nu z + gain`` on ``[l, u]`` nu may be anything, and

    gain = max over [l, u] of q phi(z) - nu z     is attained at l, u or a break between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wdaverify.errors import NetworkError
from wdaverify.given import array, instance, settle
from wdaverify.rounding import UNIT_ROUNDOFF

Array = NDArray[np.float64]
_FLAT, _RAMP, _LEAST = 2.0**-26, 2.0**-14, 1e-300


@dataclass(frozen=True, eq=False)
class PiecewiseLinear:
    """breaks and values ``[B]``, slopes ``[B + 1]`` or ``[B + 1, m]`` for m neurons; B >= 1."""

    name: str
    breaks: Array
    values: Array
    slopes: Array

    def __post_init__(self) -> None:
        instance("the name of a function", self.name, str, "as 'Relu'", NetworkError)
        given = (("breaks", self.breaks), ("values", self.values), ("slopes", self.slopes))
        breaks, values, slopes = (array(f"{self.name}: {name}", value, NetworkError) for name, value in given)
        if not (
            breaks.ndim == 1 and breaks.size and values.shape == breaks.shape and slopes.shape[:1] == (breaks.size + 1,)
        ):
            raise NetworkError(f"{self.name}: breaks and values [B] with slopes [B + 1] are accepted")
        if (np.diff(breaks) <= 0).any():
            raise NetworkError(f"{self.name}: breaks in ascending order are accepted")
        for k in range(1, breaks.size):
            rise = Fraction(float(values[k])) - Fraction(float(values[k - 1]))
            run = Fraction(float(breaks[k])) - Fraction(float(breaks[k - 1]))
            if any(Fraction(s) * run != rise for s in np.unique(slopes[k]).tolist()):
                raise NetworkError(
                    f"{self.name}: the slope between two breaks does not lead from one value to the next, exactly"
                )
        settle(self, breaks=breaks, values=values, slopes=slopes)

    @cached_property
    def through(self) -> tuple[bool, ...]:
        """Of each piece, whether its line goes through 0, exactly: values there are products."""
        out = []
        for k, slope in enumerate(self.slopes):
            at, value = (Fraction(float(part[max(k - 1, 0)])) for part in (self.breaks, self.values))
            out.append(all(Fraction(s) * at == value for s in np.unique(slope).tolist()))
        return tuple(out)

    @property
    def is_relu(self) -> bool:
        """Whether phi is ``max(z, 0)``."""
        return self.origin and np.array_equal(self.slopes, [0.0, 1.0])

    @property
    def origin(self) -> bool:
        """Whether the one break is at 0, where the value is 0: values are products, and splits are by sign."""
        return self.breaks.size == 1 and not self.breaks[0] and not self.values[0]

    def value(self, z: Array) -> Array:
        """``phi(z)`` of ``z [..., m]``, of z's type; where ``origin``, rounded once."""
        if self.origin:
            return np.asarray(np.where(z > 0, z * self.slopes[1], z * self.slopes[0]), z.dtype)
        at = np.searchsorted(self.breaks, z, side="right")
        anchor = np.maximum(at - 1, 0)
        slope = (
            self.slopes[at]
            if self.slopes.ndim == 1
            else np.take_along_axis(self.slopes, at.reshape(-1, z.shape[-1]), 0).reshape(z.shape)
        )
        moved = self.values[anchor] + slope * np.where(slope == 0, 0.0, z - self.breaks[anchor])
        return np.asarray(np.where(np.asarray(self.through)[at], slope * z, moved), z.dtype)

    def take(self, neurons: NDArray[np.int64]) -> PiecewiseLinear:
        """The function of some of the neurons."""
        if self.slopes.ndim == 1:
            return self
        return type(self)(self.name, self.breaks, self.values, self.slopes[:, neurons])

    def exactly(self, z: Fraction, neuron: int) -> tuple[Fraction, Fraction]:
        """``phi(z)`` of one neuron, and its slope on the right of z."""
        breaks, values = ([Fraction(v) for v in part.tolist()] for part in (self.breaks, self.values))
        at = sum(z >= b for b in breaks)
        slope, anchor = Fraction(float(self._slopes_of(neuron)[at])), max(at - 1, 0)
        return values[anchor] + slope * (z - breaks[anchor]), slope

    def slope_left(self, z: Fraction, neuron: int) -> Fraction:
        """The slope on the left of z."""
        return Fraction(float(self._slopes_of(neuron)[sum(z > Fraction(b) for b in self.breaks.tolist())]))

    def steepest(self, neuron: int) -> Fraction:
        """The largest absolute slope of one neuron."""
        return Fraction(float(np.abs(self._slopes_of(neuron)).max()))

    @property
    def steepest_of_all(self) -> float:
        """The largest absolute slope of any neuron."""
        return float(np.abs(self.slopes).max())

    def _slopes_of(self, neuron: int) -> Array:
        return self.slopes if self.slopes.ndim == 1 else np.asarray(self.slopes[:, neuron])

    def magnitude(self, size: Array) -> Array:
        """What the numbers that ``value`` adds up come to at ``|z| <= size [..., m]``."""
        steep = np.abs(self.slopes).max(axis=0)
        if all(line or not slope.any() for line, slope in zip(self.through, self.slopes, strict=True)):
            return np.asarray(steep * size)  # products, and values as they are stored
        return np.asarray(np.abs(self.values).max() + steep * (size + np.abs(self.breaks).max()))

    def rounded(self, size: Array) -> Array:
        """What ``value`` may have rounded at ``|z| <= size [..., m]``."""
        return 4 * UNIT_ROUNDOFF * self.magnitude(size)

    def spread(self, z: Array, radius: Array) -> Array:
        """By how much ``value(z)`` may be off where z is by ``radius``, what it rounds left out, ``[..., m]``."""
        least, greatest = self.slope_range(z - radius, z + radius)
        return np.asarray(np.maximum(np.abs(least), np.abs(greatest)) * radius * (1 + 4 * UNIT_ROUNDOFF))

    def slope_range(self, low: Array, high: Array) -> tuple[Array, Array]:
        """The least and the greatest slope of phi within ``[l, u]``, which may be a point (then of one side)."""
        least = greatest = np.broadcast_to(self.slopes[0], low.shape)
        least, greatest = (
            np.where(low < self.breaks[0], least, np.inf),
            np.where(low < self.breaks[0], greatest, -np.inf),
        )
        for k, at in enumerate(self.breaks.tolist()):
            following = self.breaks[k + 1] if k + 1 < self.breaks.size else np.inf
            here = ((high > at) | (low >= at)) & (low < following)
            least = np.where(here, np.minimum(least, self.slopes[k + 1]), least)
            greatest = np.where(here, np.maximum(greatest, self.slopes[k + 1]), greatest)
        return least, greatest

    def derivative(self, z: Array) -> Array:
        """The slope at ``z [..., m]``, at a break that on its left: 0 at 0 for a ReLU."""
        out = np.broadcast_to(self.slopes[0], z.shape)
        for at, slope in zip(self.breaks.tolist(), self.slopes[1:], strict=True):
            out = np.where(z > at, slope, out)
        return out

    def reach(self, low: Array, high: Array) -> Array:
        """The largest ``|phi|`` on ``[l, u]``, rounded up."""
        size = np.maximum(np.abs(self.value(low)), np.abs(self.value(high)))
        for at, value in zip(self.breaks.tolist(), self.values.tolist(), strict=True):
            if value:
                size = np.where((low < at) & (high > at), np.maximum(size, abs(value)), size)
        return size * (1 + 8 * UNIT_ROUNDOFF) + (
            0.0 if self.origin else self.rounded(np.maximum(np.abs(low), np.abs(high)))
        )

    def chord(self, low: Array, high: Array) -> Array:
        """The slope from l to u, roughly; that at l where they are one."""
        wide = high > low
        rise = self.value(high) - self.value(low)
        return np.asarray(np.where(wide, rise / np.where(wide, high - low, 1.0), self.slope_range(low, low)[0]))

    def by_rule(self, q: Array, low: Array, high: Array) -> Array:
        """``nu`` along the line that bounds ``q phi`` best in the middle of ``[l, u]``: its concave envelope's, of q's sign.

        For a ReLU this is the chord where q > 0, and the nearer side where q < 0 (CROWN, arXiv 1811.00866).
        """
        points = [low, *(np.broadcast_to(np.clip(at, low, high), low.shape) for at in self.breaks.tolist()), high]
        values = [self.value(point) for point in points]
        middle, best, slope = (
            0.5 * (low + high),
            np.full(np.broadcast_shapes(q.shape, low.shape), np.inf),
            np.zeros_like(q),
        )
        for i in range(len(points)):
            for j in range(i + 1, len(points)):
                run = points[j] - points[i]
                line = np.where(run > 0, (values[j] - values[i]) / np.where(run > 0, run, 1.0), 0.0)
                top = np.max([q * (v + line * (middle - p)) for v, p in zip(values, points, strict=True)], axis=0)
                better = (run > 0) & (top < best)
                best, slope = np.where(better, top, best), np.where(better, line, slope)
        least, greatest = self.slope_range(low, high)
        return np.asarray(q * np.where(least == greatest, least, slope))

    def along(self, q: Array, low: Array, high: Array, slopes: Array) -> Array:
        """``nu`` along the chord where it bounds ``q phi`` from above, else along the line of the given slope, within phi's own.

        Of a function that is neither convex nor concave on ``[l, u]`` the line may cross it: gain pays for that.
        """
        least, greatest = self.slope_range(low, high)
        convex = bool((np.diff(self.slopes, axis=0) >= 0).all())
        chord = self.chord(low, high)
        line = np.where((q > 0) == convex, chord, np.clip(slopes, least, greatest))
        return np.asarray(q * np.where(least == greatest, least, line))

    def attained(self, q: Array, nu: Array, low: Array, high: Array) -> tuple[Array, Array]:
        """Where ``q phi(z) - nu z`` is largest on ``[l, u]``, and its value there, roughly."""
        best, at = (
            q * self.value(low) - nu * low,
            np.array(np.broadcast_to(low, np.broadcast_shapes(q.shape, low.shape))),
        )
        for point in (high, *(np.clip(b, low, high) for b in self.breaks.tolist())):
            value = q * self.value(point) - nu * point
            better = value > best
            best, at = np.where(better, value, best), np.where(better, point, at)
        return at, best

    def gain(self, q: Array, nu: Array, low: Array, high: Array) -> tuple[Array, Array]:
        """``max q phi(z) - nu z`` over ``[l, u]``, and what computing it may have rounded."""
        best = np.maximum(q * self.value(low) - nu * low, q * self.value(high) - nu * high)
        for at, value in zip(self.breaks.tolist(), self.values.tolist(), strict=True):
            inside = (low < at) & (high > at)
            best = np.where(inside, np.maximum(best, q * value - nu * at if value or at else 0.0), best)
        size = np.maximum(np.abs(low), np.abs(high))
        steep = np.maximum(np.abs(self.slopes).max(axis=0), 1.0)
        far = 0.0 if self.origin else float(max(np.abs(self.breaks).max(), np.abs(self.values).max()))
        return best, 16 * UNIT_ROUNDOFF * ((steep * np.abs(q) + np.abs(nu)) * (size + far))


def lower_slope(low: Any, high: Any) -> Any:
    """The slope in [0, 1] of the line below a ReLU with ``l < 0 < u``, elementwise; arrays of numpy or tensors of torch.

    The line of smaller area: 1 where ``u > -l``, else 0 (CROWN). Any slope is sound, but the two lead to bounds far apart, and
    where ``u = -l``, which small numbers often attain, rounding would choose. So a tie is 0 up to rounding, and from there the
    slope rises along a ramp: bounds that differ by rounding never lead to more than ``1 / _RAMP`` times as much.
    """
    lean = (high + low) / (high - low + _LEAST)
    return ((lean - _FLAT) / _RAMP).clip(0.0, 1.0)


def relu() -> PiecewiseLinear:
    """``max(z, 0)``."""
    return _Relu("Relu", np.zeros(1), np.zeros(1), np.array([0.0, 1.0]))


def larger() -> PiecewiseLinear:
    """The ReLU of ``max(a, b) = b + relu(a - b)`` where a file has the maximum itself, which rounds nothing in float32."""
    return Larger("Relu", np.zeros(1), np.zeros(1), np.array([0.0, 1.0]))


def leaky_relu(slope: ArrayLike) -> PiecewiseLinear:
    """``z`` where z > 0, else ``slope z``; one slope, or one a neuron (PReLU)."""
    left = np.asarray(slope, np.float64)
    return PiecewiseLinear("LeakyRelu", np.zeros(1), np.zeros(1), np.stack([left, np.ones_like(left)]))


def absolute() -> PiecewiseLinear:
    """``|z|``."""
    return PiecewiseLinear("Abs", np.zeros(1), np.zeros(1), np.array([-1.0, 1.0]))


def clip(low: float, high: float) -> PiecewiseLinear:
    """``min(max(z, low), high)``; either may be infinite, not both."""
    ends: Sequence[float] = [v for v in (low, high) if np.isfinite(v)]
    slopes = ([0.0] if np.isfinite(low) else []) + [1.0] + ([0.0] if np.isfinite(high) else [])
    return PiecewiseLinear("Clip", np.array(ends), np.array(ends), np.array(slopes))


class _Relu(PiecewiseLinear):
    """``max(z, 0)``: the same formulas with what multiplies 0 or 1 left out."""

    def value(self, z: Array) -> Array:
        return np.maximum(z, 0.0)

    def rounded(self, size: Array) -> Array:
        return np.zeros_like(size)

    def spread(self, z: Array, radius: Array) -> Array:
        return np.where(z <= -radius, 0.0, radius)

    def slope_range(self, low: Array, high: Array) -> tuple[Array, Array]:
        on = low >= 0
        return on.astype(np.float64), (on | ~(high <= 0)).astype(np.float64)

    def reach(self, low: Array, high: Array) -> Array:
        return np.maximum(high, 0.0)

    def by_rule(self, q: Array, low: Array, high: Array) -> Array:
        return self.along(q, low, high, lower_slope(low, high))

    def along(self, q: Array, low: Array, high: Array, slopes: Array) -> Array:
        chord = high / np.where(high > low, high - low, 1.0)
        on, off = low >= 0, high <= 0
        above, below = (np.where(on, 1.0, np.where(off, 0.0, line)) for line in (chord, slopes))
        return np.asarray(q * np.where(q > 0, above, below))

    def gain(self, q: Array, nu: Array, low: Array, high: Array) -> tuple[Array, Array]:
        bottom = q * np.maximum(low, 0.0) - nu * low
        top = q * np.maximum(high, 0.0) - nu * high
        gain = np.maximum(bottom, top, out=bottom)
        np.maximum(gain, np.where((low < 0) & (high > 0), 0.0, -np.inf), out=gain)
        size = np.maximum(np.abs(low), np.abs(high))
        return gain, 4 * UNIT_ROUNDOFF * ((np.abs(q) + np.abs(nu)) * size)  # the products first: q alone may be tiny


class Larger(_Relu):
    """A ReLU that a reader wrote for the larger of two."""
