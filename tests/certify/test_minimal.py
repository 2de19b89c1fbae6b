"""Certificates made smaller prove the same to the bit; what is cut off where it is needed proves less."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import write_mlp
from certify.kinds import FAMILY, made, problem
from problems import hand_solved

from wdaverify import Certificate, WdroProblem, load_network, recheck, verify
from wdaverify.certify.proof import BARE, FORKED, Proof, Tree
from wdaverify.problem import GroundCost, Loss, Norm, Support
from wdaverify.samples import make_samples
from wdaverify.wdro import certifying
from wdaverify.wdro.minimal import minimal

SEEDS = [pytest.param(s, marks=[] if s < 1 else [pytest.mark.full]) for s in range(8)]


def size(cert: Certificate) -> int:
    return sum(tree.nbytes for proof in cert.proofs for tree in proof.trees)


def whole(asked: WdroProblem, monkeypatch: pytest.MonkeyPatch, gap: float = 1e-6) -> Certificate:
    """The certificate as the search left it."""
    with monkeypatch.context() as patch:
        patch.setattr(certifying, "minimal", lambda certificate, *_: certificate)
        made = verify(asked, certificate=True, gap=gap).certificate
    assert made is not None
    return made


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    "kind", [k if at % 3 == 0 else pytest.param(k, marks=pytest.mark.full) for at, k in enumerate(FAMILY)]
)
def test_the_bounds_stay_and_the_size_falls(
    kind: str, seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = problem(kind, seed, tmp_path)
    cert = whole(asked, monkeypatch, 1e-4 if asked.loss is Loss.CROSS_ENTROPY else 1e-6)
    less = minimal(cert, asked, math.inf)
    before, after = recheck(cert, asked), recheck(less, asked)
    assert before.proved
    assert after.proved
    assert (after.lower, after.upper) == (before.lower, before.upper)
    assert size(less) <= size(cert)


def test_subtrees_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """Real trees are smaller; without time they stay as they are."""
    models = Path(__file__).parents[2] / "models"
    network, data = load_network(str(models / "digits_16x16.onnx")), np.load(models / "digits_16x16.npz")
    samples = make_samples(data["x"][:6].reshape(6, -1), data["y"][:6])
    asked = WdroProblem(network, samples, GroundCost(Norm.INF, 1), Support.box(0, 1, 64), Loss.MARGIN, 0.05)
    cert = whole(asked, monkeypatch)
    less = minimal(cert, asked, math.inf)
    assert size(less) < 0.95 * size(cert)
    assert recheck(less, asked).upper == recheck(cert, asked).upper
    assert minimal(cert, asked, time.monotonic()) is cert


@cache
def chord(folder: Path) -> tuple[WdroProblem, float]:
    """From 1/4 half of the mass moves by 3/4, twice the radius, to a peak that only the farthest shell holds."""
    solved = next(p for p in hand_solved() if p.name == "one-relu-chord")
    p = solved.problem
    network = load_network(write_mlp(folder / "chord.onnx", list(p.weights), dtype=np.float64))
    samples = make_samples(p.x, p.y, p.w)
    return WdroProblem(
        network, samples, GroundCost(Norm.INF, 1), Support.box(0, 1, 1), Loss.MARGIN, p.radius
    ), solved.value


def cut(proof: Proof, far: float) -> Proof:
    """Without what lies beyond."""
    trees = [replace(tree, far=min(tree.far, far)) for tree in proof.trees if tree.near < far]
    return replace(proof, trees=tuple(trees))


@pytest.mark.parametrize("far", [0.25, 0.375, 0.5, 0.7, 0.7499999])
def test_shells_that_end_within_the_support_prove_nothing(far: float, tmp_path: Path) -> None:
    """At a finite order mass may go farther than the radius: what was looked at as far as there alone would prove too little."""
    asked, value = chord(tmp_path)
    cert = verify(asked, certificate=True).certificate
    assert cert is not None
    assert recheck(cert, asked).upper == pytest.approx(value, abs=1e-6)
    short = replace(cert, proofs=tuple(cut(proof, far) for proof in cert.proofs), upper=value - 0.01)
    verdict = recheck(short, asked)
    assert verdict.upper == math.inf
    assert any("end within the support" in reason for reason in verdict.reasons)


def with_fork(cert: Certificate, fork: Any) -> Certificate:
    """Each tree's root is cut, with nothing in the middle."""
    nodes, cuts = np.array([FORKED, BARE, BARE], np.int32), np.array([fork], np.float64)

    def forked(proof: Proof) -> Proof:
        return replace(proof, trees=tuple(Tree(t.near, t.far, nodes, t.vectors[:0], (), cuts) for t in proof.trees))

    return replace(cert, proofs=tuple(map(forked, cert.proofs)))


