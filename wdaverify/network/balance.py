"""Powers of two that bring the hidden layers of a network back to size.

``relu(s z) = s relu(z)`` for s > 0: with s_0 = s_K = 1 the blocks ``(s_k / s_(k-1)) W_k, s_k b_k`` compute the same function, and where
the s_k are powers of two their numbers are the same but for the exponent. Solvers take what is below their tolerances for 0, and
single precision, which steers, ends at 2^128: what they are given has to be near 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_FAR = 12
"""A network all of whose hidden layers have their largest numbers within 2^-12 and 2^12 stays as it is."""


def exponents(hidden: Sequence[tuple[Array, Array]]) -> list[int]:
    """``log2 s_k`` for the hidden layers ``(W_k, b_k)``: 0, or where one is far from 1, what brings the largest number of each to it."""
    sizes = [(_exponent(weight), _exponent(bias)) for weight, bias in hidden]
    if all(abs(size) <= _FAR for pair in sizes for size in [max(pair)] if size > -math.inf):
        return [0] * len(hidden)
    out, before = list[int](), 0
    for weight, bias in sizes:
        size = max(weight - before, bias)
        before = -int(size) if size > -math.inf else 0
        out.append(before)
    return out


def scaled(array: Array, exponent: int) -> Array | None:
    """``array * 2^exponent``, or None where that would round a number."""
    with np.errstate(over="ignore", under="ignore"):
        out: Array = np.ldexp(array, exponent)
        return out if np.array_equal(np.ldexp(out, -exponent), array) else None


def _exponent(array: Array) -> float:
    """``e`` with the largest absolute value in ``[2^(e-1), 2^e)``; -inf where all are 0."""
    size = float(np.abs(array).max(initial=0.0))
    return math.frexp(size)[1] if size > 0 else -math.inf
