"""The dual with relaxed inner problems: CROWN's linear bounds alone, or one linear program a shell and no branching.

Both bound ``phi_i(lam)`` from above at any multiplier, so that ``lam eps^p + sum_i w_i U_i(lam)`` is an upper bound of V; the
multiplier is searched. What was proven at other multipliers counts, by convexity (docs/theory.md, section 2).
"""

from __future__ import annotations

import math
import time
from dataclasses import replace

import numpy as np

from wdaverify.attacks.outcome import AttackOutcome
from wdaverify.engines.screening import Screen
from wdaverify.ground import LARGEST
from wdaverify.ladder.constants import knapsack_bound
from wdaverify.problem import WdroProblem
from wdaverify.transport.master import solve_master
from wdaverify.transport.pool import AtomPool
from wdaverify.wdro.attacking import budget, fill_pool, flip_labels
from wdaverify.wdro.horizon import Horizon
from wdaverify.wdro.margin import dual_value
from wdaverify.wdro.options import Options
from wdaverify.wdro.pricing import Pricing
from wdaverify.wdro.run import Run
from wdaverify.wdro.workers import Task, Workers
from wdaverify.witness.evaluate import clean_losses

_DOUBLINGS = 12
_GOLDEN = 5
_BETWEEN = (0.125, 0.25, 0.5, 1.0)
"""How far down, of the way on a logarithmic scale."""
_TOLERANCE = 1e-9
"""Bounds are refined while they exceed what points attain by more than this share of the losses' size."""


class RelaxedDual:
    """Upper bounds of V without any branching, for one problem; for zero-one see ``crown_zero_one``."""

    def __init__(
        self,
        problem: WdroProblem,
        outcome: AttackOutcome | None,
        *,
        jobs: int | None,
        seed: int,
        seconds: float | None,
    ) -> None:
        size = float(np.abs(clean_losses(problem)[1]).max(initial=1.0))
        gap = _TOLERANCE * max(size, 1.0)
        options = Options(
            solver="cells", gap=gap, time_limit=seconds, jobs=jobs, device="cpu", seed=seed, branching=False
        )
        self._problem = problem
        self._run = Run(problem, options, Workers(problem.network, "cells", jobs), None)
        self._pool = AtomPool(clean_losses(problem)[0], problem.network.n_inputs)
        flip_labels(problem, self._pool)
        if outcome is not None:
            fill_pool(problem, self._pool, outcome.sample, outcome.point)
        endless = not problem.support.bounded and math.isfinite(problem.cost.order)
        self._horizon = Horizon(problem) if endless else None
        if self._horizon is not None:
            self._horizon.look(self._run)
        self._screen = Screen(problem, self._run.deadline, slopes=False)
        self._pricing = Pricing(self._run, self._screen, self._pool, self._horizon)
        self._values: dict[float, float] = {}

    @property
    def multiplier(self) -> float:
        """The best multiplier so far."""
        return min(self._values, key=lambda lam: self._values[lam])

    @property
    def tried(self) -> int:
        """The multipliers that were tried so far."""
        return len(self._values)

    def close(self) -> None:
        """End the workers."""
        self._run.workers.close()

    def renew(self, seconds: float | None) -> None:
        """Begin a stretch of work that may take so many seconds; None: no limit."""
        self._run.options, self._run.begun = replace(self._run.options, time_limit=seconds), time.monotonic()
        self._screen.until(self._run.deadline)

    def late(self) -> bool:
        """Whether the time is over."""
        return self._run.remaining() <= 0

    def crown(self) -> float:
        """The best bound by CROWN over the multipliers tried."""
        if not math.isfinite(self._problem.cost.order):
            return self._at(0.0)
        start = self._admitted(self._of_points())
        best = start if start > 0 else self._admitted(self._small())
        whole = self._screen.rounds
        for rounds in (1, whole):  # coarse shells first: where there are many samples nothing else may fit the time
            self._screen.rounds = rounds
            best = self._descend(best, self._at(best))
        self._at(0.0)  # last: without a price nothing is local, and every shell of every sample stays
        return min(self._values.values())

    def _descend(self, best: float, value: float) -> float:
        """Double or halve the multiplier while that helps, then close in; the best one."""
        seen = {best}
        for factor in (2.0, 0.5):
            for _ in range(_DOUBLINGS):
                lam = self._admitted(best * factor)
                if self.late() or lam in seen:
                    break
                seen.add(lam)
                found = self._at(lam)
                if found >= value:
                    break
                best, value = lam, found
        low, high = math.log(max(best / 2, 1e-300)), math.log(best * 2)
        for _ in range(_GOLDEN):
            for share in (0.382, 0.618):
                lam = self._admitted(math.exp(low + share * (high - low)))
                found = math.inf if self.late() else self._at(lam)
                if found < value:
                    best, value = lam, found
            middle = math.log(best)
            low, high = middle - 0.25 * (high - low), middle + 0.25 * (high - low)
        return best

    def lp(self) -> float:
        """The bound by linear programs at multipliers from the best one that CROWN found down to that of the points."""
        wanted = [self.multiplier]
        if math.isfinite(self._problem.cost.order):
            least = max(self._of_points(), 1e-300)
            wanted += [self._admitted(wanted[0] * (least / wanted[0]) ** share) for share in _BETWEEN if wanted[0] > 0]
        best = min(self._values.values())
        for lam in dict.fromkeys(wanted):
            if self.late():
                break
            self._pricing.move_to(lam)
            for task, answer in self._run.work(self._draw, lambda: None):
                self._pricing.take(task, answer)
            best = min(best, dual_value(self._problem, lam, self._pricing.upper()))
        return best

    def _of_points(self) -> float:
        """The multiplier at which the points at hand are priced best."""
        return solve_master(self._pool, self._problem.samples.w, budget(self._problem)).multiplier

    def _draw(self) -> Task | None:
        return None if self.late() else self._pricing.next_task()

    def _at(self, lam: float) -> float:
        if self._horizon is not None and not lam > 0:
            return math.inf
        self._pricing.move_to(lam)
        value = dual_value(self._problem, lam, self._pricing.upper())
        self._values[lam] = min(value, self._values.get(lam, math.inf))
        return value

    def _admitted(self, lam: float) -> float:
        """A multiplier at which something can be proven, and whose double and logarithm are numbers."""
        lam = lam if self._horizon is None else self._horizon.admitted(lam, self._run.options.gap)
        return min(lam, LARGEST)

    def _small(self) -> float:
        """A multiplier well below every slope that the points show."""
        size = float(np.abs(clean_losses(self._problem)[1]).max(initial=1.0))
        return 1e-4 * max(size, 1e-6) / max(self._problem.radius, 1e-6)


def crown_zero_one(problem: WdroProblem, deadline: float) -> float:
    """The knapsack of the distances that CROWN proves by balls without an error."""
    count = len(problem.samples)
    clean = clean_losses(problem)[1]
    screen = Screen(problem, deadline, slopes=False)
    if not problem.support.bounded and math.isfinite(problem.cost.order):
        screen.reach = np.full(count, 1e3 * max(problem.radius, 1e-3))
    right = np.flatnonzero(clean < 1)
    low = np.where(clean < 1, math.inf, 0.0)
    if right.size:
        items, each = screen.distances(right, np.full(right.size, math.inf))
        np.minimum.at(low, screen.pieces.sample[items], each)
    return knapsack_bound(problem, np.minimum(low, problem.cost.label_cost))
