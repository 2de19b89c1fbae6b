"""What float32 makes of a point, judged by sums in single precision, term by term, in orders of our own."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from layers import Affine, Diagonal, Relu, layers_of
from rationals import linear, random_network, true_margins

from wdaverify.network.model import ReluNetwork
from wdaverify.witness.single import Flip, as_single, flips, single_margins, tried_margins

F = np.float32


def summed(terms: list[np.float32], rng: np.random.Generator) -> np.float32:
    """The sum of float32 numbers by a random tree."""
    terms = list(terms)
    while len(terms) > 1:
        a, b = rng.choice(len(terms), 2, replace=False).tolist()
        total = F(terms[a] + terms[b])
        terms = [t for k, t in enumerate(terms) if k not in (a, b)] + [total]
    return terms[0]


def fused(terms: list[tuple[np.float32, np.float32]], bias: np.float32, rng: np.random.Generator) -> np.float32:
    """The same with fused multiply-adds: each product and sum rounded once, from the exact value."""
    total = Fraction(float(bias))
    for k in rng.permutation(len(terms)):
        a, b = terms[k]
        exact = Fraction(float(total)) + Fraction(float(a)) * Fraction(float(b))
        total = Fraction(float(F(float(exact))))  # double rounding: at most a hair more than one
    return F(float(total))


def forward(network: ReluNetwork, x: np.ndarray, rng: np.random.Generator, *, fma: bool) -> np.ndarray:
    """The logits in float32, every sum in an order of its own."""
    h = [F(v) for v in x]
    for layer in layers_of(network):
        match layer:
            case Affine():
                out = []
                for row, bias in zip(layer.weight, layer.bias, strict=True):
                    pairs = [(F(w), v) for w, v in zip(row, h, strict=True)]
                    out.append(
                        fused(pairs, F(bias), rng) if fma else summed([F(w * v) for w, v in pairs] + [F(bias)], rng)
                    )
                h = out
            case Diagonal():
                h = [
                    F(F(F(v * F(f)) / F(d)) + F(s))
                    for v, f, d, s in zip(h, layer.factor, layer.divisor, layer.shift, strict=True)
                ]
            case Relu():
                h = [max(v, F(0)) for v in h]
    return np.array(h, np.float64)


@pytest.mark.parametrize("seed", range(25))
def test_no_order_of_summation_falls_below_the_bound(seed: int) -> None:
    rng = np.random.default_rng(seed)
    network = random_network(rng)
    points = rng.normal(size=(6, network.n_inputs)) * 10.0 ** (seed % 2)
    labels = rng.integers(0, network.n_outputs, 6)
    lower, value = single_margins(network, points, labels)
    assert (lower <= value).all()
    classes = range(network.n_outputs)
    for x, y, bound in zip(points, labels.tolist(), lower.tolist(), strict=True):
        for fma in (False, False, True):
            z = forward(network, x, rng, fma=fma)
            assert max(z[j] - z[y] for j in classes if j != y) >= bound


def test_the_bound_is_that_of_the_sum_by_hand() -> None:
    """1 + 64 terms of 2^-24: added one by one to 1 each is lost, so that float32 may make 1 of 1 + 2^-18."""
    n = 65
    first = [2.0**-24] * 64 + [1.0]
    network = linear([[0.0] * n, first], [1.0 + 2.0**-20, 0.0])
    x, y = np.ones((1, n)), np.array([0])
    assert max(true_margins(network, x[0], 0)) == Fraction(2) ** -18 - Fraction(2) ** -20
    one_by_one = F(1)
    for _ in range(64):
        one_by_one = F(one_by_one + F(2.0**-24))
    assert one_by_one == 1  # below the label's 1 + 2^-20
    lower, value = single_margins(network, x, y)
    assert value[0] == 2.0**-18 - 2.0**-20
    assert lower[0] <= -(2.0**-20)
    assert flips(network, x, y) != [Flip.ANY_ORDER]


def test_what_flips_in_any_order_and_what_does_not_flip() -> None:
    """A margin that float32 cannot hold, a tie, and one beyond every rounding."""
    network = linear([[0.0], [1.0]], [1.0, 0.0])
    x = np.array([[1.0 + 2.0**-30], [1.0], [1.0 + 2.0**-10], [0.5]])
    assert flips(network, x, np.zeros(4, np.int64)) == [Flip.NO, Flip.NO, Flip.ANY_ORDER, Flip.NO]
    assert flips(network, x[:0], np.zeros(0, np.int64)) == []


def test_nothing_is_said_of_what_overflows_float32() -> None:
    """The float64 margin is large and positive; in float32 a partial sum is inf - inf."""
    network = linear([[0.0, 0.0], [1e38, -1e38]], [0.0, 0.0])
    x, y = np.array([[30.0, 20.0]]), np.array([0])
    assert max(true_margins(network, x[0], 0)) > 0
    with np.errstate(over="ignore", invalid="ignore"):
        assert np.isnan(F(1e38) * F(30) - F(1e38) * F(20))
    assert single_margins(network, x, y)[0][0] == -np.inf
    assert flips(network, x, y) == [Flip.NO]


def test_denormals_may_be_flushed() -> None:
    """2^-130 times 2 is 2^-129 where denormals count, and 0 where they are flushed."""
    network = linear([[0.0], [2.0]], [0.0, 0.0])
    x, y = np.array([[2.0**-130]]), np.array([0])
    assert single_margins(network, x, y)[0][0] < 0
    assert flips(network, x, y) == [Flip.ORDERS_TRIED]


def test_orders_that_differ_are_seen() -> None:
    """In one sum 0.25 survives, in parts it is lost beside 2^24; whoever adds up in the other order keeps the label."""
    big = 2.0**24
    row = [big, 0.25, 0.25, 0.25, 0.25, -big, 0.25, 0.25]
    network = linear([[0.0] * 8, row], [1.25, 0.0])
    x, y = np.ones((1, 8)), np.array([0])
    assert max(true_margins(network, x[0], 0)) == Fraction(1, 4)
    least, need = tried_margins(network, x, y)
    assert need[0] > 0
    assert least[0] < need[0]
    assert flips(network, x, y)[0] is not Flip.ANY_ORDER


@pytest.mark.parametrize("seed", range(5))
def test_single_points_lie_between_the_sample_and_the_point(seed: int) -> None:
    rng = np.random.default_rng(seed)
    centre = rng.uniform(size=50)
    centre[:10] = np.round(centre[:10] * 16) / 16
    x = centre + rng.normal(size=(20, 50)) * 10.0 ** -rng.integers(1, 10, (20, 50))
    x[:, 5] = centre[5]
    out = as_single(x, centre)
    assert ((np.minimum(x, centre) <= out) & (out <= np.maximum(x, centre))).all()
    moved = out != centre
    assert (out[moved].astype(np.float32) == out[moved]).all()
    assert np.abs(out - x).max() <= 2.0**-22
    assert not moved[:, 5].any()
