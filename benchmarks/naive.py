"""Baselines (a) and (b), the naive loop for V: bisection on one multiplier, every sample and every rival solved at each step.

    V = min_lam  lam radius + sum_i w_i max_j phi_ij(lam)

A step solves every pair (sample, rival) to half the gap asked for; the other half is the bisection's. The upper bound is the least
dual value so far; the lower bound is the restricted master on all points found, re-evaluated. The first multiplier is the largest
slope of a margin at a sample (questions at small multipliers are the hardest), doubled until it is above the optimum; the samples'
transport cost at a step says on which side of it the optimum lies. A model per pair is
built once and kept by one of ``jobs`` processes of one thread (pairs are dealt out in turn), so that a solver starts from its last
solution.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from importlib import import_module
from multiprocessing import get_context
from typing import Any

import numpy as np
from chains import weights
from outcome import Outcome, RefusedError
from threadpoolctl import threadpool_limits

from wdaverify import Norm, WdroProblem
from wdaverify.network.model import Array
from wdaverify.transport.master import solve_master
from wdaverify.transport.pool import AtomPool
from wdaverify.wdro.attacking import fill_pool
from wdaverify.witness.evaluate import clean_losses

SOLVERS = {"gurobi": ("questions_gurobi", "GurobiInner"), "highs": ("questions_highs", "HighsInner")}
_NARROWEST = 1e-13
"""The relative width of the multiplier's bracket below which bisection says no more."""

_CONTRADICTION = 1e-6
"""By how much a solver's bound must fall short of a re-evaluated point to count as wrong."""

_EARLY = 0.5
"""Seconds before the cap from which on an unsolved question counts as stopped by it."""

_models: dict[tuple[int, int], Any] = {}
"""Of a worker: its models by (sample, rival)."""


