"""Points of a region that cells are looked for at, in the units that polyhedra are taken in (``certify.halfspaces``)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

from wdaverify.certify.halfspaces import Units, shell_of
from wdaverify.certify.slope import slope_exactly, slopes_at
from wdaverify.encoding.cost import Region
from wdaverify.engines.base import Slope
from wdaverify.engines.cells.interior import surely_within
from wdaverify.graph.nodes import Graph
from wdaverify.network.model import Array
from wdaverify.rounding import UNIT_ROUNDOFF, underflow

_SAMPLES = 512
_GENERATIONS = 24
"""How often the best point is looked around, in ever narrower steps, before the search."""
_WIDE = 4.0
"""Samples of R^n are normal with deviations of up to 2 to this power, in units, either way."""
_GRID = 2.0**24
"""One over the grid of points on equations."""


class PointsWithin:
    """Points of the region of a slope question."""

    def __init__(self, graph: Graph, question: Slope) -> None:
        self._graph, self._question, self._region = graph, question, question.region
        region = question.region
        self._low, self._high = _inner(region)
        self.units = Units.of(graph, region, question.still)
        self.base, self.step, self.bounded = self.units.base, self.units.step, self.units.bounded
        if self.bounded:
            self.shell = shell_of(region)

    def placed(self, points: Array) -> Array:
        """Points ``[B, e]`` in units as points ``[B, n]``."""
        out = np.repeat(self.base[None], len(points), axis=0)
        moving = self.step > 0
        out[:, moving] += points * self.step[moving]
        return out

    def best(self, points: Array, *, exactly: bool = False) -> tuple[float, Array | None]:
        """The largest sure slope at points ``[B, n]`` moved into the region, and where; -inf where there is none.

        ``exactly``: those that floats are not sure of are asked in rationals.
        """
        region = self._region
        points = _onto(region, np.clip(points, self._low, self._high))
        if math.isfinite(region.far):
            points = points[surely_within(region, points)]
        if region.rows is not None and len(points):
            points = points[region.rows.hold(points)]
        if not len(points):
            return -math.inf, None
        question = self._question
        lower = slopes_at(self._graph, points, question.rows, region.cost, question.still)[0]
        for k in np.flatnonzero(lower == -np.inf).tolist() if exactly else ():
            lower[k] = slope_exactly(self._graph, points[k], question.rows, region.cost, question.still)
        at = int(lower.argmax())
        return float(lower[at]), points[at]

    def drawn(self, seed: int, best: Callable[[], Array | None]) -> Iterator[Array]:
        """Random points ``[B, n]``, then others around the best so far, in narrower steps each time."""
        rng = np.random.default_rng(seed)
        region, n = self._region, self.base.size
        if self.bounded:
            share = rng.uniform(size=(_SAMPLES, n))
            points = region.lower * (1 - share) + region.upper * share
            width = region.upper - region.lower
        else:
            spread = np.exp2(rng.uniform(-_WIDE, _WIDE, (_SAMPLES, 1)))
            points = self.base + self.step * spread * rng.normal(size=(_SAMPLES, n))
            width = self.step * 2.0**_WIDE
        if math.isfinite(region.far):
            away = points - region.centre
            length = region.cost.distance(away)
            kept = np.minimum(1.0, region.far * rng.uniform(0, 1, length.size) / np.maximum(length, 1e-300))
            points = region.centre + away * kept[:, None]
        yield np.concatenate([points, region.centre[None, :]])
        for k in range(_GENERATIONS):
            point = best()
            if point is None:
                return
            step = rng.normal(size=(_SAMPLES // 4, n)) * width * 0.5 ** (1 + 8 * k / _GENERATIONS)
            kept = rng.uniform(size=step.shape) < rng.uniform(0.05, 1.0, (len(step), 1))
            yield point + step * kept


def _onto(region: Region, points: Array) -> Array:
    """Points ``[B, n]`` of the box moved onto the equations of the region, exactly where a coefficient is a power of two.

    The others of its row are rounded to a grid on which their sums are exact. Points that leave the box are left out.
    """
    rows = region.rows
    if rows is None or not (rows.lower == rows.upper).any():
        return points
    out = np.array(points)
    for row, side in zip(rows.matrix[rows.lower == rows.upper], rows.upper[rows.lower == rows.upper], strict=True):
        some = np.flatnonzero(row)
        exact = some[np.abs(np.frexp(row[some])[0]) == 0.5]
        if not exact.size:
            continue
        out[:, some] = np.round(out[:, some] * _GRID) / _GRID
        room = np.minimum(out - region.lower, region.upper - out)[:, exact]
        for b, at in enumerate(exact[room.argmax(axis=1)].tolist()):
            out[b, at] = 0.0
            out[b, at] = (side - row @ out[b]) / row[at]
    return out[((out >= region.lower) & (out <= region.upper)).all(axis=1)]


def _inner(region: Region) -> tuple[Array, Array]:
    """The box without its border, which may have been rounded outward."""
    with np.errstate(invalid="ignore"):
        off = 16 * UNIT_ROUNDOFF * (np.abs(region.centre) + (0.5 * region.upper - 0.5 * region.lower)) + underflow(8)
        off = np.where((region.lower < region.upper) & np.isfinite(off), off, 0.0)
        return np.minimum(region.lower + off, region.centre), np.maximum(region.upper - off, region.centre)
