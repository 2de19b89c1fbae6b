"""Which back-end answers: the one asked for where it can, else HiGHS, and the reason in words."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from wdaverify.encoding.milp import MilpModel
from wdaverify.errors import ProblemError, SolverError
from wdaverify.solvers.base import MilpLimits, MilpOutcome, MilpSolver

if TYPE_CHECKING:
    from wdaverify.solvers.gurobi import GurobiSolver

NAMES = ("auto", "cells", "highs", "gurobi")


@cache
def highs() -> MilpSolver:
    """The HiGHS back-end, imported on first use."""
    from wdaverify.solvers.highs import HighsSolver

    return HighsSolver()


@cache
def gurobi() -> GurobiSolver | None:
    """The Gurobi back-end, or None where gurobipy is not installed."""
    if importlib.util.find_spec("gurobipy") is None:
        return None
    from wdaverify.solvers.gurobi import GurobiSolver

    return GurobiSolver()


@cache
def gurobi_licence() -> str:
    """``full``, ``size-limited``, or ``none: <why>``."""
    if gurobi() is None:
        return "none: gurobipy is not installed"
    from wdaverify.solvers.gurobi import licence_kind

    return licence_kind()


@dataclass(frozen=True)
class Choice:
    """What the user asked for, and what it comes to here."""

    asked: str
    licence: str
    why: str
    notice: str | None


def choose(asked: str) -> Choice:
    """Settle which back-ends answer, before any model is built.

    Raises:
        ProblemError: the name is not one of ``auto``, ``cells``, ``highs``, ``gurobi``.
    """
    if asked not in NAMES:
        raise ProblemError(f"solver {asked!r}: accepted are {', '.join(NAMES)}")
    if asked in ("auto", "cells"):
        return Choice(asked, "not asked", "the cell engine answers: LPs by HiGHS, bounds recomputed here", None)
    if asked == "highs":
        return Choice(asked, "not asked", "HiGHS was asked for", None)
    licence = gurobi_licence()
    if licence == "full":
        return Choice(asked, licence, "Gurobi answers: a full licence was found", None)
    if licence == "size-limited":
        why = "Gurobi answers where its size-limited licence admits the model (2000 columns, 2000 rows), else HiGHS"
        return Choice(asked, licence, why, None)
    why = f"HiGHS answers: no Gurobi licence can be used ({licence})"
    return Choice(asked, licence, why, why)


def solve(asked: str, model: MilpModel, limits: MilpLimits) -> tuple[str, MilpOutcome]:
    """Solve with Gurobi where that is wanted and possible, else with HiGHS; the back-end's name and what it said.

    Raises:
        SolverError: HiGHS refused the model, too.
    """
    if asked != "highs":
        first = gurobi()
        if first is not None and first.fits(model):
            try:
                return first.name, first.solve(model, limits)
            except (
                SolverError
            ):  # a licence that broke mid-run: the free back-end answers, and the count of solves shows it
                return highs().name, highs().solve(model, limits)
    return highs().name, highs().solve(model, limits)
