"""A bound of the DLR loss from bounds of linear functionals, for where its denominator is small: solvers' tolerances end there.

With the label outside the three largest logits (else the loss is at most 1) they are three rivals {a, b, c}, and the
denominator is at least ``z_j - z_k`` for any two of them. So the loss is at most r >= 1 there if for one pair

    z_m - z_y - r (z_j - z_k) <= 0    for every m in {a, b, c}

and everywhere if each three has such a pair. Where a larger r is no help for any pair no bound is found.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import combinations, permutations

import numpy as np

from wdaverify.network.model import Array

_MOST_ROWS = 2**12
_BITS, _HIGHEST = 40, 50
"""Ratios of so many bits up to this power of two: 1 + r and 1 - r are doubles."""
_HALVINGS = 48


def ceiling(bound: Callable[[Array], Array], classes: int, label: int) -> float:
    """A number that the DLR loss of a label does not exceed, at least 1; inf where none is found.

    ``bound`` gives proven upper bounds ``[R]`` of functionals ``[R, K]`` of the logits.
    """
    rivals = [j for j in range(classes) if j != label]
    triples = list(combinations(rivals, 3))
    if not triples:  # of three classes the label is always among the three largest
        return 1.0
    if 18 * len(triples) > _MOST_ROWS:
        return math.inf
    unit = np.eye(classes)
    above = np.array([[[unit[m] - unit[label] for m in t] for _ in range(6)] for t in triples])
    apart = np.array([[[unit[j] - unit[k]] * 3 for j, k in permutations(t, 2)] for t in triples])

    def holds(ratio: float) -> bool:
        values = bound((above - ratio * apart).reshape(-1, classes)).reshape(-1, 6, 3)
        return bool((values.max(axis=2).min(axis=1) <= 0).all())

    best = 2.0**_HIGHEST
    if not holds(best):
        return math.inf
    low, high = 0.0, float(_HIGHEST)
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        ratio = _short(2.0**middle)
        if ratio >= best:
            break
        if holds(ratio):
            high, best = middle, ratio
        else:
            low = middle
    return best


def _short(ratio: float) -> float:
    """The least number of few bits that is at least ``ratio``."""
    mantissa, exponent = math.frexp(ratio)
    return math.ldexp(math.ceil(math.ldexp(mantissa, _BITS)), exponent - _BITS)
