"""One question of the cell engine: what is asked, its shells and programs, what its leaves prove, and its answer."""

from __future__ import annotations

import math
import os
import time
from dataclasses import replace

import numpy as np

from wdaverify.certify.backward import Backward, HiddenBounds, Shells
from wdaverify.certify.proof import Proof, Tree
from wdaverify.encoding.linear import Aim, shell_program
from wdaverify.engines.base import Answer, Distance, Effort, Inner
from wdaverify.engines.cells.asked import Asked
from wdaverify.engines.cells.ledger import Claim, leaves, prove, tree_of
from wdaverify.engines.cells.narrowing import Narrowing, within
from wdaverify.engines.cells.search import PseudoCosts, Search
from wdaverify.engines.cells.shells import Cutter, Shell
from wdaverify.engines.cells.tree import Node, Parts, Relaxation
from wdaverify.errors import SolverError
from wdaverify.graph.nodes import Graph
from wdaverify.graph.single import Single
from wdaverify.network.model import Array

_WIDEST = 1e8
"""Margins beyond this in size are not given to the exponential."""
_SHELLS = 4
"""Into how many shells a region is cut for linear programs, which cut them further."""
_GROWN_SHELLS, _OF_A_DISTANCE = 8, 1
"""The same for growing; a distance wants its rows below one root: they hold wherever there is an error."""
_NARROWEST = 2.0**-8
"""No shell is cut that is narrower than this share of the question's."""
_WORTH_A_TRY = 20.0
"""Trees with so many times more rows than nodes that a search of its own would take are not taken over."""
_TOGETHER = 1024
"""Leaves that are proven together."""
_ROWS_OF_A_NODE = 8.0
"""Rows a layer that a node is charged for, where trees are grown: a charge, above the 3 that a certificate of MNIST came to."""
_REOPENED = 3
"""How often leaves that prove less than the LP promised are searched on."""


