"""Every network of a collection that real exporters wrote: read and equal to onnxruntime, or refused."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from wdaverify import Functionals, GroundCost, Loss, Norm, Support, WdroProblem, make_samples, verify
from wdaverify.errors import NetworkError
from wdaverify.network.model import ReluNetwork
from wdaverify.network.onnx_reader import load_network

onnxruntime.set_default_logger_severity(4)

NAMED = {"head_logits_and_features_ts.onnx": "7"}
"""Of files with outputs of different tensors, the one that is meant."""
SIGMOIDS = ("skl_mlp_binary.onnx", "skl_mlp_binary_probs.onnx")
"""Whose only smooth function is the last one, of one logit: 1 - p and p are probabilities of two classes."""
SPELLED = ("act_gelu_tanh_ts.onnx", "act_softsign_ts.onnx")
"""Spelled as products and quotients of two computed tensors that are functions of one; the list takes them for refused."""
SCORES = ("probabilities", "linear_1")
"""Outputs that are scores or their probabilities, where there are others too."""
TYPES = {"tensor(float)": "f4", "tensor(double)": "f8", "tensor(float16)": "f2", "tensor(uint8)": "u1"}


def named(exports: Path, *expected: str) -> list[str]:
    entries = json.loads((exports / "manifest.json").read_text())
    return [entry["file"] for entry in entries if entry["expected"] in expected]


def equal(path: Path, net: ReluNetwork) -> None:
    """The graph, its canonical form and plain single precision, at 100 points, up to rounding in the type of the file."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    source = session.get_inputs()[0]
    shape, kind = [d if isinstance(d, int) else 1 for d in source.shape], np.dtype(TYPES[source.type])
    points = np.random.default_rng(3).uniform(-1, 2, size=(100, net.n_inputs)) * (100 if kind == np.uint8 else 1)
    points = np.abs(points).astype(kind) if kind == np.uint8 else points.astype(kind)
    outputs = [out.name for out in session.get_outputs()]
    rows = [dict(zip(outputs, session.run(None, {source.name: p.reshape(shape)}), strict=True)) for p in points]
    wanted = next(name for name in (NAMED.get(path.name), *SCORES, *outputs) if name in outputs)
    want = np.array([row[wanted].ravel() for row in rows], np.float64)
    x = points.astype(np.float64)
    found = [net.forward(x), net.form.forward(x)] + [net.forward_float32(x).astype(np.float64)] * (kind != np.float64)
    halves = any("FLOAT16" in notice for notice in net.notices)
    eps = float(np.finfo(np.float16 if halves else kind if kind.kind == "f" else np.float32).eps)
    for got in found:
        if len(want[0]) == 2 * got.shape[1] == 2:
            got = np.hstack([np.zeros_like(got), got])
        if "label" in outputs:
            labels = [row["label"].ravel()[0] for row in rows]
            names = sorted({*labels}) if isinstance(labels[0], str) else range(len(got[0]))
            assert [names[k] for k in got.argmax(axis=1)] == labels
        if net.head == "sigmoid" and got.shape[1] == 1:
            got = 1 / (1 + np.exp(-got))
        elif net.head is not None:
            got = got - np.logaddexp.reduce(got, axis=1, keepdims=True)
            got = got if net.head == "log-softmax" else np.exp(got)
        atol = (8 if halves else 100) * eps * max(1.0, float(np.abs(want).max()))
        np.testing.assert_allclose(got, want, rtol=0, atol=atol, err_msg=path.name)


def test_networks_of_relus_equal_onnxruntime(exports: Path) -> None:
    entries = json.loads((exports / "manifest.json").read_text())
    assert {path.name for path in exports.glob("*.onnx")} == {entry["file"] for entry in entries}
    files = named(exports, "load")
    assert len(files) == 131
    for name in (*files, *SIGMOIDS):
        assert not load_network(exports / name, output_name=NAMED.get(name)).curved
        equal(exports / name, load_network(exports / name, output_name=NAMED.get(name)))


