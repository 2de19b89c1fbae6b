"""The scripts of examples/ that train: at a tiny size they end, go on where they were stopped, and what they write holds."""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def loaded(folder: str, name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(EXAMPLES / folder))
    return importlib.import_module(name)


@pytest.fixture(autouse=True)
def _names_of_scripts_are_not_kept() -> Iterator[None]:
    yield
    for name in ("run", "answers", "networks", "shown", "claims", "pointwise", "train"):
        module = sys.modules.get(name)
        if module is not None and str(EXAMPLES) in str(module.__file__):
            del sys.modules[name]


def test_the_paper_s_table_goes_on_where_it_was_and_its_numbers_are_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = loaded("paper", "run", monkeypatch)
    monkeypatch.setattr(run.answers.networks, "WAYS", ("regularised",))
    asked = (("margin", 1, "inf", "none"), ("zero-one", 1, "inf", "box"))
    size = run.Size("tiny", ("iris", "digits"), ("mlp", "conv"), asked, 1, 2, 0.5, 2.0, 2)
    run.run(size, tmp_path)
    assert len(capsys.readouterr().out.splitlines()) == 3
    lines = (tmp_path / "answers.jsonl").read_text().splitlines()
    (tmp_path / "answers.jsonl").write_text("\n".join([*lines[:2], lines[2][:50]]))  # as a kill leaves it
    run.run(size, tmp_path)
    assert len(capsys.readouterr().out.splitlines()) == 1
    document = json.loads((tmp_path / "table.json").read_text())
    assert len(document["rows"]) == document["asked"] == 3
    for row in document["rows"]:
        for at in row["radii"]:
            below = [value for value in at["below"].values() if value is not None]
            above = [value for value in at["above"].values() if isinstance(value, float)]
            assert max(below) <= at["upper"] + 1e-9
            assert at["lower"] <= min(above) + 1e-9
            assert at["nominal"] <= at["lower"] <= at["upper"]
            assert at["moved"]["mass"] * at["moved"]["farthest"] >= 0
        if row["question"]["support"] == "box":
            assert all(
                at["nominal"] <= at["below"][name] for at in row["radii"] for name in run.answers.pointwise.ATTACKS
            )
    text = (tmp_path / "table.md").read_text()
    assert "3 of 3 questions answered" in text
    assert [f"**{k}." in text for k in (1, 2, 3)] == [True] * 3
    assert "| no |" not in text  # of the sandwich
    assert (tmp_path / "table.png").stat().st_size > 10_000


def test_claims_see_a_bend_and_a_broken_sandwich(monkeypatch: pytest.MonkeyPatch) -> None:
    claims = loaded("paper", "claims", monkeypatch)
    question = {"data": "d", "kind": "mlp", "way": "w", "loss": "margin", "order": 1, "norm": "inf", "support": "none"}
    moved = {"samples": 1, "mass": 0.1, "farthest": 0.2}

    def at(radius: float, value: float, slope: float) -> dict[str, object]:
        sides = {"below": {"asymptotic": slope * radius}, "above": {"exact Lipschitz": 10 * radius}}
        return {
            "radius": radius,
            "nominal": 0.0,
            "lower": value,
            "upper": value,
            "exact": True,
            "moved": moved,
            **sides,
        }

    row = {"question": {**question, "samples": 3}, "constants": {}, "radii": [at(1.0, 4.0, 2.0), at(2.0, 7.0, 9.0)]}
    text = claims.text([row])
    assert "| 4 | 3 | bent before 2 |" in text
    assert text.count("| yes |") == 1
    assert text.count("| no |") == 1


def test_the_text_says_what_the_table_says() -> None:
    """Every number with two decimals or more of the section on claims is one of a table, rounded."""
    page, *tables = (
        EXAMPLES / "paper" / name for name in ("README.md", "results/quick/table.md", "results/part/table.md")
    )
    _, claims = page.read_text().split("## The claims of the paper")
    have = [float(number) for number in re.findall(r"-?\d+\.\d+", "".join(t.read_text() for t in tables))]
    said = re.findall(r"(?<![\d.])-?\d+\.\d{2,}", claims)
    assert len(said) >= 20
    for number in said:
        near = 0.51 * 10.0 ** -len(number.split(".")[1])
        assert any(abs(value - float(number)) <= near for value in have), number


def test_training_against_the_adversary_prints_what_it_is_worth(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train = loaded("train-against", "train", monkeypatch)
    monkeypatch.setattr(train, "RADII", (0.02,))
    plain, _, against = train.main(epochs=1, samples=3, plain_epochs=1)
    assert plain[1] <= plain[2] + 1e-9
    assert against[1] <= against[2] + 1e-9
    assert against != plain
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["training", "plain", "PGD", "against"]
