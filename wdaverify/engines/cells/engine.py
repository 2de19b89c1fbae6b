"""The cell engine's answers: questions as trees over shells of the distance, bounds recomputed from what the trees hold."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace

from wdaverify.certify.backward import Backward
from wdaverify.engines.base import Answer, Distance, Effort, Inner, Level, Question, Slope
from wdaverify.engines.cells import units
from wdaverify.engines.cells.hunt import Hunt, kind
from wdaverify.engines.cells.points import evaluated, points_of
from wdaverify.engines.cells.presolve import AsChecked, presolve
from wdaverify.engines.cells.together import answered
from wdaverify.engines.loops import compiled
from wdaverify.errors import SolverError
from wdaverify.graph.settled import large
from wdaverify.graph.single import Single
from wdaverify.network.model import ReluNetwork


class CellEngine:
    """Branch and bound over activation cells; its bounds are checked, not a solver's word."""

    name = "cells"
    own_bounds = True

    def __init__(self, network: ReluNetwork) -> None:
        self._network = network
        self._backward, self._single = Backward(network.canonical, loops=compiled()), Single(network.canonical)

    def answer(self, question: Question, effort: Effort) -> Answer:
        """Search within the effort; what is left open widens the bound."""
        if isinstance(question, Level):
            raise SolverError("the cell engine answers no levels of the DLR loss")
        if isinstance(question, Slope):
            from wdaverify.engines.cells.slopes import SlopeHunt

            return SlopeHunt(self._network.canonical, question, effort).answer()
        points = None if effort.whole else points_of(question.region)
        if points is not None:
            return evaluated(self._network, question, effort, points)
        power = 0 if effort.whole else units.exponent(question.region)
        scaled = self._in_units(question, effort, power) if power else None
        if scaled is not None:
            return scaled
        rows, graph = question.region.rows, self._network.canonical
        presolved, bounds, begun = None, None, time.perf_counter()
        if self._alone(question, effort):
            presolved, bounds = presolve(graph, self._backward, question.region)
            effort = replace(effort, seconds=effort.seconds - (time.perf_counter() - begun))
        if presolved is None:
            backward = self._backward if rows is None else Backward(graph, rows, loops=compiled())
            return answered([Hunt(graph, backward, self._single, question, effort, bounds)])[0]
        effort = replace(
            effort, known=tuple(tree for tree in map(presolved.narrowed, effort.known) if tree is not None)
        )
        backward, single = Backward(presolved.graph, rows, loops=compiled()), Single(presolved.graph)
        if not effort.whole:
            return presolved.widened(answered([Hunt(presolved.graph, backward, single, question, effort)])[0])
        assert bounds is not None
        backward = AsChecked(presolved, self._backward, compiled())
        hunt = Hunt(presolved.graph, backward, single, question, effort, presolved.left(bounds))
        return presolved.proved(answered([hunt])[0], hunt.functional)

    def _in_units(self, question: Inner | Distance, effort: Effort, power: int) -> Answer | None:
        """The answer to a question about a tiny region; None where units would round a number."""
        graph, asked = units.in_units(self._network.canonical, power), units.asked(question, effort, power)
        if graph is None or asked is None:
            return None
        backward = Backward(graph, asked[0].region.rows, loops=compiled())
        return units.back(question, answered([Hunt(graph, backward, Single(graph), *asked)])[0], power)

    def answer_all(self, asked: Sequence[tuple[Question, Effort]]) -> list[Answer]:
        """Answers to questions, those that can be grown in common batches; all have the time of the one that has most."""
        out: list[Answer | None] = [None] * len(asked)
        until = time.perf_counter() + max((effort.seconds for _, effort in asked), default=0.0)
        crowds = dict[tuple[object, ...], list[tuple[int, Hunt]]]()
        for k, (question, effort) in enumerate(asked):
            hunt = self._hunt(question, effort)
            if hunt is not None:
                crowds.setdefault(kind(hunt), []).append((k, hunt))
        for crowd in crowds.values():
            found = answered([hunt for _, hunt in crowd])
            for (k, _), answer in zip(crowd, found, strict=True):
                out[k] = answer
        for k, (question, effort) in enumerate(asked):
            if out[k] is None:
                left = until - time.perf_counter()
                out[k] = self.answer(question, replace(effort, seconds=min(effort.seconds, left)))
        return [answer for answer in out if answer is not None]

    def _hunt(self, question: Question, effort: Effort) -> Hunt | None:
        """The question as one that can be answered together with others; None where it is answered alone."""
        if not isinstance(question, Inner | Distance) or question.region.rows is not None:
            return None
        tiny = not effort.whole and units.exponent(question.region) != 0
        if tiny or self._alone(question, effort):
            return None
        hunt = Hunt(self._network.canonical, self._backward, self._single, question, effort)
        return hunt if hunt.growable else None

    def _alone(self, question: Question, effort: Effort) -> bool:
        """Whether a question is presolved in a ball of its own."""
        ball, region = isinstance(question, Distance) or not math.isfinite(question.region.cost.order), question.region
        mixed = isinstance(question, Inner) and question.entropy
        rich = region.rows is not None or region.integer is not None or mixed  # rows have more than nu then
        return ball and not (effort.whole and rich) and large(self._network.canonical)
