"""Errors that are errors where they are used: in float32 too, within what the gap asked for leaves (``witness.outward``).

The search is over by then, and its bracket stands: points a little farther take the place of the nearest errors only if the
bracket, with what they prove instead, keeps within the gap; one that was open anyway is widened by at most the gap.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from wdaverify.network.model import Array
from wdaverify.problem import WdroProblem
from wdaverify.wdro.result import Reason, SampleBracket
from wdaverify.wdro.run import Run
from wdaverify.wdro.worth import bought
from wdaverify.wdro.zero_one import ZeroOneSearch
from wdaverify.witness.evaluate import Atom, Witness
from wdaverify.witness.outward import Errors, outward, portion, said
from wdaverify.witness.single import Flip

_OVERTIME = 0.01
"""The share of a time limit that this may take where the search has left none."""
_MORE = 4
"""How many even shares of what the gap leaves an atom may take; those that float32 does not reproduce are served first."""


def nearest_reproduced(
    run: Run, brackets: Sequence[SampleBracket], points: Sequence[Array | None], reason: Reason
) -> tuple[tuple[SampleBracket, ...], tuple[Array | None, ...], Reason]:
    """Brackets of distances and nearest errors, each replaced by one a little farther where that helps; its distance is the upper end."""
    gap, asked = run.options.gap, list[tuple[int, Array, float]]()
    for i, (bracket, point) in enumerate(zip(brackets, points, strict=True)):
        if point is not None and 0 < bracket.upper < math.inf:
            asked.append((i, point, (bracket.lower if _closed(bracket, gap) else bracket.upper) + gap))
    found, reason = _found(run, asked, reason)
    narrowed, there = list(brackets), list(points)
    for i, (point, distance) in found.items():
        bracket = replace(brackets[i], lower=min(brackets[i].lower, distance), upper=distance)
        if _closed(bracket, gap) or not _closed(brackets[i], gap):
            narrowed[i], there[i] = bracket, point
    return tuple(narrowed), tuple(there), reason


def _closed(bracket: SampleBracket, gap: float) -> bool:
    return bracket.upper - bracket.lower <= gap


def witness_reproduced(run: Run, search: ZeroOneSearch, reason: Reason) -> tuple[Witness, Reason]:
    """The search's witness, with errors a little farther in the place of its atoms as far as the gap of the bracket pays for them."""
    problem, witness = run.problem, search.witness
    atoms = {atom.sample: atom for atom in witness.atoms if atom.distance > 0 and atom.loss > 0}
    spare = _spare(run, witness.lower, witness.lower)
    if not atoms or spare < 0:
        return witness, reason
    multiplier = bought(problem, search.high, upper=False).multiplier
    room = spare / multiplier if multiplier > 0 else _paid(problem, problem.radius)
    share = _MORE * room / math.fsum(atom.weight for atom in atoms.values())
    found, reason = _found(run, [(i, atom.point, _end(problem, atom, share)) for i, atom in atoms.items()], reason)
    better = _affordable(problem, {i: atoms[i] for i in found}, found, room)
    while better:
        other = search.with_errors({i: found[i] for i in better})
        if _spare(run, other.lower, witness.lower) >= 0:
            return other, reason
        better = better[: len(better) // 2]
    return witness, reason


def _affordable(problem: WdroProblem, atoms: dict[int, Atom], found: Errors, room: float) -> list[int]:
    """The samples whose farther errors together cost no more than ``room``, most wanted first."""
    flip = {atom.sample: atom.float32 for atom in said(problem, tuple(atoms.values()))}
    cost = {i: a.weight * (_paid(problem, found[i][1]) - _paid(problem, a.distance)) for i, a in atoms.items()}
    out, spent = list[int](), 0.0
    for i in sorted(atoms, key=lambda i: (flip[i] in (Flip.ANY_ORDER, Flip.ORDERS_TRIED), cost[i])):
        if spent + cost[i] <= room:
            out.append(i)
            spent += cost[i]
    return out


def _spare(run: Run, lower: float, before: float) -> float:
    """By how much a lower bound may still fall that was ``before``: a closed bracket stays closed, a decided threshold decided."""
    gap, threshold = run.options.gap, run.options.threshold
    spare = gap - (run.upper - lower) if run.upper - before <= gap else gap - (before - lower)
    if threshold is None or before <= threshold:
        return spare
    return min(spare, lower - threshold) if lower > threshold else -math.inf


def _paid(problem: WdroProblem, distance: float) -> float:
    """What a unit of mass costs there; nothing at order inf, within the radius."""
    return float(distance**problem.cost.power) if math.isfinite(problem.cost.order) else 0.0


def _end(problem: WdroProblem, atom: Atom, share: float) -> float:
    """How far an atom's mass may go for ``share`` more a unit."""
    if not math.isfinite(problem.cost.order):
        return problem.radius
    return float((_paid(problem, atom.distance) + share) ** (1 / problem.cost.power))


def _found(run: Run, asked: Sequence[tuple[int, Array, float]], reason: Reason) -> tuple[Errors, Reason]:
    """Farther errors of samples from a point, no farther than so much, until the time is over or someone interrupts."""
    found, limit = Errors(), run.options.time_limit
    until = math.inf if limit is None else max(run.deadline, time.monotonic() + _OVERTIME * limit)
    size = portion(run.problem)
    try:
        for first in range(0, 0 if reason is Reason.INTERRUPTED else len(asked), size):
            if time.monotonic() >= until:
                break
            sample, point, farthest = zip(*asked[first : first + size], strict=True)
            found |= outward(run.problem, np.array(sample, np.int64), np.stack(point), np.array(farthest))
    except KeyboardInterrupt:
        reason = Reason.INTERRUPTED
    return found, reason
