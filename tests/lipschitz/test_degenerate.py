"""Networks whose cells are flat, whose neurons copy each other, or that have next to nothing; constants known by hand or by enumeration."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from bounds.tiny import as_network, network, raw
from layers import Affine, Diagonal, Relu, blocks_of
from lipschitz.slopes import steepest
from oracles import Array

from wdaverify.ground import GroundCost, LinearRows, Norm, Support
from wdaverify.lipschitz.exact import lipschitz
from wdaverify.lipschitz.question import LipschitzProblem, Measure
from wdaverify.lipschitz.result import LipschitzResult
from wdaverify.network.model import ReluNetwork, readonly

NORMS = list(Norm)
EVERY = [(norm, "cells") for norm in NORMS] + [(n, s) for n in (Norm.INF, Norm.ONE) for s in ("highs", "gurobi")]


def array(*rows: list[float]) -> Array:
    return np.array(rows, dtype=float)


def ask(net: ReluNetwork, norm: Norm, solver: str = "cells", support: Support | None = None) -> LipschitzResult:
    where = support or Support.box(-1.0, 1.0, net.n_inputs)
    return lipschitz(LipschitzProblem(net, GroundCost(norm, 1), where, Measure.operator_norm(net)), solver=solver)


def closed_at(result: LipschitzResult, truth: float) -> None:
    assert result.lower <= truth * (1 + 1e-9) + 1e-9
    assert truth * (1 - 1e-9) - 1e-9 <= result.upper
    assert result.status == "exact", result.notices
    assert result.upper - result.lower <= 1e-6


NETS: dict[str, tuple[ReluNetwork, float]] = {
    "opposed, layer 1": (network((array([1], [-1]), np.zeros(2)), (array([3, -5]), np.zeros(1))), 5),
    "opposed, layer 2": (
        network((array([1]), array([2])[0]), (array([1], [-1]), array([-2, 2])[0]), (array([3, -5]), np.zeros(1))),
        5,
    ),
    "a later layer copies": (
        network(
            (array([1], [-1]), np.zeros(2)),
            (array([1, 0], [0, 1], [1, 1]), np.zeros(3)),
            (array([3, -5, -1]), np.zeros(1)),
        ),
        6,
    ),
    "rows of two layers": (  # relu(relu(x) - relu(-x)) and relu(-x) are never active together
        network((array([1], [-1]), np.zeros(2)), (array([1, -1], [0, 1]), np.zeros(2)), (array([4, -3]), np.zeros(1))),
        4,
    ),
    "duplicates": (network((array([1], [1], [2]), array([0.25, 0.25, 0.5])[0]), (array([1, 1, -3]), np.zeros(1))), 4),
    "constant neurons": (
        network((array([1], [0], [0], [0]), array([0, 0, 1, -1])[0]), (array([2, 7, 7, 7]), np.zeros(1))),
        2,
    ),
    "constant in layer 2": (
        network((array([1], [1]), array([2, -9])[0]), (array([1, 0], [0, 1]), array([0, -1])[0]), (array([2, 7]), np.zeros(1))),
        2,
    ),
    "kinks on the border": (network((array([1], [-1], [1]), array([-1, -1, 0])[0]), (array([9, 9, 2]), np.zeros(1))), 2),
    "dead": (network((array([1], [-1]), array([-9, -9])[0]), (array([3, 5]), np.zeros(1))), 0),
    "all zero": (network((array([0], [0]), np.zeros(2)), (array([3, 5]), np.zeros(1))), 0),
}  # fmt: skip


@pytest.mark.parametrize(("norm", "solver"), EVERY)
@pytest.mark.parametrize("name", NETS)
def test_by_hand(name: str, norm: Norm, solver: str) -> None:
    net, truth = NETS[name]
    closed_at(ask(net, norm, solver), truth)


WHOLE = {"kinks on the border": 11.0, "dead": 5.0, "constant in layer 2": 9.0}
"""What differs on all of R."""


@pytest.mark.parametrize("solver", ["cells", "highs"])
@pytest.mark.parametrize("name", NETS)
def test_by_hand_on_the_whole_line(name: str, solver: str) -> None:
    net, truth = NETS[name]
    result = ask(net, Norm.INF, solver, Support.whole(1))
    closed_at(result, WHOLE.get(name, truth))
    if result.parts[0].point is not None:
        assert np.isfinite(result.parts[0].point).all()


def degenerate(seed: int) -> ReluNetwork:
    """Weights of few integers: proportional and opposed neurons, zero rows, kinks through corners of the box."""
    rng = np.random.default_rng(seed)
    widths = [1 + seed % 2, *rng.integers(2, 6, size=1 + seed % 3 % 2).tolist(), 2]
    pairs = []
    for n, m in pairwise(widths):
        pairs.append((rng.integers(-1, 2, (m, n)).astype(float), rng.integers(-1, 2, m) * (rng.random(m) < 0.4)))
    return network(*pairs)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", [pytest.param(s, marks=() if s < 10 else pytest.mark.full) for s in range(60)])
def test_small_integers_against_cells(norm: Norm, seed: int) -> None:
    net = degenerate(seed)
    lower, upper = np.full(net.n_inputs, -1.0), np.full(net.n_inputs, 1.0)
    truth = steepest(raw(net), np.eye(2), norm.value, lower, upper, together=True)
    solvers = ["cells"] if norm is Norm.TWO else ["cells", "highs"]
    for solver in solvers:
        closed_at(ask(net, norm, solver), truth)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("support", [Support.box(-1, 1, 3), Support.whole(3), Support.box(1e-200, 1e-199, 3)])
def test_no_hidden_layer(norm: Norm, support: Support) -> None:
    weight = array([1, -2, 3], [4, 5, -6])
    truth = float(np.linalg.norm(weight, {Norm.INF: np.inf, Norm.ONE: 1, Norm.TWO: 2}[norm]))
    closed_at(ask(network((weight, np.ones(2))), norm, support=support), truth)


def test_a_single_point_has_no_slope() -> None:
    assert ask(NETS["duplicates"][0], Norm.INF, support=Support.box(0.5, 0.5, 1)).upper < 1e-300


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", range(4))
def test_divided_and_shifted_inputs(norm: Norm, seed: int) -> None:
    """Fused blocks are off by some roundings; the oracle fuses in plain float64."""
    rng = np.random.default_rng(seed)
    n, divisor, shift = 2, np.array([3.0, 0.7]), rng.normal(size=2)
    first, second = rng.normal(size=(4, n)), rng.normal(size=(2, 4))
    bias = rng.normal(size=4) * 0.3
    layers = [
        Diagonal(readonly(np.ones(n)), readonly(divisor), readonly(shift)),
        Affine(readonly(first), readonly(bias)),
        Relu(),
        Affine(readonly(second), readonly(np.zeros(2))),
    ]
    net = as_network(layers)
    assert not blocks_of(net.canonical)[0].exact
    fused = [(first / divisor, first @ shift + bias), (second, np.zeros(2))]
    truth = steepest(fused, np.eye(2), norm.value, np.full(n, -1.0), np.ones(n), together=True)
    closed_at(ask(net, norm), truth)
    if norm is not Norm.TWO:
        closed_at(ask(net, norm, "highs"), truth)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("size", [1e150, 1e300])
def test_huge_weights_leave_a_bracket(norm: Norm, size: float) -> None:
    """No warning, no traceback, no infinite lower end: the bracket is that of the network of size 1, scaled."""
    rng = np.random.default_rng(1)
    pairs = [(rng.normal(size=(3, 2)), rng.normal(size=3)), (rng.normal(size=(2, 3)), np.zeros(2))]
    big = network((pairs[0][0] * size, pairs[0][1] * size), pairs[1])
    truth = steepest(pairs, np.eye(2), norm.value, np.full(2, -1.0), np.ones(2), together=True)
    for solver in ["cells"] if norm is Norm.TWO else ["cells", "highs", "gurobi"]:
        result = ask(big, norm, solver)
        assert result.lower <= truth * size * (1 + 1e-9)
        assert truth * size * (1 - 1e-9) <= result.upper
        assert math.isfinite(result.lower)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("support", [Support.box(-1, 1, 2), Support.whole(2), Support.box(-1.7e308, 1.7e308, 2)])
def test_an_overflow_is_an_infinite_upper_end(norm: Norm, support: Support) -> None:
    rng = np.random.default_rng(1)
    net = network(*((rng.normal(size=(m, n)) * 1e160, np.zeros(m)) for n, m in ((2, 3), (3, 3), (3, 2))))
    result = ask(net, norm, support=support)
    assert result.upper == math.inf
    assert math.isfinite(result.lower)
    assert result.status == "bracket"


def test_rows_that_leave_nothing_widen_the_bracket() -> None:
    """``x + y <= -2`` within [-1, 1]^2 is a corner, an empty one too: whatever is said is an upper bound of nothing."""
    for side in (-2.0, -2.5):
        rows = LinearRows(readonly(array([1, 1])), readonly(np.array([-math.inf])), readonly(np.array([side])))
        support = Support(readonly(np.full(2, -1.0)), readonly(np.ones(2)), rows)
        net = network((array([1, 2], [3, -1]), np.zeros(2)), (array([1, 1]), np.zeros(1)))
        for norm in NORMS:
            result = ask(net, norm, support=support)
            assert 0 <= result.lower <= result.upper


@pytest.mark.parametrize(("norm", "solver"), EVERY)
@pytest.mark.parametrize("width", [2.0**-20, 2.0**-40])
def test_a_sliver_counts(norm: Norm, solver: str, width: float) -> None:
    """``3 relu(x) - 5 relu(w - x)`` is steepest, 8, on (0, w) alone, where no random point falls and no solver's tolerance reaches."""
    net = network((array([1], [-1]), np.array([0.0, width])), (array([3, -5]), np.zeros(1)))
    result = ask(net, norm, solver)
    assert result.lower <= 8 <= result.upper


