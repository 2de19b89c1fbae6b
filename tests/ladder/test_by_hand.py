"""Ladders whose rungs need no computer (docs/theory.md, sections 6 and 7)."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bounds.tiny import network, problem, random_layers
from quick import one_in
from test_whole_space import KNEE, LATE, LINEAR, Layers, ask

from wdaverify import WdroProblem
from wdaverify.ladder import constants
from wdaverify.ladder.compare import Settings, compare
from wdaverify.ladder.constants import bound_from, slopes_question
from wdaverify.ladder.sensitivity import first_order
from wdaverify.problem import Functionals, Loss, Norm, Support
from wdaverify.rounding import float_up
from wdaverify.witness.losses import loss_bounds

ORDERS = [1, 2, math.inf]
DUALS = [("inf", 3.0), ("1", 2.0), ("2", math.sqrt(5.0))]
"""Dual norms of the gradient (1, -2) of ``LINEAR``."""
CERTIFICATES = ("product of layer norms", "LipSDP", "interval Jacobian", "exact Lipschitz")
WIDE = Support.box(-50.0, 50.0, 2)


def rungs(problem: WdroProblem, *names: str, **settings: Any) -> dict[str, float | None]:
    """Values by name; the exact run's is the middle of its bracket."""
    asked = Settings(rungs=names, **settings) if names else Settings(**settings)
    [ladder] = compare(problem, [problem.radius], asked).ladders
    return {rung.name: rung.value for rung in ladder.rungs}


@pytest.mark.parametrize(("norm", "dual"), DUALS)
@pytest.mark.parametrize(
    ("order", "support"), one_in(2, ORDERS, [pytest.param(WIDE, id="box"), pytest.param(None, id="whole")])
)
def test_all_rungs_of_a_linear_network_are_the_value(
    support: Support | None, order: float, norm: str, dual: float, tmp_path: Path
) -> None:
    """E + radius ||c||_*, for every constant, the sensitivity, the attacks, and the exact run."""
    question = ask(tmp_path, LINEAR, [[0.3, 0.2], [1.0, -1.0]], [1, 1], 0.25, support, norm=norm, order=order)
    value = 0.5 * (0.4 + 3.5) + 0.25 * dual
    found = rungs(question)
    for name in (*CERTIFICATES, "first-order sensitivity", "WDA(1)", "mixture", "exact"):
        assert found[name] == pytest.approx(value, rel=1e-5 if name in ("LipSDP", "exact") else 1e-9), name
    assert found["nominal"] == pytest.approx(1.95, rel=1e-12)
    if support is None and order == 1:
        assert found["asymptotic"] == pytest.approx(value, rel=1e-9)
    if support is not None:
        assert found["CROWN dual"] == pytest.approx(value, rel=1e-5)
        assert found["LP dual"] == pytest.approx(value, rel=1e-5)


def test_constants_do_not_see_that_the_box_binds(tmp_path: Path) -> None:
    """One sample at 1/2 in [0, 1], slope 1: nothing beyond 1, and certificates go on."""
    line: Layers = [([[1.0], [0.0]], [0.0, 0.0])]
    found = rungs(ask(tmp_path, line, [[0.5]], [1], 3.0, Support.box(0.0, 1.0, 1)))
    assert found["exact"] == pytest.approx(1.0, rel=1e-9)
    assert [found[name] for name in CERTIFICATES] == pytest.approx([3.5] * 4, rel=1e-6)


def test_one_relu_on_the_whole_space(tmp_path: Path) -> None:
    """relu(x - 10) from 0 at order 1: V = radius, the slope at infinity, and the largest slope."""
    found = rungs(ask(tmp_path, LATE, [[0.0]], [0], 0.5))
    for name in (*CERTIFICATES, "exact", "asymptotic"):
        assert found[name] == pytest.approx(0.5, rel=1e-5), name
    assert found["nominal"] == pytest.approx(0.0, abs=1e-12)
    assert found["first-order sensitivity"] == pytest.approx(0.0, abs=1e-12)  # it does not see the slope far away


