"""Bounds of hidden neurons at nodes of a tree, better than those by rule, by rows of a proof.

A row of neuron k, of ``s z_k`` with the sign s and a weight w > 0, is one backward pass: whatever its slopes and beta, it gives a B with

    margin (z_j - z_y - lam ||x - x_i||^p) + w s z_k  <=  B        at the node: on its shell, on the sides of its phases.

With margin 0 (no level), ``s z_k <= B / w``. With margin 1, ``s z_k <= (B - level) / w`` wherever the question's value is at
least the level: a tree whose bounds rest on such rows proves that phi is at most the larger of its leaves' bound and the level
(optimality-based bound tightening: Gleixner et al., J. Global Optim. 67, 2017). For a distance there is no cost, and the
level is 0, which every error attains: nothing is lost. A piece of a cross-entropy exceeds ``z_r - z_y`` by ``log(1 + sum_j exp(u_j))``
at most, where its margins behind the largest are at most ``u_j``: the level is lower by that.

Where a feature, a neuron or the distance is cut the bounds are made anew by rule, on what the cuts leave of the shell, on the sides of the
phases there, and no worse than above; or they are narrowed, by rows that say where the level can be reached (``certify.cutoff``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from wdaverify.certify.backward import Backward, HiddenBounds, Lines, Shells
from wdaverify.certify.cutoff import Cutoff, cut
from wdaverify.certify.entropy import slack_of
from wdaverify.certify.peak import Price
from wdaverify.certify.proof import MalformedProofError, Phases, Place, Tightening
from wdaverify.network.model import Array

_TOGETHER = 1024
"""Rows that are evaluated together."""
_PLACES = 256
"""Places that are evaluated together."""
_STEPS = 255.0
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Asked:
    """What the trees of nodes are asked: functionals ``[B, K]`` of the logits, multipliers ``[B]`` and power of the cost.

    ``multiplier`` is None for distances. Of a cross-entropy the functional is the largest logit's margin,
    and ``ends [B, J]`` are upper ends of those behind it (``certify.entropy``).
    """

    functional: Array
    multiplier: Array | None
    power: int = 1
    ends: Array | None = None

    def take(self, index: Ints) -> Asked:
        """What is asked of some of them."""
        parts = (None if part is None else part[index] for part in (self.multiplier, self.ends))
        multiplier, ends = parts
        return Asked(self.functional[index], multiplier, self.power, ends)


@dataclass(frozen=True, eq=False)
class Nodes:
    """Nodes of trees: shells ``[B]``, bounds there ``[B, m]`` each, phases ``[B, M]``."""

    shells: Shells
    bounds: HiddenBounds
    phases: Phases


def tightened(
    backward: Backward,
    nodes: Nodes,
    asked: Asked,
    tights: Sequence[Tightening],
    waited: Callable[[], None] | None = None,
) -> HiddenBounds:
    """The nodes' bounds as far as the rows of one tightening each tighten them; ``l > u`` where they leave no point.

    ``waited`` is called now and then: a tightening may have as many rows as a file holds.

    Rows with numbers that make no sense (a weight that is not above 0, anything that is not finite) change nothing.

    Raises:
        MalformedProofError: the rows are not of this network.
    """
    for tight in tights:
        _formed(tight, backward.neurons)
    rows = _Rows.of(tights)
    bounds = [(low.copy(), high.copy()) for low, high in nodes.bounds]
    first = 0
    for low, high in bounds:
        here = np.flatnonzero((rows.at // 2 >= first) & (rows.at // 2 < first + low.shape[1]))
        top = np.empty(here.size)
        for begin in range(0, here.size, _TOGETHER):
            if waited is not None:
                waited()
            some = rows.take(here[begin : begin + _TOGETHER])
            top[begin : begin + some.at.size] = _tops(backward, nodes, bounds, asked, some)
        owner, neuron, upper = rows.owner[here], rows.at[here] // 2 - first, rows.at[here] % 2 == 0
        np.minimum.at(high, (owner[upper], neuron[upper]), top[upper])
        np.maximum.at(low, (owner[~upper], neuron[~upper]), -top[~upper])
        gone = ~(low <= high)
        low[gone], high[gone] = 1.0, -1.0
        first += low.shape[1]
    return bounds


@dataclass(frozen=True, eq=False)
class _Rows:
    """Rows of several tightenings, ``[R]`` and ``[R, M]``, the number of each one's owner and the level and beta of owners."""

    owner: Ints
    at: Ints
    weight: Array
    slopes: NDArray[np.uint8]
    level: Array
    beta: Array

    @classmethod
    def of(cls, tights: Sequence[Tightening]) -> _Rows:
        return cls(
            np.repeat(np.arange(len(tights)), [tight.at.size for tight in tights]),
            np.concatenate([tight.at for tight in tights]).astype(np.int64),
            np.concatenate([tight.weight for tight in tights]).astype(np.float64),
            np.concatenate([tight.slopes for tight in tights]),
            np.array([tight.level for tight in tights], np.float64),
            np.stack([tight.beta for tight in tights]).astype(np.float64),
        )

    def take(self, index: Ints) -> _Rows:
        return _Rows(self.owner[index], self.at[index], self.weight[index], self.slopes[index], self.level, self.beta)


