"""The cell engine against the cells themselves, and against LPs that lie."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from bounds.tiny import best_in_cells, network, problem, random_layers, raw
from layers import blocks_of
from oracles import enumerate_cells, exact_distance

from wdaverify import verify
from wdaverify.certify.backward import Backward, Shells
from wdaverify.encoding.cost import Region
from wdaverify.encoding.linear import Aim, shell_program
from wdaverify.encoding.milp import ModelBuilder
from wdaverify.engines.base import Distance, Effort, Inner
from wdaverify.engines.cells.engine import CellEngine
from wdaverify.engines.screening import Screen
from wdaverify.network.model import ReluNetwork
from wdaverify.problem import GroundCost, Norm
from wdaverify.solvers.lp import LpSession, LpSolution, LpStatus

NORMS = [Norm.INF, Norm.ONE]
PLAIN = Effort(gap=1e-8, seconds=math.inf, seed=0, cutoff=None, start=None)
SEEDS = [*range(3), *(pytest.param(s, marks=pytest.mark.full) for s in range(3, 6))]


def questions(norm: Norm, seed: int) -> tuple[ReluNetwork, Inner, Distance]:
    rng = np.random.default_rng(seed)
    net = network(*random_layers(rng, 2, 5, 4, 3))
    x = rng.uniform(size=2)
    label = int(net.forward(x[None])[0].argmax())
    screen = Screen(problem(net, x, [label], norm=norm))
    far = float(screen.reach[0])
    region = screen.shell(0, 0.0, far)
    rival = (label + 1) % 3
    return net, Inner(0, label, rival, region, (), 1.5), Distance(0, label, rival, region, ())


def truths(net: ReluNetwork, inner: Inner) -> tuple[float, float]:
    lower, upper, region = np.zeros(2), np.ones(2), inner.region
    cells = enumerate_cells(raw(net), lower, upper)
    c = np.zeros(3)
    c[inner.rival], c[inner.label] = 1.0, -1.0
    value, _ = best_in_cells(cells, c, 1.5, region.norm, region.centre, 0.0, region.far, lower, upper)
    weight, bias = raw(net)[-1]
    pair = [inner.label, inner.rival]
    two = [*raw(net)[:-1], (weight[pair], bias[pair])]
    nearest = exact_distance(two, region.centre, 0, region.norm.value, lower, upper, enumerate_cells(two, lower, upper))
    return value, nearest


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", SEEDS)
def test_answers_are_the_true_values_and_checked(seed: int, norm: Norm) -> None:
    net, inner, distance = questions(norm, seed)
    value, nearest = truths(net, inner)
    answer = CellEngine(net).answer(inner, PLAIN)
    assert (answer.vouched_by, answer.closed, answer.checked) == ("cells", True, True)
    assert value - 1e-12 <= answer.bound <= value + 1e-6
    shortest = CellEngine(net).answer(distance, PLAIN)
    if math.isinf(nearest):
        assert shortest.bound >= inner.region.far - 1e-6
    else:
        assert nearest - 1e-6 <= shortest.bound <= nearest + 1e-12


@pytest.mark.parametrize("share", [0.8, 1.25, 2.0])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", SEEDS)
def test_any_point_ends_a_search(seed: int, norm: Norm, share: float) -> None:
    """Where only it matters whether there is an error one is found, no sooner is the ball said to be free, and the bound is valid."""
    net, inner, distance = questions(norm, seed)
    nearest = truths(net, inner)[1]
    region = replace(distance.region, far=min(share * nearest, distance.region.far))
    answer = CellEngine(net).answer(replace(distance, region=region, any_point=True), PLAIN)
    assert (answer.closed, answer.checked) == (True, True)
    if nearest > region.far:
        assert answer.bound >= region.far - 1e-6
    else:
        assert answer.bound <= nearest + 1e-12
        (point,) = answer.points
        z = net.forward(point[None])[0]
        assert z[distance.rival] >= z[distance.label] - 1e-7 * (
            1 + np.abs(z).max()
        )  # who asked pushes a near tie across
        assert region.cost.distance(point - region.centre) <= region.far + 1e-12


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", SEEDS)
def test_lying_multipliers_cost_width_and_never_validity(
    seed: int, norm: Norm, monkeypatch: pytest.MonkeyPatch
) -> None:
    net, inner, distance = questions(norm, seed)
    value, nearest = truths(net, inner)
    rng, honest = np.random.default_rng(seed), LpSession.solve

    def lying(self: LpSession) -> LpSolution:
        told = honest(self)
        size = 0 if told.rows is None else told.rows.size
        match int(rng.integers(5)):
            case 0:
                return replace(told, rows=None if told.rows is None else told.rows + rng.normal(size=size))
            case 1 if told.status is LpStatus.OPTIMAL:
                return replace(told, columns=rng.normal(size=told.columns.size) * 10)
            case 2:
                return replace(told, status=LpStatus.INFEASIBLE, rows=rng.normal(size=max(size, 1)) if size else None)
            case 3:
                return replace(told, status=LpStatus.UNKNOWN, rows=None)
        return told

    monkeypatch.setattr(LpSession, "solve", lying)
    assert CellEngine(net).answer(inner, PLAIN).bound >= value - 1e-12
    assert CellEngine(net).answer(distance, PLAIN).bound <= min(nearest, math.inf) + 1e-12


@pytest.mark.parametrize("seconds", [0.0, 1e-4, 1e-3])
@pytest.mark.parametrize("norm", NORMS)
def test_out_of_time_is_a_wider_bound(norm: Norm, seconds: float) -> None:
    net, inner, distance = questions(norm, 1)
    value, nearest = truths(net, inner)
    effort = replace(PLAIN, seconds=seconds)
    assert CellEngine(net).answer(inner, effort).bound >= value - 1e-12
    assert CellEngine(net).answer(distance, effort).bound <= nearest + 1e-12


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", SEEDS)
def test_the_program_of_a_shell_contains_every_point(seed: int, norm: Norm) -> None:
    """Points of the shell, put into the program's columns, satisfy its rows and have the value that it says."""
    net, inner, _ = questions(norm, seed)
    region, rng = inner.region, np.random.default_rng(seed)
    points = rng.uniform(size=(200, 2))
    cost = GroundCost(norm, 1).distance(points - region.centre)
    near, far = np.quantile(cost, [0.2, 0.7])
    shell = Region(GroundCost(norm, 1), region.centre, region.lower, region.upper, float(near), float(far))
    shells = Shells.around(
        GroundCost(norm, 1), region.centre[None], region.lower, region.upper, np.array([near]), np.array([far])
    )
    bounds = [(low[0], high[0]) for low, high in Backward(net.canonical).pre_activations(shells)]
    functional = np.zeros(net.n_outputs)
    functional[inner.rival], functional[inner.label] = 1.0, -1.0
    rooms = (shells.up[0], shells.down[0])
    built = shell_program(net.canonical, bounds, shell, rooms, Aim(functional, 1.5, 1, 0.0))
    program, moves = built.program, built.moves
    inside = (cost >= near) & (cost <= far)
    assert inside.any()
    for x, t in zip(points[inside], cost[inside], strict=True):
        v = np.zeros(program.cost.size)
        v[0] = t / moves.unit
        d = x - region.centre
        if norm is Norm.INF:
            v[moves.column] = (d / moves.unit - moves.turn * v[0]) / moves.step
        else:
            v[moves.column], v[moves.other] = np.maximum(d, 0) / moves.unit, np.maximum(-d, 0) / moves.unit
        h, first, at = x, 0, 0
        for block, (_, high) in zip(blocks_of(net.canonical)[:-1], bounds, strict=True):
            z = block.weight @ h + block.bias
            h = np.maximum(z, 0)
            for i in np.flatnonzero(high > 0):
                name = first + i
                k = np.flatnonzero(built.names == name)
                if k.size:
                    v[built.above[k]], v[built.below[k]] = h[i] / built.scale[k], max(-z[i], 0) / built.scale[k]
                at += 1
            first += z.size
        stable = np.setdiff1d(
            np.arange(program.cost.size), [0, *moves.column, *moves.other, *built.above, *built.below]
        )
        if stable.size:  # the columns of active neurons follow from their rows
            continue
        rows = program.rows
        dense = np.zeros((rows.lower.size, v.size))
        for r in range(rows.lower.size):
            part = slice(rows.start[r], rows.start[r + 1])
            dense[r, rows.index[part]] = rows.value[part]
        assert (dense @ v >= rows.lower - 1e-9).all()
        assert (dense @ v <= rows.upper + 1e-9).all()
        assert ((v >= program.lower - 1e-9) & (v <= program.upper + 1e-9)).all()
        logits = net.forward(x[None])[0]
        value = 1.5 * t - (logits[inner.rival] - logits[inner.label])
        assert program.cost @ v + built.offset == pytest.approx(value, abs=1e-9)
        np.testing.assert_allclose(moves.displacement(v, 2), d, atol=1e-12)
        assert moves.violated(v, float(far)) is None


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", SEEDS)
def test_a_memory_limit_costs_width_and_never_validity(seed: int, norm: Norm) -> None:
    net, inner, distance = questions(norm, seed)
    value, nearest = truths(net, inner)
    for memory in (1.0, 3e4, math.inf):
        answer = CellEngine(net).answer(inner, replace(PLAIN, memory=memory))
        assert answer.bound >= value - 1e-12
        assert answer.closed
        assert CellEngine(net).answer(distance, replace(PLAIN, memory=memory)).bound <= nearest + 1e-12
        if memory == math.inf:
            assert answer.bound <= value + 1e-6
        elif memory == 1.0:
            assert "memory" in answer.detail or answer.bound <= value + 1e-6


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", SEEDS)
def test_no_room_at_all_is_the_root_alone(seed: int, norm: Norm) -> None:
    net, inner, distance = questions(norm, seed)
    value, nearest = truths(net, inner)
    answer = CellEngine(net).answer(inner, replace(PLAIN, memory=0.0))
    assert answer.closed
    assert answer.nodes == 0
    assert answer.bound >= value - 1e-12
    assert "memory" not in answer.detail
    assert CellEngine(net).answer(distance, replace(PLAIN, memory=0.0)).bound <= nearest + 1e-12


