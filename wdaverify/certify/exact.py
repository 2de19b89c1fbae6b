"""The network in exact rationals: what decides a tie (docs/theory.md, section 9: outward rounding never can).

Doubles are dyadic, so a map is integers times a power of two (``graph.dyadic``), and a node's values are kept as integers ``h`` with
one common scale: ``value = h * 2^exponent / divisor``. Only a ``Diagonal`` brings a divisor in, and where the divisors have much in
common it is short. Where it would be long, quotients are rounded first, to integers as well:

    |value - h 2^exponent| <= slack 2^exponent,  slack = 0 where nothing was rounded
    a map        h' = W h,  slack' = |W| slack                              (no rounding)
    Diagonal     h' = floor(h f 2^p / d),  slack' = ceil(slack |f| 2^p / |d|) + (1 unless d divides h f 2^p)
    a function   h' = s h + t on its piece, slack' = (the largest slope near h) slack

and margins ``z_j - z_y`` are the rows ``W_j - W_y`` of a last affine node. A sign that the slack leaves open is asked again with
a larger p, and at last in rationals.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from typing import cast

import numpy as np
from numpy.typing import NDArray

from wdaverify.graph.dyadic import Integers, dyadic
from wdaverify.graph.functions import PiecewiseLinear
from wdaverify.graph.maps import Dense, Diagonal, LinearMap
from wdaverify.graph.nodes import INPUT, Affine, Elementwise
from wdaverify.network.model import Array, ReluNetwork

IntArray = NDArray[np.int64]

_LONG = 256
"""Bits of a common divisor beyond which quotients are rounded first."""
_PRECISIONS = (128, 1024)
"""Significant bits of rounded quotients, one after the other; then rationals."""


@dataclass(frozen=True, eq=False)
class _Scaled:
    """Reals no farther than ``slack * 2^exponent / divisor`` from ``number * 2^exponent / divisor``; ``divisor > 0``."""

    number: Integers
    slack: Integers
    exponent: int
    divisor: int


def exact_margins(network: ReluNetwork, x: Array, y: int) -> list[Fraction]:
    """``z_j - z_y`` for all classes j at ``x [n]``, in real arithmetic on the weights as stored; 0 at ``j = y``."""
    margins = _margins(network, x, y, None)
    return [int(z) * _scale(margins) for z in margins.number]


def margin_between(network: ReluNetwork, x: Array, y: int) -> tuple[Fraction, Fraction]:
    """Bounds of ``max_{j != y} z_j - z_y`` at ``x [n]``: equal, or too close for doubles to tell where the divisors are long."""
    margins = _margins(network, x, y, _PRECISIONS[-1] if _rounds(network) else None)
    low, high = (max(int(z) for j, z in enumerate(end) if j != y) for end in _ends(margins))
    return low * _scale(margins), high * _scale(margins)


def margins_between(network: ReluNetwork, x: Array, y: int) -> tuple[list[Fraction], list[Fraction]]:
    """Bounds of ``z_j - z_y`` for all classes j at ``x [n]``, as close as ``margin_between``; 0 at ``j = y``."""
    margins = _margins(network, x, y, _PRECISIONS[-1] if _rounds(network) else None)
    low, high = ([int(z) * _scale(margins) for z in end] for end in _ends(margins))
    return low, high


def functionals_between(network: ReluNetwork, x: Array, matrix: Array, offset: Array) -> tuple[Fraction, Fraction]:
    """Bounds of ``max_r matrix_r . z + offset_r`` at ``x [n]``, for matrix ``[R, K]``: equal, or as close as ``margin_between``."""
    values = _outputs(network, x, _PRECISIONS[-1] if _rounds(network) else None)
    low, high = ([int(z) * _scale(values) for z in end] for end in _ends(values))
    out = []
    for row, base in zip(matrix.tolist(), offset.tolist(), strict=True):
        each = [(Fraction(c), a, b) for c, a, b in zip(row, low, high, strict=True) if c]
        out.append(
            (
                sum((c * (a if c > 0 else b) for c, a, b in each), Fraction(base)),
                sum((c * (b if c > 0 else a) for c, a, b in each), Fraction(base)),
            )
        )
    return max(a for a, _ in out), max(b for _, b in out)


def exact_error(network: ReluNetwork, x: Array, y: int) -> bool:
    """Whether some rival's logit reaches ``z_y`` at ``x [n]``, exactly: a tie is an error."""
    for bits in (*(_PRECISIONS if _rounds(network) else ()), None):
        low, high = _ends(_margins(network, x, y, bits))
        low[y] = high[y] = -1
        if (low >= 0).any() or not (high >= 0).any():
            break
    return bool((low >= 0).any())


