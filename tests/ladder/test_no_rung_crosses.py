"""No rung crosses the exact value: random problems of every kind, against an oracle that shares no code with the ladder."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from family_oracle import Question, exact, random_question
from quick import one_in
from test_family_against_oracle import put

from wdaverify import WdroProblem
from wdaverify.ladder.compare import ABOVE, Settings, compare
from wdaverify.ladder.rung import Kind, Ladder, Side
from wdaverify.problem import Loss, Support
from wdaverify.wdro.result import Voucher

NORMS, ORDERS = ("inf", "1", "2"), (1, 2, math.inf)
PIECEWISE = ("inf", "1", pytest.param("2", marks=pytest.mark.full))
"""The norms of linear programs; the cone programs of the other one are slow, and usually left to ``test_whole_space``."""
LOSSES = ("margin", "zero-one", "hinge", "cw", "cross-entropy", "linear")
EXTRAS = ("label_cost", "cost_weights", "rows", "integer")
ATTACKS = ("WDA(1)", "WDA++", "mixture")
COUNT, USUAL = 8, 1
"""Seeds of each combination, and how many of them are not marked full."""


def seeds(usual: int = USUAL) -> list[object]:
    return [pytest.param(s, marks=[] if s < usual else [pytest.mark.full], id=f"seed{s}") for s in range(COUNT)]


def climb(problem: WdroProblem, radius: float) -> Ladder:
    """On the whole space the cross-entropy may take many minutes, whose bracket counts as it stands."""
    endless = problem.loss is Loss.CROSS_ENTROPY and not problem.support.bounded
    gap = 0.1 if problem.loss in (Loss.CROSS_ENTROPY, Loss.DLR) else 1e-6
    settings = Settings(gap=gap, rung_limit=None, time_limit=40.0 if endless else None)
    [ladder] = compare(problem, [radius], settings).ladders
    return ladder


def near(question: Question) -> float:
    """How far the oracle's own lower end may exceed the truth: its masses fit the budget to 1e-10, ties count from 1e-7 on."""
    return 1e-6 if question.loss == "zero-one" else 1e-9


def stands(ladder: Ladder, low: float, high: float, near: float, far: float) -> None:
    """Every bound on its side of the oracle's bracket and of the exact run's; estimates and what is n/a say so."""
    result = ladder.result
    assert result is not None
    assert result.lower <= high + far
    assert result.upper >= low - near
    for rung in ladder.rungs:
        if rung.value is None:
            assert rung.why
            continue
        assert math.isfinite(rung.value)
        assert (rung.vouched is None) == (rung.kind is Kind.ESTIMATE)
        if rung.kind is not Kind.BOUND:
            continue
        assert rung.vouched is Voucher.CHECKED
        if rung.side is Side.ABOVE:
            assert rung.value >= low - near * (1 + abs(low)), rung
            assert rung.value >= result.lower, rung
        else:
            assert rung.value <= high + far, rung
            assert rung.value <= result.upper, rung
    value = {rung.name: rung.value for rung in ladder.rungs}
    best = value["mixture"]
    assert best is not None
    for name, found in value.items():
        if name.startswith("WDA"):
            assert found is not None
            assert best >= found - 1e-9 * (1 + abs(found)), name
    [estimate] = [rung for rung in ladder.rungs if rung.name == "first-order sensitivity"]
    assert estimate.kind is Kind.ESTIMATE
    slopes, jacobian = value["exact Lipschitz"], value["interval Jacobian"]
    if slopes is not None and jacobian is not None:
        assert slopes <= jacobian


def against_oracle(question: Question, folder: Path) -> Ladder:
    low, high = exact(question)
    ladder = climb(put(question, folder), question.radius)
    far = (2e-4 if question.loss == "cross-entropy" else 1e-5) * (1 + abs(high))
    stands(ladder, low, high, near(question), far)
    return ladder


