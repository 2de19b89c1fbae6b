"""Which solver answers which question: what is beyond one is refused before anything is computed, with the way out."""

from __future__ import annotations

import math

from wdaverify.certify.checker import uncertified
from wdaverify.errors import ProblemError
from wdaverify.losses.registry import in_words, those
from wdaverify.problem import Norm, WdroProblem
from wdaverify.solvers.registry import CONVEX, OWN, gurobi_licence
from wdaverify.wdro.options import Options


def quadratic(problem: WdroProblem) -> bool:
    """Whether models of the question need quadratic rows: for l2, and where the square of a distance is paid for pieces."""
    cost, rule = problem.cost, problem.loss.rule
    return cost.norm is Norm.TWO or (rule.by_pieces and cost.order == 2)


def check_family(problem: WdroProblem, options: Options) -> None:
    """Refuse what an engine or the checker does not answer.

    Raises:
        ProblemError: says what was found, what is accepted and what to do.
    """
    rule = problem.loss.rule
    if problem.network.curved:
        _check_curved(problem, options)
    if rule.by_levels:
        _check_levels(problem, options)
    elif options.solver not in OWN:
        _check_models(problem, options.solver)
    if options.certificate and (why := uncertified(problem)):
        raise ProblemError(
            f"no certificate: {why}; leave --certificate out: the bracket is then checked as it is found"
        )


def _check_curved(problem: WdroProblem, options: Options) -> None:
    """Refuse what is answered of piecewise-linear networks alone."""
    network, cost = problem.network, problem.cost
    found = f"{network.name} has {', '.join(network.curved)}, which are not piecewise linear"
    if options.solver not in OWN:
        raise ProblemError(f"{found}, and models of {options.solver} are: use --solver cells (the default)")
    if problem.loss.rule.by_levels:
        raise ProblemError(
            f"{found}, and the {problem.loss.rule.noun} is answered by MIP models, which are: ask for another loss (--loss)"
        )
    if math.isfinite(cost.order) and not problem.support.bounded:
        raise ProblemError(
            f"{found}, and on the whole space slopes at infinity are needed: give a box (--support LO HI)"
        )


def _check_models(problem: WdroProblem, solver: str) -> None:
    """Refuse what a MIP solver's models do not hold."""
    if not problem.loss.rule.mip:
        answered = in_words(those(lambda r: r.mip))
        raise ProblemError(
            f"{solver} answers {answered}, which are piecewise linear, and not {problem.loss.value}: use --solver cells (the default)"
        )
    if not problem.support.bounded and math.isfinite(problem.cost.order):
        raise ProblemError(
            f"{solver} answers the whole space at order inf alone: at finite orders points matter so far out that bounds of neurons are "
            "beyond the tolerances of its models: use --solver cells (the default), or give a box (--support LO HI)"
        )
    if quadratic(problem):
        check_quadratic(solver, "l2, and order 2 of losses made of pieces, are quadratic")


def check_quadratic(solver: str, what: str) -> None:
    """Refuse a quadratic question where the solver takes linear models alone, or no licence can be used.

    Raises:
        ProblemError: names who takes it.
    """
    if solver not in CONVEX:
        raise ProblemError(
            f"{solver} takes linear models alone, and {what}: use --solver cells (the default), gurobi or scip"
        )
    if solver == "gurobi" and (licence := gurobi_licence()).startswith("none"):
        raise ProblemError(
            f"{what}, which HiGHS cannot take over, and no Gurobi licence can be used ({licence}): use --solver cells (the default) or scip"
        )


def _check_levels(problem: WdroProblem, options: Options) -> None:
    what = problem.loss.rule.noun
    if options.solver == "cells" or options.certificate or options.mip_start:
        raise ProblemError(
            f"the {what} is answered by MIP solvers, level by level, without certificate or MIP start: "
            "use --solver auto, highs, gurobi or scip alone"
        )
    if not problem.support.bounded:
        raise ProblemError(f"the {what} is answered on a bounded support: give a box (--support LO HI)")
    if quadratic(problem):
        check_quadratic(
            "gurobi" if options.solver == "auto" else options.solver, f"the {what} with an l2 cost is quadratic"
        )
