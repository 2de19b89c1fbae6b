"""The dual of shells' relaxations by ascent, for many nodes at once, in single precision: it steers, and proves nothing.

A node is a set of phases; its multipliers are nu of a proof (``certify.backward``), written by what a neuron is there:

    open, q > 0     nu = q u / (u - l)          q, the coefficient of its value, which the chord bounds
    open, q < 0     nu = alpha q                0 <= alpha <= 1, a line through 0
    active          nu = q + beta               beta >= 0: z >= 0 by a branch, or z >= l by bounds
    dead            nu = -beta                  likewise (z <= 0, z <= u)

The bound is concave in what is free, its gradient one forward pass from the input that attains it; Adam climbs (alpha-beta-CROWN,
arXiv 2103.06624). The weighted mean of those inputs approaches a solution of the linear program. For a distance the price of
moving is free too, ``-max (functional . z - price t) / price`` for any price, and known for given alpha and beta.

Every function of the graph is a ReLU; q is the sum of what the consumers of a neuron's value give.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from wdaverify.certify.proof import Phases
from wdaverify.encoding.milp import Ints
from wdaverify.engines.cells.lines import Adam, Lines, Sides
from wdaverify.engines.cells.peaks import Floats, Peaks
from wdaverify.graph.single import Single
from wdaverify.network.model import Array

_RATE = 0.2
"""Adam's step in alpha; beta takes half of it."""
_DECAY = 0.97
_LOOK = 4
"""Steps after which nodes that are closed leave the batch."""
_CANDIDATES = 3
"""Neurons of which one is chosen to branch on by bounding both sides of each."""
_LEAST_GAIN = 1e-6
_NUMBERS, _FEWEST_ROWS = 2**16, 32
"""Numbers that an array of inputs has where nodes are taken together, about what stays in a core's cache, and the fewest nodes."""
_FLAT = 1e-3
"""The weight of a neuron's smaller side where its chord costs nothing."""


@dataclass(frozen=True, eq=False)
class Multipliers:
    """What is free, of each node: alpha, beta ``[B, M]``; price ``[B]``: of a distance the best one at these, else the multiplier.

    ``bend [B, F]`` is what else is free of a functional that depends on the node, at least 0 (None: the functional does not).
    """

    alpha: Floats
    beta: Floats
    price: Floats
    bend: Floats | None = None

    def take(self, index: NDArray[np.int64] | NDArray[np.bool_] | slice) -> Multipliers:
        """Those at the given positions."""
        bend = None if self.bend is None else self.bend[index]
        return Multipliers(self.alpha[index], self.beta[index], self.price[index], bend)

    def put(self, index: NDArray[np.int64], other: Multipliers) -> None:
        """Overwrite those at the given positions."""
        self.alpha[index], self.beta[index], self.price[index] = other.alpha, other.beta, other.price
        if self.bend is not None and other.bend is not None:
            self.bend[index] = other.bend

    def copy(self) -> Multipliers:
        """A copy."""
        bend = None if self.bend is None else self.bend.copy()
        return Multipliers(self.alpha.copy(), self.beta.copy(), self.price.copy(), bend)

    @classmethod
    def joined(cls, parts: Sequence[Multipliers]) -> Multipliers:
        """Those of all parts, in their order."""
        alpha, beta, price = (
            np.concatenate([getattr(part, name) for part in parts]) for name in ("alpha", "beta", "price")
        )
        bends = [part.bend for part in parts if part.bend is not None]
        return cls(alpha, beta, price, np.concatenate(bends) if bends else None)