@dataclass(frozen=True, eq=False)
class Whole:
    """What places lie on: shells ``[S]`` with bounds ``[S, m]`` each, and what is asked, ``[Q]``."""

    shells: Shells
    bounds: HiddenBounds
    asked: Asked


def settle(
    backward: Backward, whole: Whole, places: Iterable[tuple[int, int, Place]], waited: Callable[[], None] | None = None
) -> None:
    """Evaluate the rows of places, and of those above them, that nobody has evaluated yet; ``waited`` is called now and then.

    A place comes with the numbers of its shell and of what is asked there.

    Raises:
        MalformedProofError: rows that are none.
    """
    levels: list[list[tuple[int, int, Place]]] = []
    level_of: dict[int, int] = {}
    for shell, number, place in places:
        chain, at = list[Place](), place
        while at.bounds is None and id(at) not in level_of:
            chain.append(at)
            if at.above is None:
                break
            at = at.above
        level = level_of.get(id(at), -1)
        for one in reversed(chain):
            level += 1
            level_of[id(one)] = level
            levels += [[]] if level == len(levels) else []
            levels[level].append((shell, number, one))
    for some in levels:
        for begin in range(0, len(some), _PLACES):
            if waited is not None:
                waited()
            _settle(backward, whole, some[begin : begin + _PLACES], waited)


def _settle(
    backward: Backward, whole: Whole, some: Sequence[tuple[int, int, Place]], waited: Callable[[], None] | None
) -> None:
    """Evaluate places whose predecessors are known."""
    inputs = whole.shells.up.shape[1]
    for kind in range(3):
        entries = [entry for entry in some if _kind(entry[2]) == kind]
        if not entries:
            continue
        shell, number = np.array([entry[0] for entry in entries]), np.array([entry[1] for entry in entries])
        places = [entry[2] for entry in entries]
        for place in places:
            _part(place, inputs, backward.neurons)
        shells, above = boxed(whole.shells.take(shell), places), bounds_at(whole, shell, [p.above for p in places])
        _at_neurons(above, places, inputs)
        phases = np.stack([place.phases for place in places])
        match kind:
            case 0:
                each = whole.asked.take(number)
                if each.ends is not None:
                    for k, place in enumerate(places):
                        for at, from_above, value in place.cuts:
                            if at < 0 and from_above:
                                each.ends[k, -1 - at] = min(each.ends[k, -1 - at], value)
                tights = [place.tight for place in places if place.tight is not None]
                found = tightened(backward, Nodes(shells, above, phases), each, tights, waited)
            case 1:
                found = backward.pre_activations(shells, phases, known=above)
            case _:
                found = _narrowed(backward, shells, above, whole.asked.take(number), places)
        none = np.zeros((len(places), 0))
        low, high = (np.concatenate([none, *(pair[side] for pair in found)], axis=1) for side in (0, 1))
        for k, place in enumerate(places):
            place.bounds = np.stack([low[k], high[k]])


