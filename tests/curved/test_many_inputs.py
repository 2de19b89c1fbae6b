"""Questions about images, whose neurons are cut in batches: they close, and what is found holds of points."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from wdaverify.network.onnx_reader import load_network
from wdaverify.problem import GroundCost, Loss, Norm, Support, WdroProblem
from wdaverify.samples import load_samples
from wdaverify.wdro.distances import distances
from wdaverify.wdro.verify import verify

MODELS = Path(__file__).parents[2] / "models"


def problem(name: str, count: int, loss: Loss, radius: float, norm: Norm = Norm.INF) -> WdroProblem:
    net = load_network(MODELS / f"digits_16x16_{name}.onnx")
    samples = load_samples(MODELS / "digits_16x16.npz", limit=count)
    return WdroProblem(net, samples, GroundCost(norm, 1), Support(np.zeros(64), np.ones(64)), loss, radius)


@pytest.mark.parametrize("name", ["silu", pytest.param("gelu", marks=pytest.mark.full)])
def test_distances_close_and_no_corner_nearer_is_an_error(name: str) -> None:
    asked = problem(name, 2, Loss.ZERO_ONE, 0.05)
    found = distances(asked, gap=1e-3, time_limit=60, device="cpu")
    assert found.closed
    rng = np.random.default_rng(0)
    for x, y, bracket in zip(asked.samples.x, asked.samples.y, found.brackets, strict=True):
        assert 0 < bracket.lower < bracket.upper < math.inf
        signs = rng.choice([-1.0, 1.0], (5000, 64))
        at = np.clip(x + bracket.lower * signs, 0, 1)
        uphill = asked.network.gradient(at, np.tile(np.eye(10)[(y + 1) % 10] - np.eye(10)[y], (5000, 1)))
        for points in (at, np.clip(x + bracket.lower * np.sign(uphill), 0, 1)):
            assert (asked.network.forward(points).argmax(axis=1) == y).all()


@pytest.mark.parametrize(
    ("name", "norm"),
    [
        ("silu", Norm.INF),
        pytest.param("gelu", Norm.ONE, marks=pytest.mark.full),
        pytest.param("silu", Norm.TWO, marks=pytest.mark.full),
    ],
)
def test_worst_cases_of_few_images_close(name: str, norm: Norm) -> None:
    asked = problem(name, 3, Loss.MARGIN, 0.02 if norm is Norm.INF else 0.1, norm)
    found = verify(asked, gap=1e-3, time_limit=120, device="cpu")
    assert found.status.closed, (found.lower, found.upper, found.reason)
    z = asked.network.forward(asked.samples.x)
    nominal = np.mean([np.delete(row, y).max() - row[y] for row, y in zip(z, asked.samples.y, strict=True)])
    assert found.lower > nominal + 1e-3
