"""What is handed in, at the door: one rule each for numbers, words, flags, arrays, paths and callbacks.

A value is taken as exactly what it is, or refused in one line that says what is accepted; nothing is rounded, and nothing is
read as what it only resembles. A number may be Python's, numpy's or a tensor library's (through ``__array__``; none is imported),
a Fraction or a Decimal, if a double holds it; a bool is no number, and text is none either. Arrays become read-only copies: what
the caller does with his own afterwards changes nothing.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from wdaverify.errors import InputError, ProblemError

LARGEST_INTEGER = 2**53
"""The largest size of an integer in an array: beyond it doubles leave integers out."""
_LARGE = "integers beyond 2^53, which double precision would round"
_TEXT = 60
_DIGITS = 1100
"""A Decimal of more digits before or behind the point is no double (and its exact value might not fit into memory)."""

_T = TypeVar("_T")
_Refusal = type[InputError]


def told(value: object) -> str:
    """What was found, on one line of bounded length: numbers and text as they are, anything else by its type and shape."""
    if isinstance(value, np.generic) and value.dtype.kind in "biufc":
        value = value.item()
    try:
        if value is None or isinstance(value, bool | int | float | complex | str | bytes | Decimal | Fraction):
            text = repr(value)
            return text if len(text) <= _TEXT else f"{text[: _TEXT - 3]}..."
    except ValueError:  # an integer of more digits than Python writes
        pass
    shape = getattr(value, "shape", None)
    return f"of type {type(value).__name__}" + (f" and shape {list(shape)}" if isinstance(shape, tuple) else "")


def settle(owner: object, **fields: object) -> None:
    """Put converted values into the fields of a frozen dataclass, in its ``__post_init__``."""
    for name, value in fields.items():
        object.__setattr__(owner, name, value)


def number(value: object) -> int | float | Fraction | None:
    """The exact value of one number, or None where this is none."""
    if isinstance(value, int):
        return None if isinstance(value, bool) else int(value)
    if isinstance(value, float | Fraction):
        return float(value) if isinstance(value, float) else value
    if isinstance(value, Decimal):
        if not value.is_finite():
            return None if value.is_nan() else float(value)
        return Fraction(value) if abs(value.adjusted()) < _DIGITS else None
    entry = _raw(value) if hasattr(value, "__array__") else None
    if entry is None or entry.size != 1 or not _plain(entry.dtype):
        return None
    out: int | float = entry.reshape(-1)[0].item()
    return out


def real(
    name: str, value: object, accepted: str, good: Callable[[float], bool], error: _Refusal = ProblemError
) -> float:
    """A number as a double (0 without a sign); ``good`` says which are accepted, ``accepted`` the same in words.

    Raises:
        error: it is no number, no double holds it exactly, or it is not accepted.
    """
    exact = number(value)
    if exact is not None:
        try:
            out = float(exact)
        except OverflowError:
            out = math.inf
        if out == exact and good(out):
            return out + 0.0
        if out != exact and not isinstance(exact, float):
            raise error(f"{name} {told(exact)}: no double is exactly that; {accepted} is accepted, as a float")
    raise error(f"{name} {told(value if exact is None else exact)}: {accepted} is accepted")


def whole(name: str, value: object, accepted: str, good: Callable[[int], bool], error: _Refusal = ProblemError) -> int:
    """A number whose value is whole as an int; ``good`` and ``accepted`` as in ``real``.

    Raises:
        error: it is no whole number, or is not accepted.
    """
    exact = number(value)
    if exact is not None and (not isinstance(exact, float) or math.isfinite(exact)):
        out = int(exact)
        if out == exact and good(out):
            return out
    raise error(f"{name} {told(value if exact is None else exact)}: {accepted} is accepted")


def flag(name: str, value: object, error: _Refusal = ProblemError) -> bool:
    """True or False, Python's or numpy's.

    Raises:
        error: it is anything else.
    """
    if isinstance(value, bool | np.bool_):
        return bool(value)
    raise error(f"{name} {told(value)}: True or False is accepted")


def word(name: str, value: object, accepted: Sequence[str], error: _Refusal = ProblemError) -> str:
    """One word of a list.

    Raises:
        error: it is no text, or not on the list.
    """
    if isinstance(value, str) and value in accepted:
        return accepted[accepted.index(value)]
    raise error(f"{name} {told(value)}: accepted are {', '.join(accepted)}")


def listed(name: str, value: Any, accepted: str, error: _Refusal = ProblemError) -> list[Any]:
    """The entries of whatever holds several.

    Raises:
        error: it holds none, or is a text.
    """
    if not isinstance(value, str | bytes | type):
        try:
            return list(value)
        except Exception:  # noqa: BLE001 (it is anybody's)
            pass
    raise error(f"{name} {told(value)}: {accepted} is accepted")


def words(name: str, value: object, error: _Refusal = ProblemError) -> tuple[str, ...]:
    """Texts, of which one alone is not a list.

    Raises:
        error: it is no list of texts.
    """
    texts = listed(name, value, "a tuple of texts", error)
    if not all(isinstance(text, str) for text in texts):
        raise error(f"{name} {told(value)}: a tuple of texts is accepted")
    return tuple(str(text) for text in texts)


def path_of(name: str, value: object, error: _Refusal = InputError) -> str:
    """A path as text.

    Raises:
        error: it is neither text nor ``os.PathLike``, or no name of a file.
    """
    text = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if isinstance(text, str):
        try:
            if b"\0" not in os.fsencode(text):
                return text
        except UnicodeEncodeError:  # half a character
            pass
        raise error(f"{name} {told(text)}: no such file or folder can be; give another path")
    raise error(f"{name} {told(value)}: a path is accepted, as text or os.PathLike (os.fsdecode makes text of bytes)")


def instance(name: str, value: object, kind: type[_T], way_out: str, error: _Refusal = ProblemError) -> _T:
    """What has to be of a type of ours.

    Raises:
        error: it is not; ``way_out`` says how to make one.
    """
    if isinstance(value, kind):
        return value
    raise error(f"{name} {told(value)}: a {kind.__name__} is accepted; {way_out}")


def called(name: str, value: object, error: _Refusal = ProblemError) -> None:
    """Check what is to be called later; None is nothing.

    Raises:
        error: it cannot be called.
    """
    if value is not None and not callable(value):
        raise error(f"{name} {told(value)}: a function is accepted")


def entries(name: str, value: object, error: _Refusal = ProblemError, *, bools: bool = False) -> NDArray[Any]:
    """Numbers of any shape, of the type that they have and not copied where they are an array; ``bools`` as in ``array``.

    Raises:
        error: they are no numbers, or none that doubles hold.
    """
    raw = _raw(value)
    if raw is None:
        raise error(f"{name} is not an array of numbers (rows of unequal length?)")
    if not (_plain(raw.dtype) or (bools and raw.dtype.kind == "b")):
        kind = str(raw.dtype)[:_TEXT]
        raise error(f"{name} has type {kind}; integers and floats of up to 64 bits are accepted")
    if why := _hidden(value, bools):
        raise error(f"{name} has {why}")
    return raw


def array(
    name: str, value: object, error: _Refusal = ProblemError, *, infinite: bool = False, bools: bool = False
) -> NDArray[np.float64]:
    """Numbers of any shape as a read-only, C-contiguous copy in double precision, each exactly what was given.

    NaN is refused, and so is +-inf but where ``infinite``; ``bools`` admits True and False as 1 and 0.

    Raises:
        error: they are no such numbers.
    """
    raw = entries(name, value, error, bools=bools)
    out = np.array(raw, dtype=np.float64, order="C", subok=False)
    bad = np.isnan(out) if infinite else ~np.isfinite(out)
    if bad.any():
        accepted = "numbers are accepted" if infinite else "finite numbers are accepted"
        if not out.ndim:
            raise error(f"{name} is {out}: {accepted}")
        where = [int(k) for k in np.unravel_index(int(bad.argmax()), bad.shape)]
        raise error(f"{name} has {out[tuple(where)]} at index {where} ({int(bad.sum())} such entries); {accepted}")
    out.setflags(write=False)
    return out


def integers(name: str, value: object, error: _Refusal = ProblemError) -> NDArray[np.int64]:
    """Whole numbers of any shape as a read-only copy.

    Raises:
        error: they are no such numbers, up to 2^53.
    """
    numbers = array(name, value, error, bools=True)
    if (numbers != np.rint(numbers)).any() or np.abs(numbers).max(initial=0.0) > LARGEST_INTEGER:
        raise error(f"{name} has numbers that are not whole, or beyond 2^53; whole numbers are accepted")
    out = numbers.astype(np.int64)
    out.setflags(write=False)
    return out


def mask(name: str, value: object, error: _Refusal = ProblemError) -> NDArray[np.bool_]:
    """Bools of any shape as a read-only copy; numbers might be indices, and are no mask.

    Raises:
        error: they are no bools.
    """
    raw = _raw(value)
    if raw is None or raw.dtype.kind != "b":
        raise error(
            f"{name} {told(value)}: one bool a feature is accepted (np.isin(np.arange(n), at) makes them of indices)"
        )
    out = np.array(raw, dtype=np.bool_, order="C", subok=False)
    out.setflags(write=False)
    return out


def _raw(value: Any) -> NDArray[Any] | None:
    """Anything as an array of whatever type it has, None where it is none or hides entries."""
    try:
        if hasattr(value, "__array__"):  # a tensor first lets go of its gradient and its device
            for step in ("detach", "cpu"):
                value = getattr(value, step)() if callable(getattr(value, step, None)) else value
        if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
            return None
        return np.asarray(value)
    except Exception:  # noqa: BLE001 (an ``__array__`` or a sequence of anybody's)
        return None


def _plain(kind: np.dtype[Any]) -> bool:
    """Whether entries are numbers that doubles may hold."""
    return kind.kind in "iuf" and kind.itemsize <= 8


def _hidden(value: object, bools: bool) -> str:
    """What doubles would hide of an array, or numpy of nested lists, of whose entries it makes one type; "" if nothing."""
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        kinds = set(map(type, value))
        if kinds <= {float, int}:
            return (
                _LARGE
                if int in kinds and any(abs(entry) > LARGEST_INTEGER for entry in value if type(entry) is int)
                else ""
            )
        return next(filter(None, (_hidden(entry, bools) for entry in value)), "")
    raw = _raw(value)
    if raw is None:
        return "an entry that is no number"
    if raw.dtype.kind == "b":
        return "" if bools else "True or False among its numbers; numbers alone are accepted"
    ends = [raw.min(), raw.max()] if raw.dtype.kind in "iu" and raw.size else []
    return _LARGE if any(abs(int(end)) > LARGEST_INTEGER for end in ends) else ""