class Hunt:
    """One question on its way to an answer: what it asks, its shells with their programs, and its search."""

    def __init__(
        self,
        graph: Graph,
        backward: Backward,
        single: Single,
        question: Inner | Distance,
        effort: Effort,
        bounds: HiddenBounds | None = None,
    ) -> None:
        """``bounds``: those of the neurons on the whole region, if somebody has them."""
        self._begun = time.perf_counter()
        self._graph, self.backward, self.single = graph, backward, single
        self.question, self.effort = question, effort
        region = question.region
        self.shells: list[Shell] = []
        self._halves: list[Shell] = []
        self._solves = 0
        self.level = -math.inf
        """The value, of the maximisation, that bounds of neurons below nodes rest on."""
        self._least_width = (region.far - region.near) * _NARROWEST
        self.asked = asked = Asked(graph, question)
        self.functional, self._margins, self.power = asked.functional, asked.margins, asked.power
        self.multiplier = question.multiplier if isinstance(question, Inner) else None
        integer = np.zeros(0, np.int64) if region.integer is None else np.flatnonzero(region.integer)
        self.cutter = Cutter(backward, region, bounds)
        self.claim = Claim(
            self.functional,
            1.0 if self.multiplier is None else float(self.multiplier),
            self.multiplier is None,
            self.power,
            self._margins,
            integer,
            (region.lower, region.upper),
            0 if region.rows is None else region.rows.lower.size,
            asked.lead,
        )

    def _halve(self, k: int) -> tuple[Relaxation, Relaxation] | None:
        """The programs of the two halves of shell k, or None where it is narrow enough."""
        near, far = self.shells[k].near, self.shells[k].far
        middle = 0.5 * (near + far)
        if far - near <= self._least_width or not near < middle < far:
            return None
        halves = self.cutter.between(np.array([near, middle]), np.array([middle, far]))
        try:
            made = self.relaxation(halves[0]), self.relaxation(halves[1])
        except SolverError:
            return None
        self._halves = halves
        return made

    def _adopt(self) -> None:
        """Keep the halves that were made last."""
        self.shells += self._halves

    @property
    def deadline(self) -> float:
        """When its time is over (``time.perf_counter``)."""
        return self._begun + self.effort.seconds

    @property
    def room(self) -> float:
        """How many nodes fit into the memory that it may take."""
        return min(self.effort.memory, _own_share()) / self._bytes_of_a_node()

    @property
    def few(self) -> float:
        """How many nodes a search of its own may take before it takes over the trees that are known; below 1 there is none."""
        rows: int = sum(tree.vectors.shape[0] for tree in self.effort.known)
        return rows / _WORTH_A_TRY

    def answer(self, search: Search, seconds: float) -> Answer:
        """What its search came to."""
        bound = self.proven(search)
        points = np.zeros((0, self._graph.inputs))
        if search.best is not None:
            points = self.asked.point(search.best)[None, :]
        outward = bound if isinstance(self.question, Distance) else -bound
        full = search.full and self.effort.memory > 0
        detail = f"{self._solves + search.solves} LPs" + (", cut short by the memory limit" if full else "")
        closed = search.finished or search.full
        proof = self._proof(search) if self.effort.whole or (self.effort.proof and self._plain) else None
        return Answer(outward, points, "cells", closed, search.nodes, seconds, detail, True, proof)

    def nothing(self, detail: str) -> Answer:
        """The answer where none is known."""
        trivial = -math.inf if isinstance(self.question, Distance) else math.inf
        return Answer(trivial, np.zeros((0, self._graph.inputs)), "none", True, 0, 0.0, detail, False)

    def search(self, room: float, before: Search | None, deadline: float) -> Search:
        """A search over its shells, which goes on where one before it ended.

        Raises:
            SolverError: the question cannot be put to an LP.
        """
        if not all(np.isfinite(side).all() for shell in self.shells for pair in shell.bounds for side in pair):
            raise SolverError("pre-activation bounds overflow double precision")
        search = Search(
            len(self.shells),
            lambda k: self.relaxation(self.shells[k]),
            (self._halve, self._adopt),
            self.asked.value,
            self._incumbent() if before is None else before.incumbent,
            self.effort.gap,
            deadline,
            PseudoCosts(max(self.backward.neurons, 1)),
            room,
        )
        if before is not None:
            search.best, search.nodes, self._solves = before.best, before.nodes, before.solves
        return search

    def conclude(self, search: Search, deadline: float) -> None:
        """Hold every leaf to its row, and search on where one falls short."""
        self.proven(search)
        for _ in range(_REOPENED):
            if not search.finished or not self._reopen(search, deadline):
                break
            search.run()
            self.proven(search)

    @property
    def shells_wanted(self) -> int:
        """Into how many shells its region is cut."""
        if not self.growable:
            return _SHELLS
        return _OF_A_DISTANCE if isinstance(self.question, Distance) else _GROWN_SHELLS

    @property
    def growable(self) -> bool:
        """Whether its trees can be grown by ascent."""
        region, question = self.question.region, self.question
        if self.claim.integer.size or self.claim.tail or self.effort.memory == 0:
            return False
        if isinstance(question, Distance) and question.least > 0:
            return False
        inside = ((region.centre >= region.lower) & (region.centre <= region.upper)).all()
        return bool(inside)

    @property
    def _plain(self) -> bool:
        """Whether leaves are phases alone, so that trees can be grown and taken over."""
        return not self.claim.integer.size and not self.claim.tail and self._margins is None

    def _bytes_of_a_node(self) -> float:
        """A row, phases, what branching looks at, what tightens bounds where trees are grown, and Python's own share."""
        neurons, layers = self.backward.neurons, len(self.single.spans)
        tight = _ROWS_OF_A_NODE * layers * (neurons + 8.0) if self.growable else 0.0
        return 1000.0 + 8.0 * (2 + neurons) + 17.0 * neurons + tight

    def relaxation(self, shell: Shell) -> Relaxation:
        """The program of a shell."""
        question, region = self.question, self.question.region
        part = replace(region, near=shell.near, far=shell.far)
        rooms = (shell.shells.up[0], shell.shells.down[0])
        bounds = [(low[0], high[0]) for low, high in shell.bounds]
        parts = self._parts(shell)
        spans = None if parts.span is None else (np.minimum(*parts.span), parts.span[1])
        multiplier = question.multiplier if isinstance(question, Inner) else None
        least = question.least if isinstance(question, Distance) else 0.0
        functional = self.functional if self.asked.lead is None else self.asked.lead
        aim = Aim(functional, multiplier, self.power, least, self._margins, spans)
        with np.errstate(over="ignore", invalid="ignore"):  # what overflows is refused by the LP
            program = shell_program(self._graph, bounds, part, rooms, aim)

        def proven(node: Node) -> float:
            return float(self.prove(shell, [node])[0])

        return Relaxation(program, self.backward.neurons, self._graph.inputs, shell.far, proven, parts)

    def _parts(self, shell: Shell) -> Parts:
        """What nodes have beside phases."""
        region, integer = self.question.region, self.claim.integer
        box = None
        if integer.size:
            low = np.ceil(np.maximum(region.lower, region.centre - shell.shells.down[0])[integer])
            high = np.floor(np.minimum(region.upper, region.centre + shell.shells.up[0])[integer])
            box = np.stack([low, np.maximum(low, high)])
        span = None if self._margins is None else self._spans(shell)
        return Parts(integer, region.centre[integer], box, span, self.claim.layout(self.backward.neurons))

    def _spans(self, shell: Shell) -> Array:
        """Bounds ``[2, J]`` of the margins on a shell, as ``spans_of``.

        Raises:
            SolverError: they are too wide for what follows.
        """
        assert self._margins is not None
        if shell.span is not None:
            return shell.span
        span: Array = spans_of(self.backward, self._margins[None], shell.shells, shell.bounds)[0]
        return span

    def prove(self, shell: Shell, nodes: list[Node]) -> Array:
        """What nodes on a shell prove, ``[L]``."""
        out = []
        for first in range(0, len(nodes), _TOGETHER):
            some = nodes[first : first + _TOGETHER]
            at = np.zeros(len(some), np.int64)
            bounds = Narrowing.on(shell, some)
            out.append(prove(self.backward, self.claim, within(shell.shells.take(at), some), bounds, some))
        return np.concatenate(out) if out else np.zeros(0)

    def proven(self, search: Search) -> float:
        """The least of what all leaves prove; each leaf's bound is put in place of the LP's promise."""
        proven = -self.level
        for k in search.order:
            nodes = leaves(search.roots[k]) if k in search.roots else [search.unknown(k)]
            promised = [node for node in nodes if not node.held]
            if promised:
                for node, value in zip(promised, self.prove(self.shells[k], promised), strict=True):
                    node.bound, node.held = float(value), True
            proven = min(proven, *(node.bound for node in nodes))
        return proven

    def _reopen(self, search: Search, deadline: float) -> bool:
        """Search on below leaves that prove less than the LP promised; whether there are any."""
        some = False
        least = search.incumbent - 1.01 * self.effort.gap - 1e-9 * abs(search.incumbent)
        for k, root in list(search.roots.items()):
            for node in leaves(root):
                if node.bound == math.inf or node.bound >= least:
                    continue
                if time.perf_counter() > deadline:
                    search.finished = False
                    return False
                if not node.settled:
                    search.settle(k, node, least)
                    some = True
                if node.forked is not None or (node.phases[search.names(k)] == 0).any():
                    search.keep(k, node)
                    some = True
        return some

    def _proof(self, search: Search) -> Proof:
        neurons, question = self.backward.neurons, self.question
        layout, integer, trees = self.claim.layout(neurons), self.claim.integer, []
        for k in search.order:
            near, far = self.shells[k].near, self.shells[k].far
            bare = Tree.bare(near, far, neurons)
            trees.append(tree_of(search.roots[k], near, far, layout, integer) if k in search.roots else bare)
        multiplier = question.multiplier if isinstance(question, Inner) else 0.0
        return Proof(question.sample, question.rival, multiplier, tuple(trees), question.label)

    def nodes(self, shell: Shell) -> Node:
        """The node of a whole shell, unsolved."""
        parts = self._parts(shell)
        return Node.unknown(self.backward.neurons, parts.box, parts.span)

    @property
    def target(self) -> float:
        """The value to beat, of the minimisation."""
        return self._incumbent()

    def _incumbent(self) -> float:
        """The value to beat, of the minimisation."""
        question, cutoff = self.question, self.effort.cutoff
        if isinstance(question, Distance):
            beyond = question.region.far + 2 * self.effort.gap  # an error may lie at the very edge, and nowhere else
            return beyond if cutoff is None else min(cutoff, beyond)
        return math.inf if cutoff is None else -cutoff


