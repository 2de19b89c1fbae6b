"""Baseline (d), plain distances: a MILP ``min ||x - x_i||`` for each sample, and the knapsack on top for the zero-one V.

All rivals share one model with a selector: a MILP for each rival took 2 to 7 times as long on digits_16x16, with both solvers
(``selector=False`` asks for it). ``jobs`` processes of one thread each take the samples in turn. A
distance is asked for to the gap, or for V to gap * radius: V's knapsack loses at most that over the threshold distance,
which is at least the radius where V < 1. The point that a solver finds is moved across the decision boundary and re-evaluated.
"""

from __future__ import annotations

import math
import time
from importlib import import_module

import numpy as np
from naive import processes, stopped
from outcome import Outcome, RefusedError

from wdaverify import WdroProblem
from wdaverify.network.model import Array
from wdaverify.transport.knapsack import knapsack_lower, knapsack_upper
from wdaverify.witness.evaluate import clean_losses, distances_up
from wdaverify.witness.push import push_across

SOLVERS = {"gurobi": ("questions_gurobi", "GurobiDistance"), "highs": ("questions_highs", "HighsDistance")}


def _nearest(
    problem: WdroProblem, sample: int, solver: str, gap: float, deadline: float, selector: bool
) -> tuple[float, float, bool, int]:
    """``[low, high]`` of a distance, whether it is solved, and the number of MILPs."""
    module, name = SOLVERS[solver]
    label, centre = int(problem.samples.y[sample]), problem.samples.x[sample]
    rivals = [j for j in range(problem.network.n_outputs) if j != label]
    low, high, solves = math.inf, math.inf, 0
    for group in [rivals] if selector else [[j] for j in rivals]:
        model = getattr(import_module(module), name)(problem, sample, group, gap)
        found = model.solve(deadline - time.monotonic())
        low, solves = min(low, found.bound), solves + 1
        if found.point is not None:
            high = min(high, _to_error(problem, found.point, centre, label))
        if not found.closed or (found.point is not None and math.isinf(high)):
            return 0.0, high, False, solves
    return max(low, 0.0), high, True, solves


def _to_error(problem: WdroProblem, point: Array, centre: Array, label: int) -> float:
    """The distance of the error next to a solver's point, rounded up; inf where there is none."""
    point = np.clip(point, problem.support.lower, problem.support.upper)
    across = push_across(problem.network, point, centre, label, problem.support, problem.cost)
    if across is None:
        return math.inf
    return float(distances_up(problem.cost, across[None], centre[None])[0])


def plain_distances(
    problem: WdroProblem,
    solver: str,
    *,
    gap: float,
    jobs: int,
    limit: float,
    value: bool,
    selector: bool = True,
) -> Outcome:
    """All distances within ``limit`` seconds; with ``value`` the bracket is V's, else that of the mean distance."""
    begun, count = time.monotonic(), len(problem.samples)
    asked = gap * problem.radius if value else gap
    low = np.zeros(count)
    wrong = clean_losses(problem)[0] > 0
    high = np.where(wrong, 0.0, math.inf)
    closed, solves = np.array(wrong), 0
    with processes(1, SOLVERS[solver][0], jobs) as [pool]:
        startup = time.monotonic() - begun
        todo = np.flatnonzero(~wrong).tolist()
        futures = [pool.submit(_nearest, problem, i, solver, asked, begun + limit, selector) for i in todo]
        try:
            for sample, future in zip(todo, futures, strict=True):
                low[sample], high[sample], closed[sample], more = future.result()
                solves += more
        except RefusedError as error:
            return Outcome("refused", note=str(error))
    seconds = time.monotonic() - begun
    words = "one MILP a sample with a selector" if selector else "a MILP for each rival"
    state = "done" if closed.all() else stopped(begun + limit)
    note = words if closed.all() else f"{words}; {int(closed.sum())} of {count} distances solved"
    bracket = float(low.mean()), float(high.mean())
    if value:
        sides = (knapsack_lower, high), (knapsack_upper, low)
        bracket = tuple(solve(d, problem.samples.w, problem.radius).value for solve, d in sides)
    return Outcome(state, seconds, count, *bracket, startup, note, {"solves": solves, "distances": high.tolist()})
