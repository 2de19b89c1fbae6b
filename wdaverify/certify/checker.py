"""The checker: which bracket of V a certificate proves, whatever wrote it (docs/certificate.md).

sum of mass * loss over the atoms  <=  V(radius)  <=  lam radius^p + sum_i w_i max_k U_ik        (losses made of pieces)
                                                  <=  the fractional knapsack on d_i >= lo_i      (zero-one)
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
from threadpoolctl import ThreadpoolController

from wdaverify.arithmetic import Arithmetic
from wdaverify.certify.certificate import CURVE, DISTANCES, VALUE, Certificate, checked
from wdaverify.certify.claims import proven
from wdaverify.certify.deployed import Errors, lowered, mean, raised
from wdaverify.certify.faraway import endless, far_neurons
from wdaverify.certify.lower import value_of
from wdaverify.certify.proof import MalformedProofError
from wdaverify.certify.question import layout_of, named
from wdaverify.certify.values import upper_of
from wdaverify.digits import down_to, stated, up_to
from wdaverify.given import instance, real
from wdaverify.network.model import Array
from wdaverify.problem import WdroProblem

_PLURAL = ("feature weights", "rows of the support", "integers of the support", "functionals")
TOLERANCE = 1e-6
"""By how much, relative to max(1, |V|), the proven bracket may be wider than the one claimed."""
POOLS = ThreadpoolController()
"""The thread pools of numpy."""


@dataclass(frozen=True)
class Verdict:
    """``lower <= V <= upper`` is what was proven; ``proved`` if that confirms the claimed bracket.

    If it does not, ``reasons`` say what is wrong with the certificate, and ``unproven`` what the time was too short for. ``claims``
    ``[C, 3]`` are those of a certificate of distances or of a curve, with what was proven of each; the bracket is then that at the
    largest radius, and of distances it says nothing.
    """

    proved: bool
    lower: float
    upper: float
    claimed_lower: float
    claimed_upper: float
    reasons: tuple[str, ...]
    unproven: tuple[str, ...] = ()
    claims: Array = field(default_factory=lambda: np.zeros((0, 3)), compare=False)


def recheck(certificate: Certificate, problem: WdroProblem, deadline: float = math.inf) -> Verdict:
    """Prove or reject a certificate for a problem that was read anew from the network's and the samples' files.

    The deadline (``time.monotonic``) ends the replay; what was replayed until then is proven, and nothing is held against the rest.
    Meanwhile numpy's BLAS has one thread: products are small, and a convolutional network took fifteen times as long on two.
    """
    checked(certificate)
    instance("problem", problem, WdroProblem, "WdroProblem(network, samples, cost, support, loss, radius) makes one")
    deadline = real("deadline", deadline, "a time, as time.monotonic() gives it", lambda _: True)
    with POOLS.limit(limits=1, user_api="blas"):
        return _replayed(certificate, problem, deadline)


def _replayed(certificate: Certificate, problem: WdroProblem, deadline: float, *, below: bool = True) -> Verdict:
    """The verdict on a certificate; atoms are looked at where something is to be said from ``below``."""
    lower, upper = -math.inf, math.inf
    reasons = _beyond(problem, certificate.of) or _mismatches(certificate, problem)
    unproven: list[str] = []
    if not reasons and certificate.of != VALUE:
        return _claims(certificate, problem, deadline)
    if not reasons:
        late = {"lower": "", "upper": ""}
        try:
            lower = value_of(certificate.atoms, problem, deadline) if below else lower
        except TimeoutError as error:
            late["lower"] = str(error)
        except MalformedProofError as error:
            reasons.append(str(error))
        try:
            upper, late["upper"] = upper_of(certificate, problem, deadline)
        except TimeoutError as error:
            late["upper"] = str(error)
        except MalformedProofError as error:
            if certificate.upper < math.inf:  # else nothing is claimed
                reasons.append(str(error))
        if problem.arithmetic is Arithmetic.FLOAT32 and not reasons:
            lower, upper = _in_float32(certificate, problem, deadline, (lower, upper), late)
        if not upper <= certificate.upper + TOLERANCE * max(1.0, abs(certificate.upper)):
            (unproven if late["upper"] else reasons).append(_short("upper", certificate.upper, upper, late["upper"]))
        if not lower >= certificate.lower - TOLERANCE * max(1.0, abs(certificate.lower)):
            (unproven if late["lower"] else reasons).append(_short("lower", certificate.lower, lower, late["lower"]))
    proved = not reasons and not unproven
    return Verdict(proved, lower, upper, certificate.lower, certificate.upper, tuple(reasons), tuple(unproven))


def _in_float32(
    certificate: Certificate, problem: WdroProblem, deadline: float, ends: tuple[float, float], late: dict[str, str]
) -> tuple[float, float]:
    """What is proven in real arithmetic, with the errors of float32, which are bounded here anew."""
    errors, (lower, upper) = Errors.of(problem), ends
    if math.isfinite(upper):
        upper = raised(upper, mean(problem.samples.w, errors.of_samples, up=True))
    if math.isfinite(lower):
        try:
            atoms = list(certificate.atoms.each(problem, deadline))
        except TimeoutError as error:
            late["lower"] = str(error)
            return -math.inf, upper
        points, labels = np.stack([point for _, _, point, _ in atoms]), np.array([a[3] for a in atoms], np.int64)
        lower = lowered(lower, mean([a[1] for a in atoms], errors.of_points(points, labels), up=True))
        lower = max(lower, problem.loss.rule.floor)
    return lower, upper


def _claims(certificate: Certificate, problem: WdroProblem, deadline: float) -> Verdict:
    """The verdict on distances or on a curve."""
    claims, reasons, unproven, late = certificate.claims, list[str](), list[str](), ""
    lower, upper = np.full(len(claims), -math.inf), np.full(len(claims), math.inf)
    try:
        found = proven(certificate, problem, deadline)
        lower, upper, late = found.lower, found.upper, found.late
    except MalformedProofError as error:
        reasons.append(str(error))
    with np.errstate(invalid="ignore"):
        wide = np.maximum(1.0, np.where(np.isfinite(claims[:, 1:]), np.abs(claims[:, 1:]), 1.0)) * TOLERANCE
        short = [~(lower >= claims[:, 1] - wide[:, 0]), ~(upper <= claims[:, 2] + wide[:, 1])]
    for side, at, shown in (("lower", short[0], lower), ("upper", short[1], upper)):
        if at.any() and not (reasons and not np.isfinite(shown).any()):
            k = int(at.argmax())
            claimed = float(claims[k, 1 if side == "lower" else 2])
            where = f"{int(at.sum())} of {at.size} claims fall short, the first of them at {stated(claims[k, 0])}"
            (unproven if late else reasons).append(f"{where}: {_short(side, claimed, float(shown[k]), late)}")
    ends = (
        (float(lower[-1]), float(upper[-1])) if certificate.of != DISTANCES and len(claims) else (-math.inf, math.inf)
    )
    for side, claimed, bound in (("lower", certificate.lower, ends[0]), ("upper", certificate.upper, ends[1])):
        slack = TOLERANCE * max(1.0, abs(claimed))
        if not (bound >= claimed - slack if side == "lower" else bound <= claimed + slack):
            what = "at the largest radius" if certificate.of == CURVE else "of V, of which distances say nothing"
            (unproven if late else reasons).append(f"{what}: {_short(side, claimed, bound, late)}")
    proved = not reasons and not unproven
    table = np.stack([claims[:, 0], lower, upper], axis=1)
    return Verdict(proved, *ends, certificate.lower, certificate.upper, tuple(reasons), tuple(unproven), table)


def _short(side: str, claimed: float, proven: float, late: str) -> str:
    """What is said of a side that falls short of its claim."""
    shown = (up_to if side == "upper" else down_to)(proven, 12)
    said = f"the {side} bound {stated(claimed)} is claimed, {shown} is proven"
    return f"{late}: {said}" if late else said


def recheck_upper(certificate: Certificate, problem: WdroProblem, deadline: float = math.inf) -> Verdict:
    """As ``recheck``, of the upper side alone: atoms are not looked at, and nothing is said from below."""
    return _replayed(replace(certificate, of=VALUE, lower=-math.inf), problem, deadline, below=False)


def _beyond(problem: WdroProblem, of: str) -> list[str]:
    """What keeps a problem from being one that is checked here."""
    why, cost = uncertified(problem), problem.cost
    if (
        not why
        and of == DISTANCES
        and not (problem.loss.rule.by_distances and cost.order == 1 and not cost.moves_labels)
    ):
        why = "distances are asked of zero-one or of a specification, at order 1, where labels stay"
    if not why and of != VALUE and problem.arithmetic is Arithmetic.FLOAT32:
        why = "of curves and distances certificates are about real arithmetic"
    return [f"the problem is beyond what a certificate proves: {why}"] if why else []


def uncertified(problem: WdroProblem) -> str:
    """Why a question has no certificate, "" where it has one."""
    rule = problem.loss.rule
    if problem.arithmetic is Arithmetic.FLOAT32 and rule.by_distances:
        return (
            f"the {rule.noun} in float32 is answered by searches of networks with moved outputs, and certificates are about real "
            "arithmetic (--arithmetic real has one), or of losses made of pieces"
        )
    if endless(problem) and problem.network.curved:
        return (
            f"{', '.join(problem.network.curved)} on the whole space at a finite order, where slopes at infinity are needed, which are "
            "those of piecewise-linear networks"
        )
    if rule.by_levels:
        return (
            f"the {rule.noun} is answered level by level on the word of MIP solvers, whose bounds nobody here can check"
        )
    return ""


def _mismatches(certificate: Certificate, problem: WdroProblem) -> list[str]:
    """What keeps the certificate from speaking of the problem at all."""
    samples, support, cost = problem.samples, problem.support, problem.cost
    here, layout = named(problem), layout_of(problem)
    pairs: dict[str, tuple[object, object]] = {
        "arithmetic": (certificate.arithmetic, problem.arithmetic.value),
        "network": (certificate.network_sha256, problem.network.sha256),
        "specification": (certificate.specification_sha256, here["specification_sha256"]),
        "samples": (certificate.samples_sha256, samples.sha256),
        "number of samples": (certificate.count, len(samples)),
        "radius": (certificate.radius, problem.radius),
        "order": (certificate.order, cost.order),
        "norm": (certificate.norm, cost.norm.value),
        "loss": (certificate.loss, problem.loss.value),
        "number of neurons": (certificate.neurons, layout.neurons),
        "number of neurons far away": (certificate.far_neurons, far_neurons(problem)),
        "number of rows": (certificate.rows, layout.rows),
        "number of margins": (certificate.margins, layout.margins),
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
