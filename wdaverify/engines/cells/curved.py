"""Questions about networks with curved functions: branch and bound that cuts the intervals of neurons, with a linear program a leaf.

A leaf is a shell and an interval of every neuron's pre-activation. Its bound is that of the one trusted pass (``ledger.prove``), for
multipliers that a linear program over lines above and below every function proposes. At a point x of the leaf it exceeds the value by

    sum over neurons of  gain_i(q_i, nu_i) - (q_i phi(z_i(x)) - nu_i z_i(x)),   each >= 0,   and what the input's own maximum leaves,

so the neuron with the largest term is cut beside ``z_i(x)`` (``cutting.between``), x the program's point; or the shell is cut in two, if
that gains more. The error of a leaf falls with the square of its intervals, so that any gap is reached; there is no last cell that is
exact. A ReLU beside them is cut at 0.
"""

from __future__ import annotations

import heapq
import itertools
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from wdaverify.certify.backward import Backward, HiddenBounds, Shells
from wdaverify.certify.cutoff import cut
from wdaverify.certify.leaf_row import Layout, LeafRow
from wdaverify.certify.proof import FORKED, HALVED, Proof, Tree
from wdaverify.engines.base import Answer, Distance, Effort, Inner, Question, Slope
from wdaverify.engines.cells.boxes import BoxSearch, few_inputs
from wdaverify.engines.cells.curved_trees import Grown
from wdaverify.engines.cells.cutting import CutSearch, between
from wdaverify.engines.cells.hunt import Hunt, kind
from wdaverify.engines.cells.points import evaluated, points_of
from wdaverify.engines.cells.shells import Shell
from wdaverify.engines.cells.tree import Fork, Node, Relaxation
from wdaverify.engines.loops import compiled
from wdaverify.errors import SolverError
from wdaverify.graph.nodes import INPUT, Affine, Graph
from wdaverify.graph.single import Single
from wdaverify.network.model import Array, ReluNetwork

_SHELLS, _OF_A_BALL = 4, 1
"""Into how many shells a region is cut to begin with, where moving is paid for or looked for; where it is free."""
_NARROWEST = 2.0**-40
"""No interval is cut that is narrower than this, relative to its numbers, and no shell."""
_NO_TERM = 1e-15
_EVERY = 3
"""At every so many levels of a tree cutting the shell is tried too."""
_BYTES = 4000.0
"""What a leaf takes beside its arrays."""


@dataclass(eq=False)
class _Leaf:
    """A shell with intervals of its own, integer boxes and spans of margins in its node, and what is proven of it."""

    shell: Shell
    node: Node
    bound: float
    depth: int
    terms: Array | None = None
    """How much each neuron adds to what the bound exceeds the point's value by, ``[M]``; None until solved."""
    at: Array | None = None
    """The point's pre-activations, ``[M]``."""
    row: Array | None = None
    """What proves its bound, None: bounds alone."""
    spot: int = -1
    """Its node, where trees are kept."""
    made: tuple[int, tuple[float, float, float]] | None = None
    """The code and the fork of the node that it is a side of."""


