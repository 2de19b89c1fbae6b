"""Networks too large to be closed at once: brackets that hold, narrow with time, and agree with published ones."""

from __future__ import annotations

import gzip
import json
import math
from pathlib import Path

import numpy as np
import pytest

from wdaverify import WdroProblem, load_network, make_samples, verify
from wdaverify.certify.backward import Backward, Shells
from wdaverify.network.model import Array, ReluNetwork
from wdaverify.problem import GroundCost, Loss, Norm, Support
from wdaverify.wdro.result import VerificationResult


def mnist(folder: Path, count: int) -> tuple[Array, np.ndarray]:
    images = gzip.decompress((folder / "data" / "t10k-images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress((folder / "data" / "t10k-labels-idx1-ubyte.gz").read_bytes())
    pixels = np.frombuffer(images, np.uint8, count * 784, 16).reshape(count, 784)
    return pixels / 255.0, np.frombuffer(labels, np.uint8, count, 8).astype(np.int64)


def bracket(folder: Path, seconds: float) -> VerificationResult:
    net = load_network(folder / "networks" / "nv_mnist_784-30-20-10.onnx")
    x, y = mnist(folder, 5)
    box = Support.box(0.0, 1.0, 784)
    problem = WdroProblem(net, make_samples(x, y), GroundCost(Norm.INF, 1), box, Loss.MARGIN, 0.02)
    return verify(problem, time_limit=seconds, jobs=2)


def holds(result: VerificationResult) -> None:
    assert math.isfinite(result.lower)
    assert math.isfinite(result.upper)
    assert result.nominal <= result.lower <= result.upper
    assert result.transport_cost <= 0.02
    assert all(b.lower <= b.upper for b in result.per_sample)
    assert (result.reason, result.status) in (("time-limit", "bracket"), ("gap-closed", "exact"))


def test_nv_mnist_within_five_seconds(realworld: Path) -> None:
    holds(bracket(realworld, 5.0))


@pytest.mark.full
def test_nv_mnist_narrows_with_time(realworld: Path) -> None:
    short, long = bracket(realworld, 10.0), bracket(realworld, 120.0)
    holds(short)
    holds(long)
    assert short.lower <= long.upper
    assert long.lower <= short.upper
    assert long.gap < short.gap


# mnist-net_256x2 on the box of 0.02 around an image: the worst margin was bracketed by others


def climb(net: ReluNetwork, x: Array, y: int, lower: Array, upper: Array) -> float:
    """A margin that is attained in the box, by signed gradient steps towards each rival."""
    best = -math.inf
    for rival in range(net.n_outputs):
        if rival == y:
            continue
        functional = np.zeros((1, net.n_outputs))
        functional[0, rival], functional[0, y] = 1.0, -1.0
        point = x[None]
        for step in np.geomspace(0.02, 1e-4, 40):
            best = max(best, float((net.forward(point) @ functional[0])[0]))
            point = np.clip(point + step * np.sign(net.gradient(point, functional)), lower, upper)
    return best


def test_published_margins_of_256x2(realworld: Path) -> None:
    rows = json.loads((realworld / "answers" / "mnist_256x2_margin_brackets_eps002.json").read_text())["rows"]
    rows = [row for row in rows if row["net"] == "mnist-net_256x2"][:8]
    assert rows
    net = load_network(realworld / "networks" / "mnist-net_256x2.onnx")
    backward, none = Backward(net.canonical), np.zeros((1, net.canonical.neurons), np.int8)
    x, y = mnist(realworld, 1 + max(row["mnist_test_index0"] for row in rows))
    for row in rows:
        image, label, eps = x[row["mnist_test_index0"]], int(row["label"]), float(row["eps"])
        assert int(y[row["mnist_test_index0"]]) == label
        shells = Shells.around(
            GroundCost(Norm.INF, 1), image[None], np.zeros(784), np.ones(784), np.zeros(1), np.array([eps])
        )
        functionals = np.delete(np.eye(10), label, axis=0) - np.eye(10)[label]
        bounds = backward.pre_activations(shells)
        proven = float(backward.leaves(functionals[None], np.zeros(1), shells, bounds, none, None).max())
        attained = climb(net, image, label, np.clip(image - eps, 0, 1), np.clip(image + eps, 0, 1))
        least, most = float(row["worst_margin_lb"]), float(row["worst_margin_ub"])
        assert attained <= proven
        assert math.isnan(least) or proven >= least - 1e-6
        assert attained <= most + 1e-4
