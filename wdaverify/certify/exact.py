"""The network in exact rationals: what decides a tie (docs/theory.md, section 9: outward rounding never can).

Doubles are dyadic, so a layer is a matrix of integers times a power of two, and a vector of activations is kept as
integers ``h`` with one common scale: ``value = h * 2^exponent / divisor``. Only a ``Diagonal`` brings a divisor in.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wdaverify.network.model import Affine, Array, Diagonal, Relu, ReluNetwork

IntArray = NDArray[np.int64]
Integers = NDArray[Any]
"""An object array of Python ints."""


@dataclass(frozen=True, eq=False)
class _Scaled:
    """The rationals ``number * 2^exponent / divisor`` with ``divisor > 0``."""

    number: Integers
    exponent: int
    divisor: int


def exact_margins(network: ReluNetwork, x: Array, y: int) -> list[Fraction]:
    """``z_j - z_y`` for all classes j at ``x [n]``, in real arithmetic on the weights as stored; 0 at ``j = y``."""
    logits = _logits(network, np.asarray(x, dtype=np.float64))
    scale = Fraction(2) ** logits.exponent / logits.divisor
    return [int(z - logits.number[y]) * scale for z in logits.number]


def exact_error(network: ReluNetwork, x: Array, y: int) -> bool:
    """Whether some rival's logit reaches ``z_y`` at ``x [n]``, exactly: a tie is an error."""
    number = _logits(network, np.asarray(x, dtype=np.float64)).number
    return any(z >= number[y] for j, z in enumerate(number) if j != y)


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
                h, slope = _affine(layer, h), _product(layer, slope)
            case Diagonal():
                h, slope = _diagonal(layer, h), _rescaled(layer, slope)
            case Relu():
                out.append((_fractions(h), _fractions(slope)))
                on = (h.number > 0) | ((h.number == 0) & (slope.number > 0))
                h = _Scaled(np.where(h.number > 0, h.number, 0), h.exponent, h.divisor)
                slope = _Scaled(np.where(on, slope.number, 0), slope.exponent, slope.divisor)
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


def _logits(network: ReluNetwork, x: Array) -> _Scaled:
    number, exponent = _dyadic(x)
    h = _Scaled(number, exponent, 1)
    for layer in network.layers:
        match layer:
            case Affine():
                h = _affine(layer, h)
            case Diagonal():
                h = _diagonal(layer, h)
            case Relu():
                h = _Scaled(np.where(h.number > 0, h.number, 0), h.exponent, h.divisor)
    return h


@lru_cache(maxsize=64)
def _stored(layer: Affine | Diagonal) -> tuple[tuple[Integers, int], ...]:
    """A layer's arrays as integers; converting a matrix takes longer than multiplying by it."""
    if isinstance(layer, Affine):
        return _dyadic(layer.weight), _dyadic(layer.bias)
    return _dyadic(layer.factor), _dyadic(layer.divisor), _dyadic(layer.shift)


def _affine(layer: Affine, h: _Scaled) -> _Scaled:
    return _plus(_product(layer, h), *_stored(layer)[1])


def _product(layer: Affine, h: _Scaled) -> _Scaled:
    weight, weight_exponent = _stored(layer)[0]
    active = np.flatnonzero(h.number != 0)
    number = weight[:, active] @ h.number[active] if active.size else np.full(weight.shape[0], 0, dtype=object)
    return _Scaled(number, h.exponent + weight_exponent, h.divisor)


def _diagonal(layer: Diagonal, h: _Scaled) -> _Scaled:
    return _plus(_rescaled(layer, h), *_stored(layer)[2])


def _rescaled(layer: Diagonal, h: _Scaled) -> _Scaled:
    (factor, up), (divisor, down), _ = _stored(layer)
    common = math.lcm(*(int(d) for d in divisor))
    number = h.number * factor * np.array([common // d for d in divisor], dtype=object)
    return _Scaled(number, h.exponent + up - down, h.divisor * common)


def _plus(h: _Scaled, number: Integers, exponent: int) -> _Scaled:
    """``h + number * 2^exponent``, elementwise."""
    if not (number != 0).any():
        return h
    common = min(h.exponent, exponent)
    total = h.number * (1 << (h.exponent - common)) + number * (h.divisor << (exponent - common))
    return _Scaled(total, common, h.divisor)


def _rational(values: Sequence[Fraction]) -> _Scaled:
    common = math.lcm(*(value.denominator for value in values))
    return _Scaled(np.array([value.numerator * (common // value.denominator) for value in values], object), 0, common)


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
