"""Certificates of unsat whose proofs split neurons among boxes: for each box of the specification a certificate of a bracket.

That certificate is of the worst case that ``conjunctions.claim`` makes of the box and its disjuncts, and ``certify.checker`` its checker.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wdaverify.certify.certificate import Certificate as Bracket
from wdaverify.certify.certificate import packed, unpacked
from wdaverify.certify.checker import Verdict, recheck_upper
from wdaverify.certify.conjunctions import by_box, claim, scaled
from wdaverify.certify.file import MEMORY, numbers, parted, text_of
from wdaverify.certify.proof import BARE, HALVED, Proof, Tree
from wdaverify.errors import CertificateError
from wdaverify.given import real, settle, told, whole
from wdaverify.network.model import ReluNetwork
from wdaverify.rounding import float_up
from wdaverify.specification.model import Specification
from wdaverify.untrusted import UnreadableError, shown

FORMAT = "wdaverify unsat by splits 1"
ARRAYS = {"meta": "|u1", "sizes": "<i8", "parts": "|u1"}
MAX_PARTS = 2**15


@dataclass(frozen=True, eq=False)
class SplitCertificate:
    """Claims ``v <= upper < 0`` of which network and specification, and for each of its boxes, in order, the certificate that shows it.

    ``parts`` are the files of those, each read in so many bytes of ``memory`` when its turn comes; ``leaves`` says how many they have.
    """

    network_sha256: str
    specification_sha256: str
    inputs: int
    upper: float
    leaves: int
    parts: tuple[bytes, ...]
    memory: float = MEMORY

    def __post_init__(self) -> None:
        """Check the types alone: what the content proves is the checker's to say."""
        for name in ("network_sha256", "specification_sha256"):
            if not isinstance(getattr(self, name), str):
                raise CertificateError(f"{name} {told(getattr(self, name))}: a text is accepted")
        for name in ("inputs", "leaves"):
            settle(self, **{name: whole(name, getattr(self, name), "a whole number", lambda _: True, CertificateError)})
        for name in ("upper", "memory"):
            settle(self, **{name: real(name, getattr(self, name), "a number", lambda _: True, CertificateError)})
        if not isinstance(self.parts, tuple) or not all(isinstance(part, bytes) for part in self.parts):
            raise CertificateError("the parts are a tuple of those that check(..., certificate=True) keeps")

    @property
    def content(self) -> str:
        """How much it is, in words."""
        return f"{len(self.parts)} box{'es' * (len(self.parts) != 1)} whose neurons are split, {self.leaves} leaves"


def of_brackets(
    network_sha256: str, specification_sha256: str, inputs: int, upper: float, brackets: list[Bracket]
) -> SplitCertificate:
    """The certificate of what was shown box by box, from above alone."""
    brackets = [replace(bracket, proofs=tuple(map(_joined, bracket.proofs))) for bracket in brackets]
    trees = [tree for bracket in brackets for proof in bracket.proofs for tree in proof.trees]
    leaves = sum(int(((tree.nodes >= 0) | (tree.nodes == HALVED)).sum()) + 1 for tree in trees)
    parts = tuple(
        packed(
            replace(
                bracket,
                lower=-math.inf,
                atom_sample=bracket.atom_sample[:0],
                atom_weight=bracket.atom_weight[:0],
                atom_point=bracket.atom_point[:0],
            )
        )
        for bracket in brackets
    )
    return SplitCertificate(network_sha256, specification_sha256, inputs, upper, leaves, parts)


def _joined(proof: Proof) -> Proof:
    """A proof without shells that bounds close in front of others that they close: at multiplier 0 the outermost says it all."""
    if proof.multiplier:
        return proof
    trees = list[Tree]()
    for tree in proof.trees:
        bare = tree.nodes.tolist() == [BARE] and not tree.tights
        if bare and trees and trees[-1].nodes.tolist() == [BARE]:
            trees[-1] = replace(tree, near=trees[-1].near)
        else:
            trees.append(tree)
    return replace(proof, trees=tuple(trees))


