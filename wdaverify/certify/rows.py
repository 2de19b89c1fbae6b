"""The rows of a specification as functionals of one graph.

Rows of all disjuncts that differ by their offset alone share one functional ``F . f(x) + G . x``, an output of the graph; a box asks about
those of its disjunct. Coefficients that are no doubles are known up to an error there, which every bound pays for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from wdaverify.graph.maps import Dense, LinearMap
from wdaverify.graph.nodes import INPUT, Affine, Graph
from wdaverify.graph.rewrite import canonical
from wdaverify.network.model import Array, ReluNetwork
from wdaverify.rounding import float_up
from wdaverify.specification.model import Coefficients, Disjunct, Specification

Ints = NDArray[np.int64]
_Functional = tuple[Coefficients, Coefficients]


@dataclass(frozen=True, eq=False)
class Rows:
    """P functionals; of D disjuncts R rows each, those that are fewer filled up with rows that never count.

    ``graph`` is canonical and gives the functionals; ``which [D, R]``; ``offset [D, R]`` rounded up (inf: no row). ``outputs [P, K]``,
    ``inputs [P, n]`` are coefficients to nearest, for points.
    """

    network: ReluNetwork
    graph: Graph
    which: Ints
    offset: Array
    outputs: Array
    inputs: Array
    moving: Ints
    """Inputs that are not fixed, up to rounding."""
    widths: Array
    """Of the moving inputs, in each disjunct's box, ``[D, k]``."""

    @classmethod
    def of(cls, network: ReluNetwork, specification: Specification) -> Rows:
        """The rows of every disjunct.

        Raises:
            NetworkError: composing consecutive affine maps overflows.
        """
        disjuncts = specification.disjuncts
        places: dict[_Functional, int] = {}
        least = [_least_offsets(disjunct) for disjunct in disjuncts]
        which = np.zeros((len(disjuncts), max(map(len, least))), np.int64)
        offset = np.full(which.shape, np.inf)
        for d, offsets in enumerate(least):
            for r, (functional, smallest) in enumerate(offsets.items()):
                which[d, r] = places.setdefault(functional, len(places))
                offset[d, r] = float_up(smallest)
        outputs = _matrix([row for row, _ in places], network.n_outputs)
        inputs = _matrix([row for _, row in places], network.n_inputs)
        last = len(network.graph.nodes) - 1
        parts: dict[int, LinearMap] = {last: Dense(*outputs)}
        if any(row for _, row in places):
            parts[INPUT] = Dense(*inputs)
        node = Affine(tuple(parts), tuple(parts.values()), np.zeros(len(places)))
        graph = canonical(Graph((*network.graph.nodes, node), network.n_inputs))
        moving = _moving(disjuncts)
        widths = np.stack([(d.box.upper - d.box.lower)[moving] for d in disjuncts])
        return cls(network, graph, which, offset, outputs[0], inputs[0], moving, widths)

    def values(self, x: Array, disjunct: Ints) -> Array:
        """The rows ``[B, R]`` of points ``[B, n]``, each of its disjunct ``[B]``, in double precision: inf for none."""
        with np.errstate(over="ignore", invalid="ignore"):
            found = self.network.forward(x) @ self.outputs.T + x @ self.inputs.T
            rows = np.take_along_axis(found, self.which[disjunct], 1) + self.offset[disjunct]
        return np.where(np.isnan(rows), -np.inf, rows)

    def ascent(self, x: Array, disjunct: Ints, worst: Ints) -> Array:
        """Gradients ``[B, n]`` of row ``worst [B]`` of each point's disjunct."""
        functional = self.which[disjunct, worst]
        out = self.network.gradient(x, self.outputs[functional]) + self.inputs[functional]
        return np.where(np.isfinite(out), out, 0.0)


def _least_offsets(disjunct: Disjunct) -> dict[_Functional, Fraction]:
    """Of rows that differ by their offset alone the least one counts."""
    out: dict[_Functional, Fraction] = {}
    for row in disjunct.rows:
        functional = row.outputs, row.inputs
        out[functional] = min(row.offset, out.get(functional, row.offset))
    return out


def _matrix(rows: Sequence[Coefficients], width: int) -> tuple[Array, Array | None]:
    """Coefficients to nearest, and by how much they are off, rounded up (None: not at all)."""
    nearest, error = np.zeros((len(rows), width)), np.zeros((len(rows), width))
    for r, row in enumerate(rows):
        for place, factor in row:
            nearest[r, place] = float(factor)
            error[r, place] = float_up(abs(factor - Fraction(float(factor))))
    return nearest, error if error.any() else None


def _moving(disjuncts: Sequence[Disjunct]) -> Ints:
    """Inputs whose sides lie farther apart than rounding takes them, in some disjunct."""
    out = np.zeros(disjuncts[0].box.lower.size, np.bool_)
    for box in {id(d.box): d.box for d in disjuncts}.values():
        out |= box.upper - box.lower > 2.0**-40 * np.maximum(np.abs(box.upper), np.abs(box.lower))
    return np.flatnonzero(out)
