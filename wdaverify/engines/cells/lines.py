"""Lines that stand for ReLUs on nodes, in single precision: what a pass back and a pass forward along them do to each layer.

Of a neuron with interval ``[l, u]`` and the side that its phase and its bounds leave it, q being the coefficient of its value:

    back      nu = q slope + scale beta side,     the constant loses  max(q, 0) offset + scale beta floor
    forward   h = slope z - offset (q > 0)        along alpha: z q where it is open and q <= 0;  along beta: side z - floor

slope is the chord's where q > 0 (offset: chord times l), alpha where it is open and q <= 0, else that of its piece.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wdaverify.certify.proof import Phases
from wdaverify.compiled.choice import extension
from wdaverify.encoding.milp import Ints
from wdaverify.engines.cells.peaks import Floats

_FIRST, _SECOND, _TINY = 0.9, 0.999, 1e-8


@dataclass(frozen=True, eq=False)
class Sides:
    """Per node and neuron ``[B, M]``: the interval, whether 0 is inside of it (1, else 0), the side that is left (1, -1, else 0),
    the slope that is taken where q > 0 and what it takes off, and how far from 0 the interval is.
    """

    low: Floats
    high: Floats
    open: Floats
    made: Floats
    chord: Floats
    offset: Floats
    floor: Floats

    @classmethod
    def of(cls, low: Floats, high: Floats, made: Phases) -> Sides:
        """Those of intervals that are on their sides already."""
        opened = (low < 0) & (high > 0)
        chord = np.where(opened, high / np.where(opened, high - low, 1), low >= 0).astype(np.float32)
        offset = np.where(opened, chord * low, np.float32(0))
        side = made.astype(np.float32)
        floor = np.maximum(np.where(made > 0, low, np.where(made < 0, -high, np.float32(0))), np.float32(0))
        return cls(low, high, opened.astype(np.float32), side, chord, offset, floor)

    def take(self, at: NDArray[np.bool_] | Ints | slice) -> Sides:
        """Those of some nodes."""
        parts = (self.low, self.high, self.open, self.made, self.chord, self.offset, self.floor)
        return Sides(*(part[at] for part in parts))


class Lines:
    """Rows ``[R]`` through the lines of nodes ``[B]``, with beta ``[B, M]``; ``index [R]`` says of which node each is (None: its own)."""

    def __init__(self, sides: Sides, beta: Floats, index: Ints | None = None) -> None:
        self._c: Any = extension("steering")
        if self._c is not None:
            self._index = index
        elif index is not None:
            sides, beta = sides.take(index), beta[index]
        self._sides, self._beta = sides, np.ascontiguousarray(beta)

    def back(self, span: slice, q: Floats, alpha: Floats, scale: Floats, constant: Floats, kept: Floats) -> Floats:
        """nu ``[R, m]`` of a layer's neurons at coefficients q ``[R, m]``; the constant ``[R]`` and q in ``kept [R, M]`` in place."""
        sides = self._sides
        if self._c is not None:
            q = np.ascontiguousarray(q)
            nu = np.empty_like(q)
            lines = (sides.chord, sides.offset, sides.open, sides.made, sides.floor)
            total = alpha.shape[1]
            self._c.back(span.start, total, self._index, q, nu, kept, alpha, self._beta, *lines, scale, constant)
            return nu
        chord, beta, weight = sides.chord[:, span], self._beta[:, span], scale[:, None]
        kept[:, span] = q
        constant -= np.where(q > 0, q * sides.offset[:, span], 0).sum(axis=1)
        constant -= scale * (beta * sides.floor[:, span]).sum(axis=1)
        return np.asarray(q * self._slope(span, q, alpha, chord) + weight * (beta * sides.made[:, span]))

    def forward(
        self,
        span: slice,
        z: Floats,
        alpha: Floats,
        kept: Floats,
        in_alpha: Floats,
        in_beta: Floats | None = None,
        in_scale: Floats | None = None,
    ) -> Floats:
        """h ``[R, m]`` at z ``[R, m]``; what the bound gains along alpha, beta ``[R, M]``, and, added, beta's scale ``[R]``."""
        sides = self._sides
        if self._c is not None:
            z = np.ascontiguousarray(z)
            h = np.empty_like(z)
            lines = (sides.chord, sides.offset, sides.open, sides.made, sides.floor)
            total, gains = alpha.shape[1], (in_alpha, in_beta, in_scale)
            self._c.forward(span.start, total, self._index, z, h, kept, alpha, self._beta, *lines, *gains)
            return h
        q, chord = kept[:, span], sides.chord[:, span]
        in_alpha[:, span] = np.where((sides.open[:, span] > 0) & ~(q > 0), z * q, 0)
        along = z * sides.made[:, span] - sides.floor[:, span]
        if in_beta is not None:
            in_beta[:, span] = along
        if in_scale is not None:
            in_scale += (self._beta[:, span] * along).sum(axis=1)
        return np.asarray(z * self._slope(span, q, alpha, chord) - np.where(q > 0, sides.offset[:, span], 0))

    def _slope(self, span: slice, q: Floats, alpha: Floats, chord: Floats) -> Floats:
        return np.where((self._sides.open[:, span] > 0) & ~(q > 0), alpha[:, span], chord)


class Adam:
    """First and second moments of a slope (Kingma and Ba, arXiv 1412.6980)."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._mean, self._square = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        self._c: Any = extension("steering")

    def take(self, at: NDArray[np.bool_]) -> None:
        """Go on with some of the rows."""
        self._mean, self._square = self._mean[at], self._square[at]

    def step(self, x: Floats, slope: Floats, number: int, rate: float, least: float, most: float) -> None:
        """Move x against its slope, in place, by about the rate, and keep it between two values."""
        far, unbiased = rate / (1 - _FIRST ** (number + 1)), 1 / (1 - _SECOND ** (number + 1))
        fresh = 1 - _FIRST, 1 - _SECOND
        if self._c is not None:
            moments = self._mean, self._square
            self._c.step(x, slope, *moments, _FIRST, fresh[0], _SECOND, fresh[1], far, unbiased, least, most)
            return
        self._mean = np.float32(_FIRST) * self._mean + np.float32(fresh[0]) * slope
        self._square = np.float32(_SECOND) * self._square + np.float32(fresh[1]) * slope * slope
        move = np.float32(far) * self._mean / (np.sqrt(np.float32(unbiased) * self._square) + np.float32(_TINY))
        np.clip(x - move, np.float32(least), np.float32(most), out=x)
