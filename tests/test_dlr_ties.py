"""Ties of three logits: V of the DLR loss is +inf where one lies within reach, and only there, decided by hand and in fractions."""

from __future__ import annotations

import json
import math
from fractions import Fraction
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from bounds.tiny import network, random_layers
from builders import write_mlp
from jsonschema import Draft202012Validator

from wdaverify import Loss, Norm, Support, WdroProblem, cli, verify
from wdaverify.errors import ProblemError
from wdaverify.ground import GroundCost
from wdaverify.network.model import Array, ReluNetwork
from wdaverify.report import as_json
from wdaverify.report.page.bounds import verification_part
from wdaverify.report.page.document import as_document
from wdaverify.report.summary import verification_summary
from wdaverify.samples import make_samples
from wdaverify.wdro.ceiling import ceiling
from wdaverify.wdro.result import Reason
from wdaverify.wdro.ties import find_tie
from wdaverify.witness.tie import tie_at

F = Fraction
Layers = list[tuple[Array, Array]]


def affine(*rows: tuple[float, float]) -> Layers:
    """Logits ``a x + b`` of one input, the first the label's."""
    return [(np.array([[a] for a, _ in rows]), np.array([b for _, b in rows]))]


def bumped(*rows: tuple[float, float]) -> Layers:
    """Logits ``a |x - 1/2| + b``."""
    hidden = np.array([[1.0], [-1.0]]), np.array([-0.5, 0.5])
    return [hidden, (np.array([[a, a] for a, _ in rows]), np.array([b for _, b in rows]))]


CLOSE = affine((0.0, 0.0), (1.0, 1.0), (0.0, 1.0), (-1.0, 1.0))
"""0, 1 + x, 1, 1 - x: the last three tie at 0; the loss is ``(1 + x) / (2 x)`` for x > 0."""
THIRD = affine((0.0, 0.0), (1.0, 0.0), (-2.0, 1.0), (4.0, -1.0))
"""0, x, 1 - 2 x, 4 x - 1: the last three tie at 1/3, which is no double."""


def ask(
    net: ReluNetwork,
    x: float | Array = 0.5,
    *,
    radius: float = 0.1,
    order: float = 1,
    norm: Norm = Norm.INF,
    low: float = 0.0,
    high: float = 1.0,
    label: int = 0,
) -> WdroProblem:
    point = np.atleast_2d(np.asarray(x, np.float64))
    box = Support.box(low, high, net.n_inputs)
    return WdroProblem(
        net, make_samples(point, np.array([label])), GroundCost(norm, order=order), box, Loss.DLR, radius
    )


def logits(layers: Layers, x: list[F]) -> list[F]:
    """By fractions, sharing nothing with the package."""
    for k, (weight, bias) in enumerate(layers):
        h = [max(v, F(0)) for v in x] if k else x
        x = [
            sum((F(float(w)) * v for w, v in zip(row, h, strict=True)), F(float(b)))
            for row, b in zip(weight, bias, strict=True)
        ]
    return x


def loss(layers: Layers, x: list[F], label: int) -> F:
    z = logits(layers, x)
    ranked = sorted(z, reverse=True)
    return (max(v for j, v in enumerate(z) if j != label) - z[label]) / (ranked[0] - ranked[2])


@pytest.mark.parametrize("order", [1, math.inf])
@pytest.mark.parametrize("solver", ["auto", "highs"])
@pytest.mark.parametrize("least", [1e-5, 1e-7, 1e-9, 1e-12])
def test_a_denominator_that_is_small_and_not_zero_is_not_unbounded(least: float, solver: str, order: float) -> None:
    """The loss on [d, 1] is largest at d, (1 + d) / (2 d); our own bounds come close to it where solvers give up."""
    radius = 2.0 if order == 1 else 1.0
    result = verify(ask(network(*CLOSE), radius=radius, order=order, low=least), gap=1e-3, solver=solver)
    truth = (1 + F(least)) / (2 * F(least))
    assert result.reason is not Reason.UNBOUNDED
    assert result.tie is None
    assert F(result.lower) <= truth <= F(result.upper)
    assert result.upper <= 1.1 * float(truth)
    assert result.lower >= 0.9 * float(truth)


def test_a_tie_at_a_corner_or_a_kink_is_found() -> None:
    at_corner = verify(ask(network(*CLOSE)))
    assert at_corner.reason is Reason.UNBOUNDED
    assert at_corner.tie is not None
    assert at_corner.tie.point == (0,)
    at_kink = verify(ask(network(*bumped((0, 0), (1, 1), (0, 1), (-1, 1))), 0.1))
    assert at_kink.reason is Reason.UNBOUNDED
    assert at_kink.tie is not None
    assert at_kink.tie.point == (F(1, 2),)
    assert at_kink.tie.classes == (1, 2, 3)


