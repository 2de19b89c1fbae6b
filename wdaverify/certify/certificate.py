"""The file of a certificate: one compressed ``.npz`` archive of plain arrays (docs/certificate.md).

Floats of the meta data are written as hexadecimal strings, exactly. Reading checks form alone: what the content proves is
``certify.checker``'s to say.
"""

from __future__ import annotations

import io
import json
import math
import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wdaverify.archive import ArrayArchive, TooLargeError, pack
from wdaverify.certify.file import (
    MAX_BYTES,
    MAX_TEXT,
    MEMORY,
    Form,
    numbers,
    packed_to,
    parted,
    read_from,
    read_stream,
    shaped,
    text_of,
)
from wdaverify.certify.leaf_row import Layout
from wdaverify.certify.lower import Atoms
from wdaverify.certify.proof import OWN, Proof, Tightening, Tree
from wdaverify.errors import CertificateError, OutputError
from wdaverify.given import array, flag, instance, integers, real, settle, told, whole
from wdaverify.network.model import Array
from wdaverify.untrusted import shown

_FORMAT, _OLD, _OLDEST = (f"wdaverify certificate {k}" for k in (3, 2, 1))
"""What is written; the old ones know neither labels nor cuts, and the oldest no rows that tighten bounds. They are read all the same."""
_A_TREE = 2**10
"""About what a tree or a tightening takes beside its arrays."""
MAX_TREES = 2**19
"""The most trees, and the most proofs."""
MAX_TIGHTS = 2**22
"""The most nodes at which bounds are tightened."""
VALUE, CURVE, DISTANCES = "value", "curve", "distances"
"""What a certificate is of: V at the radius, V at every radius up to it, or every sample's distance to an error."""
_ARRAYS = {
    "meta": "|u1",
    "support": "<f8",
    "atom_sample": "<i8",
    "atom_weight": "<f8",
    "atom_point": "<f8",
    "proof_sample": "<i8",
    "proof_rival": "<i8",
    "proof_multiplier": "<f8",
    "proof_trees": "<i8",
    "tree_near": "<f8",
    "tree_far": "<f8",
    "tree_nodes": "<i8",
    "tree_vectors": "<i8",
    "nodes": "<i4",
    "vectors": "|u1",
    "tree_tights": "<i8",
    "tight_level": "<f8",
    "tight_rows": "<i8",
    "tight_beta": "<f4",
    "row_at": "<i4",
    "row_weight": "<f4",
    "row_slopes": "|u1",
    "tree_forks": "<i8",
    "forks": "<f8",
    "atom_label": "<i8",
    "atom_witness": "<i8",
    "witness_radius": "<f8",
    "claims": "<f8",
    "lines": "<f8",
    "proof_label": "<i8",
}
_OF_FAR = {f"far_{name}": kind for name, kind in _ARRAYS.items() if name.startswith(("tree_", "tight_", "row_"))}
_OF_FAR |= {f"far_{name}": _ARRAYS[name] for name in ("nodes", "vectors", "forks")}
_ARRAYS |= {"slope_rival": "<i8", "slope_trees": "<i8", **_OF_FAR}
_OF_TIGHTENING = ("tree_tights", "tight_level", "tight_rows", "tight_beta", "row_at", "row_weight", "row_slopes")
_OF_CUTS = ("tree_forks", "forks")
_OF_CLAIMS = ("atom_witness", "witness_radius", "claims", "lines")
_SINCE_3 = (*_OF_CUTS, "atom_label", "proof_label", *_OF_CLAIMS, "slope_rival", "slope_trees", *_OF_FAR)
_OF_TREES = ("tree_near", "tree_far", "tree_nodes", "tree_vectors", "nodes", "vectors", *_OF_TIGHTENING, *_OF_CUTS)
_META: dict[str, tuple[type, ...]] = {
    "network_sha256": (str,),
    "samples_sha256": (str,),
    "count": (int,),
    "clip": (bool,),
    "label_column": (str, type(None)),
    "norm": (str,),
    "loss": (str,),
    "neurons": (int,),
    "of": (str,),
    "arithmetic": (str,),
}
_HASHES = ("specification_sha256", "weights_sha256", "rows_sha256", "integers_sha256", "functionals_sha256")
_LATER: dict[str, tuple[type, ...]] = dict.fromkeys(_HASHES, (str, type(None)))
"""Meta data that files written before there were any of them lack, which is None."""
_COUNTS = ("rows", "margins", "far_neurons")
"""Meta data of the kinds of numbers in a row, which old files lack, which is 0."""
_FLOATS = ("radius", "order", "lower", "upper", "multiplier", "label_cost")


