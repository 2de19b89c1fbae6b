"""The zero-one loss by exact minimal distances and the knapsack, lazily (docs/theory.md, section 4).

    lo_i <= d_i <= hi_i,   knapsack(hi) <= V <= knapsack(lo)

With ``lam = 1 / d*`` at the threshold of the upper distances, the width of the bracket is at most
``sum_i w_i (phi_i(lam; lo_i) - phi_i(lam; hi_i))`` with ``phi(lam; d) = max(0, 1 - lam d^p)``: the widest term is refined next.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

import numpy as np

from wdaverify.certify.enclosure import margins_enclosure, rival_margin
from wdaverify.certify.proof import Proof
from wdaverify.encoding.relu import HiddenBounds
from wdaverify.engines.base import Answer, Distance, Effort
from wdaverify.engines.screening import Ints, Screen
from wdaverify.network.model import Array
from wdaverify.transport.knapsack import KnapsackSolution
from wdaverify.wdro.attacking import portions
from wdaverify.wdro.attainable import Attainable
from wdaverify.wdro.proofs import DistanceProofs
from wdaverify.wdro.result import Reason, SampleBracket, Voucher
from wdaverify.wdro.run import Pace, Run
from wdaverify.wdro.trees import Trees
from wdaverify.wdro.twins import Twins
from wdaverify.wdro.workers import Task
from wdaverify.wdro.worth import bought, distribution, enough, widths
from wdaverify.witness.decide import errors
from wdaverify.witness.evaluate import Witness, clean_losses, distances_up, edge_of, evaluate
from wdaverify.witness.push import push_across
from wdaverify.witness.repair import repaired

_LEAST_GAP = 1e-10
"""No distance is asked for more exactly than this: solvers do not deliver it."""


_FIRST_SCREENED, _PORTION = 16, 0.25
"""So many samples are screened until the bracket is looked at again, then twice as many while that takes less than so many seconds."""
_BEYOND = math.inf
"""Stands in the multiplier's place of a fact that says of a distance that it is more than the value, not just as much."""
_DOUBT = 2.0**10
"""How many times its rounding a ball must be clear of errors where a checker follows: there a sign lost is the whole ball lost."""
_STRICT = 1e-8
"""The margin asked of points across the boundary, relative to the clean margin, where none was found on it."""


