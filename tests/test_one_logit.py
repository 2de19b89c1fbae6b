"""One logit is two classes with the scores 0 and z, in every command; weights beside the file, and outputs by name."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from builders import build_model, write_mlp, write_model
from jsonschema import Draft202012Validator
from onnx import helper

from wdaverify import (
    GroundCost,
    Loss,
    Norm,
    ReluNetwork,
    Support,
    WdroProblem,
    cli,
    load_network,
    make_samples,
    verify,
)
from wdaverify.lipschitz.question import Measure
from wdaverify.report import as_json
from wdaverify.report.page.asked import again
from wdaverify.report.page.document import as_document

W = np.array([[4.0], [-2.0]])
X = np.array([[0.75, 0.25], [0.125, 0.5]])
Y = np.array([1, 0])
Z = np.array([2.0, -1.0])
"""The logits ``4 x_0 - 2 x_1 - 0.5`` at both."""


@pytest.fixture(params=["bare", "sigmoid"])
def files(tmp_path: Path, request: pytest.FixtureRequest) -> tuple[str, str]:
    nodes = [helper.make_node("MatMul", ["x", "W"], ["m"]), helper.make_node("Add", ["m", "b"], ["z"])]
    nodes += [helper.make_node("Sigmoid", ["z"], ["y"], "last")] if request.param == "sigmoid" else []
    constants = {"W": W, "b": np.array([-0.5])}
    nodes[-1].output[0] = "y"
    path = write_model(tmp_path / "net.onnx", build_model(nodes, constants, ["N", 2], dtype=np.float64))
    np.savez(tmp_path / "data.npz", x=X, y=Y)
    return str(path), str(tmp_path / "data.npz")


def run(*arguments: object) -> int:
    return cli._run([str(argument) for argument in arguments])


def question(network: ReluNetwork, loss: Any, radius: float, order: float = math.inf) -> WdroProblem:
    return WdroProblem(network, make_samples(X, Y), GroundCost(Norm.INF, order), Support.box(0, 1, 2), loss, radius)


def test_losses_are_those_of_scores_0_and_z(files: tuple[str, str]) -> None:
    """By hand: moves of 0.05 in l-inf change z by 0.3; the signed logits are 2 and 1, the worst 1.7 and 0.7."""
    network = load_network(files[0])
    assert (network.n_outputs, network.output_shape) == (1, (1,))
    worst = np.array([2.0, 1.0]) - 0.05 * 6
    values = {
        Loss.MARGIN: -worst,
        Loss.ZERO_ONE: np.zeros(2),
        Loss.HINGE: np.maximum(0, 1 - worst),
        Loss.CW: np.zeros(2),
        Loss.CROSS_ENTROPY: np.log1p(np.exp(-worst)),
    }
    for loss, want in values.items():
        problem = question(network, loss, 0.05)
        assert problem.network.n_outputs == 2
        np.testing.assert_array_equal(problem.network.forward(X), [[0, 2], [0, -1]])
        assert "two classes with the scores 0 and z" in problem.network.notices[-1]
        result = verify(problem)
        assert result.lower - 1e-9 <= want.mean() <= result.upper + 1e-9
        assert result.upper - result.lower < 2e-6


def test_a_tie_is_an_error(files: tuple[str, str]) -> None:
    """The second sample ties at distance 1/6, the first one at 1/3."""
    network = load_network(files[0])
    for radius, errors in ((0.1666, 0), (0.1667, 1), (0.334, 2)):
        assert verify(question(network, "01", radius)).value == errors / 2


def test_every_command(files: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, proof, page = tmp_path / "out.json", tmp_path / "net.cert", tmp_path / "page.html"
    said = "two classes with the scores 0 and z"
    ask = ["--radius", 0.05, "--loss", "zero-one", "--certificate", proof, "--run", tmp_path / "run", "--jobs", 1]
    assert run("verify", *files, *ask, "--report", page) == 0
    assert said in capsys.readouterr().err.replace("\n", " ")
    assert said in page.read_text()
    assert run("recheck", *files, proof) == 0
    assert run("resume", tmp_path / "run") == 0
    assert run("distance", *files, "--output", out) == 0
    ends = [(entry["lower"], entry["upper"]) for entry in json.loads(out.read_text())["distances"]]
    for (lower, upper), exact in zip(ends, (1 / 3, 1 / 6), strict=True):
        assert lower <= exact + 1e-9
        assert exact <= upper + 1e-9
        assert upper - lower < 2e-6
    for command, extra in (
        ("attack", ["--radius", 0.05]),
        ("compare", ["--radius", 0.05]),
        ("curve", ["--max-radius", 0.1]),
    ):
        assert run(command, *files, *extra, "--loss", "cross-entropy", "--output", out) == 0
        assert any(said in notice for notice in json.loads(out.read_text())["notices"])
    capsys.readouterr()


def test_lipschitz_is_that_of_the_logit(files: tuple[str, str], tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    for measure in ([], ["--outputs", "0"], ["--margins", "all"], ["--margins", "0"]):
        logits = ["--logits"] if load_network(files[0]).head else []
        assert run("lipschitz", files[0], *measure, *logits, "--output", out) == 0
        assert json.loads(out.read_text())["upper"] == pytest.approx(6.0)
    network = load_network(files[0], logits=bool(logits))
    assert Measure.margins(network.two_classes(), [0]).rows.tolist() == [[-1.0, 1.0]]


def test_the_linear_loss_is_about_the_one_output(files: tuple[str, str], tmp_path: Path) -> None:
    functionals, out = tmp_path / "f.toml", tmp_path / "out.json"
    functionals.write_text("matrix = [[1.0]]\noffset = [0.0]\n")
    ask = ["verify", *files, "--radius", 0.05, "--order", "inf", "--loss", "linear", "--functionals", functionals]
    logits = ["--logits"] if load_network(files[0]).head else []
    assert run(*ask, *logits, "--output", out) == 0
    assert json.loads(out.read_text())["upper"] == pytest.approx((Z + 0.3).mean())
    assert run(*ask, *([] if logits else ["--logits"])) == 2


def test_dlr_needs_three_classes(files: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run("verify", *files, "--radius", 0.05, "--loss", "dlr") == 2
    assert "at least 3 classes" in capsys.readouterr().err


# --- weights beside the file, and outputs by name


@pytest.fixture
def apart(tmp_path: Path) -> tuple[str, str]:
    """A network whose weights lie beside it."""
    rng = np.random.default_rng(1)
    whole = write_mlp(
        tmp_path / "whole.onnx", [(rng.normal(size=(6, 2)), rng.normal(size=6)), (rng.normal(size=(3, 6)), np.zeros(3))]
    )
    model = onnx.load(str(whole))
    model.graph.output.append(helper.make_tensor_value_info("h0", onnx.TensorProto.FLOAT, None))
    path = tmp_path / "net.onnx"
    onnx.save(model, str(path), save_as_external_data=True, location="net.data", size_threshold=0)
    labels = load_network(path, external_data=True, output_name="y").forward(X).argmax(axis=1)
    np.savez(tmp_path / "data.npz", x=X, y=labels)
    return str(path), str(tmp_path / "data.npz")


READ = ["--output-name", "y", "--external-data"]


def test_every_command_takes_a_network_apart(
    apart: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, proof, batch = tmp_path / "out.json", tmp_path / "net.cert", tmp_path / "rows.toml"
    asked = {
        "verify": ["--radius", 0.05, "--certificate", proof, "--run", tmp_path / "run", "--jobs", 1],
        "attack": ["--radius", 0.05],
        "compare": ["--radius", 0.05, "--rungs", "norms,exact"],
        "curve": ["--max-radius", 0.1],
        "distance": [],
    }
    for command, extra in asked.items():
        for left_out, words in ((["--output-name", "y"], "--external-data"), (["--external-data"], "--output-name")):
            capsys.readouterr()
            assert run(command, *apart, *extra, *left_out) == 2
            assert words in capsys.readouterr().err
        assert run(command, *apart, *extra, *READ, "--output", out) == 0
        document = json.loads(out.read_text())
        assert (document["files"]["output_name"], document["files"]["external_data"]) == ("y", True)
        line = again(as_document(document)).lines[0]
        assert "--output-name=y --external-data" in line
    assert run("recheck", *apart, proof, *READ) == 0
    assert run("recheck", *apart, proof, "--external-data", "--output-name", "h0") != 0
    assert run("resume", tmp_path / "run") == 0
    assert run("info", apart[0], *READ) == 0
    assert "[3], without" in capsys.readouterr().out
    assert run("lipschitz", apart[0], *READ, "--output", out) == 0
    assert "--output-name=y --external-data" in again(as_document(json.loads(out.read_text()))).lines[0]
    row = f'network = "{apart[0]}"\ndata = "{apart[1]}"\nradius = 0.05\nexternal-data = true\noutput-name = "y"\n'
    batch.write_text(f"[[job]]\n{row}")
    assert run("batch", batch) == 0


def test_a_verdict_says_which_tensor_it_is_about(
    apart: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    proof, out = tmp_path / "net.cert", tmp_path / "verdict.json"
    assert run("verify", *apart, *READ, "--radius", 0.05, "--jobs", 1, "--certificate", proof) == 0
    capsys.readouterr()
    assert run("recheck", *apart, proof, *READ, "--output", out) == 0
    document = json.loads(out.read_text())
    Draft202012Validator(as_json.schema("verdict")).validate(document)
    assert any("'y' is verified, as asked" in notice for notice in document["network_notices"])
    assert "'y' is verified, as asked" in " ".join(capsys.readouterr().out.split())
