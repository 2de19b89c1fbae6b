"""The files for parts of a question: those of the documentation, and bad ones."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bounds.tiny import network

from wdaverify import Loss, Norm, Support, WdroProblem, cli, verify
from wdaverify.errors import ProblemError
from wdaverify.ground import GroundCost
from wdaverify.question_files import load_functionals, load_support, load_weights
from wdaverify.samples import make_samples

ROOT = Path(__file__).parents[1]
NET, DATA = ROOT / "models" / "iris_8x8.onnx", ROOT / "models" / "iris_8x8.npz"


@pytest.fixture
def documented(tmp_path: Path) -> dict[str, Path]:
    """The TOML blocks of docs/question-files.md, each in the file that its first line names."""
    out = {}
    for block in re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / "question-files.md").read_text(), re.S):
        name = re.match(r"# (\w+\.toml):", block)
        assert name is not None
        out[name[1]] = tmp_path / name[1]
        out[name[1]].write_text(block)
    return out


def test_the_documented_files_are_read(documented: dict[str, Path]) -> None:
    support = load_support(documented["support.toml"], 4)
    assert support.upper.tolist() == [10.0] * 4
    assert support.integer is not None
    assert support.integer.tolist() == [False, False, False, True]
    assert support.rows is not None
    assert support.rows.matrix.tolist() == [[1.0, -1.0, 0.0, 0.0]]
    assert (support.rows.lower.tolist(), support.rows.upper.tolist()) == ([-5.0], [math.inf])
    assert load_weights(documented["weights.toml"], 4).tolist() == [1.0, 1.0, 2.0, math.inf]
    functionals = load_functionals(documented["functionals.toml"])
    assert (functionals.matrix.shape, functionals.offset.tolist()) == ((3, 3), [0.0, 0.0, 0.5])


def test_a_one_hot_group_is_integers_with_a_row(tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    path.write_text("lower = 0\nupper = 3\none_hot = [[1, 2]]\n")
    support = load_support(path, 3)
    assert support.contains(np.array([[2.5, 1, 0], [2.5, 1, 1], [2.5, 0.5, 0.5], [3.5, 0, 1]])).tolist() == [
        True,
        False,
        False,
        False,
    ]


def test_npz_says_the_same(tmp_path: Path) -> None:
    path = tmp_path / "s.npz"
    np.savez(
        path, lower=0.0, upper=np.ones(2), rows=np.array([[1.0, 1.0]]), row_upper=np.array([1.5]), integer=np.array([1])
    )
    support = load_support(path, 2)
    assert support.contains(np.array([[0.5, 1.0], [0.6, 1.0], [0.5, 0.5]])).tolist() == [True, False, False]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("upper = 1", "there is no lower"),
        ("lower = 0\nupper = [1, 2, 3]", "upper has shape [3]"),
        ("lower = 0\nupper = 1\ninteger = [2]", "0 to 1"),
        ("lower = 0\nupper = 1\nbounds = 3", "'bounds' is not known"),
        ("lower = 0\nupper = nan", "upper is nan: numbers are accepted"),
        ("lower = 2\nupper = 1", "empty"),
        ("lower = 0\nupper = inf", "non-finite"),
        ("lower = 0\nupper = 1\n[[rows]]\nlower = 1", "row 0 must be a table"),
        ("lower = 0\nupper = 1\n[[rows]]\ncoefficients = [1, 1]\nlower = 1\nupper = 1", "equation"),
        ("lower = 0\nupper = 1\n[[rows]]\ncoefficients = [0, 0]\nlower = 1", "no coefficient"),
        ("lower = ", "cannot be read"),
    ],
)
def test_bad_supports_are_refused(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    path.write_text(text)
    with pytest.raises(ProblemError, match=re.escape(words)):
        load_support(path, 2)


@pytest.mark.parametrize("text", ["weights = [1, 0]", "weights = [1]", "weights = 'a'", "", "weights = [1, nan]"])
def test_bad_weights_are_refused(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "w.toml"
    path.write_text(text)
    arguments: list[Any] = ["verify", NET, DATA, "--radius", 0.1, "--support", 0, 10, "--cost-weights", path]
    assert cli._run([str(a) for a in arguments]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_command_line_takes_them_all(documented: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    ask: list[Any] = ["verify", NET, DATA, "--radius", 0.05, "--samples", 4, "--jobs", 1, "--gap", 1e-4]
    weights = ["--cost-weights", documented["weights.toml"]]
    functionals = ["--loss", "linear", "--functionals", documented["functionals.toml"]]
    for extra in (weights, functionals, [*weights, *functionals, "--order", 2, "--norm", 2]):
        assert cli._run([str(a) for a in [*ask, "--support", 0, 10, *extra]]) == 0
        assert "exact" in capsys.readouterr().out
    for extra in (["--order", "inf"], ["--label-cost", 0.5], ["--loss", "hinge", "--norm", 1]):
        assert cli._run([str(a) for a in [*ask, "--support", "none", *extra]]) == 0
        assert "exact" in capsys.readouterr().out


def test_every_sample_of_a_regression_has_its_target(documented: dict[str, Path]) -> None:
    functionals = load_functionals(documented["regression.toml"])
    net = network((np.array([[2.0]]), np.array([0.0])))
    x, target = np.array([[0.25], [0.5], [0.75]]), np.array([0.5, 1.25, -2.0])
    asked = WdroProblem(
        net,
        make_samples(x, np.arange(3)),
        GroundCost(Norm.INF, order=1),
        Support.box(0, 1, 1),
        Loss.LINEAR,
        0.05,
        functionals,
    )
    result = verify(asked, gap=1e-9)
    nominal = float(np.abs(2 * x[:, 0] - target).mean())
    assert abs(result.nominal - nominal) < 1e-12
    assert abs(result.value - (nominal + 2 * 0.05)) < 1e-8  # the third sample moves up by all of the budget