@dataclass(frozen=True, eq=False)
class Certificate:
    """What is claimed, of which network and samples, and what shows it.

    ``lower, upper`` are the claimed bracket. ``count, clip, label_column`` say how the samples were read from their file.
    support_lower, support_upper ``[n]``; the atoms of the lower bound: sample ``[A]``, weight ``[A]``, point ``[A, n]``;
    ``multiplier`` is that of the dual (0 for zero-one); ``neurons`` is the number M of hidden neurons. ``specification_sha256`` is that of
    the specification's file, None for a loss without one; the other hashes are those of ``certify.question``. ``rows`` and ``margins``
    are how many of these a leaf has numbers of; ``atom_label [A]`` are the atoms' labels, None where all are their samples' own.

    Of a curve or of distances ``claims [C, 3]`` are what is claimed: a radius, or the number of a sample, with a lower and an upper
    bound. On the whole space ``slopes`` are proofs about the network without biases, of ``far_neurons`` neurons (``certify.faraway``).
    ``arithmetic`` is "float32" where the bracket is of the network as deployed: what is shown is about real arithmetic, and the checker
    adds the errors. ``lines`` are the multipliers of a curve, and atoms belong to distributions ``atom_witness [A]``, each in the ball of a
    ``witness_radius [W]``; the atoms of distances are errors.
    """

    network_sha256: str
    samples_sha256: str
    count: int
    clip: bool
    label_column: str | None
    radius: float
    order: float
    norm: str
    loss: str
    support_lower: Array
    support_upper: Array
    lower: float
    upper: float
    multiplier: float
    atom_sample: NDArray[np.int64]
    atom_weight: Array
    atom_point: Array
    proofs: tuple[Proof, ...]
    neurons: int
    specification_sha256: str | None = None
    label_cost: float = math.inf
    weights_sha256: str | None = None
    rows_sha256: str | None = None
    integers_sha256: str | None = None
    functionals_sha256: str | None = None
    rows: int = 0
    margins: int = 0
    far_neurons: int = 0
    slopes: tuple[Proof, ...] = ()
    atom_label: NDArray[np.int64] | None = None
    of: str = VALUE
    arithmetic: str = "real"
    claims: Array = field(default_factory=lambda: np.zeros((0, 3)))
    lines: Array = field(default_factory=lambda: np.zeros(0))
    witness_radius: Array = field(default_factory=lambda: np.zeros(0))
    atom_witness: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))

    @property
    def atoms(self) -> Atoms:
        """The distribution that proves the lower bound."""
        return Atoms(self.atom_sample, self.atom_weight, self.atom_point, self.atom_label)

    @property
    def content(self) -> str:
        """How much it is, in words."""
        leaves = sum(int((tree.nodes >= 0).sum()) + 1 for proof in self.proofs for tree in proof.trees)
        return f"{len(self.proofs)} proofs, {leaves} leaves"

    @property
    def layout(self) -> Layout:
        """What the rows of its leaves hold."""
        return Layout(self.neurons, self.rows, self.margins)

    def __post_init__(self) -> None:
        """Check the types alone: nothing is copied, and what the content proves is the checker's to say."""
        fields: dict[str, Any] = {name: getattr(self, name) for name in (*_META, *_LATER, *_COUNTS, *_FLOATS)}
        for name, kinds in (*_META.items(), *_LATER.items()):
            if str in kinds and not isinstance(fields[name], kinds):
                raise CertificateError(
                    f"{name} {told(fields[name])}: a text is accepted; read_certificate(path) reads a certificate"
                )
        for name in _FLOATS:
            settle(self, **{name: real(name, fields[name], "a number", lambda _: True, CertificateError)})
        if math.isfinite(self.order) and self.order == int(self.order):
            settle(self, order=int(self.order))
        for name in ("count", "neurons", *_COUNTS):
            settle(self, **{name: whole(name, fields[name], "a whole number", lambda _: True, CertificateError)})
        settle(self, clip=flag("clip", self.clip, CertificateError))
        for name in ("support_lower", "support_upper", "atom_weight", "atom_point"):
            held = getattr(self, name)
            if not (isinstance(held, np.ndarray) and held.dtype == np.float64):
                settle(self, **{name: array(name, held, CertificateError, infinite=True)})
        if not (isinstance(self.atom_sample, np.ndarray) and self.atom_sample.dtype == np.int64):
            settle(self, atom_sample=integers("atom_sample", self.atom_sample, CertificateError))
        if self.atom_label is not None and not (
            isinstance(self.atom_label, np.ndarray) and self.atom_label.dtype == np.int64
        ):
            settle(self, atom_label=integers("atom_label", self.atom_label, CertificateError))
        atoms, point = self.atom_sample.shape, self.atom_point
        if self.support_lower.ndim != 1 or self.support_upper.shape != self.support_lower.shape:
            raise CertificateError("the support is support_lower [n] and support_upper [n]")
        if len(atoms) != 1 or self.atom_weight.shape != atoms or point.shape != (*atoms, self.support_lower.size):
            raise CertificateError("the atoms are atom_sample [A], atom_weight [A] and atom_point [A, n]")
        if self.atom_label is not None and self.atom_label.shape != atoms:
            raise CertificateError("the labels of the atoms are atom_label [A]")
        for name in ("claims", "lines", "witness_radius"):
            held = getattr(self, name)
            if not (isinstance(held, np.ndarray) and held.dtype == np.float64):
                settle(self, **{name: array(name, held, CertificateError, infinite=True)})
        if self.claims.ndim != 2 or self.claims.shape[1] != 3 or self.lines.ndim != 1 or self.witness_radius.ndim != 1:
            raise CertificateError("the claims are claims [C, 3], lines [L] and witness_radius [W]")
        if not (isinstance(self.atom_witness, np.ndarray) and self.atom_witness.dtype == np.int64):
            settle(self, atom_witness=integers("atom_witness", self.atom_witness, CertificateError))
        both = self.proofs, self.slopes
        if not all(isinstance(held, tuple) and all(isinstance(proof, Proof) for proof in held) for held in both):
            raise CertificateError("the proofs are a tuple of those that a run with certificate=True keeps")


