"""Which back-end answers, and what is said when Gurobi cannot."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest

from wdaverify.encoding.milp import MilpModel, ModelBuilder, Quadratic
from wdaverify.errors import ProblemError, SolverError
from wdaverify.solvers import gurobi as gurobi_module
from wdaverify.solvers import registry
from wdaverify.solvers.base import MilpLimits, MilpStatus
from wdaverify.solvers.gurobi import QUADRATIC_LIMIT, SIZE_LIMIT, GurobiSolver
from wdaverify.wdro.family import check_quadratic

LIMITS = MilpLimits(gap=1e-9, seconds=math.inf, cutoff=None, start=None, seed=0)
EXPIRED = "none: Single-use license expired 2024-01-01"


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    caches = (registry.highs, registry.gurobi, registry.scip, registry.gurobi_licence)
    for cached in caches:
        cached.cache_clear()
    yield
    for cached in caches:
        getattr(cached, "cache_clear", lambda: None)()


def model(rows: int) -> MilpModel:
    """``max a + b`` under ``rows`` copies of ``a + b <= 1``."""
    builder = ModelBuilder()
    pair = builder.columns(np.zeros(2), np.ones(2), integer=True)
    for _ in range(rows):
        builder.row(pair, np.ones(2), -math.inf, 1.0)
    return builder.build(
        maximise=True,
        index=pair,
        coefficient=np.ones(2),
        offset=0.0,
        slack=0.0,
        centre=np.zeros(2),
        inputs=pair,
        negative_inputs=None,
    )


def answering(asked: str, rows: int = 3) -> str:
    name, outcome = registry.solve(asked, model(rows), LIMITS)
    assert outcome.status is MilpStatus.OPTIMAL
    assert outcome.bound == pytest.approx(1.0, abs=1e-9)
    return name


@pytest.mark.parametrize("kind", ["full", "size-limited"])
@pytest.mark.parametrize("asked", ["gurobi"])
def test_gurobi_answers_where_there_is_a_licence(asked: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gurobi_module, "licence_kind", lambda: kind)
    choice = registry.choose(asked)
    assert (choice.asked, choice.licence, choice.notice) == (asked, kind, None)
    assert "Gurobi answers" in choice.why
    assert answering(asked) == "gurobi"


@pytest.mark.parametrize("asked", ["auto", "cells"])
def test_the_cell_engine_needs_no_licence(asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry.importlib.util, "find_spec", lambda name: None)
    choice = registry.choose(asked)
    assert (choice.asked, choice.licence, choice.notice) == (asked, "not asked", None)
    assert "cell engine answers" in choice.why


def test_highs_is_used_when_asked_for() -> None:
    choice = registry.choose("highs")
    assert (choice.asked, choice.notice) == ("highs", None)
    assert answering("highs") == "highs"


@pytest.mark.parametrize("asked", ["gurobi"])
def test_an_expired_licence_means_highs_and_a_notice(asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gurobi_module, "licence_kind", lambda: EXPIRED)
    choice = registry.choose(asked)
    assert choice.licence == EXPIRED
    assert "HiGHS answers" in choice.why
    assert "expired" in choice.why
    assert choice.notice == choice.why
    assert answering(asked) == "highs"


@pytest.mark.parametrize("asked", ["gurobi"])
def test_without_gurobipy_highs_answers(asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry.importlib.util, "find_spec", lambda name: None)
    choice = registry.choose(asked)
    assert choice.licence == "none: gurobipy is not installed"
    assert choice.notice == choice.why
    assert answering(asked) == "highs"


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ProblemError, match="accepted are auto, cells, highs, gurobi, scip"):
        registry.choose("cplex")


@pytest.mark.parametrize("asked", ["gurobi"])
def test_a_model_beyond_the_size_limit_goes_to_highs(asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gurobi_module, "licence_kind", lambda: "size-limited")
    assert answering(asked, rows=SIZE_LIMIT) == "gurobi"
    assert answering(asked, rows=SIZE_LIMIT + 1) == "highs"


@pytest.mark.parametrize("asked", ["gurobi"])
def test_a_licence_that_breaks_in_the_middle_means_highs(asked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: GurobiSolver, question: MilpModel, limits: MilpLimits) -> None:
        raise SolverError("Gurobi: token server unreachable")

    monkeypatch.setattr(gurobi_module, "licence_kind", lambda: "full")
    monkeypatch.setattr(GurobiSolver, "solve", broken)
    assert answering(asked) == "highs"


def test_an_environment_that_does_not_start_is_no_licence(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise gurobi_module.gurobipy.GurobiError(10009, "License\nexpired")

    gurobi_module.licence_kind.cache_clear()
    monkeypatch.setattr(gurobi_module, "_environment", broken)
    try:
        assert gurobi_module.licence_kind().startswith("none: ")
        assert "\n" not in gurobi_module.licence_kind()
    finally:
        gurobi_module.licence_kind.cache_clear()


def test_scip_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    assert registry.choose("scip").notice is None
    assert answering("scip") == "scip"
    registry.scip.cache_clear()
    monkeypatch.setattr(registry.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ProblemError, match=r"pip install 'wdaverify\[scip\]', or use --solver highs or cells"):
        registry.choose("scip")


def round_model(columns: int) -> MilpModel:
    """``max v_0`` within the unit ball: 1."""
    builder = ModelBuilder()
    every = builder.columns(np.full(columns, -2.0), np.full(columns, 2.0))
    none = np.zeros(0, np.int64)
    builder.quadratic(Quadratic(every, np.ones(columns), none, np.zeros(0), 1.0))
    ends = {"centre": np.zeros(columns), "inputs": every, "negative_inputs": None}
    return builder.build(maximise=True, index=every[:1], coefficient=np.ones(1), offset=0.0, slack=0.0, **ends)


@pytest.mark.parametrize("asked", ["gurobi", "scip"])
def test_quadratic_models_are_solved(asked: str) -> None:
    name, outcome = registry.solve(asked, round_model(3), LIMITS)
    assert name == asked
    assert outcome.bound == pytest.approx(1.0, abs=1e-7)


def test_nobody_takes_over_a_quadratic_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """HiGHS refuses it; Gurobi's size-limited licence ends at 200 columns there, and that is said."""
    with pytest.raises(SolverError, match="HiGHS takes no quadratic rows"):
        registry.solve("highs", round_model(3), LIMITS)
    monkeypatch.setattr(gurobi_module, "licence_kind", lambda: "size-limited")
    assert registry.solve("gurobi", round_model(QUADRATIC_LIMIT), LIMITS)[0] == "gurobi"
    with pytest.raises(SolverError, match=r"at most 200 columns where anything is quadratic.*and this model has 201"):
        registry.solve("gurobi", round_model(QUADRATIC_LIMIT + 1), LIMITS)
    registry.gurobi_licence.cache_clear()
    monkeypatch.setattr(gurobi_module, "licence_kind", lambda: EXPIRED)
    with pytest.raises(SolverError, match=r"no licence can be used.*use --solver cells or scip"):
        registry.solve("gurobi", round_model(3), LIMITS)
    with pytest.raises(ProblemError, match="no Gurobi licence can be used"):
        check_quadratic("gurobi", "l2 is quadratic")
