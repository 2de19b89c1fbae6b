"""Certificates of unsat, and their checker: no input satisfies any disjunct of a specification (docs/certificate.md, Unsat).

v = max over disjuncts and x in their boxes of min_r row_r(x)   <=   the largest of what leaves show, and of the level   <   0
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wdaverify.arithmetic import Arithmetic
from wdaverify.certify.checker import POOLS, Verdict
from wdaverify.certify.confined import Confined, Confining
from wdaverify.certify.file import (
    MEMORY,
    Form,
    joined,
    numbers,
    packed_to,
    parted,
    read_from,
    shaped,
    text_of,
)
from wdaverify.certify.halvings import Asked, Halvings
from wdaverify.certify.proof import MalformedProofError
from wdaverify.certify.rows import Rows
from wdaverify.certify.splits import ARRAYS as SPLIT_ARRAYS
from wdaverify.certify.splits import SplitCertificate, flat, from_flat, recheck_splits
from wdaverify.digits import stated, up_to
from wdaverify.errors import CertificateError
from wdaverify.given import instance, real, settle, told, whole
from wdaverify.network.model import ReluNetwork
from wdaverify.specification.fits import check_fits
from wdaverify.specification.model import Specification
from wdaverify.untrusted import shown

FORMAT, _OLD = (f"wdaverify unsat {k}" for k in (2, 1))
MAX_MOVING = 64
"""The most inputs that move: a form has a number for each of them."""
_TOLERANCE = 1e-6
"""By how much, relative to max(1, |v|), the proven bound may be larger than the one claimed."""
_BATCH, _NUMBERS = 256, 2**18
"""The most boxes of a batch, and the most doubles that one array of it holds, nearly."""
_ARRAYS = {
    "meta": "|u1",
    "tree_nodes": "<i8",
    "tree_clips": "<i8",
    "tree_mixtures": "<i8",
    "tree_slopes": "<i8",
    "nodes": "|i1",
    "clips": "|u1",
    "mixtures": "<f4",
    "slopes": "|u1",
}
_NEW = ("tree_slopes", "slopes")
"""What the files of the old format are without."""
_WHOLES = ("inputs", "moving", "rows", "neurons")
_PARTS = ("nodes", "clips", "mixtures", "slopes")


@dataclass(frozen=True, eq=False)
class UnsatCertificate:
    """Claims ``v <= upper < 0`` of which network and specification, and one tree for each disjunct, in order, that shows it.

    ``level < 0`` is what clips rest on. inputs n, moving k of them, rows R of a disjunct at most, neurons M.
    """

    network_sha256: str
    specification_sha256: str
    inputs: int
    moving: int
    rows: int
    neurons: int
    upper: float
    level: float
    trees: tuple[Halvings, ...]

    def __post_init__(self) -> None:
        """Check the types alone: what the content proves is the checker's to say."""
        for name in ("network_sha256", "specification_sha256"):
            if not isinstance(getattr(self, name), str):
                raise CertificateError(f"{name} {told(getattr(self, name))}: a text is accepted")
        for name in _WHOLES:
            settle(self, **{name: whole(name, getattr(self, name), "a whole number", lambda _: True, CertificateError)})
        for name in ("upper", "level"):
            settle(self, **{name: real(name, getattr(self, name), "a number", lambda _: True, CertificateError)})
        if not isinstance(self.trees, tuple) or not all(isinstance(tree, Halvings) for tree in self.trees):
            raise CertificateError("the trees are a tuple of those that check(..., certificate=True) keeps")

    @property
    def leaves(self) -> int:
        """How many boxes are shown to be below 0."""
        return sum(int((tree.nodes >= 0).sum()) + 1 for tree in self.trees)

    @property
    def content(self) -> str:
        """How much it is, in words."""
        return f"{len(self.trees)} trees, {self.leaves} leaves"


Unsat = UnsatCertificate | SplitCertificate


def write_unsat(path: str | os.PathLike[str], certificate: Unsat) -> int:
    """Write the file whole or not at all; its size in bytes.

    Raises:
        OutputError: the file cannot be written, or would be larger than what is read again.
        CertificateError: there is no certificate.
    """
    _checked(certificate)
    return packed_to(path, flat(certificate) if isinstance(certificate, SplitCertificate) else _flat(certificate))


