"""What is not there says why, limits and interrupts keep the rest, radii share their constants."""

from __future__ import annotations

import math
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import synthetic
from bounds.tiny import network, problem, random_layers
from test_whole_space import LATE, STEP, ask

import wdaverify.ladder.compare as module
from wdaverify import WdroProblem
from wdaverify.errors import ProblemError
from wdaverify.ladder.compare import ABOVE, NAMES, Settings, _Budget, compare
from wdaverify.ladder.relaxed import RelaxedDual
from wdaverify.ladder.rung import Comparison, Kind, Ladder, Rung, Side
from wdaverify.problem import GroundCost, Loss, Norm, Support
from wdaverify.report.compare import compare_summary
from wdaverify.wdro.attacking import Valued, valued
from wdaverify.wdro.result import Voucher


def tiny(**changes: Any) -> WdroProblem:
    """2-4-4-3, five samples of their own labels, l-inf, order 1, radius 0.06, the unit box."""
    rng = np.random.default_rng(21)
    net = network(*random_layers(rng, 2, 4, 4, 3))
    x = rng.uniform(size=(5, 2))
    return replace(problem(net, x, net.forward(x).argmax(axis=1), 0.06), **changes)


def only(question: WdroProblem, *names: str, **settings: Any) -> Ladder:
    asked = Settings(**({"rungs": names} if names else {}), **settings)
    [ladder] = compare(question, [question.radius], asked).ladders
    return ladder


def by_name(ladder: Ladder) -> dict[str, Rung]:
    return {rung.name: rung for rung in ladder.rungs}


# What is not there


@pytest.mark.parametrize(
    ("changes", "rung", "why"),
    [
        ({}, "asymptotic", "the support is bounded"),
        ({"support": Support.whole(2), "cost": GroundCost(Norm.INF, 2)}, "asymptotic", "for order 1"),
        ({"support": Support.whole(2), "loss": Loss.ZERO_ONE}, "asymptotic", "losses that grow"),
        ({"loss": Loss.ZERO_ONE}, "first-order", "has no gradient"),
        *[({"loss": Loss.DLR}, name, "the DLR loss is not Lipschitz") for name in ("norms", "lipsdp", "jacobian")],
        ({"loss": Loss.DLR}, "lipschitz", "the DLR loss is not Lipschitz"),
        *[({"loss": Loss.DLR}, name, "no functional of the logits") for name in ("crown", "lp")],
    ],
)
def test_a_rung_that_does_not_apply_says_why(changes: dict[str, Any], rung: str, why: str) -> None:
    found = by_name(only(tiny(**changes), rung))[NAMES[rung]]
    assert found.value is None
    assert why in (found.why or "")


def test_no_finite_bound_is_no_rung(tmp_path: Path) -> None:
    """At order 1 on the whole space nothing is finite below the slope at infinity, which takes time to bracket."""
    found = by_name(only(ask(tmp_path, LATE, [[0.0]], [0], 0.5), "crown", rung_limit=0.0))["CROWN dual"]
    assert found.value is None
    assert found.why == "it proves no finite bound; cut short by the rung limit"


def test_a_network_whose_slopes_overflow_has_no_constants() -> None:
    huge = [(1e200 * np.ones((2, 1)), np.zeros(2)), (1e108 * np.ones((2, 2)), np.zeros(2))]
    net = network(huge[0], (1e104 * np.eye(2), np.zeros(2)))
    question = problem(net, np.array([[0.5]]), [0], 0.1)
    ladder = only(question, "norms", "jacobian")
    for rung in ladder.rungs:
        assert (rung.value is None) == bool(rung.why)
        assert rung.value is None or math.isfinite(rung.value)


# Limits and interrupts