@pytest.mark.parametrize(
    "fork", [[0, 0.1, 0.9], [0, 0.0, 1.0], [0, 0.5, 0.5], [-1, 0.0, 0.0], [5, 0, 0], [0.5, 1, 1], [0, math.nan, 1]]
)
def test_cuts_of_what_is_no_integer_are_none(fork: list[float], tmp_path: Path) -> None:
    asked, _ = chord(tmp_path)
    cert = verify(asked, certificate=True).certificate
    assert cert is not None
    verdict = recheck(with_fork(cert, fork), asked)
    assert (verdict.proved, verdict.upper) == (False, math.inf)


def test_cuts_leave_no_integer_out(tmp_path: Path) -> None:
    """Features 0 to 3: sides that meet, overlap or are neighbours hold all, others not."""
    for seed in range(20):
        asked = problem("integers", seed, tmp_path)
        if asked.loss is Loss.MARGIN and asked.support.integer is not None:
            break
    at = float(np.flatnonzero(asked.support.integer)[0])
    cert = verify(asked, certificate=True).certificate
    assert cert is not None
    for low, high, good in (
        (1, 2, True),
        (2, 2, True),
        (2, 1, True),
        (1.5, 1.5, True),
        (0, 2, False),
        (0.5, 1.5, False),
        (1, 2.5, False),
    ):
        verdict = recheck(with_fork(cert, [at, low, high]), asked)
        assert math.isfinite(verdict.upper) == good, (low, high)
        assert verdict.upper >= recheck(cert, asked).lower


@pytest.mark.parametrize(("order", "value"), [(1, 0.25 / 0.5), (2, 0.0625 / 0.25), (math.inf, 0.0)])
def test_where_no_error_is_a_label_may_still_move(order: float, value: float, tmp_path: Path) -> None:
    """margin = -1 - relu(x): every error is a label that moved, at 1/2; at order inf beyond the radius 1/4, and within 1."""
    p = next(p for p in hand_solved() if p.name == "no-error").problem
    network = load_network(write_mlp(tmp_path / "never.onnx", list(p.weights), dtype=np.float64))
    cost = GroundCost(Norm.INF, order, label_cost=0.5)
    samples = make_samples(p.x, p.y, p.w)
    asked = WdroProblem(network, samples, cost, Support.box(0, 1, 1), Loss.ZERO_ONE, 0.25)
    for problem_, truth in ((asked, value), (replace(asked, radius=1.0), 1.0)):
        cert = verify(problem_, certificate=True).certificate
        assert cert is not None
        verdict = recheck(cert, problem_)
        assert verdict.proved
        assert verdict.lower <= truth <= verdict.upper <= truth + 1e-9


@pytest.mark.parametrize(
    "kind",
    [
        "margin, order 1",
        pytest.param("order 2", marks=pytest.mark.full),
        "zero-one",
        pytest.param("zero-one, order inf", marks=pytest.mark.full),
    ],
)
def test_what_is_proven_between_two_radii_holds_there(kind: str, tmp_path: Path) -> None:
    """Claims at few radii: the straight lines in r^p between them, or the steps, stay on the right side of the dense curve."""
    curved = 0
    for seed in range(3):
        about, cert, result = made("curve", problem(kind, seed, tmp_path))
        power, last = about.cost.order, about.radius
        radii = [0.0, 0.3 * last, last]
        nothing = -math.inf, math.inf
        few = replace(cert, lower=nothing[0], upper=nothing[1], claims=np.array([(r, *nothing) for r in radii]))
        verdict = recheck(few, about)
        assert verdict.proved
        at, low, high = verdict.claims.T
        for radius, least, most in zip(result.radius, result.lower, result.upper, strict=True):
            if math.isinf(power):
                k = int(np.searchsorted(at, radius, side="right")) - 1
                below, above = low[k], high[k]
            else:
                below, above = (float(np.interp(radius**power, at**power, side)) for side in (low, high))
            assert above >= least - 1e-9
            assert below <= most + 1e-9
            curved += above > most + 1e-4
    assert curved
