"""The question: samples, ground cost, support, loss and radius, checked once so that nobody downstream has to.

V(eps) = sup { E_Q[loss] : Q on the support, W_p(Q, P) <= radius },   P = sum_i w_i delta_(x_i, y_i)
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from wdaverify.errors import ProblemError, SamplesError
from wdaverify.network.model import Array, ReluNetwork, readonly


class Loss(StrEnum):
    """The loss of a labelled point; a rival is a class j != y (docs/theory.md, section 4)."""

    MARGIN = "margin"
    """``max_{j != y} z_j - z_y``."""
    ZERO_ONE = "zero-one"
    """``[max_{j != y} z_j >= z_y]``: a tie is an error."""


class Norm(StrEnum):
    """The norm of the ground cost."""

    INF = "inf"
    ONE = "1"


@dataclass(frozen=True)
class GroundCost:
    """``c(x, x')^p = ||x - x'||_norm^p`` with fixed labels; order 1 is the one supported."""

    norm: Norm
    order: int

    def __post_init__(self) -> None:
        if self.order != 1:
            raise ProblemError(f"order {self.order} is not supported: accepted is order 1; use --order 1")

    def distance(self, delta: Array) -> Array:
        """Norms ``[...]`` of displacements ``[..., n]``, rounded to nearest (not outward)."""
        size = np.abs(delta)
        out: Array = size.max(axis=-1, initial=0.0) if self.norm is Norm.INF else size.sum(axis=-1)
        return out


@dataclass(frozen=True, eq=False)
class Support:
    """The box ``lower <= x <= upper``, both ``[n]`` and finite."""

    lower: Array
    upper: Array

    def __post_init__(self) -> None:
        if self.lower.shape != self.upper.shape or self.lower.ndim != 1:
            raise ProblemError(f"support bounds of shapes {self.lower.shape} and {self.upper.shape}: both must be [n]")
        if not (np.isfinite(self.lower).all() and np.isfinite(self.upper).all()):
            raise ProblemError("the support has a non-finite bound: a finite box is accepted; use --support LO HI")
        if (self.lower > self.upper).any():
            raise ProblemError("the support is empty: LO must be at most HI in --support LO HI")

    @classmethod
    def box(cls, lower: float, upper: float, width: int) -> Support:
        """The cube ``[lower, upper]^width``."""
        return cls(readonly(np.full(width, float(lower))), readonly(np.full(width, float(upper))))


@dataclass(frozen=True, eq=False)
class Samples:
    """The nominal distribution: points ``x [N, n]`` float64, labels ``y [N]`` int64, weights ``w [N]`` that sum to 1 up to rounding.

    The weights as stored (doubles) are the problem's own; indices are 0-based in file order. ``sha256`` is of the
    content as used (x, y and w after any clipping and truncation), see ``wdaverify.samples.content_hash``.
    """

    x: Array
    y: NDArray[np.int64]
    w: Array
    sha256: str
    source: str

    def __len__(self) -> int:
        return int(self.x.shape[0])


@dataclass(frozen=True, eq=False)
class WdroProblem:
    """One question; the constructor refuses what cannot be answered."""

    network: ReluNetwork
    samples: Samples
    cost: GroundCost
    support: Support
    loss: Loss
    radius: float

    def __post_init__(self) -> None:
        network, samples = self.network, self.samples
        if not (math.isfinite(self.radius) and self.radius >= 0):
            raise ProblemError(f"radius {self.radius}: a finite number >= 0 is accepted")
        if not network.blocks:  # composing the blocks here refuses a network whose weights overflow
            raise ProblemError(f"{network.name} has no layers")
        if len(samples) == 0:
            raise SamplesError(f"{samples.source}: no samples; at least one is needed")
        if network.n_outputs < 2:
            raise ProblemError(
                f"{network.name} has {network.n_outputs} output: the losses margin and zero-one need at least 2 classes; "
                "give the network one logit per class (a single logit z becomes the pair 0, z)"
            )
        if samples.x.shape[1] != network.n_inputs:
            raise SamplesError(
                f"{samples.source}: points have {samples.x.shape[1]} features, {network.name} takes {network.n_inputs} "
                f"(input shape {list(network.input_shape)})"
            )
        if self.support.lower.size != network.n_inputs:
            raise ProblemError(f"the support has {self.support.lower.size} features, the network {network.n_inputs}")
        bad = np.flatnonzero((samples.y < 0) | (samples.y >= network.n_outputs))
        if bad.size:
            i = int(bad[0])
            raise SamplesError(
                f"{samples.source}: label {int(samples.y[i])} of sample {i} is out of range; "
                f"labels 0 to {network.n_outputs - 1} are accepted"
            )
        outside = (samples.x < self.support.lower) | (samples.x > self.support.upper)
        if outside.any():
            self._refuse_outside(outside)

    def _refuse_outside(self, outside: NDArray[np.bool_]) -> NoReturn:
        i, k = (int(v) for v in np.argwhere(outside)[0])
        raise SamplesError(
            f"{self.samples.source}: sample {i} lies outside the support: feature {k} is {self.samples.x[i, k]:.6g}, not in "
            f"[{self.support.lower[k]:.6g}, {self.support.upper[k]:.6g}] ({int(outside.any(axis=1).sum())} such samples); "
            "widen the box with --support LO HI, or move them onto it with --clip"
        )