@pytest.mark.parametrize("loss", [Loss.MARGIN, Loss.ZERO_ONE, Loss.CROSS_ENTROPY])
def test_no_time_for_rungs_leaves_the_exact_run_alone(loss: Loss) -> None:
    question = tiny(loss=loss)
    ladder = only(question, rung_limit=0.0, gap=1e-3)
    assert ladder.closed
    result = ladder.result
    assert result is not None
    for rung in ladder.rungs:
        if rung.value is None:
            assert rung.why
        elif rung.kind is Kind.BOUND and rung.side is Side.ABOVE:
            assert rung.value >= result.lower
        elif rung.kind is Kind.BOUND:
            assert rung.value <= result.upper
    rungs = by_name(ladder)
    assert rungs["product of layer norms"].value is not None
    assert "cut short by the rung limit" in rungs["mixture"].detail
    if loss is Loss.MARGIN:
        assert "its bracket is open" in rungs["exact Lipschitz"].detail
        assert "cut short by the rung limit" in rungs["LP dual"].detail


def test_an_open_bracket_takes_the_middle() -> None:
    comparison = compare(tiny(), [0.06], Settings(rungs=("norms", "exact"), time_limit=0.0))
    [ladder] = comparison.ladders
    rungs = by_name(ladder)
    exact, result = rungs["exact"], ladder.result
    assert result is not None
    assert (exact.lower, exact.upper) == (result.lower, result.upper) == (ladder.lower, ladder.upper)
    assert result.lower < result.upper
    assert exact.value == pytest.approx(0.5 * (result.lower + result.upper))
    assert exact.kind is Kind.BRACKET
    assert not ladder.closed
    assert not comparison.exact
    above = rungs["product of layer norms"]
    assert above.distance(ladder.lower, ladder.upper) == above.value - result.upper
    nominal = rungs["nominal"]
    assert nominal.distance(ladder.lower, ladder.upper) == result.lower - nominal.value


def test_without_the_exact_run_the_best_that_is_proven_stands_in() -> None:
    rungs = ("norms", "jacobian", "lipschitz", "crown", "first-order", "attacks")
    comparison = compare(tiny(), [0.06], Settings(rungs=rungs))
    [ladder] = comparison.ladders
    assert comparison.exact
    assert ladder.result is None
    bounds = [rung for rung in ladder.rungs if rung.kind is Kind.BOUND and rung.value is not None]
    assert ladder.upper == min(rung.value for rung in bounds if rung.side is Side.ABOVE)
    assert ladder.lower == max(rung.value for rung in bounds if rung.side is Side.BELOW)
    assert ladder.lower == by_name(ladder)["mixture"].value


