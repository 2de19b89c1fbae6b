"""What a loss says of itself. Whoever needs to know something of a loss asks for it here, and not which loss it is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Labels = NDArray[np.int64]


class By(Enum):
    """By which search a loss is answered (docs/theory.md, sections 2 and 4)."""

    PIECES = "pieces"
    """Column generation over the pieces that the loss is the maximum of."""
    DISTANCES = "distances"
    """A knapsack over the distances to the nearest error."""
    LEVELS = "levels"
    """A staircase of distances to the loss's levels, by MIP solvers."""


class Reads(Enum):
    """What the value of a loss at a point is computed from."""

    RIVAL = "rival"
    """The largest margin ``max_{j != y} z_j - z_y``."""
    MARGINS = "margins"
    """The margins ``z_j - z_y`` of all classes, 0 at the label."""
    ERROR = "error"
    """Whether the point is an error, decided exactly."""
    FUNCTIONALS = "functionals"
    """The functionals that the question brings along, instead of margins."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A loss; unless a subclass computes otherwise it is ``max(floor, offset + max_{j != y} z_j - z_y)``.

    Words: ``formula`` and ``noun`` as reports print them, ``reading`` a sentence of what the loss says, ``aliases`` other names,
    in lower case with ``-`` for ``_``.

    Pieces: each is a margin (or one of the user's functionals) plus ``offset``, and the loss is ``floor`` at least; with
    ``entropy`` the log-sum-exp of a label's margins is one piece. The attacks' ascent follows the same three, or those of the
    loss named ``attacked_as``. A loss of pieces has slope 1 in its margins.

    What it takes: ``least_classes``; what refuses it is a sentence that says why, "" where nothing does.
    """

    formula: str
    noun: str
    reading: str
    aliases: tuple[str, ...] = ()

    search: By = By.PIECES
    reads: Reads = Reads.RIVAL
    offset: float = 0.0
    floor: float = -math.inf
    entropy: bool = False
    attacked_as: str = ""

    of_logits: bool = True
    """Whether it speaks of the scores themselves, and would be another loss of probabilities made of them."""

    takes_specification: bool = False
    """Whether it is of a specification that the question brings along, and of no labels."""
    least_classes: int = 1
    few_classes: str = ""
    """Why fewer classes will not do, and the way out."""
    fixed_labels: str = ""
    """Why labels may not move, and the way out, with ``{cost}`` for the price asked for."""
    undefined: str = ""
    """Why it may not be defined at a sample, and the way out."""
    no_slope: str = ""
    """Why no constant bounds its slope."""
    no_gradient: str = ""
    """Why it has no first-order sensitivity."""

    @property
    def by_pieces(self) -> bool:
        """Whether it is answered by column generation over its pieces."""
        return self.search is By.PIECES

    @property
    def by_distances(self) -> bool:
        """Whether it is answered by the distances to the nearest error."""
        return self.search is By.DISTANCES

    @property
    def by_levels(self) -> bool:
        """Whether it is answered level by level."""
        return self.search is By.LEVELS

    @property
    def grows(self) -> bool:
        """Whether it may grow without end along rays, at a slope."""
        return self.by_pieces

    @property
    def mip(self) -> bool:
        """Whether the models of MIP solvers hold its pieces, or its distances."""
        return self.by_distances or (self.by_pieces and not self.entropy)

    @property
    def certified(self) -> bool:
        """Whether certificates prove it: what MIP solvers alone answer has nobody's proof."""
        return not self.by_levels

    @property
    def takes_functionals(self) -> bool:
        """Whether the question has to bring functionals along."""
        return self.reads is Reads.FUNCTIONALS

    def enclosed(self, lower: Array, upper: Array, label: Labels) -> tuple[Array, Array]:
        """Bounds ``[B]`` of the loss from bounds of what it reads: ``[B]`` of the largest margin or of the error, ``[B, K]`` of the
        margins, ``[B, R]`` of the functionals; rounded outward.
        """
        if self.offset:
            lower, upper = np.nextafter(self.offset + lower, -np.inf), np.nextafter(self.offset + upper, np.inf)
        if self.floor > -math.inf:
            lower, upper = np.maximum(lower, self.floor), np.maximum(upper, self.floor)
        return lower, upper

    def single(self, logits: NDArray[np.floating], label: Labels) -> Array:
        """The loss ``[B]`` of logits ``[B, K]`` in the precision they come in, or of the functionals' values ``[B, R]``."""
        worst = largest_margin(logits, label)
        return np.maximum(self.offset + worst if self.offset else worst, self.floor)

    def derivative(self, logits: Array, label: Labels) -> Array:
        """The loss's derivative ``[B, K]`` by the logits, or ``[B, R]`` by the functionals' values."""
        out = margin_derivative(logits, label)
        if self.floor == -math.inf:
            return out
        return np.where((self.offset + largest_margin(logits, label) > self.floor)[:, None], out, 0.0)


def largest_margin(logits: NDArray[np.floating], label: Labels) -> Array:
    """``max_{j != y} z_j - z_y`` of logits ``[B, K]``, subtracted in their own precision, ``[B]``."""
    rows = np.arange(len(label))
    margin = logits - logits[rows, label][:, None]
    margin[rows, label] = -np.inf
    return np.asarray(margin.max(axis=1), dtype=np.float64)


def margin_derivative(logits: Array, label: Labels) -> Array:
    """The derivative of the largest margin by the logits, ``[B, K]``: 1 at the rival, -1 at the label."""
    rows, others, out = np.arange(len(label)), logits.copy(), np.zeros_like(logits)
    others[rows, label] = -np.inf
    out[rows, others.argmax(axis=1)] += 1.0
    out[rows, label] -= 1.0
    return out
