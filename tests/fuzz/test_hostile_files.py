"""Files made to do harm: what claims or becomes much, what is no plain file, and what once broke a reader."""

from __future__ import annotations

import io
import json
import math
import os
import random
import re
import signal
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from builders import build_model
from fuzz import broad_trees
from fuzz.bombs import archive, npy
from fuzz.mutations import members, zipped
from onnx import TensorProto, helper

from wdaverify import cli, load_network, load_samples, read_certificate, verify, write_certificate
from wdaverify.errors import (
    CertificateError,
    InputError,
    NetworkError,
    OutputError,
    ProblemError,
    SamplesError,
    SpecificationError,
)
from wdaverify.question_files import load_functionals, load_support, load_weights
from wdaverify.specification.reader import load_specification
from wdaverify.toml_file import _parsed
from wdaverify.untrusted import UnreadableError

HERE = Path(__file__).parent
MODELS = HERE.parents[1] / "models"

Read = Callable[[Path], object]
READ: dict[str, tuple[Read, type[InputError]]] = {
    "a.onnx": (load_network, NetworkError),
    "a.npz": (load_samples, SamplesError),
    "a.csv": (load_samples, SamplesError),
    "a.cert": (read_certificate, CertificateError),
    "s.npz": (lambda path: load_support(path, 2), ProblemError),
    "s.toml": (lambda path: load_support(path, 2), ProblemError),
    "w.toml": (lambda path: load_weights(path, 2), ProblemError),
    "f.toml": (load_functionals, ProblemError),
    "s.vnnlib": (load_specification, SpecificationError),
}
needs_fifo = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this platform has no FIFOs")


@pytest.fixture
def _no_hang() -> Iterator[None]:
    """A reader that waits is ended after minutes."""
    if not hasattr(signal, "setitimer"):
        yield
        return

    def late(*_: object) -> None:
        raise TimeoutError("a reader waits")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, 300)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def refused(path: Path, *words: str, name: str | None = None) -> str:
    read, error = READ[name or path.name]
    with pytest.raises(error) as caught:
        read(path)
    text = str(caught.value)
    assert text.isprintable()
    for word in words:
        assert word in text, text
    return text


# No plain files


@pytest.mark.usefixtures("_no_hang")
@pytest.mark.parametrize("name", READ)
def test_what_is_no_plain_file_is_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    refused(path, "no such file")
    path.mkdir()
    refused(path, "directory")
    path.rmdir()
    path.symlink_to(path)
    refused(path, "cannot be read")
    path.unlink()
    path.symlink_to("/dev/zero")
    refused(path, "not a plain file")
    path.unlink()
    path.write_bytes(b"")
    refused(path)
    refused(path / name, "no such file", name=name)


@needs_fifo
@pytest.mark.usefixtures("_no_hang")
@pytest.mark.parametrize("name", READ)
def test_a_pipe_without_a_writer_is_not_waited_for(name: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / name)
    refused(tmp_path / name, "not a plain file")