DEGENERATE = [pytest.param(s, marks=[] if s < 8 else [pytest.mark.full]) for s in range(40)]


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", DEGENERATE)
def test_degenerate_networks(seed: int, norm: Norm) -> None:
    """Duplicate neurons, relu(u) beside relu(-u), zero rows, ties, weights of 1e-6 and 1e6."""
    rng = np.random.default_rng(seed)
    size = [1.0, 1e6, 1e-6][seed % 3]
    first, last = rng.normal(size=(3, 2)) * size, rng.normal(size=(3, 7)) / size
    bias = -first @ rng.uniform(0.2, 0.8, 2)
    first, bias = (
        np.vstack([first, first[:1], -first[1:2], np.zeros((2, 2))]),
        np.concatenate([bias, bias[:1], -bias[1:2], [0, size]]),
    )
    last[:, 4] = last[:, 1] if seed % 2 else -last[:, 1]
    last[2] = last[1] if seed % 4 == 0 else last[2]
    net = network((first, bias), (last, np.zeros(3)))
    x = rng.uniform(size=2)
    asked = problem(net, x, [0], 0.1, norm=norm)
    cells = enumerate_cells(raw(net), np.zeros(2), np.ones(2))
    region = Screen(asked).shell(0, 0.0, float(Screen(asked).reach[0]))
    for rival in (1, 2):
        c = np.zeros(3)
        c[rival], c[0] = 1.0, -1.0
        value, _ = best_in_cells(cells, c, 2.0, norm, x, 0.0, region.far, region.lower, region.upper)
        answer = CellEngine(net).answer(Inner(0, 0, rival, region, (), 2.0), PLAIN)
        assert value - 1e-9 <= answer.bound <= value + 1e-6


