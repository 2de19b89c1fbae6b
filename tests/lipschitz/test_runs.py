"""Runs that are cut short, interrupted, robbed of a worker or spread over processes; and what is refused."""

from __future__ import annotations

import math
import multiprocessing
import signal
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from bounds.tiny import network, random_layers, raw
from lipschitz.slopes import steepest

from wdaverify.engines.cells.slopes import SlopeHunt
from wdaverify.errors import ProblemError
from wdaverify.ground import GroundCost, Norm, Support
from wdaverify.lipschitz import exact
from wdaverify.lipschitz.exact import lipschitz
from wdaverify.lipschitz.question import LipschitzProblem, Measure
from wdaverify.network.model import ReluNetwork
from wdaverify.samples import Samples, make_samples
from wdaverify.wdro.progress import Progress
from wdaverify.wdro.result import Reason

needs_kill = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this platform has no SIGKILL")
NET = network(*random_layers(np.random.default_rng(5), 2, 5, 5, 3))
BIG = network(*random_layers(np.random.default_rng(0), 8, 40, 40, 4))


def question(net: ReluNetwork = NET, norm: Norm = Norm.INF) -> LipschitzProblem:
    measure = Measure.margins(net, list(range(net.n_outputs)))
    return LipschitzProblem(net, GroundCost(norm, 1), Support.box(-1, 1, net.n_inputs), measure)


def truth(norm: Norm = Norm.INF) -> float:
    rows = question().measure.rows
    return steepest(raw(NET), rows, norm.value, np.full(2, -1.0), np.ones(2))


@pytest.mark.parametrize("solver", ["cells", "highs"])
@pytest.mark.parametrize("limit", [0.0, 1e-3, 0.05])
def test_no_time_leaves_a_valid_bracket(limit: float, solver: str) -> None:
    result = lipschitz(question(), time_limit=limit, solver=solver)
    assert result.lower <= truth() <= result.upper
    assert (result.status == "exact") == (result.reason is Reason.GAP_CLOSED)
    assert result.status == "exact" or result.reason is Reason.TIME_LIMIT
    assert math.isfinite(result.upper)


@pytest.mark.parametrize("norm", list(Norm))
def test_balls_that_time_does_not_reach_share_a_bound(norm: Norm) -> None:
    """No time for any of 10 balls: each has the finite bound of all."""
    x = np.random.default_rng(0).uniform(-1, 1, (10, 8))
    measure = Measure.margins(BIG, [0])
    problem = LipschitzProblem(
        BIG, GroundCost(norm, 1), Support.whole(8), measure, make_samples(x, np.zeros(10, dtype=int)), 0.003
    )
    late = lipschitz(problem, time_limit=0.0)
    assert late.reason is Reason.TIME_LIMIT
    assert len(late.parts) == 10
    assert len({part.upper for part in late.parts}) == 1
    done = lipschitz(problem)
    assert done.status == "exact"
    assert all(a.upper >= b.lower and a.lower <= b.upper for a, b in zip(late.parts, done.parts, strict=True))
    assert math.isfinite(late.upper)


def test_ctrl_c_keeps_the_bracket() -> None:
    def progress(now: Progress) -> None:
        if now.phase == "solve":
            raise KeyboardInterrupt

    result = lipschitz(question(BIG), time_limit=1.0, progress=progress)
    assert result.reason is Reason.INTERRUPTED
    assert 0 < result.lower <= result.upper < math.inf
    assert result.detail == "the run was interrupted; the bracket holds"


def test_ctrl_c_inside_the_engine_keeps_the_bracket(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: SlopeHunt) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(SlopeHunt, "answer", interrupted)
    result = lipschitz(question())
    assert result.reason is Reason.INTERRUPTED
    assert result.lower <= truth() <= result.upper


