"""The question about the network as deployed, in float32: brackets of real arithmetic, widened by error bounds (docs/float32.md).

With ``|computed - real| <= e_k`` of every output k on what a sample can reach (``certify.forward_error``):

    losses of slope 1 in the margins      l_32 <= l + max_(j != y) e_j + e_y        the bracket of l, widened
    a linear loss                         l_32 <= l + max_r |F_r| . e
    zero-one                              an error of the network with z_j + e_j and z_y - e_y wherever float32 has one,
                                          an error in float32 wherever the network with z_j - e_j and z_y + e_y has one

On the support, or at order inf on each sample's ball; a lower end is lowered by the errors at its atoms.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from wdaverify.arithmetic import Arithmetic
from wdaverify.certify.deployed import Errors, Ints, lowered, mean, raised
from wdaverify.certify.enclosure import margins_enclosure
from wdaverify.graph.maps import Same
from wdaverify.graph.nodes import Affine, Graph
from wdaverify.network.model import Array, ReluNetwork
from wdaverify.problem import WdroProblem
from wdaverify.rounding import float_down
from wdaverify.wdro.result import (
    Deployed,
    Reason,
    Replay,
    SampleBracket,
    SolverUse,
    Statistics,
    Status,
    VerificationResult,
    Voucher,
)
from wdaverify.wdro.worth import bought, distribution
from wdaverify.witness.evaluate import Atom, Witness, evaluate, nominal_bracket
from wdaverify.witness.outward import said
from wdaverify.witness.replay import Replay as Runtime

_FEW = 16
NOTHING = Statistics(0.0, 0.0, 0.0, 0.0, 0, 0, 0, 0, 0, 0, 1, "cpu")
"""What a run cost of which that is not known."""
ROUNDING = "in real arithmetic the question is answered to the gap; what is left is the error bound of float32"


def in_reals(problem: WdroProblem) -> WdroProblem:
    """The same question in real arithmetic."""
    return replace(problem, arithmetic=Arithmetic.REAL)


def widened(errors: Errors, found: VerificationResult, threshold: float | None) -> VerificationResult:
    """The answer to a question in float32, of the one in real arithmetic: for losses made of pieces."""
    problem, of_samples = errors.problem, errors.of_samples
    above = mean(problem.samples.w, of_samples, up=True)
    weights = [atom.weight for atom in found.atoms]
    below = mean(weights, of_atoms(errors, found.atoms), up=True)
    held = mean_of_atoms(found.atoms)
    lower, upper = lowered(min(found.lower, held), below), raised(found.upper, above)
    if problem.loss.rule.floor > -math.inf:
        lower = max(lower, problem.loss.rule.floor)
    per_sample = tuple(
        replace(b, lower=lowered(b.lower, float(e)), upper=raised(b.upper, float(e)))
        for b, e in zip(found.per_sample, of_samples, strict=True)
    )
    attacks = {name: lowered(value, above) for name, value in found.attacks.items()}
    deployed = Deployed(above, below, found.lower, found.upper, replayed(errors, found.atoms))
    out = replace(
        found, problem=problem, lower=lower, upper=upper, per_sample=per_sample, attacks=attacks, deployed=deployed
    )
    if found.certificate is not None:
        proof = replace(found.certificate, arithmetic=problem.arithmetic.value, lower=out.lower, upper=out.upper)
        out = replace(out, certificate=proof)
    return judged(out, found.status.closed, threshold)


def lowered_by_errors(
    problem: WdroProblem, witnesses: dict[str, Witness]
) -> tuple[dict[str, float], Witness, float, Deployed]:
    """What distributions are worth in float32; the best one, the value of the one named "nominal", and what was lost of the best."""
    errors, values = Errors.of(problem), dict[str, float]()
    for name, witness in witnesses.items():
        if problem.loss.rule.by_distances:
            atoms = [a for a in witness.atoms if a.weight and a.loss > 0]
            sure = surely(errors, atoms)
            total = sum((Fraction(a.weight) for a, s in zip(atoms, sure, strict=True) if s), Fraction(0))
            values[name] = float_down(total)
        else:
            below = mean([a.weight for a in witness.atoms], of_atoms(errors, witness.atoms), up=True)
            least = problem.loss.rule.floor
            values[name] = max(lowered(min(witness.lower, mean_of_atoms(witness.atoms)), below), least)
    name = max(values, key=lambda n: values[n])
    best, nominal = witnesses[name], values.pop("nominal")
    lost = max(0.0, best.lower - values.get(name, nominal))
    return values, best, nominal, Deployed(0.0, lost, best.lower, None, replayed(errors, best.atoms))


def surely(errors: Errors, atoms: Sequence[Atom]) -> list[bool]:
    """Which of the atoms are errors in float32 whatever the order of summation: some margin is no less than its own error."""
    if not atoms:
        return []
    points, labels = np.stack([a.point for a in atoms]), np.array([a.label for a in atoms], np.int64)
    bound, rows = errors.at(points), np.arange(len(atoms))
    margin = margins_enclosure(errors.problem.network, points, labels)[0]
    need = (bound + bound[rows, labels][:, None]) * (1 + 2.0**-40)
    margin[rows, labels] = -math.inf
    return np.any(margin >= need, axis=1).tolist()  # type: ignore[no-any-return]


def of_atoms(errors: Errors, atoms: Sequence[Atom]) -> Array:
    """By how much the losses of atoms may be off, ``[M]``."""
    return errors.of_points(np.stack([a.point for a in atoms]), np.array([a.label for a in atoms], np.int64))


def mean_of_atoms(atoms: Sequence[Atom]) -> float:
    """The expectation of the losses of atoms, rounded down."""
    total = sum((Fraction(a.weight) * Fraction(a.loss) for a in atoms if a.weight), Fraction(0))
    return float_down(total)


def judged(result: VerificationResult, closed: bool, threshold: float | None) -> VerificationResult:
    """A widened result with a status and a reason that fit it; ``closed``: what it was made of was."""
    result = replace(result, threshold=threshold)
    narrow = result.upper - result.lower <= result.gap_asked and closed
    status = Status.of(result.problem.network, closed=narrow)
    if result.decision in ("yes", "no"):
        reason, detail = Reason.THRESHOLD_DECIDED, "the bracket decides the threshold"
    elif narrow and result.decision is None:
        reason, detail = Reason.GAP_CLOSED, "the bracket is closed to the gap asked for"
    elif narrow:
        reason = Reason.THRESHOLD_UNDECIDED
        detail = "the bracket is closed to the gap asked for, and the threshold lies in it; a smaller gap may decide"
    elif closed:
        reason, detail = Reason.ROUNDING, ROUNDING
    else:
        reason, detail = result.reason, result.detail
    return replace(result, status=status, reason=reason, detail=detail)


def replayed(errors: Errors, atoms: Sequence[Atom]) -> Replay | None:
    """What onnxruntime makes of the atoms; None where nothing is replayed."""
    network, runtime = errors.problem.network, Runtime.of(errors.problem.network)
    if runtime.why or not atoms:
        return None
    bounds, within, farthest, tried = errors.at(np.stack([a.point for a in atoms])), 0, 0.0, 0
    for atom, bound in zip(atoms, bounds, strict=True):
        with np.errstate(over="ignore"):
            out = runtime.outputs(atom.point)
        if out is None:
            continue
        off = np.abs(out - network.forward(atom.point[None])[0])
        tried, within, farthest = tried + 1, within + bool((off <= bound).all()), max(farthest, float(off.max()))
    return Replay(runtime.runtime, tried, within, farthest)


def shifted(network: ReluNetwork, by: Array) -> ReluNetwork:
    """The network with outputs moved by ``[K]``."""
    graph = network.graph
    last = Affine((len(graph.nodes) - 1,), (Same(by.size),), by)
    return replace(network, graph=Graph((*graph.nodes, last), graph.inputs), onnx=None, file=None)


@dataclass(frozen=True, eq=False)
class Distances:
    """Brackets of the distances of all samples to the nearest error in float32, points at the upper ends, and what finding them took."""

    low: Array
    high: Array
    points: tuple[Array | None, ...]
    checked: NDArray[np.bool_]
    closed: bool
    reason: Reason


Found = tuple[Sequence[SampleBracket], Sequence[Array | None], bool, Reason]
"""Brackets of distances, points, whether the brackets are closed, and why the search ended."""
Find = Callable[[WdroProblem, float | None], Found]
"""From a question in real arithmetic and a limit in seconds."""


def sided(errors: Errors, find: Find, time_limit: float | None) -> Distances:
    """The distances by two searches a label, of the network widened and narrowed by its errors.

    Lower ends are those of the wider set of errors, and upper ends those of the narrower one, in real arithmetic both. Of samples whose
    errors have no bound, which have no weight (``Errors.check``), nothing is asked.
    """
    problem, samples = errors.problem, errors.problem.samples
    count = len(samples)
    low, high, checked = np.zeros(count), np.full(count, math.inf), np.ones(count, np.bool_)
    points: list[Array | None] = [None] * count
    closed, reason, begun = True, Reason.GAP_CLOSED, time.monotonic()
    known = np.isfinite(errors.reached).all(axis=1)
    labels = np.unique(samples.y[known])
    for k, label in enumerate(labels.tolist()):
        at = np.flatnonzero(known & (samples.y == label))
        most = errors.reached[at].max(axis=0)
        sign = np.where(np.arange(most.size) == label, -1.0, 1.0)
        for turn in (1.0, -1.0):
            left = None
            if time_limit is not None:
                over = 2 * (labels.size - k) - (turn < 0)
                left = max(time_limit - (time.monotonic() - begun), 0.0) / over
            brackets, found, done, why = find(_of_label(problem, at, turn * sign * most), left)
            closed, reason = closed and done, reason if done or reason is not Reason.GAP_CLOSED else why
            for i, bracket, point in zip(at.tolist(), brackets, found, strict=True):
                if turn > 0:
                    low[i], checked[i] = bracket.lower, bracket.vouched is not Voucher.SOLVER
                else:
                    high[i], points[i] = bracket.upper, point
            if why is Reason.INTERRUPTED:
                find = _nothing
    if not math.isfinite(problem.cost.order):  # a lower end at order inf says that the distance is more
        low = np.where((low >= problem.radius) & (low > 0), math.inf, low)
    return Distances(low, high, tuple(points), checked, closed, reason)


def _here(errors: Errors) -> Distances:
    """What is or may be an error at the samples themselves: at radius 0 nothing else matters."""
    samples = errors.problem.samples
    lower, upper = margins_enclosure(errors.problem.network, samples.x, samples.y)
    rows, bound = np.arange(len(samples)), errors.at(samples.x)
    need = (bound + bound[rows, samples.y][:, None]) * (1 + 2.0**-40)
    lower[rows, samples.y] = upper[rows, samples.y] = -math.inf
    need[rows, samples.y] = 0.0
    may, sure = np.max(upper + need, axis=1) >= 0, np.max(lower - need, axis=1) >= 0
    low, high = np.where(may, 0.0, math.inf), np.where(sure, 0.0, math.inf)
    points = tuple(x if s else None for x, s in zip(samples.x, sure, strict=True))
    return Distances(low, high, points, np.ones(len(samples), np.bool_), True, Reason.GAP_CLOSED)


def _nothing(question: WdroProblem, time_limit: float | None) -> Found:
    """What is found of a question after an interrupt."""
    ends = [SampleBracket(i, float(w), 0.0, math.inf, Voucher.CHECKED) for i, w in enumerate(question.samples.w)]
    return ends, [None] * len(ends), False, Reason.INTERRUPTED


def _of_label(problem: WdroProblem, at: Ints, by: Array) -> WdroProblem:
    """The question about some samples, with outputs moved."""
    samples = problem.samples
    some = replace(samples, x=samples.x[at], y=samples.y[at], w=np.full(at.size, 1 / at.size))
    return replace(in_reals(problem), network=shifted(problem.network, by), samples=some)


def by_distances(
    errors: Errors, find: Find, time_limit: float | None, base: VerificationResult, threshold: float | None
) -> VerificationResult:
    """The share that float32 can be made to get wrong: knapsacks on both ends of the distances; ``base`` has the rest of the result."""
    problem = errors.problem
    found = sided(errors, find, time_limit) if problem.radius > 0 else _here(errors)
    upper, plan = bought(problem, found.low, upper=True), bought(problem, found.high, upper=False)
    sure = (found.high <= 0).astype(np.float64)  # an error in reals may be none in float32: its mass is to move then
    witness = evaluate(in_reals(problem), distribution(problem, plan, found.high, found.points), sure)
    ends = zip(problem.samples.w, np.minimum(found.low, found.high), found.high, found.checked, strict=True)
    per_sample = tuple(
        SampleBracket(i, float(w), float(a), float(b), Voucher.CHECKED if own else Voucher.SOLVER)
        for i, (w, a, b, own) in enumerate(ends)
    )
    atoms, widest = said(in_reals(problem), witness.atoms), float(errors.of_samples[problem.samples.w > 0].max())
    out = replace(
        base,
        problem=problem,
        lower=plan.value,
        upper=upper.value,
        nominal=nominal_bracket(in_reals(problem))[0],
        multiplier=upper.multiplier,
        transport_cost=witness.transport_cost,
        atoms=atoms,
        attacks={},
        per_sample=per_sample,
        vouched_upper=Voucher.CHECKED if found.checked.all() else Voucher.SOLVER,
        reason=found.reason,
        detail="",
        deployed=Deployed(widest, widest, None, None, replayed(errors, atoms)),
    )
    return judged(out, found.closed, threshold)


def together(parts: Sequence[Statistics], seconds: float) -> Statistics:
    """What several runs cost between them."""
    added = (
        "attack_seconds",
        "screen_seconds",
        "solve_seconds",
        "rounds",
        "solves",
        "nodes",
        "samples_solved",
        "rivals_screened",
    )
    sums = {name: sum(getattr(part, name) for part in parts) for name in added}
    return replace(parts[0], seconds=seconds, **sums)


def used(uses: Sequence[SolverUse]) -> SolverUse:
    """Who solved in several runs, the last one's words."""
    solves: Counter[str] = Counter()
    for use in uses:
        solves.update(use.solves)
    return replace(uses[-1], solves=dict(solves))


def jobs_of_some(samples: int, jobs: int | None) -> int | None:
    """How many processes a run about few samples has: starting them takes longer than such a run."""
    return None if jobs is None or samples <= _FEW else jobs
