"""Results show themselves: one line, the command's text, the document of its schema, a page, a figure, and a notebook's cell."""

from __future__ import annotations

import json
import pickle
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from journal.killed import MODELS
from jsonschema import Draft202012Validator

import wdaverify as wd
from wdaverify.report import as_json
from wdaverify.report.page.document import read_document

NET = MODELS / "iris_8x8.onnx"
DATA = np.load(MODELS / "iris_8x8.npz")
X, Y = DATA["x"][:6].astype(np.float64), DATA["y"][:6]
WORDS: dict[str, Any] = {"support": (0, 1), "clip": True, "jobs": None}


def every() -> dict[str, Any]:
    network = wd.load_network(NET)
    return {
        "verification": wd.worst_case(network, X, Y, radius=0.05, **WORDS),
        "attack": wd.attack(network, X, Y, radius=0.05, support=(0, 1), clip=True),
        "curve": wd.curve(network, X, Y, max_radius=0.05, loss="zero-one", **WORDS),
        "distances": wd.distances(network, X, Y, **WORDS),
        "compare": wd.compare(network, X, Y, radii=[0.05], rungs=("norms", "exact"), **WORDS),
        "lipschitz": wd.lipschitz_constant(network, support=(0, 1), jobs=None),
    }


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    return every()


KINDS = ("verification", "attack", "curve", "distances", "compare", "lipschitz")


@pytest.mark.parametrize("kind", KINDS)
def test_a_result_shows_itself(kind: str, results: dict[str, Any], tmp_path: Path) -> None:
    result = results[kind]
    line = repr(result)
    assert "\n" not in line
    assert len(line) < 160
    assert len(str(result).splitlines()) > 5
    document = result.to_dict()
    Draft202012Validator(as_json.schema(kind)).validate(document)
    assert json.loads(result.to_json()) == json.loads(as_json.dumps(document))
    result.save(tmp_path / "out.json")
    assert read_document(str(tmp_path / "out.json")).kind == kind
    result.save_report(tmp_path / "out.html", title="A title of one's own", author="Somebody")
    page = (tmp_path / "out.html").read_text()
    assert "A title of one&#39;s own" in page
    assert "Somebody" in page
    snippet = result._repr_html_()
    ElementTree.fromstring(snippet.replace("&nbsp;", " "))  # well-formed, so that it closes what it opens
    assert "<script" not in snippet
    assert len(snippet) < 200_000


@pytest.mark.parametrize("kind", KINDS)
def test_a_result_is_drawn(kind: str, results: dict[str, Any], tmp_path: Path) -> None:
    if kind == "lipschitz":
        with pytest.raises(wd.InputError, match="nothing to draw"):
            results[kind].plot()
        return
    results[kind].plot().savefig(tmp_path / "out.svg")
    assert (tmp_path / "out.svg").stat().st_size > 1000


def test_the_line_and_the_cell_hold_the_bracket(results: dict[str, Any]) -> None:
    result = results["verification"]
    for text in (repr(result), result._repr_html_().replace("−", "-"), str(result)):
        numbers = [float(part) for part in re.findall(r"-?\d+\.\d+", text)]
        assert any(result.lower - 1e-6 <= number <= result.lower for number in numbers)
        assert any(result.upper <= number <= result.upper + 1e-6 for number in numbers)


def test_what_a_question_is_made_of_is_short(results: dict[str, Any]) -> None:
    problem = results["verification"].problem
    for thing in (problem, problem.network, problem.samples, problem.support, problem.cost):
        assert len(repr(thing)) < 400


def test_names_of_others_are_text_in_a_cell(tmp_path: Path) -> None:
    """A file's name stands in the cell as text, whatever it is."""
    evil = tmp_path / "<img src=x onerror=alert(1)>.onnx"
    evil.write_bytes(NET.read_bytes())
    result = wd.worst_case(evil, X[:1], Y[:1], radius=0.0, **WORDS)
    assert "<img src=x" not in result._repr_html_()
    assert "&lt;img src=x" in result._repr_html_()


def test_several_results_make_one_page(results: dict[str, Any], tmp_path: Path) -> None:
    robust = wd.robust_accuracy(NET, X, Y, eps=0.05, **WORDS)
    wd.save_report([*results.values(), robust], tmp_path / "all.html", title="All of them")
    page = (tmp_path / "all.html").read_text()
    assert page.count("<h1") == 1
    for words in ("Lipschitz constant", "Distance to the nearest error", "Worst-case error rate"):
        assert words in page
    for name in ("out.txt", "out"):
        with pytest.raises(wd.OutputError, match=r"\.html or \.htm, or printed as \.pdf"):
            wd.save_report(robust, tmp_path / name)
    with pytest.raises(wd.ProblemError, match="title 3"):
        wd.save_report(robust, tmp_path / "out.html", title=3)  # type: ignore[arg-type]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["all.html"]


def test_results_and_networks_travel(results: dict[str, Any]) -> None:
    torch = pytest.importorskip("torch")
    module = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU(), torch.nn.Linear(3, 3)).eval()
    network = wd.from_torch(module, X)
    there = pickle.loads(pickle.dumps(network))
    np.testing.assert_array_equal(there.forward(X), network.forward(X))
    assert there.sha256 == network.sha256
    with pytest.raises(wd.NetworkError, match="no file to write"):  # the file stays where it was made
        there.save("net.onnx")
    again = pickle.loads(pickle.dumps(results["verification"]))
    assert repr(again) == repr(results["verification"])
