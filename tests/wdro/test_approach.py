"""Hard problems: found out by asking twice, their multiplier approached from above; the value is that of the straight way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bounds.tiny import network, problem, random_layers, raw
from family_oracle import random_question
from oracles import exact_bracket
from test_family_against_oracle import put

import wdaverify.wdro.margin as margin
from wdaverify import GroundCost, Loss, Norm, Reason, Support, WdroProblem, curve, make_samples, verify
from wdaverify.engines.base import Answer, Effort, Question
from wdaverify.engines.cells.engine import CellEngine
from wdaverify.wdro.difficulty import Difficulty
from wdaverify.wdro.margin import MarginSearch
from wdaverify.wdro.pricing import Pricing


def question(seed: int, norm: Norm = Norm.INF) -> tuple[WdroProblem, float, float]:
    """A tiny problem that screening does not settle, with the bracket of an oracle."""
    rng = np.random.default_rng(seed)
    net = network(*random_layers(rng, 2, 5, 4, 3))
    x = rng.uniform(size=(5, 2))
    asked = problem(net, x, net.forward(x).argmax(axis=1), 0.07, norm=norm)
    s = asked.samples
    low, high = exact_bracket(raw(net), s.x, s.y, s.w, 0.07, norm.value, "margin", np.zeros(2), np.ones(2))
    return asked, low, high


class Hard(Difficulty):
    """Hard from the beginning."""

    def __init__(self, jobs: int) -> None:
        super().__init__(jobs, hard=True)


@pytest.fixture
def multipliers(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Where pricing went."""
    seen: list[float] = []
    honest: Callable[[Pricing, float], None] = Pricing.move_to

    def noted(self: Pricing, multiplier: float) -> None:
        seen.append(multiplier)
        honest(self, multiplier)

    monkeypatch.setattr(Pricing, "move_to", noted)
    return seen


@pytest.mark.parametrize("norm", [Norm.INF, Norm.ONE])
@pytest.mark.parametrize(
    "seed", [3, 4, 5, pytest.param(6, marks=pytest.mark.full), pytest.param(7, marks=pytest.mark.full)]
)
def test_a_hard_problem_has_the_same_value(
    seed: int, norm: Norm, monkeypatch: pytest.MonkeyPatch, multipliers: list[float]
) -> None:
    asked, low, high = question(seed, norm)
    monkeypatch.setattr(margin, "Difficulty", Hard)
    result = verify(asked, gap=1e-7)
    assert result.reason is Reason.GAP_CLOSED
    assert low - 1e-6 <= result.lower
    assert result.upper <= high + 1e-6
    straight = multipliers[:]
    monkeypatch.undo()
    assert verify(asked, gap=1e-7).lower == pytest.approx(result.lower, abs=2e-7)
    assert len(straight) >= 3, "nothing was approached"


def test_the_last_multiplier_is_approached_from_above(
    monkeypatch: pytest.MonkeyPatch, multipliers: list[float]
) -> None:
    """After the scan no step goes below the master's own multiplier, and each is below the one before while it is wanted."""
    asked, *_ = question(3)
    wanted: list[float] = []
    honest = MarginSearch._aimed

    def aimed(self: MarginSearch, multiplier: float) -> float:
        given = honest(self, multiplier)
        wanted.append(multiplier)
        assert given >= multiplier * (1 - 1e-12)
        if self._goal > -np.inf:
            assert self._promised(given) <= self._goal + 1e-9
            assert self._run.lower <= self._goal <= self._best.value
        return given

    monkeypatch.setattr(margin, "Difficulty", Hard)
    monkeypatch.setattr(MarginSearch, "_aimed", aimed)
    result = verify(asked, gap=1e-7)
    assert result.reason is Reason.GAP_CLOSED
    assert len(wanted) >= 2


class Slow(CellEngine):
    """Leaves whatever is asked open: its bound is what the root proves."""

    def answer(self, question: Question, effort: Effort) -> Answer:
        return replace(super().answer(question, replace(effort, memory=0.0)), closed=False)