def _flat(certificate: UnsatCertificate) -> dict[str, NDArray[Any]]:
    """The arrays of the file."""
    trees = certificate.trees
    meta = {
        "format": FORMAT,
        "network_sha256": certificate.network_sha256,
        "specification_sha256": certificate.specification_sha256,
        **{name: getattr(certificate, name) for name in _WHOLES},
        "upper": certificate.upper.hex(),
        "level": certificate.level.hex(),
    }
    values: dict[str, Any] = {
        "meta": np.frombuffer(json.dumps(meta).encode(), np.uint8),
        "tree_nodes": [tree.nodes.size for tree in trees],
        "tree_clips": [len(tree.clips) for tree in trees],
        "tree_mixtures": [len(tree.mixtures) for tree in trees],
        "tree_slopes": [len(tree.slopes) for tree in trees],
        "nodes": joined([tree.nodes for tree in trees], ()),
        "clips": joined([tree.clips for tree in trees], (2, certificate.moving)),
        "mixtures": joined([tree.mixtures for tree in trees], (certificate.rows,)),
        "slopes": joined([tree.slopes for tree in trees], (certificate.neurons,)),
    }
    return {name: np.asarray(held, _ARRAYS[name]) for name, held in values.items()}


def read_unsat(path: str | os.PathLike[str], memory: float = MEMORY) -> Unsat:
    """Read a file, whose content may take so many bytes of memory.

    Raises:
        CertificateError: it is no certificate of unsat that can be read; one line that says what was found.
    """
    return read_from(path, memory, _FORM)


def _arrays(names: Collection[str]) -> dict[str, str]:
    """Those of the format that a file's names tell."""
    return {name: kind for name, kind in _ARRAYS.items() if name not in _NEW or "tree_slopes" in names}


def _unpack(arrays: dict[str, NDArray[Any]], memory: int) -> Unsat:
    return from_flat(arrays, memory) if "parts" in arrays else _unpacked(arrays)


_FORM = Form(
    " of unsat",
    "a file written by check --certificate",
    lambda names: SPLIT_ARRAYS if "parts" in names else _arrays(names),
    _unpack,
)


def _unpacked(arrays: dict[str, NDArray[Any]]) -> UnsatCertificate:
    meta = text_of(arrays["meta"], (FORMAT, _OLD), ("network_sha256", "specification_sha256"))
    if (meta["format"] == _OLD) != ("slopes" not in arrays):
        raise ValueError(f"its arrays are not those of {meta['format']!r}")
    if meta["format"] == _OLD:
        meta["neurons"], none = 0, np.zeros(arrays["tree_nodes"].size, np.int64)
        arrays = arrays | {"tree_slopes": none, "slopes": np.zeros((0, 0), np.uint8)}
    for name in _WHOLES:
        if not isinstance(meta[name], int) or isinstance(meta[name], bool) or not 0 <= meta[name] <= 2**31:
            raise ValueError(f"{name} is {shown(repr(meta[name]), 60)}")
    sides = numbers(meta, "upper", "level")
    trees = arrays["tree_nodes"].size
    shapes = {
        "nodes": (arrays["nodes"].size,),
        "clips": (sum(arrays["tree_clips"].tolist()), 2, meta["moving"]),
        "mixtures": (sum(arrays["tree_mixtures"].tolist()), meta["rows"]),
        "slopes": (sum(arrays["tree_slopes"].tolist()), meta["neurons"]),
        **dict.fromkeys((f"tree_{name}" for name in _PARTS), (trees,)),
    }
    for name, shape in shapes.items():
        shaped(name, arrays[name], shape)
    edges = [pairwise(parted(f"tree_{name}", arrays[f"tree_{name}"], len(arrays[name]))) for name in _PARTS]
    built = tuple(
        Halvings(*(arrays[name][a:b] for name, (a, b) in zip(_PARTS, at, strict=True)))
        for at in zip(*edges, strict=True)
    )
    fields: dict[str, Any] = {name: meta[name] for name in ("network_sha256", "specification_sha256", *_WHOLES)}
    return UnsatCertificate(**fields | sides, trees=built)