def _start(module: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threadpool_limits(1)
    import_module(module)


def _ready() -> None:
    """Nothing: a worker that answers has started."""


def _build(problem: WdroProblem, pairs: list[tuple[int, int]], solver: str, gap: float) -> None:
    module, name = SOLVERS[solver]
    _models.clear()
    for sample, rival in pairs:
        _models[sample, rival] = getattr(import_module(module), name)(problem, sample, rival, gap)


def _step(multiplier: float, deadline: float) -> list[tuple[int, float, Array | None, bool]]:
    """``(sample, bound, point, closed)`` of every pair, in the worker that keeps them; it ends early past the deadline."""
    out = []
    for (sample, _), model in _models.items():
        found = model.at(multiplier, deadline - time.monotonic())
        out.append((sample, found.bound, found.point, found.closed))
        if not found.closed:
            break
    return out


@contextmanager
def processes(count: int, module: str, width: int = 1) -> Iterator[list[ProcessPoolExecutor]]:
    """``count`` executors of ``width`` spawned processes each: with a width of 1 a task can be sent to a process of one's choice."""
    context = get_context("spawn")
    team = [ProcessPoolExecutor(width, context, initializer=_start, initargs=(module,)) for _ in range(count)]
    try:
        for future in [one.submit(_ready) for one in team for _ in range(width)]:
            future.result()
        yield team
    finally:
        workers = [process for one in team for process in (one._processes or {}).values()]
        for one in team:
            one.shutdown(wait=False, cancel_futures=True)
        for process in workers:
            process.terminate()
            process.join()


def steepest(problem: WdroProblem) -> float:
    """The largest slope of a rival's margin at a sample, in the norm dual to the cost's; 1 where all are 0."""
    network, layers, most = problem.network, weights(problem.network), 0.0
    for x, label in zip(problem.samples.x, problem.samples.y.tolist(), strict=True):
        slope, value = np.eye(network.n_inputs), x
        for k, (weight, bias) in enumerate(layers):
            value, slope = weight @ value + bias, weight @ slope
            if k + 1 < len(layers):
                slope, value = slope * (value > 0)[:, None], np.maximum(value, 0.0)
        margin = np.abs(slope - slope[label])
        size = margin.sum(axis=1) if problem.cost.norm is Norm.INF else margin.max(axis=1)
        most = max(most, float(size.max()))
    return most or 1.0


def stopped(deadline: float) -> str:
    """The state of a run with an unsolved question: its cap's doing, or a failure of the solver before it."""
    return "limit" if time.monotonic() >= deadline - _EARLY else "failed"


class _Bisection:
    """The state of the loop; lower and upper bracket V."""

    def __init__(self, problem: WdroProblem) -> None:
        self._problem, self._pool = problem, AtomPool(clean_losses(problem)[0], problem.network.n_inputs)
        self._low, self._high = 0.0, math.inf
        self.multiplier, self.lower, self.upper, self.steps = steepest(problem), -math.inf, math.inf, 0

    def learn(self, answers: list[tuple[int, float, Array | None, bool]]) -> None:
        """Take a step's answers, one for each pair, and move to the next multiplier."""
        problem, lam = self._problem, self.multiplier
        weights, count = problem.samples.w, len(problem.samples)
        sample = np.array([i for i, *_ in answers])
        point = np.array([p for _, _, p, _ in answers])
        point = np.clip(point, problem.support.lower, problem.support.upper)
        value = np.full(count, -math.inf)
        np.maximum.at(value, sample, [bound for _, bound, *_ in answers])
        self.upper = min(self.upper, lam * problem.radius + math.fsum(weights * value))
        fill_pool(problem, self._pool, sample, point)
        self.lower = max(self.lower, solve_master(self._pool, weights, problem.radius).value)
        spent = math.fsum(w * self._pool.best(i, lam).cost for i, w in enumerate(weights))
        if spent > problem.radius:
            self._low = lam
        else:
            self._high = lam
        self.steps += 1
        self.multiplier = 2 * self._low if math.isinf(self._high) else 0.5 * (self._low + self._high)

    def verdict(self, gap: float) -> str:
        """Whether it is done; ``wrong`` where a solver's bound contradicts a point; ``limit`` as long as it goes on."""
        if self.lower > self.upper + max(gap, _CONTRADICTION):
            return "wrong"
        if self.upper - self.lower <= gap:
            return "done"
        stuck = math.isfinite(self._high) and self._high - self._low <= _NARROWEST * self._high
        return "open" if stuck else "limit"


def naive_loop(problem: WdroProblem, solver: str, *, gap: float, jobs: int, limit: float) -> Outcome:
    """Run the loop on ``jobs`` processes for at most ``limit`` seconds."""
    begun = time.monotonic()
    deadline, count = begun + limit, len(problem.samples)
    with processes(jobs, SOLVERS[solver][0]) as team:
        startup = time.monotonic() - begun
        labels = problem.samples.y.tolist()
        pairs = [(i, j) for i in range(count) for j in range(problem.network.n_outputs) if j != labels[i]]
        try:
            for future in [
                one.submit(_build, problem, pairs[k::jobs], solver, 0.5 * gap) for k, one in enumerate(team)
            ]:
                future.result()
            state, loop = "limit", _Bisection(problem)
            while state == "limit" and time.monotonic() < deadline:
                futures = [one.submit(_step, loop.multiplier, deadline) for one in team]
                answers = [answer for future in futures for answer in future.result()]
                if not all(closed for *_, closed in answers):
                    state = stopped(deadline)
                    break
                loop.learn(answers)
                state = loop.verdict(gap)
        except RefusedError as error:
            return Outcome("refused", note=str(error))
    return Outcome(
        state,
        time.monotonic() - begun,
        count,
        loop.lower,
        loop.upper,
        startup,
        f"{loop.steps} bisection steps" + ("; a solver ended unsolved before the cap" if state == "failed" else ""),
        {"steps": loop.steps, "solves": loop.steps * len(pairs)},
    )
