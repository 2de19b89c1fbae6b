"""What the rows of a disjunct are worth at one point."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from wdaverify.certify.enclosure import functionals_enclosure
from wdaverify.certify.exact import one_sided
from wdaverify.network.model import Array, ReluNetwork
from wdaverify.rounding import float_down
from wdaverify.specification.model import Coefficients, Row

_EXACTLY = 2**20
"""Products of a network whose values at a point are worked out in rationals where doubles leave a row open."""


def least_row(network: ReluNetwork, rows: Sequence[Row], x: Array) -> tuple[float, bool]:
    """A lower bound of the least row at ``x [n]`` in real arithmetic, and whether all rows are proven to hold there.

    What enclosures leave open is decided in rationals, for networks without curved functions.
    """
    plain = functionals_enclosure(network, x[None], np.eye(network.n_outputs), np.zeros((1, network.n_outputs)))
    low, high = plain[0][0].tolist(), plain[1][0].tolist()
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        return -np.inf, False
    point = x.tolist()
    found = [row.value(point, _corner(row, low, high)) for row in rows]
    if _all_hold(rows, found):
        return float_down(min(found)), True
    above = [row.value(point, _corner(row, high, low)) for row in rows]
    if network.curved or network.graph.products > _EXACTLY or not _all_hold(rows, above):
        return float_down(min(found)), False
    rational = [Fraction(v) for v in point]
    exact = one_sided(network, rational, [Fraction(0)] * len(point))[-1][0]
    found = [row.offset + _dot(row.outputs, exact) + _dot(row.inputs, rational) for row in rows]
    return float_down(min(found)), _all_hold(rows, found)


def _corner(row: Row, low: list[float], high: list[float]) -> list[float]:
    """The outputs within their bounds at which a row is least."""
    out = list(low)
    for place, factor in row.outputs:
        out[place] = low[place] if factor > 0 else high[place]
    return out


def _dot(coefficients: Coefficients, values: Sequence[Fraction]) -> Fraction:
    return sum((factor * values[place] for place, factor in coefficients), Fraction(0))


def _all_hold(rows: Sequence[Row], values: Sequence[Fraction]) -> bool:
    return all(value > 0 if row.strict else value >= 0 for row, value in zip(rows, values, strict=True))
