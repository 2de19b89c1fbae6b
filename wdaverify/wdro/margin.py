"""Every loss but zero-one by column generation (docs/theory.md, section 2).

The master on the atoms gives a lower bound and a multiplier; pricing at the multiplier gives an upper bound and new
atoms. The bracket is valid at any moment, so that any limit only leaves it wider.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from wdaverify.certify.exact import exact_dot
from wdaverify.certify.proof import Proof
from wdaverify.engines.screening import Ints, Screen
from wdaverify.ground import LARGEST, Norm
from wdaverify.network.model import Array
from wdaverify.problem import WdroProblem
from wdaverify.rounding import float_up
from wdaverify.transport.master import solve_master
from wdaverify.transport.pool import AtomPool
from wdaverify.wdro.attacking import budget, fill_pool, flip_labels, portions
from wdaverify.wdro.difficulty import Difficulty
from wdaverify.wdro.horizon import Horizon
from wdaverify.wdro.pricing import Pricing
from wdaverify.wdro.result import Reason, SampleBracket, Voucher
from wdaverify.wdro.run import Pace, Run
from wdaverify.wdro.workers import Task
from wdaverify.witness.evaluate import Witness, clean_losses, evaluate

_IDLE_ROUNDS = 5
"""Rounds without a narrower bracket after which the search has stalled."""
_CURVED_ROUNDS = 20
"""The same where costs or losses are not piecewise linear: there the multiplier itself is only approached."""
_LEVEL, _FINER, _LAST = 0.5, 0.5, 0.05
"""How much of the bracket a step of an approach may leave; by what it shrinks where a step closed; where the goal itself is next."""
_ENOUGH = 0.5
"""The share of a step's promise after which the next one is taken."""
_CLOSE = 10.0
"""Brackets of so many gaps are no longer worth an approach."""
_SCAN = math.sqrt(2.0)
"""The ratio of the multipliers among which screening looks for one to begin the approach from."""
_BISECTIONS = 40


@dataclass(frozen=True, eq=False)
class _Dual:
    """The dual at one multiplier: its ``value`` (rounded up) and what it is made of, ``lower, upper, checked [N]``."""

    value: float
    multiplier: float
    lower: Array
    upper: Array
    checked: Array


def dual_value(problem: WdroProblem, multiplier: float, values: Array) -> float:
    """``lam radius^p + sum_i w_i values_i``, rounded up, for values ``[N]``."""
    weights = problem.samples.w
    used = weights > 0
    if not np.isfinite(values[used]).all():
        return math.inf
    spent = Fraction(0)
    if math.isfinite(problem.cost.order):
        spent = Fraction(multiplier) * Fraction(problem.radius) ** problem.cost.power
    return float_up(spent + exact_dot(weights[used].tolist(), values[used].tolist()))


