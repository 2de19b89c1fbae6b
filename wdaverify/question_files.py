"""Parts of a question from files: supports, cost weights and functionals, each TOML or npz (docs/question-files.md).

support      lower, upper (a number, or one a feature), rows with lower and upper sides, integer, one_hot
weights      one number > 0 a feature; inf: that feature cannot change
functionals  matrix [R, K], offset [R] or [labels, R] (0 where left out)
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from wdaverify.archive import ArrayArchive
from wdaverify.errors import ProblemError
from wdaverify.given import array, path_of, whole
from wdaverify.ground import LinearRows, Support
from wdaverify.network.model import Array, readonly
from wdaverify.problem import Functionals
from wdaverify.toml_file import read_toml
from wdaverify.untrusted import UnreadableError, plain_file, shown

MAX_BYTES = 2**28
"""The most that an ``.npz`` may take, and its arrays together in double precision."""
MAX_ENTRIES = 2**24
"""Coefficients of all rows of a support, those of one-hot groups among them."""
_ACCEPTED = "a .toml or .npz file"


def load_support(path: str | os.PathLike[str], width: int) -> Support:
    """A support of ``width`` features.

    Raises:
        ProblemError: one line that says what was found and what is accepted.
    """
    path, width = path_of("support", path, ProblemError), _width(width)
    table = _table(path, ("lower", "upper", "rows", "row_lower", "row_upper", "integer", "one_hot"))
    for name in ("lower", "upper"):
        if name not in table:
            raise ProblemError(
                f"{shown(path, 4096)}: there is no {name}; a number, or one for each of {width} features, is needed"
            )
    lower, upper = (_sides(path, name, table[name], width) for name in ("lower", "upper"))
    integer = _mask(path, "integer", table.get("integer"), width)
    rows = _rows(path, table, width)
    lists = _list(path, "one_hot", table.get("one_hot", []))
    _check_count(path, len(rows[1]) + len(lists), width)
    ones = np.zeros((len(lists), width))
    for row, group in zip(ones, lists, strict=True):
        at = _indices(path, "one_hot", group, width)
        integer[at] = True
        lower[at], upper[at] = np.maximum(lower[at], 0.0), np.minimum(upper[at], 1.0)
        row[at] = 1.0
    rows = [np.vstack([rows[0], ones]), *(np.append(side, np.ones(len(lists))) for side in rows[1:])]
    try:
        return Support(lower, upper, LinearRows(*rows) if len(rows[1]) else None, integer)
    except ProblemError as error:
        raise ProblemError(f"{shown(path, 4096)}: {error}") from None


def load_weights(path: str | os.PathLike[str], width: int) -> Array:
    """The cost weights of ``width`` features.

    Raises:
        ProblemError: as ``load_support``.
    """
    path, width = path_of("weights", path, ProblemError), _width(width)
    table = _table(path, ("weights",))
    if "weights" not in table:
        raise ProblemError(
            f"{shown(path, 4096)}: there are no weights; one number > 0 for each of {width} features is needed"
        )
    weights = _numbers(path, "weights", table["weights"])
    if weights.shape != (width,):
        raise ProblemError(f"{shown(path, 4096)}: weights of shape {list(weights.shape)} for {width} features")
    return readonly(weights)


def load_functionals(path: str | os.PathLike[str]) -> Functionals:
    """The functionals of a linear loss.

    Raises:
        ProblemError: as ``load_support``.
    """
    path = path_of("functionals", path, ProblemError)
    table = _table(path, ("matrix", "offset"))
    if "matrix" not in table:
        raise ProblemError(
            f"{shown(path, 4096)}: there is no matrix; one row of output coefficients for each functional is needed"
        )
    matrix = _numbers(path, "matrix", table["matrix"])
    offset = _numbers(path, "offset", table["offset"]) if "offset" in table else np.zeros(matrix.shape[:1])
    try:
        return Functionals(matrix, offset)
    except ProblemError as error:
        raise ProblemError(f"{shown(path, 4096)}: {error}") from None


def _width(given: object) -> int:
    return whole("width", given, "a number of features >= 1", lambda n: n >= 1)


def _table(path: str, names: tuple[str, ...]) -> dict[str, Any]:
    """The entries of a file, of the names that are known."""
    try:
        match Path(path).suffix.lower():
            case ".npz":
                with plain_file(path, MAX_BYTES, _ACCEPTED) as stream:
                    table = _arrays(stream, names)
            case ".toml":
                table = read_toml(path, _ACCEPTED)
            case suffix:
                raise UnreadableError(f"suffix {shown(repr(suffix), 60)}; accepted are .toml and .npz")
        unknown = sorted(set(table) - set(names))
        if unknown:
            raise UnreadableError(f"{shown(repr(unknown[0]), 60)} is not known here; accepted are {', '.join(names)}")
    except UnreadableError as error:
        raise ProblemError(f"{shown(path, 4096)}: {error}") from None
    return table


def _arrays(stream: BinaryIO, names: tuple[str, ...]) -> dict[str, Any]:
    with ArrayArchive(stream, MAX_BYTES) as archive:
        return {name: archive.read(name) if name in names else None for name in archive.names}


def _numbers(path: str, name: str, value: Any) -> Array:
    try:
        return array(name, value, infinite=True)
    except ProblemError as error:
        raise ProblemError(f"{shown(path, 4096)}: {error}") from None


def _sides(path: str, name: str, value: Any, width: int) -> Array:
    side = _numbers(path, name, value)
    if side.shape not in ((), (width,)):
        raise ProblemError(
            f"{shown(path, 4096)}: {name} has shape {list(side.shape)}: a number, or one for each of {width} features, is accepted"
        )
    return np.array(np.broadcast_to(side, (width,)))


def _list(path: str, name: str, value: Any) -> list[Any]:
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if not isinstance(value, list):
        raise ProblemError(f"{shown(path, 4096)}: {name} is not a list")
    return value


def _indices(path: str, name: str, value: Any, width: int) -> list[int]:
    at = _list(path, name, value)
    if not all(isinstance(k, int) and not isinstance(k, bool) and 0 <= k < width for k in at) or len(set(at)) < len(at):
        raise ProblemError(f"{shown(path, 4096)}: {name} must name different features, 0 to {width - 1}")
    if not at:
        raise ProblemError(f"{shown(path, 4096)}: a group of {name} is empty")
    return at


def _mask(path: str, name: str, value: Any, width: int) -> Any:
    out = np.zeros(width, np.bool_)
    if value is not None and len(_list(path, name, value)):
        out[_indices(path, name, value, width)] = True
    return out


def _check_count(path: str, count: int, width: int) -> None:
    if count * width > MAX_ENTRIES:
        raise ProblemError(
            f"{shown(path, 4096)}: {count} rows and groups of {width} features; at most {MAX_ENTRIES} coefficients are accepted"
        )


def _rows(path: str, table: dict[str, Any], width: int) -> list[Array]:
    """Matrix, lower and upper sides; in TOML each row is a table of its own, in npz they are three arrays."""
    rows = table.get("rows", [])
    if isinstance(rows, np.ndarray):
        matrix = _numbers(path, "rows", rows)
        count = matrix.shape[0] if matrix.ndim else 0
        sides = [
            _numbers(path, n, table[n]) if n in table else np.full(count, v)
            for n, v in (("row_lower", -math.inf), ("row_upper", math.inf))
        ]
        if matrix.shape != (count, width) or any(side.shape != (count,) for side in sides):
            raise ProblemError(f"{shown(path, 4096)}: rows must be [r, {width}] with row_lower and row_upper [r]")
        return [matrix, *sides]
    if "row_lower" in table or "row_upper" in table:
        raise ProblemError(
            f"{shown(path, 4096)}: row_lower and row_upper go with the array rows of an .npz; in TOML each of [[rows]] has "
            "lower and upper"
        )
    out: list[tuple[Array, float, float]] = []
    _check_count(path, len(_list(path, "rows", rows)), width)
    for k, row in enumerate(rows):
        if not isinstance(row, dict) or not set(row) <= {"coefficients", "lower", "upper"} or "coefficients" not in row:
            raise ProblemError(
                f"{shown(path, 4096)}: row {k} must be a table with coefficients, and lower, upper or both"
            )
        coefficient = _numbers(path, f"coefficients of row {k}", row["coefficients"])
        if coefficient.shape != (width,):
            raise ProblemError(f"{shown(path, 4096)}: row {k} has {coefficient.size} coefficients for {width} features")
        low, high = (
            _numbers(path, f"{side} of row {k}", row.get(side, v))
            for side, v in (("lower", -math.inf), ("upper", math.inf))
        )
        if low.shape or high.shape:
            raise ProblemError(f"{shown(path, 4096)}: the sides of row {k} must be numbers")
        out.append((coefficient, float(low), float(high)))
    matrix = np.array([part[0] for part in out]).reshape(len(out), width)
    return [matrix, np.array([part[1] for part in out]), np.array([part[2] for part in out])]
