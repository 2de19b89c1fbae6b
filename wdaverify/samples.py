"""Samples from files and arrays: the points, labels and weights of the nominal distribution, checked once.

A ``.npz`` file holds ``x`` ``[N, ...]`` (flattened row-major), ``y`` ``[N]`` and, if wanted, weights ``w`` ``[N]``. A
``.csv`` file holds one sample a line, numbers only, with or without a header. Numbers are taken as they are: nothing is
scaled.
"""

from __future__ import annotations

import csv
import hashlib
import math
import zipfile
import zlib
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wdaverify.errors import SamplesError
from wdaverify.network.model import Array, readonly
from wdaverify.problem import Samples, Support

MAX_BYTES = 8 * 10**9
_LARGEST_INTEGER = 2**53

_Raw = NDArray[Any]


def load_samples(
    path: str | Path,
    *,
    limit: int | None = None,
    label_column: int | str | None = None,
    clip: Support | None = None,
) -> Samples:
    """Read samples from a ``.npz`` or ``.csv`` file.

    Args:
        path: The file; its suffix says which format it has.
        limit: Keep the first so many samples (all, if there are fewer); weights are normalised afterwards.
        label_column: For ``.csv``: the header's name of the label column or its index from 0 (negative: from the end);
            the last column by default.
        clip: Move every point onto this box, coordinate by coordinate.

    Raises:
        SamplesError: the file cannot be read as samples; one line that says what was found and what is accepted.
    """
    path = Path(path)
    source = str(path) if str(path).isprintable() else repr(str(path))
    try:
        if limit is not None and limit < 1:
            raise SamplesError(f"a limit of {limit} samples; at least 1 is accepted")
        _check_file(path)
        match path.suffix.lower():
            case ".npz":
                if label_column is not None:
                    raise SamplesError("a label column is chosen in .csv files only; a .npz has its labels in y")
                x, y, w = _read_npz(path)
            case ".csv":
                x, y, w = *_read_csv(path, limit, label_column), None
            case suffix:
                raise SamplesError(f"suffix {suffix!r}; accepted are .npz and .csv")
        points, labels, weights = _checked(x, y, w, limit)
        if clip is not None:
            points = _clipped(points, clip)
    except SamplesError as error:
        raise SamplesError(f"{source}: {error}") from None
    except OSError as error:
        raise SamplesError(f"{source}: the file cannot be read ({error.strerror or 'input error'})") from None
    return _samples(points, labels, weights, source)


def make_samples(x: ArrayLike, y: ArrayLike, w: ArrayLike | None = None, *, source: str = "array") -> Samples:
    """Samples from points ``x [N, ...]``, labels ``y [N]`` and weights ``w [N]`` (default: all equal).

    Raises:
        SamplesError: shapes, non-finite numbers, labels or weights that cannot be used.
    """
    try:
        arrays = [None if a is None else _as_array(a, name) for name, a in (("x", x), ("y", y), ("w", w))]
        assert arrays[0] is not None
        assert arrays[1] is not None
        points, labels, weights = _checked(arrays[0], arrays[1], arrays[2], None)
    except SamplesError as error:
        raise SamplesError(f"{source}: {error}") from None
    return _samples(points, labels, weights, source)


def content_hash(x: ArrayLike, y: ArrayLike, w: ArrayLike) -> str:
    """Hex sha256 over shapes and numbers of x (``<f8``), y (``<i8``) and w (``<f8``), row-major and little-endian."""
    digest = hashlib.sha256()
    for name, values, form in (("x", x, "<f8"), ("y", y, "<i8"), ("w", w, "<f8")):
        array = np.ascontiguousarray(values, dtype=form)
        digest.update(f"{name} {form} {list(array.shape)}\n".encode("ascii"))
        digest.update(array.tobytes())
    return digest.hexdigest()


def _samples(x: Array, y: NDArray[np.int64], w: Array, source: str) -> Samples:
    y.setflags(write=False)
    return Samples(x=readonly(x), y=y, w=readonly(w), sha256=content_hash(x, y, w), source=source)


def _clipped(x: Array, box: Support) -> Array:
    if x.shape[1] != box.lower.size:
        raise SamplesError(f"points have {x.shape[1]} features, the box to clip onto {box.lower.size}")
    return np.clip(x, box.lower, box.upper)


