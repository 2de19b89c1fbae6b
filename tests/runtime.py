"""onnxruntime as an oracle of what a network file means."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime

from wdaverify import ReluNetwork

onnxruntime.set_default_logger_severity(4)


def equal_to_onnxruntime(path: Path, net: ReluNetwork) -> None:
    """The logits (or what the dropped head makes of them) at 12 points, in the precision of the file."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    source = session.get_inputs()[0]
    shape = [d if isinstance(d, int) else 1 for d in source.shape]
    dtype = np.float32 if source.type == "tensor(float)" else np.float64
    points = np.random.default_rng(17).uniform(size=(12, net.n_inputs)).astype(dtype)
    want = np.array([session.run(None, {source.name: p.reshape(shape)})[0].ravel() for p in points], np.float64)
    got = net.forward(points.astype(np.float64))
    if any("Softmax" in notice for notice in net.notices):
        got = got - np.logaddexp.reduce(got, axis=1, keepdims=True)
        got = got if any("LogSoftmax" in notice for notice in net.notices) else np.exp(got)
    size = max(1.0, float(np.abs(want).max()))
    np.testing.assert_allclose(got, want, rtol=0, atol=200 * np.finfo(dtype).eps * size, err_msg=path.name)
