"""All attacks on a problem: WDA(m), WDA++, and the pool of points for the mixture (docs/theory.md, section 10).

Every iterate of every attack goes to the pool (see ``pool``). After the named attacks every rival of every sample is
ascended in balls whose radii run geometrically from below ``eps`` to the largest distance in the support (order inf: to
eps); then the pool is refined where the master will look (see ``polish``). For the zero-one loss nothing counts but the
nearest crossing: where one is known the balls end there, and the refinement leaves out what is too far for the budget. Rows
and integers of the support are met at the end alone (see ``repair``), so that a named distribution may then cost more than
the budget. What is found is a proposal: distances and losses are evaluated again elsewhere.
"""

from __future__ import annotations

import math
import time
from contextlib import nullcontext

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wdaverify.attacks import approach, ensemble, polish, wda, wda_pp
from wdaverify.attacks.ascent import Arena, Asked, Clock, Schedule
from wdaverify.attacks.corners import integer_corners
from wdaverify.attacks.effort import Effort
from wdaverify.attacks.outcome import AttackOutcome
from wdaverify.attacks.recast import Recast
from wdaverify.attacks.torch_network import pick_device
from wdaverify.engines.threads import one_thread
from wdaverify.ground import LARGEST
from wdaverify.network.model import Array
from wdaverify.problem import WdroProblem
from wdaverify.transport.distribution import Distribution

SWEEPS = 2
RADII = 12
CLOSER = (0.125, 0.25, 0.5, 1.0)
"""The radii of the sweep where a crossing is known, relative to its distance, at order inf to 2 eps at most (zero-one)."""
SWEEP = Schedule(steps=15, first=0.5, last=0.02)


def run_attacks(
    problem: WdroProblem,
    *,
    device: str = "auto",
    seed: int = 0,
    deadline: float | None = None,
    effort: Effort | None = None,
    everyone: bool = False,
) -> AttackOutcome:
    """Attack ``problem`` on ``device`` until done, or until ``time.monotonic()`` reaches ``deadline``.

    Of the sweeps that ``effort`` asks for the first starts at the samples, the others, of each sample's leading rivals alone, at
    random points of the balls. ``everyone`` (zero-one) also looks for nearer
    crossings of samples that the budget does not reach. Points lie inside the support exactly. The same seed on the same
    device gives the same outcome, unless the deadline cuts it. On the CPU one thread is used.
    """
    started = time.monotonic()
    effort = Effort() if effort is None else effort
    where = pick_device(device)
    named = named_attacks(problem, effort)
    nothing = _no_moves(problem)
    if problem.radius == 0:
        idle: dict[str, Distribution] = dict.fromkeys(named, nothing)
        none = dict.fromkeys(idle, 0.0)
        return AttackOutcome(idle, nothing.sample, nothing.point, 0, time.monotonic() - started, none, where.type, True)
    clock = Clock(deadline, effort.budget)
    quiet = np.errstate(over="ignore", invalid="ignore", divide="ignore")  # what overflows is no point, and is left out
    with torch.inference_mode(), one_thread() if where.type == "cpu" else nullcontext(), quiet:
        arena, recast = Arena.build(problem, where, clock, effort, everyone=everyone), Recast.of(problem)
        found, spent = explored(arena, named, seed)
        found = {name: _brought_back(recast, d) for name, d in found.items()}
        sample, point = _collected(arena, recast, list(found.values()))
        if problem.loss.rule.by_distances:
            whole = integer_corners(problem, clock)
            sample, point = np.concatenate([sample, whole[0]]), np.concatenate([point, whole[1]])
    seconds = time.monotonic() - started
    return AttackOutcome(found, sample, point, arena.network.evaluations, seconds, spent, where.type, not clock.cut)


def named_attacks(problem: Asked, effort: Effort) -> dict[str, int]:
    """The named attacks and their m (0 for WDA++), in the order of the tables."""
    powers = (1,) if math.isinf(problem.cost.order) else effort.powers
    out = {f"WDA({m})": m for m in powers} if effort.runs("wda") else {}
    return {**out, "WDA++": 0} if effort.runs("wda++") else out


def explored(arena: Arena, named: dict[str, int], seed: int) -> tuple[dict[str, Distribution], dict[str, float]]:
    """Run the attacks, the most useful first, and fill the pool: the named distributions and their seconds.

    For zero-one that is what looks for crossings; WDA(m) asks for much more than a crossing, and comes last.
    """
    found, spent = dict[str, Distribution](), {**dict.fromkeys(named, 0.0), "WDA++": 0.0}
    crossings, flips = arena.problem.loss.rule.by_distances, wda_pp.Flips.none(arena)

    def walk(*paces: float) -> None:
        begun = time.monotonic()
        for pace in paces if "WDA++" in named else ():
            flips.walk(arena, pace)
            found["WDA++"] = flips.bought(arena)
        spent["WDA++"] += time.monotonic() - begun

    def climb() -> None:
        for name, m in named.items():
            if m:
                begun = time.monotonic()
                found[name] = wda.attack(arena, m)
                spent[name] = time.monotonic() - begun

    generator = torch.Generator(device=arena.centre.device).manual_seed(seed)
    ensembles = crossings and arena.effort.runs("ensemble")
    if crossings:
        if ensembles:
            approach.approach(arena)
        walk(wda_pp.PACES[0])
        if ensembles:
            (ensemble.break_down if arena.capped else ensemble.draw_near)(arena, generator)
        walk(*wda_pp.PACES[1:])
    else:
        climb()
        walk(*wda_pp.PACES)
    if arena.effort.runs("ensemble") and not crossings:
        ensemble.climb(arena, generator)
    if arena.effort.runs("sweep") and not (arena.capped and ensembles):
        _sweep(arena, seed, arena.effort.restarts or SWEEPS)
    if arena.effort.runs("polish"):
        _polish(arena, seed)
    if crossings:
        climb()
    return {name: found[name] for name in named}, {name: spent[name] for name in named}


