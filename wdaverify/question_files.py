"""Parts of a question from files: supports, cost weights and functionals, each TOML or npz (docs/question-files.md).

support      lower, upper (a number, or one a feature), rows with lower and upper sides, integer, one_hot
weights      one number > 0 a feature; inf: that feature cannot change
functionals  matrix [R, K], offset [R] or [labels, R] (0 where left out)
"""

from __future__ import annotations

import math
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from wdaverify.errors import ProblemError
from wdaverify.ground import LinearRows, Support
from wdaverify.network.model import Array, readonly
from wdaverify.problem import Functionals

_LARGEST = 10**8


def load_support(path: str | Path, width: int) -> Support:
    """A support of ``width`` features.

    Raises:
        ProblemError: one line that says what was found and what is accepted.
    """
    table = _table(path, ("lower", "upper", "rows", "row_lower", "row_upper", "integer", "one_hot"))
    for name in ("lower", "upper"):
        if name not in table:
            raise ProblemError(f"{path}: there is no {name}; a number, or one for each of {width} features, is needed")
    lower, upper = (_sides(path, name, table[name], width) for name in ("lower", "upper"))
    integer = _mask(path, "integer", table.get("integer"), width)
    rows = _rows(path, table, width)
    groups = [_indices(path, "one_hot", group, width) for group in _list(path, "one_hot", table.get("one_hot", []))]
    for group in groups:
        integer[group] = True
        lower[group], upper[group] = np.maximum(lower[group], 0.0), np.minimum(upper[group], 1.0)
        row = np.zeros((1, width))
        row[0, group] = 1.0
        rows = [np.vstack([rows[0], row]), np.append(rows[1], 1.0), np.append(rows[2], 1.0)]
    try:
        linear = LinearRows(*(readonly(part) for part in rows)) if len(rows[1]) else None
        return Support(readonly(lower), readonly(upper), linear, integer if integer.any() else None)
    except ProblemError as error:
        raise ProblemError(f"{path}: {error}") from None


def load_weights(path: str | Path, width: int) -> Array:
    """The cost weights of ``width`` features.

    Raises:
        ProblemError: as ``load_support``.
    """
    table = _table(path, ("weights",))
    if "weights" not in table:
        raise ProblemError(f"{path}: there are no weights; one number > 0 for each of {width} features is needed")
    weights = _numbers(path, "weights", table["weights"])
    if weights.shape != (width,):
        raise ProblemError(f"{path}: weights of shape {list(weights.shape)} for {width} features")
    return readonly(weights)


def load_functionals(path: str | Path) -> Functionals:
    """The functionals of a linear loss.

    Raises:
        ProblemError: as ``load_support``.
    """
    table = _table(path, ("matrix", "offset"))
    if "matrix" not in table:
        raise ProblemError(f"{path}: there is no matrix; one row of output coefficients for each functional is needed")
    matrix = _numbers(path, "matrix", table["matrix"])
    offset = _numbers(path, "offset", table["offset"]) if "offset" in table else np.zeros(matrix.shape[:1])
    try:
        return Functionals(readonly(matrix), readonly(offset))
    except ProblemError as error:
        raise ProblemError(f"{path}: {error}") from None


def _table(path: str | Path, names: tuple[str, ...]) -> dict[str, Any]:
    """The entries of a file, of the names that are known."""
    file = Path(path)
    try:
        if file.stat().st_size > _LARGEST:
            raise ProblemError(f"{path}: the file takes more than {_LARGEST} bytes")
        if file.suffix.lower() == ".npz":
            with np.load(file, allow_pickle=False) as archive:
                table = {name: archive[name] for name in archive.files}
        elif file.suffix.lower() == ".toml":
            table = tomllib.loads(file.read_text(encoding="utf-8"))
        else:
            raise ProblemError(f"{path}: suffix {file.suffix!r}; accepted are .toml and .npz")
    except OSError as error:
        raise ProblemError(f"{path}: the file cannot be read ({(error.strerror or 'input error').lower()})") from None
    except (ValueError, zipfile.BadZipFile, EOFError, KeyError, RecursionError) as error:
        raise ProblemError(f"{path}: the file cannot be read ({' '.join(str(error).split())})") from None
    unknown = sorted(set(table) - set(names))
    if unknown:
        raise ProblemError(f"{path}: {unknown[0]!r} is not known here; accepted are {', '.join(names)}")
    return table


def _numbers(path: str | Path, name: str, value: Any) -> Array:
    try:
        array = np.asarray(value)
        if array.dtype.kind not in "iuf" or array.dtype.itemsize > 8:
            raise ValueError
        out = array.astype(np.float64)
    except (ValueError, TypeError):
        raise ProblemError(f"{path}: {name} is not an array of numbers") from None
    if np.isnan(out).any():
        raise ProblemError(f"{path}: {name} has an entry that is not a number")
    return np.asarray(out)


def _sides(path: str | Path, name: str, value: Any, width: int) -> Array:
    side = _numbers(path, name, value)
    if side.shape not in ((), (width,)):
        raise ProblemError(
            f"{path}: {name} has shape {list(side.shape)}: a number, or one for each of {width} features, is accepted"
        )
    return np.array(np.broadcast_to(side, (width,)))


def _list(path: str | Path, name: str, value: Any) -> list[Any]:
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if not isinstance(value, list):
        raise ProblemError(f"{path}: {name} is not a list")
    return value


def _indices(path: str | Path, name: str, value: Any, width: int) -> list[int]:
    at = _list(path, name, value)
    if not all(isinstance(k, int) and not isinstance(k, bool) and 0 <= k < width for k in at) or len(set(at)) < len(at):
        raise ProblemError(f"{path}: {name} must name different features, 0 to {width - 1}")
    if not at:
        raise ProblemError(f"{path}: a group of {name} is empty")
    return at


def _mask(path: str | Path, name: str, value: Any, width: int) -> Any:
    out = np.zeros(width, np.bool_)
    if value is not None and len(_list(path, name, value)):
        out[_indices(path, name, value, width)] = True
    return out


def _rows(path: str | Path, table: dict[str, Any], width: int) -> list[Array]:
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
            raise ProblemError(f"{path}: rows must be [r, {width}] with row_lower and row_upper [r]")
        return [matrix, *sides]
    out: list[tuple[Array, float, float]] = []
    for k, row in enumerate(_list(path, "rows", rows)):
        if not isinstance(row, dict) or not set(row) <= {"coefficients", "lower", "upper"} or "coefficients" not in row:
            raise ProblemError(f"{path}: row {k} must be a table with coefficients, and lower, upper or both")
        coefficient = _numbers(path, f"coefficients of row {k}", row["coefficients"])
        if coefficient.shape != (width,):
            raise ProblemError(f"{path}: row {k} has {coefficient.size} coefficients for {width} features")
        low, high = (
            _numbers(path, f"{side} of row {k}", row.get(side, v))
            for side, v in (("lower", -math.inf), ("upper", math.inf))
        )
        if low.shape or high.shape:
            raise ProblemError(f"{path}: the sides of row {k} must be numbers")
        out.append((coefficient, float(low), float(high)))
    matrix = np.array([part[0] for part in out]).reshape(len(out), width)
    return [matrix, np.array([part[1] for part in out]), np.array([part[2] for part in out])]
