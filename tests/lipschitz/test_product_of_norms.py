"""The product of layer norms against gradients, closed forms and exact rationals."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from bounds.tiny import as_network, hard_network, network, random_layers, raw
from layers import Affine, Diagonal, Relu
from lipschitz.tangents import dual, jacobians

from wdaverify.graph.nodes import INPUT
from wdaverify.ground import GroundCost, Norm
from wdaverify.lipschitz.definite import proven_psd, spectral_norm
from wdaverify.lipschitz.layers import Enclosed, cost_layers, functionals, gram, times
from wdaverify.lipschitz.norms import product_of_norms
from wdaverify.network.model import readonly

NORMS = list(Norm)


def exact(matrix: np.ndarray) -> Enclosed:
    return Enclosed(np.array(matrix, dtype=float), np.zeros(np.shape(matrix)))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", range(8))
def test_above_every_gradient(norm: Norm, seed: int) -> None:
    rng = np.random.default_rng(seed)
    net = network(*random_layers(rng, int(rng.integers(1, 4)), *rng.integers(1, 7, size=1 + seed % 3).tolist(), 3))
    weights = np.where(rng.random(net.n_inputs) < 0.3, math.inf, rng.uniform(0.2, 5, net.n_inputs))
    rows = rng.normal(size=(4, 3))
    bound = product_of_norms(net.layers, rows, GroundCost(norm, 1, weights))
    steepest = dual(rows @ jacobians(raw(net), rng.normal(size=(2000, net.n_inputs)) * 3), norm.value, weights).max(
        axis=0
    )
    assert (steepest <= bound).all()
    assert np.isfinite(bound).all()


@pytest.mark.parametrize("norm", NORMS)
def test_one_layer_is_the_dual_norm(norm: Norm) -> None:
    rng = np.random.default_rng(5)
    (weight, bias), scale = random_layers(rng, 7, 4)[0], np.array([1.0, 2.0, math.inf, 0.5, 3.0, 1.0, 7.0])
    rows = rng.normal(size=(6, 4))
    bound = product_of_norms(network((weight, bias)).canonical, rows, GroundCost(norm, 1, scale))
    assert bound == pytest.approx(dual(rows @ weight, norm.value, scale), rel=1e-12)


@pytest.mark.parametrize("norm", NORMS)
def test_is_the_product_of_numpys_norms(norm: Norm) -> None:
    rng = np.random.default_rng(6)
    layers = random_layers(rng, 5, 9, 4, 3)
    rows = np.array([[1.0, -1.0, 0.0], [0.0, 0.0, 0.0]])
    order = {"inf": np.inf, "1": 1, "2": 2}[norm.value]
    want = dual(rows @ layers[2][0], norm.value, np.ones(4))
    want = want * np.linalg.norm(layers[0][0], order) * np.linalg.norm(layers[1][0], order)
    bound = product_of_norms(network(*layers).canonical, rows, GroundCost(norm, 1))
    assert bound == pytest.approx(want, rel=1e-8)
    assert (bound >= want * (1 - 1e-14)).all()
    assert bound[1] == 0


@pytest.mark.parametrize("norm", NORMS)
def test_rounded_outward(norm: Norm) -> None:
    """Against sums of rationals, where the exact value of the dual norm is known."""
    rng = np.random.default_rng(7)
    for _ in range(50):
        row = rng.normal(size=(1, 6)) * 2.0 ** rng.integers(-30, 30, size=6)
        net = network((row, np.zeros(1)))
        bound = Fraction(float(product_of_norms(net.layers, np.ones((1, 1)), GroundCost(norm, 1))[0]))
        moduli = [abs(Fraction(v)) for v in row[0].tolist()]
        if norm is Norm.TWO:
            assert bound**2 >= sum(m * m for m in moduli)
        else:
            assert bound >= (sum(moduli) if norm is Norm.INF else max(moduli))


@pytest.mark.parametrize("norm", NORMS)
def test_nothing_to_bound(norm: Norm) -> None:
    net = network(*random_layers(np.random.default_rng(8), 3, 4, 2))
    assert product_of_norms(net.layers, np.zeros((0, 2)), GroundCost(norm, 1)).shape == (0,)
    assert product_of_norms(net.layers, np.eye(2), GroundCost(norm, 1, np.full(3, math.inf))).tolist() == [0.0, 0.0]
    huge = network((np.full((2, 2), 1e200), np.zeros(2)), (np.full((1, 2), 1e200), np.zeros(1)))
    assert product_of_norms(huge.canonical, np.array([[1.0], [0.0]]), GroundCost(norm, 1)).tolist() == [math.inf, 0.0]


def test_weight_error_is_paid_for() -> None:
    """A fused layer that is off by its whole error in the worst direction stays below the bound."""
    matrix = np.array([[1.0, 2.0], [3.0, -1.0]])
    enclosed = Enclosed(matrix, np.full((2, 2), 0.25))
    worst = matrix + 0.25 * np.sign(matrix)
    assert spectral_norm(enclosed) >= np.linalg.norm(worst, 2)
    assert (np.abs(worst @ worst.T - gram(enclosed).mid) <= gram(enclosed).rad).all()
    moved = functionals(np.array([[1.0, -1.0]]), enclosed)
    assert (np.abs(np.array([[1.0, -1.0]]) @ worst - moved.mid) <= moved.rad).all()
    twice = times(enclosed, enclosed)
    assert (np.abs(worst @ worst - twice.mid) <= twice.rad).all()
    assert (np.abs((matrix - 0.25) @ (matrix + 0.25) - twice.mid) <= twice.rad).all()


def test_division_by_weights_is_enclosed() -> None:
    layers = (Diagonal(readonly(np.ones(2)), readonly(np.full(2, 3.0)), readonly(np.zeros(2))),)
    layers += (Affine(readonly(np.array([[1.0, 2.0]])), readonly(np.zeros(1))), Relu())
    net = as_network(layers)
    net = as_network([*layers, Affine(np.ones((1, 1)), np.zeros(1))])
    head = cost_layers(net.layers, GroundCost(Norm.INF, 1, np.array([7.0, 0.3])))[0][INPUT]
    for mid, rad, value in zip(
        head.mid[0].tolist(), head.rad[0].tolist(), [Fraction(1, 21), Fraction(2, 3) / Fraction(0.3)], strict=True
    ):
        assert abs(Fraction(mid) - value) <= Fraction(rad) < Fraction(1, 10**14)


@pytest.mark.parametrize("seed", range(20))
def test_hard_networks(seed: int) -> None:
    """Diagonal maps, dead neurons and weights of 1e6: the gradient by the network's own layers."""
    rng = np.random.default_rng(seed)
    net = hard_network(rng)
    rows = np.array([[1.0, -1.0, 0.0], [0.0, 1.0, -1.0]])
    x = rng.normal(size=(500, net.n_inputs)) * 10.0 ** rng.integers(-2, 4, size=(500, 1))
    for norm in NORMS:
        bound = product_of_norms(net.layers, rows, GroundCost(norm, 1))
        for r in range(2):
            gradient = net.gradient(x, np.repeat(rows[r : r + 1], len(x), axis=0))
            assert dual(gradient, norm.value, np.ones(net.n_inputs)).max() <= bound[r] * (1 + 1e-12)


