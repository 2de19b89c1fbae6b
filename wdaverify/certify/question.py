"""The question as the checker asks it: pieces of the loss, what every sample can reach, and the names of what a problem is made of.

    V <= lam radius^p + sum_i w_i max(floor, max_k (max_x c_k . z(x) - lam ||x - x_i||^p) + b_k - lam charge_k)        (pieces)

At order inf there is no price: what is farther than the radius is out of reach, and lam is 0.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from wdaverify.certify.backward import Backward
from wdaverify.certify.exact import exact_dot
from wdaverify.certify.leaf_row import Layout
from wdaverify.certify.loops import Loops
from wdaverify.certify.proof import OWN, MalformedProofError, Proof
from wdaverify.graph.nodes import Graph
from wdaverify.ground import GroundCost, Norm
from wdaverify.network.model import Array
from wdaverify.pieces import Pieces
from wdaverify.problem import WdroProblem
from wdaverify.rounding import float_up

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Question:
    """A problem with its pieces; ``reach [N]`` is how far from each sample anything matters (inf: no end)."""

    problem: WdroProblem
    pieces: Pieces
    graph: Graph
    backward: Backward
    layout: Layout
    reach: Array
    power: int

    @classmethod
    def of(cls, problem: WdroProblem, loops: Loops | None = None) -> Question:
        """The question of a problem; ``loops`` are what a search has in numpy's place, a checker none."""
        graph, rows, order = problem.network.form, problem.support.rows, problem.cost.order
        priced = math.isfinite(order) and not problem.loss.rule.by_distances
        power = problem.cost.power if priced else 1
        return cls(
            problem, Pieces.of(problem), graph, Backward(graph, rows, loops), layout_of(problem), reach(problem), power
        )

    def piece(self, proof: Proof) -> int:
        """The piece that a proof is about.

        Raises:
            MalformedProofError: there is none.
        """
        pieces, samples = self.pieces, self.problem.samples
        if not 0 <= proof.sample < len(samples):
            raise MalformedProofError(f"there is no sample {proof.sample} with a rival {proof.rival}")
        label = int(samples.y[proof.sample]) if proof.label == OWN else proof.label
        own = pieces.of_samples(np.array([proof.sample]))[0]
        found = own[(pieces.label[own] == label) & (pieces.code[own] == proof.rival)]
        if found.size != 1:
            if proof.rival == label and not pieces.entropy and self.problem.functionals is None:
                raise MalformedProofError(f"class {proof.rival} is the label of sample {proof.sample}, no rival")
            raise MalformedProofError(f"there is no sample {proof.sample} with a rival {proof.rival}")
        return int(found[0])


def layout_of(problem: WdroProblem) -> Layout:
    """What rows of leaves hold for a problem."""
    rows = 0 if problem.support.rows is None else problem.support.rows.lower.size
    margins = problem.network.n_outputs - 1 if problem.loss.rule.entropy else 0
    return Layout(problem.network.form.neurons, rows, margins)


def reach(problem: WdroProblem) -> Array:
    """How far from each sample anything matters, ``[N]``: the largest distance within the support; at order inf at most the radius."""
    whole = farthest(problem)
    return whole if math.isfinite(problem.cost.order) else np.minimum(whole, problem.radius)


def farthest(problem: WdroProblem) -> Array:
    """The largest distance from each sample within the support, rounded up, ``[N]``; inf without a box."""
    samples, support, cost = problem.samples, problem.support, problem.cost
    if not support.bounded:
        return np.full(len(samples), math.inf)
    if cost.norm is not Norm.TWO and cost.weights is None:
        room = np.nextafter(np.maximum(support.upper - samples.x, samples.x - support.lower), np.inf)
        if cost.norm is Norm.INF:
            return np.asarray(room.max(axis=1, initial=0.0))
        ones = [1.0] * room.shape[1]
        return np.array([float_up(exact_dot(row, ones)) for row in room.tolist()])
    loose = np.flatnonzero(~cost.fixed(support.lower.size) & (support.lower < support.upper))
    scale = [Fraction(a) for a in cost.scale(support.lower.size)[loose].tolist()]
    low, high = ([Fraction(side) for side in bound[loose].tolist()] for bound in (support.lower, support.upper))
    out = []
    for x in samples.x[:, loose].tolist():
        at = [Fraction(v) for v in x]
        moved = [a * max(b - v, v - c) for a, b, c, v in zip(scale, high, low, at, strict=True)]
        out.append(_length_up(cost, moved))
    return np.array(out)


def _length_up(cost: GroundCost, moved: list[Fraction]) -> float:
    if cost.norm is Norm.INF:
        return float_up(max(moved, default=Fraction(0)))
    if cost.norm is Norm.ONE:
        return float_up(sum(moved, Fraction(0)))
    return float_up(root_up(sum((m * m for m in moved), Fraction(0))))


def root_up(square: Fraction) -> Fraction:
    """The root of a number >= 0, rounded up by less than a part in 2^100; exact where that is one of a square of doubles."""
    if not square:
        return Fraction(0)
    p, q = square.numerator, square.denominator
    shift = max(0, 256 - (p.bit_length() + q.bit_length()) // 2)
    number = (p * q) << (2 * shift)
    root = math.isqrt(number)
    return Fraction(root + (root * root != number), q << shift)


def named(problem: WdroProblem) -> dict[str, str | None]:
    """Hashes of what a question has beside network, samples and numbers, None for what it has not, by their names in a certificate."""
    weights, support, linear = problem.cost.weights, problem.support, problem.functionals
    rows = support.rows
    return {
        "specification_sha256": None if problem.specification is None else problem.specification.sha256,
        "weights_sha256": None if weights is None else sha256_of(weights),
        "rows_sha256": None if rows is None else sha256_of(rows.matrix, rows.lower, rows.upper),
        "integers_sha256": None if support.integer is None else sha256_of(support.integer.astype(np.float64)),
        "functionals_sha256": None if linear is None else sha256_of(linear.matrix, linear.offset),
    }


def sha256_of(*arrays: Array) -> str:
    """The hash of doubles: of each array its number of axes and their lengths, then its content, little-endian and row-major; 0 for -0."""
    digest = hashlib.sha256()
    for values in arrays:
        digest.update(np.array([values.ndim, *values.shape], "<i8").tobytes())
        digest.update(np.ascontiguousarray(values + 0.0, "<f8").tobytes())
    return digest.hexdigest()
