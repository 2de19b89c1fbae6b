"""What is fuzzed: per reader some valid files, how they are mutated, and what a file that is read must be."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice
from pathlib import Path

import numpy as np
import onnx
import pytest
from bounds.tiny import problem, random_layers
from builders import build_model, write_mlp
from certify.tightenings import with_tights
from checking.small import random_question
from fuzz.mutations import (
    Rng,
    archive_mutated,
    bytes_mutated,
    members,
    model_mutated,
    npy,
    pick,
    tokens_mutated,
    zipped,
)
from network.operators import OPERATIONS
from network.test_onnx_reader import CASES

from wdaverify import (
    Loss,
    ReluNetwork,
    Specification,
    WdroProblem,
    check,
    load_network,
    load_samples,
    read_certificate,
    read_unsat,
    recheck,
    recheck_unsat,
    verify,
    write_certificate,
    write_unsat,
)
from wdaverify.batch_file import read_rows
from wdaverify.certify.proof import Tree
from wdaverify.checking import check as checking
from wdaverify.errors import (
    CertificateError,
    InputError,
    NetworkError,
    ProblemError,
    SamplesError,
    SpecificationError,
)
from wdaverify.graph.nodes import Affine
from wdaverify.instances_file import read_instances
from wdaverify.question_files import load_functionals, load_support, load_weights
from wdaverify.specification.reader import load_specification

WIDTH = 3
MODELS = Path(__file__).parents[2] / "models"


@dataclass(frozen=True)
class Reader:
    """``read`` raises ``refusal`` or returns what ``check`` holds to its promises; ``seeds`` are files that are read."""

    suffix: str
    refusal: type[InputError]
    seeds: Callable[[], Sequence[bytes]]
    mutate: Callable[[Rng, bytes, Sequence[bytes]], bytes]
    check: Callable[[Path], None]
    count: int
    """How many inputs the full run takes."""


def _half(structured: Callable[[Rng, bytes], bytes]) -> Callable[[Rng, bytes, Sequence[bytes]], bytes]:
    """Half of the inputs by bytes alone, half by structure; of these some by bytes as well."""

    def mutate(rng: Rng, data: bytes, others: Sequence[bytes]) -> bytes:
        if rng.random() < 0.5:
            return bytes_mutated(rng, data, others)
        out = structured(rng, data)
        return bytes_mutated(rng, out, others) if rng.random() < 0.1 else out

    return mutate


# Networks


@cache
def _models() -> tuple[bytes, ...]:
    """One small model for every accepted operator and form, and bundled ones."""
    cases = [*CASES.values(), *OPERATIONS.values()]
    small = [build_model(*case[:3], opset=case[3]).SerializeToString() for case in cases]
    return (*small, (MODELS / "iris_8x8.onnx").read_bytes())


def _network(path: Path) -> None:
    net = load_network(path)
    assert np.prod(net.input_shape, dtype=np.int64) == net.n_inputs >= 1
    if net.n_inputs > 1000:
        return
    for node in net.graph.nodes:
        if isinstance(node, Affine):
            assert all(np.isfinite(part).all() for part in (node.bias, *(n for m in node.maps for n in m.numbers)))
    with np.errstate(all="ignore"):
        assert net.forward(np.zeros((1, net.n_inputs))).shape == (1, net.n_outputs)
    assert net.canonical.outputs == net.n_outputs
    assert all(notice.isprintable() for notice in net.notices)


# Samples


def _saved(packed: bool, **arrays: np.ndarray) -> bytes:
    out = io.BytesIO()
    (np.savez_compressed if packed else np.savez)(out, **arrays)
    return out.getvalue()


@cache
def _sample_archives() -> tuple[bytes, ...]:
    rng = np.random.default_rng(0)
    x, y, w = rng.uniform(size=(4, WIDTH)), np.array([0, 1, 2, 0]), np.array([1.0, 2.0, 0.5, 0.0])
    return tuple(
        _saved(packed, **arrays)
        for packed in (False, True)
        for arrays in (
            {"x": x, "y": y},
            {"x": x.astype("f4"), "y": y.astype("u1"), "w": w},
            {"x": np.asfortranarray(x.reshape(4, 3, 1)), "y": y.astype("f8"), "w": w.astype(">f4"), "other": x},
            {"x": (x * 255).astype("u1"), "y": y.astype("i4")},
        )
    )


@cache
def _sample_tables() -> tuple[bytes, ...]:
    return (
        b"0.5,1,2\n-1,3e-1,0\n0.25,0.125,1\n",
        b"\xef\xbb\xbfa,b,label\n0.5,1,2\n-1,0.3,0\n",
        b"a,b,label\r\n0.5,1,2\r\n\r\n-1,0.3,0\r\n",
        b'1,2,"the label"\n0.5, 1 ,2.0\n-1,0.3,0\n',
        b"0,1,label\n" + b"0.5,1,2\n" * 20,
    )


def _samples(path: Path) -> None:
    samples = load_samples(path)
    assert samples.x.ndim == 2
    assert min(samples.x.shape) >= 1
    assert np.isfinite(samples.x).all()
    assert samples.y.shape == samples.w.shape == (len(samples),)
    assert (samples.w >= 0).all()
    assert abs(samples.w.sum() - 1) < 1e-9
    assert samples.source.isprintable()


# Question files

_TOML_WORDS = (
    "lower",
    "upper",
    "[[rows]]",
    "coefficients",
    "weights",
    "matrix",
    "=",
    "[",
    "]",
    "{",
    "}",
    ",",
    '"',
    "'",
    "'''",
)
_TOML_WORDS += (
    '"""',
    "#",
    "\r\n",
    "\r",
    ".",
    "[" * 2000,
    "a." * 2000,
    "inf",
    "true",
    "1979-05-27",
    "0xffffffffffffffffff",
)
_TOML = (
    b"lower = [0.0, 0.0, 0.0]\nupper = 10.0\ninteger = [2]\n\n[[rows]] # a row\ncoefficients = [1.0, -1.0, 0.0]\nlower = -5.0\n",
    b"lower = 0\nupper = 3\none_hot = [[0, 1]]\n",
    b"lower = -inf\nupper = inf\n",
    b"weights = [1.0, 2, inf]\n",
    b"matrix = [[1.0, -1.0, 0.0], [0.0, 1.0, -1.0]]\noffset = [0.0, 0.5]\n",
    b"matrix = [[1.0], [-1.0]]\noffset = [[-0.5, 0.5], [2.0, -2.0]]\n",
)