@pytest.mark.parametrize("shape", [(1, 1), (3, 8), (8, 3), (40, 40), (200, 30)])
def test_spectral_norm(shape: tuple[int, int]) -> None:
    matrix = np.random.default_rng(9).normal(size=shape) * 1e-7
    want = np.linalg.svd(matrix, compute_uv=False)[0]
    assert want * (1 - 1e-14) <= spectral_norm(exact(matrix)) <= want * (1 + 1e-8)
    assert spectral_norm(exact(np.zeros(shape))) == 0


def test_psd_just_above_and_just_below() -> None:
    """``[[1, b], [b, b^2 + e]]`` is semidefinite where ``e >= 0``, at any scale of its two rows."""
    for b in (1.0, 1e-6, 1e9):
        for e, want in ((1e-12, True), (-1e-12, False), (-1e-15, False), (0.0, False)):
            assert proven_psd(exact([[1.0, b], [b, b * b * (1 + e)]])) is want
    assert proven_psd(exact(np.zeros((3, 3))))
    assert not proven_psd(exact([[0.0, 1.0], [1.0, 5.0]]))
    assert not proven_psd(exact([[np.nan]]))
    assert not proven_psd(exact([[np.inf]]))


def test_psd_pays_for_the_radius() -> None:
    """The worst matrix within the radius decides."""
    mid = np.array([[2.0, 1.0], [1.0, 2.0]])
    assert proven_psd(Enclosed(mid, np.full((2, 2), 0.49)))
    assert not proven_psd(Enclosed(mid, np.full((2, 2), 0.51)))


@pytest.mark.parametrize("seed", range(5))
def test_psd_never_proves_an_indefinite_matrix(seed: int) -> None:
    """Integer Gram matrices of deficient rank with one diagonal entry lowered have a negative determinant's minor."""
    rng = np.random.default_rng(seed)
    factor = rng.integers(-9, 10, size=(6, 5)).astype(float)
    square = factor @ factor.T
    assert proven_psd(exact(square + 1e-9 * np.eye(6)))
    for k in range(6):
        lowered = square.copy()
        lowered[k, k] -= 2.0**-40
        assert not proven_psd(exact(lowered))


def test_psd_believes_no_factor(monkeypatch: pytest.MonkeyPatch) -> None:
    """A factor that is not the matrix's proves nothing, whoever computed it."""
    monkeypatch.setattr(np.linalg, "cholesky", lambda a: np.eye(len(a)))
    assert not proven_psd(exact([[1.0, 1.00001], [1.00001, 1.0]]))
    assert not proven_psd(exact([[1.0, 1e-6], [1e-6, 1.0]]))