def _kind(place: Place) -> int:
    return 0 if place.tight is not None else 1 if place.rows is None else 2


def _narrowed(
    backward: Backward, shells: Shells, above: HiddenBounds, asked: Asked, places: Sequence[Place]
) -> HiddenBounds:
    """Bounds at places that rows narrow; what is left of the distances is theirs.

    Raises:
        MalformedProofError: numbers that are not finite, or a question whose values no such row speaks of.
    """
    if asked.ends is not None or not backward.neurons:
        raise MalformedProofError("of such a question nothing is narrowed")
    rows = np.stack([place.rows for place in places if place.rows is not None])[:, :, : 2 + backward.neurons]
    level, nu, matters = rows[:, 0, 0], rows[:, 0, 2:], rows[:, 1, 2:]
    if not (np.isfinite(nu).all() and np.isfinite(matters).all()):
        raise MalformedProofError("a number of a row that narrows is not finite")
    if asked.multiplier is None:  # no error is left out but those beyond the level
        far = np.where(np.isfinite(level), np.clip(level, shells.near, shells.far), shells.far)
        shells, level, tau = cut(shells, shells.near, far), np.zeros(level.size), np.zeros(level.size)
    else:
        level, tau = np.where(level < np.inf, level, -np.inf), asked.multiplier
    ends = np.stack([np.concatenate([pair[side] for pair in above], axis=1) for side in (0, 1)], axis=1)
    gone = ~(ends[:, 0] <= ends[:, 1]).all(axis=1)
    ends = np.stack([ends.min(axis=1), ends.max(axis=1)], axis=1)
    price = Price(tau, asked.power, None)
    shells, ends = Cutoff(backward.graph, backward).narrowed(
        asked.functional, shells, ends, price, (nu, level, matters)
    )
    gone |= ~((ends[:, 0] <= ends[:, 1]).all(axis=1) & (shells.near <= shells.far))
    for k, place in enumerate(places):
        if not gone[k]:
            place.edges = float(shells.near[k]), float(shells.far[k])
    ends[gone, 0], ends[gone, 1] = 1.0, -1.0
    edges = np.cumsum([0, *(low.shape[1] for low, _ in above)])
    return [(ends[:, 0, a:b], ends[:, 1, a:b]) for a, b in pairwise(edges.tolist())]


def _part(place: Place, inputs: int, neurons: int) -> None:
    """What the cuts above and at a place leave of the space and of the distances.

    Raises:
        MalformedProofError: a cut of what is not there.
    """
    if place.above is not None:
        place.box, place.edges = place.above.box, place.above.edges
    if place.cut is None:
        return
    at, above, value = place.cut
    if at > inputs + neurons:
        raise MalformedProofError(f"number {at} is cut, of {inputs} features and {neurons} neurons")
    if at < inputs:
        box = place.box
        box = np.stack([np.full(inputs, -np.inf), np.full(inputs, np.inf)]) if box is None else box.copy()
        box[int(above), at] = min(box[1, at], value) if above else max(box[0, at], value)
        place.box = box
    elif at == inputs + neurons:
        near, far = place.edges
        place.edges = (near, min(far, value)) if above else (max(near, value), far)


def _at_neurons(bounds: HiddenBounds, places: Sequence[Place], first: int) -> None:
    """Cut the bounds ``[B, m]`` where neurons are cut."""
    for low, high in bounds:
        for k, place in enumerate(places):
            if place.cut is not None and 0 <= (at := place.cut[0] - first) < low.shape[1]:
                if place.cut[1]:
                    high[k, at] = min(high[k, at], place.cut[2])
                else:
                    low[k, at] = max(low[k, at], place.cut[2])
        first += low.shape[1]


