"""The head of a page: what was asked, guaranteed and not, when it was made and by whom."""

from __future__ import annotations

import json
import math
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import documents
import pytest
import synthetic
from jsonschema import Draft202012Validator

from wdaverify import cli
from wdaverify.problem import GroundCost, Norm
from wdaverify.report import as_json
from wdaverify.report.page.document import as_document
from wdaverify.report.page.view import build
from wdaverify.wdro.result import Reason, Status

MODELS = Path(__file__).parents[2] / "models"
NET, DATA = str(MODELS / "digits_16x16.onnx"), str(MODELS / "digits_16x16.npz")
SHORT = ["--samples", "2", "--quiet"]
RUNS: dict[str, list[str]] = {
    "attack": ["attack", NET, DATA, "--radius", "0.05", *SHORT],
    "distance": ["distance", NET, DATA, "--gap", "0.01", "--jobs", "1", *SHORT],
    "curve": ["curve", NET, DATA, "--max-radius", "0.001", "--gap", "0.1", "--jobs", "1", *SHORT],
    "compare": ["compare", NET, DATA, "--radius", "0.01", "--rungs", "crown", *SHORT],
    "lipschitz": ["lipschitz", str(MODELS / "iris_8x8.onnx"), "--quiet"],
    "batch": ["batch", "jobs.toml", "--quiet"],
    "verify": ["verify", NET, DATA, "--radius", "0.01", "--jobs", "1", *SHORT],
}


def opened(made: dict[str, Any]) -> tuple[str, ...]:
    return build([as_document(made)]).questions[0].opening


@pytest.mark.parametrize("command", RUNS)
def test_every_page_has_a_head(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("jobs.toml").write_text(f'[[job]]\nnetwork = "{NET}"\ndata = "{DATA}"\nradius = 0.01\nsamples = 1\njobs = 1\n')
    before = datetime.now(UTC).replace(microsecond=0)
    head = ["--title", "Loans <2026>", "--author", "A. & B."]
    assert cli._run([*RUNS[command], "--report", "page.html", "--output", "out.json", *head]) == 0
    page = Path("page.html").read_text(encoding="utf-8")
    assert "<h1>Loans &lt;2026&gt;</h1>" in page
    made = json.loads(Path("out.json").read_text())
    stated = made["rows"][0]["result"]["made"] if command == "batch" else made["made"]
    when = datetime.strptime(stated, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    assert before <= when <= datetime.now(UTC) + timedelta(seconds=1)
    assert f'<p class="byline">A. &amp; B., {when:%Y-%m-%d %H:%M} UTC</p>' in page
    for label in ("Asked", "Guaranteed", "Not guaranteed"):
        assert re.search(rf"<dt>{label}</dt><dd>[^<]{{40,}}[.?]</dd>", page)


@pytest.mark.parametrize("command", RUNS)
@pytest.mark.parametrize("option", ["--title", "--author"])
def test_a_head_without_a_page(
    command: str, option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("jobs.toml").write_text(f'[[job]]\nnetwork = "{NET}"\ndata = "{DATA}"\nradius = 0.01\n')
    assert cli._run([*RUNS[command], option, "x"]) == 2
    err = capsys.readouterr().err
    assert err == f"wdaverify: error: {option} is about a page, and no page is written; give --report FILE.html\n"


@pytest.mark.parametrize("command", ["attack", "distance"])
def test_attacks_and_distances_show_images(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "page.html"
    line = [*RUNS[command], "--report", str(target)]
    assert cli._run([*line, "--image-shape", "8", "8"]) == 0
    assert target.read_text(encoding="utf-8").count("data:image/png") >= 3
    assert cli._run([*line, "--image-shape", "9", "9"]) == 2
    assert cli._run([*RUNS[command], "--image-shape", "8", "8"]) == 2
    assert capsys.readouterr().err.count("\n") == 2
    assert cli._run([*RUNS[command], "--report", NET]) == 2
    assert "is an input" in capsys.readouterr().err


def test_report_takes_both(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, target = tmp_path / "v.json", tmp_path / "v.html"
    source.write_text(json.dumps({**documents.verification(), "made": "2026-01-31T12:05:59Z"}))
    assert cli._run(["report", str(source), "--output", str(target), "--author", "me"]) == 0
    assert '<p class="byline">me, 2026-01-31 12:05 UTC</p>' in target.read_text(encoding="utf-8")
    assert cli._run(["report", str(source), "--format", "csv", "--author", "me"]) == 2
    assert "--author" in capsys.readouterr().err


def test_several_answers_have_a_first_and_a_last_time() -> None:
    times = ["2026-02-01T00:00:00Z", "2026-01-31T12:05:59Z", "2026-01-31T12:05:00Z"]
    made = [as_document({**documents.verification(), "made": time}) for time in times]
    assert build(made).byline == "2026-01-31 12:05 UTC to 2026-02-01 00:00 UTC"
    assert build(made[1:], author="x").byline == "x, 2026-01-31 12:05 UTC"
    older = documents.verification()
    del older["made"]
    Draft202012Validator(as_json.schema("verification")).validate(older)
    assert build([as_document(older)]).byline == ""


def test_what_is_guaranteed_is_the_bracket() -> None:
    """No number stands in the sentences that the document does not prove, at digits rounded outward."""
    for lower, upper in ((-0.1234567891234, -0.1234562), (1 / 3, 2 / 3)):
        text = opened(documents.verification(lower=lower, upper=upper))[1].replace("−", "-")
        high, low = (float(found) for found in re.findall(r"-?\d+\.\d+", text))
        assert text.startswith("No such change makes it larger than")
        assert high >= upper
        assert low <= lower
    assert "on the word of a solver" in text
    text = opened(documents.verification(upper=math.inf, status=Status.BRACKET, reason=Reason.TIME_LIMIT))[1]
    assert "at least" in text
    assert "No limit is known yet" in text
    assert "larger than" not in text
    assert "at least" in opened(documents.attack())[1]


@pytest.mark.parametrize(
    ("order", "words"), [(1, "on average by at most 0.05"), (math.inf, "each of them by at most 0.05")]
)
def test_an_average_is_called_one(order: float, words: str) -> None:
    problem = synthetic.problem(cost=GroundCost(Norm.INF, order))
    asked, _, less = opened(documents.verification(problem=problem))
    assert words in asked
    assert ("single input" in less) == (order == 1)
    assert "the 2 samples" in asked
    assert "on average by any amount up to 0.05" in opened(documents.curve())[0]
    assert "0.02 or 0.035 or 0.05" in opened(documents.compare())[0]