def rounded(vectors: Array, bits: int = 40) -> Array:
    """Doubles rounded to so many bits of mantissa, so that they pack well; a proof holds with any numbers."""
    mantissa, exponent = np.frexp(vectors)
    return np.asarray(np.ldexp(np.round(mantissa * 2.0**bits), exponent - bits))


def write_certificate(path: str | os.PathLike[str], certificate: Certificate) -> int:
    """Write the file whole or not at all; its size in bytes.

    Raises:
        OutputError: the file cannot be written.
        CertificateError: there is no certificate.
    """
    checked(certificate)
    arrays = _packed(certificate)
    trees, tights = arrays["tree_near"].size, arrays["tight_level"].size
    if max(trees, len(certificate.proofs)) > MAX_TREES or tights > MAX_TIGHTS:
        raise OutputError(
            f"the certificate would have {trees} trees and {tights} tightenings; at most {MAX_TREES} and {MAX_TIGHTS} can be read "
            "again: ask for fewer samples or a wider gap"
        )
    return packed_to(path, arrays)


def read_certificate(path: str | os.PathLike[str], memory: float = MEMORY) -> Certificate:
    """Read a file, whose content may take so many bytes of memory.

    Raises:
        CertificateError: it is no certificate that can be read; one line that says what was found.
    """
    return read_from(path, memory, _FORM)


def checked(certificate: object) -> None:
    """Refuse what is no certificate.

    Raises:
        CertificateError: it is none.
    """
    way_out = "read_certificate(path) reads one, and verify(problem, certificate=True) makes one"
    instance("certificate", certificate, Certificate, way_out, CertificateError)


def packed(certificate: Certificate) -> bytes:
    """What the file holds."""
    stream = io.BytesIO()
    pack(stream, _packed(certificate))
    return stream.getvalue()


def unpacked(content: bytes, memory: float = MEMORY) -> Certificate:
    """The certificate of ``packed``, read as a stranger's.

    Raises:
        UnreadableError: it is none, or takes more bytes of memory than that.
    """
    return read_stream(io.BytesIO(content), memory, _FORM)


def _those(names: Collection[str]) -> dict[str, str]:
    """The arrays that a file of some format has."""
    late = ((_OF_TIGHTENING[0], _OF_TIGHTENING), (_OF_CUTS[0], _SINCE_3))
    missing = {name for first, held in late if first not in names for name in held}
    return {name: kind for name, kind in _ARRAYS.items() if name not in missing}


def _read(arrays: dict[str, NDArray[Any]], memory: int) -> Certificate:
    trees, tights = arrays["tree_near"].size, arrays["tight_level"].size if "tight_level" in arrays else 0
    if trees <= MAX_TREES and tights <= MAX_TIGHTS and memory < (trees + tights) * _A_TREE:
        raise TooLargeError(f"it has {trees} trees and {tights} nodes at which bounds are tightened")
    return _unpacked(arrays)


