"""The attacks, valued: every distribution they propose is re-evaluated before it counts as a lower bound."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from wdaverify.arithmetic import Arithmetic
from wdaverify.attacks.effort import POWERS, STAGES, Effort, effort_of
from wdaverify.attacks.outcome import AttackOutcome
from wdaverify.errors import ProblemError
from wdaverify.given import instance
from wdaverify.network.model import Array
from wdaverify.problem import Loss, WdroProblem
from wdaverify.rounding import float_up, squares_up
from wdaverify.transport.distribution import Distribution
from wdaverify.transport.master import solve_master
from wdaverify.transport.pool import AtomPool
from wdaverify.wdro.deployed import in_reals, lowered_by_errors
from wdaverify.wdro.log import LOGGER
from wdaverify.wdro.options import Options
from wdaverify.wdro.result import AttackResult
from wdaverify.wdro.twins import Twins
from wdaverify.witness.decide import deciding_until
from wdaverify.witness.evaluate import Witness, clean_losses, distances_up, edge_of, evaluate, nominal_bracket
from wdaverify.witness.losses import loss_bounds
from wdaverify.witness.outward import said
from wdaverify.witness.repair import within_reach

_PORTION = 2048
"""Points that are valued between two looks at the clock."""
FINDING_SHARE = 0.6
"""The share of a time limit after which attacks on their own end, and what they found is valued."""


def refuse_overflow(problem: WdroProblem) -> None:
    """Refuse a network whose logits overflow at a sample: nothing could be said of it.

    Raises:
        ProblemError: names the first such sample.
    """
    lower, upper = clean_losses(problem)
    bad = np.flatnonzero(~(np.isfinite(lower) & np.isfinite(upper)))
    rule = problem.loss.rule
    if bad.size and rule.undefined:
        raise ProblemError(
            f"the {rule.noun} is not defined at sample {int(bad[0])} of {problem.samples.source}: {rule.undefined}"
        )
    if bad.size:
        raise ProblemError(
            f"{problem.network.name} overflows double precision at sample {int(bad[0])} of {problem.samples.source}: "
            "rescale the weights of the network"
        )


def stay_put(problem: WdroProblem) -> Witness:
    """The nominal distribution as a witness."""
    none = np.zeros(0, dtype=np.int64)
    return evaluate(problem, Distribution(none, np.zeros((0, problem.network.n_inputs)), np.zeros(0)))


def launch(
    problem: WdroProblem,
    *,
    device: str,
    seed: int,
    deadline: float,
    everyone: bool = False,
    among: NDArray[np.int64] | None = None,
    effort: Effort | None = None,
) -> AttackOutcome:
    """Run the attacks (this is where torch is imported); ``everyone`` and ``effort`` as in ``run_attacks``.

    ``among``, at order inf: the samples that are attacked; the others stay where they are.
    """
    from wdaverify.attacks.run import run_attacks

    if among is not None and among.size < len(problem.samples):
        return _launched_among(problem, among, device=device, seed=seed, deadline=deadline, everyone=everyone)
    twins = Twins(problem.samples)
    until = None if math.isinf(deadline) else deadline
    asked = twins.merged(problem)
    if asked.loss.rule.attacked_as:  # the points are valued by the loss itself
        asked = replace(asked, loss=Loss(asked.loss.rule.attacked_as))
    found = run_attacks(asked, device=device, seed=seed, deadline=until, effort=effort, everyone=everyone)
    return twins.fanned_out(found)


def _launched_among(
    problem: WdroProblem, among: NDArray[np.int64], *, device: str, seed: int, deadline: float, everyone: bool
) -> AttackOutcome:
    """The attacks on some samples of order inf, where nobody's move is paid for by another's, each with all of its mass."""
    samples = problem.samples
    total = float(samples.w[among].sum())
    if total > 0:
        some = replace(samples, x=samples.x[among], y=samples.y[among], w=samples.w[among] / total)
        asked = replace(problem, samples=some)
    else:  # nobody moves
        among, asked = np.arange(len(samples)), replace(problem, radius=0.0)
    found = launch(asked, device=device, seed=seed, deadline=deadline, everyone=everyone)
    proposals = {
        name: replace(d, sample=among[d.sample], mass=samples.w[among[d.sample]])
        for name, d in found.distributions.items()
    }
    return replace(found, sample=among[found.sample], distributions=proposals)


def fill_pool(problem: WdroProblem, pool: AtomPool, sample: NDArray[np.int64], point: Array) -> None:
    """Put points ``[M, n]`` of samples ``[M]`` into a pool, losses rounded down and costs rounded up.

    Where labels may move a point counts under every label, and so does every sample itself.
    """
    index = np.asarray(sample, dtype=np.int64)
    own = problem.samples.y
    if index.size:
        point = within_reach(problem, index, point)
        distance = distances_up(problem.cost, point, problem.samples.x[index], edge_of(problem))
        _offer(problem, pool, index, point, distance, own[index])
    if not problem.cost.moves_labels:
        return
    for step in range(1, problem.network.n_outputs):
        if index.size:
            _offer(problem, pool, index, point, distance, (own[index] + step) % problem.network.n_outputs)


def flip_labels(problem: WdroProblem, pool: AtomPool) -> None:
    """Put every sample under every other label into a pool."""
    own, everyone = problem.samples.y, np.arange(len(problem.samples))
    if problem.cost.moves_labels:
        for step in range(1, problem.network.n_outputs):
            other = (own + step) % problem.network.n_outputs
            _offer(problem, pool, everyone, problem.samples.x, np.zeros(everyone.size), other)


def nominal_pool(problem: WdroProblem) -> AtomPool:
    """A pool of what costs no distance: every sample as it is, and under every other label where labels may move."""
    pool = AtomPool(clean_losses(problem)[0], problem.network.n_inputs)
    flip_labels(problem, pool)
    return pool


def _offer(
    problem: WdroProblem,
    pool: AtomPool,
    sample: NDArray[np.int64],
    point: Array,
    distance: Array,
    label: NDArray[np.int64],
) -> None:
    """Offer points under labels; for order inf those within the radius cost nothing and the others are out of reach."""
    value = loss_bounds(problem, point, label)[0]
    moved = label != problem.samples.y[sample]
    if math.isfinite(problem.cost.order):
        power = problem.cost.power
        paid = float_up(Fraction(problem.cost.label_cost) ** power) if problem.cost.moves_labels else math.inf
        cost = distance if power == 1 else squares_up(distance)
        with np.errstate(over="ignore"):
            cost = np.where(moved, np.nextafter(cost + paid, np.inf), cost)
        kept = (cost > 0) & np.isfinite(value) & np.isfinite(cost)
    else:
        cost = np.zeros(distance.size)
        kept = (
            (distance <= problem.radius) & (~moved | (problem.cost.label_cost <= problem.radius)) & np.isfinite(value)
        )
    pool.add_many(sample[kept], cost[kept], value[kept], point[kept], label[kept])


def budget(problem: WdroProblem) -> float:
    """``radius^p``; 0 for order inf, whose atoms within the radius cost nothing."""
    return float(problem.radius**problem.cost.power) if math.isfinite(problem.cost.order) else 0.0


def portions(count: int, deadline: float) -> Iterator[slice]:
    """So many points in turn until the deadline (``time.monotonic``), or all at once where there is none."""
    if deadline == math.inf:
        yield slice(0, count)
        return
    for first in range(0, count, _PORTION):
        if time.monotonic() >= deadline:
            return
        yield slice(first, first + _PORTION)


@dataclass(frozen=True, eq=False)
class Valued:
    """What the attacks are worth: ``witnesses`` by name, ``mixture`` the last and never below another; ``complete`` unless time ran out."""

    witnesses: dict[str, Witness]
    complete: bool


def valued(
    problem: WdroProblem, outcome: AttackOutcome, deadline: float = math.inf, pool: AtomPool | None = None
) -> Valued:
    """What every named distribution is worth, and the best ``mixture`` of every point that the attacks visited and kept.

    What the deadline leaves no time for is left out, and is no bound; the mixture is that of what was valued until then. ``pool``
    is where its atoms are put, see ``nominal_pool``.
    """
    pool = nominal_pool(problem) if pool is None else pool
    sample, point = outcome.sample, outcome.point  # those of the named distributions among them
    complete, begun = True, time.monotonic()
    for part in portions(sample.size, deadline):
        fill_pool(problem, pool, sample[part], point[part])
        done = min(part.stop, sample.size)
        reserve = (time.monotonic() - begun) / max(done, 1) * 2 * len(problem.samples)  # for the mixture itself
        if done < sample.size and time.monotonic() + reserve >= deadline:
            complete = False
            break
    complete = complete and (sample.size == 0 or time.monotonic() < deadline)
    plan = solve_master(pool, problem.samples.w, budget(problem)).plan.distribution(problem.samples.y)
    mixture, out = evaluate(problem, plan), dict[str, Witness]()
    for name, proposal in outcome.distributions.items():
        if time.monotonic() >= deadline:
            return Valued({**out, "mixture": max((mixture, *out.values()), key=lambda w: w.lower)}, complete=False)
        out[name] = evaluate(problem, proposal)
    return Valued({**out, "mixture": max((mixture, *out.values()), key=lambda w: w.lower)}, complete)


def _cut_by(evaluations: int, effort: Effort) -> str:
    spent = effort.budget is not None and evaluations >= effort.budget
    return f"the {'budget' if spent else 'time limit'} cut the attacks short"


def attack(
    problem: WdroProblem,
    *,
    device: str = "auto",
    seed: int = 0,
    time_limit: float | None = None,
    attacks: Sequence[str] = STAGES,
    powers: Sequence[int] = POWERS,
    steps: int | None = None,
    restarts: int | None = None,
    rivals: int | None = None,
    budget: int | None = None,
) -> AttackResult:
    """Lower bounds of ``V(radius)`` by WDA(m), WDA++ and their mixture (docs/theory.md, section 10).

    Args:
        problem: the question.
        device: ``auto`` (CUDA where there is one), ``cpu`` or ``cuda``.
        seed: the attacks' random seed; the same seed on the same device gives the same points.
        time_limit: seconds of wall clock, or None; the attacks end at three fifths of it, and the rest is for valuing what they found.
        attacks, powers, steps, restarts, rivals, budget: see ``wdaverify.attacks.effort.Effort``; None is the attacks' own number.

    Raises:
        ProblemError: a device that is not there, or a time limit that is not a number >= 0.
    """
    asked = Options(time_limit=time_limit, device=device, seed=seed)
    effort = effort_of(attacks, powers, steps, restarts, rivals, budget)
    instance("problem", problem, WdroProblem, "WdroProblem(network, samples, cost, support, loss, radius) makes one")
    begun, stated = time.monotonic(), problem
    problem = in_reals(problem)
    limit = math.inf if asked.time_limit is None else asked.time_limit
    deadline, until = begun + limit, begun + FINDING_SHARE * limit
    with deciding_until(deadline):
        refuse_overflow(problem)
        outcome = launch(problem, device=asked.device, seed=asked.seed, deadline=until, effort=effort)
        worth = valued(problem, outcome, deadline)
        witnesses = worth.witnesses
        best = max((stay_put(problem), *witnesses.values()), key=lambda w: w.lower)
        nominal = nominal_bracket(problem)[0]
    values, deployed = {name: witness.lower for name, witness in witnesses.items()}, None
    if stated.arithmetic is Arithmetic.FLOAT32:
        values, best, nominal, deployed = lowered_by_errors(stated, {**witnesses, "nominal": stay_put(problem)})
    finished = outcome.finished and worth.complete
    notices = () if finished else (_cut_by(outcome.evaluations, effort),)
    for name, value in values.items():
        LOGGER.info("attack %s: %r", name, value)
    return AttackResult(
        problem=stated,
        nominal=nominal,
        attacks=values,
        transport_cost=best.transport_cost,
        atoms=said(problem, best.atoms),
        deployed=deployed,
        seconds=time.monotonic() - begun,
        spent={**outcome.spent, "mixture": time.monotonic() - begun},
        evaluations=outcome.evaluations,
        device=outcome.device,
        seed=asked.seed,
        finished=finished,
        notices=(*problem.network.notices, *effort.asked(), *effort.unused(problem.cost.order), *notices),
    )
