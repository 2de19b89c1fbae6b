"""From a point near a tie of three logits to the tie itself, in rationals (``wdaverify.witness.tie`` says what counts).

On one activation cell the logits are affine, so a tie of chosen classes there is a system of linear equations. A solver's point is
moved in as few features as there are independent equations, solved exactly; where the point it leads to lies in another
cell this is done again from there (Newton's method on a piecewise linear map ends after a few steps). A tie on the boundary of
the support, of the ball or of cells is found by taking those sides that are close for equations. Nothing here is trusted: a
point that does not pass ``tie_at`` is none.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations, islice, pairwise

import numpy as np
from numpy.typing import NDArray

from wdaverify.certify.exact import one_sided
from wdaverify.graph.nodes import INPUT, Affine
from wdaverify.network.model import Array, ReluNetwork
from wdaverify.problem import Norm, WdroProblem
from wdaverify.witness.tie import Tie, still, tie_at

_CLOSE = 1e-6
"""What is closer than this, relative to the numbers at hand, may be meant to be equal: a solver's tolerance and some room."""
_STEPS = 3
_TRIPLES = 8
"""How many sets of classes are tried where more than three are close."""
_NEARBY, _SCALE = 6, 1e-7
"""Points around the one given that may lie in other cells, and how far away."""
_TOWARD = 6
"""Random points of the support towards which a tie may come apart, beside the sample and the centre."""
_ROWS = 16
"""The most neurons close to 0 that are held there."""
_INDEPENDENT = 1e-9
_LEAST = float(np.finfo(np.float64).tiny)

Box = tuple[list[Fraction], list[Fraction]]
_Row = tuple[tuple[int, int], ...]
"""Positions and coefficients."""


@dataclass(frozen=True)
class _Start:
    """Where to solve from: ``point [n]``, which features stay, and whether neurons that are close to 0 are held there."""

    point: tuple[Fraction, ...]
    held: NDArray[np.bool_]
    kinks: bool


def find_tie(problem: WdroProblem, sample: int, point: Array, *, seed: int, deadline: float) -> Tie | None:
    """A tie near ``point [n]`` that shows that the loss of ``sample`` has no bound; None where none was found before the deadline."""
    rng = np.random.default_rng(seed)
    box = _box(problem, sample)
    moves = rng.normal(size=(_NEARBY, point.size)) * _SCALE * np.maximum(np.abs(point), 1.0)
    toward = list(_toward(problem, sample, box, rng))
    seen: set[bytes] = set()
    for start in np.vstack([point[None, :], point + moves]):
        pattern = b"".join((z > 0).tobytes() for z, _ in _linearised(problem.network, start)[:-1])
        if pattern in seen:
            continue
        seen.add(pattern)
        for classes in _classes(problem, sample, start):
            for begin in _starts(problem, sample, start, box):
                if time.monotonic() >= deadline:
                    return None
                found = _solved(problem, sample, classes, begin, toward)
                if found is not None:
                    return found
    return None


def _box(problem: WdroProblem, sample: int) -> Box:
    """The smallest box around the support and, for order inf, the ball."""
    low = [Fraction(v) for v in problem.support.lower.tolist()]
    high = [Fraction(v) for v in problem.support.upper.tolist()]
    x = [Fraction(v) for v in problem.samples.x[sample].tolist()]
    if math.isinf(problem.cost.order):
        radii = [Fraction(problem.radius) / Fraction(a) for a in problem.cost.scale(len(x)).tolist()]
        low = [max(a, c - radius) for a, c, radius in zip(low, x, radii, strict=True)]
        high = [min(b, c + radius) for b, c, radius in zip(high, x, radii, strict=True)]
    for k in np.flatnonzero(problem.cost.fixed(len(x))).tolist():
        low[k] = high[k] = x[k]
    return low, high


def _toward(problem: WdroProblem, sample: int, box: Box, rng: np.random.Generator) -> Iterator[list[Fraction]]:
    """Points of the support, and of the ball for order inf: the sample, and some between it and points of the box."""
    x = [Fraction(v) for v in problem.samples.x[sample].tolist()]
    yield x
    inside = (
        Fraction(1, len(x)) if math.isinf(problem.cost.order) and problem.cost.norm is not Norm.INF else Fraction(1)
    )
    for share in [np.full(len(x), 0.5), *rng.uniform(size=(_TOWARD, len(x)))]:
        corner = (a + Fraction(float(s)) * (b - a) for s, a, b in zip(share, *box, strict=True))
        yield [c + inside * (v - c) for c, v in zip(x, corner, strict=True)]


def _classes(problem: WdroProblem, sample: int, point: Array) -> Iterator[tuple[int, ...]]:
    """The three rivals of largest logit, and other threes, or all, of those that are close."""
    logits = problem.network.forward(point[None, :])[0]
    order = [int(j) for j in np.argsort(-logits, kind="stable") if j != problem.samples.y[sample]]
    room = _CLOSE * max(1.0, float(np.abs(logits).max()))
    close = [j for j in order if logits[j] >= logits[order[2]] - room]
    yield tuple(order[:3])
    if len(close) > 3:
        yield tuple(close)
        yield from islice(combinations(close, 3), 1, _TRIPLES)