_FORM = Form("", "a file written by --certificate", _those, _read)


def _packed(certificate: Certificate) -> dict[str, Any]:
    meta = {
        "format": _FORMAT,
        **{name: getattr(certificate, name) for name in (*_META, *_LATER, *_COUNTS)},
        **{name: float(getattr(certificate, name)).hex() for name in _FLOATS},
    }
    arrays = {
        "meta": np.frombuffer(json.dumps(meta).encode(), np.uint8),
        "support": np.stack([certificate.support_lower, certificate.support_upper]),
        "atom_sample": certificate.atom_sample,
        "atom_weight": certificate.atom_weight,
        "atom_point": certificate.atom_point,
        "proof_sample": [proof.sample for proof in certificate.proofs],
        "proof_rival": [proof.rival for proof in certificate.proofs],
        "proof_multiplier": [proof.multiplier for proof in certificate.proofs],
        "proof_trees": [len(proof.trees) for proof in certificate.proofs],
        "proof_label": [proof.label for proof in certificate.proofs],
        **{name: getattr(certificate, name) for name in _OF_CLAIMS},
        "slope_rival": [proof.rival for proof in certificate.slopes],
        "slope_trees": [len(proof.trees) for proof in certificate.slopes],
        "atom_label": np.full(certificate.atom_sample.size, OWN)
        if certificate.atom_label is None
        else certificate.atom_label,
    }
    trees = _flat([tree for proof in certificate.proofs for tree in proof.trees], certificate.layout)
    far = _flat([tree for proof in certificate.slopes for tree in proof.trees], Layout(certificate.far_neurons))
    trees |= {f"far_{name}": values for name, values in far.items()}
    return trees | {name: np.asarray(values, dtype=_ARRAYS[name]) for name, values in arrays.items()}


def _flat(trees: Sequence[Tree], layout: Layout) -> dict[str, NDArray[Any]]:
    """Trees as flat arrays with their counts."""
    vectors = [tree.vectors for tree in trees if len(tree.vectors)]
    stacked = np.concatenate(vectors) if vectors else layout.zeros(0).numbers
    arrays: dict[str, Any] = {
        "tree_near": [tree.near for tree in trees],
        "tree_far": [tree.far for tree in trees],
        "tree_nodes": [tree.nodes.size for tree in trees],
        "tree_vectors": [tree.vectors.shape[0] for tree in trees],
        "nodes": np.concatenate([tree.nodes for tree in trees]) if trees else [],
        "vectors": np.ascontiguousarray(stacked, "<f8").reshape(-1, 1).view(np.uint8).T,
        **_flat_tights(trees, layout.neurons),
        "tree_forks": [len(tree.forks) for tree in trees],
        "forks": np.concatenate([tree.forks for tree in trees]) if trees else np.zeros((0, 3)),
    }
    return {name: np.asarray(values, dtype=_ARRAYS[name]) for name, values in arrays.items()}


def _flat_tights(trees: Sequence[Tree], neurons: int) -> dict[str, Any]:
    tights = [tight for tree in trees for tight in tree.tights]
    return {
        "tree_tights": [len(tree.tights) for tree in trees],
        "tight_level": [tight.level for tight in tights],
        "tight_rows": [tight.at.size for tight in tights],
        "tight_beta": np.stack([tight.beta for tight in tights]) if tights else np.zeros((0, neurons)),
        "row_at": np.concatenate([tight.at for tight in tights]) if tights else [],
        "row_weight": np.concatenate([tight.weight for tight in tights]) if tights else [],
        "row_slopes": np.concatenate([tight.slopes for tight in tights]) if tights else np.zeros((0, neurons)),
    }


def packed_trees(trees: Sequence[Tree], layout: Layout) -> bytes:
    """Trees alone, in the form that the file has."""
    stream = io.BytesIO()
    pack(stream, _flat(trees, layout))
    return stream.getvalue()


def unpacked_trees(content: bytes, layout: Layout) -> tuple[Tree, ...]:
    """The trees of ``packed_trees``, read as a stranger's.

    Raises:
        ValueError: the content is no trees whose leaves have such rows.
    """
    with ArrayArchive(io.BytesIO(content), MAX_BYTES, width=1) as archive:
        wanted = [name for name in _OF_TREES if name in _those(archive.names)]
        return tuple(_trees({name: archive.read(name, _ARRAYS[name]) for name in wanted}, layout))