@dataclass(frozen=True, eq=False)
class Climbed:
    """What became of nodes: bounds of the minimisation ``[B]``, nu ``[B, M]`` and the weight of the margin ``[B]`` that give it.

    ``free`` is where the ascent goes on, ``splits [B, k]`` the neurons that promise most when they are branched on (-1: no more
    are open), ``points [B, n]`` displacements near a solution of the relaxation. Of a cross-entropy ``margins [B, J]`` are those there,
    and ``worth [B]`` is the most that a neuron's chord costs.
    """

    bound: Floats
    nu: Floats
    margin: Floats
    free: Multipliers
    splits: Ints
    points: Floats
    margins: Floats | None = None
    worth: Floats | None = None

    def take(self, index: NDArray[np.int64] | NDArray[np.bool_]) -> Climbed:
        """Those at the given positions."""
        parts = (self.bound[index], self.nu[index], self.margin[index], self.free.take(index), self.splits[index])
        more = (None if part is None else part[index] for part in (self.margins, self.worth))
        return Climbed(*parts, self.points[index], *more)

    def put(self, index: NDArray[np.int64], other: Climbed) -> None:
        """Overwrite those at the given positions."""
        self.free.put(index, other.free)
        for name in ("bound", "nu", "margin", "splits", "points", "margins", "worth"):
            part = getattr(self, name)
            if part is not None:
                part[index] = getattr(other, name)

    @classmethod
    def joined(cls, parts: Sequence[Climbed]) -> Climbed:
        """What became of the nodes of all parts, in their order."""
        if len(parts) == 1:
            return parts[0]
        bound, nu, margin, splits, points = (
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("bound", "nu", "margin", "splits", "points")
        )
        free = Multipliers.joined([part.free for part in parts])
        more = [
            np.concatenate([getattr(part, name) for part in parts]) if getattr(parts[0], name) is not None else None
            for name in ("margins", "worth")
        ]
        return cls(bound, nu, margin, free, splits, points, *more)


