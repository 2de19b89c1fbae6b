"""Linear upper bounds by one backward pass over a graph, every rounding paid for: all that an upper bound rests on.

For one leaf (a shell, phases) and any numbers ``nu``, one a neuron, in reverse order (docs/theory.md, section 9):

    affine, coefficients p         p_s += M_s^T p  for each of its sources s,          + p . b
    elementwise, coefficients q    p_source += nu,                                     + sum_i e_i
                                   e = max_z  q phi(z) - nu z   over [l, u] and on the side that the leaf's phase allows
    at the input                   + max_x  p . x - tau ||x - c||^p                    (certify.peak)

bounds a functional of the output less tau ||x - c||^p, since ``v = phi(z)`` and ``z = sum_s M_s v_s + b`` may be added with any
multiplier. Pre-activation bounds ``l, u`` are intervals (``certify.boxes``), and where these leave a function open the same bound of
``+z`` and ``-z`` too, with ``nu`` chosen by rule (CROWN, arXiv 1811.00866). A ReLU's rule has no jump
(``graph.functions.lower_slope``): whoever follows it finds the same bounds, however they round.
``nu`` is what is stored, exactly; what other coefficients are rounded by, their slip, is charged at the largest value that it
multiplies: at once where that is known, else the slip goes on through the maps of absolute values.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from wdaverify.certify.boxes import Boxes
from wdaverify.certify.loops import Chosen, Loops
from wdaverify.certify.peak import Price, Shells, dot, largest, peak
from wdaverify.certify.proof import Phases
from wdaverify.graph.maps import Dense, Ints, LinearMap
from wdaverify.graph.nodes import INPUT, Affine, Elementwise, Function, Graph
from wdaverify.graph.part import Part, Tiling, part
from wdaverify.graph.smooth.curve import Smooth
from wdaverify.ground import LinearRows
from wdaverify.network.model import Array
from wdaverify.rounding import UNIT_ROUNDOFF, dot_error, underflow

__all__ = ["Backward", "Forms", "HiddenBounds", "Lines", "Shells"]

HiddenBounds = list[tuple[Array, Array]]
"""Per elementwise node ``(l, u)`` of what its function is applied to, each ``[S, m]``."""
_CHUNK = 2**17
"""The most doubles that one pass holds per array: about what stays in a core's cache (at 784 inputs 2**21 took twice as long)."""

_LEAST = 1e-290
"""Of the sizes of numbers, what pays for products with powers of two that underflow."""


@dataclass(frozen=True, eq=False)
class Lines:
    """How nu is chosen from q: along lines of the given slopes ``[B, M]`` below open neurons, plus beta and lift ``[B, M]``."""

    slopes: Array
    beta: Array
    lift: Array

    def take(self, at: slice) -> Lines:
        """Those at the given positions."""
        return Lines(self.slopes[at], self.beta[at], self.lift[at])


@dataclass(frozen=True, eq=False)
class Forms:
    """``pull . x + constant``: pulls ``[B, R, n]``, constants and ``size >= sum_k |pull_k x_k|`` on the shell ``[B, R]``, rounded up."""

    pull: Array
    constant: Array
    size: Array

    def beside(self, weight: Array, other: Forms) -> Forms:
        """These times powers of two ``[B, R]``, and another's single one ``[B, 1]`` added."""
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            pull = weight[..., None] * self.pull
            pull += other.pull
            size = (weight * self.size + other.size) * (1 + 8 * UNIT_ROUNDOFF)
            constant = weight * self.constant + other.constant
            lost = weight * np.abs(self.constant) + np.abs(other.constant) + size
        return Forms(pull, constant + 4 * UNIT_ROUNDOFF * lost, size)

    def rows(self, index: Ints) -> Forms:
        """Some of each shell's, ``[B, k]``."""
        constant, size = (np.take_along_axis(part, index, 1) for part in (self.constant, self.size))
        return Forms(np.take_along_axis(self.pull, index[..., None], 1), constant, size)

    def take(self, at: Ints | NDArray[np.bool_] | slice) -> Forms:
        """Those of some shells."""
        return Forms(self.pull[at], self.constant[at], self.size[at])


@dataclass(frozen=True, eq=False)
class _ByRule:
    """nu by rule."""

    chosen = Chosen()

    def __call__(
        self, span: slice, function: Function, q: Array, low: Array, high: Array
    ) -> tuple[Array, Array | None]:
        return function.by_rule(q, low, high), None


