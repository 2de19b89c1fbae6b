"""A final Softmax or LogSoftmax is left out of the layers: what that changes is refused or said, command by command."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from builders import build_model, write_model
from numpy.typing import NDArray
from onnx import helper

from wdaverify import GroundCost, Loss, Norm, Support, WdroProblem, cli, load_network, verify
from wdaverify.errors import NetworkError, ProblemError
from wdaverify.lipschitz.question import LipschitzProblem, Measure
from wdaverify.network.model import Array, ReluNetwork
from wdaverify.problem import Functionals
from wdaverify.report.page.asked import again
from wdaverify.report.page.document import as_document
from wdaverify.samples import make_samples

W = np.array([[4.0, -4.0], [-4.0, 4.0]])
POINT = np.array([[0.6, 0.4]])
"""Logits 0.8 and -0.8."""


def model(path: Path, op: str | None, weight: Array = W, **attributes: Any) -> Path:
    """One matrix, and an operator behind it, in float64."""
    nodes = [helper.make_node("MatMul", ["x", "W"], ["z"], "product")]
    if op is not None:
        nodes.append(helper.make_node(op, ["z"], ["p"], "last", **attributes))
    nodes[-1].output[0] = "y"
    return write_model(path, build_model(nodes, {"W": weight.T.copy()}, ["N", weight.shape[1]], dtype=np.float64))


@pytest.fixture(params=["Softmax", "LogSoftmax"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    np.savez(tmp_path / "data.npz", x=POINT, y=np.array([0]))
    (tmp_path / "functionals.toml").write_text("matrix = [[0, 1]]\n")
    return {
        "net": str(model(tmp_path / "net.onnx", request.param)),
        "plain": str(model(tmp_path / "plain.onnx", None)),
        "data": str(tmp_path / "data.npz"),
        "functionals": str(tmp_path / "functionals.toml"),
        "out": str(tmp_path / "out.json"),
        "head": {"Softmax": "softmax", "LogSoftmax": "log-softmax"}[request.param],
    }


def run(*arguments: str) -> int:
    return cli._run(list(arguments))


def test_the_network_says_what_it_ends_in(files: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    network = load_network(files["net"])
    assert network.head == files["head"]
    meant = load_network(files["net"], logits=True)
    assert meant.head is None
    assert "as asked" in meant.notices[0]
    assert load_network(files["plain"]).head is None
    with pytest.raises(NetworkError, match="does not end in a Softmax, LogSoftmax, Sigmoid or ArgMax"):
        load_network(files["plain"], logits=True)
    assert run("info", files["net"]) == 0
    assert f"{files['head']}, which the layers leave out" in capsys.readouterr().out
    assert run("info", files["net"], "--json") == 0
    assert json.loads(capsys.readouterr().out)["head"] == files["head"]


LINEAR = {
    "verify": ["--radius", "0.05"],
    "attack": ["--radius", "0.05"],
    "compare": ["--radius", "0.05", "--rungs", "norms,jacobian,exact"],
    "curve": ["--max-radius", "0.05"],
}


@pytest.mark.parametrize("command", LINEAR)
def test_the_linear_loss_is_about_outputs(
    command: str, files: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the logits the worst is -0.8 + 8 x 0.05 = -0.4; the second probability is never negative."""
    ask = [command, files["net"], files["data"], *LINEAR[command], "--loss", "linear"]
    ask += ["--functionals", files["functionals"], "--output", files["out"]]
    assert run(*ask) == 2
    said = capsys.readouterr()
    assert "--logits" in said.err
    assert said.err.count("\n") == 1
    assert not Path(files["out"]).exists()
    assert run(*ask, "--logits") == 0
    document = json.loads(Path(files["out"]).read_text())
    assert document["files"]["logits"] is True
    last = {"compare": lambda d: d["ladders"][0], "curve": lambda d: d["points"][-1]}.get(command, lambda d: d)
    assert last(document)["lower"] == pytest.approx(-0.4, abs=2e-6)
    if command != "attack":
        assert last(document)["upper"] == pytest.approx(-0.4, abs=2e-6)
    assert "--logits" in str(again(as_document(document)))


