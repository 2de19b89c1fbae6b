"""The checker: which bracket of V a certificate proves, whatever wrote it (docs/certificate.md).

sum of mass * loss over the atoms  <=  V(radius)  <=  lam radius^p + sum_i w_i max_j U_ij        (margin)
                                                  <=  the fractional knapsack on d_i >= lo_i      (zero-one)
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from wdaverify.certify.certificate import Certificate, checked
from wdaverify.certify.exact import exact_dot, exact_error, margin_between
from wdaverify.certify.proof import MalformedProofError, Proof, Tree
from wdaverify.certify.upper import distance_bounds, farthest, in_time, margin_bounds
from wdaverify.digits import down_to, stated, up_to
from wdaverify.given import instance, real
from wdaverify.losses.registry import in_words, those
from wdaverify.network.model import Array
from wdaverify.problem import Norm, WdroProblem
from wdaverify.rounding import float_down, float_up

_TOLERANCE = 1e-6
"""By how much, relative to max(1, |V|), the proven bracket may be wider than the one claimed."""


@dataclass(frozen=True)
class Verdict:
    """``lower <= V <= upper`` is what was proven; ``proved`` if that confirms the claimed bracket.

    If it does not, ``reasons`` say what is wrong with the certificate, and ``unproven`` what the time was too short for.
    """

    proved: bool
    lower: float
    upper: float
    claimed_lower: float
    claimed_upper: float
    reasons: tuple[str, ...]
    unproven: tuple[str, ...] = ()


def recheck(certificate: Certificate, problem: WdroProblem, deadline: float = math.inf) -> Verdict:
    """Prove or reject a certificate for a problem that was read anew from the network's and the samples' files.

    The deadline (``time.monotonic``) ends the replay; what was replayed until then is proven, and nothing is held against the rest.
    """
    checked(certificate)
    instance("problem", problem, WdroProblem, "WdroProblem(network, samples, cost, support, loss, radius) makes one")
    deadline = real("deadline", deadline, "a time, as time.monotonic() gives it", lambda _: True)
    lower, upper, reasons = -math.inf, math.inf, _mismatches(certificate, problem) or _beyond(problem)
    unproven: list[str] = []
    if not reasons:
        late = {"lower": "", "upper": ""}
        try:
            lower = _lower(certificate, problem, deadline)
        except TimeoutError as error:
            late["lower"] = str(error)
        except MalformedProofError as error:
            reasons.append(str(error))
        try:
            upper, late["upper"] = _upper(certificate, problem, deadline)
        except TimeoutError as error:
            late["upper"] = str(error)
        except MalformedProofError as error:
            if certificate.upper < math.inf:  # else nothing is claimed
                reasons.append(str(error))
        if not upper <= certificate.upper + _TOLERANCE * max(1.0, abs(certificate.upper)):
            (unproven if late["upper"] else reasons).append(_short("upper", certificate.upper, upper, late["upper"]))
        if not lower >= certificate.lower - _TOLERANCE * max(1.0, abs(certificate.lower)):
            (unproven if late["lower"] else reasons).append(_short("lower", certificate.lower, lower, late["lower"]))
    proved = not reasons and not unproven
    return Verdict(proved, lower, upper, certificate.lower, certificate.upper, tuple(reasons), tuple(unproven))


def _short(side: str, claimed: float, proven: float, late: str) -> str:
    """What is said of a side that falls short of its claim."""
    shown = (up_to if side == "upper" else down_to)(proven, 12)
    said = f"the {side} bound {stated(claimed)} is claimed, {shown} is proven"
    return f"{late}: {said}" if late else said


def recheck_upper(certificate: Certificate, problem: WdroProblem, deadline: float = math.inf) -> Verdict:
    """As ``recheck``, of the upper side alone: atoms are not looked at, and nothing is said from below."""
    upper, late, reasons = math.inf, "", _mismatches(certificate, problem) or _beyond(problem)
    unproven: list[str] = []
    if not reasons:
        try:
            upper, late = _upper(certificate, problem, deadline)
        except TimeoutError as error:
            late = str(error)
        except MalformedProofError as error:
            reasons.append(str(error))
        if not reasons and not upper <= certificate.upper + _TOLERANCE * max(1.0, abs(certificate.upper)):
            (unproven if late else reasons).append(_short("upper", certificate.upper, upper, late))
    proved = not reasons and not unproven
    return Verdict(proved, -math.inf, upper, -math.inf, certificate.upper, tuple(reasons), tuple(unproven))


def _beyond(problem: WdroProblem) -> list[str]:
    """What keeps a problem from being one that is checked here."""
    if problem.cost.plain and problem.support.plain and problem.loss.rule.certified:
        return []
    losses = in_words(those(lambda rule: rule.certified), "or")
    return [f"the problem is beyond what a certificate proves: order 1, l-inf or l1, {losses} on a box"]


def _mismatches(certificate: Certificate, problem: WdroProblem) -> list[str]:
    """What keeps the certificate from speaking of the problem at all."""
    samples, support = problem.samples, problem.support
    pairs = {
        "network": (certificate.network_sha256, problem.network.sha256),
        "specification": (
            certificate.specification_sha256,
            None if problem.specification is None else problem.specification.sha256,
        ),
        "samples": (certificate.samples_sha256, samples.sha256),
        "number of samples": (certificate.count, len(samples)),
        "radius": (certificate.radius, problem.radius),
        "order": (certificate.order, problem.cost.order),
        "norm": (certificate.norm, problem.cost.norm.value),
        "loss": (certificate.loss, problem.loss.value),
        "number of neurons": (certificate.neurons, problem.network.canonical.neurons),
    }
    out = [
        f"the {name} differs: {claimed} in the certificate, {found} here"
        for name, (claimed, found) in pairs.items()
        if claimed != found
    ]
    low, high = certificate.support_lower, certificate.support_upper
    if not (np.array_equal(low, support.lower) and np.array_equal(high, support.upper)):
        out.append("the support differs")
    if not (math.isfinite(certificate.multiplier) and certificate.multiplier >= 0):
        out.append(f"the multiplier {certificate.multiplier} is no finite number >= 0")
    return out


def _lower(certificate: Certificate, problem: WdroProblem, deadline: float) -> float:
    """The value of the atoms' distribution, in rationals, rounded down once.

    Raises:
        MalformedProofError: it is no distribution in the ball.
        TimeoutError: the deadline has passed.
    """
    samples, support = problem.samples, problem.support
    mass: defaultdict[int, Fraction] = defaultdict(Fraction)
    cost, value = Fraction(0), Fraction(0)
    for at, point in enumerate(certificate.atom_point):  # one by one: there may be as many as the file holds
        in_time(deadline, "atoms")
        sample, weight = int(certificate.atom_sample[at]), float(certificate.atom_weight[at])
        if not 0 <= sample < len(samples):
            raise MalformedProofError(f"an atom of sample {sample}, which does not exist")
        if not (math.isfinite(weight) and weight > 0):
            raise MalformedProofError(f"an atom of sample {sample} has weight {weight}")
        if not ((point >= support.lower) & (point <= support.upper)).all():
            raise MalformedProofError(f"an atom of sample {sample} lies outside the support")
        mass[sample] += Fraction(weight)
        cost += Fraction(weight) * _distance(problem, point, samples.x[sample]) ** problem.cost.power
        value += Fraction(weight) * _loss(problem, point, int(samples.y[sample]))[0]
    for i, weight in enumerate(samples.w.tolist()):
        if mass[i] != Fraction(weight):
            raise MalformedProofError(f"the atoms of sample {i} weigh {float(mass[i])!r}, not {weight!r}")
    if cost > Fraction(problem.radius) ** problem.cost.power:
        raise MalformedProofError(f"the atoms cost {float(cost)!r}, more than radius^p")
    return float_down(value)


def _distance(problem: WdroProblem, x: Array, centre: Array) -> Fraction:
    moved = [abs(Fraction(a) - Fraction(b)) for a, b in zip(x.tolist(), centre.tolist(), strict=True) if a != b]
    return max(moved, default=Fraction(0)) if problem.cost.norm is Norm.INF else sum(moved, Fraction(0))


def _loss(problem: WdroProblem, x: Array, label: int) -> tuple[Fraction, Fraction]:
    """Bounds of the loss, equal wherever rationals are short."""
    if problem.loss.rule.by_distances:
        return (Fraction(int(exact_error(problem.network, x, label))),) * 2
    return margin_between(problem.network, x, label)


def _upper(certificate: Certificate, problem: WdroProblem, deadline: float) -> tuple[float, str]:
    """The proven upper bound, rounded up, and what the deadline ended, "" if nothing.

    Raises:
        MalformedProofError: a proof is no proof.
        TimeoutError: the deadline left no bound.
    """
    if problem.radius == 0:
        samples, losses = problem.samples, list[Fraction]()
        for x, y in zip(samples.x, samples.y, strict=True):
            in_time(deadline, "samples")
            losses.append(_loss(problem, x, int(y))[1])
        return float_up(
            sum((Fraction(w) * v for w, v in zip(samples.w.tolist(), losses, strict=True)), Fraction(0))
        ), ""
    bound = _knapsack if problem.loss.rule.by_distances else _dual
    upper, done = bound(certificate, problem, deadline)
    count = len(certificate.proofs)
    late = f"the time limit ended the checker's replay of the proofs ({done} of {count} were replayed)"
    return upper, late if done < count else ""


def _dual(certificate: Certificate, problem: WdroProblem, deadline: float) -> tuple[float, int]:
    """``lam radius^p + sum_i w_i max_j U_ij``, and how many proofs were replayed.

    What there was no time to replay is bounded by the largest margin of its label and rival on the support.
    """
    lam, proofs, samples = certificate.multiplier, certificate.proofs, problem.samples
    items: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
    for k, proof in enumerate(proofs):
        items[proof.sample, proof.rival].append(k)
    used = np.flatnonzero(samples.w > 0).tolist()
    asked = [(i, j) for i in used for j in range(problem.network.n_outputs) if j != samples.y[i]]
    for i, j in asked:
        if (i, j) not in items:
            raise MalformedProofError(f"there is no proof for sample {i}, rival {j}")
    anywhere = {} if deadline == math.inf else _anywhere(problem, used, deadline)
    here, done = margin_bounds(problem, proofs, np.full(len(proofs), lam), deadline)
    own = np.array([proof.multiplier for proof in proofs])
    elsewhere = np.flatnonzero(own != lam)
    there = here.copy()
    there[elsewhere], again = margin_bounds(problem, [proofs[k] for k in elsewhere], own[elsewhere], deadline)
    if again < elsewhere.size:  # replayed at one of its two multipliers
        done = min(done, int(elsewhere[again]))
    best, reach = np.full(len(samples), -math.inf), farthest(problem)
    for i, j in asked:
        found = items[i, j]
        bound = min(float(here[k]) for k in found)
        known = [(float(own[k]), float(there[k])) for k in found]
        bound = min(bound, _beside(known, lam, float(reach[i])), _chord(known, lam))
        if max(found) >= done:
            bound = min(bound, anywhere.get((int(samples.y[i]), j), math.inf))
        best[i] = max(best[i], bound)
    if not (best[used] < math.inf).all():
        return math.inf, done
    if not np.isfinite(best[used]).all():
        raise MalformedProofError("a proof claims that no point of the support exists")
    spent = Fraction(lam) * Fraction(problem.radius) ** problem.cost.power
    return float_up(spent + exact_dot(samples.w[used].tolist(), best[used].tolist())), done


def _anywhere(problem: WdroProblem, used: list[int], deadline: float) -> dict[tuple[int, int], float]:
    """Upper bounds of ``z_j - z_y`` on the whole support by label and rival, as far as there is time."""
    label, rivals = problem.samples.y, range(problem.network.n_outputs)
    first = {int(label[i]): i for i in reversed(used)}
    pairs = [(y, j) for y in first for j in rivals if j != y]
    reach, neurons = farthest(problem), problem.network.canonical.neurons
    trees = {y: (Tree.bare(0.0, float(reach[i]), neurons),) for y, i in first.items()}
    bare = [Proof(first[y], j, 0.0, trees[y]) for y, j in pairs]
    return dict(zip(pairs, margin_bounds(problem, bare, np.zeros(len(bare)), deadline)[0].tolist(), strict=True))


def _beside(points: list[tuple[float, float]], lam: float, reach: float) -> float:
    """What the best proven value of a function with slopes in ``[-reach, 0]`` says at ``lam``; inf without any."""
    best = math.inf
    for at, value in points:
        if at > lam and math.isfinite(value):
            value = float_up(Fraction(value) + (Fraction(at) - Fraction(lam)) * Fraction(reach))
        best = min(best, value)
    return best


def _chord(points: list[tuple[float, float]], lam: float) -> float:
    """The best chord of a convex function through two proven values on both sides of ``lam``; inf without any."""
    best = math.inf
    for a, low in points:
        for b, high in points:
            if a < lam < b and math.isfinite(low) and math.isfinite(high):
                share = (Fraction(lam) - Fraction(a)) / (Fraction(b) - Fraction(a))
                best = min(best, float_up((1 - share) * Fraction(low) + share * Fraction(high)))
    return best


def _knapsack(certificate: Certificate, problem: WdroProblem, deadline: float) -> tuple[float, int]:
    """The most mass that the radius moves to distance at least ``lo_i``: nearest samples first, the last one in part.

    And how many proofs were replayed; what there was no time to replay is at distance 0.
    """
    samples, classes = problem.samples, problem.network.n_outputs
    values, done = distance_bounds(problem, certificate.proofs, deadline)
    known = np.zeros((len(samples), classes))
    known[np.arange(len(samples)), samples.y] = math.inf
    for proof, value in zip(certificate.proofs, values.tolist(), strict=True):
        known[proof.sample, proof.rival] = max(known[proof.sample, proof.rival], value)
    nearest = known.min(axis=1)
    left, moved = Fraction(problem.radius) ** problem.cost.power, Fraction(0)
    for i in np.argsort(nearest, kind="stable").tolist():
        weight = Fraction(float(samples.w[i]))
        if math.isinf(nearest[i]) or not weight:
            continue
        price = weight * Fraction(float(nearest[i])) ** problem.cost.power
        share = Fraction(1) if price <= left else left / price
        moved, left = moved + share * weight, left - share * price
    return float_up(min(moved, sum((Fraction(w) for w in samples.w.tolist()), Fraction(0)))), done