def test_where_nothing_closes_screening_at_another_multiplier_still_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, low, high = question(3)
    monkeypatch.setattr("wdaverify.wdro.workers.make_engine", lambda network, solver: Slow(network))
    approached = verify(asked, gap=1e-7, time_limit=3)
    monkeypatch.setattr(Difficulty, "learn", lambda self, tries, *, closed: False)
    straight = verify(asked, gap=1e-7, time_limit=3)
    assert approached.reason is not Reason.GAP_CLOSED
    assert approached.lower <= high + 1e-9
    assert approached.upper >= low - 1e-9
    assert approached.upper <= straight.upper + 1e-9


def test_two_first_slices_for_each_worker_make_it_probe_and_two_second_ones_decide() -> None:
    hard, easy = Difficulty(2), Difficulty(2)
    for it in (hard, easy):
        for _ in range(3):
            it.learn(1, closed=False)
        it.learn(1, closed=True)
        assert not it.probing
        it.learn(1, closed=False)
        assert it.probing
    assert [hard.learn(2, closed=k == 0) for k in range(4)] == [False, False, False, True]
    assert hard.hard
    assert not hard.probing
    assert not any(easy.learn(2, closed=k < 2) for k in range(4))
    assert not easy.hard
    assert not easy.probing
    assert [easy.learn(3, closed=False) for _ in range(4)] == [False, False, False, True]


def test_probing_asks_again_before_it_asks_something_new() -> None:
    asked, *_ = question(3)
    order: list[tuple[int, bool]] = []
    honest = Pricing.next_task

    def noted(self: Pricing) -> object:
        task = honest(self)
        if task is not None:
            tries = [self.tries(int(k)) for k in [*self.open_items().tolist(), task.item]]
            order.append((self.tries(task.item), self.probing and 1 in tries))
        return task

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("wdaverify.wdro.workers.make_engine", lambda network, solver: Slow(network))
        patch.setattr(Pricing, "next_task", noted)
        verify(asked, gap=1e-7, time_limit=2)
    assert any(probing for _, probing in order)
    assert all(tries == 1 for tries, probing in order if probing)


@pytest.mark.parametrize("order", [1, 2])
def test_a_hard_curve_is_the_curve(order: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each radius approaches its own multiplier; nothing of another's approach is left."""
    asked = put(random_question(2, norm="inf", order=order, loss="margin"), tmp_path)
    gap = 1e-5 if order == 1 else 1e-2
    straight = curve(asked, gap=gap)
    monkeypatch.setattr(margin, "Difficulty", Hard)
    approached = curve(asked, gap=gap)
    assert approached.exact
    for radius in straight.radius.tolist():
        low, high = (
            np.interp(radius**order, approached.radius**order, side) for side in (approached.lower, approached.upper)
        )
        assert low <= np.interp(radius**order, straight.radius**order, straight.upper) + 1e-5
        assert high >= np.interp(radius**order, straight.radius**order, straight.lower) - 1e-5
        assert high - low <= 1.1 * gap


def test_on_the_whole_space_what_is_learned_holds_on_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond its reach a question says only that nothing beats the atoms: no fact about an item is below what they attain."""
    rng = np.random.default_rng(5)
    net = network(*random_layers(rng, 2, 5, 4, 4))
    x = rng.uniform(size=(4, 2))
    samples = make_samples(x, net.forward(x).argmax(axis=1))
    asked = WdroProblem(net, samples, GroundCost(Norm.INF, 1), Support.whole(2), Loss.MARGIN, 0.1)
    checked, honest = [0], Pricing._learn

    def learned(self: Pricing, items: np.ndarray, upper: np.ndarray, **given: bool) -> None:
        honest(self, items, upper, **given)
        attained = self.lower()[self._sample[items]]
        assert (self._all.evaluate(self.multiplier)[items] >= attained).all()
        checked[0] += items.size

    monkeypatch.setattr(Pricing, "_learn", learned)
    result = verify(asked, gap=1e-6)
    assert result.status == "exact"
    assert checked[0]
