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

NAMES = ("auto", "cells", "highs", "gurobi", "scip")
OWN = ("auto", "cells")
"""The cell engine's."""
CONVEX = ("gurobi", "scip")
"""Those of the others that take convex quadratic rows."""


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
def scip() -> MilpSolver | None:
    """The SCIP back-end, or None where pyscipopt is not installed."""
    if importlib.util.find_spec("pyscipopt") is None:
        return None
    from wdaverify.solvers.scip import ScipSolver

    return ScipSolver()


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
        ProblemError: the name is not one of ``auto``, ``cells``, ``highs``, ``gurobi``, ``scip``, or SCIP is not installed.
    """
    if asked not in NAMES:
        raise ProblemError(f"solver {asked!r}: accepted are {', '.join(NAMES)}")
    if asked in ("auto", "cells"):
        return Choice(asked, "not asked", "the cell engine answers: LPs by HiGHS, bounds recomputed here", None)
    if asked == "highs":
        return Choice(asked, "not asked", "HiGHS was asked for", None)
    if asked == "scip":
        if scip() is None:
            raise ProblemError(
                "solver scip: pyscipopt is not installed; pip install 'wdaverify[scip]', or use --solver highs or cells"
            )
        return Choice(asked, "not asked", "SCIP was asked for", None)
    licence = gurobi_licence()
    if licence == "full":
        return Choice(asked, licence, "Gurobi answers: a full licence was found", None)
    if licence == "size-limited":
        why = (
            "Gurobi answers where its size-limited licence admits the model (2000 columns, 2000 rows), else HiGHS; quadratic "
            "models (l2, order 2) of at most 200 columns, and no one else answers those"
        )
        return Choice(asked, licence, why, None)
    why = f"HiGHS answers: no Gurobi licence can be used ({licence})"
    return Choice(asked, licence, why, why)


def solve(asked: str, model: MilpModel, limits: MilpLimits) -> tuple[str, MilpOutcome]:
    """Solve with the back-end asked for; what Gurobi cannot take goes to HiGHS. The back-end's name and what it said.

    Raises:
        SolverError: nobody takes the model.
    """
    if asked == "scip":
        back_end = scip()
        if back_end is None:
            raise SolverError("pyscipopt is not installed here; pip install 'wdaverify[scip]'")
        return back_end.name, back_end.solve(model, limits)
    if asked != "highs":
        first = gurobi()
        if first is not None and first.fits(model):
            try:
                return first.name, first.solve(model, limits)
            except (
                SolverError
            ):  # a licence that broke mid-run: the free back-end answers, and the count of solves shows it
                if model.quadratic:
                    raise
        elif model.quadratic:
            raise SolverError(_too_large(model))
    return highs().name, highs().solve(model, limits)


def _too_large(model: MilpModel) -> str:
    licence = gurobi_licence()
    if licence != "size-limited":
        return f"l2 and order 2 need Gurobi's quadratic rows, and no licence can be used ({licence}); use --solver cells or scip"
    return (
        f"Gurobi's size-limited licence takes at most 200 columns where anything is quadratic (l2, order 2), and this model has "
        f"{model.n_columns}; use --solver cells or scip, or a full licence"
    )
