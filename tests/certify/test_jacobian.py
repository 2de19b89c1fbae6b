"""Interval Jacobians against exact ones in rationals, and their slopes against numpy's norms."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from bounds.tiny import exact_values, hard_network, network, random_layers
from layers import Affine, Diagonal, blocks_of, layers_of

from wdaverify.certify.backward import Backward
from wdaverify.certify.halfspaces import shell_of
from wdaverify.certify.jacobian import jacobian, neuron_slopes, slope_down, slope_up, spectral_up
from wdaverify.certify.slope import slopes_at
from wdaverify.encoding.cost import Region
from wdaverify.ground import GroundCost, Norm
from wdaverify.network.model import Array, ReluNetwork

Matrix = list[list[Fraction]]
ORDERS = {Norm.INF: np.inf, Norm.ONE: 1, Norm.TWO: 2}
NORMS = list(Norm)


def exact_jacobian(net: ReluNetwork, x: Array) -> Matrix:
    """The Jacobian at a point of no kink, layer by layer in rationals; neurons at 0 are off."""
    before, _ = exact_values(net, x)
    out: Matrix = [[Fraction(int(i == j)) for j in range(net.n_inputs)] for i in range(net.n_inputs)]
    ahead = iter(before)
    for layer in layers_of(net):
        if isinstance(layer, Affine):
            out = [
                [sum((Fraction(w) * row[j] for w, row in zip(weights, out, strict=True)), Fraction(0)) for j in range(net.n_inputs)]
                for weights in layer.weight.tolist()
            ]  # fmt: skip
        elif isinstance(layer, Diagonal):
            scale = [
                Fraction(f) / Fraction(d) for f, d in zip(layer.factor.tolist(), layer.divisor.tolist(), strict=True)
            ]
            out = [[s * v for v in row] for s, row in zip(scale, out, strict=True)]
        else:
            out = [row if z > 0 else [Fraction(0)] * net.n_inputs for z, row in zip(next(ahead), out, strict=True)]
    return out


def box_region(lower: Array, upper: Array) -> Region:
    return Region(GroundCost(Norm.INF, 1), 0.5 * (lower + upper), lower, upper, 0.0, math.inf)


@pytest.mark.parametrize("seed", [pytest.param(s, marks=() if s < 30 else pytest.mark.full) for s in range(300)])
def test_encloses_the_jacobian_of_every_point(seed: int) -> None:
    """Boxes of every size, networks with weights of 1e6 and divisions."""
    rng = np.random.default_rng(seed)
    net = hard_network(rng)
    n, graph = net.n_inputs, net.layers
    middle, half = rng.uniform(-1, 1, n), rng.uniform(0, 1, n) * 10.0 ** rng.integers(-6, 1)
    lower, upper = middle - half, middle + half
    bounds = Backward(graph).pre_activations(shell_of(box_region(lower, upper)))
    rows = rng.normal(size=(2, net.n_outputs))
    pull: list[Array] = []
    centre, radius = jacobian(graph, bounds, rows[None], pull=pull)
    assert [part.shape for part in pull] == [(1, graph.width(k)) for k in graph.elementwise]
    for _ in range(10):
        exact = exact_jacobian(net, np.clip(rng.uniform(lower, upper), lower, upper))
        for r, row in enumerate(rows.tolist()):
            for j in range(n):
                value = sum((Fraction(c) * part[j] for c, part in zip(row, exact, strict=True)), Fraction(0))
                low = Fraction(float(centre[0, r, j])) - Fraction(float(radius[0, r, j]))
                high = Fraction(float(centre[0, r, j])) + Fraction(float(radius[0, r, j]))
                assert low <= value <= high


@pytest.mark.parametrize("seed", range(4))
def test_is_tight_where_no_phase_is_open(seed: int) -> None:
    net = network(*random_layers(np.random.default_rng(seed), 3, 5, 4, 2))
    x = np.random.default_rng(seed).uniform(-1, 1, 3)
    bounds = Backward(net.layers).pre_activations(shell_of(box_region(x, x)))
    centre, radius = jacobian(net.layers, bounds, np.eye(2)[None])
    exact = np.array([[float(v) for v in row] for row in exact_jacobian(net, x)])
    assert np.abs(centre[0] - exact).max() < 1e-13
    assert radius.max() < 1e-12


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 6), (4, 1), (3, 7), (6, 3), (12, 12)])
@pytest.mark.parametrize("size", [1.0, 1e-170, 1e170, 1e-300, 1e300])
def test_slopes_bracket_the_induced_norm(norm: Norm, shape: tuple[int, int], size: float, weighted: bool) -> None:
    """Sizes whose squares overflow or vanish among them."""
    rng = np.random.default_rng(shape[0] + 10 * shape[1])
    matrix = rng.normal(size=(5, *shape)) * size
    matrix[0] *= rng.random(shape) < 0.5
    scale = np.where(rng.random(shape[1]) < 0.3, math.inf, rng.uniform(0.5, 2.0, shape[1])) if weighted else None
    still = (rng.random(shape[1]) < 0.2).astype(float)
    cost = GroundCost(norm, 1, scale)
    used = (matrix / size) / (1.0 if scale is None else scale) * (still == 0)
    true = np.array([np.linalg.norm(part, ORDERS[norm]) for part in used])
    zero = np.zeros_like(matrix)
    low, high = slope_down(matrix, zero, cost, still) / size, slope_up(matrix, zero, cost, still) / size
    assert (low <= true * (1 + 1e-13)).all()
    assert (true <= high * (1 + 1e-13)).all()
    assert (high - low <= 1e-10 * true + 1e-20).all()


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", range(5))
def test_slopes_bracket_every_matrix_within_the_radius(norm: Norm, seed: int) -> None:
    rng = np.random.default_rng(seed)
    centre, radius = rng.normal(size=(1, 3, 4)), rng.uniform(0, 0.3, (1, 3, 4))
    low, high = (f(centre, radius, GroundCost(norm, 1))[0] for f in (slope_down, slope_up))
    corners = centre[0] + radius[0] * rng.choice([-1.0, 0.0, 1.0], (500, 3, 4))
    norms = np.array([np.linalg.norm(m, ORDERS[norm]) for m in corners])
    assert low <= norms.min()
    assert norms.max() <= high
    assert high <= np.linalg.norm(centre[0], ORDERS[norm]) + np.linalg.norm(radius[0], ORDERS[norm]) + 1e-10


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
def test_what_is_not_finite_proves_nothing(norm: Norm, bad: float) -> None:
    matrix = np.ones((1, 2, 3))
    matrix[0, 1, 1] = bad
    assert slope_up(matrix, np.zeros_like(matrix), GroundCost(norm, 1))[0] == math.inf
    assert slope_down(matrix, np.zeros_like(matrix), GroundCost(norm, 1))[0] == 0


def largest_singular_value_is_at_most(matrix: Array, bound: float) -> bool:
    """``bound^2 I - A A^T`` is positive definite, by Gauss in rationals."""
    a = [[Fraction(v) for v in row] for row in matrix.tolist()]
    size = len(a)
    gram = [
        [sum((p * q for p, q in zip(a[i], a[j], strict=True)), Fraction(0)) for j in range(size)] for i in range(size)
    ]
    rest = [[Fraction(bound) ** 2 * int(i == j) - gram[i][j] for j in range(size)] for i in range(size)]
    for k in range(size):
        if rest[k][k] <= 0:
            return False
        for i in range(k + 1, size):
            factor = rest[i][k] / rest[k][k]
            rest[i] = [u - factor * v for u, v in zip(rest[i], rest[k], strict=True)]
    return True


@pytest.mark.parametrize("seed", range(20))
def test_spectral_norm_from_above_in_rationals(seed: int) -> None:
    """Single and double largest singular values, rank one, and tiny entries."""
    rng = np.random.default_rng(seed)
    matrix = [
        rng.normal(size=(4, 6)),
        np.outer(rng.normal(size=5), rng.normal(size=3)),
        np.eye(4) * rng.uniform(1, 9),
        rng.normal(size=(5, 5)) * 10.0 ** rng.integers(-9, 1, (5, 5)),
    ][seed % 4]
    high = float(spectral_up(matrix[None])[0])
    assert largest_singular_value_is_at_most(matrix, high)
    assert not largest_singular_value_is_at_most(matrix, high * (1 - 1e-10))


@pytest.mark.parametrize("norm", NORMS)
def test_neuron_slopes_bound_every_gradient(norm: Norm) -> None:
    net = network(*random_layers(np.random.default_rng(3), 3, 6, 5, 2))
    region = box_region(np.full(3, -1.0), np.ones(3))
    bounds = Backward(net.layers).pre_activations(shell_of(region))
    slopes = neuron_slopes(net.layers, bounds, GroundCost(norm, 1), np.zeros(3))
    order = {Norm.INF: 1, Norm.ONE: np.inf, Norm.TWO: 2}[norm]
    for x in np.random.default_rng(0).uniform(-1, 1, (200, 3)):
        first, second = blocks_of(net.layers)[0].weight, blocks_of(net.layers)[1].weight
        on = first @ x + blocks_of(net.layers)[0].bias > 0
        assert (np.linalg.norm(first, order, axis=1) <= slopes[0][0]).all()
        assert (np.linalg.norm(second @ (on[:, None] * first), order, axis=1) <= slopes[1][0]).all()


@pytest.mark.parametrize("seed", range(6))
def test_a_slope_at_a_point(seed: int) -> None:
    """Bracketed where every phase is sure."""
    net = network(*random_layers(np.random.default_rng(seed), 2, 5, 4, 3))
    x = np.random.default_rng(seed).uniform(-1, 1, (20, 2))
    for norm in NORMS:
        low, high = slopes_at(net.layers, x, np.eye(3), GroundCost(norm, 1), np.zeros(2))
        true = np.array([np.linalg.norm(np.array(exact_jacobian(net, p), dtype=float), ORDERS[norm]) for p in x])
        assert (low <= true * (1 + 1e-14)).all()
        assert (true * (1 - 1e-14) <= high).all()
        assert (high - low <= 1e-10 * (1 + true)).all()


def test_no_slope_is_claimed_on_a_kink() -> None:
    """Exactly on it, and as near as rounding cannot tell; a neuron that nothing moves has no say."""
    net = network((np.array([[3.0], [1.0]]), np.array([-0.3, 0.0])), (np.array([[1.0, 1.0]]), np.zeros(1)))
    one = np.eye(1)
    cost, moves = GroundCost(Norm.INF, 1), np.zeros(1)
    points = np.array([[0.1], [np.nextafter(0.1, 1)], [0.0], [0.5], [np.nan], [np.inf]])
    low, high = slopes_at(net.layers, points, one, cost, moves)
    assert (low[[0, 1, 2, 4, 5]] == -math.inf).all()
    assert (high[[0, 1, 2, 4, 5]] == math.inf).all()
    assert low[3] == pytest.approx(4.0, rel=1e-12)
    fixed = network((np.array([[0.0, 1.0], [1.0, 0.0]]), np.zeros(2)), (np.array([[5.0, 2.0]]), np.zeros(1)))
    point = np.array([[0.5, 0.0]])
    assert slopes_at(fixed.layers, point, one, cost, np.zeros(2))[0][0] == -math.inf
    assert slopes_at(fixed.layers, point, one, cost, np.array([0.0, 1.0]))[0][0] == pytest.approx(2.0, rel=1e-12)