class CurvedEngine:
    """Branch and bound over intervals of neurons; its bounds are checked, not a solver's word."""

    name = "cells"
    own_bounds = True

    def __init__(self, network: ReluNetwork) -> None:
        self._network, self._graph = network, network.form
        self._backward, self._single = Backward(self._graph, loops=compiled()), Single(self._graph)

    def answer(self, question: Question, effort: Effort) -> Answer:
        """Search within the effort; what is left open widens the bound."""
        if isinstance(question, Slope):
            from wdaverify.engines.cells.curved_slopes import slope_answer

            return slope_answer(self._graph, self._backward, question, effort)
        if not isinstance(question, Inner | Distance):
            raise SolverError(f"{', '.join(self._network.curved)}: no such question is answered of curved functions")
        points = points_of(question.region)
        if points is not None:
            return evaluated(self._network, question, effort, points)
        begun, rows = time.perf_counter(), question.region.rows
        backward = self._backward if rows is None else Backward(self._graph, rows)
        hunt = self._hunt(question, effort, backward)
        if self._plain(hunt):
            return self._cut([hunt])[0]
        try:
            with np.errstate(all="ignore"):  # what overflows steers nowhere; what is proven looks after itself
                few = few_inputs(question.region, proof=effort.whole) and effort.memory > 0
                search = (BoxSearch if few else _Search)(self._graph, backward, hunt)
                search.run()
        except SolverError as error:
            return hunt.nothing(str(error))
        outward = search.proven if isinstance(question, Distance) else -search.proven
        points = np.zeros((0, self._graph.inputs)) if search.best is None else hunt.asked.point(search.best)[None, :]
        detail = f"{search.solves} LPs" + (", cut short by the memory limit" if search.full else "")
        closed = search.finished or search.full
        trees = search.trees(hunt.claim.layout(self._backward.neurons))
        proof = _proof(question, trees) if trees else None
        seconds = time.perf_counter() - begun
        return Answer(outward, points, "cells", closed, search.visited, seconds, detail, True, proof)

    def answer_all(self, asked: Sequence[tuple[Question, Effort]]) -> list[Answer]:
        """Answers to questions, plain ones about many inputs in common batches; all have the time of the one that has most."""
        out: list[Answer | None] = [None] * len(asked)
        until = time.perf_counter() + max((effort.seconds for _, effort in asked), default=0.0)
        crowds = dict[tuple[object, ...], list[tuple[int, Hunt]]]()
        for k, (question, effort) in enumerate(asked):
            if (
                isinstance(question, Inner | Distance)
                and question.region.rows is None
                and points_of(question.region) is None
            ):
                hunt = self._hunt(question, effort, self._backward)
                if self._plain(hunt):
                    crowds.setdefault(kind(hunt), []).append((k, hunt))
        for crowd in crowds.values():
            for (k, _), answer in zip(crowd, self._cut([hunt for _, hunt in crowd]), strict=True):
                out[k] = answer
        for k, (question, effort) in enumerate(asked):
            if out[k] is None:
                left = until - time.perf_counter()
                out[k] = self.answer(question, replace(effort, seconds=min(effort.seconds, left)))
        return [answer for answer in out if answer is not None]

    def _hunt(self, question: Inner | Distance, effort: Effort, backward: Backward) -> Hunt:
        return Hunt(self._graph, backward, self._single, question, replace(effort, known=(), proof=False))

    def _plain(self, hunt: Hunt) -> bool:
        """Whether a question is one for ``CutSearch``."""
        few = few_inputs(hunt.question.region, proof=hunt.effort.whole) and hunt.effort.memory > 0
        return not few and hunt.growable and hunt.claim.margins is None and self._backward.neurons > 0

    def _cut(self, hunts: Sequence[Hunt]) -> list[Answer]:
        """Answers to plain questions, found together."""
        begun = time.perf_counter()
        with np.errstate(all="ignore"):
            search = CutSearch(self._graph, self._backward, hunts)
            search.run()
        seconds = (time.perf_counter() - begun) / len(hunts)
        detail = "0 LPs" + (", cut short by the memory limit" if search.full else "")
        out = []
        for k, hunt in enumerate(hunts):
            best = search.best[k]
            points = np.zeros((0, self._graph.inputs)) if best is None else hunt.asked.point(best)[None, :]
            closed, nodes = bool(search.finished[k]) or search.full, int(search.visited[k])
            outward = float(search.proven[k]) if isinstance(hunt.question, Distance) else -float(search.proven[k])
            trees = search.trees(k, hunt.claim.layout(self._backward.neurons)) if hunt.effort.whole else ()
            proof = _proof(hunt.question, trees) if trees else None
            out.append(Answer(outward, points, "cells", closed, nodes, seconds, detail, True, proof))
        return out


def _proof(question: Inner | Distance, trees: tuple[Tree, ...]) -> Proof:
    """What trees show of a question."""
    multiplier = question.multiplier if isinstance(question, Inner) else 0.0
    return Proof(question.sample, question.rival, multiplier, trees, question.label)