def test_networks_of_curved_functions_equal_onnxruntime(exports: Path) -> None:
    files = named(exports, "load with smooth functions")
    assert len(files) == 15
    for name in (*{*files} - {*SIGMOIDS}, *SPELLED):
        net = load_network(exports / name)
        assert net.curved
        assert f"{net.curved[0]} is not piecewise linear" in net.notices[-1]
        equal(exports / name, net)


def test_others_are_refused_in_one_line(exports: Path) -> None:
    others = named(exports, "refuse", "load with --external-data")
    for name in {*others, *NAMED} - {*SPELLED}:
        with pytest.raises(NetworkError) as caught:
            load_network(exports / name)
        text = str(caught.value)
        assert "accepted" in text or "not opened unasked" in text, text
        assert text.isprintable()
        assert len(text) < 1500


def test_quantised_activations_are_refused_with_the_way_to_a_float_model(exports: Path) -> None:
    for name in ("ort_qdq_static_mlp.onnx", "ort_dynamic_int8_mlp.onnx", "ort_qoperator_mlp.onnx"):
        with pytest.raises(NetworkError, match=r"move in steps.*floating point from before it was quantised"):
            load_network(exports / name)


def test_weights_in_another_file_are_named_with_the_way_out(exports: Path) -> None:
    for name in named(exports, "load with --external-data"):
        with pytest.raises(NetworkError, match=r"'.*\.onnx\.data'.*external_data=False"):
            load_network(exports / name)


def test_weights_in_a_file_beside_the_model_are_read_where_asked(exports: Path) -> None:
    for name in named(exports, "load with --external-data"):
        net = load_network(exports / name, external_data=True)
        equal(exports / name, net)
        model, data = (exports / name).read_bytes(), (exports / f"{name}.data").read_bytes()
        read = f"{name}.data".encode() + b"\0" + len(data).to_bytes(8, "little") + data
        assert net.sha256 == hashlib.sha256(model + read).hexdigest()


def _question(net: ReluNetwork, order: float) -> WdroProblem:
    """Two samples in [0, 1]^n under the network's own labels, moved by up to 0.1 in l-inf; of one score that itself counts."""
    x = np.random.default_rng(net.n_inputs).uniform(size=(2, net.n_inputs))
    cost, support = GroundCost(Norm.INF, order), Support.box(0, 1, net.n_inputs)
    if net.n_outputs > 1 or net.head is not None:
        scores = (net.two_classes() if net.n_outputs == 1 else net).forward(x)
        return WdroProblem(net, make_samples(x, scores.argmax(axis=1)), cost, support, Loss.MARGIN, 0.1)
    linear = Functionals(np.ones((1, 1)), np.zeros(1))
    return WdroProblem(net, make_samples(x, np.zeros(2, int)), cost, support, Loss.LINEAR, 0.1, linear)


@pytest.mark.parametrize("part", [0, *(pytest.param(k, marks=pytest.mark.full) for k in range(1, 16))])
def test_no_feasible_move_leaves_the_bracket(exports: Path, part: int) -> None:
    """80 moves of each network, half of them to corners of the balls, valued by its float64 forward pass."""
    rng = np.random.default_rng(part)
    for name in [*named(exports, "load"), *SIGMOIDS][part::16]:
        net = load_network(exports / name, output_name=NAMED.get(name))
        for order in (1, math.inf):
            problem = _question(net, order)
            result = verify(problem, time_limit=4, seed=1)
            assert result.lower <= result.upper, name
            assert result.reason != "numerical", (
                name
            )  # an upper end below the points found is raised to them, and says so
            x, y = problem.samples.x, problem.samples.y
            moves = rng.uniform(-0.1, 0.1, size=(80, *x.shape))
            moves[::2] = 0.1 * np.sign(moves[::2])
            if order == 1:  # one sample moves as far as both may on average
                moves[1::4] *= np.array([[2.0], [0.0]])
            z = problem.network.forward(np.clip(x + moves, 0, 1).reshape(160, -1)).reshape(80, 2, -1)
            if problem.loss is Loss.MARGIN:
                own = z[:, [0, 1], y]
                z[:, [0, 1], y] = -np.inf
                values = z.max(axis=2) - own
            else:
                values = z[..., 0]
            assert values.mean(axis=1).max() <= result.upper + 1e-7 * max(1.0, abs(result.upper)), name