def _starts(problem: WdroProblem, sample: int, point: Array, box: Box) -> Iterator[_Start]:
    """The point with features held at the sides of the box that are close, at the sample's own values too, and as it is."""
    x = [Fraction(v) for v in problem.samples.x[sample].tolist()]
    own = [min(max(Fraction(v), low), high) for v, low, high in zip(point.tolist(), *box, strict=True)]
    if problem.support.integer is not None:
        own = [
            Fraction(round(v)) if whole else v for v, whole in zip(own, problem.support.integer.tolist(), strict=True)
        ]
    for levels in (box, (*box, x), ()):
        held, at = still(problem), list(own)
        for level in levels:
            for k in np.flatnonzero(~held).tolist():
                if abs(own[k] - level[k]) <= _CLOSE * max(1.0, abs(float(own[k]))):
                    held[k], at[k] = True, level[k]
        for kinks in (False, True):
            yield _Start(tuple(at), held, kinks)


def _solved(
    problem: WdroProblem, sample: int, classes: tuple[int, ...], start: _Start, toward: list[list[Fraction]]
) -> Tie | None:
    """The tie of these classes that the equations lead to from a start."""
    network, point, n = problem.network, list(start.point), len(start.point)
    for _ in range(_STEPS):
        rows, slopes = _equations(network, np.array([float(v) for v in point]), classes, start.kinks)
        free = np.flatnonzero(~start.held)
        pivots = free[_pivots(slopes[:, free])].tolist()
        values, columns = list[Fraction](), list[list[Fraction]]()
        for k in pivots or [0]:
            z, s = (
                [v for part in parts for v in part]
                for parts in zip(*one_sided(network, point, [Fraction(int(j == k)) for j in range(n)]), strict=True)
            )
            values, column = ([sum((c * v[j] for j, c in row), Fraction(0)) for row in rows] for v in (z, s))
            columns.append(column)
        step = _solution(columns[: len(pivots)], values)
        if step is None:
            return None
        for k, move in zip(pivots, step, strict=True):
            point[k] += move
        found = tie_at(problem, sample, point, toward)
        if found is not None:
            return found
        if not any(step):
            return None
    return None


def _equations(network: ReluNetwork, point: Array, classes: tuple[int, ...], kinks: bool) -> tuple[list[_Row], Array]:
    """Combinations that are to be 0 of all pre-activations and logits in a row, and their gradients ``[m, n]`` in floating point."""
    parts = _linearised(network, point)
    value, slope = (np.concatenate([part[k] for part in parts]) for k in (0, 1))
    first = value.size - network.n_outputs
    rows: list[_Row] = [((first + a, 1), (first + b, -1)) for a, b in pairwise(classes)]
    if kinks:
        size = np.concatenate([np.full(z.size, max(1.0, float(np.abs(z).max(initial=0.0)))) for z, _ in parts])
        close = np.flatnonzero((np.abs(value) <= _CLOSE * size)[:first])
        rows += [((j, 1),) for j in close[:_ROWS].tolist()]
    return rows, np.stack([sum(c * slope[j] for j, c in row) for row in rows])


def _linearised(network: ReluNetwork, point: Array) -> list[tuple[Array, Array]]:
    """Values ``[m]`` and Jacobians ``[m, n]`` at the input of every ReLU and of the logits, in floating point."""
    values, slopes, out = {INPUT: point}, {INPUT: np.eye(point.size)}, list[tuple[Array, Array]]()
    for k, node in enumerate(network.graph.nodes):
        if isinstance(node, Affine):
            parts = list(zip(node.maps, node.sources, strict=True))
            values[k] = sum((m.apply(values[s]) for m, s in parts), start=node.bias)
            slopes[k] = sum((m.apply(slopes[s]) for m, s in parts), start=np.zeros((point.size, node.width)))
        else:
            h, slope = values[node.source], slopes[node.source]
            out.append((h, slope.T))
            values[k], slopes[k] = node.function.value(h), slope * node.function.derivative(h)
    return [*out, (values[k], slopes[k].T)]


def _pivots(rows: Array) -> list[int]:
    """Columns in which the rows are independent, chosen by complete pivoting."""
    left = rows / np.maximum(np.abs(rows).max(axis=1, initial=0.0), _LEAST)[:, None]
    out = list[int]()
    while left.size:
        r, k = np.unravel_index(np.abs(left).argmax(), left.shape)
        if not abs(left[r, k]) > _INDEPENDENT:
            break
        out.append(int(k))
        left = left - np.outer(left[:, k] / left[r, k], left[r])
        left[r], left[:, k] = 0.0, 0.0
    return out


def _solution(columns: list[list[Fraction]], values: list[Fraction]) -> list[Fraction] | None:
    """``t`` with ``values + sum_k t_k columns[k] = 0``, exactly; None where there is none, or more than one."""
    rows = [[*(column[i] for column in columns), -value] for i, value in enumerate(values)]
    for k in range(len(columns)):
        at = next((i for i in range(k, len(rows)) if rows[i][k] != 0), None)
        if at is None:
            return None
        rows[k], rows[at] = rows[at], rows[k]
        rows[k] = [v / rows[k][k] for v in rows[k]]
        for i, row in enumerate(rows):
            if i != k and row[k] != 0:
                rows[i] = [a - row[k] * b for a, b in zip(row, rows[k], strict=True)]
    if any(row[-1] != 0 for row in rows[len(columns) :]):
        return None
    return [row[-1] for row in rows[: len(columns)]]