@pytest.mark.parametrize("norm", NORMS)
def test_what_a_wide_gap_leaves_open_counts(norm: Norm) -> None:
    """The sliver is worth less than the gap, but the upper end is above it all the same."""
    weight, bias = array([1], [-1], [1], [-1]), np.array([0.0, 2.0**-40, -0.5, -0.5])
    net = network((weight, bias), (array([3, -5, -10, 10]), np.zeros(1)))
    support = Support.box(-1.0, 1.0, 1)
    problem = LipschitzProblem(net, GroundCost(norm, 1), support, Measure.operator_norm(net))
    result = lipschitz(problem, gap=8.0)
    assert result.statistics.solves > 0
    assert result.lower <= 8 <= result.upper
    assert result.status == "exact"


@pytest.mark.parametrize("norm", NORMS)
def test_a_region_with_an_equation(norm: Norm) -> None:
    """``2 relu(x - 1/2) + y`` where ``x + y = 1``: gradient (2, 1) on the cell that meets the region where ``x > 1/2``."""
    net = network((array([1, 0]), np.array([-0.5])), (array([2]), np.zeros(1)))
    skip = network((array([1, 0], [0, 1]), np.array([-0.5, 0.0])), (array([2, 1]), np.zeros(1)))
    rows = LinearRows(readonly(array([1, 1])), readonly(np.ones(1)), readonly(np.ones(1)))
    support = Support(np.zeros(2), np.ones(2), rows, np.ones(2, np.bool_))
    for asked, gradient in ((net, [2.0, 0.0]), (skip, [2.0, 1.0])):
        truth = {Norm.INF: sum(gradient), Norm.ONE: max(gradient), Norm.TWO: math.hypot(*gradient)}[norm]
        closed_at(ask(asked, norm, support=support), truth)
