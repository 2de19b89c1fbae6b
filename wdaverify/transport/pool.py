"""The atoms that may carry mass: per sample, the upper concave envelope of value against cost.

An atom ``(c, v, x')`` of sample i says that a unit of mass moved from ``x_i`` to ``x'`` costs ``c = ||x' - x_i||^p``
and is worth ``v = loss(x', y_i)``. Only atoms on the upper concave envelope can be used by the restricted master, and
every multiplier's best atom is one of them (docs/theory.md, section 2):

    lower_i(lam) = max_k v_ik - lam c_ik <= phi_i(lam)

Costs and values are floats as the caller computed them; nothing here is a proof, ``witness.evaluate`` re-evaluates.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wdaverify.network.model import Array, readonly

OWN = -1
"""Instead of a label: the sample's own."""


@dataclass(frozen=True, eq=False)
class PoolAtom:
    """One atom of a sample's envelope; ``point [n]`` is None for the mass that stays where it is; ``label`` may be ``OWN``."""

    sample: int
    cost: float
    value: float
    point: Array | None
    label: int


@dataclass(frozen=True, eq=False)
class FlatEnvelope:
    """All envelopes in a row: ``sample, cost, value [M]``; ``start [N + 1]`` says where each sample's atoms begin."""

    sample: NDArray[np.int64]
    cost: Array
    value: Array
    start: NDArray[np.int64]


class _Envelope:
    """One sample's atoms: costs and values strictly increasing, slopes strictly decreasing."""

    __slots__ = ("costs", "labels", "points", "values")

    def __init__(self, clean_value: float) -> None:
        self.costs = [0.0]
        self.values = [clean_value]
        self.points: list[Array | None] = [None]
        self.labels = [OWN]

    def admits(self, cost: float, value: float) -> bool:
        """Whether ``(cost, value)`` lies strictly above the envelope (beyond the last atom it is constant)."""
        costs, values = self.costs, self.values
        right = bisect_right(costs, cost)
        left = right - 1
        if value <= values[left]:
            return False
        if costs[left] == cost or right == len(costs):
            return True
        return self._above(costs[left], values[left], cost, value, costs[right], values[right])

    def insert(self, cost: float, value: float, point: Array, label: int) -> None:
        """Insert an admitted atom and drop those it puts under the envelope."""
        costs, values = self.costs, self.values
        at = bisect_right(costs, cost)
        stop = at
        while stop < len(costs) and (
            values[stop] <= value
            or (
                stop + 1 < len(costs)
                and not self._above(cost, value, costs[stop], values[stop], costs[stop + 1], values[stop + 1])
            )
        ):
            stop += 1
        if costs[at - 1] == cost:
            at -= 1
        while at >= 2 and not self._above(costs[at - 2], values[at - 2], costs[at - 1], values[at - 1], cost, value):
            at -= 1
        costs[at:stop] = [cost]
        values[at:stop] = [value]
        self.points[at:stop] = [point]
        self.labels[at:stop] = [label]

    @staticmethod
    def _above(c0: float, v0: float, c1: float, v1: float, c2: float, v2: float) -> bool:
        """Whether ``(c1, v1)`` lies strictly above the chord of its neighbours, for ``c0 < c1 < c2``."""
        return (v1 - v0) * (c2 - c1) > (v2 - v1) * (c1 - c0)


