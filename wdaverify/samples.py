"""Samples from files and arrays: the points, labels and weights of the nominal distribution, checked once.

A ``.npz`` file holds ``x`` ``[N, ...]`` (flattened row-major), ``y`` ``[N]`` and, if wanted, weights ``w`` ``[N]``. A
``.csv`` file holds one sample a line, numbers only, with or without a header. Numbers are taken as they are: nothing is
scaled.
"""

from __future__ import annotations

import csv
import hashlib
import math
import os
from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, TextIO

import numpy as np
from numpy.typing import ArrayLike, NDArray

from wdaverify.archive import ArrayArchive, KindError
from wdaverify.classes import class_names, class_of
from wdaverify.digits import at_most, stated
from wdaverify.errors import SamplesError
from wdaverify.given import LARGEST_INTEGER, entries, flag, instance, path_of, whole
from wdaverify.given import array as array_of
from wdaverify.network.model import Array
from wdaverify.problem import Samples, Support
from wdaverify.untrusted import UnreadableError, plain_file, shown

MAX_BYTES = 2**31
"""The most that a file may take, and the arrays in it together in double precision."""
MAX_LINE = 2**24
"""Characters of one line of a ``.csv``."""
_ACCEPTED = "a .npz or .csv file"

_Raw = NDArray[Any]
Records = Iterator[tuple[int, list[str]]]
"""Lines of a ``.csv`` file: the number of each, and its cells."""


def load_samples(
    path: str | os.PathLike[str],
    *,
    limit: int | None = None,
    label_column: int | str | None = None,
    clip: Support | None = None,
    classes: Sequence[str] | None = None,
    labels: bool = True,
) -> Samples:
    """Read samples from a ``.npz`` or ``.csv`` file.

    Args:
        path: The file; its suffix says which format it has.
        limit: Keep the first so many samples (all, if there are fewer); weights are normalised afterwards.
        label_column: For ``.csv``: the header's name of the label column or its index from 0 (negative: from the end);
            the last column by default.
        clip: Move every point onto this box, coordinate by coordinate; a notice says how many moved, and how far at most.
        classes: For ``.csv``: the labels are these names, which stand for 0, 1, ... in this order; a notice says so.
        labels: False: points alone, for a question about no labels. An ``.npz`` needs no y, and every column of a ``.csv`` is a feature
            but the one that ``label_column`` names; what is left out is told in a notice.

    Raises:
        SamplesError: the file cannot be read as samples; one line that says what was found and what is accepted.
    """
    place = Path(path_of("samples", path, SamplesError))
    source = shown(place, 4096)
    try:
        if limit is not None:
            limit = whole("a limit of", limit, "a number of samples of at least 1", lambda n: n >= 1, SamplesError)
        label_column, taken = _column(label_column), tuple[str, ...]()
        names = class_names(classes)
        if not flag("labels", labels, SamplesError) and names:
            raise SamplesError("classes name labels, and this question is about none; leave them out")
        if clip is not None:
            instance(
                "clip", clip, Support, "Support.box(lower, upper, width) makes a box to move points onto", SamplesError
            )
        match place.suffix.lower():
            case ".npz":
                if label_column is not None:
                    raise SamplesError("a label column is chosen in .csv files only; a .npz has its labels in y")
                if names:
                    raise SamplesError("labels have names in .csv files only; a .npz has class numbers in y")
                x, y, w = read_npz(place, labels)
            case ".csv":
                x, y, taken = _read_csv(place, limit, label_column, names, labels)
                w = None
            case suffix:
                with plain_file(place, MAX_BYTES, _ACCEPTED):  # a file that is missing is told of first
                    raise SamplesError(f"suffix {suffix!r}; accepted are .npz and .csv")
        points, numbers, weights = _checked(x, y if labels else None, w, limit)
        moved: tuple[str, ...] = ()
        if clip is not None:
            points, moved = _clipped(points, clip)
    except (SamplesError, UnreadableError) as error:
        raise SamplesError(f"{source}: {error}") from None
    said = ", ".join(f"{shown(name, 60)} = {k}" for k, name in enumerate(names))
    notices = (f"labels by the order of the classes: {said}",) if names else ()
    if not labels and y is not None:
        notices = (f"{source}: labels are there and left out: this question is about none",)
    return _samples(points, numbers, weights, source, (*notices, *taken, *moved), labelled=labels)