@pytest.mark.parametrize(
    ("planted", "name"),
    [
        ("first_order", "first-order"),
        ("launch", "attacks"),
        ("product_of_norms", "norms"),
        ("lipsdp", "lipsdp"),
        ("interval_constants", "jacobian"),
        ("lipschitz", "lipschitz"),
        ("RelaxedDual", "crown"),
        ("verify", "exact"),
    ],
)
def test_an_interrupt_keeps_the_other_rungs(planted: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two radii; the interrupt comes at the first."""

    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, planted, interrupt)
    comparison = compare(tiny(), [0.03, 0.06])
    assert comparison.interrupted
    first, second = comparison.ladders
    order = [
        "asymptotic",
        "first-order",
        "attacks",
        "norms",
        "eclipse",
        "lipsdp",
        "jacobian",
        "lipschitz",
        "crown",
        "lp",
        "exact",
    ]
    at = order.index(name)
    rungs = by_name(first)
    assert rungs[NAMES[name]].why == "interrupted"
    for before in order[1:at]:
        shown = "mixture" if before == "attacks" else NAMES[before]
        assert rungs[shown].value is not None
    for after in order[at + 1 :]:
        assert rungs[NAMES[after]].why == "interrupted before this rung"
    assert {rung.why for rung in second.rungs if rung.name != "nominal"} == {"interrupted before this rung"}
    assert by_name(second)["nominal"].value is not None


def test_an_interrupt_inside_the_exact_run_keeps_its_bracket(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("wdaverify.wdro.pricing.Pricing.next_task", interrupt)
    comparison = compare(tiny(), [0.06, 0.09], Settings(rungs=("norms", "exact")))
    first, second = comparison.ladders
    assert comparison.interrupted
    assert first.result is not None
    assert first.result.reason == "interrupted"
    assert by_name(first)["exact"].lower == first.result.lower
    assert by_name(second)["exact"].why == "interrupted before this rung"


# Radii


@pytest.mark.parametrize("loss", [Loss.MARGIN, Loss.ZERO_ONE, Loss.HINGE, Loss.CW, Loss.CROSS_ENTROPY])
def test_radius_zero_is_the_nominal_loss(loss: Loss) -> None:
    ladder = only(tiny(loss=loss, radius=0.0))
    for rung in ladder.rungs:
        if rung.value is not None:
            assert rung.value == pytest.approx(ladder.nominal, rel=1e-9, abs=1e-12), rung.name
    assert {rung.name for rung in ladder.rungs if rung.value is not None} >= {*ABOVE, "exact", "mixture"}


def test_several_radii_share_their_constants(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Counter[str]()

    def count(name: str, real: Any) -> Any:
        def counted(*arguments: Any, **options: Any) -> Any:
            calls[name] += 1
            return real(*arguments, **options)

        return counted

    for name in ("product_of_norms", "eclipse_fast", "lipsdp", "interval_constants", "lipschitz", "verify", "launch"):
        monkeypatch.setattr(module, name, count(name, getattr(module, name)))
    radii = [0.01, 0.03, 0.06]
    comparison = compare(tiny(), radii)
    assert [ladder.problem.radius for ladder in comparison.ladders] == radii
    assert calls == {
        "product_of_norms": 1, "eclipse_fast": 1, "lipsdp": 1, "interval_constants": 1, "lipschitz": 1, "verify": 3, "launch": 3,
    }  # fmt: skip
    for name in ("product of layer norms", "ECLipsE-Fast", "LipSDP", "interval Jacobian", "exact Lipschitz"):
        values = [by_name(ladder)[name].value for ladder in comparison.ladders]
        slope = [(v - ladder.nominal) / r for v, ladder, r in zip(values, comparison.ladders, radii, strict=True)]
        assert slope == pytest.approx([slope[0]] * 3, rel=1e-9)
        seconds = {by_name(ladder)[name].seconds for ladder in comparison.ladders}
        assert len(seconds) == 1


def test_zero_one_shares_its_constants_and_not_its_knapsack(tmp_path: Path) -> None:
    """The step from 0: an error at distance 1, slope 1: V = radius up to 1."""
    question = ask(tmp_path, STEP, [[0.0]], [0], 0.25, Support.box(0.0, 4.0, 1), loss="zero-one")
    ladders = compare(question, [0.25, 0.5, 2.0]).ladders
    for name in ("interval Jacobian", "exact Lipschitz", "CROWN dual", "LP dual"):
        values = [by_name(ladder)[name].value for ladder in ladders]
        assert values == pytest.approx([0.25, 0.5, 1.0], rel=2e-3 if name == "CROWN dual" else 1e-6), name


@pytest.mark.parametrize(
    ("radii", "settings", "words"),
    [
        ([], {}, "radii"),
        ([-0.1], {}, "radii"),
        ([math.inf], {}, "finite"),
        ([0.1], {"rungs": ("norms", "crwn")}, "crwn"),
        ([0.1], {"rungs": ()}, "rung none"),
        ([0.1], {"rung_limit": -1.0}, "rung limit"),
        ([0.1], {"rung_limit": math.nan}, "rung limit"),
    ],
)
def test_refusals(radii: list[float], settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ProblemError, match=words):
        compare(tiny(), radii, Settings(**settings))


def test_what_the_exact_run_refuses_is_refused_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "launch", lambda *_, **__: pytest.fail("work began"))
    with pytest.raises(ProblemError, match="DLR loss is answered by MIP solvers, level by level, without certificate"):
        compare(tiny(loss=Loss.DLR), [0.1], Settings(certificate=True))


# The text


def test_text_is_rounded_outward() -> None:
    """Upper rungs up, lower rungs down, to the digits that the smallest distance asks for."""
    question = synthetic.problem()
    result = synthetic.verification(lower=-0.25, upper=-0.125)

    def rung(name: str, side: Side, value: float) -> Rung:
        return Rung(name, side, Kind.BOUND, value, Voucher.CHECKED, 0.5)

    middle = Rung("exact", Side.MIDDLE, Kind.BRACKET, -0.1875, Voucher.CHECKED, 1.0, lower=-0.25, upper=-0.125)
    ladder = Ladder(
        question,
        -0.375,
        (
            rung("high", Side.ABOVE, 1.00000010001),
            rung("touching", Side.ABOVE, -0.125),
            middle,
            rung("low", Side.BELOW, -0.29999989999),
            rung("exactly", Side.BELOW, -0.375),
        ),
        result,
    )
    text = compare_summary(Comparison(question, (ladder,), 1.0, 0, (), False))
    shown = {line[:24].strip(): line[24:44].strip() for line in text.splitlines() if len(line) > 44}
    assert float(shown["high"]) >= 1.00000010001
    assert float(shown["low"]) <= -0.29999989999
    assert (shown["high"], shown["low"]) == ("1.000001", "-0.300000")
    assert float(shown["exactly"]) == -0.375
    assert float(shown["exact, upper end"]) == -0.125
    assert float(shown["exact, lower end"]) == -0.25
    away = {line[:24].strip(): line[44:56].strip() for line in text.splitlines() if len(line) > 44}
    assert away["touching"] == "0"
    assert float(away["high"]) == pytest.approx(1.125, rel=1e-2)
    assert float(away["low"]) == pytest.approx(0.05, rel=1e-2)
    assert float(away["exactly"]) == pytest.approx(0.125, rel=1e-2)


# The limit of the whole


def test_a_limit_of_the_whole_is_shared_out() -> None:
    """Half of what is left is the exact run's, the rest is dealt evenly; what a step leaves goes to those after it."""
    now = time.monotonic()
    budget = _Budget(now + 800.0, 8.0)
    shares = [budget.take(weight) for weight in (1.0, 1.0, 1.0, 1.0, 4.0)]
    assert shares == pytest.approx([100.0, 800 / 7, 800 / 6, 160.0, 800.0], abs=1.0)
    assert not budget.over
    late = _Budget(now - 1.0, 2.0)
    assert (late.take(1.0), late.take(1.0), late.over) == (0.0, 0.0, True)
    assert [_Budget(math.inf, 3.0).take(w) for w in (1.0, 3.0)] == [math.inf, math.inf]


def test_when_the_time_is_over_there_is_one_bracket_and_the_rest_says_so() -> None:
    comparison = compare(tiny(), [0.05, 0.06], Settings(time_limit=0.0))
    first, second = comparison.ladders
    assert first.result is not None
    assert (second.result, comparison.cut, comparison.exact) == (None, True, False)
    assert first.lower < first.upper
    assert by_name(second)["exact"].why == "the time limit was reached before this rung"
    for ladder in comparison.ladders:
        rungs = by_name(ladder)
        assert rungs["product of layer norms"].value is not None
        assert rungs["CROWN dual"].why == "the time limit was reached before this rung"
        assert ladder.lower <= ladder.upper
    whole = compare(tiny(), [0.05], Settings(rungs=("norms", "crown"), time_limit=100.0))
    assert (whole.cut, whole.exact) == (False, True)


def test_attacks_that_were_not_valued_in_time_are_no_rungs(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []

    def hurried(problem: WdroProblem, outcome: Any, deadline: float) -> Valued:
        seen.append(deadline - time.monotonic())
        some = valued(problem, outcome).witnesses
        return Valued({"WDA(1)": some["WDA(1)"]}, complete=False)

    monkeypatch.setattr("wdaverify.ladder.compare.valued", hurried)
    rungs = by_name(only(tiny(), "attacks", rung_limit=1000.0))
    assert 0 < seen[0] <= 1000
    assert rungs["WDA++"].why == "no time was left to value it"
    assert rungs["mixture"].value == rungs["WDA(1)"].value
    assert "cut short by the rung limit" in rungs["mixture"].detail


def test_linear_programs_have_their_own_time() -> None:
    """CROWN used up its limit; what follows begins anew."""
    relaxed = RelaxedDual(tiny(), None, jobs=None, seed=0, seconds=0.0)
    try:
        assert relaxed.late()
        rough = relaxed.crown()
        assert relaxed.lp() == rough
        relaxed.renew(1000.0)
        assert not relaxed.late()
        better = relaxed.crown()
        assert better < rough - 1e-3
        assert relaxed.lp() < better
    finally:
        relaxed.close()