def boxed(shells: Shells, places: Sequence[Place | None]) -> Shells:
    """Shells ``[B]`` within what the cuts above places that are settled leave of them."""
    some = [(k, place.box) for k, place in enumerate(places) if place is not None and place.box is not None]
    if some:
        lower, upper = np.full(shells.up.shape, -np.inf), np.full(shells.up.shape, np.inf)
        at = [k for k, _ in some]
        lower[at], upper[at] = np.stack([box[0] for _, box in some]), np.stack([box[1] for _, box in some])
        shells = shells.within(lower, upper)
    edges = np.array([(0.0, np.inf) if place is None else place.edges for place in places])
    if (edges == [0.0, np.inf]).all():
        return shells
    far = np.minimum(shells.far, edges[:, 1])
    return cut(shells, np.minimum(np.maximum(shells.near, edges[:, 0]), far), far)


def bounds_at(whole: Whole, shell: Ints, places: Sequence[Place | None]) -> HiddenBounds:
    """The bounds ``[B, m]`` at places that are settled, at the shell's where there is none."""
    out = [(low[shell], high[shell]) for low, high in whole.bounds]
    some = [k for k, place in enumerate(places) if place is not None]
    if some:
        better, first = (
            np.stack([place.bounds for place in places if place is not None and place.bounds is not None]),
            0,
        )
        for low, high in out:
            span = slice(first, first + low.shape[1])
            low[some], high[some] = better[:, 0, span], better[:, 1, span]
            first = span.stop
    return out


def _formed(tight: Tightening, neurons: int) -> None:
    """Raises MalformedProofError for rows that are none of a network with so many neurons."""
    count = tight.at.size
    shapes = tight.at.shape, tight.weight.shape, tight.slopes.shape, tight.beta.shape
    if shapes != ((count,), (count,), (count, neurons), (neurons,)):
        raise MalformedProofError(f"rows of shapes {shapes} tighten {count} bounds of {neurons} neurons")
    if count and (tight.at.min() < 0 or tight.at.max() >= 2 * neurons):
        raise MalformedProofError("a row tightens the bounds of a neuron that is not there")


def _tops(backward: Backward, nodes: Nodes, bounds: HiddenBounds, asked: Asked, rows: _Rows) -> Array:
    """What rows say that ``s z_k`` is at most, ``[R]``, rounded up; inf where they say nothing."""
    owner, level, beta = rows.owner, rows.level[rows.owner], rows.beta[rows.owner]
    margin = np.where(level > -math.inf, 1.0, 0.0)
    sound = np.isfinite(rows.weight) & (rows.weight > 0) & np.isfinite(beta).all(axis=1) & (level < math.inf)
    level = np.where(np.isfinite(level) & (asked.multiplier is not None), level, 0.0)
    if asked.ends is not None:
        level = np.nextafter(level - slack_of(asked.ends)[owner], -np.inf)
    weight, beta = np.where(sound, rows.weight, 1.0), np.where(sound[:, None], beta, 0.0)
    lift = np.zeros(beta.shape)
    lift[np.arange(owner.size), rows.at // 2] = np.where(rows.at % 2 == 0, weight, -weight)
    tau = np.zeros(owner.size) if asked.multiplier is None else margin * asked.multiplier[owner]
    local = [(low[owner], high[owner]) for low, high in bounds]
    functional, lines = margin[:, None] * asked.functional[owner], Lines(rows.slopes / _STEPS, beta, lift)
    shells, phases = nodes.shells.take(owner), nodes.phases[owner]
    top = backward.leaves(functional, tau, shells, local, phases, None, power=asked.power, lines=lines)
    with np.errstate(over="ignore", invalid="ignore"):
        less = np.where(margin == 1, np.nextafter(top - level, np.inf), top)
        most = np.nextafter(less / weight, np.inf)
    return np.where(sound & ~np.isnan(most), most, np.inf)
