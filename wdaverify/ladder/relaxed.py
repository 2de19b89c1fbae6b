"""The dual with relaxed inner problems: CROWN's linear bounds alone, or one linear program a shell and no branching.

Both bound ``phi_i(lam)`` from above at any multiplier, so that ``lam eps^p + sum_i w_i U_i(lam)`` is an upper bound of V; the
multiplier is searched. What was proven at other multipliers counts, by convexity (docs/theory.md, section 2).
"""

from __future__ import annotations

import math

import numpy as np

from wdaverify.attacks.outcome import AttackOutcome
from wdaverify.engines.screening import Screen
from wdaverify.ladder.constants import knapsack_bound
from wdaverify.problem import WdroProblem
from wdaverify.transport.master import solve_master
from wdaverify.transport.pool import AtomPool
from wdaverify.wdro.attacking import budget, fill_pool, flip_labels
from wdaverify.wdro.horizon import Horizon
from wdaverify.wdro.margin import dual_value
from wdaverify.wdro.pricing import Pricing
from wdaverify.wdro.run import Options, Run
from wdaverify.wdro.workers import Task, Workers
from wdaverify.witness.evaluate import clean_losses

_DOUBLINGS = 12
_GOLDEN = 5
_TOLERANCE = 1e-9
"""Bounds are refined while they exceed what points attain by more than this share of the losses' size."""
_NO_ROOM = 1e-6
"""Bytes for a search tree: its roots are solved, nothing is branched."""


class RelaxedDual:
    """Upper bounds of V without any branching, for one problem; for zero-one see ``crown_zero_one``."""

    def __init__(
        self, problem: WdroProblem, outcome: AttackOutcome | None, *, jobs: int | None, seed: int, seconds: float | None
    ) -> None:
        size = float(np.abs(clean_losses(problem)[1]).max(initial=1.0))
        options = Options(
            "cells", _TOLERANCE * max(size, 1.0), seconds, jobs, None, "cpu", seed, False, False, _NO_ROOM
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
        self._pricing = Pricing(self._run, Screen(problem, self._run.deadline), self._pool, self._horizon)
        self._values: dict[float, float] = {}

    @property
    def multiplier(self) -> float:
        """The best multiplier so far."""
        return min(self._values, key=lambda lam: self._values[lam])

    def close(self) -> None:
        """End the workers."""
        self._run.workers.close()

    def late(self) -> bool:
        """Whether the time is over."""
        return self._run.remaining() <= 0

    def crown(self) -> float:
        """The best bound by CROWN over the multipliers tried."""
        if not math.isfinite(self._problem.cost.order):
            return self._at(0.0)
        master = solve_master(self._pool, self._problem.samples.w, budget(self._problem)).multiplier
        start = self._admitted(master)
        best = start if start > 0 else self._admitted(self._small())
        value = self._at(best)
        for factor in (2.0, 0.5):
            for _ in range(_DOUBLINGS):
                lam = self._admitted(best * factor)
                if self.late() or lam in self._values:
                    break
                found = self._at(lam)
                if found >= value:
                    break
                best, value = lam, found
        low, high = math.log(best / 2), math.log(best * 2)
        for _ in range(_GOLDEN):
            for share in (0.382, 0.618):
                if not self.late():
                    self._at(self._admitted(math.exp(low + share * (high - low))))
            middle = math.log(max(self.multiplier, best / 2))
            low, high = middle - 0.25 * (high - low), middle + 0.25 * (high - low)
        self._at(0.0)  # last: without a price nothing is local, and every shell of every sample stays
        return min(self._values.values())

    def lp(self) -> float:
        """The bound by linear programs at the best multiplier that CROWN found, at that of the points, and between the two."""
        wanted = [self.multiplier]
        if math.isfinite(self._problem.cost.order):
            points = solve_master(self._pool, self._problem.samples.w, budget(self._problem)).multiplier
            wanted += [self._admitted(lam) for lam in (math.sqrt(points * wanted[0]), points)]
        best = min(self._values.values())
        for lam in dict.fromkeys(wanted):
            if self.late():
                break
            self._pricing.move_to(lam)
            for task, answer in self._run.work(self._draw, lambda: None):
                self._pricing.take(task, answer)
            best = min(best, dual_value(self._problem, lam, self._pricing.upper()))
        return best

    def _draw(self) -> Task | None:
        return None if self.late() else self._pricing.next_task()

    def _at(self, lam: float) -> float:
        if self._horizon is not None and not lam > 0:
            return math.inf
        self._pricing.move_to(lam)
        self._values[lam] = dual_value(self._problem, lam, self._pricing.upper())
        return self._values[lam]

    def _admitted(self, lam: float) -> float:
        """A multiplier at which something can be proven."""
        return lam if self._horizon is None else self._horizon.admitted(lam, self._run.options.gap)

    def _small(self) -> float:
        """A multiplier well below every slope that the points show."""
        size = float(np.abs(clean_losses(self._problem)[1]).max(initial=1.0))
        return 1e-4 * max(size, 1e-6) / max(self._problem.radius, 1e-6)


def crown_zero_one(problem: WdroProblem, deadline: float) -> float:
    """The knapsack of the distances that CROWN proves by balls without an error."""
    count = len(problem.samples)
    clean = clean_losses(problem)[1]
    screen = Screen(problem, deadline)
    if not problem.support.bounded and math.isfinite(problem.cost.order):
        screen.reach = np.full(count, 1e3 * max(problem.radius, 1e-3))
    right = np.flatnonzero(clean < 1)
    low = np.where(clean < 1, math.inf, 0.0)
    if right.size:
        items, each = screen.distances(right, np.full(right.size, math.inf))
        np.minimum.at(low, screen.pieces.sample[items], each)
    return knapsack_bound(problem, np.minimum(low, problem.cost.label_cost))
