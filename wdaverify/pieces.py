"""The loss as pieces: what one question to an engine is about.

    phi_i(lam) = max(floor, max over pieces k of  sup_x [c_k . z(x) - lam ||x - x_i||^p] + b_k - lam charge_k)

A margin has a piece for every rival, a linear loss one for every functional; where labels may move every other label has its
own, charged ``label_cost^p`` (docs/theory.md, sections 4 and 5). A cross-entropy has one for every class r, which is no functional:

    z_r - z_y + log(1 + sum_(j != r) exp(z_j - z_r))   where z_r is the largest logit, so that every exponent is at most 0
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from wdaverify.network.model import Array
from wdaverify.problem import WdroProblem
from wdaverify.rounding import UNIT_ROUNDOFF, float_down, underflow

Ints = NDArray[np.int64]
_MOST = 2.0**1000


@dataclass(frozen=True, eq=False)
class Pieces:
    """The pieces of all samples, a sample's in a row; arrays ``[N * per_sample]``.

    ``label`` is the label under which a piece is the loss, ``code`` its rival, functional or largest class; ``moved`` says that it is not
    the sample's own. ``charge`` is ``label_cost^p`` rounded down, the price of that. ``floor`` is the least loss there is.
    """

    sample: Ints
    label: Ints
    code: Ints
    offset: Array
    moved: NDArray[np.bool_]
    charge: float
    per_sample: int
    floor: float
    entropy: bool
    _matrix: Array | None
    _classes: int

    @classmethod
    def of(cls, problem: WdroProblem) -> Pieces:
        """The pieces of a problem; for zero-one those of the margin with the samples' own labels."""
        own, classes, cost = problem.samples.y, problem.network.n_outputs, problem.cost
        rule = problem.loss.rule
        affordable = cost.moves_labels and not rule.by_distances
        if cost.order == math.inf:
            affordable = affordable and cost.label_cost <= problem.radius
        labels = np.broadcast_to(np.arange(classes), (own.size, classes)) if affordable else own[:, None]
        functionals = problem.functionals
        if functionals is not None:
            codes = np.broadcast_to(
                np.arange(functionals.matrix.shape[0]), (*labels.shape, functionals.matrix.shape[0])
            )
            offset = functionals.offsets(own)[:, None, :]
        elif rule.entropy:
            codes = np.broadcast_to(np.arange(classes), (*labels.shape, classes))
            offset = np.zeros(codes.shape)
        else:
            rank = np.arange(classes - 1)
            codes = rank + (rank >= labels[..., None])
            offset = np.full(codes.shape, rule.offset)
        per_sample = codes.shape[1] * codes.shape[2]
        label = np.broadcast_to(labels[..., None], codes.shape).reshape(-1).astype(np.int64)
        sample = np.repeat(np.arange(own.size, dtype=np.int64), per_sample)
        finite = math.isfinite(cost.order) and cost.moves_labels
        return cls(
            sample=sample,
            label=label,
            code=codes.reshape(-1).astype(np.int64),
            offset=np.asarray(np.broadcast_to(offset, codes.shape).reshape(-1), np.float64),
            moved=label != own[sample] if functionals is None else np.zeros(sample.size, np.bool_),
            charge=float_down(Fraction(cost.label_cost) ** cost.power) if finite else 0.0,
            per_sample=per_sample,
            floor=rule.floor,
            entropy=rule.entropy,
            _matrix=None if functionals is None else functionals.matrix,
            _classes=classes,
        )

    def __len__(self) -> int:
        return int(self.sample.size)

    def of_samples(self, samples: Ints) -> Ints:
        """The pieces of samples ``[S]``, ``[S, per_sample]``."""
        return np.asarray(samples[:, None] * self.per_sample + np.arange(self.per_sample))

    def rows(self, items: Ints) -> Array:
        """The functionals of pieces ``[B]``, ``[B, Q, K]``: one each, or all margins of a cross-entropy's label."""
        if self._matrix is not None:
            return np.asarray(self._matrix[self.code[items]][:, None, :])
        if self.entropy:
            return self._against(self.label[items])
        return differences(self.code[items][:, None], self.label[items], self._classes)

    def lead(self, items: Ints) -> Array:
        """``z_r - z_y`` of a cross-entropy's pieces ``[B]``, ``[B, K]``; 0 where the label is the largest."""
        return differences(self.code[items][:, None], self.label[items], self._classes)[:, 0]

    def behind(self, items: Ints) -> Array:
        """``z_j - z_r`` of a cross-entropy's pieces ``[B]`` for all other classes, ``[B, K - 1, K]``."""
        return self._against(self.code[items])

    def _against(self, classes: Ints) -> Array:
        rank = np.arange(self._classes - 1)
        return differences(rank + (rank >= classes[:, None]), classes, self._classes)

    def whole(self, raw: Array, items: Ints, multiplier: Array | float) -> Array:
        """``raw + b - lam charge`` of pieces ``[B]``, rounded up; ``raw`` bounds what the engine was asked at ``lam``, one or ``[B]``."""
        paid = self._paid(items, multiplier)
        with np.errstate(over="ignore", invalid="ignore"):
            size = np.abs(np.where(np.isfinite(raw), raw, 0.0)) + np.abs(self.offset[items]) + paid
            changed = (self.offset[items] != 0) | (paid != 0)
            more = self.offset[items] - paid + 4 * UNIT_ROUNDOFF * size + underflow(1)
            return np.asarray(raw + np.where(changed, more, 0.0))

    def bar(self, wanted: Array, items: Ints, multiplier: float) -> Array:
        """What the engine's answer must exceed for the whole of a piece to exceed ``wanted [B]``, nearly."""
        return np.asarray(wanted - self.offset[items] + self._paid(items, multiplier))

    def _paid(self, items: Ints, multiplier: Array | float) -> Array:
        """``lam charge`` of pieces ``[B]``; no more than a double holds with room to spare, which is still a charge rounded down."""
        with np.errstate(over="ignore"):
            return np.asarray(np.minimum(multiplier * self.charge, _MOST) * self.moved[items])


def differences(rivals: Ints, classes: Ints, count: int) -> Array:
    """``e_j - e_c`` for rivals ``[B, Q]`` of classes ``[B]``, ``[B, Q, count]``."""
    unit = np.eye(count)
    return np.asarray(unit[rivals] - unit[classes][:, None])