def flat(certificate: SplitCertificate) -> dict[str, NDArray[Any]]:
    """The arrays of the file."""
    meta = {
        "format": FORMAT,
        **{name: getattr(certificate, name) for name in ("network_sha256", "specification_sha256", "inputs", "leaves")},
        "upper": certificate.upper.hex(),
    }
    return {
        "meta": np.frombuffer(json.dumps(meta).encode(), np.uint8),
        "sizes": np.array([len(part) for part in certificate.parts], "<i8"),
        "parts": np.frombuffer(b"".join(certificate.parts), np.uint8),
    }


def from_flat(arrays: dict[str, NDArray[Any]], memory: float) -> SplitCertificate:
    """The certificate of a file's arrays.

    Raises (of these):
        ValueError, KeyError, TypeError: they are none of one.
    """
    meta = text_of(arrays["meta"], (FORMAT,), ("network_sha256", "specification_sha256"))
    for name in ("inputs", "leaves"):
        if not isinstance(meta[name], int) or isinstance(meta[name], bool) or not 0 <= meta[name] <= 2**53:
            raise ValueError(f"{name} is {shown(repr(meta[name]), 60)}")
    upper = numbers(meta, "upper")["upper"]
    sizes, parts = arrays["sizes"], arrays["parts"]
    if sizes.ndim != 1 or sizes.size > MAX_PARTS or parts.ndim != 1:
        raise ValueError(f"sizes {list(sizes.shape)} and parts {list(parts.shape)}: at most {MAX_PARTS} parts")
    held = parts.tobytes()
    cut = tuple(held[a:b] for a, b in pairwise(parted("sizes", sizes, parts.size)))
    hashes = meta["network_sha256"], meta["specification_sha256"]
    return SplitCertificate(*hashes, meta["inputs"], upper, meta["leaves"], cut, memory)


def recheck_splits(
    certificate: SplitCertificate,
    network: ReluNetwork,
    specification: Specification,
    reasons: list[str],
    deadline: float,
) -> Verdict:
    """Prove or reject; ``reasons`` say what keeps it from speaking of the question at all."""
    boxes, unproven, proven = by_box(specification), list[str](), list[Fraction]()
    doubles = scaled(specification)
    if doubles is None:
        reasons.append("the specification has rows that no factor makes doubles, of which nothing is proved by splits")
    if len(certificate.parts) != len(boxes):
        reasons.append(f"the number of boxes differs: {len(certificate.parts)} in the certificate, {len(boxes)} here")
    if doubles is not None and not reasons:
        multiplied, factor = doubles
        for k, ((box, numbers), part) in enumerate(zip(boxes, certificate.parts, strict=True), 1):
            try:
                bracket = unpacked(part, certificate.memory)
            except (UnreadableError, CertificateError) as error:
                reasons.append(f"the part of box {k}: {error}")
                break
            problem = claim(network, [multiplied.disjuncts[d] for d in numbers], box)
            verdict = recheck_upper(bracket, problem, deadline)
            reasons += [f"box {k}: {reason}" for reason in verdict.reasons]
            unproven += [f"box {k}: {reason}" for reason in verdict.unproven]
            if verdict.reasons or verdict.unproven:
                break
            proven.append(Fraction(verdict.upper) / factor if math.isfinite(verdict.upper) else Fraction(1))
    upper = float_up(max(proven)) if proven else -math.inf
    if reasons or unproven:
        upper = math.inf
    elif not (upper < 0 and upper <= certificate.upper + 1e-6 * max(1.0, abs(certificate.upper))):
        reasons.append(f"v <= {certificate.upper!r} is claimed, {upper!r} is proven")
    proved = not reasons and not unproven
    return Verdict(proved, -math.inf, upper, -math.inf, certificate.upper, tuple(reasons), tuple(unproven))
