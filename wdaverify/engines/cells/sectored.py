"""Nodes bounded in the l2 norm by multipliers of their open neurons (``certify.sectors``), handed from parents to children."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from wdaverify.certify.certificate import rounded
from wdaverify.certify.proof import Phases
from wdaverify.certify.sectors import Sectors
from wdaverify.engines.base import Slope
from wdaverify.engines.cells.multipliers import improve, start
from wdaverify.graph.nodes import Graph
from wdaverify.ground import Norm
from wdaverify.network.model import Array

_MOST = 400
"""Up to so many neurons and moving features together."""
_EXCESS = 1e-7
"""By how much a bound is put above what floats say, so that it can be proven."""


@dataclass(frozen=True, eq=False)
class Held:
    """What a node has from its parent: r, multipliers ``[M]``, and what each neuron is worth deciding ``[M]``."""

    r: float
    multipliers: Array
    worth: Array


class Sectored:
    """One question."""

    def __init__(self, graph: Graph, question: Slope) -> None:
        self._graph, self._question = graph, question

    @classmethod
    def of(cls, graph: Graph, question: Slope) -> Sectored | None:
        """None of norms and sizes that this is not for."""
        moving = int(((question.region.lower < question.region.upper) & (question.still <= 0)).sum())
        fits = question.region.norm is Norm.TWO and graph.neurons > 0 and graph.neurons + moving <= _MOST
        return cls(graph, question) if fits else None

    def first(self, phases: Phases) -> Held:
        """Of the root."""
        sectors = self._sectors(phases)
        with np.errstate(all="ignore"):
            try:
                r, multipliers = start(sectors)
            except np.linalg.LinAlgError:
                r, multipliers = math.inf, np.ones(sectors.at.size)
        whole = np.zeros(self._graph.neurons)
        whole[sectors.at] = multipliers
        return Held(r, whole, whole)

    def bound(self, phases: Phases, held: Held, level: float) -> tuple[Held, float]:
        """Better multipliers and what they prove: at most ``level`` where that can be had, inf where nothing was proven."""
        sectors = self._sectors(phases)
        if not sectors.at.size or not math.isfinite(held.r):
            return held, math.inf
        with np.errstate(all="ignore"):
            found = improve(sectors, level * level * (1 - _EXCESS), held.r, held.multipliers[sectors.at])
        if not math.isfinite(found.r):
            return held, math.inf
        multipliers = rounded(found.multipliers)  # as a certificate has them
        whole, worth = np.zeros(self._graph.neurons), np.zeros(self._graph.neurons)
        whole[sectors.at] = multipliers
        worth[sectors.at] = found.worth if found.worth.any() else found.multipliers
        kept = Held(found.r, whole, worth)
        rho = math.sqrt(found.r)
        for tried in (level, rho * (1 + _EXCESS), rho * (1 + 100 * _EXCESS)):
            if tried >= rho and sectors.prove(tried, multipliers):
                return kept, tried
        return kept, math.inf

    def _sectors(self, phases: Phases) -> Sectors:
        question = self._question
        return Sectors.of(self._graph, question.rows, question.region.cost, question.still, phases)
