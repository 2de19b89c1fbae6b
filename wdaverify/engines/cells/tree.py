"""One shell's nodes: sets of phases, each bounded by a linear program whose multipliers are kept."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from wdaverify.certify.proof import Phases
from wdaverify.encoding.linear import ShellProgram
from wdaverify.network.model import Array
from wdaverify.solvers.lp import LpSession, LpSolution, LpStatus

_EASE = 1e-6
"""How far, relative to its range, a fixed neuron is let off its side where its leaf is nearly empty."""
_ADDITIONS = 30
"""How often one node may add the rows that its point violates before it is taken as it is: its bound holds anyway."""


@dataclass(eq=False)
class Node:
    """A set of phases ``[M]``, what the LP says of it, and the row of a proof that will be held to it.

    ``bound`` is the LP's value (of the minimisation), a promise until the row is evaluated; ``row [2 + M]`` is
    margin, cost, nu (None: by rule); ``spare`` is its parent's, which holds of it too. ``point`` is the LP point's
    displacement, ``above, below [m]`` its h and s.
    """

    phases: Phases
    bound: float
    row: Array | None
    above: Array
    below: Array
    point: Array | None
    spare: Array | None = None
    split: int = -1
    sides: tuple[Node, Node] | None = None

    @classmethod
    def unknown(cls, neurons: int) -> Node:
        """A root of which nothing is known."""
        return cls(np.zeros(neurons, np.int8), -math.inf, None, np.zeros(0), np.zeros(0), None)


Closes = Callable[[Node], bool]
"""Whether the row of a node proves that it is empty."""


class Relaxation:
    """The linear program of one question on one shell, and the nodes below it."""

    def __init__(self, shell: ShellProgram, neurons: int, inputs: int, far: float, closes: Closes) -> None:
        self._shell, self._inputs, self._far, self._closes = shell, inputs, far, closes
        self._session = LpSession(shell.program)
        self._upper_above, self._upper_below = shell.program.upper[shell.above], shell.program.upper[shell.below]
        self._now = np.zeros(shell.names.size, np.int8)
        self._neurons = neurons
        self.names = shell.names
        self.solves = 0

    def root(self, cutoff: float, seconds: float) -> Node:
        """The node with every phase open."""
        phases = np.zeros(self._neurons, np.int8)
        return self.bound(phases, None, cutoff, seconds)

    def bound(self, phases: Phases, parent: Node | None, cutoff: float, seconds: float) -> Node:
        """A node's LP, stopped as soon as its dual passes ``cutoff``; where it fails, what its parent has."""
        self._apply(phases[self.names])
        self._session.limit(seconds)
        self._session.cut(cutoff - self._shell.offset)
        solution = self._settled()
        least = -math.inf if parent is None else parent.bound
        inherited = None if parent is None else parent.row
        none = np.zeros(0)
        if solution.status is LpStatus.CUT_OFF:
            return Node(phases, max(cutoff, least), self._row(solution), none, none, None, inherited)
        if solution.status is LpStatus.INFEASIBLE:
            ray = self._row(solution, ray=True)
            closed = Node(phases, math.inf, ray, none, none, None, inherited)
            if ray is not None and self._closes(closed):
                return closed
            solution = self._eased(phases[self.names])
        if solution.status is not LpStatus.OPTIMAL:
            self._session.forget()
            middle = 0.5 * self._upper_above, 0.5 * self._upper_below
            return Node(phases, least, inherited, *middle, None)
        v, shell = solution.columns, self._shell
        value = float(shell.program.cost @ v) + shell.offset
        row, above, below = self._row(solution), v[shell.above] * shell.scale, v[shell.below] * shell.scale
        if value <= least:
            value, row = least, inherited if inherited is not None else row
        return Node(phases, value, row, above, below, shell.moves.displacement(v, self._inputs), inherited)

    def _eased(self, phases: Phases) -> LpSolution:
        """A leaf that is empty up to rounding has no ray: its multipliers are those of a leaf a little larger."""
        fixed = np.flatnonzero(phases != 0)
        above, below = self._shell.above[fixed], self._shell.below[fixed]
        index = np.where(phases[fixed] > 0, below, above)
        room = np.where(phases[fixed] > 0, self._upper_below[fixed], self._upper_above[fixed])
        self._session.forget()
        self._session.set_upper(index, _EASE * room)
        self.solves += 1
        solution = self._session.solve()
        self._session.set_upper(index, np.zeros(index.size))
        return solution

    def _settled(self) -> LpSolution:
        """Solve, adding the rows that the point violates until it violates none."""
        for _ in range(_ADDITIONS):
            self.solves += 1
            solution = self._session.solve()
            if solution.status is not LpStatus.OPTIMAL:
                return solution
            rows = self._shell.moves.violated(solution.columns, self._far)
            if rows is None:
                return solution
            self._session.add_rows(rows)
        return solution

    def _row(self, solution: LpSolution, *, ray: bool = False) -> Array | None:
        """The row of a proof that the multipliers amount to: margin, cost, nu; a ray is scaled to 1."""
        y, shell = solution.rows, self._shell
        if y is None or not np.isfinite(y).all():
            return None
        if ray:
            y = y / max(float(np.abs(y).max(initial=0.0)), 1e-300)
        row = np.zeros(2 + self._neurons)
        row[2 + shell.neuron] = y[: shell.neuron.size] * shell.weight
        if shell.margin >= 0:
            row[0] = y[shell.margin] * shell.margin_weight
            row[0] = row[0] if ray else max(row[0], 0.0)
        else:
            row[0] = 0.0 if ray else 1.0
        row[1] = 0.0 if ray else 1.0
        return row

    def _apply(self, phases: Phases) -> None:
        changed = np.flatnonzero(phases != self._now)
        if changed.size:
            new = phases[changed]
            above = np.where(new < 0, 0.0, self._upper_above[changed])
            below = np.where(new > 0, 0.0, self._upper_below[changed])
            index = np.concatenate([self._shell.above[changed], self._shell.below[changed]])
            self._session.set_upper(index, np.concatenate([above, below]))
            self._now = phases.copy()
