"""Errors that are exported flip where they are used: in float32, within the gap asked for; and where they do not, it is said."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bounds.tiny import network, problem, random_layers
from layers import fused_blocks
from witness.rationals import true_distance, true_margins

from wdaverify import GroundCost, Loss, Norm, Support, WdroProblem, distances, load_network, load_samples, verify
from wdaverify.ground import LinearRows
from wdaverify.network.model import readonly
from wdaverify.report.distances import distances_json, distances_summary
from wdaverify.report.summary import verification_summary
from wdaverify.wdro import reproduced
from wdaverify.wdro.attacking import attack
from wdaverify.wdro.distances import DistancesResult
from wdaverify.wdro.result import Reason
from wdaverify.witness.single import Flip

MODELS = Path(__file__).parents[2] / "models"
DIGITS = MODELS / "digits_16x16.onnx"
GAP = 1e-6


def is_error(p: WdroProblem, x: np.ndarray, y: int) -> bool:
    return max(m for j, m in enumerate(true_margins(p.network, x, y)) if j != y) >= 0


def flips_here(p: WdroProblem, x: np.ndarray, y: int) -> bool:
    """In float32 numbers of our own, layer by layer."""
    h = np.asarray(x, np.float32)
    for k, block in enumerate(fused_blocks(p.network)):
        h = block.weight.astype(np.float32) @ (np.maximum(h, np.float32(0)) if k else h)
        h = h + block.bias.astype(np.float32)
    return int(h.argmax()) != y


def flips_in_onnxruntime(x: np.ndarray, y: int) -> bool:
    ort = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    session = ort.InferenceSession(str(DIGITS), providers=["CPUExecutionProvider"])
    source = session.get_inputs()[0]
    shape = [size if isinstance(size, int) else 1 for size in source.shape]
    logits = session.run(None, {source.name: np.asarray(x, np.float32).reshape(shape)})[0]
    return int(logits.ravel().argmax()) != y


def digits(count: int, **changes: Any) -> WdroProblem:
    net = load_network(DIGITS)
    samples = load_samples(MODELS / "digits_16x16.npz", limit=count)
    asked = WdroProblem(
        net, samples, GroundCost(Norm.INF, order=1), Support.box(0, 1, net.n_inputs), Loss.ZERO_ONE, radius=0.05
    )
    return replace(asked, **changes)


def valid(result: DistancesResult, gap: float) -> None:
    """Each bracket closed, each point an error of the support at its upper end, in fractions."""
    p = result.problem
    for bracket, point, y in zip(result.brackets, result.points, p.samples.y.tolist(), strict=True):
        assert bracket.lower <= bracket.upper
        assert (point is None) == (bracket.upper == math.inf)
        if point is not None:
            assert bracket.upper <= bracket.lower + gap
            assert is_error(p, point, y)
            assert p.support.contains(point[None, :])[0]
            if p.cost.norm is not Norm.TWO and p.cost.weights is None:
                assert true_distance(p.cost.norm, point, p.samples.x[bracket.sample]) <= Fraction(bracket.upper)


@pytest.fixture(scope="module")
def nearest() -> DistancesResult:
    return distances(digits(15), gap=GAP)


def test_the_errors_nearest_to_fifteen_digits_flip(nearest: DistancesResult) -> None:
    assert nearest.exact
    valid(nearest, GAP)
    for point, y, flip in zip(nearest.points, nearest.problem.samples.y.tolist(), nearest.float32, strict=True):
        assert point is not None
        assert (point.astype(np.float32) == point).all()
        assert flips_here(nearest.problem, point, y)
        assert flip in (Flip.BARELY, Flip.ORDERS_TRIED, Flip.ANY_ORDER)
    assert sum(flip is Flip.BARELY for flip in nearest.float32) <= 3  # where the gap leaves them little room


def test_the_errors_nearest_to_fifteen_digits_flip_in_onnxruntime(nearest: DistancesResult) -> None:
    for point, y in zip(nearest.points, nearest.problem.samples.y.tolist(), strict=True):
        assert point is not None
        assert flips_in_onnxruntime(point, y)


def test_the_wider_gap_pays_for_any_order_of_summation() -> None:
    result = distances(digits(4), gap=1e-4)
    valid(result, 1e-4)
    assert result.float32 == (Flip.ANY_ORDER,) * 4


def test_the_point_is_said_in_json_and_text(nearest: DistancesResult) -> None:
    for entry, flip, point in zip(distances_json(nearest)["distances"], nearest.float32, nearest.points, strict=True):
        assert flip is not None
        assert point is not None
        assert entry["float32"] == flip.value
        assert entry["point"] == point.tolist()
    text = distances_summary(nearest)
    assert sum(text.count(word) for word in ("barely", "orders-tried", "any-order")) == 15


@pytest.mark.parametrize("order", [1, 2, math.inf])
def test_the_atoms_of_the_worst_case_flip(order: float) -> None:
    p = digits(6, cost=GroundCost(Norm.INF, order=order), radius=0.08)
    result = verify(p, gap=1e-5)
    assert result.status == "exact"
    assert result.upper - result.lower <= 1e-5
    value, moved = Fraction(0), 0
    for atom in result.atoms:
        wrong = is_error(p, atom.point, atom.label)
        value += Fraction(atom.weight) * wrong
        assert (atom.float32 is not None) == wrong == (atom.loss == 1)
        if atom.distance > 0:
            moved += 1
            assert wrong
            assert true_distance(p.cost.norm, atom.point, p.samples.x[atom.sample]) <= Fraction(atom.distance)
            assert atom.float32 is not Flip.NO
            assert flips_here(p, atom.point, atom.label)
            assert flips_in_onnxruntime(atom.point, atom.label)
            assert math.isfinite(order) or atom.distance <= p.radius
    assert moved
    assert Fraction(result.lower) <= value
    assert float(value) == pytest.approx(result.lower, abs=1e-12)
    assert f"of {sum(a.loss == 1 for a in result.atoms)} atoms in error" in verification_summary(result)


# Margins that float32 cannot hold: z1 - z0 = x - 1/2 beside 4096, whose neighbours in float32 are 2^-11 apart


def coarse(radius: float = 0.25) -> WdroProblem:
    hidden = np.array([[1.0], [0.0]]), np.array([0.0, 1.0])
    last = np.array([[0.0, 4096.0], [1.0, 4096.0]]), np.array([0.5, 0.0])
    return problem(network(hidden, last), np.array([[0.25]]), [0], radius, loss=Loss.ZERO_ONE, norm=Norm.INF)


def test_where_no_point_within_the_gap_flips_the_nearest_stands_and_is_said_not_to() -> None:
    result = distances(coarse(), gap=GAP)
    valid(result, GAP)
    [point], [bracket] = result.points, result.brackets
    assert point is not None
    assert point[0] == pytest.approx(0.5, abs=1e-9)
    assert bracket.upper == pytest.approx(0.25, abs=1e-9)
    assert result.float32 == (Flip.NO,)
    assert not flips_here(result.problem, point, 0)
    assert distances_json(result)["distances"][0]["float32"] == "no"
    answer = verify(coarse(0.125), gap=GAP)
    assert answer.status == "exact"
    assert [a.float32 for a in answer.atoms] == [None, Flip.NO]
    assert "1 not in error" in verification_summary(answer)


def test_where_the_gap_is_wide_enough_it_flips() -> None:
    result = distances(coarse(), gap=0.01)
    valid(result, 0.01)
    [point] = result.points
    assert point is not None
    assert point[0] >= 0.5 + 2.0**-12
    assert result.float32 == (Flip.ANY_ORDER,)
    assert flips_here(result.problem, point, 0)


def test_an_attack_says_of_its_atoms_whether_they_flip() -> None:
    found = attack(digits(6), device="cpu")
    assert {a.float32 is not None for a in found.atoms if a.loss == 1} == {True}
    assert {a.float32 for a in found.atoms if a.loss == 0} == {None}
    for atom in found.atoms:
        assert atom.float32 in (None, Flip.NO) or flips_here(found.problem, atom.point, atom.label)
    margin = attack(digits(2, loss=Loss.MARGIN), device="cpu")
    assert {a.float32 for a in margin.atoms} == {None}


def mixed(seed: int, norm: Norm, weights: np.ndarray | None) -> WdroProblem:
    """Five features: one whole-numbered, a row over three, and one fixed where weighted; two samples a little before the boundary."""
    rng = np.random.default_rng(seed)
    layers = random_layers(rng, 5, 7, 2)
    x = np.round(rng.uniform(0.2, 0.8, (2, 5)) * 64) / 64
    x[:, 4] = rng.integers(0, 2, 2)
    z = network(*layers).forward(x)
    layers[-1][1][1] -= float(np.float32((z[:, 1] - z[:, 0]).max() + 0.05))
    rows = LinearRows(
        readonly(np.array([[1.0, 1.0, 1.0, 0.0, 0.0]])), readonly(np.array([0.1])), readonly(np.array([2.7]))
    )
    support = Support(readonly(np.zeros(5)), readonly(np.ones(5)), rows, np.array([False] * 4 + [True]))
    asked = problem(network(*layers), x, [0, 0], 0.1, loss=Loss.ZERO_ONE, norm=norm)
    return replace(asked, support=support, cost=GroundCost(norm, 1, None if weights is None else readonly(weights)))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("norm", list(Norm))
def test_rows_integers_and_fixed_features_are_kept(norm: Norm, weighted: bool) -> None:
    gap = 1e-4 if norm is Norm.TWO else GAP  # closer than that l2 takes long
    weights = np.array([1.0, 2.0, 0.5, np.inf, 1.0]) if weighted else None
    better = 0
    for seed in range(2):
        p = mixed(seed, norm, weights)
        plain, result = (distances(p, gap=gap, reproduced=asked) for asked in (False, True))
        valid(plain, gap)
        valid(result, gap)
        for i, (before, point, y) in enumerate(zip(plain.brackets, result.points, p.samples.y.tolist(), strict=True)):
            if point is None:
                continue
            assert result.brackets[i].upper <= before.lower + gap
            assert point[4] in (0.0, 1.0)
            assert Fraction(1, 10) <= sum(Fraction(v) for v in point[:3].tolist()) <= Fraction(27, 10)
            assert not weighted or point[3] == p.samples.x[i, 3]
            assert result.float32[i] is Flip.NO or flips_here(p, point, y)
        better += sum(f is not Flip.NO for f in result.float32) - sum(f is not Flip.NO for f in plain.float32)
        assert sum(f is Flip.NO for f in result.float32) <= sum(f is Flip.NO for f in plain.float32)
    assert better > 0


# Limits


def cut(monkeypatch: pytest.MonkeyPatch, calls: int) -> list[int]:
    """Whoever looks for farther errors is interrupted after so many samples."""
    seen: list[int] = []
    outward = reproduced.outward

    def stopped(p: WdroProblem, sample: np.ndarray, *rest: Any) -> Any:
        if len(seen) == calls:
            raise KeyboardInterrupt
        seen.extend(sample.tolist())
        return outward(p, sample, *rest)

    monkeypatch.setattr(reproduced, "outward", stopped)
    monkeypatch.setattr(reproduced, "portion", lambda _: 1)
    return seen


def test_an_interrupt_loses_no_bracket(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = cut(monkeypatch, 2)
    result = distances(digits(4), gap=GAP)
    assert len(seen) == 2
    assert result.reason is Reason.INTERRUPTED
    assert result.exact
    valid(result, GAP)


def test_an_interrupt_after_verify_keeps_the_bracket(monkeypatch: pytest.MonkeyPatch) -> None:
    cut(monkeypatch, 1)
    result = verify(digits(4), gap=GAP)
    assert result.reason is Reason.INTERRUPTED
    assert result.upper - result.lower <= GAP


def test_a_run_that_was_interrupted_looks_no_farther(monkeypatch: pytest.MonkeyPatch) -> None:
    def launch(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    seen = cut(monkeypatch, 0)
    monkeypatch.setattr("wdaverify.wdro.distances.launch", launch)
    result = distances(digits(2), gap=GAP)
    assert result.reason is Reason.INTERRUPTED
    assert seen == []


def test_no_time_is_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = cut(monkeypatch, 9)
    result = distances(digits(2), gap=GAP, time_limit=0.0)
    assert result.reason is Reason.TIME_LIMIT
    assert seen == []


def test_a_decided_threshold_stays_decided() -> None:
    """The threshold is met from above by a hair: farther atoms would undo it."""
    p = coarse(0.125)
    plain = verify(p, gap=0.05)
    assert plain.upper - plain.lower <= 0.05
    threshold = math.nextafter(0.5, 0)  # V = 1/2
    result = verify(p, gap=0.05, threshold=threshold)
    assert result.lower > threshold or result.reason is not Reason.THRESHOLD_DECIDED
    assert result.upper - result.lower <= 0.05