@pytest.mark.parametrize("seed", seeds())
@pytest.mark.parametrize(("norm", "order", "loss"), one_in(3, PIECEWISE, ORDERS, LOSSES))
def test_box(norm: str, order: float, loss: str, seed: int, tmp_path: Path) -> None:
    ladder = against_oracle(random_question(seed, norm=norm, order=order, loss=loss), tmp_path)
    present = {rung.name for rung in ladder.rungs if rung.value is not None}
    assert present >= {*ABOVE, *ATTACKS, "nominal", "exact"}


@pytest.mark.parametrize("seed", seeds())
@pytest.mark.parametrize(("norm", "order", "extra"), one_in(2, PIECEWISE, ORDERS, EXTRAS))
def test_labels_weights_rows_and_integers(extra: str, norm: str, order: float, seed: int, tmp_path: Path) -> None:
    """Losses take turns over the seeds; the linear loss takes no label cost."""
    losses = [loss for loss in LOSSES if loss != "linear" or extra != "label_cost"]
    loss = losses[(seed + NORMS.index(norm) + ORDERS.index(order)) % len(losses)]
    against_oracle(random_question(seed, norm=norm, order=order, loss=loss, **{extra: True}), tmp_path)


@pytest.mark.parametrize("seed", seeds(2))
@pytest.mark.parametrize("order", ORDERS)
def test_everything_at_once(order: float, seed: int, tmp_path: Path) -> None:
    extras = dict.fromkeys(EXTRAS, True)
    loss = ("margin", "zero-one", "hinge", "cw")[seed % 4]
    against_oracle(random_question(seed, norm=NORMS[seed % 3], order=order, loss=loss, **extras), tmp_path)


@pytest.mark.parametrize("seed", seeds())
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("norm", NORMS)
def test_whole_space(norm: str, order: float, seed: int, tmp_path: Path) -> None:
    """The oracle's box is a smaller support, so its value is a lower bound; the upper end is the exact run's, or none.

    Losses take turns, and every other time labels move too.
    """
    turn = seed + NORMS.index(norm) + ORDERS.index(order)
    loss = LOSSES[turn % len(LOSSES)]
    question = random_question(seed, norm=norm, order=order, loss=loss, label_cost=turn % 2 == 1 and loss != "linear")
    wide = 3.0 * (question.upper - question.lower)
    question = replace(question, lower=question.lower - wide, upper=question.upper + wide)
    low, _ = exact(question)
    problem = replace(put(question, tmp_path), support=Support.whole(question.lower.size))
    ladder = climb(problem, question.radius)
    stands(ladder, low, math.inf, near(question), 0.0)
    present = {rung.name for rung in ladder.rungs if rung.value is not None}
    assert present >= {"product of layer norms", "interval Jacobian", "exact Lipschitz", *ATTACKS, "nominal"}
    assert ("asymptotic" in present) == (order == 1 and loss != "zero-one")


@pytest.mark.parametrize("seed", seeds())
@pytest.mark.parametrize("order", ORDERS)
def test_dlr(order: float, seed: int, tmp_path: Path) -> None:
    """No certificate of this ladder is for the DLR loss; attacks and the nominal loss stay below the exact run."""
    rng = np.random.default_rng(seed)
    question = random_question(seed, norm=NORMS[seed % 2], order=order, loss="margin", n=2)
    W, b = question.weights[-1]
    more = 4 - len(b)
    last = np.vstack([W, rng.normal(size=(more, W.shape[1]))]), np.append(b, rng.normal(size=more))
    grown = [*question.weights[:-1], last]
    problem = replace(put(replace(question, weights=grown), tmp_path), loss=Loss.DLR)
    ladder = climb(problem, question.radius)
    result = ladder.result
    assert result is not None
    value = {rung.name: rung.value for rung in ladder.rungs}
    assert [value[name] for name in ABOVE] == [None] * len(ABOVE)
    for name in (*ATTACKS, "nominal"):
        assert value[name] is not None
        assert value[name] <= result.upper
