"""What a curved function is to the trusted pass: pieces on which it is convex, concave or straight, and how far floats may be off.

With ``g(z) = q phi(z) - nu z`` on ``[l, u]``, cut where phi turns (docs/theory.md, section 15):

    g convex or straight on a piece     max g is attained at one of its ends
    g concave on a piece                every tangent bounds it:  max g <= g(c) + max over the ends of g'(c) (z - c),  c in the piece

c is chosen near the best one, which only steers. A turn that is no double is one up to ``_SLIVER`` of its size: between it and its
double phi moves by no more than its slope times that, which is charged. Values and slopes are those of a library, each charged
``_OFF`` times the numbers that they are made of: 2^8 units in the last place, where libraries promise a few (the tests hold
them to 2^4 against interval arithmetic).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from wdaverify.rounding import UNIT_ROUNDOFF

Array = NDArray[np.float64]

_OFF = 2.0**-44
"""How far, relatively, a value or a slope may be from what it stands for."""
_SLIVER = 2.0**-40
"""How far, relatively, a turn may be from its double."""
_LEAST = 2.0**-1020
"""What values that underflow may lose."""
_FAR, _DENSE = 40.0, 2048
"""Where tables of slopes end, and their points on each piece."""
_STEPS = 1
_AMONG = 9
"""Points of an interval among which lines across a turn are looked for."""
_AT_ONCE = 2**21


@dataclass(frozen=True, eq=False)
class Smooth:
    """``turns [T]``, ascending, where phi changes between convex and concave or has a kink; ``bends [T + 1]`` of the pieces.

    A piece that bends 1 is convex, -1 concave, 0 straight (its slope then is the same double everywhere). A kind of function says its
    values, its slopes on a piece and what these are made of; ``parameters`` tell functions of one name apart.
    """

    name: str
    turns: tuple[float, ...]
    bends: tuple[int, ...]
    parameters: tuple[float, ...] = ()

    is_relu, origin = False, False

    def values_at(self, z: Array) -> Array:
        """phi, as floats have it."""
        raise NotImplementedError

    def slopes_on(self, piece: int, z: Array) -> Array:
        """phi' at points of a piece, its ends taken from within."""
        raise NotImplementedError

    def second(self, z: Array) -> Array:
        """phi'', roughly."""
        step = 1e-4
        return np.asarray((self.derivative(z + step) - self.derivative(z - step)) / (2 * step))

    def scale(self, size: Array) -> Array:
        """How large the numbers are that a value is made of, at ``|z| <= size``."""
        raise NotImplementedError

    def steep(self, size: Array) -> Array:
        """The same of slopes, and no smaller than the largest absolute slope there."""
        raise NotImplementedError

    def value(self, z: Array) -> Array:
        """``phi(z)``, of z's type."""
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            return np.asarray(self.values_at(z), z.dtype)

    def derivative(self, z: Array) -> Array:
        """The slope at ``z [..., m]``, at a kink that on its right."""
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            out = self.slopes_on(0, z)
            for k, turn in enumerate(self.turns):
                out = np.where(z >= turn, self.slopes_on(k + 1, z), out)
            return np.asarray(out, z.dtype)

    def take(self, neurons: NDArray[np.int64]) -> Smooth:
        """The function of some of the neurons: of all the same."""
        return self

    def magnitude(self, size: Array) -> Array:
        """What the numbers that ``value`` adds up come to at ``|z| <= size [..., m]``."""
        return self.scale(size)

    def rounded(self, size: Array) -> Array:
        """How far ``value`` may be off at ``|z| <= size [..., m]``."""
        return np.asarray(_OFF * self.scale(size) + _LEAST)

    def spread(self, z: Array, radius: Array) -> Array:
        """By how much ``value(z)`` may be off where z is by ``radius``, what it rounds left out, ``[..., m]``."""
        least, greatest = self.slope_range(z - radius, z + radius)
        return np.asarray(np.maximum(np.abs(least), np.abs(greatest)) * radius * (1 + 4 * UNIT_ROUNDOFF))

    def slope_range(self, low: Array, high: Array) -> tuple[Array, Array]:
        """Bounds of phi's slopes within ``[l, u]``, which may be a point; exact where phi is straight there."""
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            least = np.full(np.shape(low), np.inf)
            greatest = np.full(np.shape(low), -np.inf)
            off = _OFF * self.steep(np.maximum(np.abs(low), np.abs(high))) + _LEAST
            for k, (a, b) in enumerate(self._pieces):
                from_, to = np.maximum(low, a), np.minimum(high, b)
                there = (from_ < to) | ((low == high) & (from_ <= to))
                ends = self.slopes_on(k, from_), self.slopes_on(k, to)
                room = off if self.bends[k] else 0.0
                least = np.where(there, np.minimum(least, np.minimum(*ends) - room), least)
                greatest = np.where(there, np.maximum(greatest, np.maximum(*ends) + room), greatest)
            known = ~(np.isnan(least) | np.isnan(greatest)) & (least <= greatest)
            return np.where(known, least, -np.inf), np.where(known, greatest, np.inf)

    @property
    def steepest_of_all(self) -> float:
        """The largest absolute slope there is, rounded up: phi' is steepest where phi turns, or far away."""
        ends = [np.array(turn) for turn in (-np.inf, *self.turns, np.inf)]
        pairs = [self.slope_range(a, b) for a, b in pairwise(ends)]
        return float(max(max(abs(float(a)), abs(float(b))) for a, b in pairs))

    def reach(self, low: Array, high: Array) -> Array:
        """The largest ``|phi|`` on ``[l, u]``, rounded up."""
        one, none = np.ones(1), np.zeros(1)
        ends = [np.abs(best) + 1.001 * lost for best, lost in (self.gain(s, none, low, high) for s in (one, -one))]
        return np.asarray(np.maximum(*ends) * (1 + 4 * UNIT_ROUNDOFF))

    def chord(self, low: Array, high: Array) -> Array:
        """The slope from l to u, roughly; that at l where they are one."""
        wide = high > low
        rise = self.value(high) - self.value(low)
        return np.asarray(np.where(wide, rise / np.where(wide, high - low, 1.0), self.derivative(low)))

    def line(self, at: Array, low: Array, high: Array, sign: float) -> Array:
        """The slope of the line that bounds ``sign phi`` best at a point of ``[l, u]``, roughly."""
        at, low, high = np.broadcast_arrays(np.clip(at, low, high), low, high)
        out, whole = self.chord(low, high), np.zeros(low.shape, np.bool_)
        for k, (a, b) in enumerate(self._pieces):
            within = (low >= a) & (high <= b)
            whole |= within
            if self.bends[k] * sign < 0:
                out = np.where(within, self.slopes_on(k, at), out)
        rest = ~(whole | ~(low < high))
        if rest.any():
            out[rest] = np.concatenate(
                [
                    self._across(at[rest][part], low[rest][part], high[rest][part], sign)
                    for part in _parts(int(rest.sum()))
                ]
            )
        return out

    def _across(self, at: Array, low: Array, high: Array, sign: float) -> Array:
        """The same where phi turns within: the best of the chords over the point, among a few points; each ``[m]``."""
        share = np.linspace(0.0, 1.0, _AMONG)[:, None]
        turns = [np.clip(turn, low, high)[None] for turn in self.turns]
        points = np.concatenate([low + share * (high - low), at[None], *turns])
        values = sign * self.value(points)
        run = points[None] - points[:, None]
        over = (run > 0) & (points[:, None] <= at) & (points[None] >= at)
        slope = (values[None] - values[:, None]) / np.where(over, run, 1.0)
        top = np.where(over, values[:, None] + slope * (at - points[:, None]), -np.inf)
        count = len(points)
        best = top.reshape(count * count, -1).argmax(axis=0)
        column = np.arange(at.size)
        own = values[_AMONG] >= top.reshape(count * count, -1)[best, column] - 1e-12 * np.abs(values[_AMONG])
        found = sign * slope.reshape(count * count, -1)[best, column]
        return np.where(own & (at > low) & (at < high), self.derivative(at), found)

    def by_rule(self, q: Array, low: Array, high: Array) -> Array:
        """``nu`` along the line that bounds ``q phi`` best in the middle of ``[l, u]``."""
        return self.through(0.5 * (low + high), q, low, high)

    def ruled(self, q: Array, low: Array, high: Array) -> tuple[Array, Array, Array]:
        """``by_rule``, and the ``gain`` there with what computing it may have rounded: ``|q|`` times that of 1 or -1, which are few."""
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            one, size = np.ones_like(low), np.maximum(np.abs(low), np.abs(high))
            middle = 0.5 * (low + high)
            lines = (self.line(middle, low, high, sign) for sign in (1.0, -1.0))
            slopes = [np.where(np.isfinite(s), s, 0.0) for s in lines]
            sides = [self.gain(sign * one, sign * s, low, high) for sign, s in zip((1.0, -1.0), slopes, strict=True)]
            nu = q * np.where(q > 0, *slopes)
            best, lost = (np.where(q > 0, up, down) for up, down in zip(*sides, strict=True))
            weight = np.abs(q)
            most = weight * best
            spared = weight * (lost + 4 * UNIT_ROUNDOFF * np.abs(best)) * (1 + 4 * UNIT_ROUNDOFF)
            spared = spared + 2 * UNIT_ROUNDOFF * np.abs(nu) * size + _LEAST * (1 + size)
            nothing = q == 0
            wild = ~nothing & (np.isnan(most) | np.isnan(spared) | ~np.isfinite(nu))
            most, spared = np.where(wild, np.inf, most), np.where(wild | nothing, 0.0, spared)
            return np.where(np.isfinite(nu), nu, 0.0), np.where(nothing, 0.0, most), spared

    def through(self, at: Array, q: Array, low: Array, high: Array) -> Array:
        """``nu`` along the line that bounds ``q phi`` best at points of ``[l, u]``, where phi is straight along that."""
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            above, below = self.line(at, low, high, 1.0), self.line(at, low, high, -1.0)
            nu = q * np.where(q > 0, above, below)
            return np.asarray(np.where(np.isfinite(nu), nu, 0.0))

    def along(self, q: Array, low: Array, high: Array, slopes: Array) -> Array:
        """``nu`` by rule: no slope of its own is asked for."""
        return self.by_rule(q, low, high)

    def attained(self, q: Array, nu: Array, low: Array, high: Array) -> tuple[Array, Array]:
        """Where ``q phi(z) - nu z`` is largest on ``[l, u]``, nearly, and its value there: it steers."""
        with np.errstate(over="ignore", invalid="ignore", divide="ignore", under="ignore"):
            best = q * self.value(low) - nu * low
            at = np.array(np.broadcast_to(low, best.shape))
            ratio = np.where(q == 0, 0.0, nu / np.where(q == 0, 1.0, q))
            points = [high, *(np.clip(turn, low, high) for turn in self.turns)]
            for k, (a, b) in enumerate(self._pieces):
                if self.bends[k]:
                    points.append(np.clip(np.clip(self._touch(k, ratio, 0), a, b), low, high))
            for point in points:
                value = q * self.value(point) - nu * point
                better = value > best
                best, at = np.where(better, value, best), np.where(better, point, at)
            return at, best

    def gain(self, q: Array, nu: Array, low: Array, high: Array) -> tuple[Array, Array]:
        """At least ``max q phi(z) - nu z`` over ``[l, u]``, and what computing it may have rounded."""
        with np.errstate(over="ignore", invalid="ignore", divide="ignore", under="ignore"):
            best = np.maximum(q * self.value(low) - nu * low, q * self.value(high) - nu * high)
            size = np.maximum(np.abs(low), np.abs(high))
            weight, steep, scale = np.abs(q), self.steep(size), self.scale(size)
            lost = weight * (_OFF * (scale + steep * (high - low)) + _LEAST)
            lost = lost + 32 * UNIT_ROUNDOFF * ((weight * steep + np.abs(nu)) * size + weight * scale)
            for turn in self.turns:
                inside = (low < turn) & (high > turn)
                if not inside.any():
                    continue
                at = np.array(turn)
                best = np.where(inside, np.maximum(best, q * self.value(at) - nu * at), best)
                if turn:
                    lost = lost + np.where(inside, _SLIVER * abs(turn) * (weight * steep + np.abs(nu)), 0.0)
            for k, (a, b) in enumerate(self._pieces):
                if self.bends[k]:
                    best = self._on_piece(k, (a, b), q, nu, low, high, best)
            wild = np.isnan(best) | np.isnan(lost)
            return np.where(wild, np.inf, best), np.where(wild, 0.0, lost)

    def _on_piece(
        self, k: int, edges: tuple[float, float], q: Array, nu: Array, low: Array, high: Array, best: Array
    ) -> Array:
        """The best so far, and a tangent's bound where ``q phi`` is concave on piece k."""
        from_, to = np.maximum(low, edges[0]), np.minimum(high, edges[1])
        concave = (from_ < to) & (q * self.bends[k] < 0)
        if not concave.any():
            return best
        whole = np.broadcast_shapes(concave.shape, nu.shape)
        at = np.broadcast_to(concave, whole)
        q, nu, from_, to = (np.broadcast_to(part, whole)[at] for part in (q, nu, from_, to))
        c = np.clip(self._touch(k, nu / q), from_, to)
        slope = q * self.slopes_on(k, c) - nu
        top = q * self.value(c) - nu * c + np.maximum(slope * (from_ - c), slope * (to - c))
        out = np.array(np.broadcast_to(best, whole))
        out[at] = np.maximum(out[at], np.where(np.isnan(top), np.inf, top))
        return out

    def _touch(self, k: int, slope: Array, steps: int = _STEPS) -> Array:
        """A point of a piece where phi' is nearly the one given, by so many steps of Newton from a table's."""
        points, slopes = self._tables[k]
        cell = np.clip(np.searchsorted(slopes, slope) - 1, 0, points.size - 2)
        low, high = np.minimum(points[cell], points[cell + 1]), np.maximum(points[cell], points[cell + 1])
        at = np.interp(slope, slopes, points)
        for _ in range(steps):
            bend = self.second(at)
            step = (self.slopes_on(k, at) - slope) / np.where(np.abs(bend) > 1e-12, bend, np.inf)
            at = np.clip(at - step, low, high)
        return at

    @cached_property
    def _tables(self) -> dict[int, tuple[Array, Array]]:
        """Of each curved piece points and their slopes, which ascend."""
        out = dict[int, tuple[Array, Array]]()
        share = 0.5 - 0.5 * np.cos(np.linspace(0.0, np.pi, _DENSE))
        for k, (a, b) in enumerate(self._pieces):
            if self.bends[k]:
                first, last = max(a, min(b, 0.0) - _FAR), min(b, max(a, 0.0) + _FAR)
                points = first + share * (last - first)
                slopes = self.slopes_on(k, points)
                order = slice(None) if self.bends[k] > 0 else slice(None, None, -1)
                out[k] = points[order], np.maximum.accumulate(slopes[order])
        return out

    @cached_property
    def _pieces(self) -> tuple[tuple[float, float], ...]:
        edges = (-np.inf, *self.turns, np.inf)
        return tuple(pairwise(edges))


def _parts(count: int) -> list[slice]:
    """So many numbers in parts."""
    step = _AT_ONCE // (_AMONG + 8) ** 2
    return [slice(k, k + step) for k in range(0, count, step)]


def logistic(z: Array) -> Array:
    """``1 / (1 + exp(-z))``."""
    small = np.exp(-np.abs(z))
    return np.asarray(np.where(z >= 0, 1.0, small) / (1.0 + small), z.dtype)


def times(z: Array, factor: float, divisor: float) -> Array:
    """``factor z / divisor``, within three units in the last place wherever that is no subnormal: also where ``factor z`` overflows."""
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        product = z * factor
        return np.asarray(np.where(np.isinf(product), z / divisor * factor, product / divisor))


def bounded(size: Array) -> Array:
    """``min(|z|, 1)``: of functions between -1 and 1 with slopes up to 1 that are 0 at 0."""
    return np.minimum(size, 1.0)