class MarginSearch:
    """The search for V with a loss of pieces; ``bracket`` attributes are valid whenever it is interrupted."""

    def __init__(self, run: Run, witness: Witness) -> None:
        self._run = run
        self._problem = run.problem
        self._budget = budget(self._problem)
        lower = clean_losses(self._problem)[0]
        self._pool = AtomPool(lower, self._problem.network.n_inputs)
        flip_labels(self._problem, self._pool)
        self._take_up()
        endless = not self._problem.support.bounded and math.isfinite(self._problem.cost.order)
        self.horizon = Horizon(self._problem, proving=run.options.certificate) if endless else None
        self._pricing = Pricing(
            run, Screen(self._problem, run.deadline, slopes=not run.options.certificate), self._pool, self.horizon
        )
        curved = self._problem.cost.order == 2 or self._problem.cost.norm is Norm.TWO or self._pricing.pieces.entropy
        self._patience = _CURVED_ROUNDS if curved else _IDLE_ROUNDS
        self.witness = witness
        self._best = _Dual(math.inf, 0.0, *(np.zeros(0) for _ in range(3)))
        self._difficulty, self._scanned, self._level = Difficulty(run.workers.jobs), False, _LEVEL
        self._goal = -math.inf
        """The dual value that is enough at the multiplier at hand; -inf: only the master's own multiplier will do."""
        self._take_upper()
        self._take_known(self._pricing.free())
        if not run.options.certificate:
            # a journal's facts are then those with trees: what was screened has none, and is screened again where pricing begins
            self._take_known(self._pricing.recalled())
        run.widest = self._widest

    def _take_up(self) -> None:
        """Begin with the points that a journal holds."""
        if self._run.recall is not None:
            sample, point = self._run.recall.points()
            for part in portions(sample.size, self._run.deadline):
                fill_pool(self._problem, self._pool, sample[part], point[part])
            self._pool.touched()

    def _take_known(self, found: Iterable[tuple[float, Array, Array, Array]]) -> None:
        """Begin with the best dual that is known before anything is asked, at whichever multiplier."""
        for multiplier, lower, upper, checked in found:
            value = self._dual_at(multiplier, upper)
            if value < self._best.value:
                self._best = _Dual(value, multiplier, lower, upper, checked)
        self.settle()

    def _widest(self, count: int) -> list[SampleBracket]:
        """The samples that add most to the width of the bracket."""
        brackets = [bracket for bracket in self.per_sample() if bracket.weight > 0]
        return sorted(brackets, key=lambda b: -b.weight * (b.upper - b.lower))[:count]

    @property
    def multiplier(self) -> float:
        """The multiplier that gives the upper bound."""
        return self._best.multiplier

    def settle(self) -> None:
        """Bring the run's bracket up to what is proven; what is proven is replaced whole, so an interrupt leaves it valid."""
        self._run.narrow(self.witness.lower, self._best.value)

    def offer(self, sample: Ints, point: Array) -> None:
        """Put points ``[M, n]`` of samples ``[M]`` into the pool, re-evaluated."""
        fill_pool(self._problem, self._pool, sample, point)
        self._pricing.keep_points()

    def adopt(self, witness: Witness) -> None:
        """Keep a witness if it proves more than the one at hand."""
        if witness.lower > self.witness.lower:
            self.witness = witness
        self.settle()

    def _solve_master(self) -> float:
        """Solve the master, re-evaluate its plan, and return its multiplier."""
        master = solve_master(self._pool, self._problem.samples.w, self._budget)
        self.adopt(evaluate(self._problem, master.plan.distribution(self._problem.samples.y)))
        if not math.isfinite(self._problem.cost.order):
            return 0.0
        return (
            master.multiplier
            if self.horizon is None
            else self.horizon.admitted(master.multiplier, self._run.options.gap)
        )

    def _dual_at(self, multiplier: float, values: Array) -> float:
        return dual_value(self._problem, multiplier, values)

    def _take_upper(self) -> None:
        """Keep the dual at the current multiplier if it is the best so far."""
        pricing, upper = self._pricing, self._pricing.upper()
        value = self._dual_at(pricing.multiplier, upper)
        if value < self._best.value or not self._best.upper.size:
            self._best = _Dual(value, pricing.multiplier, pricing.lower(), upper, pricing.checked_upper())
        self.settle()

    def search(self) -> Reason:
        """Run until the bracket is closed, a limit is reached, or nothing that is asked narrows it any more."""
        idle = 0
        if self.horizon is not None:
            self.horizon.look(self._run)
            for sample, point in self.horizon.far_points(self._run.options.gap):
                self.offer(np.array([sample]), point[None, :])
        while True:
            multiplier = self._aimed(self._solve_master())
            width = self._run.upper - self._run.lower
            moved = multiplier != self._pricing.multiplier or self._run.rounds == 0
            self._run.next_round()
            if moved:
                self._pricing.move_to(multiplier)
                self._take_upper()
            solves = sum(self._run.solves.values())
            reason = self._run.verdict() or self._price()
            if reason is not None:
                return reason
            narrowed = width - (self._run.upper - self._run.lower)
            if narrowed > 0.01 * self._run.options.gap:
                idle = 0
            elif self._goal == -math.inf:  # a step of an approach may bring no more than atoms
                idle += 1
            if idle == self._patience or (not moved and solves == sum(self._run.solves.values())):
                return Reason.STALLED

    def _aimed(self, wanted: float) -> float:
        """The multiplier to price at: the master's, or on a hard problem one above it whose questions promise enough.

        The atoms' dual D_low bounds the dual from below and is least at the master's multiplier. A level between it and the
        best value known picks the multiplier (level bundle method, Lemarechal, Nemirovskii and Nesterov 1995).
        """
        before, self._goal = self._goal, -math.inf
        if not math.isfinite(self._problem.cost.order):
            return wanted
        hard, fresh = self._difficulty.hard, not self._scanned and wanted > 0
        if fresh and (
            hard or self._problem.loss.rule.entropy
        ):  # whose questions take seconds each: screening promises first
            self._scan(wanted)
        if not hard:
            return wanted
        if not fresh and before > -math.inf and not self._pricing.open_items().size:
            self._level *= _FINER
        best, least = self._best, self._run.lower
        near = best.value - least <= _CLOSE * self._run.options.gap or self._level < _LAST
        if near or best.multiplier <= wanted or not math.isfinite(best.value):
            return wanted
        level = least + self._level * (best.value - least)
        low, high = wanted, best.multiplier
        if self._promised(high) <= level:
            low = high
        for _ in range(_BISECTIONS):
            middle = 0.5 * low + 0.5 * high
            low, high = (middle, high) if self._promised(middle) <= level else (low, middle)
        self._goal = level + _ENOUGH * (best.value - level)
        return low

    def _promised(self, multiplier: float) -> float:
        """The dual if every sample turns out no better than its atoms."""
        return self._dual_at(multiplier, self._pool.lower_model(multiplier))

    def _scan(self, wanted: float) -> None:
        """Look by screening alone for the multiplier above the master's with the best dual."""
        self._scanned, worse, multiplier, least = True, 0, wanted, math.inf
        while worse < 2 and multiplier < LARGEST and self._run.verdict() is None:
            multiplier *= _SCAN
            self._pricing.move_to(multiplier)
            self._take_upper()
            value = self._dual_at(multiplier, self._pricing.upper())
            worse = 0 if value < least else worse + 1
            least = min(least, value)

    def _forget_approach(self) -> None:
        """Begin anew: what was approached was another question's multiplier."""
        self._scanned, self._level, self._goal = False, _LEVEL, -math.inf
        self._best = replace(self._best, value=math.inf, multiplier=0.0)

    def _price(self) -> Reason | None:
        """Ask questions at the multiplier until the bracket closes, the multiplier is outdated, or nothing is left."""
        outdated = False

        def draw() -> Task | None:
            if outdated or self._run.verdict() is not None:
                return None
            return self._pricing.next_task()

        def tell() -> None:
            self._run.tell("solve", lambda: int(self._pricing.open_items().size))

        pace, improved = Pace(), False
        for task, answer in self._run.work(draw, tell):
            improved = self._pricing.take(task, answer) or improved
            outdated = self._difficulty.learn(self._pricing.tries(task.item), closed=answer.closed) or outdated
            self._pricing.probing = self._difficulty.probing
            if pace.due():
                with pace.turn():
                    self._take_upper()
                    outdated = outdated or self._best.value <= self._goal
                    if improved:
                        self._solve_master()
                        outdated = outdated or self._futile()
                improved = False
        self._take_upper()
        return self._run.verdict()

    def _futile(self) -> bool:
        """Whether this multiplier cannot do what it is for even if every sample turns out no better than its atoms."""
        promised = self._dual_at(self._pricing.multiplier, self._pricing.lower())
        return promised > max(self._goal, self._run.lower + self._run.options.gap / 2)

    def proofs(self) -> tuple[Proof, ...]:
        """What proves the upper bound at the multiplier."""
        return self._pricing.proofs_at(self.multiplier)

    def slopes(self) -> tuple[Proof, ...]:
        """What proves the slopes at infinity, on the whole space."""
        return () if self.horizon is None else self.horizon.proofs()

    def checked_upper(self) -> float:
        """The dual's value at the multiplier of the upper bound as our own bounds alone prove it."""
        return self._dual_at(self._best.multiplier, self._best.checked)

    def per_sample(self) -> tuple[SampleBracket, ...]:
        """The brackets of phi_i at the multiplier that gives the upper bound."""
        weights = self._problem.samples.w
        best = self._best
        rows = zip(weights, best.lower, best.upper, best.checked, strict=True)
        return tuple(
            SampleBracket(i, float(w), float(low), float(high), Voucher.CHECKED if own <= high else Voucher.SOLVER)
            for i, (w, low, high, own) in enumerate(rows)
        )
