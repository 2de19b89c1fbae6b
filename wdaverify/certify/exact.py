"""The network in exact rationals: what decides a tie (docs/theory.md, section 9: outward rounding never can).

Doubles are dyadic, so a layer is a matrix of integers times a power of two, and a vector of activations is kept as
integers ``h`` with one common scale: ``value = h * 2^exponent / divisor``. Only a ``Diagonal`` brings a divisor in, and where
the divisors have much in common it is short. Where it would be long, quotients are rounded first, to integers as well:

    |value - h 2^exponent| <= slack 2^exponent,  slack = 0 where nothing was rounded
    Affine      h' = W h + b,  slack' = |W| slack                           (no rounding)
    Diagonal    h' = floor(h f 2^p / d),  slack' = ceil(slack |f| 2^p / |d|) + (1 unless d divides h f 2^p),  + shift
    Relu        h' = max(h, 0),  slack' = slack  (0 where h + slack <= 0)

and margins ``z_j - z_y`` are the rows ``W_j - W_y`` of a last affine layer. A sign that the slack leaves open is asked again with
a larger p, and at last in rationals.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wdaverify.network.model import Affine, Array, Diagonal, Layer, Relu, ReluNetwork

IntArray = NDArray[np.int64]
Integers = NDArray[Any]
"""An object array of Python ints."""

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
    h, slope = _rational(point), _rational(direction)
    out = []
    for layer in network.layers:
        match layer:
            case Affine():
                (weight, up), (bias, down) = _stored(layer)
                h, slope = _affine(weight, up, bias, down, h), _product(weight, up, slope)
            case Diagonal():
                h, slope = _diagonal(layer, h), _rescaled(layer, slope)
            case Relu():
                out.append((_fractions(h), _fractions(slope)))
                on = (h.number > 0) | ((h.number == 0) & (slope.number > 0))
                h = _through(layer, h, None)
                slope = replace(slope, number=np.where(on, slope.number, 0))
    return [*out, (_fractions(h), _fractions(slope))]


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


def _margins(network: ReluNetwork, x: Array, y: int, bits: int | None) -> _Scaled:
    """``z_j - z_y`` for all j, with quotients of so many significant bits (None: exactly)."""
    number, exponent = _dyadic(np.asarray(x, dtype=np.float64))
    h = _Scaled(number, np.zeros_like(number), exponent, 1)
    for layer in network.layers[:-1]:
        h = _through(layer, h, bits)
    last = network.layers[-1]
    if isinstance(last, Affine):
        (weight, up), (bias, down) = _stored(last)
        return _affine(weight - weight[y], up, bias - bias[y], down, h)
    h = _through(last, h, bits)
    others = np.arange(h.number.size) != y
    return _Scaled(h.number - h.number[y], np.where(others, h.slack + h.slack[y], 0), h.exponent, h.divisor)


def _ends(h: _Scaled) -> tuple[Integers, Integers]:
    return h.number - h.slack, h.number + h.slack


def _scale(h: _Scaled) -> Fraction:
    return Fraction(2) ** h.exponent / h.divisor


def _through(layer: Layer, h: _Scaled, bits: int | None) -> _Scaled:
    match layer:
        case Affine():
            (weight, up), (bias, down) = _stored(layer)
            return _affine(weight, up, bias, down, h)
        case Diagonal():
            return _diagonal(layer, h) if bits is None else _rounded(layer, h, bits)
        case Relu():
            return _Scaled(
                np.where(h.number > 0, h.number, 0),
                np.where(h.number + h.slack > 0, h.slack, 0),
                h.exponent,
                h.divisor,
            )


@lru_cache(maxsize=64)
def _stored(layer: Affine | Diagonal) -> tuple[tuple[Integers, int], ...]:
    """A layer's arrays as integers; converting a matrix takes longer than multiplying by it."""
    if isinstance(layer, Affine):
        return _dyadic(layer.weight), _dyadic(layer.bias)
    return _dyadic(layer.factor), _dyadic(layer.divisor), _dyadic(layer.shift)


@lru_cache(maxsize=64)
def _rounds(network: ReluNetwork) -> bool:
    """Whether the common divisor of the network's diagonals is long."""
    common = 1
    for layer in network.layers:
        if isinstance(layer, Diagonal):
            least = 1
            for divisor in np.unique(np.abs(_stored(layer)[1][0])):
                least = math.lcm(least, int(divisor))
                if (common * least).bit_length() > _LONG:
                    return True
            common *= least
    return False


def _affine(weight: Integers, up: int, bias: Integers, down: int, h: _Scaled) -> _Scaled:
    return _plus(_product(weight, up, h), bias, down)


def _product(weight: Integers, up: int, h: _Scaled) -> _Scaled:
    active = np.flatnonzero((h.number != 0) | (h.slack != 0))
    number = slack = np.full(weight.shape[0], 0, dtype=object)
    if active.size:
        number = weight[:, active] @ h.number[active]
        loose = np.flatnonzero(h.slack != 0)
        slack = np.abs(weight[:, loose]) @ h.slack[loose] if loose.size else slack
    return _Scaled(number, slack, h.exponent + up, h.divisor)


def _diagonal(layer: Diagonal, h: _Scaled) -> _Scaled:
    return _plus(_rescaled(layer, h), *_stored(layer)[2])


def _rescaled(layer: Diagonal, h: _Scaled) -> _Scaled:
    (factor, up), (divisor, down), _ = _stored(layer)
    common = math.lcm(*(int(d) for d in divisor))
    number = h.number * factor * np.array([common // d for d in divisor], dtype=object)
    return _Scaled(number, h.slack, h.exponent + up - down, h.divisor * common)


def _rounded(layer: Diagonal, h: _Scaled, bits: int) -> _Scaled:
    """``h f / d + s`` with quotients rounded: one that is not 0 keeps so many significant bits."""
    (factor, up), (divisor, down), shift = _stored(layer)
    more = bits + max(int(d).bit_length() for d in divisor) if (abs(divisor) != 1).any() else 0
    whole = (h.number * factor) << more
    number = whole // divisor
    slack = -(-((h.slack * abs(factor)) << more) // abs(divisor)) + (number * divisor != whole)
    return _plus(_Scaled(number, slack, h.exponent + up - down - more, h.divisor), *shift)


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


def _dyadic(values: Array) -> tuple[Integers, int]:
    """Integers, as small as can be, and one exponent with ``values == integers * 2^exponent`` exactly."""
    mantissa, binary = np.frexp(values)
    number = (mantissa * 2.0**53).astype(np.int64)
    zeros = np.frexp((number & -number).astype(np.float64))[1] - 1
    zeros = np.where(number != 0, zeros, 0)
    number = number >> zeros
    power = binary.astype(np.int64) - 53 + zeros
    exponent = int(power.min(where=number != 0, initial=2**20))
    if exponent == 2**20:
        return number.astype(object), 0
    shift = np.where(number != 0, power - exponent, 0)
    if int(shift.max(initial=0)) <= 9:
        return (number << shift).astype(object), exponent
    return number.astype(object) << shift.astype(object), exponent