def one_sided(
    network: ReluNetwork, point: Sequence[Fraction], direction: Sequence[Fraction]
) -> list[tuple[list[Fraction], list[Fraction]]]:
    """Values ``z`` at a rational point ``[n]`` and derivatives ``lim (z(point + t u) - z(point)) / t`` for t to 0 from above, exactly.

    At the input of every ReLU in turn and, last, of the logits. For t small enough ``z(point + t u)`` is ``z + t`` times
    the derivative exactly, whichever neurons are at 0: those go with ``max(0, .)`` of their own derivative.
    """
    network.refuse_curved("exact arithmetic")
    graph = network.graph
    values, slopes = {INPUT: _rational(point)}, {INPUT: _rational(direction)}
    out = []
    for k, node in enumerate(graph.nodes):
        if isinstance(node, Affine):
            values[k], slopes[k] = _affine(node, values, None), _linear(node, slopes, None)
        else:
            h, slope = values[node.source], slopes[node.source]
            out.append((_fractions(h), _fractions(slope)))
            assert isinstance(node.function, PiecewiseLinear)
            values[k], slopes[k] = _one_sided(node.function, h, slope)
    return [*out, (_fractions(values[k]), _fractions(slopes[k]))]


def exact_dot(left: Iterable[float], right: Iterable[float]) -> Fraction:
    """``sum_k left_k right_k`` of finite doubles, exactly.

    Raises:
        OverflowError, ValueError: a number is infinite or NaN.
    """
    by_exponent: dict[int, int] = {}
    for a, b in zip(left, right, strict=True):
        (p, q), (r, s) = a.as_integer_ratio(), b.as_integer_ratio()
        exponent = q.bit_length() + s.bit_length() - 2
        by_exponent[exponent] = by_exponent.get(exponent, 0) + p * r
    deepest = max(by_exponent, default=0)
    return Fraction(sum(number << (deepest - e) for e, number in by_exponent.items()), 1 << deepest)


def _outputs(network: ReluNetwork, x: Array, bits: int | None) -> _Scaled:
    """The outputs, with quotients of so many significant bits (None: exactly)."""
    network.refuse_curved("exact arithmetic")
    number, exponent = dyadic(np.asarray(x, dtype=np.float64))
    values = {INPUT: _Scaled(number, np.zeros_like(number), exponent, 1)}
    for k, node in enumerate(network.graph.nodes):
        if isinstance(node, Elementwise):
            assert isinstance(node.function, PiecewiseLinear)
            values[k] = _applied(node.function, values[node.source])
        else:
            values[k] = _affine(node, values, bits)
    return values[len(network.graph.nodes) - 1]


def _margins(network: ReluNetwork, x: Array, y: int, bits: int | None) -> _Scaled:
    """``z_j - z_y`` for all j, with quotients of so many significant bits (None: exactly)."""
    network.refuse_curved("exact arithmetic")
    graph, last = network.graph, len(network.graph.nodes) - 1
    number, exponent = dyadic(np.asarray(x, dtype=np.float64))
    values = {INPUT: _Scaled(number, np.zeros_like(number), exponent, 1)}
    for k, node in enumerate(graph.nodes):
        if isinstance(node, Elementwise):
            assert isinstance(node.function, PiecewiseLinear)
            values[k] = _applied(node.function, values[node.source])
        elif k < last or not all(isinstance(map_, Dense) for map_ in node.maps):
            values[k] = _affine(node, values, bits)
        else:  # rows W_j - W_y, whose sums are short where values are rounded
            parts = []
            for source, map_ in zip(node.sources, node.maps, strict=True):
                stored, up = _stored(cast(Hashable, map_))
                assert isinstance(stored, Dense)
                parts.append(_product(stored.like(lambda w: w - w[y]), up, values[source]))
            bias, down = _stored_bias(node)
            return _plus(_sum(parts), bias - bias[y], down)
    h = values[last]
    others = np.arange(h.number.size) != y
    return _Scaled(h.number - h.number[y], np.where(others, h.slack + h.slack[y], 0), h.exponent, h.divisor)


