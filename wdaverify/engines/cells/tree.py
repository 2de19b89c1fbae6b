"""One shell's nodes: sets of phases, each bounded by a linear program whose multipliers are kept."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from wdaverify.certify.entropy import best_level, on_grid
from wdaverify.certify.leaf_row import Layout, LeafRow
from wdaverify.certify.proof import Phases, Tightening
from wdaverify.encoding.linear import Entropy, ShellProgram
from wdaverify.encoding.milp import Ints
from wdaverify.encoding.rows import Rows
from wdaverify.ground import Norm
from wdaverify.network.model import Array
from wdaverify.solvers.lp import LpSession, LpSolution, LpStatus

_MANY_INPUTS = 2000
"""Beyond so many (784 were measured) rows and tangents are added as they are violated."""

if TYPE_CHECKING:
    from wdaverify.solvers.cone import ConeProgram

_EASE = 1e-6
"""How far, relative to its range, a fixed neuron is let off its side where its leaf is nearly empty."""
_SLIGHT = 1e-9
"""A ray's multiplier of the margin's row, relative to its largest, that is rounding: below 0 it would show nothing of a distance."""
_FRACTIONAL = 1e-6
"""How far from an integer a feature may be and count as one."""
_NARROW = 1e-7
"""Margins' intervals narrower than this are not cut."""
_VIOLATED = 1e-9
_SECANT_SHARE = 0.5
"""The secants' excess, as a share of the violation of the open phases, from which on a margin is cut before a phase."""
_SLIGHT_SHARE, _HALF = 0.1, 0.7
"""A margin is cut where all secants below would cost this share of what a bound is short of, or at the point's own place above that;
where exp is about half of what it is at the interval's end at most."""
_BENT = 1e-7
"""By how much the tangents of the logarithm may exceed it: a program's own tolerance, below which further ones change nothing."""
_ADDED = 2
"""With more rows added than this for each input, those that hold nothing are dropped."""
_TANGENTS = 5
"""The same where the rows are tangents: what they miss is of second order in the row's own bound."""
_BENDS = 2
"""How often lines of curved neurons are added: what they miss is of second order too."""
_ENOUGH = 1e-7
"""By how much, relatively, a program of a cross-entropy exceeds its cut-off for no more tangents to be added."""
_ADDITIONS = 30
"""How often one node may add the rows that its point violates before it is taken as it is: its bound holds anyway."""


@dataclass(frozen=True)
class Fork:
    """A cut of feature or margin number ``at``: values up to ``low`` on one side, from ``high`` on the other.

    ``kind``: an integer "feature" or a "margin", counted among those that there are, or a "half" of any feature.
    """

    kind: str
    at: int
    low: float
    high: float

    def stored(self, integer: Ints) -> tuple[float, float, float]:
        """As a proof has it; ``integer [g]`` are the features that are cut."""
        at = integer[self.at] if self.kind == "feature" else self.at if self.kind == "half" else -1 - self.at
        return float(at), self.low, self.high


@dataclass(eq=False)
class Node:
    """A set of phases ``[M]``, what the LP says of it, and the row of a proof that will be held to it.

    ``bound`` is the LP's value (of the minimisation), a promise until the row is evaluated; ``row`` is margin, cost,
    nu ``[M]``, then rho ``[r]`` and gamma ``[J]`` with log sigma where the question has them (None: by rule); ``spare`` is
    its parent's, which holds of it too. ``point`` is the LP point's displacement, ``above, below [m]`` its h and s.
    ``box [2, g]`` are bounds of the integer features, ``span [2, J]`` of the margins of a cross-entropy. ``forked`` is where
    to cut one of these next, if not a phase, and ``cut`` where its sides are; ``settled`` that its LP was solved to its end;
    ``stale`` that it was not solved here; ``held`` that its bound is what its row proves. ``tights`` tighten the bounds of neurons
    from the node downwards; ``bounds [2, M]``
    are those at a leaf, None where they are its shell's; ``part [2, n]`` is what cuts of features leave of the space, None: all of
    it; ``ends [J]`` upper ends of margins by shell and cuts alone, on which tights rest.
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
    box: Array | None = None
    span: Array | None = None
    forked: Fork | None = None
    cut: Fork | None = None
    settled: bool = False
    stale: bool = False
    held: bool = False
    tights: tuple[Tightening, ...] = ()
    bounds: Array | None = None
    ends: Array | None = None
    part: Array | None = None

    @classmethod
    def unknown(cls, neurons: int, box: Array | None = None, span: Array | None = None) -> Node:
        """A root of which nothing is known."""
        none = np.zeros(0)
        return cls(np.zeros(neurons, np.int8), -math.inf, None, none, none, None, box=box, span=span)


@dataclass(frozen=True, eq=False)
class Parts:
    """What a question has beside phases: integer features with their root box, and the margins' root intervals."""

    integer: Ints
    centre: Array
    box: Array | None
    span: Array | None
    layout: Layout

    @classmethod
    def none(cls, neurons: int) -> Parts:
        """Phases alone."""
        return cls(np.zeros(0, np.int64), np.zeros(0), None, None, Layout(neurons))