@cache
def _part_archives() -> tuple[bytes, ...]:
    row = np.array([[1.0, 1.0, 0.0]])
    return (
        _saved(
            False, lower=np.array(0.0), upper=np.ones(3), rows=row, row_upper=np.array([1.5]), integer=np.array([1])
        ),
        _saved(True, lower=np.zeros(3), upper=np.ones(3), one_hot=np.array([[0, 1]])),
        _saved(False, weights=np.array([1.0, 2.0, np.inf])),
        _saved(False, matrix=row, offset=np.zeros((2, 1))),
    )


def _parts(path: Path) -> None:
    """Read as each of the three parts; refused if none can be made of it."""
    refusals: list[ProblemError] = []
    try:
        support = load_support(path, WIDTH)
        assert support.lower.shape == support.upper.shape == (WIDTH,)
        assert (support.lower <= support.upper).all()
    except ProblemError as error:
        refusals.append(error)
    try:
        assert load_weights(path, WIDTH).shape == (WIDTH,)
    except ProblemError as error:
        refusals.append(error)
    try:
        assert np.isfinite(load_functionals(path).matrix).all()
    except ProblemError as error:
        refusals.append(error)
    for error in refusals:
        assert str(error).isprintable()
    if len(refusals) == 3:
        raise refusals[int.from_bytes(path.read_bytes()[:1], "little") % 3]


# Batches

_BATCHES = (
    b'[defaults]\nnetwork = "n.onnx"\ndata = "d.npz"\nradius = 0.05\n\n[[job]]\n[[job]]\nname = "b"\nsupport = [0, 1.5]\nclip = true\n',
    b'[[job]] # one\nnetwork = "n.onnx"\ndata = "d.csv"\norder = inf\nsupport = "none"\ncost-weights = "w.toml"\n',
)


