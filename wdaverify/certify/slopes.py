"""Upper ends of Lipschitz constants: trees over activation cells, and what their leaves show (docs/theory.md, sections 7 and 14).

    max { ||rows J u|| : ||a u|| <= 1, J the Jacobian of a cell with an interior in the region }   <=   max over leaves

A node is the cells that have its phases. A split leaves none out: a neuron is on one of its sides all over a cell, or constantly 0 on
it, and then the cell is on both and its Jacobian is what either says. So a leaf may also leave out cells that its sibling has.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from wdaverify.certify.backward import Backward, HiddenBounds, Shells
from wdaverify.certify.flatness import constant_sign
from wdaverify.certify.forward import Forward, Ints, States
from wdaverify.certify.halfspaces import Units, Where, Within, shell_of
from wdaverify.certify.jacobian import jacobian, slope_up
from wdaverify.certify.proof import MalformedProofError, Phases
from wdaverify.certify.sectors import Sectors
from wdaverify.certify.upper import in_time
from wdaverify.graph.nodes import Graph
from wdaverify.ground import Norm
from wdaverify.network.model import Array

FORWARD, SECTORS, BACKWARD, EMPTY, CONSTANT, SETTLED = -1, -2, -3, -4, -5, -6
"""A leaf bounded by the interval Jacobian forwards, by multipliers of the l2 inequality, or by the interval Jacobian backwards; one
without interior, by multipliers of half-spaces; one whose last split neuron is constant, on the other side; and a node at which bounds
of pre-activations decide what they do."""
_BATCH, _NUMBERS = 256, 2**22
"""The most nodes that are looked at together, and about the most doubles of one array."""
_NONE = np.zeros((0, 0))


@dataclass(frozen=True, eq=False)
class SlopeTree:
    """Nodes in preorder, the active side first: a neuron to split, or one of the codes above.

    sectors ``[., M]``: multipliers of each SECTORS leaf, by neuron; empties ``[., M + c]``: of each EMPTY leaf, by neuron and by side of
    the region's rows, of half-spaces with unit normals.
    """

    nodes: NDArray[np.int32]
    sectors: Array
    empties: Array

    @classmethod
    def bare(cls) -> SlopeTree:
        """What the interval Jacobian alone shows of the whole region."""
        return cls(np.array([BACKWARD], np.int32), _NONE, _NONE)

    def second(self) -> Ints:
        """Where the second side of each split begins.

        Raises:
            MalformedProofError: the nodes are not one whole tree.
        """
        out, begun = np.zeros(self.nodes.size, np.int64), list[int]()
        for at, code in zip(range(self.nodes.size - 1, -1, -1), self.nodes[::-1].tolist(), strict=True):
            wanted = 2 if code >= 0 else int(code == SETTLED)
            if len(begun) < wanted or code < SETTLED:
                raise MalformedProofError("the nodes of a tree are not one whole tree")
            if wanted:
                begun.pop()
            if wanted == 2:
                out[at] = begun.pop()
            begun.append(at)
        if len(begun) != 1:
            raise MalformedProofError("the nodes of a tree are not one whole tree")
        return out


@dataclass(frozen=True, eq=False)
class _Nodes:
    """Some nodes of a tree: their places in it, phases ``[B, M]``, and the neuron that the node above was split at (-1: none)."""

    at: Ints
    phases: Phases
    last: Ints

    def take(self, some: Ints | slice) -> _Nodes:
        """Those at the given positions."""
        return _Nodes(self.at[some], self.phases[some], self.last[some])

    @classmethod
    def last_of(cls, waiting: list[_Nodes], most: int) -> _Nodes:
        """So many of the last ones, taken off the list: deep ones first, so that few wait however wide a tree is."""
        taken, count = list[_Nodes](), 0
        while waiting and count < most:
            part = waiting.pop()
            left = max(part.at.size - (most - count), 0)
            if left:
                waiting.append(part.take(slice(0, left)))
            taken.append(part.take(slice(left, None)))
            count += part.at.size - left
        return cls.joined(taken)

    @classmethod
    def joined(cls, parts: list[_Nodes]) -> _Nodes:
        """One after the other."""
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("at", "phases", "last")))


class Cells:
    """The cells of one network that meet one region."""

    def __init__(self, graph: Graph, region: Where) -> None:
        self._graph, self._region, self._backward = graph, region, Backward(graph)
        self._still = (region.lower == region.upper).astype(np.float64)
        self._units = Units.of(graph, region, self._still)
        self._within = Within(graph, region, self._still, self._units)
        self._owner = np.repeat(np.arange(len(graph.elementwise)), np.diff(graph.edges))

    @cached_property
    def _shell(self) -> Shells:
        return shell_of(self._region)

    def highest(self, rows: Array, tree: SlopeTree, rho: float, deadline: float) -> float:
        """The largest slope of ``rows [R, K]`` on any cell, by a tree whose multipliers of the l2 inequality are held to ``rho``.

        Raises:
            MalformedProofError: the tree is none, or a number in it is not finite.
            TimeoutError: the deadline (``time.monotonic``) has passed.
        """
        count, codes, second = self._graph.neurons, tree.nodes, tree.second()
        if int(codes.max()) >= count:
            raise MalformedProofError(f"neuron {int(codes.max())} cannot be split")
        for kind, held, width in ((SECTORS, tree.sectors, count), (EMPTY, tree.empties, count + self._within.cuts)):
            used = int((codes == kind).sum())
            if len(held) != used or (used and held.shape[1] < width) or not np.isfinite(held).all():
                raise MalformedProofError(f"multipliers of shape {held.shape} for {used} leaves")
        forward = Forward(self._graph, rows, self._units.base, self._units.step)
        sector, empty = np.cumsum(codes == SECTORS) - 1, np.cumsum(codes == EMPTY) - 1
        shown: dict[int, Callable[[_Nodes], Array]] = {
            FORWARD: lambda at: self._forwards(forward, at.phases),
            BACKWARD: lambda at: self._backwards(rows, at.phases),
            SECTORS: lambda at: self._proven(rows, at.phases, tree.sectors[sector[at.at]], rho),
            EMPTY: lambda at: self._without(forward, at.phases, tree.empties[empty[at.at]]),
            CONSTANT: lambda at: self._misplaced(forward, at),
        }
        widest = max(1, self._units.base.size, *(self._graph.width(k) for k in range(len(self._graph.nodes))))
        step = max(1, min(_BATCH, _NUMBERS // (widest * (forward.moving.size + 1))))
        waiting, top = [_Nodes(np.zeros(1, np.int64), np.zeros((1, count), np.int8), np.full(1, -1))], 0.0
        while waiting:
            in_time(deadline, "cells")
            some = _Nodes.last_of(waiting, step)
            code = codes[some.at]
            waiting += self._below(some, code, second)
            for kind, bound in shown.items():
                here = np.flatnonzero(code == kind)
                if here.size:
                    top = max(top, float(bound(some.take(here)).max()))
        return top

    def _below(self, some: _Nodes, code: NDArray[np.int32], second: Ints) -> Iterator[_Nodes]:
        """What stands below splits, and below nodes at which bounds decide; nothing where these contradict each other."""
        split = np.flatnonzero(code >= 0)
        if split.size:
            for side, at in ((1, some.at[split] + 1), (-1, second[some.at[split]])):
                phases = some.phases[split].copy()
                phases[np.arange(split.size), code[split]] = side
                yield _Nodes(at, phases, code[split].astype(np.int64))
        settled = some.take(np.flatnonzero(code == SETTLED))
        if settled.at.size:
            bounds = self._bounds(settled.phases)
            none = np.zeros((settled.at.size, 0))
            low, high = (np.concatenate([none, *(sides[k] for sides in bounds)], axis=1) for k in range(2))
            known, sides = settled.phases, np.where(low >= 0, 1, np.where(high <= 0, -1, 0)).astype(np.int8)
            kept = np.flatnonzero((low <= high).all(axis=1))
            phases = np.where(known != 0, known, sides)
            yield _Nodes(settled.at + 1, phases, np.full(settled.at.size, -1)).take(kept)

    def _bounds(self, phases: Phases) -> HiddenBounds:
        """Bounds of pre-activations on the region, on the sides of phases ``[B, M]``."""
        if not self._units.bounded:
            each = list(pairwise(self._graph.edges.tolist()))
            low, high = np.where(phases > 0, 0.0, -np.inf), np.where(phases < 0, 0.0, np.inf)
            return [(low[:, a:b], high[:, a:b]) for a, b in each]
        return self._backward.pre_activations(self._shell.take(np.zeros(len(phases), np.int64)), phases)

    def _forwards(self, forward: Forward, phases: Phases) -> Array:
        states = forward.run(phases)
        gradients = forward.onward(states, len(self._graph.elementwise), np.arange(len(phases)), phases)
        return forward.slopes(*gradients, self._region.cost, self._still)

    def _backwards(self, rows: Array, phases: Phases) -> Array:
        low, bounds = np.ones(len(phases), np.bool_), self._bounds(phases)
        for least, most in bounds:
            low &= (least <= most).all(axis=1)
        local = [(np.minimum(least, most), np.maximum(least, most)) for least, most in bounds]
        centre, radius = jacobian(self._graph, local, np.broadcast_to(rows, (len(phases), *rows.shape)))
        return np.where(low, slope_up(centre, radius, self._region.cost, self._still), -np.inf)

    def _proven(self, rows: Array, phases: Phases, multipliers: Array, rho: float) -> Array:
        """rho where multipliers prove it, of l2 alone."""
        out = np.full(len(phases), math.inf)
        if self._region.cost.norm is not Norm.TWO:
            return out
        for k, (own, held) in enumerate(zip(phases, multipliers, strict=True)):
            sectors = Sectors.of(self._graph, rows, self._region.cost, self._still, own)
            if sectors.prove(rho, held[sectors.at]):
                out[k] = rho
        return out

    def _without(self, forward: Forward, phases: Phases, multipliers: Array) -> Array:
        """-inf where multipliers prove that no interior is left."""
        out, states, count = np.full(len(phases), math.inf), forward.run(phases), self._graph.neurons
        for k, (own, held) in enumerate(zip(phases, multipliers, strict=True)):
            at = np.flatnonzero(held[:count])
            if not own[at].all():
                continue
            spaces = self._within.half_spaces(states, k, at, own[at].astype(np.float64))
            used = np.concatenate([held[at], held[count : count + self._within.cuts]])
            with np.errstate(
                over="ignore", invalid="ignore", under="ignore"
            ):  # numbers of any size prove nothing by it
                if self._within.empty(own, spaces, used):
                    out[k] = -math.inf
        return out

    def _misplaced(self, forward: Forward, nodes: _Nodes) -> Array:
        """-inf where the neuron that was split last is shown to be constant, on the other side."""
        phases, out = nodes.phases, np.full(nodes.at.size, math.inf)
        states, reached = forward.run(phases), forward.reached(phases)
        for k, last in enumerate(nodes.last.tolist()):
            if last >= 0 and self._constant(states, k, phases[k], last, bool(reached[k, last])) == -phases[k, last]:
                out[k] = -math.inf
        return out

    def _constant(self, states: States, k: int, phases: Phases, at: int, reached: bool) -> int:
        """On which side a neuron is that is constant on its cells, -1 where it is 0; 0 where that is not known."""
        edges, layer = self._graph.edges, int(self._owner[at])
        local = at - int(edges[layer])
        centre, radius = states[self._graph.source(self._graph.elementwise[layer])]
        value, off = float(centre[k, -1, local]), float(radius[k, -1, local])
        if not reached and abs(value) > off:
            return 1 if value > 0 else -1
        if not phases[: int(edges[layer])].all():
            return 0
        active = [np.flatnonzero(phases[a:b] > 0).tolist() for a, b in pairwise(edges.tolist())]
        return constant_sign(self._graph, active, layer, local, self._region.lower, self._region.upper)
