"""Slope questions: in the order of layers, or over relaxations where a box has many features."""

from __future__ import annotations

import numpy as np

from wdaverify.engines.base import Answer, Effort, Slope
from wdaverify.engines.cells.layered import LayeredHunt
from wdaverify.engines.cells.relaxed import RelaxedHunt
from wdaverify.engines.cells.sectored import Sectored
from wdaverify.graph.nodes import Graph

_FEATURES = 32
"""Beyond so many moving features half-spaces hardly ever contradict each other, and a program over the whole box says more (l1, l-inf)."""


class SlopeHunt:
    """One slope question, and which search answers it."""

    def __init__(self, graph: Graph, question: Slope, effort: Effort) -> None:
        region = question.region
        moving = int(((region.lower < region.upper) & (question.still <= 0)).sum())
        bounded = bool(np.isfinite(region.lower).all() and np.isfinite(region.upper).all())
        lengths = Sectored.of(graph, question) is not None
        relaxed = (
            bounded and moving > _FEATURES and not lengths and not effort.proof
        )  # whose programs no certificate holds
        kind = RelaxedHunt if relaxed else LayeredHunt
        self._hunt = kind(graph, question, effort)

    def answer(self) -> Answer:
        """Search within the effort; what is left open widens the bound. Bounds are inf where they overflow."""
        return self._hunt.answer()
