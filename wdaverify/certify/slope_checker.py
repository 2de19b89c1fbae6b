"""The checker of Lipschitz constants: which brackets a certificate proves, whatever wrote it (docs/certificate.md).

slope at a point inside a cell  <=  max { ||rows J u|| : ||a u|| <= 1, J of a cell that meets the region }  <=  max over trees' leaves
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

from wdaverify.certify.checker import POOLS, TOLERANCE, Verdict
from wdaverify.certify.lower import distance
from wdaverify.certify.proof import MalformedProofError
from wdaverify.certify.question import sha256_of
from wdaverify.certify.slope import slope_exactly, slopes_at
from wdaverify.certify.slope_certificate import SlopeCertificate, checked_slopes
from wdaverify.certify.slope_question import SlopeQuestion, SlopeRegion
from wdaverify.certify.slopes import Cells
from wdaverify.digits import down_to, stated, up_to
from wdaverify.errors import CertificateError
from wdaverify.given import instance, real
from wdaverify.network.model import Array


def recheck_slopes(certificate: SlopeCertificate, question: SlopeQuestion, deadline: float = math.inf) -> Verdict:
    """Prove or reject a certificate for a question that was read anew from the network's and the points' files.

    The verdict's bracket is that of the largest constant, its ``claims [C, 3]`` are number, lower and upper bound of each claim. The
    deadline (``time.monotonic``) ends the replay; what was replayed until then is proven. Meanwhile BLAS has one thread.
    """
    checked_slopes(certificate)
    instance("question", question, SlopeQuestion, "LipschitzProblem(...).stated makes one", CertificateError)
    deadline = real("deadline", deadline, "a time, as time.monotonic() gives it", lambda _: True)
    with POOLS.limit(limits=1, user_api="blas"):
        return _replayed(certificate, question, deadline)


def _replayed(certificate: SlopeCertificate, question: SlopeQuestion, deadline: float) -> Verdict:
    claims, each = certificate.claims, len(question.parts) if certificate.each else 1
    lower, upper = np.zeros(len(claims)), np.full(len(claims), math.inf)
    reasons, late = _mismatches(certificate, question), ""
    if not reasons:
        try:
            _witnessed(certificate, question, lower)
            _bounded(certificate, question, upper, each, deadline)
        except TimeoutError as error:
            late = str(error)
        except MalformedProofError as error:
            reasons.append(str(error))
            upper[:] = math.inf
    unproven = list[str]()
    for side, at in (("lower", 0), ("upper", 1)):
        claimed, shown = claims[:, at], (lower, upper)[at]
        slack = TOLERANCE * np.maximum(1.0, np.where(np.isfinite(claimed), np.abs(claimed), 1.0))
        short = np.flatnonzero(~(shown <= claimed + slack) if at else ~(shown >= claimed - slack))
        if short.size and not (reasons and not np.isfinite(shown).any()):
            k = int(short[0])
            proven = (up_to if at else down_to)(float(shown[k]), 12)
            said = f"{short.size} of {len(claims)} {side} bounds fall short: {stated(float(claimed[k]))} is claimed, {proven} is proven"
            (unproven if late else reasons).append(f"{late}: {said}" if late else said)
    table = np.stack([np.arange(len(claims), dtype=np.float64), lower, upper], axis=1)
    (low, high), (told_low, told_high) = _largest(lower, upper), _largest(claims[:, 0], claims[:, 1])
    return Verdict(not reasons and not unproven, low, high, told_low, told_high, tuple(reasons), tuple(unproven), table)


def _largest(lower: Array, upper: Array) -> tuple[float, float]:
    """The bracket of the largest of some constants; of none of them nothing is known."""
    return (float(lower.max()), float(upper.max())) if lower.size else (0.0, math.inf)


def _groups(certificate: SlopeCertificate, question: SlopeQuestion) -> list[tuple[SlopeRegion, list[Array]]]:
    """What each claim is about: a region with all parts, or with one of them."""
    if certificate.each:
        return [(region, [part]) for region in question.regions for part in question.parts]
    return [(region, question.parts) for region in question.regions]


def _witnessed(certificate: SlopeCertificate, question: SlopeQuestion, lower: Array) -> None:
    """Slopes at points inside cells, rounded down, into ``lower [C]``.

    Raises:
        MalformedProofError: a point lies outside its region, or belongs to no claim.
    """
    groups, graph = _groups(certificate, question), question.network.canonical
    for at, point in zip(certificate.witness_claim.tolist(), certificate.witnesses, strict=True):
        if not 0 <= at < len(groups):
            raise MalformedProofError(f"a point of claim {at}, which does not exist")
        region, parts = groups[at]
        if not _inside(question, region, point):
            raise MalformedProofError(f"the point of claim {at} lies outside its region")
        still = (region.lower == region.upper).astype(np.float64)
        for rows in parts:
            low = float(slopes_at(graph, point[None], rows, region.cost, still)[0][0])
            low = low if low > -math.inf else slope_exactly(graph, point, rows, region.cost, still)
            lower[at] = max(lower[at], low)


def _inside(question: SlopeQuestion, region: SlopeRegion, point: Array) -> bool:
    """Whether a point lies in the region, exactly."""
    support = question.support
    if not (np.isfinite(point).all() and (point >= support.lower).all() and (point <= support.upper).all()):
        return False
    if support.rows is not None and not support.rows.hold(point[None])[0]:
        return False
    return question.points is None or distance(question.cost, point, region.centre) <= Fraction(question.within)


def _bounded(certificate: SlopeCertificate, question: SlopeQuestion, upper: Array, each: int, deadline: float) -> None:
    """What the trees show, into ``upper [C]``.

    Raises:
        MalformedProofError: a tree is none, or they are too many or too few.
        TimeoutError: the deadline has passed.
    """
    graph, regions, parts, trees = question.network.canonical, question.regions, question.parts, certificate.trees
    if len(trees) != len(regions) * len(parts):
        raise MalformedProofError(f"{len(trees)} trees for {len(regions)} regions of {len(parts)} questions each")
    at = 0
    for k, region in enumerate(regions):
        cells, found = Cells(graph, region), [-math.inf] * each
        for p, rows in enumerate(parts):
            claim = k * each + p % each
            rho = float(certificate.claims[claim, 1])
            found[p % each] = max(found[p % each], cells.highest(rows, trees[at], rho, deadline))
            at += 1
        upper[k * each : (k + 1) * each] = found


def stated_parts(question: SlopeQuestion) -> dict[str, object]:
    """What a certificate states of its question, by the names there."""
    weights, rows, points = question.cost.weights, question.support.rows, question.points
    return {
        "network_sha256": question.network.sha256,
        "norm": question.cost.norm.value,
        "together": question.together,
        "within": question.within,
        "neurons": question.network.canonical.neurons,
        "cuts": 0 if rows is None else 2 * rows.lower.size,
        "count": 0 if points is None else len(points),
        "points_sha256": None if points is None else sha256_of(points),
        "rows_sha256": None if rows is None else sha256_of(rows.matrix, rows.lower, rows.upper),
        "weights_sha256": None if weights is None else sha256_of(weights),
    }


_WORDS = {
    "network_sha256": "network",
    "norm": "norm",
    "together": "kind of question (the operator norm, or single functionals)",
    "within": "radius of the balls",
    "neurons": "number of neurons",
    "cuts": "number of sides of the support's rows",
    "count": "number of samples",
    "points_sha256": "hash of the samples' points",
    "rows_sha256": "hash of the support's rows",
    "weights_sha256": "hash of the feature weights",
}


def _mismatches(certificate: SlopeCertificate, question: SlopeQuestion) -> list[str]:
    """What keeps the certificate from speaking of the question at all."""
    here = stated_parts(question)
    out = [
        f"the {_WORDS[name]} differs: {getattr(certificate, name)} in the certificate, {found} here"
        for name, found in here.items()
        if getattr(certificate, name) != found
    ]
    if certificate.rows.shape != question.rows.shape or (certificate.rows != question.rows).any():
        out.append("the functionals differ")
    low, high, support = certificate.support_lower, certificate.support_upper, question.support
    if not (np.array_equal(low, support.lower) and np.array_equal(high, support.upper)):
        out.append("the support differs")
    expected = len(question.regions) * (len(question.parts) if certificate.each else 1)
    if certificate.claims.shape != (expected, 2):
        out.append(f"claims of shape {certificate.claims.shape}, not {(expected, 2)}")
    elif np.isnan(certificate.claims).any():
        out.append("a claim is NaN")
    return out
