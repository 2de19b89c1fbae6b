"""Enclosures and exact margins against plain fractions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from layers import Relu
from rationals import affine, as_network, diagonal, linear, random_network, true_margins

from wdaverify.certify.enclosure import margins_enclosure, rival_margin
from wdaverify.certify.exact import exact_dot, exact_error, exact_margins
from wdaverify.network.model import readonly
from wdaverify.witness.decide import errors


@pytest.mark.parametrize("seed", range(80))
def test_enclosure_contains_the_truth_and_the_integers_equal_it(seed: int) -> None:
    rng = np.random.default_rng(seed)
    network = random_network(rng, single=seed % 2 == 0)
    x = rng.normal(size=(5, network.n_inputs)) * 10.0 ** rng.integers(-3, 3)
    x[0] = 0.0
    y = rng.integers(0, network.n_outputs, 5)
    lower, upper = margins_enclosure(network, x, y)
    worst = rival_margin(network, x, y)
    for b in range(5):
        truth = true_margins(network, x[b], int(y[b]))
        assert exact_margins(network, x[b], int(y[b])) == truth
        for j, margin in enumerate(truth):
            assert Fraction(float(lower[b, j])) <= margin <= Fraction(float(upper[b, j]))
        assert lower[b, y[b]] == upper[b, y[b]] == 0.0
        margin = max(m for j, m in enumerate(truth) if j != y[b])
        assert Fraction(float(worst[0][b])) <= margin <= Fraction(float(worst[1][b]))
        assert exact_error(network, x[b], int(y[b])) == (margin >= 0)
    assert (upper - lower).max() <= 1e-9 * (1 + np.abs(lower).max())
    assert errors(network, x, y).tolist() == [exact_error(network, x[b], int(y[b])) for b in range(5)]


def test_rounding_that_cancels_is_covered() -> None:
    """0.1 + 0.2 - 0.3 is 0 in no rounding of the weights as stored; the float forward says 5.6e-17."""
    network = linear([[0.1, 0.2, -0.3], [0.0, 0.0, 0.0]], [0.0, 0.0])
    x = np.ones((1, 3))
    truth = true_margins(network, x[0], 1)[0]
    assert truth != Fraction(float(network.forward(x)[0, 0]))
    lower, upper = margins_enclosure(network, x, np.array([1]))
    assert Fraction(float(lower[0, 0])) < truth < Fraction(float(upper[0, 0]))


def test_division_by_three_is_real_division() -> None:
    """Logits x / 3 * 3 and x tie in real arithmetic; in doubles they need not."""
    split = affine(np.array([[3.0, 0.0], [0.0, 1.0]]), np.zeros(2))
    network = as_network([diagonal([1.0, 1.0], [3.0, 1.0], [0.0, 0.0]), split], 2, 2)
    for value in (0.1, 0.7, 5 / 255, 1.0):
        x = np.array([value, value])
        assert exact_margins(network, x, 0) == [0, 0]
        assert exact_error(network, x, 0)
        assert exact_error(network, x, 1)
        assert not exact_error(network, np.array([value, np.nextafter(value, 0)]), 0)


def test_per_feature_divisors_share_a_denominator() -> None:
    rng = np.random.default_rng(3)
    n = 40
    front = diagonal(list(rng.normal(size=n)), list(rng.normal(size=n)), list(rng.normal(size=n)))
    network = as_network([front, affine(rng.normal(size=(3, n)), rng.normal(size=3)), Relu()], n, 3)
    x = rng.random(n)
    assert exact_margins(network, x, 2) == true_margins(network, x, 2)


def test_numbers_at_the_ends_of_the_range() -> None:
    network = linear([[1e-320, 2.0**-1000, 1e300], [0.0, -1e-300, 1.5]], [5e-324, -0.0])
    x = np.array([1e-310, 2.0**-60, 1e-8])
    assert exact_margins(network, x, 1) == true_margins(network, x, 1)
    lower, upper = margins_enclosure(network, x[None], np.array([1]))
    truth = true_margins(network, x, 1)[0]
    assert Fraction(float(lower[0, 0])) <= truth <= Fraction(float(upper[0, 0]))


def test_products_that_underflow_are_covered() -> None:
    network = as_network(
        [affine(np.full((1, 3), 1e-200), np.zeros(1)), affine(np.array([[1e200], [0.0]]), np.zeros(2))], 3, 2
    )
    x = np.full((1, 3), 1e-150)
    truth = true_margins(network, x[0], 1)[0]
    lower, upper = margins_enclosure(network, x, np.array([1]))
    assert truth > 0
    assert network.forward(x)[0, 0] == 0
    assert Fraction(float(lower[0, 0])) <= truth <= Fraction(float(upper[0, 0]))


def test_a_diagonal_by_itself_and_the_last_subtraction_round() -> None:
    """Without a matrix nothing else pays for these roundings."""
    rng = np.random.default_rng(0)
    for layer in (
        diagonal([1.0] * 3, [3.0, 7.0, 255.0], [0.0] * 3),
        diagonal([0.1, 1.7, -3.3], [1.0] * 3, [0.0] * 3),
        diagonal([1.0] * 3, [1.0] * 3, [0.1, 0.2, 0.3]),
        Relu(),
    ):
        network = as_network([layer], 3, 3)
        x = rng.random((50, 3)) * 10.0 ** rng.integers(-9, 1, (50, 3))
        lower, upper = margins_enclosure(network, x, np.zeros(50, np.int64))
        for b in range(50):
            for j, margin in enumerate(true_margins(network, x[b], 0)):
                assert Fraction(float(lower[b, j])) <= margin <= Fraction(float(upper[b, j]))


def test_a_neuron_that_rounds_to_zero_may_be_active() -> None:
    """``a + b - fl(a + b)`` is 0 in doubles and at times positive; the next layer makes it large."""
    rng = np.random.default_rng(0)
    active = 0
    for a, b in rng.random((40, 2)):
        hidden = affine(np.array([[a, b, -(a + b)]]), np.zeros(1))
        network = as_network([hidden, Relu(), affine(np.array([[1e20], [0.0]]), np.zeros(2))], 3, 2)
        truth = true_margins(network, np.ones(3), 1)[0]
        lower, upper = margins_enclosure(network, np.ones((1, 3)), np.array([1]))
        assert Fraction(float(lower[0, 0])) <= truth <= Fraction(float(upper[0, 0]))
        active += truth > 0
    assert active


def test_overflow_is_no_bound() -> None:
    network = as_network(
        [
            affine(np.array([[-1e200, -1e200, 3e200], [1.0, 0.0, 0.0]]), np.zeros(2)),
            Relu(),
            affine(np.eye(2), np.zeros(2)),
        ],
        3,
        2,
    )
    lower, upper = margins_enclosure(network, np.full((1, 3), 1e150), np.array([0]))
    assert (lower[0, 1], upper[0, 1]) == (-np.inf, np.inf)


def test_exact_dot() -> None:
    left, right = [0.1, 1e300, -1e300, 3.0, 5e-324], [0.2, 1e10, 1e10, 0.0, 5e-324]
    assert exact_dot(left, right) == sum(Fraction(a) * Fraction(b) for a, b in zip(left, right, strict=True))
    assert exact_dot([], []) == 0


def test_the_arrays_of_a_network_stay_as_they_are() -> None:
    weight = readonly(np.array([[1.0, 2.0], [3.0, 4.0]]))
    x = np.array([[0.5, 0.25]])
    margins_enclosure(linear(weight.tolist(), [0.0, 0.0]), x, np.array([0]))
    assert x.tolist() == [[0.5, 0.25]]
