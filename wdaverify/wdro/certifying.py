"""From a run to its certificate, and to what the checker makes of it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from wdaverify.certify.certificate import Certificate
from wdaverify.certify.checker import recheck
from wdaverify.certify.proof import Proof
from wdaverify.certify.question import layout_of, named
from wdaverify.digits import width
from wdaverify.wdro.result import Reason, Status, VerificationResult, Voucher


def _certificate(result: VerificationResult, proofs: tuple[Proof, ...]) -> Certificate:
    """The certificate of a result: its atoms, its multiplier and the proofs that were kept."""
    problem, atoms = result.problem, result.atoms
    samples, support = problem.samples, problem.support
    margin = problem.loss.rule.by_pieces and result.multiplier is not None
    layout = layout_of(problem)
    return Certificate(
        network_sha256=problem.network.sha256,
        samples_sha256=samples.sha256,
        count=len(samples),
        clip=False,
        label_column=None,
        radius=problem.radius,
        order=problem.cost.order,
        norm=problem.cost.norm.value,
        loss=problem.loss.value,
        support_lower=support.lower,
        support_upper=support.upper,
        lower=result.lower,
        upper=result.upper,
        multiplier=float(result.multiplier or 0.0) if margin else 0.0,
        atom_sample=np.array([atom.sample for atom in atoms], np.int64),
        atom_weight=np.array([atom.weight for atom in atoms], np.float64),
        atom_point=np.array([atom.point for atom in atoms], np.float64).reshape(len(atoms), -1),
        proofs=proofs,
        neurons=layout.neurons,
        rows=layout.rows,
        margins=layout.margins,
        label_cost=problem.cost.label_cost,
        atom_label=np.array([atom.label for atom in atoms], np.int64) if problem.cost.moves_labels else None,
        **named(problem),
    )


def proven(result: VerificationResult, proofs: tuple[Proof, ...], deadline: float = math.inf) -> VerificationResult:
    """The result as the checker confirms it: its bracket is the proven one, and the certificate claims no more.

    Where nothing is proven of a bound, or less because the deadline (``time.monotonic``) ended the replay, the bound stays with its
    voucher, and the certificate claims nothing of it.
    """
    certificate = _certificate(result, proofs)
    verdict = recheck(certificate, result.problem, deadline)
    proven_upper = math.inf if verdict.unproven and verdict.upper > result.upper else verdict.upper
    lower = verdict.lower if math.isfinite(verdict.lower) else result.lower
    upper = proven_upper if math.isfinite(proven_upper) else result.upper
    closed = upper - lower <= result.gap_asked and result.reason is not Reason.NUMERICAL
    reason, detail = result.reason, result.detail
    if result.status is Status.EXACT and not closed:
        reason, detail = Reason.STALLED, f"what is proven leaves a gap of {width(lower, upper)}"
    notices = result.notices + tuple(
        f"the certificate proves less: {why}" for why in (*verdict.reasons, *verdict.unproven)
    )
    return replace(
        result,
        lower=lower,
        upper=upper,
        status=Status.EXACT if closed else Status.BRACKET,
        reason=reason,
        detail=detail,
        vouched_lower=Voucher.PROVED if math.isfinite(verdict.lower) else result.vouched_lower,
        vouched_upper=Voucher.PROVED if math.isfinite(proven_upper) else result.vouched_upper,
        notices=notices,
        certificate=replace(certificate, lower=verdict.lower, upper=proven_upper),
    )
