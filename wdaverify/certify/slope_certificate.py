"""The file of a certificate of Lipschitz constants (docs/certificate.md, Lipschitz constants). Reading checks form alone."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wdaverify.archive import TooLargeError
from wdaverify.certify.file import COPIES, MEMORY, Form, joined, numbers, packed_to, parted, read_from, shaped, text_of
from wdaverify.certify.slopes import SlopeTree
from wdaverify.errors import CertificateError
from wdaverify.given import array, instance, settle
from wdaverify.network.model import Array

FORMAT = "wdaverify lipschitz 1"
_ACCEPTED = "a file written by lipschitz --certificate"
_ARRAYS = {
    "meta": "|u1",
    "rows": "<f8",
    "support": "<f8",
    "claims": "<f8",
    "witness_claim": "<i8",
    "witnesses": "<f8",
    "tree_nodes": "<i8",
    "tree_sectors": "<i8",
    "tree_empties": "<i8",
    "nodes": "<i4",
    "sectors": "<f8",
    "empties": "<f8",
}
_TEXTS = ("network_sha256", "points_sha256", "rows_sha256", "weights_sha256")
_COUNTS = ("count", "neurons", "cuts")


@dataclass(frozen=True, eq=False)
class SlopeCertificate:
    """What is claimed of which network and region, and what shows it.

    rows ``[R, K]`` of the outputs, ``together`` or each by itself; claims ``[C, 2]``, lower and upper, of each region, or (``each``) of
    each region's parts; witnesses ``[P, n]`` of claims ``witness_claim [P]``; trees by region and part. Hashes are None for what is not
    there: ``count`` points, rows of the support, feature weights. ``cuts``: how many sides the support's rows have.
    """

    network_sha256: str
    norm: str
    together: bool
    each: bool
    rows: Array
    support_lower: Array
    support_upper: Array
    within: float
    claims: Array
    trees: tuple[SlopeTree, ...]
    neurons: int
    cuts: int = 0
    count: int = 0
    points_sha256: str | None = None
    rows_sha256: str | None = None
    weights_sha256: str | None = None
    witness_claim: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    witnesses: Array = field(default_factory=lambda: np.zeros((0, 0)))

    def __post_init__(self) -> None:
        """Check the types alone: what the content proves is the checker's to say."""
        for name in ("rows", "support_lower", "support_upper", "claims", "witnesses"):
            settle(self, **{name: array(name, getattr(self, name), CertificateError, infinite=True)})
        n = self.support_lower.size
        if self.claims.ndim != 2 or self.claims.shape[1] != 2 or self.witnesses.shape != (self.witness_claim.size, n):
            raise CertificateError("claims are [C, 2], and witnesses [P, n] with the number of a claim each")
        if not isinstance(self.trees, tuple) or not all(isinstance(tree, SlopeTree) for tree in self.trees):
            raise CertificateError("the trees are a tuple of those that lipschitz(problem, certificate=True) keeps")

    @property
    def leaves(self) -> int:
        """How many leaves its trees have."""
        return sum(int((tree.nodes >= 0).sum()) + 1 for tree in self.trees)

    @property
    def content(self) -> str:
        """How much it is, in words."""
        return f"{len(self.trees)} trees, {self.leaves} leaves"


def checked_slopes(certificate: object) -> None:
    """Refuse what is no certificate.

    Raises:
        CertificateError: it is none.
    """
    way_out = "read_lipschitz(path) reads one, and lipschitz(problem, certificate=True) makes one"
    instance("certificate", certificate, SlopeCertificate, way_out, CertificateError)


