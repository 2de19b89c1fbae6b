"""A threshold has a verdict of its own, by the bracket alone, wherever an answer is shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import documents
import pytest
import synthetic

from wdaverify import cli
from wdaverify.ladder.rung import Comparison, Ladder
from wdaverify.report import batch, summary
from wdaverify.report.compare import compare_summary
from wdaverify.report.page.document import as_document
from wdaverify.report.page.view import build
from wdaverify.wdro.result import Reason, Status
from wdaverify.witness.tie import Tie

OPEN, CLOSED = {"status": Status.BRACKET, "lower": -0.25, "upper": 0.5}, {"status": Status.EXACT}
CASES: list[tuple[dict[str, Any], float, Reason, str]] = [
    (OPEN, 0.5, Reason.THRESHOLD_DECIDED, "verified"),
    (OPEN, 0.75, Reason.TIME_LIMIT, "verified"),
    (OPEN, -0.5, Reason.THRESHOLD_DECIDED, "falsified"),
    (OPEN, -0.25, Reason.TIME_LIMIT, "undecided"),
    (OPEN, 0.25, Reason.INTERRUPTED, "undecided"),
    ({**CLOSED, "lower": 0.25, "upper": 0.25}, 0.25, Reason.GAP_CLOSED, "verified"),
    ({**CLOSED, "lower": 0.25, "upper": 0.25}, 0.125, Reason.GAP_CLOSED, "falsified"),
    ({**CLOSED, "lower": 0.25, "upper": 0.250001}, 0.2500005, Reason.THRESHOLD_UNDECIDED, "undecided"),
]
ASCII = {
    "verified": "V <= {0} is proven",
    "falsified": "V > {0} is proven",
    "undecided": "neither V <= {0} nor V > {0}",
}


def made(bracket: dict[str, Any], threshold: float | None, reason: Reason) -> Any:
    return synthetic.verification(**bracket, threshold=threshold, reason=reason)


@pytest.mark.parametrize(("bracket", "threshold", "reason", "verdict"), CASES)
def test_the_verdict_heads_the_answer(bracket: dict[str, Any], threshold: float, reason: Reason, verdict: str) -> None:
    result = made(bracket, threshold, reason)
    said = ASCII[verdict].format(f"{threshold:g}" if threshold != 0.2500005 else "0.2500005")
    text = " ".join(summary.verification_summary(result).split())
    assert f"answer {verdict}: {said}" in text
    ladder = Ladder(result.problem, -0.375, (), result)
    text = compare_summary(Comparison(result.problem, (ladder,), 1.0, 0, (), interrupted=False))
    assert f"radius 0.05: {verdict}, {said}" in text
    page = build([as_document(documents.verification(**bracket, threshold=threshold, reason=reason))])
    [answer] = [part.answer for part in page.questions[0].parts]
    assert answer is not None
    assert answer.word == verdict
    assert answer.status == {"verified": "exact", "falsified": "falsified", "undecided": "bracket"}[verdict]
    for proven in ("V ≤", "V >"):
        assert (proven in answer.remark) == (verdict in ("undecided", "verified" if proven == "V ≤" else "falsified"))
    assert page.summary.rows[0][-1].text == verdict


@pytest.mark.parametrize(("bracket", "threshold", "reason", "verdict"), CASES)
def test_rows_of_a_batch(bracket: dict[str, Any], threshold: float, reason: Reason, verdict: str) -> None:
    row = batch.RowResult("row", made(bracket, threshold, reason))
    assert f"{verdict} ({reason.value})" in batch.batch_summary([row])
    page = build([as_document(batch.batch_json([row]))])
    shown = page.overviews[0].table.rows[0][3].text
    open_ = reason in (Reason.TIME_LIMIT, Reason.INTERRUPTED)  # it was not the threshold that ended it
    assert shown == (f"open: {reason.value}" if open_ else verdict)


def test_without_a_threshold_nothing_is_verified() -> None:
    for bracket, reason, word in ((OPEN, Reason.TIME_LIMIT, "bracket"), (CLOSED, Reason.GAP_CLOSED, "exact")):
        text = summary.verification_summary(made(bracket, None, reason))
        assert f"answer          {word}: " in text
        [answer] = [part.answer for part in build([as_document(documents.verification())]).questions[0].parts]
        assert answer is not None
        assert answer.word == "exact"


def test_infinity_falsifies_every_threshold() -> None:
    tie = Tie(0, (0, 1, 1), (), ())
    result = synthetic.verification(
        status=Status.BRACKET, reason=Reason.UNBOUNDED, upper=float("inf"), threshold=1e300, tie=tie
    )
    assert "answer          falsified: V > 1e+300 is proven" in summary.verification_summary(result)


def test_on_the_page(tmp_path: Path) -> None:
    """No decided threshold stands under the badge of an open bracket."""
    for name, verdict in (("t", "verified"), ("f", "falsified"), ("u", "undecided")):
        bracket, threshold, reason, _ = next(case for case in CASES if case[3] == verdict)
        source, target = tmp_path / f"{name}.json", tmp_path / f"{name}.html"
        source.write_text(
            json.dumps(documents.verification(**bracket, threshold=threshold, reason=reason)), encoding="utf-8"
        )
        assert cli._run(["report", str(source), "--output", str(target)]) == 0
        text = target.read_text(encoding="utf-8")
        assert f'<span class="badge">{verdict}</span>' in text
        assert "open bracket" not in text