def kind(hunt: Hunt) -> tuple[object, ...]:
    """What questions have in common that can be answered together."""
    cost = hunt.question.region.cost
    weights = None if cost.weights is None else cost.weights.tobytes()
    return type(hunt.question), hunt.claim.margins is None, hunt.power, cost.norm, cost.order, weights


def margins_within(backward: Backward, margins: Array, shells: Shells, bounds: HiddenBounds) -> Array:
    """Upper bounds of margins ``[S, J, K]`` and of these turned around, ``[S, 2 J]``."""
    none = np.zeros((len(margins), backward.neurons), np.int8)
    both = np.concatenate([margins, -margins], axis=1)
    return backward.leaves(both, np.zeros(len(margins)), shells, bounds, none, None)


def spans_of(backward: Backward, margins: Array, shells: Shells, bounds: HiddenBounds) -> Array:
    """Bounds of margins ``[S, J, K]`` on shells ``[S]`` where none is above 0, ``[S, 2, J]``; a lower end above its upper one: no point is.

    Raises:
        SolverError: they are too wide for what follows.
    """
    count, top = margins.shape[1], margins_within(backward, margins, shells, bounds)
    if not (np.isfinite(top).all() and np.abs(top).max(initial=0.0) < _WIDEST):
        raise SolverError("the logits are too large for the cross-entropy")
    return np.stack([-top[:, count:], np.minimum(top[:, :count], 0.0)], axis=1)


def _own_share() -> float:
    """Bytes that a search may take where no limit was set: half of what the machine has for each core; inf where that is not known."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / (2.0 * (os.cpu_count() or 1))
    except (AttributeError, ValueError, OSError):
        return math.inf
