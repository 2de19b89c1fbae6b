"""What a question asks of a single input: its functional of the logits, and the value there (floats: they only steer the search)."""

from __future__ import annotations

import math

import numpy as np

from wdaverify.engines.base import Distance, Inner
from wdaverify.graph.nodes import INPUT, Affine, Graph
from wdaverify.ground import LinearRows
from wdaverify.network.model import Array
from wdaverify.pieces import differences

_ROUNDED = 1e-12
"""How much farther than the farthest ball rounding may take a point."""
_NEAR_TIE = 1e-7
"""A distance LP ends on the decision boundary up to its tolerance; who asked pushes such a point across and pays for it."""
_NEAR_ROW = 1e-7
"""By how much, relatively, a point that steers the search may violate a row of the support."""


class Asked:
    """A question about a graph. ``margins [J, K]`` are those behind the largest class of a cross-entropy, ``lead [K]`` its own."""

    def __init__(self, graph: Graph, question: Inner | Distance) -> None:
        self._graph, self._question = graph, question
        self.margins = _margins(question, graph.outputs)
        self.lead = None if self.margins is None else _lead(question, graph.outputs)
        self.functional = _functional(question, graph.outputs)
        finite = math.isfinite(question.region.cost.order)
        self.power = question.region.cost.power if isinstance(question, Inner) and finite else 1

    def point(self, displacement: Array) -> Array:
        """The input at a displacement, within the box and the farthest ball, integers rounded."""
        region = self._question.region
        moved = np.array(displacement)
        loose = np.ones(moved.size, np.bool_) if region.integer is None else ~region.integer
        moved[~loose] = np.rint(region.centre + moved)[~loose] - region.centre[~loose]
        if float(region.cost.distance(moved)) > region.far:
            moved = np.where(loose, float(region.cost.shrink(moved[None, :], loose, region.far)[0]) * moved, moved)
        point = np.clip(region.centre + moved, region.lower, region.upper)
        return np.asarray(np.where(moved == 0, region.centre, point))

    def value(self, displacement: Array) -> float:
        """The value of the minimisation; inf if it does not count."""
        question, region = self._question, self._question.region
        point = self.point(displacement)
        if region.rows is not None and not _nearly(region.rows, point):
            return math.inf
        z = self._graph.forward(point)
        distance = float(region.cost.distance(point - region.centre))
        if not math.isfinite(region.cost.order) and distance > region.far * (1 + _ROUNDED):
            return math.inf  # where an integer was rounded to
        if isinstance(question, Inner):
            paid = question.multiplier * distance**self.power if question.multiplier else 0.0
            if self.margins is not None:
                return paid - float(self.entropy(z[None])[0])
            return paid - float(self.functional @ z)
        if question.any_point and float(self.functional @ z) >= max(question.least / 2, 0.0):
            return region.near  # as good as the nearest one there could be: what is left need not be searched
        margin = float(self.functional @ z)
        if question.least > 0:
            return distance if margin >= question.least / 2 else math.inf
        return distance if margin >= 0 or margin >= -_NEAR_TIE * self._terms(point) else math.inf

    def _terms(self, point: Array) -> float:
        """How large the terms are that the margin at a point is the sum of: its own unit."""
        values, last = self._graph.values(point), self._graph.nodes[-1]
        assert isinstance(last, Affine)
        given = [point if s == INPUT else values[s] for s in last.sources]
        terms = sum((m.size().apply(np.abs(v)) for m, v in zip(last.maps, given, strict=True)), np.abs(last.bias))
        return float(np.abs(self.functional) @ terms)

    def entropy(self, z: Array) -> Array:
        """The cross-entropy at logits ``[B, K]``, whichever is the largest."""
        assert self.margins is not None
        assert self.lead is not None
        behind = np.concatenate([z @ self.margins.T, np.zeros((len(z), 1))], axis=1)
        return np.asarray(z @ self.lead + np.logaddexp.reduce(behind, axis=1))

    def likeliest(self, displacements: Array) -> Array:
        """The one of the displacements ``[B, n]`` whose value is least, or whose margin is closest to it."""
        region = self._question.region
        z = self._graph.forward(region.centre + displacements)
        margin = z @ self.functional if self.margins is None else self.entropy(z)
        far = region.cost.distance(displacements)
        if isinstance(self._question, Inner):
            worth = self._question.multiplier * far**self.power - margin
        else:
            worth = np.where(margin >= 0, far, region.far - margin)
        return np.asarray(displacements[int(worth.argmin())])


def _functional(question: Inner | Distance, classes: int) -> Array:
    """The functional of the logits ``[K]``; of a cross-entropy the largest class's margin, or the mean of all, which only steers."""
    if isinstance(question, Inner) and question.functional is not None:
        return question.functional
    margins, lead = _margins(question, classes), _lead(question, classes)
    return np.asarray(margins.mean(axis=0)) if margins is not None and not lead.any() else lead


def _lead(question: Inner | Distance, classes: int) -> Array:
    """``z_rival - z_label``."""
    lead: Array = differences(np.array([[question.rival]]), np.array([question.label]), classes)[0, 0]
    return lead


def _margins(question: Inner | Distance, classes: int) -> Array | None:
    """``z_j - z_r`` for every class but the largest as rows ``[K - 1, K]`` where the question is a cross-entropy."""
    if isinstance(question, Distance) or not question.entropy:
        return None
    others = np.delete(np.arange(classes), question.rival)
    rows: Array = differences(others[None], np.array([question.rival]), classes)[0]
    return rows


def _nearly(rows: LinearRows, point: Array) -> bool:
    """Whether a point satisfies rows up to what an LP leaves."""
    value = rows.matrix @ point
    slack = _NEAR_ROW * (1 + np.abs(rows.matrix) @ np.abs(point))
    return bool(((value >= rows.lower - slack) & (value <= rows.upper + slack)).all())