def _batch(path: Path) -> None:
    rows = read_rows(path)
    assert rows
    assert len({row.name for row in rows}) == len(rows)
    assert all(row.name.isprintable() for row in rows)
    assert all(isinstance(argument, str) for row in rows for argument in row.arguments)


# Specifications

_VNNLIB = (
    b"; one\n(declare-const X_0 Real)\n(declare-const X_1 Real)\n(declare-const Y_0 Real)\n(declare-const Y_1 Real)\n"
    b"(assert (<= X_0 0.5))\n(assert (>= X_0 -0.5))\n(assert (<= X_1 2.5e-1))\n(assert (>= X_1 0))\n(assert (<= Y_0 Y_1))\n",
    b"(set-logic QF_LRA)(declare-fun X_0 () Real)(declare-fun Y_0 () Real)(declare-fun Y_1 () Real)(assert (or (and (<= 0 X_0 1) "
    b"(< Y_0 (+ 0.1 (* -2 Y_1)))) (and (= X_0 3) (or (> (- Y_0) 1.5) (>= Y_1 (/ 1 3))))))(check-sat)",
    b"; two\n(vnnlib-version <2.0>)\n(declare-network n\n(declare-input X real [2,1])\n(declare-output Y real [2]))\n"
    b"(assert (and (<= X[0,0] 0.5) (>= X[0,0] -0.5)))\n(assert (<= X[1,0] 0.25))\n(assert (>= X[1,0] 0.0))\n"
    b"(assert (or (<= Y[0] (- Y[1])) (!= (+ (* -2.0 Y[0]) 1.0) (- Y[1] X[0,0] 0.5))))\n",
)
_VNNLIB_WORDS = ("(", ")", "assert", "and", "or", "<=", "=", "+", "*", "/", "X_0", "Y_1", "1e300", "-", ";", '"', "|")
_VNNLIB_WORDS += (
    "(assert (== Y[1] 0.5))",
    "X[0,0]",
    "[",
    "]",
    ",",
    "-1",
    "9" * 20,
    "real",
    "float32",
    "(declare-hidden H real [1])",
    "<2.0>",
)
_VNNLIB_WORDS += ("(" * 100, "(and " * 70, "declare-const", "not", "1e-999", "(assert (or (<= Y_0 1) (<= Y_1 1)))" * 9)


@cache
def _specifications() -> tuple[bytes, ...]:
    return (*_VNNLIB, gzip.compress(_VNNLIB[0], mtime=0))


def _specification_mutated(rng: Rng, data: bytes) -> bytes:
    """By words, which a packed file has none of."""
    if data[:2] == b"\x1f\x8b":
        return bytes_mutated(rng, data, _specifications())
    return _text(rng, data, _VNNLIB_WORDS, r"[\w.+-]+|.")


def _specification(path: Path) -> None:
    spec = load_specification(path)
    assert spec.inputs >= 1 <= spec.outputs
    assert spec.name.isprintable()
    assert len(repr(spec)) < 400
    for disjunct in spec.disjuncts:
        box = disjunct.box
        assert (box.lower <= box.least).all()
        assert (box.least <= box.most).all()
        assert (box.most <= box.upper).all()
        assert np.isfinite([box.lower, box.upper]).all()
        for row in disjunct.rows:
            assert row.outputs or row.inputs
            assert all(abs(factor) <= 10**300 and factor for _, factor in (*row.outputs, *row.inputs))
            row.holds([0.0] * spec.inputs, [1.0] * spec.outputs)


# Certificates


def _question(loss: Loss) -> WdroProblem:
    rng = np.random.default_rng(3)
    path = Path(_folder.name) / "net.onnx"
    net = load_network(write_mlp(path, random_layers(rng, 2, 3, 3), dtype=np.float64))
    x = rng.uniform(size=(3, 2))
    return problem(net, x, net.forward(x).argmax(axis=1), 0.05, loss=loss)


class _Folder:
    """A folder for the network, made by the test."""

    name = ""


_folder = _Folder()


def use(folder: Path) -> None:
    """Where files may be written."""
    _folder.name = str(folder)


@cache
def _questions() -> dict[str, WdroProblem]:
    return {loss.value: _question(loss) for loss in (Loss.MARGIN, Loss.ZERO_ONE)}