def _as_array(values: ArrayLike, name: str) -> _Raw:
    try:
        return np.asarray(values)
    except (ValueError, TypeError):
        raise SamplesError(f"{name} is not an array of numbers (rows of unequal length?)") from None


def _checked(x: _Raw, y: _Raw, w: _Raw | None, limit: int | None) -> tuple[Array, NDArray[np.int64], Array]:
    """Points ``[N, n]``, labels ``[N]`` and weights ``[N]`` of the first ``limit`` samples."""
    if x.ndim == 0 or x.shape[0] == 0:
        raise SamplesError("no samples; at least one is needed")
    count = x.shape[0]
    for name, other in (("y", y), ("w", w)):
        if other is not None and other.shape != (count,):
            raise SamplesError(
                f"{name} has shape {list(other.shape)} where x has {count} samples; accepted is [{count}]"
            )
    if x.size == 0:
        raise SamplesError(f"x has shape {list(x.shape)}: points without features; at least one feature is needed")
    points = _numbers(x[:limit], "x")
    return points.reshape(points.shape[0], -1), _labels(y[:limit]), _weights(w, points.shape[0])


def _numbers(values: _Raw, name: str) -> Array:
    """``values`` as float64, without rounding; refuses other kinds and NaN or Inf."""
    if values.dtype.kind not in "biuf" or values.dtype.itemsize > 8:
        raise SamplesError(f"{name} has type {values.dtype}; integers and floats of up to 64 bits are accepted")
    if values.dtype.kind in "iu" and max(-int(values.min()), int(values.max())) > _LARGEST_INTEGER:
        raise SamplesError(f"{name} has integers beyond 2^53, which double precision would round")
    out: Array = values.astype(np.float64)
    bad = ~np.isfinite(out)
    if bad.any():
        where = [int(k) for k in np.argwhere(bad)[0]]
        raise SamplesError(
            f"{name} has {out[tuple(where)]} at index {where} ({int(bad.sum())} such entries); "
            "finite numbers are accepted: remove or repair these samples"
        )
    return out


def _labels(y: _Raw) -> NDArray[np.int64]:
    numbers = _numbers(y, "y")
    bad = np.flatnonzero(numbers != np.rint(numbers))
    if bad.size or np.abs(numbers).max() > _LARGEST_INTEGER:
        k = int(bad[0]) if bad.size else int(np.abs(numbers).argmax())
        raise SamplesError(f"label {numbers[k]:g} of sample {k} is not an integer; class numbers from 0 are accepted")
    return numbers.astype(np.int64)


def _weights(w: _Raw | None, count: int) -> Array:
    """Weights ``[count]`` that sum to 1 up to rounding; equal ones by default."""
    if w is None:
        return np.full(count, 1.0 / count)
    weights = _numbers(w[:count], "w")
    if (weights < 0).any():
        k = int(np.argmax(weights < 0))
        raise SamplesError(f"weight {weights[k]:g} of sample {k} is negative; weights of at least 0 are accepted")
    largest = float(weights.max())
    if largest == 0.0:
        raise SamplesError(f"all {count} weights are 0; at least one must be positive")
    if math.isinf(largest * count):
        weights = weights / largest
    return weights / math.fsum(weights)


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise SamplesError("this is a directory; a .npz or .csv file is accepted")
    if not path.exists():
        raise SamplesError("no such file; give the path of a .npz or .csv file")
    if not path.is_file():
        raise SamplesError("this is not a plain file; a .npz or .csv file is accepted")
    if path.stat().st_size > MAX_BYTES:
        raise SamplesError(f"the file has {path.stat().st_size} bytes; at most {MAX_BYTES} are accepted")


def _read_npz(path: Path) -> tuple[_Raw, _Raw, _Raw | None]:
    try:
        with zipfile.ZipFile(path) as archive:
            found = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
            missing = [name for name in ("x", "y") if name not in found]
            if missing:
                names = ", ".join(repr(name) for name in found[:12]) or "nothing"
                raise SamplesError(f"{' and '.join(missing)} missing; x, y and optionally w are read, found: {names}")
            x, y, w = (_read_member(archive, name) if name in found else None for name in ("x", "y", "w"))
    except zipfile.BadZipFile:
        raise SamplesError("this is not an .npz file, or it is cut off; numpy.savez writes one") from None
    except (ValueError, TypeError, EOFError, RuntimeError, zlib.error):  # a bad header, a short or encrypted member
        raise SamplesError(
            "an array in this .npz file is damaged or encrypted; numpy.savez writes readable ones"
        ) from None
    assert x is not None
    assert y is not None
    return x, y, w


