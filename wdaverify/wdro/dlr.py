"""The DLR loss by its levels (docs/theory.md, section 4): ``h_i(r)`` is the distance to the nearest point of loss r or more.

    phi_i(lam) <= max over successive levels r_k < r_(k+1) of  r_(k+1) - lam h_i(r_k)^p

so that proven lower bounds of ``h_i`` at some levels are atoms from above, as points are from below, and both sides are a
restricted master. The interval that widens the bracket most is halved next. With four classes or more the loss is unbounded
near ties of three logits above the label's; whether the support holds one is looked for first, and found is only what
rationals show (``wdaverify.witness.tie``): near a tie the loss may be as large as it likes and yet be bounded.
"""

from __future__ import annotations

import math
import time
from bisect import insort
from dataclasses import dataclass
from fractions import Fraction
from functools import partial

import numpy as np

from wdaverify.certify.exact import exact_dot
from wdaverify.certify.proof import Proof
from wdaverify.engines.base import Answer, Effort, Level
from wdaverify.engines.screening import Ints, Screen
from wdaverify.network.model import Array
from wdaverify.rounding import float_up
from wdaverify.transport.master import solve_master
from wdaverify.transport.pool import AtomPool
from wdaverify.wdro.attacking import budget, fill_pool, portions
from wdaverify.wdro.ceiling import ceiling
from wdaverify.wdro.result import Reason, SampleBracket, Voucher
from wdaverify.wdro.run import Run
from wdaverify.wdro.ties import find_tie
from wdaverify.wdro.twins import Twins
from wdaverify.wdro.workers import Task
from wdaverify.witness.evaluate import Witness, clean_losses, distances_up, evaluate
from wdaverify.witness.losses import loss_bounds
from wdaverify.witness.repair import repaired, within_reach
from wdaverify.witness.tie import Tie

_DIRECTIONS = 64
_OFFERED = 8
"""How many of them are offered as atoms."""
_SHORT = 1e-7
"""A point that falls short of its level by more is near a tie."""
_ABOVE = (1e-2, 0.0, 1e-5)
"""How far above the label's ties are looked for, relative to the largest logit of a sample; the last where the one before it
was found and is none."""
_ENDLESS = 1e9
"""Levels beyond this are not asked for."""
_DOUBT = (
    "a solver's point is close to a tie of three logits above the label's, which could be neither proved in rationals nor "
    "excluded: V may be +inf; the bracket holds"
)
_SCALES = 10.0 ** -np.arange(1, 11)
_NARROWEST = 1e-3
"""No interval of levels is halved that is narrower than this share of the gap."""
_LEAST_GAP = 1e-9
_CLOSE = 1e-4
"""How exactly distances are asked for at most, relative to the region's."""


@dataclass(frozen=True, eq=False)
class _Phi:
    """Bounds of ``phi_i [N]`` at a multiplier, and which interval of levels gives the upper one."""

    lower: Array
    upper: Array
    widest: Ints