@pytest.mark.parametrize("name", READ)
def test_a_path_is_shown_on_one_line(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "a\nb\x1b[31m"
    folder.mkdir()
    refused(folder / name, "\\n", "\\x1b", name=name)
    (folder / name).write_bytes(b"\xff\xfe")
    refused(folder / name, "\\n", "\\x1b", name=name)


@pytest.mark.parametrize("name", READ)
def test_a_file_of_gigabytes_is_not_read(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    with path.open("wb") as stream:
        stream.truncate(2**33)
    refused(path, f"has {2**33} bytes", "at most")


@pytest.mark.parametrize("name", ["a.onnx", "s.toml"])
@pytest.mark.parametrize("size", [3, 40])
def test_a_file_that_changes_meanwhile_is_refused(
    name: str, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / name
    path.write_bytes(b"lower = 0\nupper = 1\n")
    before = path.stat()
    os.truncate(path, size)
    monkeypatch.setattr("wdaverify.untrusted.os.fstat", lambda _: before)
    refused(path, "changed while it was read")


# Little memory


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="this platform does not tell what is taken")
@pytest.mark.parametrize("part", [0, *(pytest.param(k, marks=pytest.mark.full) for k in (1, 2, 3))])
def test_bombs_are_refused_with_little_memory_to_spare(part: int, tmp_path: Path) -> None:
    """A quarter of them, in a process that may take 256 MiB beyond its imports."""
    done = subprocess.run(
        [sys.executable, str(HERE / "bombs.py"), str(tmp_path), str(part), "4"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(HERE.parent), "OPENBLAS_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert len(lines) == 24 - (part == 3)
    for name, said in lines:
        dead = name in (
            "network: casts of one matrix",
            "network: one matrix turned",
        )  # left out unread, in little memory
        assert said == "READ" if dead else said.startswith("refused: "), f"{name}: {said}"
        assert "allocate" not in said, f"{name}: {said}"
        assert not re.search("memory|bad_alloc", said.replace("--memory-limit", ""), re.I), f"{name}: {said}"


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="this platform does not tell what is taken")
def test_broad_trees_are_checked_with_little_memory_to_spare(tmp_path: Path) -> None:
    """Half a million leaves in a small file that speaks of the user's own network and samples: what is proven stays true."""
    done = subprocess.run(
        [sys.executable, str(HERE / "broad_trees.py"), str(tmp_path), "8"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(HERE.parent), "OPENBLAS_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    size, said = done.stdout.splitlines()
    assert int(size.split()[0]) < 2**20
    proved, upper = said.split()
    assert proved == "True"
    broad = broad_trees.question()
    assert verify(broad).lower <= float(upper) < math.inf


def test_a_certificate_of_gigabytes_is_refused_by_its_claims(
    certificate: dict[str, bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.cert"
    net, data = MODELS / "iris_8x8.onnx", tmp_path / "a.csv"
    data.write_text("a,b,c,d,l\n1,1,1,1,0\n")
    spoiled(path, certificate, nodes=stored(np.zeros(2**20), "<i4"))
    for limit, words in (("1", "--memory-limit"), ("12", "--memory-limit"), ("20", "does not add up")):
        assert cli._run(["recheck", str(net), str(data), str(path), "--memory-limit", limit]) == 2
        err = capsys.readouterr().err
        assert words in err
        assert err.count("\n") == 1


# Archives

ONES = npy("(1, 2)", content=np.ones(2).tobytes())
LABEL = npy("(1,)", "<i8", bytes(8))


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (npy("(1, 2)", "|O", b"cos\nsystem\n."), "Python objects"),
        (npy("(1, 2)", "<U4", bytes(32)), "type <U4"),
        (npy("(1, 2)", "<c16", bytes(32)), "complex128"),
        (npy("(1, 2)", "<f16", bytes(32)), "up to 64 bits"),
        (npy("(1, 2)", "<f3", bytes(6)), "numpy does not know"),
        (npy("(-1, 2)", content=bytes(16)), "damaged"),
        (npy("(1, 2", content=bytes(16)), "damaged"),
        (npy("(1L, 2)", content=bytes(16)), "damaged"),
        (npy("(" + "1, " * 33 + ")", content=bytes(8)), "damaged"),
        (npy("(1, 2)", content=bytes(17)), "claims 16 bytes where 17 are stored"),
        (npy("(1, 2)", content=bytes(15)), "claims 16 bytes where 15 are stored"),
        (npy("(1, 2), 'shape': (1, 2)", content=bytes(16)), "damaged"),
        (npy("(1, 2)', 'x': '", content=bytes(16)), "damaged"),
        (npy("__import__('os').abort()"), "damaged"),
        (npy("(1, 2)").replace(b"'descr': '<f8'", b"'descr': [('a', '<f8')]"), "plain numbers of one type"),
        (npy("(1, 2)", content=bytes(16)).replace(b"\x01\x00", b"\x03\x00", 1), "npy format 1.0 or 2.0"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff", "header claims"),
        (b"\x93NUM", "damaged"),
        (b"", "damaged"),
    ],
)
def test_arrays_that_are_none_are_refused(x: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(archive(x=x, y=LABEL))
    refused(tmp_path / "a.npz", words)
    (tmp_path / "s.npz").write_bytes(archive(lower=x, upper=LABEL))
    refused(tmp_path / "s.npz", words)
    (tmp_path / "a.cert").write_bytes(archive(meta=x))
    refused(tmp_path / "a.cert", "--certificate")


def test_arrays_in_either_order_and_format_are_read(tmp_path: Path) -> None:
    x = np.arange(6.0).reshape(1, 2, 3)
    wide = npy("(1, 2, 3)", content=x.tobytes())
    wide = wide[:6] + b"\x02\x00" + wide[8:10] + b"\0\0" + wide[10:]
    fortran = npy("(1, 2, 3)", content=x.tobytes("F"), order="True")
    big = npy("(1,2,3,)", ">f4", x.astype(">f4").tobytes())
    for content in (npy("(1, 2, 3)", content=x.tobytes()), wide, fortran, big):
        for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            (tmp_path / "a.npz").write_bytes(archive(method, x=content, y=LABEL))
            assert load_samples(tmp_path / "a.npz").x.tolist() == [list(range(6))]


def test_archives_that_are_none_are_refused(tmp_path: Path) -> None:
    path, whole = tmp_path / "a.npz", archive(x=ONES, y=LABEL)
    path.write_bytes(whole)
    assert len(load_samples(path)) == 1
    twice = zipped([("x.npy", ONES), ("y.npy", LABEL), ("x.npy", ONES)])
    encrypted = bytearray(whole)
    encrypted[whole.index(b"PK\x01\x02") + 8] |= 1
    wrong = bytearray(whole)
    wrong[whole.index(ONES[-16:])] ^= 1
    locator = whole[:-22] + b"PK\x06\x07" + bytes(16) + whole[-22:]
    for content, words in (
        (twice, "'x' twice"),
        (bytes(encrypted), "encrypted"),
        (bytes(wrong), "CRC"),
        (locator, "64-bit directory"),
        (whole + b"tail", "not an .npz file"),
        (whole[:-1], "not an .npz file"),
        (archive(zipfile.ZIP_LZMA, x=ONES, y=LABEL), "method 14"),
        (archive(y=LABEL, **{"x\n\x1b": ONES}), "missing"),
    ):
        path.write_bytes(content)
        refused(path, words)


def test_nothing_pickled_is_ever_loaded(tmp_path: Path) -> None:
    class Harm:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return os.mkdir, (str(tmp_path / "harm"),)

    for name in ("a.npz", "s.npz", "a.cert"):
        with (tmp_path / name).open("wb") as stream:
            array = np.array([Harm()], dtype=object)
            np.savez(stream, x=array, y=array, lower=array, upper=array, meta=array)
        refused(tmp_path / name, "Python objects")
    assert not (tmp_path / "harm").exists()


def test_many_arrays_that_unpack_well_are_refused_together(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(
        archive(
            zipfile.ZIP_DEFLATED,
            x=npy("(5000000, 1)", content=bytes(40_000_000)),
            y=npy("(5000000,)", "<i8", bytes(40_000_000)),
        )
    )
    refused(tmp_path / "a.npz", "x unpacks", "store it unpacked")


# Certificates


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The members of a good one."""
    from fuzz.readers import _question, use

    from wdaverify import Loss

    folder = tmp_path_factory.mktemp("certificate")
    use(folder)
    made = verify(_question(Loss.MARGIN), certificate=True).certificate
    assert made is not None
    write_certificate(folder / "a.cert", made)
    return members((folder / "a.cert").read_bytes())


def spoiled(path: Path, whole: dict[str, bytes], **changes: bytes) -> Path:
    path.write_bytes(zipped(list({**whole, **{f"{name}.npy": value for name, value in changes.items()}}.items())))
    return path


def stored(values: Any, kind: str) -> bytes:
    out = io.BytesIO()
    np.save(out, np.asarray(values, dtype=kind))
    return out.getvalue()


@pytest.mark.parametrize(
    "text",
    [
        "[" * 50_000,
        '{"a":' * 50_000,
        '{"count": ' + "9" * 5000 + "}",
        "\ufeff{}",
        "nul",
        "",
        "[]",
        "3",
        '"wdaverify certificate 1"',
    ],
)
def test_meta_data_that_are_none_are_refused(text: str, certificate: dict[str, bytes], tmp_path: Path) -> None:
    meta = stored(np.frombuffer(text.encode(), np.uint8), "|u1")
    refused(spoiled(tmp_path / "a.cert", certificate, meta=meta), "no certificate")


@pytest.mark.parametrize(
    "change",
    [
        {"count": 10**30},
        {"count": -(10**30)},
        {"count": True},
        {"count": 1.0},
        {"neurons": 2**53},
        {"neurons": -1},
        {"order": 10**400},
        {"norm": "x" * 3000},
        {"label_column": ["a"]},
        {"radius": "0x1p+99999"},
        {"radius": "nan"},
        {"radius": 0.05},
        {"lower": "x\n"},
        {"clip": 1},
        {"loss": None},
        {"network_sha256": "\x1b[2J"},
        {"samples_sha256": "0" * 65},
    ],
)
def test_fields_that_are_none_are_refused(
    change: dict[str, Any], certificate: dict[str, bytes], tmp_path: Path
) -> None:
    raw = certificate["meta.npy"]
    meta = json.loads(raw[10 + int.from_bytes(raw[8:10], "little") :]) | change
    spoiled(tmp_path / "a.cert", certificate, meta=stored(np.frombuffer(json.dumps(meta).encode(), np.uint8), "|u1"))
    assert len(refused(tmp_path / "a.cert", "no certificate")) < 1000


def test_counts_that_wrap_are_refused(certificate: dict[str, bytes], tmp_path: Path) -> None:
    """Four counts of 2^62 sum to 0 in 64 bits."""
    path = tmp_path / "a.cert"
    content = {**certificate}
    wrap, none = stored([2**62] * 4, "<i8"), stored([], "<f8")
    four = {name: stored([0] * 4, "<i8") for name in ("proof_sample", "proof_rival", "proof_label")}
    changes = {"proof_trees": wrap, "proof_multiplier": stored([0.0] * 4, "<f8"), **four}
    changes |= {"tree_near": none, "tree_far": none, "tree_nodes": stored([], "<i8"), "tree_vectors": stored([], "<i8")}
    changes |= {"nodes": stored([], "<i4"), "vectors": stored(np.zeros((8, 0)), "|u1"), "tight_level": none}
    changes |= {name: stored([], "<i8") for name in ("tree_tights", "tight_rows")}
    changes |= {"row_at": stored([], "<i4"), "row_weight": stored([], "<f4")}
    changes |= {"tight_beta": stored([], "<f4"), "row_slopes": stored([], "|u1"), "tree_forks": stored([], "<i8")}
    changes |= {"forks": stored(np.zeros((0, 3)), "<f8")}
    refused(spoiled(path, content, **changes), "proof_trees does not add up")


@pytest.mark.parametrize("limit", [0, 2**26])
def test_what_is_written_can_be_read_again(limit: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A certificate that packs too well is stored unpacked."""
    from fuzz.readers import _question, use

    from wdaverify import Loss

    use(tmp_path)
    made = verify(_question(Loss.MARGIN), certificate=True).certificate
    assert made is not None
    monkeypatch.setattr("wdaverify.archive.PACKED_LIMIT", limit)
    monkeypatch.setattr("wdaverify.archive.PACKED_RATIO", 1)
    write_certificate(tmp_path / "a.cert", made)
    assert read_certificate(tmp_path / "a.cert").count == made.count
    with zipfile.ZipFile(tmp_path / "a.cert") as held:
        kinds = {entry.compress_type for entry in held.infolist()}
    assert kinds == {zipfile.ZIP_STORED if limit == 0 else zipfile.ZIP_DEFLATED}
    monkeypatch.setattr("wdaverify.certify.certificate.MAX_TREES", 1)
    with pytest.raises(OutputError, match="fewer samples"):
        write_certificate(tmp_path / "b.cert", made)
    assert not (tmp_path / "b.cert").exists()


# Networks


@pytest.mark.parametrize("place", ["/etc/passwd", "../../secret", "link", "no/such/file", "weights.bin", ""])
def test_data_in_another_file_are_never_opened(place: str, tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(np.ones(8, np.float32).tobytes())
    (tmp_path / "link").symlink_to("/dev/zero")
    model = build_model([helper.make_node("MatMul", ["x", "W"], ["y"])], {}, [1, 4])
    tensor = TensorProto(name="W", data_type=TensorProto.FLOAT, dims=[4, 2], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=place)
    model.graph.initializer.append(tensor)
    (tmp_path / "a.onnx").write_bytes(model.SerializeToString())
    refused(tmp_path / "a.onnx", "another file", "not opened unasked")


def beside(folder: Path, **named: str) -> Path:
    """A model whose weights [4, 2] are in another file."""
    model = build_model([helper.make_node("MatMul", ["x", "W"], ["y"])], {}, [1, 4])
    tensor = TensorProto(name="W", data_type=TensorProto.FLOAT, dims=[4, 2], data_location=TensorProto.EXTERNAL)
    for key, value in named.items():
        tensor.external_data.add(key=key, value=value)
    model.graph.initializer.append(tensor)
    (folder / "a.onnx").write_bytes(model.SerializeToString())
    return folder / "a.onnx"


@pytest.mark.parametrize(
    ("named", "words"),
    [
        ({"location": "/etc/passwd"}, "not the name of a file beside the model"),
        ({"location": "../weights.bin"}, "not the name of a file beside the model"),
        ({"location": "sub/weights.bin"}, "not the name of a file beside the model"),
        ({"location": "..\\weights.bin"}, "not the name of a file beside the model"),
        ({"location": "C:weights.bin"}, "not the name of a file beside the model"),
        ({"location": "."}, "not the name of a file beside the model"),
        ({"location": ".."}, "not the name of a file beside the model"),
        ({"location": ""}, "not the name of a file beside the model"),
        ({"location": "a\0b"}, "not the name of a file beside the model"),
        ({}, "not the name of a file beside the model"),
        ({"location": "link"}, "which is a link"),
        ({"location": "none"}, "no such file"),
        ({"location": "sub"}, "directory"),
        ({"location": "weights.bin", "offset": "8"}, "24 bytes|6 are stored"),
        ({"location": "weights.bin", "offset": "-8"}, "from -8 on"),
        ({"location": "weights.bin", "offset": "9" * 19}, "which has 32"),
        ({"location": "weights.bin", "length": "33"}, "33 bytes from 0 on"),
        ({"location": "weights.bin", "length": "16"}, "4 are stored"),
        ({"location": "weights.bin", "offset": "two"}, "'two'"),
        ({"location": "weights.bin", "offset": "9" * 5000}, "a number of bytes"),
    ],
)
def test_data_beside_the_model_are_read_from_plain_files_there_alone(
    named: dict[str, str], words: str, tmp_path: Path
) -> None:
    (tmp_path / "weights.bin").write_bytes(np.arange(8, dtype="<f4").tobytes())
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "weights.bin").write_bytes(bytes(32))
    (tmp_path / "link").symlink_to(tmp_path / "weights.bin")
    path = beside(tmp_path, **named)
    with pytest.raises(NetworkError, match=words) as caught:
        load_network(path, external_data=True)
    assert str(caught.value).isprintable()
    good = load_network(beside(tmp_path, location="weights.bin"), external_data=True)
    assert good.forward(np.eye(4)).ravel().tolist() == list(range(8))


def test_data_beside_the_model_are_not_read_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same bytes for many tensors count as often as they are taken."""
    (tmp_path / "weights.bin").write_bytes(bytes(32))
    path = beside(tmp_path, location="weights.bin")
    monkeypatch.setattr("wdaverify.network.onnx_external.MAX_BYTES", 31)
    with pytest.raises(NetworkError, match="at most 31"):
        load_network(path, external_data=True)
    monkeypatch.setattr("wdaverify.network.onnx_external.MAX_BYTES", 40)
    load_network(path, external_data=True)
    model = onnx.load(path, load_external_data=False)
    model.graph.initializer.add().CopyFrom(model.graph.initializer[0])
    model.graph.initializer[1].name = "V"
    model.graph.node[0].output[0] = "h"
    model.graph.node.append(helper.make_node("Add", ["h", "V"], ["y"]))
    path.write_bytes(model.SerializeToString())
    with pytest.raises(NetworkError, match="40 of all tensors"):
        load_network(path, external_data=True)


@pytest.mark.parametrize(
    "nodes",
    [
        [("Relu", "a", "b"), ("Relu", "b", "a")],
        [("Relu", "y", "y")],
        [("Relu", "x", "x"), ("Relu", "x", "y")],
        [("Relu", "x", "a"), ("Relu", "a", "x"), ("Relu", "x", "y")],
    ],
)
def test_a_graph_in_a_circle_is_refused(nodes: list[tuple[str, str, str]], tmp_path: Path) -> None:
    model = build_model([helper.make_node(kind, [a], [b]) for kind, a, b in nodes], {}, [1, 4])
    (tmp_path / "a.onnx").write_bytes(model.SerializeToString())
    refused(tmp_path / "a.onnx")


# Tables


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"1,2\n" * 3 + b"1,\0\n", "is not a number"),
        ("1,2\n".encode("utf-16"), "UTF-8"),
        (b"1,2\n\xff,3\n", "UTF-8"),
        (b"1;2\n", "one column"),
        (b"1,2\n" + b"9" * 100_000 + b",1\n", "finite"),
        (b"a" * 50_000 + b"," + b"b" * 50_000 + b"\nx,y\n", "not a number"),
        (b'"1\n2",3\n', "line 2, column 0: '1\\n2' is not a number"),
        (b"\x1b[31m,b\n\x1b[31m,0\n", "\\x1b"),
    ],
)
def test_tables_that_are_none_are_refused(content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    assert len(refused(tmp_path / "a.csv", words)) < 500


def test_a_column_of_any_name_is_shown_short(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"a" * 50_000 + b"," + b"b" * 50_000 + b"\n1,2\n")
    with pytest.raises(SamplesError) as caught:
        load_samples(tmp_path / "a.csv", label_column="c\n" * 5000)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000


# Question files


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("lower = " + "[" * 50_000, "nested more than 8"),
        ("lower = " + "{a=" * 50_000, "nested more than 8"),
        ("a" + ".a" * 100_000 + " = 1", "nested more than 8"),
        ("a" + " . 'a'" * 100_000 + " = 1", "nested more than 8"),
        ("[" + '"\\"".' * 100_000 + "a]", "nested more than 8"),
        ('lower = {a = """b"""", c' + ".c" * 100_000 + " = 1}", "nested more than 8"),
        ("lower = '''" + "[" * 100, "Expected \"'''\""),
        ('lower = "' + '\\"' * 100_000, "TOML"),
        ("lower = " + "9" * 50_000, "TOML"),
        ("lower = 0x" + "f" * 50_000 + "\nupper = 1", "lower has type object"),
        ("lower = 9007199254740993\nupper = 1e300", "2^53"),
        ("lower = 0\nupper = true", "upper has type bool"),
        ("lower = 0\nupper = [1, [2]]", "upper is not an array of numbers"),
        ("lower = 0\nupper = [[[[1]]]]", "upper has shape [1, 1, 1, 1]"),
        ("lower = 0\nupper = 1979-05-27", "upper has type object"),
        ("lower = 0\nupper = 1\nrow_lower = 0", "row_lower and row_upper go with"),
        ("lower = 0\nupper = 1\ninteger = [" + "9" * 4000 + "]", "integer must name"),
        ("lower = 0\nupper = 1\none_hot = [[[0]]]", "one_hot must name"),
        ("lower = 0\nupper = 1\none_hot = [{}]", "one_hot is not a list"),
        ('"a\\n\\u001b' + "b" * 5000 + '" = 1', "\\x1b"),
        ("lower = 0\0", "TOML"),
        ("lower = 0\rupper = 1", "TOML"),
    ],
)
def test_tomls_that_are_none_are_refused(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_bytes(text.encode())
    assert len(refused(tmp_path / "s.toml", words)) < 1000


def _toml_text(rng: random.Random) -> str:
    """A text in quotes, with brackets, dots and quotes of the other kind inside; some are none."""
    quote = rng.choice(["'", '"']) * rng.choice([1, 3])
    inside = ["a", "[", ".", "#", "{", "\\\\", "'" if quote[0] == '"' else '"']
    inside += ['\\"'] * (quote[0] == '"') + ["\n", quote[0]] * (len(quote) == 3)
    return quote + "".join(rng.choices(inside, k=rng.randrange(9))) + quote


def _toml_value(rng: random.Random, depth: int) -> str:
    if depth > 3 or rng.random() < 0.5:
        return rng.choice([_toml_text(rng), "1.5", "-2", "true", "1979-05-27T07:32:00.5", "[]", "{}"])
    parts = [_toml_value(rng, depth + 1) for _ in range(rng.randrange(3))]
    if rng.random() < 0.6:
        return "[" + ", ".join(parts) + "]"
    return "{" + ", ".join(f"k{i} . c = {part}" for i, part in enumerate(parts)) + "}"


@pytest.mark.parametrize("seed", range(20))
def test_what_toml_nests_is_what_counts(seed: int) -> None:
    """Wherever texts and comments end: shallow documents are read, and the same ones with one deep value are refused."""
    rng, read = random.Random(seed), 0
    deep = ["[" * 9 + "]" * 9, "{a = " * 9 + "1" + "}" * 9, "{" + ".".join("abcdefghi") + " = 1}"]
    for _ in range(200):
        names = rng.choices(["a", "a.b", "'x.y.z.u.v.w.a.b.c.d'.b", 'c."[#".c', "a . b"], k=3)
        ends = rng.choices(["", " # [.[.[.[.[.[.[.[.[.", '\n# ""'], k=3)
        lines = [f"{names[k]}{k} = {_toml_value(rng, 0)}{ends[k]}" for k in range(3)]
        text = "\n".join(lines)
        try:
            known = tomllib.loads(text)
        except ValueError:
            continue
        read += 1
        assert _parsed(text.encode()) == known
        for value in deep:
            added = "\n".join([*lines[:2], f"zz = {value}", lines[2]])
            with pytest.raises(UnreadableError, match="nested more than 8"):
                _parsed(added.encode())
    assert read > 50


def test_tomls_of_other_editors_are_read(tmp_path: Path) -> None:
    """A byte order mark and line ends of two characters; brackets and dots in texts and comments count for nothing."""
    (tmp_path / "w.toml").write_bytes(b"\xef\xbb\xbf# " + b"[" * 99 + b"a.b.c.d.e.f.g.h.i.j\r\nweights = [1.5, 2]\r\n")
    assert load_weights(tmp_path / "w.toml", 2).tolist() == [1.5, 2.0]
    (tmp_path / "w.toml").write_bytes("weights = [1]".encode("utf-16"))
    refused(tmp_path / "w.toml", "TOML")


# The command line


def test_a_hostile_certificate_is_one_line_and_status_2(
    certificate: dict[str, bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net, data = MODELS / "iris_8x8.onnx", tmp_path / "a.csv"
    data.write_text("a,b,c,d,l\n1,1,1,1,0\n")
    raw = certificate["meta.npy"]
    meta = json.loads(raw[10 + int.from_bytes(raw[8:10], "little") :])
    for change in (
        {"label_column": "\x1b[2J\n"},
        {"count": 2**53},
        {"count": -5},
        {"norm": "\n"},
        {"radius": "-0x1p+0"},
    ):
        content = json.dumps(meta | change).encode()
        spoiled(tmp_path / "a.cert", certificate, meta=stored(np.frombuffer(content, np.uint8), "|u1"))
        assert cli._run(["recheck", str(net), str(data), str(tmp_path / "a.cert")]) == 2
        err = capsys.readouterr().err
        assert err.count("\n") == 1
        assert err[:-1].isprintable()
