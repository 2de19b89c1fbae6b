"""Which radius? What one means on samples: beside how far apart they are, how large noise is, and what a budget could do there.

A radius is put beside what it could do to a model that is right on all samples, by moving samples onto samples of another class, where
that model says the other class. Within ``r`` for each input (order inf) that makes wrong the share ``sum of w_i with d_i <= r``, on
average over all mass (order 1) the share that the knapsack ``max sum a_i, sum a_i d_i <= r, 0 <= a_i <= w_i`` carries there, where ``d_i``
is the distance of sample i to the nearest one of another class. The worst-case error rate of such a model is at least that, whatever it is.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wdaverify.digits import stated
from wdaverify.doors.classes import labels_of
from wdaverify.doors.question import at_hand, points_of
from wdaverify.given import listed, number, real
from wdaverify.ground import Norm
from wdaverify.network.model import Array
from wdaverify.problem import Samples
from wdaverify.report.columns import columns
from wdaverify.report.summary import rows
from wdaverify.samples import make_samples

MOST = 1000
"""At most so many samples are compared, drawn from all that have weight: pairs grow with the square."""
NOISE = 0.05
"""The standard deviation of the noise, as a share of each feature's own."""
_DRAWS, _SEED = 1000, 0
_SHARES = (0.0, 0.05, 0.5, 0.95)
_SAID = (
    "Order inf lets every input move by the radius, order 1 mass by the radius on average. The shares are what either makes wrong of any "
    "model that is right on all samples, by moves onto samples of another class: its worst-case error rate is at least that."
)
_PART = " Distances and shares are those of the samples compared; among all, the nearest ones are as near or nearer."
_METRICS = {Norm.INF: "chebyshev", Norm.ONE: "cityblock", Norm.TWO: "euclidean"}


@dataclass(frozen=True)
class RadiusRow:
    """A radius, what it is beside, and the share that it makes wrong of any model that is right on all samples."""

    radius: float
    what: str
    each: float
    """Order inf: every input moves by at most the radius."""
    average: float
    """Order 1: mass moves by the radius on average."""


@dataclass(frozen=True, repr=False)
class RadiusGuide:
    """Distances between samples, and radii beside them; ``print`` shows it.

    ``same`` and ``other`` are quantiles (``shares``: least, 5 %, half, 95 %) of the distance from a sample to the nearest one of its own
    and of another class, in ``norm``; None where no sample has such a neighbour.
    """

    norm: str
    samples: int
    compared: int
    features: int
    span: tuple[float, float]
    """The least and the largest number in X."""
    shares: tuple[float, ...]
    same: tuple[float, ...] | None
    other: tuple[float, ...] | None
    rows: tuple[RadiusRow, ...]

    def __repr__(self) -> str:
        return f"<radius guide: {self.compared} samples, norm {self.norm}, {len(self.rows)} radii>"

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "norm": self.norm,
            "samples": self.samples,
            "compared": self.compared,
            "features": self.features,
            "span": list(self.span),
            "shares": list(self.shares),
            "same_class": None if self.same is None else list(self.same),
            "other_class": None if self.other is None else list(self.other),
            "radii": [
                {"radius": row.radius, "what": row.what, "order_inf": row.each, "order_1": row.average}
                for row in self.rows
            ],
        }

    def __str__(self) -> str:
        part = self.compared < self.samples
        most = f", of which {self.compared} are compared, drawn evenly from all" if part else ""
        table = [
            ("samples", f"{self.samples} of {self.features} features{most}"),
            ("norm", f"{Norm(self.norm).short}, of every distance and radius here"),
            ("numbers", f"from {_short(self.span[0])} to {_short(self.span[1])}"),
        ]
        head = f"{'nearest sample':<16}{'least':>10}{'5 %':>10}{'half':>10}{'95 %':>10}"
        none = f"none of the {self.compared} compared has one" if part else "none has one"
        near = [_quantiles("of its own class", self.same, none), _quantiles("of another", self.other, none)]
        radii = [f"{_short(row.radius):>10}{row.each:11.1%}{row.average:10.1%}   {row.what}" for row in self.rows]
        return "\n".join(
            [
                rows(table),
                f"\n{head}",
                *near,
                f"\n{'radius':>10}{'order inf':>11}{'order 1':>10}   which is",
                *radii,
                "",
                textwrap.fill(_SAID + (_PART if part else ""), columns()),
            ]
        )


