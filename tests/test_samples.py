"""Samples from files and arrays, and what is refused."""

from __future__ import annotations

import hashlib
import io
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wdaverify.errors import SamplesError
from wdaverify.problem import Samples, Support
from wdaverify.samples import content_hash, load_samples, make_samples

X = np.arange(12, dtype=np.float64).reshape(4, 3) / 8
Y = np.array([0, 2, 1, 0])


def saved(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def refused(path: Path | str, *words: str, **options: Any) -> str:
    with pytest.raises(SamplesError) as caught:
        load_samples(path, **options)
    text = str(caught.value)
    assert text.isprintable()
    for word in words:
        assert word in text, text
    return text


def same(samples: Samples, x: np.ndarray, y: np.ndarray, w: np.ndarray) -> None:
    np.testing.assert_array_equal(samples.x, x)
    np.testing.assert_array_equal(samples.y, y)
    np.testing.assert_array_equal(samples.w, w)
    assert (samples.x.dtype, samples.y.dtype, samples.w.dtype) == (np.float64, np.int64, np.float64)
    assert not any(a.flags.writeable for a in (samples.x, samples.y, samples.w))
    assert samples.sha256 == content_hash(x, y, w)


def test_npz(tmp_path: Path) -> None:
    path = saved(tmp_path / "data.npz", x=X, y=Y, names=np.array(["a", "b"]))
    samples = load_samples(path)
    same(samples, X, Y, np.full(4, 0.25))
    assert samples.source == str(path)
    assert len(samples) == 4


def test_npz_points_are_flattened_row_major(tmp_path: Path) -> None:
    x = np.arange(24).reshape(4, 2, 3).astype(np.uint8)
    path = saved(tmp_path / "data.npz", x=np.asfortranarray(x), y=Y.astype(np.float32))
    same(load_samples(path), x.reshape(4, 6).astype(np.float64), Y, np.full(4, 0.25))


def test_one_feature_and_compressed(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "data.npz", x=X[:, 0], y=Y)
    same(load_samples(str(tmp_path / "data.npz")), X[:, :1], Y, np.full(4, 0.25))


def test_weights_are_normalised_after_the_limit(tmp_path: Path) -> None:
    path = saved(tmp_path / "data.npz", x=X, y=Y, w=np.array([3, 1, 0, 12]))
    same(load_samples(path), X, Y, np.array([3, 1, 0, 12]) / 16)
    same(load_samples(path, limit=3), X[:3], Y[:3], np.array([0.75, 0.25, 0]))
    same(load_samples(path, limit=99), X, Y, np.array([3, 1, 0, 12]) / 16)


@pytest.mark.parametrize("scale", [5e-324, 1e-200, 1.7e308])
def test_weights_of_any_size(scale: float) -> None:
    same(make_samples(X, Y, [scale, scale, scale, scale]), X, Y, np.full(4, 0.25))


def test_equal_weights_are_the_default() -> None:
    assert make_samples(X[:3], Y[:3]).sha256 == make_samples(X[:3], Y[:3], [7, 7, 7]).sha256


def test_only_samples_within_the_limit_are_checked(tmp_path: Path) -> None:
    x = X.copy()
    x[3, 1] = np.nan
    path = saved(tmp_path / "data.npz", x=x, y=Y)
    assert len(load_samples(path, limit=3)) == 3
    refused(path, "x has nan at index [3, 1]", "1 such")


def test_clip_moves_points_onto_the_box(tmp_path: Path) -> None:
    path = saved(tmp_path / "data.npz", x=4 * X - 2, y=Y)
    box = Support(np.array([0.0, -1.0, 0.5]), np.array([1.0, 1.0, 0.5]))
    moved = load_samples(path, clip=box)
    same(moved, np.clip(4 * X - 2, box.lower, box.upper), Y, np.full(4, 0.25))
    assert moved.sha256 != load_samples(path).sha256
    said = "{} of 4 samples lay outside the support and were moved onto it (clip), each feature by at most {}"
    assert moved.notices == (said.format(4, "3"),)
    assert load_samples(path, clip=Support.box(-2, 2.25, 3)).notices == (said.format(1, "1.25"),)
    assert load_samples(path, clip=Support.box(-9, 9, 3)).notices == ()
    refused(path, "3 features", "7", clip=Support.box(0, 1, 7))
    bad = saved(tmp_path / "bad.npz", x=np.array([[np.inf]]), y=[0])
    refused(bad, "inf at index [0, 0]", clip=Support.box(0, 1, 1))


def test_make_samples_copies_and_names_its_source() -> None:
    x = X.copy()
    samples = make_samples(x, Y.tolist(), source="digits")
    x[0, 0] = 99
    same(samples, X, Y, np.full(4, 0.25))
    assert samples.source == "digits"
    with pytest.raises(SamplesError, match=r"^digits: y has shape \[3\]"):
        make_samples(x, Y[:3], source="digits")
    with pytest.raises(SamplesError, match="unequal length"):
        make_samples([[1, 2], [3]], [0, 1])


def test_content_hash_is_of_the_numbers_not_their_storage() -> None:
    w = np.full(4, 0.25)
    digest = content_hash(X, Y, w)
    assert digest == content_hash(np.asfortranarray(X.astype(">f8")), Y.astype(np.int16), w.astype(np.float32))
    text = b"x <f8 [4, 3]\n" + X.tobytes() + b"y <i8 [4]\n" + Y.astype("<i8").tobytes() + b"w <f8 [4]\n" + w.tobytes()
    assert digest == hashlib.sha256(text).hexdigest()
    others = [(X.reshape(3, 4), Y, w), (X + 1, Y, w), (X, Y + 1, w), (X, Y, w[::-1] * 2)]
    assert len({digest, *(content_hash(*other) for other in others)}) == 5


BAD_ARRAYS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "no x": ({"images": X, "y": Y}, ("x missing", "'images', 'y'")),
    "no keys": ({"a": X}, ("x and y missing", "'a'")),
    "lengths": ({"x": X, "y": Y[:3]}, ("y has shape [3]", "4 samples")),
    "column labels": ({"x": X, "y": Y[:, None]}, ("y has shape [4, 1]", "[4]")),
    "weight length": ({"x": X, "y": Y, "w": np.ones(5)}, ("w has shape [5]",)),
    "no samples": ({"x": X[:0], "y": Y[:0]}, ("no samples",)),
    "scalar": ({"x": 1.0, "y": Y}, ("no samples",)),
    "no features": ({"x": X[:, :0], "y": Y}, ("without features",)),
    "inf": ({"x": np.where(X[2, 0] == X, -np.inf, X), "y": Y}, ("x has -inf at index [2, 0]",)),
    "complex": ({"x": X * 1j, "y": Y}, ("x has type complex128",)),
    "text": ({"x": X.astype(str), "y": Y}, ("x has type <U",)),
    "objects": ({"x": X.astype(object), "y": Y}, ("x is an array of Python objects",)),
    "object labels": ({"x": X, "y": Y.astype(object)}, ("y is an array of Python objects",)),
    "large integers": ({"x": np.full((4, 3), 2**53 + 1), "y": Y}, ("x has integers beyond 2^53",)),
    "fractional labels": ({"x": X, "y": Y + np.array([0, 0.5, 0, 0])}, ("label 2.5 of sample 1", "integer")),
    "nan labels": ({"x": X, "y": Y + np.array([0, 0, np.nan, 0])}, ("y has nan at index [2]",)),
    "huge labels": ({"x": X, "y": Y * 1e300}, ("label 2e+300 of sample 1",)),
    "negative weight": ({"x": X, "y": Y, "w": [1, 1, -0.5, 1]}, ("weight -0.5 of sample 2 is negative",)),
    "zero weights": ({"x": X, "y": Y, "w": np.zeros(4)}, ("all 4 weights are 0",)),
    "nan weight": ({"x": X, "y": Y, "w": [1, 1, 1, np.nan]}, ("w has nan at index [3]",)),
}


