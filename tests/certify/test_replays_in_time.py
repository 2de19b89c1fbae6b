"""A replay that a time limit ends: what was replayed is proven, the rest is said, and nothing is held against it."""

from __future__ import annotations

import json
import math
import time
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from fuzz.broad_trees import broad, question
from jsonschema import Draft202012Validator
from wdro.test_workers import question as small_question

from wdaverify import Certificate, Loss, WdroProblem, cli, recheck, verify, write_certificate
from wdaverify.certify import upper as upper_module
from wdaverify.certify.checker import Verdict
from wdaverify.report import as_json

MODELS = Path(__file__).parents[2] / "models"
NET, DATA = str(MODELS / "iris_8x8.onnx"), str(MODELS / "iris_8x8.npz")
LOSSES = [Loss.MARGIN, Loss.ZERO_ONE]
PAST = -math.inf


@cache
def made(loss: Loss) -> tuple[WdroProblem, Certificate]:
    asked = small_question(loss)
    certificate = verify(asked, certificate=True).certificate
    assert certificate is not None
    return asked, certificate


def replayed(loss: Loss, looks: float, monkeypatch: pytest.MonkeyPatch) -> tuple[Verdict, int]:
    """What is proven leaf by leaf where the clock shows the deadline from the so-manieth look on; how many looks there were."""
    seen = [0]

    class Clock:
        @staticmethod
        def monotonic() -> float:
            seen[0] += 1
            return 1e9 if seen[0] > looks else 0.0

    asked, certificate = made(loss)
    with monkeypatch.context() as patched:
        patched.setattr(upper_module, "time", Clock)
        patched.setattr(upper_module, "_BATCH", 1)
        return recheck(certificate, asked, 1e9), seen[0]


@pytest.mark.parametrize("loss", LOSSES)
def test_what_was_replayed_is_proven_and_more_time_proves_no_less(loss: Loss, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, certificate = made(loss)
    whole = recheck(certificate, asked)
    assert whole.proved
    before, between = Verdict(False, -math.inf, math.inf, 0.0, 0.0, ()), 0
    _, most = replayed(loss, math.inf, monkeypatch)
    assert most > 20
    for looks in np.linspace(0, most, 20).astype(int).tolist():
        now, _ = replayed(loss, looks, monkeypatch)
        assert now.reasons == ()
        assert now.proved == (now.unproven == ())
        assert now.lower <= whole.upper
        assert now.upper >= whole.lower
        assert before.lower <= now.lower <= whole.lower
        assert before.upper >= now.upper
        if not now.proved:
            assert all("the time limit ended the checker's replay" in why for why in now.unproven)
        between += whole.upper + 1e-3 < now.upper < (math.inf if loss is Loss.MARGIN else 1.0)
        before = now
    assert (now.lower, now.upper) == (whole.lower, whole.upper)
    assert between > 1


@pytest.mark.parametrize("loss", LOSSES)
def test_without_time_nothing_is_proven_and_nothing_is_rejected(loss: Loss) -> None:
    asked, certificate = made(loss)
    late = recheck(certificate, asked, PAST)
    assert (late.proved, late.reasons) == (False, ())
    assert late.lower == -math.inf
    assert late.upper == (math.inf if loss is Loss.MARGIN else 1.0)  # no more than all mass can err
    assert [f"the {side} bound" in why for side, why in zip(("upper", "lower"), late.unproven, strict=True)] == [
        True
    ] * 2


@pytest.mark.parametrize("loss", LOSSES)
def test_what_is_wrong_is_said_whatever_the_time(loss: Loss) -> None:
    asked, certificate = made(loss)
    other = recheck(replace(certificate, radius=0.5), asked, PAST)
    assert (other.proved, other.unproven) == (False, ())
    assert "the radius differs" in other.reasons[0]
    bold = recheck(replace(certificate, lower=certificate.lower + 0.01, upper=certificate.upper + 1.0), asked, math.inf)
    assert (bold.proved, bold.unproven) == (False, ())
    assert "the lower bound" in bold.reasons[0]


def test_radius_zero_looks_at_the_clock() -> None:
    asked = replace(small_question(Loss.MARGIN), radius=0.0)
    certificate = verify(asked, certificate=True).certificate
    assert certificate is not None
    assert recheck(certificate, asked).proved
    late = recheck(certificate, asked, PAST)
    assert (late.lower, late.upper, late.reasons) == (-math.inf, math.inf, ())


def test_a_limit_ends_a_single_long_proof(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Minutes of replay in one proof: the command ends soon after its limit, with status 3 and what it did not come to."""
    path, told = tmp_path / "a.cert", tmp_path / "verdict.json"
    write_certificate(path, replace(broad(question(), 400), lower=-1e6, upper=10.0))
    begun = time.monotonic()
    status = cli._run(["recheck", NET, DATA, str(path), "--samples", "1", "--time-limit", "2", "--output", str(told)])
    assert time.monotonic() - begun < 20
    assert status == 3
    said = capsys.readouterr()
    assert "not decided: the time limit was reached" in said.out
    assert "the time limit ended the checker's replay of the proofs (0 of 2 were replayed)" in said.err
    verdict = json.loads(told.read_text())
    Draft202012Validator(as_json.schema("verdict")).validate(verdict)
    assert (verdict["proved"], verdict["reasons"]) == (False, [])
    assert len(verdict["unproven"]) == 1


def test_a_claim_that_part_of_the_replay_shows_is_proved(tmp_path: Path) -> None:
    """A claim that needs no more than was replayed is proved: here the largest margin on the support is below the one above."""
    path = tmp_path / "a.cert"
    write_certificate(path, replace(broad(question(), 400), lower=-1e6, upper=1e6))
    assert cli._run(["recheck", NET, DATA, str(path), "--samples", "1", "--time-limit", "2", "--quiet"]) == 0
