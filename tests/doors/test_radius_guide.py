"""Which radius: distances and shares against a loop and a linear program, and the words of the door and of the command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import linprog

import wdaverify as wd
from wdaverify import cli

MODELS = Path(__file__).parents[2] / "models"
NET, DATA = str(MODELS / "iris_8x8.onnx"), str(MODELS / "iris_8x8.npz")


def nearest(x: np.ndarray, y: np.ndarray, norm: float, *, same: bool) -> np.ndarray:
    """The distance of each sample to the nearest other one of its own class, or of another."""
    out = []
    for i in range(len(x)):
        others = [k for k in range(len(x)) if k != i and (y[k] == y[i]) == same]
        out.append(min(np.linalg.norm(x[k] - x[i], norm) for k in others))
    return np.array(out)


@pytest.mark.parametrize("norm", ["inf", 1, 2])
def test_distances_and_shares(norm: str | int) -> None:
    rng = np.random.default_rng(4)
    x, y, w = rng.random((40, 3)), rng.integers(0, 3, 40), rng.random(40)
    found = wd.radius_guide(x, np.array(["a", "b", "c"])[y], norm=norm, weights=w, radii=[0.02, 0.1, 3.0])
    order = float(norm)
    apart = nearest(x, y, order, same=False)
    assert found.other == pytest.approx(np.quantile(apart, found.shares))
    assert found.same == pytest.approx(np.quantile(nearest(x, y, order, same=True), found.shares))
    masses = w / w.sum()
    for row in found.rows:
        carried = linprog(-np.ones(40), A_ub=[apart], b_ub=[row.radius], bounds=[(0.0, m) for m in masses])
        assert row.average == pytest.approx(-carried.fun, abs=1e-8)
        assert row.each == pytest.approx(masses[apart <= row.radius].sum())
    assert [row.radius for row in found.rows] == sorted(row.radius for row in found.rows)
    assert {row.radius for row in found.rows if row.what == "asked for"} == {0.02, 0.1, 3.0}


def test_the_shares_are_lower_bounds_of_what_any_right_model_loses() -> None:
    """Against the exact worst case of a model that is right on all samples."""
    x = np.array([[0.1, 0.2], [0.3, 0.1], [0.7, 0.9], [0.8, 0.6]])
    y = [0, 0, 1, 1]
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=1e3).fit(x, y)
    assert model.score(x, y) == 1
    for row in wd.radius_guide(x, y, radii=[0.2, 0.6]).rows:
        for order, share in ((1, row.average), ("inf", row.each)):
            worst = wd.worst_case(
                model, x, y, radius=row.radius, order=order, loss="zero-one", support=(0, 1), jobs=None
            )
            assert worst.upper >= share - 1e-9


def test_one_class_and_one_sample() -> None:
    text = str(wd.radius_guide([[0.0], [1.0]], [0, 0]))
    assert "of another        none has one" in text
    assert "none has one" in str(wd.radius_guide([[0.0, 3.0]], ["a"]))


@pytest.mark.parametrize("y", [np.repeat([0, 1], 1500), np.arange(3000) % 2], ids=["sorted", "in turn"])
def test_a_part_stands_for_all(y: np.ndarray) -> None:
    """Classes one after the other, or every second one: both are among what is compared."""
    x = np.linspace(0, 1, 3000)[:, None] + y[:, None]
    guide = wd.radius_guide(x, y, weights=np.arange(3000) >= 3, norm=2)
    assert (guide.samples, guide.compared) == (3000, 1000)
    assert guide.same is not None
    assert guide.other is not None
    text = " ".join(str(guide).split())
    assert "3000 of 1 features, of which 1000 are compared, drawn evenly from all" in text
    assert "norm l2" in text
    lone = wd.radius_guide(np.arange(3000.0)[:, None], np.zeros(3000))
    assert "of another        none of the 1000 compared has one" in str(lone)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: wd.radius_guide([1.0, 2.0], [0, 1]), "points"),
        (lambda: wd.radius_guide([[1.0], [2.0]], [[0], [1]]), "labels"),
        (lambda: wd.radius_guide([[1.0], [2.0]], [0, 1, 1]), "y has shape"),
        (lambda: wd.radius_guide([[1.0], [2.0]], [0, 1], norm=3), "norm 3"),
        (lambda: wd.radius_guide([[1.0], [2.0]], [0, 1], radii=[-1]), "radius -1"),
        (lambda: wd.radius_guide([[1.0], [np.inf]], [0, 1]), "finite"),
    ],
)
def test_what_cannot_be_meant_is_refused(call: object, words: str) -> None:
    with pytest.raises(wd.InputError, match=words) as refusal:
        call()  # type: ignore[operator]
    assert "\n" not in str(refusal.value)


def test_the_command_says_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    data = np.load(DATA)
    assert cli._run(["info", NET, DATA, "--norm", "2"]) == 0
    out = capsys.readouterr().out
    assert str(wd.radius_guide(data["x"], data["y"], norm=2)) in out
    assert "affine 4 -> 8" in out
    assert cli._run(["info", NET, DATA, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["radius"] == wd.radius_guide(data["x"], data["y"]).to_dict()
    assert max(map(len, str(wd.radius_guide(data["x"], data["y"])).splitlines())) <= 100
    for words in (["--norm", "2"], ["--classes", "a,b,c"], ["--label-column", "0"]):
        assert cli._run(["info", NET, *words]) == 2
        assert "none are given; add DATA" in capsys.readouterr().err
    assert cli._run(["info", str(MODELS / "digits_16x16.onnx"), DATA]) == 2
    assert "points of 4 features and the network takes 64" in capsys.readouterr().err
