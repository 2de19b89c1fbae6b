"""Hidden layers brought back to size: the same function number for number, and nothing where a number would be rounded."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from bounds.tiny import as_network, factors, network, random_layers
from layers import Affine, Diagonal, Relu, blocks_of, fused_blocks

from wdaverify.network.model import Array, ReluNetwork, readonly


def matches(net: ReluNetwork) -> None:
    """``blocks`` is ``fused`` but for a factor each, which the next block takes back."""
    before = Fraction(1)
    for got, was, factor in zip(blocks_of(net.layers), fused_blocks(net), factors(net), strict=True):
        for mine, theirs, times in (
            (got.weight, was.weight, factor / before),
            (got.weight_error, was.weight_error, factor / before),
            (got.bias, was.bias, factor),
            (got.bias_error, was.bias_error, factor),
        ):
            assert [Fraction(v) for v in mine.ravel().tolist()] == [
                Fraction(v) * times for v in theirs.ravel().tolist()
            ]
        before = factor
    assert before == 1


def sizes(net: ReluNetwork) -> list[float]:
    return [max(np.abs(block.weight).max(), np.abs(block.bias).max()) for block in blocks_of(net.layers)[:-1]]


def scaled(seed: int, first: float, second: float) -> ReluNetwork:
    (one, a), (two, b), (three, c) = random_layers(np.random.default_rng(seed), 3, 5, 4, 3)
    return network((one * first, a * first), (two * second / first, b * second), (three / second, c))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("first", "second"), [(2.0**-40, 1.0), (2.0**66, 2.0**132), (1e-9, 1e9), (2.0**-500, 2.0**300)]
)
def test_layers_far_from_one_are_taken_back(seed: int, first: float, second: float) -> None:
    net = scaled(seed, first, second)
    matches(net)
    assert all(0.5 <= size < 1 for size in sizes(net))


@pytest.mark.parametrize("second", [2.0**-8, 1.0, 2.0**9])
def test_others_stay_as_they_are(second: float) -> None:
    net = scaled(0, 1.0, second)
    matches(net)
    assert set(factors(net)) == {1}


def test_what_would_be_rounded_stays_as_it_is() -> None:
    """A number of 2^-1060 beside one of 2^40 has no room further down."""
    weight = np.array([[2.0**40, 2.0**-1060 * 1.5]])
    net = network((weight, np.zeros(1)), (np.ones((2, 1)), np.zeros(2)))
    matches(net)
    assert set(factors(net)) == {1}
    net = network((weight / 2**40, np.array([2.0**-40])), (np.ones((2, 1)) * 2.0**-20, np.zeros(2)))
    matches(net)


@pytest.mark.parametrize("size", [0.0, 2.0**-30])
def test_layers_of_zeros(size: float) -> None:
    zeros: Array = np.zeros((4, 4))
    net = network((np.ones((4, 2)) * size, np.zeros(4)), (zeros, np.zeros(4)), (np.ones((2, 4)), np.ones(2)))
    point = np.array([[0.3, 0.7]])
    h = point
    for k, block in enumerate(blocks_of(net.layers)):
        h = (np.maximum(h, 0) if k else h) @ block.weight.T + block.bias
    np.testing.assert_array_equal(h, net.forward(point))


def test_errors_of_fusing_are_scaled_along() -> None:
    third = readonly(np.full(3, 3.0))
    one = Diagonal(readonly(np.full(3, 2.0**-50)), third, readonly(np.full(3, 0.1)))
    (first, a), (last, b) = random_layers(np.random.default_rng(3), 3, 4, 3)
    net = as_network(
        [one, Affine(readonly(first * 2.0**-30), readonly(a * 2.0**-30)), Relu(), Affine(readonly(last), readonly(b))]
    )
    assert not fused_blocks(net)[0].exact
    matches(net)
    assert 0.5 <= sizes(net)[0] < 1
