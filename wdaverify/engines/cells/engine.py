"""The cell engine's answers: questions as trees over their region, bounds recomputed from multipliers."""

from __future__ import annotations

import math
import time

import numpy as np

from wdaverify.encoding.distance import distance_model
from wdaverify.encoding.inner import inner_model
from wdaverify.encoding.milp import MilpModel
from wdaverify.encoding.relu import Chord
from wdaverify.engines.base import Answer, Distance, Effort, Inner, Piece, Question
from wdaverify.engines.cells.search import Evaluate, Search
from wdaverify.engines.cells.tree import Relaxation
from wdaverify.errors import SolverError
from wdaverify.network.model import Array, ReluNetwork
from wdaverify.problem import GroundCost

_NEAR_TIE = 1e-7
"""A distance LP ends on the decision boundary up to its tolerance; who asked pushes such a point across and pays for it."""


class CellEngine:
    """Branch and bound over activation cells; its bounds are checked, not a solver's word."""

    name = "cells"
    pieces = 4
    """Measured on a 32-32 network: 1, 4 and 6 shells take 24.6, 8.2 and 8.2 s for the same 15 questions."""

    def __init__(self, network: ReluNetwork) -> None:
        self._network = network

    def answer(self, question: Question, effort: Effort) -> Answer:
        """Search within the effort; what is left open widens the bound."""
        begun = time.perf_counter()
        pieces = question.pieces or (Piece(question.region, question.bounds),)
        if not all(np.isfinite(side).all() for piece in pieces for pair in piece.bounds for side in pair):
            return self._nothing(question, "pre-activation bounds overflow double precision")
        trees = []
        slack = 0.0
        for piece in pieces:
            chord = Chord()
            with np.errstate(over="ignore", invalid="ignore"):  # what overflows is refused by the LP
                model = self._encode(question, piece, chord)
            slack = max(slack, model.slack)
            try:
                trees.append(Relaxation(model, chord))
            except SolverError as error:
                return self._nothing(question, str(error))
        deadline = begun + effort.seconds
        search = Search(
            trees, self._evaluation(question), self._incumbent(question, effort, model.offset), effort.gap, deadline
        )
        bound = search.run()
        points = np.zeros((0, self._network.n_inputs))
        if search.best is not None:
            points = np.clip(search.best, question.region.lower, question.region.upper)[None, :]
        outward = self._outward(bound, model, slack)
        seconds = time.perf_counter() - begun
        return Answer(
            outward,
            points,
            self.name,
            search.finished,
            search.nodes,
            seconds,
            f"{sum(tree.solves for tree in trees)} LPs",
            True,
        )

    def _encode(self, question: Question, piece: Piece, chord: Chord) -> MilpModel:
        blocks, label, rival = self._network.blocks, question.label, question.rival
        if isinstance(question, Distance):
            return distance_model(blocks, piece.bounds, piece.region, label, rival, chord, least=question.least)
        return inner_model(blocks, piece.bounds, piece.region, label, rival, question.multiplier, chord)

    def _incumbent(self, question: Question, effort: Effort, offset: float) -> float:
        """The value to beat, in the minimisation's units (the offset left out)."""
        if isinstance(question, Distance):
            return question.region.far if effort.cutoff is None else min(effort.cutoff, question.region.far)
        return math.inf if effort.cutoff is None else offset - effort.cutoff

    def _evaluation(self, question: Question) -> Evaluate:
        """The true value of a point in the minimisation's units: floats, since they only steer the search."""
        blocks, region = self._network.blocks, question.region
        cost = GroundCost(region.norm, 1)
        offset = float(blocks[-1].bias[question.rival] - blocks[-1].bias[question.label])

        def evaluate(point: Array) -> float:
            point = np.clip(point, region.lower, region.upper)
            h = point
            for block in blocks[:-1]:
                h = np.maximum(block.weight @ h + block.bias, 0.0)
            z = blocks[-1].weight @ h + blocks[-1].bias
            margin = float(z[question.rival] - z[question.label])
            distance = float(cost.distance(point - region.centre))
            if isinstance(question, Inner):
                return offset - (margin - question.multiplier * distance)
            enough = question.least / 2 if question.least > 0 else -_NEAR_TIE * (1 + float(np.abs(z).max()))
            return distance if margin >= enough else math.inf

        return evaluate

    @staticmethod
    def _outward(bound: float, model: MilpModel, slack: float) -> float:
        """From the minimisation's units to the question's, with the slack of the encoding."""
        if math.isinf(bound):
            return -bound if model.maximise else bound
        if model.maximise:
            value = model.offset - bound
            return math.nextafter(math.nextafter(value, math.inf) + slack, math.inf)
        return bound

    def _nothing(self, question: Question, detail: str) -> Answer:
        trivial = -math.inf if isinstance(question, Distance) else math.inf
        return Answer(trivial, np.zeros((0, self._network.n_inputs)), "none", True, 0, 0.0, detail, False)