def test_a_value_strictly_between_the_two_slopes(tmp_path: Path) -> None:
    """3 relu(x) - 2 relu(x - 1) from 0, radius 3: slope at infinity 1, largest slope 3, value 5."""
    found = rungs(ask(tmp_path, KNEE, [[0.0]], [0], 3.0))
    assert found["asymptotic"] == pytest.approx(3.0, rel=1e-9)
    assert found["exact"] == pytest.approx(5.0, rel=1e-6)
    assert found["exact Lipschitz"] == pytest.approx(9.0, rel=1e-9)
    assert found["interval Jacobian"] == pytest.approx(9.0, rel=1e-9)
    assert found["product of layer norms"] == pytest.approx(15.0, rel=1e-9)  # 3 and -2 are not seen to cancel


@pytest.mark.parametrize("order", ORDERS)
def test_the_largest_slope_of_a_pair_may_be_far_above_that_of_the_margin(order: float, tmp_path: Path) -> None:
    """Logits (0, x, 10 x - 100) on [0, 1]: the margin is x, with slope 1, and the slope of a pair is 10."""
    layers: Layers = [([[0.0], [1.0], [10.0]], [0.0, 0.0, -100.0])]
    found = rungs(ask(tmp_path, layers, [[0.25]], [0], 0.25, Support.box(0.0, 1.0, 1), order=order))
    assert found["exact"] == pytest.approx(0.5, rel=1e-6)
    for name in CERTIFICATES:
        assert found[name] == pytest.approx(0.25 + 10 * 0.25, rel=1e-5), name
    assert found["CROWN dual"] == pytest.approx(0.5, rel=1e-3)  # it bounds z_2 - z_0 by its own level, not by its slope


@pytest.mark.parametrize(("norm", "dual"), [*DUALS[:2], pytest.param(*DUALS[2], marks=pytest.mark.full)])
def test_zero_one_of_a_linear_network_is_a_knapsack_of_margins_over_slopes(
    norm: str, dual: float, tmp_path: Path
) -> None:
    """Margins -3/2 and -3 of equal mass: distances 3/2 and 3 by the dual norm."""
    x, y = [[-1.0, 0.5], [-2.5, 0.5]], [1, 1]
    near, far = 1.5 / dual, 3.0 / dual
    for order, radius, value in (
        (1, 0.25 * near, 0.25),
        (1, 0.5 * near + 0.25 * far, 0.75),
        (2, math.sqrt(0.25) * near, 0.25),
        (math.inf, 0.99 * near, 0.0),
        (math.inf, 1.01 * near, 0.5),
        (math.inf, 1.01 * far, 1.0),
    ):
        question = ask(tmp_path, LINEAR, x, y, radius, WIDE, norm=norm, order=order, loss="zero-one")
        found = rungs(question, "norms", "lipsdp", "jacobian", "lipschitz", "exact")
        for name in (*CERTIFICATES, "exact"):
            assert found[name] == pytest.approx(value, rel=1e-5), name


