"""Specifications with many inputs: put to ``verify`` as worst cases (``certify.conjunctions``), whose cells split neurons instead of boxes.

All disjuncts of one box are one question, and v < 0 is the threshold.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from wdaverify.certify.certificate import Certificate
from wdaverify.certify.conjunctions import by_box, claim, question
from wdaverify.checking.points import Points
from wdaverify.checking.result import Ended
from wdaverify.network.model import ReluNetwork
from wdaverify.specification.model import Specification
from wdaverify.wdro.progress import Report
from wdaverify.wdro.result import Reason, VerificationResult, Voucher
from wdaverify.wdro.verify import verify

_BELOW = -math.ulp(0.0)
"""The threshold: the largest double below 0."""


def by_cells(
    network: ReluNetwork,
    specification: Specification,
    points: Points,
    *,
    limit: Callable[[], float | None],
    jobs: int | None,
    seed: int,
    progress: Report | None,
    proofs: list[Certificate] | None = None,
) -> tuple[float, Ended, int]:
    """An upper bound of v, why it ended, and how many nodes that took; what it finds it hands to the points.

    The proof of every box is added to ``proofs``, where they are wanted.

    Coefficients of the specification are doubles. Boxes are asked about one after the other, with the time that is left.
    """
    upper, nodes, ended = -math.inf, 0, Ended.DECIDED
    for box, numbers in by_box(specification):
        rest = limit()
        if rest == 0 or ended in (Ended.INTERRUPTED, Ended.TIME_LIMIT):
            return math.inf, ended if ended is Ended.INTERRUPTED else Ended.TIME_LIMIT, nodes
        disjuncts = [specification.disjuncts[d] for d in numbers]
        found = verify(
            question(network, disjuncts, box) if proofs is None else claim(network, disjuncts, box),
            threshold=_BELOW,
            time_limit=rest,
            jobs=jobs,
            seed=seed,
            progress=progress,
            device="cpu",
            certificate=proofs is not None,
        )
        proven = found.upper if found.vouched_upper is not Voucher.SOLVER else math.inf
        if proofs is not None and found.certificate is not None:
            proofs.append(found.certificate)
        upper, nodes = max(upper, proven), nodes + found.statistics.nodes
        for atom in found.atoms:
            points.take(np.repeat(atom.point[None], len(numbers), axis=0), np.array(numbers))
        points.polish(math.inf)
        if points.over:
            return upper, Ended.DECIDED, nodes
        if proven >= 0:
            ended = _ended(found)
    return upper, ended, nodes


def _ended(found: VerificationResult) -> Ended:
    return {Reason.TIME_LIMIT: Ended.TIME_LIMIT, Reason.INTERRUPTED: Ended.INTERRUPTED}.get(found.reason, Ended.STALLED)
