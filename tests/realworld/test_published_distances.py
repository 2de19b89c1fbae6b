"""Distances to the nearest error that were computed elsewhere, through the zero-one machinery."""

from __future__ import annotations

import gzip
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_iris

from wdaverify import WdroProblem, distances, load_network, make_samples, verify
from wdaverify.network.model import Array
from wdaverify.problem import GroundCost, Loss, Norm, Support

TOLERANCE = 1e-5


def answers(folder: Path, name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((folder / "answers" / name).read_text())["rows"]
    return rows


def mnist(folder: Path, count: int) -> tuple[Array, np.ndarray]:
    """The first test images as rows of pixels in 0..1, and their labels."""
    images = gzip.decompress((folder / "data" / "t10k-images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress((folder / "data" / "t10k-labels-idx1-ubyte.gz").read_bytes())
    pixels = np.frombuffer(images, np.uint8, count * 784, 16).reshape(count, 784)
    return pixels / 255.0, np.frombuffer(labels, np.uint8, count, 8).astype(np.int64)


@pytest.mark.parametrize("solver", ["highs", "gurobi"])
@pytest.mark.parametrize(("norm", "column"), [(Norm.INF, "linf"), (Norm.ONE, "l1")])
def test_iris(norm: Norm, column: str, solver: str, realworld: Path) -> None:
    """All samples at once: a radius slightly below what moving every one of them costs makes every distance matter."""
    rows = answers(realworld, "iris_distances.json")
    index = [row["index"] for row in rows]
    published = np.array([row[column]["untargeted"] for row in rows])
    data = load_iris()
    net = load_network(realworld / "networks" / "lipbab_iris_4-5-5-3_f64.onnx")
    samples = make_samples(data.data[index], np.array([row["label"] for row in rows]))
    assert net.forward(samples.x) == pytest.approx(np.array([row["logits"] for row in rows]), abs=1e-6)
    radius = 0.99 * float(published.mean())
    box = Support.box(-50.0, 50.0, 4)
    problem = WdroProblem(net, samples, GroundCost(norm, 1), box, Loss.ZERO_ONE, radius)
    result = verify(problem, solver=solver, gap=1e-8)
    assert result.lower - 1e-9 <= _knapsack(published, radius) <= result.upper + 1e-9
    assert result.status == "exact"
    for bracket, distance in zip(result.per_sample, published, strict=True):
        assert bracket.lower <= distance + TOLERANCE
        assert distance - TOLERANCE <= bracket.upper
        assert bracket.upper - bracket.lower <= TOLERANCE


def _knapsack(distances: Array, radius: float) -> float:
    left, value = radius * distances.size, 0.0
    for distance in np.sort(distances):
        part = min(1.0, left / distance)
        value, left = value + part, left - part * distance
    return value / distances.size


MNIST_CASES = [
    pytest.param(0, Norm.INF, "gurobi"),
    pytest.param(0, Norm.ONE, "gurobi", marks=pytest.mark.full),
    pytest.param(1, Norm.INF, "gurobi", marks=pytest.mark.full),
    pytest.param(2, Norm.INF, "gurobi", marks=pytest.mark.full),
    pytest.param(0, Norm.INF, "highs", marks=pytest.mark.full),
    pytest.param(0, Norm.ONE, "highs", marks=pytest.mark.full),
]


@pytest.mark.parametrize(("image", "norm", "solver"), MNIST_CASES)
def test_mnist2x10(image: int, norm: Norm, solver: str, realworld: Path) -> None:
    """One image at a time: half of its distance as the radius makes the value one half."""
    row = next(r for r in answers(realworld, "mnist2x10_distances.json") if r["mnist_test_index0"] == image)
    published = row["linf_min" if norm is Norm.INF else "l1_min"]
    x, y = mnist(realworld, image + 1)
    assert int(y[image]) == row["label"]
    net = load_network(realworld / "networks" / "marabou_mnist2x10.onnx")
    samples = make_samples(x[image : image + 1], y[image : image + 1])
    box = Support.box(0.0, 1.0, 784)
    problem = WdroProblem(net, samples, GroundCost(norm, 1), box, Loss.ZERO_ONE, published / 2)
    result = verify(problem, solver=solver, gap=1e-7)
    assert result.status == "exact"
    [bracket] = result.per_sample
    assert bracket.lower - TOLERANCE <= published <= bracket.upper + TOLERANCE
    assert bracket.upper - bracket.lower <= TOLERANCE
    assert result.value == pytest.approx(0.5, abs=TOLERANCE / published)


@pytest.mark.parametrize("image", [0, pytest.param(1, marks=pytest.mark.full), pytest.param(2, marks=pytest.mark.full)])
def test_mnist2x10_at_twice_the_distance_is_always_wrong(image: int, realworld: Path) -> None:
    row = next(r for r in answers(realworld, "mnist2x10_distances.json") if r["mnist_test_index0"] == image)
    x, y = mnist(realworld, image + 1)
    net = load_network(realworld / "networks" / "marabou_mnist2x10.onnx")
    samples = make_samples(x[image : image + 1], y[image : image + 1])
    box = Support.box(0.0, 1.0, 784)
    problem = WdroProblem(net, samples, GroundCost(Norm.INF, 1), box, Loss.ZERO_ONE, 2 * row["linf_min"])
    result = verify(problem, solver="gurobi")
    assert result.value == pytest.approx(1.0, abs=1e-6)
    assert result.per_sample[0].upper >= row["linf_min"] - TOLERANCE
    assert math.isfinite(result.per_sample[0].upper)


def wk17a(folder: Path, images: list[int], radius: float, order: float = math.inf) -> WdroProblem:
    """The convolutional network of Wong and Kolter (2017) as MIPVerify publishes it, on some of the first MNIST test images."""
    x, y = mnist(folder, max(images) + 1)
    net = load_network(folder / "networks" / "wk17a_conv.onnx")
    samples = make_samples(x[images], y[images])
    return WdroProblem(net, samples, GroundCost(Norm.INF, order), Support.box(0.0, 1.0, 784), Loss.ZERO_ONE, radius)


@pytest.mark.parametrize(("image", "published"), [(8, 0.094001), pytest.param(92, 0.036517, marks=pytest.mark.full)])
def test_wk17a(image: int, published: float, realworld: Path) -> None:
    """4,804 ReLUs, of which a ball leaves so few that the free licence of a MIP solver does."""
    [bracket] = distances(wk17a(realworld, [image], 0.1, 1), solver="gurobi", time_limit=60).brackets
    assert bracket.lower - 1e-6 <= published <= bracket.upper + 1e-6
    assert bracket.upper - bracket.lower <= 1e-6


def test_wk17a_images_without_an_error(realworld: Path) -> None:
    """Images 0 to 6 have none within 0.1, image 8 has one."""
    result = verify(wk17a(realworld, [*range(7), 8], 0.1))
    assert result.status == "exact"
    assert (result.lower, result.upper) == (0.125, 0.125)
    assert result.per_sample[7].upper <= 0.1


@pytest.mark.full
def test_wk17a_on_five_hundred_images(realworld: Path) -> None:
    """24 of them have an error within 0.1: every one is decided."""
    result = verify(wk17a(realworld, [*range(500)], 0.1))
    assert result.status == "exact"
    assert (result.lower, result.upper) == (24 / 500, 24 / 500)
