"""Distances that can be attained: between points of integers they are whole, or roots of whole numbers."""

from __future__ import annotations

import math

import numpy as np

from wdaverify.ground import Norm
from wdaverify.network.model import Array
from wdaverify.problem import WdroProblem
from wdaverify.rounding import UNIT_ROUNDOFF


class Attainable:
    """The distances that a problem's samples can have to points of its support: all, or those between points of integers.

    The latter where every feature that may move is an integer, and counts 1: l-inf and l1 give whole numbers, l2 their roots. With
    ``anywhere`` all count, as they do to a checker.
    """

    def __init__(self, problem: WdroProblem, *, anywhere: bool = False) -> None:
        support, cost, n = problem.support, problem.cost, problem.network.n_inputs
        moves = (support.lower < support.upper) & ~cost.fixed(n)
        integer = np.zeros(n, np.bool_) if support.integer is None else support.integer
        self.whole = bool((integer | ~moves).all() and (cost.scale(n)[moves] == 1).all()) and not anywhere
        self._roots = cost.norm is Norm.TWO

    def up(self, low: Array) -> Array:
        """The least attainable distances, rounded down, that are not below proven bounds ``[B]``."""
        if not self.whole:
            return low
        some = np.isfinite(low) & (low > 0) & (low < _MOST)
        safe = np.where(some, low, 0.0)
        if not self._roots:
            return np.asarray(np.where(some, np.ceil(safe), low))
        square = np.ceil(safe * safe * (1 - 4 * UNIT_ROUNDOFF))
        root = np.sqrt(square)
        root = np.where(root * root == square, root, np.nextafter(root, 0.0))
        return np.asarray(np.where(some, np.maximum(root, low), low))

    def gap(self, high: float) -> float:
        """How far below an attainable distance a bound may stay and still be taken up to it."""
        if not self.whole or not 0 < high < _MOST:
            return 0.0
        return 0.999 if not self._roots else 0.499 / max(high, 1.0)


_MOST = math.sqrt(2.0**50)
"""Whole numbers beyond this are not told apart from their neighbours by squares."""
