"""Packed ONNX files, and files of other formats that are taken for them."""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from wdaverify import load_network
from wdaverify.errors import NetworkError

MODEL = Path(__file__).parent.parent.parent / "models" / "iris_8x8.onnx"


def test_a_packed_network_is_the_network(tmp_path: Path) -> None:
    """Its hash too, so that a certificate of one is a certificate of the other; the name of the file does not matter."""
    plain = load_network(MODEL)
    for name in ("iris.onnx.gz", "iris.onnx"):
        (tmp_path / name).write_bytes(gzip.compress(MODEL.read_bytes()))
        packed = load_network(tmp_path / name)
        assert (packed.sha256, packed.name) == (plain.sha256, name)
        points = np.random.default_rng(0).uniform(size=(5, 4))
        np.testing.assert_array_equal(packed.forward(points), plain.forward(points))


def damaged(content: bytes) -> bytes:
    out = bytearray(content)
    out[-6] ^= 255  # of the sum
    return bytes(out)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda c: c[:-9], "cut off"),
        (lambda c: c + c, "more than one file"),
        (lambda c: c + b"\0", "more than one file"),
        (damaged, "damaged"),
        (lambda c: gzip.compress(bytes(2**26 + 1)), "unpacks to more than"),
        (gzip.compress, "not an ONNX file"),
    ],
)
def test_packed_files_that_are_refused(change: Callable[[bytes], bytes], word: str, tmp_path: Path) -> None:
    (tmp_path / "n.onnx.gz").write_bytes(change(gzip.compress(MODEL.read_bytes())))
    with pytest.raises(NetworkError, match=word) as caught:
        load_network(tmp_path / "n.onnx.gz")
    assert "\n" not in str(caught.value)


def saved(old: bool) -> bytes:
    stream = io.BytesIO()
    torch.save({"weight": torch.zeros(2)}, stream, _use_new_zipfile_serialization=not old)
    return stream.getvalue()


def scripted() -> bytes:
    """Names as TorchScript has them, the weights first."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name in ("net/data/0", "net/code/net.py", "net/constants.pkl"):
            archive.writestr(name, bytes(9000))
    return stream.getvalue()


def arrays() -> bytes:
    stream = io.BytesIO()
    np.savez(stream, x=np.zeros((2, 2)), y=np.zeros(2, int))
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (lambda: saved(old=False), ("PyTorch", "torch.onnx.export")),
        (lambda: saved(old=True), ("PyTorch", "torch.onnx.export")),
        (scripted, ("PyTorch", "torch.onnx.export")),
        (arrays, (".npz", "network first")),
        (lambda: b"\x89HDF\r\n\x1a\n" + bytes(200), ("HDF5", "tf2onnx")),
        (lambda: b"\x1c\0\0\0TFL3" + bytes(200), ("TensorFlow Lite", "tf2onnx")),
        (lambda: b"// Neural Network File Format\n2,1,2,\n", (".nnet", "nnet2onnx")),
        (lambda: b"PK\x03\x04" + bytes(100), (".zip", "unpack")),
    ],
)
def test_other_formats_are_named(content: Callable[[], bytes], words: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "net").write_bytes(content())
    with pytest.raises(NetworkError) as caught:
        load_network(tmp_path / "net")
    for word in (*words, ".onnx.gz"):
        assert word in str(caught.value)