def make_samples(
    x: ArrayLike, y: ArrayLike | None = None, w: ArrayLike | None = None, *, source: str = "array"
) -> Samples:
    """Samples from points ``x [N, ...]``, labels ``y [N]`` and weights ``w [N]`` (default: all equal).

    Without y they are those of a question about no labels (``loss="specification"``), and no others.

    Raises:
        SamplesError: shapes, non-finite numbers, labels or weights that cannot be used.
    """
    instance("source", source, str, "leave it out, or say where the samples come from", SamplesError)
    try:
        given = {name: values for name, values in (("x", x), ("y", y), ("w", w)) if name == "x" or values is not None}
        arrays = {name: entries(name, values, SamplesError, bools=True) for name, values in given.items()}
        points, labels, weights = _checked(arrays["x"], arrays.get("y"), arrays.get("w"), None)
    except SamplesError as error:
        raise SamplesError(f"{source}: {error}") from None
    return _samples(points, labels, weights, source, labelled=y is not None)


def clipped(samples: Samples, box: Support) -> Samples:
    """The samples with every point moved onto a box, coordinate by coordinate; a notice says how many moved, and how far at most.

    Raises:
        SamplesError: the box has another number of features.
    """
    points, moved = _clipped(samples.x, box)
    notices = (*samples.notices, *moved)
    return _samples(points, samples.y, samples.w, samples.source, notices, labelled=samples.labelled)


def content_hash(x: ArrayLike, y: ArrayLike, w: ArrayLike) -> str:
    """Hex sha256 over shapes and numbers of x (``<f8``), y (``<i8``) and w (``<f8``), row-major and little-endian."""
    digest = hashlib.sha256()
    for name, values, form in (("x", x, "<f8"), ("y", y, "<i8"), ("w", w, "<f8")):
        array = np.ascontiguousarray(values, dtype=form)
        digest.update(f"{name} {form} {list(array.shape)}\n".encode("ascii"))
        digest.update(array.tobytes())
    return digest.hexdigest()


def _column(given: object) -> int | str | None:
    """The label column asked for: an index or a name."""
    if given is None or isinstance(given, str):
        return given
    return whole("label column", given, "a name of the header or an index", lambda _: True, SamplesError)


def _samples(
    x: Array, y: NDArray[np.int64], w: Array, source: str, notices: tuple[str, ...] = (), *, labelled: bool
) -> Samples:
    return Samples(x=x, y=y, w=w, sha256=content_hash(x, y, w), source=source, notices=notices, labelled=labelled)


def _clipped(x: Array, box: Support) -> tuple[Array, tuple[str, ...]]:
    """Points on the box, and a notice where that moved some."""
    if x.shape[1] != box.lower.size:
        raise SamplesError(f"points have {x.shape[1]} features, the box to clip onto {box.lower.size}")
    points = np.clip(x, box.lower, box.upper)
    count = int((points != x).any(axis=1).sum())
    if not count:
        return points, ()
    with np.errstate(over="ignore", invalid="ignore"):
        move = points - x
        back = points - move
        inexact = (points - (move + back)) + (back - x) != 0
        far = float(np.where(inexact, np.nextafter(np.abs(move), np.inf), np.abs(move)).max())
    which = f"{count} of {len(x)} samples lay outside the support and were"
    return points, (f"{which} moved onto it (clip), each feature by at most {at_most(far, 4)}",)


def _checked(x: _Raw, y: _Raw | None, w: _Raw | None, limit: int | None) -> tuple[Array, NDArray[np.int64], Array]:
    """Points ``[N, n]``, labels ``[N]`` (0 where there are none) and weights ``[N]`` of the first ``limit`` samples."""
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
    points = array_of("x", x[:limit], SamplesError, bools=True)
    numbers = np.zeros(len(points), np.int64) if y is None else _labels(y[:limit])
    return points.reshape(points.shape[0], -1), numbers, _weights(w, points.shape[0])


