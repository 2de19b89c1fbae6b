"""Witnesses: everything that they claim is recomputed here in fractions from the atoms alone."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from rationals import as_problem, linear, random_network, true_distance, true_loss

from wdaverify.network.model import readonly
from wdaverify.problem import GroundCost, Loss, Norm, WdroProblem
from wdaverify.rounding import float_up
from wdaverify.transport.distribution import Distribution
from wdaverify.witness import evaluate as module
from wdaverify.witness.evaluate import Witness, clean_losses, distances_up, evaluate, nominal_bracket


def proposal(sample: list[int], point: list[list[float]], mass: list[float]) -> Distribution:
    shaped = np.array(point, dtype=np.float64).reshape(len(sample), -1)
    return Distribution(np.array(sample, dtype=np.int64), shaped, np.array(mass, dtype=np.float64))


def check(problem: WdroProblem, witness: Witness) -> None:
    """All that a witness says, from its atoms, in fractions."""
    samples = problem.samples
    weights = [Fraction(0)] * len(samples)
    value, cost = Fraction(0), Fraction(0)
    for atom in witness.atoms:
        x, y = samples.x[atom.sample], int(samples.y[atom.sample])
        assert atom.weight > 0
        assert ((atom.point >= problem.support.lower) & (atom.point <= problem.support.upper)).all()
        distance = true_distance(problem.cost.norm, atom.point, x)
        assert distance <= Fraction(atom.distance)
        loss = true_loss(problem, atom.point, y)
        assert Fraction(atom.loss) <= loss
        if problem.loss is Loss.ZERO_ONE:
            assert Fraction(atom.loss) == loss
        else:
            assert float(loss) - atom.loss <= 1e-9 * (1 + abs(atom.loss))
        weights[atom.sample] += Fraction(atom.weight)
        value += Fraction(atom.weight) * loss
        cost += Fraction(atom.weight) * Fraction(atom.distance) ** problem.cost.order
    assert weights == [Fraction(float(w)) for w in samples.w], "the weights of a sample sum to w_i"
    assert cost <= Fraction(problem.radius) ** problem.cost.order, "the budget holds"
    assert cost <= Fraction(witness.transport_cost) ** problem.cost.order
    assert witness.transport_cost <= problem.radius
    assert Fraction(witness.lower) <= value, "the bound is a lower one"
    assert float(value) - witness.lower <= 1e-9 * (1 + abs(witness.lower))
    assert [a.sample for a in witness.atoms] == sorted(a.sample for a in witness.atoms)
    for i, w in enumerate(samples.w):
        moved = sum((Fraction(a.weight) for a in witness.atoms if a.sample == i and a.distance > 0), Fraction(0))
        assert moved <= Fraction(float(witness.moved[i])) <= Fraction(float(w))


def random_question(seed: int, loss: Loss, norm: Norm) -> tuple[WdroProblem, Distribution]:
    rng = np.random.default_rng(seed)
    network = random_network(rng)
    n, many = network.n_inputs, int(rng.integers(1, 7))
    x = rng.random((many, n))
    w = rng.random(many) * (rng.random(many) > 0.2)
    w = w / w.sum() if w.any() else np.full(many, 1 / many)
    y = network.forward(x).argmax(axis=1)
    y = np.where(rng.random(many) < 0.2, 0, y)
    problem = as_problem(network, x, y.tolist(), w.tolist(), float(rng.choice([0.0, 1e-9, 0.03, 0.3, 5.0])), loss, norm)
    moves = int(rng.integers(0, 15))
    sample = rng.integers(0, many, moves)
    mass = w[sample] * rng.random(moves) * rng.choice([1.0, 0.3, 1e-18, 4.0], moves)
    point = rng.random((moves, n))
    point[: moves // 4] = rng.choice([0.0, 1.0], (moves // 4, n))
    return problem, Distribution(sample, point, mass)


@pytest.mark.parametrize("norm", [Norm.INF, Norm.ONE])
@pytest.mark.parametrize("loss", [Loss.MARGIN, Loss.ZERO_ONE])
@pytest.mark.parametrize("seed", range(40))
def test_a_witness_holds_what_it_says(seed: int, loss: Loss, norm: Norm) -> None:
    problem, distribution = random_question(seed, loss, norm)
    witness = evaluate(problem, distribution)
    check(problem, witness)
    low, high = nominal_bracket(problem)
    weights = [Fraction(float(w)) for w in problem.samples.w]
    losses = [true_loss(problem, x, int(y)) for x, y in zip(problem.samples.x, problem.samples.y, strict=True)]
    assert Fraction(low) <= sum(w * v for w, v in zip(weights, losses, strict=True)) <= Fraction(high)
    assert witness.lower >= low
    clean = clean_losses(problem)
    for i, loss_i in enumerate(losses):
        assert Fraction(float(clean[0][i])) <= loss_i <= Fraction(float(clean[1][i]))


# z_0 - z_1 = 1 - 2 x_1 for label 0 to 1: an error from x_1 = 1/2 on
STEP = linear([[1.0, -1.0], [0.0, 1.0]], [0.5, 0.0])
"""Margin of label 0: ``2 x_1 - x_0 - 1/2``."""


def step_problem(radius: float, loss: Loss, w: list[float] | None = None) -> WdroProblem:
    weights = w or [1 / 3, 2 / 3]
    return as_problem(STEP, np.zeros((len(weights), 2)), [0] * len(weights), weights, radius, loss)


def test_a_move_that_fits_is_kept_as_it_is() -> None:
    problem = step_problem(0.25, Loss.ZERO_ONE, [0.5, 0.5])
    witness = evaluate(problem, proposal([1], [[0.0, 0.25]], [0.5]))
    assert (witness.lower, witness.transport_cost, witness.kept) == (0.5, 0.125, 1.0)
    assert [(a.sample, a.weight, a.distance, a.loss) for a in witness.atoms] == [
        (0, 0.5, 0.0, 0.0),
        (1, 0.5, 0.25, 1.0),
    ]
    check(problem, witness)


def test_a_tie_is_an_error_and_one_ulp_less_is_none() -> None:
    problem = step_problem(1.0, Loss.ZERO_ONE)
    tie = evaluate(problem, proposal([0], [[0.0, 0.25]], [1 / 3]))
    short = evaluate(problem, proposal([0], [[0.0, np.nextafter(0.25, 0)]], [1 / 3]))
    assert (tie.lower, short.lower) == (1 / 3, 0.0)
    assert [a.distance for a in short.atoms] == [0.0, 0.0], "a move that does not gain is dropped"


def test_masses_are_shrunk_onto_the_budget() -> None:
    problem = step_problem(0.1, Loss.MARGIN)
    witness = evaluate(problem, proposal([0, 1], [[0.0, 0.7], [0.0, 0.9]], [1 / 3, 2 / 3]))
    check(problem, witness)
    assert witness.kept == pytest.approx(0.1 / (0.7 / 3 + 0.9 * 2 / 3))
    assert witness.transport_cost == pytest.approx(0.1, abs=1e-15)
    assert witness.lower == pytest.approx(-0.5 + 2 * 0.1, abs=1e-12)


def test_masses_beyond_the_weight_are_clipped() -> None:
    problem = step_problem(5.0, Loss.ZERO_ONE, [0.1, 0.9])
    witness = evaluate(problem, proposal([0, 0, 0], [[0.0, 0.5], [0.0, 0.6], [0.0, 0.7]], [0.07, 0.07, 3.0]))
    check(problem, witness)
    assert witness.moved.tolist() == [0.1, 0.0]
    assert witness.lower == 0.1


def test_masses_below_the_resolution_stay() -> None:
    problem = step_problem(5.0, Loss.ZERO_ONE, [0.1, 0.9])
    witness = evaluate(problem, proposal([0], [[0.0, 0.5]], [1e-18]))
    assert witness.moved.tolist() == [0.0, 0.0]
    check(problem, witness)


def test_radius_zero_and_no_moves_give_the_nominal_loss() -> None:
    problem = step_problem(0.0, Loss.MARGIN)
    witness = evaluate(problem, proposal([0], [[0.0, 0.5]], [1 / 3]))
    empty = evaluate(problem, Distribution(np.zeros(0, np.int64), np.zeros((0, 2)), np.zeros(0)))
    assert witness.lower == empty.lower == nominal_bracket(problem)[0]
    assert witness.transport_cost == 0.0
    assert all(a.distance == 0 for a in witness.atoms)


def test_zero_weights_carry_no_atom() -> None:
    witness = evaluate(step_problem(1.0, Loss.ZERO_ONE, [0.0, 1.0]), proposal([0], [[0.0, 0.5]], [0.0]))
    assert [a.sample for a in witness.atoms] == [1]


def test_float32_losses_are_those_of_float32() -> None:
    """1 + 2^-30 is 1 in float32: an error by a hair becomes a tie there, and the other way round."""
    network = linear([[1.0, 0.0], [0.0, 1.0]], [0.0, 0.0])
    hair = 0.5 - 2.0**-40
    problem = as_problem(network, np.array([[0.5, hair], [0.5, 0.25]]), [0, 0], [0.5, 0.5], 0.0, Loss.ZERO_ONE)
    atoms = evaluate(problem, Distribution(np.zeros(0, np.int64), np.zeros((0, 2)), np.zeros(0))).atoms
    assert [(a.loss, a.loss_float32) for a in atoms] == [(0.0, 1.0), (0.0, 0.0)]


@pytest.mark.parametrize(
    ("sample", "point", "mass", "complaint"),
    [
        ([0], [[0.0, 1.0 + 2**-52]], [0.1], "support"),
        ([0], [[-5e-324, 0.0]], [0.1], "support"),
        ([0], [[np.nan, 0.0]], [0.0], "support"),
        ([0], [[0.0, 0.0]], [-1e-300], "negative"),
        ([0], [[0.0, 0.0]], [np.nan], "negative"),
        ([2], [[0.0, 0.0]], [0.1], "unknown"),
        ([-1], [[0.0, 0.0]], [0.1], "unknown"),
        ([0], [[0.0, 0.0, 0.0]], [0.1], "shapes"),
        ([0], [[0.0, 0.0]], [0.1, 0.1], "shapes"),
    ],
)
def test_refuses_what_is_no_distribution(
    sample: list[int], point: list[list[float]], mass: list[float], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        evaluate(step_problem(1.0, Loss.MARGIN), proposal(sample, point, mass))


@pytest.mark.parametrize("norm", [Norm.INF, Norm.ONE])
def test_distances_are_the_least_doubles_above_the_truth(norm: Norm) -> None:
    rng = np.random.default_rng(5)
    x, origin = rng.random((60, 9)), rng.random((60, 9)) * 10.0 ** rng.integers(-20, 1, (60, 9))
    x[:20] = origin[:20] + 0.1 * rng.choice([-1, 1], (20, 9))
    x[20] = origin[20]
    for k, up in enumerate(distances_up(GroundCost(norm, 1), x, origin)):
        assert float(up) == float_up(true_distance(norm, x[k], origin[k]))


@pytest.mark.parametrize("seed", range(8))
def test_the_checks_above_catch_masses_that_were_not_shrunk(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(seed)
    problem = step_problem(0.1, Loss.MARGIN)
    distribution = proposal([0, 1], rng.uniform(0.5, 1.0, (2, 2)).tolist(), [1 / 3, 2 / 3])
    check(problem, evaluate(problem, distribution))
    monkeypatch.setattr(module, "_shrink", lambda _problem, moves: (moves, 1.0))
    with pytest.raises(AssertionError, match="budget"):
        check(problem, evaluate(problem, distribution))


def test_the_checks_above_catch_a_bound_rounded_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The masses 1/3, 0.3 and 0.1 of errors sum to no double; the fourth sample is none."""
    x = readonly(np.array([[0.0, 1.0]] * 3 + [[0.0, 0.0]]))
    problem = as_problem(STEP, x, [0] * 4, [1 / 3, 0.3, 0.1, 1 - 1 / 3 - 0.3 - 0.1], 0.0, Loss.ZERO_ONE)
    nothing = Distribution(np.zeros(0, np.int64), np.zeros((0, 2)), np.zeros(0))
    check(problem, evaluate(problem, nothing))
    monkeypatch.setattr(module, "float_down", float_up)
    with pytest.raises(AssertionError, match="lower"):
        check(problem, evaluate(problem, nothing))


