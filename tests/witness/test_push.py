"""Pushing boundary points across, judged in fractions."""

from __future__ import annotations

import numpy as np
import pytest
from layers import Relu
from rationals import affine, as_network, diagonal, linear, true_distance, true_margins

from wdaverify.network.model import ReluNetwork
from wdaverify.problem import GroundCost, Norm, Support
from wdaverify.witness.push import push_across


def is_error(network: ReluNetwork, x: np.ndarray, y: int) -> bool:
    return max(m for j, m in enumerate(true_margins(network, x, y)) if j != y) >= 0


def cube(network: ReluNetwork) -> Support:
    return Support.box(0.0, 1.0, network.n_inputs)


@pytest.mark.parametrize("norm", [Norm.INF, Norm.ONE])
@pytest.mark.parametrize("short", [0.0, 1e-16, 1e-12, 1e-9, 1e-7])
@pytest.mark.parametrize("seed", range(12))
def test_linear_boundaries(seed: int, short: float, norm: Norm) -> None:
    """The boundary of ``a.x + b`` is ``x0 + t sign(a)``; start ``short`` before it."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 30))
    a, clean = rng.normal(size=n), rng.uniform(0.3, 0.7, n)
    direction = np.sign(a)
    reach = rng.uniform(0.05, 0.2)
    network = linear([[0.0] * n, a.tolist()], [float(a @ (clean + reach * direction)), 0.0])
    x = clean + (reach - short) * direction
    point = push_across(network, x, clean, 0, cube(network), GroundCost(norm, 1))
    assert point is not None
    assert is_error(network, point, 0)
    assert ((point >= 0) & (point <= 1)).all()
    paid = float(true_distance(norm, point, x))
    needed = short * float(np.abs(a).sum()) * (1 / np.abs(a).sum() if norm is Norm.INF else 1 / np.abs(a).max())
    assert paid <= 2.5 * needed + 2e-12


def test_a_point_already_across_comes_back_as_it_is() -> None:
    network = linear([[0.0, 0.0], [1.0, 0.0]], [0.5, 0.0])
    x = np.array([0.5, 0.25])
    point = push_across(network, x, np.zeros(2), 0, cube(network), GroundCost(Norm.INF, 1))
    assert point is not None
    assert point.tolist() == x.tolist()


def test_a_point_outside_the_support_is_clipped_first() -> None:
    network = linear([[0.0, 0.0], [1.0, 1.0]], [1.25, 0.0])
    point = push_across(
        network, np.array([1.0 + 1e-9, 0.25 - 1e-10]), np.zeros(2), 0, cube(network), GroundCost(Norm.INF, 1)
    )
    assert point is not None
    assert is_error(network, point, 0)
    assert point[0] <= 1.0
    assert point[1] == pytest.approx(0.25, abs=1e-8)


def test_only_coordinates_with_room_move() -> None:
    """The boundary is x_0 + x_1 = 1 with x_0 at its bound."""
    network = linear([[0.0, 0.0], [1.0, 1.0]], [1.5, 0.0])
    point = push_across(
        network, np.array([1.0, 0.5 - 1e-10]), np.array([0.9, 0.4]), 0, cube(network), GroundCost(Norm.INF, 1)
    )
    assert point is not None
    assert is_error(network, point, 0)
    assert point[0] == 1.0
    assert 0.5 <= point[1] <= 0.5 + 1e-9


def test_no_point_where_the_support_ends_before_the_boundary() -> None:
    network = linear([[0.0, 0.0], [1.0, 1.0]], [2.0 + 2**-40, 0.0])
    assert push_across(network, np.ones(2), np.zeros(2), 0, cube(network), GroundCost(Norm.INF, 1)) is None
    assert push_across(network, np.full(2, 0.5), np.full(2, 0.5), 0, cube(network), GroundCost(Norm.INF, 1)) is None


def test_the_corner_of_the_support_is_reached_exactly() -> None:
    network = linear([[0.0, 0.0], [1.0, 1.0]], [2.0, 0.0])
    point = push_across(network, np.ones(2) - 1e-10, np.zeros(2), 0, cube(network), GroundCost(Norm.INF, 1))
    assert point is not None
    assert point.tolist() == [1.0, 1.0]


def test_a_kink_seen_from_its_flat_side() -> None:
    """``relu(x_1 - 1/2) >= 0`` holds with a tie only from the left; with bias -1e-11 the gradient at 1/2 is 0."""
    hidden = affine(np.array([[0.0, 1.0]]), np.array([-0.5]))
    network = as_network([hidden, Relu(), affine(np.array([[0.0], [1.0]]), np.array([1e-11, 0.0]))], 2, 2)
    point = push_across(network, np.array([0.5, 0.5]), np.array([0.5, 0.5]), 0, cube(network), GroundCost(Norm.INF, 1))
    assert point is not None
    assert is_error(network, point, 0)
    assert point[1] == pytest.approx(0.5, abs=1e-9)


def two_sided_network(rng: np.random.Generator) -> ReluNetwork:
    """Three classes whose logits are 0 on average over the cube, so boundaries cross it; a division in front."""
    n = int(rng.integers(2, 40))
    front = diagonal([255.0] * n, [3.0] * n, [-42.0] * n)
    body = [front, affine(rng.normal(size=(9, n)) / 85.0, rng.normal(size=9)), Relu()]
    last = rng.normal(size=(3, 9))
    mean = as_network([*body, affine(last, np.zeros(3))], n, 3).forward(rng.random((200, n))).mean(axis=0)
    return as_network([*body, affine(last, -mean)], n, 3)


@pytest.mark.parametrize("norm", [Norm.INF, Norm.ONE])
@pytest.mark.parametrize("seed", range(20))
def test_random_networks(seed: int, norm: Norm) -> None:
    """Bisect a segment between two labels in floats, step back a little, push."""
    rng = np.random.default_rng(seed)
    network = two_sided_network(rng)
    ends = rng.random((80, network.n_inputs))
    labels = network.forward(ends).argmax(axis=1)
    other = np.flatnonzero(labels != labels[0])[0]
    y, low, high = int(labels[0]), 0.0, 1.0
    for _ in range(45):
        middle = 0.5 * (low + high)
        inside = network.forward((ends[0] + middle * (ends[other] - ends[0]))[None]).argmax() == y
        low, high = (middle, high) if inside else (low, middle)
    x = ends[0] + (low - 1e-10) * (ends[other] - ends[0])
    assert not is_error(network, x, y)
    point = push_across(network, x, ends[0], y, cube(network), GroundCost(norm, 1))
    assert point is not None
    assert is_error(network, point, y)
    assert ((point >= 0) & (point <= 1)).all()
    paid = true_distance(norm, point, ends[0]) - true_distance(norm, x, ends[0])
    assert paid <= 1e-8, "what counts is the distance from the sample"
    assert np.abs(point - x).max() <= 1e-7
