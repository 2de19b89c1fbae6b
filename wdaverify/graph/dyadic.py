"""Doubles as integers: an array is ``integers * 2^exponent`` exactly, the integers as small as can be."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[Any]
"""An object array of Python ints."""


def dyadic(values: NDArray[np.float64]) -> tuple[Integers, int]:
    """Integers, as small as can be, and one exponent with ``values == integers * 2^exponent`` exactly; finite values only."""
    mantissa, binary = np.frexp(values)
    number = (mantissa * 2.0**53).astype(np.int64)
    zeros = np.frexp((number & -number).astype(np.float64))[1] - 1
    zeros = np.where(number != 0, zeros, 0)
    number = number >> zeros
    power = binary.astype(np.int64) - 53 + zeros
    exponent = int(power.min(where=number != 0, initial=2**20))
    if exponent == 2**20:
        return number.astype(object), 0
    shift = np.where(number != 0, power - exponent, 0)
    if int(shift.max(initial=0)) <= 9:
        return (number << shift).astype(object), exponent
    return number.astype(object) << shift.astype(object), exponent