@pytest.mark.parametrize("weights", [None, np.array([0.5, 3.0, 0.1])])
@pytest.mark.parametrize("norm", list(Norm))
def test_rounding_takes_no_point_beyond_an_edge(norm: Norm, weights: np.ndarray | None) -> None:
    """Against rational arithmetic: what is told lies beyond the edge only where the point does."""
    rng, cost = np.random.default_rng(0), GroundCost(norm, 1, weights)
    scale = [Fraction(c) for c in cost.scale(3).tolist()]
    kept = 0
    for _ in range(300):
        x, origin = rng.integers(-4, 5, (2, 1, 3)) / rng.choice([1, 2, 3])
        moves = [abs(Fraction(a) - Fraction(b)) * c for a, b, c in zip(x[0], origin[0], scale, strict=True)]
        size = {Norm.INF: max(moves), Norm.ONE: sum(moves), Norm.TWO: sum(m * m for m in moves)}[norm]
        near = math.sqrt(size) if norm is Norm.TWO else float(size)
        for edge in (near, np.nextafter(near, 0), np.nextafter(near, 9), 0.9 * near, 1.1 * near):
            within = size <= Fraction(float(edge)) ** (2 if norm is Norm.TWO else 1)
            assert (distances_up(cost, x, origin, float(edge))[0] <= edge) == within
            kept += within and distances_up(cost, x, origin)[0] > edge
    assert kept > 50 or (weights is None and norm is not Norm.TWO)


def test_the_checks_above_catch_distances_rounded_to_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = as_problem(STEP, np.array([[0.1, 0.1]]), [0], [1.0], 1.0, Loss.MARGIN)
    distribution = proposal([0], [[0.0, 0.3]], [0.5])
    check(problem, evaluate(problem, distribution))
    monkeypatch.setattr(module, "distances_up", lambda *given: np.nextafter(distances_up(*given), 0))
    with pytest.raises(AssertionError):
        check(problem, evaluate(problem, distribution))
