"""Where a bracket stays open it says what to do next, and which samples hold it open; where it is answered it says nothing."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import documents
import pytest
import synthetic

from wdaverify import cli
from wdaverify.report import summary
from wdaverify.report.next_steps import held_open, holders, ways_on
from wdaverify.report.page.document import as_document
from wdaverify.report.page.view import build
from wdaverify.wdro.result import Reason, SampleBracket, Status, Voucher

OPEN: dict[str, Any] = {"status": Status.BRACKET, "lower": -0.25, "upper": 0.5}
WAYS = {
    Reason.TIME_LIMIT: ["--time-limit", "--run DIR", "--gap 0.75 (met already)", "--threshold T"],
    Reason.INTERRUPTED: ["run it again", "--run DIR", "--gap 0.75 (met already)"],
    Reason.EXECUTOR_LOST: ["scheduler", "--run DIR"],
    Reason.STALLED: ["another --solver", "tolerances"],
    Reason.NUMERICAL: ["another --solver", "contradicted"],
    Reason.THRESHOLD_UNDECIDED: ["a smaller --gap"],
}


def in_text(result: Any) -> str:
    """The lines after "next"."""
    head = summary.verification_summary(result).split("\n\n")[1]
    _, found, rest = head.partition("\nnext ")
    return " ".join(rest.split()) if found else ""


def on_page(**changes: Any) -> str:
    [answer] = [part.answer for part in build([as_document(documents.verification(**changes))]).questions[0].parts]
    assert answer is not None
    return " ".join(text for label, text in answer.beside if label in ("Next", ""))


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_says_what_to_do_or_needs_nothing(reason: Reason) -> None:
    answered = {Reason.GAP_CLOSED: {"status": Status.EXACT}, Reason.THRESHOLD_DECIDED: {"threshold": 1.0}}
    changes = {**OPEN, "reason": reason, **answered.get(reason, {})}
    texts = [in_text(synthetic.verification(**changes))]
    if reason is not Reason.UNBOUNDED:  # which a document shows by its tie
        texts.append(on_page(**changes))
    for text in texts:
        if reason not in WAYS:
            assert text == ""
            continue
        for words in WAYS[reason]:
            assert words.lower() in text.lower()
        assert "samples 0 and 1 (100 % of the width, of 2 open ones)" in text.replace("Held", "held")


@pytest.mark.parametrize("kind", ["curve", "distances"])
def test_pages_of_curves_and_distances_say_what_the_terminal_says(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Open they have the lines of the text; exact they have none."""
    monkeypatch.chdir(tmp_path)
    document = getattr(documents, kind)()
    [part] = build([as_document(document)]).questions[0].parts
    assert part.answer is not None
    assert "Next" not in dict(part.answer.beside)
    models = Path(__file__).parents[2] / "models"
    files = [str(models / f"digits_32x32_robust.{suffix}") for suffix in ("onnx", "npz")]
    command = {"curve": ["curve", *files, "--max-radius", "0.2"], "distances": ["distance", *files]}[kind]
    out = ["--samples", "3", "--time-limit", "0", "--jobs", "1", "--device", "cpu", "--output", f"{kind}.json"]
    assert cli._run([*command, *out]) == 3
    [part] = build([as_document(json.loads(Path(f"{kind}.json").read_text()))]).questions[0].parts
    assert part.answer is not None
    said = [text for label, text in part.answer.beside if label in ("Next", "")]
    text = " ".join(capsys.readouterr().out.partition("next  ")[2].split())
    assert " ".join(line.removesuffix(".") for line in said).lower() == text.lower()


def test_the_samples_that_hold_it_open_come_in_order() -> None:
    """By weight times width, exactly as the upper bound adds them up."""
    brackets = [(7, 0.5, 0.0, 1.0), (3, 0.125, 0.0, 8.0), (1, 0.25, 1.0, 1.0), (2, 0.0, 0.0, 9.0), (9, 0.25, 0.0, 0.5)]
    held = holders(brackets)
    assert held == [(3, 1.0), (7, 0.5), (9, 0.125)]
    assert held_open(held) == "held open most by samples 3, 7 and 9 (100 % of the width, of 3 open ones)"
    many = holders([(k, 1.0, 0.0, 1.0 + (k == 4)) for k in range(10)])
    assert held_open(many) == "held open most by samples 4, 0, 1, 2 and 3 (55 % of the width, of 10 open ones)"
    assert held_open(holders([(5, 1.0, 0.0, math.inf), (6, 1.0, 0.0, 1.0)])) == (
        "held open most by samples 5 and 6; 1 of 2 open ones have no bound yet"
    )
    assert held_open(holders([(5, 1.0, math.inf, math.inf)])) == ""
    assert held_open([(5, 1.0)]) == "held open most by sample 5 (100 % of the width, of 1 open ones)"


def test_a_gap_that_no_bracket_has_is_not_offered() -> None:
    assert "--gap" not in ways_on("time-limit", 0.0, math.inf, "x")
    assert "--gap 1" in ways_on("time-limit", 0.0, 1.0, "x")
    assert ways_on("a reason of tomorrow", 0.0, 1.0, "x") == ""


def test_two_lines_that_fit() -> None:
    brackets = tuple(SampleBracket(1000 + k, 0.1, 0.0, 1.0, Voucher.CHECKED) for k in range(10))
    result = replace(synthetic.verification(**OPEN, reason=Reason.TIME_LIMIT), per_sample=brackets)
    lines = summary.verification_summary(result).split("\n\n")[1].partition("\nnext")[2].splitlines()
    assert len(lines) <= 4
    assert max(map(len, lines)) <= summary.WIDTH


def test_commands_that_are_cut_short(capsys: pytest.CaptureFixture[str]) -> None:
    models = Path(__file__).parents[2] / "models"
    files = [str(models / f"digits_32x32_robust.{suffix}") for suffix in ("onnx", "npz")]
    more = ["--samples", "3", "--time-limit", "0", "--jobs", "1", "--device", "cpu"]
    for command in (["verify", "--radius", "0.2"], ["curve", "--max-radius", "0.2"], ["distance"]):
        assert cli._run([command[0], *files, *command[1:], *more]) == 3
        out = capsys.readouterr().out
        assert "next            more time (--time-limit; --run DIR keeps what is proven)" in out
        assert ("samples 0, 1 and 2" in out) == (command[0] != "curve")