@pytest.mark.parametrize("solver", ["auto", "highs"])
def test_a_tie_that_is_no_double_is_shown_by_its_fraction(solver: str) -> None:
    result = verify(ask(network(*THIRD)), solver=solver)
    assert result.reason is Reason.UNBOUNDED
    assert result.tie is not None
    assert result.tie.point == (F(1, 3),)
    assert logits(THIRD, [F(1, 3)]) == [0, F(1, 3), F(1, 3), F(1, 3)]
    assert result.upper == result.value == math.inf
    assert 100 < result.lower < math.inf
    [moved] = [atom for atom in result.atoms if atom.distance > 0]
    assert F(moved.loss) <= loss(THIRD, [F(v) for v in moved.point.tolist()], 0)


@pytest.mark.parametrize("norm", [Norm.INF, Norm.ONE])
def test_at_order_inf_the_closed_ball_decides_to_the_last_bit(norm: Norm) -> None:
    """From 1/4 the tie at 1/3 is 1/12 away, between two doubles."""
    near, far = 1 / 12, math.nextafter(1 / 12, 1.0)
    assert F(near) < F(1, 12) < F(far)
    inside = verify(ask(network(*THIRD), 0.25, radius=far, order=math.inf, norm=norm))
    assert inside.reason is Reason.UNBOUNDED
    outside = verify(ask(network(*THIRD), 0.25, radius=near, order=math.inf, norm=norm), time_limit=30)
    assert outside.reason is not Reason.UNBOUNDED
    assert F(outside.lower) <= loss(THIRD, [F(1, 4) + F(near)], 0) <= outside.upper
    half = affine((0, 0), (1, 0), (-1, 1), (0, 0.5))  # ties at 1/2
    exactly = verify(ask(network(*half), 0.25, radius=0.25, order=math.inf, norm=norm))
    assert exactly.reason is Reason.UNBOUNDED


def test_a_tie_with_the_label_or_without_a_denominator_around_it_counts_for_nothing() -> None:
    with_label = ask(network(*affine((0, 0.5), (1, 0), (-1, 1), (0, 0.5))), 0.1)
    assert find_tie(with_label, 0, np.array([0.5]), seed=0, deadline=math.inf) is None
    assert verify(with_label, time_limit=20).reason is not Reason.UNBOUNDED
    # logits x, then 1/2 three times up to x = 1/2: no denominator where the label's is below; beyond it the label is first
    hidden = np.array([[1.0]]), np.array([-0.5])
    flat = [hidden, (np.array([[2.0], [1.0], [0.0], [0.0]]), np.array([0.25, 0.5, 0.5, 0.5]))]
    asked = ask(network(*flat), 1.0)
    for point in (0.0, 0.25, 0.49):
        assert find_tie(asked, 0, np.array([point]), seed=0, deadline=math.inf) is None
    # where they come apart the logits tie above the label's: at 1/2
    assert find_tie(asked, 0, np.array([0.5]), seed=0, deadline=math.inf) is not None


def crossing(layers: Layers, rivals: tuple[int, ...]) -> list[F] | None:
    """Where three affine logits of two inputs tie, by Cramer's rule."""
    (weight, bias), (a, b, c) = layers[0], rivals
    rows = [
        [F(float(weight[p][k])) - F(float(weight[q][k])) for k in (0, 1)] + [F(float(bias[q])) - F(float(bias[p]))]
        for p, q in ((a, b), (b, c))
    ]
    (p, q, r), (s, t, u) = rows
    det = p * t - q * s
    return None if det == 0 else [(r * t - q * u) / det, (p * u - r * s) / det]


@pytest.mark.parametrize("seed", [pytest.param(s, marks=[] if s < 5 else [pytest.mark.full]) for s in range(40)])
def test_two_inputs_and_affine_logits_against_cramers_rule(seed: int) -> None:
    rng = np.random.default_rng(seed)
    classes = 4 + seed % 2
    layers = random_layers(rng, 2, classes)
    label = int(rng.integers(classes))
    rivals = [j for j in range(classes) if j != label]
    ties = []
    for three in combinations(rivals, 3):
        at = crossing(layers, three)
        if at is not None and all(0 <= v <= 1 for v in at):
            z = logits(layers, at)
            ties += [at] if z[three[0]] == max(z) > z[label] else []
    result = verify(ask(network(*layers), rng.uniform(size=2), label=label), gap=1e-2, time_limit=20)
    assert (result.reason is Reason.UNBOUNDED) == bool(ties)
    if result.tie is not None:
        assert list(result.tie.point) in ties


