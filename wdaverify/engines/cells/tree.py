"""One region's relaxation: nodes are sets of phases, children are bounded by an LP and its recomputed dual."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wdaverify.encoding.milp import Ints, MilpModel
from wdaverify.encoding.relu import Chord
from wdaverify.engines.cells.dual import DualBound
from wdaverify.network.model import Array
from wdaverify.solvers.lp import LpSession, LpStatus

Phases = NDArray[np.int8]
"""Per open neuron 0 (open), 1 (active, s = 0) or -1 (dead, h = 0)."""


@dataclass(frozen=True, eq=False)
class Node:
    """A set of phases ``[m]`` with its proven lower bound (of the minimisation) and the LP point's ``h, s [m]``.

    ``point`` is the LP point's network input, or None where the LP gave none.
    """

    phases: Phases
    bound: float
    above: Array
    below: Array
    point: Array | None


class Relaxation:
    """The LP relaxation of one question on one region, and the nodes below it."""

    def __init__(self, model: MilpModel, chord: Chord) -> None:
        self._model = model
        self._session = LpSession(model)
        self._dual = DualBound(model)
        self._above, self._below = np.array(chord.above, np.int64), np.array(chord.below, np.int64)
        self._free_above, self._free_below = model.upper[self._above], model.upper[self._below]
        self._upper = model.upper.copy()
        self.names = np.array(chord.names, np.int64)
        self.neurons = self._above.size
        self.solves = 0

    def root(self, cutoff: float, seconds: float) -> Node:
        """The node with every phase open."""
        return self.bound(np.zeros(self.neurons, dtype=np.int8), -math.inf, cutoff, seconds)

    def bound(self, phases: Phases, inherited: float, cutoff: float, seconds: float) -> Node:
        """A node's bound: the LP's, recomputed from its multipliers, or what its parent proved if that is better.

        The LP stops early once its dual passes ``cutoff``; if the recomputed bound does not confirm it, it is solved out.
        """
        self._apply(phases)
        self._session.limit(seconds)
        self.solves += 1
        self._session.cut(cutoff)
        solution = self._session.solve()
        if solution.status is LpStatus.CUT_OFF:
            assert solution.rows is not None
            bound = self._dual.objective(solution.rows, self._model.lower, self._upper)
            if bound >= cutoff:
                return Node(phases, max(bound, inherited), np.zeros(0), np.zeros(0), None)
            self._session.cut(math.inf)
            solution = self._session.solve()
        if solution.status is LpStatus.INFEASIBLE:
            ray = solution.rows
            if ray is not None and self._dual.infeasible(ray, self._model.lower, self._upper):
                return Node(phases, math.inf, np.zeros(0), np.zeros(0), None)
        if solution.status is not LpStatus.OPTIMAL:
            self._session.forget()
            middle = 0.5 * self._free_above, 0.5 * self._free_below
            return Node(phases, inherited, *middle, None)
        assert solution.rows is not None
        bound = self._dual.objective(solution.rows, self._model.lower, self._upper)
        columns = solution.columns
        point = self._model.point(columns)
        return Node(phases, max(bound, inherited), columns[self._above], columns[self._below], point)

    def _apply(self, phases: Phases) -> None:
        above = np.where(phases < 0, 0.0, self._free_above)
        below = np.where(phases > 0, 0.0, self._free_below)
        self._change(self._above, above)
        self._change(self._below, below)

    def _change(self, index: Ints, upper: Array) -> None:
        changed = np.flatnonzero(self._upper[index] != upper)
        self._session.set_upper(index[changed], upper[changed])
        self._upper[index] = upper
