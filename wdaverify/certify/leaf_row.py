"""The numbers that a leaf is proved by, by name: where each of them stands in a row is known here alone.

    margin, cost            weights of the functional and of the price of moving
    nu [M]                  multipliers of the neurons
    rho [r]                 multipliers of the support's rows
    gamma [J], log_sigma    of a cross-entropy: the weights of its margins, and the level of its bound

A bare row has margin and cost alone: everything else by rule.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wdaverify.network.model import Array

_WEIGHTS = 2


@dataclass(frozen=True)
class Layout:
    """How many numbers of each kind the rows of a question have; ``margins`` are those of a cross-entropy, 0 for other losses."""

    neurons: int
    rows: int = 0
    margins: int = 0

    @property
    def width(self) -> int:
        """The numbers of a row."""
        return _WEIGHTS + self.neurons + self.tail

    @property
    def tail(self) -> int:
        """The numbers behind those of the neurons."""
        return self.rows + (self.margins + 1 if self.margins else 0)

    def zeros(self, *shape: int) -> LeafRow:
        """Rows ``[*shape]`` of zeros."""
        return LeafRow(self, np.zeros((*shape, self.width)))

    def bare(self, count: int, cost: float) -> LeafRow:
        """Bare rows ``[count]``: the whole margin at a cost."""
        return LeafRow(self, np.tile([1.0, cost], (count, 1)))

    def fits(self, numbers: Array) -> bool:
        """Whether an array holds rows of this layout in its last axis."""
        return bool(numbers.ndim and numbers.shape[-1] == self.width)


@dataclass(frozen=True, eq=False)
class LeafRow:
    """Rows ``numbers [..., width]`` under their names, each a view: writing into one writes the row."""

    layout: Layout
    numbers: Array

    @property
    def written(self) -> bool:
        """Whether there is more than margin and cost; of a graph without neurons there need not be."""
        return self.numbers.shape[-1] > _WEIGHTS or not self.layout.neurons

    @property
    def margin(self) -> Array:
        """The weight of the functional, ``[...]``."""
        return self.numbers[..., 0]

    @property
    def cost(self) -> Array:
        """The weight of the price of moving, ``[...]``."""
        return self.numbers[..., 1]

    @property
    def nu(self) -> Array | None:
        """Multipliers of the neurons, ``[..., M]``; None by rule."""
        return self.numbers[..., _WEIGHTS : _WEIGHTS + self.layout.neurons] if self.written else None

    @property
    def rho(self) -> Array | None:
        """Multipliers of the support's rows, ``[..., r]``; None where there are none."""
        first = _WEIGHTS + self.layout.neurons
        there = self.layout.rows and self.numbers.shape[-1] > first
        return self.numbers[..., first : first + self.layout.rows] if there else None

    @property
    def gamma(self) -> Array | None:
        """Weights of a cross-entropy's margins, ``[..., J]``; None by rule."""
        return self.numbers[..., -1 - self.layout.margins : -1] if self.written and self.layout.margins else None

    @property
    def log_sigma(self) -> Array | None:
        """The level of a cross-entropy's bound, ``[...]``; None by rule."""
        return self.numbers[..., -1] if self.written and self.layout.margins else None


def moved(numbers: Array, nu: Array) -> Array:
    """Rows of another graph: the weights of these, and multipliers of its neurons."""
    return np.concatenate([numbers[..., :_WEIGHTS], nu], axis=-1)
