"""Upper bounds of V, exact rationals rounded up: by weak duality for losses made of pieces, by the knapsack for zero-one.

V  <=  lam radius^p + sum_i w_i max_k U_ik          V  <=  the fractional knapsack on d_i >= lo_i
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from wdaverify.certify.certificate import Certificate
from wdaverify.certify.exact import exact_dot
from wdaverify.certify.faraway import Faraway, constants, endless, slope_of
from wdaverify.certify.loops import Loops
from wdaverify.certify.lower import loss_between
from wdaverify.certify.proof import MalformedProofError, Proof, Tree
from wdaverify.certify.question import Question
from wdaverify.certify.upper import Ints, Leaf, distance_bounds, in_time, margin_bounds
from wdaverify.network.model import Array
from wdaverify.problem import WdroProblem
from wdaverify.rounding import float_up


def upper_of(certificate: Certificate, problem: WdroProblem, deadline: float) -> tuple[float, str]:
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
    """``lam radius^p + sum_i w_i max_k U_ik``, and how many proofs were replayed."""
    lam, priced = certificate.multiplier, pieces_of(certificate, problem, deadline)
    used = np.flatnonzero(problem.samples.w > 0)
    total = _total(Question.of(problem), used, priced.raw, lam)
    if total == math.inf:
        return math.inf, priced.done
    spent = Fraction(0)
    if math.isfinite(problem.cost.order):
        spent = Fraction(lam) * Fraction(problem.radius) ** problem.cost.power
    return float_up(spent + Fraction(total)), priced.done


@dataclass(frozen=True, eq=False)
class Priced:
    """Upper bounds ``raw [B]`` of ``phi_ik`` at the multiplier, of the pieces ``[B]`` of all samples with weight.

    And what each proof proves there itself, ``here [P]``, and how many were replayed, the first ones.
    """

    pieces: Ints
    raw: Array
    here: Array
    done: int


def pieces_of(
    certificate: Certificate,
    problem: WdroProblem,
    deadline: float,
    loops: Loops | None = None,
    given: Sequence[Leaf] | None = None,
) -> Priced:
    """What the proofs say of every piece at the certificate's multiplier.

    What there was no time to replay is bounded by the largest value of its piece on the support.

    Raises:
        MalformedProofError: a proof is no proof, or there is none.
    """
    lam, proofs, samples, question = certificate.multiplier, certificate.proofs, problem.samples, Question.of(problem)
    pieces = question.pieces
    items: defaultdict[int, list[int]] = defaultdict(list)
    for k, proof in enumerate(proofs):
        items[question.piece(proof)].append(k)
    used = np.flatnonzero(samples.w > 0)
    asked = pieces.of_samples(used).reshape(-1)
    for item in asked.tolist():
        if item not in items:
            label = "" if not pieces.moved[item] else f" under label {pieces.label[item]}"
            why = "; a cross-entropy has one for every largest class: certificates of earlier versions have to be written again"
            raise MalformedProofError(
                f"there is no proof for sample {pieces.sample[item]}, rival {pieces.code[item]}{label}"
                f"{why if pieces.entropy else ''}"
            )
    anywhere = {} if deadline == math.inf else _anywhere(question, used, deadline)
    far = far_of(certificate, question, deadline)
    here, done = margin_bounds(problem, proofs, np.full(len(proofs), lam), deadline, far, loops, given)
    own = np.array([proof.multiplier for proof in proofs])
    elsewhere = np.flatnonzero(own != lam)
    there = here.copy()
    there[elsewhere], again = margin_bounds(
        problem, [proofs[k] for k in elsewhere], own[elsewhere], deadline, far, loops
    )
    if again < elsewhere.size:  # replayed at one of its two multipliers
        done = min(done, int(elsewhere[again]))
    raw = np.empty(asked.size)
    for at, item in enumerate(asked.tolist()):
        found = items[item]
        known = [(float(own[k]), float(there[k])) for k in found]
        most = _steepest(question, int(pieces.sample[item]))
        raw[at] = min(*(float(here[k]) for k in found), _beside(known, lam, most), _chord(known, lam))
        if max(found) >= done:
            raw[at] = min(raw[at], anywhere.get((int(pieces.label[item]), int(pieces.code[item])), math.inf))
    return Priced(asked, raw, here, done)


def far_of(certificate: Certificate, question: Question, deadline: float) -> Faraway | None:
    """What bounds pieces beyond their proofs; None where proofs have to reach as far as there is anything."""
    problem = question.problem
    if not endless(problem):
        return None
    slope = slope_of(problem, certificate.slopes, deadline)
    return Faraway(constants(problem, question.pieces), slope, question.power)


def heights(certificate: Certificate, problem: WdroProblem, multipliers: Array, deadline: float) -> tuple[Array, str]:
    """``sum_i w_i max_k U_ik`` at multipliers ``[L]``, rounded up, and what the deadline ended, "" if nothing.

    Every proof is replayed at its own multiplier alone; at others it says what convexity and the reach make of that.
    """
    proofs, samples, question = certificate.proofs, problem.samples, Question.of(problem)
    pieces, used = question.pieces, np.flatnonzero(samples.w > 0)
    own = np.array([proof.multiplier for proof in proofs])
    value, done = margin_bounds(problem, proofs, own, deadline, far_of(certificate, question, deadline))
    known: defaultdict[int, list[tuple[float, float]]] = defaultdict(list)
    for k, proof in enumerate(proofs):
        known[question.piece(proof)].append((float(own[k]), float(value[k])))
    asked, out = pieces.of_samples(used).reshape(-1), np.empty(multipliers.size)
    most = [_steepest(question, int(pieces.sample[k])) for k in asked.tolist()]
    for at, lam in enumerate(multipliers.tolist()):
        in_time(deadline, "lines")
        pairs = ((_neighbours(known[k], lam), reach) for k, reach in zip(asked.tolist(), most, strict=True))
        raw = np.array([min(_beside(near, lam, reach), _chord(near, lam)) for near, reach in pairs])
        out[at] = _total(question, used, raw, lam)
    late = f"the time limit ended the checker's replay of the proofs ({done} of {len(proofs)} were replayed)"
    return out, late if done < len(proofs) else ""


def _steepest(question: Question, sample: int) -> float:
    """How fast phi may fall in the multiplier: the largest ``distance^p``, rounded up; inf without an end."""
    far = float(question.reach[sample])
    return float_up(Fraction(far) ** question.power) if math.isfinite(far) else math.inf


def _neighbours(known: list[tuple[float, float]], lam: float) -> list[tuple[float, float]]:
    """The values at the multiplier itself, and at the nearest ones on its two sides."""
    low = max((at for at, _ in known if at <= lam), default=math.inf)
    high = min((at for at, _ in known if at >= lam), default=math.inf)
    return [pair for pair in known if pair[0] in (low, high)]


def _total(question: Question, used: Ints, raw: Array, lam: float) -> float:
    """``sum_i w_i max(floor, max_k raw_ik + b_k - lam charge_k)``, rounded up.

    Raises:
        MalformedProofError: it is -inf.
    """
    pieces, weights = question.pieces, question.problem.samples.w[used]
    asked = pieces.of_samples(used).reshape(-1)
    each = np.maximum(pieces.whole(raw, asked, lam).reshape(used.size, -1).max(axis=1), pieces.floor)
    if not (each < math.inf).all():
        return math.inf
    if not np.isfinite(each).all():
        raise MalformedProofError("a proof claims that no point of the support exists")
    return float_up(exact_dot(weights.tolist(), each.tolist()))


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
        return float_up(
            sum((w for w, d in zip(weights, low.tolist(), strict=True) if d <= problem.radius), Fraction(0))
        ), done
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