@dataclass(frozen=True, eq=False)
class _Given:
    """nu as a row of a proof gives it, ``[B, M]``."""

    nu: Array

    @property
    def chosen(self) -> Chosen:
        return Chosen(given=self.nu)

    def __call__(
        self, span: slice, function: Function, q: Array, low: Array, high: Array
    ) -> tuple[Array, Array | None]:
        return np.broadcast_to(self.nu[:, None, span], q.shape), None


@dataclass(frozen=True, eq=False)
class _Along:
    """nu along lines, plus beta and lift."""

    lines: Lines

    @property
    def chosen(self) -> Chosen:
        return Chosen(slopes=self.lines.slopes, beta=self.lines.beta, lift=self.lines.lift)

    def __call__(
        self, span: slice, function: Function, q: Array, low: Array, high: Array
    ) -> tuple[Array, Array | None]:
        lines = self.lines
        lift = lines.lift[:, None, span]
        added = lines.beta[:, None, span] + lift
        return function.along(q, low, high, lines.slopes[:, None, span]) + added, lift


class _Choice(Protocol):
    """From neurons, their function, q ``[B, R, m]`` and ``l, u`` ``[B, 1, m]`` to nu, and how much of it is a lift (None: nothing)."""

    @property
    def chosen(self) -> Chosen:
        """The same as numbers."""
        ...

    def __call__(
        self, span: slice, function: Function, q: Array, low: Array, high: Array
    ) -> tuple[Array, Array | None]: ...


@dataclass(eq=False)
class _Sum:
    """A total, the sizes that its rounding grows with, and what is known to be lost, each ``[B, R]``; coefficients not yet spent."""

    total: Array
    size: Array
    error: Array
    waiting: dict[int, tuple[Array, Array | None]] = field(default_factory=dict)
    """By node: coefficients ``[B, R, m]``, and by how much they may be off (None: not at all)."""

    @classmethod
    def of(cls, target: int, rows: Array) -> _Sum:
        """Coefficients ``[B, R, m]`` of one node, unspent."""
        zero = np.zeros(rows.shape[:2])
        return cls(zero, zero, zero, {target: (rows, None)})

    def give(self, node: int, value: Array, slip: Array | None) -> None:
        """Coefficients of a node's values from one of its consumers; adding them to others' rounds once."""
        if node in self.waiting:
            before, lost = self.waiting[node]
            value = before + value
            rounded = 2 * UNIT_ROUNDOFF * np.abs(value)
            slip = rounded if slip is None else rounded + slip
            slip = slip if lost is None else slip + lost
        self.waiting[node] = value, slip

    def add(self, total: Array, size: Array) -> None:
        """A part of the bound."""
        self.total, self.size = self.total + total, self.size + size


@dataclass(frozen=True, eq=False)
class _Window:
    """Some neurons of a node, its entries, and a pass over all that they depend on.

    kept: of each elementwise node which neurons that pass has (None: it is without that node); columns: those among all neurons.
    """

    over: Backward
    target: int
    neurons: Ints
    kept: Sequence[Ints | slice | None]
    columns: Ints | slice

    def ranges(self, where: Ints, shells: Shells, bounds: HiddenBounds, phases: Phases | None, at: Ints) -> Array:
        """Upper bounds ``[B, 2 R]`` of ``z``, then of ``-z``, of neurons ``where [B, R]`` of the window on the shells ``at [B]`` of all."""
        count = where.shape[0]
        local = [
            (low[at][:, some], high[at][:, some])
            for (low, high), some in zip(bounds, self.kept, strict=False)
            if some is not None
        ]
        none = np.zeros((count, self.over.neurons), np.int8) if phases is None else phases[at][:, self.columns]
        return self.over._pass(self.target, self._begun(where), shells, local, none, _ByRule(), None)

    def _begun(self, where: Ints) -> _Sum:
        """What the entries themselves give, with either sign: rows of the node's matrices as they are, where it has such."""
        (count, rows), node = where.shape, self.over._graph.nodes[self.target]
        if isinstance(node, Affine) and all(isinstance(map_, Dense) and map_.exact for map_ in node.maps):
            bias = np.tile(node.bias[where], 2)
            error = np.zeros_like(bias) if node.bias_error is None else 2 * np.tile(node.bias_error[where], 2)
            run = _Sum(bias, np.abs(bias), error)
            run.total[:, rows:] *= -1.0
            for source, map_ in zip(node.sources, node.maps, strict=True):
                assert isinstance(map_, Dense)
                some = map_.weight[where]
                run.give(source, np.concatenate([some, -some], axis=1), None)
            return run
        unit = np.zeros((count, 2 * rows, self.neurons.size))
        for sign, place in ((1.0, np.arange(rows)), (-1.0, np.arange(rows, 2 * rows))):
            unit[np.arange(count)[:, None], place, where] = sign
        return _Sum.of(self.target, unit)


