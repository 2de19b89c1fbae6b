"""Exact decisions where every feature has a divisor of its own: against fractions, and without their common multiple."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from layers import Relu
from rationals import affine, as_network, diagonal, true_margins

from wdaverify.certify import exact
from wdaverify.certify.enclosure import rival_margin
from wdaverify.certify.exact import exact_error, margin_between
from wdaverify.network.model import ReluNetwork
from wdaverify.witness import decide
from wdaverify.witness.decide import errors

INPUTS = 18


def divided(rng: np.random.Generator, *, inside: bool) -> ReluNetwork:
    """Features less their means by their deviations, as float32 has them; another division inside where asked."""

    def single(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32).astype(np.float64)

    deviation = (0.2 + rng.random(INPUTS)).astype(np.float32).astype(np.float64)
    layers = [
        diagonal([1.0] * INPUTS, [1.0] * INPUTS, single(INPUTS).tolist()),
        diagonal([1.0] * INPUTS, deviation.tolist(), [0.0] * INPUTS),
        affine(single(6, INPUTS), single(6)),
    ]
    if inside:
        layers.append(diagonal(single(6).tolist(), (-1.1 - rng.random(6)).tolist(), single(6).tolist()))
    return as_network([*layers, Relu(), affine(single(3, 6), single(3))], INPUTS, 3)


def edge(network: ReluNetwork, rng: np.random.Generator) -> tuple[list[np.ndarray], int]:
    """Points a few roundings on either side of a decision boundary, and the label there."""
    while True:
        a, b = rng.normal(size=(2, INPUTS))
        y = int(network.forward(a[None, :])[0].argmax())
        if network.forward(b[None, :])[0].argmax() != y:
            break
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = 0.5 * (low + high)
        crossed = network.forward((a + middle * (b - a))[None, :])[0].argmax() != y
        low, high = (low, middle) if crossed else (middle, high)
    start = a + high * (b - a)
    points = [start]
    for step in (1, 3, -1, -4):
        moved = start.copy()
        for _ in range(abs(step)):
            moved[step % INPUTS] = np.nextafter(moved[step % INPUTS], np.sign(step) * np.inf)
        points.append(moved)
    return points, y


@pytest.mark.parametrize("seed", range(6))
def test_a_sign_next_to_the_boundary_needs_no_common_multiple(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(seed)
    network = divided(rng, inside=seed % 2 == 1)
    points, y = edge(network, rng)
    truth = [max(m for j, m in enumerate(true_margins(network, x, y)) if j != y) for x in points]
    open_ = [b for b, x in enumerate(points) if rival_margin(network, x[None, :], np.array([y]))[0][0] < 0]
    assert open_

    def never(*_: object) -> None:
        raise AssertionError("a common multiple of all divisors")

    monkeypatch.setattr(exact, "_rescaled", never)
    assert [exact_error(network, x, y) for x in points] == [value >= 0 for value in truth]
    for x, value in zip(points, truth, strict=True):
        low, high = margin_between(network, x, y)
        assert low <= value <= high
        assert high - low < Fraction(1, 2**900)


@pytest.mark.parametrize("seed", range(3))
def test_a_tie_is_an_error_and_one_rounding_decides(seed: int) -> None:
    """Two logits that are the same sum of quotients over two halves of the input."""
    rng = np.random.default_rng(seed)
    half = INPUTS // 2
    deviation = np.tile((0.2 + rng.random(half)).astype(np.float32).astype(np.float64), 2)
    row = np.abs(rng.normal(size=half))
    first = np.zeros((2, INPUTS))
    first[0, :half] = first[1, half:] = row
    scale = diagonal([1.0] * INPUTS, deviation.tolist(), [0.0] * INPUTS)
    network = as_network([scale, affine(first, np.zeros(2)), Relu()], INPUTS, 2)
    x = np.tile(rng.random(half), 2)
    assert true_margins(network, x, 0) == [0, 0]
    assert exact_error(network, x, 0)
    assert exact_error(network, x, 1)
    less = x.copy()
    less[-1] = np.nextafter(less[-1], 0.0)
    assert true_margins(network, less, 0)[1] < 0
    assert not exact_error(network, less, 0)
    assert exact_error(network, less, 1)


def test_dead_neurons_leave_no_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Logits that agree behind neurons which are surely off tie exactly, and that is seen at the first precision."""
    rng = np.random.default_rng(0)
    deviation = (0.2 + rng.random(INPUTS)).astype(np.float32).astype(np.float64)
    scale = diagonal([1.0] * INPUTS, deviation.tolist(), [0.0] * INPUTS)
    dead = affine(-np.ones((4, INPUTS)), -np.ones(4))
    network = as_network([scale, dead, Relu(), affine(rng.normal(size=(2, 4)), np.ones(2))], INPUTS, 2)
    monkeypatch.setattr(exact, "_rescaled", None)
    assert exact_error(network, rng.random(INPUTS), 0)


def test_a_point_is_decided_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    network = divided(rng, inside=False)
    points, y = edge(network, rng)
    asked: list[np.ndarray] = []

    def counted(network: ReluNetwork, x: np.ndarray, y: int) -> bool:
        asked.append(x)
        return exact_error(network, x, y)

    monkeypatch.setattr(decide, "exact_error", counted)
    x, labels = np.stack(points), np.full(len(points), y)
    first = errors(network, x, labels)
    count = len(asked)
    assert 0 < count <= len(points)
    assert errors(network, x.copy(), labels).tolist() == first.tolist()
    assert len(asked) == count
    errors(network, x, (labels + 1) % 3)  # another label is another question
    assert all(rival_margin(network, p[None, :], np.array([y]))[0][0] < 0 for p in asked[:count])
