"""The DLR loss: values against a dense grid in one dimension, hand-solved cases, and where the supremum is infinite."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bounds.tiny import network, random_layers
from numpy.typing import NDArray
from quick import one_in

from wdaverify import Loss, Norm, Support, WdroProblem, verify
from wdaverify.errors import ProblemError
from wdaverify.ground import GroundCost
from wdaverify.journal.store import Journal
from wdaverify.network.model import Array, ReluNetwork
from wdaverify.samples import make_samples
from wdaverify.wdro.result import Reason
from wdaverify.witness.losses import loss_bounds

SEEDS = [pytest.param(seed, marks=[] if seed < 3 else [pytest.mark.full]) for seed in range(10)]
_GRID = 400_001


def _ask(net: ReluNetwork, x: Array, y: list[int], radius: float, order: float, loss: Loss = Loss.DLR) -> WdroProblem:
    box = Support.box(0, 1, net.n_inputs)
    return WdroProblem(net, make_samples(x, np.array(y)), GroundCost(Norm.INF, order=order), box, loss, radius)


def _dlr(logits: Array, y: int) -> Array:
    """The loss by its definition."""
    ranked = np.sort(logits, axis=1)[:, ::-1]
    rivals = np.delete(logits, y, axis=1).max(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray((rivals - logits[:, y]) / (ranked[:, 0] - ranked[:, 2]))


def _forward(layers: list[tuple[Array, Array]], x: Array) -> Array:
    for k, (weight, bias) in enumerate(layers):
        x = (np.maximum(x, 0) if k else x) @ weight.T + bias
    return x


def _on_a_grid(layers: list[tuple[Array, Array]], x: Array, y: list[int], radius: float, order: float) -> float:
    """V by the dual over a dense grid of [0, 1]."""
    grid = np.linspace(0, 1, _GRID)[:, None]
    logits = _forward(layers, grid)
    values = [_dlr(logits, label) for label in y]
    distances = [np.abs(grid[:, 0] - point[0]) for point in x]
    if math.isinf(order):
        return float(np.mean([v[d <= radius].max() for v, d in zip(values, distances, strict=True)]))

    def dual(lam: float) -> float:
        phi = [(v - lam * d**order).max() for v, d in zip(values, distances, strict=True)]
        return float(lam * radius**order + np.mean(phi))

    low, high = 0.0, 1e5
    for _ in range(120):
        a, b = low + (high - low) / 3, high - (high - low) / 3
        low, high = (low, b) if dual(a) <= dual(b) else (a, high)
    return dual(low)


@pytest.mark.parametrize(("seed", "order", "classes"), one_in(4, SEEDS, [1, 2, math.inf], [3, 4]))
def test_against_a_grid(classes: int, order: float, seed: int) -> None:
    rng = np.random.default_rng(100 * classes + seed)
    layers = random_layers(rng, 1, 4, classes)
    x, y = rng.uniform(size=(3, 1)), rng.integers(0, classes, 3).tolist()
    radius = float(rng.uniform(0.02, 0.2))
    result = verify(_ask(network(*layers), x, y, radius, order), gap=1e-3, solver=("auto", "highs")[seed % 2])
    truth = _on_a_grid(layers, x, y, radius, order)
    assert result.status == "exact", result.detail
    slack = 2e-3 * (1 + abs(truth))
    assert result.lower - slack <= truth <= result.upper + slack
    assert result.vouched_upper == "solver"
    assert result.nominal <= result.lower <= result.upper


def _four(third: float) -> ReluNetwork:
    """Logits (0, 1 + x, 2 - x, third)."""
    return network((np.array([[0.0], [1.0], [-1.0], [0.0]]), np.array([0.0, 1.0, 2.0, third])))


def test_a_maximum_found_by_hand() -> None:
    """At 1/2 the two largest logits tie at 1.5 above the third of 1.2: the loss is 1.5 / 0.3 = 5, the largest there is."""
    result = verify(_ask(_four(1.2), np.array([[0.3]]), [0], 0.5, math.inf), gap=1e-4)
    assert result.status == "exact"
    assert abs(result.value - 5.0) < 1e-3
    near = verify(_ask(_four(1.2), np.array([[0.3]]), [0], 0.1, math.inf), gap=1e-4)
    assert abs(near.value - 1.6 / 0.4) < 1e-3  # at x = 0.4, growing with x


@pytest.mark.parametrize("order", [1, 2])
def test_a_tie_of_three_above_the_label_is_infinite(order: float) -> None:
    result = verify(_ask(_four(1.5), np.array([[0.1]]), [0], 0.05, order), gap=1e-3)
    assert result.reason is Reason.UNBOUNDED
    assert result.upper == math.inf
    assert result.lower > 100
    assert "+inf" in result.detail
    decided = verify(_ask(_four(1.5), np.array([[0.1]]), [0], 0.05, order), threshold=10.0)
    assert decided.reason is Reason.THRESHOLD_DECIDED


def test_a_tie_beyond_the_radius_counts_for_order_inf_alone() -> None:
    asked = _ask(_four(1.5), np.array([[0.1]]), [0], 0.2, math.inf)
    result = verify(asked, gap=1e-4)
    assert result.status == "exact"
    assert abs(result.value - 1.7 / 0.4) < 1e-3  # at x = 0.3: logits 1.3, 1.7, 1.5, and 0.4 = 1.7 - 1.3
    assert verify(_ask(_four(1.5), np.array([[0.1]]), [0], 0.45, math.inf)).reason is Reason.UNBOUNDED


def test_bounds_of_the_loss_enclose_it() -> None:
    rng = np.random.default_rng(5)
    for classes in (3, 4, 6):
        layers = random_layers(rng, 2, 5, classes)
        x: Array = rng.uniform(size=(200, 2))
        y: NDArray[np.int64] = rng.integers(0, classes, 200)
        problem = _ask(network(*layers), x, y.tolist(), 0.1, 1)
        low, high = loss_bounds(problem, x, y)
        truth = np.array([_dlr(z[None], int(label))[0] for z, label in zip(_forward(layers, x), y, strict=True)])
        assert (low <= truth + 1e-9).all()
        assert (truth - 1e-9 <= high).all()
        assert (high - low < 1e-6).all()


@pytest.mark.parametrize("limit", [0.0, 0.05])
def test_time_limits_leave_valid_brackets(limit: float) -> None:
    rng = np.random.default_rng(9)
    layers = random_layers(rng, 1, 5, 3)
    x, y = rng.uniform(size=(4, 1)), [0, 1, 2, 0]
    truth = _on_a_grid(layers, x, y, 0.1, 1)
    result = verify(_ask(network(*layers), x, y, 0.1, 1), gap=1e-6, time_limit=limit)
    assert result.lower - 1e-3 <= truth <= result.upper + 1e-3


def test_refusals() -> None:
    two = network((np.array([[1.0], [-1.0]]), np.zeros(2)))
    with pytest.raises(ProblemError, match="at least 3 classes"):
        _ask(two, np.array([[0.3]]), [0], 0.1, 1)
    with pytest.raises(ProblemError, match="not defined at sample 0"):
        verify(_ask(network((np.zeros((3, 1)), np.zeros(3))), np.array([[0.3]]), [0], 0.1, 1))
    with pytest.raises(ProblemError, match="MIP solvers"):
        verify(_ask(_four(1.2), np.array([[0.3]]), [0], 0.1, 1), solver="cells")


def _three(order: float, radius: float = 0.1) -> WdroProblem:
    rng = np.random.default_rng(302)
    layers = random_layers(rng, 1, 4, 3)
    return _ask(network(*layers), rng.uniform(size=(3, 1)), rng.integers(0, 3, 3).tolist(), radius, order)


@pytest.mark.parametrize("order", [1, 2, math.inf])
def test_a_journal_proves_nothing_twice(order: float, tmp_path: Path) -> None:
    """Levels are taken up, at another radius too (but for order inf), and a run that was cut short is gone on with."""
    asked = _three(order)
    alone = verify(asked, gap=1e-3)
    with Journal(tmp_path) as journal:
        first = verify(asked, gap=1e-3, journal=journal)
    assert first.statistics.solves > 0
    with Journal(tmp_path) as journal:
        again = verify(asked, gap=1e-3, journal=journal)
        farther = verify(replace(asked, radius=0.12), gap=1e-3, journal=journal)
    assert again.statistics.solves == 0
    assert again.vouched_upper == "solver"
    for result in (first, again):
        assert result.status == "exact"
        assert result.lower <= alone.upper + 2e-6
        assert result.upper >= alone.lower - 2e-6
    fresh = verify(replace(asked, radius=0.12), gap=1e-3)
    assert farther.status == fresh.status == "exact"
    assert max(farther.lower, fresh.lower) <= min(farther.upper, fresh.upper) + 2e-6
    if math.isfinite(order):
        assert farther.statistics.solves < fresh.statistics.solves
    else:
        assert any("another radius and are left aside" in notice for notice in farther.notices)


def test_levels_that_were_proven_count_and_no_others(tmp_path: Path) -> None:
    """Without a single question of its own, a run has the bracket of the levels in its journal; one of another network has not."""
    asked = _three(1)
    with Journal(tmp_path) as journal:
        first = verify(asked, gap=1e-3, journal=journal)
        known = verify(asked, gap=1e-12, journal=journal, time_limit=0.0)
        assert known.upper <= first.upper + 1e-9
        other = verify(
            replace(asked, samples=replace(asked.samples, x=1.0 - asked.samples.x)), journal=journal, time_limit=0.0
        )
    assert other.statistics.solves == 0
    assert other.status == "bracket"
    truth = verify(replace(asked, samples=replace(asked.samples, x=1.0 - asked.samples.x)), gap=1e-3)
    assert other.lower - 1e-6 <= truth.lower <= truth.upper + 1e-3 <= other.upper + 2e-3