def _read_member(archive: zipfile.ZipFile, name: str) -> _Raw:
    """One array of the archive; its size is checked by its header before anything is allocated."""
    info = archive.getinfo(f"{name}.npy")
    with archive.open(info) as stream:
        version = np.lib.format.read_magic(stream)
        if version not in ((1, 0), (2, 0)):
            raise SamplesError(f"{name} is stored in npy format {version}; plain arrays of numbers are accepted")
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = read_header(stream)
        header = stream.tell()
    if dtype.hasobject:
        raise SamplesError(f"{name} is an array of Python objects; save numbers, as {name}.astype(float)")
    count = math.prod(int(d) for d in shape)
    size = count * dtype.itemsize
    if max(size, 8 * count) > MAX_BYTES:
        raise SamplesError(
            f"{name} has shape {list(shape)}; at most {MAX_BYTES} bytes in double precision are accepted"
        )
    if info.file_size - header != size:
        raise SamplesError(
            f"{name} claims {size} bytes where {info.file_size - header} are stored; the file is damaged"
        )
    with archive.open(info) as stream:
        out: _Raw = np.lib.format.read_array(stream, allow_pickle=False)
    return out


def _read_csv(path: Path, limit: int | None, label_column: int | str | None) -> tuple[_Raw, _Raw]:
    """Points ``[N, n]`` and labels ``[N]`` of the first ``limit`` lines."""
    rows: list[Array] = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream, strict=True)
            lines = ((reader.line_num, cells) for cells in reader if any(map(str.strip, cells)))
            top = next(lines, None)
            if top is None:
                raise SamplesError("no samples; at least one is needed")
            header = _is_header(top[1])
            column = _label_index(top[1], label_column, header)
            for number, cells in islice(lines if header else chain([top], lines), limit):
                rows.append(_row(cells, number, len(top[1])))
    except (csv.Error, UnicodeDecodeError):
        raise SamplesError("this is not a .csv file of UTF-8 text; comma-separated numbers are accepted") from None
    if not rows:
        raise SamplesError("no samples below the header; at least one is needed")
    table = np.stack(rows)
    return np.delete(table, column, axis=1), table[:, column]


def _parsed(cell: str) -> float | None:
    try:
        return None if "_" in cell else float(cell)
    except ValueError:
        return None


def _is_header(cells: list[str]) -> bool:
    """Whether the first line names columns: no cell is a number, except for a column's own place from 0 or from 1."""
    numbers = [(k, value) for k, value in enumerate(map(_parsed, cells)) if value is not None]
    if len(numbers) == len(cells):
        return False
    return any(all(value == k + start for k, value in numbers) for start in (0, 1))


def _label_index(first: list[str], wanted: int | str | None, header: bool) -> int:
    width = len(first)
    if width < 2:
        raise SamplesError("the first line has one column; features and a label, separated by commas, are accepted")
    names = [cell.strip() for cell in first] if header else []
    if isinstance(wanted, str):
        if names.count(wanted) == 1:
            return names.index(wanted)
        try:
            index = int(wanted)
        except ValueError:
            shown = ", ".join(map(repr, names[:12])) + (", ..." if width > 12 else "") if header else "no header"
            raise SamplesError(f"label column {wanted!r} is not one column of the header; found: {shown}") from None
    else:
        index = -1 if wanted is None else wanted
    if not -width <= index < width:
        raise SamplesError(f"label column {index} of {width} columns; accepted are {-width} to {width - 1}")
    return index % width


def _row(cells: list[str], number: int, width: int) -> Array:
    if len(cells) != width:
        raise SamplesError(f"line {number} has {len(cells)} columns where the first has {width}")
    values = [_parsed(cell) for cell in cells]
    if None in values:
        k = values.index(None)
        raise SamplesError(f"line {number}, column {k}: {cells[k][:40]!r} is not a number; numbers are accepted")
    return np.array(values, dtype=np.float64)