def _labels(y: _Raw) -> NDArray[np.int64]:
    numbers = array_of("y", y, SamplesError, bools=True)
    bad = np.flatnonzero(numbers != np.rint(numbers))
    if bad.size or np.abs(numbers).max() > LARGEST_INTEGER:
        k = int(bad[0]) if bad.size else int(np.abs(numbers).argmax())
        raise SamplesError(
            f"label {stated(numbers[k])} of sample {k} is not an integer; class numbers from 0 are accepted. Targets of a regression "
            "are offsets of the linear loss, with the numbers 0 to N - 1 as labels (docs/question-files.md)"
        )
    return numbers.astype(np.int64)


def _weights(w: _Raw | None, count: int) -> Array:
    """Weights ``[count]`` that sum to 1 up to rounding; equal ones by default."""
    if w is None:
        return np.full(count, 1.0 / count)
    weights = array_of("w", w[:count], SamplesError, bools=True)
    if (weights < 0).any():
        k = int(np.argmax(weights < 0))
        raise SamplesError(f"weight {stated(weights[k])} of sample {k} is negative; weights of at least 0 are accepted")
    largest = float(weights.max())
    if largest == 0.0:
        raise SamplesError(f"all {count} weights are 0; at least one must be positive")
    if math.isinf(largest * count):
        weights = weights / largest
    return weights / math.fsum(weights)


def read_npz(path: Path, labels: bool = True) -> tuple[_Raw, _Raw | None, _Raw | None]:
    """The arrays x, y and w (None: there is none) as they are stored; without ``labels`` y may lack, and is not read (empty).

    Raises:
        SamplesError: they cannot be read.
    """
    with plain_file(path, MAX_BYTES, _ACCEPTED) as stream:
        try:
            return _arrays(stream, ("x", "y") if labels else ("x",))
        except UnreadableError as error:
            way = "" if isinstance(error, KindError) else "; numpy.savez writes readable ones"
            raise SamplesError(f"{error}{way}") from None


def _arrays(stream: BinaryIO, needed: Sequence[str]) -> tuple[_Raw, _Raw | None, _Raw | None]:
    with ArrayArchive(stream, MAX_BYTES) as archive:
        missing = [name for name in needed if name not in archive.names]
        if missing:
            names = ", ".join(shown(repr(name), 60) for name in archive.names[:12]) or "nothing"
            raise SamplesError(
                f"{' and '.join(missing)} missing; {', '.join(needed)} and optionally w are read, found: {names}"
            )
        y = archive.read("y") if "y" in needed else np.zeros(0) if "y" in archive.names else None
        return archive.read("x"), y, archive.read("w") if "w" in archive.names else None