@cache
def _certificates() -> tuple[bytes, ...]:
    out = []
    path = Path(_folder.name) / "seed.cert"
    rng = np.random.default_rng(4)
    for asked in _questions().values():
        certificate = verify(asked, certificate=True).certificate
        assert certificate is not None
        proofs = [
            replace(p, trees=tuple(_with_rows(rng, t, certificate.neurons) for t in p.trees))
            for p in certificate.proofs
        ]
        for some in (certificate, replace(certificate, proofs=tuple(proofs))):
            write_certificate(path, some)
            out.append(path.read_bytes())
    return tuple(out)


def _with_rows(rng: Rng, tree: Tree, neurons: int) -> Tree:
    """The tree with rows that rest on levels that nothing attains, too, as long as they say so."""
    return with_tights(rng, tree, neurons, [-5.0, -np.inf, np.nan, 0.1, 100.0])


def _certificate_mutated(rng: Rng, data: bytes) -> bytes:
    """Archives mutated; of rows that tighten bounds some numbers alone, so that what is read is replayed."""
    if rng.random() < 0.5:
        return archive_mutated(rng, data, [data], "meta.npy")
    entries = members(data)
    for _ in range(int(rng.integers(1, 4))):
        name = pick(rng, _ROWS)
        array = np.load(io.BytesIO(entries[name])).copy()
        if array.size:
            values = _FLOATS if array.dtype.kind == "f" else _INTEGERS
            with np.errstate(over="ignore"):
                array.reshape(-1)[int(rng.integers(array.size))] = np.asarray(pick(rng, values)).astype(array.dtype)
        entries[name] = npy(array)
    return zipped(list(entries.items()))


_ROWS = ("tree_tights.npy", "tight_level.npy", "tight_rows.npy", "tight_beta.npy", "row_at.npy", "row_weight.npy")
_ROWS += ("row_slopes.npy", "nodes.npy", "tight_level.npy", "row_weight.npy")
_FLOATS = (0.0, -0.0, 1.0, -1.0, np.nan, np.inf, -np.inf, 1e300, -1e300, 1e38, -1e38, 1e-45, 5e-324, 1e6, -1e6)
_INTEGERS = (0, 1, -1, -2, -3, -4, 2, 3, 5, 12, 255, 2**31 - 1)


@cache
def _true_values() -> dict[str, tuple[float, float]]:
    brackets = {name: verify(asked, gap=1e-9) for name, asked in _questions().items()}
    return {name: (result.lower, result.upper) for name, result in brackets.items()}


def _certificate(path: Path) -> None:
    """One that is read is a matter for the checker, which proves no more than the truth of it."""
    certificate = read_certificate(path)
    for name, asked in _questions().items():
        verdict = recheck(certificate, asked)
        low, high = _true_values()[name]
        assert verdict.lower <= high + 1e-9
        assert low - 1e-9 <= verdict.upper
        assert all(len(reason) < 2000 for reason in verdict.reasons)


# Unsat


@cache
def _unsat_questions() -> tuple[tuple[ReluNetwork, Specification, float], ...]:
    asked = (random_question(seed) for seed in range(40))
    return tuple(islice((one for one in asked if one[2] < 0 and len(one[1].disjuncts) > 1), 3))


@cache
def _unsat_certificates() -> tuple[bytes, ...]:
    path, out = Path(_folder.name) / "unsat.cert", list[bytes]()
    for network, specification, value in _unsat_questions():
        certificate = check(network, specification, certificate=True).certificate
        assert value < 0
        assert certificate is not None
        write_unsat(path, certificate)
        out.append(path.read_bytes())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checking, "_FEW", 0)
        network, specification, _ = _unsat_questions()[0]
        split = check(network, specification, certificate=True).certificate
    assert split is not None
    write_unsat(path, split)
    return (*out, path.read_bytes())


def _unsat(path: Path) -> None:
    """One that is read proves no more than the truth."""
    certificate = read_unsat(path)
    for network, specification, value in _unsat_questions():
        verdict = recheck_unsat(certificate, network, specification)
        assert verdict.upper >= value - 1e-9
        assert all(len(reason) < 2000 for reason in verdict.reasons)