class _Search:
    """One question's search, best bound first; every quantity is that of a minimisation."""

    def __init__(self, graph: Graph, backward: Backward, hunt: Hunt) -> None:
        """Begin with shells of the region.

        Raises:
            SolverError: bounds of neurons overflow, or the question cannot be put to an LP.
        """
        self._graph, self._backward, self._hunt, self._question = graph, backward, hunt, hunt.question
        self._spans = [slice(int(a), int(b)) for a, b in itertools.pairwise(graph.edges.tolist())]
        self.incumbent = hunt.target
        self.best: Array | None = None
        self.visited = self.solves = 0
        self.finished = self.full = False
        self._closed = math.inf
        self._heap: list[tuple[float, int, _Leaf]] = []
        self._ticket = itertools.count()
        self._room = hunt.effort.memory / (_BYTES + 40.0 * backward.neurons)
        region = self._question.region
        priced = isinstance(self._question, Distance) or self._question.multiplier > 0
        near, far, _ = hunt.cutter.edges((), _SHELLS if priced else _OF_A_BALL)
        self._least_width = (region.far - region.near) * _NARROWEST
        leaves = [self._leaf(shell, -math.inf, 0) for shell in hunt.cutter.between(near, far)]
        self._grown, self._roots = Grown() if hunt.effort.whole else None, list[tuple[int, float, float]]()
        if self._grown is not None:
            for leaf in leaves:
                leaf.spot = self._grown.add()
                self._roots.append((leaf.spot, leaf.shell.near, leaf.shell.far))
        if not all(np.isfinite(side).all() for leaf in leaves for pair in leaf.shell.bounds for side in pair):
            raise SolverError("pre-activation bounds overflow double precision")
        for leaf in leaves:
            self._keep(leaf)

    def trees(self, layout: Layout) -> tuple[Tree, ...]:
        """What shows what is proven, where that is kept."""
        return () if self._grown is None else tuple(self._grown.tree(*root, layout) for root in self._roots)

    @property
    def proven(self) -> float:
        """The least of what all leaves prove."""
        return min(self._closed, *(leaf.bound for _, _, leaf in self._heap), math.inf)

    def run(self) -> None:
        """Search until closed, out of time or out of room."""
        while self._heap:
            if time.perf_counter() > self._hunt.deadline:
                return
            bound, _, leaf = heapq.heappop(self._heap)
            if self._prunes(bound):
                self._closed = min(self._closed, bound)
            elif leaf.terms is None:
                self._visit(leaf)
                self._keep(leaf)
            elif max(len(self._heap), 0 if self._grown is None else len(self._grown)) >= self._room:
                heapq.heappush(self._heap, (bound, next(self._ticket), leaf))
                self.full = True
                return
            else:
                self._cut(leaf)
        self.finished = True

    def _keep(self, leaf: _Leaf) -> None:
        if self._grown is not None:
            self._grown.write(leaf.spot, leaf.row)
        if self._prunes(leaf.bound):
            self._closed = min(self._closed, leaf.bound)
        else:
            heapq.heappush(self._heap, (leaf.bound, next(self._ticket), leaf))

    def _prunes(self, bound: float) -> bool:
        return bound >= self.incumbent - self._hunt.effort.gap

    def _leaf(self, shell: Shell, bound: float, depth: int, above: Node | None = None) -> _Leaf:
        """A leaf below a node, whose boxes and spans hold too."""
        node = self._hunt.nodes(shell)
        if above is not None:
            node.box, node.spare = above.box, above.row
            if node.span is not None and above.span is not None:
                low, high = np.maximum(node.span[0], above.span[0]), np.minimum(node.span[1], above.span[1])
                if (low > high).any():
                    bound = math.inf
                node.span = np.stack([np.minimum(low, high), np.maximum(low, high)])
        return _Leaf(shell, node, bound, depth)

    def _visit(self, leaf: _Leaf) -> None:
        """Bound a leaf: by rule, and where that does not close it by its program."""
        self.visited += 1
        hunt, shell = self._hunt, leaf.shell
        node, none = leaf.node, np.zeros(self._backward.neurons, np.int8)
        bare = Node.unknown(self._backward.neurons, node.box, node.span)
        ruled = float(hunt.prove(shell, [bare])[0])
        leaf.bound = max(leaf.bound, ruled)
        leaf.terms, leaf.at = np.zeros(none.size), np.zeros(none.size)
        if self._prunes(leaf.bound):
            return
        try:
            program: Relaxation = hunt.relaxation(shell)
        except SolverError:
            leaf.node.forked = None
            return
        seconds = max(hunt.deadline - time.perf_counter(), 0.0) + 0.1
        solved = program.bound(none, node, self.incumbent - hunt.effort.gap, seconds)
        self.solves += program.solves
        point, solved.spare = solved.point, node.spare
        if point is not None:
            value = hunt.asked.value(point)
            if value < self.incumbent:
                self.incumbent, self.best = value, point
        solved.bound = max(solved.bound, leaf.bound)
        written = float(hunt.prove(shell, [solved])[0])
        leaf.bound, leaf.node = max(leaf.bound, written), solved
        leaf.row = solved.row if written > ruled else None
        if not self._prunes(leaf.bound):
            leaf.terms, leaf.at = self._terms(shell, solved, point)

    def _terms(self, shell: Shell, node: Node, point: Array | None) -> tuple[Array, Array]:
        """What each neuron adds to what the bound exceeds the value at a point by, and where it is there, ``[M]`` each."""
        region, hunt = self._question.region, self._hunt
        moved = np.zeros(region.centre.size) if point is None else point
        values = self._graph.values(region.centre + moved)
        row = None if node.row is None else LeafRow(hunt.claim.layout(self._backward.neurons), node.row)
        nu = None if row is None else row.nu
        functional = hunt.functional
        if hunt.claim.margins is not None and hunt.claim.lead is not None:
            gamma = None if row is None else row.gamma
            weights = np.ones(len(hunt.claim.margins)) if gamma is None else gamma
            functional = weights @ hunt.claim.margins + hunt.claim.lead
        elif row is not None:
            functional = np.maximum(float(row.margin), 0.0) * functional
        if not functional.any():
            functional = hunt.functional
        terms, at = np.zeros(self._backward.neurons), np.zeros(self._backward.neurons)
        waiting, number = {len(self._graph.nodes) - 1: functional}, len(self._spans)
        for k in range(len(self._graph.nodes) - 1, INPUT, -1):
            read, q = self._graph.nodes[k], waiting.pop(k, None)
            if isinstance(read, Affine):
                parts = [] if q is None else [(s, m.back(q)) for s, m in zip(read.sources, read.maps, strict=True)]
            else:
                number -= 1
                low, high = (side[0] for side in shell.bounds[number])
                span, q = self._spans[number], np.zeros(low.size) if q is None else q
                own = read.function.by_rule(q, low, high) if nu is None else nu[span]
                z = np.clip(values[read.source], low, high)
                gain, _ = read.function.gain(q, own, low, high)
                terms[span], at[span] = gain - (q * read.function.value(z) - own * z), z
                parts = [(read.source, own)]
            for source, part in parts:
                waiting[source] = waiting[source] + part if source in waiting else part
        return np.where(np.isfinite(terms), terms, 0.0), at

    def _cut(self, leaf: _Leaf) -> None:
        """Replace a leaf by two that make it up; one that cannot be cut is closed as it is."""
        tried = list[tuple[float, list[_Leaf]]]()
        sides = [self._forked(leaf), self._at_neuron(leaf)] if leaf.node.forked is not None else [self._at_neuron(leaf)]
        if not any(sides) or leaf.depth % _EVERY == 0:
            sides.append(self._halved(leaf))
        for some in sides:
            if not some or time.perf_counter() > self._hunt.deadline:
                continue
            for side in some:
                if side.bound < math.inf:
                    self._visit(side)
            gains = [max(min(side.bound, self.incumbent) - leaf.bound, 1e-12) for side in some]
            tried.append((gains[0] * gains[1], some))
            if all(self._prunes(side.bound) for side in some):
                break
        if not tried:
            if any(sides):  # no time was left
                heapq.heappush(self._heap, (leaf.bound, next(self._ticket), leaf))
            else:
                self._closed = min(self._closed, leaf.bound)
            return
        best = max(tried, key=lambda pair: pair[0])[1]
        if self._grown is not None:
            assert best[0].made is not None
            best[0].spot, best[1].spot = self._grown.cut(leaf.spot, *best[0].made)
        for side in best:
            self._keep(side)

    def _at_neuron(self, leaf: _Leaf) -> list[_Leaf]:
        """The two sides of the neuron that adds most, at the point's own place."""
        assert leaf.terms is not None
        assert leaf.at is not None
        if not leaf.terms.size:
            return []
        low, high = leaf.shell.flat
        wide = high - low > _NARROWEST * np.maximum(np.abs(low), np.abs(high))
        terms = np.where(wide, leaf.terms, -1.0)
        if terms.max() <= _NO_TERM:
            terms = np.where(wide & (self._open(leaf) > 0), high - low, -1.0)
        neuron = int(terms.argmax())
        if terms[neuron] <= 0:
            return []
        least, most = low[neuron], high[neuron]
        value = float(between(leaf.at[[neuron]], low[[neuron]], high[[neuron]])[0])
        if self._is_relu(neuron):
            if not least < 0 < most:
                return []
            value = 0.0
        if not least < value < most:
            return []
        both = leaf.shell.shells.take(np.zeros(2, np.int64))
        bounds: HiddenBounds = [(low[[0, 0]], high[[0, 0]]) for low, high in leaf.shell.bounds]
        number = int(np.searchsorted(self._graph.edges, neuron, side="right")) - 1
        place = neuron - self._spans[number].start
        bounds[number][1][0, place] = bounds[number][0][1, place] = value
        return self._parts(leaf, both, bounds, (self._graph.inputs + neuron, value))

    def _parts(self, leaf: _Leaf, both: Shells, bounds: HiddenBounds, at: tuple[int, float]) -> list[_Leaf]:
        """Both parts of a leaf that is cut at a neuron or distance (counted as in a proof), whose bounds are made anew from those known."""
        bounds, out = self._backward.pre_activations(both, known=bounds), []
        for k in range(2):
            shell = Shell(both.take(slice(k, k + 1)), [(low[k : k + 1], high[k : k + 1]) for low, high in bounds])
            out.append(self._leaf(shell, leaf.bound, leaf.depth + 1, leaf.node))
            out[k].made = HALVED, (float(at[0]), at[1], at[1])
        return out

    def _open(self, leaf: _Leaf) -> Array:
        """Which neurons' functions are not straight on the leaf, ``[M]``."""
        out = []
        for k, (low, high) in zip(self._graph.elementwise, leaf.shell.bounds, strict=True):
            node = self._graph.nodes[k]
            assert not isinstance(node, Affine)
            least, greatest = node.function.slope_range(low[0], high[0])
            out.append((least != greatest).astype(np.float64))
        return np.concatenate(out)

    def _is_relu(self, neuron: int) -> bool:
        number = int(np.searchsorted(self._graph.edges, neuron, side="right")) - 1
        node = self._graph.nodes[self._graph.elementwise[number]]
        return not isinstance(node, Affine) and node.function.is_relu

    def _halved(self, leaf: _Leaf) -> list[_Leaf]:
        """The near and the far half of its shell."""
        near, far = leaf.shell.near, leaf.shell.far
        middle = 0.5 * (near + far)
        if far - near <= self._least_width or not near < middle < far:
            return []
        one = leaf.shell.shells.take(np.zeros(2, np.int64))
        both = cut(one, np.array([near, middle]), np.array([middle, far]))
        known: HiddenBounds = [(low[[0, 0]], high[[0, 0]]) for low, high in leaf.shell.bounds]
        return self._parts(leaf, both, known, (self._graph.inputs + self._backward.neurons, middle))

    def _forked(self, leaf: _Leaf) -> list[_Leaf]:
        """The two sides of a cut of an integer feature or of a margin."""
        fork: Fork | None = leaf.node.forked
        assert fork is not None
        out = []
        for side, value in ((1, fork.low), (0, fork.high)):
            made = self._leaf(leaf.shell, leaf.bound, leaf.depth + 1, leaf.node)
            if fork.kind == "feature":
                assert made.node.box is not None
                made.node.box = made.node.box.copy()
                made.node.box[side, fork.at] = value
            else:
                assert made.node.span is not None
                made.node.span = made.node.span.copy()
                made.node.span[side, fork.at] = value
            made.made = FORKED, fork.stored(self._hunt.claim.integer)
            out.append(made)
        return out