@pytest.mark.parametrize("name", BAD_ARRAYS)
def test_refused_arrays(tmp_path: Path, name: str) -> None:
    arrays, words = BAD_ARRAYS[name]
    path = saved(tmp_path / "data.npz", **arrays)
    assert refused(path, *words).startswith(f"{path}: ")


def test_weights_that_the_limit_leaves_zero(tmp_path: Path) -> None:
    refused(saved(tmp_path / "data.npz", x=X, y=Y, w=[0, 0, 1, 1]), "all 2 weights are 0", limit=2)


@pytest.mark.parametrize("limit", [0, -3])
def test_limit_must_be_positive(tmp_path: Path, limit: int) -> None:
    refused(saved(tmp_path / "data.npz", x=X, y=Y), f"limit of {limit}", limit=limit)


def test_refused_files(tmp_path: Path) -> None:
    refused(tmp_path / "none.npz", "no such file")
    refused(tmp_path, "directory")
    refused("a\0b.npz", "no such file")
    (tmp_path / "data.mat").write_bytes(b"x")
    refused(tmp_path / "data.mat", "'.mat'", ".npz and .csv")
    (tmp_path / "plain.npz").write_bytes(b"not a zip file")
    refused(tmp_path / "plain.npz", "not an .npz file")
    (tmp_path / "empty.npz").write_bytes(b"")
    refused(tmp_path / "empty.npz", "not an .npz file")
    refused(saved(tmp_path / "data.npz", x=X, y=Y), "label column", label_column=0)