def _checked(certificate: object) -> None:
    way_out = "read_unsat(path) reads one, and check(network, specification, certificate=True) makes one"
    if not isinstance(certificate, SplitCertificate):
        instance("certificate", certificate, UnsatCertificate, way_out, CertificateError)


def recheck_unsat(
    certificate: Unsat, network: ReluNetwork, specification: Specification, deadline: float = math.inf
) -> Verdict:
    """Prove or reject that no input satisfies a specification, both read anew from their files.

    The verdict's upper bound is that of v, what the leaves show where nothing is wrong, else inf. The deadline (``time.monotonic``)
    ends the replay, which proves nothing then. Meanwhile numpy's BLAS has one thread.

    Raises:
        SpecificationError: the specification is about another network.
    """
    _checked(certificate)
    instance("network", network, ReluNetwork, "load_network(path) reads one", CertificateError)
    instance("specification", specification, Specification, "load_specification(path) reads one", CertificateError)
    deadline = real("deadline", deadline, "a time, as time.monotonic() gives it", lambda _: True)
    check_fits(network, specification)
    with POOLS.limit(limits=1, user_api="blas"):
        return _replayed(certificate, network, specification, deadline)


def _replayed(certificate: Unsat, network: ReluNetwork, specification: Specification, deadline: float) -> Verdict:
    """The verdict on a certificate."""
    upper, unproven = math.inf, list[str]()
    reasons = _mismatches(certificate, network, specification)
    if isinstance(certificate, SplitCertificate):
        return recheck_splits(certificate, network, specification, reasons, deadline)
    if not reasons:
        try:
            upper = _upper(certificate, network, specification, deadline)
        except MalformedProofError as error:
            reasons.append(str(error))
        except TimeoutError as error:
            unproven.append(str(error))
        else:
            slack = _slack(certificate)
            if not (upper <= certificate.upper or (upper <= certificate.upper + slack and upper < 0)):
                reasons.append(f"v <= {stated(certificate.upper)} is claimed, {up_to(upper, 12)} is proven")
    proved = not reasons and not unproven
    return Verdict(proved, -math.inf, upper, -math.inf, certificate.upper, tuple(reasons), tuple(unproven))


def _mismatches(certificate: Unsat, network: ReluNetwork, specification: Specification) -> list[str]:
    """What keeps the certificate from speaking of the question at all."""
    pairs: dict[str, tuple[object, object]] = {
        "network": (certificate.network_sha256, network.sha256),
        "specification": (certificate.specification_sha256, specification.sha256),
        "number of inputs": (certificate.inputs, specification.inputs),
    }
    if isinstance(certificate, UnsatCertificate):
        pairs["number of disjuncts"] = len(certificate.trees), len(specification.disjuncts)
    out = [
        f"the {name} differs: {claimed} in the certificate, {found} here"
        for name, (claimed, found) in pairs.items()
        if claimed != found
    ]
    if isinstance(certificate, UnsatCertificate) and not (math.isfinite(certificate.level) and certificate.level < 0):
        out.append(f"the level {certificate.level} is no finite number below 0")
    if specification.arithmetic is Arithmetic.FLOAT32:
        out.append(
            "the specification is about elements of float32, and certificates of unsat are about real arithmetic"
        )
    if not certificate.upper < 0:
        out.append(f"v <= {stated(certificate.upper)} is claimed, which is not below 0")
    return out


def _slack(certificate: UnsatCertificate) -> float:
    return _TOLERANCE * max(1.0, abs(certificate.upper))


