"""Each back-end: every status translated, every bound one that the solver proved, nothing printed."""

from __future__ import annotations

import math
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from bounds.tiny import network, problem, random_layers

from wdaverify.encoding.inner import inner_model
from wdaverify.encoding.milp import MilpModel, ModelBuilder
from wdaverify.engines.screening import Screen
from wdaverify.problem import Norm
from wdaverify.solvers import gurobi, highs, scip
from wdaverify.solvers.base import MilpLimits, MilpOutcome, MilpStatus
from wdaverify.solvers.gurobi import GurobiSolver
from wdaverify.solvers.highs import HighsSolver
from wdaverify.solvers.scip import ScipSolver

BACK_ENDS = [HighsSolver, GurobiSolver, ScipSolver]
BackEnd = type[HighsSolver] | type[GurobiSolver] | type[ScipSolver]
MODULES = {HighsSolver: highs, GurobiSolver: gurobi, ScipSolver: scip}

pytestmark = pytest.mark.parametrize("back_end", BACK_ENDS, ids=lambda b: b.name)


def limits(**changes: object) -> MilpLimits:
    options: dict[str, object] = {"gap": 1e-9, "seconds": math.inf, "cutoff": None, "start": None, "seed": 0}
    return MilpLimits(**(options | changes))  # type: ignore[arg-type]


def build(
    *, maximise: bool, integer: bool, upper: float = 1.0, row: tuple[float, float] = (-math.inf, 7.5)
) -> MilpModel:
    """``+- (5 a + 4 b + 3 c) + 10`` with ``3 a + 5 b + 2 c`` limited to 7.5: 8 in binaries (1, 0, 1), 10 with b = 1/2."""
    builder = ModelBuilder()
    columns = builder.columns(np.zeros(3), np.full(3, upper), integer=integer)
    builder.row(columns, np.array([3.0, 5.0, 2.0]), *row)
    sign = 1.0 if maximise else -1.0
    return builder.build(
        maximise=maximise,
        index=columns,
        coefficient=sign * np.array([5.0, 4.0, 3.0]),
        offset=10.0,
        slack=0.0,
        centre=np.zeros(3),
        inputs=columns,
        negative_inputs=None,
    )


def hard_model() -> MilpModel:
    """An inner problem that takes some work: 8 inputs, two layers of 12."""
    rng = np.random.default_rng(0)
    net = network(*random_layers(rng, 8, 12, 12, 2))
    screen = Screen(problem(net, rng.uniform(size=8), [0], norm=Norm.INF))
    region, bounds, _ = screen.region(0, 0.0, float(screen.reach[0]))
    return inner_model(net.canonical, bounds, region, 0, 1, 1.0)


def better(a: float, b: float, model: MilpModel) -> bool:
    """Whether bound ``a`` claims at least ``b``."""
    return a >= b if model.maximise else a <= b


@pytest.mark.parametrize("maximise", [True, False])
def test_optimal(back_end: BackEnd, maximise: bool) -> None:
    outcome = back_end().solve(build(maximise=maximise, integer=True), limits())
    assert outcome.status is MilpStatus.OPTIMAL
    assert outcome.bound == pytest.approx(18.0 if maximise else 2.0, abs=1e-8)
    assert outcome.columns == pytest.approx([1.0, 0.0, 1.0], abs=1e-8)
    assert outcome.nodes >= 0
    assert outcome.seconds >= 0


@pytest.mark.parametrize("maximise", [True, False])
def test_a_model_without_integers_has_the_bound_of_its_lp(back_end: BackEnd, maximise: bool) -> None:
    outcome = back_end().solve(build(maximise=maximise, integer=False), limits())
    assert outcome.status is MilpStatus.OPTIMAL
    assert outcome.bound == pytest.approx(20.0 if maximise else 0.0, abs=1e-8)
    assert outcome.nodes == 0


@pytest.mark.parametrize("integer", [True, False])
@pytest.mark.parametrize("maximise", [True, False])
def test_infeasible(back_end: BackEnd, maximise: bool, integer: bool) -> None:
    outcome = back_end().solve(build(maximise=maximise, integer=integer, row=(20.0, 30.0)), limits())
    assert outcome.status is MilpStatus.INFEASIBLE
    assert outcome.bound == (-math.inf if maximise else math.inf)
    assert outcome.columns is None