def header(shape: tuple[int, ...], descr: str = "<f8") -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"shape": shape, "fortran_order": False, "descr": descr})
    return stream.getvalue()


def zipped(path: Path, x: bytes) -> Path:
    y = io.BytesIO()
    np.save(y, Y)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", x)
        archive.writestr("y.npy", y.getvalue())
    return path


def test_claimed_sizes_are_checked_before_allocation(tmp_path: Path) -> None:
    path = tmp_path / "data.npz"
    refused(zipped(path, header((10**6, 10**6))), "at most 2147483648 bytes")
    refused(zipped(path, header((2 * 10**9, 1), "|u1")), "at most 2147483648 bytes")
    refused(zipped(path, header((4, 3)) + X.tobytes()[:-8]), "claims 96 bytes where 88 are stored")
    refused(zipped(path, header((-4, -3)) + X.tobytes()), "damaged")
    refused(zipped(path, b"\x93NUMPY" + struct.pack("<BBH", 1, 0, 4) + b"oops"), "damaged")
    refused(zipped(path, b"short"), "damaged")


def test_damaged_npz_never_escapes_as_another_exception(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "data.npz", x=X, y=Y)
    np.savez(tmp_path / "raw.npz", x=X, y=Y)
    rng = np.random.default_rng(0)
    path = tmp_path / "damaged.npz"
    refusals: list[str] = []
    for name in ("data.npz", "raw.npz"):
        whole = (tmp_path / name).read_bytes()
        for k in range(500):
            data = bytearray(whole)
            for _ in range(int(rng.integers(1, 4))):
                data[int(rng.integers(len(data)))] = int(rng.integers(256))
            path.write_bytes(bytes(data[: int(rng.integers(len(data)))] if k % 5 == 0 else data))
            try:
                load_samples(path)
            except SamplesError as error:
                refusals.append(str(error))
    assert len(refusals) > 200
    assert all(text.isprintable() for text in refusals)


