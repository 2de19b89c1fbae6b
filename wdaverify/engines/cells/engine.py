"""The cell engine's answers: questions as trees over shells of the distance, bounds recomputed from what the trees hold."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from wdaverify.certify.backward import Backward, HiddenBounds
from wdaverify.certify.proof import Proof, Tree
from wdaverify.encoding.linear import Aim, shell_program
from wdaverify.encoding.milp import Ints
from wdaverify.engines.base import Answer, Distance, Effort, Inner, Level, Question, Slope
from wdaverify.engines.cells import units
from wdaverify.engines.cells.ascent import Ascent
from wdaverify.engines.cells.asked import Asked
from wdaverify.engines.cells.growth import Growth
from wdaverify.engines.cells.ledger import Claim, leaves, prove, root_of, spelled_out, tree_of
from wdaverify.engines.cells.narrowing import Narrowing
from wdaverify.engines.cells.peaks import Floats, peak_of
from wdaverify.engines.cells.points import evaluated, points_of
from wdaverify.engines.cells.presolve import presolve
from wdaverify.engines.cells.search import PseudoCosts, Search
from wdaverify.engines.cells.shells import Cutter, Shell
from wdaverify.engines.cells.tightening import Tightener
from wdaverify.engines.cells.tree import Node, Parts, Relaxation
from wdaverify.errors import SolverError
from wdaverify.graph.nodes import Graph
from wdaverify.graph.settled import large
from wdaverify.graph.single import Single
from wdaverify.network.model import Array, ReluNetwork

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


class CellEngine:
    """Branch and bound over activation cells; its bounds are checked, not a solver's word."""

    name = "cells"
    own_bounds = True

    def __init__(self, network: ReluNetwork) -> None:
        self._network = network
        self._backward, self._single = Backward(network.canonical), Single(network.canonical)

    def answer(self, question: Question, effort: Effort) -> Answer:
        """Search within the effort; what is left open widens the bound."""
        if isinstance(question, Level):
            raise SolverError("the cell engine answers no levels of the DLR loss")
        if isinstance(question, Slope):
            from wdaverify.engines.cells.slopes import SlopeHunt

            return SlopeHunt(self._network.canonical, question, effort).answer()
        points = points_of(question.region)
        if points is not None:
            return evaluated(self._network, question, effort, points)
        power = 0 if effort.whole else units.exponent(question.region)
        scaled = self._in_units(question, effort, power) if power else None
        if scaled is not None:
            return scaled
        rows, graph = question.region.rows, self._network.canonical
        presolved, bounds, begun = None, None, time.perf_counter()
        alone = isinstance(question, Distance) or not math.isfinite(question.region.cost.order)  # in a ball of its own
        if alone and not effort.whole and large(graph):
            presolved, bounds = presolve(graph, self._backward, question.region)
            effort = replace(effort, seconds=effort.seconds - (time.perf_counter() - begun))
        if presolved is None:
            backward = self._backward if rows is None else Backward(graph, rows)
            return _Hunt(graph, backward, self._single, question, effort, bounds).answer()
        effort = replace(
            effort, known=tuple(tree for tree in map(presolved.narrowed, effort.known) if tree is not None)
        )
        backward, single = Backward(presolved.graph, rows), Single(presolved.graph)
        return presolved.widened(_Hunt(presolved.graph, backward, single, question, effort).answer())

    def _in_units(self, question: Inner | Distance, effort: Effort, power: int) -> Answer | None:
        """The answer to a question about a tiny region; None where units would round a number."""
        graph, asked = units.in_units(self._network.canonical, power), units.asked(question, effort, power)
        if graph is None or asked is None:
            return None
        backward = Backward(graph, asked[0].region.rows)
        return units.back(question, _Hunt(graph, backward, Single(graph), *asked).answer(), power)


