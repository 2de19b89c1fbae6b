"""The whole space: what is farther from a sample than its proofs reach.

With ``f0`` the network without biases, ``d = x - x_i`` and what ``f(x)`` and ``f0(d)`` differ by at every node (docs/theory.md, section 6),

    |f(x) - f0(d)| <= e_i,    so  c . f(x) - lam ||d||^p  <=  C_ik + s t - lam t^p,    t = ||d||,  C_ik = |c_k| e_i,
    s = max over all functionals of  max_(||u|| <= 1) c . f0(u)

and s is proved as a question of its own: the linear loss of all functionals about the network without biases, at 0, order inf and radius 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from wdaverify.certify.proof import MalformedProofError, Proof
from wdaverify.graph.maps import known
from wdaverify.graph.nodes import INPUT, Affine
from wdaverify.graph.rewrite import without_biases
from wdaverify.ground import GroundCost, Support
from wdaverify.losses.registry import Loss
from wdaverify.network.model import Array, ReluNetwork
from wdaverify.pieces import Ints, Pieces
from wdaverify.problem import Functionals, Samples, WdroProblem
from wdaverify.rounding import dot_error, underflow

_NUMBERS = 2**22


def endless(problem: WdroProblem) -> bool:
    """Whether what is far away has to be looked at: losses made of pieces, on the whole space, at a finite order."""
    return problem.loss.rule.by_pieces and not problem.support.bounded and math.isfinite(problem.cost.order)


def linear_network(network: ReluNetwork) -> ReluNetwork:
    """The network without biases, which it is like far away."""
    return replace(network, graph=without_biases(network.graph), name=f"{network.name} without biases", head=None)


def far_neurons(problem: WdroProblem) -> int:
    """The neurons of the network without biases, where it is asked about; else 0."""
    return linear_network(problem.network).canonical.neurons if endless(problem) else 0


def slope_problem(problem: WdroProblem, linear: ReluNetwork | None = None) -> WdroProblem:
    """The question whose value is s: functionals ``[R, K]`` of all pieces of samples with weight, sorted, each once."""
    pieces, used = Pieces.of(problem), np.flatnonzero(problem.samples.w > 0)
    keys = np.stack([pieces.label, pieces.code])[:, pieces.of_samples(used).reshape(-1)]
    _, first = np.unique(keys, axis=1, return_index=True)
    items = pieces.of_samples(used).reshape(-1)[first]
    rows = pieces.rows(items)
    matrix, width = np.unique(rows.reshape(-1, rows.shape[-1]), axis=0), problem.network.n_inputs
    samples = Samples(np.zeros((1, width)), np.zeros(1, np.int64), np.ones(1), "", "the origin")
    cost = GroundCost(problem.cost.norm, math.inf, problem.cost.weights)
    functionals = Functionals(matrix, np.zeros(len(matrix)))
    network = linear_network(problem.network) if linear is None else linear
    return WdroProblem(network, samples, cost, Support.whole(width), Loss.LINEAR, 1.0, functionals)


@dataclass(frozen=True, eq=False)
class Faraway:
    """``constant [M]``, the C of every piece, ``slope`` and the power of the cost."""

    constant: Array
    slope: float
    power: int

    def beyond(self, items: Ints, multiplier: Array, end: Array) -> Array:
        """Upper bounds ``[P]`` of ``c_k . f(x) - lam t^p`` over ``t >= end``, rounded up."""
        s, constant = self.slope, self.constant[items]
        with np.errstate(all="ignore"):
            if self.power == 1:
                gain = np.nextafter(np.nextafter(s - multiplier, math.inf) * end, math.inf)
                out = np.where(multiplier >= s, constant + gain, math.inf)
                size = np.abs(gain)
            else:
                at = np.maximum(end, 0.5 * s / multiplier)
                paid, earned = multiplier * at * at, s * at
                size = np.abs(paid) + np.abs(earned)
                # at the largest of the parabola rounding of ``at`` matters in the second order alone, and is paid for below
                out = np.where(multiplier > 0, constant + earned - paid, math.inf)
            out = out + dot_error(16) * (np.abs(constant) + size) + underflow(16)
        return np.where(np.isnan(out), math.inf, out)


def constants(problem: WdroProblem, pieces: Pieces) -> Array:
    """``C_ik`` of all pieces ``[M]``, rounded up; of a cross-entropy what its largest margin's and ``log K`` make.

    Raises:
        MalformedProofError: the network has functions that are not ReLUs.
    """
    graph, x = problem.network.canonical, problem.samples.x
    apart = {INPUT: (x, np.zeros_like(x))}
    with np.errstate(over="ignore", invalid="ignore"):
        for k, node in enumerate(graph.nodes):
            if isinstance(node, Affine):
                apart[k] = affine_enclosure(node, [apart[s] for s in node.sources])
            elif not node.function.is_relu:
                raise MalformedProofError("a function is no ReLU, and what it is like far away is not known here")
            else:
                middle, off = apart[node.source]
                apart[k] = np.zeros_like(middle), (np.abs(middle) + off) * (1 + dot_error(0))
        middle, off = apart[len(graph.nodes) - 1]
        e = (np.abs(middle) + off) * (1 + dot_error(0))
    e = np.where(np.isnan(e), math.inf, e)
    out = np.full(len(pieces), -math.inf)
    step = max(1, _NUMBERS // (problem.network.n_outputs * problem.network.n_outputs))
    for start in range(0, len(pieces), step):
        items = np.arange(start, min(start + step, len(pieces)))
        rows = np.abs(pieces.rows(items))
        with np.errstate(over="ignore", invalid="ignore"):
            spread = np.einsum("bqk,bk->bq", rows, e[pieces.sample[items]]).max(axis=1)
            spread = spread * (1 + dot_error(rows.shape[2] + 2)) + underflow(rows.shape[2])
        out[items] = np.where(np.isnan(spread), math.inf, spread)
    if pieces.entropy:
        out = np.maximum(out, 0.0) + math.nextafter(math.log(problem.network.n_outputs), math.inf) + 1e-12
    return out


def slope_of(problem: WdroProblem, proofs: Sequence[Proof], deadline: float) -> float:
    """What proofs of the question of slopes prove of s; inf where a functional has none, or where the time is over.

    Raises:
        MalformedProofError: a proof is no proof.
    """
    from wdaverify.certify.upper import margin_bounds

    asked = slope_problem(problem)
    assert asked.functionals is not None
    out = np.full(len(asked.functionals.matrix), math.inf)
    values, _ = margin_bounds(asked, proofs, np.zeros(len(proofs)), deadline)
    for proof, value in zip(proofs, values.tolist(), strict=True):
        out[proof.rival] = min(out[proof.rival], max(value, 0.0))
    return float(out.max())


def affine_enclosure(node: Affine, sources: list[tuple[Array, Array]]) -> tuple[Array, Array]:
    """An affine node's values ``[B, m]`` and by how much they may be off, from those of its sources."""
    terms = max(map_.terms_out for map_ in node.maps) + len(sources) + 3
    slip: Array | float = underflow(terms)
    total, size = node.bias, np.abs(node.bias)
    for map_, (h, off) in zip(node.maps, sources, strict=True):
        stored, unknown = known(map_)
        most = np.abs(h) + off
        total, size = total + map_.apply(h), size + stored.apply(most)
        slip = slip + stored.apply(off) + map_.lost_out
        if unknown is not None:
            slip = slip + 2 * unknown.apply(most)
    if node.bias_error is not None:
        slip = slip + 2 * node.bias_error
    return total, np.asarray((slip + dot_error(terms) * size) * (1 + dot_error(4 + 4 * len(sources))))