def test_rows_of_a_batch_and_resumed_runs_too(
    files: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = f'network = "{files["net"]}"\ndata = "{files["data"]}"\nradius = 0.05\nloss = "linear"\njobs = 1\n'
    row += f'functionals = "{files["functionals"]}"\n'
    jobs = tmp_path / "jobs.toml"
    jobs.write_text(f"[[job]]\n{row}[[job]]\n{row}logits = true\n")
    assert run("batch", str(jobs), "--output", files["out"]) == 2
    rows = json.loads(Path(files["out"]).read_text())["rows"]
    assert "--logits" in rows[0]["refused"]
    assert rows[1]["result"]["upper"] == pytest.approx(-0.4, abs=2e-6)
    folder = str(tmp_path / "run")
    ask = ["verify", files["net"], files["data"], "--radius", "0.05", "--loss", "linear", "--logits", "--jobs", "1"]
    assert run(*ask, "--functionals", files["functionals"], "--run", folder) == 0
    capsys.readouterr()
    assert run("resume", folder) == 0
    assert "-0.4" in capsys.readouterr().out


@pytest.mark.parametrize("measure", [[], ["--margins", "all"], ["--outputs", "0"], ["--outputs", "0-1"]])
def test_lipschitz_is_about_outputs(
    measure: list[str], files: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """``|4| + |-4|`` for one logit in l-inf, and twice that for their difference; a Softmax more than halves it."""
    assert run("lipschitz", files["net"], *measure) == 2
    said = capsys.readouterr()
    assert "--logits" in said.err
    assert said.err.count("\n") == 1
    assert run("lipschitz", files["net"], *measure, "--logits", "--output", files["out"]) == 0
    document = json.loads(Path(files["out"]).read_text())
    assert document["upper"] == pytest.approx(16.0 if "-" in "".join(measure[1:]) or "all" in measure else 8.0)
    assert "--logits" in str(again(as_document(document)))
    assert run("lipschitz", files["plain"], *measure, "--logits") == 2
    assert "leave --logits" in capsys.readouterr().err


def question(network: ReluNetwork, loss: Loss, points: Array, labels: NDArray[np.int64]) -> WdroProblem:
    samples = make_samples(points, labels)
    return WdroProblem(network, samples, GroundCost(Norm.INF, order=1), Support.box(0, 1, points.shape[1]), loss, 0.0)


def test_in_python_the_same_is_refused(files: dict[str, str]) -> None:
    network = load_network(files["net"])
    with pytest.raises(ProblemError, match=r"logits=True"):
        LipschitzProblem(network, GroundCost(Norm.INF, 1), Support.box(0, 1, 2), Measure.operator_norm(network))
    asked = question(network, Loss.MARGIN, POINT, np.array([0]))
    functionals = Functionals(np.array([[0.0, 1.0]]), np.zeros(1))
    with pytest.raises(ProblemError, match=r"logits=True"):
        replace(asked, loss=Loss.LINEAR, functionals=functionals)
    meant = replace(
        asked, network=load_network(files["net"], logits=True), loss=Loss.LINEAR, functionals=functionals, radius=0.0
    )
    assert verify(meant).value == pytest.approx(-0.8)


def test_every_other_loss_is_what_the_notice_says(tmp_path: Path) -> None:
    """Against onnxruntime's outputs: -log of the label's probability; LogSoftmax changes no loss, Softmax not the zero-one loss."""
    rng = np.random.default_rng(7)
    weight, points, labels = rng.normal(size=(4, 3)) * 3, rng.uniform(size=(6, 3)), rng.integers(0, 4, 6)
    for op in ("Softmax", "LogSoftmax"):
        path = model(tmp_path / f"{op}.onnx", op, weight)
        outputs = np.asarray(onnxruntime.InferenceSession(str(path)).run(None, {"x": points})[0])
        network = load_network(path)
        [notice] = network.notices
        own, rows = outputs[np.arange(6), labels], np.arange(6)
        rivals = outputs.copy()
        rivals[rows, labels] = -np.inf
        margin, ranked = rivals.max(axis=1) - own, np.sort(outputs, axis=1)[:, ::-1]
        of_outputs = {
            Loss.MARGIN: margin,
            Loss.ZERO_ONE: (margin >= 0).astype(np.float64),
            Loss.HINGE: np.maximum(0, 1 + margin),
            Loss.CW: np.maximum(0, margin),
            Loss.DLR: margin / (ranked[:, 0] - ranked[:, 2]),
            Loss.CROSS_ENTROPY: -own if op == "LogSoftmax" else -np.log(own),
        }
        same = set(of_outputs) if op == "LogSoftmax" else {Loss.ZERO_ONE, Loss.CROSS_ENTROPY}
        for loss, values in of_outputs.items():
            value = verify(question(network, loss, points, labels)).value
            assert (abs(value - values.mean()) < 1e-9) == (loss in same), loss
            assert loss.value in notice, loss
        assert "-log of the label's probability" in notice


def test_constants_beside_a_loss_of_the_logits_are_theirs(files: dict[str, str]) -> None:
    """The rungs of compare and a certificate's check go on; both say that the Softmax is dropped."""
    said = []
    for net in (files["net"], files["plain"]):
        ask = [net, files["data"], "--radius", "0.01", "--jobs", "1", "--output", files["out"]]
        assert run("compare", *ask, "--rungs", "norms,lipsdp,jacobian,lipschitz,exact") == 0
        document = json.loads(Path(files["out"]).read_text())
        said.append([(rung["name"], rung["value"], rung["lower"]) for rung in document["ladders"][0]["rungs"]])
    assert said[0] == said[1]


def test_recheck_says_whose_margins_it_proves(files: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    proof = files["out"] + ".cert"
    ask = [files["net"], files["data"]]
    assert run("verify", *ask, "--radius", "0.05", "--jobs", "1", "--certificate", proof) == 0
    capsys.readouterr()
    assert run("recheck", *ask, proof) == 0
    assert "z are the logits in front of it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        ([("Sigmoid", {})], "of 2 scores, each by itself"),
        ([("ArgMax", {})], "class axis"),
        ([("Cos", {})], "Cos"),
        ([("Softmax", {}), ("Abs", {})], "last operator"),
        ([("Softmax", {}), ("LogSoftmax", {})], "reads probabilities"),
        ([("Softmax", {"axis": 0})], "class axis"),
        ([("Softmax", {"axis": 2})], "class axis"),
    ],
)
def test_other_heads_are_refused_by_name(tmp_path: Path, nodes: list[tuple[str, dict[str, int]]], words: str) -> None:
    graph = [helper.make_node("MatMul", ["x", "W"], ["h0"], "product")]
    for k, (op, attributes) in enumerate(nodes):
        graph.append(helper.make_node(op, [f"h{k}"], [f"h{k + 1}"], f"n{k}", **attributes))
    graph[-1].output[0] = "y"
    path = write_model(tmp_path / "net.onnx", build_model(graph, {"W": W}, ["N", 2], dtype=np.float64))
    for logits in (False, True):
        with pytest.raises(NetworkError, match=words):
            load_network(path, logits=logits)


@pytest.mark.parametrize(("opset", "axis"), [(11, None), (12, 1), (9, None)])
def test_below_opset_13_the_axis_begins_the_classes(tmp_path: Path, opset: int, axis: int | None) -> None:
    """Over all that follows the axis, 1 where none is given; from 13 on it is one axis, the last."""
    attributes = {} if axis is None else {"axis": axis}
    nodes = [
        helper.make_node("Reshape", ["x", "shape"], ["r"], "r"),
        helper.make_node("Softmax", ["r"], ["y"], "s", **attributes),
    ]
    shape = np.array([1, 2, 2])
    path = write_model(tmp_path / "n.onnx", build_model(nodes, {"shape": shape}, [1, 4], opset=opset))
    point = np.array([[0.1, 0.9, 0.3, 0.7]])
    out = np.asarray(onnxruntime.InferenceSession(str(path)).run(None, {"x": point.astype(np.float32)})[0]).reshape(-1)
    assert math.isclose(float(out.sum()), 1.0, abs_tol=1e-6)
    z = load_network(path).forward(point)[0]
    np.testing.assert_allclose(z - z[0], np.log(out) - np.log(out[0]), atol=1e-5)
    newer = write_model(tmp_path / "m.onnx", build_model(nodes, {"shape": shape}, [1, 4], opset=13))
    with pytest.raises(NetworkError, match="class axis"):
        load_network(newer)
