"""What every result promises: the formula of the upper bound, a distribution in the ball, masses that add up."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import groupby

import numpy as np
import pytest
from bounds.tiny import exact_distance, exact_values, network, problem, random_layers

from wdaverify import WdroProblem, verify
from wdaverify.problem import Loss, Norm
from wdaverify.wdro.result import VerificationResult

LOSSES, NORMS = [Loss.MARGIN, Loss.ZERO_ONE], [Norm.INF, Norm.ONE]
BOTH = pytest.mark.parametrize(("loss", "norm"), [(a, b) for a in LOSSES for b in NORMS])


def exact_loss(p: WdroProblem, x: np.ndarray, y: int) -> Fraction:
    z = exact_values(p.network, x)[1]
    margin = max(v for j, v in enumerate(z) if j != y) - z[y]
    return margin if p.loss is Loss.MARGIN else Fraction(int(margin >= 0))


def check(result: VerificationResult) -> None:
    """Everything that holds of every result, in rationals where it is exact."""
    p = result.problem
    weights = [Fraction(v) for v in p.samples.w.tolist()]
    assert result.lower <= result.upper
    assert result.gap == result.upper - result.lower
    assert (result.status == "exact") == (result.gap <= result.gap_asked)
    assert result.nominal <= result.upper
    assert all(value <= result.upper for value in result.attacks.values())
    paid = result.gap_asked if p.loss is Loss.ZERO_ONE else 0.0  # for atoms that are errors in float32 too
    assert all(value <= result.lower + paid for value in result.attacks.values())
    # the distribution
    total, cost = Fraction(0), Fraction(0)
    for atom in result.atoms:
        assert ((atom.point >= p.support.lower) & (atom.point <= p.support.upper)).all()
        assert atom.weight > 0
        value = exact_loss(p, atom.point, int(p.samples.y[atom.sample]))
        assert Fraction(atom.loss) <= value
        assert float(value) == pytest.approx(atom.loss, abs=1e-9)
        delta = [
            Fraction(a) - Fraction(b)
            for a, b in zip(atom.point.tolist(), p.samples.x[atom.sample].tolist(), strict=True)
        ]
        size = [abs(d) for d in delta]
        distance = max(size) if p.cost.norm is Norm.INF else sum(size, Fraction(0))
        assert distance <= Fraction(atom.distance)
        total += Fraction(atom.weight) * value
        cost += Fraction(atom.weight) * distance
    for sample, group in groupby(result.atoms, key=lambda atom: atom.sample):
        assert sum((Fraction(atom.weight) for atom in group), Fraction(0)) == weights[sample]
    assert {atom.sample for atom in result.atoms} == {i for i, w in enumerate(weights) if w > 0}
    assert cost <= Fraction(p.radius)
    assert cost <= Fraction(result.transport_cost) <= Fraction(p.radius)
    assert Fraction(result.lower) <= total
    apart = 1e-9 if result.status == "exact" else result.gap_asked  # where time is up, distances stay as they are known
    assert float(total) == pytest.approx(result.lower, abs=apart)
    # the upper bound
    assert [b.sample for b in result.per_sample] == list(range(len(p.samples)))
    assert [b.weight for b in result.per_sample] == p.samples.w.tolist()
    assert all(b.lower <= b.upper for b in result.per_sample)
    lam = result.multiplier
    if lam is None:
        assert p.radius == 0
        return
    assert lam >= 0
    if p.loss is Loss.MARGIN:
        phi = [b.upper for b in result.per_sample]
    else:
        phi = [
            1.0 if b.lower == 0 else max(0.0, 1.0 - lam * b.lower) if math.isfinite(b.lower) else 0.0
            for b in result.per_sample
        ]
    dual = lam * p.radius + math.fsum(float(w) * v for w, v in zip(p.samples.w, phi, strict=True) if w > 0)
    assert dual == pytest.approx(result.upper, abs=1e-9)
    if result.vouched_upper == "checked" and p.loss is Loss.MARGIN:
        assert all(b.vouched == "checked" for b in result.per_sample if b.weight > 0)


def random_question(seed: int, loss: Loss, norm: Norm, radius: float, **changes: object) -> WdroProblem:
    rng = np.random.default_rng(seed)
    net = network(*random_layers(rng, 3, 5, 5, 3))
    x = rng.uniform(size=(5, 3))
    y = net.forward(x).argmax(axis=1)
    y[0] = (y[0] + 1) % 3
    w = rng.uniform(size=5)
    options: dict[str, object] = {"w": w / w.sum(), "loss": loss, "norm": norm}
    return problem(net, x, y, radius, **(options | changes))  # type: ignore[arg-type]


@BOTH
@pytest.mark.parametrize("radius", [0.0, 1e-12, 1e-5, 0.03, 0.3, 1e6])
def test_invariants(radius: float, loss: Loss, norm: Norm) -> None:
    for seed in range(2):
        result = verify(random_question(seed, loss, norm, radius), solver="gurobi")
        assert result.status == "exact"
        check(result)


@BOTH
@pytest.mark.parametrize("limit", [0.0, 0.1])
def test_invariants_of_open_brackets(limit: float, loss: Loss, norm: Norm) -> None:
    check(verify(random_question(3, loss, norm, 0.1), solver="gurobi", time_limit=limit))


@BOTH
@pytest.mark.parametrize("gap", [1e-9, 1e-3, 0.1])
def test_invariants_at_other_gaps(gap: float, loss: Loss, norm: Norm) -> None:
    result = verify(random_question(4, loss, norm, 0.1), solver="gurobi", gap=gap)
    check(result)
    assert result.status == "exact"


@BOTH
def test_zero_weights_count_for_nothing(loss: Loss, norm: Norm) -> None:
    whole = random_question(5, loss, norm, 0.1, w=[0.0, 0.5, 0.0, 0.25, 0.25])
    result = verify(whole, solver="gurobi")
    check(result)
    kept = [1, 3, 4]
    s = whole.samples
    part = problem(whole.network, s.x[kept], s.y[kept], 0.1, w=[0.5, 0.25, 0.25], loss=loss, norm=norm)
    assert result.value == pytest.approx(verify(part, solver="gurobi").value, abs=2e-6)


@BOTH
def test_beyond_the_diameter_every_sample_is_at_its_worst(loss: Loss, norm: Norm) -> None:
    p = random_question(6, loss, norm, 4.0)
    result = verify(p, solver="gurobi")
    check(result)
    alone = [
        verify(problem(p.network, p.samples.x[i], [int(p.samples.y[i])], 4.0, loss=loss, norm=norm), solver="gurobi")
        for i in range(5)
    ]
    mean = math.fsum(float(w) * r.value for w, r in zip(p.samples.w, alone, strict=True))
    assert result.value == pytest.approx(mean, abs=1e-5)
    assert result.multiplier == pytest.approx(0.0, abs=1e-5)
    assert verify(random_question(6, loss, norm, 1e6), solver="gurobi").value == pytest.approx(result.value, abs=2e-6)


@pytest.mark.parametrize("norm", NORMS)
def test_zero_one_with_every_sample_wrong(norm: Norm) -> None:
    p = random_question(7, Loss.ZERO_ONE, norm, 0.1)
    wrong = (p.network.forward(p.samples.x).argmax(axis=1) + 1) % 3
    result = verify(problem(p.network, p.samples.x, wrong, 0.1, loss=Loss.ZERO_ONE, norm=norm), solver="gurobi")
    check(result)
    assert (result.lower, result.upper) == (pytest.approx(1.0, abs=1e-12), pytest.approx(1.0, abs=1e-12))
    assert result.statistics.solves == 0
    assert result.vouched_upper == "checked"


@pytest.mark.parametrize("solver", ["highs", "gurobi"])
@pytest.mark.parametrize("norm", NORMS)
def test_zero_one_where_no_error_can_be_reached(norm: Norm, solver: str) -> None:
    """Margin -1/4 - |relu| over the box, though bounds alone do not see it: a solver has to say that no error exists."""
    rng = np.random.default_rng(0)
    (w1, b1), _ = random_layers(rng, 3, 6, 2)
    last = np.vstack([np.zeros(6), -np.abs(rng.normal(size=6))])
    net = network((w1, b1), (last, np.array([0.0, -0.25])))
    result = verify(
        problem(net, rng.uniform(size=(3, 3)), [0, 0, 0], 0.3, loss=Loss.ZERO_ONE, norm=norm), solver=solver
    )
    check(result)
    assert (result.lower, result.upper) == (0.0, 0.0)
    assert [b.lower for b in result.per_sample] == [math.inf] * 3


@BOTH
def test_one_sample_and_two_classes(loss: Loss, norm: Norm) -> None:
    rng = np.random.default_rng(8)
    net = network(*random_layers(rng, 1, 4, 2))
    result = verify(
        problem(net, np.array([[0.5]]), [int(net.forward(np.array([[0.5]]))[0].argmax())], 0.2, loss=loss, norm=norm)
    )
    check(result)
    assert result.status == "exact"


@BOTH
def test_features_that_cannot_move(loss: Loss, norm: Norm) -> None:
    p = random_question(9, loss, norm, 0.2)
    lower, upper = np.zeros(3), np.ones(3)
    x = p.samples.x.copy()
    x[:, 1] = lower[1] = upper[1] = 0.375
    result = verify(
        problem(p.network, x, p.samples.y, 0.2, loss=loss, norm=norm, lower=lower, upper=upper), solver="gurobi"
    )
    check(result)
    assert result.status == "exact"
    assert all(atom.point[1] == 0.375 for atom in result.atoms)


@BOTH
def test_a_support_of_one_point(loss: Loss, norm: Norm) -> None:
    p = random_question(10, loss, norm, 0.2)
    x = np.repeat(p.samples.x[:1], 2, axis=0)
    result = verify(problem(p.network, x, [0, 1], 0.2, loss=loss, norm=norm, lower=x[0], upper=x[0]), solver="gurobi")
    check(result)
    assert result.value == pytest.approx(result.nominal, abs=1e-9)


@BOTH
def test_a_support_that_is_all_but_one_point(loss: Loss, norm: Norm) -> None:
    net = random_question(11, loss, norm, 0.2).network
    result = verify(
        problem(net, np.zeros((2, 3)), [0, 1], 0.2, loss=loss, norm=norm, lower=0.0, upper=5e-324), solver="gurobi"
    )
    assert result.lower == pytest.approx(result.nominal, abs=1e-9)
    assert result.upper == pytest.approx(result.nominal, abs=1e-9)


@BOTH
def test_constant_networks_and_ties_everywhere(loss: Loss, norm: Norm) -> None:
    rng = np.random.default_rng(12)
    x = rng.uniform(size=(3, 2))
    for offset, margin in ((1.0, -1.0), (0.0, 0.0)):
        net = network((rng.normal(size=(4, 2)), np.zeros(4)), (np.zeros((2, 4)), np.array([offset, 0.0])))
        result = verify(problem(net, x, [0, 0, 0], 0.1, loss=loss, norm=norm), solver="gurobi")
        check(result)
        assert result.value == pytest.approx(margin if loss is Loss.MARGIN else float(margin >= 0), abs=1e-9)


def test_distances_of_the_grid_are_exact() -> None:
    """The helper of these tests."""
    assert exact_distance(Norm.ONE, np.array([0.5, -0.25])) == Fraction(3, 4)
    assert exact_distance(Norm.INF, np.array([0.5, -0.25])) == Fraction(1, 2)


# Rescaling a ReLU network changes nothing but the size of its numbers


@BOTH
@pytest.mark.parametrize("solver", ["highs", "gurobi"])
@pytest.mark.parametrize("power", [-33, -27, -20, 20, 33])
def test_rescaled_layers_keep_the_value(power: int, solver: str, loss: Loss, norm: Norm) -> None:
    """``relu(s z) / s = relu(z)``: at s = 2^-33 first-layer weights are about 1e-10, below what solvers look at."""
    rng = np.random.default_rng(0)
    (w1, b1), (w2, b2) = random_layers(rng, 2, 5, 2)
    x = rng.uniform(size=(3, 2))
    s = 2.0**power
    plain, scaled = network((w1, b1), (w2, b2)), network((w1 * s, b1 * s), (w2 / s, b2))
    y = plain.forward(x).argmax(axis=1)
    truth, result = (verify(problem(net, x, y, 0.1, loss=loss, norm=norm), solver=solver) for net in (plain, scaled))
    assert truth.status == "exact"
    assert result.lower <= truth.upper + 1e-6
    assert truth.lower <= result.upper + 1e-6


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("solver", ["highs", "gurobi"])
@pytest.mark.parametrize("power", [-27, 27])
def test_zero_one_does_not_depend_on_the_scale_of_the_logits(power: int, solver: str, norm: Norm) -> None:
    rng = np.random.default_rng(0)
    (w1, b1), (w2, b2) = random_layers(rng, 2, 5, 2)
    x = rng.uniform(size=(3, 2))
    s = 2.0**power
    plain, scaled = network((w1, b1), (w2, b2)), network((w1, b1), (w2 * s, b2 * s))
    y = plain.forward(x).argmax(axis=1)
    truth, result = (
        verify(problem(net, x, y, 0.1, loss=Loss.ZERO_ONE, norm=norm), solver=solver) for net in (plain, scaled)
    )
    assert truth.status == "exact"
    assert result.lower <= truth.upper + 1e-6
    assert truth.lower <= result.upper + 1e-6