# --- csv


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "data.csv"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("0.5,1,2\n-1,3e-1,0\n", None),
        ("\ufeffa,b,label\n0.5,1,2\n-1,0.3,0\n", None),
        ("a,b,label\n0.5,1,2\n\n-1,0.3,0\n", "label"),
        ("0,1,label\n0.5,1,2\n-1,0.3,0\n", None),
        ('1,2,"the label"\n0.5, 1 ,2.0\n-1,0.3,0\n', "the label"),
        ("label,a,b\r\n2,0.5,1\r\n0,-1,0.3\r\n", "label"),
        ("2,0.5,1\n0,-1,0.3\n", 0),
        ("2,0.5,1\n0,-1,0.3\n", "0"),
        ("0.5,2,1\n-1,0,0.3", -2),
    ],
)
def test_csv(tmp_path: Path, text: str, column: int | str | None) -> None:
    samples = load_samples(written(tmp_path, text), label_column=column)
    same(samples, np.array([[0.5, 1], [-1, 0.3]]), np.array([2, 0]), np.full(2, 0.5))


def test_csv_stops_at_the_limit(tmp_path: Path) -> None:
    path = written(tmp_path, "a,b\n1,0\n2,1\nthree,0\n")
    same(load_samples(path, limit=2), np.array([[1.0], [2.0]]), np.array([0, 1]), np.full(2, 0.5))
    refused(path, "line 4, column 0: 'three' is not a number")


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        ("", {}, ("no samples",)),
        ("\n\n", {}, ("no samples",)),
        ("a,b,label\n", {}, ("no samples below the header",)),
        ("1,2,0\n1,2\n", {}, ("line 2 has 2 columns where the first has 3",)),
        ("1,,0\n", {}, ("line 1, column 1: ''",)),
        ("0.1,oops,3\n1,2,0\n", {}, ("line 1, column 1: 'oops'",)),
        ("1,2,0\n1,1_0,0\n", {}, ("line 2, column 1: '1_0'",)),
        ("1,nan,0\n", {}, ("x has nan at index [0, 1]",)),
        ("1,2,0.5\n", {}, ("label 0.5 of sample 0",)),
        ("1\n2\n", {}, ("one column",)),
        ("a,b\n1,0\n", {"label_column": "c"}, ("'c'", "'a', 'b'")),
        ("1,0\n", {"label_column": "c"}, ("'c'", "no header")),
        ("a,a\n1,0\n", {"label_column": "a"}, ("'a'",)),
        ("1,0\n", {"label_column": 2}, ("label column 2", "-2 to 1")),
        ('1,"0\n', {}, ("not a .csv file",)),
    ],
)
def test_refused_csv(tmp_path: Path, text: str, options: dict[str, Any], words: tuple[str, ...]) -> None:
    refused(written(tmp_path, text), *words, **options)


def test_binary_csv_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_bytes(bytes(range(256)))
    refused(path, "UTF-8")
    path.write_bytes(b"1,0\n" + b"9" * 200_000 + b",0\n")
    refused(path, "not a .csv file")


def test_same_content_same_hash(tmp_path: Path) -> None:
    text = "\n".join(",".join(map(repr, [*map(float, row), int(label)])) for row, label in zip(X, Y, strict=True))
    assert load_samples(written(tmp_path, text)).sha256 == load_samples(saved(tmp_path / "d.npz", x=X, y=Y)).sha256


def test_labels_that_are_texts_and_targets_of_a_regression(tmp_path: Path) -> None:
    """Each refusal names the way out, and none says that numpy.savez would write what it has written."""
    np.savez(tmp_path / "texts.npz", x=X, y=np.array(["a", "b", "a", "c"]))
    text = refused(tmp_path / "texts.npz", "y has type <U1", "numpy.unique(y, return_inverse=True)[1]")
    assert "savez" not in text
    np.savez(tmp_path / "targets.npz", x=X, y=np.array([0.5, 1.0, 2.0, 3.0]))
    refused(tmp_path / "targets.npz", "label 0.5 of sample 0", "docs/question-files.md")
    refused(written(tmp_path, "1,2,0.5\n3,4,1\n"), "label 0.5 of sample 0", "docs/question-files.md")
