"""The checker: which bracket of V a certificate proves, whatever wrote it (docs/certificate.md).

sum of mass * loss over the atoms  <=  V(radius)  <=  lam radius^p + sum_i w_i max_k U_ik        (losses made of pieces)
                                                  <=  the fractional knapsack on d_i >= lo_i      (zero-one)
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from wdaverify.certify.certificate import Certificate, checked
from wdaverify.certify.exact import exact_dot
from wdaverify.certify.lower import loss_between, value_of
from wdaverify.certify.proof import MalformedProofError, Proof, Tree
from wdaverify.certify.question import Question, named
from wdaverify.certify.upper import Ints, distance_bounds, in_time, margin_bounds
from wdaverify.digits import down_to, stated, up_to
from wdaverify.given import instance, real
from wdaverify.network.model import Array
from wdaverify.problem import WdroProblem
from wdaverify.rounding import float_down, float_up

_PLURAL = ("feature weights", "rows of the support", "integers of the support", "functionals")
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
            lower = value_of(certificate.atoms, problem, deadline)
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


def _beyond(problem: WdroProblem) -> list[str]:
    """What keeps a problem from being one that is checked here."""
    why = uncertified(problem)
    return [f"the problem is beyond what a certificate proves: {why}"] if why else []


def uncertified(problem: WdroProblem) -> str:
    """Why a question has no certificate, "" where it has one."""
    rule, cost = problem.loss.rule, problem.cost
    if rule.by_levels:
        return f"the {rule.noun} is answered level by level on the word of MIP solvers, whose bounds nobody here can check"
    if rule.by_pieces and not problem.support.bounded and math.isfinite(cost.order):
        return (
            f"the {rule.noun} on the whole space at order {cost.order:g} rests on slopes at infinity, of which no proof is kept; "
            "a box (--support LO HI) or order inf has certificates"
        )
    return ""


def _mismatches(certificate: Certificate, problem: WdroProblem) -> list[str]:
    """What keeps the certificate from speaking of the problem at all."""
    samples, support, cost = problem.samples, problem.support, problem.cost
    here = named(problem)
    pairs: dict[str, tuple[object, object]] = {
        "network": (certificate.network_sha256, problem.network.sha256),
        "specification": (certificate.specification_sha256, here["specification_sha256"]),
        "samples": (certificate.samples_sha256, samples.sha256),
        "number of samples": (certificate.count, len(samples)),
        "radius": (certificate.radius, problem.radius),
        "order": (certificate.order, cost.order),
        "norm": (certificate.norm, cost.norm.value),
        "loss": (certificate.loss, problem.loss.value),
        "number of neurons": (certificate.neurons, problem.network.canonical.neurons),
        "label cost": (certificate.label_cost, cost.label_cost),
        "feature weights": (certificate.weights_sha256, here["weights_sha256"]),
        "rows of the support": (certificate.rows_sha256, here["rows_sha256"]),
        "integers of the support": (certificate.integers_sha256, here["integers_sha256"]),
        "functionals": (certificate.functionals_sha256, here["functionals_sha256"]),
    }
    out = [
        f"the {name} differs: {claimed} in the certificate, {found} here"
        if name not in _PLURAL
        else f"the {name} differ: {claimed} in the certificate, {found} here"
        for name, (claimed, found) in pairs.items()
        if claimed != found
    ]
    low, high = certificate.support_lower, certificate.support_upper
    if not (np.array_equal(low, support.lower) and np.array_equal(high, support.upper)):
        out.append("the support differs")
    if not (math.isfinite(certificate.multiplier) and certificate.multiplier >= 0):
        out.append(f"the multiplier {certificate.multiplier} is no finite number >= 0")
    elif math.isinf(cost.order) and certificate.multiplier:
        out.append(f"the multiplier {certificate.multiplier} at order inf, where nothing has a price")
    return out


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
            losses.append(loss_between(problem, x, int(y))[1])
        return float_up(
            sum((Fraction(w) * v for w, v in zip(samples.w.tolist(), losses, strict=True)), Fraction(0))
        ), ""
    bound = _knapsack if problem.loss.rule.by_distances else _dual
    upper, done = bound(certificate, problem, deadline)
    count = len(certificate.proofs)
    late = f"the time limit ended the checker's replay of the proofs ({done} of {count} were replayed)"
    return upper, late if done < count else ""


def _dual(certificate: Certificate, problem: WdroProblem, deadline: float) -> tuple[float, int]:
    """``lam radius^p + sum_i w_i max_k U_ik``, and how many proofs were replayed.

    What there was no time to replay is bounded by the largest value of its piece on the support.
    """
    lam, proofs, samples, question = certificate.multiplier, certificate.proofs, problem.samples, Question.of(problem)
    pieces, floor = question.pieces, question.pieces.floor
    items: defaultdict[int, list[int]] = defaultdict(list)
    for k, proof in enumerate(proofs):
        items[question.piece(proof)].append(k)
    used = np.flatnonzero(samples.w > 0)
    asked = pieces.of_samples(used).reshape(-1)
    for item in asked.tolist():
        if item not in items:
            label = "" if not pieces.moved[item] else f" under label {pieces.label[item]}"
            raise MalformedProofError(f"there is no proof for sample {pieces.sample[item]}, rival {pieces.code[item]}{label}")
    anywhere = {} if deadline == math.inf else _anywhere(question, used, deadline)
    here, done = margin_bounds(problem, proofs, np.full(len(proofs), lam), deadline)
    own = np.array([proof.multiplier for proof in proofs])
    elsewhere = np.flatnonzero(own != lam)
    there = here.copy()
    there[elsewhere], again = margin_bounds(problem, [proofs[k] for k in elsewhere], own[elsewhere], deadline)
    if again < elsewhere.size:  # replayed at one of its two multipliers
        done = min(done, int(elsewhere[again]))
    raw = np.empty(asked.size)
    for at, item in enumerate(asked.tolist()):
        found = items[item]
        known = [(float(own[k]), float(there[k])) for k in found]
        most = float_up(Fraction(float(question.reach[pieces.sample[item]])) ** question.power)
        raw[at] = min(min(float(here[k]) for k in found), _beside(known, lam, most), _chord(known, lam))
        if max(found) >= done:
            raw[at] = min(raw[at], anywhere.get((int(pieces.label[item]), int(pieces.code[item])), math.inf))
    each = np.maximum(pieces.whole(raw, asked, lam).reshape(used.size, -1).max(axis=1), floor)
    if not (each < math.inf).all():
        return math.inf, done
    if not np.isfinite(each).all():
        raise MalformedProofError("a proof claims that no point of the support exists")
    spent = Fraction(0)
    if math.isfinite(problem.cost.order):
        spent = Fraction(lam) * Fraction(problem.radius) ** problem.cost.power
    return float_up(spent + exact_dot(samples.w[used].tolist(), each.tolist())), done


def _anywhere(question: Question, used: Ints, deadline: float) -> dict[tuple[int, int], float]:
    """Upper bounds of ``c_k . z`` by label and code on the whole support, where one ball holds it, as far as there is time."""
    problem, pieces = question.problem, question.pieces
    if problem.cost.weights is not None or not (problem.support.bounded and math.isfinite(problem.cost.order)):
        return {}
    first: dict[tuple[int, int], int] = {}
    for item in pieces.of_samples(used).reshape(-1)[::-1].tolist():
        first[int(pieces.label[item]), int(pieces.code[item])] = int(pieces.sample[item])
    neurons = question.layout.neurons
    bare = [
        Proof(i, code, 0.0, (Tree.bare(0.0, float(question.reach[i]), neurons),), label)
        for (label, code), i in first.items()
    ]
    return dict(zip(first, margin_bounds(problem, bare, np.zeros(len(bare)), deadline)[0].tolist(), strict=True))


def _beside(points: list[tuple[float, float]], lam: float, reach: float) -> float:
    """What the best proven value of a function with slopes in ``[-reach, 0]`` says at ``lam``; inf without any."""
    best = math.inf
    for at, value in points:
        if at > lam and math.isfinite(value):
            more = (Fraction(at) - Fraction(lam)) * Fraction(reach) if math.isfinite(reach) else None
            value = math.inf if more is None else float_up(Fraction(value) + more)
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

    And how many proofs were replayed; what there was no time to replay is at distance 0. At order inf all that may lie within the
    radius moves; where labels do at a price, no error is farther than that.
    """
    samples, cost = problem.samples, problem.cost
    low, done = nearest(certificate.proofs, problem, deadline)
    low = np.minimum(low, cost.label_cost)
    weights = [Fraction(w) for w in samples.w.tolist()]
    if math.isinf(cost.order):
        return float_up(sum((w for w, d in zip(weights, low.tolist(), strict=True) if d <= problem.radius), Fraction(0))), done
    left, moved = Fraction(problem.radius) ** cost.power, Fraction(0)
    for i in np.argsort(low, kind="stable").tolist():
        weight = weights[i]
        if math.isinf(low[i]) or not weight:
            continue
        price = weight * Fraction(float(low[i])) ** cost.power
        share = Fraction(1) if price <= left else left / price
        moved, left = moved + share * weight, left - share * price
    return float_up(min(moved, sum(weights, Fraction(0)))), done


def nearest(proofs: Sequence[Proof], problem: WdroProblem, deadline: float) -> tuple[Array, int]:
    """Lower bounds of the distances to errors, ``[N]``, 0 where a rival has no proof, and how many proofs were replayed.

    Raises:
        MalformedProofError: a proof is no proof.
    """
    question, count = Question.of(problem), len(problem.samples)
    values, done = distance_bounds(problem, proofs, deadline)
    known = np.zeros(len(question.pieces))
    for proof, value in zip(proofs, values.tolist(), strict=True):
        item = question.piece(proof)
        known[item] = max(known[item], value)
    return known.reshape(count, -1).min(axis=1), done
