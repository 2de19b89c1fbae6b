"""One hard question as several: its shell is cut into narrower ones, so that idle workers share what is left.

    phi_ij(lam) on [near, far]  =  max over the parts of phi_ij(lam) on [a_k, a_(k+1)]

Inner questions of engines with bounds of their own only: a Distance part without an error is closed up to its far edge alone,
which need not be the distance that was asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace
from itertools import pairwise
from threading import Lock

import numpy as np

from wdaverify.certify.proof import Proof
from wdaverify.engines.base import Answer, Inner


def divided(question: Inner, parts: int) -> list[Inner]:
    """The question on successive shells of equal width, from near to far; fewer where edges would coincide."""
    region = question.region
    edges = np.unique(np.linspace(region.near, region.far, parts + 1))
    edges[0], edges[-1] = region.near, region.far
    if edges.size < 3:
        return [question]
    return [replace(question, region=replace(region, near=float(a), far=float(b))) for a, b in pairwise(edges)]


def joined(answers: Sequence[Answer]) -> Answer:
    """The answer to the whole question from those to its parts, in their order."""
    bound = max(answer.bound for answer in answers)
    idle = [answer for answer in answers if answer.vouched_by == "none"]
    detail = "; ".join(answer.detail for answer in idle or answers)
    return Answer(
        bound=bound,
        points=np.concatenate([answer.points for answer in answers]),
        vouched_by="none" if idle else answers[0].vouched_by,
        closed=all(answer.closed for answer in answers),
        nodes=sum(answer.nodes for answer in answers),
        seconds=sum(answer.seconds for answer in answers),
        detail=detail,
        checked=all(answer.checked for answer in answers),
        proof=_joined_proof([answer.proof for answer in answers]),
    )


def _joined_proof(proofs: Sequence[Proof | None]) -> Proof | None:
    known = [proof for proof in proofs if proof is not None]
    if not known or len(known) < len(proofs):
        return None
    return replace(known[0], trees=tuple(tree for proof in known for tree in proof.trees))


def gathered(futures: Sequence[Future[Answer]]) -> Future[Answer]:
    """A future of the joined answer; the first failure of a part is its own."""
    whole: Future[Answer] = Future()
    lock, settled = Lock(), False

    def told(_: Future[Answer]) -> None:
        nonlocal settled
        with lock:
            if settled or not all(future.done() for future in futures):
                return
            settled = True
        _settle(whole, futures)

    for future in futures:
        future.add_done_callback(told)
    return whole


def _settle(whole: Future[Answer], futures: Sequence[Future[Answer]]) -> None:
    if any(future.cancelled() for future in futures):
        whole.cancel()
        return
    failed = next((error for future in futures if (error := future.exception()) is not None), None)
    if failed is not None:
        whole.set_exception(failed)
    else:
        whole.set_result(joined([future.result() for future in futures]))
