"""Pricing: upper bounds of phi_i at a multiplier, piece by piece, and the question most worth asking next.

    phi_i(lam) = max_j phi_ij(lam),   lower_i(lam) <= phi_i(lam) <= max_j upper_ij(lam)

Every proven ``upper_ij`` is kept in a model over lam, so that it still counts at other multipliers.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from wdaverify.certify.enclosure import functionals_enclosure
from wdaverify.certify.proof import OWN, Proof
from wdaverify.encoding.cost import Region
from wdaverify.encoding.relu import HiddenBounds
from wdaverify.engines.base import Answer, Effort, Inner
from wdaverify.engines.screening import Ints, Screen, Screened
from wdaverify.ground import LARGEST
from wdaverify.network.model import Array
from wdaverify.rounding import UNIT_ROUNDOFF, float_up, squares_up
from wdaverify.transport.models import UpperModel
from wdaverify.transport.pool import AtomPool
from wdaverify.wdro.attacking import fill_pool
from wdaverify.wdro.horizon import Horizon
from wdaverify.wdro.proofs import MarginProofs
from wdaverify.wdro.recall import Recalled
from wdaverify.wdro.run import Run
from wdaverify.wdro.trees import Trees
from wdaverify.wdro.twins import Twins
from wdaverify.wdro.workers import Task
from wdaverify.witness.evaluate import distances_up, edge_of
from wdaverify.witness.losses import loss_bounds
from wdaverify.witness.repair import repaired, within_reach

_QUANTILES = (0.25, 0.5, 0.75, 0.9, 1.0)
"""Of the slopes of all pieces, the multipliers at which the dual is looked at before anything is asked."""


@dataclass(eq=False)
class _Open:
    """The items still open at the current multiplier; arrays ``[N * (K - 1)]``."""

    near: Array
    far: Array
    outside: Array
    tries: Ints
    busy: Ints


class Pricing:
    """The state of pricing for one problem. Items are the pieces of the samples' losses, a sample's in a row."""

    def __init__(self, run: Run, screen: Screen, pool: AtomPool, horizon: Horizon | None = None) -> None:
        self._run, self._screen, self._pool, self._horizon = run, screen, pool, horizon
        problem = run.problem
        self._weights, self._twins = problem.samples.w, Twins(problem.samples)
        self.pieces = screen.pieces
        self._sample, self._per_sample = self.pieces.sample, self.pieces.per_sample
        self._power = problem.cost.power if math.isfinite(problem.cost.order) else 1
        largest = self._largest()
        self._all = UpperModel(len(self.pieces), largest)
        self._checked = UpperModel(len(self.pieces), largest)
        self.multiplier = 0.0
        self._upper = np.full(self._sample.size, math.inf)
        self._lower = np.nextafter(pool.lower_model(0.0), -math.inf)
        self._open = self._nothing_open()
        self.tolerance = run.options.gap / 4
        self.proofs = MarginProofs(problem.network.form.neurons) if run.options.certificate else None
        self._trees, self.probing = Trees(), False
        self._grows = problem.support.rows is None and problem.support.integer is None and not self.pieces.entropy
        everything = np.arange(self._sample.size)
        self._learn(everything, np.repeat(screen.box_values(), self._per_sample), checked=True)
        self._free = self._lines()
        self._asked = self._recalled()

    def _lines(self) -> list[float]:
        """Learn what slopes on the whole support prove of every piece; the multipliers at which that may be a good bound."""
        lines = self._screen.lines()
        if lines is None:
            return []
        clean, slope = lines
        items, radius = np.flatnonzero(np.isfinite(clean) & np.isfinite(slope)), self._run.problem.radius
        clean, slope, far = clean[items], slope[items], self._screen.reach[self._sample[items]]
        with np.errstate(over="ignore"):
            most = clean + slope * far + 8 * UNIT_ROUNDOFF * (np.abs(clean) + slope * far)
        known = np.isfinite(most)
        self._learn(items[known], self.pieces.whole(most[known], items[known], 0.0), checked=True)
        if not math.isfinite(self._run.problem.cost.order) or not items.size:
            return []
        at, raw = slope, clean
        if self._power == 2:  # S t - lam t^2 is S^2 / 4 lam at most, and lam eps^2 beside it least at lam = S / 2 eps
            with np.errstate(over="ignore", divide="ignore", invalid="ignore", under="ignore"):
                at = np.clip(slope / (2 * radius), slope * 2.0**-1000, LARGEST) if radius else slope
                gain = np.where(slope > 0, np.nextafter(slope * (0.25 * slope / at) * (1 + 2.0**-50), math.inf), 0.0)
                raw = clean + gain + 4 * UNIT_ROUNDOFF * (np.abs(clean) + gain)
        known = np.isfinite(at) & np.isfinite(raw)
        items, at, raw = items[known], at[known], raw[known]
        upper = self.pieces.whole(raw, items, at)
        for model in (self._all, self._checked):
            model.add_many(items, at, upper)
        return np.unique(np.quantile(at, _QUANTILES, method="higher")).tolist() if at.size else []

    def free(self) -> Iterator[tuple[float, Array, Array, Array]]:
        """What slopes on the whole support prove at multipliers of their size, as ``recalled``."""
        return self._known_at(self._free)

    def _recalled(self) -> Recalled | None:
        """Take up what a journal holds; returned for what it says of questions asked before."""
        if self._run.recall is None:
            return None
        known = self._run.recall.facts(self.pieces)
        upper = self.pieces.whole(known.value, known.item, known.multiplier)
        self._all.add_many(known.item, known.multiplier, upper)
        self._checked.add_many(known.item[known.checked], known.multiplier[known.checked], upper[known.checked])
        self._upper = self._all.evaluate(self.multiplier)
        if self.proofs is not None:
            rows = zip(known.item.tolist(), known.multiplier.tolist(), known.value.tolist(), known.trees, strict=True)
            for item, multiplier, value, trees in rows:
                self.proofs.recalled(item, multiplier, value, trees)
        return known

    def keep_points(self) -> None:
        """Write down the atoms that are new."""
        if self._run.recall is not None:
            atoms = [atom for sample in self._pool.touched() for atom in self._pool.envelope(sample)]
            self._run.recall.keep_points((a.sample, a.point) for a in atoms if a.point is not None)

    def _keep(self, items: Ints, raw: Array, answer: Answer | None = None) -> None:
        """Write down what was proven of items: on the whole space, of all but what cannot beat the atoms."""
        recall = self._run.recall
        if recall is None or not items.size:
            return
        if self._horizon is not None:
            beyond = self.pieces.bar(self.lower()[self._sample[items]], items, self.multiplier)
            raw = np.maximum(raw, beyond + 1e-12 * (1 + np.abs(beyond)))
        known = np.isfinite(raw)
        trees = () if self.proofs is None or answer is None else self.proofs.whole(int(items[0]), self.multiplier)
        recall.keep(
            self.pieces,
            items[known],
            raw[known],
            multiplier=self.multiplier,
            checked=answer is None or answer.checked,
            vouched="screening" if answer is None else answer.vouched_by,
            tries=0 if answer is None else int(self._open.tries[items[0]]),
            spent=answer is not None and answer.closed,
            trees=trees,
        )

    def _remembered(self) -> None:
        """What was asked before at this multiplier is not asked again as if for the first time.

        What was closed and is open all the same is asked again: its points may be lost.
        """
        if self._asked is None:
            return
        here = np.flatnonzero(self._asked.multiplier == self.multiplier)
        np.maximum.at(self._open.tries, self._asked.item[here], self._asked.tries[here])

    def _largest(self) -> Array:
        """The largest cost of each piece within the support, rounded up, ``[M]``."""
        problem = self._run.problem
        if not problem.support.bounded:
            return np.full(len(self.pieces), math.inf)
        cost = np.repeat(self._screen.reach, self._per_sample)
        if self._power != 1:
            cost = squares_up(cost)
        label_cost = float_up(Fraction(problem.cost.label_cost) ** self._power) if self.pieces.moved.any() else 0.0
        return np.where(self.pieces.moved, np.nextafter(cost + label_cost, math.inf), cost)

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
        """Record ``phi_item(multiplier) <= upper``; on the whole space of all but what cannot beat the atoms."""
        if self._horizon is not None:
            attained = self.lower()[self._sample[items]]
            upper = np.maximum(upper, attained + 1e-12 * (1 + np.abs(attained)))
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
        return math.nextafter(atom.value - self.multiplier * atom.cost * (1 + 2.0**-50), -math.inf)

    def upper(self) -> Array:
        """``upper_i`` at the multiplier, ``[N]``; never below ``lower_i``."""
        best = self._upper.reshape(-1, self._per_sample).max(axis=1)
        return np.asarray(np.maximum(np.maximum(best, self.pieces.floor), self.lower()))

    def checked_upper(self) -> Array:
        """``upper_i`` at the multiplier as our own bounds alone prove it, ``[N]``."""
        best = self._checked.evaluate(self.multiplier).reshape(-1, self._per_sample).max(axis=1)
        return np.asarray(np.maximum(best, self.pieces.floor))

    def move_to(self, multiplier: float) -> None:
        """Go to another multiplier: what is known carries over, then every sample that matters is screened there."""
        self.multiplier = multiplier
        self._upper = self._all.evaluate(multiplier)
        self._lower = np.nextafter(self._pool.lower_model(multiplier), -math.inf)
        self._open = self._nothing_open()
        lower = self.lower()
        if self._horizon is not None:
            self._screen.reach = self._horizon.reach(multiplier, lower)
            if not np.isfinite(self._screen.reach).all():
                return  # beyond every slope known: nothing can be proven here
        wide = np.flatnonzero((self._twins.weight > 0) & (self.upper() > lower))
        wide = wide[self.upper()[wide] > lower[wide] + self.tolerance]
        if wide.size:
            begun = time.perf_counter()
            self._screened(self._screen.inner(wide, multiplier, lower[wide], self.tolerance))
            self._remembered()
            self._run.screen_seconds += time.perf_counter() - begun

    def _screened(self, screened: Screened) -> None:
        better = self.pieces.whole(screened.upper, screened.items, self.multiplier) < self._upper[screened.items]
        self._keep(screened.items[better], screened.upper[better])
        items, source = self._twins.items(screened.items, self._per_sample)
        self._learn(items, self.pieces.whole(screened.upper[source], items, self.multiplier), checked=True)
        self._open.near[items], self._open.far[items] = screened.near[source], screened.far[source]
        self._open.outside[items] = screened.outside[source]
        self._run.rivals_screened += screened.items.size
        if self.proofs is not None:
            for item, k in zip(items.tolist(), source.tolist(), strict=True):
                self.proofs.screened(item, self.multiplier, screened.inner[k], screened.middle[k], screened.outer[k])

    def recalled(self) -> Iterator[tuple[float, Array, Array, Array]]:
        """Each multiplier that a journal knows facts of, with ``lower, upper`` and its checked part there, ``[N]``."""
        return self._known_at([] if self._asked is None else np.unique(self._asked.multiplier).tolist())

    def _known_at(self, multipliers: Sequence[float]) -> Iterator[tuple[float, Array, Array, Array]]:
        for multiplier in multipliers:
            lower = np.nextafter(self._pool.lower_model(multiplier), -math.inf)
            both = [
                model.evaluate(multiplier).reshape(-1, self._per_sample).max(axis=1)
                for model in (self._all, self._checked)
            ]
            upper, checked = (np.maximum(some, self.pieces.floor) for some in both)
            yield multiplier, lower, np.maximum(upper, lower), checked

    def open_items(self) -> Ints:
        """Items that may still lift their sample above its atoms by more than the tolerance, and can be asked about."""
        state = self._open
        asks = (state.far >= state.near) & (state.busy == 0) & (self._twins.weight[self._sample] > 0)
        bar = np.repeat(self.lower(), self._per_sample) + self.tolerance
        return np.flatnonzero(asks & (self._upper > bar))

    def tries(self, item: int) -> int:
        """How often an item was asked about at the multiplier."""
        return int(self._open.tries[item])

    def next_task(self) -> Task | None:
        """The question that may narrow the bracket most: the widest sample's highest rival, least tried first (probing: tried once)."""
        items = self.open_items()
        if items.size == 0:
            return None
        lower = self.lower()
        width = self._twins.weight[self._sample[items]] * (self._upper[items] - lower[self._sample[items]])
        tries = self._open.tries[items]
        order = np.lexsort((items, -width, np.where(tries == 1, -1, tries) if self.probing else tries))
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
        question = self._question(item, sample, region, bounds)
        start = self._pool.best(sample, self.multiplier).point if options.mip_start else None
        seconds = run.slice(int(self._open.tries[item]))
        self._open.busy[item] = 1
        cutoff = float(self.pieces.bar(self.lower()[[sample]], np.array([item]), self.multiplier)[0])
        grown = run.workers.own_bounds or options.certificate
        effort = Effort(
            self.tolerance,
            seconds,
            options.seed,
            cutoff,
            start,
            run.memory,
            grown,
            self._trees.of(item, self._group(item)),
            options.certificate,
        )
        return Task(item, question, effort, parts, int(self._open.tries[item]))

    def _group(self, item: int) -> tuple[int, int]:
        """Items whose questions ask about the same functional of the logits."""
        return int(self.pieces.label[item]), int(self.pieces.code[item])

    def _question(self, item: int, sample: int, region: Region, bounds: HiddenBounds) -> Inner:
        """What an engine is asked of an item."""
        pieces = self.pieces
        functional = None if self._run.problem.functionals is None else pieces.rows(np.array([item]))[0, 0]
        label, code = int(pieces.label[item]), int(pieces.code[item])
        return Inner(sample, label, code, region, bounds, self.multiplier, functional, pieces.entropy)

    def take(self, task: Task, answer: Answer) -> bool:
        """Learn from an answer; True if it lifted the sample's atoms by more than the tolerance."""
        question, item = task.question, task.item
        assert isinstance(question, Inner)
        assert question.multiplier == self.multiplier
        before = float(self._lower[question.sample])
        attained = self._add_points(item, question, answer.points)
        for sample in self._twins.of(question.sample).tolist():
            self._lower[sample] = max(float(self._lower[sample]), self._attained(sample))
        self._run.count(question.sample, answer)
        if self._grows:
            self._trees.keep(item, self._group(item), answer.proof)
        items, _ = self._twins.items(np.array([item]), self._per_sample)
        if self.proofs is not None and answer.proof is not None:
            for twin in items.tolist():
                self.proofs.answered(twin, self.multiplier, answer.bound, answer.proof)
        # a point of the LP may lie nearer than the shell it was asked for, where ``outside`` is the bound
        proven = max(answer.bound, float(self._open.outside[item]))
        if attained > proven:
            self._run.shortfall(attained - proven)
        raw = np.full(items.size, max(proven, attained))
        self._learn(items, self.pieces.whole(raw, items, self.multiplier), checked=answer.checked)
        self._open.busy[item] = 0
        self._open.tries[item] += 1
        if answer.closed:
            self._open.far[item] = -1.0
        self.keep_points()  # first: a question that is known to be answered is not asked for its points again
        if answer.vouched_by != "none":
            self._keep(np.array([item]), raw[:1], answer)
        return float(self._lower[question.sample]) > before + self.tolerance

    def proofs_at(self, multiplier: float) -> tuple[Proof, ...]:
        """What bounds every item of a sample with weight at a multiplier: made for it, or for where its upper bounds come from."""
        assert self.proofs is not None
        out: list[Proof] = []
        for item in np.flatnonzero(self._weights[self._sample] > 0).tolist():
            sample, rival = int(self._sample[item]), int(self.pieces.code[item])
            out += self.proofs.of(
                item,
                sample,
                rival,
                self._sources(item, multiplier),
                self._end(sample),
                int(self.pieces.label[item]) if self.pieces.moved[item] else OWN,
            )
        return tuple(out)

    def _end(self, sample: int) -> float:
        """How far a proof has to reach; on the whole space any distance will do."""
        reach = float(self._screen.reach[sample])
        return reach if math.isfinite(reach) else 1.0

    def _sources(self, item: int, multiplier: float) -> list[float]:
        """The multipliers of the proven values that bound an item at a multiplier."""
        at = self._all.points(item)[0]
        right = int(np.searchsorted(at, multiplier, side="right"))
        return [float(lam) for lam in at[max(right - 1, 0) : right + 1]]

    def _add_points(self, item: int, question: Inner, points: Array) -> float:
        """Re-evaluate the points into atoms; the best value of the question that they attain, rounded down."""
        if not len(points):
            return -math.inf
        problem, centre = self._run.problem, question.region.centre
        points, inside = repaired(
            problem.support, np.broadcast_to(centre, points.shape), points, problem.cost.fixed(centre.size)
        )
        sample = np.full(len(points), question.sample, np.int64)
        points = within_reach(problem, sample, points)
        costs = distances_up(problem.cost, points, np.broadcast_to(centre, points.shape), edge_of(problem))
        good = inside & problem.support.contains(points)
        if not math.isfinite(problem.cost.order):  # an integer that was rounded may be out of reach
            good &= costs <= problem.radius
        points, costs = points[good], costs[good]
        if not len(points):
            return -math.inf
        twins = self._twins.of(question.sample)
        fill_pool(problem, self._pool, np.repeat(twins, len(points)), np.tile(points, (twins.size, 1)))
        if self._power != 1:
            costs = squares_up(costs)
        if self.pieces.entropy:
            value = loss_bounds(problem, points, np.full(len(points), question.label, np.int64))[0]
            rows = self.pieces.behind(np.array([item]))[0]
            behind = functionals_enclosure(problem.network, points, rows, np.zeros((len(points), len(rows))))[1]
            value = np.where((behind <= 0).all(axis=1), value, -np.inf)  # elsewhere another piece is the loss
        else:
            row = self.pieces.rows(np.array([item]))[0]
            value = functionals_enclosure(problem.network, points, row, np.zeros((len(points), 1)))[0][:, 0]
        with np.errstate(over="ignore", invalid="ignore"):
            attained = value - question.multiplier * costs * (1 + 2.0**-50) if question.multiplier else value
        return float(np.nextafter(attained.max(), -math.inf))
