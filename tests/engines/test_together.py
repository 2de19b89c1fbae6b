"""Questions answered together: each answer is as true as one alone, whatever the others are."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from bounds.tiny import network, random_layers, raw
from engines.cellwise import cells_of, true_distance, true_value
from engines.test_growth import exact, shown
from oracles import Cell

import wdaverify.engines.cells.together as together_module
from wdaverify.encoding.cost import Region
from wdaverify.engines.base import Answer, Distance, Effort, Gathering, Inner, Level, Question
from wdaverify.engines.cells.engine import CellEngine
from wdaverify.engines.cells.growth import Growth
from wdaverify.engines.cells.hunt import Hunt
from wdaverify.engines.cells.together import Together
from wdaverify.errors import SolverError
from wdaverify.network.model import Array, ReluNetwork
from wdaverify.problem import GroundCost, LinearRows, Norm

NORMS = [Norm.INF, Norm.ONE, Norm.TWO]
PROVEN = Effort(gap=1e-8, seconds=math.inf, seed=0, cutoff=None, start=None, proof=True)
SEEDS = [pytest.param(s, marks=[] if s < 1 else [pytest.mark.full]) for s in range(30)]
MANY = 7
NOISE = 1e-7
"""Of the cone programs that tell the truth."""


class Crowd:
    """Questions about one tiny network: other samples, rivals, multipliers and radii in each."""

    def __init__(self, seed: int, norm: Norm, *, power: int = 1, distances: bool = False) -> None:
        rng = np.random.default_rng(seed)
        self.net: ReluNetwork = network(*random_layers(rng, 2, 5, 4, 3))
        weights = np.exp(0.5 * rng.normal(size=2)) if seed % 2 else None
        self.cost = GroundCost(norm, power, weights)
        self.questions: list[Inner | Distance] = []
        self.power = 1 if distances else power
        for k in range(MANY):
            x = rng.uniform(size=2)
            label = int(self.net.forward(x[None])[0].argmax())
            rival = (label + 1 + k % 2) % 3
            far = float(self.cost.distance(np.maximum(x, 1 - x))) * float(rng.choice([0.5, 1.0]))
            region = Region(self.cost, x, np.zeros(2), np.ones(2), 0.0, far)
            multiplier = float(rng.uniform(0.2, 4.0))
            self.questions.append(
                Distance(k, label, rival, region, ()) if distances else Inner(k, label, rival, region, (), multiplier)
            )

    def functional(self, question: Inner | Distance) -> Array:
        out = np.zeros(3)
        out[question.rival], out[question.label] = 1.0, -1.0
        return out

    def truth(self, question: Inner | Distance) -> float:
        cells: list[Cell] = cells_of(raw(self.net), question.region)
        if isinstance(question, Inner):
            return true_value(cells, question.region, self.functional(question), question.multiplier, self.power)
        return true_distance(cells, question.region, self.functional(question))

    def asked(self, effort: Effort = PROVEN) -> list[tuple[Question, Effort]]:
        return [(question, effort) for question in self.questions]


def check(crowd: Crowd, answers: list[Answer], near: float = 1e-6) -> None:
    for question, answer in zip(crowd.questions, answers, strict=True):
        assert (answer.vouched_by, answer.closed, answer.checked) == ("cells", True, True)
        assert exact(answer, crowd.truth(question), question, near, NOISE)
        assert answer.proof is not None
        assert (answer.proof.sample, answer.proof.rival) == (question.sample, question.rival)
        far = isinstance(question, Distance)
        told = shown(crowd.net, question, replace(answer.proof), crowd.power)
        assert told == pytest.approx(answer.bound, abs=1e-9) or (far and min(told, answer.bound) > question.region.far)


@pytest.mark.parametrize("distances", [False, True])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", SEEDS)
def test_each_answer_is_the_truth_and_its_proof_holds(seed: int, norm: Norm, distances: bool) -> None:
    """Also with trees of other questions to begin from, and those that were just grown."""
    crowd = Crowd(seed, norm, distances=distances)
    engine = CellEngine(crowd.net)
    assert isinstance(engine, Gathering)
    answers = engine.answer_all(crowd.asked())
    check(crowd, answers)
    trees = [answer.proof.trees for answer in answers if answer.proof is not None]
    for shift in (0, 1):
        known = [
            (question, replace(PROVEN, known=trees[(k + shift) % MANY] if k % 3 else ()))
            for k, question in enumerate(crowd.questions)
        ]
        check(crowd, engine.answer_all(known))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", SEEDS)
def test_squares(seed: int, norm: Norm) -> None:
    crowd = Crowd(seed, norm, power=2)
    check(crowd, CellEngine(crowd.net).answer_all(crowd.asked()))


@pytest.mark.parametrize("norm", NORMS)
def test_they_are_grown_together(norm: Norm, monkeypatch: pytest.MonkeyPatch) -> None:
    """One growth has the trees of all, and batches hold nodes of several."""
    seen, branch = [], Growth._branch

    def watched(self: Growth, batch: list) -> None:  # type: ignore[type-arg]
        seen.append({int(self._owner[entry.tree]) for entry in batch})
        branch(self, batch)

    monkeypatch.setattr(Growth, "_branch", watched)
    crowd = Crowd(0, norm)
    CellEngine(crowd.net).answer_all(crowd.asked())
    assert max(map(len, seen)) > 2


def test_what_cannot_be_grown_is_answered_beside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows and points safely across, in their places among the others; a cross-entropy is grown with those of its kind."""
    crowd = Crowd(1, Norm.INF)
    plain = crowd.questions[0]
    assert isinstance(plain, Inner)
    rows = LinearRows(np.array([[1.0, 1.0]]), np.array([-np.inf]), np.array([10.0]))
    with_rows = replace(plain, region=replace(plain.region, rows=rows))
    entropy = replace(crowd.questions[1], entropy=True)
    across = Distance(2, plain.label, plain.rival, plain.region, (), least=1e-6)
    questions: list[Question] = [with_rows, *crowd.questions[:2], entropy, across, *crowd.questions[2:]]
    engine = CellEngine(crowd.net)
    together = engine.answer_all([(question, PROVEN) for question in questions])
    assert len(together) == len(questions)
    for question, answer in zip(questions, together, strict=True):
        alone = engine.answer(question, PROVEN)
        assert answer.bound == pytest.approx(alone.bound, abs=1e-6)
        assert answer.vouched_by == "cells"
    with pytest.raises(SolverError):
        engine.answer_all([(Level(0, plain.label, 0.1, plain.region, ()), PROVEN)])
    monkeypatch.setattr(Hunt, "growable", property(lambda _: False))
    assert engine.answer_all([(plain, PROVEN)])[0].bound == pytest.approx(together[1].bound, abs=1e-6)