def test_an_error_at_exactly_the_radius_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A margin of -m and a slope S prove no distance above m / S, so that a radius just there must count the sample."""
    question = ask(tmp_path, LINEAR, [[-1.0, 0.5]], [1], 0.5, WIDE, loss="zero-one", order=math.inf)
    measure = slopes_question(question).measure
    assert bound_from(question, measure, np.array([3.0])) == 1.0
    rng = np.random.default_rng(0)
    for margin, slope in rng.uniform(0.1, 10.0, size=(50, 2)).tolist():
        margins = np.array([[-margin, 0.0]])
        monkeypatch.setattr(constants, "margins_enclosure", lambda *_, m=margins: (m, m))
        there = replace(question, radius=float_up(Fraction(margin) / Fraction(slope)))
        assert bound_from(there, measure, np.array([slope])) == 1.0


def test_zero_one_takes_each_rivals_own_slope(tmp_path: Path) -> None:
    """z_1 - z_0 = x - 1 with slope 1, z_2 - z_0 = 10 x - 40 with slope 10, from 0: distances 1 and 4."""
    layers: Layers = [([[0.0], [1.0], [10.0]], [0.0, -1.0, -40.0])]
    question = ask(tmp_path, layers, [[0.0]], [0], 0.5, Support.box(0.0, 5.0, 1), loss="zero-one")
    found = rungs(question, "norms", "jacobian", "lipschitz", "exact")
    for name in ("product of layer norms", "interval Jacobian", "exact Lipschitz"):
        assert found[name] == pytest.approx(0.5, rel=1e-9), name
    assert (
        0.5 - 1e-6 <= found["exact"] <= 0.5 + 1e-9
    )  # the atom lies within the gap beyond the tie, where float32 flips


@pytest.mark.parametrize(
    ("order", "radius", "value", "bound"),
    [
        (1, 0.125, -0.5, -0.5),  # 1/4 of the mass changes its label at 1/2 a unit, worth 2: slope 4, above 1
        (1, 1.0, 1.5, 1.5),  # all of it changes (1/2), what is left moves x by 1/2
        (2, 0.25, None, None),
        (math.inf, 0.25, -0.75, -0.75),  # no label is within 1/4
        (math.inf, 0.5, 1.5, 1.5),  # the label and x by 1/2
    ],
)
def test_moving_labels(order: float, radius: float, value: float | None, bound: float | None, tmp_path: Path) -> None:
    """Logits (x, 0) at x = -1, label 1: margin x; under label 0 it is -x, and a label costs 1/2."""
    line: Layers = [([[1.0], [0.0]], [0.0, 0.0])]
    question = ask(tmp_path, line, [[-1.0]], [1], radius, Support.box(-50.0, 50.0, 1), order=order, label_cost=0.5)
    found = rungs(question)
    if value is None or bound is None:
        # The dual itself: the charge of a label is lam / 4, and x gains 1 / (4 lam) under either label.
        lam = np.linspace(0.01, 40.0, 400_001)
        value = float((lam / 16 + np.maximum(-1, 1 - lam / 4) + 1 / (4 * lam)).min())
        bound = value
    assert found["exact"] == pytest.approx(value, rel=1e-5)
    for name in CERTIFICATES:
        assert found[name] == pytest.approx(bound, rel=1e-5), name


def test_sensitivity_takes_the_norm_conjugate_to_the_order(tmp_path: Path) -> None:
    """3 relu(x) at 1 and at -1: slopes 3 and 0 of equal mass, so 3, sqrt(9 / 2) and 3 / 2 a unit."""
    layers: Layers = [([[1.0]], [0.0]), ([[0.0], [3.0]], [0.0, 0.0])]
    for order, slope in ((1, 3.0), (2, math.sqrt(4.5)), (math.inf, 1.5)):
        question = ask(tmp_path, layers, [[1.0], [-1.0]], [0, 0], 0.125, Support.box(-4.0, 4.0, 1), order=order)
        assert first_order(question, 1.5) == pytest.approx(1.5 + slope / 8, rel=1e-12)


@pytest.mark.parametrize("loss", [Loss.MARGIN, Loss.HINGE, Loss.CW, Loss.CROSS_ENTROPY, Loss.DLR, Loss.LINEAR])
def test_sensitivity_of_one_sample_is_a_finite_difference(loss: Loss) -> None:
    """Order 1, l1, one sample: the largest partial derivative, by central differences of the loss itself."""
    for seed in range(12):
        rng = np.random.default_rng(seed)
        net = network(*random_layers(rng, 3, 5, 4))
        x, label = rng.uniform(0.2, 0.8, size=(1, 3)), np.array([seed % 4])
        functionals = None
        if loss is Loss.LINEAR:
            functionals = Functionals(rng.normal(size=(3, 4)), rng.normal(size=3))
        question = problem(net, x, label, 1.0, norm=Norm.ONE)
        question = replace(question, loss=loss, functionals=functionals)
        step = 1e-6
        moved = np.vstack([x + step * np.eye(3), x - step * np.eye(3)])
        value = np.mean(loss_bounds(question, moved, np.repeat(label, 6)), axis=0)
        slopes = (value[:3] - value[3:]) / (2 * step)
        assert first_order(question, 0.0) == pytest.approx(np.abs(slopes).max(), rel=1e-4, abs=1e-6), seed
