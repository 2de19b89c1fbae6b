"""Exact Lipschitz constants of tiny networks against the enumeration of their cells."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
from bounds.tiny import network, random_layers, raw
from lipschitz.slopes import steepest
from oracles import Array
from quick import one_in

from wdaverify.ground import GroundCost, LinearRows, Norm, Support
from wdaverify.lipschitz.exact import lipschitz
from wdaverify.lipschitz.question import LipschitzProblem, Measure
from wdaverify.lipschitz.result import LipschitzResult
from wdaverify.network.model import ReluNetwork, readonly
from wdaverify.samples import make_samples
from wdaverify.wdro.result import Voucher

NORMS = list(Norm)
GAP = 1e-6


def seeds(quick: int, complete: int) -> list[object]:
    return [pytest.param(s, marks=() if s < quick else pytest.mark.full) for s in range(complete)]


def random_network(seed: int) -> ReluNetwork:
    rng = np.random.default_rng(seed)
    hidden = rng.integers(1, 6, size=1 + seed % 2).tolist()
    return network(*random_layers(rng, 1 + seed % 3, *hidden, 1 + int(rng.integers(3))))


@dataclass(frozen=True)
class Asked:
    """A measure, and how the oracle says it."""

    measure: Measure
    together: bool


def measures(net: ReluNetwork) -> list[Asked]:
    out = [Asked(Measure.operator_norm(net), True), Asked(Measure.outputs(net, [(net.n_outputs - 1, None)]), False)]
    if net.n_outputs > 1:
        out.append(Asked(Measure.margins(net, list(range(net.n_outputs))), False))
    return out


def holds(result: LipschitzResult, truth: float) -> None:
    """Nothing is outside the bracket, and it is closed."""
    slip = 1e-9 * (1 + truth)  # of the oracle, which is float64
    assert result.lower <= truth + slip
    assert truth - slip <= result.upper
    assert result.status == "exact", (result.reason, result.notices)
    assert 0 <= result.upper - result.lower <= GAP
    assert result.vouched_lower is Voucher.CHECKED


def box(net: ReluNetwork, low: float, high: float) -> tuple[Array, Array]:
    return np.full(net.n_inputs, low), np.full(net.n_inputs, high)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", seeds(6, 60))
def test_box(norm: Norm, seed: int) -> None:
    net = random_network(seed)
    lower, upper = box(net, -1.0, 1.0)
    for asked in measures(net):
        truth = steepest(raw(net), asked.measure.rows, norm.value, lower, upper, together=asked.together)
        result = lipschitz(
            LipschitzProblem(net, GroundCost(norm, 1), Support.box(-1.0, 1.0, net.n_inputs), asked.measure)
        )
        holds(result, truth)
        assert result.vouched_upper is Voucher.CHECKED


@pytest.mark.parametrize("solver", ["highs", "gurobi"])
@pytest.mark.parametrize("norm", [Norm.INF, Norm.ONE])
@pytest.mark.parametrize("seed", seeds(3, 40))
def test_integer_programs(norm: Norm, solver: str, seed: int) -> None:
    net = random_network(seed)
    lower, upper = box(net, -1.0, 1.0)
    for asked in measures(net):
        truth = steepest(raw(net), asked.measure.rows, norm.value, lower, upper, together=asked.together)
        support = Support.box(-1.0, 1.0, net.n_inputs)
        result = lipschitz(LipschitzProblem(net, GroundCost(norm, 1), support, asked.measure), solver=solver)
        holds(result, truth)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", seeds(4, 40))
def test_weights_and_features_that_do_not_move(norm: Norm, seed: int) -> None:
    net, rng = random_network(3 * seed + 2), np.random.default_rng(seed)
    n = net.n_inputs
    lower, upper = box(net, -1.0, 1.0)
    flat = rng.random(n) < 0.3
    lower[flat] = upper[flat] = rng.uniform(-1, 1, n)[flat]
    scale = np.where(rng.random(n) < 0.3, math.inf, rng.uniform(0.2, 5.0, n))
    cost = GroundCost(norm, 1, readonly(scale))
    for asked in measures(net):
        truth = steepest(raw(net), asked.measure.rows, norm.value, lower, upper, together=asked.together, scale=scale)
        holds(lipschitz(LipschitzProblem(net, cost, Support(readonly(lower), readonly(upper)), asked.measure)), truth)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", seeds(4, 40))
def test_box_cut_by_rows(norm: Norm, seed: int) -> None:
    net, rng = random_network(seed), np.random.default_rng(seed)
    lower, upper = box(net, -1.0, 1.0)
    matrix = rng.normal(size=(2, net.n_inputs))
    side = np.abs(rng.normal(size=2)) * 0.3
    rows = LinearRows(readonly(matrix), readonly(np.full(2, -math.inf)), readonly(side))
    support = Support(readonly(lower), readonly(upper), rows)
    for asked in measures(net):
        truth = steepest(
            raw(net), asked.measure.rows, norm.value, lower, upper, together=asked.together, cut=(matrix, side)
        )
        holds(lipschitz(LipschitzProblem(net, GroundCost(norm, 1), support, asked.measure)), truth)


@pytest.mark.parametrize(("norm", "weighted"), one_in(2, NORMS, [False, True]))
@pytest.mark.parametrize("seed", seeds(3, 40))
def test_balls_around_samples(norm: Norm, seed: int, weighted: bool) -> None:
    net, rng = random_network(seed), np.random.default_rng(seed)
    n = net.n_inputs
    x = rng.uniform(-0.6, 0.6, (2, n))
    scale = np.where(rng.random(n) < 0.2, math.inf, rng.uniform(0.5, 2.0, n)) if weighted else np.ones(n)
    cost = GroundCost(norm, 1, readonly(scale)) if weighted else GroundCost(norm, 1)
    support = Support.box(-0.8, 0.8, n) if seed % 2 else Support.whole(n)
    within = 0.4
    asked = measures(net)[-1]
    problem = LipschitzProblem(net, cost, support, asked.measure, make_samples(x, np.zeros(2, dtype=int)), within)
    result = lipschitz(problem)
    truths = []
    for point in x:
        room = within / scale
        lower, upper = np.maximum(support.lower, point - room), np.minimum(support.upper, point + room)
        truths.append(
            steepest(
                raw(net), asked.measure.rows, norm.value, lower, upper,
                together=asked.together, scale=scale, ball=(point, within),
            )
        )  # fmt: skip
    holds(result, max(truths))
    for part, truth in zip(result.parts, truths, strict=True):
        assert part.lower <= truth + 1e-9 * (1 + truth)
        assert truth - 1e-9 * (1 + truth) <= part.upper
        assert part.upper - part.lower <= GAP


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", seeds(2, 40))
def test_whole_space(norm: Norm, seed: int) -> None:
    net = random_network(seed)
    lower, upper = box(net, -1e4, 1e4)
    for asked in measures(net):
        truth = steepest(raw(net), asked.measure.rows, norm.value, lower, upper, together=asked.together)
        problem = LipschitzProblem(net, GroundCost(norm, 1), Support.whole(net.n_inputs), asked.measure)
        holds(lipschitz(problem), truth)
