"""Lines below open neurons that bound a mixture of rows on boxes well, by ascent (``engines.cells.ascent``): they prove nothing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wdaverify.certify.confined import Confined, Ints, Slopes
from wdaverify.certify.proof import Phases
from wdaverify.certify.rows import Rows
from wdaverify.engines.cells.ascent import Ascent
from wdaverify.engines.cells.lines import Sides
from wdaverify.engines.cells.peaks import Floats
from wdaverify.graph.single import Single
from wdaverify.network.model import Array

_STEPS = 12
_PAST = 0.02
"""How far below 0 the ascent goes on, as a share of how far above 0 the bound was: single precision and 255ths cost something."""
_STEEPEST = 255.0


@dataclass(frozen=True, eq=False)
class _Peaks:
    """The largest value of a linear function on boxes of radii ``[B, n]``, whatever moving costs (``engines.cells.peaks.Peaks``)."""

    radius: Floats

    def __call__(self, shell: Ints, q: Floats, price: Floats) -> tuple[Floats, Floats, Floats]:
        moved = np.sign(q) * self.radius[shell]
        return (q * moved).sum(axis=1), moved, np.zeros(shell.size, np.float32)

    def crossing(self, shell: Ints, q: Floats, level: Floats) -> tuple[Floats, Floats, Floats]:
        """Of distances alone, which boxes have none of."""
        raise NotImplementedError("a box has no price of distance")


class _Slopes(Ascent):
    """Of alpha alone: what is known of neurons on one side is not paid for."""

    def _sides(self, shell: Ints, phases: Phases) -> Sides:
        low, high = self._low[shell], self._high[shell]
        return Sides.of(low, high, np.zeros(phases.shape, np.int8))


class Climber:
    """Ascents on boxes of one specification's rows."""

    def __init__(self, rows: Rows) -> None:
        self._rows, self._graph = rows, Single(rows.graph)

    def slopes(self, found: Confined, disjunct: Ints, at: Ints) -> tuple[NDArray[np.float32], Slopes]:
        """mu ``[k, R]`` and slopes of lines ``[k, M]`` for some of the boxes, ``at [k]``."""
        rows, count = self._rows, at.size
        which, offset = rows.which[disjunct[at]], rows.offset[disjunct[at]]
        alone = np.zeros(which.shape, np.float32)
        alone[np.arange(count), found.row[at]] = 1.0
        mu = np.where(found.mixed[at, None], found.mixture[at], alone)
        functional = np.zeros((count, rows.graph.outputs))
        weights = np.where(np.isfinite(offset), mu, 0.0).astype(np.float64)
        np.add.at(functional, (np.arange(count)[:, None], which), weights)
        paid = (weights * np.where(weights > 0, offset, 0.0)).sum(axis=1)
        low, high = (_side(found.hidden, k, at) for k in range(2))
        shells = found.shells.take(at)
        ascent = _Slopes(
            self._graph, functional, shells.centre, (low, high), _Peaks(_single(shells.up)), np.zeros(count)
        )
        place, phases = np.arange(count), np.zeros(low.shape, np.int8)
        ceiling = paid + _PAST * np.maximum(found.top[at], 0.0)
        climbed = ascent.climb(place, phases, ascent.fresh(place), _STEPS, ceiling)
        open_ = (low < 0) & (high > 0)
        parts = np.where(open_, np.rint(climbed.free.alpha * _STEEPEST), 0.0)
        return mu, np.clip(np.nan_to_num(parts), 0, _STEEPEST).astype(np.uint8)


def _side(hidden: list[tuple[Array, Array]], side: int, at: Ints) -> Array:
    return np.concatenate([np.zeros((at.size, 0)), *(bounds[side][at] for bounds in hidden)], axis=1)


def _single(numbers: Array) -> Floats:
    with np.errstate(over="ignore"):
        return numbers.astype(np.float32)
