"""A specification about the network in float32: every row raised by its error bound, so that what is impossible then is so for any runtime.

    row_32 <= row + sum_k |F_k| e_k + gamma (sum_k |F_k| M_k + sum_i |G_i| |x_i| + |b|),     gamma for terms + 3 roundings

on the box of its disjunct, e and M those of ``certify.forward_error``. The second part is for whoever reads the rows themselves in
float32: numbers rounded to it, terms added in it. Sides of boxes are read as they stand or as the float32 numbers nearest to them,
whichever is farther out.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np

from wdaverify.certify.forward_error import FLUSHED, ForwardError, gamma
from wdaverify.errors import SpecificationError
from wdaverify.ground import Support
from wdaverify.network.model import Array, ReluNetwork
from wdaverify.specification.model import Box, Disjunct, Row, Specification


def widened(network: ReluNetwork, specification: Specification) -> tuple[Specification, float]:
    """The specification with rows raised, and the largest number that one was raised by.

    Raises:
        NetworkError: something in the network has no error bound.
        SpecificationError: its numbers may overflow float32 in a box.
    """
    forward, boxes, most = ForwardError(network), dict[int, tuple[Box, Array, Array]](), Fraction(0)
    disjuncts = []
    for disjunct in specification.disjuncts:
        if id(disjunct.box) not in boxes:
            box = _outward(disjunct.box)
            boxes[id(disjunct.box)] = box, *forward.sized(Support(box.lower, box.upper))
        box, error, size = boxes[id(disjunct.box)]
        if not (np.isfinite(error).all() and np.isfinite(size).all()):
            raise SpecificationError(
                f"{network.name} may overflow float32 in a box of {specification.name}, so that nothing is proven of it there; give "
                "smaller boxes, or ask in real arithmetic (--arithmetic real)"
            )
        rows = []
        for row in disjunct.rows:
            by = _error(row, box, error.tolist(), size.tolist())
            rows.append(replace(row, offset=row.offset + by))
            most = max(most, by)
        disjuncts.append(Disjunct(box, tuple(rows)))
    return replace(specification, disjuncts=tuple(disjuncts)), float(most)


def _error(row: Row, box: Box, error: list[float], size: list[float]) -> Fraction:
    """By how much a row may be off in a box."""
    reach = np.maximum(np.abs(box.lower), np.abs(box.upper)).tolist()
    off = sum((abs(factor) * Fraction(error[place]) for place, factor in row.outputs), Fraction(0))
    whole = abs(row.offset) + sum((abs(factor) * Fraction(size[place]) for place, factor in row.outputs), Fraction(0))
    whole += sum((abs(factor) * Fraction(reach[place]) for place, factor in row.inputs), Fraction(0))
    terms = len(row.outputs) + len(row.inputs) + 1
    factors = [abs(factor) for _, factor in (*row.outputs, *row.inputs)]
    lost = (
        Fraction(8 * FLUSHED)
        * terms
        * (1 + max(factors, default=Fraction(0)))
        * (1 + Fraction(max([*size, *reach, 1.0])))
    )
    return off + Fraction(gamma(terms + 3)) * whole + lost


def _outward(box: Box) -> Box:
    """The box with sides as they stand or rounded to float32, whichever is farther out."""
    with np.errstate(over="ignore"):
        low, high = (np.asarray(side.astype(np.float32), np.float64) for side in (box.least, box.most))
    return replace(box, lower=np.minimum(box.lower, low), upper=np.maximum(box.upper, high))