class _Hunt:
    """One question on its way to an answer."""

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
        self._graph, self._backward, self._single = graph, backward, single
        self._question, self._effort = question, effort
        region = question.region
        self._known = dict[int, Tree]()
        self._shells: list[Shell] = []
        self._halves: list[Shell] = []
        self._solves = 0
        self._least_width = (region.far - region.near) * _NARROWEST
        self._asked = asked = Asked(graph, question)
        self._functional, self._margins, self._power = asked.functional, asked.margins, asked.power
        integer = np.zeros(0, np.int64) if region.integer is None else np.flatnonzero(region.integer)
        self._cutter = Cutter(backward, region, bounds)
        self._claim = Claim(
            self._functional,
            question.multiplier if isinstance(question, Inner) else 1.0,
            isinstance(question, Distance),
            self._power,
            self._margins,
            integer,
            (region.lower, region.upper),
            0 if region.rows is None else region.rows.lower.size,
        )

    def _lay_out(self, near: Array, far: Array) -> None:
        """Make the shells."""
        multiplier = self._question.multiplier if isinstance(self._question, Inner) else None
        self._shells = self._cutter.between(near, far)
        self._narrowing = Narrowing(self._backward, self._shells, self._functional, multiplier, self._power)

    def _halve(self, k: int) -> tuple[Relaxation, Relaxation] | None:
        """The programs of the two halves of shell k, or None where it is narrow enough."""
        near, far = self._shells[k].near, self._shells[k].far
        middle = 0.5 * (near + far)
        if far - near <= self._least_width or not near < middle < far:
            return None
        halves = self._cutter.between(np.array([near, middle]), np.array([middle, far]))
        try:
            made = self._relaxation(halves[0]), self._relaxation(halves[1])
        except SolverError:
            return None
        self._halves = halves
        return made

    def _adopt(self) -> None:
        """Keep the halves that were made last."""
        self._shells += self._halves

    def answer(self) -> Answer:
        """Search; where large trees are known and that does not end soon, go on from them."""
        with np.errstate(all="ignore"):  # what overflows steers nowhere; what is proven looks after itself
            return self._answered()

    def _answered(self) -> Answer:
        known, room = self._effort.known, min(self._effort.memory, _own_share()) / self._bytes_of_a_node()
        grown, few = self._growable, sum(tree.vectors.shape[0] for tree in known) / _WORTH_A_TRY
        try:
            search = None
            if few >= 1:
                search = self._searched((), min(few, room), grown=grown)
            if search is None or not (search.finished or self._late):
                search = self._searched(known, room, search, grown=grown)
        except SolverError as error:
            return self._nothing(str(error))
        bound = self._proven(search)
        points = np.zeros((0, self._graph.inputs))
        if search.best is not None:
            points = self._asked.point(search.best)[None, :]
        outward = bound if isinstance(self._question, Distance) else -bound
        seconds = time.perf_counter() - self._begun
        full = search.full and self._effort.memory > 0
        detail = f"{self._solves + search.solves} LPs" + (", cut short by the memory limit" if full else "")
        closed = search.finished or search.full
        proof = self._proof(search) if self._effort.proof and self._plain else None
        return Answer(outward, points, "cells", closed, search.nodes, seconds, detail, True, proof)

    def _searched(
        self, known: Sequence[Tree], room: float, before: Search | None = None, *, grown: bool = False
    ) -> Search:
        """Search until closed, out of time or room; every leaf is held to its row, and what falls short is searched on.

        Raises:
            SolverError: the question cannot be put to an LP.
        """
        near, far, self._known = self._cutter.edges(known, self._count if grown else _SHELLS)
        self._lay_out(near, far)
        if not all(np.isfinite(side).all() for shell in self._shells for pair in shell.bounds for side in pair):
            raise SolverError("pre-activation bounds overflow double precision")
        search = Search(
            len(self._shells),
            lambda k: self._relaxation(self._shells[k]),
            (self._halve, self._adopt),
            self._asked.value,
            self._incumbent() if before is None else before.incumbent,
            self._effort.gap,
            self._begun + self._effort.seconds,
            PseudoCosts(max(self._backward.neurons, 1)),
            room,
        )
        if before is not None:
            search.best, search.nodes, self._solves = before.best, before.nodes, before.solves
        self._take_over(search)
        if grown:
            self._grow(search, room)
        else:
            for k, root in search.roots.items():
                for node in leaves(root):
                    search.keep(k, node)
            search.run()
        self._proven(search)
        for _ in range(_REOPENED):
            if not search.finished or not self._reopen(search):
                break
            search.run()
            self._proven(search)
        return search

    def _grow(self, search: Search, room: float) -> None:
        """Grow the trees of all shells; what gets stuck is left to the linear programs."""
        for k in search.order:
            if k not in search.roots:
                root = Node.unknown(self._backward.neurons)
                root.stale = True
                search.take_over(k, root)
        limits = search.incumbent, self._effort.gap, self._begun + self._effort.seconds
        ascent, tightener = self._ascent()
        narrowing = self._narrowing, tightener
        growth = Growth(ascent, narrowing, dict(search.roots), self._prove_all, self._look(search), limits, room)
        charged = 0
        while True:
            growth.run()
            if growth.late and (growth.open or growth.stuck):
                break
            stuck = growth.left()
            for k, root in search.roots.items():
                search.take_over(k, root)
            for k, node in stuck:
                search.keep(k, spelled_out(node, self._shells[k].flat))
            search.charge(growth.nodes - charged)
            charged = growth.nodes
            search.run()
            growth.incumbent = search.incumbent
            if not (stuck and search.finished):
                break
        growth.settle()
        search.nodes += growth.nodes
        search.finished = search.finished and not growth.open and not growth.stuck
        search.full = search.full or growth.full

    @property
    def _late(self) -> bool:
        """Whether the time is over."""
        return time.perf_counter() > self._begun + self._effort.seconds

    def _look(self, search: Search) -> Callable[[Floats], float]:
        """Values displacements near solutions of relaxations; the incumbent afterwards."""

        def look(displacements: Floats) -> float:
            likeliest = self._asked.likeliest(displacements.astype(np.float64))
            value = self._asked.value(likeliest)
            if value < search.incumbent:
                search.incumbent, search.best = value, likeliest
            return search.incumbent

        return look

    def _ascent(self) -> tuple[Ascent, Tightener]:
        """The shells' duals, of the question and of neurons."""
        multiplier = self._question.multiplier if isinstance(self._question, Inner) else None
        peaks = []
        for shell in self._shells:
            peak = peak_of(shell.shells, self._power)
            assert peak is not None
            peaks.append(peak)
        bounds, centre = [shell.bounds for shell in self._shells], self._question.region.centre
        single, functional = self._single, self._functional
        tightener = Tightener(single, functional, centre, peaks, multiplier, self._power)
        return Ascent(single, functional, centre, bounds, peaks, multiplier), tightener

    @property
    def _count(self) -> int:
        """Into how many shells a region is cut for growing."""
        return _OF_A_DISTANCE if isinstance(self._question, Distance) else _GROWN_SHELLS

    @property
    def _growable(self) -> bool:
        """Whether trees can be grown by ascent."""
        region, question = self._question.region, self._question
        if not self._plain or self._effort.memory == 0:
            return False
        if isinstance(question, Distance) and question.least > 0:
            return False
        inside = ((region.centre >= region.lower) & (region.centre <= region.upper)).all()
        return bool(inside)

    @property
    def _plain(self) -> bool:
        """Whether leaves are phases alone, as proofs have them."""
        return not self._claim.integer.size and not self._claim.tail and self._margins is None

    def _bytes_of_a_node(self) -> float:
        """A row, phases, what branching looks at, what tightens bounds where trees are grown, and Python's own share."""
        neurons, layers = self._backward.neurons, len(self._single.spans)
        tight = _ROWS_OF_A_NODE * layers * (neurons + 8.0) if self._growable else 0.0
        return 1000.0 + 8.0 * (2 + neurons) + 17.0 * neurons + tight

    def _relaxation(self, shell: Shell) -> Relaxation:
        question, region = self._question, self._question.region
        part = replace(region, near=shell.near, far=shell.far)
        rooms = (shell.shells.up[0], shell.shells.down[0])
        bounds = [(low[0], high[0]) for low, high in shell.bounds]
        parts = self._parts(shell)
        spans = None if parts.span is None else (parts.span[0], parts.span[1])
        multiplier = question.multiplier if isinstance(question, Inner) else None
        least = question.least if isinstance(question, Distance) else 0.0
        aim = Aim(self._functional, multiplier, self._power, least, self._margins, spans)
        with np.errstate(over="ignore", invalid="ignore"):  # what overflows is refused by the LP
            program = shell_program(self._graph, bounds, part, rooms, aim)

        def proven(node: Node) -> float:
            return float(self._prove(shell, [node])[0])

        return Relaxation(program, self._backward.neurons, self._graph.inputs, shell.far, proven, parts)

    def _parts(self, shell: Shell) -> Parts:
        """What nodes have beside phases."""
        region, integer = self._question.region, self._claim.integer
        box = None
        if integer.size:
            low = np.ceil(np.maximum(region.lower, region.centre - shell.shells.down[0])[integer])
            high = np.floor(np.minimum(region.upper, region.centre + shell.shells.up[0])[integer])
            box = np.stack([low, np.maximum(low, high)])
        span = None if self._margins is None else self._spans(shell)
        return Parts(integer, region.centre[integer], box, span, self._claim.layout(self._backward.neurons))

    def _spans(self, shell: Shell) -> Array:
        """Bounds ``[2, J]`` of the margins on a shell.

        Raises:
            SolverError: they are too wide for what follows.
        """
        assert self._margins is not None
        rows = np.concatenate([self._margins, -self._margins])
        at = np.zeros(rows.shape[0], np.int64)
        local = [(low[at], high[at]) for low, high in shell.bounds]
        none = np.zeros((at.size, self._backward.neurons), np.int8)
        top = self._backward.leaves(rows, np.zeros(at.size), shell.shells.take(at), local, none, None)
        count = self._margins.shape[0]
        if not (np.isfinite(top).all() and np.abs(top).max(initial=0.0) < _WIDEST):
            raise SolverError("the logits are too large for the cross-entropy")
        return np.stack([np.minimum(-top[count:], top[:count]), top[:count]])

    def _prove(self, shell: Shell, nodes: list[Node]) -> Array:
        """What nodes on a shell prove, ``[L]``."""
        out = []
        for first in range(0, len(nodes), _TOGETHER):
            some = nodes[first : first + _TOGETHER]
            at = np.zeros(len(some), np.int64)
            bounds = Narrowing.on(shell, some)
            out.append(prove(self._backward, self._claim, shell.shells.take(at), bounds, some))
        return np.concatenate(out) if out else np.zeros(0)

    def _prove_all(self, trees: Ints, nodes: list[Node]) -> Array:
        """What nodes of trees ``[L]`` prove, ``[L]``."""
        shells, bounds = self._narrowing.places(trees), self._narrowing.split(trees, nodes)
        return prove(self._backward, self._claim, shells, bounds, nodes)

    def _proven(self, search: Search) -> float:
        """The least of what all leaves prove; each leaf's bound is put in place of the LP's promise."""
        proven = -self._narrowing.level
        for k in search.order:
            nodes = leaves(search.roots[k]) if k in search.roots else [search.unknown(k)]
            promised = [node for node in nodes if not node.held]
            if promised:
                for node, value in zip(promised, self._prove(self._shells[k], promised), strict=True):
                    node.bound, node.held = float(value), True
            proven = min(proven, *(node.bound for node in nodes))
        return proven

    def _take_over(self, search: Search) -> None:
        """Hold the leaves of known trees to this question."""
        deadline = self._begun + self._effort.seconds
        for k, tree in self._known.items():
            root, tightened = root_of(tree, self._backward.neurons)
            search.take_over(k, root)
            if tree.tights:
                self._narrowing.take_over(k, root, tightened, search.incumbent, deadline)
            nodes = leaves(root)
            for node, value in zip(nodes, self._prove(self._shells[k], nodes), strict=True):
                node.bound, node.held = float(value), True

    def _reopen(self, search: Search) -> bool:
        """Search on below leaves that prove less than the LP promised; whether there are any."""
        some = False
        least = search.incumbent - 1.01 * self._effort.gap - 1e-9 * abs(search.incumbent)
        for k, root in list(search.roots.items()):
            for node in leaves(root):
                if node.bound >= least:
                    continue
                if self._late:
                    search.finished = False
                    return False
                if not node.settled:
                    search.settle(k, node)
                    some = True
                if node.forked is not None or (node.phases[search.names(k)] == 0).any():
                    search.keep(k, node)
                    some = True
        return some

    def _proof(self, search: Search) -> Proof:
        neurons, question = self._backward.neurons, self._question
        trees = []
        for k in search.order:
            near, far = self._shells[k].near, self._shells[k].far
            bare = Tree.bare(near, far, neurons)
            trees.append(tree_of(search.roots[k], near, far, neurons) if k in search.roots else bare)
        multiplier = question.multiplier if isinstance(question, Inner) else 0.0
        return Proof(question.sample, question.rival, multiplier, tuple(trees))

    def _incumbent(self) -> float:
        """The value to beat, of the minimisation."""
        question, cutoff = self._question, self._effort.cutoff
        if isinstance(question, Distance):
            beyond = question.region.far + 2 * self._effort.gap  # an error may lie at the very edge, and nowhere else
            return beyond if cutoff is None else min(cutoff, beyond)
        return math.inf if cutoff is None else -cutoff

    def _nothing(self, detail: str) -> Answer:
        trivial = -math.inf if isinstance(self._question, Distance) else math.inf
        return Answer(trivial, np.zeros((0, self._graph.inputs)), "none", True, 0, 0.0, detail, False)


def _own_share() -> float:
    """Bytes that a search may take where no limit was set: half of what the machine has for each core; inf where that is not known."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / (2.0 * (os.cpu_count() or 1))
    except (AttributeError, ValueError, OSError):
        return math.inf
