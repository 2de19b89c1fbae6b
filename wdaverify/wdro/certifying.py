"""From a run to its certificate, and to what the checker makes of it."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from wdaverify.certify.certificate import CURVE, DISTANCES, Certificate
from wdaverify.certify.checker import Verdict, recheck
from wdaverify.certify.faraway import far_neurons
from wdaverify.certify.proof import Proof
from wdaverify.certify.question import layout_of, named
from wdaverify.digits import width
from wdaverify.network.model import Array
from wdaverify.problem import WdroProblem
from wdaverify.wdro.minimal import minimal
from wdaverify.wdro.options import Options
from wdaverify.wdro.result import Reason, SampleBracket, Status, VerificationResult, Voucher
from wdaverify.witness.evaluate import Atom, Witness

_PROOF_SHARE = 0.9
"""The share of the gap that the search may leave where a checker comes after it: proofs hold to rounding."""
_SEARCH_SHARE = 0.8
"""The share of a time limit after which the search ends where the checker's replay comes after it."""

_MINIMAL_SHARE = 0.3
"""The share of what is left of it that making the certificate smaller may take."""


def for_a_checker(options: Options) -> Options:
    """What a search is asked whose bracket is the checker's afterwards."""
    limit = options.time_limit
    return replace(options, gap=_PROOF_SHARE * options.gap, time_limit=None if limit is None else _SEARCH_SHARE * limit)


def _certificate(result: VerificationResult, proofs: tuple[Proof, ...]) -> Certificate:
    """The certificate of a result: its atoms, its multiplier and the proofs that were kept."""
    margin = result.problem.loss.rule.by_pieces and result.multiplier is not None
    multiplier = float(result.multiplier or 0.0) if margin else 0.0
    return replace(
        bare_certificate(result.problem, proofs, result.atoms),
        lower=result.lower,
        upper=result.upper,
        multiplier=multiplier,
    )


def bare_certificate(problem: WdroProblem, proofs: tuple[Proof, ...], atoms: Sequence[Atom]) -> Certificate:
    """A certificate of a question that claims nothing yet."""
    samples, support, layout = problem.samples, problem.support, layout_of(problem)
    hashes = named(problem)
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
        lower=-math.inf,
        upper=math.inf,
        multiplier=0.0,
        atom_sample=np.array([atom.sample for atom in atoms], np.int64),
        atom_weight=np.array([atom.weight for atom in atoms], np.float64),
        atom_point=np.array([atom.point for atom in atoms], np.float64).reshape(len(atoms), support.lower.size),
        proofs=proofs,
        neurons=layout.neurons,
        rows=layout.rows,
        margins=layout.margins,
        far_neurons=far_neurons(problem),
        label_cost=problem.cost.label_cost,
        atom_label=np.array([atom.label for atom in atoms], np.int64) if problem.cost.moves_labels else None,
        specification_sha256=hashes["specification_sha256"],
        weights_sha256=hashes["weights_sha256"],
        rows_sha256=hashes["rows_sha256"],
        integers_sha256=hashes["integers_sha256"],
        functionals_sha256=hashes["functionals_sha256"],
    )