def test_ctrl_c_in_the_replay_keeps_the_bracket(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(exact, "proven", interrupted)
    result = lipschitz(question(), certificate=True)
    assert (result.status, result.reason, result.certificate) == ("exact", Reason.INTERRUPTED, None)
    assert "there is no certificate" in result.detail
    assert result.lower <= truth() <= result.upper


def test_an_engine_that_fails_leaves_a_valid_bracket(monkeypatch: pytest.MonkeyPatch) -> None:
    def starved(_: SlopeHunt) -> None:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(SlopeHunt, "answer", starved)
        result = lipschitz(question(BIG))
    assert (result.status, result.reason) == ("bracket", "stalled")
    assert 0 < result.lower <= result.upper < math.inf
    assert any("a worker ran out of memory" in notice for notice in result.notices)
    known = lipschitz(question(BIG), time_limit=5.0)
    assert result.lower <= known.upper
    assert known.lower <= result.upper


def test_processes_give_the_answer_of_one() -> None:
    alone, together = (lipschitz(question(), jobs=jobs) for jobs in (None, 2))
    assert alone.status == together.status == "exact"
    for one, two in ((alone.lower, together.lower), (alone.upper, together.upper)):
        assert two == pytest.approx(one, abs=1e-6)
    assert (alone.statistics.jobs, together.statistics.jobs) == (1, 2)


@needs_kill
@pytest.mark.parametrize("times", [1, 9])
def test_a_killed_worker_leaves_a_valid_bracket(times: int) -> None:
    killed: list[int] = []

    def progress(_: Progress) -> None:
        children = multiprocessing.active_children()
        if children and len(killed) < times and children[0].pid:
            killed.append(children[0].pid)
            children[0].kill()  # one that has just ended by itself is no error

    net = network(*random_layers(np.random.default_rng(0), 3, 8, 8, 3))
    problem = LipschitzProblem(
        net, GroundCost(Norm.INF, 1), Support.box(-1, 1, 3), Measure.outputs(net, [(0, 1), (1, 2)])
    )
    result = lipschitz(problem, jobs=1, time_limit=20, progress=progress)
    assert killed
    assert result.status == "exact" or any("a worker process died" in notice for notice in result.notices)
    known = lipschitz(problem)
    assert result.lower <= known.upper
    assert known.lower <= result.upper


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"gap": 0.0}, "gap"),
        ({"gap": math.inf}, "gap"),
        ({"time_limit": -1.0}, "time limit"),
        ({"time_limit": math.nan}, "time limit"),
        ({"jobs": 0}, "jobs"),
    ],
)
def test_options_out_of_range(options: dict[str, float], words: str) -> None:
    with pytest.raises(ProblemError, match=words):
        lipschitz(question(), **options)  # type: ignore[arg-type]


def test_linear_programs_know_no_l2() -> None:
    with pytest.raises(
        ProblemError, match="highs takes linear models alone, and l2 slopes are quadratic: use --solver cells"
    ):
        lipschitz(question(norm=Norm.TWO), solver="highs")


@pytest.mark.parametrize("solver", ["gurobi", "scip"])
def test_no_convex_program_has_the_l2_norm_of_a_jacobian(solver: str) -> None:
    asked = question(norm=Norm.TWO)
    with pytest.raises(ProblemError, match="the l2 norm of the whole Jacobian is not convex"):
        lipschitz(replace(asked, measure=Measure.operator_norm(asked.network)), solver=solver)


def samples(x: object) -> Samples:
    points = np.atleast_2d(np.array(x, dtype=float))
    return make_samples(points, np.zeros(len(points), dtype=int))


@pytest.mark.parametrize(
    ("support", "around", "within", "words"),
    [
        (Support.box(0, 1, 3), None, math.inf, "3 features, the network 2"),
        (Support.whole(2), samples([[0, 0]]), 0.0, "within 0.0"),
        (Support.whole(2), samples([[0, 0]]), math.inf, "within inf"),
        (Support.whole(2), samples([[0, 0, 0]]), 1.0, "3 features"),
        (Support.box(0, 1, 2), samples([[0, 0], [0, 2]]), 1.0, "sample 1 .* outside the support"),
    ],
)
def test_questions_that_do_not_fit(support: Support, around: Samples | None, within: float, words: str) -> None:
    with pytest.raises(ProblemError, match=words):
        LipschitzProblem(NET, GroundCost(Norm.INF, 1), support, Measure.operator_norm(NET), around, within)


@pytest.mark.parametrize(
    ("outputs", "words"), [([(3, None)], "output 3"), ([(1, 1)], "itself"), ([(-1, 0)], "output -1")]
)
def test_functionals_that_are_none(outputs: list[tuple[int, int | None]], words: str) -> None:
    with pytest.raises(ProblemError, match=words):
        Measure.outputs(NET, outputs)


def test_a_pair_counts_once() -> None:
    """Margins of all classes are the pairs; a functional and its negative are one part, named as given first."""
    measure = Measure.margins(NET, [0, 1, 2])
    assert measure.names == ("z_1 - z_0", "z_2 - z_0", "z_2 - z_1")
    twice = Measure.outputs(NET, [(1, 0), (0, 1), (0, None), (0, None)])
    assert [name for name, _ in twice.parts(Norm.INF)] == ["z_1 - z_0", "z_0"]
    assert [rows.shape for _, rows in Measure.operator_norm(NET).parts(Norm.TWO)] == [(3, 3)]
    assert [rows.shape for _, rows in Measure.operator_norm(NET).parts(Norm.INF)] == [(1, 3)] * 3


def test_balls_are_rounded_outward() -> None:
    """No double is ``0.1 - 0.3``; the box holds the ball, and points found lie within the ball in rationals."""
    x = np.array([[0.1, 0.7]])
    within = 0.3
    problem = LipschitzProblem(
        NET, GroundCost(Norm.INF, 1), Support.whole(2), Measure.operator_norm(NET), samples(x), within
    )
    (region,) = problem.regions()
    for k, centre in enumerate(x[0].tolist()):
        assert Fraction(float(region.lower[k])) <= Fraction(centre) - Fraction(within)
        assert Fraction(float(region.upper[k])) >= Fraction(centre) + Fraction(within)
    point = lipschitz(problem).parts[0].point
    assert point is not None
    assert all(
        abs(Fraction(p) - Fraction(c)) <= Fraction(within) for p, c in zip(point.tolist(), x[0].tolist(), strict=True)
    )