def _upper(certificate: UnsatCertificate, network: ReluNetwork, specification: Specification, deadline: float) -> float:
    """What is shown of v.

    Raises:
        MalformedProofError: the trees are none of this question.
        TimeoutError: the deadline has passed.
    """
    if not specification.disjuncts:
        return -math.inf
    rows = Rows.of(network, specification)
    shape = (certificate.moving, certificate.rows)
    found = (rows.moving.size, rows.which.shape[1])
    if shape != found:
        raise MalformedProofError(f"moving inputs and rows are {shape} in the certificate, {found} here")
    if any(tree.clips.shape[1:] != (2, shape[0]) or tree.mixtures.shape[1] != shape[1] for tree in certificate.trees):
        raise MalformedProofError("a tree has clips of other inputs, or mixtures of other rows")
    neurons = rows.graph.neurons
    if any(len(tree.slopes) and tree.slopes.shape[1] != neurons for tree in certificate.trees):
        raise MalformedProofError(f"a tree has slopes of other neurons than the {neurons} here")
    if rows.moving.size > MAX_MOVING:
        raise MalformedProofError(f"{rows.moving.size} inputs move; at most {MAX_MOVING} are replayed")
    replay = _Replay(rows, certificate.level, certificate.upper)
    total = len(certificate.trees)
    for d, tree in enumerate(certificate.trees):
        for asked in _asked(tree, specification, d, rows):
            replay.ask(d, asked)
            if replay.full and replay.upper > certificate.upper + _slack(certificate):
                return math.inf  # what is left cannot mend it
            if replay.full and time.monotonic() > deadline:
                raise TimeoutError(f"the time limit ended the checker's replay in disjunct {d + 1} of {total}")
    replay.flush()
    return replay.upper


def _asked(tree: Halvings, specification: Specification, d: int, rows: Rows) -> Iterator[Asked]:
    box = specification.disjuncts[d].box
    return tree.walk(box.lower, box.upper, rows.moving)


class _Replay:
    """What trees ask to be shown, batch by batch; ``upper`` is what has been shown of v, inf where a clip cut off too much."""

    def __init__(self, rows: Rows, level: float, enough: float) -> None:
        self._confining, self._rows = Confining(rows), rows
        self._level, self._enough = level, enough
        self._waiting: dict[tuple[bool, bool], list[tuple[int, Asked]]] = {}
        self._size = max(1, min(_BATCH, _NUMBERS // self._confining.numbers()))
        self.upper, self.full = -math.inf, False

    def ask(self, disjunct: int, asked: Asked) -> None:
        """Take up one more; ``full`` says whether that completed a batch."""
        kind = asked.deep, asked.slopes is not None
        waiting = self._waiting.setdefault(kind, [])
        waiting.append((disjunct, asked))
        self.full = len(waiting) >= self._size
        if self.full:
            self._show(*kind, self._waiting.pop(kind))

    def flush(self) -> None:
        """Bound what waits."""
        for kind, waiting in self._waiting.items():
            self._show(*kind, waiting)
        self._waiting = {}

    def _show(self, deep: bool, sloped: bool, waiting: list[tuple[int, Asked]]) -> None:
        clips = [each for each in waiting if each[1].codes is not None]
        leaves = [each for each in waiting if each[1].codes is None]
        none = np.zeros(self._rows.which.shape[1], np.float32)
        if clips:
            found = self._of(clips, deep, math.inf, np.tile(none, (len(clips), 1)))
            codes = np.stack([asked.codes for _, asked in clips if asked.codes is not None])
            self.upper = max(self.upper, self._level if found.shows(codes).all() else math.inf)
        if leaves:
            mixture = np.stack([none if asked.mixture is None else asked.mixture for _, asked in leaves])
            mixture = np.where(np.isfinite(mixture), mixture, 0.0)
            found = self._of(leaves, deep, math.inf if sloped else self._enough, mixture)
            top = np.minimum(found.top, np.where(found.empty, self._level, math.inf))
            if sloped:
                slopes = np.stack([asked.slopes for _, asked in leaves if asked.slopes is not None])
                disjunct = np.array([d for d, _ in leaves])
                top = np.fmin(top, self._confining.along(found, disjunct, np.arange(len(leaves)), mixture, slopes))
            self.upper = max(self.upper, float(np.where(np.isnan(top), math.inf, top).max()))

    def _of(self, asked: list[tuple[int, Asked]], deep: bool, enough: float, mixture: NDArray[np.float32]) -> Confined:
        return self._confining.of(
            np.stack([each.lower for _, each in asked]),
            np.stack([each.upper for _, each in asked]),
            np.array([disjunct for disjunct, _ in asked]),
            self._level,
            deep=deep,
            mixture=mixture,
            enough=enough,
        )