def _unsat_mutated(rng: Rng, data: bytes) -> bytes:
    if rng.random() < 0.5:
        return archive_mutated(rng, data, [data], "meta.npy")
    entries = members(data)
    for name in ("nodes.npy", "clips.npy", "mixtures.npy", "sizes.npy", "parts.npy"):
        if name not in entries:
            continue
        array = np.load(io.BytesIO(entries[name])).copy()
        if array.size and rng.random() < 0.5:
            values = (
                _FLOATS if array.dtype.kind == "f" else (0, 1, 2, 255) if name == "clips.npy" else (0, 1, *range(-7, 0))
            )
            with np.errstate(over="ignore"):
                array.reshape(-1)[int(rng.integers(array.size))] = np.asarray(pick(rng, values)).astype(array.dtype)
        entries[name] = npy(array)
    return zipped(list(entries.items()))


# Instances

_INSTANCES = (
    b"onnx/a.onnx,vnnlib/p.vnnlib,116\nonnx/b.onnx,vnnlib/p.vnnlib,0.5\n",
    b'\xef\xbb\xbf"a b.onnx",p.vnnlib,1e3\r\n\r\nb.onnx, p.vnnlib ,30\r\nb.onnx,p.vnnlib,30\r\n',
)


def _instances(path: Path) -> None:
    instances = read_instances(str(path))
    assert len({one.name for one in instances}) == len(instances) >= 1
    for one in instances:
        assert 0 < one.time_limit < np.inf
        assert one.name.isprintable()


def _model_or_bytes(rng: Rng, data: bytes) -> bytes:
    try:
        return model_mutated(rng, data)
    except (
        ValueError,
        TypeError,
        onnx.onnx_cpp2py_export.checker.ValidationError,
    ):  # a value that protobuf itself refuses
        return bytes_mutated(rng, data, [data])


def _text(rng: Rng, data: bytes, words: Sequence[str], pattern: str) -> bytes:
    text = tokens_mutated(rng, data.decode("utf-8"), words, pattern)
    return text.encode(pick(rng, ("utf-8", "utf-8", "utf-8", "utf-16", "latin-1")), "replace")


READERS = {
    "onnx": Reader(".onnx", NetworkError, _models, _half(_model_or_bytes), _network, 100_000),
    "samples npz": Reader(
        ".npz", SamplesError, _sample_archives, _half(lambda r, d: archive_mutated(r, d, [d])), _samples, 60_000
    ),
    "samples csv": Reader(
        ".csv",
        SamplesError,
        _sample_tables,
        _half(lambda r, d: _text(r, d, (",", "\n", '"', "\r", ";", "1e309", "-0", "1_0", "\t", "nan"), r"[^,\n]+|.")),
        _samples,
        60_000,
    ),
    "question toml": Reader(
        ".toml",
        ProblemError,
        lambda: _TOML,
        _half(lambda r, d: _text(r, d, _TOML_WORDS, r"[\w.+-]+|.")),
        _parts,
        50_000,
    ),
    "question npz": Reader(
        ".npz", ProblemError, _part_archives, _half(lambda r, d: archive_mutated(r, d, [d])), _parts, 30_000
    ),
    "batch": Reader(
        ".toml",
        InputError,
        lambda: _BATCHES,
        _half(lambda r, d: _text(r, d, (*_TOML_WORDS, "[[job]]", "[defaults]", "name", "network"), r"[\w.+-]+|.")),
        _batch,
        20_000,
    ),
    "specification": Reader(
        ".vnnlib",
        SpecificationError,
        _specifications,
        _half(_specification_mutated),
        _specification,
        40_000,
    ),
    "instances": Reader(
        ".csv",
        InputError,
        lambda: _INSTANCES,
        _half(
            lambda r, d: _text(
                r, d, (",", "\n", '"', "\r", ";", "1e309", "-0", "1_0", "\t", "nan", ".gz"), r"[^,\n]+|."
            )
        ),
        _instances,
        10_000,
    ),
    "unsat certificate": Reader(
        ".cert",
        CertificateError,
        _unsat_certificates,
        _half(_unsat_mutated),
        _unsat,
        5_000,
    ),
    "certificate": Reader(
        ".cert",
        CertificateError,
        _certificates,
        _half(_certificate_mutated),
        _certificate,
        40_000,
    ),
}