@pytest.mark.parametrize("norm", NORMS)
def test_a_whole_value_is_checked_from_end_to_end(norm: Norm) -> None:
    rng = np.random.default_rng(3)
    net = network(*random_layers(rng, 3, 8, 8, 3))
    x = rng.uniform(size=(3, 3))
    asked = problem(net, x, net.forward(x).argmax(axis=1), 0.2, norm=norm)
    result = verify(asked, solver="cells")
    assert (result.status, result.vouched_upper) == ("exact", "checked")
    assert {bracket.vouched.value for bracket in result.per_sample} == {"checked"}
    assert set(result.solver.solves) <= {"cells"}
    other = verify(asked, solver="highs")
    assert result.lower == pytest.approx(other.lower, abs=2e-6)


@pytest.mark.parametrize("seed", range(30))
def test_scaling_and_dropping_keep_every_point_of_a_row(seed: int) -> None:
    """Coefficients from 1e-14 to 1e14: every point of the original rows satisfies the scaled ones."""
    rng = np.random.default_rng(seed)
    builder, n = ModelBuilder(), 5
    size = 10.0 ** rng.uniform(-13, 13, n)
    columns = builder.columns(np.zeros(n), size)
    row = rng.normal(size=n) * 10.0 ** rng.uniform(-14, 2, n)
    points = rng.uniform(0, 1, (50, n)) * size
    values = points @ row
    builder.row(columns, row, float(values.min()), float(values.max()))
    model = builder.build(
        maximise=True,
        index=columns,
        coefficient=row,
        offset=0.0,
        slack=0.0,
        centre=np.zeros(n),
        inputs=columns,
        negative_inputs=None,
    )
    assert (np.abs(model.coefficient) >= 2e-12).all()
    for point in points:
        scaled = point / model.scale
        left = model.coefficient @ scaled[model.index]
        slack = 1e-9 * max(np.abs(model.coefficient * scaled[model.index]).sum(), 1e-300)
        assert model.row_lower[0] - slack <= left <= model.row_upper[0] + slack
