"""Whether an error is one in single precision too: in every order of summation, in the orders tried, or not.

With ``u = 2^-24``, ``h`` what a float32 network computes and ``|h - c| <= r``, an affine map of which ``k`` terms are not 0 gives

    c' = W c + b,   r' = |W| r + gamma_k (|W| (|c| + r) + |b|) + underflow,     gamma_k = k u / (1 - k u)

for sums in any order, fused or not, denormals flushed or not (Higham 2002, section 3.1; docs/theory.md, section 9). That is a
worst case some hundred times what rounding does, so there is a second answer: the float32 forward in several orders of summation.
Both are about the layers as read; a runtime that rewrites the graph (folds a normalisation into a matrix, say) may round otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from enum import StrEnum
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from wdaverify.network.model import Affine, Array, Diagonal, Relu, ReluNetwork
from wdaverify.rounding import UNIT_ROUNDOFF, dot_error

IntArray = NDArray[np.int64]
Singles = NDArray[np.float32]

_U, _TINY, _LARGE = 2.0**-24, 2.0**-126, 2.0**126
"""Unit roundoff, the least normal number, and sizes at which a float32 may overflow."""
_PARTS = (1, 2, 3, 5, 2**30, 2**30 + 1)
"""The orders of summation that are tried: every sum in so many parts, an even number of them from the last to the first; 1 is
``ReluNetwork.forward_float32``, and the most are one part a term."""
_PORTION = 512
_DIAGONAL, _STORED = 8, 4
"""Roundings that a diagonal map is charged for, however it is written; those that a number which is no float32 stands for."""


class Flip(StrEnum):
    """Whether float32 too has a rival strictly ahead: in any order of summation; in all tried, by more than they differ, or less; or no."""

    ANY_ORDER = "any-order"
    ORDERS_TRIED = "orders-tried"
    BARELY = "barely"
    NO = "no"


def flips(network: ReluNetwork, x: Array, y: IntArray) -> list[Flip]:
    """What is to be said of points ``[B, n]`` with labels ``y [B]``; each is rounded to float32 first, as whoever uses it does."""
    out: list[Flip] = []
    for first in range(0, len(x), _PORTION):
        some, labels = x[first : first + _PORTION], y[first : first + _PORTION]
        least, need = tried_margins(network, some, labels)
        tried = [
            Flip.ORDERS_TRIED if a > b else Flip.BARELY if a > 0 else Flip.NO for a, b in zip(least, need, strict=True)
        ]
        sure = single_margins(network, some, labels)[0] > 0
        out += [Flip.ANY_ORDER if s else t for s, t in zip(sure, tried, strict=True)]
    return out


def single_margins(network: ReluNetwork, x: Array, y: IntArray) -> tuple[Array, Array]:
    """``max_{j != y} z_j - z_y`` at float32(x), ``x [B, n]``, ``[B]`` each: a lower bound of what float32 makes of it; its value."""
    rows = np.arange(len(x))
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        centre = _widened(x)
        radius = np.zeros_like(centre)
        for layer in network.layers:
            match layer:
                case Affine():
                    centre, radius = _affine(layer, centre, radius)
                case Diagonal():
                    centre, radius = _diagonal(layer, centre, radius)
                case Relu():
                    centre = np.where(np.isfinite(centre), centre, np.nan)  # an overflow is no sign
                    radius = np.where(centre <= -radius, 0.0, radius)
                    centre = np.maximum(centre, 0.0)
        margin = centre - centre[rows, y][:, None]
        slack = (radius + radius[rows, y][:, None]) * (1 + 8 * UNIT_ROUNDOFF) + 4 * UNIT_ROUNDOFF * np.abs(margin)
        lower = margin - slack
    fits = np.abs(centre) + radius < _LARGE
    lower[~(fits & fits[rows, y][:, None])] = -math.inf
    lower[rows, y] = margin[rows, y] = -math.inf
    return np.nextafter(lower.max(axis=1), -math.inf), np.asarray(np.nan_to_num(margin, nan=-math.inf).max(axis=1))


def tried_margins(network: ReluNetwork, x: Array, y: IntArray) -> tuple[Array, Array]:
    """The margin loss ``[B]`` of float32 forwards in several orders of summation: the least, and what it should exceed to be relied on.

    That is the range of the margins seen and two units in the last place of the largest logit. A NaN counts as -inf.
    """
    rows = np.arange(len(x))
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        z = np.stack(list(_forwards(network, np.asarray(x, np.float32)))).astype(np.float64)
        margin = z - z[:, rows, y][:, :, None]
        margin[:, rows, y] = -math.inf
        margins = margin.max(axis=2)
        least = margins.min(axis=0)
        need = margins.max(axis=0) - least + 4 * _U * np.abs(z).max(axis=(0, 2))
    unknown = np.isnan(least) | np.isnan(need)
    return np.where(unknown, -math.inf, least), np.where(unknown, math.inf, need)


def as_single(x: Array, centre: Array) -> Array:
    """Points ``[..., n]`` whose moved features are float32 numbers, rounded towards those of ``centre [..., n]``, or these themselves.

    So a point stays within every box and every ball around ``centre`` that held it.
    """
    with np.errstate(over="ignore"):
        near = np.asarray(x, np.float32)
        beyond = np.abs(near - centre) > np.abs(x - centre)
        back = np.where(x > centre, np.float32(-np.inf), np.float32(np.inf))
        inward = np.where(beyond, np.nextafter(near, back), near).astype(np.float64)
    between = (inward - centre) * (x - centre) > 0
    return np.where(between, inward, centre)


def _widened(array: Array) -> Array:
    """The float32 numbers nearest to the entries, as doubles."""
    return np.asarray(array, np.float32).astype(np.float64)


def _affine(layer: Affine, centre: Array, radius: Array) -> tuple[Array, Array]:
    weight, bias = _widened(layer.weight), _widened(layer.bias)
    exact = bool((weight == layer.weight).all() and (bias == layer.bias).all())
    size = np.abs(centre) + radius
    terms = np.count_nonzero(size, axis=1, keepdims=True) + (1 if exact else 1 + _STORED)
    absolute = np.abs(weight)
    total = size @ absolute.T + np.abs(bias)
    factor = np.where(total < _LARGE, _gamma(terms) + dot_error(layer.weight.shape[1] + 4), math.inf)
    lost = _TINY * (2 * terms + absolute.sum(axis=1) + size.sum(axis=1, keepdims=True))
    return centre @ weight.T + bias, (radius @ absolute.T + factor * total) * (
        1 + dot_error(weight.shape[1] + 8)
    ) + lost


def _diagonal(layer: Diagonal, centre: Array, radius: Array) -> tuple[Array, Array]:
    """An operation by 1 or 0 rounds nothing; others are charged more than their own roundings, so that they may be written otherwise."""
    factor, divisor, shift = _widened(layer.factor), _widened(layer.divisor), _widened(layer.shift)
    slope = np.abs(factor) / np.abs(divisor)
    inexact = (layer.factor != 1) | (layer.divisor != 1) | (layer.shift != 0)
    size = (np.abs(centre) + radius) * slope + np.abs(shift)
    charge = np.where(size < _LARGE, _DIAGONAL * _U, math.inf) * size
    error = np.where(inexact, charge + _TINY * (2 + slope + 1 / np.abs(divisor)), 0.0)
    return centre * factor / divisor + shift, (radius * slope + error) * (1 + 16 * UNIT_ROUNDOFF)


def _gamma(terms: NDArray[np.int64]) -> Array:
    """``k u / (1 - k u)``, a little more than that; inf where a sum is too long for it."""
    share = terms * _U
    return np.where(share < 0.5, 1.0001 * share / (1 - np.minimum(share, 0.5)), math.inf)


def _forwards(network: ReluNetwork, x: Singles) -> Iterator[Singles]:
    """The logits ``[B, K]`` in float32, each time with every sum in so many parts, begun from either end."""
    layers = [_cast(layer) for layer in network.layers]
    for parts in _PARTS:
        h = x
        for layer in layers:
            h = np.maximum(h, np.float32(0)) if not layer else _mapped(layer, h, parts)
        yield h


def _cast(layer: Affine | Diagonal | Relu) -> tuple[Singles, ...]:
    """The numbers of a layer in float32: weight and bias, or factor, divisor and shift; none of a ReLU."""
    match layer:
        case Affine():
            return layer.weight.astype(np.float32), layer.bias.astype(np.float32)
        case Diagonal():
            return tuple(part.astype(np.float32) for part in (layer.factor, layer.divisor, layer.shift))
        case Relu():
            return ()


def _mapped(layer: tuple[Singles, ...], h: Singles, parts: int) -> Singles:
    if len(layer) == 3:
        factor, divisor, shift = layer
        return np.asarray(h * factor / divisor + shift, np.float32)
    weight, bias = layer
    count = min(parts, h.shape[1])
    edges = [h.shape[1] * k // max(count, 1) for k in range(count + 1)]
    spans = list(pairwise(edges))[:: 1 if parts % 2 else -1]
    out = (
        np.zeros((len(h), len(bias)), np.float32)
        if not spans
        else h[:, slice(*spans[0])] @ weight[:, slice(*spans[0])].T
    )
    for first, last in spans[1:]:
        out = out + h[:, first:last] @ weight[:, first:last].T
    return np.asarray(out + bias, np.float32)