class Ascent:
    """The duals of shells: their neurons' bounds ``[S, M]`` and how far inputs may move, what is asked on each and of which centre.

    ``functional [S, K]``, ``centre [S, n]``; ``multiplier [S]`` is None for distances. Nodes come with the number of their shell, in
    ascending order, or with one that ``lay`` gave them.
    """

    def __init__(
        self,
        graph: Single,
        functional: Array,
        centre: Array,
        bounds: tuple[Array, Array],
        peaks: Peaks,
        multiplier: Array | None,
    ) -> None:
        with np.errstate(over="ignore"):  # what is infinite in single precision bounds nothing
            self._low, self._high = (side.astype(np.float32) for side in bounds)
            self._multiplier = None if multiplier is None else multiplier.astype(np.float32)
        self._shells, self._shell_of = self._low.shape[0], np.arange(self._low.shape[0])
        self._graph, self._functional = graph, functional.astype(np.float32)
        self._centre, self._peaks = centre.astype(np.float32), peaks
        self._parts: Peaks | None = None

    def lay(self, shell: Ints, low: Array, high: Array, parts: Peaks | None = None) -> Ints:
        """Numbers, until the next call, of nodes that have bounds of their own ``[B, M]`` on shells in ascending order.

        ``parts`` are the peaks over parts of these shells, one a node; None: over the shells.
        """
        known = slice(0, self._shells)
        with np.errstate(over="ignore"):
            self._low = np.concatenate([self._low[known], low.astype(np.float32)])
            self._high = np.concatenate([self._high[known], high.astype(np.float32)])
        self._shell_of, self._parts = np.concatenate([np.arange(self._shells), shell]), parts
        return np.arange(self._shells, self._shells + shell.size)

    def peaks(self, shell: Ints) -> tuple[Peaks, Ints]:
        """The peaks over what nodes lie in, and what they know each by."""
        return (self._peaks, self._shell_of[shell]) if self._parts is None else (self._parts, shell - self._shells)

    def fresh(self, shell: Ints) -> Multipliers:
        """Where the ascent begins: CROWN's slopes, no beta."""
        alpha = (self._high > -self._low).astype(np.float32)[shell]
        price = np.ones(shell.size, np.float32)
        if self._multiplier is not None:
            price = self._multiplier[self._shell_of[shell]]
        return Multipliers(alpha, np.zeros_like(alpha), price)

    def recovered(self, shell: Ints, phases: Phases, nu: Array, margin: Array) -> Multipliers:
        """What is free, read off the rows of a proof: weights of the margin ``[B]`` above 0, nu ``[B, M]``."""
        sides, free = self._sides(shell, phases), self.fresh(shell)
        price = free.price if self._multiplier is not None else (1.0 / margin).astype(np.float32)
        given = (nu / margin[:, None]).astype(np.float32)
        alpha, beta = free.alpha, free.beta

        def line(number: int, q: Floats) -> Floats:
            span = self._graph.spans[number]
            at, side = given[:, span], sides.made[:, span]
            some = (q < 0) & (sides.open[:, span] > 0)
            alpha[:, span] = np.where(some, np.clip(at / np.where(some, q, 1), 0, 1), alpha[:, span])
            beta[:, span] = np.maximum(np.where(side > 0, at - q, np.where(side < 0, -at, 0)), 0)
            return at

        with np.errstate(all="ignore"):
            self._graph.back(self._rows(shell, free), np.zeros(shell.size, np.float32), line)
        return Multipliers(alpha, beta, price)

    def climb(self, shell: Ints, phases: Phases, free: Multipliers, steps: int, ceiling: Array) -> Climbed:
        """Ascend ``steps`` steps, fewer where a node's bound passes its ceiling ``[B]``."""
        with np.errstate(all="ignore"):  # what overflows single precision bounds nothing
            parts = [
                self._climbed(shell[at], phases[at], free.take(at), steps, ceiling[at])
                for at in self._blocks(shell.size)
            ]
        return Climbed.joined(parts)

    def _blocks(self, count: int) -> list[slice]:
        """Nodes that are taken together."""
        step = max(_FEWEST_ROWS, _NUMBERS // self._centre.shape[1])
        return [slice(k, k + step) for k in range(0, max(count, 1), step)]

    def _climbed(self, shell: Ints, phases: Phases, free: Multipliers, steps: int, ceiling: Array) -> Climbed:
        count, everywhere = phases.shape[0], self._sides(shell, phases)
        best, kept = np.full(count, -np.inf, np.float32), free.copy()
        points = np.zeros((count, self._centre.shape[1]), np.float32)
        live, sides, here = np.arange(count), everywhere, free.copy()
        adam, mean, total = [Adam(phases.shape), Adam(phases.shape)], np.zeros_like(points), 0.0
        around, margins = None, None
        if here.bend is not None:
            adam.append(Adam(here.bend.shape))
        for step in range(steps):
            at = self._slope(shell[live], here, sides)
            better = at.bound > best[live]
            kept.put(live[better], replace(here, price=at.price).take(better))
            best[live] = np.fmax(best[live], at.bound)
            total += step + 1.0
            mean += np.float32((step + 1.0) / total) * (at.moved - mean)
            if at.margins is not None:
                around = at.margins if around is None else around
                around = around + np.float32((step + 1.0) / total) * (at.margins - around)
                margins = np.zeros((count, around.shape[1]), np.float32) if margins is None else margins
            if step == steps - 1:
                break
            if step % _LOOK == _LOOK - 1:
                stays = best[live] < ceiling[live]
                if not stays.all():
                    points[live[~stays]] = mean[~stays]
                    if around is not None and margins is not None:
                        margins[live[~stays]], around = around[~stays], around[stays]
                    live, here, at = live[stays], here.take(stays), at.take(stays)
                    sides, mean = sides.take(stays), mean[stays]
                    for moments in adam:
                        moments.take(stays)
                if not live.size:
                    break
            rate = _RATE * _DECAY**step
            adam[0].step(here.alpha, at.alpha, step, rate, 0.0, 1.0)
            adam[1].step(here.beta, at.beta, step, 0.5 * rate, 0.0, math.inf)
            if here.bend is not None and at.bend is not None:
                adam[2].step(here.bend, at.bend, step, 0.5 * rate, 0.0, math.inf)
            here = replace(here, price=at.price)
        points[live] = mean
        if around is not None and margins is not None:
            margins[live] = around
        written = self._written(shell, kept, everywhere)
        margin = np.ones(count, np.float32) if self._multiplier is not None else np.reciprocal(kept.price)
        splits = self._splits(written.q, everywhere)
        worth = None if margins is None else _costs(written.q, everywhere).max(axis=1, initial=-1.0)
        return Climbed(best, written.nu * margin[:, None], margin, kept, splits, points, margins, worth)

    def _top(self, shell: Ints, written: _Written, free: Multipliers) -> tuple[Floats, Floats, Floats]:
        """What is left at the best input: the bound of the minimisation ``[B]``, the displacement ``[B, n]``, the price ``[B]``."""
        (peaks, place), pull, price = self.peaks(shell), written.pull, free.price
        level = written.constant + self._offset(shell, free)
        level = level + (pull * self._centre[self._shell_of[shell]]).sum(axis=1)
        if self._multiplier is None:
            price, moved, t = peaks.crossing(place, pull, level)
            return t - ((pull * moved).sum(axis=1) + level) / price, moved, price
        value, moved, _ = peaks(place, pull, price)
        return -(value + level), moved, price

    def _sides(self, shell: Ints, phases: Phases) -> Sides:
        """Where each neuron may be on a node, by its phase and its bounds."""
        low, high = self._low[shell], self._high[shell]
        low = np.where(phases > 0, np.maximum(low, 0), low)
        high = np.where(phases < 0, np.minimum(high, 0), high)
        opened = (low < 0) & (high > 0)
        return Sides.of(
            low, high, np.where(opened, phases, np.where(low >= 0, 1, -1)).astype(np.int8)
        )  # may rest on more

    def _rows(self, shell: Ints, free: Multipliers) -> Floats:
        """The functionals ``[B, K]``."""
        return self._functional[self._shell_of[shell]]

    def _offset(self, shell: Ints, free: Multipliers) -> Floats:
        """What is added to the functionals, ``[B]``."""
        return np.zeros(shell.size, np.float32)

    def _bent(self, shell: Ints, free: Multipliers, slope: Slope, output: Floats) -> Slope:
        """With how the bound falls in ``bend``, from the output ``[B, K]`` along the lines."""
        return slope

    def _written(self, shell: Ints, free: Multipliers, sides: Sides, lines: Lines | None = None) -> _Written:
        """The backward pass."""
        count, lines = free.alpha.shape[0], Lines(sides, free.beta) if lines is None else lines
        q_all, nu_all, alpha = np.empty_like(free.alpha), np.empty_like(free.alpha), np.ascontiguousarray(free.alpha)
        constant, whole = np.zeros(count, np.float32), np.ones(count, np.float32)

        def line(number: int, q: Floats) -> Floats:
            span = self._graph.spans[number]
            nu = lines.back(span, q, alpha, whole, constant, q_all)
            nu_all[:, span] = nu
            return nu

        pull = self._graph.back(self._rows(shell, free), constant, line)
        return _Written(constant, q_all, nu_all, pull)

    def _slope(self, shell: Ints, free: Multipliers, sides: Sides) -> Slope:
        """The bound, and which way it falls: one pass back, the peak of what is left, one pass forward."""
        lines = Lines(sides, free.beta)
        written = self._written(shell, free, sides, lines)
        bound, moved, price = self._top(shell, written, free)
        alpha, beta, along = np.empty_like(free.alpha), np.empty_like(free.beta), np.ascontiguousarray(free.alpha)

        def line(number: int, z: Floats) -> Floats:
            return lines.forward(self._graph.spans[number], z, along, written.q, alpha, beta)

        output = self._graph.forward(moved + self._centre[self._shell_of[shell]], line)
        return self._bent(shell, free, Slope(bound, alpha, beta, price, moved), output)

    @property
    def priced(self) -> bool:
        """Whether the price of moving is free, as for a distance."""
        return self._multiplier is None

    def bounds(self, shell: Ints, phases: Phases) -> tuple[Floats, Floats, Phases]:
        """The bounds of neurons on the sides of their phases, and the sides that both leave, ``[B, M]`` each."""
        sides = self._sides(shell, phases)
        return sides.low, sides.high, sides.made.astype(np.int8)

    def costs(self, shell: Ints, phases: Phases, free: Multipliers) -> Floats:
        """What the chord of each open neuron costs the bound, ``[B, M]``; -1 where it is not open."""
        with np.errstate(all="ignore"):
            sides = self._sides(shell, phases)
            return _costs(self._written(shell, free, sides).q, sides)

    def reaching(self, shell: Ints, phases: Phases, free: Multipliers, middle: Array, half: Array) -> Floats:
        """What each input has to do with the chords, ``[B, n]``: what they cost, times the share of a neuron's interval that half of
        the input's width, ``half [B, n]``, moves it by, along chords from ``middle [B, n]``.
        """
        (count, n), out = middle.shape, np.zeros(middle.shape, np.float32)
        with np.errstate(all="ignore"):
            sides = self._sides(shell, phases)
            q = self._written(shell, free, sides).q
            weight = np.abs(q) * sides.open * sides.chord * (1 - sides.chord)
            x = np.repeat(middle.astype(np.float32)[:, None], n + 1, axis=1)
            x[:, np.arange(n), np.arange(n)] += half

            def line(number: int, z: Floats) -> Floats:
                span = self._graph.spans[number]
                each = z.reshape(count, n + 1, -1)
                moved = np.abs(each[:, :-1] - each[:, -1:])
                out[:] += (moved * weight[:, None, span]).sum(axis=2)
                return np.asarray((each * sides.chord[:, None, span]).reshape(z.shape))

            self._graph.forward(x.reshape(-1, n), line)
        return out

    def _splits(self, q: Floats, sides: Sides) -> Ints:
        """The open neurons whose chords cost the bound most, ``[B, k]``; -1 where no more are open (BaBSR, arXiv 1909.06588)."""
        score = _costs(q, sides)
        if not score.shape[1]:
            return np.full((score.shape[0], 1), -1)
        count = min(_CANDIDATES, score.shape[1])
        best = np.argpartition(-score, count - 1, axis=1)[:, :count]
        order = np.argsort(-np.take_along_axis(score, best, 1), axis=1, kind="stable")
        best = np.take_along_axis(best, order, 1)
        return np.where(np.take_along_axis(sides.open, best, 1) > 0, best, -1)

    def chosen(
        self, shell: Ints, phases: Phases, free: Multipliers, splits: Ints, bound: Floats, ceiling: Array
    ) -> Ints:
        """Which of the neurons ``[B, k]`` gains most where both of its sides are bounded as they stand, ``[B]``."""
        count, each = splits.shape
        tried = np.repeat(phases, 2 * each, axis=0)
        at = np.arange(count * each)
        flat = np.maximum(splits.reshape(-1), 0)
        tried[2 * at, flat], tried[2 * at + 1, flat] = 1, -1
        many = np.repeat(np.arange(count), 2 * each)
        with np.errstate(all="ignore"):
            found = self._bound(shell[many], free.take(many), self._sides(shell[many], tried))
        enough, before = (np.repeat(part, 2 * each) for part in (ceiling, bound))
        gains = np.maximum(np.minimum(found, enough) - before, _LEAST_GAIN).reshape(count, each, 2)
        worth = np.where(splits >= 0, gains[..., 0] * gains[..., 1], -1)
        return np.take_along_axis(splits, worth.argmax(axis=1)[:, None], 1)[:, 0]

    def _bound(self, shell: Ints, free: Multipliers, sides: Sides) -> Floats:
        """The bound of the minimisation, ``[B]``."""
        out = np.empty(shell.size, np.float32)
        for at in self._blocks(shell.size):
            some = free.take(at)
            out[at] = self._top(shell[at], self._written(shell[at], some, sides.take(at)), some)[0]
        return out


def _costs(q: Floats, sides: Sides) -> Floats:
    """What chords cost, and a little for what their neurons may do; -1 where a neuron is not open."""
    least = _FLAT * np.abs(q) * np.minimum(sides.high, -sides.low)
    return np.where(sides.open > 0, np.maximum(q, 0) * sides.chord * -sides.low + least, np.float32(-1))


@dataclass(frozen=True, eq=False)
class _Written:
    """A backward pass: constant ``[B]``, q and nu ``[B, M]``, the pull on the inputs ``[B, n]``."""

    constant: Floats
    q: Floats
    nu: Floats
    pull: Floats


@dataclass(frozen=True, eq=False)
class Slope:
    """The bound of the minimisation ``[B]``, how it falls in alpha and beta ``[B, M]`` (times the price), and the price ``[B]``.

    Of a cross-entropy also how it falls in ``bend [B, F]``, and its margins ``[B, J]``.
    """

    bound: Floats
    alpha: Floats
    beta: Floats
    price: Floats
    moved: Floats
    bend: Floats | None = None
    margins: Floats | None = None

    def take(self, at: NDArray[np.bool_]) -> Slope:
        """Those of some nodes."""
        more = (None if part is None else part[at] for part in (self.bend, self.margins))
        return Slope(*(part[at] for part in (self.bound, self.alpha, self.beta, self.price, self.moved)), *more)