class DlrSearch:
    """The search for V with the DLR loss; attributes are valid whenever it is interrupted."""

    def __init__(self, run: Run, witness: Witness) -> None:
        self._run, self._problem, self.witness = run, run.problem, witness
        self._screen, self._twins = Screen(self._problem, run.deadline), Twins(self._problem.samples)
        lower, upper = clean_losses(self._problem)
        self._pool = AtomPool(lower, self._problem.network.n_inputs)
        count = len(self._problem.samples)
        self._levels: list[list[tuple[float, float]]] = [[(float(r), 0.0)] for r in upper]
        """Per sample the levels and proven lower bounds of their distances, ascending."""
        self._top = np.full(count, 1.0 if self._problem.network.n_outputs == 3 else math.inf)
        """No point within reach has a larger loss."""
        self._seen: list[list[tuple[float, float]]] = [[] for _ in range(count)]
        self._busy, self._tries = np.zeros(count, np.bool_), np.zeros(count, np.int64)
        self._silent: set[tuple[int, float]] = set()
        """Samples and levels that a solver could say nothing of."""
        self._power = self._problem.cost.power if math.isfinite(self._problem.cost.order) else 1
        self._answered = 0
        self.tie: Tie | None = None
        """Where the loss is shown to have no bound."""
        self._asking = 0.0
        """The multiplier at which questions are chosen."""
        self._take_up()
        self._phi = self._bracket_at(0.0)
        self._best = math.inf, 0.0, self._phi
        run.widest = self._widest
        self._update()

    def _take_up(self) -> None:
        """Begin with what a journal holds."""
        if self._run.recall is not None:
            samples, points = self._run.recall.points()
            for part in portions(samples.size, self._run.deadline):
                self.offer(samples[part], points[part])
            for sample, level, distance in self._run.recall.levels():
                self._learn(sample, level, distance)
                self._answered += 1  # a solver has spoken

    def _widest(self, count: int) -> list[SampleBracket]:
        """The samples that add most to the width of the bracket."""
        order = np.argsort(-self._width(), kind="stable")[:count]
        brackets = self.per_sample()
        return [brackets[i] for i in order.tolist()]

    def settle(self) -> None:
        """Bring the run's bracket up to what is proven."""
        self._run.narrow(self.witness.lower, math.inf)

    def adopt(self, witness: Witness) -> None:
        """Keep a witness if it proves more than the one at hand."""
        if witness.lower > self.witness.lower:
            self.witness = witness
        self.settle()

    def offer(self, sample: Ints, point: Array) -> None:
        """Put points ``[M, n]`` of samples ``[M]`` into the pool, re-evaluated."""
        index = np.asarray(sample, np.int64)
        if not index.size:
            return
        fill_pool(self._problem, self._pool, index, point)
        if self._run.recall is not None:
            atoms = [atom for i in self._pool.touched() for atom in self._pool.envelope(i)]
            self._run.recall.keep_points((a.sample, a.point) for a in atoms if a.point is not None)
        point = within_reach(self._problem, index, point)
        value = loss_bounds(self._problem, point, self._problem.samples.y[index])[0]
        distance = distances_up(self._problem.cost, point, self._problem.samples.x[index])
        for k in np.flatnonzero(np.isfinite(value)):
            self._seen[int(index[k])].append((float(value[k]), float(distance[k])))

    def _intervals(self, sample: int) -> tuple[Array, Array]:
        """The values ``r_(k+1)`` and the proven distances ``h(r_k)`` of a sample's intervals of levels."""
        levels = self._levels[sample]
        values = np.array([r for r, _ in levels[1:]] + [float(self._top[sample])])
        return values, np.array([low for _, low in levels])

    def _bracket_at(self, lam: float) -> _Phi:
        """Bounds of ``phi_i(lam)``; for order inf of the largest loss within the radius."""
        count = len(self._levels)
        upper, widest = np.zeros(count), np.zeros(count, np.int64)
        finite = math.isfinite(self._problem.cost.order)
        for i in range(count):
            values, low = self._intervals(i)
            paid = np.nextafter(lam * np.nextafter(low**self._power, 0.0), 0.0) if finite else np.zeros(low.size)
            terms = np.where(low <= self._problem.radius, values, -math.inf) if not finite else values - paid
            widest[i] = int(terms.argmax())
            upper[i] = math.nextafter(float(terms[widest[i]]), math.inf)
        lower = np.nextafter(self._pool.lower_model(lam), -math.inf)
        return _Phi(lower, np.maximum(upper, lower), widest)

    def _update(self) -> None:
        """Both masters: the lower one re-evaluated as a distribution, the upper one as a dual at its multiplier."""
        problem = self._problem
        plan = solve_master(self._pool, problem.samples.w, budget(problem))
        self.adopt(evaluate(problem, plan.plan.distribution(problem.samples.y)))
        finite = math.isfinite(problem.cost.order)
        lam = plan.multiplier if finite else 0.0
        # at the multiplier of the points, since at that of the bounds both sides agree and nothing is left to ask
        self._phi = self._bracket_at(lam)
        self._take_upper(lam, self._phi)
        if finite and np.isfinite(self._top[problem.samples.w > 0]).all():
            lam = self._dearest()
            self._take_upper(lam, self._bracket_at(lam))

    def _take_upper(self, lam: float, phi: _Phi) -> None:
        """Keep the dual at a multiplier if it is the best so far."""
        problem, used = self._problem, self._problem.samples.w > 0
        if not np.isfinite(phi.upper[used]).all():
            return
        spent = Fraction(0)
        if math.isfinite(problem.cost.order):
            spent = Fraction(lam) * Fraction(problem.radius) ** problem.cost.power
        value = float_up(spent + exact_dot(problem.samples.w[used].tolist(), phi.upper[used].tolist()))
        if value < self._best[0]:
            self._best = value, lam, phi
        self._run.narrow(-math.inf, value)

    @property
    def multiplier(self) -> float:
        """The multiplier that gives the upper bound."""
        return self._best[1]

    def _dearest(self) -> float:
        """The multiplier of the restricted master on the atoms from above."""
        first = [
            float(self._intervals(i)[0][0]) if math.isfinite(self._top[i]) else 0.0 for i in range(len(self._levels))
        ]
        above = AtomPool(np.array(first), 1)
        for i in np.flatnonzero(np.isfinite(self._top)).tolist():
            values, low = self._intervals(i)
            for value, distance in zip(values[1:].tolist(), (low[1:] ** self._power).tolist(), strict=True):
                above.add(i, distance, value, np.zeros(1))
        return solve_master(above, self._problem.samples.w, budget(self._problem)).multiplier

    def search(self) -> Reason:
        """Decide whether the loss is bounded, then refine levels until the bracket closes or a limit is reached."""
        if self._problem.network.n_outputs > 3 and self._decide():
            verdict = self._run.verdict()
            return verdict if verdict is Reason.THRESHOLD_DECIDED else Reason.UNBOUNDED
        self._update()
        self._refine()
        if self._run.verdict() is None and self._lower_tops():
            self._refine()
        return self._run.verdict() or Reason.STALLED

    def _refine(self) -> None:
        """Ask for levels until nothing is left to ask."""
        for task, answer in self._run.work(self._draw, self._tell):
            self._take(task, answer)
            self._run.next_round()
            self._update()

    def _lower_tops(self) -> bool:
        """Whether our own bounds say more of the largest losses of samples that widen the bracket than the solver did."""
        lower, finite, known = False, math.isfinite(self._problem.cost.order), dict[int, float]()
        for sample in np.flatnonzero(self._width() > 0).tolist():
            if self._run.verdict() is not None:
                break
            label = int(self._problem.samples.y[sample])
            if (
                label not in known or not finite
            ):  # where the whole support is within reach, one sample speaks for its label
                bound = partial(self._screen.functionals, sample)
                known[label] = ceiling(bound, self._problem.network.n_outputs, label)
            top = max(known[label], math.nextafter(self._levels[sample][0][0], math.inf))
            if top < self._top[sample]:
                lower = True
                for twin in self._twins.of(sample).tolist():
                    self._learn(twin, top, math.inf)
        self._update()
        return lower

    def _tell(self) -> None:
        self._run.tell("solve", lambda: int(np.count_nonzero(self._width() > 0)))

    def _width(self) -> Array:
        lower, upper = self._phi.lower, self._phi.upper
        weight = self._twins.weight
        with np.errstate(invalid="ignore"):
            return np.asarray(np.where(weight > 0, weight * (upper - lower), 0.0))

    def _draw(self) -> Task | None:
        """The sample that widens the bracket most, at the middle of its worst interval."""
        if self._run.verdict() is not None:
            return None
        width = np.where(self._busy, 0.0, self._width())
        for sample in np.argsort(-width, kind="stable").tolist():
            if not width[sample] > 0:
                return None
            k = int(self._phi.widest[sample])
            if k >= len(self._levels[sample]):
                continue
            low, near = self._levels[sample][k]
            high = float(self._intervals(sample)[0][k])
            level = 0.5 * (low + high) if math.isfinite(high) else max(2.0 * low, 2.0)
            if level > _ENDLESS:
                continue
            wide = high - low > _NARROWEST * self._run.options.gap and low < level < high
            if wide and (sample, level) not in self._silent:
                return self._task(sample, level, near)
        return None

    def _task(self, sample: int, level: float, near: float) -> Task:
        reach = float(self._screen.reach[sample])
        known = [distance for value, distance in self._seen[sample] if value >= level]
        far = min(reach, max(min(known, default=math.inf), near))
        begun = time.perf_counter()
        region, bounds, _ = self._screen.region(sample, near, far)
        self._run.screen_seconds += time.perf_counter() - begun
        options, label = self._run.options, int(self._problem.samples.y[sample])
        gap = _CLOSE * far
        if self._asking > 0:
            gap = min(gap, options.gap / (8 * self._asking * max(1.0, self._power * far ** (self._power - 1))))
        seconds = self._run.slice(int(self._tries[sample]))
        effort = Effort(max(gap, _LEAST_GAP), seconds, options.seed, None, None)
        self._busy[sample] = True
        return Task(sample, Level(sample, label, level, region, bounds), effort)

    def _take(self, task: Task, answer: Answer) -> None:
        question, sample = task.question, task.item
        assert isinstance(question, Level)
        self._run.count(sample, answer)
        twins = self._twins.of(sample)
        for point in answer.points:
            for usable in self._usable(sample, point[None, :]):
                self.offer(twins, np.tile(usable, (twins.size, 1)))
            reached = loss_bounds(self._problem, point[None, :], self._problem.samples.y[[sample]])[0][0]
            if reached < question.level - _SHORT:
                self._around(sample, point)
        self._busy[sample] = False
        self._answered += 1
        far, level = question.region.far, question.level
        bound = max(answer.bound, question.region.near)
        nowhere = math.isinf(bound) and far >= self._screen.reach[sample]
        if bound > far and not nowhere:
            bound = far  # a point at this level is known there, or the solver's tolerance passed the edge
        if not answer.closed and bound <= question.region.near:
            self._tries[sample] += 1
            return
        self._tries[sample] = 0
        if answer.vouched_by == "none":
            self._silent.add((sample, level))
            return
        bound = math.inf if nowhere else bound
        for twin in twins.tolist():
            self._learn(twin, level, bound)
        if self._run.recall is not None:
            self._run.recall.keep_level(sample, level, bound, answer.vouched_by)

    def _learn(self, sample: int, level: float, distance: float) -> None:
        """Take note of a proven distance to a level; inf: no point within reach has it."""
        if math.isinf(distance):
            self._levels[sample] = [entry for entry in self._levels[sample] if entry[0] < level]
            self._top[sample] = min(float(self._top[sample]), level)
        elif self._levels[sample][0][0] < level < self._top[sample]:
            insort(self._levels[sample], (level, distance))
            self._monotone(sample)

    def _monotone(self, sample: int) -> None:
        """Distances do not fall as levels rise."""
        best, out = 0.0, []
        for level, low in self._levels[sample]:
            best = max(best, low)
            out.append((level, best))
        self._levels[sample] = out

    def _decide(self) -> bool:
        """Whether the loss is shown to have no bound: a tie of three logits above the label's, in rationals."""
        problem = self._problem
        samples = np.flatnonzero(self._twins.weight > 0)
        if math.isfinite(problem.cost.order):  # one sample speaks for its label
            samples = samples[np.unique(problem.samples.y[samples], return_index=True)[1]]
        size = float(np.abs(problem.network.forward(problem.samples.x)).max())
        for sample in samples.tolist():
            region, bounds, _ = self._screen.region(sample, 0.0, float(self._screen.reach[sample]))
            near = True
            for least in _ABOVE:
                if self._run.verdict() is not None:
                    return False
                if not near:
                    break
                question = Level(sample, int(problem.samples.y[sample]), math.inf, region, bounds, least * size)
                effort = Effort(_LEAST_GAP, self._run.remaining(), self._run.options.seed, None, None)
                points = self._asked(Task(sample, question, effort))
                if any(self._shown(sample, point) for point in points):
                    return True
                near = bool(points) or least > 0
        return False

    def _shown(self, sample: int, point: Array) -> bool:
        """Whether a point leads to a tie that shows that there is no bound; the loss around it is offered either way."""
        self._around(sample, point)
        run = self._run
        self.tie = find_tie(self._problem, sample, point, seed=run.options.seed, deadline=run.deadline)
        if self.tie is None:
            run.doubt = _DOUBT
        else:
            self._around(sample, np.array([float(value) for value in self.tie.point]))
        return self.tie is not None

    def _asked(self, task: Task) -> list[Array]:
        """The points of the answer to one question."""
        left, points = [task], []
        for _, answer in self._run.work(lambda: left.pop() if left else None, self._tell):
            self._run.count(task.item, answer)
            self._answered += 1
            points += list(answer.points)
        return points

    def _around(self, sample: int, point: Array) -> None:
        """Offer the best of random points around one at or near a tie, whose own loss may not be defined.

        Every order of logits that tie at a point is that of points nearby, where the network is not degenerate.
        """
        problem = self._problem
        rng = np.random.default_rng(self._run.options.seed)
        moves = rng.normal(size=(_SCALES.size * _DIRECTIONS, point.size)) * np.repeat(_SCALES, _DIRECTIONS)[:, None]
        near = self._usable(sample, np.vstack([point, point + moves]))
        value = loss_bounds(problem, near, np.full(len(near), problem.samples.y[sample]))[0]
        paid = self.multiplier * problem.cost.distance(near - problem.samples.x[sample]) ** self._power
        best = np.unique(np.concatenate([np.argsort(-value)[:_OFFERED], np.argsort(paid - value)[:_OFFERED]]))
        twins = self._twins.of(sample)
        self.offer(np.repeat(twins, best.size), np.tile(near[best], (twins.size, 1)))
        self._update()

    def _usable(self, sample: int, points: Array) -> Array:
        """Points ``[B, n]`` moved into the support and, for order inf, the ball; those that lie in both, exactly."""
        problem, centre = self._problem, self._problem.samples.x[[sample]]
        fixed = problem.cost.fixed(points.shape[1])
        points, inside = repaired(problem.support, np.broadcast_to(centre, points.shape), points, fixed)
        points = within_reach(problem, np.full(len(points), sample), points)
        inside = inside & problem.support.contains(points)
        if not math.isfinite(problem.cost.order):  # an integer that was rounded may be out of reach
            inside &= distances_up(problem.cost, points, np.broadcast_to(centre, points.shape)) <= problem.radius
        return np.asarray(points[inside])

    def per_sample(self) -> tuple[SampleBracket, ...]:
        """The brackets of phi_i at the multiplier."""
        lower, upper = self._best[2].lower, self._best[2].upper
        voucher = Voucher.SOLVER if self._answered else Voucher.CHECKED
        return tuple(
            SampleBracket(i, float(w), float(a), float(b), voucher)
            for i, (w, a, b) in enumerate(zip(self._problem.samples.w, lower, upper, strict=True))
        )

    def checked_upper(self) -> float:
        """The upper bound as our own bounds alone prove it: none once a solver has spoken."""
        return math.inf if self._answered else self._run.upper

    def proofs(self) -> tuple[Proof, ...]:
        """None: certificates are refused for this loss."""
        raise NotImplementedError("the DLR loss has no certificate")
