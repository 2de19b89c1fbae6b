"""Certificates of many values at once: every distance to an error, or V at every radius, from one set of proofs.

Distances: ``lo_i <= d_i <= hi_i`` by the proofs of sample i and an error at distance ``hi_i``. Curves of zero-one follow from these,
those of other losses from lines and distributions; in the budget ``b = r^p`` V is concave and never falls, so that

    chords of (b_j, L_j)  <=  V  <=  min over lines of lam b + D(lam),    D(lam) >= sum_i w_i phi_i(lam)

Claims stand at radii ``r_0 = 0 < ... < r_C``. An upper one holds between two radii too, on the straight line in b: a single line of
the dual lies on or under both ends. At order inf both hold from their radius up to the next.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from wdaverify.certify.certificate import CURVE, DISTANCES, Certificate
from wdaverify.certify.lower import Atoms, distance, loss_between, value_of
from wdaverify.certify.proof import MalformedProofError
from wdaverify.certify.upper import in_time
from wdaverify.certify.values import heights, nearest
from wdaverify.network.model import Array
from wdaverify.problem import WdroProblem
from wdaverify.rounding import float_down, float_up

_LINES = 2**12
"""The most lines of a curve."""


@dataclass(frozen=True, eq=False)
class Proven:
    """What was proven of each claim, ``lower, upper [C]``, and what the time was too short for, "" if nothing."""

    lower: Array
    upper: Array
    late: str


def proven(certificate: Certificate, problem: WdroProblem, deadline: float) -> Proven:
    """What a certificate of distances or of a curve proves of its claims.

    Raises:
        MalformedProofError: its claims, atoms or proofs are none.
    """
    if certificate.of == DISTANCES:
        return _distances(certificate, problem, deadline)
    if certificate.of != CURVE:
        raise MalformedProofError(f"it is of {certificate.of!r}, neither a curve nor distances")
    radii = certificate.claims[:, 0]
    ordered = radii.size and radii[0] == 0 and (np.diff(radii) > 0).all() and radii[-1] == problem.radius
    if not ordered:
        raise MalformedProofError("the radii of the curve do not lead from 0 to the largest one")
    if problem.loss.rule.by_distances:
        return _zero_one(certificate, problem, radii.tolist(), deadline)
    if not math.isfinite(problem.cost.order):
        raise MalformedProofError("a curve at order inf, of another loss than zero-one")
    lower, late = np.full(radii.size, -math.inf), ""
    try:
        lower = _chords(_witnessed(certificate, problem, deadline), radii.tolist(), problem.cost.power)
    except TimeoutError as error:
        late = str(error)
    slopes = np.unique(certificate.lines)
    if slopes.size > _LINES or not (np.isfinite(slopes).all() and (slopes >= 0).all()):
        raise MalformedProofError("the lines of the curve have slopes that are none, or are too many")
    try:
        height, later = heights(certificate, problem, slopes, deadline)
    except TimeoutError as error:
        return Proven(lower, np.full(radii.size, math.inf), late or str(error))
    lines = [(Fraction(a), Fraction(d)) for a, d in zip(slopes.tolist(), height.tolist(), strict=True) if d < math.inf]
    slope, rough = (np.array([float(line[k]) for line in lines]) for k in (0, 1))
    return Proven(lower, _least(slope, rough, lambda k: lines[k], radii.tolist(), problem.cost.power), late or later)


def _distances(certificate: Certificate, problem: WdroProblem, deadline: float) -> Proven:
    count = len(problem.samples)
    if certificate.claims.shape[0] != count or (certificate.claims[:, 0] != np.arange(count)).any():
        raise MalformedProofError("the claims are not one of each sample's distance")
    high, late = _errors(certificate, problem, deadline)
    low, later = _low(certificate, problem, deadline)
    return Proven(low, high, late or later)


def _low(certificate: Certificate, problem: WdroProblem, deadline: float) -> tuple[Array, str]:
    low, done = nearest(certificate.proofs, problem, deadline)
    count = len(certificate.proofs)
    late = f"the time limit ended the checker's replay of the proofs ({done} of {count} were replayed)"
    return low, late if done < count else ""


def _errors(certificate: Certificate, problem: WdroProblem, deadline: float) -> tuple[Array, str]:
    """The distances of the nearest errors that atoms are, ``[N]``, rounded up; inf where none is. And what the deadline ended.

    Raises:
        MalformedProofError: an atom is no error of its sample.
    """
    out, samples = np.full(len(problem.samples), math.inf), problem.samples
    try:
        for sample, _, point, label in certificate.atoms.each(problem, deadline):
            if label != samples.y[sample] or not loss_between(problem, point, label)[0]:
                raise MalformedProofError(f"an atom of sample {sample} is no error of it")
            out[sample] = min(out[sample], float_up(distance(problem.cost, point, samples.x[sample])))
    except TimeoutError as error:
        return out, str(error)
    return out, ""


def _zero_one(certificate: Certificate, problem: WdroProblem, radii: list[float], deadline: float) -> Proven:
    """The curve of distances, by the knapsack and its dual; at order inf its steps."""
    cost = problem.cost
    errors, late = _errors(certificate, problem, deadline)
    low, later = _low(certificate, problem, deadline)
    late = late or later
    used = np.flatnonzero(problem.samples.w > 0)
    low = np.minimum(low, cost.label_cost)[used]
    high = np.minimum(errors, cost.label_cost)[used]
    weights = [Fraction(w) for w in problem.samples.w[used].tolist()]
    if not math.isfinite(cost.order):
        ends = [*radii[1:], math.nextafter(radii[-1], math.inf)]
        mass = _within(weights, high, radii)
        most = _within(weights, low, [math.nextafter(end, 0.0) for end in ends])
        return Proven(np.array([float_down(m) for m in mass]), np.array([float_up(m) for m in most]), late)
    power = cost.power
    far, w = np.array(low), problem.samples.w[used]
    with np.errstate(all="ignore"):
        slope = np.unique(np.append(0.0, 1.0 / far[(far > 0) & np.isfinite(far)] ** power))
        slope = slope[np.isfinite(slope)]
        rough = np.array(
            [
                float((w * np.maximum(1.0 - np.where(np.isinf(far), np.inf, lam * far**power), 0.0)).sum())
                for lam in slope
            ]
        )
    exact = [None if math.isinf(d) else Fraction(d) ** power for d in low.tolist()]

    def line(k: int) -> tuple[Fraction, Fraction]:
        lam = Fraction(float(slope[k]))
        each = (w * (1 - lam * d) for w, d in zip(weights, exact, strict=True) if d is not None and lam * d < 1)
        return lam, sum(each, Fraction(0))

    return Proven(_bought(weights, high.tolist(), radii, power), _least(slope, rough, line, radii, power), late)


def _within(weights: list[Fraction], far: Array, radii: list[float]) -> list[Fraction]:
    """The mass that lies no farther than each of some rising radii."""
    order = np.argsort(far, kind="stable").tolist()
    out, k, mass = list[Fraction](), 0, Fraction(0)
    for radius in radii:
        while k < len(order) and far[order[k]] <= radius:
            mass += weights[order[k]]
            k += 1
        out.append(mass)
    return out


def _bought(weights: list[Fraction], high: list[float], radii: list[float], power: int) -> Array:
    """The mass that each radius moves to errors at distances ``high``, nearest first, rounded down."""
    order = sorted((k for k, d in enumerate(high) if math.isfinite(d)), key=lambda k: high[k])
    out, k, mass, spent = list[float](), 0, Fraction(0), Fraction(0)
    for radius in radii:
        budget = Fraction(radius) ** power
        while k < len(order) and spent + weights[order[k]] * Fraction(high[order[k]]) ** power <= budget:
            spent += weights[order[k]] * Fraction(high[order[k]]) ** power
            mass += weights[order[k]]
            k += 1
        part = (budget - spent) / Fraction(high[order[k]]) ** power if k < len(order) else Fraction(0)
        out.append(float_down(mass + part))
    return np.array(out)


def _witnessed(certificate: Certificate, problem: WdroProblem, deadline: float) -> dict[float, float]:
    """What distributions prove, by the radius at which each is in the ball; that of the samples at 0."""
    atoms, at, out = certificate.atoms, certificate.atom_witness, dict[float, float]()
    if at.shape != atoms.sample.shape or (
        at.size and not (at.min() >= 0 and at.max() < certificate.witness_radius.size)
    ):
        raise MalformedProofError("an atom of no distribution")
    clean, samples = list[Fraction](), problem.samples
    for x, y in zip(samples.x, samples.y.tolist(), strict=True):
        in_time(deadline, "samples")
        clean.append(loss_between(problem, x, y)[0])
    none = Atoms(atoms.sample[:0], atoms.weight[:0], atoms.point[:0], None)
    out[0.0] = value_of(none, problem, deadline, 0.0, clean)
    for k, radius in enumerate(certificate.witness_radius.tolist()):
        in_time(deadline, "distributions")
        if not 0 <= radius <= problem.radius:
            raise MalformedProofError(f"a distribution at radius {radius}")
        some = np.flatnonzero(at == k)
        label = None if atoms.label is None else atoms.label[some]
        part = Atoms(atoms.sample[some], atoms.weight[some], atoms.point[some], label)
        out[radius] = max(out.get(radius, -math.inf), value_of(part, problem, deadline, radius, clean))
    return out


def _chords(points: dict[float, float], radii: list[float], power: int) -> Array:
    """The chords of proven values at radii, rounded down; V never falls."""
    known = sorted(points)
    value = np.maximum.accumulate([points[r] for r in known]).tolist()
    out = []
    for radius in radii:
        k = int(np.searchsorted(known, radius, side="right")) - 1
        if known[k] == radius or k + 1 == len(known) or not math.isfinite(value[k]):
            out.append(value[k])
            continue
        a, b, c = (Fraction(r) ** power for r in (known[k], radius, known[k + 1]))
        low, high = Fraction(value[k]), Fraction(value[k + 1])
        out.append(float_down(low + (high - low) * (b - a) / (c - a)))
    return np.array(out)


def _least(
    slope: Array, rough: Array, line: Callable[[int], tuple[Fraction, Fraction]], radii: Sequence[float], power: int
) -> Array:
    """Upper values at radii such that between two of them one line lies on or under both; ``rough`` are heights, nearly.

    Which line is chosen in floating point: any does.
    """
    if not slope.size:
        return np.full(len(radii), math.inf)
    budget = np.array(radii) ** power
    between = 0.5 * budget[1:] + 0.5 * budget[:-1] if len(radii) > 1 else budget
    with np.errstate(all="ignore"):
        best = np.nan_to_num(slope[:, None] * between + rough[:, None], nan=math.inf).argmin(axis=0)
    upper, made = np.full(len(radii), -math.inf), dict[int, tuple[Fraction, Fraction]]()
    for k, at in enumerate(best.tolist()):
        if at not in made:
            made[at] = line(at)
        for end in {k, min(k + 1, len(radii) - 1)}:
            upper[end] = max(upper[end], float_up(made[at][0] * Fraction(radii[end]) ** power + made[at][1]))
    return upper
