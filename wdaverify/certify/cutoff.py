"""Where on a shell a question's value can still reach a level: the distances and the intervals of neurons that are left.

A row of multipliers makes a linear function ``A(x)`` that bounds what is asked on a leaf. Where the value is at least the level,
``A(x) - tau ||x - c||^p >= level``, so that there, for any linear function ``z_k <= B(x)`` of the leaf and any ``v > 0``,

    z_k  <=  ( max_x  v B(x) + A(x) - tau ||x - c||^p  -  level ) / v

and no point is at a distance t whose own largest ``A(x) - tau t^p`` falls short. What is left out has values below the level: whoever
searches on what is left has proven the level for the rest (optimality-based bound tightening: Gleixner et al., J. Global Optim. 67,
2017). v is a power of two, by which nothing is rounded; the one that is chosen decides how much is gained, never whether it holds.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from wdaverify.certify.backward import Backward, Forms, HiddenBounds, Shells
from wdaverify.certify.peak import Price
from wdaverify.graph.maps import Ints
from wdaverify.graph.nodes import Graph
from wdaverify.network.model import Array

_COARSE, _FINE = (-2, 0, 2), (-1, 1)
"""Powers of two by which v is off what is guessed, and off the best one of these."""
_SHARES = 8
"""Into how many parts distances are cut to see which are left."""
_NEURONS, _FEWEST, _MANY = 16, 6, 128.0
"""Of each layer so many neurons are narrowed by the level, those that matter most; fewer where inputs are wide: they cost more."""
_NUMBERS = 2**22
"""Numbers of the forms that are held at once."""


class Cutoff:
    """Narrows leaves of one graph: shells with intervals of all neurons."""

    def __init__(self, graph: Graph, backward: Backward) -> None:
        self._graph, self._backward = graph, backward
        self._spans = [slice(int(a), int(b)) for a, b in zip(graph.edges[:-1], graph.edges[1:], strict=True)]
        widest = max((graph.width(k) for k in graph.elementwise), default=1)
        self._neurons = int(np.clip(_MANY / np.sqrt(graph.inputs), _FEWEST, _NEURONS))
        self._together = max(1, _NUMBERS // (2 * widest * max(graph.widest, 1)))

    def asked(self, functional: Array, shells: Shells, bounds: HiddenBounds, nu: Array) -> Forms:
        """Linear functions that bound ``functional . f``, ``[B, K]``, along rows nu ``[B, M]``."""
        return self._backward.forms(len(self._graph.nodes) - 1, functional[:, None, :], shells, bounds, nu)

    def narrowed(
        self,
        functional: Array,
        shells: Shells,
        ends: Array,
        price: Price,
        by: tuple[Array, Array, Array],
    ) -> tuple[Shells, Array]:
        """Shells and intervals ``[B, 2, M]`` of what can reach the level: of ``near > far`` or ``l > u`` nothing can.

        ``by`` are rows nu ``[B, M]``, levels ``[B]`` and which neurons matter most ``[B, M]``.
        """
        nu, level, matters = by
        bounds = [(ends[:, 0, span], ends[:, 1, span]) for span in self._spans]
        form = self.asked(functional, shells, bounds, nu)
        shells = self.distances(form, shells, price, level)
        here, out = np.flatnonzero(shells.near <= shells.far), ends.copy()
        some = Price(price.tau[here], price.power, None)
        out[here] = self.neurons(form.take(here), shells.take(here), some, level[here], ends[here], matters[here])
        return shells, out

    def distances(self, form: Forms, shells: Shells, price: Price, level: Array) -> Shells:
        """Shells without the nearest and the farthest distances that fall short of levels ``[B]``; one with ``near > far`` has none."""
        count = len(shells)
        share = np.linspace(0.0, 1.0, _SHARES + 1)
        edges = shells.near[:, None] + share * (shells.far - shells.near)[:, None]
        edges[:, -1] = shells.far
        near, far = np.minimum(edges[:, :-1], edges[:, 1:]), edges[:, 1:]
        index = np.repeat(np.arange(count), _SHARES)
        parts = cut(shells.take(index), near.ravel(), far.ravel())
        tau = Price(np.repeat(price.tau, _SHARES), price.power, None)
        top = self._backward.top(form.take(index), parts, tau).reshape(count, _SHARES)
        left = top >= level[:, None]
        some = left.any(axis=1)
        first, last = left.argmax(axis=1), _SHARES - 1 - left[:, ::-1].argmax(axis=1)
        row = np.arange(count)
        new = np.where(some, near[row, first], np.inf), np.where(some, far[row, last], -np.inf)
        return cut(shells, *new)

    def neurons(self, form: Forms, shells: Shells, price: Price, level: Array, ends: Array, matters: Array) -> Array:
        """Intervals ``[B, 2, M]`` within those given, by rule and by the level; ``l > u`` where a leaf holds no point that reaches it.

        The level is asked of the neurons of each layer that matter most, ``[B, M]``.
        """
        out = ends.copy()
        for at in self._parts(len(shells)):
            part = Price(price.tau[at], price.power, None)
            out[at] = self._some(shells.take(at), ends[at], (form.take(at), part, level[at], matters[at]))
        return out

    def by_rule(self, shells: Shells, ends: Array) -> Array:
        """The same by rule alone; ``l > u`` where a leaf holds no point."""
        out = ends.copy()
        for at in self._parts(len(shells)):
            out[at] = self._some(shells.take(at), ends[at], None)
        return out

    def chosen(self, matters: Array) -> Array:
        """1 for the neurons ``[B, M]`` that matter most, 0 for the others: which the level is asked of."""
        out = np.zeros_like(matters)
        for span in self._spans:
            some = self._chosen(matters[:, span])
            np.put_along_axis(out[:, span], some[:, : some.shape[1] // 2], 1.0, 1)
        return out

    def _parts(self, count: int) -> list[slice]:
        return [slice(first, first + self._together) for first in range(0, count, self._together)]

    def _some(self, shells: Shells, ends: Array, known: tuple[Forms, Price, Array, Array] | None) -> Array:
        best = None if known is None else self._backward.top(known[0], shells, known[1])[:, 0]
        low, high = ends[:, 0].copy(), ends[:, 1].copy()
        bounds: HiddenBounds = []
        for k, span in zip(self._graph.elementwise, self._spans, strict=True):
            source, width = self._graph.source(k), span.stop - span.start
            unit = np.concatenate([np.eye(width), -np.eye(width)])
            rows = np.broadcast_to(unit, (len(shells), *unit.shape))
            forms = self._backward.forms(source, rows, shells, bounds, None)
            top = self._backward.top(forms, shells, None)
            plain = self._backward.intervals(source, shells, bounds)
            least = np.maximum(np.maximum(low[:, span], plain[0]), -top[:, width:])
            most = np.minimum(np.minimum(high[:, span], plain[1]), top[:, :width])
            if known is not None and best is not None:
                form, price, level, matters = known
                rows = self._chosen(matters[:, span])
                wide = np.take_along_axis(np.concatenate([most - least, most - least], axis=1), rows, 1)
                some = self._by_level(forms.rows(rows), form, price, level, shells, best, wide)
                np.put_along_axis(top, rows, np.minimum(np.take_along_axis(top, rows, 1), some), 1)
            low[:, span], high[:, span] = np.maximum(least, -top[:, width:]), np.minimum(most, top[:, :width])
            here = low[:, span] <= high[:, span]
            sides = (low, ends[:, 0]), (high, ends[:, 1])
            bounds.append(tuple(np.where(here, new[:, span], old[:, span]) for new, old in sides))  # type: ignore[arg-type]
        return np.stack([low, high], axis=1)

    def _chosen(self, matters: Array) -> Ints:
        """Rows ``[B, 2 k]`` of both sides of the neurons of a layer, ``[B, m]``, that matter most."""
        width = matters.shape[1]
        count = min(self._neurons, width)
        best = np.argpartition(-matters, count - 1, axis=1)[:, :count]
        return np.concatenate([best, best + width], axis=1)

    def _by_level(
        self, forms: Forms, form: Forms, price: Price, level: Array, shells: Shells, best: Array, wide: Array
    ) -> Array:
        """Upper bounds ``[B, R]`` of linear functions where the value reaches the level; inf where there is no level."""
        with np.errstate(all="ignore"):
            guess = np.log2(4 * np.maximum(best - level, 1e-12)[:, None] / np.maximum(wide, 1e-12))
        known = np.isfinite(level)[:, None] & np.isfinite(guess)
        if not known.any():
            return np.full(wide.shape, np.inf)
        power = np.clip(np.rint(np.where(known, guess, 0.0)), -60, 60)
        out, chosen = np.full(wide.shape, np.inf), power
        for steps in (_COARSE, _FINE):
            middle = chosen
            for step in steps:
                v = np.exp2(middle + step)
                top = self._backward.top(forms.beside(v, form), shells, price)
                top = np.nextafter(np.nextafter(top - level[:, None], np.inf) / v, np.inf)
                better = top < out
                chosen, out = np.where(better, middle + step, chosen), np.where(better, top, out)
        return np.where(known, out, np.inf)


def cut(shells: Shells, near: Array, far: Array) -> Shells:
    """The same with other edges, and no more room than the outer one leaves."""
    edge = np.maximum(far, 0.0)
    scale = shells.cost.scale(shells.up.shape[1])
    with np.errstate(invalid="ignore"):
        room = np.nextafter(np.where(np.isfinite(edge), edge, np.inf)[:, None] / scale, np.inf)
    return replace(shells, near=near, far=far, up=np.minimum(shells.up, room), down=np.minimum(shells.down, room))