def test_one_that_no_program_can_be_made_of_leaves_the_others_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    crowd, search = Crowd(2, Norm.INF), Hunt.search

    def refused(self: Hunt, *rest: object) -> object:
        if self.question is crowd.questions[3]:
            raise SolverError("pre-activation bounds overflow double precision")
        return search(self, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Hunt, "search", refused)
    answers = CellEngine(crowd.net).answer_all(crowd.asked())
    assert (answers[3].vouched_by, answers[3].bound) == ("none", math.inf)
    for k in (0, 1, 2, 4, 5, 6):
        assert exact(answers[k], crowd.truth(crowd.questions[k]), crowd.questions[k], 1e-6, NOISE)


@pytest.mark.parametrize("distances", [False, True])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", SEEDS)
def test_out_of_time_or_room_is_a_wider_bound_that_says_so(seed: int, norm: Norm, distances: bool) -> None:
    """Also where only one of them is: the others close."""
    crowd = Crowd(seed, norm, distances=distances)
    engine = CellEngine(crowd.net)
    for effort in (replace(PROVEN, seconds=0.0), replace(PROVEN, memory=4000.0)):
        for question, answer in zip(crowd.questions, engine.answer_all(crowd.asked(effort)), strict=True):
            truth = crowd.truth(question)
            assert exact(answer, truth, question, math.inf, NOISE)
            assert effort.seconds > 0 or not answer.closed or exact(answer, truth, question, 1e-6, NOISE)
    one = [
        (question, replace(PROVEN, memory=4000.0) if k == 2 else PROVEN) for k, question in enumerate(crowd.questions)
    ]
    for k, ((question, _), answer) in enumerate(zip(one, engine.answer_all(one), strict=True)):
        assert exact(answer, crowd.truth(question), question, math.inf, NOISE)
        assert k == 2 or exact(answer, crowd.truth(question), question, 1e-6, NOISE)


@pytest.mark.parametrize("seed", SEEDS)
def test_cut_offs_are_each_ones_own(seed: int) -> None:
    crowd = Crowd(seed, Norm.INF)
    truths = [crowd.truth(question) for question in crowd.questions]
    cutoffs = [truth + (0.3 if k % 2 else -0.3) for k, truth in enumerate(truths)]
    asked = [(q, replace(PROVEN, cutoff=c)) for q, c in zip(crowd.questions, cutoffs, strict=True)]
    for truth, cutoff, answer in zip(truths, cutoffs, CellEngine(crowd.net).answer_all(asked), strict=True):
        assert truth - NOISE <= answer.bound <= max(truth, cutoff) + 1e-6


def test_shells_lie_end_to_end_and_belong_to_their_questions() -> None:
    crowd = Crowd(3, Norm.ONE)
    engine = CellEngine(crowd.net)
    hunts = [Hunt(crowd.net.canonical, engine._backward, engine._single, q, PROVEN) for q in crowd.questions]
    together = Together(hunts)
    together.lay_out([hunt.cutter.edges((), hunt.shells_wanted) for hunt in hunts])
    for hunt in hunts:
        region = hunt.question.region
        assert (hunt.shells[0].near, hunt.shells[-1].far) == (region.near, region.far)
        assert all(a.far == b.near for a, b in pairwise(hunt.shells))
        assert all((shell.shells.centre[0] == region.centre).all() for shell in hunt.shells)


def test_a_swapped_owner_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests above see trees that are held to another question's functional."""
    prove = together_module.Together.prove

    def swapped(self: Together, trees: Array, nodes: list) -> Array:  # type: ignore[type-arg]
        owner, self.owner = self.owner, np.roll(np.arange(MANY), 1)[self.owner]
        try:
            return prove(self, trees, nodes)
        finally:
            self.owner = owner

    monkeypatch.setattr(Together, "prove", swapped)
    crowd = Crowd(0, Norm.INF)
    with pytest.raises(AssertionError):
        check(crowd, CellEngine(crowd.net).answer_all(crowd.asked()))


@pytest.mark.parametrize("distances", [False, True])
def test_all_grow_on_after_a_pause_that_left_nothing_to_programs(
    distances: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here after every batch: rows may close all that was stuck."""
    branch = Growth._branch

    def paused(self: Growth, batch: list) -> None:  # type: ignore[type-arg]
        branch(self, batch)
        self._waiting += 1000

    monkeypatch.setattr(Growth, "_branch", paused)
    for seed in range(4):
        crowd = Crowd(seed, Norm.INF, distances=distances)
        check(crowd, CellEngine(crowd.net).answer_all(crowd.asked()))
