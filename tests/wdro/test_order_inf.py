"""Order inf with the zero-one loss: balls are screened first, and attacks go on from the samples that are left."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bounds.tiny import network, problem, random_layers

import wdaverify.wdro.verify as module
from wdaverify import Journal, attack, verify
from wdaverify.attacks.run import run_attacks
from wdaverify.ground import GroundCost, Norm
from wdaverify.problem import Loss, WdroProblem
from wdaverify.wdro import zero_one
from wdaverify.wdro.attacking import launch
from wdaverify.wdro.progress import Progress
from wdaverify.wdro.recall import Recall
from wdaverify.wdro.result import Reason, Status
from wdaverify.wdro.zero_one import ZeroOneSearch

SEEDS = [*range(6), *(pytest.param(s, marks=pytest.mark.full) for s in range(6, 60))]


def asked(seed: int, radius: float = 0.1) -> WdroProblem:
    rng = np.random.default_rng(seed)
    net = network(*random_layers(rng, 2, 6, 5, 3))
    x = rng.uniform(size=(8, 2))
    weights = rng.dirichlet(np.ones(8))
    weights[2] = weights[2] + weights[3]
    weights[3] = 0.0
    found = problem(net, x, net.forward(x).argmax(axis=1), radius, w=weights, loss=Loss.ZERO_ONE, norm=Norm.INF)
    return replace(found, cost=GroundCost(Norm.INF, math.inf))


@pytest.mark.parametrize("seed", SEEDS)
def test_attacks_are_worth_as_much_on_the_samples_that_are_left(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """By name, as on all; the mixture borrows points and draws starts, and may miss what it finds among all. Only those whose balls may
    hold errors are attacked.
    """
    seen = list[int]()

    def counted(problem: WdroProblem, **options: object) -> object:
        seen.append(len(problem.samples) if problem.radius else 0)
        return run_attacks(problem, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("wdaverify.attacks.run.run_attacks", counted)
    question = asked(seed)
    found, alone = verify(question), attack(question)
    assert found.status is Status.EXACT
    for name in ("WDA(1)", "WDA++"):
        assert found.attacks[name] == pytest.approx(alone.attacks[name], abs=1e-12)
    free = sum(sample.lower > question.radius - 1e-12 and sample.upper > question.radius for sample in found.per_sample)
    assert seen[1] == 8
    assert seen[0] <= 8 - free + 2  # a ball may be free of errors although screening does not show it
    assert found.attacks["mixture"] <= found.upper


def test_nobody_is_attacked_where_every_ball_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    found = verify(asked(0, 1e-9))
    assert found.attacks == dict.fromkeys(("WDA(1)", "WDA++", "mixture"), 0.0)
    assert (found.lower, found.status) == (0.0, Status.EXACT)


def test_masses_are_those_of_the_problem() -> None:
    question = asked(1, 0.4)
    among = np.array([1, 2, 3, 6])
    outcome = launch(question, device="cpu", seed=0, deadline=math.inf, among=among)
    some = False
    for proposal in outcome.distributions.values():
        assert {*proposal.sample.tolist()} <= {*among.tolist()}
        np.testing.assert_array_equal(proposal.mass, question.samples.w[proposal.sample])
        some |= bool(proposal.sample.size)
    assert some
    assert {*outcome.sample.tolist()} <= {*among.tolist()}


def test_attacks_after_an_interrupt_are_worth_what_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors that a journal holds do not keep their samples from being attacked."""
    question = asked(1, 0.4)
    fresh = verify(question)
    assert fresh.attacks["mixture"] > 0

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, Journal(tmp_path) as journal:
        patched.setattr(Recall, "keep_attacks", stop)
        assert not verify(question, journal=journal).attacks
    for _ in range(2):
        with Journal(tmp_path) as journal:
            assert verify(question, journal=journal).attacks == fresh.attacks


@pytest.mark.parametrize("solver", ["cells", "highs"])
@pytest.mark.parametrize("gap", [1e-6, 1e-3, 0.1, 0.3])
def test_a_wide_gap_closes_where_a_narrow_one_does(gap: float, solver: str) -> None:
    """A point of the support that is nearly half the radius farther off was 'as far as the radius, up to the gap'."""
    net = network(([[-0.25], [1.75]], [-0.75, -0.75]), ([[0.5, 1.0], [0.0, -0.75]], [0.0, -0.5]))
    cost = GroundCost(Norm.INF, math.inf, np.array([0.5]) if solver == "cells" else None)
    radius = 0.5 if solver == "cells" else 1.0  # a weight of one half doubles it; integer programs take none
    question = problem(net, np.array([[0.3125], [0.0], [0.625]]), [0, 0, 0], radius, loss=Loss.ZERO_ONE)
    found = verify(replace(question, cost=cost), gap=gap, solver=solver)
    assert (found.lower, found.upper, found.reason) == (0.0, 0.0, Reason.GAP_CLOSED)


@pytest.mark.parametrize("limit", [0.0, 1e-3, 0.05])
def test_a_limit_ends_what_comes_before_the_attacks(limit: float) -> None:
    for seed in range(3):
        question = asked(seed)
        truth = verify(question)
        found = verify(question, time_limit=limit)
        assert found.lower <= truth.upper
        assert truth.lower <= found.upper


def test_screening_that_was_cut_goes_on_after_the_attacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_ATTACK_SHARE", 0.0)
    for seed in range(3):
        assert verify(asked(seed), time_limit=60.0).status is Status.EXACT


def test_an_interrupt_while_balls_are_screened_keeps_those_that_were(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the bracket is told as they are."""
    question = asked(0, 1e-9)
    monkeypatch.setattr(zero_one, "_FIRST_SCREENED", 1)
    monkeypatch.setattr(zero_one, "_PORTION", 0.0)
    honest, count, told = ZeroOneSearch._screen_some, list[int](), list[Progress]()

    def interrupted(self: ZeroOneSearch, samples: np.ndarray) -> None:
        count.append(samples.size)
        if len(count) == 4:
            raise KeyboardInterrupt
        honest(self, samples)

    monkeypatch.setattr(ZeroOneSearch, "_screen_some", interrupted)
    found = verify(question, progress=told.append)
    assert found.reason is Reason.INTERRUPTED
    assert 0 < found.upper < 1
    assert told[0].phase == "screen"