def _unpacked(arrays: dict[str, NDArray[Any]]) -> Certificate:
    meta = text_of(arrays["meta"], (_FORMAT, _OLD, _OLDEST), ("network_sha256", "samples_sha256"), _HASHES)
    form = meta["format"]
    if (form != _OLDEST) != (_OF_TIGHTENING[0] in arrays) or (form == _FORMAT) != (_OF_CUTS[0] in arrays):
        raise ValueError(f"it lacks arrays of {form!r}, or has too many")
    if form != _FORMAT:
        meta |= {"of": VALUE, "order": _old_order(meta.get("order")), "label_cost": "inf", **dict.fromkeys(_COUNTS, 0)}
    meta = {**dict.fromkeys(_LATER), "arithmetic": "real", **meta}
    for name, kinds in (*_META.items(), *_LATER.items(), *((name, (int,)) for name in _COUNTS)):
        if not isinstance(meta[name], kinds) or (isinstance(meta[name], bool) and bool not in kinds):
            raise TypeError(f"{name} is {shown(repr(meta[name]), 60)}")
        if isinstance(meta[name], str) and len(meta[name]) > MAX_TEXT:
            raise ValueError(f"{name} has {len(meta[name])} characters")
        if isinstance(meta[name], int) and not -(2**53) <= meta[name] <= 2**53:
            raise ValueError(f"{name} is beyond 2^53")
    fields: dict[str, Any] = {name: meta[name] for name in (*_META, *_LATER, *_COUNTS)}
    fields |= numbers(meta, *_FLOATS)
    if fields["lower"] > fields["upper"] or fields["lower"] == math.inf or fields["upper"] == -math.inf:
        raise ValueError(f"it claims the bracket [{fields['lower']}, {fields['upper']}], which is none")
    support, point = arrays["support"], arrays["atom_point"]
    shaped("support", support, (2, support.shape[-1] if support.ndim else 0))
    shaped("atom_sample", arrays["atom_sample"], (arrays["atom_weight"].size,))
    shaped("atom_weight", arrays["atom_weight"], (arrays["atom_sample"].size,))
    shaped("atom_point", point, (arrays["atom_sample"].size, support.shape[1]))
    label = arrays.get("atom_label")
    if label is not None:
        shaped("atom_label", label, arrays["atom_sample"].shape)
        label = None if (label == OWN).all() else label
    layout = Layout(meta["neurons"], meta["rows"], meta["margins"])
    if meta["of"] not in (VALUE, CURVE, DISTANCES) or np.isnan(arrays.get("claims", np.zeros(1))).any():
        raise ValueError(f"it is of {shown(repr(meta['of']), 60)}, or a claim is NaN")
    fields |= {name: arrays[name] for name in _OF_CLAIMS if name in arrays}
    return Certificate(
        **fields,
        support_lower=support[0],
        support_upper=support[1],
        atom_sample=arrays["atom_sample"],
        atom_weight=arrays["atom_weight"],
        atom_point=point,
        proofs=_proofs(arrays, layout),
        atom_label=label,
        slopes=_slopes(arrays, Layout(meta["far_neurons"])) if "slope_rival" in arrays else (),
    )


def _slopes(arrays: dict[str, NDArray[Any]], layout: Layout) -> tuple[Proof, ...]:
    """The proofs of slopes, each of a functional."""
    trees = _trees({name.removeprefix("far_"): arrays[name] for name in _OF_FAR}, layout)
    rivals, counts = arrays["slope_rival"], arrays["slope_trees"]
    shaped("slope_rival", rivals, (rivals.size,))
    shaped("slope_trees", counts, (rivals.size,))
    edges = pairwise(parted("slope_trees", counts, len(trees)))
    return tuple(Proof(0, rival, 0.0, tuple(trees[a:b])) for rival, (a, b) in zip(rivals.tolist(), edges, strict=True))


def _old_order(stated: object) -> str:
    """The order of an old file, a whole number there."""
    if not isinstance(stated, int) or isinstance(stated, bool) or not 0 < stated <= MAX_TEXT:
        raise TypeError(f"order is {shown(repr(stated), 60)}")
    return float(stated).hex()


