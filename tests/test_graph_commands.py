"""Every command on a network with a convolution, max pooling, a skip, a LeakyReLU and a Clip, read from its file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import build_model, write_model
from family_oracle import Question, distance
from graph.cells import enumerate_graph, forward_graph
from jsonschema import Draft202012Validator
from onnx import helper

from wdaverify import GroundCost, Loss, Norm, Support, WdroProblem, cli, load_network, make_samples, verify
from wdaverify.report import as_json
from wdaverify.wdro.distances import distances

node: Any = helper.make_node


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The network and three samples."""
    folder, rng = tmp_path_factory.mktemp("graph"), np.random.default_rng(3)
    numbers = lambda *shape: (rng.normal(size=shape) / 2).astype(np.float32)  # noqa: E731 (a formula)
    nodes = [
        node("Conv", ["x", "K", "k"], ["c"], kernel_shape=[2, 2], pads=[0, 0, 1, 1]),
        node("LeakyRelu", ["c"], ["l"], alpha=0.125),
        node("Conv", ["l", "M"], ["d"], kernel_shape=[1, 1]),
        node("Add", ["d", "c"], ["s"]),
        node("MaxPool", ["s"], ["p"], kernel_shape=[2, 2], strides=[1, 1]),
        node("Flatten", ["p"], ["f"]),
        node("Clip", ["f", "low", "high"], ["b"]),
        node("Gemm", ["b", "W", "w"], ["y"], transB=1),
    ]
    constants = {
        "K": numbers(2, 1, 2, 2),
        "k": numbers(2),
        "M": numbers(2, 2, 1, 1),
        "W": 2 * numbers(3, 2),
        "w": numbers(3),
    }
    constants |= {"low": np.float32(-0.5), "high": np.float32(0.75)}
    path = write_model(folder / "net.onnx", build_model(nodes, constants, ["N", 1, 2, 2]))
    x = rng.uniform(size=(3, 1, 2, 2))
    np.savez(folder / "data.npz", x=x, y=load_network(path).forward(x.reshape(3, 4)).argmax(axis=1))
    return path, folder / "data.npz"


def run(*arguments: object) -> int:
    return cli._run([str(argument) for argument in arguments])


def test_info_and_documents(files: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("info", files[0]) == 0
    text = capsys.readouterr().out
    assert all(word in text for word in ("convolution 4 -> 2@2x2", "leakyrelu", "sum", "clip"))
    page, result = tmp_path / "page.html", tmp_path / "result.json"
    assert run("verify", *files, "--radius", 0.05, "--loss", "zero-one", "--output", result, "--report", page) == 0
    document = json.loads(result.read_text())
    Draft202012Validator(as_json.schema("verification")).validate(document)
    layers = document["network"]["layers"]
    assert {"convolution", "leakyrelu", "sum", "clip", "affine"} <= {layer["kind"] for layer in layers}
    assert any(len(layer.get("sources", [])) > 1 for layer in layers)
    assert page.read_text().startswith("<!DOCTYPE html>")


def test_the_distance_of_each_sample_is_that_of_its_linear_regions(files: tuple[Path, Path]) -> None:
    net = load_network(files[0])
    data = np.load(files[1])
    x = data["x"].reshape(3, 4)
    cells = enumerate_graph(net.graph, np.zeros(4), np.ones(4))
    np.testing.assert_allclose(forward_graph(net.graph, x), net.forward(x), rtol=0, atol=1e-12)
    problem = WdroProblem(
        net, make_samples(x, data["y"]), GroundCost(Norm.ONE, 1), Support.box(0, 1, 4), Loss.ZERO_ONE, 0.1
    )
    found = distances(problem, gap=1e-7)
    assert found.exact
    assert len(cells) > 10
    question = Question(net.graph, x, data["y"], np.full(3, 1 / 3), 0.1, "1", 1, "zero-one", np.zeros(4), np.ones(4))
    for i, bracket in enumerate(found.brackets):
        truth = distance(question, i)
        assert bracket.lower - 1e-6 <= truth <= bracket.upper + 1e-6


@pytest.mark.parametrize("solver", ["cells", "highs"])
@pytest.mark.parametrize("loss", ["margin", "zero-one", "hinge", "cw"])
def test_engines_agree(files: tuple[Path, Path], loss: str, solver: str) -> None:
    net, data = load_network(files[0]), np.load(files[1])
    problem = WdroProblem(
        net, make_samples(data["x"], data["y"]), GroundCost(Norm.INF, 1), Support.box(0, 1, 4), Loss(loss), 0.1
    )
    result = verify(problem, solver=solver)
    assert result.status == "exact"
    other = verify(problem, solver="highs" if solver == "cells" else "cells")
    assert result.lower <= other.upper + 1e-9
    assert other.lower <= result.upper + 1e-9


def test_certificates_journals_and_the_other_commands(files: tuple[Path, Path], tmp_path: Path) -> None:
    proof, journal, batch = tmp_path / "proof.cert", tmp_path / "journal", tmp_path / "rows.toml"
    ask = [*files, "--radius", 0.05, "--loss", "zero-one"]
    assert run("verify", *ask, "--certificate", proof, "--run", journal) == 0
    assert run("recheck", *files, proof, "--radius", 0.05, "--loss", "zero-one") == 0
    assert run("resume", journal) == 0
    assert run("distance", *files) == 0
    assert run("curve", *files, "--loss", "zero-one", "--max-radius", 0.2) == 0
    assert run("attack", *files, "--radius", 0.05) == 0
    assert run("lipschitz", files[0]) == 0
    out = tmp_path / "ladder.json"
    assert run("compare", *files, "--radius", 0.05, "--output", out) == 0
    Draft202012Validator(as_json.schema("compare")).validate(json.loads(out.read_text()))
    assert "a single path of affine maps and ReLUs is accepted" in out.read_text()  # LipSDP
    batch.write_text(f'[[job]]\nnetwork = "{files[0]}"\ndata = "{files[1]}"\nradius = 0.05\nloss = "hinge"\n')
    assert run("batch", batch) == 0