def _ends(h: _Scaled) -> tuple[Integers, Integers]:
    return h.number - h.slack, h.number + h.slack


def _scale(h: _Scaled) -> Fraction:
    return Fraction(2) ** h.exponent / h.divisor


@lru_cache(maxsize=64)
def _stored(map_: Hashable) -> tuple[LinearMap, int]:
    """A map in integers, and its exponent; converting a matrix takes longer than multiplying by it."""
    found = [0]

    def change(numbers: Array) -> Integers:
        integers, found[0] = dyadic(numbers)
        return integers

    return cast(LinearMap, map_).like(change), found[0]


@lru_cache(maxsize=64)
def _stored_diagonal(map_: Diagonal) -> tuple[tuple[Integers, int], tuple[Integers, int]]:
    return dyadic(map_.factor), dyadic(map_.divisor)


@lru_cache(maxsize=64)
def _stored_bias(node: Affine) -> tuple[Integers, int]:
    return dyadic(node.bias)


@lru_cache(maxsize=64)
def _rounds(network: ReluNetwork) -> bool:
    """Whether the common divisor of the network's diagonals is long."""
    common = 1
    for map_ in (m for node in network.graph.nodes if isinstance(node, Affine) for m in node.maps):
        if isinstance(map_, Diagonal):
            least = 1
            for divisor in np.unique(np.abs(_stored_diagonal(map_)[1][0])):
                least = math.lcm(least, int(divisor))
                if (common * least).bit_length() > _LONG:
                    return True
            common *= least
    return False


def _affine(node: Affine, values: dict[int, _Scaled], bits: int | None) -> _Scaled:
    return _plus(_linear(node, values, bits), *_stored_bias(node))


def _linear(node: Affine, values: dict[int, _Scaled], bits: int | None) -> _Scaled:
    """An affine node without its bias."""
    parts = []
    for source, map_ in zip(node.sources, node.maps, strict=True):
        if isinstance(map_, Diagonal):
            parts.append(_rescaled(map_, values[source]) if bits is None else _rounded(map_, values[source], bits))
        else:
            parts.append(_product(*_stored(cast(Hashable, map_)), values[source]))
    return _sum(parts)


def _product(map_: LinearMap, up: int, h: _Scaled) -> _Scaled:
    """A map in integers; a matrix is multiplied where something is there to be multiplied."""
    if not isinstance(map_, Dense):
        loose = (h.slack != 0).any()
        slack = map_.size().apply(h.slack) if loose else np.full(map_.outputs, 0, dtype=object)
        return _Scaled(map_.apply(h.number), slack, h.exponent + up, h.divisor)
    weight, active = map_.weight, np.flatnonzero((h.number != 0) | (h.slack != 0))
    number = slack = np.full(weight.shape[0], 0, dtype=object)
    if active.size:
        number = weight[:, active] @ h.number[active]
        loose = np.flatnonzero(h.slack != 0)
        slack = np.abs(weight[:, loose]) @ h.slack[loose] if loose.size else slack
    return _Scaled(number, slack, h.exponent + up, h.divisor)


