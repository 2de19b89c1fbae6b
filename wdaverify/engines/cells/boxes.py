"""Questions about curved functions of few inputs: the region is halved into boxes, bounded by rule in batches.

    Inner      the largest of  functional . f - multiplier ||x - c||^p  over a box, by the trusted pass with every line chosen by rule
    Distance   no error in a box whose margin is below 0 throughout; else at least the box's own distance, and with any mu > 0
               -max over the box of  mu margin - ||x - c||,  since where the margin is 0 that is the distance
    entropy    the largest class's margin, gamma . margins behind it and a constant that bound it on their intervals (``certify.entropy``)

A bound exceeds the value by the square of the box's width, so that few boxes are left to halve; a box is halved where its width times the
range of the derivative is largest. Points that are tried are middles and the corners that gradients pull to.

Halves of an integer feature end at whole numbers. What the support's rows leave out of a box is taken into account by multipliers of them,
which a box has from the one it is a half of and betters by one step up or down, half as far as the last one where neither helped: their
error falls with the box, and so the bound's with its square.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from wdaverify.certify.backward import Backward, HiddenBounds, Shells
from wdaverify.certify.certificate import rounded
from wdaverify.certify.entropy import by_rule, entropy_constant
from wdaverify.certify.jacobian import jacobian, slope_up
from wdaverify.certify.leaf_row import Layout
from wdaverify.certify.proof import HALVED, Tree
from wdaverify.encoding.cost import Region
from wdaverify.encoding.milp import Ints
from wdaverify.engines.base import Distance
from wdaverify.engines.cells.curved_trees import Grown, ruled
from wdaverify.engines.cells.frontier import Frontier
from wdaverify.engines.cells.hunt import Hunt
from wdaverify.engines.cells.row_multipliers import RowMultipliers
from wdaverify.graph.nodes import Graph
from wdaverify.network.model import Array

FEW = 6
"""So many inputs that move."""
_BATCH = 192
_NARROW = 2.0**-44
"""Boxes are not halved that are narrower, relative to their numbers."""
_BYTES = 64.0
_ACROSS = 1.0
"""Margins behind the largest logit that may be above 0 by more are cut at 0."""
_DOUBT = 2.0**10
"""How many times its rounding a margin must be below 0 where a checker follows: there a sign lost is a leaf lost."""
_TRIED = 4
"""Points of a batch that are looked at closely."""
_AT_THE_ROOT = 24
"""Rounds for the first multipliers of rows."""


def few_inputs(region: Region, *, proof: bool) -> bool:
    """Whether the region is one of few inputs; where a proof is wanted, with no rows and integers."""
    moving = (region.lower < region.upper) & ~region.cost.fixed(region.centre.size)
    inside = (region.centre >= region.lower) & (region.centre <= region.upper)
    plain = region.rows is None and region.integer is None
    return (plain or not proof) and int(moving.sum()) <= FEW and bool(inside.all())


class BoxSearch(Frontier):
    """One question's search; a leaf is a box, ``lower, upper [n]`` and the axis to halve it at.

    Where a tree is wanted also its node, and bounds ``[2, M]`` of neurons, which hold below it too.
    """

    def __init__(self, graph: Graph, backward: Backward, hunt: Hunt) -> None:
        region = hunt.question.region
        self._grown = Grown() if hunt.effort.whole else None
        numbers = region.centre.size + (0 if self._grown is None else graph.neurons)
        super().__init__(hunt, _BATCH, _BYTES + 16.0 * numbers)
        self._graph, self._backward, self._hunt = graph, backward, hunt
        self._spans = [slice(int(a), int(b)) for a, b in pairwise(graph.edges.tolist())]
        self._distance = isinstance(hunt.question, Distance)
        room = region.far / region.cost.scale(region.centre.size) * (1 + 2.0**-40)
        room = np.where(region.cost.fixed(region.centre.size), 0.0, room)
        lower, upper = np.maximum(region.lower, region.centre - room), np.minimum(region.upper, region.centre + room)
        lower, upper = np.nextafter(lower, -np.inf)[None], np.nextafter(upper, np.inf)[None]
        lower, upper = np.maximum(lower, region.lower), np.minimum(upper, region.upper)
        self._integer = np.zeros(region.centre.size, np.bool_) if region.integer is None else region.integer
        self._integer = self._integer & (lower[0] < upper[0])
        lower, upper = np.where(self._integer, np.ceil(lower), lower), np.where(self._integer, np.floor(upper), upper)
        self._rows = None if region.rows is None else RowMultipliers(region.rows)
        spot = np.array([-1 if self._grown is None else self._grown.add()])
        held = (np.zeros((1, 2, 0)), np.zeros((1, 2))) if self._rows is None else self._rows.first(1)
        self._bound, *leaves = self._bounded(lower, upper, spot, None, held)
        self._leaves = lower, upper, *leaves

    def trees(self, layout: Layout) -> tuple[Tree, ...]:
        """What shows what is proven, where that is kept."""
        region = self._region
        return () if self._grown is None else (self._grown.tree(0, region.near, region.far, layout),)

    def _stuck(self, some: Ints) -> NDArray[np.bool_]:
        """As narrow as doubles allow."""
        lower, upper, axis = (part[some] for part in self._leaves[:3])
        size = np.maximum(np.abs(lower), np.abs(upper)).max(axis=1)
        return ~np.asarray((upper - lower)[np.arange(some.size), axis] > _NARROW * size)

    def _open(self, some: Ints) -> None:
        (low, high, axis, spot, ends, rho, step), rows = (part[some] for part in self._leaves), np.arange(some.size)
        lower, upper = np.repeat(low, 2, axis=0), np.repeat(high, 2, axis=0)
        middle = 0.5 * low[rows, axis] + 0.5 * high[rows, axis]
        whole = self._integer[axis]
        upper[2 * rows, axis] = np.where(whole, np.floor(middle), middle)
        lower[2 * rows + 1, axis] = np.where(whole, np.floor(middle) + 1.0, middle)
        known = None
        if self._grown is not None:
            cuts = zip(spot.tolist(), axis.tolist(), middle.tolist(), strict=True)
            spot = np.array([self._grown.cut(k, HALVED, (float(at), x, x)) for k, at, x in cuts]).reshape(-1)
            twice = np.repeat(ends, 2, axis=0)
            known = [(twice[:, 0, span], twice[:, 1, span]) for span in self._spans]
        else:
            spot = np.repeat(spot, 2)
        bound, *leaves = self._bounded(
            lower, upper, spot, known, (np.repeat(rho, 2, axis=0), np.repeat(step, 2, axis=0))
        )
        self._replace(some, bound, lower, upper, *leaves)

    def _bounded(
        self, lower: Array, upper: Array, spot: Ints, known: HiddenBounds | None, held: tuple[Array, Array]
    ) -> tuple[Array, Ints, Ints, Array, Array, Array]:
        """What boxes ``[B, n]`` prove, ``[B]``, where to halve them, nodes, bounds of neurons, multipliers of rows and their steps.

        Points of them are tried.
        """
        hunt, region, count = self._hunt, self._region, len(lower)
        self.visited += count
        centre = np.broadcast_to(region.centre, lower.shape)
        edges = [np.full(count, edge) for edge in (region.near, region.far)]
        shells = Shells.around(region.cost, centre, region.lower, region.upper, edges[0], edges[1]).within(lower, upper)
        bounds = self._backward.pre_activations(shells, known=known)
        ends = np.zeros((count, 2, 0))
        if self._grown is not None:
            low, high = (np.concatenate([ends[:, 0], *(pair[side] for pair in bounds)], axis=1) for side in (0, 1))
            ends = np.stack([low, high], axis=1)
        rows, margins, lead = hunt.functional[None], hunt.claim.margins, hunt.claim.lead
        if margins is not None and lead is not None:
            rows = np.concatenate([margins + lead, lead[None]])  # all margins of the label
        wide = np.broadcast_to(rows, (count, *rows.shape))
        gradient, loose = jacobian(self._graph, bounds, wide)
        smear = (np.abs(loose) * (upper - lower)[:, None]).max(axis=1)
        smear = np.where(np.isfinite(smear), smear, 0.0) + 1e-12 * (upper - lower) * (np.abs(gradient).max(axis=1) + 1)
        smear = np.where(upper > lower, smear + 1e-300, -1.0)
        held = held[0].copy(), held[1].copy()
        self._steep = np.linalg.norm(gradient, axis=2).max(axis=1, initial=1e-300)
        if self._distance:
            bound = self._distances(shells, bounds, gradient, (lower, upper), spot, ends, held)
        elif margins is not None:
            bound = -self._entropies(shells, bounds, np.broadcast_to(margins, (count, *margins.shape)), held)
        else:
            bound = -self._least(shells, bounds, wide[:, 0], np.full(count, hunt.claim.multiplier), hunt.power, held, 0)
        if self._rows is not None:
            bound = np.where(self._rows.reaches(lower, upper), bound, math.inf)
        self._try(lower, upper, gradient)
        return bound, smear.argmax(axis=1), spot, ends, *held

    def _least(
        self,
        shells: Shells,
        bounds: HiddenBounds,
        functional: Array,
        tau: Array,
        power: int,
        held: tuple[Array, Array],
        place: int,
        nu: Array | None = None,
        doubt: float = 1.0,
    ) -> Array:
        """``_top`` with the multipliers of rows at a place of those held, which are bettered."""

        def top(rho: Array | None) -> Array:
            none = np.zeros((len(tau), self._backward.neurons), np.int8)
            return self._backward.leaves(functional, tau, shells, bounds, none, nu, power=power, rho=rho, doubt=doubt)

        if self._rows is None:
            return top(None)
        rho, step = held
        rounds = 1 if step[:, place].any() else _AT_THE_ROOT
        best, rho[:, place], step[:, place] = self._rows.better(top, rho[:, place], step[:, place], self._steep, rounds)
        return best

    def _distances(
        self,
        shells: Shells,
        bounds: HiddenBounds,
        gradient: Array,
        box: tuple[Array, Array],
        spot: Ints,
        ends: Array,
        held: tuple[Array, Array],
    ) -> Array:
        """At least the distance to an error in each box; inf where there is none."""
        region, (lower, upper), count = self._region, box, len(spot)
        functional = np.broadcast_to(self._hunt.functional, (count, self._hunt.functional.size))
        doubt = 1.0 if self._grown is None else _DOUBT
        top = self._least(shells, bounds, functional, np.zeros(count), 1, held, 0, doubt=doubt)
        away = np.maximum(np.maximum(lower - region.centre, region.centre - upper), 0.0)
        near = np.maximum(region.cost.distance(away) * (1 - 2.0**-40), region.near)
        near = near if self._grown is None else shells.near
        slope = slope_up(gradient, np.zeros_like(gradient), region.cost)
        weight = np.where(np.isfinite(slope) & (slope > 0), 1.0 / np.maximum(slope, 1e-300), 0.0)
        weight, nu = np.minimum(weight, 1e100), None
        if self._grown is not None:
            weight = rounded(weight)
            nu = ruled(self._graph, self._spans, functional * weight[:, None], ends)
        self._steep = np.ones(count)
        priced = self._least(shells, bounds, functional * weight[:, None], np.ones(count), 1, held, 1, nu)
        priced = np.where(np.isfinite(priced), -priced, -np.inf)
        if self._grown is not None and nu is not None:
            for k in np.flatnonzero((top >= 0) & (priced > near)).tolist():
                self._grown.write(int(spot[k]), np.concatenate([[weight[k], 1.0], nu[k]]))
        bound = np.maximum(near, priced)
        return np.where((top < 0) | (bound > region.far), math.inf, bound)

    def _entropies(self, shells: Shells, bounds: HiddenBounds, margins: Array, held: tuple[Array, Array]) -> Array:
        """Upper bounds of the cross-entropy less the price."""
        hunt, count = self._hunt, len(margins)
        none = np.zeros((count, self._backward.neurons), np.int8)
        both = np.concatenate([margins, -margins], axis=1)
        top = self._backward.leaves(both, np.zeros(count), shells, bounds, none, None)
        high, low = top[:, : margins.shape[1]], -top[:, margins.shape[1] :]
        empty, known = np.isneginf(top).all(axis=1), np.asarray(np.isfinite(top).all(axis=1))
        empty |= (low > np.minimum(high, 0.0)).any(axis=1)
        high = np.where(high > _ACROSS, 0.0, high)  # narrow boxes across a tie: what is cut at 0 is not of second order
        low, high = (np.where(known[:, None], side, 0.0) for side in (np.minimum(low, high), high))
        pairs = [by_rule(a, b) for a, b in zip(low, high, strict=True)]
        level, gamma = np.array([pair[0] for pair in pairs]), np.stack([pair[1] for pair in pairs])
        constant = entropy_constant(level, gamma, low, high)
        functional = (
            np.einsum("bj,bjk->bk", gamma, margins) + hunt.claim.lead
        )  # exact: differences, and gamma is on a grid
        tau = np.full(count, hunt.claim.multiplier)
        out = np.nextafter(constant + self._least(shells, bounds, functional, tau, hunt.power, held, 0), np.inf)
        return np.where(empty, -math.inf, np.where(known, out, math.inf))

    def _try(self, lower: Array, upper: Array, gradient: Array) -> None:
        """Look at points of the boxes: those that seem best are valued."""
        region, hunt = self._region, self._hunt
        middle, pull = 0.5 * lower + 0.5 * upper, gradient.max(axis=1) + gradient.min(axis=1)
        corner = np.where(pull > 0, upper, np.where(pull < 0, lower, middle))
        nearest = np.clip(region.centre, lower, upper)
        mixed = np.where((corner - region.centre) * (nearest - region.centre) > 0, nearest, corner)
        points = np.concatenate([middle, corner, nearest, mixed])
        if self._rows is not None:
            points = np.clip(self._rows.towards(points), region.lower, region.upper)
        points = np.where(self._integer, np.rint(points), points)
        distance = region.cost.distance(points - region.centre)
        over = np.maximum(distance / max(region.far, 1e-300), 1.0)[:, None]
        points = np.where((over > 1) & ~self._integer, region.centre + (points - region.centre) / over, points)
        z, distance = self._graph.forward(points), np.minimum(distance, region.far)
        if self._distance:
            margin = z @ hunt.functional
            value = np.where(margin >= 0, distance, math.inf)
        else:
            paid = hunt.claim.multiplier * distance**hunt.power
            value = paid - (z @ hunt.functional if hunt.claim.margins is None else hunt.asked.entropy(z))
        for k in np.argsort(value, kind="stable")[:_TRIED]:
            if not value[k] < self.incumbent:
                break
            moved = points[k] - region.centre
            own = hunt.asked.value(moved)
            if own < self.incumbent:
                self.incumbent, self.best = own, moved