class ZeroOneSearch:
    """The search for V with the zero-one loss; attributes are valid whenever it is interrupted."""

    def __init__(self, run: Run, witness: Witness) -> None:
        self._run, self._problem = run, run.problem
        proving = run.options.certificate
        doubt = _DOUBT if proving else 1.0
        self._screen = Screen(self._problem, run.deadline, slopes=not proving, doubt=doubt)
        self._twins = Twins(self._problem.samples)
        count, self._attainable = len(self._problem.samples), Attainable(self._problem, anywhere=proving)
        if not self._problem.support.bounded:
            self._screen.reach = np.full(count, enough(self._problem, run.options.gap))
        pieces = self._screen.pieces
        self._sample, self._rival, self._per_sample = pieces.sample, pieces.code, pieces.per_sample
        wrong = clean_losses(self._problem)[0] > 0
        self._clean = rival_margin(self._problem.network, self._problem.samples.x, self._problem.samples.y)[0]
        self._nearest: list[Array | None] = [
            x if bad else None for x, bad in zip(self._problem.samples.x, wrong, strict=True)
        ]
        self.high = np.where(wrong, 0.0, math.inf)
        """Distances of errors found, by moves alone; ``label_cost`` may be less."""
        self._low = np.zeros(self._sample.size)
        """Proven of the distances; at order inf, where a double decides, of the least doubles not below them (``_at_least``)."""
        self._own = np.zeros(self._sample.size)
        self._tries = np.zeros(self._sample.size, np.int64)
        self._done = np.zeros(self._sample.size, np.bool_)
        self._busy = np.zeros(self._sample.size, np.bool_)
        self._strict = np.zeros(self._sample.size, np.bool_)
        self._screened = np.zeros(count, np.bool_)
        """Whose ball was bounded, which at order inf is all that screening has of a sample."""
        self._pace, self._width_pace = Pace(), Pace()
        self._width = (np.zeros(count), 0.0)
        """What each group of equal samples adds to the width, at its leader."""
        self.witness = witness
        self._proofs = DistanceProofs(self._problem.network.form.neurons) if run.options.certificate else None
        self._trees = Trees()
        self._news: set[int] = set()
        if self._problem.cost.fixed(
            self._problem.network.n_inputs
        ).all():  # nothing moves: what is no error now is none anywhere
            self._low[:] = self._own[:] = math.inf
        self._take_up()
        self._update()

    def _take_up(self) -> None:
        """Begin with what a journal holds."""
        recall = self._run.recall
        if recall is None:
            return
        self._run.widest = self._widest
        sample, point = recall.points()
        for part in portions(sample.size, self._run.deadline):
            self.offer(sample[part], point[part])
        known = recall.facts(self._screen.pieces)
        value = known.value
        if not math.isfinite(self._problem.cost.order):
            value = np.where(known.multiplier == _BEYOND, np.nextafter(value, math.inf), value)
        np.maximum.at(self._low, known.item, value)
        np.maximum.at(self._own, known.item[known.checked], value[known.checked])
        np.maximum.at(self._tries, known.item, known.tries)
        if self._proofs is not None:
            for item, value, trees in zip(known.item.tolist(), known.value.tolist(), known.trees, strict=True):
                self._proofs.recalled(item, value, trees)
        for item in np.unique(known.item[known.spent]).tolist():
            self._close(item, self._gap(float(self.high[self._sample[item]]), 0.0))

    def _close(self, item: int, gap: float) -> None:
        """Take note that a question as such would prove no more.

        Where the boundary was reached and no error found near it (a kink, say) points safely across are asked for next.
        """
        low = self._low[item]
        self._strict[item] = bool(self.high[self._sample[item]] > low + gap and math.isfinite(low))
        self._done[item] = not self._strict[item]

    def _keep(self, items: Ints, low: Array, answer: Answer | None = None) -> None:
        """Write down points and proven distances that are new."""
        recall, nearest = self._run.recall, self._nearest
        if recall is None:
            return
        news, self._news = self._news, set()
        recall.keep_points((sample, point) for sample in news if (point := nearest[sample]) is not None)
        known = low > 0
        trees = () if self._proofs is None or answer is None else self._proofs.whole(int(items[0]))
        if known.any():
            recall.keep(
                self._screen.pieces,
                items[known],
                self._at_least(low[known]),
                multiplier=0.0 if math.isfinite(self._problem.cost.order) else _BEYOND,
                checked=answer is None or answer.checked,
                vouched="screening" if answer is None else answer.vouched_by,
                tries=0 if answer is None else int(self._tries[items[0]]),
                spent=answer is not None and answer.closed,
                trees=trees,
            )

    def _widest(self, count: int) -> list[SampleBracket]:
        """The samples that add most to the width of the bracket."""
        order = np.argsort(-self._gathered_widths()[0], kind="stable")[:count]
        brackets = self.per_sample()
        return [brackets[i] for i in order.tolist()]

    def _at_least(self, low: Array) -> Array:
        """What lower bounds ``[B]`` say of the distances themselves: at order inf, that they are more than the double before."""
        if math.isfinite(self._problem.cost.order):
            return low
        return np.asarray(np.where((low > 0) & np.isfinite(low), np.nextafter(low, 0.0), low))

    def low(self) -> Array:
        """Proven lower bounds of the distances, ``[N]``; never above the upper ones."""
        return np.asarray(np.minimum(self._low.reshape(-1, self._per_sample).min(axis=1), self.high))

    def _own_low(self) -> Array:
        """The same from our own bounds alone."""
        return np.asarray(np.minimum(self._own.reshape(-1, self._per_sample).min(axis=1), self.high))

    def _knapsack(self, distances: Array, *, upper: bool) -> KnapsackSolution:
        return bought(self._problem, distances, upper=upper)

    @property
    def multiplier(self) -> float:
        """The multiplier at which the dual of the lower distances attains the upper bound."""
        return self._knapsack(self.low(), upper=True).multiplier

    def settle(self) -> None:
        """Bring the run's bracket up to what is proven."""
        self._update()

    def _update(self) -> None:
        """Recompute both knapsacks; the lower one is re-evaluated as a distribution before it counts."""
        self._run.narrow(self.witness.lower, self._knapsack(self.low(), upper=True).value)
        plan = self._knapsack(self.high, upper=False)
        if plan.value <= self.witness.lower:
            return
        self.adopt(evaluate(self._problem, distribution(self._problem, plan, self.high, self._nearest)))

    def adopt(self, witness: Witness) -> None:
        """Keep a witness if it proves more than the one at hand."""
        if witness.lower > self.witness.lower:
            self.witness = witness
        self._run.narrow(self.witness.lower, math.inf)

    def with_errors(self, errors: Mapping[int, tuple[Array, float]]) -> Witness:
        """What the knapsack buys with these errors and their distances, by sample, in place of the nearest ones."""
        high, nearest = self.high.copy(), list(self._nearest)
        for sample, (point, distance) in errors.items():
            nearest[sample], high[sample] = point, distance
        return evaluate(self._problem, distribution(self._problem, self._knapsack(high, upper=False), high, nearest))

    def offer(self, sample: Ints, point: Array) -> None:
        """Take the nearest errors among points ``[M, n]`` of samples ``[M]``."""
        index = np.asarray(sample, dtype=np.int64)
        if not index.size:
            return
        cost = distances_up(self._problem.cost, point, self._problem.samples.x[index], edge_of(self._problem))
        wrong = errors(self._problem.network, point, self._problem.samples.y[index])
        for m in np.flatnonzero(wrong & (cost < self.high[index])):
            self._accept(int(index[m]), point[m], float(cost[m]))
        self._keep(index[:0], cost[:0])
        self._update()

    def _accept(self, sample: int, point: Array, distance: float) -> None:
        if distance < self.high[sample]:
            self._nearest[sample] = np.array(point)  # before its distance, so that an interrupt leaves both valid
            self.high[sample] = distance
            self._news.add(sample)

    def search(self) -> Reason:
        """Screen every sample that can matter, then refine distances until the bracket closes or a limit is reached."""
        self._run.next_round()
        if self._run.verdict() is None:
            self._take_lines()
        self._screen_all()
        self._update()
        for task, answer in self._run.work(self._draw, self._tell):
            self._take(task, answer)
            if self._pace.due():
                with self._pace.turn():
                    self._update()
        self._update()
        return self._run.verdict() or Reason.STALLED

    def screen_first(self, until: float) -> None:
        """At order inf, screen before any attack, until a time: whose ball is free of errors need not be attacked.

        At finite orders balls are only as large as the errors that attacks find.
        """
        if not math.isfinite(self._problem.cost.order):
            self._screen.until(min(until, self._run.deadline))
            self._screen_all()
            self._screen.until(self._run.deadline)
            self._update()

    def to_attack(self) -> Ints | None:
        """The samples whose balls may hold errors, known ones too; None: all, since at finite orders they share a budget."""
        return None if math.isfinite(self._problem.cost.order) else np.flatnonzero(self.low() <= self._problem.radius)

    def _tell(self) -> None:
        self._run.tell("solve", lambda: int(np.unique(self._sample[self._open_items()]).size))

    def _take_lines(self) -> None:
        """Begin with the distances that slopes on the whole support prove: what a margin is below 0, over its slope."""
        low = self._screen.first_distances()
        if low is not None:
            self._low, self._own = np.maximum(self._low, low), np.maximum(self._own, low)
            self._update()

    def _screen_all(self) -> None:
        low = self._low.reshape(-1, self._per_sample).min(axis=1)
        open_ = (low < np.minimum(np.minimum(self.high, self._screen.reach), self._cap())) | (self._proofs is not None)
        if not math.isfinite(self._problem.cost.order):  # an error within the radius is one, however near
            open_ &= (self.high > self._problem.radius) & ~self._screened
        left = np.flatnonzero((self._twins.weight > 0) & (self.high > 0) & open_)
        some = _FIRST_SCREENED
        while left.size:
            begun = time.perf_counter()
            self._screen_some(left[:some])
            left = left[some:]
            took = time.perf_counter() - begun
            self._run.screen_seconds += took
            some = 2 * some if took < _PORTION else max(1, some // 2) if took > 4 * _PORTION else some
            if self._pace.due():
                with self._pace.turn():
                    self._update()
            self._run.tell("screen", lambda: int(np.unique(self._sample[self._low < self.high[self._sample]]).size))

    def _screen_some(self, samples: Ints) -> None:
        items, low = self._screen.distances(samples, np.minimum(self.high[samples], self._cap()))
        low = low if self._proofs is not None else self._attainable.up(low)
        self._screened[samples] = not self._screen.over
        self._run.rivals_screened += items.size
        better = low > self._low[items]
        self._keep(items[better], low[better])
        items, source = self._twins.items(items, self._per_sample)
        low = low[source]
        self._low[items], self._own[items] = np.maximum(self._low[items], low), np.maximum(self._own[items], low)
        if self._proofs is not None:
            self._proofs.screened(items.tolist(), low.tolist())

    def _widths(self) -> tuple[Array, float]:
        """What each sample adds to the width of the bracket, ``[N]``, and the multiplier used."""
        return widths(self._problem, self.low(), self.high)

    def _gathered_widths(self) -> tuple[Array, float]:
        widths, lam = self._widths()
        return (self._twins.gathered(widths) if self._twins.some else widths), lam

    def _cap(self) -> float:
        """No distance beyond this matters."""
        return float(self._problem.cost.label_cost)

    def _open_items(self) -> Ints:
        asks = ~self._busy & ~self._done & (self._low < self.high[self._sample])
        return np.flatnonzero(asks & (self._width[0][self._sample] > 0))

    def _draw(self) -> Task | None:
        """The question about the sample that widens the bracket most: its nearest rival, least tried first."""
        if self._run.verdict() is not None:
            return None
        if self._width_pace.due():
            with self._width_pace.turn():
                self._width = self._gathered_widths()
        items = self._open_items()
        if not items.size:
            self._width = self._gathered_widths()
            items = self._open_items()
        if not items.size:
            return None
        widths, lam = self._width
        order = np.lexsort((items, self._low[items], -widths[self._sample[items]], self._tries[items]))
        return self._task(int(items[order[0]]), lam)

    def _task(self, item: int, lam: float) -> Task:
        sample, options = int(self._sample[item]), self._run.options
        begun = time.perf_counter()
        far = min(float(self.high[sample]), float(self._screen.reach[sample]), self._cap())
        low = self._at_least(self._low[[item]])[0] if self._proofs is None else self._proofs.ball[item]
        near = min(float(low), far)
        if self._run.workers.own_bounds:
            bounds: HiddenBounds = ()
            region = self._screen.shell(sample, near, far)
        else:
            region, bounds, _ = self._screen.region(sample, near, far)
        self._run.screen_seconds += time.perf_counter() - begun
        label, rival = int(self._problem.samples.y[sample]), int(self._rival[item])
        least = _STRICT * max(1.0, abs(self._clean[sample])) if self._strict[item] else 0.0
        question = Distance(sample, label, rival, region, bounds, least, not math.isfinite(self._problem.cost.order))
        gap = self._gap(float(self.high[sample]), lam)
        start = self._nearest[sample] if options.mip_start else None
        self._busy[item] = True
        seconds = self._run.slice(int(self._tries[item]))
        grown = self._run.workers.own_bounds or options.certificate
        known = self._trees.of(item, None) if question.least == 0 else ()  # other samples' trees did not pay here
        cutoff = far if self._run.workers.own_bounds and self.high[sample] <= far else None  # that far one is known
        whole = options.certificate
        effort = Effort(gap, seconds, options.seed, cutoff, start, self._run.memory, grown, known, whole)
        return Task(item, question, effort, tries=int(self._tries[item]))

    def _gap(self, distance: float, lam: float) -> float:
        """How exactly a distance is worth knowing."""
        least = max(_LEAST_GAP, self._attainable.gap(distance))
        if lam <= 0 or not math.isfinite(self._problem.cost.order):
            return max(self._run.options.gap / 4, least)
        steep = lam if self._problem.cost.power == 1 or not math.isfinite(distance) else 2 * lam * max(distance, 1e-9)
        return max(self._run.options.gap / (4 * steep), least)

    def _take(self, task: Task, answer: Answer) -> None:
        question, item = task.question, task.item
        assert isinstance(question, Distance)
        self._run.count(question.sample, answer)
        attained = self._add_points(question, answer.points)
        self._busy[item] = False
        self._tries[item] += 1
        self._done[item] = answer.closed
        support = self._problem.support
        if question.least == 0 and support.rows is None and support.integer is None:
            self._trees.keep(item, None, answer.proof)
        if question.least > 0:
            self._keep(np.zeros(0, np.int64), np.zeros(0))
            return
        items, _ = self._twins.items(np.array([item]), self._per_sample)
        if self._proofs is not None and answer.proof is not None:
            for twin in items.tolist():
                self._proofs.answered(twin, answer.bound, answer.proof)
        bound = float(self._attainable.up(np.array([answer.bound]))[0])
        if bound > question.region.far:  # the rival cannot tie inside the ball: nothing is said of what lies beyond it
            far = question.region.far
            beyond = far if math.isfinite(self._problem.cost.order) else math.nextafter(far, math.inf)
            bound = math.inf if self._screen.whole_support(question.sample, far) else beyond
        if bound > attained:
            self._run.shortfall(bound - attained if math.isfinite(bound) else attained)
            bound = attained
        self._low[items] = np.maximum(self._low[items], bound)
        if answer.checked:
            self._own[items] = np.maximum(self._own[items], bound)
        if answer.closed and math.isfinite(answer.bound):
            self._close(item, task.effort.gap)
        if answer.vouched_by != "none":
            self._keep(np.array([item]), np.array([bound]), answer)

    def _add_points(self, question: Distance, points: Array) -> float:
        """Push the points across the boundary where they fall short, keep the nearest; the least distance of one found, or inf."""
        problem, sample = self._problem, question.sample
        nearest, region = math.inf, self._problem.region_of(question.rival)
        for point in points:
            centre, label = question.region.centre, question.label
            inside, there = repaired(region, centre[None, :], point[None, :], problem.cost.fixed(centre.size))
            if not there[0]:
                continue
            across = push_across(problem.network, inside[0], centre, label, region, problem.cost)
            if across is not None:
                distance = float(distances_up(problem.cost, across[None, :], centre[None, :], edge_of(problem))[0])
                for twin in self._twins.of(sample).tolist():
                    self._accept(twin, across, distance)
                margin = margins_enclosure(problem.network, across[None, :], np.array([label]))[1][0, question.rival]
                if margin >= 0:  # else another rival's error, which says nothing of this one's distance
                    nearest = min(nearest, distance)
        return nearest

    def per_sample(self) -> tuple[SampleBracket, ...]:
        """The brackets of the distances."""
        low, own = self._at_least(self.low()), self._at_least(self._own_low())
        return tuple(
            SampleBracket(i, float(w), float(a), float(b), Voucher.CHECKED if mine >= a else Voucher.SOLVER)
            for i, (w, a, b, mine) in enumerate(zip(self._problem.samples.w, low, self.high, own, strict=True))
        )

    def proofs(self) -> tuple[Proof, ...]:
        """What proves the lower bounds of the distances."""
        assert self._proofs is not None
        out: list[Proof] = []
        for item, (sample, rival) in enumerate(zip(self._sample.tolist(), self._rival.tolist(), strict=True)):
            out += self._proofs.of(item, sample, rival, float(self._screen.reach[sample]))
        return tuple(out)

    def checked_upper(self) -> float:
        """The upper bound of V that our own bounds alone prove."""
        return self._knapsack(self._own_low(), upper=True).value