Proven = Callable[[Node], float]
"""What the row of a node proves of the minimisation; inf where it shows that the node is empty."""


class Relaxation:
    """The linear program of one question on one shell, and the nodes below it.

    ``integer [g]`` are the features that take integers alone, with ``box [2, g]``; ``centre [g]`` are the sample's values there.
    """

    def __init__(
        self, shell: ShellProgram, neurons: int, inputs: int, far: float, proven: Proven, parts: Parts | None = None
    ) -> None:
        self._shell, self._inputs, self._far, self._proven = shell, inputs, far, proven
        self._curved = shell.moves.square >= 0 or shell.moves.norm is Norm.TWO
        self._session = LpSession(shell.program, curved=self._curved)
        self._upper_above, self._upper_below = shell.program.upper[shell.above], shell.program.upper[shell.below]
        self._now = np.zeros(shell.names.size, np.int8)
        self._neurons, self._patient = neurons, False
        self._seconds, self._cones, self._enough = math.inf, self._with_cones(), math.inf
        self._parts = parts or Parts.none(neurons)
        self.names = shell.names
        self.solves = 0

    def _with_cones(self) -> ConeProgram | None:
        """The program with its cones, where it has some and they are all of it that is curved."""
        moves, program = self._shell.moves, self._shell.program
        if not self._curved or self._shell.entropy is not None or moves.inputs.size > _MANY_INPUTS:
            return None
        from wdaverify.solvers.cone import ConeProgram  # few questions need it

        sides = moves.sides()
        if sides is not None:
            program = replace(program, rows=Rows.stacked([program.rows, sides]))
        return ConeProgram(program, moves.column if moves.norm is Norm.TWO else None, moves.square)

    def unknown(self) -> Node:
        """The node with every phase open, unsolved."""
        return Node.unknown(self._neurons, self._parts.box, self._parts.span)

    def root(self, cutoff: float, seconds: float) -> Node:
        """The node with every phase open."""
        return self._bound(self.unknown(), None, cutoff, seconds)

    def bound(self, phases: Phases, parent: Node, cutoff: float, seconds: float) -> Node:
        """A node's LP with other phases than its parent's, stopped as soon as its dual passes ``cutoff``."""
        node = Node.unknown(self._neurons, parent.box, parent.span)
        node.phases = phases
        if parent.part is not None:
            node.part, node.bounds = parent.part, parent.bounds
        return self._bound(node, parent, cutoff, seconds)

    def freshen(self, node: Node, cutoff: float, seconds: float) -> None:
        """Solve a leaf that was taken over from elsewhere, in place; what it has already proven stays."""
        fresh = self.bound(node.phases, node, cutoff, seconds)
        node.bound, node.row, node.spare = fresh.bound, fresh.row, fresh.spare
        node.above, node.below, node.point, node.forked = fresh.above, fresh.below, fresh.point, fresh.forked
        node.stale = node.held = False

    def settle(self, node: Node, enough: float, seconds: float) -> None:
        """Solve a leaf that proves less than its cut-off promised to its end, until a row of it proves ``enough`` or none can.

        Where a program is optimal and its multipliers prove less than they promise (of a leaf that is nearly empty they are large, and
        so is what is lost with them), those of a leaf a little larger may prove more.
        """
        node.held, node.settled = False, True
        self._patient, cones = True, self._cones
        # Rows and basis may be to blame, or tolerances; tangents are kept, and cones without an interior have them as well.
        attempts = 2 if cones is not None else 1 if self._curved else 3
        for attempt in range(attempts):
            if attempt and cones is None:
                self._renew(loose=attempt == 2)
            elif attempt:
                self._cones = None
            fresh = self._bound(replace(node, sides=None), None, math.inf, seconds)
            promised = fresh.bound if fresh.row is not None and cones is None else math.inf
            if self._better(node, fresh, enough) or promised < enough:
                break
        else:
            self._apply(node)
            eased = self._eased(node)
            if eased.status is LpStatus.OPTIMAL:
                self._better(node, replace(node, sides=None, row=self._row(eased, node)), enough)
        if attempt == 2:
            self._renew()
        self._patient, self._cones, node.point, node.forked = False, cones, fresh.point, fresh.forked
        node.above, node.below = fresh.above, fresh.below

    def _better(self, node: Node, fresh: Node, enough: float) -> bool:
        """Take over the row of a node just solved if it proves more; whether that is enough."""
        proven = -math.inf if fresh.row is None else self._proven(fresh)
        if proven > node.bound:
            node.bound, node.row, node.spare = proven, fresh.row, node.row
        return proven >= enough

    def _renew(self, *, loose: bool = False) -> None:
        """Begin with a session in which nothing has been solved."""
        self._session = LpSession(self._shell.program, curved=self._curved, loose=loose)
        self._now = np.zeros(self._shell.names.size, np.int8)

    def forks(self, parent: Node, cutoff: float, seconds: float) -> tuple[Node, Node]:
        """The two sides of a cut of a feature or a margin."""
        fork = parent.forked
        assert fork is not None
        made = []
        for side, value in ((1, fork.low), (0, fork.high)):
            node = Node.unknown(self._neurons, parent.box, parent.span)
            node.phases = parent.phases
            if fork.kind == "feature":
                assert node.box is not None
                node.box = node.box.copy()
                node.box[side, fork.at] = value
            else:
                assert node.span is not None
                node.span = node.span.copy()
                node.span[side, fork.at] = value
            made.append(self._bound(node, parent, cutoff, seconds))
        return made[0], made[1]

    def _bound(self, node: Node, parent: Node | None, cutoff: float, seconds: float) -> Node:
        """Bound a fresh node; where its LP fails, it keeps what its parent has."""
        if node.span is not None and (node.span[0] > node.span[1]).any():  # no point is left
            node.bound, node.settled = math.inf, True
            return node
        self._apply(node)
        self._session.limit(seconds)
        self._seconds = seconds
        self._session.cut(math.inf if self._shell.entropy is not None else cutoff - self._shell.offset)
        self._enough = cutoff - self._shell.offset + _ENOUGH * (1 + abs(cutoff)) if math.isfinite(cutoff) else math.inf
        solution = self._settled()
        least = -math.inf if parent is None else parent.bound
        node.spare = inherited = None if parent is None else parent.row
        if solution.status is LpStatus.CUT_OFF:
            node.bound, node.row = max(cutoff, least), self._row(solution, node)
            node.forked = self._halved(node)
            return node
        if solution.status is LpStatus.INFEASIBLE:
            node.bound, node.row = math.inf, self._row(solution, node, ray=True)
            if node.row is not None and self._proven(node) == math.inf:
                return node
            solution = self._eased(node)
        elif solution.status is LpStatus.UNKNOWN and self._patient:  # what holds of a larger leaf holds of this one
            solution = self._eased(node)
        if solution.status is not LpStatus.OPTIMAL:
            self._session.forget()
            node.above, node.below = 0.5 * self._upper_above, 0.5 * self._upper_below
            node.bound, node.row = least, inherited
            node.bound = max(least, self._proven(node))
            node.forked = self._halved(node)
            return node
        v, shell = solution.columns, self._shell
        value = float(shell.program.cost @ v) + shell.offset
        node.row = self._row(solution, node)
        node.above, node.below = v[shell.above] * shell.scale, v[shell.below] * shell.scale
        if value <= least:
            value, node.row = least, inherited if inherited is not None else node.row
        if self._curved and node.row is not None:  # tangents only approach what the row proves
            value = max(value, self._proven(node))
        node.bound, node.point = value, shell.moves.displacement(v, self._inputs)
        node.forked = self._fork(node, v)
        return node

    def _halved(self, node: Node) -> Fork | None:
        """Where to cut a node that no LP point speaks for, once its phases are fixed: its widest part."""
        if (node.phases[self.names] == 0).any():
            return None
        if node.box is not None and node.box.size and (node.box[1] > node.box[0]).any():
            at = int((node.box[1] - node.box[0]).argmax())
            low = math.floor(0.5 * float(node.box[0, at] + node.box[1, at]))
            return Fork("feature", at, low, low + 1.0)
        if node.span is not None and (node.span[1] - node.span[0]).max(initial=0.0) > _NARROW:
            at = int((node.span[1] - node.span[0]).argmax())
            middle = 0.5 * float(node.span[0, at] + node.span[1, at])
            return Fork("margin", at, middle, middle)
        return None

    def _fork(self, node: Node, v: Array) -> Fork | None:
        """Where the LP point asks for a cut that is not a phase: the most fractional integer, or the worst secant."""
        parts = self._parts
        if node.box is not None:
            assert node.point is not None
            value = parts.centre + node.point[parts.integer]
            off = np.abs(value - np.rint(value))
            at = int(off.argmax()) if off.size else 0
            if off.size and off[at] > _FRACTIONAL:
                return Fork("feature", at, math.floor(value[at]), math.floor(value[at]) + 1.0)
        entropy = self._shell.entropy
        if node.span is None or entropy is None:
            return None
        m = v[entropy.margin]
        excess = v[entropy.power] - np.exp(m - entropy.shift)
        total = math.exp(-entropy.shift) + float(v[entropy.power].sum())
        width = node.span[1] - node.span[0]
        worth = np.where(width > _NARROW, excess, -1.0) / total
        at = int(worth.argmax())
        if worth[at] <= 0:
            return None
        opened = np.minimum(node.above, node.below)[node.phases[self.names] == 0]
        if (
            opened.size
            and opened.max(initial=0.0) > _VIOLATED
            and worth.clip(min=0).sum() < _SECANT_SHARE * opened.sum()
        ):
            return None
        short = self._enough + self._shell.offset - node.bound
        share = _SLIGHT_SHARE * short / width.size
        place = max(float(m[at]), math.log(share)) if 0 < share < math.inf else float(m[at])
        aside = 0.2 * float(width[at])
        cut = float(np.clip(place, node.span[0, at] + aside, node.span[1, at] - min(aside, _HALF)))
        return Fork("margin", at, cut, cut)

    def _eased(self, node: Node) -> LpSolution:
        """A leaf that is empty up to rounding has no ray, and one may be given up: multipliers are then those of a leaf a little larger."""
        phases, entropy = node.phases[self.names], self._shell.entropy
        fixed = np.flatnonzero(phases != 0)
        above, below = self._shell.above[fixed], self._shell.below[fixed]
        index = np.where(phases[fixed] > 0, below, above)
        room = np.where(phases[fixed] > 0, self._upper_below[fixed], self._upper_above[fixed])
        self._session.forget()
        self._session.set_upper(index, _EASE * room)
        if node.span is not None and entropy is not None:
            spare = _EASE * (1 + np.abs(node.span))
            self._session.set_bounds(entropy.margin, node.span[0] - spare[0], node.span[1] + spare[1])
        solution = self._settled()
        self._session.set_upper(index, np.zeros(index.size))
        if node.span is not None and entropy is not None:
            self._session.set_bounds(entropy.margin, node.span[0], node.span[1])
        return solution

    def _settled(self) -> LpSolution:
        """Solve: with its cones as they are, or adding the rows that the point violates until it violates none."""
        if self._cones is not None:
            self.solves += 1
            solution = self._cones.solve(self._session.lower, self._session.upper, self._seconds)
            if solution.status in (LpStatus.OPTIMAL, LpStatus.INFEASIBLE):
                return solution
        if self._session.added > _ADDED * self._inputs:
            self._session.prune()
        for attempt in range(_TANGENTS if self._curved and not self._patient else _ADDITIONS):
            self.solves += 1
            solution = self._session.solve()
            if solution.status is not LpStatus.OPTIMAL:
                return solution
            if self._shell.entropy is not None and float(self._shell.program.cost @ solution.columns) >= self._enough:
                return solution  # what more tangents say is not needed
            rows = self._violated(solution.columns, bent=attempt < _BENDS)
            if rows is None:
                return solution
            self._session.add_rows(rows)
        return solution

    def _violated(self, v: Array, *, bent: bool) -> Rows | None:
        """The rows of the moves and the tangent of the logarithm that a point violates."""
        found = [self._shell.moves.violated(v, self._far), *(self._shell.between(v) if bent else ())]
        some = [part for part in found if part is not None]
        rows = Rows.stacked(some) if some else None
        entropy = self._shell.entropy
        if entropy is None:
            return rows
        total = max(math.exp(-entropy.shift) + float(v[entropy.power].sum()), 1e-300)
        if v[entropy.value] <= entropy.shift + math.log(total) + _BENT:
            return rows
        tangent = entropy.tangent(total)
        return tangent if rows is None else Rows.stacked([rows, tangent])

    def _row(self, solution: LpSolution, node: Node, *, ray: bool = False) -> Array | None:
        """The row of a proof that the multipliers amount to; a ray is scaled to 1."""
        y, shell = solution.rows, self._shell
        if y is None or not np.isfinite(y).all():
            return None
        if ray:
            y = y / max(float(np.abs(y).max(initial=0.0)), 1e-300)
        row, count = self._parts.layout.zeros(), shell.support_weight.size
        assert row.nu is not None
        row.nu[shell.neuron] = y[: shell.neuron.size] * shell.weight
        if shell.margin >= 0:
            weight = float(y[shell.margin] * shell.margin_weight)
            slight = ray and abs(y[shell.margin]) <= _SLIGHT
            row.margin[()] = 0.0 if slight else weight if ray else max(weight, 0.0)
        else:
            row.margin[()] = 0.0 if ray else 1.0
        row.cost[()] = 0.0 if ray else 1.0
        if row.rho is not None:
            row.rho[:] = -y[shell.support : shell.support + count] * shell.support_weight
        if shell.entropy is not None:
            self._entropy_row(row, y, node)
        return row.numbers

    def _entropy_row(self, row: LeafRow, y: Array, node: Node) -> None:
        """Gamma and log sigma."""
        entropy = self._shell.entropy
        assert entropy is not None
        assert node.span is not None
        count = entropy.margin.size
        gamma = on_grid(y[entropy.margin_row : entropy.margin_row + count] * entropy.weight)
        assert row.gamma is not None
        assert row.log_sigma is not None
        row.gamma[:] = gamma
        row.log_sigma[()] = best_level(gamma, node.span[0], node.span[1])

    def _apply(self, node: Node) -> None:
        """Bring the program to a node."""
        phases = node.phases[self.names]
        changed = np.flatnonzero(phases != self._now)
        if changed.size:
            new = phases[changed]
            above = np.where(new < 0, 0.0, self._upper_above[changed])
            below = np.where(new > 0, 0.0, self._upper_below[changed])
            index = np.concatenate([self._shell.above[changed], self._shell.below[changed]])
            self._session.set_upper(index, np.concatenate([above, below]))
            self._now = phases.copy()
        if node.box is not None:
            self._session.set_bounds(*self._shell.moves.bounds(self._parts.integer, node.box - self._parts.centre))
        if node.span is not None and self._shell.entropy is not None:
            self._apply_span(self._shell.entropy, node.span)

    def _apply_span(self, entropy: Entropy, span: Array) -> None:
        """The margins' intervals and their secants."""
        self._session.set_bounds(entropy.margin, span[0], span[1])
        low, high = np.exp(span - entropy.shift)
        self._session.set_bounds(entropy.power, np.zeros(low.size), np.nextafter(high, np.inf))
        width = span[1] - span[0]
        slope = np.where(width > 0, (high - low) / np.where(width > 0, width, 1.0), 0.0)
        for j in range(low.size):
            pair = np.array([entropy.power[j], entropy.margin[j]])
            self._session.set_row(
                entropy.secant_row + j, pair, np.array([1.0, -slope[j]]), float(high[j] - slope[j] * span[1, j])
            )
