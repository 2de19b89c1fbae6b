"""Whatever is under way when the time is over: the run ends with what is valid, and says what it did not come to."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from wdro.test_workers import question

from wdaverify import Loss, ReluNetwork, cli, recheck, verify
from wdaverify.certify.exact import exact_error
from wdaverify.cli.exits import INTERRUPTED, exit_status
from wdaverify.cli.group import CommandLine
from wdaverify.cli.runs import time_left
from wdaverify.ladder.compare import Settings, compare
from wdaverify.wdro import attacking, certifying
from wdaverify.wdro.attacking import attack, launch, portions, valued
from wdaverify.wdro.curve import curve
from wdaverify.wdro.distances import distances
from wdaverify.wdro.result import Reason, Status, VerificationResult
from wdaverify.witness import decide
from wdaverify.witness.evaluate import Witness, evaluate, nominal_bracket

PAST = -math.inf


def ticking(monkeypatch: pytest.MonkeyPatch, looks: int) -> float:
    """The attacks' clock shows a deadline, which is returned, from the so-manieth look on."""
    deadline, seen = 1e9, [0]

    class Clock:
        @staticmethod
        def monotonic() -> float:
            seen[0] += 1
            return deadline if seen[0] > looks else 0.0

    monkeypatch.setattr(attacking, "time", Clock)
    return deadline


def valid(result: VerificationResult, truth: VerificationResult) -> None:
    assert result.status is Status.BRACKET
    assert result.reason is Reason.TIME_LIMIT
    assert result.lower <= truth.upper
    assert result.upper >= truth.lower
    assert result.lower >= nominal_bracket(result.problem)[0]


