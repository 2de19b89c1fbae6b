"""Convolutions, pools, piecewise-linear functions, selections, reductions and constants against onnxruntime; what is refused of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from builders import build_model, write_model
from network.operators import OPERATIONS

from wdaverify.network.onnx_reader import load_network

onnxruntime.set_default_logger_severity(4)


def outside(path: Path, points: np.ndarray) -> np.ndarray:
    """Outputs of onnxruntime, one point at a time, with nothing fused or folded."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    (source,) = session.get_inputs()
    shape = [d if isinstance(d, int) else 1 for d in source.shape]
    return np.array([session.run(None, {source.name: p.reshape(shape).astype(np.float32)})[0].ravel() for p in points])


@pytest.mark.parametrize("name", OPERATIONS)
def test_agrees_with_onnxruntime(tmp_path: Path, name: str) -> None:
    nodes, constants, shape, opset = OPERATIONS[name]
    path = write_model(tmp_path / "net.onnx", build_model(nodes, constants, shape, opset=opset))
    net = load_network(path)
    points = np.random.default_rng(7).uniform(-2, 2, size=(20, net.n_inputs)).astype(np.float32).astype(np.float64)
    want = outside(path, points)
    size = max(1.0, float(np.abs(want).max()))
    for got in (net.forward(points), net.canonical.forward(points), net.forward_float32(points)):
        np.testing.assert_allclose(got, want, rtol=0, atol=2e-6 * size)
    assert all(node.function.is_relu for node in (net.canonical.nodes[k] for k in net.canonical.elementwise))