class _Lines:
    """The lines of a ``.csv`` file; each, and each record that quotes make of several, has bounded length."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.record = 0

    def __iter__(self) -> Iterator[str]:
        while line := self._stream.readline(MAX_LINE + 1):
            self.record += len(line)
            if self.record > MAX_LINE:
                raise SamplesError(f"a line has more than {MAX_LINE} characters; lines of numbers are accepted")
            yield line


def _read_csv(
    path: Path, limit: int | None, label_column: int | str | None, classes: tuple[str, ...], labels: bool
) -> tuple[_Raw, _Raw | None, tuple[str, ...]]:
    """Points ``[N, n]`` and labels ``[N]`` (None: there are none) of the first ``limit`` lines, and what is to be said of them."""
    with csv_records(path) as records:
        table, column, taken = _table(records, limit, label_column, classes, labels)
    if column is None:
        return table, None, taken
    return np.delete(table, column, axis=1), table[:, column], taken


@contextmanager
def csv_records(path: Path) -> Iterator[Records]:
    """The records of a ``.csv`` file that are not blank, each with the number of its last line.

    Raises:
        SamplesError: the file is no such text.
        UnreadableError: it is no plain file, or too large.
    """
    try:
        with plain_file(path, MAX_BYTES, _ACCEPTED) as raw, TextIOWrapper(raw, "utf-8-sig", newline="") as stream:
            yield _records(stream)
    except (csv.Error, UnicodeDecodeError):
        raise SamplesError("this is not a .csv file of UTF-8 text; comma-separated numbers are accepted") from None


def _records(stream: TextIO) -> Records:
    text = _Lines(stream)
    reader = csv.reader(text, strict=True)
    for cells in reader:
        text.record = 0
        if any(map(str.strip, cells)):
            yield reader.line_num, cells


def _table(
    records: Records, limit: int | None, label_column: int | str | None, classes: tuple[str, ...], labels: bool
) -> tuple[Array, int | None, tuple[str, ...]]:
    """All columns ``[N, n + 1]``, which of them is the labels' (None: without labels, unless a column is named, no one), and a notice
    of a first line that might be a sample.
    """
    numbers = array("d")
    first = next(records, None)
    if first is None:
        raise SamplesError("no samples; at least one is needed")
    header = is_header(first[1], classes)
    width = len(first[1])
    column = label_index(first[1], label_column, header) if labels or label_column is not None else None
    for k, (number, cells) in enumerate(records if header else chain([first], records)):
        if limit is not None and k >= limit:
            break
        numbers.extend(_row(cells, number, width, column, classes))
        if 8 * len(numbers) > MAX_BYTES:
            raise SamplesError(f"more than {MAX_BYTES // 8} numbers; use --samples N for the first N samples")
    if not numbers:
        raise SamplesError("no samples below the header; at least one is needed")
    return np.frombuffer(numbers).reshape(-1, width), column, _doubtful(first[1]) if header else ()


def _doubtful(header: list[str]) -> tuple[str, ...]:
    """A notice of a header that has numbers."""
    if all(_parsed(cell) is None for cell in header):
        return ()
    line = shown(", ".join(cell.strip() for cell in header), 60)
    return (
        f"the first line ({line}) is taken as names of columns, since its numbers are their places; it is no sample",
    )


def _parsed(cell: str) -> float | None:
    try:
        return None if "_" in cell else float(cell)
    except ValueError:
        return None


def is_header(cells: list[str], classes: Sequence[str] = ()) -> bool:
    """Whether the first line names columns: no cell is a number, except for a column's own place from 0 or from 1.

    Numbers beside the name of one class, in whatever case, or beside nothing, are a sample (whose fault is then said).
    """
    numbers = [(k, value) for k, value in enumerate(map(_parsed, cells)) if value is not None]
    if len(numbers) == len(cells):
        return False
    names = [cell.strip().casefold() for cell in cells]
    if numbers and not all(names):
        return False
    if len(numbers) == len(cells) - 1 and not {name.casefold() for name in classes}.isdisjoint(names):
        return False
    return any(all(value == k + start for k, value in numbers) for start in (0, 1))


def label_index(first: list[str], wanted: int | str | None, header: bool) -> int:
    """Which column of a file with this first line the labels are in, from 0.

    Raises:
        SamplesError: there is no such column.
    """
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
            found = ", ".join(shown(repr(name), 60) for name in names[:12]) + (", ..." if width > 12 else "")
            raise SamplesError(
                f"label column {shown(repr(wanted), 60)} is not one column of the header; "
                f"found: {found if header else 'no header'}"
            ) from None
    else:
        index = -1 if wanted is None else wanted
    if not -width <= index < width:
        raise SamplesError(f"label column {index} of {width} columns; accepted are {-width} to {width - 1}")
    return index % width


def _row(cells: list[str], number: int, width: int, column: int | None, classes: tuple[str, ...]) -> list[float]:
    if len(cells) != width:
        raise SamplesError(f"line {number} has {len(cells)} columns where the first has {width}")
    values: list[float] = []
    for k, value in enumerate(map(_parsed, cells)):
        if k == column and classes:
            values.append(class_of(cells[k], number, classes))
            continue
        if value is None:
            names = "; --classes A,B,... says which names stand for 0, 1, ..." if k == column and not classes else ""
            raise SamplesError(
                f"line {number}, column {k}: {cells[k][:40]!r} is not a number; numbers are accepted{names}"
            )
        values.append(value)
    return values