@pytest.mark.parametrize("loss", [Loss.MARGIN, Loss.ZERO_ONE])
def test_attack_points_that_were_not_valued_are_not_used(loss: Loss, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = question(loss)
    truth = verify(asked)
    outcome = launch(asked, device="cpu", seed=0, deadline=math.inf)
    whole = {name: witness.lower for name, witness in valued(asked, outcome).witnesses.items()}
    assert list(whole) == [*outcome.distributions, "mixture"]
    assert outcome.sample.size > 1
    lately = -math.inf
    for looks in range(len(outcome.distributions) + 6):
        worth = valued(asked, outcome, ticking(monkeypatch, looks))
        monkeypatch.undo()
        some = {name: witness.lower for name, witness in worth.witnesses.items()}
        assert worth.complete == (some == whole)
        assert lately <= some["mixture"] <= truth.upper  # more time, no worse
        lately = some.pop("mixture")
        assert all(value == whole[name] for name, value in some.items())
    assert worth.complete
    nothing = valued(asked, outcome, PAST)
    assert list(nothing.witnesses) == ["mixture"]
    assert nothing.witnesses["mixture"].lower == pytest.approx(nominal_bracket(asked)[0])


def test_portions_hold_every_point_once_or_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    for count in (0, 1, 2048, 5000):
        assert [k for part in portions(count, math.inf) for k in range(count)[part]] == list(range(count))
        assert [k for part in portions(count, 1e300) for k in range(count)[part]] == list(range(count))
        assert list(portions(count, PAST)) == []
    deadline = ticking(monkeypatch, 1)
    assert list(portions(5000, deadline)) == [slice(0, 2048)]


@pytest.mark.parametrize("loss", [Loss.MARGIN, Loss.ZERO_ONE])
def test_a_run_whose_time_is_over_when_the_attacks_are(loss: Loss, monkeypatch: pytest.MonkeyPatch) -> None:
    """The attacks return late: none of their points counts, and the bracket is that of the samples and of the bounds."""
    asked = question(loss)
    truth = verify(asked)

    def late(*arguments: Any, **options: Any) -> Any:
        time.sleep(0.5)
        return launch(*arguments, **{**options, "deadline": math.inf})

    monkeypatch.setattr("wdaverify.wdro.verify.launch", late)
    result = verify(asked, time_limit=0.5)
    assert result.attacks == {"mixture": pytest.approx(result.nominal)}
    valid(result, truth)


def test_a_run_whose_time_is_over_while_points_are_valued(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = question(Loss.MARGIN)
    truth = verify(asked)
    calls: list[int] = []

    def slow(*arguments: Any) -> Witness:
        if (len(calls)) == 2:
            time.sleep(1.5)
        calls.append(1)
        return evaluate(*arguments)

    monkeypatch.setattr(attacking, "evaluate", slow)
    result = verify(asked, time_limit=1.0)
    assert (
        len(result.attacks) == 2
    )  # the first call is the nominal one, the second the mixture's, the third the late one
    assert "mixture" in result.attacks
    valid(result, truth)
    assert result.lower >= max(result.attacks.values())


def test_an_attack_command_whose_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = question(Loss.MARGIN)
    result = attack(asked, time_limit=0.0)
    assert not result.finished
    assert result.attacks == {"mixture": pytest.approx(result.nominal)}
    assert result.atoms
    assert any("cut the attacks short" in notice for notice in result.notices)


@pytest.mark.parametrize("loss", [Loss.MARGIN, Loss.ZERO_ONE])
def test_a_certificate_that_is_not_replayed_in_time(loss: Loss, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bracket stays as it was found, with its own vouchers; the certificate claims nothing, and proves as much as ever."""
    asked = question(loss)
    proved = verify(asked, certificate=True)
    monkeypatch.setattr(certifying, "recheck", lambda made, problem, deadline: recheck(made, problem, PAST))
    result = verify(asked, certificate=True)
    assert (result.vouched_lower, result.vouched_upper) == ("checked", "checked")
    assert any("the time limit ended the checker's replay" in notice for notice in result.notices)
    assert result.lower == pytest.approx(proved.lower, abs=2e-6)
    assert result.upper == pytest.approx(proved.upper, abs=2e-6)
    made = result.certificate
    assert made is not None
    assert (made.lower, made.upper) == (-math.inf, math.inf)
    again = recheck(made, asked)
    assert again.proved
    assert again.lower == pytest.approx(proved.lower, abs=2e-6)
    assert again.upper == pytest.approx(proved.upper, abs=2e-6)


@pytest.mark.parametrize("ask", [verify, distances, curve])
def test_an_interrupt_in_the_replay_leaves_what_was_found(
    ask: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def pressed(*_: object) -> None:
        raise KeyboardInterrupt

    asked = question(Loss.ZERO_ONE)
    found = ask(asked)
    monkeypatch.setattr(certifying, "recheck", pressed)
    result = ask(asked, certificate=True)
    assert (result.reason, result.certificate) == (Reason.INTERRUPTED, None)
    assert any("there is no certificate" in words for words in (getattr(result, "detail", ""), *result.notices))
    if ask is distances:
        assert [b.lower for b in result.brackets] == pytest.approx([b.lower for b in found.brackets], abs=2e-6)
    else:
        assert np.max(result.upper) == pytest.approx(np.max(found.upper), abs=2e-6)
    assert exit_status(True, result.reason, lacking=True) == INTERRUPTED


def test_a_replay_in_time_is_whole_and_one_out_of_time_proves_nothing() -> None:
    asked = question(Loss.MARGIN)
    made = verify(asked, certificate=True).certificate
    assert made is not None
    assert recheck(made, asked, math.inf) == recheck(made, asked)
    late = recheck(made, asked, PAST)
    assert not late.proved
    assert (late.lower, late.upper) == (-math.inf, math.inf)


def test_a_limit_leaves_the_checker_its_time() -> None:
    """A search that ends at its limit leaves a fifth for the replay, and what was found is proved."""
    result = verify(question(Loss.MARGIN), certificate=True, time_limit=100.0)
    assert (result.status, result.vouched_upper) == (Status.EXACT, "proved")


@pytest.mark.parametrize(("limit", "least", "most"), [(None, None, None), (60.0, 0.0, 50.0), (5.0, 0.0, 0.0)])
def test_the_limit_counts_from_the_beginning_of_the_command(
    limit: float | None, least: float | None, most: float | None
) -> None:
    line = CommandLine([], begun=time.monotonic() - 10)
    with click.Context(cli.cli, obj=line).scope():
        left = time_left(limit)
    assert left is None if limit is None else least <= left <= most  # type: ignore[operator]


def test_every_command_with_a_limit_hands_on_what_is_left(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nobody but ``time_left`` reads the option."""
    seen: list[float] = []

    def noted(limit: float | None) -> float | None:
        assert limit is not None
        seen.append(limit)
        return limit

    for module in ("runs", "attack"):
        monkeypatch.setattr(f"wdaverify.cli.{module}.time_left", noted)
    models = Path(__file__).parents[2] / "models"
    net, data = str(models / "iris_8x8.onnx"), str(models / "iris_8x8.npz")
    ask: Callable[..., list[str]] = lambda *more: [*more, "--time-limit", "77", "--quiet"]  # noqa: E731
    few = ["--samples", "1"]
    for k, command in enumerate(
        (
            ask("verify", net, data, "--radius", "0.01", "--jobs", "1", *few),
            ask("curve", net, data, "--max-radius", "0.01", "--jobs", "1", *few),
            ask("distance", net, data, "--jobs", "1", *few),
            ask("attack", net, data, "--radius", "0.01", *few),
            ask("compare", net, data, "--radius", "0.01", "--jobs", "1", "--rungs", "exact", *few),
            ask("lipschitz", net, "--jobs", "1"),
        ),
        1,
    ):
        assert cli._run(command) == 0
        assert seen == [77.0] * k


def test_attacks_on_their_own_leave_time_to_value_what_they_found(monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[float] = []

    def whole(*arguments: Any, deadline: float, **options: Any) -> Any:
        left.append(deadline - time.monotonic())
        return launch(*arguments, deadline=math.inf, **options)

    monkeypatch.setattr(attacking, "launch", whole)
    result = attack(question(Loss.MARGIN), device="cpu", time_limit=1000.0)
    assert left == [pytest.approx(600.0, abs=30.0)]
    assert result.finished
    assert "mixture" in result.attacks


def slowly(monkeypatch: pytest.MonkeyPatch, seconds: float, stop: int = -1) -> list[float]:
    """Nothing is decided by enclosure, and an exact decision takes so long; when each began. One of them may be interrupted."""
    begun: list[float] = []

    def exact(network: ReluNetwork, x: np.ndarray, y: int) -> bool:
        begun.append(time.monotonic())
        if len(begun) == stop:
            raise KeyboardInterrupt
        time.sleep(seconds)
        return exact_error(network, x, y)

    def undecided(network: ReluNetwork, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.full(len(x), -math.inf), np.full(len(x), math.inf)

    monkeypatch.setattr(decide, "exact_error", exact)
    monkeypatch.setattr(decide, "rival_margin", undecided)
    return begun


def test_no_exact_decision_begins_after_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not decided is no error below, and may be one above."""
    asked = question(Loss.ZERO_ONE)
    truth = verify(asked)
    begun, start = slowly(monkeypatch, 0.1), time.monotonic()
    result = verify(asked, time_limit=1.0)
    assert begun
    assert max(begun) <= start + 1.0 + 1.0  # seconds that a slow machine may lose before the run's own clock starts
    assert result.status is Status.EXACT or result.reason is Reason.TIME_LIMIT
    assert result.lower <= truth.upper
    assert result.upper >= truth.lower


def test_the_attacks_leave_bounds_their_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Points are no longer decided at half of the limit, so that something is proven above."""
    asked = question(Loss.ZERO_ONE)
    slowly(monkeypatch, 0.1)
    result = verify(asked, time_limit=3.0)
    assert result.upper < 1.0


def test_no_other_command_decides_after_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = question(Loss.ZERO_ONE)
    truth = distances(asked)
    begun = slowly(monkeypatch, 0.1)
    start = time.monotonic()
    found = distances(asked, time_limit=1.0)
    for known, bracket in zip(truth.brackets, found.brackets, strict=True):
        assert bracket.lower <= known.upper
        assert bracket.upper >= known.lower
    assert max(begun) <= start + 1.0 + 1.0
    begun.clear()
    start = time.monotonic()
    attack(asked, time_limit=1.0)
    assert max(begun, default=start) <= start + 1.0 + 1.0
    begun.clear()
    start = time.monotonic()
    compare(asked, [asked.radius], Settings(rungs=("attacks", "crown"), time_limit=1.0))
    assert max(begun, default=start) <= start + 1.0 + 1.0


def test_a_nominal_loss_that_there_was_no_time_to_decide_is_a_bracket(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = dataclasses.replace(question(Loss.ZERO_ONE), radius=0.0)
    slowly(monkeypatch, 0.0)
    result = verify(asked, time_limit=0.0)
    assert (result.lower, result.upper, result.status, result.reason) == (
        0.0,
        1.0,
        Status.BRACKET,
        Reason.TIME_LIMIT,
    )


@pytest.mark.parametrize("stop", [20, 60])
def test_an_interrupt_in_the_middle_of_a_decision_keeps_the_bracket(stop: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = question(Loss.ZERO_ONE)
    truth = verify(asked)
    begun = slowly(monkeypatch, 0.0, stop)
    result = verify(asked)
    assert len(begun) == stop  # nothing is decided again afterwards
    assert result.reason is Reason.INTERRUPTED
    assert result.lower <= truth.upper
    assert result.upper >= truth.lower