def _polish(arena: Arena, seed: int) -> None:
    """Refine the pool."""
    if not arena.problem.loss.rule.by_distances:
        polish.refine_envelopes(arena, seed)
        return
    polish.refine_crossings(arena)
    polish.borrow_crossings(arena)


def _no_moves(problem: WdroProblem) -> Distribution:
    return Distribution(np.zeros(0, dtype=np.int64), np.zeros((0, problem.network.n_inputs)), np.zeros(0))


def _radii(arena: Arena) -> Tensor:
    """The sweep's radii ``[R, N]``, geometric: from eps / 4 (at most 1/16 of the largest) to the largest distance there is.

    That is one distance for all samples of a box; on the whole space every sample has its own.
    """
    tiny = float(np.finfo(np.float64).tiny)
    largest = np.minimum(arena.reach.cpu().numpy(), LARGEST)
    if arena.problem.support.bounded:
        largest = np.full_like(largest, largest.max())
    if arena.capped:
        largest = np.minimum(largest, arena.radius)
    if largest.max() == 0:
        return arena.reach.new_zeros((0, largest.size))
    least = np.minimum(arena.radius / 4, largest / 16)
    least = np.maximum(np.maximum(least, 1e-9 * largest), tiny)
    return arena.reach.new_tensor(np.geomspace(least, np.maximum(largest, tiny), RADII))


def _sweep(arena: Arena, seed: int, restarts: int) -> None:
    """Ascend the margin to every rival of every sample at every radius, then to the leading ones ``restarts - 1`` times more."""
    generator = torch.Generator(device=arena.centre.device).manual_seed(seed)
    far = _radii(arena)
    if far.numel() == 0:
        return
    for k in range(restarts):
        if arena.clock.over():
            return
        groups = polish.leading(arena) if k else torch.arange(arena.clean.numel(), device=arena.centre.device)
        sample = groups // arena.rivals
        if not arena.problem.loss.rule.by_distances:
            _sweep_groups(arena, groups, far, generator, k)
            continue
        nearest = arena.nearest()
        known = torch.isfinite(nearest)
        wanted = known & (nearest > arena.enough)
        end = nearest.clamp(max=2 * arena.radius) if arena.capped else nearest
        closer = end * end.new_tensor(CLOSER).unsqueeze(1)
        _sweep_groups(arena, groups[wanted[sample]], closer, generator, k)
        _sweep_groups(arena, groups[~known[sample]], far, generator, k)


def _sweep_groups(arena: Arena, groups: Tensor, radii: Tensor, generator: torch.Generator, k: int) -> None:
    """Sweep ``k`` of groups ``[P]`` at their samples' ``radii [R, N]``."""
    for part in arena.batches(groups.shape[0], radii.shape[0]):
        if arena.clock.over():
            return
        group = groups[part]
        radius = radii[:, group // arena.rivals].t().contiguous()
        start = None
        if k:
            centre = arena.centre[group // arena.rivals].repeat_interleave(radius.shape[1], dim=0)
            start = arena.random_points(centre, radius.reshape(-1), generator)
        smooth = k % 2 == 1 and arena.problem.cost.order != 1  # see polish
        arena.ascend(group, radius, start, SWEEP, smooth=smooth)


def _brought_back(recast: Recast, found: Distribution) -> Distribution:
    """A named distribution without the moves that did not find back into the support."""
    point, good = recast.back(found.sample, found.point)
    return Distribution(found.sample[good], point[good], found.mass[good])


def _collected(arena: Arena, recast: Recast, found: list[Distribution]) -> tuple[NDArray[np.int64], Array]:
    """The pool's points, those that the master is most likely to use first, then those of the named distributions.

    So the mixture is never worse than any of them, and little worse where there is no time for all.
    """
    sample, point = ranked(arena)
    points, good = recast.back(sample, point)
    samples = np.concatenate([sample[good], *(d.sample for d in found)]).astype(np.int64)
    return samples, np.concatenate([points[good], *(d.point for d in found)])


def ranked(arena: Arena) -> tuple[NDArray[np.int64], Array]:
    """Samples ``[M]`` and points ``[M, n]`` of the pool, those that the master is most likely to use first."""
    group, point, regret = arena.pool.vertices(polish.master_multiplier(arena))
    sample = torch.div(group, arena.rivals, rounding_mode="floor")
    least = torch.full_like(arena.reach, torch.inf).scatter_reduce(0, sample, regret, "amin")
    first = (regret - least[sample]).argsort(stable=True)
    return sample[first].cpu().numpy(), point[first].cpu().numpy()