def radius_guide(X: Any, y: Any, *, norm: Any = "inf", weights: Any = None, radii: Any = ()) -> RadiusGuide:
    """What a radius means on samples: how far apart they are, how large noise is, and what a budget could do to any model.

        print(wd.radius_guide(X, y))

    Args:
        X: points ``[N, ...]``, in the units in which the radius will be given.
        y: labels ``[N]``: numbers or names.
        norm: "inf", 1 or 2, of the move of a point.
        weights: of the samples ``[N]``; all equal by default.
        radii: one radius or a list that shall be shown too.

    Raises:
        InputError: anything that cannot be used, in one line.
    """
    samples = make_samples(points_of(X), np.unique(labels_of(at_hand(y)), return_inverse=True)[1], weights)
    kind = Norm.of(norm)
    several = [radii] if number(radii) is not None else listed("radii", radii, "a radius or a list of them")
    asked = [real("radius", each, "a finite number >= 0", lambda r: 0 <= r < math.inf) for each in several]
    return guide(samples, kind, asked)


def guide(samples: Samples, norm: Norm, asked: Sequence[float] = ()) -> RadiusGuide:
    """Of samples that were checked."""
    x, at = samples.x, _drawn(samples)
    same, other = _nearest(x[at], samples.y[at], norm)
    masses = samples.w[at] / samples.w[at].sum()
    span = (float(x.min()), float(x.max()))
    found = [
        (_noise(x, norm), f"noise of {100 * NOISE:.0f} % of each feature's deviation"),
        (8 / 255 * (span[1] - span[0]), "8/255 of the range of all numbers"),
        *((radius, "asked for") for radius in asked),
    ]
    if np.isfinite(other).any():
        least, usual = float(other.min()), float(np.median(other[np.isfinite(other)]))
        found += [
            (least / 2, "half the least distance of two classes"),
            (least, "the least distance of two classes"),
            (usual / 10, "a tenth of the usual distance to another class"),
        ]
    shown = tuple(
        RadiusRow(radius, what, float(masses[other <= radius].sum()), _carried(other, masses, radius))
        for radius, what in sorted(found)
        if radius > 0 or what == "asked for"
    )
    return RadiusGuide(norm.value, len(x), len(same), x.shape[1], span, _SHARES, _summary(same), _summary(other), shown)


def _drawn(samples: Samples) -> NDArray[np.int64]:
    """Which samples are compared, ascending: all, or ``MOST`` of those that have weight, drawn from a fixed seed.

    Files are sorted by class, or go through the classes in turn: neither the first ones nor every tenth would stand for all.
    """
    if len(samples) <= MOST:
        return np.arange(len(samples))
    there = np.flatnonzero(samples.w > 0)
    return np.sort(np.random.default_rng(_SEED).choice(there, min(MOST, len(there)), replace=False))


def _nearest(x: Array, y: NDArray[np.int64], norm: Norm) -> tuple[Array, Array]:
    """The distance ``[N]`` to the nearest other sample of the same class, and of another; inf where there is none."""
    from scipy.spatial.distance import cdist

    apart = cdist(x, x, _METRICS[norm])
    np.fill_diagonal(apart, np.inf)
    alike = y[:, None] == y
    return np.where(alike, apart, np.inf).min(axis=1), np.where(alike, np.inf, apart).min(axis=1)


def _carried(distances: Array, masses: Array, radius: float) -> float:
    """The share of the mass that an average budget carries over its distances: the nearest first."""
    order = np.argsort(distances, kind="stable")
    order = order[np.isfinite(distances[order])]
    spent, carried = np.cumsum(masses[order] * distances[order]), np.cumsum(masses[order])
    whole = int(np.searchsorted(spent, radius, side="right"))
    if whole == len(order):
        return float(carried[-1]) if whole else 0.0
    before, done = (spent[whole - 1], carried[whole - 1]) if whole else (0.0, 0.0)
    return float(done + (radius - before) / distances[order[whole]])


def _noise(x: Array, norm: Norm) -> float:
    """The median size of Gaussian noise whose deviation is a share of each feature's own."""
    drawn = np.random.default_rng(_SEED).standard_normal((_DRAWS, x.shape[1])) * (NOISE * x.std(axis=0))
    return float(np.median(np.linalg.norm(drawn, float(norm.value), axis=1)))


def _summary(distances: Array) -> tuple[float, ...] | None:
    finite = distances[np.isfinite(distances)]
    return tuple(float(value) for value in np.quantile(finite, _SHARES)) if finite.size else None


def _quantiles(what: str, found: tuple[float, ...] | None, none: str) -> str:
    return f"{what:<16}" + (f"  {none}" if found is None else "".join(f"{_short(value):>10}" for value in found))


def _short(value: float) -> str:
    return stated(float(f"{value:.4g}"))