def _proofs(arrays: dict[str, NDArray[Any]], layout: Layout) -> tuple[Proof, ...]:
    """The proofs, cut out of the flat arrays by their counts."""
    proofs = arrays["proof_trees"].size
    if proofs > MAX_TREES:
        raise ValueError(f"it has {proofs} proofs, more than {MAX_TREES}")
    arrays.setdefault("proof_label", np.full(proofs, OWN))
    for name in ("proof_sample", "proof_rival", "proof_multiplier", "proof_trees", "proof_label"):
        shaped(name, arrays[name], (proofs,))
    built = _trees(arrays, layout)
    edges = parted("proof_trees", arrays["proof_trees"], len(built))
    columns = (arrays[f"proof_{name}"].tolist() for name in ("sample", "rival", "multiplier", "label"))
    return tuple(
        Proof(sample, rival, multiplier, tuple(built[a:b]), label)
        for sample, rival, multiplier, label, (a, b) in zip(*columns, pairwise(edges), strict=True)
    )


def _trees(arrays: dict[str, NDArray[Any]], layout: Layout) -> list[Tree]:
    """The trees, cut out of the flat arrays by their counts."""
    trees = arrays["tree_near"].size
    if trees > MAX_TREES:
        raise ValueError(f"it has {trees} trees, more than {MAX_TREES}")
    for name in ("tree_near", "tree_far", "tree_nodes", "tree_vectors"):
        shaped(name, arrays[name], (trees,))
    neurons, width = layout.neurons, layout.width
    if not all(0 <= kind <= MAX_BYTES for kind in (neurons, layout.rows, layout.margins)):
        raise ValueError(f"{neurons} neurons, {layout.rows} rows and {layout.margins} margins")
    planes = arrays["vectors"]
    shaped("vectors", planes, (8, sum(arrays["tree_vectors"].tolist()) * width))
    vectors = np.ascontiguousarray(planes.T).view("<f8").reshape(-1, width).astype(np.float64, copy=False)
    node_edges = parted("tree_nodes", arrays["tree_nodes"], arrays["nodes"].size)
    row_edges = parted("tree_vectors", arrays["tree_vectors"], vectors.shape[0])
    nodes, tights, forks = arrays["nodes"].reshape(-1), _tights(arrays, trees, neurons), _forks(arrays, trees)
    return [
        Tree(
            float(near),
            float(far),
            nodes[node_edges[k] : node_edges[k + 1]],
            vectors[row_edges[k] : row_edges[k + 1]],
            tights[k],
            forks[k],
        )
        for k, (near, far) in enumerate(zip(arrays["tree_near"], arrays["tree_far"], strict=True))
    ]


def _forks(arrays: dict[str, NDArray[Any]], trees: int) -> list[Array]:
    """The cuts of each tree, cut out of the flat array by their counts."""
    if _OF_CUTS[0] not in arrays:
        return [np.zeros((0, 3))] * trees
    shaped("tree_forks", arrays["tree_forks"], (trees,))
    count = sum(arrays["tree_forks"].tolist())
    shaped("forks", arrays["forks"], (count, 3))
    return [arrays["forks"][a:b] for a, b in pairwise(parted("tree_forks", arrays["tree_forks"], count))]


def _tights(arrays: dict[str, NDArray[Any]], trees: int, neurons: int) -> list[tuple[Tightening, ...]]:
    """What tightens the bounds of each tree, cut out of the flat arrays by their counts."""
    if _OF_TIGHTENING[0] not in arrays:
        return [()] * trees
    count = arrays["tight_level"].size
    if count > MAX_TIGHTS:
        raise ValueError(f"it has {count} tightenings, more than {MAX_TIGHTS}")
    shaped("tree_tights", arrays["tree_tights"], (trees,))
    shaped("tight_level", arrays["tight_level"], (count,))
    shaped("tight_rows", arrays["tight_rows"], (count,))
    rows = sum(arrays["tight_rows"].tolist())
    for name, shape in (
        ("tight_beta", (count, neurons)),
        ("row_at", (rows,)),
        ("row_weight", (rows,)),
        ("row_slopes", (rows, neurons)),
    ):
        if arrays[name].size or shape[0]:
            shaped(name, arrays[name], shape)
    edges, row_edges = (
        parted("tree_tights", arrays["tree_tights"], count),
        parted("tight_rows", arrays["tight_rows"], rows),
    )
    built = [
        Tightening(float(level), arrays["row_at"][a:b], arrays["row_weight"][a:b], arrays["row_slopes"][a:b], beta)
        for level, beta, (a, b) in zip(arrays["tight_level"], arrays["tight_beta"], pairwise(row_edges), strict=True)
    ]
    return [tuple(built[a:b]) for a, b in pairwise(edges)]