class AtomPool:
    """The envelopes of N samples in n dimensions, each starting at the clean atom ``(0, clean value)``.

    A zero-cost atom above the clean value takes the clean atom's place, with its own point: where that point is ``x_i``
    itself this corrects the value, and elsewhere (a distance that rounded to zero) it is a move that costs nothing.
    """

    def __init__(self, clean_values: Array, width: int) -> None:
        """Start from ``clean_values [N]``, the losses at the samples.

        Raises:
            ValueError: a clean value is not finite, or the array is not one-dimensional.
        """
        values = np.asarray(clean_values, dtype=np.float64)
        if values.ndim != 1 or not np.isfinite(values).all():
            raise ValueError(f"clean values of shape {values.shape}: a finite vector [N] is needed")
        self._envelopes = [_Envelope(float(v)) for v in values]
        self._width = width
        self._flat: FlatEnvelope | None = None
        self._touched: set[int] = set()

    def __len__(self) -> int:
        """The number N of samples."""
        return len(self._envelopes)

    @property
    def width(self) -> int:
        """The dimension n of the points."""
        return self._width

    def add(self, sample: int, cost: float, value: float, point: Array, label: int = OWN) -> bool:
        """Offer an atom; True if it enters the envelope. A dominated one is dropped, and so is one of value -inf.

        Raises:
            ValueError: an unknown sample, a negative or non-finite cost, a value of NaN or +inf, or a point not [n].
        """
        if not 0 <= sample < len(self._envelopes):
            raise ValueError(f"sample {sample} is not one of the {len(self._envelopes)} samples")
        if not (math.isfinite(cost) and cost >= 0) or math.isnan(value) or value == math.inf:
            raise ValueError(f"atom of cost {cost} and value {value}: a finite cost >= 0 and a finite value are needed")
        if np.shape(point) != (self._width,):
            raise ValueError(f"point of shape {np.shape(point)}: [{self._width}] is needed")
        envelope = self._envelopes[sample]
        if not envelope.admits(cost, value):
            return False
        envelope.insert(cost, value, readonly(point), label)
        self._flat = None
        self._touched.add(sample)
        return True

    def add_many(
        self, sample: NDArray[np.int64], cost: Array, value: Array, point: Array, label: NDArray[np.int64] | None = None
    ) -> NDArray[np.bool_]:
        """Offer atoms ``sample, cost, value [M]``, ``point [M, n]`` in turn; says which of them entered.

        One that entered may have been displaced by a later one.

        Raises:
            ValueError: as ``add``.
        """
        entered = np.zeros(len(sample), dtype=np.bool_)
        for k in range(len(sample)):
            named = OWN if label is None else int(label[k])
            entered[k] = self.add(int(sample[k]), float(cost[k]), float(value[k]), point[k], named)
        return entered

    def points(self) -> tuple[NDArray[np.int64], Array]:
        """Samples ``[M]`` and points ``[M, n]`` of every atom that has one, sample by sample, by increasing cost."""
        found = [(i, point) for i, e in enumerate(self._envelopes) for point in e.points if point is not None]
        sample = np.fromiter((i for i, _ in found), np.int64, len(found))
        return sample, np.array([point for _, point in found], np.float64).reshape(len(found), self._width)

    def touched(self) -> set[int]:
        """The samples whose envelopes have changed since this was asked last."""
        out, self._touched = self._touched, set()
        return out

    def flat(self) -> FlatEnvelope:
        """All envelopes as flat arrays, rebuilt only after a change."""
        if self._flat is None:
            sizes = np.fromiter((len(e.costs) for e in self._envelopes), np.int64, len(self._envelopes))
            start = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
            total = int(start[-1])
            self._flat = FlatEnvelope(
                np.repeat(np.arange(len(sizes), dtype=np.int64), sizes),
                np.fromiter((c for e in self._envelopes for c in e.costs), np.float64, total),
                np.fromiter((v for e in self._envelopes for v in e.values), np.float64, total),
                start,
            )
        return self._flat

    def lower_model(self, multiplier: float) -> Array:
        """``max_k v_ik - multiplier * c_ik`` for every sample, ``[N]``, the product rounded up.

        Raises:
            ValueError: the multiplier is negative or not finite.
        """
        _check_multiplier(multiplier)
        flat = self.flat()
        if not self._envelopes:
            return np.zeros(0)
        with np.errstate(over="ignore"):
            paid = multiplier * flat.cost * (1 + 2.0**-50)
            out: Array = np.maximum.reduceat(flat.value - paid, flat.start[:-1])
        return out

    def best(self, sample: int, multiplier: float) -> PoolAtom:
        """The atom of a sample that attains ``lower_model``, the cheapest of equals.

        Raises:
            ValueError: the multiplier is negative or not finite.
        """
        _check_multiplier(multiplier)
        envelope = self._envelopes[sample]
        worth = [v - multiplier * c for c, v in zip(envelope.costs, envelope.values, strict=True)]
        return self.atom(sample, worth.index(max(worth)))

    def atom(self, sample: int, index: int) -> PoolAtom:
        """Atom ``index`` of a sample's envelope, by increasing cost."""
        envelope = self._envelopes[sample]
        return PoolAtom(
            sample, envelope.costs[index], envelope.values[index], envelope.points[index], envelope.labels[index]
        )

    def envelope(self, sample: int) -> tuple[PoolAtom, ...]:
        """A sample's atoms by increasing cost."""
        return tuple(self.atom(sample, k) for k in range(len(self._envelopes[sample].costs)))


def _check_multiplier(multiplier: float) -> None:
    if not (math.isfinite(multiplier) and multiplier >= 0):
        raise ValueError(f"multiplier {multiplier}: a finite number >= 0 is needed")
