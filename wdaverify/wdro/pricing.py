"""Pricing: upper bounds of phi_i at a multiplier, rival by rival, and the question most worth asking next.

    phi_i(lam) = max_j phi_ij(lam),   lower_i(lam) <= phi_i(lam) <= max_j upper_ij(lam)

Every proven ``upper_ij`` is kept in a model over lam, so that it still counts at other multipliers.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np

from wdaverify.certify.proof import Proof
from wdaverify.encoding.relu import HiddenBounds
from wdaverify.engines.base import Answer, Effort, Inner
from wdaverify.engines.screening import Ints, Screen, Screened
from wdaverify.network.model import Array
from wdaverify.transport.models import UpperModel
from wdaverify.transport.pool import AtomPool
from wdaverify.wdro.proofs import MarginProofs
from wdaverify.wdro.run import Run
from wdaverify.wdro.workers import Task
from wdaverify.witness.enclosure import margins_enclosure
from wdaverify.witness.evaluate import distances_up


@dataclass(eq=False)
class _Open:
    """The (sample, rival) items still open at the current multiplier; arrays ``[N * (K - 1)]``."""

    near: Array
    far: Array
    outside: Array
    tries: Ints
    busy: Ints


class Pricing:
    """The state of pricing for one problem. Items are (sample, rival) pairs, a sample's rivals in a row."""

    def __init__(self, run: Run, screen: Screen, pool: AtomPool) -> None:
        self._run, self._screen, self._pool = run, screen, pool
        problem = run.problem
        self._weights = problem.samples.w
        self._sample, self._rival = screen.rivals(np.arange(len(problem.samples)))
        self._per_sample = problem.network.n_outputs - 1
        reach = np.repeat(screen.reach, self._per_sample)
        self._all = UpperModel(self._sample.size, reach)
        self._checked = UpperModel(self._sample.size, reach)
        self.multiplier = 0.0
        self._upper = np.full(self._sample.size, math.inf)
        self._lower = np.nextafter(pool.lower_model(0.0), -math.inf)
        self._open = self._nothing_open()
        self.tolerance = run.options.gap / 4
        self.proofs = MarginProofs(problem.network.n_relus) if run.options.certificate else None
        self._learn(np.arange(self._sample.size), np.repeat(screen.box_margins(), self._per_sample), checked=True)

    def _nothing_open(self) -> _Open:
        size = self._sample.size
        return _Open(
            np.zeros(size),
            np.full(size, -1.0),
            np.full(size, -math.inf),
            np.zeros(size, np.int64),
            np.zeros(size, np.int64),
        )

    def _learn(self, items: Ints, upper: Array, *, checked: bool) -> None:
        """Record ``phi_item(multiplier) <= upper``."""
        self._all.add_many(items, self.multiplier, upper)
        if checked:
            self._checked.add_many(items, self.multiplier, upper)
        self._upper[items] = np.minimum(self._upper[items], upper)

    def lower(self) -> Array:
        """``lower_i`` at the multiplier, ``[N]``, from the atoms, rounded down."""
        return self._lower.copy()

    def _attained(self, sample: int) -> float:
        """``lower_i`` of one sample, from its best atom."""
        atom = self._pool.best(sample, self.multiplier)
        return math.nextafter(atom.value - self.multiplier * atom.cost, -math.inf)

    def upper(self) -> Array:
        """``upper_i`` at the multiplier, ``[N]``; never below ``lower_i``."""
        best = self._upper.reshape(-1, self._per_sample).max(axis=1)
        return np.asarray(np.maximum(best, self.lower()))

    def checked_upper(self) -> Array:
        """``upper_i`` at the multiplier as our own bounds alone prove it, ``[N]``."""
        return np.asarray(self._checked.evaluate(self.multiplier).reshape(-1, self._per_sample).max(axis=1))

    def move_to(self, multiplier: float) -> None:
        """Go to another multiplier: what is known carries over, then every sample that matters is screened there."""
        self.multiplier = multiplier
        self._upper = self._all.evaluate(multiplier)
        self._lower = np.nextafter(self._pool.lower_model(multiplier), -math.inf)
        self._open = self._nothing_open()
        lower = self.lower()
        wide = np.flatnonzero(self._weights * (self.upper() - lower) > 0)
        wide = wide[self.upper()[wide] > lower[wide] + self.tolerance]
        if wide.size:
            begun = time.perf_counter()
            self._screened(self._screen.inner(wide, multiplier, lower[wide], self.tolerance))
            self._run.screen_seconds += time.perf_counter() - begun

    def _screened(self, screened: Screened) -> None:
        items = screened.sample * self._per_sample + self._rank(screened.sample, screened.rival)
        self._learn(items, screened.upper, checked=True)
        self._open.near[items], self._open.far[items] = screened.near, screened.far
        self._open.outside[items] = screened.outside
        self._run.rivals_screened += items.size
        if self.proofs is not None:
            for item, inner, outer in zip(items.tolist(), screened.inner, screened.outer, strict=True):
                self.proofs.screened(item, self.multiplier, inner, outer)

    def _rank(self, sample: Ints, rival: Ints) -> Ints:
        """The position of a rival among its sample's."""
        return np.asarray(rival - (rival > self._run.problem.samples.y[sample]), dtype=np.int64)

    def open_items(self) -> Ints:
        """Items that may still lift their sample above its atoms by more than the tolerance, and can be asked about."""
        state = self._open
        asks = (state.far >= state.near) & (state.busy == 0) & (self._weights[self._sample] > 0)
        bar = np.repeat(self.lower(), self._per_sample) + self.tolerance
        return np.flatnonzero(asks & (self._upper > bar))

    def next_task(self) -> Task | None:
        """The question that may narrow the bracket most: the widest sample's highest rival, least tried first."""
        items = self.open_items()
        if items.size == 0:
            return None
        lower = self.lower()
        width = self._weights[self._sample[items]] * (self._upper[items] - lower[self._sample[items]])
        order = np.lexsort((items, -width, self._open.tries[items]))
        return self._task(int(items[order[0]]), self._share(items, int(items[order[0]])))

    def _share(self, items: Ints, item: int) -> int:
        """How many workers may share an item: those that nothing else keeps busy, once one alone has not sufficed."""
        workers = self._run.workers
        if self._open.tries[item] == 0 or not workers.own_bounds:
            return 1
        return max(1, workers.jobs - int(self._open.busy.sum()) - (items.size - 1))

    def _task(self, item: int, parts: int) -> Task:
        run, sample = self._run, int(self._sample[item])
        options = run.options
        begun = time.perf_counter()
        near, far = float(self._open.near[item]), float(self._open.far[item])
        if run.workers.own_bounds:
            bounds: HiddenBounds = ()
            region = self._screen.shell(sample, near, far)
        else:
            region, bounds, _ = self._screen.region(sample, near, far)
        run.screen_seconds += time.perf_counter() - begun
        label, rival = int(run.problem.samples.y[sample]), int(self._rival[item])
        question = Inner(sample, label, rival, region, bounds, self.multiplier)
        start = self._pool.best(sample, self.multiplier).point if options.mip_start else None
        seconds = run.slice(int(self._open.tries[item]))
        self._open.busy[item] = 1
        cutoff = float(self.lower()[sample])
        effort = Effort(self.tolerance, seconds, options.seed, cutoff, start, run.memory, options.certificate)
        return Task(item, question, effort, parts)

    def take(self, task: Task, answer: Answer) -> bool:
        """Learn from an answer; True if it lifted the sample's atoms by more than the tolerance."""
        question, item = task.question, task.item
        assert isinstance(question, Inner)
        assert question.multiplier == self.multiplier
        before = float(self._lower[question.sample])
        attained = self._add_points(question, answer.points)
        self._lower[question.sample] = max(before, self._attained(question.sample))
        self._run.count(question.sample, answer)
        if self.proofs is not None and answer.proof is not None:
            self.proofs.answered(item, self.multiplier, answer.bound, answer.proof)
        # a point of the LP may lie nearer than the shell it was asked for, where ``outside`` is the bound
        proven = max(answer.bound, float(self._open.outside[item]))
        if attained > proven:
            self._run.shortfall(attained - proven)
        self._learn(np.array([item]), np.array([max(proven, attained)]), checked=answer.checked)
        self._open.busy[item] = 0
        self._open.tries[item] += 1
        if answer.closed:
            self._open.far[item] = -1.0
        return float(self._lower[question.sample]) > before + self.tolerance

    def proofs_at(self, multiplier: float) -> tuple[Proof, ...]:
        """What bounds every item of a sample with weight at a multiplier."""
        assert self.proofs is not None
        out: list[Proof] = []
        for item in np.flatnonzero(self._weights[self._sample] > 0).tolist():
            sample, rival = int(self._sample[item]), int(self._rival[item])
            out += self.proofs.of(item, sample, rival, multiplier, float(self._screen.reach[sample]))
        return tuple(out)

    def _add_points(self, question: Inner, points: Array) -> float:
        """Re-evaluate the points into atoms; the best inner value they attain for the question's rival, rounded down."""
        if not len(points):
            return -math.inf
        problem, sample = self._run.problem, question.sample
        points = np.clip(points, problem.support.lower, problem.support.upper)
        label = np.full(len(points), question.label, dtype=np.int64)
        margins = margins_enclosure(problem.network, points, label)[0]
        costs = distances_up(problem.cost.norm, points, np.broadcast_to(question.region.centre, points.shape))
        rivals = np.delete(margins, question.label, axis=1).max(axis=1)
        for point, cost, value in zip(points, costs, rivals, strict=True):
            if cost > 0 and math.isfinite(value):
                self._pool.add(sample, float(cost), float(value), point)
        attained = margins[:, question.rival] - question.multiplier * costs
        return float(np.nextafter(attained.max(), -math.inf))
