"""The ascent where a cross-entropy is asked about: the functional that bounds it is free as well, of each node.

Of a piece ``lead . z + log(1 + sum_j exp(m_j))`` (``pieces``), margins ``m_j`` in ``[l_j, u_j]``, ``s_j`` slopes of exp's secants there,

    gamma_j  =  sigma s_j + down_j - up_j,      down, up >= 0,     0 < sigma <= 1
    piece   <=  lead . z + gamma . m  +  sigma - 1 - log sigma  +  sum_j sigma (exp(l_j) - s_j l_j) - down_j l_j + up_j u_j

by ``certify.entropy``: with down and up 0 both ends of an interval give the same. The bound is convex in these, and grows by

    down  m_j - l_j        up  u_j - m_j        log sigma  sigma (1 + sum_j secant_j(m_j)) - 1

at the margins m of the input that attains it: sigma is the logarithm's tangent, down and up are prices of ``m_j >= l_j``, ``m_j <= u_j``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from wdaverify.encoding.milp import Ints
from wdaverify.engines.cells.ascent import Ascent, Climbed, Multipliers, Slope
from wdaverify.engines.cells.peaks import Floats, Peaks
from wdaverify.graph.single import Single
from wdaverify.network.model import Array

_ASIDE = 0.2
"""How far from its ends an interval is cut at least, relative to its width."""
SHARE, HALF = 0.1, 0.7
"""What secants below a cut may cost, of what a bound is short of; about where exp is half of what it is at an interval's end."""
_NARROW = 1e-5
"""Intervals narrower than this are not cut here."""


@dataclass(frozen=True, eq=False)
class Secants:
    """Of margins ``[B, J]``: the ends of their intervals, the slopes of exp's secants, and what these are where the margin is 0."""

    low: Floats
    high: Floats
    slope: Floats
    zero: Floats

    @classmethod
    def of(cls, span: Floats) -> Secants:
        """Those of intervals ``[B, 2, J]`` that end at 0 or below."""
        low, high = span[:, 0], span[:, 1]
        ends, width = (np.exp(low), np.exp(high)), high - low
        slope = np.where(width > 0, (ends[1] - ends[0]) / np.where(width > 0, width, 1), ends[1])
        return cls(low, high, slope, ends[0] - slope * low)

    def take(self, index: Ints) -> Secants:
        """Those of some nodes."""
        return Secants(self.low[index], self.high[index], self.slope[index], self.zero[index])

    def joined(self, other: Secants) -> Secants:
        """These and others."""
        pairs = ((getattr(self, name), getattr(other, name)) for name in ("low", "high", "slope", "zero"))
        return Secants(*(np.concatenate(pair) for pair in pairs))


class EntropyAscent(Ascent):
    """The duals of shells, on each of which a cross-entropy is asked about: ``lead [S, K]``, ``margins [S, J, K]``, ``spans [S, 2, J]``."""

    def __init__(
        self,
        graph: Single,
        asked: tuple[Array, Array],
        centre: Array,
        bounds: tuple[Array, Array],
        peaks: Peaks,
        multiplier: Array,
        spans: Array,
    ) -> None:
        lead, margins = asked
        super().__init__(graph, lead, centre, bounds, peaks, multiplier)
        self._margins, self._known = margins.astype(np.float32), Secants.of(spans.astype(np.float32))
        self._secants = self._known

    def lay_spans(self, spans: Array) -> None:
        """The margins' intervals ``[B, 2, J]`` of the nodes that were laid last."""
        self._secants = self._known.joined(Secants.of(spans.astype(np.float32)))

    def fresh(self, shell: Ints) -> Multipliers:
        """Where the ascent begins: CROWN's slopes, the secants, and the tangent at the middle of their sum."""
        secants = self._secants.take(shell)
        bend = np.zeros((shell.size, 2 * secants.low.shape[1] + 1), np.float32)
        bend[:, -1] = np.log1p(0.5 * (np.exp(secants.low) + np.exp(secants.high)).sum(axis=1))
        return replace(super().fresh(shell), bend=bend)

    def gammas(self, shell: Ints, bend: Floats) -> tuple[Floats, Floats]:
        """Gamma ``[B, J]`` and log sigma ``[B]``."""
        slope = self._secants.slope[shell]
        count, sigma = slope.shape[1], np.exp(-bend[:, -1:])
        return sigma * slope + bend[:, :count] - bend[:, count:-1], -bend[:, -1]

    def _rows(self, shell: Ints, free: Multipliers) -> Floats:
        assert free.bend is not None
        gamma, _ = self.gammas(shell, free.bend)
        return super()._rows(shell, free) + (gamma[:, None] @ self._margins[self._shell_of[shell]])[:, 0]

    def _offset(self, shell: Ints, free: Multipliers) -> Floats:
        assert free.bend is not None
        bend, secants = free.bend, self._secants.take(shell)
        count, sigma = secants.low.shape[1], np.exp(-bend[:, -1])
        ends = bend[:, count:-1] * secants.high - bend[:, :count] * secants.low
        return np.asarray(sigma * (1 + secants.zero.sum(axis=1)) - 1 + bend[:, -1] + ends.sum(axis=1))

    def _bent(self, shell: Ints, free: Multipliers, slope: Slope, output: Floats) -> Slope:
        """How the bound falls in what bends."""
        assert free.bend is not None
        secants, m = self._secants.take(shell), self._margins_at(shell, output)
        sigma = np.exp(-free.bend[:, -1:])
        total = 1 + (secants.zero + secants.slope * m).sum(axis=1, keepdims=True)
        bend = np.concatenate([m - secants.low, secants.high - m, 1 - sigma * total], axis=1)
        return Slope(slope.bound, slope.alpha, slope.beta, slope.price, slope.moved, bend, m)

    def _margins_at(self, shell: Ints, output: Floats) -> Floats:
        return np.asarray((self._margins[self._shell_of[shell]] @ output[:, :, None])[:, :, 0])

    def forked(self, shell: Ints, climbed: Climbed, short: Floats) -> tuple[Ints, Floats, Floats, Floats]:
        """The margin of each node whose secant costs its bound most, ``[B]`` (-1: none), where to cut it, what it costs, and all.

        Cut at the point's own place, or higher, where all secants below would together cost a share of what the bound is ``short [B]`` of.
        """
        assert climbed.margins is not None
        assert climbed.free.bend is not None
        secants, rows = self._secants.take(shell), np.arange(shell.size)
        m = np.clip(climbed.margins, secants.low, secants.high)
        excess = np.exp(-climbed.free.bend[:, -1:]) * (secants.zero + secants.slope * m - np.exp(m))
        width = secants.high - secants.low
        excess = np.where((width > _NARROW) & np.isfinite(excess), excess, -1)
        at = excess.argmax(axis=1)
        low, high, width = secants.low[rows, at], secants.high[rows, at], width[rows, at]
        slight = np.log(np.float32(SHARE / secants.low.shape[1]) * np.maximum(short, np.float32(1e-30)))
        place = np.maximum(m[rows, at], slight)
        place = np.clip(
            place, low + np.float32(_ASIDE) * width, high - np.minimum(np.float32(_ASIDE) * width, np.float32(HALF))
        )
        worth = excess[rows, at]
        return np.where(worth > 0, at, -1), place, worth, np.maximum(excess, 0).sum(axis=1)