def test_a_witness_is_held_to_everything() -> None:
    asked = ask(network(*THIRD), 0.25, radius=0.125, order=math.inf)
    tie, toward = [F(1, 3)], [[F(1, 4)]]
    found = tie_at(asked, 0, tie, toward)
    assert found is not None
    assert found.classes == (1, 2, 3)
    assert tie_at(asked, 0, [F(1, 3) + F(1, 10**40)], toward) is None  # no tie
    assert tie_at(asked, 0, tie, [[F(1, 3)]]) is None  # no way from it
    assert tie_at(asked, 0, tie, [[F(3, 8) + F(1, 10**40)]]) is None  # a way that leaves the ball
    assert tie_at(ask(network(*THIRD), 0.5, low=0.375), 0, tie, [[F(1, 2)]]) is None  # outside the support
    assert tie_at(ask(network(*THIRD), 0.5, label=1), 0, tie, toward) is None  # the label is one of them


@pytest.mark.parametrize("seed", range(4))
def test_no_loss_is_above_the_ceiling(seed: int) -> None:
    """Functionals bounded over a box by their exact largest values, rounded up; losses in fractions at random points."""
    rng = np.random.default_rng(seed)
    classes = 4 + seed % 2
    layers = random_layers(rng, 1, classes)
    ends = [[float(v) for v in logits(layers, [F(e)])] for e in (0.0, 2.0**-6)]

    def bound(rows: Array) -> Array:
        exact = [max(sum(F(float(c)) * F(v) for c, v in zip(row, z, strict=True)) for z in ends) for row in rows]
        return np.array([math.nextafter(float(v), math.inf) for v in exact])

    for label in (0, classes - 1):
        top = ceiling(bound, classes, label)
        assert top >= 1
        for k in range(65):
            point = [F(k, 64 * 64)]
            ranked = sorted(logits(layers, point), reverse=True)
            if ranked[0] > ranked[2]:
                assert float(loss(layers, point, label)) <= top * (1 + 1e-9)


def test_the_command_line_says_it_and_exits_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    net, data, out = tmp_path / "third.onnx", tmp_path / "third.npz", tmp_path / "out.json"
    write_mlp(net, THIRD)
    np.savez(data, x=np.array([[0.25]]), y=np.array([0]))
    question = ["verify", str(net), str(data), "--radius", "0.05", "--loss", "dlr", "--jobs", "1"]
    assert cli._run([*question, "--output", str(out), "--threshold", "1e300"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "answer falsified: V > 1e+300 is proven" in said
    assert "the supremum is +inf" in said
    assert "V <= 1e+300: no" in said
    document = json.loads(out.read_text())
    Draft202012Validator(as_json.schema("verification")).validate(document)
    assert (document["status"], document["reason"], document["upper"]) == ("bracket", "unbounded", "inf")
    assert document["tie"]["point"] == ["1/3"]
    assert document["tie"]["classes"] == [1, 2, 3]
    part = verification_part(as_document(document), None, "k", None)
    assert "falsified" in str(part)
    assert "The supremum is +inf" in str(part)
    jobs = tmp_path / "jobs.toml"
    jobs.write_text(f'[[job]]\nnetwork = "{net}"\ndata = "{data}"\nradius = 0.05\nloss = "dlr"\njobs = 1\n')
    assert cli._run(["batch", str(jobs), "--output", str(out)]) == 0
    assert json.loads(out.read_text())["done"] is True
    as_document(json.loads(out.read_text()))
    compared = ["compare", *question[1:], "--rungs", "exact"]
    assert cli._run(compared) == 0


def test_where_a_tie_is_neither_shown_nor_excluded_the_bracket_says_so() -> None:
    """The tie at 1/2 is out of reach by 3e-17, less than any solver sees, and than our own bounds can tell."""
    half = network(*affine((0, 0), (1, 0), (-1, 1), (0, 0.5)))
    radius = math.nextafter(0.2, 0.0)
    assert 0 < F(1, 2) - F(0.3) - F(radius) < F(1, 10**16)
    result = verify(ask(half, 0.3, radius=radius, order=math.inf), threshold=1e300, time_limit=30)
    assert (result.reason, result.upper, result.tie) == (Reason.STALLED, math.inf, None)
    assert result.decision == "undecided"
    assert "neither proved in" in verification_summary(result)
    with pytest.raises(ValueError, match="no value"):
        _ = result.value


def test_two_classes_and_a_label_cost_are_refused_each_with_its_own_words() -> None:
    two = network((np.array([[1.0], [-1.0]]), np.zeros(2)))
    with pytest.raises(ProblemError, match="at least 3 classes") as refused:
        ask(two)
    assert "label" not in str(refused.value)
    samples = make_samples(np.array([[0.5]]), np.array([0]))
    with pytest.raises(ProblemError, match="label cost 2: its labels are fixed") as refused:
        WdroProblem(network(*THIRD), samples, GroundCost(Norm.INF, 1, None, 2.0), Support.box(0, 1, 1), Loss.DLR, 0.1)
    assert "classes" not in str(refused.value)