def _rescaled(map_: Diagonal, h: _Scaled) -> _Scaled:
    (factor, up), (divisor, down) = _stored_diagonal(map_)
    common = math.lcm(*(int(d) for d in divisor))
    number = h.number * factor * np.array([common // d for d in divisor], dtype=object)
    return _Scaled(number, h.slack, h.exponent + up - down, h.divisor * common)


def _rounded(map_: Diagonal, h: _Scaled, bits: int) -> _Scaled:
    """``h f / d`` with quotients rounded: one that is not 0 keeps so many significant bits."""
    (factor, up), (divisor, down) = _stored_diagonal(map_)
    more = bits + max(int(d).bit_length() for d in divisor) if (abs(divisor) != 1).any() else 0
    whole = (h.number * factor) << more
    number = whole // divisor
    slack = -(-((h.slack * abs(factor)) << more) // abs(divisor)) + (number * divisor != whole)
    return _Scaled(number, slack, h.exponent + up - down - more, h.divisor)


def _applied(function: PiecewiseLinear, h: _Scaled) -> _Scaled:
    """The function of values, and a slack no smaller than its own times the slopes in reach."""
    if function.is_relu:
        slack = np.where(h.number + h.slack > 0, h.slack, 0)
        return _Scaled(np.where(h.number > 0, h.number, 0), slack, h.exponent, h.divisor)
    return _applied_in_fractions(function, h)[0]


def _applied_in_fractions(function: PiecewiseLinear, h: _Scaled) -> tuple[_Scaled, list[Fraction]]:
    """Values, and the slope of the piece on the right of each."""
    scale, values, slacks, slopes = _scale(h), list[Fraction](), list[Fraction](), list[Fraction]()
    for k, (number, slack) in enumerate(zip(h.number, h.slack, strict=True)):
        value, own = function.exactly(int(number) * scale, k)
        values.append(value)
        slopes.append(own)
        slacks.append(int(slack) * scale * function.steepest(k))
    common = math.lcm(*(v.denominator for v in (*values, *slacks)))
    numbers, loose = (
        np.array([v.numerator * (common // v.denominator) for v in some], object) for some in (values, slacks)
    )
    return _Scaled(numbers, loose, 0, common), slopes


def _one_sided(function: PiecewiseLinear, h: _Scaled, slope: _Scaled) -> tuple[_Scaled, _Scaled]:
    """Values, and derivatives where h moves along ``slope``: at a break those of the side that it moves to."""
    if function.is_relu:
        on = (h.number > 0) | ((h.number == 0) & (slope.number > 0))
        return _applied(function, h), replace(slope, number=np.where(on, slope.number, 0))
    value, right = _applied_in_fractions(function, h)
    left = [function.slope_left(z, k) for k, z in enumerate(_fractions(h))]
    moves = zip(_fractions(slope), left, right, strict=True)
    return value, _rational([move * (b if move > 0 else a) for move, a, b in moves])


def _sum(parts: list[_Scaled]) -> _Scaled:
    """Values added up, on one scale."""
    total = parts[0]
    for part in parts[1:]:
        common, exponent = math.lcm(total.divisor, part.divisor), min(total.exponent, part.exponent)
        number = slack = np.full(total.number.size, 0, dtype=object)
        for each in (total, part):
            factor = (common // each.divisor) << (each.exponent - exponent)
            number, slack = number + each.number * factor, slack + each.slack * factor
        total = _Scaled(number, slack, exponent, common)
    return total


def _plus(h: _Scaled, number: Integers, exponent: int) -> _Scaled:
    """``h + number * 2^exponent``, elementwise."""
    if not (number != 0).any():
        return h
    common = min(h.exponent, exponent)
    wider = h.exponent - common
    total = (h.number << wider) + number * (h.divisor << (exponent - common))
    return _Scaled(total, h.slack << wider, common, h.divisor)


def _rational(values: Sequence[Fraction]) -> _Scaled:
    common = math.lcm(*(value.denominator for value in values))
    number = np.array([value.numerator * (common // value.denominator) for value in values], object)
    return _Scaled(number, np.zeros_like(number), 0, common)


def _fractions(h: _Scaled) -> list[Fraction]:
    scale = Fraction(2) ** h.exponent / h.divisor
    return [int(number) * scale for number in h.number]