def write_lipschitz(path: str | os.PathLike[str], certificate: SlopeCertificate) -> int:
    """Write the file whole or not at all; its size in bytes.

    Raises:
        OutputError: the file cannot be written, or would be larger than what is read again.
        CertificateError: there is no certificate.
    """
    checked_slopes(certificate)
    trees, n = certificate.trees, certificate.support_lower.size
    width = certificate.neurons
    held = [(tree.sectors, width) for tree in trees] + [(tree.empties, width + certificate.cuts) for tree in trees]
    if any(len(rows) and rows.shape[1:] != (wide,) for rows, wide in held):
        raise CertificateError(
            f"multipliers that are not [., {width}], and [., {width + certificate.cuts}] of half-spaces"
        )
    meta = {
        "format": FORMAT,
        **{name: getattr(certificate, name) for name in (*_TEXTS, *_COUNTS, "norm", "together", "each")},
        "within": certificate.within.hex(),
    }
    values: dict[str, Any] = {
        "meta": np.frombuffer(json.dumps(meta).encode(), np.uint8),
        "rows": certificate.rows,
        "support": np.stack([certificate.support_lower, certificate.support_upper]),
        "claims": certificate.claims,
        "witness_claim": certificate.witness_claim,
        "witnesses": certificate.witnesses.reshape(-1, n),
        "tree_nodes": [tree.nodes.size for tree in trees],
        "tree_sectors": [len(tree.sectors) for tree in trees],
        "tree_empties": [len(tree.empties) for tree in trees],
        "nodes": np.concatenate([tree.nodes for tree in trees]) if trees else [],
        "sectors": joined([tree.sectors for tree in trees], (width,)),
        "empties": joined([tree.empties for tree in trees], (width + certificate.cuts,)),
    }
    return packed_to(path, {name: np.asarray(held, _ARRAYS[name]) for name, held in values.items()})


def read_lipschitz(path: str | os.PathLike[str], memory: float = MEMORY) -> SlopeCertificate:
    """Read a file, whose content may take so many bytes of memory.

    Raises:
        CertificateError: it is no certificate of Lipschitz constants that can be read; one line that says what was found.
    """
    return read_from(path, memory, Form(" of Lipschitz constants", _ACCEPTED, lambda _: _ARRAYS, _unpacked))


def _unpacked(arrays: dict[str, NDArray[Any]], memory: int) -> SlopeCertificate:
    meta: dict[str, Any] = dict.fromkeys(_TEXTS) | text_of(arrays["meta"], (FORMAT,), _TEXTS[:1], _TEXTS[1:])
    for name in _COUNTS:
        if not isinstance(meta[name], int) or isinstance(meta[name], bool) or not 0 <= meta[name] <= 2**31:
            raise ValueError(f"{name} is no count")
    for name in ("together", "each"):
        if not isinstance(meta[name], bool):
            raise TypeError(f"{name} is no truth")
    if meta["norm"] not in ("inf", "1", "2"):
        raise ValueError("its norm is none of inf, 1 and 2")
    within = numbers(meta, "within")["within"]
    rows, support, claims, count = arrays["rows"], arrays["support"], arrays["claims"], arrays["tree_nodes"].size
    for name in ("rows", "support", "claims", "witnesses"):
        if arrays[name].ndim != 2:
            raise ValueError(f"{name} has shape {arrays[name].shape}")
    shaped("support", support, (2, support.shape[1]))
    shaped("claims", claims, (len(claims), 2))
    shaped("witness_claim", arrays["witness_claim"], (len(arrays["witnesses"]),))
    shaped("witnesses", arrays["witnesses"], (len(arrays["witnesses"]), support.shape[1]))
    if not (np.isfinite(rows).all() and not np.isnan(claims).any() and np.isfinite(arrays["witnesses"]).all()):
        raise ValueError("a number is not finite")
    for name in ("tree_nodes", "tree_sectors", "tree_empties"):
        shaped(name, arrays[name], (count,))
    shaped("nodes", arrays["nodes"], (arrays["nodes"].size,))
    shaped("sectors", arrays["sectors"], (sum(arrays["tree_sectors"].tolist()), meta["neurons"]))
    shaped("empties", arrays["empties"], (sum(arrays["tree_empties"].tolist()), meta["neurons"] + meta["cuts"]))
    if count * 2**10 > memory // COPIES:
        raise TooLargeError(f"it has {count} trees")
    ends = [
        pairwise(parted(f"tree_{name}", arrays[f"tree_{name}"], len(arrays[name])))
        for name in ("nodes", "sectors", "empties")
    ]
    trees = tuple(
        SlopeTree(arrays["nodes"][a:b], arrays["sectors"][c:d], arrays["empties"][e:f])
        for (a, b), (c, d), (e, f) in zip(*ends, strict=True)
    )
    return SlopeCertificate(
        **{name: meta[name] for name in (*_TEXTS, *_COUNTS, "norm", "together", "each")},
        rows=rows,
        support_lower=support[0],
        support_upper=support[1],
        within=math.inf if within is None else within,
        claims=claims,
        trees=trees,
        witness_claim=arrays["witness_claim"],
        witnesses=arrays["witnesses"],
    )