def proven(
    result: VerificationResult,
    proofs: tuple[Proof, ...],
    deadline: float = math.inf,
    slopes: tuple[Proof, ...] = (),
) -> VerificationResult:
    """The result as the checker confirms it: its bracket is the proven one, and the certificate claims no more.

    Where nothing is proven of a bound, or less because the deadline (``time.monotonic``) ended the replay, the bound stays with its
    voucher, and the certificate claims nothing of it.
    """
    now = time.monotonic()
    until = now + _MINIMAL_SHARE * (deadline - now) if math.isfinite(deadline) else math.inf
    certificate = minimal(replace(_certificate(result, proofs), slopes=slopes), result.problem, until)
    verdict = recheck(certificate, result.problem, deadline)
    proven_upper = math.inf if verdict.unproven and verdict.upper > result.upper else verdict.upper
    lower = verdict.lower if math.isfinite(verdict.lower) else result.lower
    upper = proven_upper if math.isfinite(proven_upper) else result.upper
    closed = upper - lower <= result.gap_asked and result.reason is not Reason.NUMERICAL
    reason, detail = result.reason, result.detail
    if result.status.closed and not closed:
        reason, detail = Reason.STALLED, f"what is proven leaves a gap of {width(lower, upper)}"
    notices = result.notices + tuple(
        f"the certificate proves less: {why}" for why in (*verdict.reasons, *verdict.unproven)
    )
    return replace(
        result,
        lower=lower,
        upper=upper,
        status=Status.of(result.problem.network, closed=closed),
        reason=reason,
        detail=detail,
        vouched_lower=Voucher.PROVED if math.isfinite(verdict.lower) else result.vouched_lower,
        vouched_upper=Voucher.PROVED if math.isfinite(proven_upper) else result.vouched_upper,
        notices=notices,
        certificate=replace(certificate, lower=verdict.lower, upper=proven_upper),
    )


def proven_distances(
    problem: WdroProblem,
    proofs: tuple[Proof, ...],
    brackets: Sequence[SampleBracket],
    points: Sequence[Array | None],
    deadline: float = math.inf,
) -> tuple[Certificate, Verdict]:
    """The certificate of distances, which claims what its checker makes of it, and that verdict.

    Every nearest error is an atom; its weight says nothing.
    """
    atoms = [(k, point) for k, point in enumerate(points) if point is not None]
    whole = bare_certificate(problem, proofs, ())
    made = replace(
        whole,
        of=DISTANCES,
        atom_sample=np.array([k for k, _ in atoms], np.int64),
        atom_weight=np.ones(len(atoms)),
        atom_point=np.array([point for _, point in atoms], np.float64).reshape(len(atoms), problem.support.lower.size),
        atom_label=None,
        claims=np.array([(k, bracket.lower, bracket.upper) for k, bracket in enumerate(brackets)], np.float64),
    )
    return _claimed(made, problem, deadline)


def proven_curve(
    problem: WdroProblem,
    proofs: tuple[Proof, ...],
    table: tuple[Array, Array, Array],
    lines: Sequence[float],
    witnesses: Mapping[float, Witness],
    deadline: float = math.inf,
    slopes: tuple[Proof, ...] = (),
) -> tuple[Certificate, Verdict]:
    """The certificate of a curve, of radii with their lower and upper values, and the checker's verdict; what stays is left out."""
    radii, atoms, owner = sorted(witnesses), list[Atom](), list[int]()
    for k, radius in enumerate(radii):
        moved = [
            atom
            for atom in witnesses[radius].atoms
            if atom.distance > 0 or atom.label != problem.samples.y[atom.sample]
        ]
        atoms += moved
        owner += [k] * len(moved)
    made = replace(
        bare_certificate(problem, proofs, atoms),
        of=CURVE,
        claims=np.stack(table, axis=1),
        lines=np.array(lines, np.float64),
        slopes=slopes,
        witness_radius=np.array(radii, np.float64),
        atom_witness=np.array(owner, np.int64),
    )
    return _claimed(made, problem, deadline)


def proven_steps(
    problem: WdroProblem, found: Certificate, table: tuple[Array, Array, Array]
) -> tuple[Certificate, Verdict]:
    """The certificate of a zero-one curve, from that of its distances, and the checker's verdict."""
    made = replace(
        bare_certificate(problem, found.proofs, ()),
        of=CURVE,
        atom_sample=found.atom_sample,
        atom_weight=found.atom_weight,
        atom_point=found.atom_point,
        atom_label=None,
        claims=np.stack(table, axis=1),
    )
    return _claimed(made, problem, math.inf)


def _claimed(certificate: Certificate, problem: WdroProblem, deadline: float) -> tuple[Certificate, Verdict]:
    """The certificate with what its checker proves in the place of its claims."""
    verdict = recheck(certificate, problem, deadline)
    return replace(certificate, claims=verdict.claims, lower=verdict.lower, upper=verdict.upper), verdict