@pytest.mark.parametrize("integer", [True, False])
@pytest.mark.parametrize("maximise", [True, False])
def test_an_unbounded_model_proves_nothing(back_end: BackEnd, maximise: bool, integer: bool) -> None:
    builder = ModelBuilder()
    free = builder.columns(np.zeros(1), np.full(1, math.inf))
    if integer:
        builder.row(
            np.append(free, builder.columns(np.zeros(1), np.ones(1), integer=True)), np.array([1.0, 1.0]), 0.5, math.inf
        )
    model = builder.build(
        maximise=maximise,
        index=free,
        coefficient=np.array([1.0 if maximise else -1.0]),
        offset=0.0,
        slack=0.0,
        centre=np.zeros(1),
        inputs=free,
        negative_inputs=None,
    )
    outcome = back_end().solve(model, limits())
    assert outcome.status is MilpStatus.FAILED
    assert outcome.bound == (math.inf if maximise else -math.inf)


@pytest.mark.parametrize("integer", [True, False])
@pytest.mark.parametrize("maximise", [True, False])
def test_an_unknown_status_proves_nothing(
    back_end: BackEnd, maximise: bool, integer: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MODULES[back_end], "_STATUS", {})
    outcome = back_end().solve(build(maximise=maximise, integer=integer), limits())
    assert outcome.status is MilpStatus.FAILED
    assert outcome.bound == (math.inf if maximise else -math.inf)


@pytest.mark.parametrize("integer", [True, False])
@pytest.mark.parametrize("maximise", [True, False])
@pytest.mark.parametrize("beyond", [1e-3, 1.0, 100.0])
def test_cut_off_beyond_the_optimum(back_end: BackEnd, maximise: bool, integer: bool, beyond: float) -> None:
    model = build(maximise=maximise, integer=integer)
    best = back_end().solve(model, limits()).bound
    cutoff = best + beyond if maximise else best - beyond
    outcome = back_end().solve(model, limits(cutoff=cutoff))
    assert outcome.status is MilpStatus.CUT_OFF
    assert outcome.bound == cutoff
    assert outcome.columns is None


@pytest.mark.parametrize("integer", [True, False])
@pytest.mark.parametrize("maximise", [True, False])
def test_cut_off_short_of_the_optimum(back_end: BackEnd, maximise: bool, integer: bool) -> None:
    model = build(maximise=maximise, integer=integer)
    best = back_end().solve(model, limits()).bound
    outcome = back_end().solve(model, limits(cutoff=best - 1 if maximise else best + 1))
    assert outcome.status is MilpStatus.OPTIMAL
    assert outcome.bound == pytest.approx(best, abs=1e-8)


@pytest.mark.parametrize("maximise", [True, False])
def test_cut_off_at_the_optimum(back_end: BackEnd, maximise: bool) -> None:
    model = build(maximise=maximise, integer=True)
    best = 18.0 if maximise else 2.0
    outcome = back_end().solve(model, limits(cutoff=best))
    assert outcome.status in (MilpStatus.OPTIMAL, MilpStatus.CUT_OFF)
    assert outcome.bound == pytest.approx(best, abs=1e-8)
    assert better(outcome.bound, best, model)


def test_an_infeasible_model_with_a_cut_off_is_cut_off_or_infeasible(back_end: BackEnd) -> None:
    outcome = back_end().solve(build(maximise=True, integer=True, row=(20.0, 30.0)), limits(cutoff=3.0))
    assert outcome.status in (MilpStatus.CUT_OFF, MilpStatus.INFEASIBLE)
    assert outcome.bound == 3.0


def test_no_time_at_all_leaves_a_valid_bound(back_end: BackEnd) -> None:
    model = hard_model()
    best = GurobiSolver().solve(model, limits()).bound
    outcome = back_end().solve(model, limits(seconds=0.0))
    assert outcome.status is MilpStatus.TIME_LIMIT
    assert outcome.bound >= best - 1e-6
    linear = back_end().solve(build(maximise=True, integer=False), limits(seconds=0.0))
    assert linear.bound >= 20.0 - 1e-8


def test_a_gap_leaves_a_valid_bound(back_end: BackEnd) -> None:
    model = hard_model()
    tight = back_end().solve(model, limits(gap=1e-7))
    loose = back_end().solve(model, limits(gap=1.0))
    assert loose.status is MilpStatus.OPTIMAL
    assert tight.bound - 1e-6 <= loose.bound <= tight.bound + 1.0 + 1e-6


