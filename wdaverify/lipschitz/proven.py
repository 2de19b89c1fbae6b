"""From a search for Lipschitz constants to its certificate, and to what the checker makes of it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from wdaverify.certify.checker import Verdict
from wdaverify.certify.slope_certificate import SlopeCertificate
from wdaverify.certify.slope_checker import recheck_slopes, stated_parts
from wdaverify.certify.slopes import SlopeTree
from wdaverify.digits import width
from wdaverify.given import instance
from wdaverify.lipschitz.question import LipschitzProblem
from wdaverify.lipschitz.result import LipschitzResult
from wdaverify.wdro.result import Reason, Status, Voucher


def recheck_lipschitz(certificate: SlopeCertificate, problem: LipschitzProblem, deadline: float = math.inf) -> Verdict:
    """Prove or reject a certificate of Lipschitz constants for a problem that was read anew from its files.

    The verdict's bracket is that of the largest constant; ``claims [C, 3]`` are number, lower and upper bound of each that is bracketed
    by itself. The deadline (``time.monotonic``) ends the replay; what was replayed until then is proven.

    Raises:
        ProblemError: the problem is none.
    """
    instance("problem", problem, LipschitzProblem, "LipschitzProblem(network, cost, support, measure) makes one")
    return recheck_slopes(certificate, problem.stated, deadline)


def proven(result: LipschitzResult, trees: tuple[SlopeTree, ...], deadline: float = math.inf) -> LipschitzResult:
    """The result as the checker confirms it: its brackets are the proven ones, and the certificate claims no more.

    Where the deadline (``time.monotonic``) ends the replay, a bound stays with its voucher, and the certificate claims nothing of it.
    """
    question, parts = result.problem.stated, result.parts
    at = [k for k, part in enumerate(parts) if part.point is not None]
    points = [part.point for part in parts if part.point is not None]
    made = SlopeCertificate(
        **stated_parts(question),  # type: ignore[arg-type]
        each=result.each,
        rows=question.rows,
        support_lower=question.support.lower,
        support_upper=question.support.upper,
        claims=np.array([[part.lower, part.upper] for part in parts]),
        trees=trees,
        witness_claim=np.array(at, np.int64),
        witnesses=np.array(points, np.float64).reshape(len(points), question.network.n_inputs),
    )
    verdict = recheck_slopes(made, question, deadline)
    lower, upper = verdict.claims[:, 1], verdict.claims[:, 2]
    certificate = replace(made, claims=np.stack([lower, upper], axis=1))
    why = tuple(f"the certificate proves less: {why}" for why in (*verdict.reasons, *verdict.unproven))
    if why:
        return replace(result, certificate=certificate, notices=result.notices + why)
    shown = [
        replace(part, lower=low, upper=high)
        for part, low, high in zip(parts, lower.tolist(), upper.tolist(), strict=True)
    ]
    closed = all(part.upper - part.lower <= result.gap_asked for part in shown)
    reason, detail = result.reason, result.detail
    if result.status.closed and not closed:
        widest = max(shown, key=lambda part: part.upper - part.lower)
        reason, detail = Reason.STALLED, f"what is proven leaves a gap of {width(widest.lower, widest.upper)}"
    return replace(
        result,
        status=Status.EXACT if closed else Status.BRACKET,
        reason=reason,
        detail=detail,
        lower=float(lower.max()),
        upper=float(upper.max()),
        parts=tuple(shown),
        vouched_lower=Voucher.PROVED,
        vouched_upper=Voucher.PROVED,
        certificate=certificate,
    )