class Backward:
    """Bounds of one network."""

    def __init__(self, graph: Graph, rows: LinearRows | None = None, loops: Loops | None = None) -> None:
        """``loops`` do in numpy's place what they can."""
        self._graph, self._rows, self._loops = graph, rows, loops
        self._relus = {k for k in graph.elementwise if self._node(k).function.is_relu}
        self._windows: dict[tuple[int, int], _Window] = {}
        self._number = {k: number for number, k in enumerate(graph.elementwise)}
        self._beside: dict[int, tuple[list[LinearMap], list[Array]]] = {
            k: ([m.size() for m in node.maps], [np.full((1, 1, m.inputs), m.lost_in) for m in node.maps])
            for k, node in enumerate(graph.nodes)
            if isinstance(node, Affine)
        }
        """Of an affine node its maps' absolute values, and what a result of ``back`` may lose to underflow."""
        widths = [graph.inputs, *(graph.width(k) for k in range(len(graph.nodes)))]
        self._widest, self._terms = max(widths), sum(widths) + (0 if rows is None else rows.lower.size)

    @cached_property
    def _boxes(self) -> Boxes:
        return Boxes(self._graph)

    @property
    def graph(self) -> Graph:
        """What it bounds."""
        return self._graph

    @property
    def neurons(self) -> int:
        """The number M of neurons."""
        return self._graph.neurons

    def numbers(self, rows: int) -> int:
        """How many doubles an array of a pass holds for one shell, with so many functionals or those of a layer's neurons."""
        most = max((2 * self._graph.width(k) for k in self._graph.elementwise), default=1)
        return max(rows * self._widest, min(most * self._widest, _CHUNK))

    def pre_activations(
        self,
        shells: Shells,
        phases: Phases | None = None,
        deadline: float = math.inf,
        known: HiddenBounds | None = None,
    ) -> HiddenBounds:
        """``l <= z <= u`` of every neuron on each shell, where phases ``[S, M]`` are given on their side of it.

        After the deadline (of ``time.monotonic``) they are intervals alone. ``known`` are such bounds by other means, to begin from.
        A side that phases leave empty has ``l > u`` for some neuron.
        """
        bounds: HiddenBounds = []
        for number, k in enumerate(self._graph.elementwise):
            node = self._node(k)
            low, high = self._boxes.of(node.source, shells, bounds)
            if known is not None:
                low, high = np.maximum(low, known[number][0]), np.minimum(high, known[number][1])
            if not self._boxes.exact(node.source, shells):
                least, greatest = node.function.slope_range(low, high)
                self._by_rule(node.source, shells, bounds, phases, least != greatest, (low, high), deadline)
            if phases is None:
                bounds.append((low, np.maximum(low, high)))
            else:
                bounds.append(_cut(low, high, phases[:, self._span(number)]))
        return bounds

    def _by_rule(
        self,
        source: int,
        shells: Shells,
        bounds: HiddenBounds,
        phases: Phases | None,
        open_: NDArray[np.bool_],
        sides: tuple[Array, Array],
        deadline: float,
    ) -> None:
        """Tighten both sides ``[S, m]`` where neurons are open, ``[S, m]``, by rule; the same on a shell whichever are beside it."""
        for window in self._windows_of(source, open_):
            width = window.neurons.size
            asked = open_[:, window.neurons]
            count = asked.sum(axis=1)
            most, grain = max(1, _CHUNK // (2 * window.over._widest)), max(4, width // 8)
            # how many rows a shell has, some of them 0: shells with about as many are taken together
            room = np.minimum(-(-count // grain) * grain, width)
            order = np.argsort(~asked, axis=1, kind="stable")
            for rows in np.unique(room[room > 0]).tolist():
                chosen = np.flatnonzero(room == rows)
                step = max(1, most // rows)
                for first, begin in product(range(0, chosen.size, step), range(0, rows, most)):
                    if time.monotonic() > deadline:
                        return
                    at = chosen[first : first + step]
                    where = order[at, begin : min(begin + most, rows)]
                    top = window.ranges(where, shells.take(at), bounds, phases, at)
                    wanted, cells = np.take_along_axis(asked[at], where, 1), (at[:, None], window.neurons[where])
                    low, high = (side[cells] for side in sides)
                    sides[0][cells] = np.where(wanted, np.maximum(low, -top[:, where.shape[1] :]), low)
                    sides[1][cells] = np.where(wanted, np.minimum(high, top[:, : where.shape[1]]), high)

    def _windows_of(self, node: int, open_: NDArray[np.bool_]) -> Iterator[_Window]:
        """Passes that bound an affine node's open neurons between them: one over the graph, or smaller ones over parts of it."""
        tiles = self._tiling.of(node)
        if not tiles:
            entries = np.arange(self._graph.width(node))
            yield _Window(self, node, entries, [slice(None)] * len(self._number), slice(None))
        for k, tile in enumerate(tiles):
            if open_[:, tile].any():
                if (node, k) not in self._windows:
                    self._windows[node, k] = self._window(part(self._graph, node, tile))
                yield self._windows[node, k]

    @cached_property
    def _tiling(self) -> Tiling:
        return Tiling(self._graph)

    def _window(self, found: Part) -> _Window:
        kept = [found.kept.get(k) for k in self._graph.elementwise]
        columns = [self._graph.edges[number] + some for number, some in enumerate(kept) if some is not None]
        none = np.zeros(0, np.int64)
        last = len(found.graph.nodes) - 1
        return _Window(Backward(found.graph, loops=self._loops), last, found.at, kept, np.concatenate([none, *columns]))

    def leaves(
        self,
        functional: Array,
        tau: Array,
        shells: Shells,
        bounds: HiddenBounds,
        phases: Phases,
        nu: Array | None,
        *,
        power: int = 1,
        rho: Array | None = None,
        lines: Lines | None = None,
        doubt: float = 1.0,
    ) -> Array:
        """Upper bounds ``[L]`` of ``functional . f(x) + lift . z - tau ||x - c||^power`` on leaves; -inf where a leaf is empty.

        functional ``[L, K]``, or ``[L, R, K]`` for R bounds a leaf, tau ``[L] >= 0``, shells and bounds one a leaf, phases ``[L, M]``,
        nu ``[L, M]`` (None: by rule), rho ``[L, r]`` (None: 0) multipliers of the support's rows; with lines nu is along them, and
        theirs is the lift (else 0).
        What may have been rounded is charged ``doubt`` times, so that whoever rounds otherwise finds no more.
        """
        wide = functional if functional.ndim == 3 else functional[:, None, :]
        step = max(1, _CHUNK // (self._widest * wide.shape[1]))
        out = np.empty(wide.shape[:2])
        for first in range(0, len(shells), step):
            at = slice(first, first + step)
            local = [(low[at], high[at]) for low, high in bounds]
            choose: _Choice = _ByRule() if nu is None else _Given(nu[at])
            choose = choose if lines is None else _Along(lines.take(at))
            price = Price(tau[at], power, None if rho is None else rho[at])
            last = len(self._graph.nodes) - 1
            rows = _Sum.of(last, wide[at])
            out[at] = self._pass(last, rows, shells.take(at), local, phases[at], choose, price, doubt)
        return out if functional.ndim == 3 else out[:, 0]

    def forms(self, target: int, rows: Array, shells: Shells, bounds: HiddenBounds, nu: Array | None) -> Forms:
        """Linear functions of the point that bound ``rows . v_target`` above on shells, rows ``[B, R, m]``.

        nu ``[B, M]`` (None: by rule). They hold on all parts of a shell.
        """
        none = np.zeros((len(shells), self.neurons), np.int8)
        choose: _Choice = _ByRule() if nu is None else _Given(nu)
        run = _Sum.of(target, rows)
        self._down(target, run, shells, bounds, none, choose)
        q, slip = run.waiting.get(INPUT, (np.zeros((*rows.shape[:2], self._graph.inputs)), None))
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            most = largest(shells)
            lost = 0.0 if slip is None else dot(np.broadcast_to(slip, q.shape), most)
            rounding = dot_error(4 * self._terms + 8) * run.size
            constant = run.total + 1.001 * (run.error + rounding + lost) + underflow(4 * self._terms)
            size = 1.001 * dot(np.abs(q), most) + _LEAST * most.sum(axis=2)
        return Forms(q, constant, size)

    def intervals(self, source: int, shells: Shells, bounds: HiddenBounds) -> tuple[Array, Array]:
        """``l <= z <= u`` of an affine node by intervals alone, from the bounds of the elementwise nodes in front of it."""
        return self._boxes.of(source, shells, bounds)

    def top(self, forms: Forms, shells: Shells, price: Price | None) -> Array:
        """The largest values ``[B, R]`` of linear functions on shells, less the price, rounded up."""
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            found = None if self._loops is None else self._loops.peak(forms.pull, None, shells, price)
            most, spread = peak(forms.pull, None, shells, price) if found is None else found
            rounding = dot_error(4 * self._terms + 8) * (spread + np.abs(forms.constant))
            bound = forms.constant + most + 1.001 * rounding + underflow(4 * self._terms)
        return np.where(np.isfinite(bound), bound, np.inf)

    def _node(self, k: int) -> Elementwise:
        node = self._graph.nodes[k]
        assert isinstance(node, Elementwise)
        return node

    def _span(self, number: int) -> slice:
        """Where the neurons of an elementwise node stand among all."""
        return slice(int(self._graph.edges[number]), int(self._graph.edges[number + 1]))

    def _pass(
        self,
        target: int,
        run: _Sum,
        shells: Shells,
        bounds: HiddenBounds,
        phases: Phases,
        choose: _Choice,
        price: Price | None,
        doubt: float = 1.0,
    ) -> Array:
        """Upper bounds ``[B, R]`` of what a sum of nodes up to the target begins with, ``+ lift . z``, less the price."""
        zero = np.zeros(run.total.shape)
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            empty = self._down(target, run, shells, bounds, phases, choose)
            top = spread = zero
            if price is not None or INPUT in run.waiting:
                q, slip = run.waiting.get(INPUT, (np.zeros((*zero.shape, self._graph.inputs)), None))
                if price is not None and price.rho is not None:
                    q, slip, extra, sized = self._with_rows(q, slip, price.rho)
                    run.add(extra, sized)
                found = None if self._loops is None else self._loops.peak(q, slip, shells, price)
                top, spread = peak(q, slip, shells, price) if found is None else found
            rounding = dot_error(4 * self._terms + 8) * (run.size + spread)
            bound = run.total + top + 1.001 * doubt * (run.error + rounding) + underflow(4 * self._terms)
        bound = np.where(np.isfinite(bound), bound, np.inf)
        return np.where(empty[:, None], -np.inf, bound)

    def _down(
        self,
        target: int,
        run: _Sum,
        shells: Shells,
        bounds: HiddenBounds,
        phases: Phases,
        choose: _Choice,
    ) -> NDArray[np.bool_]:
        """A sum of nodes up to the target is brought down to the point; which shells ``[B]`` are empty."""
        zero, empty = np.zeros(run.total.shape), shells.gone.copy()
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            reach: dict[int, Array] = {INPUT: largest(shells)}
            sides: dict[int, tuple[Array, Array]] = {}
            for number, (k, side) in enumerate(zip(self._graph.elementwise, bounds, strict=False)):
                low, high, vacant = _allowed(side, phases[:, self._span(number)])
                empty |= vacant
                sides[k] = low[:, None, :], high[:, None, :]
                reach[k] = self._node(k).function.reach(*sides[k])
            for k in range(target, INPUT, -1):
                node = self._graph.nodes[k]
                if isinstance(node, Affine):
                    if k in run.waiting:
                        self._affine(k, node, *run.waiting.pop(k), reach, run)
                elif k in run.waiting or (k in sides and not isinstance(choose, _ByRule)):
                    none = np.zeros((*zero.shape, self._graph.width(k))), None
                    p, slip = run.waiting.pop(k, none)  # nu counts where nothing waits too
                    span = self._span(self._number[k])
                    if self._loops is not None and k in self._relus:
                        at = sides[k][0][:, 0], sides[k][1][:, 0], reach[k][:, 0]
                        nu, gain, size, lost = self._loops.relu(span, p, slip, at, choose.chosen)
                        run.add(gain, size)
                        run.error = run.error + lost
                        run.give(node.source, nu, None)
                    else:
                        self._elementwise(node, span, p, slip, *sides[k], reach[k], choose, run)
        return empty

    def _affine(self, k: int, node: Affine, p: Array, slip: Array | None, reach: dict[int, Array], run: _Sum) -> None:
        size = np.abs(p)
        run.add(p @ node.bias, size @ np.abs(node.bias))
        if node.bias_error is not None:
            run.error = run.error + 2 * (size @ node.bias_error)
        if slip is not None:
            run.error = run.error + slip @ np.abs(node.bias)
        for source, map_, absolute, vanished in zip(node.sources, node.maps, *self._beside[k], strict=True):
            lost = None if slip is None else absolute.back(slip)
            if map_.terms_in:
                factor = dot_error(map_.terms_in + 2)  # of the sum: times one tiny coefficient it would vanish
                carried = size if slip is None else size + slip * (1.001 / factor)
                if source in reach:
                    most = absolute.apply(reach[source]) + map_.lost_out
                    run.error = run.error + factor * dot(carried, most) + dot(vanished, reach[source])
                    lost = None
                else:
                    lost = absolute.back(carried) * factor + vanished
            run.give(source, map_.back(p), lost)

    @staticmethod
    def _elementwise(
        node: Elementwise,
        span: slice,
        q: Array,
        slip: Array | None,
        low: Array,
        high: Array,
        reach: Array,
        choose: _Choice,
        run: _Sum,
    ) -> None:
        lift: Array | None = None
        if isinstance(choose, _ByRule) and isinstance(node.function, Smooth):
            nu, gain, rounded = node.function.ruled(q, low, high)
            rest = nu
        else:
            nu, lift = choose(span, node.function, q, low, high)
            rest = nu if lift is None else nu - lift
            gain, rounded = node.function.gain(q, rest, low, high)
        run.add(gain.sum(-1), np.abs(gain).sum(-1))
        if lift is not None:
            rounded = rounded + 2 * UNIT_ROUNDOFF * (np.abs(rest) * np.maximum(np.abs(low), np.abs(high)))
        if slip is not None:
            rounded = rounded + slip * reach
        run.error = run.error + rounded.sum(-1)
        run.give(node.source, nu, None)

    def _with_rows(self, q: Array, slip: Array | None, rho: Array) -> tuple[Array, Array, Array, Array]:
        """``q - A^T rho``, its slip, ``max rho . v`` over ``lower <= v <= upper`` and its size, for ``lower <= A x <= upper``."""
        rows = self._rows
        assert rows is not None
        rho = np.where(np.isinf(np.where(rho > 0, rows.upper, rows.lower)), 0.0, rho)  # a side that is not there
        side = np.where(rho > 0, rows.upper, rows.lower)
        gain = np.where(rho == 0, 0.0, rho * np.where(rho == 0, 0.0, side))[:, None, :]
        less = (rho @ rows.matrix)[:, None, :]
        lost = dot_error(rho.shape[1] + 2) * (np.abs(rho) @ np.abs(rows.matrix))[:, None, :] + underflow(rho.shape[1])
        out = q - less
        lost = lost + 2 * UNIT_ROUNDOFF * np.abs(out) + (0.0 if slip is None else slip)
        return out, lost, gain.sum(-1), np.abs(gain).sum(-1)


def _allowed(bounds: tuple[Array, Array], phases: Phases) -> tuple[Array, Array, NDArray[np.bool_]]:
    """``[l, u]`` cut to the side of the phase, each ``[B, m]``, and whether that leaves nothing for some neuron ``[B]``."""
    low = np.where(phases > 0, np.maximum(bounds[0], 0.0), bounds[0])
    high = np.where(phases < 0, np.minimum(bounds[1], 0.0), bounds[1])
    vacant = low > high
    return np.minimum(low, high), np.maximum(low, high), np.asarray(vacant.any(axis=1))


def _cut(low: Array, high: Array, phases: Phases) -> tuple[Array, Array]:
    """Bounds on the side of the phases; an empty side stays so (``l > u``), also after what ``_pass`` says of it."""
    gone = ~(low <= high)
    low, high = np.where(gone, 1.0, low), np.where(gone, -1.0, high)
    return np.where(phases > 0, np.maximum(low, 0.0), low), np.where(phases < 0, np.minimum(high, 0.0), high)