def test_a_good_start_is_accepted(back_end: BackEnd) -> None:
    model = hard_model()
    plain = back_end().solve(model, limits(gap=1e-7))
    assert plain.columns is not None
    start = dict(enumerate(plain.columns.tolist()))
    again = back_end().solve(model, limits(gap=1e-7, start=start))
    assert again.status is MilpStatus.OPTIMAL
    assert again.bound == pytest.approx(plain.bound, abs=1e-6)
    part = {k: start[k] for k in model.inputs.tolist()}
    assert back_end().solve(model, limits(gap=1e-7, start=part)).bound == pytest.approx(plain.bound, abs=1e-6)


@pytest.mark.parametrize("maximise", [True, False])
def test_a_bad_start_does_no_harm(back_end: BackEnd, maximise: bool) -> None:
    wrong = {0: 1.0, 1: 1.0, 2: 1.0}  # violates the row
    outcome = back_end().solve(build(maximise=maximise, integer=True), limits(start=wrong))
    assert outcome.bound == pytest.approx(18.0 if maximise else 2.0, abs=1e-8)
    impossible = build(maximise=maximise, integer=True, row=(20.0, 30.0))
    outcome = back_end().solve(impossible, limits(start=wrong))
    assert outcome.status in (MilpStatus.INFEASIBLE, MilpStatus.FAILED)
    assert outcome.columns is None
    assert outcome.bound in (-math.inf, math.inf)


def test_an_optimum_without_a_point_is_a_failure(back_end: BackEnd) -> None:
    """HiGHS may call an infeasible model optimal after a bad start: the status of the solution is looked at, too."""
    if back_end is not HighsSolver:
        pytest.skip("a trap of HiGHS")
    import highspy

    model = build(maximise=True, integer=True)
    info = SimpleNamespace(
        primal_solution_status=highspy.SolutionStatus.kSolutionStatusInfeasible,
        mip_dual_bound=1.0,
        mip_node_count=1,
        objective_function_value=1.0,
    )
    solver = SimpleNamespace(
        getInfo=lambda: info,
        getModelStatus=lambda: highspy.HighsModelStatus.kOptimal,
        modelStatusToString=lambda status: "Optimal",
    )
    outcome: MilpOutcome = highs._read(solver, model, 0.0)  # type: ignore[arg-type]
    assert outcome.status is MilpStatus.FAILED
    assert outcome.bound == math.inf


@pytest.mark.parametrize("scale", [2.0**-34, 2.0**34])
def test_small_and_large_coefficients_are_not_dropped(back_end: BackEnd, scale: float) -> None:
    """A coefficient of 1e-10 on a column of 1e10: a solver that reads it as 0 answers another question."""
    builder = ModelBuilder()
    big = builder.columns(np.zeros(1), np.full(1, 1 / scale))
    out = builder.columns(np.zeros(1), np.full(1, 4.0))
    builder.row(np.concatenate([big, out]), np.array([scale, -1.0]), -math.inf, 0.0)
    builder.row(big, np.array([scale]), -math.inf, 0.5)
    model = builder.build(
        maximise=False,
        index=out,
        coefficient=np.array([1.0]),
        offset=0.0,
        slack=0.0,
        centre=np.zeros(1),
        inputs=big,
        negative_inputs=None,
    )
    lowest = back_end().solve(model, limits())
    assert lowest.bound == pytest.approx(0.0, abs=1e-8)
    top = builder.build(
        maximise=True,
        index=big,
        coefficient=np.array([scale]),
        offset=0.0,
        slack=0.0,
        centre=np.zeros(1),
        inputs=big,
        negative_inputs=None,
    )
    assert back_end().solve(top, limits()).bound == pytest.approx(0.5, abs=1e-6)


def test_nothing_is_printed(back_end: BackEnd, capfd: pytest.CaptureFixture[str]) -> None:
    back_end().solve(build(maximise=True, integer=True), limits())
    back_end().solve(build(maximise=True, integer=False), limits(seconds=0.0))
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_no_banner_in_a_fresh_process(back_end: BackEnd) -> None:
    """The licence is looked up once a process; that is where a banner would appear."""
    if back_end is not GurobiSolver:
        pytest.skip("nobody else has a licence")
    code = "from wdaverify.solvers.gurobi import licence_kind; assert licence_kind()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
