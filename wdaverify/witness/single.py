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
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wdaverify.graph.maps import Dense, Diagonal, LinearMap
from wdaverify.graph.nodes import INPUT, Affine, Graph
from wdaverify.graph.smooth.curve import Smooth
from wdaverify.network.model import Array, ReluNetwork
from wdaverify.rounding import UNIT_ROUNDOFF, dot_error

IntArray = NDArray[np.int64]
Singles = NDArray[Any]
"""Numbers in float32."""

_U, _TINY, _LARGE = 2.0**-24, 2.0**-126, 2.0**126
"""Unit roundoff, the least normal number, and sizes at which a float32 may overflow."""
_PARTS = (1, 2, 3, 5, 2**30, 2**30 + 1)
"""The orders of summation that are tried: every sum in so many parts, an even number of them from the last to the first; 1 is
``ReluNetwork.forward_float32``, and the most are one part a term."""
_FEW = 32
"""So many parts at most of a map that is not one matrix."""
_PORTION = 512
_DIAGONAL, _STORED, _LIBRARY = 8, 4, 64
"""Roundings that a diagonal map is charged for, however it is written; those that a number which is no float32 stands for;
those that a curved function is, however a runtime computes it."""


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
        known, centre = {INPUT: (_widened(x), np.zeros(x.shape))}, x
        for k, node in enumerate(network.graph.nodes):
            if isinstance(node, Affine):
                centre, radius = known[k] = _affine(node, [known[s] for s in node.sources])
                continue
            centre, radius = known[node.source]
            centre = np.where(np.isfinite(centre), centre, np.nan)  # an overflow is no sign
            often = _LIBRARY if isinstance(node.function, Smooth) else _DIAGONAL
            size = np.abs(centre) + radius
            lost = 0.0 if node.function.is_relu else often * _U * node.function.magnitude(size) + _TINY
            known[k] = node.function.value(centre), node.function.spread(centre, radius) + lost
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


def _affine(node: Affine, given: list[tuple[Array, Array]]) -> tuple[Array, Array]:
    """What float32 makes of an affine node, in any order of its sums."""
    bias = _widened(node.bias)
    total, most = bias, np.zeros((1, 1))
    out, lost, overall = np.zeros(bias.shape), np.zeros(()), np.zeros(())
    for map_, (centre, radius) in zip(node.maps, given, strict=True):
        stored, size = map_.like(_widened), np.abs(centre) + radius
        total, absolute = total + stored.apply(centre), stored.size()
        terms, exact = _terms(map_, size), all((_widened(part) == part).all() for part in map_.numbers)
        terms = terms + len(given) - 1 + bool(bias.any()) + (0 if exact and (bias == node.bias).all() else _STORED)
        reached = absolute.apply(size)
        factor = _gamma(terms) + dot_error(map_.terms_out + 4) * (terms > 0)
        inexact = _rounds(map_) | (bias != 0) | (len(given) > 1)
        out = out + absolute.apply(radius) + np.where(inexact, factor * reached, 0.0)
        most, overall = np.maximum(most, factor), overall + reached
        lost = lost + np.where(inexact, _vanishing(map_, absolute, size, terms), 0.0)
    overall = overall + np.abs(bias)
    out = (out + most * np.abs(bias)) * (1 + dot_error(max(m.terms_out for m in node.maps) + 8)) + lost
    return total, np.where(overall < _LARGE, out, math.inf)


def _rounds(map_: LinearMap) -> NDArray[np.bool_]:
    """Which results a map rounds at all: an operation by 1 rounds nothing."""
    if isinstance(map_, Diagonal):
        return np.asarray((map_.factor != 1) | (map_.divisor != 1))
    return np.full(map_.outputs, map_.terms_out > 0)


def _terms(map_: LinearMap, size: Array) -> NDArray[np.int64]:
    """How many roundings a result is charged for, ``[B, 1]``: of a matrix, where something is there to be multiplied."""
    if isinstance(map_, Dense):
        return np.asarray(np.count_nonzero(size, axis=1, keepdims=True))
    more = (
        _DIAGONAL if isinstance(map_, Diagonal) else 0
    )  # charged more than its own, so that it may be written otherwise
    return np.full((len(size), 1), map_.terms_out and max(map_.terms_out, more))


def _vanishing(map_: LinearMap, absolute: LinearMap, size: Array, terms: NDArray[np.int64]) -> Array:
    """What products and stored numbers below the normal ones may lose."""
    if isinstance(map_, Diagonal):
        return np.asarray(_TINY * (2 + terms + np.abs(map_.factor / map_.divisor) + 1 / np.abs(map_.divisor) + size))
    return np.asarray(_TINY * (2 * terms + absolute.apply(np.ones(map_.inputs)) + size.sum(axis=1, keepdims=True)))


def _gamma(terms: NDArray[np.int64]) -> Array:
    """``k u / (1 - k u)``, a little more than that; inf where a sum is too long for it."""
    share = terms * _U
    return np.where(share < 0.5, 1.0001 * share / (1 - np.minimum(share, 0.5)), math.inf)


def _forwards(network: ReluNetwork, x: Singles) -> Iterator[Singles]:
    """The logits ``[B, K]`` in float32, each time with every sum in so many parts, begun from either end."""
    for parts in _PARTS:
        yield _forward(network.single, x, parts)


def _forward(graph: Graph, x: Singles, parts: int) -> Singles:
    known: dict[int, Singles] = {INPUT: x}
    for k, node in enumerate(graph.nodes):
        if not isinstance(node, Affine):
            known[k] = np.asarray(node.function.value(known[node.source]), np.float32)
            continue
        terms = [_mapped(m, known[s], parts) for s, m in zip(node.sources, node.maps, strict=True)]
        terms = terms[:: 1 if parts % 2 else -1]
        known[k] = np.asarray(sum(terms[1:], start=terms[0]) + node.bias, np.float32)
    return known[len(graph.nodes) - 1]


def _mapped(map_: LinearMap, h: Singles, parts: int) -> Singles:
    """A map in float32: a matrix by parts of its columns, any other by parts of what it is given."""
    count = min(parts, h.shape[1] if isinstance(map_, Dense) else _FEW)
    edges = [h.shape[1] * k // count for k in range(count + 1)]
    spans = [slice(a, b) for a, b in pairwise(edges)][:: 1 if parts % 2 else -1]
    if not map_.terms_out or isinstance(map_, Diagonal) or len(spans) < 2:
        return np.asarray(map_.apply(h), np.float32)
    if isinstance(map_, Dense):
        weight = map_.weight.T
        out = h[:, spans[0]] @ weight[spans[0]]
        for span in spans[1:]:
            out = out + h[:, span] @ weight[span]
        return np.asarray(out, np.float32)
    out = np.zeros((len(h), map_.outputs), np.float32)
    for span in spans:
        some = np.zeros_like(h)
        some[:, span] = h[:, span]
        out = out + np.asarray(map_.apply(some), np.float32)
    return out
